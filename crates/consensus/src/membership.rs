//! Changing who belongs to the cluster: a newcomer gets an id, catches up as a learner, becomes a voter; a member leaves.
//!
//! Every call here may be repeated: a newcomer is known by the incarnation of its data directory, and a change that has
//! been made already is answered as made. Only the leader changes anything; what it needs to know about the others it knows
//! from the health they exchange.

use crate::env;
use crate::maintenance;
use crate::node::{Core, Deadline, Node};
use crate::removal::RemovalPlan;
use crate::settings::{HANDED_ON_JOIN_TIMEOUT, HELLO_INTERVAL, JOIN_TIMEOUT};
use crate::transfer::answer_within;
use crate::transport::Channel;
use crate::types::{PeerNode, StoredMembership, TypeConfig};
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use openraft::{ChangeMembers, RaftMetrics};
use quorate_model::{ErrorCode, MetaError, PeerId, mutant};
use quorate_state_machine::commands::AllocatePeer;
use quorate_wire::quorate::peer as wire;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How long a peer that is to be added may take to say who it is.
const GREETING_TIMEOUT: Duration = Duration::from_secs(2);
/// How often a learner's progress is looked at, and a change that is still under way.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(200);
/// A learner this close to the end of the log becomes a voter.
const CAUGHT_UP_ENTRIES: u64 = 100;

/// A member that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Added {
    pub peer: PeerId,
    /// It had joined before.
    pub was_member: bool,
}

