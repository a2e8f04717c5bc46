//! Calls against peers whose answers are written down beforehand. What must end by itself has time that only a failure uses up.

use super::fake_peer::{FakePeer, Said, connection};
use super::*;

/// Time that only a test that fails uses up.
const LONG: Duration = Duration::from_secs(60);
/// Time that is used up, with a few rounds in it.
const SHORT: Duration = Duration::from_secs(2);

fn reply(status: u16, error: &str, outcome: &str, body: &str) -> Reply {
    Reply {
        status,
        error: error.to_owned(),
        outcome: outcome.to_owned(),
        revision: "7".to_owned(),
        was_dry_run: false,
        body: Bytes::copy_from_slice(body.as_bytes()),
    }
}

fn kind(reply: Reply) -> &'static str {
    match verdict(&reply, Dialect::Doris) {
        Try::Answered(_) => "answered",
        Try::Decided(_) => "decided",
        Try::Refused(_) => "refused",
        Try::NotNow(..) => "not now",
        Try::Failed(_) => "failed",
        Try::Unknown(_) => "unknown",
    }
}

/// Writes, and tells why it failed.
async fn failure(connection: &Connection) -> String {
    let written = connection.write("create_instance", &serde_json::json!({})).await;
    format!("{:#}", written.err().expect("the write fails"))
}

