//! Ends a task: stages its rows and counts it. A claim that does not hold any more changes nothing.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{self, ending, results, rows, tasks};
use crate::limits;
use crate::record::TaskRecord;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{CompleteTaskReply, CompleteTaskRequest, StagedRow, TaskState};

#[derive(Clone, PartialEq, prost::Message)]
pub struct CompleteTask {
    #[prost(uint64, tag = "1")]
    pub job: u64,
    #[prost(uint32, tag = "2")]
    pub task: u32,
    #[prost(uint64, tag = "3")]
    pub fence: u64,
    /// In key order.
    #[prost(message, repeated, tag = "4")]
    pub rows: Vec<StagedRow>,
    /// As the worker counted them.
    #[prost(uint64, tag = "5")]
    pub files: u64,
    #[prost(uint64, tag = "6")]
    pub bytes: u64,
}

impl Prepare for CompleteTask {
    type Request = CompleteTaskRequest;

    fn prepare(request: CompleteTaskRequest, _context: &PrepareContext<'_>) -> Result<CompleteTask, MetaError> {
        if request.rows.len() as u64 > limits::MAX_TASK_ROWS {
            let (count, limit) = (request.rows.len(), limits::MAX_TASK_ROWS);
            return Err(MetaError::invalid(format!("{count} rows in one task, limit {limit}; no task has more")));
        }
        Ok(CompleteTask {
            job: request.job_id,
            task: request.task,
            fence: request.fence,
            rows: request.rows,
            files: request.files,
            bytes: request.bytes,
        })
    }
}

impl Command for CompleteTask {
    type Reply = CompleteTaskReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CompleteTaskReply, ApplyError> {
        let Some(claim) = tasks::reported(context, self.job, self.task, self.fence)? else {
            return Ok(CompleteTaskReply { accepted: false });
        };
        let job = jobs::require_active(context.reader(), self.job)?;
        let expected = claim.task.expected.unwrap_or_default();
        if (self.files, self.bytes) != (expected.files, expected.bytes) {
            return Err(MetaError::invalid(format!(
                "task {} has {} files of {} bytes, its worker reports {} of {}",
                self.task, expected.files, expected.bytes, self.files, self.bytes
            ))
            .into());
        }
        results::stage(context, &job, self.task, &claim.task, &self.rows)?;
        let done = TaskRecord {
            state: TaskState::TaskCompleted as i32,
            files_done: expected.files,
            bytes_done: expected.bytes,
            ..claim.task.clone()
        };
        let mut progress = claim.progress;
        tasks::change(context, self.job, self.task, &mut progress, &claim.task, &done)?;
        progress.done = Some(jobs::sum(progress.done, Some(expected)));
        context.put_record(rows::active(self.job), &progress);
        ending::condemn_earlier_claims(context, &job, self.task, &claim.task);
        Ok(CompleteTaskReply { accepted: true })
    }
}
