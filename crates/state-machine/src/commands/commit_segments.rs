//! Makes prepared segments visible, all of them or none.

use crate::catalog::{FoundPartition, Target, bounds, find, row_keys, stats, uploads};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::keys::VersionedTable;
use crate::record::{SegmentRecord, StatsRecord, UploadRecord};
use crate::text_bounds;
use quorate_model::{ErrorCode, MetaError};
use quorate_wire::quorate::v1::{CommitSegmentsReply, CommitSegmentsRequest, SegmentContent};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitSegments {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(message, repeated, tag = "2")]
    pub segments: Vec<SegmentContent>,
}

impl Prepare for CommitSegments {
    type Request = CommitSegmentsRequest;

    fn prepare(request: CommitSegmentsRequest, _: &PrepareContext<'_>) -> Result<CommitSegments, MetaError> {
        let CommitSegmentsRequest { instance_id, segments } = request;
        bounds::check_instance(&instance_id)?;
        let ids: Vec<u64> = segments.iter().map(|segment| segment.segment_id).collect();
        bounds::check_segment_ids(&ids)?;
        segments.iter().try_for_each(bounds::check_content)?;
        let command = CommitSegments { instance_id, segments };
        text_bounds::check_command_size("commit_segments", &command)?;
        Ok(command)
    }
}

impl Command for CommitSegments {
    type Reply = CommitSegmentsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CommitSegmentsReply, ApplyError> {
        let target = Target::of(context.reader(), &self.instance_id)?;
        // What each partition, and so each collection, gains: rows of both are written once.
        let mut gains: BTreeMap<(u64, u64), (FoundPartition, StatsRecord)> = BTreeMap::new();
        for content in &self.segments {
            let upload = live_upload(context, &target, content.segment_id)?;
            let place = (upload.collection_id, upload.partition_id);
            if let std::collections::btree_map::Entry::Vacant(entry) = gains.entry(place) {
                let partition = open_partition(context, &target, content.segment_id, place)?;
                entry.insert((partition, StatsRecord::default()));
            }
            let segment = segment_of(context, content, &upload);
            if let Some((_, gain)) = gains.get_mut(&place) {
                *gain = stats::plus(*gain, stats::of_segment(&segment));
            }
            let key = row_keys::segment(place.0, place.1, content.segment_id);
            target.put_new(context, VersionedTable::Segment, &key, &segment);
            uploads::remove(context, target.scope, content.segment_id, &upload);
        }
        add_to_sums(context, &target, gains)?;
        Ok(CommitSegmentsReply {
            revision: context.revision().0,
        })
    }
}

fn live_upload(context: &ApplyContext<'_, '_>, target: &Target, segment_id: u64) -> Result<UploadRecord, ApplyError> {
    let upload = uploads::find(context.reader(), target.scope, segment_id)?;
    upload.filter(|upload| context.now().0 < upload.expires_ms).ok_or_else(|| {
        let message =
            format!("segment {segment_id} is not prepared: it was committed before, or given up; prepare another one and write its files anew");
        MetaError::new(ErrorCode::PreconditionFailed, message).into()
    })
}

/// The partition a segment was prepared for, if it and its collection are still there.
fn open_partition(
    context: &ApplyContext<'_, '_>,
    target: &Target,
    segment_id: u64,
    (collection_id, partition_id): (u64, u64),
) -> Result<FoundPartition, ApplyError> {
    let reader = context.reader();
    let found = match find::collection_by_id(reader, &target.lineage, collection_id)? {
        Some(_) => find::partition_by_id(reader, &target.lineage, collection_id, partition_id)?,
        None => None,
    };
    found.ok_or_else(|| {
        let message = format!(
            "segment {segment_id} was prepared for partition {partition_id} of collection {collection_id}, which has been dropped; abort it"
        );
        MetaError::new(ErrorCode::PreconditionFailed, message).into()
    })
}

fn segment_of(context: &ApplyContext<'_, '_>, content: &SegmentContent, upload: &UploadRecord) -> SegmentRecord {
    SegmentRecord {
        path: upload.path.clone(),
        vault: upload.vault.clone(),
        rows: content.rows,
        files: content.files.clone(),
        created_ms: context.now().0,
        owner_scope: 0,
    }
}

fn add_to_sums(
    context: &mut ApplyContext<'_, '_>,
    target: &Target,
    gains: BTreeMap<(u64, u64), (FoundPartition, StatsRecord)>,
) -> Result<(), ApplyError> {
    let mut by_collection: BTreeMap<u64, StatsRecord> = BTreeMap::new();
    for ((collection_id, partition_id), (mut partition, gain)) in gains {
        let sum = by_collection.entry(collection_id).or_default();
        *sum = stats::plus(*sum, gain);
        partition.record.stats = Some(stats::plus(partition.record.stats.unwrap_or_default(), gain));
        let key = row_keys::partition(collection_id, partition_id);
        target.put(context, VersionedTable::Partition, &key, &partition.record)?;
    }
    for (collection_id, gain) in by_collection {
        let before = stats::of_collection(context.reader(), &target.lineage, collection_id)?;
        stats::put(context, target, collection_id, &stats::plus(before, gain))?;
    }
    Ok(())
}
