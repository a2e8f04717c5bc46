//! What a worker asks for: in a peer the state itself, in a process of its own any peer's API.

use crate::settings::{BESIDE_AGE, CLAIM_WAIT, ROUND_INTERVAL, ROUND_PAUSE};
use crate::worker::{Avoided, Held};
use quorate_model::MetaError;
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::command::ApplyError;
use quorate_state_machine::commands::{ClaimTasks, CompleteTask, FailTask, RenewClaims};
use quorate_state_machine::jobs::{self, tasks};
use quorate_state_machine::limits::MAX_AVOIDED_JOBS;
use quorate_state_machine::queries;
use quorate_wire::quorate::v1::{ClaimProgress, CompleteTaskRequest, FailTaskRequest, ReadTaskRequest, SourceRow, TaskAssignment};
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

/// What a worker would take.
#[derive(Clone)]
pub struct Wanted {
    pub worker: String,
    /// At most so many.
    pub tasks: u32,
    pub(crate) avoided: Avoided,
    /// Claims whose jobs get no further one.
    pub(crate) beside: Option<Held>,
}

impl Wanted {
    /// Nothing of the jobs that are worked on here.
    pub(crate) fn beside(self, held: &Held) -> Wanted {
        Wanted {
            beside: Some(held.clone()),
            ..self
        }
    }

    /// Nothing of these jobs; who waits asks again. Those that failed here come first: one task more of a job that is worked on does no harm.
    pub fn avoid_jobs(&self) -> Vec<u64> {
        let mut jobs = self.avoided.at(Instant::now()).0;
        for held in self.beside.iter().flat_map(Held::jobs) {
            if jobs.len() < MAX_AVOIDED_JOBS && !jobs.contains(&held) {
                jobs.push(held);
            }
        }
        jobs
    }

    /// Nothing that has been open for less.
    pub fn min_age_ms(&self) -> u64 {
        match self.beside {
            Some(_) => BESIDE_AGE.as_millis() as u64,
            None => 0,
        }
    }

    /// How long it is worth waiting without looking at [`Wanted::avoid_jobs`] again.
    pub fn wait(&self) -> Duration {
        let now = Instant::now();
        let first_end = self.avoided.at(now).1;
        first_end.map_or(CLAIM_WAIT, |end| end.duration_since(now).min(CLAIM_WAIT))
    }
}

pub trait WorkSource: Clone + Send + Sync + 'static {
    /// Takes tasks; may wait a while for some, and answer with none.
    fn claim(&self, wanted: Wanted) -> impl Future<Output = Result<Vec<TaskAssignment>, MetaError>> + Send;

    /// Shows that claims are alive; answers those that are lost.
    fn renew(&self, worker: &str, claims: Vec<ClaimProgress>) -> impl Future<Output = Result<Vec<ClaimProgress>, MetaError>> + Send;

    /// The source rows of a claimed task.
    fn read(&self, task: &TaskAssignment) -> impl Future<Output = Result<Vec<SourceRow>, MetaError>> + Send;

    /// Whether the result counted: false when the claim was lost, or when it counted before.
    fn complete(&self, result: CompleteTaskRequest) -> impl Future<Output = Result<bool, MetaError>> + Send;

    /// Whether the report counted.
    fn fail(&self, report: FailTaskRequest) -> impl Future<Output = Result<bool, MetaError>> + Send;
}

/// The state of the peer a worker runs in.
#[derive(Clone)]
pub struct LocalWork<N> {
    node: N,
}

impl<N: Query + Propose> LocalWork<N> {
    pub fn new(node: N) -> LocalWork<N> {
        LocalWork { node }
    }

    /// Whether a task could be claimed, as far as this peer knows: a claim costs the cluster an entry, a look does not.
    fn any_claimable(&self, avoid_jobs: &[u64], min_age_ms: u64) -> Result<bool, MetaError> {
        let now_ms = self.node.now().0;
        let found = self
            .node
            .read(|reader| tasks::any_claimable(reader, now_ms, avoid_jobs, min_age_ms));
        found.map_err(|error| MetaError::internal(error.to_string()))
    }
}

/// A query's refusal, or its trouble with the store as an internal error.
pub(crate) fn refusal(error: ApplyError) -> MetaError {
    match error {
        ApplyError::Refused(error) => error,
        ApplyError::Store(error) => MetaError::internal(error.to_string()),
    }
}

impl<N: Query + Propose> WorkSource for LocalWork<N> {
    async fn claim(&self, wanted: Wanted) -> Result<Vec<TaskAssignment>, MetaError> {
        let (until, min_age_ms) = (Instant::now() + CLAIM_WAIT, wanted.min_age_ms());
        loop {
            let seen = self.node.revision();
            let avoid_jobs = wanted.avoid_jobs();
            if self.any_claimable(&avoid_jobs, min_age_ms)? {
                let command = ClaimTasks {
                    worker: wanted.worker.clone(),
                    max: wanted.tasks,
                    avoid_jobs,
                    min_age_ms,
                };
                let claimed = self.node.propose(&command).await?.tasks;
                if !claimed.is_empty() {
                    return Ok(claimed);
                }
            }
            if Instant::now() >= until {
                return Ok(Vec::new());
            }
            tokio::time::sleep(ROUND_PAUSE).await;
            // Either way it looks again: a pause ends without a change.
            let next = (Instant::now() + ROUND_INTERVAL).min(until);
            drop(tokio::time::timeout_at(next, self.node.changed(seen)).await);
        }
    }

    async fn renew(&self, worker: &str, claims: Vec<ClaimProgress>) -> Result<Vec<ClaimProgress>, MetaError> {
        let command = RenewClaims {
            worker: worker.to_owned(),
            claims,
        };
        Ok(self.node.propose(&command).await?.lost)
    }

    async fn read(&self, task: &TaskAssignment) -> Result<Vec<SourceRow>, MetaError> {
        // The claim was answered by the leader: this peer may not have applied it yet.
        self.node.confirm().await?;
        let request = ReadTaskRequest {
            job_id: task.job_id,
            task: task.task,
            fence: task.fence,
        };
        let reply = self.node.read(|reader| queries::jobs::read_task(reader, &request));
        Ok(reply.map_err(refusal)?.rows)
    }

    async fn complete(&self, result: CompleteTaskRequest) -> Result<bool, MetaError> {
        let command = CompleteTask {
            job: result.job_id,
            task: result.task,
            fence: result.fence,
            rows: result.rows,
            files: result.files,
            bytes: result.bytes,
        };
        Ok(self.node.propose(&command).await?.accepted)
    }

    async fn fail(&self, report: FailTaskRequest) -> Result<bool, MetaError> {
        let command = FailTask {
            job: report.job_id,
            task: report.task,
            fence: report.fence,
            reason: jobs::ending::bounded(&report.reason).to_owned(),
            can_retry: report.can_retry,
            is_of_the_vault: report.is_of_the_vault,
        };
        Ok(self.node.propose(&command).await?.accepted)
    }
}
