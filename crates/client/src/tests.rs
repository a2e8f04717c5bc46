//! The client against fake peers over real connections. No test waits for time to pass: a peer that is to be slow never
//! answers, and what must happen is waited for on a condition.

use crate::fake_cluster::{FakeCluster, Step, unused_port};
use crate::{Client, ClientError, ClientOptions, ErrorCode, Failure, Outcome, Read, TlsOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// A deadline that only a test that fails can meet.
const NEVER: Duration = Duration::from_secs(60);

fn quick() -> ClientOptions {
    ClientOptions {
        deadline: NEVER,
        attempt_timeout: NEVER,
        backoff_min: Duration::from_millis(1),
        backoff_max: Duration::from_millis(2),
        ..ClientOptions::default()
    }
}

fn client_of(addresses: Vec<String>) -> Client {
    Client::open_with(addresses, quick()).expect("the addresses are host:port")
}

fn failed<T: std::fmt::Debug>(result: Result<T, ClientError>) -> ClientError {
    result.expect_err("the call must fail")
}

/// Waits until the fake's state is as wanted.
async fn until(what: &str, mut reached: impl FnMut() -> bool) {
    let waiting = async {
        while !reached() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(NEVER, waiting)
        .await
        .unwrap_or_else(|_| panic!("never happened: {what}"));
}

#[tokio::test]
async fn a_write_follows_the_redirect_and_later_ones_go_to_the_leader_at_once() {
    let cluster = FakeCluster::start(2).await;
    let client = client_of(vec![cluster.address(1)]);
    for revision in 1..=5 {
        assert_eq!(client.put("i", "k", "v").await.expect("the leader is up").revision, revision);
    }
    let state = cluster.state();
    assert_eq!(state.calls[1], 1, "only the first call asked the follower");
    assert_eq!((state.executed, state.forwarded, state.sessions_opened), (5, 0, 1));
}

#[tokio::test]
async fn a_deadline_may_be_as_far_ahead_as_can_be_said() {
    let cluster = FakeCluster::start(1).await;
    let options = ClientOptions {
        deadline: Duration::MAX,
        attempt_timeout: Duration::MAX,
        ..quick()
    };
    let client = Client::open_with([cluster.address(0)], options).expect("the address is host:port");
    for client in [client.clone(), client.with_deadline(Duration::MAX)] {
        client.put("i", "k", "v").await.expect("the leader is up");
        client.get("i", "k", Read::linearizable()).await.expect("the leader is up");
    }
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_is_written_to_through_a_follower() {
    let cluster = FakeCluster::start(2).await;
    let _nobody_listens = cluster.hide_leader();
    let client = client_of(vec![cluster.address(1)]);
    client.put("i", "k", "v").await.expect("the follower forwards");
    let state = cluster.state();
    assert_eq!((state.executed, state.calls[0]), (1, 0));
    assert!(state.forwarded >= 1);
}

/// An address at which every connection is closed as soon as it is open, and how many there were.
async fn hangs_up() -> (String, Arc<AtomicU32>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("the socket is bound").to_string();
    let connections = Arc::new(AtomicU32::new(0));
    let counted = connections.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (address, connections)
}

#[tokio::test]
async fn a_leader_that_cannot_be_reached_is_not_tried_at_every_write() {
    let cluster = FakeCluster::start(2).await;
    let (address, connections) = hangs_up().await;
    cluster.name_leader_at(address);
    let client = client_of(vec![cluster.address(1)]);
    client.put("i", "k", "v").await.expect("the follower forwards");
    let tried = connections.load(Ordering::Relaxed);
    assert!(tried > 0, "the leader was looked for where the follower said");
    for _ in 0..3 {
        client.put("i", "k", "v").await.expect("the follower forwards");
    }
    assert_eq!(connections.load(Ordering::Relaxed), tried);
    assert_eq!(cluster.state().executed, 4);
}

#[tokio::test]
async fn a_new_leader_is_written_to_at_once_while_the_old_one_is_left_alone() {
    let cluster = FakeCluster::start(3).await;
    let options = ClientOptions {
        attempt_timeout: Duration::from_secs(2),
        ..quick()
    };
    let client = Client::open_with([cluster.address(2)], options).expect("host:port");
    client.put("i", "k", "v").await.expect("the follower names the leader");
    cluster.script(0, [Step::Hang]);
    cluster.state().leader = 1;
    client.put("i", "k", "v").await.expect("the follower forwards");
    let before = cluster.state().forwarded;
    for _ in 0..3 {
        client.put("i", "k", "v").await.expect("the follower names the new leader");
    }
    assert_eq!(cluster.state().forwarded, before);
}

#[tokio::test]
async fn a_leader_learned_from_a_redirect_answers_when_no_configured_peer_can() {
    let cluster = FakeCluster::start(2).await;
    let client = client_of(vec![cluster.address(1)]);
    client.put("i", "k", "v").await.expect("the follower names the leader");
    let before = cluster.state().calls[0];
    cluster.script(1, std::iter::repeat_with(|| Step::Refuse(ErrorCode::NotReady)).take(1_000));
    client.get("i", "k", Read::stale()).await.expect("the leader answers");
    assert_eq!(cluster.state().calls[0], before + 1);
}

#[tokio::test]
async fn a_dead_peer_in_the_list_is_passed_over() {
    let cluster = FakeCluster::start(1).await;
    let dead = unused_port();
    let dead_address = dead.local_addr().expect("bound").to_string();
    for _ in 0..8 {
        let client = client_of(vec![dead_address.clone(), cluster.address(0)]);
        client.put("i", "k", "v").await.expect("one peer is up");
        client.get("i", "k", Read::stale()).await.expect("one peer is up");
    }
    assert_eq!(cluster.state().executed, 8);
}

#[tokio::test]
async fn a_write_whose_answer_is_lost_is_repeated_and_executed_once() {
    let cluster = FakeCluster::start(1).await;
    let client = client_of(cluster.addresses());
    client.put("i", "k", "first").await.expect("nothing fails yet");
    cluster.script(0, [Step::LoseTheAnswer, Step::LoseTheAnswer]);
    let answer = client.put("i", "k", "second").await.expect("the third try is answered");
    assert_eq!(answer.revision, 2, "the answer of the execution, not of a repetition");
    let state = cluster.state();
    assert_eq!(state.executed, 2);
    assert_eq!(&state.attributes["k"].value[..], b"second");
}

#[tokio::test]
async fn a_refusal_remembered_under_the_request_id_settles_an_unknown_outcome() {
    let cluster = FakeCluster::start(1).await;
    let client = client_of(cluster.addresses());
    client.put("i", "k", "v").await.expect("nothing fails yet");
    cluster.script(0, [Step::LoseTheAnswer]);
    let error = failed(client.put_if("i", "k", "w", 77).await);
    assert_eq!(
        (error.code(), error.outcome(), error.attempts()),
        (Some(ErrorCode::PreconditionFailed), Outcome::NotApplied, 2)
    );
}

#[tokio::test]
async fn a_refusal_of_a_later_try_does_not_settle_an_earlier_one() {
    let cluster = FakeCluster::start(1).await;
    let client = client_of(cluster.addresses());
    client.put("i", "k", "v").await.expect("nothing fails yet");
    cluster.script(0, [Step::LoseTheAnswer, Step::Refuse(ErrorCode::Unauthenticated)]);
    let error = failed(client.put("i", "k", "w").await);
    assert_eq!(
        (error.code(), error.outcome()),
        (Some(ErrorCode::Unauthenticated), Outcome::Unknown)
    );
}

#[tokio::test]
async fn the_deadline_ends_a_call_and_says_whether_it_can_have_happened() {
    // It comes in the pause after the second try: in the middle of a try it would leave the outcome of that one open.
    let options = ClientOptions {
        backoff_min: Duration::from_secs(3),
        backoff_max: Duration::from_secs(6),
        ..quick()
    };
    let deadline = Duration::from_millis(4_200);
    for (step, outcome) in [
        (ErrorCode::OutcomeUnknown, Outcome::Unknown),
        (ErrorCode::NoLeader, Outcome::NotApplied),
    ] {
        let cluster = FakeCluster::start(1).await;
        let client = Client::open_with(cluster.addresses(), options.clone()).expect("host:port");
        client.put("i", "k", "v").await.expect("nothing fails yet");
        cluster.script(0, std::iter::repeat_with(|| Step::Refuse(step)).take(10_000));
        let error = failed(client.with_deadline(deadline).put("i", "k", "w").await);
        assert!(matches!(error.failure(), Failure::Deadline { .. }), "{error}");
        assert_eq!(error.outcome(), outcome);
        assert!(error.attempts() > 1, "it was repeated until then");
    }
}

#[tokio::test]
async fn the_deadline_tells_what_a_peer_answered_last_whatever_became_of_the_last_try() {
    let cluster = FakeCluster::start(1).await;
    let client = client_of(cluster.addresses());
    client.put("i", "k", "v").await.expect("nothing fails yet");
    cluster.script(0, [Step::Refuse(ErrorCode::StorageFull), Step::Hang]);
    let error = failed(client.with_deadline(Duration::from_secs(3)).put("i", "k", "w").await);
    assert!(matches!(error.failure(), Failure::Deadline { .. }), "{error}");
    assert_eq!((error.code(), error.attempts()), (Some(ErrorCode::StorageFull), 2));
    assert!(error.to_string().contains(ErrorCode::StorageFull.row().advice), "{error}");
}

#[tokio::test]
async fn a_peer_that_does_not_answer_is_left_for_another() {
    let cluster = FakeCluster::start(2).await;
    let options = ClientOptions {
        attempt_timeout: Duration::from_millis(100),
        ..quick()
    };
    let client = Client::open_with(cluster.addresses(), options).expect("host:port");
    client.put("i", "k", "v").await.expect("nothing fails yet");
    cluster.script(0, [Step::Hang]);
    cluster.script(1, [Step::Hang]);
    client.put("i", "k", "w").await.expect("a later try is answered");
    client
        .get("i", "k", Read::linearizable())
        .await
        .expect("a read passes over the other one that hangs");
    assert_eq!(cluster.state().executed, 2);
}

#[tokio::test]
async fn a_peer_that_does_not_finish_its_tls_handshake_is_left_in_time() {
    // The system accepts connections for it; nobody answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = silent.local_addr().expect("the socket is bound");
    let options = ClientOptions {
        // No certificate comes to be looked at.
        tls: TlsOptions {
            ca_file: Some("/dev/null".into()),
            ..TlsOptions::default()
        },
        connect_timeout: Duration::from_millis(20),
        deadline: Duration::from_secs(1),
        ..quick()
    };
    let client = Client::open_with([format!("https://{address}")], options).expect("host:port");
    let error = failed(client.status().await);
    assert!(error.attempts() > 1, "the first try has waited for all of the time: {error}");
}

/// A way to a peer. Connections that are open when something is sent fall silent, as those to a machine that lost its power.
async fn way_to(peer: String) -> (String, Arc<watch::Sender<()>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
    let address = listener.local_addr().expect("the socket is bound").to_string();
    let silences = Arc::new(watch::Sender::new(()));
    let sender = silences.clone();
    tokio::spawn(async move {
        while let Ok((mut from, _)) = listener.accept().await {
            let (mut silence, peer) = (sender.subscribe(), peer.clone());
            tokio::spawn(async move {
                let mut to = TcpStream::connect(peer).await.expect("the peer listens");
                tokio::select! {
                    _ = tokio::io::copy_bidirectional(&mut from, &mut to) => {}
                    _ = silence.changed() => std::future::pending::<()>().await,
                }
            });
        }
    });
    (address, silences)
}

#[tokio::test]
async fn a_connection_that_has_fallen_silent_is_opened_anew() {
    let cluster = FakeCluster::start(1).await;
    let (address, silences) = way_to(cluster.address(0)).await;
    let options = ClientOptions {
        attempt_timeout: Duration::from_millis(100),
        ..quick()
    };
    let client = Client::open_with([address], options).expect("host:port");
    client.status().await.expect("nothing is silent yet");
    silences.send_replace(());
    client.status().await.expect("another connection is made");
}

#[tokio::test]
async fn an_expired_session_is_replaced_when_nothing_can_have_happened() {
    let cluster = FakeCluster::start(1).await;
    let client = client_of(cluster.addresses());
    client.put("i", "k", "v").await.expect("nothing fails yet");
    cluster.state().sessions.clear();
    client.put("i", "k", "w").await.expect("a new session is opened");
    let state = cluster.state();
    assert_eq!((state.sessions_opened, state.executed), (2, 2));
}

#[tokio::test]
async fn an_expired_session_after_a_lost_answer_is_reported_as_unknown() {
    let cluster = FakeCluster::start(1).await;
    let client = client_of(cluster.addresses());
    client.put("i", "k", "v").await.expect("nothing fails yet");
    cluster.script(0, [Step::LoseTheAnswer, Step::Refuse(ErrorCode::SessionExpired)]);
    let error = failed(client.put("i", "k", "w").await);
    assert_eq!((error.code(), error.outcome()), (Some(ErrorCode::SessionExpired), Outcome::Unknown));
    client.put("i", "k", "x").await.expect("the next write opens a session");
    assert_eq!(cluster.state().sessions_opened, 2);
}

#[tokio::test]
async fn a_burst_opens_one_session_and_keeps_to_one_write_per_slot() {
    let cluster = FakeCluster::start(1).await;
    let client = client_of(cluster.addresses());
    cluster.close_gate();
    let mut writes = tokio::task::JoinSet::new();
    for number in 0..300 {
        let client = client.clone();
        writes.spawn(async move { client.put("i", &format!("k{number}"), "v").await });
    }
    until("128 writes are in flight", || cluster.state().most_in_flight == 128).await;
    cluster.open_gate();
    while let Some(write) = writes.join_next().await {
        write.expect("no task panics").expect("every write is executed");
    }
    let state = cluster.state();
    assert_eq!((state.executed, state.sessions_opened, state.slot_collisions), (300, 1, 0));
    assert_eq!(state.most_in_flight, 128);
}

#[tokio::test]
async fn an_abandoned_write_gives_its_lane_back_under_another_number() {
    let cluster = FakeCluster::start(1).await;
    let client = client_of(cluster.addresses());
    client.put("i", "k", "v").await.expect("nothing fails yet");
    cluster.close_gate();
    let abandoned = tokio::spawn({
        let client = client.clone();
        async move { client.put("i", "k", "abandoned").await }
    });
    until("the write has arrived", || cluster.state().calls[0] == 3).await;
    abandoned.abort();
    assert!(abandoned.await.is_err_and(|error| error.is_cancelled()));
    cluster.open_gate();
    client.put("i", "k", "w").await.expect("its number is a new one");
    assert_eq!(&cluster.state().attributes["k"].value[..], b"w");
}

#[tokio::test]
async fn reads_say_what_they_may_miss_and_are_not_redirected() {
    use quorate_wire::quorate::v1::Consistency;
    let cluster = FakeCluster::start(2).await;
    let client = client_of(vec![cluster.address(1)]);
    let written = client.put("i", "k", "v").await.expect("the leader is up").revision;
    assert_eq!(client.last_revision(), written);
    let cases = [
        (Read::linearizable(), Consistency::Linearizable, 0, None),
        (Read::stale(), Consistency::Stale, 0, None),
        (Read::at_least(written), Consistency::Stale, 0, Some("1")),
        (Read::at_revision(written), Consistency::Stale, written, Some("1")),
    ];
    for (read, consistency, at_revision, min_revision) in cases {
        let answer = client.get("i", "k", read).await.expect("the follower answers");
        assert_eq!(answer.value.map(|attribute| attribute.value), Some("v".into()));
        let (request, metadata) = cluster.state().last_read.take().expect("the follower was read");
        assert_eq!((request.consistency(), request.at_revision), (consistency, at_revision));
        assert_eq!(
            metadata.get("quorate-min-revision").and_then(|value| value.to_str().ok()),
            min_revision
        );
        assert!(metadata.get("quorate-redirect").is_none());
        assert_eq!(metadata.get("quorate-no-wait").and_then(|value| value.to_str().ok()), Some("1"));
    }
    assert_eq!(client.get("i", "absent", Read::stale()).await.expect("answered").value, None);
}

#[tokio::test]
async fn lists_go_page_by_page_and_deletes_say_whether_there_was_one() {
    let cluster = FakeCluster::start(1).await;
    let client = client_of(cluster.addresses());
    for name in ["a/1", "a/2", "a/3", "b/1"] {
        client.put("i", name, "v").await.expect("the leader is up");
    }
    let first = client.list("i", "a/", 2, None, Read::linearizable()).await.expect("answered").value;
    let names = |page: &crate::ListPage| page.attributes.iter().map(|attribute| attribute.name.clone()).collect::<Vec<_>>();
    assert_eq!(names(&first), ["a/1", "a/2"]);
    let second = client
        .list("i", "a/", 2, first.next, Read::linearizable())
        .await
        .expect("answered")
        .value;
    assert_eq!((names(&second), second.next), (vec!["a/3".to_owned()], None));
    assert!(client.delete("i", "a/3").await.expect("answered").value);
    assert!(!client.delete("i", "a/3").await.expect("answered").value);
}

#[tokio::test]
async fn status_is_asked_of_another_peer_when_one_cannot_answer() {
    let cluster = FakeCluster::start(2).await;
    let client = client_of(cluster.addresses());
    cluster.script(0, [Step::Refuse(ErrorCode::NotReady)]);
    cluster.script(1, [Step::Refuse(ErrorCode::NotReady)]);
    client.status().await.expect("the third try is answered");
}

#[tokio::test]
async fn closing_ends_the_session_and_the_client_can_go_on() {
    let cluster = FakeCluster::start(1).await;
    let client = client_of(cluster.addresses());
    client.close().await;
    client.put("i", "k", "v").await.expect("the leader is up");
    client.close().await;
    assert!(cluster.state().sessions.is_empty());
    client.put("i", "k", "w").await.expect("a new session is opened");
    assert_eq!(cluster.state().sessions_opened, 2);
}

#[tokio::test]
async fn a_call_that_is_wrong_is_not_repeated() {
    let cluster = FakeCluster::start(1).await;
    let client = client_of(cluster.addresses());
    cluster.script(0, [Step::Refuse(ErrorCode::InvalidArgument)]);
    let error = failed(client.get("i", "", Read::stale()).await);
    assert_eq!(
        (error.code(), error.attempts(), error.outcome()),
        (Some(ErrorCode::InvalidArgument), 1, Outcome::NotApplied)
    );
}
