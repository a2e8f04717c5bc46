//! Takes a claim from a worker that is not heard of any more. Proposed by the leader, after one lease on its own clock without a
//! renewal; refused when anything has moved since it looked.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{self, ending, rows, tasks};
use crate::record::TaskRecord;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::TaskState;

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExpireClaim {
    #[prost(uint64, tag = "1")]
    pub job: u64,
    #[prost(uint32, tag = "2")]
    pub task: u32,
    /// As the leader saw them a lease ago.
    #[prost(uint64, tag = "3")]
    pub fence: u64,
    #[prost(uint64, tag = "4")]
    pub renewals: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExpireClaimReply {
    /// False: it had been renewed, had ended, or was another's by then.
    #[prost(bool, tag = "1")]
    pub expired: bool,
}

impl Prepare for ExpireClaim {
    /// Made by the leader's background loop, not by a call of the public API.
    type Request = ExpireClaim;

    fn prepare(request: ExpireClaim, _context: &PrepareContext<'_>) -> Result<ExpireClaim, MetaError> {
        Ok(request)
    }
}

impl Command for ExpireClaim {
    type Reply = ExpireClaimReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<ExpireClaimReply, ApplyError> {
        let claim = tasks::claim(context.reader(), self.job, self.task, self.fence)?;
        let Some(claim) = claim.filter(|claim| claim.task.renewals == self.renewals) else {
            return Ok(ExpireClaimReply { expired: false });
        };
        let before = claim.task;
        let mut after = TaskRecord {
            state: TaskState::TaskOpen as i32,
            expirations: before.expirations + 1,
            reason: format!("worker {} was not heard of for {} ms", before.worker, before.lease_ms()),
            not_before_ms: context.now().0,
            files_done: 0,
            bytes_done: 0,
            ..before.clone()
        };
        let given_up = ending::is_given_up(&after);
        if given_up {
            after.state = TaskState::TaskFailed as i32;
        }
        let mut progress = claim.progress;
        tasks::change(context, self.job, self.task, &mut progress, &before, &after)?;
        context.put_record(rows::active(self.job), &progress);
        if given_up {
            let job = jobs::require_active(context.reader(), self.job)?;
            let why = format!("{} workers stopped while they had it; the last: {}", after.expirations, after.reason);
            ending::fail_by_task(context, jobs::ActiveJob { progress, ..job }, self.task, &why)?;
        }
        Ok(ExpireClaimReply { expired: true })
    }
}
