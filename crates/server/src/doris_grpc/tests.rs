//! The service as frontends of Doris see it: gRPC statuses, response statuses, and what calls leave behind.

use super::*;
use crate::doris::test_peers::{Peer, cluster};
use crate::limits::MAX_IN_FLIGHT;
use crate::networks::Network;
use http_body_util::BodyExt as _;
use prost::Message as _;
use prost_reflect::MethodDescriptor;
use quorate_model::proto_json;
use quorate_wire::doris::alter_cluster_request::Operation as OnCluster;
use quorate_wire::doris::alter_instance_request::Operation as OnInstance;
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::instance_info_pb::Status as InstanceStatus;
use quorate_wire::doris::{ClusterPb, ClusterPolicy, ClusterStatus, InstanceInfoPb, NodeInfoPb, NodeStatusPb};

fn service(peer: &Peer) -> DorisService {
    DorisService { app: peer.app.clone() }
}

/// Code and message of a response.
fn outcome(status: &Option<MetaServiceResponseStatus>) -> (MetaServiceCode, &str) {
    let status = status.as_ref().expect("every response has a status");
    (status.code(), status.msg())
}

/// A value of an error's metadata.
fn told<'a>(status: &'a Status, name: &str) -> &'a str {
    status.metadata().get(name).and_then(|value| value.to_str().ok()).unwrap_or("")
}

async fn create(service: &DorisService, instance_id: &str) -> (MetaServiceCode, String) {
    let request = CreateInstanceRequest {
        instance_id: Some(instance_id.to_owned()),
        ..Default::default()
    };
    let response = service.create_instance(Request::new(request)).await.expect("gRPC OK").into_inner();
    let (code, message) = outcome(&response.status);
    (code, message.to_owned())
}

async fn instance(service: &DorisService) -> InstanceInfoPb {
    let request = GetInstanceRequest {
        cloud_unique_id: Some("1:i:any".to_owned()),
        ..Default::default()
    };
    let response = service.get_instance(Request::new(request)).await.expect("gRPC OK").into_inner();
    assert_eq!(outcome(&response.status), (MetaServiceCode::Ok, ""));
    response.instance.expect("found")
}

async fn alter(service: &DorisService, op: i32, name: &str) -> (MetaServiceCode, String) {
    let request = AlterInstanceRequest {
        instance_id: Some("i".to_owned()),
        op: Some(op),
        name: Some(name.to_owned()),
        ..Default::default()
    };
    let response = service.alter_instance(Request::new(request)).await.expect("gRPC OK").into_inner();
    let (code, message) = outcome(&response.status);
    (code, message.to_owned())
}

async fn alter_cluster(service: &DorisService, op: Option<i32>, cluster: Option<ClusterPb>) -> (MetaServiceCode, String) {
    let request = AlterClusterRequest {
        instance_id: Some("i".to_owned()),
        op,
        cluster,
        ..Default::default()
    };
    let response = service.alter_cluster(Request::new(request)).await.expect("gRPC OK").into_inner();
    let (code, message) = outcome(&response.status);
    (code, message.to_owned())
}

fn compute(id: &str, change: impl FnOnce(&mut ClusterPb)) -> Option<ClusterPb> {
    let mut cluster = ClusterPb {
        cluster_id: Some(id.to_owned()),
        cluster_name: Some(id.to_owned()),
        r#type: Some(Type::Compute as i32),
        ..Default::default()
    };
    change(&mut cluster);
    Some(cluster)
}

fn node(ip: &str) -> NodeInfoPb {
    NodeInfoPb {
        cloud_unique_id: Some("nodes".to_owned()),
        ip: Some(ip.to_owned()),
        heartbeat_port: Some(9050),
        ..Default::default()
    }
}

fn ok(message: &str) -> (MetaServiceCode, String) {
    (MetaServiceCode::Ok, message.to_owned())
}

fn invalid(message: &str) -> (MetaServiceCode, String) {
    (MetaServiceCode::InvalidArgument, message.to_owned())
}

