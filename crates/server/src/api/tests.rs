//! The API at peers in one process: what it answers, and what it refuses with which words.

use crate::api::reply::Reply;
use crate::doris::test_peers::{Answered, Peer, TOKEN, cluster};
use crate::limits::{MAX_BODY_BYTES, MAX_IN_FLIGHT};
use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{Request, StatusCode};
use quorate_model::{ErrorCode, MetaError, SessionId};
use quorate_state_machine::keys;
use serde_json::{Value as Json, json};
use std::convert::Infallible;
use std::pin::pin;

/// A request with a JSON body, or none.
fn request(method: &str, path: &str, body: Option<&Json>) -> Request<Body> {
    let request = Request::builder().method(method).uri(path);
    match body {
        None => request.body(Body::empty()),
        Some(body) => request
            .header("content-type", "application/json; charset=utf-8")
            .body(Body::from(body.to_string())),
    }
    .expect("well-formed")
}

async fn call(peer: &Peer, method: &str, path: &str, body: Option<Json>) -> Answered {
    peer.send(request(method, path, body.as_ref())).await
}

#[track_caller]
fn ok(answered: Answered) -> Json {
    assert_eq!(answered.status, StatusCode::OK, "{}", answered.body);
    assert_eq!(answered.header("content-type"), "application/json");
    assert_ne!(answered.header("quorate-term"), "");
    answered.json()
}

#[track_caller]
fn refused(answered: &Answered, status: u16, code: ErrorCode, message: &str) {
    let row = code.row();
    assert_eq!(answered.status.as_u16(), status, "{}", answered.body);
    let expected = json!({"error": {
        "code": row.name, "number": row.number, "message": message, "advice": row.advice, "outcome": "not_applied",
        "retry": row.retry.name()
    }});
    assert_eq!(answered.json(), expected);
    assert_eq!(answered.header("quorate-error"), row.name);
    assert_eq!(answered.header("quorate-outcome"), "not_applied");
    assert_ne!(answered.header("quorate-revision"), "");
}

