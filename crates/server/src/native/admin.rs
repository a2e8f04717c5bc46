//! `quorate.v1.Admin`: status, leadership and membership.

use super::reply::{CallInfo, DRY_RUN, call_info, response, status};
use crate::app::App;
use quorate_consensus::Node;
use quorate_consensus::removal::RemovalPlan;
use quorate_model::{ErrorCode, MetaError, PeerId};
use quorate_wire::quorate::v1 as wire;
use std::sync::Arc;
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

/// Serves the calls of one peer.
pub struct AdminService {
    pub app: Arc<App>,
}

impl AdminService {
    /// A call that changes the cluster: work, and for whoever asked a peer that does not lead, where the leader is.
    async fn change<Req, Rep, Fut>(
        &self,
        request: Request<Req>,
        work: impl FnOnce(Node, Req, CallInfo) -> Fut,
    ) -> Result<Response<Rep>, Status>
    where
        Fut: Future<Output = Result<Rep, MetaError>>,
    {
        let work = async |node: Node, request: Req, info: CallInfo| {
            if info.dry_run {
                let text = "this call has no dry run by header; what it would do, `quorate member --dry-run` says";
                return Err(MetaError::invalid(text));
            }
            work(node, request, info).await
        };
        self.change_or_plan(request, work).await
    }

    /// The same for a call whose work looks at whether it is to say only what it would do.
    async fn change_or_plan<Req, Rep, Fut>(
        &self,
        request: Request<Req>,
        work: impl FnOnce(Node, Req, CallInfo) -> Fut,
    ) -> Result<Response<Rep>, Status>
    where
        Fut: Future<Output = Result<Rep, MetaError>>,
    {
        let info = call_info(&self.app, request.metadata()).map_err(|error| status(&self.app, error))?;
        let node = self.app.node().map_err(|error| status(&self.app, error))?;
        match work(node.clone(), request.into_inner(), info).await {
            Ok(reply) => {
                let mut told = response(&self.app, reply, node.applied().revision);
                if info.dry_run {
                    told.metadata_mut().insert(DRY_RUN, MetadataValue::from_static("1"));
                }
                Ok(told)
            }
            Err(error) => Err(self.with_leader(node, error)),
        }
    }

    fn with_leader(&self, node: &Node, error: MetaError) -> Status {
        let asks_elsewhere = error.code == ErrorCode::NotLeader;
        let mut refused = status(&self.app, error);
        let leader = node.leader().filter(|_| asks_elsewhere && !node.is_leader());
        if let Some(Ok(address)) = leader.map(|(_, member)| member.public_address.parse()) {
            refused.metadata_mut().insert("quorate-leader", address);
        }
        refused
    }
}

fn removal_reply(node: &Node, plan: &RemovalPlan) -> wire::RemoveMemberReply {
    let count = |peers: usize| u32::try_from(peers).unwrap_or(u32::MAX);
    wire::RemoveMemberReply {
        explanation: plan.explanation(),
        loses_quorum: plan.loses_quorum(),
        is_voter: plan.is_voter,
        leads: node.peer().0 == plan.peer,
        voters_after: count(plan.voters_after),
        answering_after: count(plan.answering_after),
        quorum_after: count(plan.quorum_after()),
    }
}

#[tonic::async_trait]
impl wire::admin_server::Admin for AdminService {
    async fn status(&self, _request: Request<wire::StatusRequest>) -> Result<Response<wire::StatusReply>, Status> {
        let node = self.app.node().map_err(|error| status(&self.app, error))?;
        let reply = self.app.status().await.map_err(|error| status(&self.app, error))?;
        Ok(response(&self.app, reply, node.applied().revision))
    }

    async fn transfer_leader(&self, request: Request<wire::TransferLeaderRequest>) -> Result<Response<wire::TransferLeaderReply>, Status> {
        self.change(request, |node, request, info| async move {
            let target = (request.to_peer != 0).then_some(PeerId(request.to_peer));
            let leader = node.transfer_leader(target, info.deadline).await?;
            Ok(wire::TransferLeaderReply { leader_id: leader.0 })
        })
        .await
    }

    async fn add_member(&self, request: Request<wire::AddMemberRequest>) -> Result<Response<wire::AddMemberReply>, Status> {
        self.change_or_plan(request, |node, request, info| async move {
            if info.dry_run {
                let place = node.plan_addition(&request.peer_address, request.replace).await?;
                return Ok(wire::AddMemberReply {
                    peer_id: place.map_or(0, |peer| peer.0),
                    was_member: place.is_some(),
                });
            }
            let added = node.add_member(&request.peer_address, request.replace).await?;
            Ok(wire::AddMemberReply {
                peer_id: added.peer.0,
                was_member: added.was_member,
            })
        })
        .await
    }

    async fn promote_member(&self, request: Request<wire::PromoteMemberRequest>) -> Result<Response<wire::PromoteMemberReply>, Status> {
        self.change(request, |node, request, _| async move {
            let was_voter = node.promote_member(PeerId(request.peer_id)).await?;
            Ok(wire::PromoteMemberReply { was_voter })
        })
        .await
    }

    async fn remove_member(&self, request: Request<wire::RemoveMemberRequest>) -> Result<Response<wire::RemoveMemberReply>, Status> {
        self.change(request, |node, request, info| async move {
            let peer = PeerId(request.peer_id);
            let plan = match request.dry_run {
                true => node.plan_removal(peer).await?,
                false => node.remove_member(peer, request.force, info.deadline).await?,
            };
            Ok(removal_reply(&node, &plan))
        })
        .await
    }
}
