//! The front end as its clients see it: bytes in, bytes out.

mod alterations;
mod front_routes;
mod infrastructure;
mod keys;
mod large_reads;
mod refusals;
mod routes;
mod storage;
mod unavailable;
mod unread_bodies;

use super::test_peers::{Peer, TOKEN, request};
use crate::limits::MAX_BODY_BYTES;
use axum::body::Body;
use axum::http::{Method, Request, StatusCode};

fn plain(uri: &str) -> Request<Body> {
    Request::get(uri).body(Body::empty()).expect("well-formed")
}

#[tokio::test]
async fn a_wrong_token_is_refused_before_anything_else_is_looked_at() {
    let peer = Peer::homeless();
    for (query, text) in [
        ("?token=nonsense", "incorrect token, token=nonsense\n"),
        ("?token=non%20sense", "incorrect token, token=non sense\n"),
        ("?token=", "incorrect token, token=(not given)\n"),
        ("?instance_id=i", "incorrect token, token=(not given)\n"),
        ("", "incorrect token, token=(not given)\n"),
    ] {
        for route in ["get_instance", "v1/get_instance", "v2/get_instance", "no_such_route", ""] {
            let answered = peer.send(plain(&format!("/MetaService/http/{route}{query}"))).await;
            assert_eq!(
                (answered.status, answered.body.as_str()),
                (StatusCode::FORBIDDEN, text),
                "{route}{query}"
            );
            assert_eq!(answered.header("content-type"), "text/plain; charset=utf-8");
        }
    }
}

#[tokio::test]
async fn paths_that_lead_nowhere_are_answered_in_plain_text() {
    let peer = Peer::homeless();
    let with_token = |path: &str| plain(&format!("{path}?token={TOKEN}"));
    for path in [
        "/MetaService/http/",
        "/MetaService/http/v1",
        "/MetaService/http/v1/",
        "/MetaService/http/v2/create_instance",
        "/MetaService/http/v10/create_instance",
        "/MetaService/http/clone_instance",
        "/MetaService/http/create_instance/",
        "/MetaService/http/CREATE_INSTANCE",
        "/MetaService/http/%63reate_instance",
        "/MetaService/http/recycle_instance",
        "/MetaService/http",
        "/MetaService",
        "/MetaService/",
        "/MetaService/begin_txn",
        "/RecyclerService/http/recycle_instance",
        "/RecyclerService/http/v1/check_instance",
        "/RecyclerService/http",
        "/RecyclerService/",
    ] {
        let answered = peer.send(with_token(path)).await;
        let expected = (StatusCode::NOT_FOUND, "http path not found or not allowed\n");
        assert_eq!((answered.status, answered.body.as_str()), expected, "{path}");
    }
}

#[tokio::test]
async fn a_route_of_the_contract_that_is_missing_says_so() {
    let peer = Peer::alone().await;
    for route in ["injection_point", "v1/injection_point"] {
        let answered = peer.call(route, "not even json").await;
        assert_eq!(answered.status, StatusCode::NOT_IMPLEMENTED);
        let message = "route injection_point is not available in this version of quorate";
        assert_eq!(
            answered.body,
            format!("{{\n    \"code\": \"INTERNAL_ERROR\",\n    \"msg\": \"{message}\"\n}}\n")
        );
        assert_eq!(answered.header("quorate-outcome"), "not_applied");
    }
}

#[tokio::test]
async fn any_method_and_content_type_and_both_spellings_work() {
    let peer = Peer::alone().await;
    for (number, method) in [Method::GET, Method::PUT, Method::POST, Method::DELETE, Method::PATCH]
        .into_iter()
        .enumerate()
    {
        for route in ["create_instance", "v1/create_instance"] {
            let body = format!("{{\"instance_id\":\"{number}{}\"}}", &route[..2]);
            let mut request = request(route, &body);
            *request.method_mut() = method.clone();
            request
                .headers_mut()
                .insert("content-type", "application/x-www-form-urlencoded".parse().expect("ASCII"));
            let answered = peer.send(request).await;
            assert_eq!(
                (answered.status, answered.body.as_str()),
                (StatusCode::OK, "{\n    \"code\": \"OK\",\n    \"msg\": \"\"\n}\n")
            );
            assert_eq!(answered.header("content-type"), "application/json");
        }
    }
}

