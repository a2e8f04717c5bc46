//! Tasks and claims: how a task's record changes, with the rows that say where it is.

use super::source::is_of_whole_instance;
use super::{ActiveJob, active_progress, claim_directory, rows};
use crate::command::{ApplyContext, ApplyError, decode_record, read_record};
use crate::limits;
use crate::record::{JobProgressRecord, JobRecord, SettingsRecord, TaskRecord};
use crate::recoveries::{self, first_fence};
use crate::settings::READ_BACK_COPIES;
use crate::store::{Reader, StoreError};
use bytes::Bytes;
use quorate_model::job_states::task_may_become;
use quorate_model::{ErrorCode, MetaError, Revision, mutant, vault_paths};
use quorate_wire::quorate::v1::{JobKind, PartitionPair, TaskAssignment, TaskState};

/// A claim that holds: of a job that has not ended, under the task's newest fence.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub progress: JobProgressRecord,
    pub task: TaskRecord,
}

impl TaskRecord {
    pub fn state(&self) -> TaskState {
        TaskState::try_from(self.state).unwrap_or_default()
    }

    /// How long the claim holds after it was last renewed.
    pub fn lease_ms(&self) -> u64 {
        match self.lease_ms {
            0 => limits::CLAIM_LEASE_MS,
            lease_ms => lease_ms,
        }
    }

    /// The claim with a lease of this length. The usual one is written as builds wrote it that knew no other.
    pub fn leased_for(self, lease_ms: u64) -> TaskRecord {
        TaskRecord {
            lease_ms: if lease_ms == limits::CLAIM_LEASE_MS { 0 } else { lease_ms },
            ..self
        }
    }

    /// The task as a worker has it who claims it now. No fence up to `fences_above` is given out.
    pub fn claimed_by(&self, worker: &str, fences_above: u64) -> TaskRecord {
        let mut claimed = TaskRecord {
            state: TaskState::TaskClaimed as i32,
            worker: worker.to_owned(),
            fence: self.fence.max(fences_above) + 1,
            renewals: 0,
            files_done: 0,
            bytes_done: 0,
            ..self.clone()
        };
        if (1..=fences_above).contains(&self.fence) {
            claimed.former_fences.push(self.fence);
        }
        claimed
    }

    /// The fences of the claims before the newest. Those that only a lost cluster has given out are not known.
    pub fn earlier_fences(&self) -> impl Iterator<Item = u64> {
        let of_lost_clusters = self.former_fences.iter().flat_map(|last| first_fence(*last)..=*last);
        of_lost_clusters.chain(first_fence(self.fence)..self.fence)
    }
}

pub fn find(reader: &dyn Reader, job: u64, task: u32) -> Result<Option<TaskRecord>, StoreError> {
    read_record(reader, &rows::task(job, task))
}

/// The claim with this fence; `None` if it does not hold any more, or never did. Whoever reports under it then changes nothing.
pub fn claim(reader: &dyn Reader, job: u64, task: u32, fence: u64) -> Result<Option<Claim>, StoreError> {
    let Some(progress) = active_progress(reader, job)? else {
        return Ok(None);
    };
    let task = find(reader, job, task)?
        .filter(|task| task.state() == TaskState::TaskClaimed && (task.fence == fence || mutant!("stale-fence-accepted")));
    Ok(task.map(|task| Claim { progress, task }))
}

/// As [`claim`], for what a worker reports. Under a fence from before a recovery nothing counts: the lost cluster may have given the task to
/// somebody else since, and have deleted what this worker wrote.
pub fn reported(context: &ApplyContext<'_, '_>, job: u64, task: u32, fence: u64) -> Result<Option<Claim>, StoreError> {
    if fence <= recoveries::fences_above(&context.counters) {
        return Ok(None);
    }
    claim(context.reader(), job, task, fence)
}

/// As [`claim`]; one that does not hold is refused.
pub fn require_claim(reader: &dyn Reader, job: u64, task: u32, fence: u64) -> Result<Claim, ApplyError> {
    let lost = || {
        let message = format!("task {task} of job {job} is not claimed under fence {fence} any more; stop working on it");
        MetaError::new(ErrorCode::PreconditionFailed, message)
    };
    Ok(claim(reader, job, task, fence)?.ok_or_else(lost)?)
}

/// Adds a task that can be claimed at once.
pub fn add(context: &mut ApplyContext<'_, '_>, job: u64, number: u32, task: &TaskRecord) {
    context.changes().put(rows::open(job, task.not_before_ms, number), Bytes::new());
    context.put_record(rows::task(job, number), task);
}

/// Writes a task's new state, with the rows that follow from it. The caller writes the progress.
pub fn change(
    context: &mut ApplyContext<'_, '_>,
    job: u64,
    number: u32,
    progress: &mut JobProgressRecord,
    before: &TaskRecord,
    after: &TaskRecord,
) -> Result<(), StoreError> {
    let (from, to) = (before.state(), after.state());
    if !task_may_become(from, to) {
        return Err(StoreError(format!("task {number} of job {job} cannot go from {from:?} to {to:?}")));
    }
    match from {
        TaskState::TaskOpen => context.changes().remove(rows::open(job, before.not_before_ms, number)),
        TaskState::TaskClaimed => {
            progress.tasks_claimed = progress.tasks_claimed.saturating_sub(1);
            context.changes().remove(rows::claimed(job, number));
        }
        _ => {}
    }
    match to {
        TaskState::TaskOpen => context.changes().put(rows::open(job, after.not_before_ms, number), Bytes::new()),
        TaskState::TaskClaimed => {
            progress.tasks_claimed += 1;
            context.changes().put(rows::claimed(job, number), Bytes::new());
        }
        TaskState::TaskCompleted => progress.tasks_done += 1,
        _ => {}
    }
    context.put_record(rows::task(job, number), after);
    Ok(())
}

