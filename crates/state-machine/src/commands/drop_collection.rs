//! Drops a collection: it is gone at once with all that is in it, however much that is, and its name is free. What a snapshot, a
//! clone or a job can still see of it stays until it cannot.

use crate::catalog::{Target, bounds, find, removal};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{DropCollectionRequest, DropReply};

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropCollection {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub database: String,
    #[prost(string, tag = "3")]
    pub name: String,
}

impl Prepare for DropCollection {
    type Request = DropCollectionRequest;

    fn prepare(request: DropCollectionRequest, _: &PrepareContext<'_>) -> Result<DropCollection, MetaError> {
        let DropCollectionRequest {
            instance_id,
            database,
            name,
        } = request;
        bounds::check_instance(&instance_id)?;
        let database = bounds::database_name(database)?;
        bounds::check_name("collection", &name)?;
        Ok(DropCollection {
            instance_id,
            database,
            name,
        })
    }
}

impl Command for DropCollection {
    type Reply = DropReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DropReply, ApplyError> {
        let target = Target::of(context.reader(), &self.instance_id)?;
        let reader = context.reader();
        let database = find::look_up_database(reader, &target.lineage, &self.database)?;
        let found = match database {
            Some(database) => find::look_up_collection(reader, &target.lineage, database.record.database_id, &self.name)?,
            None => None,
        };
        let Some(collection) = found else {
            return Ok(DropReply {
                existed: false,
                revision: context.counters.revision,
            });
        };
        removal::drop_collection(context, &target, &collection)?;
        Ok(DropReply {
            existed: true,
            revision: context.revision().0,
        })
    }
}
