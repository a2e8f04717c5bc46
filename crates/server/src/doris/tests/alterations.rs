//! The routes that change an instance or a cluster in one respect, and the read of many clusters' statuses.

use super::routes::{ABSENT, INTERNAL, INVALID, backend, because, compute, instance, prepared, refuse, reply};
use crate::doris::test_peers::Peer;
use axum::http::StatusCode;
use serde_json::{Value as Json, json};

/// A request about one cluster of instance `i`.
fn about(cluster: Json) -> Json {
    json!({"instance_id": "i", "cluster": cluster})
}

async fn ok(peer: &Peer, route: &str, body: Json, message: &str) {
    assert_eq!(peer.ok(route, &body.to_string()).await.body, reply("OK", message), "{route}");
}

#[tokio::test]
async fn rename_instance_and_switch_its_encryption() {
    let peer = prepared().await;
    let this = || json!({"instance_id": "i", "name": "new"});
    ok(&peer, "rename_instance", this(), "OK").await;
    ok(&peer, "v1/enable_instance_sse", this(), "OK").await;
    let shown = instance(&peer).await;
    assert_eq!((&shown["name"], &shown["sse_enabled"]), (&json!("new"), &json!(true)));
    let on = because(INVALID, "failed to enable sse, instance has enabled sse");
    refuse(&peer, "enable_instance_sse", this(), on).await;
    ok(&peer, "disable_instance_sse", this(), "OK").await;
    assert_eq!(instance(&peer).await["sse_enabled"], json!(false));
    let off = because(INVALID, "failed to disable sse, instance has disabled sse");
    refuse(&peer, "disable_instance_sse", this(), off).await;

    let nameless = because(INVALID, "rename instance name, but not set");
    refuse(&peer, "rename_instance", json!({"instance_id": "i"}), nameless).await;
    for route in ["rename_instance", "enable_instance_sse", "disable_instance_sse"] {
        refuse(&peer, route, json!({"name": "n"}), because(INVALID, "instance id not set")).await;
        let absent = because(ABSENT, "instance not existed, instance_id=j, err=KeyNotFound");
        refuse(&peer, route, json!({"instance_id": "j"}), absent).await;
    }
}

#[tokio::test]
async fn set_instance_status_obeys_every_operation_of_its_body() {
    let peer = prepared().await;
    let with_op = |op: &str| json!({"instance_id": "i", "op": op, "name": "by op"});
    for op in ["RENAME", "ENABLE_SSE", "REFRESH"] {
        ok(&peer, "set_instance_status", with_op(op), "OK").await;
    }
    let shown = instance(&peer).await;
    assert_eq!((&shown["name"], &shown["sse_enabled"]), (&json!("by op"), &json!(true)));
    ok(&peer, "set_instance_status", with_op("DISABLE_SSE"), "OK").await;
    let property = json!({"instance_id": "i", "op": "SET_SNAPSHOT_PROPERTY", "properties": {"max_reserved_snapshots": "3"}});
    ok(&peer, "set_instance_status", property, "OK").await;
    assert_eq!(instance(&peer).await["max_reserved_snapshot"], "3");
    let clusters = because(INVALID, "failed to drop instance, instance has clusters");
    refuse(&peer, "set_instance_status", with_op("DROP"), clusters).await;
    let absent = because(ABSENT, "instance not existed, instance_id=j, err=KeyNotFound");
    refuse(&peer, "set_instance_status", json!({"instance_id": "j", "op": "REFRESH"}), absent).await;
    // The route decides: what the body says does not count elsewhere.
    ok(
        &peer,
        "rename_instance",
        json!({"instance_id": "i", "op": "DROP", "name": "by route"}),
        "OK",
    )
    .await;
    assert_eq!(instance(&peer).await["name"], "by route");
}

