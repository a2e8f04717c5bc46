//! kill -9 of any peer at any time under load: no acknowledged write lost, none applied twice, no read goes back.

use quorate_tests::cluster::Cluster;
use quorate_tests::load::{Ledger, Load};
use quorate_tests::native::list_patiently;
use quorate_tests::peer::Peer;
use quorate_tests::raft_state::{assert_peers_agree, raft_state};
use quorate_tests::waiting::{phase, until};
use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;
use tokio::time::Instant;

const INSTANCE: &str = "crash";
/// How long peers are killed, in seconds; `QUORATE_CRASH_SECONDS` makes it longer.
const HARM_SECONDS: u64 = 15;
/// Most writes every writer gets acknowledged between two kills; each time a random number up to this.
const WRITES_BETWEEN: u64 = 30;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_peers_lose_nothing_and_repeat_nothing() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance(INSTANCE).await;
    let load = Load::start(&cluster.addresses(), INSTANCE);
    let started = Instant::now();
    let mut rounds = 0;
    while rounds == 0 || started.elapsed() < harm() {
        rounds += 1;
        some_writes(&load).await;
        phase("kill the leader");
        let leader = cluster.leader().await;
        cluster.peers[leader].kill();
        some_writes(&load).await;
        cluster.peers[leader].start();
        cluster.wait_ready().await;

        phase("kill a follower");
        let follower = cluster.follower().await;
        cluster.peers[follower].kill();
        some_writes(&load).await;
        cluster.peers[follower].start();
        cluster.wait_ready().await;

        phase("kill all of them at once");
        some_writes(&load).await;
        cluster.peers.iter_mut().for_each(Peer::kill);
        cluster.peers.iter_mut().for_each(Peer::start);
        load.wait_reads(1).await;
        cluster.wait_ready().await;
    }
    finish(cluster, load, rounds).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn peers_killed_around_checkpoints_lose_nothing_either() {
    let mut cluster = Cluster::start_with(3, &["--checkpoint-log-entries", "50"]).await;
    cluster.create_instance(INSTANCE).await;
    let load = Load::start(&cluster.addresses(), INSTANCE);
    let started = Instant::now();
    let mut rounds = 0;
    while rounds == 0 || started.elapsed() < harm() {
        rounds += 1;
        phase("a follower is away until the log it needs is gone");
        let follower = cluster.follower().await;
        let had = raft_state(&cluster.peers[follower].public).await.map_or(0, |state| state.applied);
        cluster.peers[follower].kill();
        let leader = cluster.leader().await;
        until("the leader purged its log", async || {
            let state = raft_state(&cluster.peers[leader].public).await?;
            (state.purged > had).then_some(())
        })
        .await;

        phase("it is killed again while it catches up, and so is the leader");
        cluster.peers[follower].start();
        some_writes(&load).await;
        cluster.peers[follower].kill();
        cluster.peers[follower].start();
        some_writes(&load).await;
        let leader = cluster.leader().await;
        cluster.peers[leader].kill();
        cluster.peers[leader].start();
        cluster.wait_ready().await;

        phase("kill all of them at once");
        some_writes(&load).await;
        cluster.peers.iter_mut().for_each(Peer::kill);
        cluster.peers.iter_mut().for_each(Peer::start);
        cluster.wait_ready().await;
    }
    finish(cluster, load, rounds).await;
}

fn harm() -> Duration {
    let asked = std::env::var("QUORATE_CRASH_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(asked.unwrap_or(HARM_SECONDS))
}

/// Kills come at other moments each time.
async fn some_writes(load: &Load) {
    load.wait_writes(1 + RandomState::new().build_hasher().finish() % WRITES_BETWEEN)
        .await;
}

async fn finish(mut cluster: Cluster, load: Load, rounds: u32) {
    let ledger = load.finish().await;
    let (attributes, gap_ms) = (ledger.acknowledged.len(), ledger.longest_gap.as_millis());
    eprintln!(
        "{rounds} rounds, {attributes} attributes, {} repeats, {} reads, longest gap {gap_ms} ms",
        ledger.repeats, ledger.reads
    );
    assert!(ledger.repeats > 0, "no call was ever in doubt: nothing was tested");

    phase("every peer has exactly what was acknowledged, at the acknowledged revisions");
    assert_has_exactly(&cluster, &ledger).await;
    assert_peers_agree(&cluster).await;

    phase("and still so after one more start from disk");
    cluster.peers.iter_mut().for_each(Peer::kill);
    cluster.peers.iter_mut().for_each(Peer::start);
    cluster.wait_ready().await;
    assert_has_exactly(&cluster, &ledger).await;
    assert_peers_agree(&cluster).await;
}

/// A write executed twice would have a later revision than the one acknowledged; one never acknowledged does not exist,
/// because writers repeat each until it is.
async fn assert_has_exactly(cluster: &Cluster, ledger: &Ledger) {
    for address in cluster.addresses() {
        let found = list_patiently(&address, INSTANCE).await;
        let found: BTreeMap<String, u64> = found.into_iter().map(|(name, attribute)| (name, attribute.revision)).collect();
        let differing = |(name, revision): &(&String, &u64)| found.get(*name) != Some(*revision);
        let lost: Vec<_> = ledger.acknowledged.iter().filter(differing).take(10).collect();
        assert!(
            lost.is_empty(),
            "the peer at {address} does not have, or has at another revision: {lost:?}"
        );
        assert_eq!(
            found.len(),
            ledger.acknowledged.len(),
            "the peer at {address} has what nobody wrote"
        );
    }
}
