//! Reads of jobs and their tasks.

use super::QueryError;
use crate::command::decode_record;
use crate::instances;
use crate::jobs::{self, rewriting, rows, source::Source, tasks};
use crate::keys::VersionedTable;
use crate::limits;
use crate::record::{JobProgressRecord, JobRecord, SegmentRecord, TaskRecord};
use crate::snapshots;
use crate::store::{Cursor, Reader, StoreError, prefix_end};
use crate::versioned::lineage;
use bytes::Bytes;
use quorate_model::job_states::job_has_ended;
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::{
    DescribeJobRequest, Job, JobKind, JobProgress, JobState, ListJobsReply, ListJobsRequest, ListTasksReply, ListTasksRequest,
    ReadTaskReply, ReadTaskRequest, SourceRow, Task, TaskState,
};
use std::cmp::Reverse;
use std::collections::BTreeSet;

/// Bytes of job records one page reads, found to fit or not: each may hold a schema and a thousand partitions.
const RECORD_BYTES_PER_PAGE: usize = 8 << 20;

pub fn describe_job(reader: &dyn Reader, request: &DescribeJobRequest) -> Result<Job, QueryError> {
    let record = require(reader, request.job_id)?;
    Ok(shown(reader, request.job_id, &record)?)
}

fn require(reader: &dyn Reader, job: u64) -> Result<JobRecord, QueryError> {
    match jobs::find(reader, job)? {
        Some(record) => Ok(record),
        None => Err(jobs::missing(reader, job)?.into()),
    }
}

/// Jobs, newest first, whichever filters there are and wherever they are looked up. The page token is the last job that was looked at,
/// and says the same everywhere.
///
/// Active jobs have rows of their own, at most [`jobs::most_active`] and a few. Those of an instance are found by its scope in the index of
/// targets, where that has them all, and those of a collection by its id; names are compared with what the records say: the index has
/// ids, and each restore into a name fills a collection that is new. Only the other lists walk through all jobs. A page reads a bounded
/// number of records, so it may come back short, or empty, with a token.
pub fn list_jobs(reader: &dyn Reader, request: &ListJobsRequest) -> Result<ListJobsReply, QueryError> {
    let wanted = Wanted::of(reader, request)?;
    let mut candidates = wanted.candidates(reader, page_token(&request.page_token)?)?;
    let (mut reply, mut records_read, mut bytes_read) = (ListJobsReply::default(), 0, 0);
    while let Some((job, value)) = candidates.next(reader)? {
        (records_read, bytes_read) = (records_read + 1, bytes_read + value.len());
        let record: JobRecord = decode_record(&rows::job(job), value)?;
        if wanted.fits(&record) {
            reply.jobs.push(shown(reader, job, &record)?);
        }
        let is_full = reply.jobs.len() >= rows_per_page(request.page_size)
            || records_read >= limits::MAX_PAGE_KEYS
            || bytes_read >= RECORD_BYTES_PER_PAGE;
        if is_full && !candidates.is_empty() {
            reply.next_page_token = job.to_string();
            break;
        }
    }
    Ok(reply)
}

/// Which jobs a list shows.
struct Wanted<'a> {
    request: &'a ListJobsRequest,
    /// Of the instance that is named; `None` for all.
    scope: Option<ScopeId>,
    /// All jobs of the instance that fit stand under its scope in the index of targets.
    index_has_all: bool,
}

