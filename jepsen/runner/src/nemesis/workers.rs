//! Workers of jobs are killed, or paused beyond their lease, while they have claims: these go to others, and a zombie then
//! reports what somebody else has done meanwhile.

use super::modes::Modes;
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use async_trait::async_trait;
use quorate_tests::native::{call, channel};
use quorate_wire::quorate::v1::jobs_client::JobsClient;
use quorate_wire::quorate::v1::{ListJobsRequest, ListTasksRequest, TaskState};
use serde::{Deserialize, Serialize};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// A stopped process shows as such within this.
const STANDS: Duration = Duration::from_secs(5);
/// A worker with a claim is looked for so long.
const PATIENCE: Duration = Duration::from_secs(6);
/// What a worker had said before it was stopped has been applied after this.
const SETTLES: Duration = Duration::from_millis(1_500);
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// A task that a worker has claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldClaim {
    pub job: u64,
    pub task: u64,
    pub fence: u64,
}

pub struct Workers {
    modes: Modes,
    mode: &'static str,
    which: Option<usize>,
}

impl Workers {
    pub fn new(modes: Modes) -> Workers {
        Workers {
            modes,
            mode: "",
            which: None,
        }
    }

    /// Stops a worker; what shows it, unless nothing does.
    async fn away(&mut self, field: &Field, which: usize) -> anyhow::Result<Option<String>> {
        self.which = Some(which);
        let name = field.worker_name(which);
        if self.mode == "kill" {
            field.kill_worker(which).await?;
            return Ok(field.worker_state(which).is_none().then(|| format!("{name} is gone")));
        }
        field.pause_worker(which).await?;
        let stands = field.wait_for("the worker stands, or is gone", STANDS, async || {
            matches!(field.worker_state(which), Some('T') | None).then_some(())
        });
        let _ = stands.await;
        Ok((field.worker_state(which) == Some('T')).then(|| format!("{name} is in state T")))
    }

    async fn back(&mut self, field: &Field) -> anyhow::Result<String> {
        let Some(which) = self.which.take() else {
            return Ok("nothing was done".to_owned());
        };
        match self.mode {
            "kill" => field.start_worker(which).await?,
            _ => field.resume_worker(which).await?,
        }
        Ok(format!("{} goes on", field.worker_name(which)))
    }
}

/// What each worker has claimed, as the leader says.
async fn held(field: &Field) -> Option<Vec<Vec<HeldClaim>>> {
    let leader = field.leader().await?;
    let token = field.token();
    let mut client = JobsClient::new(channel(&field.control(leader)));
    let mut request = call(ListJobsRequest {
        only_active: true,
        ..ListJobsRequest::default()
    });
    request.metadata_mut().insert("quorate-token", token.parse().ok()?);
    let jobs = client.list_jobs(request).await.ok()?.into_inner().jobs;
    let mut held = vec![Vec::new(); field.workers()];
    for job in jobs {
        let mut request = call(ListTasksRequest {
            job_id: job.job_id,
            ..ListTasksRequest::default()
        });
        request.metadata_mut().insert("quorate-token", token.parse().ok()?);
        let tasks = client.list_tasks(request).await.ok()?.into_inner().tasks;
        for task in tasks.into_iter().filter(|task| task.state() == TaskState::TaskClaimed) {
            if let Some(which) = (0..field.workers()).find(|which| field.worker_name(*which) == task.worker) {
                held[which].push(HeldClaim {
                    job: task.job_id,
                    task: task.task.into(),
                    fence: task.fence,
                });
            }
        }
    }
    Some(held)
}

/// A worker that runs and has a claim.
async fn holder(field: &Field, random: &mut Random) -> Option<usize> {
    let held = held(field).await?;
    let holders: Vec<usize> = (0..field.workers())
        .filter(|which| !held[*which].is_empty() && field.worker_state(*which).is_some())
        .collect();
    (!holders.is_empty()).then(|| *random.pick(&holders))
}

#[async_trait(?Send)]
impl Nemesis for Workers {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        self.mode = self.modes.next(random);
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let Some(which) = holder(field, random).await else {
                sleep(LOOK_AGAIN).await;
                continue;
            };
            let Some(shows) = self.away(field, which).await? else {
                if field.worker_state(which).is_none() {
                    self.modes.put_back(self.mode);
                    return Ok(Outcome::skipped("the worker died meanwhile, with the power of the vault"));
                }
                return Ok(Outcome::Indeterminate {
                    why: format!("{} does not stand", field.worker_name(which)),
                });
            };
            // Its claims may just have ended: only those count that nobody but it can end.
            sleep(SETTLES).await;
            let claims = held(field).await.map(|mut held| held.swap_remove(which)).unwrap_or_default();
            if !claims.is_empty() {
                let evidence = format!("{shows} and has {claims:?}");
                return Ok(Outcome::installed(self.mode, field, &[], evidence).holding(claims));
            }
            self.back(field).await?;
        }
        self.modes.put_back(self.mode);
        Ok(Outcome::skipped("no worker has a claim, or nobody leads who knows"))
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        self.back(field).await
    }
}
