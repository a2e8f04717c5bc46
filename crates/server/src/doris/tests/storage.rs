//! Routes of object stores, vaults and accounts over HTTP: replies as clients see them. What each command refuses and
//! writes is tested with the command.

use super::super::test_peers::{Peer, TOKEN};
use axum::body::Body;
use axum::http::{Request, StatusCode};
use quorate_model::proto_json;
use serde_json::{Value as Json, json};

const STORE: &str =
    r#""ak":"an-ak","sk":"very-secret","bucket":"b","prefix":"p","endpoint":"e","external_endpoint":"x","region":"r","provider":"S3""#;

fn body(rest: &str) -> String {
    format!("{{\"cloud_unique_id\":\"1:i:n\",{rest}}}")
}

fn reply(code: &str, message: &str) -> String {
    proto_json::envelope(code, message, None)
}

/// A peer with instance `i`, which has object store 1.
async fn with_store() -> Peer {
    let peer = Peer::alone().await;
    peer.ok("create_instance", &format!("{{\"instance_id\":\"i\",\"obj_info\":{{{STORE}}}}}"))
        .await;
    peer
}

/// A peer with instance `i`, which keeps its data in vaults.
async fn with_vaults() -> Peer {
    let peer = Peer::alone().await;
    peer.ok("create_instance", r#"{"instance_id":"i"}"#).await;
    peer
}

async fn shown(peer: &Peer) -> Json {
    peer.ok("get_obj_store_info", &body("")).await.json()["result"].clone()
}

#[tokio::test]
async fn stores_are_shown_whole_with_their_secrets_and_a_status_of_their_own() {
    let peer = with_store().await;
    for route in ["get_obj_store_info", "v1/get_obj_store_info", "show_storage_vaults"] {
        let answered = peer.ok(route, &body("")).await;
        let shown = answered.json();
        let (ctime, mtime) = (&shown["result"]["obj_info"][0]["ctime"], &shown["result"]["obj_info"][0]["mtime"]);
        let expected = json!({"code": "OK", "msg": "", "result": {
            "status": {"code": "OK", "msg": ""},
            "obj_info": [{
                "ctime": ctime, "mtime": mtime, "id": "1", "ak": "an-ak", "sk": "very-secret", "bucket": "b", "prefix": "p",
                "endpoint": "e", "region": "r", "provider": "S3", "external_endpoint": "x",
                "encryption_info": {"encryption_method": "AES_256_GCM_SIV", "key_id": "1"}, "sse_enabled": false
            }],
            "enable_storage_vault": false
        }});
        assert_eq!(shown, expected, "{route}");
    }
    peer.ok("add_obj_info", &body(&format!("\"obj\":{{{}}}", STORE.replace("\"b\"", "\"c\""))))
        .await;
    assert_eq!(shown(&peer).await["obj_info"][1]["id"], "2");
}

#[tokio::test]
async fn a_response_shows_its_fine_code_on_errors_too() {
    let peer = with_store().await;
    let cases = [
        (
            "get_obj_store_info",
            "{}".to_owned(),
            400,
            "INVALID_ARGUMENT",
            "INVALID_ARGUMENT",
            "cloud unique id not set",
        ),
        (
            "show_storage_vaults",
            r#"{"cloud_unique_id":"1:x:n"}"#.to_owned(),
            500,
            "INTERNAL_ERROR",
            "KV_TXN_GET_ERR",
            "failed to get instance, instance_id=x err=KeyNotFound",
        ),
        (
            "get_stage",
            body(r#""type":"INTERNAL","mysql_user_name":"u","mysql_user_id":"1""#),
            500,
            "INTERNAL_ERROR",
            "STAGE_NOT_FOUND",
            "stage not found, create a new one",
        ),
    ];
    for (route, request, status, code, fine_code, message) in cases {
        let answered = peer.call(route, &request).await;
        let result = json!({"status": {"code": fine_code, "msg": message}});
        assert_eq!(
            (answered.status.as_u16(), answered.body.as_str()),
            (status, proto_json::envelope(code, message, Some(result)).as_str()),
            "{route}"
        );
    }
    let none = peer.ok("get_stage", &body(r#""type":"EXTERNAL""#)).await;
    assert_eq!(none.json()["result"], json!({"status": {"code": "OK", "msg": ""}}));
}

#[tokio::test]
async fn unchanged_keys_are_a_success_that_says_so() {
    let peer = with_store().await;
    let keys = |ak: &str| body(&format!("\"obj\":{{\"id\":\"1\",\"ak\":\"{ak}\",\"sk\":\"very-secret\"}}"));
    for route in ["legacy_update_ak_sk", "alter_obj_info"] {
        let before = peer.node().applied().revision;
        assert_eq!(peer.ok(route, &keys("an-ak")).await.body, reply("OK", "ak/sk not changed"));
        assert_eq!(peer.node().applied().revision, before, "nothing was written");
        assert_eq!(peer.ok(route, &keys(route)).await.body, reply("OK", ""));
        assert_eq!(shown(&peer).await["obj_info"][0]["ak"], route);
        peer.ok(route, &keys("an-ak")).await;
    }
}

#[tokio::test]
async fn vaults_are_added_altered_and_dropped() {
    let peer = with_vaults().await;
    let s3 = body(&format!(
        "\"vault\":{{\"name\":\"v\",\"obj_info\":{{{STORE}}}}},\"set_as_default_storage_vault\":true"
    ));
    assert_eq!(peer.ok("add_s3_vault", &s3).await.body, reply("OK", ""));
    let hdfs = body(r#""vault":{"name":"h","hdfs_info":{"prefix":"p","build_conf":{"fs_name":"hdfs://a:8020/"}}}"#);
    peer.ok("add_hdfs_vault", &hdfs).await;
    let rename = body(r#""vault":{"name":"v","alter_name":"w","obj_info":{"ak":"new","sk":"new-secret"}}"#);
    peer.ok("alter_s3_vault", &rename).await;
    let state = shown(&peer).await;
    assert_eq!(
        (&state["default_storage_vault_id"], &state["default_storage_vault_name"]),
        (&json!("1"), &json!("w"))
    );
    let vaults = state["storage_vault"].as_array().expect("a list");
    assert_eq!(
        (&vaults[0]["name"], &vaults[0]["obj_info"]["sk"]),
        (&json!("w"), &json!("new-secret"))
    );
    let prefix = vaults[1]["hdfs_info"]["prefix"].as_str().expect("a text");
    assert!(prefix.len() == 34 && prefix.starts_with("p_"), "{prefix}");
    assert_eq!(vaults[1]["hdfs_info"]["build_conf"]["fs_name"], "hdfs://a:8020");

    let refused = peer.call("drop_s3_vault", &s3).await;
    assert_eq!(
        (refused.status, refused.body),
        (StatusCode::BAD_REQUEST, reply("INVALID_ARGUMENT", "invalid request op, op=104"))
    );
    let missing = peer.call("drop_hdfs_vault", &body(r#""vault":{"name":"x"}"#)).await;
    let expected = (StatusCode::INTERNAL_SERVER_ERROR, reply("INTERNAL_ERROR", "vault_name=x not found"));
    assert_eq!((missing.status, missing.body.clone()), expected);
    assert_eq!(missing.header("quorate-outcome"), "not_applied");
    peer.ok("drop_hdfs_vault", &body(r#""vault":{"name":"h"}"#)).await;
    assert_eq!(shown(&peer).await["storage_vault"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn a_repeated_request_gets_the_directory_it_got_first() {
    let peer = with_vaults().await;
    let hdfs = body(r#""vault":{"name":"h","hdfs_info":{"prefix":"p","build_conf":{"fs_name":"hdfs://a"}}}"#);
    let open = quorate_state_machine::commands::OpenSession::default();
    let (_, session) = peer.node().execute(&open, None, peer.app.default_deadline()).await.expect("opened");
    let send = async || {
        let request = Request::post(format!("/MetaService/http/add_hdfs_vault?token={TOKEN}"))
            .header("quorate-session", session.session)
            .header("quorate-request", 1)
            .body(Body::from(hdfs.clone()))
            .expect("well-formed");
        peer.send(request).await
    };
    assert_eq!(send().await.status, StatusCode::OK);
    let again = send().await;
    assert_eq!(
        (again.status, again.body),
        (StatusCode::OK, reply("OK", "")),
        "the first answer, not a refusal"
    );
    assert_eq!(shown(&peer).await["storage_vault"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn accounts_are_rotated_and_refusals_hide_secrets() {
    let peer = with_store().await;
    let user = |sk: &str| format!(r#"{{"user_id":"u","ak":"a","sk":"{sk}"}}"#);
    peer.ok(
        "alter_ram_user",
        &format!(r#"{{"instance_id":"i","ram_user":{}}}"#, user("first-secret")),
    )
    .await;
    let rotate = format!(
        r#"{{"instance_id":"i","ram_user":{},"internal_bucket_user":[{}]}}"#,
        user("second-secret"),
        user("third-secret")
    );
    peer.ok("update_ak_sk", &rotate).await;
    peer.ok("alter_iam", r#"{"account_id":"arn","ak":"a","sk":"fourth-secret"}"#).await;
    let instance = peer.ok("get_instance?instance_id=i", "").await.json()["result"].clone();
    assert_eq!(
        (&instance["ram_user"]["sk"], &instance["obj_info"][0]["sk"]),
        (&json!("second-secret"), &json!("third-secret"))
    );
    assert_eq!(instance["iam_user"], json!({"user_id": "arn", "ak": "a", "sk": "fourth-secret"}));
    let again = peer
        .call("alter_iam", r#"{"account_id":"arn","ak":"a","sk":"fourth-secret"}"#)
        .await;
    assert_eq!(again.body, reply("INVALID_ARGUMENT", "already has the same arn info"));

    for (route, request) in [
        ("add_obj_info", body(r#""obj":{"sk":"marked-secret"}"#)),
        ("add_s3_vault", body(r#""vault":{"obj_info":{"sk":"marked-secret"}}"#)),
        ("add_hdfs_vault", body(r#""obj":{"sk":"marked-secret"}"#)),
        (
            "alter_ram_user",
            r#"{"instance_id":"i","ram_user":{"sk":"marked-secret"}}"#.to_owned(),
        ),
        (
            "update_ak_sk",
            r#"{"instance_id":"i","ram_user":{"sk":"marked-secret"}}"#.to_owned(),
        ),
        ("add_obj_info", body(r#""obj":{"sk":"marked-secret","provider":[1]}"#)),
        ("add_obj_info", body(r#""obj":{"sk":["marked-secret"]}"#)),
        ("add_obj_info", r#"{"obj":{"sk":"marked-secret"}"#.to_owned()),
        ("add_obj_info", r#"{"obj":{"sk":"marked-secret"#.to_owned()),
        ("add_obj_info", r#"{"obj":{"ak":"a","sk":marked-secret}}"#.to_owned()),
    ] {
        let answered = peer.call(route, &request).await;
        assert_eq!(answered.status, StatusCode::BAD_REQUEST, "{route}: {}", answered.body);
        assert!(!answered.body.contains("marked-secret"), "{}", answered.body);
    }
    let number = peer.call("add_obj_info", r#"{"obj":{"sk":918273645}}"#).await;
    let expected = "parse http request 'add_obj_info': INVALID_ARGUMENT:(obj.sk): invalid value (hidden) for type TYPE_STRING";
    assert_eq!(number.body, reply("INVALID_ARGUMENT", expected));
}
