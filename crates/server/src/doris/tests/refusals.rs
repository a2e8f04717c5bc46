//! What the routes of a family refuse, asked of each of them: calls about an instance that is missing or dropped, calls that do
//! not say whose they are, and faults of a body that are told before the state is looked at.

use super::routes::{ABSENT, EXISTS, INTERNAL, INVALID, backend, compute, instance, prepared};
use crate::doris::test_peers::Peer;
use axum::http::StatusCode;
use serde_json::json;

/// Status and `code`.
type Kind = (StatusCode, &'static str);

/// Asserts code and text of a refusal, whatever `result` comes with it, and that it changes nothing.
async fn refuse(peer: &Peer, route: &str, body: &str, kind: Kind, text: &str) {
    let before = peer.node().applied().revision;
    let answered = peer.call(route, body).await;
    let shown = answered.json();
    assert_eq!(
        (answered.status, &shown["code"], &shown["msg"]),
        (kind.0, &json!(kind.1), &json!(text)),
        "{route} {body}"
    );
    assert_eq!(answered.header("quorate-outcome"), "not_applied", "{route}");
    assert_eq!(peer.node().applied().revision, before, "{route} changed something");
}

/// Route, body, the refusal when instance `@` is missing, and that when it was dropped; without one, a dropped one is served.
type AboutInstance = (&'static str, &'static str, Kind, &'static str, Option<(Kind, &'static str)>);

const MISSING: &str = "failed to get instance, instance_id=j err=KeyNotFound";
const NOT_EXISTED: &str = "instance not existed, instance_id=j, err=KeyNotFound";
const UNREAD: &str = "failed to get instance, info=failed to get instance, instance_id=j err=KeyNotFound";
const DELETED: &str = "instance status has been set delete, plz check it";
const CLUSTER: &str = r#"{"instance_id":"@","cluster":{"cluster_id":"c","cluster_name":"c","type":"COMPUTE"}}"#;
const NODES: &str = r#"{"instance_id":"@","cluster":{"cluster_id":"c","cluster_name":"c","type":"COMPUTE",
    "nodes":[{"cloud_unique_id":"1:i:10.0.0.1","ip":"10.0.0.1","heartbeat_port":9050}]}}"#;
const STORE: &str = r#"{"cloud_unique_id":"1:@:n","obj":{"id":"1","ak":"an-ak","sk":"a-secret"}}"#;
const VAULT: &str = r#"{"cloud_unique_id":"1:@:n","vault":{"name":"v","obj_info":{"ak":"an-ak","sk":"a-secret"}}}"#;
const ACCOUNT: &str = r#"{"instance_id":"@","ram_user":{"user_id":"u","ak":"an-ak","sk":"a-secret"}}"#;