/// What a worker needs to know of a claim that is made under these settings.
pub fn assignment(job: u64, record: &JobRecord, number: u32, task: &TaskRecord, settings: &SettingsRecord) -> TaskAssignment {
    let expected = task.expected.unwrap_or_default();
    TaskAssignment {
        job_id: job,
        task: number,
        fence: task.fence,
        lease_ms: task.lease_ms(),
        kind: record.kind,
        rows: expected.segments,
        files: expected.files,
        bytes: expected.bytes,
        target_scope: record.target_scope,
        target_vault: record.target_vault.clone(),
        target_path: target_path(job, record, number, task),
        copies_files: record.copies_files,
        first_target_id: task.first_target_id,
        source_scope: record.source_scope,
        target_collection_id: record.target_collection_id,
        partitions: partitions(record, task),
        skip_read_back: settings.value(&READ_BACK_COPIES) == 0,
    }
}

/// Where a claim writes. Manifests have one place each, whoever writes them: their content is the same.
fn target_path(job: u64, record: &JobRecord, number: u32, task: &TaskRecord) -> String {
    if record.kind() != JobKind::Manifests {
        return claim_directory(record, job, number, task.fence);
    }
    let collection = match is_of_whole_instance(record) {
        // A task of these has one collection.
        true => task.first_key.first_chunk::<8>().map_or(0, |id| u64::from_be_bytes(*id)),
        false => record.source_collection_id,
    };
    vault_paths::manifests_directory(collection, Revision(record.snapshot_revision))
}

/// The mapping of the partitions that a task's range touches: an assignment is remembered with its worker's session.
fn partitions(record: &JobRecord, task: &TaskRecord) -> Vec<PartitionPair> {
    let partition_of = |key: &[u8]| {
        key.get(8..16)
            .map(|bytes| bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let (first, last) = (
        partition_of(&task.first_key).unwrap_or(0),
        partition_of(&task.last_key).unwrap_or(u64::MAX),
    );
    let touched = record.partitions.iter().filter(|pair| (first..=last).contains(&pair.source_id));
    touched
        .map(|pair| PartitionPair {
            source_id: pair.source_id,
            target_id: pair.target_id,
        })
        .collect()
}

/// The pause before a task that failed `attempts` times is claimed again: one second, doubled each time, at most a minute.
pub fn back_off_ms(attempts: u32) -> u64 {
    (1_000u64 << attempts.saturating_sub(1).min(6)).min(60_000)
}

/// Whether any job but those has a task that could be claimed at a stamped time and has been open for so long.
pub fn any_claimable(reader: &dyn Reader, now_ms: u64, avoid_jobs: &[u64], min_age_ms: u64) -> Result<bool, StoreError> {
    let open_at_ms = now_ms.saturating_sub(min_age_ms);
    for (job, _) in super::all_active(reader)? {
        if !avoid_jobs.contains(&job) && any_open(reader, job, open_at_ms)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether a job has a task that could be claimed at a stamped time.
fn any_open(reader: &dyn Reader, job: u64, now_ms: u64) -> Result<bool, StoreError> {
    let prefix = rows::open_of(job);
    match reader.first_in_prefix(&prefix, &prefix)? {
        Some((key, _)) => Ok(rows::parts_of_open(&key)?.0 <= now_ms),
        None => Ok(false),
    }
}

/// The tasks of a job that are claimed now.
pub fn claimed(reader: &dyn Reader, job: u64) -> Result<Vec<(u32, TaskRecord)>, StoreError> {
    let prefix = rows::claimed_of(job);
    let mut cursor = reader.cursor(&prefix, &crate::store::prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((key, _)) = cursor.row() {
        let number = rows::task_of(key)?;
        let task = find(reader, job, number)?;
        let task = task.ok_or_else(|| StoreError(format!("task {number} of job {job} is claimed but has no record")))?;
        found.push((number, task));
        cursor.next()?;
    }
    Ok(found)
}

/// The first task that has failed and is to be claimed again, and why it failed. Looked for among the first tasks, so many of them: what
/// holds up one usually holds up all.
pub fn held_up(reader: &dyn Reader, job: u64, among: usize) -> Result<Option<(u32, String)>, StoreError> {
    let prefix = rows::tasks_of(job);
    let mut cursor = reader.cursor(&prefix, &crate::store::prefix_end(&prefix))?;
    for _ in 0..among {
        let Some((key, value)) = cursor.row() else {
            break;
        };
        let task: TaskRecord = decode_record(key, value)?;
        if task.state() == TaskState::TaskOpen && !task.reason.is_empty() {
            return Ok(Some((rows::task_of(key)?, task.reason)));
        }
        cursor.next()?;
    }
    Ok(None)
}

/// Everything a job's publication waits for.
pub fn all_done(job: &ActiveJob) -> bool {
    if mutant!("job-published-early") {
        return job.progress.tasks_done > 0;
    }
    job.progress.tasks_done == job.progress.tasks_planned
        && job.progress.done.unwrap_or_default() == job.progress.planned.unwrap_or_default()
}
