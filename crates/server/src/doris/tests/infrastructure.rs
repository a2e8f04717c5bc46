//! What happens around a call: revisions, retries, redirects, deadlines, overload, peers that cannot serve.

use crate::doris::call::CallInfo;
use crate::doris::reply::Reply;
use crate::doris::test_peers::{Answered, NEWER_ROOT_KEY, Peer, ROOT_KEY, TOKEN, cluster, cluster_with, request};
use crate::limits::{MAX_DEADLINE, MAX_IN_FLIGHT};
use crate::rpc_table;
use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, Request, StatusCode};
use quorate_model::error::ERROR_TABLE;
use quorate_model::{ErrorCode, MetaError, Outcome, RequestId, SessionId};
use quorate_state_machine::commands::OpenSession;
use std::time::Duration;
use tokio::time::Instant;

fn with_headers(mut request: Request<Body>, headers: &[(&'static str, &str)]) -> Request<Body> {
    for (name, value) in headers {
        request
            .headers_mut()
            .insert(HeaderName::from_static(name), value.parse().expect("ASCII"));
    }
    request
}

fn create(instance_id: &str) -> Request<Body> {
    request("create_instance", &format!("{{\"instance_id\":\"{instance_id}\"}}"))
}

fn revision(answered: &Answered) -> u64 {
    answered
        .header("quorate-revision")
        .parse()
        .expect("every reply carries its revision")
}

async fn open_session(peer: &Peer) -> String {
    let deadline = Instant::now() + Duration::from_secs(10);
    let (_, reply) = peer.node().execute(&OpenSession::default(), None, deadline).await.expect("opened");
    reply.session.to_string()
}

#[tokio::test]
async fn every_reply_carries_revision_and_term() {
    let peer = Peer::alone().await;
    let written = peer.send(create("one")).await;
    assert_eq!(written.status, StatusCode::OK);
    assert_eq!(revision(&written), peer.node().applied().revision.0);
    let read = peer.call("get_instance?instance_id=one", "").await;
    assert_eq!(revision(&read), revision(&written));
    for answered in [peer.send(create("one")).await, peer.call("no_such_route", "").await, read] {
        assert_eq!(revision(&answered), revision(&written), "{}", answered.body);
        let leader = format!("{}.{}", peer.node().applied().term, peer.node().peer());
        assert_eq!(answered.header("quorate-term"), leader);
    }
    assert!(revision(&peer.send(create("two")).await) > revision(&written));
}

#[tokio::test]
async fn a_write_repeated_under_its_id_gets_the_first_answer() {
    let peer = Peer::alone().await;
    let session = open_session(&peer).await;
    let numbered = |body: &str, number: &'static str| {
        with_headers(
            request("create_instance", body),
            &[("quorate-session", &session), ("quorate-request", number)],
        )
    };
    // The receiving peer adds a random suffix to the prefix; a repetition must get the same one.
    let body = r#"{"instance_id":"once","vault":{"hdfs_info":{"prefix":"p","build_conf":{"fs_name":"hdfs://n"}}}}"#;
    let first = peer.send(numbered(body, "1")).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    peer.send(create("in between")).await;
    let again = peer.send(numbered(body, "1")).await;
    assert_eq!((again.status, &again.body), (StatusCode::OK, &first.body));
    assert_eq!(revision(&again), revision(&first));

    let reused = peer.send(numbered(r#"{"instance_id":"other"}"#, "1")).await;
    assert_eq!(
        (reused.status, reused.header("quorate-error")),
        (StatusCode::CONFLICT, "request_id_reused")
    );
    let refused = peer.send(numbered(body, "2")).await;
    assert_eq!(
        (refused.status, refused.header("quorate-error")),
        (StatusCode::CONFLICT, "already_exists")
    );
    // One that nobody has opened, and the peer's own.
    for session in [SessionId(999_999), SessionId::of_peer(1)] {
        let session = session.to_string();
        let unknown = with_headers(create("x"), &[("quorate-session", &session), ("quorate-request", "1")]);
        let expired = peer.send(unknown).await;
        assert_eq!(
            (expired.header("quorate-error"), expired.header("quorate-outcome")),
            ("session_expired", "not_applied")
        );
    }
    assert_eq!(
        peer.call("get_instance?instance_id=x", "").await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[tokio::test]
async fn a_write_repeated_at_a_peer_with_other_root_keys_or_settings_gets_the_first_answer() {
    // As while a key is rotated: not there yet, added, in use.
    let peers = cluster_with(&[&[ROOT_KEY], &[NEWER_ROOT_KEY, ROOT_KEY], &[ROOT_KEY, NEWER_ROOT_KEY]]).await;
    let session = open_session(&peers[0]).await;
    let create = |secret: &str| {
        let store = format!(
            r#"{{"ak":"a","sk":"{secret}","bucket":"b","endpoint":"e","external_endpoint":"x","region":"r","provider":"S3","prefix":"p"}}"#
        );
        with_headers(
            request("create_instance", &format!(r#"{{"instance_id":"i","obj_info":{store}}}"#)),
            &[("quorate-session", &session), ("quorate-request", "1")],
        )
    };
    let keep_three = r#"{"instance_id":"i","properties":{"max_reserved_snapshots":"3"}}"#;
    let set = || {
        with_headers(
            request("set_snapshot_property", keep_three),
            &[("quorate-session", &session), ("quorate-request", "2")],
        )
    };
    let first = peers[0].send(create("the-secret")).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    let set_first = peers[0].send(set()).await;
    assert_eq!(set_first.status, StatusCode::OK, "{}", set_first.body);
    peers[0].ok("update_config?configs=snapshot_max_reserved_num=2", "").await;
    let deadline = Instant::now() + Duration::from_secs(10);
    for peer in &peers {
        let again = peer.send(create("the-secret")).await;
        assert_eq!((again.status, &again.body), (StatusCode::OK, &first.body));
        assert_eq!(revision(&again), revision(&first));
        let other = peer.send(create("another-secret")).await;
        assert_eq!(other.header("quorate-error"), "request_id_reused");
        while peer.call("set_snapshot_property", keep_three).await.status == StatusCode::OK {
            assert!(Instant::now() < deadline, "the setting does not reach every peer");
        }
        let again = peer.send(set()).await;
        assert_eq!((again.status, &again.body), (StatusCode::OK, &set_first.body));
    }
}

#[tokio::test]
async fn headers_that_make_no_sense_are_refused_before_the_call_is_made() {
    let peer = Peer::alone().await;
    let pair = "headers quorate-session and quorate-request go together and count from 1";
    for (headers, message) in [
        (&[("quorate-session", "1")][..], pair),
        (&[("quorate-request", "1")], pair),
        (&[("quorate-session", "0"), ("quorate-request", "1")], pair),
        (&[("quorate-session", "1"), ("quorate-request", "0")], pair),
        (
            &[("quorate-session", "x"), ("quorate-request", "1")],
            "header quorate-session is not a number",
        ),
        (&[("quorate-deadline-ms", "soon")], "header quorate-deadline-ms is not a number"),
        (&[("quorate-min-revision", "-1")], "header quorate-min-revision is not a number"),
    ] {
        let answered = peer.send(with_headers(create("refused"), headers)).await;
        let body = format!("{{\n    \"code\": \"INVALID_ARGUMENT\",\n    \"msg\": \"{message}\"\n}}\n");
        assert_eq!((answered.status, answered.body), (StatusCode::BAD_REQUEST, body));
    }
    assert_eq!(
        peer.call("get_instance?instance_id=refused", "").await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
}

#[test]
fn headers_are_understood_and_deadlines_bounded() {
    let peer = Peer::homeless();
    let none = CallInfo::of(&peer.app, &HeaderMap::new()).expect("fine");
    assert_eq!((none.request, none.redirect, none.min_revision), (None, false, None));
    let request = with_headers(
        create("x"),
        &[
            ("quorate-session", "7"),
            ("quorate-request", "8"),
            ("quorate-redirect", "1"),
            ("quorate-deadline-ms", "18446744073709551615"),
            ("quorate-min-revision", "9"),
        ],
    );
    let all = CallInfo::of(&peer.app, request.headers()).expect("fine");
    assert_eq!(
        all.request,
        Some(RequestId {
            session: SessionId(7),
            number: 8
        })
    );
    assert_eq!((all.redirect, all.min_revision.map(|revision| revision.0)), (true, Some(9)));
    assert!(all.deadline <= Instant::now() + MAX_DEADLINE);
}

#[tokio::test]
async fn a_follower_forwards_writes_and_answers_reads_itself() {
    let peers = cluster(3).await;
    let follower = peers.iter().find(|peer| !peer.node().is_leader()).expect("two of three");
    let written = follower.send(create("forwarded")).await;
    assert_eq!(written.status, StatusCode::OK, "{}", written.body);
    for peer in &peers {
        let read = peer.call("get_instance?instance_id=forwarded", "").await;
        assert_eq!(read.status, StatusCode::OK, "{}", read.body);
        assert!(revision(&read) >= revision(&written));
        // A read at a revision is local: it would otherwise be sent to the leader.
        let seen = written.header("quorate-revision");
        let headers = [("quorate-min-revision", seen), ("quorate-redirect", "1")];
        let local = peer
            .send(with_headers(request("get_instance?instance_id=forwarded", ""), &headers))
            .await;
        assert_eq!(local.status, StatusCode::OK, "{}", local.body);
    }
}

#[tokio::test]
async fn a_caller_that_asks_for_it_is_sent_to_the_leader() {
    let peers = cluster(3).await;
    let leader = peers.iter().find(|peer| peer.node().is_leader()).expect("one of three");
    let follower = peers.iter().find(|peer| !peer.node().is_leader()).expect("two of three");
    let address = format!("peer-{}:5000", leader.node().peer());
    for route in ["v1/create_instance?a=b%20c", "get_instance?instance_id=i", "get_cluster?a=b"] {
        let answered = follower
            .send(with_headers(request(route, "{}"), &[("quorate-redirect", "1")]))
            .await;
        assert_eq!(answered.status, StatusCode::TEMPORARY_REDIRECT);
        let location = format!("http://{address}/MetaService/http/{route}&token={TOKEN}");
        assert_eq!(
            (answered.header("location"), answered.header("quorate-leader")),
            (location.as_str(), address.as_str())
        );
        assert_eq!(
            (answered.header("quorate-error"), answered.header("quorate-outcome")),
            ("not_leader", "not_applied")
        );
        assert!(!answered.body.contains(TOKEN));
    }
    let at_leader = leader.send(with_headers(create("here"), &[("quorate-redirect", "1")])).await;
    assert_eq!(at_leader.status, StatusCode::OK, "{}", at_leader.body);
    let unasked = follower.send(with_headers(create("there"), &[("quorate-redirect", "0")])).await;
    assert_eq!(unasked.status, StatusCode::OK, "{}", unasked.body);
}

#[tokio::test]
async fn a_revision_that_does_not_come_in_time_is_said_to_be_late() {
    let peer = Peer::alone().await;
    peer.send(create("late")).await;
    let headers = [("quorate-min-revision", "1000000"), ("quorate-deadline-ms", "30")];
    let answered = peer
        .send(with_headers(request("get_instance?instance_id=late", ""), &headers))
        .await;
    assert_eq!(
        (answered.status, answered.header("quorate-error")),
        (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded")
    );
    let body = answered.json();
    assert_eq!((&body["code"], &body["result"]), (&"INTERNAL_ERROR".into(), &serde_json::json!({})));
    let message = body["msg"].as_str().expect("text");
    assert!(message.ends_with("asked for 1000000; retry with a longer deadline"), "{message}");
}

#[tokio::test]
async fn without_a_majority_nothing_is_pretended() {
    let mut peers = cluster(3).await;
    let leader = peers.iter().position(|peer| peer.node().is_leader()).expect("one of three");
    let last = peers.remove(leader);
    for peer in peers {
        peer.node().shutdown().await;
    }
    let short = [("quorate-deadline-ms", "200")];
    let write = last.send(with_headers(create("lost"), &short)).await;
    assert_eq!(
        (write.status, &write.json()["code"]),
        (StatusCode::SERVICE_UNAVAILABLE, &"INTERNAL_ERROR".into())
    );
    let outcome = (write.header("quorate-error"), write.header("quorate-outcome"));
    assert!(
        [("outcome_unknown", "unknown"), ("no_leader", "not_applied")].contains(&outcome),
        "{outcome:?}"
    );
    for route in ["get_instance?instance_id=lost", "get_cluster"] {
        let read = last
            .send(with_headers(request(route, r#"{"cloud_unique_id":"1:lost:x"}"#), &short))
            .await;
        assert_eq!(read.status, StatusCode::SERVICE_UNAVAILABLE, "{}", read.body);
        assert_eq!(
            (read.header("quorate-error"), read.header("quorate-outcome")),
            ("no_leader", "not_applied")
        );
    }
}

#[tokio::test]
async fn a_call_at_a_peer_that_is_being_started_waits_for_it() {
    let (starting, running) = (Peer::homeless(), Peer::alone().await);
    starting.app.expect_node();
    for header in [("quorate-deadline-ms", "50"), ("quorate-no-wait", "1")] {
        let refused = starting.send(with_headers(create("early"), &[header])).await;
        assert_eq!(refused.status, StatusCode::SERVICE_UNAVAILABLE, "{header:?}");
        assert_eq!(
            (refused.header("quorate-error"), refused.header("quorate-outcome")),
            ("not_ready", "not_applied"),
            "{header:?}"
        );
    }
    let started = async { starting.app.set_node(running.node().clone()) };
    let (answered, ()) = tokio::join!(starting.send(create("waited")), started);
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.body);

    let unlucky = Peer::homeless();
    unlucky.app.expect_node();
    let awaits = async { unlucky.app.set_awaits("this peer has lost its state".to_owned()) };
    let (refused, ()) = tokio::join!(unlucky.send(create("lost")), awaits);
    assert!(refused.body.contains("this peer has lost its state"), "{}", refused.body);
}

#[tokio::test]
async fn a_peer_without_a_place_and_one_that_stops_say_what_to_do() {
    let homeless = Peer::homeless();
    for route in ["create_instance", "get_cluster"] {
        let answered = homeless.call(route, "{}").await;
        let message = "this peer has not joined its cluster yet; this peer is still catching up: use another, or wait for /readyz";
        let body = format!("{{\n    \"code\": \"INTERNAL_ERROR\",\n    \"msg\": \"{message}\"\n}}\n");
        assert_eq!(
            (answered.status, answered.body.as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, body.as_str())
        );
        assert_eq!((answered.header("quorate-revision"), answered.header("quorate-term")), ("0", "0.0"));
    }
    let stopping = Peer::alone().await;
    stopping.node().shutdown().await;
    for (route, result) in [("create_instance", ""), ("get_instance?instance_id=i", ",\n    \"result\": {}")] {
        let answered = stopping.call(route, "{\"instance_id\":\"i\"}").await;
        let expected =
            format!("{{\n    \"code\": \"INTERNAL_ERROR\",\n    \"msg\": \"peer 1 is stopping; use another peer\"{result}\n}}\n");
        assert_eq!((answered.status, &answered.body), (StatusCode::SERVICE_UNAVAILABLE, &expected));
        assert_eq!(
            (answered.header("quorate-error"), answered.header("quorate-outcome")),
            ("shutting_down", "not_applied")
        );
    }
}

#[tokio::test]
async fn one_call_too_many_is_refused_and_the_next_is_served() {
    let peer = Peer::alone().await;
    let in_work: Vec<_> = (0..MAX_IN_FLIGHT).map(|_| peer.app.admit().expect("within the limit")).collect();
    let refused = peer.send(create("crowded")).await;
    assert_eq!(
        (refused.status, refused.header("quorate-error")),
        (StatusCode::TOO_MANY_REQUESTS, "too_many_requests")
    );
    let message = refused.json()["msg"].as_str().expect("text").to_owned();
    assert!(
        message.contains("4096 requests are in work") && message.ends_with("with fewer calls in flight"),
        "{message}"
    );
    drop(in_work);
    assert_eq!(peer.send(create("crowded")).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_body_that_never_comes_does_not_hold_its_place() {
    let peer = Peer::alone().await;
    let mut endless = with_headers(request("create_instance", ""), &[("quorate-deadline-ms", "50")]);
    *endless.body_mut() = Body::from_stream(futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let answered = peer.send(endless).await;
    assert_eq!(
        (answered.status, answered.header("quorate-error")),
        (StatusCode::GATEWAY_TIMEOUT, "deadline_exceeded")
    );

    let broken = futures::stream::iter([Err::<bytes::Bytes, _>(std::io::Error::other("gone"))]);
    let mut cut = request("create_instance", "");
    *cut.body_mut() = Body::from_stream(broken);
    assert_eq!(peer.send(cut).await.status, StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn every_error_has_a_status_a_code_and_an_outcome() {
    let peer = Peer::homeless();
    let (write, read) = (
        rpc_table::find("create_instance").expect("a route"),
        rpc_table::find("get_cluster").expect("a route"),
    );
    for row in ERROR_TABLE {
        let error = MetaError::new(row.code, "what happened");
        let as_write = Reply::error(write, &error).into_response(&peer.app);
        let outcome = if row.outcome == Outcome::Unknown {
            "unknown"
        } else {
            "not_applied"
        };
        assert_eq!(as_write.headers()["quorate-outcome"], outcome, "{}", row.name);
        assert_eq!(as_write.headers()["quorate-error"], row.name);
        let expected = match row.code {
            ErrorCode::InvalidArgument | ErrorCode::ParseError => 400,
            ErrorCode::NotFound => 404,
            ErrorCode::AlreadyExists => 409,
            ErrorCode::KeyMissing | ErrorCode::VaultNotFound | ErrorCode::StageNotFound | ErrorCode::LimitReached => 500,
            ErrorCode::EndpointMissing | ErrorCode::RateLimited => 500,
            _ => row.http_status,
        };
        assert_eq!(as_write.status().as_u16(), expected, "{}", row.name);
        let as_read = Reply::error(read, &error).into_response(&peer.app);
        assert_eq!(as_read.headers()["quorate-outcome"], "not_applied", "{}", row.name);
    }
}
