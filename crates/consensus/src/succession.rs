//! Who leads after this leader: whoever it hands leadership to, or, when its process has died, whoever sees that first.
//!
//! A leader hands it over when it is asked to, when it stops, and when it has lost its own lease ([`crate::lease`]).
//!
//! Its lease protects a leader that lives and is not heard. A process that has died leads nobody: its kernel closes its connections, and
//! refuses new ones where it listened. A follower that sees both lets the lease go and stands:
//!
//! ```text
//! its connection closes --another is refused--> lease let go --a pause by rank--> pre-vote --> vote
//! ```
//!
//! This is a guess about time and nothing else. A follower that guesses alone, because a firewall refuses in the leader's place, finds no
//! majority for its pre-vote while the others hear the leader, and the leader leads on; only that follower protects it no more against
//! another that does not hear it, until the next election. A host that has died closes nothing and refuses nothing: its lease runs out.

use crate::disk::HANDOVER_ENTRIES;
use crate::maintenance;
use crate::node::{Core, Deadline, Node};
use crate::settings::HELLO_INTERVAL;
use crate::types::Vote;
use openraft::raft::TransferLeaderRequest;
use quorate_model::{ErrorCode, MetaError, PeerId, mutant};
use quorate_wire::quorate::peer::HelloReply;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Whom a lease is let go for: no peer has this id.
const NOBODY: u64 = 0;

/// Looks at an address until its process is taken for one that lives.
const LOOKS: u32 = 3;

/// What a peer knows about who comes next.
#[derive(Default)]
pub(crate) struct Succession {
    /// A connection from the leader has closed.
    closed: Notify,
    /// Who led when it did.
    whose: AtomicU64,
    /// This peer stands for no election: something is wrong with it.
    stands_back: AtomicBool,
}

impl Core {
    /// Whether this peer stands for election from now on.
    pub(crate) fn set_stands(&self, stands: bool) {
        self.raft().runtime_config().elect(stands);
        self.succession.stands_back.store(!stands, Ordering::Release);
    }
}

/// Looks at the leader whenever a connection from it has closed.
pub(crate) async fn watch(core: Arc<Core>) {
    while !core.is_stopping() {
        core.succession.closed.notified().await;
        succeed(&core).await;
    }
}

/// Brings about that somebody else leads if the process of the leader whose connection has closed has died.
async fn succeed(core: &Core) {
    let metrics = core.metrics();
    let leader = core.succession.whose.load(Ordering::Acquire);
    // Another one may lead by now: its connections are as they should be.
    if metrics.current_leader != Some(leader) || leader == core.peer {
        return;
    }
    let Some(node) = core.node_of(leader) else { return };
    let is_over = || core.metrics().vote != metrics.vote || core.is_stopping();
    // Of the same length for each peer, so that none comes into another's turn.
    let turn = Duration::from_millis(core.settings.timing.election_min_ms) / 4;
    let others: Vec<u64> = metrics.membership_config.voter_ids().filter(|peer| *peer != leader).collect();
    // From the highest id down: in one term a vote for a higher id beats one for a lower.
    let rank = others.iter().filter(|peer| **peer > core.peer).count() as u32;
    // What is left to its lease is waited for anyway.
    let until = Instant::now() + Duration::from_millis(core.settings.timing.election_max_ms);
    while Instant::now() < until && !is_over() && has_died(core, &node.peer_address, turn / 8).await {
        let_go(core, metrics.vote).await;
        // The first in turn waits, too: until the others have seen the same.
        tokio::time::sleep(turn * rank + turn / 8).await;
        if is_over() {
            return;
        }
        stand(core).await;
        tokio::time::sleep(turn * (others.len() as u32 - rank).max(1)).await;
    }
}

/// Whether the process at this address has died. A kernel closes what a process had open one after the other: connections may close before
/// it stops listening.
async fn has_died(core: &Core, address: &str, pause: Duration) -> bool {
    for _ in 1..LOOKS {
        if core.transport.has_died(address).await {
            return true;
        }
        tokio::time::sleep(pause).await;
    }
    core.transport.has_died(address).await
}

/// Ends the lease of the leader of this vote, here and without a vote for anybody.
async fn let_go(core: &Core, vote: Vote) {
    let to_nobody = TransferLeaderRequest::new(vote, NOBODY, None);
    if let Err(error) = core.raft().handle_transfer_leader(to_nobody).await {
        tracing::warn!(%error, "the lease of a leader that has died was not let go");
    }
}

/// Asks whether a majority would elect this peer, and stands if so.
async fn stand(core: &Core) {
    if core.succession.stands_back.load(Ordering::Acquire) || !core.is_voter(core.peer) {
        return;
    }
    tracing::info!(
        peer = core.peer,
        "the process of the leader has died: this peer stands for election"
    );
    if let Err(error) = core.raft().trigger().elect(!mutant!("succeeds-without-pre-vote")).await {
        tracing::warn!(%error, "this peer could not stand for election");
    }
}

