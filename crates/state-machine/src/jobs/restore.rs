//! How a restore begins: where it goes, and what is staged of it before its tasks bring segments.

use crate::catalog::{find, storage};
use crate::command::{ApplyContext, ApplyError, decode_record};
use crate::instances::Instance;
use crate::keys::VersionedTable;
use crate::limits;
use crate::object_ids;
use crate::record::{CollectionRecord, NameRecord, PartitionMapping, PartitionRecord};
use crate::store::{Reader, StoreError};
use crate::versioned::{self, Lineage, LineageScan, PageLimit};
use bytes::{BufMut, BytesMut};
use prost::Message;
use quorate_model::ScopeId;

/// The id of the vault that a restore writes to: the one that is named, else the source's, else the target instance's default.
pub fn vault_of(reader: &dyn Reader, target: &Instance, named: &str, source: Option<&CollectionRecord>) -> Result<String, ApplyError> {
    let default = || target.info.default_storage_vault_id().to_owned();
    let wanted = match named {
        "" => source.map_or_else(default, |source| source.vault.clone()),
        named => named.to_owned(),
    };
    Ok(storage::resolve_usable(reader, target, &wanted)?.id().to_owned())
}

/// The source collection as its snapshot shows it.
pub fn source_collection(reader: &dyn Reader, lineage: &Lineage, collection_id: u64) -> Result<CollectionRecord, ApplyError> {
    let found = find::collection_by_id(reader, lineage, collection_id)?;
    let found = found.ok_or_else(|| StoreError(format!("a snapshot shows no collection {collection_id}, of which it is")))?;
    Ok(found.record)
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
