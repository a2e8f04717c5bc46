//! A peer whose state is wrong stops answering and leads no more.

use crate::support::{Cluster, calm, soon, until};
use bytes::Bytes;
use quorate_consensus::Settings;
use quorate_model::{ErrorCode, PeerId};
use quorate_state_machine::keys::space;
use quorate_storage::state::{StateEngine, read_with};

/// Removes the rows of the instance: from then on each write to it is refused by this peer alone.
fn remove_instances(state: &dyn StateEngine) {
    let keys = read_with(state, |reader| {
        let mut keys = Vec::new();
        let mut cursor = reader.cursor(&[space::RECORD], &[space::RECORD + 1]).expect("readable");
        while let Some((key, _)) = cursor.row() {
            keys.push(Bytes::copy_from_slice(key));
            cursor.next().expect("readable");
        }
        keys
    });
    assert!(!keys.is_empty());
    let writes: Vec<_> = keys.into_iter().map(|key| (key, None)).collect();
    let applied = state.raft_rows().expect("readable").applied.expect("something was applied");
    state.commit(&writes, applied, None).expect("written");
}

async fn detected(cluster: &Cluster, position: usize) {
    let honest = (position + 1) % 3;
    let mut write = 0;
    let deadline = soon();
    while !matches!(cluster.node(position).check_serving(), Err(error) if error.code == ErrorCode::Diverged) {
        assert!(tokio::time::Instant::now() < deadline, "the difference is never noticed");
        // While the wrong peer leads, its own state answers: an error is as good as any other answer.
        let _ = cluster.put(honest, "name", &write.to_string(), None, soon()).await;
        write += 1;
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_with_a_wrong_state_stops_serving_and_gives_leadership_up() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.follower().await;
    cluster.tamper(leader, remove_instances).await;
    cluster.converge().await;
    let before = cluster.leader().await;
    let target = PeerId(leader as u64 + 1);
    cluster
        .node(before)
        .transfer_leader(Some(target), soon())
        .await
        .expect("nobody suspects it yet");
    detected(&cluster, leader).await;
    until("somebody else leads", || !cluster.node(leader).is_leader()).await;
    let next = cluster.leader().await;
    assert_ne!(next, leader);
    cluster.put(next, "name", "right", None, soon()).await.expect("the others go on");
    let refused = cluster.get(leader, "name", soon()).await.expect_err("it would answer wrongly");
    assert_eq!(refused.code, ErrorCode::Diverged);
    let shown = cluster.node(next).status();
    assert!(shown.peers.iter().any(|peer| peer.peer_id == leader as u64 + 1), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_with_a_wrong_state_stops_serving_and_is_not_elected() {
    let mut cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    let wrong = (leader + 1) % 3;
    cluster.tamper(wrong, remove_instances).await;
    detected(&cluster, wrong).await;
    assert_eq!(cluster.leader().await, leader, "the majority goes on as before");
    until("the leader has heard what its follower has found", || {
        let health = &cluster.node(leader).core().health;
        health.recent(wrong as u64 + 1).is_some_and(|hello| hello.diverged)
    })
    .await;
    let moved = cluster.node(leader).transfer_leader(None, soon()).await.expect("transferred");
    assert_eq!(moved.0, (leader + 2) as u64 % 3 + 1, "the peer with the right state is chosen");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_have_applied_different_amounts_do_not_suspect_each_other() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let follower = cluster.follower().await;
    cluster.kill(follower).await;
    for write in 0..30 {
        cluster
            .put((follower + 1) % 3, "name", &write.to_string(), None, soon())
            .await
            .expect("written");
    }
    cluster.start_peer(follower).await;
    // Two exchanges of digests after everybody has the same.
    cluster.converge().await;
    let address = cluster.address(follower).to_owned();
    let said = cluster.links.calls(&address, "hello");
    until("digests were exchanged", || cluster.links.calls(&address, "hello") >= said + 4).await;
    for position in 0..3 {
        cluster.node(position).check_serving().expect("nobody is suspected");
    }
}
