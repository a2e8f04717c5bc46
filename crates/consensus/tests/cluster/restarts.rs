//! Peers die without a word and come back; what was acknowledged is there.

use crate::support::{Cluster, soon, until};
use quorate_consensus::Settings;
use quorate_wire::quorate::v1::PeerStatus;
use std::time::Duration;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_the_death_of_each_peer_in_turn() {
    let mut cluster = Cluster::start(Settings::default()).await;
    for round in 0..6 {
        let victim = if round % 2 == 0 {
            cluster.leader().await
        } else {
            cluster.follower().await
        };
        cluster
            .put(victim, &format!("before{round}"), "kept", None, soon())
            .await
            .expect("written");
        cluster.kill(victim).await;
        let survivor = (victim + 1) % 3;
        cluster
            .put(survivor, &format!("during{round}"), "kept", None, soon())
            .await
            .expect("two peers are a quorum");
        cluster.start_peer(victim).await;
        until("the peer serves again", || cluster.node(victim).check_serving().is_ok()).await;
    }
    for round in 0..6 {
        for position in 0..3 {
            for name in [format!("before{round}"), format!("during{round}")] {
                let value = cluster.get(position, &name, soon()).await.expect("read");
                assert_eq!(value.as_deref(), Some("kept"), "{name} at peer {position}");
            }
        }
    }
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledged_writes_survive_the_death_of_all() {
    let mut cluster = Cluster::start(Settings::default()).await;
    for round in 0..3 {
        for write in 0..10 {
            cluster
                .put(write % 3, &format!("name{write}"), &round.to_string(), None, soon())
                .await
                .expect("written");
        }
        let revisions: Vec<_> = (0..3).map(|position| cluster.node(position).applied().revision).collect();
        for position in 0..3 {
            cluster.kill(position).await;
        }
        for position in 0..3 {
            cluster.start_peer(position).await;
        }
        for (position, revision) in revisions.into_iter().enumerate() {
            until("the peer serves again", || {
                let serving = cluster.node(position).check_serving().is_ok();
                let at = cluster.node(position).applied().revision;
                assert!(
                    !serving || at >= revision,
                    "peer {position} serves revision {at}, it had answered with {revision}"
                );
                serving
            })
            .await;
        }
        for write in 0..10 {
            let value = cluster.get(write % 3, &format!("name{write}"), soon()).await.expect("read");
            assert_eq!(value, Some(round.to_string()));
        }
    }
    cluster.converge().await;
}

/// How `asked` shows the peer at `shown` when it asks it now.
async fn fresh(cluster: &Cluster, asked: usize, shown: u64) -> PeerStatus {
    let status = cluster.node(asked).fresh_status().await;
    let peer = status.peers.into_iter().find(|peer| peer.peer_id == shown);
    peer.expect("a member")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_status_tells_what_is_so_when_it_is_asked_for() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let (asked, peer) = ((leader + 1) % 3, cluster.node(leader).peer().0);
    // The exchange of each second could tell one of these, and not all.
    let (mut told, deadline) = (0, soon());
    while told < 5 {
        assert!(Instant::now() < deadline, "a peer that is well is never heard in time");
        cluster.put(leader, "name", &told.to_string(), None, soon()).await.expect("written");
        let applied = cluster.node(leader).applied().index;
        let began = Instant::now();
        let shown = fresh(&cluster, asked, peer).await;
        // A status that has waited for somebody in vain shows him as he was.
        if shown.reachable && began.elapsed() < Duration::from_millis(200) {
            assert!(shown.applied_index >= applied, "{} is older than {applied}", shown.applied_index);
            told += 1;
        }
    }
    cluster.kill(leader).await;
    let deadline = soon();
    while fresh(&cluster, asked, peer).await.reachable {
        assert!(Instant::now() < deadline, "a peer that is dead is shown as reachable");
    }
    cluster.start_peer(leader).await;
    until("the peer serves again", || cluster.node(leader).check_serving().is_ok()).await;
    let deadline = soon();
    while !fresh(&cluster, asked, peer).await.reachable {
        assert!(Instant::now() < deadline, "a peer that serves is shown as unreachable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_stops_hands_leadership_over() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    cluster.node(leader).shutdown().await;
    assert!(cluster.node(leader).check_serving().is_err());
    let rest = [(leader + 1) % 3, (leader + 2) % 3];
    let next = cluster.leader_among(&rest).await;
    assert_ne!(next, leader);
    cluster.put(rest[0], "name", "value", None, soon()).await.expect("written");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_removed_before_it_heard_anything_is_told() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let position = (leader + 1) % 3;
    cluster.kill(position).await;
    let peer = cluster.replace(position, leader).await;
    cluster
        .node(leader)
        .remove_member(peer, false, soon())
        .await
        .expect("a learner may leave");
    cluster.start_peer(position).await;
    let removed = cluster.node(position).core().health.removed();
    tokio::time::timeout_at(soon(), removed)
        .await
        .expect("it is told that it has no place");
}
