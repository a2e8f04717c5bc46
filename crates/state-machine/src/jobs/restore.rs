//! How a restore begins: where it goes, and what is staged of it before its tasks bring segments.

use crate::catalog::{FoundCollection, find, storage};
use crate::command::{ApplyContext, ApplyError, decode_record};
use crate::instances::Instance;
use crate::keys::VersionedTable;
use crate::limits;
use crate::object_ids;
use crate::record::{CollectionRecord, NameRecord, PartitionMapping, PartitionRecord, SnapshotRecord};
use crate::snapshots::names;
use crate::store::{Reader, StoreError};
use crate::versioned::{self, Lineage, LineageScan, PageLimit};
use bytes::{BufMut, BytesMut};
use prost::Message;
use quorate_model::{ErrorCode, MetaError, ScopeId};
use std::fmt;

/// The id of the vault that a restore writes to: the one that is named, else the source's, else the target instance's default.
pub fn vault_of(reader: &dyn Reader, target: &Instance, named: &str, source: Option<&CollectionRecord>) -> Result<String, ApplyError> {
    let default = || target.info.default_storage_vault_id().to_owned();
    let wanted = match named {
        "" => source.map_or_else(default, |source| source.vault.clone()),
        named => named.to_owned(),
    };
    Ok(storage::resolve_usable(reader, target, &wanted)?.id().to_owned())
}

/// Which collection of a snapshot is to be restored, by name or by id as the snapshot shows it. Nothing: the one that the snapshot is of.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// Empty: the default one, or that of the snapshot's collection.
    pub database: &'a str,
    pub collection: &'a str,
    pub collection_id: u64,
}

impl Wanted<'_> {
    /// Whether it is the collection that a snapshot is of, or open. Its names are those of its creation, as it shows them.
    fn fits(self, snapshot: &SnapshotRecord) -> bool {
        let fits = |wanted: &str, actual: &str| wanted.is_empty() || wanted == actual;
        (self.collection_id == 0 || self.collection_id == snapshot.collection_id)
            && fits(self.collection, &snapshot.collection)
            && fits(self.database, &snapshot.database)
    }
}

impl fmt::Display for Wanted<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let database = names::database_or_default(self.database);
        match self.collection_id {
            0 => write!(formatter, "collection {:?} of database {database:?}", self.collection),
            id => write!(formatter, "collection {id}"),
        }
    }
}

/// The source collection as a snapshot shows it.
pub fn source_collection(
    reader: &dyn Reader,
    lineage: &Lineage,
    snapshot: &SnapshotRecord,
    wanted: Wanted<'_>,
) -> Result<FoundCollection, ApplyError> {
    let id = snapshot.collection_id;
    if id == 0 {
        return collection_of_instance(reader, lineage, snapshot, wanted);
    }
    if !wanted.fits(snapshot) {
        let text = format!(
            "snapshot {} is of collection {}.{} alone; name no other one, or a snapshot of the whole instance",
            snapshot.name, snapshot.database, snapshot.collection
        );
        return Err(MetaError::new(ErrorCode::PreconditionFailed, text).into());
    }
    let found = find::collection_by_id(reader, lineage, id)?;
    Ok(found.ok_or_else(|| StoreError(format!("a snapshot shows no collection {id}, of which it is")))?)
}

/// One of the collections that a snapshot of a whole instance shows.
fn collection_of_instance(
    reader: &dyn Reader,
    lineage: &Lineage,
    snapshot: &SnapshotRecord,
    wanted: Wanted<'_>,
) -> Result<FoundCollection, ApplyError> {
    let name = &snapshot.name;
    let found = match (wanted.collection_id, wanted.collection) {
        (0, "") => {
            let text = format!(
                "snapshot {name} is of a whole instance; say which collection of it to restore (--collection, or source_collection), or \
                 clone the instance"
            );
            return Err(MetaError::new(ErrorCode::PreconditionFailed, text).into());
        }
        (0, collection) => match find::look_up_database(reader, lineage, names::database_or_default(wanted.database))? {
            Some(database) => find::look_up_collection(reader, lineage, database.record.database_id, collection)?,
            None => None,
        },
        (id, _) => find::collection_by_id(reader, lineage, id)?,
    };
    let missing = || {
        MetaError::not_found(format!(
            "snapshot {name} shows no {wanted}; name one that was there when it was made"
        ))
    };
    Ok(found.ok_or_else(missing)?)
}

/// Stages the partitions of a hidden collection, with their names and sums. Returns which is which.
pub fn stage_partitions(
    context: &mut ApplyContext<'_, '_>,
    source: &Lineage,
    source_collection: u64,
    target: ScopeId,
    target_collection: u64,
) -> Result<Vec<PartitionMapping>, ApplyError> {
    let scan = LineageScan {
        table: VersionedTable::Partition,
        prefix: &source_collection.to_be_bytes(),
        after_key: None,
        limit: PageLimit {
            rows: limits::MAX_PARTITIONS as usize,
            bytes: usize::MAX,
            keys: usize::MAX,
        },
    };
    let page = source.scan(context.reader(), &scan)?;
    let mut mappings = Vec::with_capacity(page.rows.len());
    for row in page.rows {
        let source_id = row.key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let partition: PartitionRecord = decode_record(&row.key, row.value)?;
        let target_id = object_ids::next(context);
        let copy = PartitionRecord {
            created_ms: context.now().0,
            created_at: context.revision().0,
            ..partition.clone()
        };
        let mut name_key = BytesMut::from(&target_collection.to_be_bytes()[..]);
        name_key.put_slice(partition.name.as_bytes());
        let name = NameRecord { id: target_id }.encode_to_vec();
        // The collection's id is new: there is nothing that these could supersede.
        versioned::write(context, VersionedTable::PartitionName, target, &name_key, Some(&name), None);
        let key = [target_collection.to_be_bytes(), target_id.to_be_bytes()].concat();
        let copy = copy.encode_to_vec();
        versioned::write(context, VersionedTable::Partition, target, &key, Some(&copy), None);
        mappings.push(PartitionMapping {
            source_id,
            target_id,
            name: partition.name,
        });
    }
    Ok(mappings)
}

/// Keeps the name for the job.
pub fn reserve_name(context: &mut ApplyContext<'_, '_>, record: &crate::record::JobRecord, job: u64) {
    let key = super::publication::reserved_name(record);
    context.changes().put(key, bytes::Bytes::copy_from_slice(&job.to_be_bytes()));
}
