//! Manifests that name files which a compaction has replaced by copies.
//!
//! A snapshot of a clone, or of a clone that reads through it, shows what is inherited: manifests that were written before the compaction
//! name the source's files, and those go when the clone is decoupled and the source dropped, while the snapshot lives. So a compaction that
//! copied is done only when they have been written anew:
//!
//! ```text
//! all tasks done --publish_job--> the clone reads its copies --start_manifests for each snapshot, publish_job--> done, may be decoupled
//! ```
//!
//! Until then the clone keeps its pin on the source, and with it every file that a manifest names. Manifests that a job writes which was
//! started later name the copies. A compaction that holds files replaces none; but one that reads copies of a clone that was dropped has written
//! anew what that one's may have left. What reads through a clone is compacted after that, so that nothing ceases to be waited for.

use super::publication::compacting_instance;
use crate::command::ApplyContext;
use crate::limits::{LOST_CLAIM_HEARD_MS, MANIFESTS_RETRY_MS};
use crate::record::{JobRecord, SnapshotRecord};
use crate::snapshots::{self, Snapshot};
use crate::store::{Reader, StoreError};
use crate::versioned::lineage::parent;
use quorate_model::{Revision, ScopeId};
use quorate_wire::quorate::v1::SnapshotState;

/// From when on the clone of a compaction reads its copies, if it is published now or was before.
pub fn since(context: &ApplyContext<'_, '_>, record: &JobRecord) -> Revision {
    match record.base_published_at {
        0 => context.revision(),
        revision => Revision(revision),
    }
}

/// Snapshots with manifests that are still to be written anew, at most `limit`. None when the clone was dropped: it keeps its pin on the source
/// as long as anybody reads through it.
pub fn waiting(reader: &dyn Reader, record: &JobRecord, since: Revision, limit: usize) -> Result<Vec<Snapshot>, StoreError> {
    let mut found = Vec::new();
    if !record.rewrites_manifests || compacting_instance(reader, record)?.is_none() {
        return Ok(found);
    }
    let mut scopes = vec![ScopeId(record.clone_scope)];
    while let Some(scope) = scopes.pop() {
        for snapshot in snapshots::all(reader, scope)? {
            if names_replaced_files(&snapshot.record, since) {
                found.push(snapshot);
            }
            if found.len() == limit {
                return Ok(found);
            }
        }
        for clone in snapshots::clones_of_scope(reader, scope)? {
            // One that was compacted itself does not read through it any more.
            if parent(reader, clone)?.is_some_and(|parent| !parent.base_complete) {
                scopes.push(clone);
            }
        }
    }
    Ok(found)
}

/// Whether manifests were written, at least in part, before the copies could be read, and have not all been written again.
fn names_replaced_files(record: &SnapshotRecord, since: Revision) -> bool {
    let has_manifests = record.state() == SnapshotState::Committed && record.doris.is_none() && record.manifest_job != 0;
    has_manifests && (record.manifests_since < since.0 || record.replaces_manifests)
}

/// Whether to begin now with a snapshot that waits: its last job has completed, and a worker that lost a claim of it has heard of that. After
/// one that failed the next is begun as late as for every snapshot.
pub fn can_begin(reader: &dyn Reader, snapshot: &Snapshot, now_ms: u64) -> Result<bool, StoreError> {
    let pause_ms = if snapshot.record.manifests_complete {
        LOST_CLAIM_HEARD_MS
    } else {
        MANIFESTS_RETRY_MS
    };
    let job = super::find(reader, snapshot.record.manifest_job)?;
    Ok(job.is_none_or(|job| job.ended_ms != 0 && job.ended_ms.saturating_add(pause_ms) <= now_ms))
}