fn success() -> Said {
    Said::plain(200, r#"{"code":"OK","msg":""}"#)
}

#[test]
fn replies_are_told_apart_by_what_may_be_tried_again() {
    let body = r#"{"code":"X","msg":"m"}"#;
    assert_eq!(kind(reply(200, "", "", body)), "answered");
    assert_eq!(kind(reply(403, "", "not_applied", "incorrect token")), "refused");
    assert_eq!(kind(reply(409, "already_exists", "not_applied", body)), "decided");
    assert_eq!(kind(reply(400, "invalid_argument", "not_applied", body)), "refused");
    assert_eq!(kind(reply(409, "session_expired", "not_applied", body)), "refused");
    assert_eq!(kind(reply(503, "no_leader", "not_applied", body)), "not now");
    assert_eq!(kind(reply(429, "too_many_requests", "not_applied", body)), "not now");
    assert_eq!(kind(reply(507, "storage_full", "not_applied", body)), "refused");
    assert_eq!(kind(reply(503, "outcome_unknown", "unknown", body)), "unknown");
    assert_eq!(kind(reply(500, "internal", "unknown", body)), "unknown");
    assert_eq!(kind(reply(500, "of_the_future", "not_applied", body)), "refused");
    assert_eq!(kind(reply(500, "of_the_future", "unknown", body)), "unknown");
    assert_eq!(kind(reply(501, "", "not_applied", body)), "refused", "a route that is not here");
    assert_eq!(kind(reply(404, "", "", "no such page")), "refused");
    for status in [500, 502, 503, 504] {
        assert_eq!(kind(reply(status, "", "", "upstream failed")), "unknown", "a proxy: {status}");
    }
}

#[test]
fn a_route_that_an_older_peer_does_not_have_is_nothing_that_the_log_decided() {
    let said = |message: &str| {
        let body = serde_json::json!({"error": {"message": message}}).to_string();
        match verdict(&reply(404, "not_found", "not_applied", &body), Dialect::Api) {
            Try::Decided(_) => "decided",
            Try::Refused(_) => "refused",
            _ => "otherwise",
        }
    };
    assert_eq!(said("there is no route /api/v1/x; /api/openapi.json has all there are"), "refused");
    assert_eq!(said("job 7 does not exist"), "decided");
}

#[test]
fn a_refusal_says_what_to_do_and_a_wrong_token_is_not_shown() {
    let error = |reply: Reply| match verdict(&reply, Dialect::Doris) {
        Try::Refused(error) | Try::Decided(error) => error.to_string(),
        _ => panic!("not refused"),
    };
    let text = error(reply(404, "not_found", "not_applied", r#"{"msg":"instance not existed"}"#));
    assert_eq!(
        text,
        "instance not existed (not_found); check the name; list the objects that exist"
    );
    let text = error(reply(403, "", "", "incorrect token, token=guess\n"));
    assert!(!text.contains("guess"), "{text}");
}

#[tokio::test]
async fn a_refusal_leaves_an_earlier_try_in_doubt_unless_the_log_decided_it() {
    for (second, in_doubt) in [
        (Said::plain(403, "incorrect token, token=rotated"), true),
        (Said::plain(404, "http path not found or not allowed"), true),
        (Said::error(ErrorCode::UnknownCommand), true),
        (Said::error(ErrorCode::VaultUnusable), true),
        (Said::error(ErrorCode::SessionExpired), true),
        (Said::error(ErrorCode::AlreadyExists), false),
    ] {
        let alone = FakePeer::start([second.clone()]).await;
        let told = failure(&connection(&[&alone.address], LONG)).await;
        assert!(!told.contains(&InDoubt.to_string()), "{told}");
        let peer = FakePeer::start([Said::error(ErrorCode::OutcomeUnknown), second]).await;
        let told = failure(&connection(&[&peer.address], LONG)).await;
        assert_eq!(told.contains(&InDoubt.to_string()), in_doubt, "{told}");
        assert_eq!(peer.calls().len(), 2);
    }
}

#[tokio::test]
async fn what_answers_in_a_peers_place_is_passed_over_and_leaves_a_write_in_doubt() {
    let proxy = FakePeer::start([Said::plain(502, "upstream failed")]).await;
    let peer = FakePeer::start([success()]).await;
    let both = connection(&[&proxy.address, &peer.address], LONG);
    // Sessions are opened at the proxy, so that the write begins there.
    assert!(both.write("create_instance", &Json::Null).await.is_ok());
    assert_eq!((proxy.calls().len(), peer.calls().len()), (1, 1));

    let told = failure(&connection(&[&proxy.address], SHORT)).await;
    assert!(
        told.contains(&InDoubt.to_string()) && told.contains("upstream failed (HTTP 502)"),
        "{told}"
    );
    let read = connection(&[&proxy.address], SHORT).read("get_cluster", &Json::Null).await;
    let told = format!("{:#}", read.err().expect("nobody answers"));
    assert!(!told.contains(&InDoubt.to_string()), "{told}");
}

#[tokio::test]
async fn calls_begin_at_the_endpoint_that_answered_last() {
    let unready = FakePeer::start([Said::error(ErrorCode::NotReady)]).await;
    let peer = FakePeer::start([success()]).await;
    let connection = connection(&[&unready.address, &peer.address], LONG);
    assert!(connection.write("create_instance", &Json::Null).await.is_ok());
    assert_eq!(unready.calls().len(), 1, "the first call has begun at the first endpoint");
    for again in [&connection, &connection.anew()] {
        assert!(again.write("create_instance", &Json::Null).await.is_ok());
        assert!(again.read("get_cluster", &Json::Null).await.is_ok());
    }
    assert_eq!(unready.calls().len(), 1);
}

#[tokio::test]
async fn a_session_that_is_not_open_is_told_from_one_that_an_earlier_try_has_closed() {
    let not_open = || Said::status(ErrorCode::SessionExpired);
    for (answers, was_open) in [
        (vec![], true),
        (vec![not_open()], false),
        (vec![Said::status(ErrorCode::NoLeader), not_open()], false),
        (vec![Said::status(ErrorCode::OutcomeUnknown), not_open()], true),
        (vec![Said::plain(502, "upstream failed"), not_open()], true),
    ] {
        let peer = FakePeer::start([]).await;
        let tries = answers.len();
        peer.close_no_session(answers);
        let told = connection(&[&peer.address], LONG).end_session(7).await;
        assert_eq!(told.expect("it is answered"), was_open, "{tries} tries");
    }
}

#[test]
fn an_endpoint_is_not_given_the_time_of_those_after_it() {
    let ten = Duration::from_secs(10);
    assert_eq!(share(ten, 1), TRY_TIMEOUT);
    assert_eq!(share(ten, 5), Duration::from_secs(2));
    assert_eq!(share(Duration::from_secs(1), 1), Duration::from_secs(1));
    assert_eq!(share(Duration::ZERO, 3), Duration::ZERO);
    assert_eq!(share(ten, 0), TRY_TIMEOUT);
}

#[tokio::test]
async fn a_cluster_without_room_is_heard_at_once_and_with_what_to_do() {
    let peer = FakePeer::start([Said::error(ErrorCode::StorageFull)]).await;
    let told = failure(&connection(&[&peer.address], LONG)).await;
    assert!(told.contains("so said the peer (storage_full); free disk space"), "{told}");
    assert_eq!(peer.calls().len(), 1);
}

#[tokio::test]
async fn what_peers_answered_until_the_time_was_over_is_told_with_what_to_do() {
    let peer = FakePeer::start([Said::error(ErrorCode::RateLimited)]).await;
    let told = failure(&connection(&[&peer.address], SHORT)).await;
    for part in ["nothing was changed", "adjust_rate_limit", "so said the peer (rate_limited)"] {
        assert!(told.contains(part), "{told}");
    }
    assert!(!told.contains(NO_ANSWER), "{told}");
    assert!(peer.calls().len() > 1, "it may pass meanwhile");

    peer.give_no_session(Said::status(ErrorCode::NoLeader));
    let told = failure(&connection(&[&peer.address], SHORT)).await;
    assert!(told.contains("which peers are missing") && !told.contains(NO_ANSWER), "{told}");
    assert_eq!(told.matches("which peers are missing").count(), 1, "{told}");
}
