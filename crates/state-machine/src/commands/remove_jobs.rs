//! Removes the records of jobs that ended long ago. Proposed by the leader; which go is decided here, by stamped time and by how long
//! records are kept now.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{self, rows};
use crate::settings::job_retention_ms;
use crate::store::{Reader, StoreError, prefix_end};
use crate::{command, record::TaskRecord};
use bytes::Bytes;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::TaskState;

/// Task records one command removes, each with at most one row beside it.
const MAX_TASKS_REMOVED: usize = 2_000;

#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoveJobs {}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoveJobsReply {
    #[prost(uint32, tag = "1")]
    pub removed: u32,
    /// There was more to do than the bounds allowed: propose another.
    #[prost(bool, tag = "2")]
    pub more: bool,
}

impl Prepare for RemoveJobs {
    /// Made by the leader's background loop, not by a call of the public API.
    type Request = RemoveJobs;

    fn prepare(request: RemoveJobs, _context: &PrepareContext<'_>) -> Result<RemoveJobs, MetaError> {
        Ok(request)
    }
}

/// Whether a run would find anything.
pub fn is_due(reader: &dyn Reader, now_ms: u64) -> Result<bool, StoreError> {
    let prefix = rows::all_retention();
    match reader.first_in_prefix(&prefix, &prefix)? {
        Some((key, _)) => {
            let (ended_ms, _) = rows::parts_of_retention(&key)?;
            Ok(ended_ms.saturating_add(job_retention_ms(reader)?) <= now_ms)
        }
        None => Ok(false),
    }
}

impl Command for RemoveJobs {
    type Reply = RemoveJobsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<RemoveJobsReply, ApplyError> {
        let (reader, now_ms) = (context.reader(), context.now().0);
        let retention_ms = job_retention_ms(reader)?;
        let prefix = rows::all_retention();
        let mut due = reader.cursor(&prefix, &prefix_end(&prefix))?;
        let (mut tasks_left, mut reply) = (MAX_TASKS_REMOVED, RemoveJobsReply::default());
        while let Some((key, _)) = due.row() {
            let (ended_ms, job) = rows::parts_of_retention(key)?;
            if ended_ms.saturating_add(retention_ms) > now_ms {
                break;
            }
            if !remove_tasks(context, job, &mut tasks_left)? {
                reply.more = true;
                break;
            }
            if let Some(record) = jobs::find(reader, job)? {
                let by_target = rows::by_target(record.target_scope, record.target_collection_id, job);
                context.changes().remove(by_target);
            }
            context.changes().remove(rows::job(job));
            context.changes().remove(Bytes::copy_from_slice(key));
            reply.removed += 1;
            due.next()?;
        }
        Ok(reply)
    }
}

/// Removes a job's tasks as far as the budget goes; whether none is left. A job costs one of it, for its own rows.
fn remove_tasks(context: &mut ApplyContext<'_, '_>, job: u64, left: &mut usize) -> Result<bool, StoreError> {
    let prefix = rows::tasks_of(job);
    let mut tasks = context.reader().cursor(&prefix, &prefix_end(&prefix))?;
    while let Some((key, value)) = tasks.row() {
        if *left == 0 {
            return Ok(false);
        }
        *left -= 1;
        let number = rows::task_of(key)?;
        let task: TaskRecord = command::decode_record(key, Bytes::copy_from_slice(value))?;
        match task.state() {
            TaskState::TaskOpen => context.changes().remove(rows::open(job, task.not_before_ms, number)),
            TaskState::TaskClaimed => context.changes().remove(rows::claimed(job, number)),
            _ => {}
        }
        context.changes().remove(Bytes::copy_from_slice(key));
        tasks.next()?;
    }
    if *left == 0 {
        return Ok(false);
    }
    *left -= 1;
    Ok(true)
}
