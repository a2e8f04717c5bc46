//! Dropping collections and partitions: what the command itself ends, and what it leaves to be collected.

use super::{FoundCollection, FoundPartition, Target, row_keys, stats};
use crate::command::{ApplyContext, ApplyError};
use crate::dropped;
use crate::keys::VersionedTable;
use crate::store::StoreError;
use quorate_model::Revision;

/// Hides a collection and all that is in it, in a few rows.
pub fn drop_collection(context: &mut ApplyContext<'_, '_>, target: &Target, collection: &FoundCollection) -> Result<(), StoreError> {
    let name = row_keys::collection_name(collection.record.database_id, &collection.record.name);
    target.end(context, VersionedTable::CollectionName, &name)?;
    target.end(context, VersionedTable::Collection, &row_keys::collection(collection.id))?;
    let created_at = Revision(collection.record.created_at);
    dropped::mark(context, target.scope, collection.id, 0, created_at);
    Ok(())
}

/// Hides a partition and takes it out of its collection's sums.
pub fn drop_partition(
    context: &mut ApplyContext<'_, '_>,
    target: &Target,
    mut collection: FoundCollection,
    partition: &FoundPartition,
) -> Result<(), ApplyError> {
    let name = row_keys::partition_name(collection.id, &partition.record.name);
    target.end(context, VersionedTable::PartitionName, &name)?;
    target.end(
        context,
        VersionedTable::Partition,
        &row_keys::partition(collection.id, partition.id),
    )?;
    collection.record.partitions = collection.record.partitions.saturating_sub(1);
    let key = row_keys::collection(collection.id);
    target.put(context, VersionedTable::Collection, &key, &collection.record)?;
    if let Some(its) = partition.record.stats {
        let sums = stats::of_collection(context.reader(), &target.lineage, collection.id)?;
        stats::put(context, target, collection.id, &stats::minus(sums, its))?;
    }
    let created_at = Revision(partition.record.created_at);
    dropped::mark(context, target.scope, collection.id, partition.id, created_at);
    Ok(())
}