async fn with_instance() -> Peer {
    let peer = Peer::alone().await;
    peer.ok("create_instance", r#"{"instance_id":"i","name":"one","user_id":"me"}"#)
        .await;
    peer
}

#[tokio::test]
async fn attributes_are_written_read_listed_and_deleted() {
    let peer = with_instance().await;
    let attribute = "/api/v1/instances/i/attributes/a%2Fb";
    let put = call(&peer, "PUT", attribute, Some(json!({"value": "aGk="}))).await;
    let revision = put.header("quorate-revision").to_owned();
    assert_eq!(ok(put), json!({"revision": revision}));

    let got = ok(call(&peer, "GET", attribute, None).await);
    assert_eq!(
        got,
        json!({"attribute": {"name": "a/b", "value": "aGk=", "revision": revision}, "revision": revision})
    );
    let list = "/api/v1/instances/i/attributes?prefix=a&page_size=10&consistency=STALE";
    let listed = ok(call(&peer, "GET", list, None).await);
    assert_eq!(listed["attributes"][0], got["attribute"]);
    assert_eq!(listed["next_page_token"], "");

    let stale = call(&peer, "DELETE", &format!("{attribute}?if_revision=1"), None).await;
    assert_eq!((stale.status.as_u16(), stale.header("quorate-error")), (412, "precondition_failed"));
    let deleted = ok(call(&peer, "DELETE", &format!("{attribute}?if_revision={revision}"), None).await);
    assert_eq!(deleted["existed"], true);
    assert!(ok(call(&peer, "GET", attribute, None).await).get("attribute").is_none());
}

#[tokio::test]
async fn a_repeated_request_id_gets_the_first_answer_and_a_closed_session_is_told() {
    let peer = with_instance().await;
    let session = ok(call(&peer, "POST", "/api/v1/sessions", None).await)["session_id"].clone();
    let session = session.as_str().expect("a 64-bit number is a text");
    let once = |value: &str| {
        let body = json!({"value": value, "if_revision": 0});
        let mut request = request("PUT", "/api/v1/instances/i/attributes/once", Some(&body));
        for (name, value) in [("quorate-session", session), ("quorate-request", "1")] {
            request.headers_mut().insert(name, value.parse().expect("a header"));
        }
        request
    };
    let first = ok(peer.send(once("aGk=")).await);
    assert_eq!(ok(peer.send(once("aGk=")).await), first);
    let reused = peer.send(once("aGkK")).await;
    assert_eq!((reused.status.as_u16(), reused.header("quorate-error")), (409, "request_id_reused"));
    ok(call(&peer, "DELETE", &format!("/api/v1/sessions/{session}"), None).await);
    let expired = peer.send(once("aGk=")).await;
    assert_eq!(expired.header("quorate-error"), "session_expired");
    assert_eq!(expired.json()["error"]["retry"], "never");
}

#[tokio::test]
async fn a_caller_neither_writes_in_a_peers_own_session_nor_ends_it() {
    let peer = with_instance().await;
    let own = SessionId::of_peer(1);
    let is_open = || peer.node().read(|reader| reader.get(&keys::session(own)).expect("reads").is_some());
    assert!(is_open(), "the instance was created in it");
    let attribute = "/api/v1/instances/i/attributes/a";
    // The peer's lanes begin with these.
    for number in 1..=128_u64 {
        let mut put = request("PUT", attribute, Some(&json!({"value": "aGk="})));
        put.headers_mut().insert("quorate-session", own.0.into());
        put.headers_mut().insert("quorate-request", number.into());
        assert_eq!(peer.send(put).await.header("quorate-error"), "session_expired");
    }
    assert!(ok(call(&peer, "GET", attribute, None).await).get("attribute").is_none());
    let closed = call(&peer, "DELETE", &format!("/api/v1/sessions/{own}"), None).await;
    let message = format!("session {own} is not open; nothing was executed by this call");
    refused(&closed, 409, ErrorCode::SessionExpired, &message);
    assert!(is_open());
    ok(call(&peer, "PUT", attribute, Some(json!({"value": "aGk="}))).await);
}

#[tokio::test]
async fn a_dry_run_says_what_the_write_would_and_changes_nothing() {
    let peer = with_instance().await;
    let dry = async |method: &str, path: &str, body: Option<Json>| {
        let mut request = request(method, path, body.as_ref());
        request.headers_mut().insert("quorate-dry-run", "1".parse().expect("a header"));
        peer.send(request).await
    };
    let databases = "/api/v1/instances/i/databases";
    let before = peer.node().applied().revision;
    let made = dry("POST", databases, Some(json!({"name": "d"}))).await;
    assert_eq!(made.header("quorate-dry-run"), "1");
    assert_eq!(ok(made)["name"], "d");
    let absent = ok(dry("DELETE", &format!("{databases}/d"), None).await);
    assert_eq!(absent["existed"], false);
    let job = dry("POST", "/api/v1/jobs/7/cancel", Some(json!({}))).await;
    assert_eq!((job.status.as_u16(), job.header("quorate-error")), (404, "not_found"));
    for path in ["decouple", "compact"] {
        let refused = dry("POST", &format!("/api/v1/instances/i/{path}"), Some(json!({}))).await;
        assert_eq!(
            (refused.status.as_u16(), refused.header("quorate-error")),
            (400, "invalid_argument")
        );
        assert!(refused.body.contains("instance i is no clone"), "{}", refused.body);
    }
    assert_eq!(peer.node().applied().revision, before, "nothing was written");

    // What it says comes true.
    ok(call(&peer, "POST", databases, Some(json!({"name": "d"}))).await);
    let collections = format!("{databases}/d/collections");
    ok(call(&peer, "POST", &collections, Some(json!({"name": "c"}))).await);
    let held = dry("DELETE", &format!("{databases}/d"), None).await;
    let told = call(&peer, "DELETE", &format!("{databases}/d"), None).await;
    assert_eq!((held.status, held.json()), (told.status, told.json()));
    assert_eq!(held.header("quorate-error"), "precondition_failed", "{}", held.body);

    // A value that could be taken for no is refused, and so is a call that has no dry run.
    let mut unclear = request("DELETE", &format!("{collections}/c"), None);
    unclear.headers_mut().insert("quorate-dry-run", "true".parse().expect("a header"));
    assert_eq!(peer.send(unclear).await.header("quorate-error"), "invalid_argument");
    ok(call(&peer, "GET", &format!("{collections}/c"), None).await);
    let mut transfer = request("POST", "/api/v1/leader", Some(&json!({})));
    for (name, value) in [("quorate-dry-run", "1"), ("quorate-token", TOKEN)] {
        transfer.headers_mut().insert(name, value.parse().expect("a header"));
    }
    assert_eq!(peer.send(transfer).await.header("quorate-error"), "invalid_argument");
    let mut addition = request("POST", "/api/v1/members", Some(&json!({"peer_address": "127.0.0.1:1"})));
    for (name, value) in [("quorate-dry-run", "1"), ("quorate-token", TOKEN)] {
        addition.headers_mut().insert(name, value.parse().expect("a header"));
    }
    let nobody = peer.send(addition).await;
    assert!(nobody.body.contains("no peer could be asked at 127.0.0.1:1"), "{}", nobody.body);
}

#[tokio::test]
async fn instances_are_listed_in_pages() {
    let peer = with_instance().await;
    peer.ok("create_instance", r#"{"instance_id":"j","name":"two","user_id":"me"}"#)
        .await;
    let first = ok(call(&peer, "GET", "/api/v1/instances?page_size=1", None).await);
    assert_eq!(
        first["instances"],
        json!([{"instance_id": "i", "name": "one", "status": "NORMAL", "clusters": 0}])
    );
    let token = first["next_page_token"].as_str().expect("a token");
    let second = ok(call(&peer, "GET", &format!("/api/v1/instances?page_token={token}"), None).await);
    assert_eq!(
        (&second["instances"][0]["instance_id"], &second["next_page_token"]),
        (&"j".into(), &"".into())
    );
}

#[tokio::test]
async fn status_errors_and_the_document_are_served() {
    let peer = Peer::alone().await;
    let status = ok(call(&peer, "GET", "/api/v1/status", None).await);
    assert_eq!(
        (&status["leader_id"], &status["peers"][0]["diverged"]),
        (&"1".into(), &false.into())
    );
    let errors = ok(call(&peer, "GET", "/api/v1/errors", None).await);
    assert_eq!(errors["errors"][2]["code"], "not_found");
    let document = ok(call(&peer, "GET", "/api/openapi.json", None).await);
    assert_eq!(document["openapi"], "3.1.0");
}

#[tokio::test]
async fn every_mistake_is_told_in_one_form_and_changes_nothing() {
    use ErrorCode::{InvalidArgument, NotFound, ParseError, TooLarge};
    let peer = with_instance().await;
    let before = peer.node().applied().revision;
    let attribute = "/api/v1/instances/i/attributes/a";
    let long = "x".repeat(MAX_BODY_BYTES + 1);
    let json = "application/json";
    // Method, path, content type, body; status, code, message.
    let table: &[(&str, &str, &str, &str, u16, ErrorCode, &str)] = &[
        (
            "GET",
            "/api/v1/instance",
            "",
            "",
            404,
            NotFound,
            "there is no route /api/v1/instance; the nearest is /api/v1/instances",
        ),
        (
            "GET",
            "/api",
            "",
            "",
            404,
            NotFound,
            "there is no route /api; /api/openapi.json has all there are",
        ),
        (
            "POST",
            attribute,
            json,
            "{}",
            405,
            InvalidArgument,
            "/api/v1/instances/i/attributes/a does not take POST; it takes GET, PUT, DELETE",
        ),
        (
            "PATCH",
            "/api/v1/status",
            "",
            "",
            405,
            InvalidArgument,
            "/api/v1/status does not take PATCH; it takes GET",
        ),
        (
            "PUT",
            attribute,
            json,
            &long,
            413,
            TooLarge,
            "the request body exceeds the limit of 1048576 bytes",
        ),
        (
            "PUT",
            attribute,
            "",
            "{}",
            415,
            InvalidArgument,
            "the body is not said to be JSON; send header content-type: application/json",
        ),
        (
            "PUT",
            attribute,
            "text/json",
            "{}",
            415,
            InvalidArgument,
            "the body is not said to be JSON; send header content-type: application/json",
        ),
        (
            "PUT",
            attribute,
            json,
            "",
            400,
            ParseError,
            "PUT /api/v1/instances/{instance_id}/attributes/{name} takes a JSON object as its body and got none; send at least {}",
        ),
        (
            "PUT",
            attribute,
            json,
            "{\"value\":\n  oops}",
            400,
            ParseError,
            "the body is not JSON: expected value at line 2 column 3",
        ),
        (
            "PUT",
            attribute,
            json,
            "{} {}",
            400,
            ParseError,
            "the body is not JSON: trailing characters at line 1 column 4",
        ),
        (
            "PUT",
            attribute,
            json,
            "[]",
            400,
            ParseError,
            "the body must be an object, not a list",
        ),
        (
            "PUT",
            attribute,
            json,
            "{\"valeu\":\"\"}",
            400,
            ParseError,
            "the body has no field \"valeu\"; the nearest is value",
        ),
        (
            "PUT",
            attribute,
            json,
            "{\"name\":\"b\"}",
            400,
            InvalidArgument,
            "path variable name says something else than the body does; leave it out of the body",
        ),
        (
            "GET",
            attribute,
            json,
            "{}",
            400,
            InvalidArgument,
            "GET /api/v1/instances/{instance_id}/attributes/{name} takes no body; its parameters are in the query",
        ),
        (
            "GET",
            "/api/v1/instances?page_sice=1",
            "",
            "",
            400,
            InvalidArgument,
            "the query has no field \"page_sice\"; the nearest is page_size",
        ),
        (
            "GET",
            "/api/v1/instances?page_token=x",
            "",
            "",
            400,
            InvalidArgument,
            "page token is malformed; pass it as the page before returned it, or list anew",
        ),
        (
            "DELETE",
            "/api/v1/sessions/me",
            "",
            "",
            400,
            InvalidArgument,
            "path variable session_id must be a whole number from 0 to 18446744073709551615",
        ),
        (
            "DELETE",
            "/api/v1/instances/i/attributes/%ff",
            "",
            "",
            400,
            InvalidArgument,
            "path variable name is not UTF-8 once its %xx are decoded",
        ),
    ];
    for (method, path, content_type, body, status, code, message) in table {
        let mut request = Request::builder().method(*method).uri(*path);
        if !content_type.is_empty() {
            request = request.header("content-type", *content_type);
        }
        let answered = peer.send(request.body(Body::from((*body).to_owned())).expect("well-formed")).await;
        refused(&answered, *status, *code, message);
        assert_eq!(answered.status == 405, !answered.header("allow").is_empty(), "{path}");
    }
    for (name, value, status, code) in [
        ("quorate-deadline-ms", "soon", 400, "invalid_argument"),
        ("quorate-request", "1", 400, "invalid_argument"),
        ("authorization", "Basic eDp5", 403, "unauthenticated"),
        ("authorization", "Bearer wrong", 403, "unauthenticated"),
        ("quorate-token", "wrong", 403, "unauthenticated"),
    ] {
        let mut request = request("PUT", attribute, Some(&json!({"value": ""})));
        request.headers_mut().insert(name, value.parse().expect("a header"));
        let answered = peer.send(request).await;
        assert_eq!(
            (answered.status.as_u16(), answered.header("quorate-error")),
            (status, code),
            "{name}: {value}"
        );
    }
    assert_eq!(peer.node().applied().revision, before);
    assert!(
        peer.metrics().contains(r#"call="api",outcome="invalid_argument""#),
        "{}",
        peer.metrics()
    );
}

#[tokio::test]
async fn what_changes_the_cluster_needs_the_token_in_either_header() {
    let peer = Peer::alone().await;
    let promote = "/api/v1/members/1/promote";
    let without = call(&peer, "POST", promote, None).await;
    refused(
        &without,
        403,
        ErrorCode::Unauthenticated,
        "metadata quorate-token is absent or wrong",
    );
    for (name, value) in [("authorization", format!("Bearer {TOKEN}")), ("quorate-token", TOKEN.to_owned())] {
        let mut request = request("POST", promote, None);
        request.headers_mut().insert(name, value.parse().expect("a header"));
        assert_eq!(ok(peer.send(request).await), json!({"was_voter": true}), "{name}");
    }
}

#[tokio::test]
async fn without_the_token_loopback_is_called_by_no_foreign_name() {
    let peer = with_instance().await;
    let called_by = |host: &str, token: Option<&str>| {
        let mut request = request("GET", "/api/v1/instances/i/attributes", None);
        request.headers_mut().insert("host", host.parse().expect("a header"));
        if let Some(token) = token {
            request.headers_mut().insert("quorate-token", token.parse().expect("a header"));
        }
        peer.send(request)
    };
    for host in ["127.0.0.1:5000", "localhost:5000", "localhost", "[::1]:5000", "[::1]"] {
        ok(called_by(host, None).await);
    }
    for host in ["evil.example:5000", "localhost.evil.example", "127.0.0.1.evil.example:5000", ""] {
        let message = format!("header host names {host:?}, by which nobody calls without a token; send the token, or call 127.0.0.1");
        refused(&called_by(host, None).await, 403, ErrorCode::Unauthenticated, &message);
        ok(called_by(host, Some(TOKEN)).await);
    }
}

/// A request whose body begins so, and then neither goes on nor ends.
fn unfinished(method: &str, path: &str, token: &str, beginning: &'static [u8]) -> Request<Body> {
    let sent = Ok::<_, Infallible>(Bytes::from_static(beginning));
    Request::builder()
        .method(method)
        .uri(path)
        .header("quorate-token", token)
        .header("quorate-deadline-ms", "500")
        .body(Body::from_stream(stream::iter([sent]).chain(stream::pending())))
        .expect("well-formed")
}

#[tokio::test]
async fn a_call_has_its_place_or_its_refusal_before_its_body_is_read() {
    let peer = with_instance().await;
    let attribute = "/api/v1/instances/i/attributes/a";
    let put = |token: &str| peer.send(unfinished("PUT", attribute, token, b""));
    let wrong = put("wrong").await;
    refused(&wrong, 403, ErrorCode::Unauthenticated, "metadata quorate-token is absent or wrong");
    let others: Vec<_> = (1..MAX_IN_FLIGHT).map(|_| peer.app.admit().expect("within the limit")).collect();
    let mut waiting = pin!(put(TOKEN));
    let until_all_are_taken = async {
        while peer.app.admit().is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = &mut waiting => panic!("it has no place while it waits for its body"),
        () = until_all_are_taken => {}
    }
    let late = put(TOKEN).await;
    assert_eq!((late.status.as_u16(), late.header("quorate-error")), (429, "too_many_requests"));
    assert_eq!(waiting.await.header("quorate-error"), "deadline_exceeded");
    drop(others);
    let _all: Vec<_> = (0..MAX_IN_FLIGHT).map(|_| peer.app.admit().expect("all are given back")).collect();
    let status = unfinished("GET", "/api/v1/status", TOKEN, b"x");
    refused(
        &peer.send(status).await,
        400,
        ErrorCode::InvalidArgument,
        "GET /api/v1/status takes no body; its parameters are in the query",
    );
}

#[tokio::test]
async fn a_follower_forwards_redirects_who_asks_and_sends_on_what_only_the_leader_takes() {
    let peers = cluster(3).await;
    let leader = peers.iter().position(|peer| peer.node().is_leader()).expect("a leader");
    let follower = &peers[(leader + 1) % 3];
    peers[leader]
        .ok("create_instance", r#"{"instance_id":"i","name":"one","user_id":"me"}"#)
        .await;
    let path = "/api/v1/instances/i/attributes/a?x=1&y=%20";
    let clean = "/api/v1/instances/i/attributes/a";
    ok(call(follower, "PUT", clean, Some(json!({"value": "aGk="}))).await);
    assert_eq!(ok(call(follower, "GET", clean, None).await)["attribute"]["value"], "aGk=");

    let mut asking = request("GET", clean, None);
    asking.headers_mut().insert("quorate-redirect", "1".parse().expect("a header"));
    let answered = follower.send(asking).await;
    assert_eq!(answered.status, StatusCode::TEMPORARY_REDIRECT, "{}", answered.body);
    let address = format!("peer-{}:5000", leader + 1);
    assert_eq!(answered.header("location"), format!("http://{address}{clean}"));
    assert_eq!(answered.header("quorate-leader"), address);
    assert_eq!(answered.json()["error"]["code"], "not_leader");
    // A wrong call is told here, not sent on.
    assert_eq!(call(follower, "GET", path, None).await.status, StatusCode::BAD_REQUEST);

    let mut transfer = request("POST", "/api/v1/leader", Some(&json!({"to_peer": "0"})));
    transfer.headers_mut().insert("quorate-token", TOKEN.parse().expect("a header"));
    let answered = follower.send(transfer).await;
    assert_eq!(answered.status, StatusCode::TEMPORARY_REDIRECT, "{}", answered.body);
    assert_eq!(answered.header("location"), format!("http://{address}/api/v1/leader"));
}

#[tokio::test]
async fn a_peer_without_a_place_says_so() {
    let answered = call(&Peer::homeless(), "GET", "/api/v1/status", None).await;
    refused(&answered, 503, ErrorCode::NotReady, "this peer has not joined its cluster yet");
}

#[test]
fn every_error_has_the_status_of_its_row() {
    for row in quorate_model::error::ERROR_TABLE {
        let reply = Reply::refused(MetaError::new(row.code, "m"));
        assert_eq!(reply.outcome_label(), row.name);
        assert!(StatusCode::from_u16(row.http_status).is_ok_and(|status| status.is_client_error() || status.is_server_error()));
    }
}
