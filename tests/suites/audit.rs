//! Every peer writes down what it applies (builds with the feature `audit`); afterwards the files must tell one story, and
//! it must contain every acknowledged write once.

use quorate_tests::audit::{self, AuditLog};
use quorate_tests::cluster::Cluster;
use quorate_tests::load::Load;
use quorate_tests::peer::Peer;
use quorate_tests::raft_state::wait_log_gone;
use quorate_tests::verdict;
use quorate_tests::waiting::phase;

const INSTANCE: &str = "audit";
/// Each brings at least one checkpoint to be installed.
const ROUNDS: usize = 2;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn the_audit_logs_of_all_peers_tell_one_story_with_every_acknowledged_write_in_it_once() {
    let mut cluster = Cluster::start_with(3, &["--audit", "--checkpoint-log-entries", "50"]).await;
    cluster.create_instance(INSTANCE).await;
    let load = Load::start(&cluster.addresses(), INSTANCE);
    for _ in 0..ROUNDS {
        phase("a follower is killed and comes back when the log it needs is gone");
        let absent = cluster.follower().await;
        cluster.peers[absent].kill();
        wait_log_gone(&cluster, absent).await;
        cluster.peers[absent].start();
        cluster.wait_ready().await;
        load.some_writes().await;

        phase("the leader is killed, then all at once");
        let leader = cluster.leader().await;
        cluster.peers[leader].kill();
        load.some_writes().await;
        cluster.peers[leader].start();
        cluster.wait_ready().await;
        load.some_writes().await;
        cluster.peers.iter_mut().for_each(Peer::kill);
        cluster.peers.iter_mut().for_each(Peer::start);
        cluster.wait_ready().await;
    }
    let ledger = verdict::finish(&mut cluster, load, INSTANCE).await;

    phase("stop all and read what they wrote down");
    let mut logs = Vec::new();
    for peer in &mut cluster.peers {
        peer.terminate();
        assert!(peer.wait_exit().await.success());
        logs.push(AuditLog::read(&peer.data_dir.join("audit.log")).expect("the peer applied every entry once, in order"));
    }
    let checkpoints: usize = logs.iter().map(|log| log.checkpoints).sum();
    let repeated: usize = logs.iter().map(|log| log.repeated).sum();
    let repeats = audit::check(&logs, &ledger.requests).expect("the peers agree, and with what was acknowledged");
    eprintln!(
        "{} acknowledged writes; {checkpoints} checkpoints installed, {repeated} entries applied again after a start, {repeats} requests repeated",
        ledger.requests.len()
    );
    assert!(checkpoints >= ROUNDS, "checkpoints were to be installed: {checkpoints}");
    assert!(repeated > 0, "no entry was applied again: the kills tested nothing");
}