#[tokio::test]
async fn a_body_that_does_not_parse_is_quoted_with_its_path() {
    let peer = Peer::alone().await;
    let before = peer.node().applied().revision;
    for (route, body, text) in [
        (
            "create_instance",
            r#"{"instance_id":123}"#,
            r#"(instance_id): invalid value 123 for type TYPE_STRING"#,
        ),
        (
            "v1/add_node",
            r#"{"cluster":{"nodes":[{"heartbeat_port":"abc"}]}}"#,
            r#"(cluster.nodes[0].heartbeat_port): invalid value "abc" for type TYPE_INT32"#,
        ),
        ("get_cluster", "[]", ": Root element must be a message."),
    ] {
        let answered = peer.call(route, body).await;
        let message = format!("parse http request '{route}': INVALID_ARGUMENT:{text}");
        assert_eq!(answered.status, StatusCode::BAD_REQUEST);
        let quoted = message.replace('"', "\\\"");
        assert_eq!(
            answered.body,
            format!("{{\n    \"code\": \"INVALID_ARGUMENT\",\n    \"msg\": \"{quoted}\"\n}}\n")
        );
        assert_eq!(answered.header("quorate-error"), "parse_error");
        assert_eq!(answered.header("quorate-outcome"), "not_applied");
    }
    for body in ["", "  \n", "{} {}", "null", "\"text\"", "{\"a\":"] {
        for route in [
            "create_instance",
            "drop_instance",
            "set_instance_status",
            "add_cluster",
            "drop_cluster",
            "get_cluster",
        ] {
            let answered = peer.call(route, body).await;
            assert_eq!(answered.status, StatusCode::BAD_REQUEST, "{route} {body}");
            let message = answered.json()["msg"].as_str().expect("text").to_owned();
            assert!(
                message.starts_with(&format!("parse http request '{route}': INVALID_ARGUMENT:")),
                "{message}"
            );
        }
    }
    assert_eq!(peer.node().applied().revision, before);
}

#[tokio::test]
async fn lenient_bodies_of_real_clients_are_accepted() {
    let peer = Peer::alone().await;
    peer.ok(
        "create_instance",
        "{instanceId: 'lenient', \"no_such_field\": [1], \"name\": null,}",
    )
    .await;
    let cluster = r#"{"instance_id":"lenient","cluster":{"cluster_id":"c","cluster_name":"c","type":"COMPUTE",
        "nodes":{"cloud_unique_id":"u","ip":"10.0.0.1","heartbeat_port":"9050"},"cluster_status":"STOPPED"}}"#;
    peer.ok("add_cluster", cluster).await;
    let shown = peer.ok("get_instance?instance_id=lenient", "").await.json();
    assert_eq!(shown["result"]["clusters"][0]["nodes"][0]["heartbeat_port"], 9050);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_whether_it_says_so_or_not() {
    let peer = Peer::alone().await;
    let expected = "{\n    \"code\": \"INVALID_ARGUMENT\",\n    \"msg\": \"the request body exceeds the limit of 1048576 bytes; split the request\"\n}\n";
    let oversized = "x".repeat(MAX_BODY_BYTES + 1);
    let silent = peer.call("create_instance", &oversized).await;
    let mut announced = request("create_instance", "{}");
    announced.headers_mut().insert("content-length", (MAX_BODY_BYTES + 1).into());
    for answered in [silent, peer.send(announced).await] {
        assert_eq!((answered.status, answered.body.as_str()), (StatusCode::PAYLOAD_TOO_LARGE, expected));
        assert_eq!(answered.header("quorate-error"), "too_large");
    }
    let whole = format!("{{\"instance_id\":\"whole\"}}{}", " ".repeat(MAX_BODY_BYTES - 23));
    assert_eq!(whole.len(), MAX_BODY_BYTES);
    peer.ok("create_instance", &whole).await;
}

#[tokio::test]
async fn calls_are_counted_by_route_and_outcome_and_reveal_nothing() {
    let peer = Peer::alone().await;
    let body = r#"{"instance_id":"metered-instance","ram_user":{"user_id":"u","ak":"a","sk":"very-secret"}}"#;
    peer.ok("create_instance", body).await;
    assert_eq!(peer.call("v1/create_instance", body).await.status, StatusCode::CONFLICT);
    peer.call("get_tablet_stats", r#"{"cloud_unique_id":"1:i:x"}"#).await;
    peer.call("made_up_route", "").await;
    peer.send(plain("/MetaService/http/get_instance?token=guessed-token")).await;
    let metrics = peer.metrics();
    for line in [
        r#"quorate_calls_total{call="create_instance",outcome="ok"} 1"#,
        r#"quorate_calls_total{call="create_instance",outcome="already_exists"} 1"#,
        r#"quorate_calls_total{call="get_tablet_stats",outcome="not_available"} 1"#,
        r#"quorate_calls_total{call="unknown",outcome="no_such_path"} 1"#,
        r#"quorate_calls_total{call="unknown",outcome="unauthenticated"} 1"#,
    ] {
        assert!(metrics.contains(line), "{line} is not in\n{metrics}");
    }
    for secret in [TOKEN, "very-secret", "guessed-token", "metered-instance", "made_up_route"] {
        assert!(!metrics.contains(secret), "{secret}");
    }
}
