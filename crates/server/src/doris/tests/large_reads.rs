//! Which calls count as large reads, at both HTTP fronts, and that everything else goes on beside them.

use crate::doris::test_peers::{Answered, Peer, cluster_on_threads, request};
use axum::body::Body;
use axum::http::{HeaderValue, Request};
use quorate_consensus::Node;
use quorate_consensus::settings::LARGE_READS_AT_ONCE;
use quorate_model::ErrorCode;
use quorate_state_machine::limits::FEW_NODES;
use std::sync::mpsc;
use std::time::Duration;
use tokio::time::Instant;

const PATIENCE: Duration = Duration::from_secs(20);

/// Routes of Doris and their bodies.
const LARGE_OF_DORIS: &[(&str, &str)] = &[
    ("get_instance?instance_id=i", ""),
    ("get_cluster", r#"{"cloud_unique_id":"1:i:n"}"#),
    ("get_cluster", r#"{"cloud_unique_id":"1:i:n","cluster_id":"many"}"#),
    ("get_cluster_status", r#"{"instance_ids":["i"]}"#),
    ("get_obj_store_info", r#"{"cloud_unique_id":"1:i:n"}"#),
    ("list_snapshot?instance_id=i", ""),
    ("get_value?key_type=InstanceKey&instance_id=i", ""),
];
/// Paths of the admin API.
const LARGE_OF_API: &[&str] = &[
    "/instances",
    "/instances/i/attributes",
    "/instances/i/databases",
    "/instances/i/databases/default/collections",
    "/instances/i/databases/default/collections/c/partitions",
    "/instances/i/databases/default/collections/c/segments",
    "/instances/i/vault/files",
    "/instances/i/snapshots",
    "/instances/i/snapshots/1",
    "/deletions",
    "/jobs",
    "/jobs/1/tasks",
];
const SMALL_OF_API: &[&str] = &[
    "/instances/i/attributes/a",
    "/instances/i/attributes/a?consistency=STALE",
    "/instances/i/databases/default/collections/c",
];

fn api(method: &str, path: &str, body: Option<serde_json::Value>) -> Request<Body> {
    let request = Request::builder().method(method).uri(format!("/api/v1{path}"));
    let request = match body {
        None => request.body(Body::empty()),
        Some(body) => request
            .header("content-type", "application/json")
            .body(Body::from(body.to_string())),
    };
    request.expect("well-formed")
}

/// The same with no more time than finding that all places are taken needs, and no quorum to wait for.
fn hurried(mut request: Request<Body>) -> Request<Body> {
    let headers = request.headers_mut();
    headers.insert("quorate-min-revision", HeaderValue::from_static("1"));
    headers.insert("quorate-deadline-ms", HeaderValue::from_static("20"));
    request
}

fn large() -> Vec<(String, Request<Body>)> {
    let of_doris = LARGE_OF_DORIS
        .iter()
        .map(|(route, body)| (format!("{route} {body}"), request(route, body)));
    let of_api = LARGE_OF_API.iter().map(|path| ((*path).to_owned(), api("GET", path, None)));
    of_doris.chain(of_api).collect()
}

/// Takes all places for large reads at a peer until what it answers is dropped.
async fn take_all_places(node: &Node) -> Vec<mpsc::Sender<()>> {
    let mut held = Vec::new();
    for _ in 0..LARGE_READS_AT_ONCE {
        let (release, released) = mpsc::channel::<()>();
        let (begins, begun) = tokio::sync::oneshot::channel();
        let node = node.clone();
        tokio::spawn(async move {
            let read = move || {
                let _ = begins.send(());
                let _ = released.recv_timeout(PATIENCE);
            };
            node.run_large(Instant::now() + PATIENCE, read).await
        });
        begun.await.expect("it begins");
        held.push(release);
    }
    held
}

fn cluster_body(id: &str, nodes: u64) -> String {
    let nodes: Vec<_> = (0..nodes)
        .map(|node| {
            let ip = format!("10.{}.{}.{}", id.len(), node / 200, node % 200);
            serde_json::json!({"cloud_unique_id": format!("{id}{node}"), "ip": ip, "heartbeat_port": 9050})
        })
        .collect();
    let cluster = serde_json::json!({"cluster_id": id, "cluster_name": id, "type": "COMPUTE", "nodes": nodes});
    serde_json::json!({"instance_id": "i", "cluster": cluster}).to_string()
}

async fn must(peer: &Peer, what: &str, request: Request<Body>) -> Answered {
    let answered = peer.send(request).await;
    assert_eq!(answered.status.as_u16(), 200, "{what}: {}", answered.body);
    answered
}

/// An instance with a small cluster and a large one, attributes and a collection.
async fn fill(peer: &Peer) {
    peer.ok("create_instance", r#"{"instance_id":"i","name":"one","user_id":"me"}"#)
        .await;
    peer.ok("add_cluster", &cluster_body("few", 3)).await;
    peer.ok("add_cluster", &cluster_body("many", FEW_NODES + 1)).await;
    let collection = Some(serde_json::json!({"name": "c"}));
    must(
        peer,
        "collection",
        api("POST", "/instances/i/databases/default/collections", collection),
    )
    .await;
    for name in ["a", "b", "c"] {
        // One is rendered where its call is served; together they are more than is rendered where a call is served.
        let value = Some(serde_json::json!({"value": "QUJD".repeat(40 << 10)}));
        must(peer, name, api("PUT", &format!("/instances/i/attributes/{name}"), value)).await;
    }
}

/// All three peers on one thread: whatever keeps it keeps every heartbeat from being sent.
#[tokio::test]
async fn large_reads_wait_for_a_place_and_small_calls_go_on() {
    let peers = cluster_on_threads(3).await;
    let peer = &peers[0];
    fill(peer).await;
    let mut held = Vec::new();
    for peer in &peers {
        held.push(take_all_places(peer.node()).await);
    }
    let full = ErrorCode::TooManyRequests.row();
    for (call, request) in large() {
        let answered = peer.send(hurried(request)).await;
        assert_eq!(answered.header("quorate-error"), full.name, "{call}: {}", answered.body);
        assert_eq!(answered.status.as_u16(), full.http_status, "{call}");
    }
    peer.ok("get_cluster", r#"{"cloud_unique_id":"1:i:n","cluster_id":"few"}"#).await;
    for path in SMALL_OF_API {
        must(peer, path, api("GET", path, None)).await;
    }
    peer.ok("rename_instance", r#"{"instance_id":"i","name":"another"}"#).await;
    for peer in &peers {
        assert_eq!(
            peer.node().core().large_reads.under_way(),
            LARGE_READS_AT_ONCE,
            "nobody gave up meanwhile"
        );
    }

    drop(held);
    for (call, request) in large() {
        let answered = peer.send(request).await;
        assert_ne!(answered.header("quorate-error"), full.name, "{call}: {}", answered.body);
    }
    let listed = must(peer, "attributes", api("GET", "/instances/i/attributes", None)).await.json();
    assert_eq!(listed["attributes"].as_array().map(Vec::len), Some(3));
    let shown = peer.ok("get_instance?instance_id=i", "").await.json();
    assert_eq!(
        shown["result"]["clusters"][1]["nodes"].as_array().map(Vec::len),
        Some(FEW_NODES as usize + 1)
    );
}
