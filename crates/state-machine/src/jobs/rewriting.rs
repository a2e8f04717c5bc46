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
//! A compaction whose time is over before that gives up the manifests that are left (`fail_job` for its deadline) and ends as completed: they
//! count as not written, are listed nowhere, and are written anew when that can be done, as those of every snapshot that lacks some.
//!
//! Until then the clone keeps its pin on the source, and with it every file that a manifest names. Manifests that a job writes which was
//! started later name the copies. A compaction that holds files replaces none; but one that reads copies of a clone that was dropped has written
//! anew what that one's may have left. What reads through a clone is compacted after that, so that nothing ceases to be waited for.

use super::publication::compacting_instance;
use super::tasks;
use crate::command::{ApplyContext, ApplyError};
use crate::instances;
use crate::limits::{GIVEN_UP_PER_COMMAND, LOST_CLAIM_HEARD_MS, MANIFESTS_RETRY_MS, MAX_PAGE_ROWS};
use crate::record::{JobRecord, SnapshotRecord};
use crate::snapshots::{self, Snapshot};
use crate::store::{Reader, StoreError};
use crate::versioned::lineage::parent;
use quorate_model::{Revision, ScopeId};
use quorate_wire::quorate::v1::{JobState, SnapshotState};

/// Of so many snapshots that wait it is asked what holds them up.
const ASKED_WHY: usize = 16;
/// Tasks of a job that are asked whether they wait for a vault: it is asked of each job, again and again.
const ASKED_TASKS: usize = 64;

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
    snapshots_of(reader, record, limit, |snapshot| names_replaced_files(snapshot, since))
}