impl Node {
    /// Gives a newcomer an id and a place as a learner. The leader promotes it when it has caught up, and then removes
    /// the member that had its address before.
    pub async fn handle_join(&self, request: wire::JoinRequest) -> wire::JoinReply {
        match self.join(request).await {
            Ok(peer) => wire::JoinReply {
                peer_id: peer.0,
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

    async fn join(&self, request: wire::JoinRequest) -> Result<PeerId, MetaError> {
        let core = &self.core;
        if !self.is_leader() {
            return self.hand_join_on(request).await;
        }
        let members = core.members();
        if let Some(peer) = self.place_of(&members, &request)? {
            return Ok(peer);
        }
        let highest_member = members.iter().map(|(peer, _)| *peer).max().unwrap_or(0);
        let allocate = AllocatePeer {
            highest_member,
            incarnation: request.incarnation,
        };
        let deadline = Instant::now() + JOIN_TIMEOUT;
        let (_, reply) = self.execute(&allocate, None, deadline).await?;
        let node = PeerNode {
            peer_address: request.peer_address,
            public_address: request.public_address,
            incarnation: request.incarnation,
        };
        // Not `add_learner`: that keeps whom a change under way takes out.
        let newcomer = ChangeMembers::AddNodes(BTreeMap::from([(reply.peer, node)]));
        let unknown = |text: String| MetaError::new(ErrorCode::OutcomeUnknown, text);
        let added = tokio::time::timeout_at(deadline, core.raft().change_membership(newcomer, false)).await;
        let added = added.map_err(|_| unknown(format!("the newcomer is being added as peer {}; ask again", reply.peer)))?;
        added.map_err(|error| unknown(format!("the newcomer was not added: {error}")))?;
        tracing::info!(peer = reply.peer, "a newcomer joined as a learner");
        Ok(PeerId(reply.peer))
    }

    /// The place that who asks for one has among the members; `None` if it is to get one. Refuses whom the cluster does not take; at the
    /// leader.
    fn place_of(&self, members: &[(u64, PeerNode)], request: &wire::JoinRequest) -> Result<Option<PeerId>, MetaError> {
        if request.incarnation == 0 || request.peer_address.is_empty() || request.public_address.is_empty() {
            return Err(MetaError::invalid("a newcomer must name its addresses and incarnation"));
        }
        if let Some((peer, _)) = members.iter().find(|(_, node)| node.incarnation == request.incarnation) {
            if settled(&self.core.metrics()).nodes().any(|(settled, _)| settled == peer) {
                return Ok(Some(PeerId(*peer)));
            }
            let text = format!("the newcomer is being added as peer {peer}; ask again");
            return Err(MetaError::new(ErrorCode::OutcomeUnknown, text));
        }
        self.admit_build(request.level)?;
        let holder = members.iter().find(|(_, node)| node.peer_address == request.peer_address);
        if let Some((holder, _)) = holder.filter(|_| request.new_address) {
            let address = &request.peer_address;
            let text =
                format!("address {address} is peer {holder}'s; with --replace the newcomer takes its place, else give it another address");
            return Err(MetaError::exists(text));
        }
        Ok(None)
    }

    /// A newcomer may know the address of one follower only.
    async fn hand_join_on(&self, request: wire::JoinRequest) -> Result<PeerId, MetaError> {
        let core = &self.core;
        let refused = || MetaError::new(ErrorCode::NotLeader, format!("peer {} does not lead; ask the leader", core.peer));
        let leader = core
            .leader()
            .filter(|leader| *leader != core.peer && !request.forwarded)
            .ok_or_else(refused)?;
        let client = core.client_of(leader).ok_or_else(refused)?;
        let request = wire::JoinRequest {
            forwarded: true,
            ..request
        };
        let answer = answer_within(HANDED_ON_JOIN_TIMEOUT, "it", "given the newcomer a place", client.join(request)).await;
        let reply = answer.map_err(|error| {
            tracing::warn!(leader, %error, "a newcomer's question for a place was handed on in vain");
            MetaError::new(ErrorCode::NotLeader, format!("the leader, peer {leader}, did not answer: {error}"))
        })?;
        match reply.error {
            None => Ok(PeerId(reply.peer_id)),
            Some(error) => Err(MetaError::new(ErrorCode::from_number(error.code), error.message)),
        }
    }

    /// Takes in the peer that waits, empty, at `peer_address`; at the leader. It is a learner at once and becomes a voter
    /// when it has caught up. Without `replace`, an address of a member is refused.
    pub async fn add_member(&self, peer_address: &str, replace: bool) -> Result<Added, MetaError> {
        let (request, was_member) = self.greet(peer_address, replace).await?;
        let peer = self.join(request).await?;
        Ok(Added { peer, was_member })
    }

    /// What [`Node::add_member`] would come to: the id that the peer has as a member, `None` if it would get one. Changes nothing.
    pub async fn plan_addition(&self, peer_address: &str, replace: bool) -> Result<Option<PeerId>, MetaError> {
        let (request, _) = self.greet(peer_address, replace).await?;
        self.place_of(&self.core.members(), &request)
    }

    /// Asks the peer at an address who it is: the place it would ask for, and whether it is a member already. Refuses one that belongs, or
    /// belonged, elsewhere; at the leader.
    async fn greet(&self, peer_address: &str, replace: bool) -> Result<(wire::JoinRequest, bool), MetaError> {
        self.demand_leader()?;
        let core = &self.core;
        let hello = wire::HelloRequest {
            peer_address: core.peer_address.clone(),
            public_address: core.public_address.clone(),
            unix_ms: env::wall_clock().0,
            incarnation: core.incarnation.0,
            ..Default::default()
        };
        let client = core.transport.client(peer_address, 0, 0, Channel::Forward);
        let advice = "start it empty with --join, and see that its peer address is right and the cluster secret is this cluster's";
        let greeting = match tokio::time::timeout(GREETING_TIMEOUT, client.hello(hello)).await {
            Ok(Ok(reply)) => reply,
            Ok(Err(error)) => {
                return Err(MetaError::invalid(format!(
                    "no peer could be asked at {peer_address}: {error}; {advice}"
                )));
            }
            Err(_) => return Err(MetaError::invalid(format!("no peer answers at {peer_address}; {advice}"))),
        };
        if greeting.in_cluster && greeting.cluster_id != core.cluster.to_string() {
            let text = format!(
                "the peer at {peer_address} belongs to cluster {}, not to this one",
                greeting.cluster_id
            );
            return Err(MetaError::exists(text));
        }
        let known = core.metrics();
        let was_member = known
            .membership_config
            .nodes()
            .any(|(_, node)| node.incarnation == greeting.incarnation);
        if greeting.in_cluster && !was_member {
            let text = format!(
                "the peer at {peer_address} was removed from this cluster; move its data directory away and start it empty with --join"
            );
            return Err(MetaError::exists(text));
        }
        let request = wire::JoinRequest {
            peer_address: greeting.peer_address,
            public_address: greeting.public_address,
            incarnation: greeting.incarnation,
            new_address: !replace,
            forwarded: true,
            level: greeting.level,
        };
        Ok((request, was_member))
    }

    /// Makes a learner a voter; at the leader. True if it was one already.
    pub async fn promote_member(&self, peer: PeerId) -> Result<bool, MetaError> {
        self.demand_leader()?;
        let core = &self.core;
        if core.node_of(peer.0).is_none() {
            return Err(not_a_member(peer));
        }
        if core.is_voter(peer.0) {
            return Ok(true);
        }
        match lag(&core.metrics(), peer.0) {
            None => {
                let text = format!("peer {peer} has not acknowledged anything yet; it becomes a voter by itself when it has caught up");
                return Err(MetaError::new(ErrorCode::PreconditionFailed, text));
            }
            Some(lag) if lag > CAUGHT_UP_ENTRIES => {
                let text = format!(
                    "peer {peer} is {lag} entries behind, limit {CAUGHT_UP_ENTRIES}; as a voter it would hold up writes, and it becomes one by itself"
                );
                return Err(MetaError::new(ErrorCode::PreconditionFailed, text));
            }
            Some(_) => {}
        }
        let target = ChangeMembers::ReplaceAllVoters(voters_with(&core.metrics(), peer.0));
        let promoted = core.raft().change_membership(target, false).await;
        promoted.map(|_| false).map_err(|error| not_changed(&error))
    }

    /// What removing `peer` would come to; at the leader, which asks who answers.
    pub async fn plan_removal(&self, peer: PeerId) -> Result<RemovalPlan, MetaError> {
        self.demand_leader()?;
        let core = &self.core;
        let heard = maintenance::ask_members(core, HELLO_INTERVAL).await;
        if core.node_of(peer.0).is_none() {
            return Err(not_a_member(peer));
        }
        let metrics = core.metrics();
        // During a change the voters are those it leads to.
        let voters = metrics.membership_config.get_joint_config().last().cloned().unwrap_or_default();
        let answers = |voter: &u64| *voter == core.peer || matches!(heard.get(voter), Some(Some(_)));
        let answering = voters.iter().copied().filter(answers).collect();
        let plan = RemovalPlan::new(peer.0, &voters, &answering);
        if plan.leaves_nobody() {
            let text = format!("peer {peer} is the last voter: nobody would be left; add another first");
            return Err(MetaError::new(ErrorCode::PreconditionFailed, text));
        }
        Ok(plan)
    }

    /// Takes a member out; at the leader. Refused without `force` if the voters that stay and answer are no quorum. A
    /// leader that is to leave hands leadership over first and answers `not_leader`: the caller asks the next one.
    pub async fn remove_member(&self, peer: PeerId, force: bool, deadline: Deadline) -> Result<RemovalPlan, MetaError> {
        let plan = self.plan_removal(peer).await?;
        if plan.loses_quorum() && !force {
            let text = format!("removing peer {peer} would lose the quorum: {}", plan.explanation());
            return Err(MetaError::new(ErrorCode::PreconditionFailed, text));
        }
        let core = &self.core;
        if peer.0 == core.peer {
            let leader = self.transfer_leader(None, deadline).await?;
            let text = format!("peer {peer} led and has handed leadership to peer {leader}, which can remove it");
            return Err(MetaError::new(ErrorCode::NotLeader, text));
        }
        self.count_id(peer, deadline).await?;
        let change = match plan.is_voter {
            true => ChangeMembers::RemoveVoters(BTreeSet::from([peer.0])),
            false => ChangeMembers::RemoveNodes(BTreeSet::from([peer.0])),
        };
        match tokio::time::timeout_at(deadline, core.raft().change_membership(change, false)).await {
            Ok(Ok(_)) => {
                tracing::info!(%peer, "a member was removed");
                Ok(plan)
            }
            Ok(Err(error)) => Err(not_changed(&error)),
            Err(_) => {
                let text = format!(
                    "the removal of peer {peer} is under way and not decided yet: {}",
                    plan.explanation()
                );
                Err(MetaError::new(ErrorCode::OutcomeUnknown, text))
            }
        }
    }

    /// The state did not give out the founders' ids: it counts on from the highest member there is when one is asked for.
    /// So before the highest leaves, the count goes past it, at the price of an id that nobody gets.
    async fn count_id(&self, peer: PeerId, deadline: Deadline) -> Result<(), MetaError> {
        let metrics = self.core.metrics();
        let members: BTreeMap<u64, u64> = metrics
            .membership_config
            .nodes()
            .map(|(member, node)| (*member, node.incarnation))
            .collect();
        let highest = members.last_key_value().map(|(member, incarnation)| (*member, *incarnation));
        if let Some((highest_member, incarnation)) = highest.filter(|(highest, _)| *highest == peer.0) {
            let count = AllocatePeer {
                highest_member,
                incarnation,
            };
            self.execute(&count, None, deadline).await?;
        }
        Ok(())
    }

    fn demand_leader(&self) -> Result<(), MetaError> {
        if self.is_leader() {
            return Ok(());
        }
        let who = self.leader().map_or_else(
            || "no leader is known".to_owned(),
            |(peer, node)| format!("ask peer {peer} at {}", node.public_address),
        );
        Err(MetaError::new(
            ErrorCode::NotLeader,
            format!("only the leader changes the membership: {who}"),
        ))
    }
}

/// The membership that nothing can take back: the last one that is committed, or the first there is, which only its founder
/// can have written.
pub(crate) fn settled(metrics: &RaftMetrics<TypeConfig>) -> &StoredMembership {
    let committed = &metrics.committed_membership_config;
    match committed.nodes().next() {
        Some(_) if !mutant!("place-before-commit") => committed,
        _ => &metrics.membership_config,
    }
}

fn not_a_member(peer: PeerId) -> MetaError {
    MetaError::not_found(format!("peer {peer} is not a member; see `quorate member list`"))
}

/// What openraft's refusal means for the caller. Whatever is not known to have stopped before the log may come about.
fn not_changed(error: &RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> MetaError {
    match error {
        RaftError::APIError(ClientWriteError::ChangeMembershipError(ChangeMembershipError::InProgress(_))) => {
            let text = "another change of the membership is under way; try again in a moment";
            MetaError::new(ErrorCode::TooManyRequests, text)
        }
        RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => {
            MetaError::new(ErrorCode::NotLeader, "leadership has moved; ask the new leader")
        }
        other => MetaError::new(ErrorCode::OutcomeUnknown, format!("the membership may have been changed: {other}")),
    }
}

/// At the leader: learners that have caught up become voters, and members they replace (same address) leave.
pub(crate) async fn promote_learners(core: Arc<Core>) {
    while !core.is_stopping() {
        tokio::time::sleep(PROGRESS_INTERVAL).await;
        let metrics = core.metrics();
        if core.leader() != Some(core.peer) {
            continue;
        }
        let configs = metrics.membership_config.get_joint_config();
        let change = match configs.as_slice() {
            // A leader that died between the two steps of a change has left it to the next one. While somebody else is at
            // it, openraft refuses this one.
            [_, .., last] => ChangeMembers::ReplaceAllVoters(last.clone()),
            _ => match promotion(&metrics) {
                Some(change) => change,
                None => continue,
            },
        };
        if let Err(error) = core.raft().change_membership(change, false).await {
            tracing::info!(%error, "the membership was not changed; it is tried again");
        }
    }
}

/// Learners at the address of a later member that votes: it has replaced them, and a leader died before they had left, or they
/// were replaced before they had caught up. Nobody else removes them.
fn left_behind(metrics: &RaftMetrics<TypeConfig>) -> BTreeSet<u64> {
    let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
    let members = || metrics.membership_config.nodes();
    let is_replaced = |peer: u64, node: &PeerNode| {
        members().any(|(other, known)| *other > peer && voters.contains(other) && known.peer_address == node.peer_address)
    };
    let learners = members().filter(|(peer, _)| !voters.contains(peer));
    learners
        .filter(|(peer, node)| is_replaced(**peer, node))
        .map(|(peer, _)| *peer)
        .collect()
}

/// The next change that is due.
fn promotion(metrics: &RaftMetrics<TypeConfig>) -> Option<ChangeMembers<u64, PeerNode>> {
    let replaced = left_behind(metrics);
    if !replaced.is_empty() {
        tracing::info!(peers = ?replaced, "learners that were replaced leave");
        return Some(ChangeMembers::RemoveNodes(replaced));
    }
    let voters: BTreeSet<u64> = metrics.membership_config.voter_ids().collect();
    let mut learners = metrics.membership_config.nodes().filter(|(peer, _)| !voters.contains(peer));
    let (peer, _) = learners.find(|(peer, _)| lag(metrics, **peer).is_some_and(|lag| lag <= CAUGHT_UP_ENTRIES))?;
    let target = voters_with(metrics, *peer);
    tracing::info!(peer, voters = ?target, "a learner becomes a voter");
    Some(ChangeMembers::ReplaceAllVoters(target))
}

/// The voters with `peer` among them, in the place of whoever had its address. During a change the voters are those it leads to.
fn voters_with(metrics: &RaftMetrics<TypeConfig>, peer: u64) -> BTreeSet<u64> {
    let members: BTreeMap<u64, &PeerNode> = metrics.membership_config.nodes().map(|(id, node)| (*id, node)).collect();
    let address = members.get(&peer).map(|node| &node.peer_address);
    let mut voters = metrics.membership_config.get_joint_config().last().cloned().unwrap_or_default();
    voters.retain(|voter| members.get(voter).map(|node| &node.peer_address) != address);
    voters.insert(peer);
    voters
}

/// Entries a follower lacks, as the leader knows it; `None` before its first acknowledgement. A peer that was never heard
/// of is not caught up, however short the log is.
fn lag(metrics: &RaftMetrics<TypeConfig>, peer: u64) -> Option<u64> {
    let matched = metrics.replication.as_ref()?.get(&peer)?.as_ref()?.index;
    Some(metrics.last_log_index.unwrap_or(0).saturating_sub(matched))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Membership;

    /// Peers 1 to `last`, the last one as a learner.
    fn membership(last: u64) -> Arc<StoredMembership> {
        let node = |peer: u64| PeerNode {
            peer_address: format!("peer{peer}:5001"),
            public_address: format!("peer{peer}:5000"),
            incarnation: 100 + peer,
        };
        let nodes: BTreeMap<u64, PeerNode> = (1..=last).map(|peer| (peer, node(peer))).collect();
        let membership = Membership::new(vec![BTreeSet::from([1, 2])], nodes).expect("voters are nodes");
        Arc::new(StoredMembership::new(None, membership))
    }

    fn settled_peers(metrics: &RaftMetrics<TypeConfig>) -> Vec<u64> {
        settled(metrics).nodes().map(|(peer, _)| *peer).collect()
    }

    #[test]
    fn a_place_is_settled_when_it_is_committed_or_the_founders() {
        let mut metrics = RaftMetrics::new_initial(1);
        assert!(settled_peers(&metrics).is_empty());
        metrics.membership_config = membership(3);
        assert_eq!(
            settled_peers(&metrics),
            [1, 2, 3],
            "the first one, which only its founder can have written"
        );
        metrics.committed_membership_config = membership(3);
        metrics.membership_config = membership(4);
        assert_eq!(settled_peers(&metrics), [1, 2, 3], "peer 4 can still be taken back");
        metrics.committed_membership_config = membership(4);
        assert_eq!(settled_peers(&metrics), [1, 2, 3, 4]);
    }

    #[test]
    fn a_promotion_does_not_bring_back_whom_a_change_takes_out() {
        let membership = membership(3);
        let nodes: BTreeMap<u64, PeerNode> = membership.nodes().map(|(peer, node)| (*peer, node.clone())).collect();
        let changing = Membership::new(vec![BTreeSet::from([1, 2]), BTreeSet::from([1])], nodes).expect("voters are nodes");
        let mut metrics = RaftMetrics::new_initial(1);
        metrics.membership_config = Arc::new(StoredMembership::new(None, changing));
        assert_eq!(voters_with(&metrics, 3), BTreeSet::from([1, 3]));
    }

    #[test]
    fn learners_whose_address_a_later_voter_has_leave() {
        let node = |address: &str, peer: u64| PeerNode {
            peer_address: address.to_owned(),
            public_address: address.to_owned(),
            incarnation: peer,
        };
        // Peer 2 was replaced by 5, and 4 was on the way when 5 came; 6 is a newcomer that replaces 1.
        let addresses = [(1, "a"), (2, "b"), (3, "c"), (4, "b"), (5, "b"), (6, "a")];
        let nodes: BTreeMap<u64, PeerNode> = addresses.map(|(peer, address)| (peer, node(address, peer))).into();
        let config = Membership::new(vec![BTreeSet::from([1, 3, 5])], nodes).expect("voters are nodes");
        let mut metrics = RaftMetrics::new_initial(1);
        metrics.membership_config = Arc::new(StoredMembership::new(None, config));
        assert_eq!(voters_with(&metrics, 6), BTreeSet::from([3, 5, 6]), "in the place of peer 1");
        assert_eq!(left_behind(&metrics), BTreeSet::from([2, 4]));
        assert!(matches!(promotion(&metrics), Some(ChangeMembers::RemoveNodes(peers)) if peers == BTreeSet::from([2, 4])));
    }
}
