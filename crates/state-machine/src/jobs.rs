//! Jobs: long work on files, cut into tasks that workers claim.
//!
//! ```text
//! Job           !job -> JobRecord            what is to be done, and how it ended
//! ActiveJob     job -> JobProgressRecord     only until it ends
//! Task          job | task -> TaskRecord     a key range of one table of the source
//! OpenTask      job | not before | task      tasks that can be claimed       both say what the tasks' records say,
//! ClaimedTask   job | task                   tasks that are claimed          of ended jobs too, until these are removed
//! JobByTarget   scope | collection | job     JobRetention  time | job
//! ```
//!
//! The collection of a job by target is the one that a restore fills, or whose manifests are written; 0 for all other jobs.
//!
//! ```text
//! planning --(plan_tasks, done)--> running --(publish_job)--> completed        tasks run in both
//!     |                               |
//!     +-------------------------------+--(cancel_job, drop_collection, fail_job)--> cancelled, failed
//! ```
//!
//! What tasks make is staged where no reader looks; publication is one small entry that makes it visible. So the first of
//! publication, cancellation and failure decides, and there is nothing in between. A task is claimed under a fence that grows
//! with each claim; a report under another fence changes nothing, so each task's result counts once, whoever repeats what.
//!
//! Reading order: `rows` (where things are), this file (start), [`source`] (what is read), [`plan`] (how it is cut),
//! [`tasks`] (claims), [`results`] (what a task stages), [`publication`], [`rewriting`] (what follows a compaction's), [`ending`].

pub mod ending;
pub mod plan;
pub mod publication;
pub mod restore;
pub mod results;
pub mod rewriting;
pub mod rows;
pub mod source;
pub mod tasks;
pub mod translate;

use crate::command::{ApplyContext, ApplyError, decode_record, read_record};
use crate::limits;
use crate::object_ids;
use crate::record::{Counters, JobProgressRecord, JobRecord, StatsRecord};
use crate::settings::{self, MAX_ACTIVE_JOBS};
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned::pins::{self, PinKind};
use bytes::Bytes;
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId, vault_paths};
use quorate_wire::quorate::v1::{JobKind, JobState};
use std::collections::BTreeSet;

/// A job that has not ended.
#[derive(Clone, Debug, PartialEq)]
pub struct ActiveJob {
    pub id: u64,
    pub record: JobRecord,
    pub progress: JobProgressRecord,
}

impl ActiveJob {
    /// The directory of all files its tasks write; no other job ever writes there.
    pub fn directory(&self) -> String {
        directory(&self.record, self.id)
    }
}

/// The directory of all files a job's tasks write.
pub fn directory(record: &JobRecord, job: u64) -> String {
    vault_paths::job_directory(ScopeId(record.target_scope), job)
}

/// The directory of one claim's files.
pub fn claim_directory(record: &JobRecord, job: u64, task: u32, fence: u64) -> String {
    format!("{}/t{task}-f{fence}", directory(record, job))
}

/// Whether another job may be started.
pub fn check_room(context: &ApplyContext<'_, '_>) -> Result<(), ApplyError> {
    let (active, most) = (context.counters.active_jobs, most_active(context.reader())?);
    if active < most {
        return Ok(());
    }
    let limit = MAX_ACTIVE_JOBS.limit_text(most);
    let message = format!("{active} jobs have not ended, limit {limit}; wait for some, or cancel what is not needed");
    Err(MetaError::new(ErrorCode::LimitReached, message).into())
}

/// How many jobs may be active.
pub fn most_active(reader: &dyn Reader) -> Result<u64, StoreError> {
    settings::value(reader, &MAX_ACTIVE_JOBS)
}

/// Whether a job that writes manifests may be started. They are started by the cluster itself, and wait as work on their snapshots
/// while there is no room: when the store of many snapshots is away, restores and compactions still find some. `most` is how many jobs may
/// be active, here and below.
pub fn has_room_for_manifests(counters: &Counters, most: u64) -> bool {
    counters.active_manifests < most / limits::PLACES_PER_MANIFESTS && counters.active_jobs < most
}

/// Whether a job may be started that writes manifests anew, for which a compaction waits. These have places beside all others: a compaction
/// that waits keeps its own and cannot be given up, so when such have all places there must be some left for what they wait for.
pub fn has_room_for_rewriting(counters: &Counters, most: u64) -> bool {
    let limit = most + limits::REWRITING_JOBS_BESIDE;
    counters.active_manifests < most / limits::PLACES_PER_MANIFESTS && counters.active_jobs < limit
}

/// Starts a job: the caller says what it reads and fills, this adds its state, its times and its pin on the source. Refused when too
/// many jobs are active. Returns the job's id.
pub fn start(context: &mut ApplyContext<'_, '_>, record: JobRecord) -> Result<u64, ApplyError> {
    check_room(context)?;
    start_in_room(context, record)
}

/// The same, for who has found that there is room.
pub fn start_in_room(context: &mut ApplyContext<'_, '_>, record: JobRecord) -> Result<u64, ApplyError> {
    let (scope, revision) = (ScopeId(record.source_scope), Revision(record.source_revision));
    let source_pin = pins::begin(context, PinKind::Job, scope, revision, 0)?;
    let id = object_ids::next(context);
    let now_ms = context.now().0;
    let deadline_ms = deadline_of(context, record.deadline_ms);
    let record = JobRecord {
        state: JobState::JobPlanning as i32,
        source_pin,
        created_ms: now_ms,
        deadline_ms,
        progress: None,
        ..record
    };
    context.counters.active_jobs += 1;
    context.counters.active_manifests += u64::from(record.kind() == JobKind::Manifests);
    context.put_record(rows::job(id), &record);
    context.put_record(rows::active(id), &JobProgressRecord::default());
    let by_target = rows::by_target(record.target_scope, record.target_collection_id, id);
    context.changes().put(by_target, Bytes::new());
    Ok(id)
}