impl<'a> Wanted<'a> {
    fn of(reader: &dyn Reader, request: &'a ListJobsRequest) -> Result<Wanted<'a>, QueryError> {
        let instance_id = request.instance_id.as_str();
        if instance_id.is_empty() {
            if request.collection_id != 0 {
                let text = "collection_id is set and instance_id is not; name the instance: its clones have collections of the same id";
                return Err(MetaError::invalid(text).into());
            }
            return Ok(Wanted {
                request,
                scope: None,
                index_has_all: false,
            });
        }
        // Of an instance that was dropped there may still be jobs. Those of one that is gone are not its successor's in name.
        let instance = instances::find(reader, instance_id)?;
        let instance = instance.ok_or_else(|| MetaError::not_found(format!("instance {instance_id} does not exist")))?;
        // Compactions stand under the base layers that they fill, and a base layer is forgotten before the compaction that failed to fill
        // it. They have no collection, and only clones have them; one that was dropped may be none any more.
        let names_a_collection = !(request.database.is_empty() && request.collection.is_empty());
        let is_no_clone = !instance.is_dropped() && lineage::parent(reader, instance.scope)?.is_none();
        Ok(Wanted {
            request,
            scope: Some(instance.scope),
            index_has_all: names_a_collection || is_no_clone,
        })
    }

    /// Where to look, newest first, from the job before that of the token on.
    fn candidates<'r>(&self, reader: &'r dyn Reader, before: Option<u64>) -> Result<Candidates<'r>, StoreError> {
        let found: Option<Vec<u64>> = match self.scope {
            _ if self.request.only_active => Some(jobs::all_active(reader)?.into_iter().map(|(job, _)| job).collect()),
            Some(scope) if self.request.collection_id != 0 => {
                // Builds before manifests had a collection put theirs under none.
                let of_collection = |id| rows::by_target_of_collection(scope.0, id);
                indexed(reader, &[of_collection(self.request.collection_id), of_collection(0)])?
            }
            Some(scope) if self.index_has_all => indexed(reader, &[rows::by_target_of(scope.0)])?,
            _ => None,
        };
        if let Some(mut found) = found {
            found.retain(|job| before.is_none_or(|before| *job < before));
            found.sort_unstable_by_key(|job| Reverse(*job));
            return Ok(Candidates::Found(found.into_iter()));
        }
        let prefix = rows::all_jobs();
        let start = before.map_or_else(|| prefix.clone(), |before| rows::job(before.saturating_sub(1)));
        Ok(Candidates::All(reader.cursor(&start, &prefix_end(&prefix))?))
    }

    fn fits(&self, record: &JobRecord) -> bool {
        let named = |wanted: &str, actual: &str| wanted.is_empty() || wanted == actual;
        self.scope.is_none_or(|scope| scope == instance_scope(record))
            && (self.request.collection_id == 0 || self.request.collection_id == collection_of(record))
            && named(&self.request.database, &record.target_database)
            && named(&self.request.collection, &record.target_collection)
            && !(self.request.only_active && job_has_ended(record.state()))
    }
}

/// The jobs below these prefixes of the index of targets, in its order: by collection. `None` when there are more than each page should put
/// into the list's order; then they are many of all there are.
fn indexed(reader: &dyn Reader, prefixes: &[Bytes]) -> Result<Option<Vec<u64>>, StoreError> {
    let mut found = Vec::new();
    for prefix in prefixes {
        let mut cursor = reader.cursor(prefix, &prefix_end(prefix))?;
        while let Some((key, _)) = cursor.row() {
            if found.len() == limits::MAX_PAGE_KEYS {
                return Ok(None);
            }
            found.push(rows::job_of_by_target(key)?);
            cursor.next()?;
        }
    }
    Ok(Some(found))
}

/// Jobs that may fit, newest first.
enum Candidates<'a> {
    /// Found by an index.
    Found(std::vec::IntoIter<u64>),
    /// All records.
    All(Box<dyn Cursor + 'a>),
}

