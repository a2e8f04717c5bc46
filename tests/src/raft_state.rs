//! What `/debug/raft` says about log and state of a peer.

use crate::cluster::{Cluster, TOKEN};
use crate::http;
use crate::waiting::until;
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// One peer's log and state.
#[derive(Clone, Debug)]
pub struct RaftState {
    pub applied: u64,
    /// Index of the last entry of the log.
    pub last: u64,
    /// Index up to which the log is gone; 0 when it is whole.
    pub purged: u64,
    pub checkpoint: u64,
    /// By index: digest of the history so far, and of the content.
    pub digests: BTreeMap<u64, (String, String)>,
}

pub async fn raft_state(address: &str) -> Option<RaftState> {
    let reply = http::send(address, "GET", "/debug/raft?digests=10000", &[("quorate-token", TOKEN)], "")
        .await
        .ok()?;
    (reply.status == 200).then(|| read(&reply.json()))
}

fn read(json: &Json) -> RaftState {
    // Log ids are written `term.peer-index`.
    let index = |id: &Json| id.as_str().and_then(|id| id.rsplit_once('-')?.1.parse().ok()).unwrap_or(0);
    let digests = json["digests"].as_array().expect("digests is a list").iter().map(|digest| {
        let text = |position: usize| digest[position].as_str().expect("digests are text").to_owned();
        (digest[0].as_u64().expect("an index"), (text(1), text(2)))
    });
    RaftState {
        applied: json["applied"].as_u64().expect("applied is an index"),
        last: index(&json["last"]),
        purged: index(&json["purged"]),
        checkpoint: json["checkpoint"].as_u64().unwrap_or(0),
        digests: digests.collect(),
    }
}

/// Waits until no other peer has the log that a follower, which is dead now, needs to come back; answers the last entry it can have. Its
/// log holds at most what theirs do: a leader appends an entry before it sends it. What it said before that it had applied may be less.
pub async fn wait_log_gone(cluster: &Cluster, dead: usize) -> u64 {
    let others = || states(cluster, |position| position != dead);
    let alive = until("the other peers answer", async || others().await).await;
    let had = alive.iter().map(|state| state.last).max().unwrap_or(0);
    until("the others have purged what the dead peer needs", async || {
        others().await?.iter().all(|state| state.purged > had).then_some(())
    })
    .await;
    had
}

/// Of the peers that are wanted, by their positions; none if one of them does not answer.
async fn states(cluster: &Cluster, wanted: impl Fn(usize) -> bool) -> Option<Vec<RaftState>> {
    let mut states = Vec::new();
    for (_, peer) in cluster.peers.iter().enumerate().filter(|(position, _)| wanted(*position)) {
        states.push(raft_state(&peer.public).await?);
    }
    Some(states)
}

/// Every peer has applied the same last entry, and wherever two of them tell digests of the same index, these are equal.
pub async fn assert_peers_agree(cluster: &Cluster) {
    let states = until("all peers have applied the same", async || {
        let states = states(cluster, |_| true).await?;
        let last = states[0].applied;
        states
            .iter()
            .all(|state| state.applied == last && state.digests.contains_key(&last))
            .then_some(states)
    })
    .await;
    for state in &states[1..] {
        for (index, digest) in &state.digests {
            let first = states[0].digests.get(index);
            assert!(
                first.is_none_or(|first| first == digest),
                "at index {index}: {first:?} here, {digest:?} there"
            );
        }
    }
}
