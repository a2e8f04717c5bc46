//! Doris's HTTP dialect over the wire: every mistake gets exactly the specified reply at every peer, and changes nothing.

use quorate_tests::cluster::{Cluster, TOKEN};
use quorate_tests::http::{self, Reply};
use quorate_tests::native;
use quorate_tests::raft_state::assert_peers_agree;
use quorate_tests::waiting::{phase, until};
use quorate_wire::doris::alter_cluster_request::Operation;
use quorate_wire::doris::meta_service_client::MetaServiceClient;
use quorate_wire::doris::{AlterClusterRequest, ClusterPb, CreateInstanceRequest, GetInstanceRequest, MetaServiceCode};
use quorate_wire::quorate::v1::OpenSessionRequest;

const INSTANCE: &str = r#"{"instance_id":"i","name":"one","user_id":"me","obj_info":{"ak":"an-ak","sk":"an-sk","bucket":"b","prefix":"p",
    "endpoint":"e","external_endpoint":"x","region":"r","provider":"S3"}}"#;
const CLUSTER: &str = r#"{"instance_id":"i","cluster":{"cluster_id":"c","cluster_name":"compute","type":"COMPUTE",
    "nodes":[{"cloud_unique_id":"1:i:be","ip":"10.0.0.1","heartbeat_port":9050}]}}"#;

/// A mistake: what is sent, and what must come back.
struct Mistake {
    why: &'static str,
    /// With the right token unless it brings one.
    route: &'static str,
    body: &'static str,
    status: u16,
    reply: String,
}

fn json(code: &str, message: &str) -> String {
    format!("{{\n    \"code\": \"{code}\",\n    \"msg\": \"{message}\"\n}}\n")
}

fn mistake(why: &'static str, (route, body): (&'static str, &'static str), status: u16, reply: String) -> Mistake {
    Mistake {
        why,
        route,
        body,
        status,
        reply,
    }
}

const CREATE: &str = r#"{"instance_id":"new"}"#;

/// Refused before the body is looked at.
fn wrong_ways() -> Vec<Mistake> {
    let guessed = || "incorrect token, token=guess\n".to_owned();
    let no_path = || "http path not found or not allowed\n".to_owned();
    vec![
        mistake("wrong token", ("create_instance?token=guess", CREATE), 403, guessed()),
        mistake(
            "empty token",
            ("create_instance?token=", CREATE),
            403,
            "incorrect token, token=(not given)\n".to_owned(),
        ),
        mistake("a wrong token hides routes", ("no_such_route?token=guess", CREATE), 403, guessed()),
        mistake("unknown route", ("no_such_route", CREATE), 404, no_path()),
        mistake("second version of the API", ("v2/create_instance", CREATE), 404, no_path()),
    ]
}

