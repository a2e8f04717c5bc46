//! Peers of different builds: the cluster's level rises when all know the next, and no build goes beyond the level it knows.

use crate::support::{Cluster, soon, until};
use quorate_consensus::Settings;
use quorate_consensus::bootstrap::join;
use quorate_model::{ErrorCode, Incarnation};
use quorate_state_machine::level::LEVEL;
use quorate_wire::quorate::peer as wire;
use quorate_wire::quorate::v1::StatusReply;

/// What a newer build knows.
const NEXT: u32 = LEVEL + 1;

/// As many questions as a leader asks in three rounds, each followed by a look at the level.
const THREE_ROUNDS: usize = 8;

/// A cluster of the newer build, its level raised.
async fn raised(settings: Settings) -> Cluster {
    let cluster = Cluster::start(Settings { level: NEXT, ..settings }).await;
    until("the level is raised at every peer", || all_at(&cluster, NEXT)).await;
    cluster
}

fn all_at(cluster: &Cluster, level: u32) -> bool {
    (0..3).all(|position| cluster.node(position).level() == level)
}

async fn three_rounds(cluster: &Cluster, leader: usize) {
    let address = cluster.address(leader);
    let asked = cluster.links.calls(address, "hello");
    until("the leader has looked at the level", || {
        cluster.links.calls(address, "hello") >= asked + THREE_ROUNDS
    })
    .await;
}

/// Whom a status has advice for.
fn advised(status: &StatusReply) -> Vec<&str> {
    let advice = status.findings.iter().filter(|finding| finding.severity == "advice");
    advice.map(|finding| finding.object.as_str()).collect()
}

/// Restarts a peer, as another build if the settings have changed.
async fn restart(cluster: &mut Cluster, position: usize) {
    cluster.kill(position).await;
    cluster.start_peer(position).await;
    until("the peer serves again", || cluster.node(position).check_serving().is_ok()).await;
}

/// Why a peer of the older build does not run: it ends at its start, or when it comes to what it does not know.
async fn why_the_older_build_ends(cluster: &mut Cluster, position: usize) -> String {
    cluster.settings.level = LEVEL;
    let started = cluster.try_start_peer(position).await;
    cluster.settings.level = NEXT;
    if let Err(refused) = started {
        return refused.to_string();
    }
    let failed = tokio::time::timeout_at(soon(), cluster.node(position).failed()).await;
    assert!(cluster.node(position).check_serving().is_err());
    assert!(cluster.node(position).level() <= LEVEL, "nothing beyond it was applied");
    cluster.kill(position).await;
    failed.expect("it ends")
}