#[tokio::test]
async fn instances_are_created_once_and_read_by_their_frontends() {
    let peer = Peer::alone().await;
    let service = service(&peer);
    assert_eq!(create(&service, "i").await, ok(""));
    let twice = (
        MetaServiceCode::AlreadyExisted,
        "instance already existed, instance_id=i, err=Ok".to_owned(),
    );
    assert_eq!(create(&service, "i").await, twice);
    assert_eq!(create(&service, "").await, invalid("instance id not set"));
    assert_eq!(instance(&service).await.instance_id(), "i");

    let by_id = GetInstanceRequest {
        instance_id: Some("i".to_owned()),
        ..Default::default()
    };
    let response = service.get_instance(Request::new(by_id)).await.expect("gRPC OK").into_inner();
    let expected = (MetaServiceCode::InvalidArgument, "cloud_unique_id must be given");
    assert_eq!((outcome(&response.status), response.instance.clone()), (expected, None));
    let missing = GetInstanceRequest {
        instance_id: Some("i".to_owned()),
        cloud_unique_id: Some("1:j:any".to_owned()),
        ..Default::default()
    };
    let response = service.get_instance(Request::new(missing)).await.expect("gRPC OK").into_inner();
    let text = "failed to get instance, info=failed to get instance, instance_id=j err=KeyNotFound";
    assert_eq!(outcome(&response.status), (MetaServiceCode::KvTxnGetErr, text));
}

#[tokio::test]
async fn every_operation_on_an_instance_does_its_own_thing() {
    let peer = Peer::alone().await;
    let service = service(&peer);
    let gone = (
        MetaServiceCode::ClusterNotFound,
        "instance not existed, instance_id=i, err=KeyNotFound".to_owned(),
    );
    for op in [OnInstance::Rename, OnInstance::Refresh, OnInstance::Drop, OnInstance::EnableSse] {
        assert_eq!(alter(&service, op as i32, "n").await, gone, "{op:?}");
    }
    create(&service, "i").await;
    for (op, expected) in [
        (OnInstance::Rename, ok("OK")),
        (OnInstance::Refresh, ok("OK")),
        (OnInstance::SetNormal, invalid("the instance is already normal, instance_id = i")),
        (OnInstance::SetOverdue, ok("OK")),
        (OnInstance::DisableSse, invalid("failed to disable sse, instance has disabled sse")),
        (OnInstance::EnableSse, ok("OK")),
    ] {
        assert_eq!(alter(&service, op as i32, "renamed").await, expected, "{op:?}");
    }
    let shown = instance(&service).await;
    assert_eq!(
        (shown.name(), shown.status(), shown.sse_enabled()),
        ("renamed", InstanceStatus::Overdue, true)
    );
    assert_eq!(alter(&service, OnInstance::DisableSse as i32, "").await, ok("OK"));
    assert_eq!(alter(&service, OnInstance::SetNormal as i32, "").await, ok("OK"));
    assert_eq!(alter(&service, OnInstance::Drop as i32, "").await, ok("OK"));
    let shown = instance(&service).await;
    assert_eq!((shown.status(), shown.sse_enabled()), (InstanceStatus::Deleted, false));
    for unknown in [0, 99] {
        let expected = invalid(&format!("invalid request op, op={unknown}"));
        assert_eq!(alter(&service, unknown, "").await, expected);
    }
}

#[tokio::test]
async fn a_dry_run_says_so_and_changes_nothing() {
    let peer = Peer::alone().await;
    let service = service(&peer);
    let mut request = Request::new(CreateInstanceRequest {
        instance_id: Some("i".to_owned()),
        ..Default::default()
    });
    request.metadata_mut().insert(reply::DRY_RUN, MetadataValue::from_static("1"));
    let response = service.create_instance(request).await.expect("gRPC OK");
    assert_eq!(
        response.metadata().get(reply::DRY_RUN).map(|said| said.as_bytes()),
        Some(b"1".as_slice())
    );
    assert_eq!(outcome(&response.into_inner().status), (MetaServiceCode::Ok, ""));
    assert_eq!(create(&service, "i").await, ok(""));
}

