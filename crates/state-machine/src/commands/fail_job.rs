//! Ends a job that cannot succeed any more: its target is gone, or its time is over. Proposed by the leader. A compaction whose copies are
//! read only gives up what manifests it waits for when its time is over; the publication that ends it is proposed then.
//!
//! A target that is gone stays so. Time is asked for again: who proposes may not lead any more, and its clock be ahead of the one that
//! stamps the entry.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{self, ActiveJob, ending, rewriting};
use quorate_model::{ErrorCode, MetaError, StampedTime};
use quorate_wire::quorate::v1::JobState;

#[derive(Clone, PartialEq, prost::Message)]
pub struct FailJob {
    #[prost(uint64, tag = "1")]
    pub job: u64,
    #[prost(string, tag = "2")]
    pub reason: String,
    /// Set when its time is over: the deadline that was seen to pass.
    #[prost(uint64, optional, tag = "3")]
    pub deadline_ms: Option<u64>,
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
        if let Some(seen_ms) = self.deadline_ms {
            check_time_is_over(&job, seen_ms, context.now())?;
            if job.record.base_published_at != 0 {
                rewriting::give_up(context, &job.record)?;
                return Ok(FailJobReply {});
            }
        }
        ending::discard(context, job, JobState::JobFailed, &self.reason)?;
        Ok(FailJobReply {})
    }
}

/// Refuses to end a job for a deadline that is not its own, or that has not come by the time of the entry.
fn check_time_is_over(job: &ActiveJob, seen_ms: u64, now: StampedTime) -> Result<(), MetaError> {
    let deadline_ms = job.record.deadline_ms;
    if deadline_ms == seen_ms && deadline_ms <= now.0 {
        return Ok(());
    }
    let text = format!("job {} has time until {deadline_ms} ms, not {seen_ms}, and it is {} ms", job.id, now.0);
    Err(MetaError::new(ErrorCode::PreconditionFailed, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jobs::tests::{fixture, invariants};
    use quorate_wire::quorate::v1::JobKind;

    #[test]
    fn a_job_ends_for_its_own_deadline_and_when_that_has_passed() {
        let mut bench = fixture::bench();
        let job = fixture::start(&mut bench, fixture::definition(JobKind::Restore, 1)).expect("started");
        let deadline_ms = jobs::find(&bench.store, job).expect("reads").expect("there").deadline_ms;
        let fail = |seen_ms| FailJob {
            job,
            reason: "its time is over".to_owned(),
            deadline_ms: Some(seen_ms),
        };
        bench.now_ms = deadline_ms - 1;
        assert_eq!(bench.refusal(&fail(deadline_ms)), ErrorCode::PreconditionFailed, "a millisecond is left");
        bench.now_ms = deadline_ms;
        assert_eq!(bench.refusal(&fail(deadline_ms - 1)), ErrorCode::PreconditionFailed, "it has another one");
        assert!(jobs::find_active(&bench.store, job).expect("reads").is_some());
        bench.run(&fail(deadline_ms)).expect("failed");
        let record = jobs::find(&bench.store, job).expect("reads").expect("there");
        assert_eq!((record.state(), record.reason.as_str()), (JobState::JobFailed, "its time is over"));
        invariants::check(&bench);
    }

    #[test]
    fn a_job_whose_target_is_gone_ends_whatever_time_it_has() {
        let mut bench = fixture::bench();
        let job = fixture::start(&mut bench, fixture::definition(JobKind::Restore, 1)).expect("started");
        bench.run(&FailJob { job, ..FailJob::default() }).expect("failed");
        let record = jobs::find(&bench.store, job).expect("reads").expect("there");
        assert_eq!(record.state(), JobState::JobFailed);
    }
}
