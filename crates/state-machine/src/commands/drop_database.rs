//! Drops a database that holds no collection.

use crate::catalog::{DEFAULT_DATABASE, Target, bounds, find, row_keys};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::keys::VersionedTable;
use crate::limits;
use crate::store::Reader;
use crate::versioned::{LineageScan, PageLimit};
use quorate_model::{ErrorCode, MetaError};
use quorate_wire::quorate::v1::{DropDatabaseRequest, DropReply};

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropDatabase {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
}

impl Prepare for DropDatabase {
    type Request = DropDatabaseRequest;

    fn prepare(request: DropDatabaseRequest, _: &PrepareContext<'_>) -> Result<DropDatabase, MetaError> {
        let DropDatabaseRequest { instance_id, name } = request;
        bounds::check_instance(&instance_id)?;
        let name = bounds::database_name(name)?;
        if name == DEFAULT_DATABASE {
            return Err(MetaError::invalid("database \"default\" cannot be dropped: an absent name means it; drop its collections"));
        }
        Ok(DropDatabase { instance_id, name })
    }
}

impl Command for DropDatabase {
    type Reply = DropReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DropReply, ApplyError> {
        let target = Target::of(context.reader(), &self.instance_id)?;
        let Some(found) = find::look_up_database(context.reader(), &target.lineage, &self.name)? else {
            return Ok(DropReply {
                existed: false,
                revision: context.counters.revision,
            });
        };
        check_empty(context.reader(), &target, &self.name, found.record.database_id)?;
        target.end(context, VersionedTable::Database, self.name.as_bytes())?;
        Ok(DropReply {
            existed: true,
            revision: context.revision().0,
        })
    }
}

fn check_empty(reader: &dyn Reader, target: &Target, name: &str, database_id: u64) -> Result<(), ApplyError> {
    let scan = LineageScan {
        table: VersionedTable::CollectionName,
        prefix: &row_keys::collection_name(database_id, ""),
        after_key: None,
        limit: PageLimit {
            rows: 1,
            keys: limits::MAX_KEYS_TO_DROP_DATABASE,
            ..PageLimit::default()
        },
    };
    let page = target.lineage.scan(reader, &scan)?;
    if let Some(row) = page.rows.first() {
        let collection = row_keys::read_name(&row.key)?;
        let message = format!("database {name:?} holds collection {collection:?}; drop or move its collections first");
        return Err(MetaError::new(ErrorCode::PreconditionFailed, message).into());
    }
    if page.resume_after.is_some() {
        let message = format!(
            "database {name:?} held more than {} collections that have been dropped and not yet been collected; drop it anew when they are",
            limits::MAX_KEYS_TO_DROP_DATABASE
        );
        return Err(MetaError::new(ErrorCode::LimitReached, message).into());
    }
    Ok(())
}