#[tokio::test]
async fn every_operation_on_a_cluster_does_its_own_thing() {
    let peer = Peer::alone().await;
    let service = service(&peer);
    create(&service, "i").await;
    let two = |cluster: &mut ClusterPb| cluster.nodes = vec![node("10.0.0.1"), node("10.0.0.2")];
    let one = |cluster: &mut ClusterPb| cluster.nodes = vec![node("10.0.0.2")];
    let third = |cluster: &mut ClusterPb| cluster.nodes = vec![node("10.0.0.3")];
    let group = |standby: &str| {
        let policy = ClusterPolicy {
            r#type: Some(0),
            active_cluster_name: Some("a".to_owned()),
            standby_cluster_names: vec![standby.to_owned()],
            ..Default::default()
        };
        let names = vec!["a".to_owned(), standby.to_owned()];
        move |cluster: &mut ClusterPb| {
            cluster.r#type = Some(Type::Virtual as i32);
            (cluster.cluster_names, cluster.cluster_policy) = (names, Some(policy));
        }
    };
    for (op, cluster) in [
        (OnCluster::AddCluster, compute("a", two)),
        (OnCluster::AddCluster, compute("b", |_| {})),
        (OnCluster::AddCluster, compute("v", group("b"))),
        (OnCluster::AddCluster, compute("gone", |_| {})),
        (OnCluster::AddNode, compute("a", third)),
        (OnCluster::DropNode, compute("a", |cluster| cluster.nodes = vec![node("10.0.0.1")])),
        (OnCluster::DecommissionNode, compute("a", one)),
        (OnCluster::NotifyDecommissioned, compute("a", third)),
        (
            OnCluster::RenameCluster,
            compute("b", |cluster| cluster.cluster_name = Some("bee".to_owned())),
        ),
        (
            OnCluster::UpdateClusterMysqlUserName,
            compute("a", |cluster| cluster.mysql_user_name = vec!["jack".to_owned()]),
        ),
        (
            OnCluster::UpdateClusterEndpoint,
            compute("a", |cluster| cluster.private_endpoint = Some("p:1".to_owned())),
        ),
        (
            OnCluster::SetClusterStatus,
            compute("a", |cluster| cluster.set_cluster_status(ClusterStatus::Suspended)),
        ),
        (OnCluster::DropCluster, compute("gone", |_| {})),
        (OnCluster::AddCluster, compute("c", |_| {})),
        (OnCluster::AlterVclusterInfo, compute("v", group("c"))),
    ] {
        assert_eq!(alter_cluster(&service, Some(op as i32), cluster).await, ok(""), "{op:?}");
    }
    let shown = instance(&service).await.clusters;
    let names: Vec<&str> = shown.iter().map(ClusterPb::cluster_name).collect();
    assert_eq!(names, ["a", "bee", "v", "c"]);
    let nodes: Vec<_> = shown[0].nodes.iter().map(|node| (node.ip(), node.status())).collect();
    let expected = [
        ("10.0.0.2", NodeStatusPb::NodeStatusDecommissioning),
        ("10.0.0.3", NodeStatusPb::NodeStatusDecommissioned),
    ];
    assert_eq!(nodes, expected);
    assert_eq!(
        (shown[0].private_endpoint(), shown[0].mysql_user_name.as_slice()),
        ("p:1", &["jack".to_owned()][..])
    );
    assert_eq!(
        (shown[0].cluster_status(), shown[2].cluster_names[1].as_str()),
        (ClusterStatus::Suspended, "c")
    );
}