#[tokio::test]
async fn rename_cluster_and_change_who_uses_it() {
    let peer = prepared().await;
    ok(
        &peer,
        "rename_cluster",
        about(json!({"cluster_id": "c", "cluster_name": "new"})),
        "",
    )
    .await;
    let users = json!({"cluster_id": "c", "mysql_user_name": ["jack", "rose"]});
    ok(&peer, "update_cluster_mysql_user_name", about(users), "").await;
    let endpoints = json!({"cluster_id": "c", "private_endpoint": "10.0.0.9:1", "public_endpoint": "p.example:1"});
    ok(&peer, "update_cluster_endpoint", about(endpoints), "").await;
    let shown = instance(&peer).await["clusters"][0].clone();
    assert_eq!(
        (&shown["cluster_name"], &shown["mysql_user_name"]),
        (&json!("new"), &json!(["jack", "rose"]))
    );
    assert_eq!(
        (&shown["private_endpoint"], &shown["public_endpoint"]),
        (&json!("10.0.0.9:1"), &json!("p.example:1"))
    );
    ok(&peer, "update_cluster_mysql_user_name", about(json!({"cluster_id": "c"})), "").await;
    assert!(instance(&peer).await["clusters"][0].get("mysql_user_name").is_none());

    let endpoint_missing = because(INTERNAL, "missing private endpoint");
    refuse(
        &peer,
        "update_cluster_endpoint",
        about(json!({"cluster_id": "c"})),
        endpoint_missing,
    )
    .await;
    let own = peer
        .call(
            "rename_cluster",
            &about(json!({"cluster_id": "c", "cluster_name": "new"})).to_string(),
        )
        .await;
    assert_eq!(own.status, StatusCode::BAD_REQUEST);
    let message = own.json()["msg"].as_str().expect("text").to_owned();
    let begin = "failed to rename cluster, a cluster with the same name already exists in this instance {\"cluster_id\":\"c\"";
    assert!(message.starts_with(begin), "{message}");
    for route in [
        "rename_cluster",
        "update_cluster_mysql_user_name",
        "update_cluster_endpoint",
        "alter_vcluster_info",
    ] {
        refuse(&peer, route, about(json!({})), because(INVALID, "missing cluster_id=")).await;
        let absent = "failed to find cluster to update, instance_id=i cluster_id=x cluster_name=";
        refuse(&peer, route, about(json!({"cluster_id": "x"})), because(INVALID, absent)).await;
        let elsewhere = json!({"instance_id": "j", "cluster": {"cluster_id": "c"}});
        let missing = because(INVALID, "failed to get instance, instance_id=j err=KeyNotFound");
        refuse(&peer, route, elsewhere, missing).await;
        let nothing = because(INVALID, "invalid request instance_id or cluster not given");
        refuse(&peer, route, json!({"instance_id": "i"}), nothing).await;
    }
}

#[tokio::test]
async fn an_empty_cluster_makes_way_for_a_renamed_one() {
    let peer = prepared().await;
    peer.ok("add_cluster", &compute("i", "empty", json!([])).to_string()).await;
    let mut rename = about(json!({"cluster_id": "c", "cluster_name": "empty"}));
    assert_eq!(
        peer.call("rename_cluster", &rename.to_string()).await.status,
        StatusCode::BAD_REQUEST
    );
    rename["replace_if_existing_empty_target_cluster"] = json!(true);
    ok(&peer, "rename_cluster", rename, "").await;
    let clusters = instance(&peer).await["clusters"].clone();
    assert_eq!(
        (clusters.as_array().map(Vec::len), &clusters[0]["cluster_id"]),
        (Some(1), &json!("c"))
    );
}

#[tokio::test]
async fn nodes_leave_step_by_step() {
    let peer = prepared().await;
    let this = compute("i", "c", json!([backend("10.0.0.1")]));
    for (route, status) in [
        ("decommission_node", "NODE_STATUS_DECOMMISSIONING"),
        ("notify_decommissioned", "NODE_STATUS_DECOMMISSIONED"),
    ] {
        ok(&peer, route, this.clone(), "").await;
        assert_eq!(instance(&peer).await["clusters"][0]["nodes"][0]["status"], status);
        let nothing = because(INVALID, "to_add and to_del both empty or both not empty");
        refuse(&peer, route, compute("i", "c", json!([])), nothing).await;
        let mut moved = backend("10.0.0.1");
        moved["heartbeat_port"] = json!(1);
        refuse(&peer, route, compute("i", "c", json!([moved])), nothing).await;
        let stranger = json!([{"cloud_unique_id": "nobody", "ip": "10.0.0.1", "heartbeat_port": 9050}]);
        refuse(
            &peer,
            route,
            compute("i", "c", stranger),
            because(INVALID, "cloud_unique_id not found"),
        )
        .await;
        let typeless = about(json!({"cluster_id": "c", "nodes": [backend("10.0.0.1")]}));
        refuse(&peer, route, typeless, because(INVALID, "cluster must have type arg")).await;
    }
    ok(&peer, "drop_node", this, "").await;
}

