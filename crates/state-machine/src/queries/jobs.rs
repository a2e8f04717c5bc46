//! Reads of jobs and their tasks.

use super::QueryError;
use crate::command::decode_record;
use crate::instances;
use crate::jobs::{self, rows, source::Source, tasks};
use crate::keys::VersionedTable;
use crate::limits;
use crate::record::{JobProgressRecord, JobRecord, SegmentRecord, TaskRecord};
use crate::snapshots;
use crate::store::{Reader, StoreError, prefix_end};
use bytes::Bytes;
use quorate_model::job_states::job_has_ended;
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::{
    DescribeJobRequest, Job, JobKind, JobProgress, JobState, ListJobsReply, ListJobsRequest, ListTasksReply, ListTasksRequest,
    ReadTaskReply, ReadTaskRequest, SourceRow, Task, TaskState,
};
use std::collections::BTreeSet;

/// Job records one page of a list looks at: each may hold a schema and a thousand partitions.
const JOBS_PER_PAGE: usize = 1_000;

pub fn describe_job(reader: &dyn Reader, request: &DescribeJobRequest) -> Result<Job, QueryError> {
    let record = jobs::find(reader, request.job_id)?.ok_or_else(|| jobs::missing(request.job_id))?;
    Ok(shown(reader, request.job_id, &record)?)
}

/// Jobs, newest first. A page may come back short, or empty, with a token: it looks at a bounded number of jobs.
pub fn list_jobs(reader: &dyn Reader, request: &ListJobsRequest) -> Result<ListJobsReply, QueryError> {
    // Of an instance that was dropped there may still be jobs. Those of one that is gone are not its successor's in name.
    let scope = match request.instance_id.as_str() {
        "" => None,
        instance_id => match instances::scope_of(reader, instance_id)? {
            Some(scope) => Some(scope),
            None => return Err(MetaError::not_found(format!("instance {instance_id} does not exist")).into()),
        },
    };
    let fits = |record: &JobRecord| {
        let named = |wanted: &str, actual: &str| wanted.is_empty() || wanted == actual;
        scope.is_none_or(|scope| scope == instance_scope(record))
            && named(&request.database, &record.target_database)
            && named(&request.collection, &record.target_collection)
            && !(request.only_active && job_has_ended(record.state()))
    };
    let prefix = rows::all_jobs();
    let before = page_token(&request.page_token)?;
    let start = before.map_or_else(|| prefix.clone(), |before| rows::job(before.saturating_sub(1)));
    let mut cursor = reader.cursor(&start, &prefix_end(&prefix))?;
    let (mut reply, mut looked_at) = (ListJobsReply::default(), 0);
    while let Some((key, value)) = cursor.row() {
        let job = rows::job_of(key)?;
        let record: JobRecord = decode_record(key, Bytes::copy_from_slice(value))?;
        if fits(&record) {
            reply.jobs.push(shown(reader, job, &record)?);
        }
        looked_at += 1;
        cursor.next()?;
        if (reply.jobs.len() >= rows_per_page(request.page_size) || looked_at >= JOBS_PER_PAGE) && cursor.row().is_some() {
            reply.next_page_token = job.to_string();
            break;
        }
    }
    Ok(reply)
}

/// The scope of the instance that a job works for.
fn instance_scope(record: &JobRecord) -> ScopeId {
    ScopeId(match record.kind() {
        JobKind::CompactClone => record.clone_scope,
        _ => record.target_scope,
    })
}

pub fn list_tasks(reader: &dyn Reader, request: &ListTasksRequest) -> Result<ListTasksReply, QueryError> {
    let job = request.job_id;
    let has_ended = job_has_ended(jobs::find(reader, job)?.ok_or_else(|| jobs::missing(job))?.state());
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
    let record = jobs::find(reader, request.job_id)?.ok_or_else(|| jobs::missing(request.job_id))?;
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