/// The contract's table of missing and deleted instances (spec/doris-http.md 7.3).
#[rustfmt::skip]
const ABOUT_INSTANCES: &[AboutInstance] = &[
    ("get_instance?instance_id=@", "", INTERNAL, UNREAD, None),
    ("get_snapshot_property?instance_id=@", "", INTERNAL, UNREAD, None),
    ("rename_instance", r#"{"instance_id":"@","name":"n"}"#, ABSENT, NOT_EXISTED, None),
    ("enable_instance_sse", r#"{"instance_id":"@"}"#, ABSENT, NOT_EXISTED, None),
    ("disable_instance_sse", r#"{"instance_id":"@"}"#, ABSENT, NOT_EXISTED, None),
    ("drop_instance", r#"{"instance_id":"@"}"#, ABSENT, NOT_EXISTED, None),
    ("set_instance_status", r#"{"instance_id":"@","op":"SET_NORMAL"}"#, ABSENT, NOT_EXISTED, Some((INVALID, "can't set deleted instance to normal, instance_id = gone"))),
    ("set_instance_status", r#"{"instance_id":"@","op":"SET_OVERDUE"}"#, ABSENT, NOT_EXISTED, Some((INVALID, "can't set deleted instance to overdue, instance_id = gone"))),
    ("add_cluster", CLUSTER, INTERNAL, "failed to get instance, info failed to get instance, instance_id=j err=KeyNotFound", Some((ABSENT, DELETED))),
    ("drop_cluster", CLUSTER, ABSENT, MISSING, Some((ABSENT, DELETED))),
    ("rename_cluster", CLUSTER, INVALID, MISSING, Some((INVALID, DELETED))),
    ("set_cluster_status", CLUSTER, INVALID, MISSING, Some((INVALID, DELETED))),
    ("update_cluster_endpoint", CLUSTER, INVALID, MISSING, Some((INVALID, DELETED))),
    ("update_cluster_mysql_user_name", CLUSTER, INVALID, MISSING, Some((INVALID, DELETED))),
    ("alter_vcluster_info", CLUSTER, INVALID, MISSING, Some((INVALID, DELETED))),
    ("add_node", NODES, INVALID, MISSING, Some((INVALID, DELETED))),
    ("drop_node", NODES, INVALID, MISSING, Some((INVALID, DELETED))),
    ("decommission_node", NODES, INVALID, MISSING, Some((INVALID, DELETED))),
    ("notify_decommissioned", NODES, INVALID, MISSING, Some((INVALID, DELETED))),
    ("get_cluster", r#"{"cloud_unique_id":"1:@:n"}"#, INTERNAL, MISSING, Some((ABSENT, r#"fail to get cluster with cloud_unique_id: "1:gone:n""#))),
    ("get_obj_store_info", r#"{"cloud_unique_id":"1:@:n"}"#, INTERNAL, MISSING, None),
    ("show_storage_vaults", r#"{"cloud_unique_id":"1:@:n"}"#, INTERNAL, MISSING, None),
    ("get_stage", r#"{"cloud_unique_id":"1:@:n","type":"EXTERNAL"}"#, INTERNAL, MISSING, None),
    ("add_obj_info", STORE, INTERNAL, MISSING, Some((ABSENT, DELETED))),
    ("legacy_update_ak_sk", STORE, INTERNAL, MISSING, Some((ABSENT, DELETED))),
    ("alter_obj_info", STORE, INTERNAL, MISSING, Some((ABSENT, DELETED))),
    ("update_ak_sk", ACCOUNT, INTERNAL, MISSING, Some((ABSENT, DELETED))),
    ("add_s3_vault", VAULT, INTERNAL, MISSING, Some((ABSENT, DELETED))),
    ("alter_s3_vault", VAULT, INTERNAL, MISSING, Some((ABSENT, DELETED))),
    ("drop_s3_vault", VAULT, INTERNAL, MISSING, Some((ABSENT, DELETED))),
    ("add_hdfs_vault", VAULT, INTERNAL, MISSING, Some((ABSENT, DELETED))),
    ("drop_hdfs_vault", VAULT, INTERNAL, MISSING, Some((ABSENT, DELETED))),
    ("alter_ram_user", ACCOUNT, INTERNAL, MISSING, Some((ABSENT, DELETED))),
];

#[tokio::test]
async fn a_missing_and_a_dropped_instance_are_told_in_the_words_of_each_route() {
    let peer = prepared().await;
    for route in ["create_instance", "drop_instance"] {
        peer.ok(route, r#"{"instance_id":"gone"}"#).await;
    }
    for (route, body, kind, text, dropped) in ABOUT_INSTANCES {
        let of = |instance_id: &str| (route.replace('@', instance_id), body.replace('@', instance_id));
        let (missing_route, missing_body) = of("j");
        refuse(&peer, &missing_route, &missing_body, *kind, text).await;
        let (dropped_route, dropped_body) = of("gone");
        match dropped {
            Some((kind, text)) => refuse(&peer, &dropped_route, &dropped_body, *kind, text).await,
            None => {
                peer.ok(&dropped_route, &dropped_body).await;
            }
        }
    }
}

const CLUSTER_ROUTES: &[&str] = &[
    "add_cluster",
    "drop_cluster",
    "rename_cluster",
    "update_cluster_endpoint",
    "update_cluster_mysql_user_name",
    "add_node",
    "drop_node",
    "decommission_node",
    "notify_decommissioned",
    "set_cluster_status",
    "alter_vcluster_info",
];

const NOT_GIVEN: &str = "invalid request instance_id or cluster not given";

/// Bodies that do not tell whose cluster is to change, or which.
#[rustfmt::skip]
const NOBODYS_CLUSTERS: &[(&str, &str)] = &[
    ("{}", NOT_GIVEN),
    (r#"{"instance_id":"i"}"#, NOT_GIVEN),
    (r#"{"cluster":{"cluster_id":"c","cluster_name":"c","type":"COMPUTE"}}"#, NOT_GIVEN),
    (r#"{"cloud_unique_id":"1:i:n"}"#, NOT_GIVEN),
    (r#"{"cloud_unique_id":"nobody","cluster":{"cluster_id":"c","cluster_name":"c","type":"COMPUTE"}}"#, "empty instance_id"),
    (r#"{"cloud_unique_id":"1:j:n","cluster":{"cluster_id":"c","cluster_name":"c","type":"COMPUTE"}}"#, "use degrade cloud_unique_id, but instance_id invalid, cloud_unique_id=1:j:n"),
];

#[tokio::test]
async fn every_change_of_a_cluster_says_whose_it_is() {
    let peer = prepared().await;
    for route in CLUSTER_ROUTES {
        for (body, text) in NOBODYS_CLUSTERS {
            refuse(&peer, route, body, INVALID, text).await;
        }
    }
    // A node's id is enough; beside an instance's it is not looked at.
    let by_node = r#"{"cloud_unique_id":"1:i:10.0.0.1","cluster":{"cluster_id":"c","cluster_name":"by_node"}}"#;
    let by_both = r#"{"instance_id":"i","cloud_unique_id":"1:j:n","cluster":{"cluster_id":"c","cluster_name":"by_both"}}"#;
    for (body, name) in [(by_node, "by_node"), (by_both, "by_both")] {
        peer.ok("rename_cluster", body).await;
        assert_eq!(instance(&peer).await["clusters"][0]["cluster_name"], name);
    }
}

#[tokio::test]
async fn nodes_are_judged_before_their_instance_is_looked_for() {
    let peer = prepared().await;
    let routes = ["add_cluster", "add_node", "drop_node", "decommission_node", "notify_decommissioned"];
    let unknown = "node=cloud_unique_id: \"1:j:n\"\nip: \"10.0.0.9\"\nheartbeat_port: 9050\n cloud_unique_id use degrade format, \
                   but check instance failed";
    let stranger = json!([{"cloud_unique_id": "1:j:n", "ip": "10.0.0.9", "heartbeat_port": 9050}]);
    let strange = compute("x", "c", stranger).to_string();
    let typeless = json!({"instance_id": "x", "cluster": {"cluster_id": "c"}}).to_string();
    let mut virtual_cluster = compute("x", "c", json!([backend("10.0.0.1")]));
    virtual_cluster["cluster"]["type"] = json!("VIRTUAL");
    let virtual_cluster = virtual_cluster.to_string();
    for route in routes {
        refuse(&peer, route, &typeless, INVALID, "cluster must have type arg").await;
        refuse(&peer, route, &strange, INVALID, unknown).await;
        refuse(&peer, route, &virtual_cluster, INVALID, "Inconsistent virtual cluster args").await;
    }
    let nameless = json!({"instance_id": "x", "cluster": {"cluster_id": "c", "type": "COMPUTE"}}).to_string();
    refuse(&peer, "add_cluster", &nameless, INVALID, "not have cluster name").await;

    peer.ok("update_config?configs=enable_cluster_name_check=true", "").await;
    let misnamed = compute("x", "9", json!([])).to_string();
    let text = "cluster name not regex with ^[a-zA-Z][a-zA-Z0-9_]*$, please check it";
    for route in routes {
        refuse(&peer, route, &misnamed, INVALID, text).await;
    }
}

/// A virtual cluster with these fields.
fn group(cluster_id: &str, fields: &str) -> String {
    let named = format!(r#""cluster_id":"{cluster_id}","cluster_name":"{cluster_id}","type":"VIRTUAL""#);
    format!(r#"{{"instance_id":"i","cluster":{{{named},{fields}}}}}"#)
}

const ONE_OF_TWO: &str = "subcgs and policy must be Incoming at the same time or do not transmit at the same time";
const ACTIVE_ONLY: &str =
    "Inconsistent cluster policy: active_cluster_name must be set if standby_cluster_names are present, and vice versa.";
const NOT_ACTIVE: &str = "active_cluster_name must not be empty and must be in cluster_names";
const THRESHOLD: &str = "failover_failure_threshold must be greater than 0 and less than max(int64)";
const PERCENT: &str = "unhealthy_node_threshold_percent must be greater than 0 and less than or equal to 100";
const WHOLE_GROUP: &str =
    r#""cluster_names":["c","d"],"cluster_policy":{"type":"ActiveStandby","active_cluster_name":"c","standby_cluster_names":["d"]}"#;

#[rustfmt::skip]
const WRONG_GROUPS: &[(&str, &str)] = &[
    (r#""public_endpoint":"p""#, "Inconsistent virtual cluster args"),
    (r#""private_endpoint":"p""#, "Inconsistent virtual cluster args"),
    (r#""cluster_status":"NORMAL""#, "Inconsistent virtual cluster args"),
    (r#""mysql_user_name":["u"]"#, "Inconsistent virtual cluster args"),
    (r#""cluster_names":["c","d"]"#, ONE_OF_TWO),
    (r#""cluster_policy":{"type":"ActiveStandby"}"#, ONE_OF_TWO),
    (r#""cluster_names":["c"],"cluster_policy":{"type":"ActiveStandby"}"#, "Currently, just support two sub clusters"),
    (r#""cluster_names":["c","d-"],"cluster_policy":{"type":"ActiveStandby"}"#, "cluster name d- does not match regex ^[a-zA-Z][a-zA-Z0-9_]*$"),
    (r#""cluster_names":["c","d"],"cluster_policy":{"active_cluster_name":"c"}"#, "plz set cluster policy type, use virtual cluster policy"),
    (r#""cluster_names":["c","d"],"cluster_policy":{"type":"ActiveStandby","active_cluster_name":"c"}"#, ACTIVE_ONLY),
    (r#""cluster_names":["c","d"],"cluster_policy":{"type":"ActiveStandby","standby_cluster_names":["d"]}"#, ACTIVE_ONLY),
    (r#""cluster_names":["c","d"],"cluster_policy":{"type":"ActiveStandby"}"#, NOT_ACTIVE),
    (r#""cluster_names":["c","d"],"cluster_policy":{"type":"ActiveStandby","active_cluster_name":"x","standby_cluster_names":["d"]}"#, NOT_ACTIVE),
    (r#""cluster_names":["c","d"],"cluster_policy":{"type":"ActiveStandby","active_cluster_name":"c","standby_cluster_names":["x"]}"#, "standby_cluster_name x must be in cluster_names"),
    (r#""cluster_names":["c","d"],"cluster_policy":{"type":"ActiveStandby","active_cluster_name":"c","standby_cluster_names":["c"]}"#, "active_cluster_name is same of standby_cluster_name"),
    (r#""cluster_names":["c","d"],"cluster_policy":{"type":"ActiveStandby","active_cluster_name":"c","standby_cluster_names":["d"],"failover_failure_threshold":0}"#, THRESHOLD),
    (r#""cluster_names":["c","d"],"cluster_policy":{"type":"ActiveStandby","active_cluster_name":"c","standby_cluster_names":["d"],"unhealthy_node_threshold_percent":0}"#, PERCENT),
    (r#""cluster_names":["c","d"],"cluster_policy":{"type":"ActiveStandby","active_cluster_name":"c","standby_cluster_names":["d"],"unhealthy_node_threshold_percent":101}"#, PERCENT),
    (r#""cluster_names":["c","e"],"cluster_policy":{"type":"ActiveStandby","active_cluster_name":"c","standby_cluster_names":["e"]}"#, "sub cluster e not been added in instance, plz add it before create virtual cluster"),
];

#[tokio::test]
async fn every_fault_of_a_virtual_cluster_has_its_text() {
    let peer = prepared().await;
    peer.ok("add_cluster", &compute("i", "d", json!([])).to_string()).await;
    for (fields, text) in WRONG_GROUPS {
        refuse(&peer, "add_cluster", &group("v", fields), INVALID, text).await;
    }
    peer.ok("add_cluster", &group("v", WHOLE_GROUP)).await;
    let taken = "sub cluster c has been add by other vcg=v";
    refuse(&peer, "add_cluster", &group("w", WHOLE_GROUP), INVALID, taken).await;
    let nested = WHOLE_GROUP.replace("\"c\"", "\"v\"");
    let no_compute = "sub cluster v 's type must be eq COMPUTE";
    refuse(&peer, "add_cluster", &group("w", &nested), INVALID, no_compute).await;
    let owned = "failed to drop cluster, this cluster owned by virtual cluster=v if you want drop this cluster, please drop virtual \
                 cluster=v firstly";
    let sub_cluster = compute("i", "d", json!([])).to_string();
    refuse(&peer, "drop_cluster", &sub_cluster, EXISTS, owned).await;
    assert_eq!(instance(&peer).await["clusters"].as_array().map(Vec::len), Some(3));
    peer.ok("drop_cluster", &compute("i", "v", json!([])).to_string()).await;
    peer.ok("drop_cluster", &sub_cluster).await;
    assert_eq!(instance(&peer).await["clusters"].as_array().map(Vec::len), Some(1));
}

/// Routes that take an object store, with the operation that their error texts quote.
const STORE_ROUTES: &[(&str, &str)] = &[
    ("add_obj_info", "ADD_OBJ_INFO"),
    ("legacy_update_ak_sk", "LEGACY_UPDATE_AK_SK"),
    ("alter_obj_info", "ALTER_OBJ_INFO"),
    ("add_s3_vault", "ADD_S3_VAULT"),
    ("drop_s3_vault", "DROP_S3_VAULT"),
];

#[tokio::test]
async fn an_object_store_is_judged_before_who_sends_it() {
    let peer = prepared().await;
    let both = r#"{"obj":{"ak":"an-ak","sk":"a-secret","role_arn":"r"}}"#;
    let both_set = "invaild argument, both set ak/sk and role_arn is not allowed";
    let no_caller = r#"{"obj":{"ak":"an-ak","sk":"a-secret"},"vault":{"name":"v"}}"#;
    let nobody = r#"{"cloud_unique_id":"nobody","obj":{"ak":"an-ak","sk":"a-secret"},"vault":{"name":"v"}}"#;
    let large = json!({"obj": {"ak": "an-ak", "sk": "a-secret", "prefix": "p".repeat(1_024)}}).to_string();
    for (route, operation) in STORE_ROUTES {
        let nothing = format!(r#"s3 obj info err {{"op":"{operation}"}}"#);
        refuse(&peer, route, "{}", INVALID, &nothing).await;
        let half = format!(r#"s3 obj info err {{"obj":{{"ak":"an-ak"}},"op":"{operation}"}}"#);
        refuse(&peer, route, r#"{"obj":{"ak":"an-ak"}}"#, INVALID, &half).await;
        refuse(&peer, route, both, INVALID, both_set).await;
        let answered = peer.call(route, &large).await;
        let message = answered.json()["msg"].as_str().expect("text").to_owned();
        assert_eq!(answered.status, INVALID.0, "{route}");
        let begin = r#"s3 obj info greater than 1k {"obj":{"ak":"an-ak","sk":"(hidden)""#;
        assert!(message.starts_with(begin), "{route}: {message}");
        refuse(&peer, route, no_caller, INVALID, "cloud unique id not set").await;
        refuse(&peer, route, nobody, INVALID, "empty instance_id").await;
    }
}