impl Candidates<'_> {
    /// The next job and its record.
    fn next(&mut self, reader: &dyn Reader) -> Result<Option<(u64, Bytes)>, StoreError> {
        match self {
            Candidates::Found(jobs) => {
                let Some(job) = jobs.next() else {
                    return Ok(None);
                };
                let value = reader.get(&rows::job(job))?;
                let value = value.ok_or_else(|| StoreError(format!("job {job} stands in an index but has no record")))?;
                Ok(Some((job, value)))
            }
            Candidates::All(cursor) => {
                let Some((key, value)) = cursor.row() else {
                    return Ok(None);
                };
                let found = (rows::job_of(key)?, Bytes::copy_from_slice(value));
                cursor.next()?;
                Ok(Some(found))
            }
        }
    }

    fn is_empty(&self) -> bool {
        match self {
            Candidates::Found(jobs) => jobs.as_slice().is_empty(),
            Candidates::All(cursor) => cursor.row().is_none(),
        }
    }
}

/// The scope of the instance that a job works for.
fn instance_scope(record: &JobRecord) -> ScopeId {
    ScopeId(match record.kind() {
        JobKind::CompactClone => record.clone_scope,
        _ => record.target_scope,
    })
}

/// The collection that a job fills, or whose manifests it writes; 0 for none.
fn collection_of(record: &JobRecord) -> u64 {
    match record.kind() {
        JobKind::Manifests => record.source_collection_id,
        _ => record.target_collection_id,
    }
}

pub fn list_tasks(reader: &dyn Reader, request: &ListTasksRequest) -> Result<ListTasksReply, QueryError> {
    let job = request.job_id;
    let has_ended = job_has_ended(require(reader, job)?.state());
    let prefix = rows::tasks_of(job);
    let after = page_token(&request.page_token)?.map_or(0, |after| after.min(u64::from(u32::MAX) - 1) as u32);
    let mut cursor = reader.cursor(&rows::task(job, after + 1), &prefix_end(&prefix))?;
    let mut reply = ListTasksReply::default();
    while let Some((key, value)) = cursor.row() {
        let number = rows::task_of(key)?;
        let record: TaskRecord = decode_record(key, Bytes::copy_from_slice(value))?;
        reply.tasks.push(task(job, number, record, has_ended));
        cursor.next()?;
        if reply.tasks.len() >= rows_per_page(request.page_size) && cursor.row().is_some() {
            reply.next_page_token = number.to_string();
            break;
        }
    }
    Ok(reply)
}

/// The source rows of a claimed task: what its worker works on.
pub fn read_task(reader: &dyn Reader, request: &ReadTaskRequest) -> Result<ReadTaskReply, QueryError> {
    let claim = tasks::require_claim(reader, request.job_id, request.task, request.fence)?;
    let record = require(reader, request.job_id)?;
    let rows = Source::open(reader, &record)?.rows_of(&claim.task)?;
    let rows = rows.into_iter().map(|row| {
        let owner_scope = match claim.task.table == VersionedTable::Segment as u32 {
            true => match decode_record::<SegmentRecord>(&row.key, row.value.clone())?.owner_scope {
                0 => row.scope.0,
                owner_scope => owner_scope,
            },
            false => row.scope.0,
        };
        Ok(SourceRow {
            table: claim.task.table,
            key: row.key.into(),
            value: row.value,
            owner_scope,
        })
    });
    Ok(ReadTaskReply {
        rows: rows.collect::<Result<_, StoreError>>()?,
    })
}

/// A job as callers see it.
pub fn shown(reader: &dyn Reader, id: u64, record: &JobRecord) -> Result<Job, StoreError> {
    let Some(progress) = jobs::active_progress(reader, id)? else {
        return Ok(ended(id, record));
    };
    let running = tasks::claimed(reader, id)?;
    let sum = |of: fn(&TaskRecord) -> u64| running.iter().map(|(_, task)| of(task)).sum::<u64>();
    let in_work = (sum(|task| task.files_done), sum(|task| task.bytes_done));
    let workers: BTreeSet<&String> = running.iter().map(|(_, task)| &task.worker).collect();
    Ok(Job {
        workers: workers.into_iter().cloned().collect(),
        waits_for: rewriting::waits_for(reader, record)?,
        ..job(id, record, &progress, in_work)
    })
}

