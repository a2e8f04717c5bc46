//! Ends a job on demand; what it made is deleted.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{self, ending};
use crate::queries;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{CancelJobRequest, Job, JobState};

#[derive(Clone, PartialEq, prost::Message)]
pub struct CancelJob {
    #[prost(uint64, tag = "1")]
    pub job: u64,
    #[prost(string, tag = "2")]
    pub reason: String,
}

impl Prepare for CancelJob {
    type Request = CancelJobRequest;

    fn prepare(request: CancelJobRequest, _context: &PrepareContext<'_>) -> Result<CancelJob, MetaError> {
        if request.job_id == 0 {
            return Err(MetaError::invalid("job_id is not set; name the job"));
        }
        Ok(CancelJob {
            job: request.job_id,
            reason: ending::bounded(&request.reason).to_owned(),
        })
    }
}

impl Command for CancelJob {
    type Reply = Job;

    /// Cancelling what is cancelled succeeds: callers repeat the call.
    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<Job, ApplyError> {
        let record = match jobs::find(context.reader(), self.job)? {
            Some(record) if record.state() == JobState::JobCancelled => record,
            _ => {
                let job = jobs::require_active(context.reader(), self.job)?;
                let reason = if self.reason.is_empty() { "cancelled" } else { &self.reason };
                ending::discard(context, job, JobState::JobCancelled, reason)?
            }
        };
        Ok(queries::jobs::ended(self.job, &record))
    }
}