/// When a job that is started now has to have ended; 0 stands for the usual time.
pub fn deadline_of(context: &ApplyContext<'_, '_>, deadline_ms: u64) -> u64 {
    match deadline_ms {
        0 => context.now().0.saturating_add(limits::JOB_TIMEOUT_MS),
        deadline_ms => deadline_ms,
    }
}

/// Reads a job, ended or not. Its record goes some time after its end ([`settings::JOB_RETENTION_SECONDS`]).
pub fn find(reader: &dyn Reader, job: u64) -> Result<Option<JobRecord>, StoreError> {
    read_record(reader, &rows::job(job))
}

/// How far a job that has not ended has come; `None` when it has, or when there is none of this id.
pub fn active_progress(reader: &dyn Reader, job: u64) -> Result<Option<JobProgressRecord>, StoreError> {
    read_record(reader, &rows::active(job))
}

/// Reads a job that has not ended.
pub fn find_active(reader: &dyn Reader, job: u64) -> Result<Option<ActiveJob>, StoreError> {
    let Some(progress) = active_progress(reader, job)? else {
        return Ok(None);
    };
    let record = find(reader, job)?.ok_or_else(|| StoreError(format!("job {job} is active but has no record")))?;
    Ok(Some(ActiveJob { id: job, record, progress }))
}

/// Reads a job that has not ended, or says why there is none.
pub fn require_active(reader: &dyn Reader, job: u64) -> Result<ActiveJob, ApplyError> {
    if let Some(active) = find_active(reader, job)? {
        return Ok(active);
    }
    Err(match find(reader, job)? {
        None => missing(reader, job)?,
        Some(record) => {
            let message = format!("job {job} has ended: it is {}", state_name(&record));
            MetaError::new(ErrorCode::PreconditionFailed, message)
        }
    }
    .into())
}

/// Says of a job that there is no record of it.
pub fn missing(reader: &dyn Reader, job: u64) -> Result<MetaError, StoreError> {
    let kept = span(settings::value(reader, &settings::JOB_RETENTION_SECONDS)?);
    let message = format!("job {job} does not exist, or ended more than {kept} ago; list the jobs");
    Ok(MetaError::not_found(message))
}

/// A time in the largest unit of which it is a whole number.
fn span(seconds: u64) -> String {
    let units = [(86_400, "day"), (3_600, "hour"), (60, "minute")];
    let (length, unit) = units
        .into_iter()
        .find(|(length, _)| seconds.is_multiple_of(*length))
        .unwrap_or((1, "second"));
    match seconds / length {
        1 => format!("1 {unit}"),
        count => format!("{count} {unit}s"),
    }
}

/// A job's state in words.
pub fn state_name(record: &JobRecord) -> &'static str {
    match record.state() {
        JobState::JobPlanning => "being planned",
        JobState::JobRunning => "running",
        JobState::JobCompleted => "completed",
        JobState::JobFailed => "failed",
        JobState::JobCancelled => "cancelled",
        JobState::Unspecified => "in no known state",
    }
}

impl JobRecord {
    pub fn state(&self) -> JobState {
        JobState::try_from(self.state).unwrap_or_default()
    }

    pub fn kind(&self) -> JobKind {
        JobKind::try_from(self.kind).unwrap_or_default()
    }
}

/// Progress of every job that has not ended, oldest first: at most [`most_active`] and those beside them.
pub fn all_active(reader: &dyn Reader) -> Result<Vec<(u64, JobProgressRecord)>, StoreError> {
    let prefix = rows::all_active();
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((key, value)) = cursor.row() {
        found.push((rows::job_of_active(key)?, decode_record(key, Bytes::copy_from_slice(value))?));
        cursor.next()?;
    }
    Ok(found)
}

/// What of a job's record says which scope it fills; the rest is passed over.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct TargetRecord {
    #[prost(uint64, tag = "8")]
    target_scope: u64,
}

/// The scopes that jobs fill which have not ended: when they end, they may condemn files of these.
pub fn filled_scopes(reader: &dyn Reader) -> Result<BTreeSet<ScopeId>, StoreError> {
    let prefix = rows::all_active();
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = BTreeSet::new();
    while let Some((key, _)) = cursor.row() {
        let record: Option<TargetRecord> = read_record(reader, &rows::job(rows::job_of_active(key)?))?;
        found.extend(record.map(|record| ScopeId(record.target_scope)));
        cursor.next()?;
    }
    Ok(found)
}

/// The sum of two.
pub fn sum(one: Option<StatsRecord>, other: Option<StatsRecord>) -> StatsRecord {
    let (one, other) = (one.unwrap_or_default(), other.unwrap_or_default());
    StatsRecord {
        segments: one.segments + other.segments,
        rows: one.rows + other.rows,
        files: one.files + other.files,
        bytes: one.bytes + other.bytes,
    }
}

#[cfg(test)]
pub(crate) mod tests;
