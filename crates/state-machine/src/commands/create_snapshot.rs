//! Makes a snapshot of a collection, or of a whole instance: a pin at this command's own revision, and a record.
//!
//! It costs the same however many segments there are. A name that is taken is refused, also for a caller who repeats the call:
//! only a repetition under the same request id gets the first answer again.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext, decode_record};
use crate::catalog::find::FoundCollection;
use crate::catalog::{find, storage};
use crate::instances;
use crate::keys::VersionedTable;
use crate::record::{SnapshotRecord, StatsRecord};
use crate::snapshots::{collections, lifecycle, names, shown};
use crate::store::Reader;
use crate::versioned::Lineage;
use crate::{attributes, instance_snapshots, limits, text_bounds};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::{CreateSnapshotRequest, Snapshot, SnapshotState};

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateSnapshot {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub database: String,
    /// Empty: the whole instance.
    #[prost(string, tag = "3")]
    pub collection: String,
    #[prost(string, tag = "4")]
    pub name: String,
    #[prost(string, tag = "5")]
    pub description: String,
    /// 0: kept until dropped.
    #[prost(uint64, tag = "6")]
    pub ttl_seconds: u64,
    /// Of a whole instance: its collections get manifests. Builds before this field made such snapshots without.
    #[prost(bool, tag = "7")]
    pub describes_collections: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateSnapshotReply {
    #[prost(message, optional, tag = "1")]
    pub snapshot: Option<Snapshot>,
    /// For those who wait until it is committed.
    #[prost(uint64, tag = "2")]
    pub scope: u64,
}

impl Prepare for CreateSnapshot {
    type Request = CreateSnapshotRequest;

    fn prepare(request: CreateSnapshotRequest, _: &PrepareContext<'_>) -> Result<CreateSnapshot, MetaError> {
        let CreateSnapshotRequest {
            instance_id,
            database,
            collection,
            name,
            description,
            ttl_seconds,
        } = request;
        if instance_id.is_empty() {
            return Err(MetaError::invalid("instance_id is empty; name the instance"));
        }
        for (what, text) in [("instance_id", &instance_id), ("database", &database), ("collection", &collection)] {
            text_bounds::check_text(what, text)?;
        }
        if collection.is_empty() && !database.is_empty() {
            return Err(MetaError::invalid(
                "a snapshot is of one collection or of the whole instance; name the collection, or leave the database out",
            ));
        }
        let name = name.trim().to_owned();
        names::check_name(&name)?;
        if description.len() > limits::MAX_DESCRIPTION_BYTES {
            let (bytes, limit) = (description.len(), limits::MAX_DESCRIPTION_BYTES);
            return Err(MetaError::invalid(format!("description is {bytes} bytes, limit {limit} bytes; shorten it")));
        }
        if ttl_seconds > limits::MAX_SNAPSHOT_TTL_SECONDS {
            let limit = limits::MAX_SNAPSHOT_TTL_SECONDS;
            return Err(MetaError::invalid(format!("ttl_seconds is {ttl_seconds}, limit {limit} (ten years); 0 keeps the snapshot until it is dropped")));
        }
        Ok(CreateSnapshot {
            instance_id,
            database,
            collection,
            name,
            description,
            ttl_seconds,
            describes_collections: true,
        })
    }
}

impl Command for CreateSnapshot {
    type Reply = CreateSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CreateSnapshotReply, ApplyError> {
        let (scope, source) = self.free_source(context.reader())?;
        let created_ms = context.now().0;
        let expires_ms = match self.ttl_seconds {
            0 => 0,
            seconds => created_ms.saturating_add(seconds.saturating_mul(1_000)),
        };
        // Where there is nothing to list, the first metadata file is the last one.
        let manifests_complete = match source.stats {
            Some(stats) => stats.segments == 0,
            None => !self.describes_collections || !collections::any(context.reader(), scope)?,
        };
        let record = SnapshotRecord {
            name: self.name.clone(),
            description: self.description.clone(),
            state: SnapshotState::Pending as i32,
            collection_id: source.collection_id,
            database: source.database,
            collection: source.collection,
            created_ms,
            expires_ms,
            vault: source.vault,
            stats: source.stats,
            manifests_complete,
            manifests_listed: manifests_complete,
            due_ms: expires_ms,
            ..SnapshotRecord::default()
        };
        let snapshot = lifecycle::create(context, scope, record)?;
        Ok(CreateSnapshotReply {
            snapshot: Some(shown::show_record(&snapshot)),
            scope: scope.0,
        })
    }
}

/// What a snapshot is of, with names as they are now.
#[derive(Default)]
struct Source {
    collection_id: u64,
    database: String,
    collection: String,
    vault: String,
    stats: Option<StatsRecord>,
}

impl CreateSnapshot {
    /// The vault that its metadata file goes to, and the scope whose instance names it. Refuses what the command itself would refuse about
    /// what the snapshot is of, and a name that is taken; quotas are the command's matter.
    pub fn vault(&self, reader: &dyn Reader) -> Result<(ScopeId, String), ApplyError> {
        let (scope, source) = self.free_source(reader)?;
        Ok((scope, source.vault))
    }

    /// What the snapshot is of, where its name is free.
    fn free_source(&self, reader: &dyn Reader) -> Result<(ScopeId, Source), ApplyError> {
        let scope = attributes::live_scope(reader, &self.instance_id)?;
        let source = self.source(reader, scope)?;
        if names::is_taken(reader, scope, source.collection_id, &self.name)? {
            return Err(MetaError::exists(format!("snapshot name {} already exists", self.name)).into());
        }
        Ok((scope, source))
    }

    fn source(&self, reader: &dyn Reader, scope: ScopeId) -> Result<Source, ApplyError> {
        if self.collection.is_empty() {
            let vault = match instances::find(reader, &self.instance_id)? {
                Some(instance) => {
                    let place = instance_snapshots::default_place(&instance);
                    storage::resolve_usable(reader, &instance, &place)?;
                    place
                }
                None => String::new(),
            };
            return Ok(Source {
                vault,
                ..Source::default()
            });
        }
        let database = names::database_or_default(&self.database);
        let collection_id = names::require_collection(reader, scope, database, &self.collection)?;
        let lineage = Lineage::of(reader, scope, Revision(u64::MAX))?;
        let Some(FoundCollection { record, .. }) = find::collection_by_id(reader, &lineage, collection_id)? else {
            let text = format!("collection not found[database={database}][collection={}]", self.collection);
            return Err(MetaError::not_found(text).into());
        };
        let stats = match lineage.get(reader, VersionedTable::CollectionStats, &collection_id.to_be_bytes())? {
            Some(row) => decode_record(&row.key, row.value)?,
            None => StatsRecord::default(),
        };
        Ok(Source {
            collection_id,
            database: database.to_owned(),
            collection: record.name,
            vault: record.vault,
            stats: Some(stats),
        })
    }
}

#[cfg(test)]
mod tests;