/// Who is to lead next: `wanted`, or the voter that is furthest of those that answer and are well.
fn successor(core: &Core, wanted: Option<PeerId>, heard: &BTreeMap<u64, Option<HelloReply>>) -> Result<u64, MetaError> {
    let refused = |why: String| {
        let text = format!("{why}; peer {} goes on leading, see `quorate status`", core.peer);
        MetaError::new(ErrorCode::PreconditionFailed, text)
    };
    let metrics = core.metrics();
    let matched = |peer: u64| metrics.replication.as_ref()?.get(&peer).cloned().flatten().map(|id| id.index);
    let last = metrics.last_log_index.unwrap_or_default();
    let purged = metrics.purged.as_ref().map_or(0, |id| id.index);
    // One that lacks much, or needs the state itself, cannot be elected before it has it, and whoever has named a successor serves nobody
    // until somebody is.
    let is_near = |peer: u64| matched(peer).is_some_and(|index| index >= purged && index.saturating_add(HANDOVER_ENTRIES) >= last);
    if let Some(PeerId(wanted)) = wanted {
        if !core.is_voter(wanted) {
            return Err(MetaError::invalid(format!("peer {wanted} is not a voter; see `quorate status`")));
        }
        return match heard.get(&wanted).and_then(Option::as_ref) {
            None => Err(refused(format!("peer {wanted} does not answer"))),
            Some(reply) if reply.diverged => Err(refused(format!("the state of peer {wanted} is not the majority's"))),
            Some(_) if !is_near(wanted) => Err(refused(format!("peer {wanted} has not caught up; wait until it has"))),
            Some(_) => Ok(wanted),
        };
    }
    let voters = metrics.membership_config.voter_ids().count();
    let answer = heard
        .iter()
        .filter(|(peer, reply)| reply.is_some() && core.is_voter(**peer))
        .count()
        + usize::from(core.is_voter(core.peer));
    // Nobody could be elected.
    if answer <= voters / 2 {
        return Err(refused(format!("{answer} of {voters} voters answer")));
    }
    let answers = heard.iter().filter_map(|(peer, reply)| Some((peer, reply.as_ref()?)));
    let able = answers.filter(|(peer, reply)| core.is_voter(**peer) && !reply.diverged && is_near(**peer));
    let best = able.max_by_key(|(peer, reply)| (core.has_cluster_time(**peer), !reply.disk_low, matched(**peer)));
    best.map(|(peer, _)| *peer)
        .ok_or_else(|| refused("no other voter answers that could lead".to_owned()))
}

impl Node {
    /// Says that a connection over which `peer` called this one has closed.
    pub fn connection_closed(&self, peer: u64) {
        if self.core.leader() == Some(peer) {
            self.core.succession.whose.store(peer, Ordering::Release);
            self.core.succession.closed.notify_one();
        }
    }

    /// Hands leadership to `target`, or to the follower that is furthest; waits until another leader is known. Whoever is to lead is
    /// asked first, for a second or half the time there is: a leader that has let go, for one that does not answer, is followed by
    /// an election.
    pub async fn transfer_leader(&self, target: Option<PeerId>, deadline: Deadline) -> Result<PeerId, MetaError> {
        let core = &self.core;
        // openraft ignores the request at a follower without a word.
        if core.leader() != Some(core.peer) {
            let who = core
                .leader()
                .map_or_else(|| "nobody is known to".to_owned(), |leader| format!("peer {leader} does"));
            return Err(MetaError::new(
                ErrorCode::NotLeader,
                format!("peer {} does not lead, {who}; ask the leader", core.peer),
            ));
        }
        if target == Some(self.peer()) {
            return Ok(self.peer());
        }
        let patience = deadline.saturating_duration_since(Instant::now()) / 2;
        let heard = maintenance::ask_members(core, patience.min(HELLO_INTERVAL)).await;
        let target = successor(core, target, &heard)?;
        core.raft()
            .trigger()
            .transfer_leader(target)
            .await
            .map_err(|error| MetaError::internal(error.to_string()))?;
        // openraft reports no result: leadership has moved when this peer follows somebody else.
        while Instant::now() < deadline {
            match core.leader() {
                Some(leader) if leader != core.peer => return Ok(PeerId(leader)),
                _ => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
        Err(MetaError::new(
            ErrorCode::DeadlineExceeded,
            format!("leadership did not move to peer {target} in time"),
        ))
    }

    /// Lets another peer lead, if this one does. Everything else goes on.
    pub async fn hand_over(&self) {
        if self.is_leader() {
            let deadline = Instant::now() + Duration::from_secs(2);
            match self.transfer_leader(None, deadline).await {
                Ok(PeerId(to_peer)) => tracing::info!(to_peer, "leadership was handed over before the stop"),
                Err(error) => tracing::info!(%error, "leadership was not handed over before the stop"),
            }
        }
    }
}
