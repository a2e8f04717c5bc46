//! The services of catalog, snapshots, jobs and workers at a peer in this process, most of it as HTTP and JSON: what they answer, and
//! what they refuse with which words.

use super::reply::CallInfo;
use super::snapshots::started_compaction;
use super::work::WorkService;
use super::{PATH_PREFIX, Services};
use crate::doris::test_peers::{Answered, Peer, TOKEN};
use crate::limits::{MAX_ADMIN_MESSAGE_BYTES, MAX_BODY_BYTES, MAX_IN_FLIGHT};
use crate::listener::Confidential;
use axum::body::Body;
use bytes::Bytes;
use futures::{StreamExt as _, stream};
use http::{HeaderMap, Request as HttpRequest};
use quorate_model::error::ErrorCode;
use quorate_model::proto_json;
use quorate_model::{Outcome, Revision};
use quorate_objects::{LocalPlace, MARKER_NAME, Vault};
use quorate_state_machine::commands::compact_snapshot::CompactSnapshotReply;
use quorate_wire::quorate::v1 as wire;
use quorate_wire::quorate::v1::work_server::Work as _;
use serde_json::{Value as Json, json};
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tonic::body::Body as GrpcBody;
use tonic::{Code, Request, Status};

const PATIENCE: Duration = Duration::from_secs(20);

async fn call(peer: &Peer, method: &str, path: &str, body: Option<Json>) -> Answered {
    let request = HttpRequest::builder().method(method).uri(format!("/api/v1{path}"));
    let request = match body {
        None => request.body(Body::empty()),
        Some(body) => request
            .header("content-type", "application/json")
            .body(Body::from(body.to_string())),
    };
    peer.send(request.expect("well-formed")).await
}

async fn ok(peer: &Peer, method: &str, path: &str, body: Option<Json>) -> Json {
    let answered = call(peer, method, path, body).await;
    assert_eq!(answered.status.as_u16(), 200, "{method} {path}: {}", answered.body);
    answered.json()
}

/// The call is refused with this code; answers the message.
async fn refused(peer: &Peer, method: &str, path: &str, body: Option<Json>, code: ErrorCode) -> String {
    let answered = call(peer, method, path, body).await;
    assert_eq!(
        answered.header("quorate-error"),
        code.row().name,
        "{method} {path}: {}",
        answered.body
    );
    answered.json()["error"]["message"].as_str().expect("a message").to_owned()
}

