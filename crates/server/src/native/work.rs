//! `quorate.v1.Work`: what worker processes ask for. They read and write the data of all instances, so they need the token
//! wherever they are.

use super::call::{Calls, before_read, decide, query};
use super::reply::CallInfo;
use super::vaults::{described, vault_error};
use crate::app::App;
use crate::jobs::PeerVaults;
use crate::limits::{MAX_WORK_WAIT, WORK_LOOK, WORK_PAUSE};
use crate::listener::Confidential;
use quorate_consensus::Node;
use quorate_jobs::Counters;
use quorate_model::{ErrorCode, MetaError, Revision};
use quorate_objects::VaultPlace;
use quorate_state_machine::command::Prepare;
use quorate_state_machine::commands::{ClaimTasks, CompleteTask, FailTask, Numbered, RenewClaims};
use quorate_state_machine::jobs::tasks;
use quorate_state_machine::queries;
use quorate_wire::quorate::v1 as wire;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// Part of a caller's time that is kept for the claim itself and its way back.
const CLAIM_RESERVE: Duration = Duration::from_secs(1);

/// Serves the calls of one peer.
pub struct WorkService {
    calls: Calls,
}

impl WorkService {
    pub fn new(app: &Arc<App>) -> WorkService {
        WorkService { calls: Calls::new(app) }
    }
}

/// Whether a task could be claimed, as far as this peer knows: a claim costs the cluster an entry, a look does not.
fn any_claimable(node: &Node, command: &ClaimTasks) -> Result<bool, MetaError> {
    // Where nothing is written, stamped time stands still and pauses end all the same.
    let now_ms = node.core().now().0;
    query(node, |reader| {
        Ok(tasks::any_claimable(reader, now_ms, &command.avoid_jobs, command.min_age_ms)?)
    })
}

/// Claims as soon as something is open, or answers with nothing at `until`.
async fn claim(
    app: &App,
    node: &Node,
    command: &ClaimTasks,
    info: &CallInfo,
    until: Instant,
) -> Result<(Revision, wire::ClaimTasksReply), MetaError> {
    loop {
        node.check_serving()?;
        let seen = node.applied().revision;
        if any_claimable(node, command)? {
            let (revision, reply) = decide(node, command, info).await?;
            // Under a caller's own request id the answer stays what it was the first time.
            if !reply.tasks.is_empty() || info.request.is_some() || info.dry_run {
                return Ok((revision, reply));
            }
        }
        let now = Instant::now();
        if now >= until || app.is_closing() {
            return Ok((seen, wire::ClaimTasksReply::default()));
        }
        tokio::time::sleep(WORK_PAUSE).await;
        // Either way it looks again: a pause ends without anything being applied.
        let _ = node.wait_revision(Revision(seen.0 + 1), until.min(now + WORK_LOOK)).await;
    }
}

#[tonic::async_trait]
impl wire::work_server::Work for WorkService {
    async fn claim_tasks(&self, request: Request<wire::ClaimTasksRequest>) -> Result<Response<wire::ClaimTasksReply>, Status> {
        let app = self.calls.app.clone();
        let work = |node: Node, request: wire::ClaimTasksRequest, info: CallInfo| async move {
            let wait = Duration::from_millis(request.wait_ms);
            if wait > MAX_WORK_WAIT {
                let limit_ms = MAX_WORK_WAIT.as_millis();
                return Err(MetaError::invalid(format!("wait_ms is {}, limit {limit_ms}", request.wait_ms)));
            }
            let command = ClaimTasks::prepare(request, &app.prepare_context())?;
            let latest = info.deadline.checked_sub(CLAIM_RESERVE).unwrap_or(info.deadline);
            claim(&app, &node, &command, &info, latest.min(Instant::now() + wait)).await
        };
        self.calls.waiting().around(ClaimTasks::NAME, request, work).await
    }

    async fn renew_claims(&self, request: Request<wire::RenewClaimsRequest>) -> Result<Response<wire::RenewClaimsReply>, Status> {
        self.calls.write::<RenewClaims>(request).await
    }

    async fn complete_task(&self, request: Request<wire::CompleteTaskRequest>) -> Result<Response<wire::CompleteTaskReply>, Status> {
        let reply = self.calls.write::<CompleteTask>(request).await?;
        // Of a worker process, which has no metrics of its own.
        if reply.get_ref().accepted {
            Counters::add(&self.calls.app.job_counters.tasks_completed, 1);
        }
        Ok(reply)
    }

    async fn fail_task(&self, request: Request<wire::FailTaskRequest>) -> Result<Response<wire::FailTaskReply>, Status> {
        let can_retry = request.get_ref().can_retry;
        let reply = self.calls.write::<FailTask>(request).await?;
        if reply.get_ref().accepted {
            self.calls.app.job_counters.add_failure(can_retry);
        }
        Ok(reply)
    }

    async fn read_task(&self, request: Request<wire::ReadTaskRequest>) -> Result<Response<wire::ReadTaskReply>, Status> {
        // The claim was answered by the leader: this peer may not have applied it yet.
        let consistency = |_: &wire::ReadTaskRequest| wire::Consistency::Linearizable;
        self.calls.read("read_task", request, consistency, queries::jobs::read_task).await
    }

    async fn open_vault(&self, request: Request<wire::OpenVaultRequest>) -> Result<Response<wire::OpenedVault>, Status> {
        let app = self.calls.app.clone();
        let confidential = request.extensions().get::<Confidential>().is_some();
        let work = |node: Node, request: wire::OpenVaultRequest, info: CallInfo| async move {
            before_read(&node, wire::Consistency::Linearizable, &info).await?;
            let place = PeerVaults::new(&app, &node)
                .place(request.scope, &request.vault)
                .map_err(vault_error)?;
            let mut opened = wire::OpenedVault {
                vault: Some(described(&place)),
                ..wire::OpenedVault::default()
            };
            if let VaultPlace::S3(place) = place {
                if !confidential {
                    let message = "credentials are given out over TLS or on the peer's own machine only; use an https:// address";
                    return Err(MetaError::new(ErrorCode::PreconditionFailed, message));
                }
                opened.secret_key = place.secret_key.expose().to_owned();
                opened.access_key = place.access_key;
            }
            Ok((node.applied().revision, opened))
        };
        self.calls.around("open_vault", request, work).await
    }
}
