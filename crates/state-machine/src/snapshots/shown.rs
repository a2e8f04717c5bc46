//! A snapshot as callers of the native API see it.

use super::pins::{self, SnapshotPin};
use super::{Snapshot, clones, id};
use crate::jobs::publication::live_instance;
use crate::store::{Reader, StoreError};
use crate::{instances, jobs, limits};
use quorate_wire::quorate::v1;

/// Everything about a snapshot, as of the stamped time that pins are judged by.
pub fn show(reader: &dyn Reader, snapshot: &Snapshot, now_ms: u64) -> Result<v1::Snapshot, StoreError> {
    let mut shown = show_record(snapshot);
    let live = pins::live(reader, snapshot.scope, snapshot.revision, now_ms)?;
    shown.pins = live.len() as u32;
    shown.pinned_by = live.iter().take(limits::MAX_SHOWN_PINS).map(show_pin).collect();
    for clone in clones(reader, snapshot.scope, snapshot.revision)? {
        let id = instances::id_of_scope(reader, clone)?;
        match live_instance(reader, clone)? {
            Some(_) => shown.clones.push(id),
            None => shown.dropped_clones.push(id),
        }
    }
    if shown.manifests == 0 && snapshot.record.manifest_job != 0 {
        let progress = jobs::active_progress(reader, snapshot.record.manifest_job)?.unwrap_or_default();
        shown.manifests = progress.done.map_or(0, |done| done.segments);
        if snapshot.is_of_instance() {
            // Nobody counts its segments before.
            shown.segments = progress.planned.map_or(0, |planned| planned.segments);
        }
    }
    Ok(shown)
}

fn show_pin(pin: &SnapshotPin) -> v1::SnapshotPin {
    v1::SnapshotPin {
        pin_id: pin.id,
        expires_ms: pin.record.expires_ms,
        job_id: pin.record.job,
    }
}

/// What the record alone says: all of it, for a snapshot that has just been made.
pub fn show_record(snapshot: &Snapshot) -> v1::Snapshot {
    let Snapshot { revision, record, .. } = snapshot;
    let stats = record.stats.unwrap_or_default();
    v1::Snapshot {
        snapshot_id: id::text(*revision),
        name: record.name.clone(),
        description: record.description.clone(),
        state: record.state,
        database: record.database.clone(),
        collection: record.collection.clone(),
        collection_id: record.collection_id,
        revision: revision.0,
        created_ms: record.created_ms,
        expires_ms: record.expires_ms,
        location: record.location.clone(),
        segments: stats.segments,
        rows: stats.rows,
        files: stats.files,
        bytes: stats.bytes,
        manifests: if record.manifests_complete { stats.segments } else { 0 },
        pins: 0,
        clones: Vec::new(),
        dropped_clones: Vec::new(),
        pinned_by: Vec::new(),
    }
}
