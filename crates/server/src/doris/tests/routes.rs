//! The ten routes: what each does, and the exact words of a few refusals.

use crate::doris::test_peers::{Answered, Peer};
use axum::http::StatusCode;
use serde_json::{Value as Json, json};

const OBJ_INFO: &str = r#""obj_info":{"ak":"an-ak","sk":"very-secret","bucket":"b","prefix":"/p/","endpoint":"e","external_endpoint":"x",
    "region":"r","provider":"COS"}"#;

pub(super) fn reply(code: &str, message: &str) -> String {
    format!("{{\n    \"code\": \"{code}\",\n    \"msg\": \"{message}\"\n}}\n")
}

fn assert_reply(answered: &Answered, status: StatusCode, code: &str, message: &str) {
    assert_eq!((answered.status, answered.body.as_str()), (status, reply(code, message).as_str()));
}

pub(super) async fn refuse(peer: &Peer, route: &str, body: Json, expected: (StatusCode, &str, &str)) {
    let before = peer.node().applied().revision;
    let answered = peer.call(route, &body.to_string()).await;
    assert_reply(&answered, expected.0, expected.1, expected.2);
    assert_eq!(answered.header("quorate-outcome"), "not_applied");
    assert_eq!(
        peer.node().applied().revision,
        before,
        "a refusal changes nothing: {}",
        answered.body
    );
}

pub(super) const INVALID: (StatusCode, &str) = (StatusCode::BAD_REQUEST, "INVALID_ARGUMENT");
pub(super) const ABSENT: (StatusCode, &str) = (StatusCode::NOT_FOUND, "NOT_FOUND");
pub(super) const EXISTS: (StatusCode, &str) = (StatusCode::CONFLICT, "ALREADY_EXISTED");
pub(super) const INTERNAL: (StatusCode, &str) = (StatusCode::INTERNAL_SERVER_ERROR, "INTERNAL_ERROR");

pub(super) fn because<'a>(kind: (StatusCode, &'a str), message: &'a str) -> (StatusCode, &'a str, &'a str) {
    (kind.0, kind.1, message)
}

pub(super) fn compute(instance_id: &str, cluster_id: &str, nodes: Json) -> Json {
    json!({"instance_id": instance_id, "cluster": {"cluster_id": cluster_id, "cluster_name": cluster_id, "type": "COMPUTE", "nodes": nodes}})
}

pub(super) fn backend(ip: &str) -> Json {
    json!({"cloud_unique_id": format!("1:i:{ip}"), "ip": ip, "heartbeat_port": 9050})
}

pub(super) async fn instance(peer: &Peer) -> Json {
    peer.ok("get_instance?instance_id=i", "").await.json()["result"].clone()
}

/// A peer with instance `i`, which has compute cluster `c` with one node.
pub(super) async fn prepared() -> Peer {
    let peer = Peer::alone().await;
    peer.ok("create_instance", "{\"instance_id\":\"i\"}").await;
    peer.ok("add_cluster", &compute("i", "c", json!([backend("10.0.0.1")])).to_string())
        .await;
    peer
}

#[tokio::test]
async fn create_instance_and_get_instance() {
    let peer = Peer::alone().await;
    let created = peer.ok("create_instance", r#"{"instance_id":"i","user_id":"u","name":"n"}"#).await;
    assert_eq!(created.body, reply("OK", ""));
    let shown = peer.ok("v1/get_instance?instance_id=i", "{}").await;
    let expected = r#"{
    "code": "OK",
    "msg": "",
    "result": {
        "user_id": "u",
        "instance_id": "i",
        "name": "n",
        "status": "NORMAL",
        "iam_user": {
            "user_id": "",
            "ak": "",
            "sk": "",
            "external_id": "i"
        },
        "sse_enabled": false,
        "enable_storage_vault": true
    }
}
"#;
    assert_eq!(shown.body, expected);

    let again = json!({"instance_id": "i"});
    refuse(
        &peer,
        "create_instance",
        again,
        because(EXISTS, "instance already existed, instance_id=i, err=Ok"),
    )
    .await;
    refuse(&peer, "create_instance", json!({}), because(INVALID, "instance id not set")).await;
    let half_user = json!({"instance_id": "j", "ram_user": {"ak": "a"}});
    refuse(
        &peer,
        "create_instance",
        half_user,
        because(INVALID, "ram user info err, please check it"),
    )
    .await;
    let half_store = json!({"obj_info": {"ak": "a"}});
    refuse(
        &peer,
        "create_instance",
        half_store,
        because(INVALID, "s3 conf info err, please check it"),
    )
    .await;
}

