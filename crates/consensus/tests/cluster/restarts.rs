//! Peers die without a word and come back; what was acknowledged is there.

use crate::support::{Cluster, soon, until};
use quorate_consensus::{Settings, rebuild};
use quorate_model::ErrorCode;
use quorate_storage::state::StateEngine;
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_waits_for_a_peer_that_was_removed_or_stops() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let position = (leader + 1) % 3;
    let peer = cluster.node(position).peer();
    cluster.kill(position).await;
    let removal = cluster.node(leader).remove_member(peer, false, soon()).await;
    removal.expect("the two others are a quorum of themselves");
    cluster.start_peer(position).await;
    let far = soon() + Duration::from_secs(3_600);
    for when in ["before it is told", "and from then on"] {
        let refused = tokio::time::timeout_at(soon(), cluster.node(position).wait_serving(far)).await;
        let refused = refused.unwrap_or_else(|_| panic!("waits {when}")).expect_err("it has no place");
        assert_eq!(refused.code, ErrorCode::NotReady, "{when}");
    }

    for other in [leader, (leader + 2) % 3] {
        cluster.kill(other).await;
    }
    cluster.start_peer(leader).await;
    let stopping = cluster.node(leader).clone();
    let (refused, ()) = tokio::join!(tokio::time::timeout_at(soon(), stopping.wait_serving(far)), stopping.halt());
    let refused = refused.expect("it does not wait").expect_err("it stops");
    assert_eq!(refused.code, ErrorCode::ShuttingDown);
}

/// Three peers that agree about a written value, all of them stopped in good order.
async fn stopped_cluster() -> Cluster {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    cluster.put(leader, "name", "value", None, soon()).await.expect("written");
    cluster.converge().await;
    for position in 0..3 {
        cluster.stop(position).await;
    }
    cluster
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_its_state_knows_the_members_by_its_whole_log_and_votes() {
    let mut cluster = stopped_cluster().await;
    cluster.lose_state(0);
    cluster.start_peer(0).await;
    until("it names all members", || {
        let members = cluster.node(0).status().peers;
        members
            .iter()
            .map(|peer| (peer.peer_id, peer.voter))
            .eq([(1, true), (2, true), (3, true)])
    })
    .await;
    // Without its vote the other one would be no quorum.
    cluster.start_peer(1).await;
    cluster.converge().await;
    for position in 0..2 {
        let value = cluster.get(position, "name", soon()).await.expect("read");
        assert_eq!(value.as_deref(), Some("value"), "peer {position}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_gives_its_state_also_while_no_leader_can_be_elected() {
    let mut cluster = stopped_cluster().await;
    cluster.start_peer(0).await;
    let applied = cluster.node(0).applied().index;
    assert!(applied > 0);
    let alone = cluster.node(0).check_serving().expect_err("it cannot have caught up alone");
    assert_eq!(alone.code, ErrorCode::NotReady);

    cluster.lose_state(1);
    let (log, state) = cluster.open_stores(1);
    let (transport, others) = (cluster.transport(1), [cluster.address(0).to_owned()]);
    let rebuilding = rebuild::rebuild(&log, &state, &transport, &others, applied);
    let rebuilt = tokio::time::timeout_at(soon(), rebuilding).await;
    rebuilt.expect("somebody gives it a state").expect("it is installed");
    let rebuilt = state.raft_rows().expect("readable");
    assert!(rebuilt.applied.is_some_and(|id| id.index >= applied), "{rebuilt:?}");
    drop((log, state));

    cluster.start_peer(1).await;
    cluster.converge().await;
    let value = cluster.get(1, "name", soon()).await.expect("read");
    assert_eq!(value.as_deref(), Some("value"));
}