fn unknown_level() -> String {
    format!("the cluster is at level {NEXT}, this build knows up to {LEVEL}; install a newer build")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_level_rises_once_when_every_peer_is_newer_and_not_before() {
    let mut cluster = Cluster::start(Settings::default()).await;
    until("the cluster is at this build's level", || all_at(&cluster, LEVEL)).await;
    let older = cluster.follower().await;
    let newer = [(older + 1) % 3, (older + 2) % 3];
    cluster.settings.level = NEXT;
    for position in newer {
        restart(&mut cluster, position).await;
    }
    let leader = cluster.leader().await;
    three_rounds(&cluster, leader).await;
    assert!(all_at(&cluster, LEVEL), "one peer is older");
    let object = format!("peer {}", older + 1);
    until("status names the peer that holds the level back", || {
        let status = cluster.node(newer[0]).status();
        status.level == LEVEL && advised(&status) == [object.as_str()]
    })
    .await;

    // What it knows nobody can tell now.
    cluster.kill(older).await;
    let leader = cluster.leader_among(&newer).await;
    three_rounds(&cluster, leader).await;
    assert!(
        newer.iter().all(|position| cluster.node(*position).level() == LEVEL),
        "one peer is silent"
    );

    cluster.start_peer(older).await;
    until("the level is raised at every peer", || all_at(&cluster, NEXT)).await;
    cluster.converge().await;
    let leader = cluster.leader().await;
    let revision = cluster.node(leader).applied().revision;
    three_rounds(&cluster, leader).await;
    assert_eq!(cluster.node(leader).applied().revision, revision, "it is raised once");
    let status = cluster.node(leader).status();
    assert!(advised(&status).is_empty() && status.level == NEXT, "{status:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_build_applies_nothing_of_a_higher_level() {
    let mut cluster = raised(Settings::default()).await;
    for write in 0..5 {
        cluster.put(0, "name", &write.to_string(), None, soon()).await.expect("written");
    }
    cluster.converge().await;
    // Its state is of that level.
    let first = cluster.follower().await;
    cluster.stop(first).await;
    assert_eq!(why_the_older_build_ends(&mut cluster, first).await, unknown_level());
    cluster.start_peer(first).await;
    assert_eq!(cluster.node(first).level(), NEXT, "a restart keeps it");
    until("the peer serves again", || cluster.node(first).check_serving().is_ok()).await;
    // Its state is from before, and its log has the rest.
    let second = (0..3).rev().find(|position| *position != first).expect("there are three");
    cluster.kill(second).await;
    assert_eq!(why_the_older_build_ends(&mut cluster, second).await, unknown_level());
    cluster
        .put(first, "name", "without it", None, soon())
        .await
        .expect("the others go on");
    cluster.start_peer(second).await;
    cluster.converge().await;
    assert!(all_at(&cluster, NEXT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_carries_the_level_and_an_older_build_does_not_go_on_from_it() {
    let settings = Settings {
        checkpoint_log_entries: 20,
        max_log_bytes: 1,
        ..Settings::default()
    };
    let mut cluster = raised(settings).await;
    let leader = cluster.leader().await;
    let emptied = (leader + 1) % 3;
    cluster.kill(emptied).await;
    let purged = |cluster: &Cluster| {
        let peers = cluster.node(leader).status().peers;
        peers.iter().any(|peer| peer.peer_id == leader as u64 + 1 && peer.purged_index > 0)
    };
    let deadline = soon();
    while !purged(&cluster) {
        assert!(tokio::time::Instant::now() < deadline, "the log is never purged");
        cluster
            .put(leader, "name", "value", None, soon())
            .await
            .expect("two peers are a quorum");
    }
    cluster.replace(emptied, leader).await;
    assert_eq!(why_the_older_build_ends(&mut cluster, emptied).await, unknown_level());
    assert!(
        !cluster.links.plans_of(cluster.address(emptied)).is_empty(),
        "it was sent a checkpoint"
    );
    cluster.start_peer(emptied).await;
    cluster.converge().await;
    assert!(all_at(&cluster, NEXT));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newcomer_of_an_older_build_is_refused() {
    let cluster = raised(Settings::default()).await;
    let why = format!("the cluster is at level {NEXT}, the newcomer's build knows up to {LEVEL}; install a newer build there");
    let leader = cluster.leader().await;
    for (position, level) in [(leader, LEVEL), (leader, 0), ((leader + 1) % 3, LEVEL)] {
        let request = wire::JoinRequest {
            peer_address: "peer4:5001".to_owned(),
            public_address: "peer4:5000".to_owned(),
            incarnation: 200,
            new_address: true,
            forwarded: false,
            level,
        };
        let refused = cluster.node(position).handle_join(request).await.error.expect("refused");
        assert_eq!((refused.code, &refused.message), (ErrorCode::PreconditionFailed.row().number, &why));
    }
    // As this build's own process asks, which then ends.
    let mut newcomer = cluster.peers[leader].newcomer.clone();
    newcomer.incarnation = Incarnation(200);
    newcomer.peer_address = "peer4:5001".to_owned();
    newcomer.join = true;
    let refused = tokio::time::timeout_at(soon(), join(&newcomer, &cluster.transport(leader))).await;
    assert_eq!(refused.expect("it does not ask for ever"), Err(why));
    assert_eq!(cluster.node(leader).core().members().len(), 3);
}