#[tokio::test]
async fn an_operation_that_is_none_is_refused() {
    let peer = Peer::alone().await;
    let service = service(&peer);
    create(&service, "i").await;
    let nobody = invalid("invalid request instance_id or cluster not given");
    assert_eq!(alter_cluster(&service, None, None).await, nobody);
    assert_eq!(alter_cluster(&service, None, compute("c", |_| {})).await, invalid("op not given"));
    for op in [0, OnCluster::AlterProperties as i32, 99] {
        let expected = invalid(&format!("invalid request op, op={op}"));
        assert_eq!(alter_cluster(&service, Some(op), compute("c", |_| {})).await, expected);
    }
    let endpoint = compute("c", |_| {});
    assert_eq!(
        alter_cluster(&service, Some(OnCluster::AddCluster as i32), endpoint.clone()).await,
        ok("")
    );
    let expected = (MetaServiceCode::ClusterEndpointMissing, "missing private endpoint".to_owned());
    assert_eq!(
        alter_cluster(&service, Some(OnCluster::UpdateClusterEndpoint as i32), endpoint).await,
        expected
    );
}

#[tokio::test]
async fn clusters_are_read_with_a_status_of_their_own() {
    let peer = Peer::alone().await;
    let service = service(&peer);
    create(&service, "i").await;
    let with_node = compute("c", |cluster| cluster.nodes = vec![node("10.0.0.1")]);
    alter_cluster(&service, Some(OnCluster::AddCluster as i32), with_node).await;
    let one = |name: &str| GetClusterRequest {
        cloud_unique_id: Some("nodes".to_owned()),
        cluster_name: Some(name.to_owned()),
        ..Default::default()
    };
    let found = service.get_cluster(Request::new(one("c"))).await.expect("gRPC OK");
    assert!(found.metadata().get("quorate-revision").is_some());
    let found = found.into_inner();
    assert_eq!(outcome(&found.status), (MetaServiceCode::Ok, ""));
    assert_eq!((found.cluster[0].nodes[0].ip(), found.enable_storage_vault()), ("10.0.0.1", true));
    let absent = service.get_cluster(Request::new(one("x"))).await.expect("gRPC OK").into_inner();
    let text = "fail to get cluster with cloud_unique_id: \"nodes\" cluster_name: \"x\"";
    assert_eq!(
        (outcome(&absent.status), absent.cluster.len()),
        ((MetaServiceCode::ClusterNotFound, text), 0)
    );

    let statuses = GetClusterStatusRequest {
        cloud_unique_ids: vec!["nodes".to_owned()],
        ..Default::default()
    };
    let found = service
        .get_cluster_status(Request::new(statuses))
        .await
        .expect("gRPC OK")
        .into_inner();
    assert_eq!(
        (found.requester_cluster_id(), found.details[0].clusters[0].cluster_id()),
        ("c", "c")
    );
    let none = service
        .get_cluster_status(Request::new(Default::default()))
        .await
        .expect("gRPC OK")
        .into_inner();
    assert_eq!(outcome(&none.status).0, MetaServiceCode::InvalidArgument);
}

/// A call of which no message comes.
fn unfinished() -> http::Request<Body> {
    let nothing = futures::stream::pending::<Result<Bytes, Infallible>>();
    http::Request::post(format!("{PATH_PREFIX}get_cluster"))
        .header("content-type", "application/grpc")
        .body(Body::new(axum::body::Body::from_stream(nothing)))
        .expect("well-formed")
}

#[tokio::test(start_paused = true)]
async fn a_call_has_its_place_before_its_message_is_read_and_gives_it_back_when_none_comes() {
    let app = Peer::homeless().app.clone();
    let server = MetaServiceServer::new(DorisService { app: app.clone() });
    let others: Vec<_> = (1..MAX_IN_FLIGHT).map(|_| app.admit().expect("within the limit")).collect();
    let waiting = call(&server, &app, unfinished());
    let Ok(refused) = call(&server, &app, unfinished()).await;
    let refused = Status::from_header_map(refused.headers()).expect("one too many");
    assert_eq!(
        (refused.code(), told(&refused, "quorate-error")),
        (Code::Unavailable, "too_many_requests")
    );
    let Ok(answer) = waiting.await;
    let late = Status::from_header_map(answer.headers()).expect("no message came");
    assert_eq!(late.code(), Code::DeadlineExceeded);
    assert!(app.admit().is_err(), "the place goes with the answer");
    drop(answer);
    let _last = app.admit().expect("it is given back");
    drop(others);
}