#[tokio::test]
async fn alter_vcluster_info_changes_roles() {
    let peer = prepared().await;
    peer.ok("add_cluster", &compute("i", "d", json!([])).to_string()).await;
    let policy = |active: &str, standby: &str| json!({"active_cluster_name": active, "standby_cluster_names": [standby]});
    let mut created = policy("c", "d");
    created["type"] = json!("ActiveStandby");
    let group = json!({"cluster_id": "v", "cluster_name": "v", "type": "VIRTUAL", "cluster_names": ["c", "d"], "cluster_policy": created});
    ok(&peer, "add_cluster", about(group), "").await;
    let swapped = json!({"cluster_id": "v", "cluster_policy": policy("d", "c")});
    ok(&peer, "alter_vcluster_info", about(swapped), "").await;
    let expected = json!({"type": "ActiveStandby", "active_cluster_name": "d", "standby_cluster_names": ["c"],
        "failover_failure_threshold": "3", "unhealthy_node_threshold_percent": "100"});
    assert_eq!(instance(&peer).await["clusters"][2]["cluster_policy"], expected);
    let half = json!({"cluster_id": "v", "cluster_policy": {"active_cluster_name": "c"}});
    let same = because(INVALID, "active_cluster_name is same of standby_cluster_name");
    refuse(&peer, "alter_vcluster_info", about(half), same).await;
    let suspended = about(json!({"cluster_id": "v", "cluster_status": "SUSPENDED"}));
    refuse(
        &peer,
        "set_cluster_status",
        suspended,
        because(INVALID, "just support set COMPUTE cluster status"),
    )
    .await;
    ok(
        &peer,
        "rename_cluster",
        about(json!({"cluster_id": "v", "cluster_name": "group"})),
        "",
    )
    .await;
    ok(&peer, "drop_cluster", about(json!({"cluster_id": "v"})), "").await;
}

#[tokio::test]
async fn get_cluster_status_shows_the_whole_response() {
    let peer = prepared().await;
    let shown = peer
        .ok("get_cluster_status", r#"{"instance_ids":["i","missing"],"status":"STOPPED"}"#)
        .await
        .json();
    let mtime = instance(&peer).await["clusters"][0]["mtime"].clone();
    let cluster = json!({"cluster_id": "c", "cluster_name": "c", "cluster_status": "NORMAL", "mtime": mtime});
    let details = json!([{"instance_id": "i", "clusters": [cluster]}]);
    assert_eq!(shown["result"], json!({"status": {"code": "OK", "msg": ""}, "details": details}));

    let none = peer
        .ok("get_cluster_status", r#"{"instance_ids":"i","status":"SUSPENDED"}"#)
        .await
        .json();
    assert_eq!(none["result"], json!({"status": {"code": "OK", "msg": ""}}));
    let asked = peer
        .ok("get_cluster_status", r#"{"cloud_unique_ids":["1:i:10.0.0.1"]}"#)
        .await
        .json();
    assert_eq!(
        (&asked["result"]["details"], &asked["result"]["requester_cluster_id"]),
        (&details, &json!("c"))
    );

    let nobody = peer.call("get_cluster_status", "{}").await;
    let message = "cloud_unique_ids or instance_ids must be given, instance_ids.size: 0 cloud_unique_ids.size: 0";
    assert_eq!(nobody.status, StatusCode::BAD_REQUEST);
    assert_eq!(nobody.json()["msg"], message);
    assert_eq!(
        nobody.json()["result"],
        json!({"status": {"code": "INVALID_ARGUMENT", "msg": message}})
    );
    // What the parser refuses has no response to show: the status is all there is.
    let unparsed = peer.call("get_cluster_status", "[]").await.json();
    assert_eq!(unparsed["result"]["status"]["code"], "PROTOBUF_PARSE_ERR");
}
