//! Takes open tasks for a worker. Which, is decided here, so that two workers never get the same: the jobs with the fewest claimed
//! tasks come first, and of those the one that was served longest ago: a long job does not hold up the short ones behind it, and with
//! more jobs than workers all take turns.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{self, rows, tasks};
use crate::limits;
use crate::record::{JobProgressRecord, JobRecord, TaskRecord};
use crate::recoveries::fences_above;
use crate::settings::{self, CLAIM_LEASE_MS};
use crate::store::{Reader, StoreError};
use bytes::Bytes;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{ClaimTasksReply, ClaimTasksRequest};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, PartialEq, prost::Message)]
pub struct ClaimTasks {
    #[prost(string, tag = "1")]
    pub worker: String,
    #[prost(uint32, tag = "2")]
    pub max: u32,
    /// Jobs of which it gets nothing: others shall have their tasks, or a pause.
    #[prost(uint64, repeated, tag = "3")]
    pub avoid_jobs: Vec<u64>,
    /// Only tasks that have been open for so long: a worker that is busy leaves the others to those that are idle.
    #[prost(uint64, tag = "4")]
    pub min_age_ms: u64,
}

impl Prepare for ClaimTasks {
    type Request = ClaimTasksRequest;

    fn prepare(request: ClaimTasksRequest, _context: &PrepareContext<'_>) -> Result<ClaimTasks, MetaError> {
        check_worker(&request.worker)?;
        if request.tasks == 0 || request.tasks > limits::MAX_CLAIMS {
            let message = format!("{} tasks asked for, allowed are 1 to {}", request.tasks, limits::MAX_CLAIMS);
            return Err(MetaError::invalid(message));
        }
        if request.avoid_jobs.len() > limits::MAX_AVOIDED_JOBS {
            let (count, limit) = (request.avoid_jobs.len(), limits::MAX_AVOIDED_JOBS);
            return Err(MetaError::invalid(format!("avoid_jobs names {count} jobs, limit {limit}; name those that failed last")));
        }
        Ok(ClaimTasks {
            worker: request.worker,
            max: request.tasks,
            avoid_jobs: request.avoid_jobs,
            min_age_ms: request.min_age_ms,
        })
    }
}

/// Refuses names of workers that are wrong whatever the state is.
pub(super) fn check_worker(worker: &str) -> Result<(), MetaError> {
    if worker.is_empty() || worker.len() > limits::MAX_NAME_BYTES || worker.chars().any(char::is_control) {
        let limit = limits::MAX_NAME_BYTES;
        return Err(MetaError::invalid(format!("a worker's name has 1 to {limit} bytes and no control characters")));
    }
    Ok(())
}

/// A job that may have tasks to give.
struct Candidate {
    /// Where to look for its next open task.
    seek: Bytes,
    progress: JobProgressRecord,
    /// Read with the first task that is given.
    record: Option<JobRecord>,
}

impl Candidate {
    /// The next task that was open at a stamped time.
    fn next(&mut self, reader: &dyn Reader, job: u64, open_at_ms: u64) -> Result<Option<(u32, TaskRecord)>, StoreError> {
        let Some((key, _)) = reader.first_in_prefix(&rows::open_of(job), &self.seek)? else {
            return Ok(None);
        };
        let (not_before_ms, number) = rows::parts_of_open(&key)?;
        if not_before_ms > open_at_ms {
            return Ok(None);
        }
        self.seek = [&key[..], &[0]].concat().into();
        let task = tasks::find(reader, job, number)?;
        let task = task.ok_or_else(|| StoreError(format!("task {number} of job {job} is open but has no record")))?;
        Ok(Some((number, task)))
    }
}

impl Command for ClaimTasks {
    type Reply = ClaimTasksReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<ClaimTasksReply, ApplyError> {
        let (reader, now_ms, now_revision) = (context.reader(), context.now().0, context.revision().0);
        let (fences_above, settings) = (fences_above(&context.counters), settings::load(reader)?);
        let open_at_ms = now_ms.saturating_sub(self.min_age_ms);
        let (mut queue, mut candidates) = (BTreeSet::new(), BTreeMap::new());
        for (job, progress) in jobs::all_active(reader)? {
            if self.avoid_jobs.contains(&job) {
                continue;
            }
            queue.insert((progress.tasks_claimed, progress.claimed_at, job));
            let seek = rows::open_of(job);
            let record = None;
            candidates.insert(job, Candidate { seek, progress, record });
        }
        let mut assignments = Vec::new();
        while assignments.len() < self.max.min(limits::MAX_CLAIMS) as usize
            && let Some((_, _, job)) = queue.pop_first()
            && let Some(candidate) = candidates.get_mut(&job)
        {
            let Some((number, before)) = candidate.next(reader, job, open_at_ms)? else {
                continue;
            };
            let claimed = before.claimed_by(&self.worker, fences_above).leased_for(settings.value(&CLAIM_LEASE_MS));
            tasks::change(context, job, number, &mut candidate.progress, &before, &claimed)?;
            candidate.progress.claimed_at = now_revision;
            if candidate.progress.started_ms == 0 {
                candidate.progress.started_ms = now_ms;
            }
            if candidate.record.is_none() {
                candidate.record = jobs::find(reader, job)?;
            }
            let record = candidate.record.as_ref();
            let record = record.ok_or_else(|| StoreError(format!("job {job} is active but has no record")))?;
            assignments.push(tasks::assignment(job, record, number, &claimed, &settings));
            context.put_record(rows::active(job), &candidate.progress);
            queue.insert((candidate.progress.tasks_claimed, now_revision, job));
        }
        Ok(ClaimTasksReply { tasks: assignments })
    }
}
