//! The lease of a leader of its own: a quorum has heard it lead within the longest election timeout.
//!
//! A leader that stood still for longer, as a virtual machine does that is moved, wakes up without one. openraft lets it take no more
//! writes and sends no heartbeats for it, so that others can be elected. But what it had sent before has renewed the others' leases when
//! it woke up: they begin to stand for election as late as if it had died then. Where a majority answers it hands leadership over instead.

use crate::node::{Core, Node};
use crate::types::TypeConfig;
use openraft::RaftMetrics;
use quorate_model::{PeerId, mutant};
use std::time::Duration;
use tokio::time::Instant;

/// Looks are half a heartbeat apart, and two must find the lease lost: an acknowledgement may be on its way through this process.
const LOOKS_PER_HEARTBEAT: u32 = 2;

impl Core {
    /// Whether this peer leads, and a quorum has said so within an election's time.
    pub(crate) fn leads_a_quorum(&self) -> bool {
        if self.leader() != Some(self.peer) {
            return false;
        }
        let metrics = self.metrics();
        self.is_alone(&metrics) || silent_for(&metrics).is_some_and(|silent| silent < self.lease())
    }

    /// For how long no quorum has heard this peer lead, if it leads and that is longer than its lease.
    fn lost_lease_for(&self) -> Option<Duration> {
        if self.leader() != Some(self.peer) {
            return None;
        }
        let metrics = self.metrics();
        silent_for(&metrics).filter(|silent| *silent >= self.lease() && !self.is_alone(&metrics))
    }

    fn lease(&self) -> Duration {
        Duration::from_millis(self.settings.timing.election_max_ms)
    }

    fn is_alone(&self, metrics: &RaftMetrics<TypeConfig>) -> bool {
        metrics.membership_config.voter_ids().all(|voter| voter == self.peer)
    }
}

/// How long ago a leader sent the latest of what a quorum has acknowledged; `None` before the first time, and at others.
fn silent_for(metrics: &RaftMetrics<TypeConfig>) -> Option<Duration> {
    let acked = metrics.last_quorum_acked?;
    Some(openraft::Instant::elapsed(&*acked))
}

/// Hands leadership over whenever this peer leads and has lost its lease while a majority answers.
pub(crate) async fn watch(node: Node) {
    let core = node.core().clone();
    let timing = &core.settings.timing;
    let pause = Duration::from_millis(timing.heartbeat_ms) / LOOKS_PER_HEARTBEAT;
    let mut was_lost = false;
    while !core.is_stopping() {
        tokio::time::sleep(pause).await;
        let silent = core.lost_lease_for().filter(|_| !mutant!("keeps-a-lost-lease"));
        let was_lost_before = std::mem::replace(&mut was_lost, silent.is_some());
        let Some(silent) = silent.filter(|_| was_lost_before) else {
            continue;
        };
        let deadline = Instant::now() + Duration::from_millis(timing.election_min_ms);
        match node.transfer_leader(None, deadline).await {
            Ok(PeerId(to_peer)) => tracing::warn!(
                peer = core.peer,
                to_peer,
                silent_ms = silent.as_millis() as u64,
                "this peer led, no majority heard it for longer than its lease, and it has handed leadership over: look at its CPU, its host and its network"
            ),
            // No majority answers: who can reach one elects somebody.
            Err(error) => tracing::debug!(%error, "a leader without a lease hands over to nobody"),
        }
    }
}
