//! `quorate.v1.Admin`: status and leadership.

use super::reply::{call_info, response, status};
use crate::app::App;
use quorate_model::{ErrorCode, MetaError, PeerId};
use quorate_wire::quorate::v1 as wire;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tonic::{Request, Response, Status};

/// Serves the calls of one peer.
pub struct AdminService {
    pub app: Arc<App>,
}

impl AdminService {
    /// Changing the cluster needs the token, in metadata `quorate-token`.
    fn check_token<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let given = request
            .metadata()
            .get("quorate-token")
            .map(|value| value.as_bytes())
            .unwrap_or_default();
        if bool::from(given.ct_eq(self.app.token.as_bytes())) {
            return Ok(());
        }
        let error = MetaError::new(ErrorCode::Unauthenticated, "metadata quorate-token is absent or wrong");
        Err(status(&self.app, error))
    }
}

#[tonic::async_trait]
impl wire::admin_server::Admin for AdminService {
    async fn status(&self, _request: Request<wire::StatusRequest>) -> Result<Response<wire::StatusReply>, Status> {
        let node = self.app.node().map_err(|error| status(&self.app, error))?;
        let reply = self.app.status().map_err(|error| status(&self.app, error))?;
        Ok(response(&self.app, reply, node.applied().revision))
    }

    async fn transfer_leader(&self, request: Request<wire::TransferLeaderRequest>) -> Result<Response<wire::TransferLeaderReply>, Status> {
        self.check_token(&request)?;
        let info = call_info(&self.app, request.metadata()).map_err(|error| status(&self.app, error))?;
        let node = self.app.node().map_err(|error| status(&self.app, error))?;
        if !node.is_leader() {
            let leader = node.leader();
            let text = match &leader {
                Some((peer, member)) => format!(
                    "only the leader can hand leadership over: ask peer {peer} at {}",
                    member.public_address
                ),
                None => "no leader is known".to_owned(),
            };
            let mut refused = status(&self.app, MetaError::new(ErrorCode::NotLeader, text));
            if let Some(Ok(address)) = leader.map(|(_, member)| member.public_address.parse()) {
                refused.metadata_mut().insert("quorate-leader", address);
            }
            return Err(refused);
        }
        let to_peer = request.into_inner().to_peer;
        let target = (to_peer != 0).then_some(PeerId(to_peer));
        let leader = node
            .transfer_leader(target, info.deadline)
            .await
            .map_err(|error| status(&self.app, error))?;
        Ok(response(
            &self.app,
            wire::TransferLeaderReply { leader_id: leader.0 },
            node.applied().revision,
        ))
    }
}