/// As [`shown`], for a job that has ended.
pub fn ended(id: u64, record: &JobRecord) -> Job {
    let progress = JobProgressRecord {
        tasks_claimed: 0,
        ..record.progress.clone().unwrap_or_default()
    };
    job(id, record, &progress, (0, 0))
}

/// A job that was started by the command that answers with it.
pub fn just_started(id: u64, record: &JobRecord) -> Job {
    job(id, record, &JobProgressRecord::default(), (0, 0))
}

fn job(id: u64, record: &JobRecord, progress: &JobProgressRecord, (files_running, bytes_running): (u64, u64)) -> Job {
    let (planned, done) = (progress.planned.unwrap_or_default(), progress.done.unwrap_or_default());
    let mut shown = JobProgress {
        tasks_total: progress.tasks_planned.into(),
        tasks_done: progress.tasks_done.into(),
        tasks_running: progress.tasks_claimed.into(),
        rows_total: planned.segments,
        rows_done: done.segments,
        files_total: planned.files,
        files_done: done.files + files_running,
        bytes_total: planned.bytes,
        bytes_done: done.bytes + bytes_running,
        percent: 0,
    };
    shown.percent = percent(record.state(), &shown);
    Job {
        job_id: id,
        kind: record.kind,
        state: record.state,
        reason: record.reason.clone(),
        instance_id: record.target_instance_id.clone(),
        database: record.target_database.clone(),
        collection: record.target_collection.clone(),
        source_instance_id: record.source_instance_id.clone(),
        snapshot_id: match record.snapshot_revision {
            0 => String::new(),
            revision => snapshots::id::text(Revision(revision)),
        },
        snapshot_name: record.snapshot_name.clone(),
        created_ms: record.created_ms,
        started_ms: progress.started_ms,
        ended_ms: record.ended_ms,
        deadline_ms: record.deadline_ms,
        progress: Some(shown),
        source_collection: record.source_collection.clone(),
        workers: Vec::new(),
        holds_files: record.kind() == JobKind::CompactClone && !record.copies_files,
        waits_for: String::new(),
    }
}

/// By bytes where there are any, else by rows. 100 is said of completed jobs only: publication is still to come.
fn percent(state: JobState, progress: &JobProgress) -> u32 {
    if state == JobState::JobCompleted {
        return 100;
    }
    let (done, total) = match progress.bytes_total {
        0 => (progress.rows_done, progress.rows_total),
        total => (progress.bytes_done, total),
    };
    match total {
        0 => 0,
        total => (u128::from(done) * 100 / u128::from(total)).min(99) as u32,
    }
}

/// The records of a job's tasks stay as they are when it ends; nobody has a claim then, whatever they say.
fn task(job: u64, number: u32, record: TaskRecord, job_has_ended: bool) -> Task {
    let expected = record.expected.unwrap_or_default();
    let (state, worker) = match record.state() {
        TaskState::TaskOpen | TaskState::TaskClaimed if job_has_ended => (TaskState::TaskCancelled, String::new()),
        state => (state, record.worker),
    };
    Task {
        job_id: job,
        task: number,
        state: state as i32,
        worker,
        fence: record.fence,
        attempts: record.attempts,
        reason: record.reason,
        rows: expected.segments,
        files: expected.files,
        bytes: expected.bytes,
        bytes_done: record.bytes_done,
        not_before_ms: record.not_before_ms,
    }
}

fn rows_per_page(asked: u32) -> usize {
    match asked as usize {
        0 => limits::MAX_PAGE_ROWS,
        rows => rows.min(limits::MAX_PAGE_ROWS),
    }
}

/// The number a page ended with; `None` for the first page.
fn page_token(token: &str) -> Result<Option<u64>, MetaError> {
    if token.is_empty() {
        return Ok(None);
    }
    let number = token.parse().ok().filter(|number| *number > 0);
    number
        .map(Some)
        .ok_or_else(|| MetaError::invalid("page token is malformed; pass it as the page before returned it, or list anew"))
}

#[cfg(test)]
mod tests;