#[tokio::test]
async fn secrets_are_shown_by_get_instance_and_rest_encrypted() {
    let peer = Peer::alone().await;
    let user = r#""ram_user":{"user_id":"u","ak":"a","sk":"user-secret"}"#;
    peer.ok("create_instance", &format!("{{\"instance_id\":\"i\",{OBJ_INFO},{user}}}"))
        .await;
    let shown = instance(&peer).await;
    assert_eq!(
        (&shown["obj_info"][0]["sk"], &shown["ram_user"]["sk"]),
        (&json!("very-secret"), &json!("user-secret"))
    );
    assert_eq!(
        shown["obj_info"][0]["encryption_info"],
        json!({"encryption_method": "AES_256_GCM_SIV", "key_id": "1"})
    );
    peer.node().read(|reader| {
        let mut rows = reader.cursor(&[], &[0xff]).expect("reads");
        while let Some((_, value)) = rows.row() {
            for secret in ["very-secret", "user-secret"] {
                assert!(
                    !value.windows(secret.len()).any(|part| part == secret.as_bytes()),
                    "{secret} is in a row"
                );
            }
            rows.next().expect("reads");
        }
    });
}

#[tokio::test]
async fn get_instance_refuses_what_it_cannot_find() {
    let peer = prepared().await;
    for (query, status, code, message) in [
        ("", INVALID.0, INVALID.1, "empty instance_id and cloud_unique_id"),
        (
            "?instance_id=&cloud_unique_id=nobody",
            INVALID.0,
            INVALID.1,
            "cannot find instance_id with cloud_unique_id=nobody",
        ),
        (
            "?instance_id=j",
            INTERNAL.0,
            INTERNAL.1,
            "failed to get instance, info=failed to get instance, instance_id=j err=KeyNotFound",
        ),
    ] {
        let answered = peer.call(&format!("get_instance{query}"), "{\"instance_id\":\"i\"}").await;
        let expected = format!("{{\n    \"code\": \"{code}\",\n    \"msg\": \"{message}\",\n    \"result\": {{}}\n}}\n");
        assert_eq!((answered.status, &answered.body), (status, &expected));
        assert_eq!(answered.header("quorate-outcome"), "not_applied");
    }
    let by_node = peer.ok("get_instance?cloud_unique_id=1%3Ai%3A10.0.0.1", "").await;
    assert_eq!(by_node.json()["result"]["instance_id"], "i");
}

#[tokio::test]
async fn drop_instance_marks_it_and_may_be_repeated() {
    let peer = prepared().await;
    let this = json!({"instance_id": "i"});
    refuse(
        &peer,
        "drop_instance",
        this.clone(),
        because(INVALID, "failed to drop instance, instance has clusters"),
    )
    .await;
    refuse(&peer, "drop_instance", json!({}), because(INVALID, "instance id not set")).await;
    let absent = because(ABSENT, "instance not existed, instance_id=j, err=KeyNotFound");
    refuse(&peer, "drop_instance", json!({"instance_id": "j"}), absent).await;
    peer.ok("drop_cluster", &compute("i", "c", json!([])).to_string()).await;
    for _ in 0..2 {
        assert_eq!(peer.ok("drop_instance", &this.to_string()).await.body, reply("OK", "OK"));
    }
    assert_eq!(instance(&peer).await["status"], "DELETED");
}

