//! Drops segments of one partition. Their files go when no snapshot, clone or job can see them any more.

use crate::catalog::{FoundPartition, Target, bounds, find, row_keys, stats};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::inherited;
use crate::keys::VersionedTable;
use crate::record::{SegmentRecord, StatsRecord};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{DropSegmentsReply, DropSegmentsRequest};

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropSegments {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub database: String,
    #[prost(string, tag = "3")]
    pub collection: String,
    #[prost(string, tag = "4")]
    pub partition: String,
    #[prost(uint64, repeated, tag = "5")]
    pub segment_ids: Vec<u64>,
}

impl Prepare for DropSegments {
    type Request = DropSegmentsRequest;

    fn prepare(request: DropSegmentsRequest, _: &PrepareContext<'_>) -> Result<DropSegments, MetaError> {
        let DropSegmentsRequest {
            instance_id,
            database,
            collection,
            partition,
            segment_ids,
        } = request;
        let database = bounds::database_of_collection(&instance_id, database, &collection)?;
        let partition = bounds::partition_name(partition)?;
        bounds::check_segment_ids(&segment_ids)?;
        Ok(DropSegments {
            instance_id,
            database,
            collection,
            partition,
            segment_ids,
        })
    }
}

impl Command for DropSegments {
    type Reply = DropSegmentsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DropSegmentsReply, ApplyError> {
        let (target, collection) = Target::of_collection(context.reader(), &self.instance_id, &self.database, &self.collection)?;
        let partition = find::find_partition(context.reader(), &target.lineage, &collection, &self.partition)?;
        let mut lost = StatsRecord::default();
        for segment_id in &self.segment_ids {
            let key = row_keys::segment(collection.id, partition.id, *segment_id);
            if let Some(row) = target.end(context, VersionedTable::Segment, &key)? {
                if row.scope != target.scope {
                    inherited::mark(context, target.scope, &key)?;
                }
                let segment: SegmentRecord = find::decode(&row)?;
                lost = stats::plus(lost, stats::of_segment(&segment));
            }
        }
        if lost.segments == 0 {
            return Ok(DropSegmentsReply {
                dropped: 0,
                revision: context.counters.revision,
            });
        }
        take_from_sums(context, &target, partition, lost)?;
        Ok(DropSegmentsReply {
            dropped: lost.segments as u32,
            revision: context.revision().0,
        })
    }
}

fn take_from_sums(
    context: &mut ApplyContext<'_, '_>,
    target: &Target,
    mut partition: FoundPartition,
    lost: StatsRecord,
) -> Result<(), ApplyError> {
    let id = partition.collection_id;
    let before = stats::of_collection(context.reader(), &target.lineage, id)?;
    stats::put(context, target, id, &stats::minus(before, lost))?;
    partition.record.stats = Some(stats::minus(partition.record.stats.unwrap_or_default(), lost));
    let key = row_keys::partition(id, partition.id);
    Ok(target.put(context, VersionedTable::Partition, &key, &partition.record)?)
}
