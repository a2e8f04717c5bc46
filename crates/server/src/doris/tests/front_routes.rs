//! Settings, rate limits and snapshot properties: what they are set to, and that they do what they say.

use super::routes::{ABSENT, INTERNAL, INVALID, compute, prepared, reply};
use crate::doris::test_peers::{Answered, Peer, cluster};
use crate::rpc_table::{RPC_TABLE, Work};
use axum::http::StatusCode;
use serde_json::{Value as Json, json};
use std::time::Duration;
use tokio::time::Instant;

async fn refuse(peer: &Peer, route: &str, kind: (StatusCode, &str), message: &str) {
    let before = peer.node().applied().revision;
    let answered = peer.call(route, "").await;
    assert_eq!(
        (answered.status, answered.body.as_str()),
        (kind.0, reply(kind.1, message).as_str()),
        "{route}"
    );
    assert_eq!(peer.node().applied().revision, before, "{route} changed something");
}

async fn get_cluster(peer: &Peer) -> Answered {
    peer.call("get_cluster", r#"{"cloud_unique_id":"1:i:10.0.0.1","cluster_id":"c"}"#)
        .await
}

fn assert_limited(answered: &Answered) {
    let expected = (StatusCode::INTERNAL_SERVER_ERROR, reply("INTERNAL_ERROR", "reach max qps limit"));
    assert_eq!((answered.status, answered.body.clone()), expected);
    assert_eq!(
        (answered.header("quorate-error"), answered.header("quorate-outcome")),
        ("rate_limited", "not_applied")
    );
}

#[tokio::test]
async fn a_limit_refuses_calls_of_its_rpc_and_instance_and_no_others() {
    let peer = prepared().await;
    peer.ok("create_instance", "{\"instance_id\":\"j\"}").await;
    let set = peer
        .ok("adjust_rate_limit?qps_limit=0&rpc_name=get_cluster&instance_id=i", "")
        .await;
    assert_eq!(set.body, reply("OK", "sucess to adjust rate limit"));
    assert_limited(&get_cluster(&peer).await);
    peer.ok("get_instance?instance_id=i", "").await;
    // Named by its nodes' id, the instance is the same.
    peer.ok(
        "add_cluster",
        &compute(
            "i",
            "d",
            json!([{"cloud_unique_id": "plain", "ip": "10.0.0.7", "heartbeat_port": 1}]),
        )
        .to_string(),
    )
    .await;
    assert_limited(&peer.call("get_cluster", r#"{"cloud_unique_id":"plain"}"#).await);

    // All RPCs of an instance; writes too, and nothing is written.
    peer.ok("adjust_rate_limit?qps_limit=0&instance_id=j", "").await;
    let before = peer.node().applied().revision;
    assert_limited(&peer.call("add_cluster", &compute("j", "c", json!([])).to_string()).await);
    assert_limited(&peer.call("rename_instance", r#"{"instance_id":"j","name":"n"}"#).await);
    assert_eq!(peer.node().applied().revision, before);
    let refused = peer.call("get_instance?instance_id=j", "").await;
    assert_eq!(
        (refused.status, &refused.json()["msg"]),
        (StatusCode::INTERNAL_SERVER_ERROR, &json!("reach max qps limit"))
    );

    peer.ok("update_config?configs=enable_rate_limit=false", "").await;
    assert_eq!(get_cluster(&peer).await.status, StatusCode::OK);
    peer.ok("update_config?configs=enable_rate_limit=true&persist=true&reason=test", "")
        .await;
    assert_limited(&get_cluster(&peer).await);
    peer.ok("adjust_rate_limit?qps_limit=1000000&rpc_name=get_cluster&instance_id=i", "")
        .await;
    assert_eq!(get_cluster(&peer).await.status, StatusCode::OK);
}

/// Every route that is there and stands for an RPC, with that.
const ROUTES_OF_RPCS: &[(&str, &str)] = &[
    ("create_instance", "create_instance"),
    ("drop_instance", "alter_instance"),
    ("rename_instance", "alter_instance"),
    ("enable_instance_sse", "alter_instance"),
    ("disable_instance_sse", "alter_instance"),
    ("set_instance_status", "alter_instance"),
    ("set_snapshot_property", "alter_instance"),
    ("get_instance", "get_instance"),
    ("add_cluster", "alter_cluster"),
    ("drop_cluster", "alter_cluster"),
    ("rename_cluster", "alter_cluster"),
    ("update_cluster_endpoint", "alter_cluster"),
    ("update_cluster_mysql_user_name", "alter_cluster"),
    ("add_node", "alter_cluster"),
    ("drop_node", "alter_cluster"),
    ("decommission_node", "alter_cluster"),
    ("notify_decommissioned", "alter_cluster"),
    ("set_cluster_status", "alter_cluster"),
    ("alter_vcluster_info", "alter_cluster"),
    ("get_cluster", "get_cluster"),
    ("get_cluster_status", "get_cluster_status"),
    ("get_obj_store_info", "get_obj_store_info"),
    ("show_storage_vaults", "get_obj_store_info"),
    ("add_obj_info", "alter_obj_store_info"),
    ("legacy_update_ak_sk", "alter_obj_store_info"),
    ("alter_obj_info", "alter_obj_store_info"),
    ("update_ak_sk", "update_ak_sk"),
    ("add_s3_vault", "alter_storage_vault"),
    ("alter_s3_vault", "alter_storage_vault"),
    ("drop_s3_vault", "alter_storage_vault"),
    ("add_hdfs_vault", "alter_storage_vault"),
    ("drop_hdfs_vault", "alter_storage_vault"),
    ("get_stage", "get_stage"),
    ("alter_ram_user", "alter_ram_user"),
    ("alter_iam", "alter_iam"),
    ("list_snapshot", "list_snapshot"),
    ("drop_snapshot", "drop_snapshot"),
    ("compact_snapshot", "compact_snapshot"),
];

/// Routes that upstream has without an RPC: its limits know no name for them.
const ROUTES_WITHOUT_RPC: &[&str] = &[
    "get_snapshot_property",
    "set_multi_version_status",
    "decouple_instance",
    "decode_key",
    "encode_key",
    "get_value",
    "show_meta_ranges",
    "adjust_rate_limit",
    "list_rate_limit",
    "show_config",
    "update_config",
];

#[tokio::test]
async fn every_route_is_limited_under_the_name_of_its_rpc() {
    for rpc in RPC_TABLE {
        let is_there = matches!(rpc.work, Work::Command(_) | Work::Query(_));
        let times = ROUTES_OF_RPCS.iter().filter(|(route, _)| *route == rpc.route).count()
            + ROUTES_WITHOUT_RPC.iter().filter(|route| **route == rpc.route).count();
        assert_eq!(times, usize::from(is_there), "{}", rpc.route);
    }
    let peer = prepared().await;
    let body = r#"{"instance_id":"i","cloud_unique_id":"1:i:x","instance_ids":["i","i","j"],"op":"SET_OVERDUE"}"#;
    for (route, rpc) in ROUTES_OF_RPCS {
        // A call of no instance has no limit of one.
        let whose = if *rpc == "alter_iam" { "" } else { "&instance_id=i" };
        let limited = async |limit: u64| {
            let set = format!("adjust_rate_limit?qps_limit={limit}&rpc_name={rpc}{whose}");
            peer.ok(&set, "").await;
        };
        limited(0).await;
        let refused = peer.call(&format!("{route}?instance_id=i"), body).await;
        assert_eq!(refused.header("quorate-error"), "rate_limited", "{route}: {}", refused.body);
        limited(1_000_000).await;
    }
    let nodes = peer.call("get_cluster_status", r#"{"cloud_unique_ids":["1:i:x","1:i:y"]}"#).await;
    assert_eq!(nodes.status, StatusCode::OK, "{}", nodes.body);
    peer.ok("adjust_rate_limit?qps_limit=1&rpc_name=get_cluster_status&instance_id=i", "")
        .await;
    // Two nodes of one instance are one call of it.
    let first = peer.call("get_cluster_status", r#"{"cloud_unique_ids":["1:i:x","1:i:y"]}"#).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
}

#[tokio::test]
async fn a_limit_per_second_admits_so_many_calls_and_no_more() {
    let peer = prepared().await;
    peer.ok("adjust_rate_limit?qps_limit=20&rpc_name=get_cluster", "").await;
    let started = Instant::now();
    let mut served = 0;
    for _ in 0..200 {
        match get_cluster(&peer).await {
            answered if answered.status == StatusCode::OK => served += 1,
            answered => assert_limited(&answered),
        }
    }
    let at_most = 20 + (started.elapsed().as_secs_f64() * 20.0).ceil() as u64;
    assert!(
        (20..=at_most).contains(&served),
        "{served} calls were served, at most {at_most} may be"
    );
}

#[tokio::test]
async fn limits_are_listed_by_rpc() {
    let peer = prepared().await;
    let listed = peer.ok("list_rate_limit", "").await.json()["result"].clone();
    let of = |limit: u64, instances: Json| json!({"RPC qps limit": limit, "instance specific qps limit": instances});
    assert_eq!(
        (&listed["get_cluster"], &listed["get_instance"]),
        (&of(5_000_000, json!({})), &of(1_000_000, json!({})))
    );
    // Upstream's settings limit what is not there.
    assert_eq!(
        (&listed["begin_txn"], &listed["commit_txn"]),
        (&of(5_000_000, json!({})), &of(1_000_000, json!({})))
    );
    peer.ok("update_config?configs=specific_max_qps_limit=get_cluster:5000000;begin_txn:9", "")
        .await;
    peer.ok("adjust_rate_limit?qps_limit=3&rpc_name=begin_txn&instance_id=i", "").await;
    let listed = peer.ok("list_rate_limit", "").await.json()["result"].clone();
    assert_eq!(&listed["begin_txn"], &of(9, json!({"i": 3})));
    peer.ok("adjust_rate_limit?qps_limit=7", "").await;
    peer.ok("adjust_rate_limit?qps_limit=8&rpc_name=get_cluster&instance_id=nobody", "")
        .await;
    let listed = peer.ok("list_rate_limit", "").await.json()["result"].clone();
    assert_eq!(
        (&listed["get_cluster"], &listed["alter_cluster"]),
        (&of(7, json!({"nobody": 8})), &of(7, json!({})))
    );
    for (query, message) in [
        (
            "",
            "invalid argument: qps_limit(required)=, rpc_name(optional)=, instance_id(optional)=",
        ),
        ("?qps_limit=-1", "`qps_limit` should not be less than 0"),
        (
            "?qps_limit=1e3",
            "param `qps_limit` is not a legal int64 type:invalid digit found in string",
        ),
        (
            "?qps_limit=1&rpc_name=no_such_rpc",
            "failed to adjust rate limit for qps_limit=1, rpc_name=no_such_rpc, instance_id=, plz ensure correct rpc/instance name",
        ),
    ] {
        refuse(&peer, &format!("adjust_rate_limit{query}"), INVALID, message).await;
    }
}

#[tokio::test]
async fn settings_and_limits_reach_every_peer() {
    let peers = cluster(3).await;
    let follower = peers.iter().find(|peer| !peer.node().is_leader()).expect("two of three");
    follower.ok("create_instance", "{\"instance_id\":\"i\"}").await;
    follower.ok("adjust_rate_limit?qps_limit=0&rpc_name=get_instance", "").await;
    follower.ok("update_config?configs=enable_cluster_name_check=true", "").await;
    assert_eq!(
        follower.call("get_instance?instance_id=i", "").await.status,
        StatusCode::INTERNAL_SERVER_ERROR
    );
    let deadline = Instant::now() + Duration::from_secs(10);
    for peer in &peers {
        // Within 50 ms after it is applied there: not at once.
        while peer.call("get_instance?instance_id=i", "").await.status == StatusCode::OK {
            assert!(Instant::now() < deadline, "the limit does not reach every peer");
        }
        let refused = peer.call("add_cluster", &compute("i", "9", json!([])).to_string()).await;
        let message = "cluster name not regex with ^[a-zA-Z][a-zA-Z0-9_]*$, please check it";
        assert_eq!(refused.body, reply("INVALID_ARGUMENT", message));
        let listed = peer.ok("list_rate_limit", "").await.json();
        assert_eq!(listed["result"]["get_instance"]["RPC qps limit"], json!(0));
    }
}

#[tokio::test]
async fn settings_are_shown_and_changed() {
    let peer = Peer::alone().await;
    let one = peer.ok("show_config?conf_key=enable_cluster_name_check", "").await.json();
    assert_eq!(one["result"], json!([["enable_cluster_name_check", "bool", "false", true]]));
    assert_eq!(peer.ok("show_config?conf_key=no_such", "").await.json()["result"], json!([]));
    let changed = peer
        .ok(
            "update_config?configs=enable_cluster_name_check=true,snapshot_max_reserved_num=3",
            "",
        )
        .await;
    assert_eq!(changed.body, reply("OK", ""));
    peer.ok(
        "update_config?configs=enable_multi_version_status=true,enable_cluster_snapshot=true",
        "",
    )
    .await;
    peer.ok("create_instance", "{\"instance_id\":\"i\"}").await;
    let shown = peer.ok("get_snapshot_property?instance_id=i", "").await.json()["result"].clone();
    let expected = json!({"status": "ENABLED", "max_reserved_snapshots": 1, "snapshot_interval_seconds": 3600});
    assert_eq!(shown, expected);
    let all = peer.ok("v1/show_config", "").await.json()["result"].clone();
    let all = all.as_array().expect("rows").clone();
    for row in [
        json!(["enable_cluster_name_check", "bool", "true", true]),
        json!(["snapshot_max_reserved_num", "int64_t", "3", true]),
        json!(["enable_multi_version_status", "bool", "true", true]),
        json!(["enable_cluster_snapshot", "bool", "true", true]),
        json!(["encryption_method", "std::string", "AES_256_GCM_SIV", false]),
    ] {
        assert!(all.contains(&row), "{row} is not in {all:?}");
    }
    for (query, message) in [
        ("", "query param `config` should not be empty"),
        ("?configs=enable_rate_limit", "config enable_rate_limit is invalid"),
        ("?configs=enable_rate_limit=true,http_token=x", "config field=http_token not exists"),
        ("?configs=encryption_method=NONE", "config field=encryption_method is immutable"),
        (
            "?configs=enable_rate_limit=yes",
            "not supported to modify field=enable_rate_limit, value=yes",
        ),
    ] {
        refuse(&peer, &format!("update_config{query}"), INVALID, message).await;
    }
}

#[tokio::test]
async fn an_instance_is_made_ready_for_snapshots() {
    let peer = Peer::alone().await;
    peer.ok("create_instance", "{\"instance_id\":\"i\"}").await;
    let shown = async |query: &str| peer.ok(&format!("get_snapshot_property?{query}"), "").await.json()["result"].clone();
    assert_eq!(shown("instance_id=i").await, json!({"status": "UNSUPPORTED"}));
    let enable = r#"{"instance_id":"i","properties":{"status":"ENABLED","snapshot_interval_seconds":"7200"}}"#;
    let refused = peer.call("set_snapshot_property", enable).await;
    assert_eq!(refused.body, reply("INVALID_ARGUMENT", "Snapshot is not ready, instance_id: i"));
    for status in ["multi_version_write_only", "MULTI_VERSION_READ_WRITE"] {
        let moved = peer
            .ok(&format!("set_multi_version_status?instance_id=i&multi_version_status={status}"), "")
            .await;
        assert_eq!(moved.body, reply("OK", "success"));
    }
    assert_eq!(shown("cloud_unique_id=1:i:x").await, json!({"status": "DISABLED"}));
    assert_eq!(peer.ok("set_snapshot_property", enable).await.body, reply("OK", "OK"));
    let expected = json!({"status": "ENABLED", "max_reserved_snapshots": 0, "snapshot_interval_seconds": 7200});
    assert_eq!(shown("instance_id=i").await, expected);

    let unknown = peer
        .call("set_snapshot_property", r#"{"instance_id":"i","properties":{"colour":"red"}}"#)
        .await;
    assert_eq!(unknown.body, reply("INVALID_ARGUMENT", "unknown snapshot property: colour"));
    let gone = "failed to get instance, info=failed to get instance, instance_id=j err=KeyNotFound";
    refuse(&peer, "get_snapshot_property?instance_id=j", INTERNAL, gone).await;
    refuse(&peer, "get_snapshot_property", INVALID, "empty instance_id and cloud_unique_id").await;
    for (query, kind, message) in [
        ("?cloud_unique_id=1:i:x", INVALID, "empty instance id"),
        ("?instance_id=i", INVALID, "multi_version_status is required"),
        (
            "?instance_id=j&multi_version_status=MULTI_VERSION_DISABLED",
            ABSENT,
            "instance not found",
        ),
        (
            "?instance_id=i&multi_version_status=MULTI_VERSION_ENABLED",
            INVALID,
            "directly convert from MULTI_VERSION_READ_WRITE to MULTI_VERSION_ENABLED is not allowed",
        ),
    ] {
        refuse(&peer, &format!("set_multi_version_status{query}"), kind, message).await;
    }
}
