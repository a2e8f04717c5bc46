//! Without a majority every call ends at its deadline and says which of the two it is: not applied, or unknown.

use crate::support::{Cluster, soon, within};
use quorate_consensus::Settings;
use quorate_model::ErrorCode;
use tokio::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_that_was_appended_without_a_quorum_has_an_unknown_outcome() {
    let cluster = Cluster::start(Settings::default()).await;
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
