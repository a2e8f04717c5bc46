//! kill -9 of any peer at any time under load: no acknowledged write lost, none applied twice, no read goes back.

use quorate_tests::cluster::Cluster;
use quorate_tests::load::{Ledger, Load};
use quorate_tests::native::list_patiently;
use quorate_tests::raft_state::assert_peers_agree;
use quorate_tests::waiting::phase;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const INSTANCE: &str = "crash";
/// How long peers are killed.
const HARM: Duration = Duration::from_secs(20);
/// Writes every writer must get acknowledged between two kills: enough to be sure that all of them go on.
const WRITES_BETWEEN: u64 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_peers_lose_nothing_and_repeat_nothing() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance(INSTANCE).await;
    let load = Load::start(&cluster.addresses(), INSTANCE);
    load.wait_writes(WRITES_BETWEEN).await;

    let started = Instant::now();
    let mut rounds = 0;
    while started.elapsed() < HARM || rounds == 0 {
        rounds += 1;
        phase("kill the leader");
        let leader = cluster.leader().await;
        cluster.peers[leader].kill();
        load.wait_writes(WRITES_BETWEEN).await;
        cluster.peers[leader].start();
        cluster.wait_ready().await;

        phase("kill a follower");
        let follower = cluster.follower().await;
        cluster.peers[follower].kill();
        load.wait_writes(WRITES_BETWEEN).await;
        cluster.peers[follower].start();
        cluster.wait_ready().await;

        phase("kill all of them at once");
        cluster.peers.iter_mut().for_each(|peer| peer.kill());
        cluster.peers.iter_mut().for_each(|peer| peer.start());
        load.wait_writes(WRITES_BETWEEN).await;
        load.wait_reads(WRITES_BETWEEN).await;
        cluster.wait_ready().await;
    }
    let ledger = load.finish().await;
    eprintln!(
        "{rounds} rounds, {} attributes, {} repeats, {} reads, longest gap {} ms",
        ledger.acknowledged.len(),
        ledger.repeats,
        ledger.reads,
        ledger.longest_gap.as_millis()
    );
    assert!(ledger.repeats > 0, "no call was ever in doubt: nothing was tested");

    phase("every peer has exactly what was acknowledged, at the acknowledged revisions");
    assert_has_exactly(&cluster, &ledger).await;
    assert_peers_agree(&cluster).await;

    phase("and still so after one more start from disk");
    cluster.peers.iter_mut().for_each(|peer| peer.kill());
    cluster.peers.iter_mut().for_each(|peer| peer.start());
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
        assert!(lost.is_empty(), "the peer at {address} does not have, or has at another revision: {lost:?}");
        assert_eq!(found.len(), ledger.acknowledged.len(), "the peer at {address} has what nobody wrote");
    }
}
