//! Disks fill up: one peer's, then a majority's.

use crate::checkpoints::small_checkpoints;
use crate::support::{Cluster, calm, cluster::INSTANCE, soon, until};
use quorate_consensus::Settings;
use quorate_model::{ErrorCode, RequestId, SessionId};
use quorate_state_machine::commands::{DeleteAttribute, OpenSession, PutAttribute};
use quorate_state_machine::limits::MAX_ATTRIBUTE_VALUE_BYTES;

const ALMOST_NOTHING: u64 = 10 << 20;
/// More than a state takes that has hardly anything in memory, and less than twice the log of `REFUSED` entries.
const A_LITTLE: u64 = 16 << 20;
const REFUSED: usize = 80;
const PLENTY: u64 = 50 << 30;

async fn delete(cluster: &Cluster, position: usize, name: &str) {
    let command = DeleteAttribute {
        instance_id: INSTANCE.into(),
        name: name.into(),
        ..Default::default()
    };
    cluster
        .node(position)
        .execute(&command, None, soon())
        .await
        .expect("a delete goes on");
}

/// Writes until the outcome is as wanted.
async fn put_until(cluster: &Cluster, position: usize, wanted: Result<(), ErrorCode>) {
    let deadline = soon();
    loop {
        let put = cluster.put(position, "probe", "value", None, soon()).await;
        if put.as_ref().map(|_| ()).map_err(|error| error.code) == wanted {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "wanted {wanted:?}, still {put:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_a_majority_short_of_disk_what_grows_is_refused_and_deletes_go_on() {
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    for name in ["a", "b", "c"] {
        cluster.put(leader, name, "value", None, soon()).await.expect("written");
    }
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    for position in others {
        cluster.set_free(position, ALMOST_NOTHING);
    }
    for position in 0..3 {
        put_until(&cluster, position, Err(ErrorCode::StorageFull)).await;
    }
    let refused = cluster.put(others[0], "more", "value", None, soon()).await.expect_err("refused");
    for part in ["2 of 3 voters", &format!("peer {} has 10 MiB left", others[0] + 1), "deletes go on"] {
        assert!(refused.message.contains(part), "\"{part}\" is not in {refused}");
    }
    let before = cluster.node(leader).applied().revision;
    for (position, name) in ["a", "b", "c"].iter().enumerate() {
        delete(&cluster, position, name).await;
        assert_eq!(cluster.get(position, name, soon()).await.expect("read"), None);
    }
    assert_eq!(cluster.node(leader).applied().revision.0, before.0 + 3, "nothing else was written");
    assert_eq!(cluster.get(leader, "more", soon()).await.expect("read"), None);
    assert_eq!(cluster.leader().await, leader, "who leads has room");
    let shown = cluster.node(leader).status();
    assert!(shown.peers.iter().filter(|peer| peer.disk_low).count() == 2, "{shown:?}");
    let finding = shown
        .findings
        .iter()
        .find(|finding| finding.object == "cluster")
        .expect("it is shown");
    assert!(finding.severity == "critical" && finding.text == refused.message, "{finding:?}");

    cluster.set_free(others[0], PLENTY);
    put_until(&cluster, others[1], Ok(())).await;
    let shown = cluster.node(leader).status();
    assert!(shown.findings.iter().all(|finding| finding.object != "cluster"), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_applied_before_the_disks_were_full_is_answered_when_it_is_repeated() {
    let cluster = Cluster::start(Settings::default()).await;
    let (_, opened) = cluster
        .node(0)
        .execute(&OpenSession::default(), None, soon())
        .await
        .expect("opened");
    let request = |number| {
        Some(RequestId {
            session: SessionId(opened.session),
            number,
        })
    };
    let first = cluster.put(0, "name", "value", request(1), soon()).await.expect("written");
    let leader = cluster.leader().await;
    for position in [leader, (leader + 1) % 3, (leader + 2) % 3] {
        cluster.set_free(position, ALMOST_NOTHING);
    }
    for position in 0..3 {
        put_until(&cluster, position, Err(ErrorCode::StorageFull)).await;
        let again = cluster
            .put(position, "name", "value", request(1), soon())
            .await
            .expect("the first answer");
        assert_eq!(again, first);
        let other = cluster
            .put(position, "name", "other", request(1), soon())
            .await
            .expect_err("another request");
        assert_eq!(other.code, ErrorCode::RequestIdReused);
        let fresh = cluster
            .put(position, "name", "other", request(2), soon())
            .await
            .expect_err("not applied yet");
        assert_eq!(fresh.code, ErrorCode::StorageFull);
    }
    assert_eq!(cluster.get(0, "name", soon()).await.expect("read").as_deref(), Some("value"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_alone_short_of_disk_hands_over_and_a_follower_is_left_alone() {
    let cluster = Cluster::start(calm()).await;
    let low = cluster.leader().await;
    cluster.converge().await;
    cluster.set_free(low, ALMOST_NOTHING);
    until("somebody else leads", || {
        cluster.node(low).leader().is_some_and(|(peer, _)| peer.0 != low as u64 + 1)
    })
    .await;
    let leader = cluster.leader().await;
    assert_ne!(leader, low);
    let exchanged = cluster.links.calls(cluster.address(leader), "hello");
    for write in 0..5 {
        cluster
            .put(low, "name", &write.to_string(), None, soon())
            .await
            .expect("one low disk stops nobody");
    }
    until("the new leader has looked at the disks", || {
        cluster.links.calls(cluster.address(leader), "hello") >= exchanged + 6
    })
    .await;
    assert_eq!(cluster.leader().await, leader, "a low follower changes nothing");
    let shown = cluster.node(leader).status();
    let object = format!("peer {}", low + 1);
    let finding = shown.findings.iter().find(|finding| finding.object == object).expect("it is shown");
    assert!(
        finding.text.contains("10 of 102400 MiB") && finding.advice.contains("free space"),
        "{finding:?}"
    );
}

/// What a peer's log begins behind, as it says itself.
fn purged(cluster: &Cluster, position: usize) -> u64 {
    let shown = cluster.node(position).status().peers;
    let own = shown.iter().find(|peer| peer.peer_id == position as u64 + 1);
    own.map_or(0, |peer| peer.purged_index)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_without_room_for_what_is_in_its_memory_makes_no_checkpoint_until_it_has_some() {
    let cluster = Cluster::start(small_checkpoints()).await;
    let leader = cluster.leader().await;
    let (full, other) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.set_free(full, 1 << 20);
    let before = purged(&cluster, full);
    for write in 0..60 {
        let name = format!("{write}");
        cluster.put(leader, &name, "value", None, soon()).await.expect("written");
    }
    until("those with room make theirs", || {
        purged(&cluster, leader) > 20 && purged(&cluster, other) > 20
    })
    .await;
    cluster.converge().await;
    assert_eq!(purged(&cluster, full), before, "it has all entries, and made a checkpoint");

    cluster.set_free(full, PLENTY);
    until("it makes one", || purged(&cluster, full) > 20).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_needs_room_for_what_is_in_memory_however_much_the_log_has_grown() {
    let cluster = Cluster::start(small_checkpoints()).await;
    let leader = cluster.leader().await;
    let full = (leader + 1) % 3;
    cluster.set_free(full, A_LITTLE);
    // Refused where they are applied: they stand in the log and leave next to nothing in the state.
    let refused = PutAttribute {
        instance_id: "nobody".into(),
        name: "name".into(),
        value: vec![7u8; MAX_ATTRIBUTE_VALUE_BYTES].into(),
        if_revision: None,
    };
    for _ in 0..REFUSED {
        let error = cluster
            .node(leader)
            .execute(&refused, None, soon())
            .await
            .expect_err("no such instance");
        assert_eq!(error.code, ErrorCode::NotFound);
    }
    let grown = cluster.node(leader).applied().index;
    for write in 0..40 {
        let name = format!("{write}");
        cluster.put(leader, &name, "value", None, soon()).await.expect("written");
    }
    until("it makes one of what came after", || purged(&cluster, full) > grown).await;
}
