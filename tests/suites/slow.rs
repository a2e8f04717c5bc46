//! A request that took long leaves a line that says which step of the write path took the time, and nothing of its body.

use quorate_tests::cluster::{Cluster, TOKEN};
use quorate_tests::http;
use quorate_tests::native::{call, channel, metadata};
use quorate_tests::waiting::{phase, until};
use quorate_wire::quorate::v1::work_client::WorkClient;
use quorate_wire::quorate::v1::{ClaimTasksRequest, OpenSessionRequest};

/// Longer than the threshold, which is 1,000 ms unless configured.
const DELAY: &str = "1*sleep(1500)";
const DELAY_MS: u64 = 1_500;
const SECRET: &str = "a-secret-of-the-body";

/// Delays one step at a peer, once.
async fn delay(cluster: &Cluster, peer: usize, site: &str) {
    cluster.peers[peer].arm(&format!("{site}={DELAY}")).await;
}

/// Creates an instance under a request id, and gives the line that the peer wrote about that request.
async fn line_about(cluster: &Cluster, peer: usize, session: u64, number: u64) -> String {
    let path = format!("/MetaService/http/create_instance?token={TOKEN}");
    let (session, request) = (session.to_string(), number.to_string());
    let headers = [("quorate-session", session.as_str()), ("quorate-request", request.as_str())];
    let body = format!("{{\"instance_id\":\"slow-{number}\",\"name\":\"{SECRET}\"}}");
    let reply = http::send(&cluster.peers[peer].public, "POST", &path, &headers, &body).await;
    assert_eq!(reply.expect("the peer answers").status, 200);
    let marks = [
        "slow request: ".to_owned(),
        format!("session={session}"),
        format!("request={request}"),
    ];
    until("the peer tells of the slow request", async || {
        let log = cluster.peers[peer].log();
        let line = log.lines().find(|line| marks.iter().all(|mark| line.contains(mark.as_str())));
        line.map(str::to_owned)
    })
    .await
}

/// The line names this step, and says that it took as long as it was delayed, or longer.
fn assert_blames(line: &str, step: &str) {
    let took = line.split_once(&format!("slow request: {step} took "));
    let took_ms = took.and_then(|(_, rest)| rest.split_once(" ms: look at the disk")?.0.parse::<u64>().ok());
    assert!(took_ms.is_some_and(|took_ms| took_ms >= DELAY_MS), "{line}");
}

#[tokio::test]
async fn a_slow_write_says_which_step_took_the_time() {
    let cluster = Cluster::start(3).await;
    let (leader, follower) = cluster.leader_and_follower().await;
    let opened = metadata(&cluster.peers[leader].public)
        .open_session(call(OpenSessionRequest {}))
        .await;
    let session = opened.expect("a session").into_inner().session_id;

    phase("the state of the leader is slow");
    delay(&cluster, leader, "apply_commit_before").await;
    let line = line_about(&cluster, leader, session, 1).await;
    assert_blames(&line, "applying");

    phase("a follower knows only that it waited for the leader");
    delay(&cluster, leader, "apply_commit_before").await;
    let line = line_about(&cluster, follower, session, 2).await;
    assert!(line.contains("slow request: it waited for the leader, peer "), "{line}");

    for peer in &cluster.peers {
        let log = peer.log();
        assert!(!log.contains(SECRET) && !log.contains(TOKEN), "{log}");
    }
}

/// Asks for a task where there is none, longer than the threshold.
async fn wait_for_work(address: &str) {
    let mut request = call(ClaimTasksRequest {
        worker: "idle".into(),
        tasks: 1,
        wait_ms: 1_500,
        ..ClaimTasksRequest::default()
    });
    let token = TOKEN.parse().expect("a header value");
    request.metadata_mut().insert("quorate-token", token);
    let claimed = WorkClient::new(channel(address)).claim_tasks(request).await;
    assert_eq!(claimed.expect("an answer").into_inner().tasks, []);
}

#[tokio::test]
async fn a_slow_disk_is_named_and_who_waits_for_work_is_not_slow() {
    let cluster = Cluster::start(1).await;
    wait_for_work(&cluster.peers[0].public).await;
    let opened = metadata(&cluster.peers[0].public).open_session(call(OpenSessionRequest {})).await;
    let session = opened.expect("a session").into_inner().session_id;
    delay(&cluster, 0, "log_sync_group").await;
    let line = line_about(&cluster, 0, session, 1).await;
    assert_blames(&line, "sync of the log");
    let log = cluster.peers[0].log();
    assert!(!log.contains("claim_tasks"), "{log}");
}