#[tokio::test]
async fn set_instance_status_obeys_the_op_of_the_body() {
    let peer = prepared().await;
    let set = |op: &str| json!({"instance_id": "i", "op": op});
    refuse(
        &peer,
        "set_instance_status",
        set("SET_NORMAL"),
        because(INVALID, "the instance is already normal, instance_id = i"),
    )
    .await;
    assert_eq!(
        peer.ok("set_instance_status", &set("SET_OVERDUE").to_string()).await.body,
        reply("OK", "OK")
    );
    assert_eq!(instance(&peer).await["status"], "OVERDUE");
    let twice = because(INVALID, "the instance has already set  instance to overdue, instance_id = i");
    refuse(&peer, "set_instance_status", set("SET_OVERDUE"), twice).await;
    for op in [json!({}), json!({"instance_id": "i"}), set("NO_SUCH_OP")] {
        refuse(&peer, "set_instance_status", op, because(INVALID, "invalid request op, op=0")).await;
    }
}

#[tokio::test]
async fn add_cluster_and_get_cluster() {
    let peer = prepared().await;
    let again = compute("i", "c", json!([]));
    let exists = because(EXISTS, "try to add a existing cluster id, existing_cluster_id=c");
    refuse(&peer, "add_cluster", again, exists).await;
    let elsewhere = because(
        INTERNAL,
        "failed to get instance, info failed to get instance, instance_id=j err=KeyNotFound",
    );
    refuse(&peer, "add_cluster", compute("j", "c", json!([])), elsewhere).await;
    let typeless = json!({"instance_id": "i", "cluster": {"cluster_id": "d"}});
    refuse(&peer, "add_cluster", typeless, because(INVALID, "cluster must have type arg")).await;
    let taken = because(EXISTS, "compute node endpoint has been added, registered be node=10.0.0.1:9050");
    refuse(&peer, "add_cluster", compute("i", "d", json!([backend("10.0.0.1")])), taken).await;
    let nothing = because(INVALID, "invalid request instance_id or cluster not given");
    refuse(&peer, "add_cluster", json!({"instance_id": "i"}), nothing).await;

    let one = peer
        .ok("get_cluster", r#"{"cloud_unique_id":"1:i:10.0.0.1","cluster_name":"c"}"#)
        .await
        .json();
    assert_eq!(
        (&one["result"]["cluster_id"], &one["result"]["cluster_status"]),
        (&json!("c"), &json!("NORMAL"))
    );
    assert!(one["result"].get("status").is_none());
    let all = peer.ok("get_cluster", r#"{"cloud_unique_id":"1:i:10.0.0.1"}"#).await.json();
    assert_eq!(all["result"]["status"], json!({"code": "OK", "msg": ""}));
    assert_eq!(all["result"]["cluster"][0], one["result"]);
    assert_eq!(all["result"]["enable_storage_vault"], json!(true));
}

#[tokio::test]
async fn get_cluster_reads_its_body_only() {
    let peer = prepared().await;
    let none = because(INVALID, "cloud_unique_id must be given");
    refuse(&peer, "get_cluster?cloud_unique_id=1:i:x", json!({"instance_id": "i"}), none).await;
    let message = r#"fail to get cluster with instance_id: \"i\" cloud_unique_id: \"1:i:x\" cluster_name: \"n\""#;
    let body = json!({"instance_id": "i", "cloud_unique_id": "1:i:x", "cluster_name": "n"});
    refuse(&peer, "get_cluster", body, because(ABSENT, message)).await;
    let missing = because(INTERNAL, "failed to get instance, instance_id=j err=KeyNotFound");
    refuse(&peer, "get_cluster", json!({"cloud_unique_id": "1:j:x"}), missing).await;
}

#[tokio::test]
async fn drop_cluster_goes_by_its_id() {
    let peer = prepared().await;
    refuse(
        &peer,
        "drop_cluster",
        json!({"instance_id": "i", "cluster": {}}),
        because(INVALID, "missing cluster_id="),
    )
    .await;
    let help = "help Msg=Ms nodes memory cache may be inconsistent, pls check registry key may be contain 127.0.0.1, \
                and call get_instance api get instance info from fdb";
    let message = format!("failed to find cluster to drop, instance_id=i cluster_id=x cluster_name=x {help}");
    refuse(&peer, "drop_cluster", compute("i", "x", json!([])), because(ABSENT, &message)).await;
    let missing = because(ABSENT, "failed to get instance, instance_id=j err=KeyNotFound");
    refuse(&peer, "drop_cluster", compute("j", "c", json!([])), missing).await;
    let dropped = peer
        .ok(
            "drop_cluster",
            r#"{"instance_id":"i","cluster":{"cluster_id":"c","cluster_name":"wrong",},}"#,
        )
        .await;
    assert_eq!(dropped.body, reply("OK", ""));
    assert!(instance(&peer).await.get("clusters").is_none());
}

#[tokio::test]
async fn set_cluster_status_moves_within_its_graph() {
    let peer = prepared().await;
    let set = |status: &str| json!({"instance_id": "i", "cluster": {"cluster_id": "c", "cluster_status": status}});
    assert_eq!(
        peer.ok("set_cluster_status", &set("SUSPENDED").to_string()).await.body,
        reply("OK", "")
    );
    assert_eq!(instance(&peer).await["clusters"][0]["cluster_status"], "SUSPENDED");
    let same = because(
        INVALID,
        "failed to set cluster status, status eq original status, original cluster is SUSPENDED",
    );
    refuse(&peer, "set_cluster_status", set("SUSPENDED"), same).await;
    let detour = because(
        INVALID,
        "failed to set cluster status, original cluster is SUSPENDED and want set MANUAL_SHUTDOWN",
    );
    refuse(&peer, "set_cluster_status", set("MANUAL_SHUTDOWN"), detour).await;
    let missing = because(INVALID, "failed to get instance, instance_id=j err=KeyNotFound");
    refuse(&peer, "set_cluster_status", compute("j", "c", json!([])), missing).await;
}

#[tokio::test]
async fn add_node_and_drop_node() {
    let peer = prepared().await;
    let two = compute("i", "c", json!([backend("10.0.0.2"), backend("10.0.0.3")]));
    assert_eq!(peer.ok("add_node", &two.to_string()).await.body, reply("OK", ""));
    assert_eq!(instance(&peer).await["clusters"][0]["nodes"].as_array().map(Vec::len), Some(3));
    let taken = because(INVALID, "compute node endpoint has been added, registered be node=10.0.0.2:9050");
    refuse(&peer, "add_node", two.clone(), taken).await;
    let empty = "to_add and to_del both empty or both not empty";
    for route in ["add_node", "drop_node"] {
        refuse(&peer, route, compute("i", "c", json!([])), because(INVALID, empty)).await;
    }
    let missing = because(INVALID, "failed to get instance, instance_id=j err=KeyNotFound");
    let elsewhere = json!([{"cloud_unique_id": "u", "ip": "10.0.0.9", "heartbeat_port": 9050}]);
    refuse(&peer, "add_node", compute("j", "c", elsewhere), missing).await;

    assert_eq!(peer.ok("v1/drop_node", &two.to_string()).await.body, reply("OK", ""));
    assert_eq!(instance(&peer).await["clusters"][0]["nodes"].as_array().map(Vec::len), Some(1));
    let answered = peer.call("drop_node", &two.to_string()).await;
    assert_eq!((answered.status, &answered.json()["code"]), (ABSENT.0, &json!(ABSENT.1)));
    let message = answered.json()["msg"].as_str().expect("text").to_owned();
    assert!(message.starts_with("not found ,"), "{message}");
}

#[tokio::test]
async fn young_frontends_are_kept() {
    let peer = prepared().await;
    let frontend = json!({"cloud_unique_id": "1:i:f", "ip": "10.0.1.1", "edit_log_port": 9010, "node_type": "FE_MASTER"});
    let sql = json!({"instance_id": "i", "cluster": {"cluster_id": "s", "cluster_name": "s", "type": "SQL", "nodes": [frontend]}});
    peer.ok("add_cluster", &sql.to_string()).await;
    let answered = peer.call("drop_cluster", &sql.to_string()).await;
    let message = answered.json()["msg"].as_str().expect("text").to_owned();
    assert_eq!(answered.status, StatusCode::NOT_FOUND);
    assert!(
        message.starts_with("drop fe cluster not in safe time, try later, cluster="),
        "{message}"
    );
}
