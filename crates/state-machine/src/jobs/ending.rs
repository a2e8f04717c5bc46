//! How a job ends: the first of publication, failure and cancellation decides. What it held is given back in the same entry, and
//! what an unpublished one made is queued to be deleted.

use super::publication::{compacting_instance, reserved_name};
use super::{ActiveJob, rows};
use crate::command::{ApplyContext, ApplyError};
use crate::record::{CondemnedCause, CondemnedRecord, DroppedRecord, JobRecord, TaskRecord};
use crate::versioned::pins::{self, PinKind};
use crate::{condemned, dropped, instances, limits, snapshots};
use bytes::Bytes;
use quorate_model::job_states::job_may_become;
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId};
use quorate_wire::doris::SnapshotCompactStatus;
use quorate_wire::quorate::v1::{JobKind, JobState};

/// A worker that lost its claim may still write: its directory is swept again after a lease, an hour and a day.
const SWEEPS: u32 = 3;

/// Ends a job as failed or cancelled.
pub fn discard(context: &mut ApplyContext<'_, '_>, job: ActiveJob, state: JobState, reason: &str) -> Result<JobRecord, ApplyError> {
    let record = &job.record;
    if record.base_published_at != 0 {
        let (id, clone) = (job.id, &record.target_instance_id);
        let text = format!(
            "job {id}: clone {clone} reads its copies already, and only manifests of its snapshots are left to write anew; wait until that is done or the job's time is over, or drop these snapshots"
        );
        return Err(MetaError::new(ErrorCode::PreconditionFailed, text).into());
    }
    match record.kind() {
        JobKind::Restore => {
            let name = reserved_name(record);
            context.changes().remove(name);
            drop_staged(context, &job);
        }
        JobKind::CompactClone => {
            if let Some(mut instance) = compacting_instance(context.reader(), record)? {
                instance
                    .info
                    .set_snapshot_compact_status(SnapshotCompactStatus::SnapshotCompactUnknown);
                instances::put(context, &instance);
            }
            drop_staged(context, &job);
        }
        JobKind::Manifests | JobKind::Unspecified => {}
    }
    if record.copies_files {
        condemn_directory(context, &job, job.directory(), CondemnedCause::Job);
    }
    end(context, job, state, reason)
}

/// The rows that tasks staged. No reader has ever seen them, so no pin keeps them, and there is no history to wait for.
fn drop_staged(context: &mut ApplyContext<'_, '_>, job: &ActiveJob) {
    let record = DroppedRecord {
        collection_id: job.record.target_collection_id,
        // What was copied is condemned with the job's directory, what was not is another scope's.
        files_condemned: true,
        ..DroppedRecord::default()
    };
    dropped::add(context, ScopeId(job.record.target_scope), &record);
}

/// Condemns what claims wrote that a task had before the one that counts.
pub fn condemn_earlier_claims(context: &mut ApplyContext<'_, '_>, job: &ActiveJob, number: u32, task: &TaskRecord) {
    if !job.record.copies_files {
        return;
    }
    for earlier in task.earlier_fences() {
        let path = super::claim_directory(&job.record, job.id, number, earlier);
        condemn_directory(context, job, path, CondemnedCause::Claim);
    }
}

fn condemn_directory(context: &mut ApplyContext<'_, '_>, job: &ActiveJob, path: String, cause: CondemnedCause) {
    let condemned = CondemnedRecord {
        scope: job.record.target_scope,
        vault: job.record.target_vault.clone(),
        path,
        sweeps_left: SWEEPS,
        cause: cause as i32,
        cause_id: job.id,
        ..CondemnedRecord::default()
    };
    condemned::add(context, &condemned);
}

/// Writes a job's end and gives back what every job holds.
pub(super) fn end(context: &mut ApplyContext<'_, '_>, job: ActiveJob, state: JobState, reason: &str) -> Result<JobRecord, ApplyError> {
    let ActiveJob { id, record, progress } = job;
    if !job_may_become(record.state(), state) {
        let text = format!("job {id} is {} and cannot become {state:?}", super::state_name(&record));
        return Err(MetaError::new(ErrorCode::PreconditionFailed, text).into());
    }
    let now_ms = context.now().0;
    let (scope, revision) = (ScopeId(record.source_scope), Revision(record.source_revision));
    pins::end(context, PinKind::Job, scope, revision, record.source_pin)?;
    if record.snapshot_pin != 0 {
        snapshots::pins::remove(context, record.snapshot_pin)?;
    }
    context.changes().remove(rows::active(id));
    context.changes().put(rows::retention(now_ms, id), Bytes::new());
    context.counters.active_jobs = context.counters.active_jobs.saturating_sub(1);
    let manifests = u64::from(record.kind() == JobKind::Manifests);
    context.counters.active_manifests = context.counters.active_manifests.saturating_sub(manifests);
    let record = JobRecord {
        state: state as i32,
        reason: bounded(reason).to_owned(),
        progress: Some(progress),
        ended_ms: now_ms,
        ..record
    };
    context.put_record(rows::job(id), &record);
    Ok(record)
}

/// A free text cut to its bound, at a character.
pub fn bounded(text: &str) -> &str {
    let mut end = text.len().min(limits::MAX_DESCRIPTION_BYTES);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Fails a job because of one of its tasks.
pub fn fail_by_task(context: &mut ApplyContext<'_, '_>, job: ActiveJob, number: u32, why: &str) -> Result<(), ApplyError> {
    discard(context, job, JobState::JobFailed, &format!("task {number}: {why}"))?;
    Ok(())
}

/// Whether a task has failed so often that its job is given up.
pub fn is_given_up(task: &TaskRecord) -> bool {
    task.attempts >= limits::MAX_TASK_ATTEMPTS
        || task.expirations >= limits::MAX_TASK_EXPIRATIONS
        || task.vault_failures >= limits::MAX_VAULT_FAILURES
}
