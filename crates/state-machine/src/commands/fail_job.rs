//! Ends a job that cannot succeed any more: its target is gone, or its time is over. Proposed by the leader.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{self, ending};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::JobState;

#[derive(Clone, PartialEq, prost::Message)]
pub struct FailJob {
    #[prost(uint64, tag = "1")]
    pub job: u64,
    #[prost(string, tag = "2")]
    pub reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FailJobReply {}

impl Prepare for FailJob {
    /// Made by the leader's background loop, not by a call of the public API.
    type Request = FailJob;

    fn prepare(request: FailJob, _context: &PrepareContext<'_>) -> Result<FailJob, MetaError> {
        Ok(request)
    }
}

impl Command for FailJob {
    type Reply = FailJobReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<FailJobReply, ApplyError> {
        let job = jobs::require_active(context.reader(), self.job)?;
        ending::discard(context, job, JobState::JobFailed, &self.reason)?;
        Ok(FailJobReply {})
    }
}
