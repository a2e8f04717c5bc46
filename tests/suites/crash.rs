//! kill -9 of any peer at any time under load: no acknowledged write lost, none applied twice, no read goes back.

use quorate_tests::cluster::Cluster;
use quorate_tests::load::Load;
use quorate_tests::native::{call, metadata};
use quorate_tests::peer::Peer;
use quorate_tests::raft_state::{assert_peers_agree, wait_log_gone};
use quorate_tests::verdict;
use quorate_tests::waiting::phase;
use quorate_wire::quorate::v1::PutAttributeRequest;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::path::{Path, PathBuf};
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
        cluster.peers[follower].kill();
        wait_log_gone(&cluster, follower).await;

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

/// Attributes that fill many blocks of a file of the state.
const LARGE_ATTRIBUTES: usize = 100;
const LARGE_BYTES: usize = 2 << 10;

/// Writes every large attribute through one peer.
async fn write_large(address: &str, round: u64) {
    let mut client = metadata(address);
    for number in 0..LARGE_ATTRIBUTES {
        let mut value = Vec::with_capacity(LARGE_BYTES);
        while value.len() < LARGE_BYTES {
            // No compression makes it smaller.
            value.extend(RandomState::new().build_hasher().finish().to_le_bytes());
        }
        let put = PutAttributeRequest {
            instance_id: INSTANCE.into(),
            name: format!("large{number:03}"),
            value: value.into(),
            ..Default::default()
        };
        let written = client.put_attribute(call(put)).await;
        assert!(written.is_ok(), "round {round}, attribute {number}: {written:?}");
    }
}

/// The largest file of a peer's state.
fn largest_table(state: &Path) -> PathBuf {
    let generations = std::fs::read_dir(state)
        .expect("a state")
        .map(|entry| entry.expect("an entry").path());
    let files = generations
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gen-")))
        .flat_map(|generation| std::fs::read_dir(generation).expect("a generation"))
        .map(|entry| entry.expect("an entry").path());
    let tables = files.filter(|path| path.extension().is_some_and(|extension| extension == "sst"));
    tables
        .max_by_key(|path| std::fs::metadata(path).map_or(0, |facts| facts.len()))
        .expect("a state that was flushed has a table")
}

#[tokio::test]
async fn a_peer_that_cannot_read_its_state_ends_and_builds_it_anew() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance(INSTANCE).await;
    let (leader, follower) = cluster.leader_and_follower().await;
    write_large(&cluster.peers[leader].public, 0).await;
    assert_peers_agree(&cluster).await;

    phase("a byte in the middle of a stopped peer's state is flipped");
    cluster.peers[follower].terminate();
    assert!(cluster.peers[follower].wait_exit().await.success());
    let table = largest_table(&cluster.peers[follower].data_dir.join("state"));
    let mut bytes = std::fs::read(&table).expect("a table");
    assert!(
        bytes.len() > LARGE_ATTRIBUTES * LARGE_BYTES / 2,
        "the attributes are in {}",
        table.display()
    );
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&table, bytes).expect("written");

    phase("it starts, meets the damage when it applies what is written next, and ends");
    cluster.peers[follower].start();
    cluster.wait_ready().await;
    write_large(&cluster.peers[leader].public, 1).await;
    let refusal = cluster.peers[follower].wait_refusal().await;
    refusal.assert_says(&["has failed", "start it again"]);

    phase("the others went on, and it returns under its id with a new state");
    let members = cluster.members(leader).await;
    cluster.peers[follower].start();
    cluster.wait_ready().await;
    assert!(cluster.peers[follower].data_dir.join("state.damaged/gen-1/DAMAGED").exists());
    assert_eq!(cluster.members(leader).await, members);
    assert_peers_agree(&cluster).await;
}

#[tokio::test]
async fn a_killed_leader_is_succeeded_though_its_lease_runs_on() {
    // A lease of two seconds, and one to two more until somebody stands.
    let mut cluster = Cluster::start_with(3, &["--profile", "wan"]).await;
    cluster.create_instance(INSTANCE).await;
    let killed = cluster.leader().await;
    cluster.peers[killed].kill();
    let survivors = [(killed + 1) % 3, (killed + 2) % 3];
    let next = survivors[0];
    write_large(&cluster.peers[next].public, 0).await;
    let has_seen = |peer: usize| cluster.peers[peer].log().contains("the process of the leader has died");
    assert!(survivors.into_iter().any(has_seen), "nobody waited for the lease");
}