/// Those of the snapshots that show what a compaction's clone inherits for which this holds, at most `limit`.
fn snapshots_of(
    reader: &dyn Reader,
    record: &JobRecord,
    limit: usize,
    is_wanted: impl Fn(&SnapshotRecord) -> bool,
) -> Result<Vec<Snapshot>, StoreError> {
    let mut found = Vec::new();
    if !record.rewrites_manifests || compacting_instance(reader, record)?.is_none() {
        return Ok(found);
    }
    let mut scopes = vec![ScopeId(record.clone_scope)];
    while let Some(scope) = scopes.pop() {
        for snapshot in snapshots::all(reader, scope)? {
            if is_wanted(&snapshot.record) {
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

/// Whether manifests were written, at least in part, before the copies could be read, have not all been written again, and count.
fn names_replaced_files(record: &SnapshotRecord, since: Revision) -> bool {
    let has_manifests = record.state() == SnapshotState::Committed && record.doris.is_none() && record.manifest_job != 0;
    let is_given_up = record.manifests_given_up >= since.0;
    has_manifests && !is_given_up && (record.manifests_since < since.0 || record.replaces_manifests)
}

/// Those of snapshots that wait with which to begin now, so that no more than `at_once` get on at a time: first those that were tried longest
/// ago. One that cannot be written leaves its place to the others, while it pauses and while its tasks wait for its vault.
pub fn to_begin(reader: &dyn Reader, waiting: Vec<Snapshot>, now_ms: u64, at_once: usize) -> Result<Vec<Snapshot>, StoreError> {
    let (mut under_way, mut ready) = (0, Vec::new());
    for snapshot in waiting {
        let job = snapshot.record.manifest_job;
        if super::active_progress(reader, job)?.is_some() {
            under_way += usize::from(tasks::held_up(reader, job, ASKED_TASKS)?.is_none());
        } else if let Some(since) = ready_since(reader, &snapshot, now_ms)? {
            ready.push((since, snapshot));
        }
    }
    ready.sort_by_key(|(since, _)| *since);
    ready.truncate(at_once.saturating_sub(under_way));
    Ok(ready.into_iter().map(|(_, snapshot)| snapshot).collect())
}

/// Since when one can begin with a snapshot that waits: its last job has ended, and a worker that lost a claim of it has heard of that. After
/// one that failed the next is begun as late as for every snapshot.
fn ready_since(reader: &dyn Reader, snapshot: &Snapshot, now_ms: u64) -> Result<Option<u64>, StoreError> {
    let pause_ms = if snapshot.record.manifests_complete {
        LOST_CLAIM_HEARD_MS
    } else {
        MANIFESTS_RETRY_MS
    };
    let Some(job) = super::find(reader, snapshot.record.manifest_job)? else {
        return Ok(Some(0));
    };
    let since = job.ended_ms.saturating_add(pause_ms);
    Ok(Some(since).filter(|since| job.ended_ms != 0 && *since <= now_ms))
}

/// The snapshots that [`give_up`] looks at together.
pub fn to_give_up(reader: &dyn Reader, record: &JobRecord) -> Result<Vec<Snapshot>, StoreError> {
    waiting(reader, record, Revision(record.base_published_at), GIVEN_UP_PER_COMMAND)
}

/// Whether manifests are still being written by a job that may have written some before the copies could be read: they cannot be given up
/// before it has ended, for it would call them complete.
pub fn has_older_job(reader: &dyn Reader, record: &JobRecord, snapshot: &Snapshot) -> Result<bool, StoreError> {
    let is_older = snapshot.record.manifests_since < record.base_published_at;
    Ok(is_older && super::active_progress(reader, snapshot.record.manifest_job)?.is_some())
}

/// Gives up manifests that could not be written anew in a compaction's time. There may be more of them than one command gives up.
pub fn give_up(context: &mut ApplyContext<'_, '_>, record: &JobRecord) -> Result<(), ApplyError> {
    for mut snapshot in to_give_up(context.reader(), record)? {
        if has_older_job(context.reader(), record, &snapshot)? {
            continue;
        }
        let given_up = &mut snapshot.record;
        given_up.manifests_given_up = record.base_published_at;
        given_up.replaces_manifests |= given_up.manifests_complete;
        (given_up.manifests_complete, given_up.manifests_listed) = (false, false);
        snapshots::save(context, &snapshot)?;
    }
    Ok(())
}

/// What is to be said, at the end of a compaction, of manifests that it gave up and nobody has written since; empty if there are none.
pub fn said_of_given_up(reader: &dyn Reader, record: &JobRecord) -> Result<String, StoreError> {
    let since = record.base_published_at;
    if since == 0 {
        return Ok(String::new());
    }
    let given_up = snapshots_of(reader, record, usize::MAX, |snapshot| snapshot.manifests_given_up == since)?;
    let Some(first) = given_up.first() else {
        return Ok(String::new());
    };
    let which = match given_up.len() {
        1 => String::new(),
        count => format!("{count} snapshots, among them "),
    };
    Ok(format!(
        "manifests of {which}{} could not be written anew in time: they count as not written, and are tried again",
        named(reader, first)?
    ))
}

/// What a compaction waits for whose copies are read, and what can be done about it; empty if it waits for no manifests.
pub fn waits_for(reader: &dyn Reader, record: &JobRecord) -> Result<String, StoreError> {
    if record.base_published_at == 0 {
        return Ok(String::new());
    }
    let waiting = waiting(reader, record, Revision(record.base_published_at), ASKED_WHY)?;
    let Some(first) = waiting.first() else {
        return Ok(String::new());
    };
    for snapshot in &waiting {
        let failure = last_failure(reader, snapshot.record.manifest_job)?;
        if !failure.is_empty() {
            return Ok(format!(
                "manifests of {} to be written anew, which failed: {failure}; mend its vault, or drop it",
                named(reader, snapshot)?
            ));
        }
    }
    Ok(format!("manifests of {} to be written anew", named(reader, first)?))
}

fn named(reader: &dyn Reader, snapshot: &Snapshot) -> Result<String, StoreError> {
    let instance_id = instances::id_of_scope(reader, snapshot.scope)?;
    let id = snapshots::id::text(snapshot.revision);
    Ok(format!("snapshot {} ({id}) of instance {instance_id}", snapshot.record.name))
}

/// Why a job has failed, or a task of one that goes on; empty if none has.
fn last_failure(reader: &dyn Reader, job: u64) -> Result<String, StoreError> {
    let Some(record) = super::find(reader, job)? else {
        return Ok(String::new());
    };
    Ok(match record.state() {
        JobState::JobFailed | JobState::JobCancelled => record.reason,
        JobState::JobPlanning | JobState::JobRunning => tasks::held_up(reader, job, MAX_PAGE_ROWS)?
            .map(|(_, reason)| reason)
            .unwrap_or_default(),
        JobState::JobCompleted | JobState::Unspecified => String::new(),
    })
}
