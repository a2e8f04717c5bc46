//! Sums over a collection's visible segments.

use super::{Target, find, row_keys};
use crate::command::ApplyContext;
use crate::keys::VersionedTable;
use crate::record::{SegmentRecord, StatsRecord};
use crate::store::{Reader, StoreError};
use crate::versioned::Lineage;
use quorate_wire::quorate::v1::CollectionStats;

/// What one segment adds.
pub fn of_segment(segment: &SegmentRecord) -> StatsRecord {
    StatsRecord {
        segments: 1,
        rows: segment.rows,
        files: segment.files.len() as u64,
        bytes: segment.files.iter().map(|file| file.size_bytes).fold(0, u64::saturating_add),
    }
}

pub fn plus(a: StatsRecord, b: StatsRecord) -> StatsRecord {
    StatsRecord {
        segments: a.segments.saturating_add(b.segments),
        rows: a.rows.saturating_add(b.rows),
        files: a.files.saturating_add(b.files),
        bytes: a.bytes.saturating_add(b.bytes),
    }
}

pub fn minus(a: StatsRecord, b: StatsRecord) -> StatsRecord {
    StatsRecord {
        segments: a.segments.saturating_sub(b.segments),
        rows: a.rows.saturating_sub(b.rows),
        files: a.files.saturating_sub(b.files),
        bytes: a.bytes.saturating_sub(b.bytes),
    }
}

/// A collection's sums; a collection without a row of them has no segment yet.
pub fn of_collection(reader: &dyn Reader, lineage: &Lineage, collection_id: u64) -> Result<StatsRecord, StoreError> {
    let key = row_keys::collection(collection_id);
    let found = find::get(reader, lineage, VersionedTable::CollectionStats, &key)?;
    Ok(found.map(|(stats, _)| stats).unwrap_or_default())
}

/// Writes a collection's sums.
pub fn put(context: &mut ApplyContext<'_, '_>, target: &Target, collection_id: u64, stats: &StatsRecord) -> Result<(), StoreError> {
    target.put(
        context,
        VersionedTable::CollectionStats,
        &row_keys::collection(collection_id),
        stats,
    )
}

pub fn to_wire(stats: StatsRecord) -> CollectionStats {
    CollectionStats {
        segments: stats.segments,
        rows: stats.rows,
        files: stats.files,
        bytes: stats.bytes,
    }
}
