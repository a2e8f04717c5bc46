//! Routes that are not there: what is wrong with a call comes first (spec/doris-http.md 12.24-12.26, 13.5, 14.6).

use crate::doris::test_peers::Peer;
use axum::http::StatusCode;

const INVALID: StatusCode = StatusCode::BAD_REQUEST;
const INTERNAL: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;

/// Route with its query, body, status and text of the refusal.
type Wrong = (&'static str, &'static str, StatusCode, &'static str);

#[rustfmt::skip]
const WRONG: &[Wrong] = &[
    ("set_value", "", INVALID, "key_type not supported: (empty)"),
    ("set_value?key_type=InstanceKey", "", INVALID, "instance_id is not given or empty"),
    ("set_value?key_type=InstanceKey&key=zz", "", INTERNAL, "failed to get kv, key=zz"),
    ("set_value?key_type=InstanceKey&instance_id=i", "{", INVALID, "invalid input json value, cannot parse json to pb, key_type=InstanceKey"),
    ("get_tablet_stats", "[]", INVALID, "parse http request 'get_tablet_stats': INVALID_ARGUMENT:: Root element must be a message."),
    ("fix_tablet_db_id?instance_id=i&tablet_id=x", "", INVALID, "db_id  must be a number, meet error=stoll"),
    ("fix_tablet_db_id?instance_id=i&tablet_id=x&db_id=1", "", INVALID, "tablet_id x must be a number, meet error=stoll"),
    ("txn_lazy_commit?instance_id=i", "", INVALID, "instance_id or txn_id is empty"),
    ("txn_lazy_commit?txn_id=7", "", INVALID, "instance_id or txn_id is empty"),
    ("txn_lazy_commit?instance_id=i&txn_id=x", "", INTERNAL, "txn_id x must be a number, meet error=stoll"),
    ("abort_txn", r#"{"cloud_unique_id":"1:i:x"}"#, INVALID, "invalid txn id and label, db_id=-1 txn_id=-1 label="),
    ("abort_txn", r#"{"cloud_unique_id":"1:i:x","label":"l"}"#, INVALID, "invalid txn id and label, db_id=-1 txn_id=-1 label=l"),
    ("abort_txn", r#"{"txn_id":7}"#, INVALID, "cannot find instance_id with cloud_unique_id=(empty) label= txn_id=7"),
    ("abort_tablet_job", r#"{"cloud_unique_id":"u"}"#, INVALID, "cannot find instance_id with cloud_unique_id=u"),
    ("abort_tablet_job", r#"{"cloud_unique_id":"1:i:x"}"#, INVALID, "no valid job specified"),
    ("abort_tablet_job", r#"{"cloud_unique_id":"1:i:x","job":{"compaction":[{"id":"c"}]}}"#, INVALID, "no valid tablet_id given"),
    ("abort_tablet_job", r#"{"job":{"compaction":[{"id":7}]}}"#, INVALID, "parse http request 'abort_tablet_job': INVALID_ARGUMENT:(job.compaction[0].id): invalid value 7 for type TYPE_STRING"),
];

#[rustfmt::skip]
const RIGHT: &[(&str, &str)] = &[
    ("set_value?key_type=InstanceKey&instance_id=i", "{}"),
    ("get_tablet_stats", r#"{"cloud_unique_id":"1:i:x","tablet_idx":[{"tablet_id":1}]}"#),
    ("get_tablet_stats", r#"{"cloud_unique_id":"1:nobody:x"}"#),
    ("fix_tablet_stats?cloud_unique_id=1:i:x&table_id=7&tablet_id=8", ""),
    ("fix_tablet_db_id?instance_id=i&tablet_id=8&db_id=7", ""),
    ("txn_lazy_commit?instance_id=i&txn_id=7", ""),
    ("abort_txn", r#"{"cloud_unique_id":"1:i:x","txn_id":7}"#),
    ("abort_txn", r#"{"cloud_unique_id":"1:i:x","db_id":1,"label":"l"}"#),
    ("abort_tablet_job", r#"{"cloud_unique_id":"1:i:x","job":{"idx":{"tablet_id":7},"compaction":[{"id":"c"}]}}"#),
    ("abort_tablet_job", r#"{"cloud_unique_id":"1:i:x","job":{"idx":{"tablet_id":7},"schema_change":{"id":"c"}}}"#),
];

#[tokio::test]
async fn arguments_of_a_missing_route_are_checked_first() {
    let peer = Peer::alone().await;
    peer.ok("create_instance", r#"{"instance_id":"i"}"#).await;
    let before = peer.node().applied().revision;
    for (route, body, status, text) in WRONG {
        let answered = peer.call(route, body).await;
        assert_eq!(
            (answered.status, answered.json()["msg"].as_str()),
            (*status, Some(*text)),
            "{route} {body}"
        );
    }
    for (route, body) in RIGHT {
        let answered = peer.call(route, body).await;
        let name = route.split('?').next().expect("a name");
        let text = format!("route {name} is not available in this version of quorate");
        let seen = (answered.status, answered.json()["msg"].clone());
        assert_eq!(seen, (StatusCode::NOT_IMPLEMENTED, text.into()), "{route} {body}");
    }
    assert_eq!(peer.node().applied().revision, before);
}

#[tokio::test]
async fn what_the_tablet_routes_refuse_has_no_envelope() {
    let peer = Peer::alone().await;
    for (route, body, expected) in [
        ("get_tablet_stats", r#"{"tablet_idx":[{"tablet_id":1}]}"#, "\n"),
        (
            "v1/get_tablet_stats",
            r#"{"cloud_unique_id":"no colons","tablet_idx":[{"tablet_id":1}]}"#,
            "\n",
        ),
        ("get_tablet_stats", "{}", "\n"),
        (
            "fix_tablet_stats?cloud_unique_id=1:i:x&table_id=x%22%0A",
            "",
            "code: INVALID_ARGUMENT\nmsg: \"Invalid table_id, table_id: x\\\"\\n\"\n\n",
        ),
        (
            "fix_tablet_stats?table_id=7",
            "",
            "code: INVALID_ARGUMENT\nmsg: \"empty instance_id\"\n\n",
        ),
    ] {
        let answered = peer.call(route, body).await;
        assert_eq!((answered.status, answered.body.as_str()), (INVALID, expected), "{route} {body}");
        assert_eq!(
            (
                answered.header("content-type"),
                answered.header("quorate-error"),
                answered.header("quorate-outcome")
            ),
            ("text/plain; charset=utf-8", "invalid_argument", "not_applied"),
            "{route} {body}"
        );
    }
    // Before the service is asked, and around it, there is the envelope.
    let unparsed = peer.call("get_tablet_stats", "[]").await;
    assert_eq!((unparsed.status, unparsed.header("content-type")), (INVALID, "application/json"));
    let homeless = Peer::homeless().call("get_tablet_stats", "{}").await;
    assert_eq!(
        (homeless.status, homeless.json()["code"].as_str()),
        (StatusCode::SERVICE_UNAVAILABLE, Some("INTERNAL_ERROR"))
    );
}