/// Code of what a method answers to this JSON.
async fn code_of(app: &Arc<App>, method: &MethodDescriptor, json: &str) -> i32 {
    let message = proto_json::parse(json.as_bytes(), method.input().full_name()).expect("fits");
    let encoded = message.encode_to_vec();
    let length = u32::try_from(encoded.len()).expect("small");
    let framed = [&[0][..], &length.to_be_bytes()[..], &encoded[..]].concat();
    let request = http::Request::post(format!("{PATH_PREFIX}{}", method.name()))
        .header("content-type", "application/grpc")
        .body(Body::new(axum::body::Body::from(framed)))
        .expect("well-formed");
    let server = MetaServiceServer::new(DorisService { app: app.clone() });
    let Ok(response) = call(&server, app, request).await;
    let answer = response.into_body().collect().await.expect("gRPC OK").to_bytes();
    // As short a response as there is: whatever else this one holds is skipped.
    let response = UpdateAkSkResponse::decode(&answer[5..]).expect("begins with a status");
    response.status.expect("every response has a status").code.unwrap_or_default()
}

#[tokio::test]
async fn every_call_is_limited_under_its_own_name() {
    let peer = Peer::alone().await;
    peer.ok("create_instance", r#"{"instance_id":"i"}"#).await;
    let service = proto_json::descriptors().get_service_by_name("doris.cloud.MetaService");
    for method in service.expect("it is there").methods() {
        let name = method.name();
        let op = match name {
            "alter_instance" => "REFRESH",
            "alter_cluster" => "ADD_CLUSTER",
            "alter_obj_store_info" => "ADD_OBJ_INFO",
            "alter_storage_vault" => "SET_DEFAULT_VAULT",
            _ => "NONE",
        };
        let json = format!(
            r#"{{"instance_id":"i","cloud_unique_id":"1:i:x","from_instance_id":"i","instance_ids":["i"],"cluster":{{}},"op":"{op}"}}"#
        );
        let limit = ErrorCode::RateLimited.row().doris_number;
        assert_ne!(code_of(&peer.app, &method, &json).await, limit, "{name}");
        peer.ok(&format!("adjust_rate_limit?qps_limit=0&rpc_name={name}&instance_id=i"), "")
            .await;
        assert_eq!(code_of(&peer.app, &method, &json).await, limit, "{name}");
    }
}

#[tokio::test]
async fn what_another_try_can_mend_is_unavailable() {
    let homeless = Peer::homeless();
    let refused = service(&homeless)
        .get_cluster(Request::new(Default::default()))
        .await
        .expect_err("no place yet");
    assert_eq!((refused.code(), told(&refused, "quorate-error")), (Code::Unavailable, "not_ready"));

    let peer = Peer::alone().await;
    peer.node().shutdown().await;
    let refused = service(&peer)
        .create_instance(Request::new(Default::default()))
        .await
        .map(|response| response.into_inner());
    // Wrong in itself: the peer need not be able to write to say so.
    assert_eq!(
        outcome(&refused.expect("gRPC OK").status),
        (MetaServiceCode::InvalidArgument, "instance id not set")
    );
    let request = CreateInstanceRequest {
        instance_id: Some("i".to_owned()),
        ..Default::default()
    };
    let refused = service(&peer).create_instance(Request::new(request)).await.expect_err("it stops");
    assert_eq!(
        (refused.code(), told(&refused, "quorate-error")),
        (Code::Unavailable, "shutting_down")
    );
    let metrics = peer.metrics();
    let line = r#"quorate_calls_total{call="MetaService.create_instance",outcome="shutting_down"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn a_follower_forwards_and_redirects_only_who_asks() {
    let peers = cluster(3).await;
    let follower = peers.iter().find(|peer| !peer.node().is_leader()).expect("two of three");
    assert_eq!(create(&service(follower), "i").await, ok(""));
    let mut asking = Request::new(GetInstanceRequest::default());
    asking.metadata_mut().insert("quorate-redirect", "1".parse().expect("ASCII"));
    let redirected = service(follower).get_instance(asking).await.expect_err("sent to the leader");
    let leader = follower.node().leader().expect("known").1.public_address;
    assert_eq!(redirected.code(), Code::Unavailable);
    assert_eq!(told(&redirected, "quorate-leader"), leader);
}

#[test]
fn only_listed_networks_may_call() {
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    let mut config = ServerConfig::new("/nowhere".into());
    for private in ["127.0.0.1", "10.9.8.7", "192.168.1.1", "::1", "::ffff:172.20.0.1"] {
        assert!(refusal(&config, address(private)).is_none(), "{private}");
    }
    for public in ["203.0.113.7", "8.8.8.8", "2001:db8::1"] {
        let refused = refusal(&config, address(public)).expect("not private");
        assert_eq!(refused.code(), Code::PermissionDenied);
        let text = format!("{public} is in none of the networks that may call without a token; add its network to `doris_grpc_allow`");
        assert_eq!(refused.message(), text);
    }
    config.doris_grpc_allow = vec!["203.0.113.0/24".parse().expect("a network"), Network::private()[0]];
    assert!(refusal(&config, address("203.0.113.7")).is_none());
    assert!(refusal(&config, address("10.9.8.7")).is_some());
}

/// Where the listener is, who may call, and what `status` says about it: severity and networks.
type FindingRow = (&'static str, &'static [&'static str], Option<(&'static str, &'static str)>);

const FINDINGS: &[FindingRow] = &[
    ("127.0.0.1:5000", &["127.0.0.0/8", "10.0.0.0/8"], None),
    ("127.0.0.1:5000", &["203.0.113.0/24"], Some(("warning", "203.0.113.0/24"))),
    ("0.0.0.0:5000", &["127.0.0.0/8", "::1/128"], None),
    ("0.0.0.0:5000", &[], None),
    (
        "0.0.0.0:5000",
        &["127.0.0.0/8", "10.0.0.0/8", "fc00::/7"],
        Some(("advice", "10.0.0.0/8, fc00::/7")),
    ),
    ("10.1.1.1:5000", &["10.1.1.0/24"], Some(("advice", "10.1.1.0/24"))),
    (
        "0.0.0.0:5000",
        &["127.0.0.0/8", "10.0.0.0/8", "203.0.113.0/24"],
        Some(("warning", "203.0.113.0/24")),
    ),
    ("0.0.0.0:5000", &["0.0.0.0/0", "::/0"], Some(("warning", "0.0.0.0/0, ::/0"))),
    ("0.0.0.0:5000", &["127.0.0.0/7"], Some(("warning", "127.0.0.0/7"))),
];

#[test]
fn status_says_who_may_call_without_a_token() {
    for (listen, allowed, expected) in FINDINGS {
        let mut config = ServerConfig::new("/nowhere".into());
        config.listen = (*listen).to_owned();
        config.doris_grpc_allow = allowed.iter().map(|text| text.parse().expect("a network")).collect();
        let found = finding(&config);
        let seen = found
            .as_ref()
            .map(|found| (found.severity.as_str(), found.text.as_str(), found.advice.as_str()));
        let text = expected.map(|(_, networks)| format!("the Doris gRPC service, which has no token, is open to {networks}"));
        let advice = "set `doris_grpc_allow` to the networks of the Doris frontends";
        let expected = expected.zip(text.as_deref()).map(|((severity, _), text)| (severity, text, advice));
        assert_eq!(seen, expected, "{listen} {allowed:?}");
    }
    let mut config = ServerConfig::new("/nowhere".into());
    assert_eq!(finding(&config), None, "nobody but this machine, as long as nobody says otherwise");
    config.listen = "0.0.0.0:5000".to_owned();
    assert_eq!(finding(&config).expect("the default networks").severity, "advice");
}
