//! A cluster forms; any peer takes any call; reads are never stale.

use crate::support::cluster::{get, put};
use crate::support::{Cluster, soon, until, within};
use futures::FutureExt as _;
use quorate_consensus::{Node, Settings, Timing};
use quorate_model::{ErrorCode, PeerId};
use quorate_state_machine::commands::OpenSession;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_peer_takes_writes_and_linearizable_reads() {
    let cluster = Cluster::start(Settings::default()).await;
    for writer in 0..3 {
        let name = format!("from{writer}");
        cluster.put(writer, &name, "value", None, soon()).await.expect("written");
        for reader in 0..3 {
            assert_eq!(cluster.get(reader, &name, soon()).await.expect("read").as_deref(), Some("value"));
        }
    }
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_read_is_older_than_a_write_acknowledged_before_it_began() {
    let cluster = Cluster::start(Settings::default()).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let until = within(3_000);
    let writer = {
        let (node, acknowledged) = (cluster.node(0).clone(), acknowledged.clone());
        tokio::spawn(async move {
            let mut value = 0;
            while tokio::time::Instant::now() < until {
                value += 1;
                put(&node, "counter", &value.to_string(), None, soon()).await.expect("written");
                acknowledged.store(value, Ordering::SeqCst);
            }
            value
        })
    };
    let readers: Vec<_> = (0..3)
        .map(|position| {
            let (node, acknowledged) = (cluster.node(position).clone(), acknowledged.clone());
            tokio::spawn(async move {
                let (mut last, mut reads) = (0, 0);
                while tokio::time::Instant::now() < until {
                    let floor = acknowledged.load(Ordering::SeqCst);
                    let value = get(&node, "counter", soon()).await.expect("read");
                    let value: u64 = value.map_or(0, |text| text.parse().expect("a number"));
                    assert!(value >= floor, "peer {position} answered {value}, {floor} was acknowledged before");
                    assert!(value >= last, "peer {position} went back from {last} to {value}");
                    (last, reads) = (value, reads + 1);
                }
                reads
            })
        })
        .collect();
    // Leadership moves meanwhile: each new leader must know what the one before acknowledged.
    while tokio::time::Instant::now() < until {
        let leader = cluster.leader().await;
        match cluster.node(leader).transfer_leader(None, soon()).await {
            Ok(_) => {}
            Err(error) => assert!(
                matches!(error.code, ErrorCode::NotLeader | ErrorCode::PreconditionFailed),
                "{error}"
            ),
        }
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert!(writer.await.expect("the writer ends") > 0);
    for reader in readers {
        assert!(reader.await.expect("no stale read") > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_of_followers_share_the_rounds_of_the_leader_and_nobody_else_answers_them() {
    const QUESTIONS: usize = 200;
    let cluster = Cluster::start(Settings::default()).await;
    let (leader, follower) = (cluster.leader().await, cluster.follower().await);
    let refused = cluster.node(follower).handle_read_index().await;
    let code = refused.error.map(|error| ErrorCode::from_number(error.code));
    assert_eq!(code, Some(ErrorCode::NotLeader));

    cluster.put(leader, "name", "value", None, soon()).await.expect("written");
    let node = cluster.node(leader);
    let (written, address) = (node.applied().index, cluster.address(leader));
    let before = cluster.links.calls(address, "append");
    let answers = futures::future::join_all((0..QUESTIONS).map(|_| node.handle_read_index())).await;
    let fresh = answers.iter().filter(|answer| answer.error.is_none() && answer.index >= written);
    assert_eq!(fresh.count(), QUESTIONS);
    // A round of its own for each would be a message to each follower.
    let messages = cluster.links.calls(address, "append") - before;
    assert!(messages < QUESTIONS, "{messages} messages for {QUESTIONS} questions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_read_at_a_cut_off_leader_fails_instead_of_answering_with_the_past() {
    let cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    cluster.isolate(leader);
    let error = cluster
        .get(leader, "anything", within(1_500))
        .await
        .expect_err("no quorum confirms it");
    assert_eq!(error.code, ErrorCode::NoLeader, "{error}");
}

/// Has a peer lead that counts on its followers for twenty seconds.
async fn lead_with_a_long_lease(cluster: &mut Cluster) -> usize {
    let first = cluster.follower().await;
    cluster.settings.timing = Timing {
        election_max_ms: 20_000,
        quorum_loss_probe_ms: 60_000,
        ..Timing::LAN
    };
    cluster.kill(first).await;
    cluster.start_peer(first).await;
    cluster.settings.timing = Timing::LAN;
    until("it serves again", || cluster.node(first).check_serving().is_ok()).await;
    cluster.lead(first).await;
    first
}

/// What the second leader writes, the first one, who is not told, hides behind no older answer.
async fn assert_reads_nothing_old(cluster: &Cluster, first: usize, second: usize) {
    cluster.put(second, "name", "new", None, soon()).await.expect("written");
    let answer = cluster.get(first, "name", within(500)).await;
    assert!(answer.is_err(), "the old leader answered {answer:?}");
    cluster.links.heal();
    let answer = cluster.get(first, "name", soon()).await.expect("read");
    assert_eq!(answer.as_deref(), Some("new"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_restarted_voters_have_forgotten_answers_no_read() {
    let mut cluster = Cluster::start(Settings::default()).await;
    // What its followers promised it does not survive their restart.
    let first = lead_with_a_long_lease(&mut cluster).await;
    cluster.put(first, "name", "old", None, soon()).await.expect("written");
    cluster.isolate(first);
    let others = [(first + 1) % 3, (first + 2) % 3];
    for position in others {
        cluster.kill(position).await;
        cluster.start_peer(position).await;
    }
    let second = cluster.leader_among(&others).await;
    until("it serves again", || cluster.node(second).check_serving().is_ok()).await;
    assert_reads_nothing_old(&cluster, first, second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_handed_leadership_over_answers_no_read_under_the_lease_it_had() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let first = lead_with_a_long_lease(&mut cluster).await;
    cluster.put(first, "name", "old", None, soon()).await.expect("written");
    cluster.converge().await;
    // What it says arrives; what the others say is lost, but that they are well, so it is not told that another one leads.
    cluster.links.let_hellos_be_answered();
    let others = [(first + 1) % 3, (first + 2) % 3];
    for position in others {
        cluster.links.cut(cluster.address(position), cluster.address(first));
    }
    let to = Some(PeerId(others[0] as u64 + 1));
    let moved = cluster.node(first).transfer_leader(to, within(2_000)).await;
    assert!(moved.is_err(), "it was told of {moved:?}");
    let asked = cluster.links.calls(cluster.address(first), "transfer_leader");
    assert!(asked > 0, "it never asked another one to lead");
    let second = cluster.leader_among(&others).await;
    assert_reads_nothing_old(&cluster, first, second).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_late_answer_to_an_append_confirms_no_read_that_began_after_it_was_given() {
    let cluster = Cluster::start(Settings::default()).await;
    let first = cluster.leader().await;
    cluster.put(first, "name", "old", None, soon()).await.expect("written");
    cluster.converge().await;
    // Both others take one more write, and their answers to it are late.
    let others = [(first + 1) % 3, (first + 2) % 3];
    for position in others {
        cluster.links.hold(cluster.address(position), cluster.address(first));
    }
    let last_entry = |position: usize| cluster.log(position).state().last;
    let before = last_entry(first);
    let late = tokio::spawn({
        let node = cluster.node(first).clone();
        async move { put(&node, "another", "late", None, soon()).await }
    });
    until("the others have the late write", || {
        others.iter().all(|position| last_entry(*position) > before)
    })
    .await;
    let second = cluster.leader_among(&others).await;
    cluster.put(second, "name", "new", None, soon()).await.expect("written");

    let read = tokio::spawn({
        let node = cluster.node(first).clone();
        async move { get(&node, "name", within(500)).await }
    });
    // The first leader hears from one that its write was taken, and says so to the other, whose answer to the write itself comes then.
    let third = others[usize::from(others[0] == second)];
    let under_way = cluster.links.unanswered_appends(cluster.address(third));
    cluster.links.release_successes(cluster.address(second), cluster.address(first));
    late.await.expect("no panic").expect("a majority has it");
    until("it is said to the third", || {
        cluster.links.unanswered_appends(cluster.address(third)) > under_way
    })
    .await;
    cluster.links.release_successes(cluster.address(third), cluster.address(first));
    let answer = read.await.expect("no panic");
    assert!(answer.is_err(), "the old leader answered {answer:?}");
    cluster.links.heal();
    let answer = cluster.get(first, "name", soon()).await.expect("read");
    assert_eq!(answer.as_deref(), Some("new"));
}

/// Opens a session; ids are given in order, so it says how many there have been.
async fn sessions_opened(node: &Node) -> u64 {
    let opened = node.execute(&OpenSession::default(), None, soon()).await;
    opened.expect("there is room for one").1.session
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_given_up_give_their_lanes_back() {
    let cluster = Cluster::start(Settings::default()).await;
    for position in 0..3 {
        let node = cluster.node(position);
        cluster.put(position, "name", "first", None, soon()).await.expect("written");
        let before = sessions_opened(node).await;
        for _ in 0..40 {
            for _ in 0..32 {
                let hung_up = put(node, "name", "given up", None, soon()).now_or_never();
                assert!(hung_up.is_none(), "it takes longer than that: {hung_up:?}");
            }
            // Comes after them.
            cluster.put(position, "name", "last", None, soon()).await.expect("written");
        }
        // Ten would have been needed. Another peer may have opened its own.
        let opened = sessions_opened(node).await - before - 1;
        assert!(opened < 5, "peer {position} took {opened} sessions");
    }
}
