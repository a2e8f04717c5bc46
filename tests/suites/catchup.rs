//! A peer that was away until the others no longer have the log it needs catches up by a checkpoint, while writes go on.

use quorate_tests::cluster::Cluster;
use quorate_tests::load::{LONGEST_GAP, Load};
use quorate_tests::native::list_patiently;
use quorate_tests::raft_state::{assert_peers_agree, raft_state, wait_log_gone};
use quorate_tests::waiting::phase;

/// Entries after which a peer makes a checkpoint and purges: small, so that the log is gone soon.
const CHECKPOINT_ENTRIES: &str = "200";
/// Writes of each of the two writers while the peer is away.
const WRITES_WHILE_AWAY: u64 = 1_000;
/// Writes of each while it catches up and after.
const WRITES_AFTERWARDS: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_peer_away_for_long_catches_up_by_a_checkpoint() {
    let mut cluster = Cluster::start_with(3, &["--checkpoint-log-entries", CHECKPOINT_ENTRIES]).await;
    let absent = cluster.follower().await;
    let others = (0..3).filter(|peer| *peer != absent);
    let addresses: Vec<String> = others.map(|peer| cluster.peers[peer].public.clone()).collect();

    // Twice: what the first catch-up leaves behind must not stand in the way of the second.
    for instance in ["first", "second"] {
        phase("stop a follower and write until the others have purged what it needs");
        cluster.create_instance(instance).await;
        cluster.peers[absent].terminate();
        assert!(cluster.peers[absent].wait_exit().await.success());
        let load = Load::start_measured(&addresses, instance);
        // In parts, each with the patience of one wait.
        for _ in 0..10 {
            load.wait_writes(WRITES_WHILE_AWAY / 10).await;
        }
        let had = wait_log_gone(&cluster, absent).await;

        phase("start it again while writes go on");
        cluster.peers[absent].start();
        cluster.wait_ready().await;
        load.wait_writes(WRITES_AFTERWARDS).await;
        let ledger = load.finish().await;
        eprintln!("longest gap {} ms, {} repeats", ledger.longest_gap.as_millis(), ledger.repeats);
        assert_eq!(ledger.repeats, 0, "no write failed while the checkpoint was sent");
        assert!(
            ledger.longest_gap < LONGEST_GAP,
            "a write waited {} ms",
            ledger.longest_gap.as_millis()
        );

        phase("it has what the others have");
        let returned = raft_state(&cluster.peers[absent].public).await.expect("it runs");
        assert!(
            returned.purged > had,
            "its log begins after {had} if it came back by a checkpoint: {}",
            returned.purged
        );
        assert_peers_agree(&cluster).await;
        let here = list_patiently(&cluster.peers[absent].public, instance).await;
        let there = list_patiently(&addresses[0], instance).await;
        assert!(here == there, "the peer that was away differs from the others");
        for (name, revision) in &ledger.acknowledged {
            assert_eq!(here.get(name).map(|attribute| attribute.revision), Some(*revision), "{name}");
        }
    }
}
