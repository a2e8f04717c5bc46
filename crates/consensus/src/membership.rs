//! Changing who belongs to the cluster: a newcomer gets an id, catches up as a learner, becomes a voter.

use crate::node::{Core, Node};
use crate::types::PeerNode;
use openraft::ChangeMembers;
use quorate_model::{ErrorCode, MetaError};
use quorate_state_machine::commands::AllocatePeer;
use quorate_wire::quorate::peer as wire;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long giving an id and adding a learner may take.
const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a learner's progress is looked at.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// A learner this close to the end of the log becomes a voter.
const CAUGHT_UP_ENTRIES: u64 = 100;

impl Node {
    /// Gives a newcomer an id and a place as a learner. The leader promotes it when it has caught up, and then removes
    /// the member that had its address before.
    pub async fn handle_join(&self, request: wire::JoinRequest) -> wire::JoinReply {
        match self.join(request).await {
            Ok(peer) => wire::JoinReply {
                peer_id: peer,
                cluster_id: self.core.cluster.to_string(),
                error: None,
            },
            Err(error) => {
                let leader = self.core.leader().unwrap_or(0);
                let info = wire::ErrorInfo {
                    code: error.code.row().number,
                    message: error.message,
                    leader,
                };
                wire::JoinReply {
                    error: Some(info),
                    ..Default::default()
                }
            }
        }
    }

    async fn join(&self, request: wire::JoinRequest) -> Result<u64, MetaError> {
        let core = &self.core;
        if !self.is_leader() {
            return Err(MetaError::new(
                ErrorCode::NotLeader,
                format!("peer {} does not lead; ask the leader", core.peer),
            ));
        }
        if request.incarnation == 0 || request.peer_address.is_empty() || request.public_address.is_empty() {
            return Err(MetaError::invalid("a newcomer must name its addresses and incarnation"));
        }
        let metrics = core.metrics();
        let members: BTreeMap<u64, PeerNode> = metrics
            .membership_config
            .nodes()
            .map(|(peer, node)| (*peer, node.clone()))
            .collect();
        if let Some((peer, _)) = members.iter().find(|(_, node)| node.incarnation == request.incarnation) {
            return Ok(*peer);
        }
        let highest_member = members.keys().max().copied().unwrap_or(0);
        let allocate = AllocatePeer {
            highest_member,
            incarnation: request.incarnation,
        };
        let (_, reply) = self.execute(&allocate, None, Instant::now() + JOIN_TIMEOUT).await?;
        let node = PeerNode {
            peer_address: request.peer_address,
            public_address: request.public_address,
            incarnation: request.incarnation,
        };
        let added = core.raft().add_learner(reply.peer, node, false).await;
        added.map_err(|error| MetaError::new(ErrorCode::OutcomeUnknown, format!("the newcomer was not added: {error}")))?;
        tracing::info!(peer = reply.peer, "a newcomer joined as a learner");
        Ok(reply.peer)
    }
}

/// At the leader: learners that have caught up become voters, and members they replace (same address) leave.
pub(crate) async fn promote_learners(core: Arc<Core>) {
    while !core.is_stopping() {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        let metrics = core.metrics();
        if metrics.current_leader != Some(core.peer) {
            continue;
        }
        let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
        let last = metrics.last_log_index.unwrap_or(0);
        let Some(replication) = &metrics.replication else { continue };
        let caught_up = |peer: u64| {
            let matched = replication.get(&peer).and_then(|id| id.as_ref()).map_or(0, |id| id.index);
            matched + CAUGHT_UP_ENTRIES >= last
        };
        let ready = metrics
            .membership_config
            .nodes()
            .find(|(peer, _)| !voters.contains(peer) && caught_up(**peer));
        let Some((peer, node)) = ready else { continue };
        let replaced = metrics
            .membership_config
            .nodes()
            .find(|(other, known)| *other != peer && known.peer_address == node.peer_address);
        let mut target = voters;
        target.insert(*peer);
        if let Some((old, _)) = replaced {
            target.remove(old);
        }
        tracing::info!(peer, replaces = replaced.map(|(old, _)| *old), "a learner becomes a voter");
        if let Err(error) = core.raft().change_membership(ChangeMembers::ReplaceAllVoters(target), false).await {
            tracing::warn!(peer, %error, "the learner was not promoted; it is tried again");
        }
    }
}