/// Refused because of their body alone.
fn wrong_bodies() -> Vec<Mistake> {
    let invalid = |message: &str| json("INVALID_ARGUMENT", message);
    let unparsed = |what: &str| invalid(&format!("parse http request 'create_instance': INVALID_ARGUMENT:{what}"));
    let no_type = r#"{"instance_id":"i","cluster":{"cluster_id":"d","cluster_name":"d","type":"FASTER"}}"#;
    let number = unparsed("(instance_id): invalid value 123 for type TYPE_STRING");
    vec![
        mistake(
            "body is no message",
            ("create_instance", "[]"),
            400,
            unparsed(": Root element must be a message."),
        ),
        mistake("field of another type", ("create_instance", r#"{"instance_id":123}"#), 400, number),
        mistake("no instance id", ("create_instance", "{}"), 400, invalid("instance id not set")),
        mistake(
            "unknown type of a cluster",
            ("add_cluster", no_type),
            400,
            invalid("cluster must have type arg"),
        ),
        mistake(
            "unknown operation",
            ("set_instance_status", r#"{"instance_id":"i","op":"NO_SUCH_OPERATION"}"#),
            400,
            invalid("invalid request op, op=0"),
        ),
    ]
}

/// Refused because of what is there, or is not.
fn wrong_names() -> Vec<Mistake> {
    let invalid = |message: &str| json("INVALID_ARGUMENT", message);
    let exists = |message: &str| json("ALREADY_EXISTED", message);
    let absent = json("NOT_FOUND", "instance not existed, instance_id=j, err=KeyNotFound");
    let unread = "failed to get instance, info=failed to get instance, instance_id=j err=KeyNotFound";
    let unread = format!("{{\n    \"code\": \"INTERNAL_ERROR\",\n    \"msg\": \"{unread}\",\n    \"result\": {{}}\n}}\n");
    let node = r#"{"instance_id":"j","cluster":{"cluster_id":"c","type":"COMPUTE",
        "nodes":[{"cloud_unique_id":"u","ip":"10.0.0.2","heartbeat_port":9050}]}}"#;
    let stopped = r#"{"instance_id":"i","cluster":{"cluster_id":"c","cluster_status":"STOPPED"}}"#;
    vec![
        mistake(
            "instance exists",
            ("create_instance", INSTANCE),
            409,
            exists("instance already existed, instance_id=i, err=Ok"),
        ),
        mistake(
            "cluster exists",
            ("add_cluster", CLUSTER),
            409,
            exists("try to add a existing cluster id, existing_cluster_id=c"),
        ),
        mistake(
            "instance to drop is missing",
            ("drop_instance", r#"{"instance_id":"j"}"#),
            404,
            absent,
        ),
        mistake("instance to read is missing", ("get_instance?instance_id=j", ""), 500, unread),
        mistake(
            "instance of a node is missing",
            ("add_node", node),
            400,
            invalid("failed to get instance, instance_id=j err=KeyNotFound"),
        ),
        mistake(
            "a status that is no status is taken for none",
            ("set_cluster_status", stopped),
            400,
            invalid("failed to set cluster status, original cluster is NORMAL and want set UNKNOWN"),
        ),
    ]
}

async fn send(cluster: &Cluster, peer: usize, mistake: &Mistake) -> Reply {
    if !mistake.route.contains("token=") {
        return cluster.doris(peer, mistake.route, mistake.body).await;
    }
    let path = format!("/MetaService/http/{}", mistake.route);
    http::send(&cluster.peers[peer].public, "POST", &path, &[], mistake.body)
        .await
        .expect("the peer answers")
}

/// What mistakes must leave as it is: the instance byte for byte, and the revision of the state.
async fn state(cluster: &Cluster, peer: usize) -> (String, u64) {
    let instance = cluster.instance(peer, "i").await;
    let status = native::status(&cluster.peers[peer].public).await.expect("the peer answers");
    (instance, status.revision)
}

#[tokio::test]
async fn every_mistake_gets_its_reply_and_changes_nothing() {
    let cluster = Cluster::start(3).await;
    phase("an instance with an object store and a compute cluster");
    for (route, body) in [("create_instance", INSTANCE), ("add_cluster", CLUSTER)] {
        let reply = cluster.doris(0, route, body).await;
        assert_eq!((reply.status, reply.body.as_str()), (200, json("OK", "").as_str()), "{route}");
        assert_eq!(reply.header("content-type"), "application/json");
    }

    phase("a peer's first write opens a session of its own, which is a revision: it must not fall between two mistakes");
    for peer in 0..3 {
        cluster.doris(peer, "rename_instance", r#"{"instance_id":"i","name":"one"}"#).await;
    }

    phase("every mistake at every peer, leader and followers");
    for peer in 0..3 {
        for mistake in wrong_ways().into_iter().chain(wrong_bodies()).chain(wrong_names()) {
            let before = state(&cluster, peer).await;
            let reply = send(&cluster, peer, &mistake).await;
            assert_eq!(
                (reply.status, reply.body.as_str()),
                (mistake.status, mistake.reply.as_str()),
                "{} at peer {peer}",
                mistake.why
            );
            assert_eq!(reply.header("quorate-outcome"), "not_applied", "{}", mistake.why);
            assert_eq!(
                state(&cluster, peer).await,
                before,
                "{} changed something at peer {peer}",
                mistake.why
            );
        }
    }

    let reply = cluster.doris(2, "get_instance?instance_id=new", "").await;
    assert_eq!(reply.status, 500, "no mistake has created it: {}", reply.body);
    assert_peers_agree(&cluster).await;
}

#[tokio::test]
async fn a_session_that_was_not_opened_executes_nothing_whoever_has_its_number() {
    const OF_PEER: u64 = 1 << 63;
    let cluster = Cluster::start(3).await;
    phase("every peer writes, and has a session of its own");
    cluster.create_instance("i").await;
    for peer in 0..3 {
        cluster.doris(peer, "rename_instance", r#"{"instance_id":"i","name":"one"}"#).await;
    }
    let opened = native::metadata(&cluster.peers[0].public)
        .open_session(native::call(OpenSessionRequest {}))
        .await;
    let session = opened.expect("a session").into_inner().session_id;
    assert!(session > 3, "{session}: peers' sessions count too");

    phase("a caller guesses ids");
    let path = format!("/MetaService/http/create_instance?token={TOKEN}");
    let create = async |peer: usize, session: u64| {
        let session = session.to_string();
        let headers = [("quorate-session", session.as_str()), ("quorate-request", "1")];
        let reply = http::send(&cluster.peers[peer].public, "POST", &path, &headers, CREATE).await;
        reply.expect("the peer answers")
    };
    for peer in 0..3 {
        let before = state(&cluster, peer).await;
        for guessed in (1..session).flat_map(|number| [number, OF_PEER | number]) {
            let reply = create(peer, guessed).await;
            assert_eq!(
                (reply.status, reply.header("quorate-error"), reply.header("quorate-outcome")),
                (409, "session_expired", "not_applied"),
                "{guessed} at peer {peer}: {}",
                reply.body
            );
        }
        assert_eq!(state(&cluster, peer).await, before, "something was changed at peer {peer}");
    }

    phase("the session that was opened executes");
    let reply = create(2, session).await;
    assert_eq!(reply.status, 200, "{}", reply.body);
    assert_peers_agree(&cluster).await;
}

/// What a Doris operator does with clusters and nodes, in order: route, body, reply. All through a follower.
fn operations() -> Vec<(&'static str, &'static str, String)> {
    let ok = || json("OK", "");
    let altered = || json("OK", "OK");
    vec![
        ("rename_instance", r#"{"instance_id":"i","name":"two"}"#, altered()),
        ("enable_instance_sse", r#"{"instance_id":"i"}"#, altered()),
        ("disable_instance_sse", r#"{"instance_id":"i"}"#, altered()),
        (
            "update_cluster_endpoint",
            r#"{"instance_id":"i","cluster":{"cluster_id":"c","private_endpoint":"10.0.0.9:1"}}"#,
            ok(),
        ),
        (
            "update_cluster_mysql_user_name",
            r#"{"instance_id":"i","cluster":{"cluster_id":"c","mysql_user_name":["jack"]}}"#,
            ok(),
        ),
        ("decommission_node", CLUSTER, ok()),
        ("notify_decommissioned", CLUSTER, ok()),
        (
            "add_cluster",
            r#"{"instance_id":"i","cluster":{"cluster_id":"d","cluster_name":"standby","type":"COMPUTE"}}"#,
            ok(),
        ),
        (
            "add_cluster",
            r#"{"instance_id":"i","cluster":{"cluster_id":"v","cluster_name":"both","type":"VIRTUAL","cluster_names":["compute","standby"],
                "cluster_policy":{"type":"ActiveStandby","active_cluster_name":"compute","standby_cluster_names":["standby"]}}}"#,
            ok(),
        ),
        (
            "alter_vcluster_info",
            r#"{"instance_id":"i","cluster":{"cluster_id":"v","cluster_policy":{"active_cluster_name":"standby","standby_cluster_names":["compute"]}}}"#,
            ok(),
        ),
        (
            "rename_cluster",
            r#"{"instance_id":"i","cluster":{"cluster_id":"c","cluster_name":"renamed"}}"#,
            ok(),
        ),
        (
            "set_multi_version_status?instance_id=i&multi_version_status=MULTI_VERSION_WRITE_ONLY",
            "",
            json("OK", "success"),
        ),
        (
            "set_multi_version_status?instance_id=i&multi_version_status=MULTI_VERSION_READ_WRITE",
            "",
            json("OK", "success"),
        ),
        (
            "set_snapshot_property",
            r#"{"instance_id":"i","properties":{"status":"ENABLED"}}"#,
            altered(),
        ),
        ("update_config?configs=enable_cluster_name_check=true", "", ok()),
        (
            "adjust_rate_limit?qps_limit=0&rpc_name=get_cluster&instance_id=i",
            "",
            json("OK", "sucess to adjust rate limit"),
        ),
    ]
}

#[tokio::test]
async fn clusters_are_operated_through_a_follower_and_over_grpc() {
    let cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    phase("an instance with a compute cluster, and everything an operator changes about it");
    for (route, body) in [("create_instance", INSTANCE), ("add_cluster", CLUSTER)] {
        assert_eq!(cluster.doris(follower, route, body).await.body, json("OK", ""), "{route}");
    }
    for (route, body, reply) in operations() {
        assert_eq!(cluster.doris(follower, route, body).await.body, reply, "{route}");
    }

    phase("every peer shows the same");
    for peer in 0..3 {
        let shown = cluster.doris(peer, "get_instance?instance_id=i", "").await.json()["result"].clone();
        assert_eq!((&shown["name"], &shown["sse_enabled"]), (&"two".into(), &false.into()));
        let compute = &shown["clusters"][0];
        assert_eq!(
            (&compute["cluster_name"], &compute["private_endpoint"]),
            (&"renamed".into(), &"10.0.0.9:1".into())
        );
        assert_eq!(
            (&compute["mysql_user_name"][0], &compute["nodes"][0]["status"]),
            (&"jack".into(), &"NODE_STATUS_DECOMMISSIONED".into())
        );
        let policy = &shown["clusters"][2]["cluster_policy"];
        assert_eq!(
            (&policy["active_cluster_name"], &policy["standby_cluster_names"][0]),
            (&"standby".into(), &"renamed".into())
        );
        let statuses = cluster.doris(peer, "get_cluster_status", r#"{"instance_ids":["i"]}"#).await.json();
        assert_eq!(
            statuses["result"]["details"][0]["clusters"].as_array().map(Vec::len),
            Some(2),
            "{statuses}"
        );
        let snapshots = cluster.doris(peer, "get_snapshot_property?instance_id=i", "").await.json();
        assert_eq!(snapshots["result"]["status"], "ENABLED");
        let limits = cluster.doris(peer, "list_rate_limit", "").await.json();
        assert_eq!(limits["result"]["get_cluster"]["instance specific qps limit"]["i"], 0);
        let config = cluster
            .doris(peer, "show_config?conf_key=enable_cluster_name_check", "")
            .await
            .json();
        assert_eq!(config["result"][0][2], "true");
        let value = cluster.doris(peer, "get_value?key_type=InstanceKey&instance_id=i", "").await;
        assert!(value.status == 200 && !value.body.contains("an-sk"), "{}", value.body);
        assert_eq!(
            cluster
                .doris(peer, "encode_key?key_type=InstanceKey&instance_id=i", "")
                .await
                .status,
            200
        );
        assert_eq!(cluster.doris(peer, "decode_key?key=01", "").await.status, 200);
        let limited = || async {
            let reply = cluster.doris(peer, "get_cluster", r#"{"cloud_unique_id":"1:i:be"}"#).await;
            (reply.status == 500 && reply.body.contains("reach max qps limit")).then_some(())
        };
        until("the limit holds at every peer", async || limited().await).await;
    }

    phase("a frontend of Doris speaks gRPC, without a token");
    let mut client = MetaServiceClient::new(native::channel(&cluster.peers[follower].public));
    let request = AlterClusterRequest {
        instance_id: Some("i".into()),
        op: Some(Operation::DropCluster as i32),
        cluster: Some(ClusterPb {
            cluster_id: Some("v".into()),
            ..Default::default()
        }),
        ..Default::default()
    };
    let response = client.alter_cluster(native::call(request)).await.expect("gRPC OK").into_inner();
    assert_eq!(response.status.expect("always there").code(), MetaServiceCode::Ok);
    let own = GetInstanceRequest {
        cloud_unique_id: Some("1:i:fe".into()),
        ..Default::default()
    };
    let response = client.get_instance(native::call(own)).await.expect("gRPC OK").into_inner();
    let names: Vec<String> = response
        .instance
        .expect("found")
        .clusters
        .iter()
        .map(|cluster| cluster.cluster_name().to_owned())
        .collect();
    assert_eq!(names, ["renamed", "standby"]);
    let again = CreateInstanceRequest {
        instance_id: Some("i".into()),
        ..Default::default()
    };
    let response = client.create_instance(native::call(again)).await.expect("gRPC OK").into_inner();
    assert_eq!(response.status.expect("always there").code(), MetaServiceCode::AlreadyExisted);
    assert_peers_agree(&cluster).await;
}

#[tokio::test]
async fn grpc_is_refused_to_other_networks_and_status_tells_of_wide_ones() {
    phase("a peer that lets only a network elsewhere call without a token");
    let cluster = Cluster::start_with(1, &["--doris-grpc-allow", "203.0.113.0/24"]).await;
    let mut client = MetaServiceClient::new(native::channel(&cluster.peers[0].public));
    let refused = client
        .get_instance(native::call(GetInstanceRequest::default()))
        .await
        .expect_err("this is loopback");
    assert_eq!(refused.code(), tonic::Code::PermissionDenied);
    assert!(
        refused.message().contains("127.0.0.1 is in none of the networks"),
        "{}",
        refused.message()
    );
    let status = native::status(&cluster.peers[0].public).await.expect("the peer answers");
    let found = status
        .findings
        .iter()
        .any(|finding| finding.text.contains("is open to 203.0.113.0/24"));
    assert!(found, "{:?}", status.findings);
}
