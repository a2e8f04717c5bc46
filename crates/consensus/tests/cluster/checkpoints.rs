//! A peer that was away too long gets the state as files.

use crate::support::{Cluster, soon, until};
use futures::StreamExt;
use quorate_consensus::Settings;
use quorate_model::{ErrorCode, PeerId};
use quorate_storage::codec;
use quorate_wire::quorate::peer as wire;
use std::time::Duration;
use tokio::time::Instant;

pub fn small_checkpoints() -> Settings {
    Settings {
        checkpoint_log_entries: 20,
        checkpoint_interval: Duration::from_secs(3_600),
        max_log_bytes: 1,
        ..Settings::default()
    }
}

/// Writes at `writer` until its log no longer has what `behind` needs.
pub async fn leave_behind(cluster: &Cluster, writer: usize, behind: usize, round: usize) {
    let needed = cluster.node(behind).applied().index + 1;
    let purged = || {
        cluster
            .node(writer)
            .status()
            .peers
            .iter()
            .find(|peer| peer.peer_id == writer as u64 + 1)
            .map_or(0, |peer| peer.purged_index)
    };
    let deadline = soon();
    let mut write = 0;
    while purged() <= needed {
        assert!(Instant::now() < deadline, "the log is never purged");
        let name = format!("round{round}.{}", write % 40);
        cluster
            .put(writer, &name, &format!("{write}"), None, soon())
            .await
            .expect("two peers are a quorum");
        write += 1;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_was_away_too_long_catches_up_twice_in_a_row() {
    let cluster = Cluster::start(small_checkpoints()).await;
    for round in 0..2 {
        let leader = cluster.leader().await;
        let away = (leader + 1) % 3;
        cluster.isolate(away);
        leave_behind(&cluster, leader, away, round).await;
        let transfers = cluster.links.plans_of(cluster.address(away)).len();
        cluster.links.heal();
        cluster.converge().await;
        assert!(
            cluster.links.plans_of(cluster.address(away)).len() > transfers,
            "round {round}: it caught up without a checkpoint"
        );
        let value = cluster.get(away, &format!("round{round}.0"), soon()).await.expect("read");
        assert!(value.is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_interrupted_transfer_goes_on_with_the_missing_files() {
    let cluster = Cluster::start(small_checkpoints()).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    cluster.isolate(away);
    leave_behind(&cluster, leader, away, 0).await;
    cluster.links.break_next_install_after(2);
    cluster.links.heal();
    cluster.converge().await;
    let plans = cluster.links.plans_of(cluster.address(away));
    assert!(plans.len() >= 2, "{plans:?}");
    assert!(plans[0].len() > 2, "{plans:?}");
    // The second attempt may be of a newer checkpoint, with further files.
    let again: Vec<_> = plans[0][..2].iter().filter(|arrived| plans[1].contains(arrived)).collect();
    assert!(again.is_empty(), "files that had arrived are sent again: {again:?} of {plans:?}");
    assert!(plans[0][2..].iter().any(|missing| plans[1].contains(missing)), "{plans:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_peer_that_got_a_checkpoint_keeps_it_over_a_restart() {
    let mut cluster = Cluster::start(small_checkpoints()).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    cluster.isolate(away);
    leave_behind(&cluster, leader, away, 0).await;
    cluster.links.heal();
    cluster.converge().await;
    let revision = cluster.node(away).applied().revision;
    cluster.kill(away).await;
    cluster.start_peer(away).await;
    until("the peer serves again", || cluster.node(away).check_serving().is_ok()).await;
    assert!(cluster.node(away).applied().revision >= revision);
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_is_kept_for_a_peer_that_was_away_for_a_moment() {
    let settings = Settings {
        max_log_bytes: 1 << 40,
        ..small_checkpoints()
    };
    let cluster = Cluster::start(settings).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    let status_of = |position: usize| {
        cluster
            .node(position)
            .status()
            .peers
            .into_iter()
            .find(|peer| peer.peer_id == position as u64 + 1)
    };
    let health = &cluster.node(leader).core().health;
    // A machine so busy that the peer's claim on the log ends meanwhile proves nothing: then once more.
    for _ in 0..5 {
        until("the leader has heard of it", || health.answering(away as u64 + 1).is_some()).await;
        let checkpoint = cluster.node(leader).checkpoint_index().unwrap_or(0);
        let last = cluster.node(away).applied().index;
        cluster.isolate(away);
        for write in 0..40 {
            cluster
                .put(leader, &format!("name{write}"), "value", None, soon())
                .await
                .expect("two peers are a quorum");
        }
        until("a checkpoint is made", || {
            cluster.node(leader).checkpoint_index().is_some_and(|index| index > checkpoint + 20)
        })
        .await;
        // openraft hears of its checkpoint a little later; what follows passes the same queue.
        for _ in 0..20 {
            cluster
                .put(leader, "after", "value", None, soon())
                .await
                .expect("two peers are a quorum");
        }
        let purged = status_of(leader).map_or(0, |peer| peer.purged_index);
        let in_time = health.recent(away as u64 + 1).is_some();
        cluster.links.heal();
        cluster.converge().await;
        if in_time {
            assert!(purged <= last, "purged up to {purged}, the peer had {last}");
            return;
        }
    }
    panic!("this machine is too slow for this test");
}

/// Attributes that no compression makes smaller, 2 MiB in all.
async fn write_two_mebibytes(cluster: &Cluster, writer: usize) {
    let mut state = 1u64;
    for number in 0..32 {
        let value: String = (0..64 << 10)
            .map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                char::from(b'!' + ((state >> 33) % 90) as u8)
            })
            .collect();
        cluster
            .put(writer, &format!("large{number}"), &value, None, soon())
            .await
            .expect("written");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_sent_no_faster_than_allowed() {
    let cluster = Cluster::start(Settings {
        checkpoint_bytes_per_second: 512 << 10,
        ..small_checkpoints()
    })
    .await;
    let mut took = Vec::new();
    // Where the third peer does not answer for a moment, the quorum needs this one, and nothing is held up.
    for round in 0..3 {
        let leader = cluster.leader().await;
        let away = (leader + 1) % 3;
        cluster.isolate(away);
        write_two_mebibytes(&cluster, leader).await;
        leave_behind(&cluster, leader, away, round).await;
        cluster.links.heal();
        let begun = Instant::now();
        until("the transfer begins", || !cluster.links.plans_of(cluster.address(away)).is_empty()).await;
        cluster.converge().await;
        took.push(begun.elapsed());
        if begun.elapsed() > Duration::from_secs(2) {
            return;
        }
    }
    panic!("1.5 MiB of text in any encoding take 3 s, they took {took:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_restores_the_quorum_is_sent_as_fast_as_it_goes() {
    // At this rate the transfer would take minutes.
    let mut cluster = Cluster::start(Settings {
        checkpoint_bytes_per_second: 4 << 10,
        ..small_checkpoints()
    })
    .await;
    let leader = cluster.leader().await;
    let (away, third) = ((leader + 1) % 3, (leader + 2) % 3);
    cluster.isolate(away);
    write_two_mebibytes(&cluster, leader).await;
    leave_behind(&cluster, leader, away, 0).await;
    cluster.kill(third).await;
    cluster.links.heal();
    cluster
        .put(leader, "name", "two peers", None, soon())
        .await
        .expect("the quorum is back");
    assert!(
        !cluster.links.plans_of(cluster.address(away)).is_empty(),
        "it came back by a checkpoint"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_still_being_sent_the_state_is_handed_no_leadership() {
    // At this rate the transfer takes far longer than everything here.
    let cluster = Cluster::start(Settings {
        checkpoint_bytes_per_second: 16 << 10,
        ..small_checkpoints()
    })
    .await;
    // Where the third peer does not answer for a moment, the quorum needs this one, and has it at once.
    for round in 0..3 {
        let leader = cluster.leader().await;
        let (away, third) = ((leader + 1) % 3, (leader + 2) % 3);
        let [wanted, other] = [away, third].map(|position| PeerId(position as u64 + 1));
        cluster.isolate(away);
        write_two_mebibytes(&cluster, leader).await;
        leave_behind(&cluster, leader, away, round).await;
        let transfers = cluster.links.plans_of(cluster.address(away)).len();
        cluster.links.heal();
        until("the transfer begins", || {
            cluster.links.plans_of(cluster.address(away)).len() > transfers
        })
        .await;
        let Err(refused) = cluster.node(leader).transfer_leader(Some(wanted), soon()).await else {
            continue;
        };
        assert_eq!(refused.code, ErrorCode::PreconditionFailed);
        assert!(refused.message.contains("has not caught up"), "{refused}");
        assert_eq!(
            cluster.node(leader).transfer_leader(None, soon()).await.expect("transferred"),
            other
        );
        return;
    }
    panic!("each time it had the state at once");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sender_that_fell_silent_makes_room() {
    let cluster = Cluster::start(small_checkpoints()).await;
    let leader = cluster.leader().await;
    let away = (leader + 1) % 3;
    cluster.isolate(away);
    leave_behind(&cluster, leader, away, 0).await;
    // The leader began to send, and its connection died without a word.
    let sender = wire::LeaderId {
        term: cluster.node(leader).status().term,
        peer: leader as u64 + 1,
    };
    let manifest = wire::InstallManifest {
        vote: Some(wire::Vote {
            leader: Some(sender),
            committed: true,
        }),
        log_id: Some(wire::LogId {
            leader: Some(sender),
            index: 1,
        }),
        membership: codec::encode_stored_membership(&codec::StoredMembership::default()).into(),
        ..Default::default()
    };
    let first = wire::InstallChunk {
        manifest: Some(manifest),
        ..Default::default()
    };
    let (waits, waiting) = tokio::sync::oneshot::channel();
    let next = async move {
        waits.send(()).expect("the test waits for this");
        std::future::pending().await
    };
    let silent = futures::stream::iter([first]).chain(futures::stream::once(next));
    let node = cluster.node(away).clone();
    let begun = tokio::spawn(async move { node.handle_install(silent.boxed()).await });
    waiting.await.expect("it has the first piece and waits for the next one");
    cluster.links.heal();
    cluster.converge().await;
    let reply = begun.await.expect("it ends");
    assert!(reply.error.contains("another sender has taken its place"), "{reply:?}");
}
