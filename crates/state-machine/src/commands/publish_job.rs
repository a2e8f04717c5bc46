//! Makes a job's results visible, once all its tasks are done. Proposed by the leader's publisher.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{self, publication};
use quorate_model::MetaError;

#[derive(Clone, PartialEq, prost::Message)]
pub struct PublishJob {
    #[prost(uint64, tag = "1")]
    pub job: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PublishJobReply {}

impl Prepare for PublishJob {
    /// Made by the leader's background loop, not by a call of the public API.
    type Request = PublishJob;

    fn prepare(request: PublishJob, _context: &PrepareContext<'_>) -> Result<PublishJob, MetaError> {
        Ok(request)
    }
}

impl Command for PublishJob {
    type Reply = PublishJobReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<PublishJobReply, ApplyError> {
        let job = jobs::require_active(context.reader(), self.job)?;
        publication::publish(context, job)?;
        Ok(PublishJobReply {})
    }
}
