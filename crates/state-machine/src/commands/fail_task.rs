//! Reports that a task did not succeed: it is tried again after a pause, or its job fails.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{self, ending, rows, tasks};
use crate::record::TaskRecord;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{FailTaskReply, FailTaskRequest, TaskState};

#[derive(Clone, PartialEq, prost::Message)]
pub struct FailTask {
    #[prost(uint64, tag = "1")]
    pub job: u64,
    #[prost(uint32, tag = "2")]
    pub task: u32,
    #[prost(uint64, tag = "3")]
    pub fence: u64,
    #[prost(string, tag = "4")]
    pub reason: String,
    /// False for what cannot pass, such as a file that is missing.
    #[prost(bool, tag = "5")]
    pub can_retry: bool,
    /// A vault cannot be used from where it was tried: that says nothing about the task, and is no attempt.
    #[prost(bool, tag = "6")]
    pub is_of_the_vault: bool,
}

impl Prepare for FailTask {
    type Request = FailTaskRequest;

    fn prepare(request: FailTaskRequest, _context: &PrepareContext<'_>) -> Result<FailTask, MetaError> {
        Ok(FailTask {
            job: request.job_id,
            task: request.task,
            fence: request.fence,
            reason: ending::bounded(&request.reason).to_owned(),
            can_retry: request.can_retry,
            is_of_the_vault: request.is_of_the_vault,
        })
    }
}

impl Command for FailTask {
    type Reply = FailTaskReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<FailTaskReply, ApplyError> {
        let Some(claim) = tasks::reported(context, self.job, self.task, self.fence)? else {
            return Ok(FailTaskReply { accepted: false });
        };
        let before = claim.task;
        let attempts = before.attempts + u32::from(!self.is_of_the_vault);
        let vault_failures = before.vault_failures + u32::from(self.is_of_the_vault);
        let tries = if self.is_of_the_vault { vault_failures } else { attempts };
        let mut after = TaskRecord {
            state: TaskState::TaskOpen as i32,
            attempts,
            vault_failures,
            reason: ending::bounded(&self.reason).to_owned(),
            not_before_ms: context.now().0.saturating_add(tasks::back_off_ms(tries)),
            files_done: 0,
            bytes_done: 0,
            ..before.clone()
        };
        let given_up = !self.can_retry || ending::is_given_up(&after);
        if given_up {
            after.state = TaskState::TaskFailed as i32;
        }
        let mut progress = claim.progress;
        tasks::change(context, self.job, self.task, &mut progress, &before, &after)?;
        context.put_record(rows::active(self.job), &progress);
        if given_up {
            let job = jobs::require_active(context.reader(), self.job)?;
            ending::fail_by_task(context, jobs::ActiveJob { progress, ..job }, self.task, &after.reason)?;
        }
        Ok(FailTaskReply { accepted: true })
    }
}
