//! kill -9 of any peer at any time under load: no acknowledged write lost, none applied twice, no read goes back.

use quorate_tests::cluster::Cluster;
use quorate_tests::load::Load;
use quorate_tests::peer::Peer;
use quorate_tests::raft_state::raft_state;
use quorate_tests::verdict;
use quorate_tests::waiting::{phase, until};
use std::time::Duration;
use tokio::time::Instant;

const INSTANCE: &str = "crash";
/// How long peers are killed, in seconds; `QUORATE_CRASH_SECONDS` makes it longer.
const HARM_SECONDS: u64 = 15;

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn killed_peers_lose_nothing_and_repeat_nothing() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance(INSTANCE).await;
    let load = Load::start(&cluster.addresses(), INSTANCE);
    let started = Instant::now();
    let mut rounds = 0;
    while rounds == 0 || started.elapsed() < harm() {
        rounds += 1;
        load.some_writes().await;
        phase("kill the leader");
        let leader = cluster.leader().await;
        cluster.peers[leader].kill();
        load.some_writes().await;
        cluster.peers[leader].start();
        cluster.wait_ready().await;

        phase("kill a follower");
        let follower = cluster.follower().await;
        cluster.peers[follower].kill();
        load.some_writes().await;
        cluster.peers[follower].start();
        cluster.wait_ready().await;

        phase("kill all of them at once");
        load.some_writes().await;
        cluster.peers.iter_mut().for_each(Peer::kill);
        cluster.peers.iter_mut().for_each(Peer::start);
        load.wait_reads(1).await;
        cluster.wait_ready().await;
    }
    eprintln!("{rounds} rounds");
    verdict::finish(&mut cluster, load, INSTANCE).await;
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
        load.some_writes().await;
        cluster.peers[follower].kill();
        cluster.peers[follower].start();
        load.some_writes().await;
        let leader = cluster.leader().await;
        cluster.peers[leader].kill();
        cluster.peers[leader].start();
        cluster.wait_ready().await;

        phase("kill all of them at once");
        load.some_writes().await;
        cluster.peers.iter_mut().for_each(Peer::kill);
        cluster.peers.iter_mut().for_each(Peer::start);
        cluster.wait_ready().await;
    }
    eprintln!("{rounds} rounds");
    verdict::finish(&mut cluster, load, INSTANCE).await;
}

fn harm() -> Duration {
    let asked = std::env::var("QUORATE_CRASH_SECONDS").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(asked.unwrap_or(HARM_SECONDS))
}
