//! Without a majority every call ends at its deadline and says which of the two it is: not applied, or unknown.

use crate::support::cluster::INSTANCE;
use crate::support::{Cluster, calm, soon, within};
use bytes::Bytes;
use futures::{FutureExt as _, poll};
use quorate_consensus::settings::MAX_WAITING_COMMANDS;
use quorate_consensus::{Deadline, Node, Settings};
use quorate_model::{ErrorCode, MetaError};
use quorate_state_machine::commands::PutAttribute;
use std::pin::pin;
use std::time::Duration;
use tokio::time::Instant;

/// Writes `name` if it was last written at a revision.
async fn put_if(node: &Node, value: &'static str, expected: u64, deadline: Deadline) -> Result<u64, MetaError> {
    let command = PutAttribute {
        instance_id: INSTANCE.into(),
        name: "name".into(),
        value: Bytes::from_static(value.as_bytes()),
        if_revision: Some(expected),
    };
    node.execute(&command, None, deadline).await.map(|(revision, _)| revision.0)
}

/// Asks again for what `unanswered` may have done: one of the two calls has written it, never neither.
async fn put_if_again(cluster: &Cluster, position: usize, value: &'static str, expected: u64, unanswered: &MetaError) {
    if let Err(error) = put_if(cluster.node(position), value, expected, soon()).await {
        // A call ends at its deadline and may reach the leader after it.
        assert_eq!(
            unanswered.code,
            ErrorCode::OutcomeUnknown,
            "it said that it was not applied: {unanswered}"
        );
        assert_eq!(error.code, ErrorCode::PreconditionFailed, "{error}");
        let found = cluster.get(position, "name", soon()).await.expect("read");
        assert_eq!(found.as_deref(), Some(value), "the condition held all the time: {error}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_appended_without_a_quorum_has_an_unknown_outcome() {
    let cluster = Cluster::start(calm()).await;
    let leader = cluster.leader().await;
    // A lane of its own first, so that what is cut off is the write itself.
    cluster.put(leader, "name", "before", None, soon()).await.expect("written");
    cluster.isolate(leader);
    let started = Instant::now();
    let error = cluster
        .put(leader, "name", "lost?", None, within(1_000))
        .await
        .expect_err("no quorum");
    assert_eq!(error.code, ErrorCode::OutcomeUnknown, "{error}");
    assert!(started.elapsed().as_millis() < 3_000, "it took {:?}", started.elapsed());

    // The others go on, and in the end everybody agrees about what became of it.
    let rest = cluster.leader_among(&[(leader + 1) % 3, (leader + 2) % 3]).await;
    cluster
        .put(rest, "name", "after", None, soon())
        .await
        .expect("a new leader takes writes");
    cluster.links.heal();
    assert_eq!(cluster.get(leader, "name", soon()).await.expect("read").as_deref(), Some("after"));
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_nobody_took_was_not_applied() {
    let mut cluster = Cluster::empty(Settings::default());
    cluster.assign(0);
    cluster.start_peer(0).await;
    let started = Instant::now();
    let error = cluster
        .put(0, "name", "value", None, within(500))
        .await
        .expect_err("there is no cluster yet");
    assert_eq!(error.code, ErrorCode::NoLeader, "{error}");
    assert!(started.elapsed().as_millis() < 2_000, "it took {:?}", started.elapsed());
    let error = cluster.get(0, "name", within(500)).await.expect_err("there is no cluster yet");
    assert_eq!(error.code, ErrorCode::NoLeader, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_at_a_follower_end_when_the_majority_is_gone() {
    let mut cluster = Cluster::start(Settings::default()).await;
    let leader = cluster.leader().await;
    let follower = (leader + 1) % 3;
    cluster.put(follower, "name", "before", None, soon()).await.expect("written");
    cluster.kill(leader).await;
    cluster.kill((leader + 2) % 3).await;
    let error = cluster
        .put(follower, "name", "value", None, within(1_000))
        .await
        .expect_err("no quorum");
    assert!(matches!(error.code, ErrorCode::OutcomeUnknown | ErrorCode::NoLeader), "{error}");
    let error = cluster.get(follower, "name", within(1_000)).await.expect_err("no quorum");
    assert_eq!(error.code, ErrorCode::NoLeader, "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_is_the_answer_of_the_log_and_never_of_a_state_of_the_past() {
    let cluster = Cluster::start(Settings::default()).await;
    let is_open = |error: &MetaError| matches!(error.code, ErrorCode::OutcomeUnknown | ErrorCode::NoLeader);

    // A follower that is cut off does not know what is written meanwhile: its state says no, and the log would say yes.
    let leader = cluster.leader().await;
    let behind = (leader + 1) % 3;
    cluster.put(behind, "name", "first", None, soon()).await.expect("written");
    cluster.isolate(behind);
    let second = cluster.put(leader, "name", "second", None, soon()).await.expect("written");
    let error = put_if(cluster.node(behind), "third", second, within(800))
        .await
        .expect_err("nobody took it");
    assert!(is_open(&error), "{error}");
    cluster.links.heal();
    put_if_again(&cluster, behind, "third", second, &error).await;

    // Nor does a leader that was deposed.
    let deposed = cluster.leader().await;
    cluster.isolate(deposed);
    let next = cluster.leader_among(&[(deposed + 1) % 3, (deposed + 2) % 3]).await;
    let fourth = cluster
        .put(next, "name", "fourth", None, soon())
        .await
        .expect("a new leader takes writes");
    let error = put_if(cluster.node(deposed), "fifth", fourth, within(800))
        .await
        .expect_err("no quorum");
    assert!(is_open(&error), "{error}");
    cluster.links.heal();
    put_if_again(&cluster, deposed, "fifth", fourth, &error).await;

    // What the log says no to is refused, wherever it is asked.
    for position in 0..3 {
        let error = put_if(cluster.node(position), "sixth", second, soon())
            .await
            .expect_err("it was written since");
        assert_eq!(error.code, ErrorCode::PreconditionFailed, "{error}");
    }
    cluster.converge().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_whose_callers_are_gone_take_no_places() {
    let mut cluster = Cluster::empty(Settings::default());
    cluster.assign(0);
    cluster.start_peer(0).await;
    let node = cluster.node(0).clone();
    // One who waits for long keeps the question under way.
    let mut patient = pin!(node.read_barrier(Instant::now() + Duration::from_secs(120)));
    assert!(poll!(patient.as_mut()).is_pending());
    // Some may be taken into that question still, but no more than the queue holds.
    for _ in 0..=2 * MAX_WAITING_COMMANDS {
        let _hung_up = node.read_barrier(soon()).now_or_never();
    }
    let give_up = soon();
    loop {
        let error = node.read_barrier(within(200)).await.expect_err("there is no cluster yet");
        if error.code == ErrorCode::NoLeader {
            break;
        }
        assert_eq!(error.code, ErrorCode::TooManyRequests, "{error}");
        assert!(Instant::now() < give_up, "the queue stays full of those who have gone");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(poll!(patient.as_mut()).is_pending(), "it waits still");
}