async fn with_instance(peer: Peer) -> Peer {
    peer.ok("create_instance", r#"{"instance_id":"i","name":"one","user_id":"me"}"#)
        .await;
    peer
}

/// Waits until this directory is the peer's vault: what finds no marker in it is tried again only after a pause.
async fn vault_is_marked(root: &Path) {
    let deadline = Instant::now() + PATIENCE;
    while !root.join(MARKER_NAME).exists() {
        assert!(Instant::now() < deadline, "the vault is not marked");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A peer whose workers run until the last of these is dropped, its local vault, an instance and the collection `c` in it.
async fn with_work() -> (TempDir, Peer, (JoinSet<()>, watch::Sender<bool>)) {
    let root = tempfile::tempdir().expect("a directory");
    let peer = Peer::alone_configured(|config| config.local_vault = Some(root.path().to_owned())).await;
    let peer = with_instance(peer).await;
    let (stop, stopped) = watch::channel(false);
    let work = crate::jobs::start(&peer.app, peer.node(), stopped).expect("started");
    vault_is_marked(root.path()).await;
    ok(&peer, "POST", COLLECTIONS, Some(json!({"name": "c"}))).await;
    (root, peer, (work, stop))
}

/// A write with the first number of a session.
fn first_of(session: &Json, path: &str, body: &Json) -> HttpRequest<Body> {
    HttpRequest::post(format!("/api/v1{path}"))
        .header("content-type", "application/json")
        .header("quorate-session", session.as_str().expect("a number as text"))
        .header("quorate-request", "1")
        .body(Body::from(body.to_string()))
        .expect("well-formed")
}

const COLLECTIONS: &str = "/instances/i/databases/default/collections";

#[tokio::test]
async fn databases_collections_and_partitions_come_change_and_go() {
    let peer = with_instance(Peer::alone().await).await;
    let created = ok(
        &peer,
        "POST",
        "/instances/i/databases",
        Some(json!({"name": "d", "properties": {"a": "b"}})),
    )
    .await;
    assert_eq!(
        (created["name"].as_str(), created["properties"]["a"].as_str()),
        (Some("d"), Some("b"))
    );
    ok(&peer, "POST", "/instances/i/databases/d/rename", Some(json!({"new_name": "e"}))).await;
    ok(
        &peer,
        "POST",
        "/instances/i/databases/e/collections",
        Some(json!({"name": "c", "partitions": ["p"]})),
    )
    .await;
    let full = refused(&peer, "DELETE", "/instances/i/databases/e", None, ErrorCode::PreconditionFailed).await;
    assert!(full.contains('e'), "{full}");
    let before = ok(&peer, "GET", "/instances/i/databases/e/collections/c", None).await;
    let at = before["revision"].as_str().expect("a revision").to_owned();
    ok(
        &peer,
        "POST",
        "/instances/i/databases/e/collections/c/partitions",
        Some(json!({"name": "q"})),
    )
    .await;
    ok(
        &peer,
        "POST",
        "/instances/i/databases/e/collections/c/partitions/q/rename",
        Some(json!({"new_name": "r"})),
    )
    .await;
    let partitions = ok(&peer, "GET", "/instances/i/databases/e/collections/c/partitions", None).await;
    let names: Vec<&str> = partitions["partitions"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|p| p["name"].as_str())
        .collect();
    assert_eq!(names, ["p", "r"]);
    let dropped = ok(&peer, "DELETE", "/instances/i/databases/e/collections/c/partitions/r", None).await;
    assert_eq!(dropped["existed"], true);
    ok(
        &peer,
        "POST",
        "/instances/i/databases/e/collections/c/rename",
        Some(json!({"new_name": "k"})),
    )
    .await;
    ok(&peer, "DELETE", "/instances/i/databases/e/collections/k", None).await;
    refused(&peer, "GET", "/instances/i/databases/e/collections/k", None, ErrorCode::NotFound).await;
    let past = ok(
        &peer,
        "GET",
        &format!("/instances/i/databases/e/collections/c?at_revision={at}"),
        None,
    )
    .await;
    assert_eq!(past["collection_id"], before["collection_id"]);
    ok(&peer, "DELETE", "/instances/i/databases/e", None).await;
    assert_eq!(ok(&peer, "DELETE", "/instances/i/databases/e", None).await["existed"], false);
}

#[tokio::test]
async fn a_list_goes_on_at_its_first_page_s_revision_whatever_happens_meanwhile() {
    let peer = with_instance(Peer::alone().await).await;
    for name in ["a", "b", "c"] {
        ok(&peer, "POST", COLLECTIONS, Some(json!({"name": name}))).await;
    }
    let first = ok(&peer, "GET", &format!("{COLLECTIONS}?page_size=2"), None).await;
    ok(&peer, "DELETE", &format!("{COLLECTIONS}/c"), None).await;
    let token = first["next_page_token"].as_str().expect("more is to come");
    let second = ok(&peer, "GET", &format!("{COLLECTIONS}?page_size=2&page_token={token}"), None).await;
    assert_eq!(second["collections"][0]["name"], "c");
    assert_eq!(
        (&second["revision"], second["next_page_token"].as_str()),
        (&first["revision"], Some(""))
    );
    refused(
        &peer,
        "GET",
        &format!("{COLLECTIONS}?page_token=x"),
        None,
        ErrorCode::InvalidArgument,
    )
    .await;
}

#[tokio::test]
async fn segments_are_prepared_committed_or_given_up_and_listed() {
    let peer = with_instance(Peer::alone().await).await;
    ok(&peer, "POST", COLLECTIONS, Some(json!({"name": "c"}))).await;
    let segments = format!("{COLLECTIONS}/c/partitions/_default/segments");
    let prepared = ok(&peer, "POST", &segments, Some(json!({"count": 2}))).await;
    let id = |position: usize| prepared["segments"][position]["segment_id"].as_str().expect("an id").to_owned();
    let file = json!({"name": "a", "size_bytes": "5", "checksum": "7", "kind": "DATA"});
    let commit = json!({"segments": [{"segment_id": id(0), "rows": "3", "files": [file]}]});
    ok(&peer, "POST", "/instances/i/segments/commit", Some(commit.clone())).await;
    let again = refused(
        &peer,
        "POST",
        "/instances/i/segments/commit",
        Some(commit),
        ErrorCode::PreconditionFailed,
    )
    .await;
    assert!(again.contains(&id(0)), "{again}");
    let aborted = ok(&peer, "POST", "/instances/i/segments/abort", Some(json!({"segment_ids": [id(1)]}))).await;
    assert_eq!(aborted["aborted"], 1);
    let listed = ok(&peer, "GET", &format!("{COLLECTIONS}/c/segments"), None).await;
    assert_eq!(listed["segments"].as_array().map(Vec::len), Some(1));
    assert_eq!(listed["segments"][0]["files"][0]["size_bytes"], "5");
    let known = ok(&peer, "GET", "/instances/i/vault/files", None).await;
    let kinds: Vec<&str> = known["known"]
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(|known| known["kind"].as_str())
        .collect();
    assert!(kinds.contains(&"KNOWN_SEGMENT") && kinds.contains(&"KNOWN_CONDEMNED"), "{known}");
    let deletions = ok(&peer, "GET", "/deletions", None).await;
    assert_eq!(deletions["deletions"][0]["path"], prepared["segments"][1]["path"]);
    ok(&peer, "POST", &format!("{segments}/drop"), Some(json!({"segment_ids": [id(0)]}))).await;
    refused(&peer, "GET", &format!("{segments}/{}", id(0)), None, ErrorCode::NotFound).await;
}

#[tokio::test]
async fn deletions_of_a_vault_are_abandoned_when_nothing_is_kept_there() {
    let peer = with_instance(Peer::alone().await).await;
    ok(&peer, "POST", COLLECTIONS, Some(json!({"name": "c"}))).await;
    let segments = format!("{COLLECTIONS}/c/partitions/_default/segments");
    let prepared = ok(&peer, "POST", &segments, Some(json!({"count": 1}))).await;
    let id = prepared["segments"][0]["segment_id"].as_str().expect("an id");
    let abandon = "/instances/i/vault/abandon";
    let by = || Some(json!({"by": "operator@host"}));

    let told = refused(&peer, "POST", abandon, by(), ErrorCode::PreconditionFailed).await;
    let upload = format!("the upload of segment {id} of instance i");
    for part in ["the local vault is in use", upload.as_str(), "`quorate gc plan`"] {
        assert!(told.contains(part), "{part} is not in {told}");
    }
    ok(&peer, "POST", "/instances/i/segments/abort", Some(json!({"segment_ids": [id]}))).await;
    let told = refused(&peer, "POST", abandon, Some(json!({"vault": "nowhere"})), ErrorCode::VaultNotFound).await;
    assert!(told.contains("nowhere"), "{told}");
    refused(&peer, "POST", "/instances/none/vault/abandon", by(), ErrorCode::NotFound).await;
    let listed = ok(&peer, "GET", "/deletions", None).await;
    assert_eq!(listed["deletions"].as_array().map(Vec::len), Some(1), "{listed}");

    let abandoned = ok(&peer, "POST", abandon, by()).await;
    let amount = |reply: &Json| ["directories", "whole_directories", "files", "next_page_token"].map(|name| reply[name].clone());
    assert_eq!(amount(&abandoned), ["1", "1", "0", ""]);
    let listed = ok(&peer, "GET", "/deletions", None).await;
    assert_eq!(listed["deletions"].as_array().map(Vec::len), Some(0), "{listed}");
    assert_eq!(amount(&ok(&peer, "POST", abandon, by()).await), ["0", "0", "0", ""]);
}

#[tokio::test]
async fn without_a_local_directory_vaults_and_restores_are_refused_with_the_setting_s_name() {
    let peer = with_instance(Peer::alone().await).await;
    ok(&peer, "POST", COLLECTIONS, Some(json!({"name": "c"}))).await;
    let told = refused(&peer, "GET", "/instances/i/vault", None, ErrorCode::VaultUnusable).await;
    assert!(told.contains("--local-vault"), "{told}");
}

#[tokio::test]
async fn a_vault_that_an_instance_has_not_is_not_found_and_not_unusable() {
    let peer = with_instance(Peer::alone().await).await;
    for path in ["/instances/i/vault?vault=nowhere", "/instances/i/vault/files?vault=nowhere"] {
        let unknown = refused(&peer, "GET", path, None, ErrorCode::VaultNotFound).await;
        assert!(unknown.contains("nowhere"), "{unknown}");
    }
    let unknown = refused(&peer, "GET", "/instances/i/vault?vault=nowhere", None, ErrorCode::VaultNotFound).await;
    assert!(unknown.contains("`quorate vault list i`"), "{unknown}");
    refused(&peer, "GET", "/instances/none/vault?vault=nowhere", None, ErrorCode::NotFound).await;
}

#[tokio::test]
async fn a_snapshot_is_committed_when_its_creation_answers_and_is_restored_as_a_job() {
    let (root, peer, _work) = with_work().await;
    let made = ok(
        &peer,
        "POST",
        "/instances/i/snapshots",
        Some(json!({"name": "s", "collection": "c"})),
    )
    .await;
    assert_eq!(
        (made["state"].as_str(), made["segments"].as_str()),
        (Some("COMMITTED"), Some("0")),
        "{made}"
    );
    let id = made["snapshot_id"].as_str().expect("an id");
    let listed = ok(&peer, "GET", "/instances/i/snapshots", None).await;
    assert_eq!(listed["snapshots"][0]["snapshot_id"], id);
    let described = ok(&peer, "GET", "/instances/i/vault", None).await;
    assert_eq!(described["local"]["root"].as_str(), root.path().to_str());

    let pin = ok(&peer, "POST", &format!("/instances/i/snapshots/{id}/pins"), Some(json!({}))).await;
    refused(
        &peer,
        "DELETE",
        &format!("/instances/i/snapshots/{id}"),
        None,
        ErrorCode::PreconditionFailed,
    )
    .await;
    ok(
        &peer,
        "DELETE",
        &format!("/instances/i/pins/{}", pin["pin_id"].as_str().expect("an id")),
        None,
    )
    .await;

    let restore = format!("/instances/i/snapshots/{id}/restore");
    let other = Some(json!({"target_collection": "x", "source_collection": "other"}));
    let told = refused(&peer, "POST", &restore, other, ErrorCode::PreconditionFailed).await;
    assert!(told.contains("collection default.c alone"), "{told}");
    let whole = ok(&peer, "POST", "/instances/i/snapshots", Some(json!({"name": "whole"}))).await;
    let out_of_it = format!("/instances/i/snapshots/{}/restore", whole["snapshot_id"].as_str().expect("an id"));
    let any = Some(json!({"target_collection": "x"}));
    let told = refused(&peer, "POST", &out_of_it, any, ErrorCode::PreconditionFailed).await;
    assert!(told.contains("source_collection"), "{told}");
    let one = Some(json!({"target_collection": "out", "source_collection": "c"}));
    let job = ok(&peer, "POST", &out_of_it, one).await;
    assert_eq!(
        (job["source_collection"].as_str(), job["snapshot_name"].as_str()),
        (Some("c"), Some("whole")),
        "{job}"
    );
    let taken = refused(
        &peer,
        "POST",
        &restore,
        Some(json!({"target_collection": "c"})),
        ErrorCode::AlreadyExists,
    )
    .await;
    assert!(taken.contains('c'), "{taken}");
    let job = ok(&peer, "POST", &restore, Some(json!({"target_collection": "again"}))).await;
    let path = format!("/jobs/{}", job["job_id"].as_str().expect("an id"));
    let deadline = Instant::now() + PATIENCE;
    while ok(&peer, "GET", &path, None).await["state"] != "JOB_COMPLETED" {
        assert!(Instant::now() < deadline, "the restore does not complete");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    ok(&peer, "GET", &format!("{COLLECTIONS}/again"), None).await;
    refused(
        &peer,
        "POST",
        &format!("{path}/cancel"),
        Some(json!({})),
        ErrorCode::PreconditionFailed,
    )
    .await;
    let jobs = ok(&peer, "GET", "/jobs?instance_id=i", None).await;
    assert!(
        jobs["jobs"]
            .as_array()
            .is_some_and(|jobs| jobs.iter().any(|one| one["job_id"] == job["job_id"])),
        "{jobs}"
    );
    assert_eq!(ok(&peer, "GET", &format!("{path}/tasks"), None).await["next_page_token"], "");

    std::fs::remove_file(root.path().join(MARKER_NAME)).expect("removed");
    let gone = refused(
        &peer,
        "POST",
        &restore,
        Some(json!({"target_collection": "other"})),
        ErrorCode::VaultUnusable,
    )
    .await;
    assert!(gone.contains("no marker file"), "{gone}");
}

#[tokio::test]
async fn a_snapshot_whose_vault_cannot_be_used_is_refused_and_not_made() {
    let (root, peer, _work) = with_work().await;
    let session = ok(&peer, "POST", "/sessions", Some(json!({}))).await["session_id"].clone();
    let snapshots = "/instances/i/snapshots";
    let asked = |name: &str| json!({"name": name, "collection": "c"});
    let numbered = || first_of(&session, snapshots, &asked("s"));
    let made = peer.send(numbered()).await;
    assert_eq!(made.status.as_u16(), 200, "{}", made.body);

    std::fs::remove_file(root.path().join(MARKER_NAME)).expect("removed");
    let told = refused(&peer, "POST", snapshots, Some(asked("t")), ErrorCode::VaultUnusable).await;
    assert!(told.contains("no marker file"), "{told}");
    refused(&peer, "POST", snapshots, Some(asked("s")), ErrorCode::AlreadyExists).await;
    let again = peer.send(numbered()).await;
    assert_eq!(again.status.as_u16(), 200, "it has its answer: {}", again.body);
    assert_eq!(again.json()["snapshot_id"], made.json()["snapshot_id"]);

    let far = r#"{"instance_id":"far","name":"far","user_id":"me","obj_info":{"ak":"an-ak","sk":"very-secret","bucket":"b","prefix":"p",
        "endpoint":"http://127.0.0.1:1","external_endpoint":"x","region":"r","provider":"S3","use_path_style":true}}"#;
    peer.ok("create_instance", far).await;
    let whole = Some(json!({"name": "whole"}));
    let told = refused(&peer, "POST", "/instances/far/snapshots", whole, ErrorCode::VaultUnusable).await;
    assert!(told.contains("bucket \"b\"") && told.contains("127.0.0.1:1"), "{told}");
    assert!(!told.contains("very-secret"), "{told}");
    for (path, count) in [(snapshots, 1), ("/instances/far/snapshots", 0)] {
        let listed = ok(&peer, "GET", path, None).await;
        assert_eq!(listed["snapshots"].as_array().map(Vec::len), Some(count), "{listed}");
    }
}

#[tokio::test]
async fn a_pin_that_is_asked_for_again_is_the_same_pin() {
    let (_root, peer, _work) = with_work().await;
    let snapshot = Some(json!({"name": "s", "collection": "c"}));
    let made = ok(&peer, "POST", "/instances/i/snapshots", snapshot).await;
    let id = made["snapshot_id"].as_str().expect("an id");
    let session = ok(&peer, "POST", "/sessions", Some(json!({}))).await["session_id"].clone();
    let pins = format!("/instances/i/snapshots/{id}/pins");
    let pin = || first_of(&session, &pins, &json!({}));
    let first = peer.send(pin()).await;
    assert_eq!(first.status.as_u16(), 200, "{}", first.body);
    let again = peer.send(pin()).await;
    assert_eq!((again.status.as_u16(), again.json()), (200, first.json()), "{}", again.body);
}

#[tokio::test]
async fn jobs_that_are_not_there_are_not_found() {
    let peer = with_instance(Peer::alone().await).await;
    for path in ["/jobs/99", "/jobs/99/tasks"] {
        let told = refused(&peer, "GET", path, None, ErrorCode::NotFound).await;
        assert!(told.contains("99"), "{told}");
    }
    refused(&peer, "POST", "/jobs/99/cancel", Some(json!({})), ErrorCode::NotFound).await;
    assert_eq!(ok(&peer, "GET", "/jobs", None).await["jobs"], json!([]));
    let told = refused(&peer, "POST", "/instances/i/compact", Some(json!({})), ErrorCode::InvalidArgument).await;
    assert!(told.contains("instance i is no clone"), "{told}");
    refused(&peer, "POST", "/instances/i/decouple", Some(json!({})), ErrorCode::InvalidArgument).await;
}

#[tokio::test]
async fn a_compaction_that_is_decided_is_answered_though_this_peer_has_not_applied_it() {
    let peer = Peer::alone().await;
    let reply = CompactSnapshotReply { job: 7, holds_files: true };
    let info = CallInfo {
        request: None,
        deadline: Instant::now(),
        ready_by: Instant::now(),
        redirect: false,
        min_revision: None,
        dry_run: false,
    };
    let applied = peer.node().applied().revision;
    for (revision, state) in [
        (Revision(applied.0 + 1_000), wire::JobState::JobPlanning),
        (applied, wire::JobState::JobCompleted),
    ] {
        let shown = started_compaction(peer.node(), revision, &reply, &info).await;
        assert_eq!(
            (shown.job_id, shown.kind(), shown.state(), shown.holds_files),
            (7, wire::JobKind::CompactClone, state, true)
        );
    }
}

/// A request of a worker, with the token.
fn work<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("quorate-token", TOKEN.parse().expect("ASCII"));
    request
}

fn claim(wait_ms: u64) -> wire::ClaimTasksRequest {
    wire::ClaimTasksRequest {
        worker: "w".to_owned(),
        tasks: 1,
        wait_ms,
        ..wire::ClaimTasksRequest::default()
    }
}

#[tokio::test]
async fn every_call_but_status_needs_the_token_and_on_loopback_those_of_workers_and_members() {
    let everywhere = Peer::alone_configured(|config| config.listen = "0.0.0.0:5000".to_owned()).await;
    let loopback = Peer::alone().await;
    let services = proto_json::descriptors().services();
    for service in services.filter(|service| service.package_name() == "quorate.v1") {
        for method in service.methods() {
            let call = format!("{}/{}", service.name(), method.name());
            let needs_token = |peer: &Peer| {
                let admitted = Services::new(&peer.app).admit(&format!("{PATH_PREFIX}{call}"), &HeaderMap::new());
                admitted.is_err_and(|error| error.code == ErrorCode::Unauthenticated)
            };
            assert_eq!(needs_token(&everywhere), call != "Admin/Status", "{call}");
            let is_guarded = ["Admin", "Work"].contains(&service.name()) && call != "Admin/Status";
            assert_eq!(needs_token(&loopback), is_guarded, "{call}");
        }
    }
}

/// A gRPC call that begins so, and then neither goes on nor ends.
fn unfinished(call: &str, token: &str, beginning: &[u8]) -> HttpRequest<GrpcBody> {
    let sent = Ok::<_, Infallible>(Bytes::copy_from_slice(beginning));
    HttpRequest::post(format!("{PATH_PREFIX}{call}"))
        .header("content-type", "application/grpc")
        .header("quorate-token", token)
        .body(GrpcBody::new(Body::from_stream(stream::iter([sent]).chain(stream::pending()))))
        .expect("well-formed")
}

/// What a call is refused with as soon as it has begun.
async fn refused_at_once(services: &Services, request: HttpRequest<GrpcBody>) -> Code {
    refusal(services, request).await.code()
}

async fn refusal(services: &Services, request: HttpRequest<GrpcBody>) -> Status {
    let answered = tokio::time::timeout(PATIENCE, services.call(request)).await;
    let Ok(response) = answered.expect("it waits for nothing more");
    Status::from_header_map(response.headers()).expect("a status")
}

#[tokio::test]
async fn a_call_has_its_place_or_its_refusal_before_its_message_is_read() {
    let peer = Peer::alone().await;
    let services = Services::new(&peer.app);
    let call = |token: &str| unfinished("Work/ClaimTasks", token, b"");
    assert_eq!(refused_at_once(&services, call("wrong")).await, Code::Unauthenticated);
    let others: Vec<_> = (1..MAX_IN_FLIGHT).map(|_| peer.app.admit().expect("within the limit")).collect();
    let waiting = services.call(call(TOKEN));
    assert_eq!(refused_at_once(&services, call(TOKEN)).await, Code::ResourceExhausted);
    drop(waiting);
    drop(others);
    let _all: Vec<_> = (0..MAX_IN_FLIGHT).map(|_| peer.app.admit().expect("all are given back")).collect();
    let status = HttpRequest::post(format!("{PATH_PREFIX}Admin/Status"))
        .header("content-type", "application/grpc")
        .body(GrpcBody::new(Body::from(&b"\0\0\0\0\0"[..])))
        .expect("well-formed");
    let Ok(response) = services.call(status).await;
    assert!(!response.headers().contains_key("grpc-status"), "an error stands there");
}

#[tokio::test(start_paused = true)]
async fn a_message_that_does_not_come_gives_its_place_back() {
    let app = Peer::homeless().app.clone();
    let services = Services::new(&app);
    let others: Vec<_> = (1..MAX_IN_FLIGHT).map(|_| app.admit().expect("within the limit")).collect();
    let Ok(late) = services.call(unfinished("Metadata/PutAttribute", TOKEN, b"\0\0")).await;
    let told = tonic::Status::from_header_map(late.headers()).expect("refused");
    assert_eq!(
        (told.code(), told.message().starts_with("the message did not arrive in time")),
        (Code::DeadlineExceeded, true)
    );
    assert!(app.admit().is_err(), "the place goes with the answer");
    drop(late);
    let _last = app.admit().expect("it is given back");
    drop(others);
}

#[tokio::test]
async fn a_message_that_says_it_is_too_long_is_refused_before_it_is_read() {
    let peer = Peer::alone().await;
    let services = Services::new(&peer.app);
    for (call, limit) in [
        ("Admin/Status", MAX_ADMIN_MESSAGE_BYTES),
        ("Metadata/PutAttribute", MAX_BODY_BYTES),
        ("Catalog/CommitSegments", MAX_BODY_BYTES),
        ("Snapshots/CreateSnapshot", MAX_BODY_BYTES),
        ("Jobs/CancelJob", MAX_BODY_BYTES),
        ("Settings/SetSetting", MAX_BODY_BYTES),
        ("Work/CompleteTask", MAX_BODY_BYTES),
    ] {
        let length = u32::try_from(limit + 1).expect("far below 4 GiB");
        let mut head = vec![0];
        head.extend(length.to_be_bytes());
        let told = refusal(&services, unfinished(call, TOKEN, &head)).await;
        let said = |name: &str| told.metadata().get(name).and_then(|value| value.to_str().ok());
        assert_eq!(told.code(), Code::ResourceExhausted, "{call}");
        assert_eq!(said("quorate-error"), Some("too_large"), "{call}: {told}");
        assert_eq!(said("quorate-outcome"), Some(Outcome::NotApplied.name()), "{call}: {told}");
        assert!(
            told.message().contains(&limit.to_string()) && told.message().ends_with("split the request"),
            "{told}"
        );
    }
}

#[tokio::test]
async fn a_claim_waits_as_long_as_it_may_and_no_longer() {
    let peer = Peer::alone().await;
    let service = WorkService::new(&peer.app);
    let began = Instant::now();
    let claimed = service.claim_tasks(work(claim(300))).await.expect("answered").into_inner();
    assert!(
        claimed.tasks.is_empty() && began.elapsed() >= Duration::from_millis(300),
        "{:?}",
        began.elapsed()
    );
    let told = service.claim_tasks(work(claim(30_001))).await.expect_err("too long");
    assert!(told.message().contains("30000"), "{told}");
    let before = peer.node().applied().revision;
    service.claim_tasks(work(claim(0))).await.expect("answered");
    assert_eq!(
        peer.node().applied().revision,
        before,
        "a question that finds nothing writes nothing"
    );
}

#[tokio::test]
async fn credentials_are_given_to_workers_only_where_nobody_else_can_read_them() {
    let root = tempfile::tempdir().expect("a directory");
    let peer = Peer::alone_configured(|config| config.local_vault = Some(root.path().to_owned())).await;
    let store = r#"{"instance_id":"i","name":"one","user_id":"me","obj_info":{"ak":"my-ak","sk":"my-sk","bucket":"b","prefix":"p",
        "endpoint":"s3.example.com","external_endpoint":"s3.example.com","region":"eu-1","provider":"S3"}}"#;
    peer.ok("create_instance", store).await;
    let place = LocalPlace {
        root: root.path().to_owned(),
        cluster_id: peer.node().core().cluster.to_string(),
        vault_id: "local".to_owned(),
    };
    Vault::create_marker(&place).await.expect("marked");
    let scope = ok(&peer, "POST", COLLECTIONS, Some(json!({"name": "c"}))).await;
    assert_eq!(scope["vault"], "");
    let prepared = ok(
        &peer,
        "POST",
        &format!("{COLLECTIONS}/c/partitions/_default/segments"),
        Some(json!({"count": 1})),
    )
    .await;
    let path = prepared["segments"][0]["path"].as_str().expect("a path");
    let scope: u64 = path
        .split('/')
        .next()
        .and_then(|part| part[1..].parse().ok())
        .expect("a path begins with its scope");
    let service = WorkService::new(&peer.app);
    let open = |vault: &str| wire::OpenVaultRequest {
        scope,
        vault: vault.to_owned(),
    };
    let local = service
        .open_vault(work(open("")))
        .await
        .expect("a directory has no credentials")
        .into_inner();
    assert_eq!((local.secret_key.as_str(), local.access_key.as_str()), ("", ""));
    let told = service.open_vault(work(open("1"))).await.expect_err("anybody could read it");
    assert!(told.message().contains("https://") && !told.message().contains("my-sk"), "{told}");
    let mut request = work(open("1"));
    request.extensions_mut().insert(Confidential);
    let opened = service.open_vault(request).await.expect("opened").into_inner();
    assert_eq!((opened.access_key.as_str(), opened.secret_key.as_str()), ("my-ak", "my-sk"));
    let described = ok(&peer, "GET", "/instances/i/vault?vault=1", None).await;
    assert_eq!(described["s3"]["bucket"], "b");
    assert!(!described.to_string().contains("my-"), "{described}");
}
