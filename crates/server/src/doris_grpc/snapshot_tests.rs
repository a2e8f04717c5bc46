//! Snapshots and clones as frontends of Doris make them over gRPC, and operators drop them over HTTP. What each command refuses is
//! tested with the command.

use super::*;
use crate::doris::test_peers::Peer;
use axum::http::StatusCode;
use quorate_state_machine::commands::compact_snapshot::HOLDS_FILES;
use quorate_wire::doris::clone_instance_request::CloneType;
use quorate_wire::doris::{SnapshotInfoPb, SnapshotStatus};
use serde_json::json;

const STORE: &str =
    r#""ak":"an-ak","sk":"very-secret","bucket":"b","prefix":"p","endpoint":"e","external_endpoint":"x","region":"r","provider":"S3""#;

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// A service with instance `i`, which has an object store and snapshots switched on.
async fn service() -> (Peer, DorisService) {
    let peer = Peer::alone().await;
    let created = format!("{{\"instance_id\":\"i\",\"obj_info\":{{{STORE}}}}}");
    peer.ok("create_instance", &created).await;
    for status in ["MULTI_VERSION_WRITE_ONLY", "MULTI_VERSION_READ_WRITE"] {
        let route = format!("set_multi_version_status?instance_id=i&multi_version_status={status}");
        peer.ok(&route, "").await;
    }
    peer.ok("set_snapshot_property", r#"{"instance_id":"i","properties":{"status":"ENABLED"}}"#)
        .await;
    let service = DorisService { app: peer.app.clone() };
    (peer, service)
}

fn begin_request() -> BeginSnapshotRequest {
    BeginSnapshotRequest {
        cloud_unique_id: text("1:i:n"),
        snapshot_label: text("l"),
        timeout_seconds: Some(600),
        ttl_seconds: Some(3_600),
        ..Default::default()
    }
}

async fn begin(service: &DorisService, request: BeginSnapshotRequest) -> BeginSnapshotResponse {
    service.begin_snapshot(Request::new(request)).await.expect("gRPC OK").into_inner()
}

async fn list(service: &DorisService, include_aborted: bool) -> Vec<SnapshotInfoPb> {
    let request = ListSnapshotRequest {
        cloud_unique_id: text("1:i:n"),
        include_aborted: Some(include_aborted),
        ..Default::default()
    };
    let response = service.list_snapshot(Request::new(request)).await.expect("gRPC OK").into_inner();
    assert_eq!(outcome(&response.status), (MetaServiceCode::Ok, String::new()));
    response.snapshots
}

async fn commit(service: &DorisService, snapshot_id: &str) -> (MetaServiceCode, String) {
    let request = CommitSnapshotRequest {
        cloud_unique_id: text("1:i:n"),
        snapshot_id: text(snapshot_id),
        last_journal_id: Some(9),
        ..Default::default()
    };
    let response = service.commit_snapshot(Request::new(request)).await.expect("gRPC OK").into_inner();
    outcome(&response.status)
}

/// A committed snapshot.
async fn snapshot(service: &DorisService) -> String {
    let begun = begin(service, begin_request()).await;
    assert_eq!(commit(service, begun.snapshot_id()).await, (MetaServiceCode::Ok, String::new()));
    begun.snapshot_id().to_owned()
}

async fn clone_of(service: &DorisService, snapshot_id: &str, new: &str) -> CloneInstanceResponse {
    let request = CloneInstanceRequest {
        from_instance_id: text("i"),
        from_snapshot_id: text(snapshot_id),
        new_instance_id: text(new),
        clone_type: Some(CloneType::ReadOnly as i32),
        ..Default::default()
    };
    service.clone_instance(Request::new(request)).await.expect("gRPC OK").into_inner()
}

fn outcome(status: &Option<MetaServiceResponseStatus>) -> (MetaServiceCode, String) {
    let status = status.as_ref().expect("every response has a status");
    (status.code(), status.msg().to_owned())
}

fn invalid(message: &str) -> (MetaServiceCode, String) {
    (MetaServiceCode::InvalidArgument, message.to_owned())
}

#[tokio::test]
async fn a_snapshot_goes_its_way_and_the_store_for_its_image_has_usable_keys() {
    let (_peer, service) = service().await;
    let begun = begin(&service, begin_request()).await;
    assert_eq!(outcome(&begun.status), (MetaServiceCode::Ok, String::new()));
    assert_eq!(begun.image_url(), format!("/snapshot/{}/", begun.snapshot_id()));
    let store = begun.obj_info.as_ref().expect("where to");
    assert_eq!(
        (store.id(), store.ak(), store.sk(), store.bucket()),
        ("1", "an-ak", "very-secret", "b")
    );
    let update = UpdateSnapshotRequest {
        cloud_unique_id: text("1:i:n"),
        snapshot_id: text(begun.snapshot_id()),
        upload_file: text("image"),
        upload_id: text("7"),
        ..Default::default()
    };
    let response = service.update_snapshot(Request::new(update)).await.expect("gRPC OK").into_inner();
    assert_eq!(outcome(&response.status), (MetaServiceCode::Ok, String::new()));
    assert_eq!(list(&service, false).await[0].status(), SnapshotStatus::SnapshotPrepare);
    // The second is what a frontend sends that has not got the first one's answer.
    for _ in 0..2 {
        assert_eq!(commit(&service, begun.snapshot_id()).await, (MetaServiceCode::Ok, String::new()));
    }
    let shown = list(&service, false).await.remove(0);
    assert_eq!(
        (shown.status(), shown.journal_id(), shown.snapshot_label()),
        (SnapshotStatus::SnapshotNormal, 9, "l")
    );

    let abort = |snapshot_id: &str| AbortSnapshotRequest {
        cloud_unique_id: text("1:i:n"),
        snapshot_id: text(snapshot_id),
        reason: text("gone"),
        ..Default::default()
    };
    let refused = service
        .abort_snapshot(Request::new(abort(begun.snapshot_id())))
        .await
        .expect("gRPC OK")
        .into_inner();
    assert_eq!(
        outcome(&refused.status),
        invalid("snapshot is not in PREPARE state, current status=1")
    );
    let second = begin(&service, begin_request()).await;
    let aborted = service
        .abort_snapshot(Request::new(abort(second.snapshot_id())))
        .await
        .expect("gRPC OK")
        .into_inner();
    assert_eq!(outcome(&aborted.status), (MetaServiceCode::Ok, String::new()));
    assert_eq!(list(&service, false).await.len(), 1);
    assert_eq!(list(&service, true).await[1].reason(), "gone");
    for snapshot_id in [begun.snapshot_id(), second.snapshot_id()] {
        let request = DropSnapshotRequest {
            cloud_unique_id: text("1:i:n"),
            snapshot_id: text(snapshot_id),
            ..Default::default()
        };
        let response = service.drop_snapshot(Request::new(request)).await.expect("gRPC OK").into_inner();
        assert_eq!(outcome(&response.status), (MetaServiceCode::Ok, String::new()));
    }
    assert!(list(&service, true).await.is_empty());
}

#[tokio::test]
async fn what_is_wrong_with_a_snapshot_is_said_in_the_response() {
    let (_peer, service) = service().await;
    let refused = |change: fn(&mut BeginSnapshotRequest)| {
        let mut request = begin_request();
        change(&mut request);
        request
    };
    for (request, text) in [
        (refused(|request| request.cloud_unique_id = None), "cloud_unique_id not set"),
        (refused(|request| request.cloud_unique_id = text("nobody")), "empty instance_id"),
        (
            refused(|request| request.timeout_seconds = None),
            "timeout_seconds must be positive",
        ),
        (
            refused(|request| request.request_ip = text("256.256.256.256")),
            "invalid request IP address format",
        ),
    ] {
        assert_eq!(outcome(&begin(&service, request).await.status), invalid(text));
    }
    let vault = begin(&service, refused(|request| request.vault_name = text("v"))).await;
    assert_eq!(
        outcome(&vault.status),
        (MetaServiceCode::StorageVaultNotFound, "vault_name=v not found".to_owned())
    );
    assert_eq!(commit(&service, "00000000000000ab0000").await, invalid("snapshot not found"));
    assert_eq!(commit(&service, "ab").await, invalid("invalid snapshot_id format, snapshot_id=ab"));
    let unnamed = service
        .list_snapshot(Request::new(ListSnapshotRequest::default()))
        .await
        .expect("gRPC OK")
        .into_inner();
    assert_eq!(
        outcome(&unnamed.status),
        invalid("either instance_id or cloud_unique_id must be provided")
    );
    assert!(list(&service, true).await.is_empty());
}

#[tokio::test]
async fn a_clone_is_made_compacted_once_and_told_where_the_image_is() {
    let (peer, service) = service().await;
    let snapshot_id = snapshot(&service).await;
    let cloned = clone_of(&service, &snapshot_id, "c").await;
    assert_eq!(outcome(&cloned.status), (MetaServiceCode::Ok, String::new()));
    assert_eq!(cloned.image_url(), format!("/snapshot/{snapshot_id}/"));
    assert_eq!(cloned.obj_info.as_ref().map(|store| store.sk()), Some("very-secret"));
    let instance = peer.ok("get_instance?instance_id=c", "").await.json()["result"].clone();
    assert_eq!(instance["source_instance_id"], "i");
    assert_eq!(instance["source_snapshot_id"], snapshot_id.as_str());
    assert_eq!(instance["obj_info"][0]["sk"], "very-secret");
    assert_eq!(list(&service, false).await[0].derived_instance_ids, ["c"]);
    let unknown = clone_of(&service, "00000000000000010000", "d").await;
    let not_found = "snapshot not found: instance_id=i snapshot_id=00000000000000010000";
    assert_eq!(outcome(&unknown.status), invalid(not_found));

    let nobody = CompactSnapshotRequest {
        cloud_unique_id: text("nobody"),
        ..Default::default()
    };
    let refused = service.compact_snapshot(Request::new(nobody)).await.expect("gRPC OK").into_inner();
    assert_eq!(outcome(&refused.status), invalid("empty instance_id"));
    let compact = CompactSnapshotRequest {
        instance_id: text("c"),
        ..Default::default()
    };
    for _ in 0..2 {
        let response = service
            .compact_snapshot(Request::new(compact.clone()))
            .await
            .expect("gRPC OK")
            .into_inner();
        assert_eq!(outcome(&response.status), (MetaServiceCode::Ok, HOLDS_FILES.to_owned()));
    }
    let instance = peer.ok("get_instance?instance_id=c", "").await.json()["result"].clone();
    assert_eq!(instance["snapshot_compact_status"], "SNAPSHOT_COMPACT_DOING");
}

/// Asks the native API for a clone.
async fn native_clone(peer: &Peer, body: serde_json::Value) -> crate::doris::test_peers::Answered {
    let request = axum::http::Request::post("/api/v1/instances/i/clone")
        .header("content-type", "application/json")
        .body(axum::body::Body::from(body.to_string()));
    peer.send(request.expect("well-formed")).await
}

#[tokio::test]
async fn a_clone_of_the_native_api_has_a_store_of_its_own_and_shows_no_secret() {
    let (peer, service) = service().await;
    let snapshot_id = snapshot(&service).await;
    let asked = |new: &str, kind: &str| {
        json!({
            "snapshot_id": snapshot_id, "new_instance_id": new, "kind": kind,
            "obj_info": {
                "ak": "own-ak", "sk": "own-secret", "bucket": "own", "endpoint": "e", "region": "r", "provider": "S3", "use_path_style": true,
            },
        })
    };
    let mut keyless = asked("c", "WRITABLE");
    keyless["obj_info"]["sk"] = json!("");
    let mut nowhere = asked("c", "WRITABLE");
    nowhere["obj_info"]["provider"] = json!("UNKONWN");
    for (body, text) in [
        (asked("c", "READ_ONLY"), "obj_info is of a WRITABLE clone only"),
        (keyless, "obj_info.sk is required"),
        (nowhere, "obj_info.provider is none of"),
    ] {
        let refused = native_clone(&peer, body).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{text}");
        assert!(
            refused.body.contains(text) && !refused.body.contains("own-secret"),
            "{text}: {}",
            refused.body
        );
    }
    let made = native_clone(&peer, asked("c", "WRITABLE")).await;
    assert_eq!(made.status, StatusCode::OK, "{}", made.body);
    let shown = made.json();
    assert_eq!(shown["image_url"], format!("/snapshot/{snapshot_id}/"));
    assert_eq!(
        (&shown["obj_info"]["bucket"], &shown["obj_info"]["ak"]),
        (&json!("b"), &json!("an-ak"))
    );
    assert!(!made.body.contains("secret"), "{}", made.body);
    let instance = peer.ok("get_instance?instance_id=c", "").await.json()["result"].clone();
    let own = &instance["obj_info"][1];
    assert_eq!(
        (&own["bucket"], &own["sk"]),
        (&json!("own"), &json!("own-secret")),
        "sealed, and usable: {instance}"
    );
    // Its compaction copies: there is a store to copy to.
    let compacted = peer.ok("compact_snapshot?instance_id=c", "").await.json();
    assert_eq!(compacted["msg"], "");
}

#[tokio::test]
async fn the_http_routes_refuse_in_the_words_of_the_contract() {
    let (peer, service) = service().await;
    let kept = snapshot(&service).await;
    clone_of(&service, &kept, "c").await;
    let not_a_clone = "instance i was not a cloned instance (created via clone_instance)";
    let not_done = "instance c snapshot_compact_status is not SNAPSHOT_COMPACT_DONE, current status=SNAPSHOT_COMPACT_UNKNOWN";
    let missing = "snapshot not found, snapshot_id=00000000000000010000";
    let referenced = "cannot drop snapshot that is referenced by other instance, derived_instance_ids=c";
    for (route, status, code, text) in [
        ("drop_snapshot".to_owned(), 400, "INVALID_ARGUMENT", "instance_id is empty"),
        (
            "drop_snapshot?instance_id=i".to_owned(),
            400,
            "INVALID_ARGUMENT",
            "snapshot_id is empty",
        ),
        (
            "drop_snapshot?instance_id=i&snapshot_id=x".to_owned(),
            400,
            "INVALID_ARGUMENT",
            "invalid snapshot_id format, snapshot_id=x",
        ),
        (
            "drop_snapshot?instance_id=i&snapshot_id=00000000000000010000".to_owned(),
            500,
            "INTERNAL_ERROR",
            missing,
        ),
        (
            format!("drop_snapshot?instance_id=i&snapshot_id={kept}"),
            400,
            "INVALID_ARGUMENT",
            referenced,
        ),
        ("compact_snapshot".to_owned(), 400, "INVALID_ARGUMENT", "instance_id is empty"),
        ("compact_snapshot?instance_id=i".to_owned(), 400, "INVALID_ARGUMENT", not_a_clone),
        ("decouple_instance".to_owned(), 400, "INVALID_ARGUMENT", "instance_id is empty"),
        (
            "decouple_instance?instance_id=z".to_owned(),
            404,
            "NOT_FOUND",
            "instance not found, instance_id=z",
        ),
        ("decouple_instance?instance_id=i".to_owned(), 400, "INVALID_ARGUMENT", not_a_clone),
        ("decouple_instance?instance_id=c".to_owned(), 400, "INVALID_ARGUMENT", not_done),
    ] {
        let answered = peer.call(&route, "").await;
        let shown = answered.json();
        assert_eq!(
            (answered.status.as_u16(), &shown["code"], &shown["msg"]),
            (status, &json!(code), &json!(text)),
            "{route}"
        );
    }
    for (body, text) in [
        ("{}", "either instance_id or cloud_unique_id must be provided"),
        (r#"{"cloud_unique_id":"nobody"}"#, "empty instance_id"),
        (
            r#"{"instance_id":"i","required_snapshot_id":"x"}"#,
            "invalid snapshot_id format, snapshot_id=x",
        ),
        (
            "[]",
            "parse http request 'list_snapshot': INVALID_ARGUMENT:: Root element must be a message.",
        ),
    ] {
        let answered = peer.call("list_snapshot", body).await;
        assert_eq!(answered.status, StatusCode::BAD_REQUEST, "{body}");
        assert_eq!(answered.json()["msg"], text, "{body}");
    }
}

#[tokio::test]
async fn the_http_routes_list_drop_compact_and_decouple() {
    let (peer, service) = service().await;
    let (kept, dropped) = (snapshot(&service).await, snapshot(&service).await);
    clone_of(&service, &kept, "c").await;
    peer.ok(&format!("drop_snapshot?instance_id=i&snapshot_id={dropped}"), "").await;
    for (route, body) in [
        ("list_snapshot?instance_id=i", ""),
        ("list_snapshot", r#"{"cloud_unique_id":"1:i:n"}"#),
        ("list_snapshot", r#"{"instance_id":"i","include_aborted":true}"#),
    ] {
        let shown = peer.ok(route, body).await.json();
        assert_eq!(shown["result"]["status"]["code"], "OK");
        let snapshots = shown["result"]["snapshots"].as_array().expect("a list");
        assert_eq!(snapshots.len(), 1, "one that is being deleted is hidden");
        assert_eq!(snapshots[0]["snapshot_id"], kept.as_str());
        assert_eq!(
            (&snapshots[0]["status"], &snapshots[0]["journal_id"]),
            (&json!("SNAPSHOT_NORMAL"), &json!("9"))
        );
    }
    let compacted = peer.ok("compact_snapshot?instance_id=c", "").await.json();
    assert_eq!((&compacted["code"], &compacted["msg"]), (&json!("OK"), &json!(HOLDS_FILES)));
    let doing = peer.call("decouple_instance?instance_id=c", "").await.json();
    let text = "instance c snapshot_compact_status is not SNAPSHOT_COMPACT_DONE, current status=SNAPSHOT_COMPACT_DOING";
    assert_eq!(doing["msg"], text);
}
