//! Keys in upstream's encoding: pictures byte for byte, every refusal, and values that show no secret.

use super::routes::{INTERNAL, INVALID, reply};
use crate::doris::test_peers::Peer;
use axum::http::StatusCode;

const KEY: &str = "0110696e7374616e636500011072656772657373696f6e5f696e7374616e6365300001";

#[tokio::test]
async fn a_key_is_explained_byte_for_byte_as_upstream_does() {
    let peer = Peer::alone().await;
    let unicode = "┌───────────────────────── 0. key space: 1\n\
                   │ ┌─────────────────────── 1. instance\n\
                   │ │                     ┌─ 2. regression_instance0\n\
                   │ │                     │ \n\
                   ▼ ▼                     ▼ \n";
    let explained = peer.ok(&format!("decode_key?key={KEY}"), "").await;
    assert_eq!(explained.body, format!("{unicode}{KEY}\n\n"));
    assert_eq!(explained.header("content-type"), "text/plain; charset=utf-8");
    let plain = unicode.replace('┌', "/").replace('─', "-").replace('│', "|").replace('▼', "v");
    let upper = KEY.to_uppercase();
    let explained = peer.ok(&format!("decode_key?key={upper}&unicode=false"), "").await;
    assert_eq!(explained.body, format!("{plain}{upper}\n\n"), "the key is shown as it was sent");

    let escaped: String = KEY
        .as_bytes()
        .chunks(2)
        .map(|pair| format!("\\x{}", std::str::from_utf8(pair).expect("ASCII")))
        .collect();
    let built = peer
        .ok("v1/encode_key?key_type=InstanceKey&instance_id=regression_instance0", "")
        .await;
    assert_eq!(built.body, format!("{unicode}{KEY}\n{escaped}\n\n"));
}

#[tokio::test]
async fn keys_of_every_kind_are_built() {
    let peer = Peer::alone().await;
    for (query, key) in [
        (
            "key_type=TxnInfoKey&instance_id=i&db_id=10086&txn_id=-1001011",
            "011074786e0001106900011074786e5f696e666f00011200000000000027661100000000000f4633",
        ),
        ("key_type=JobRecycleKey&instance_id=i", "01106a6f62000110690001 10636865636b0001"),
        (
            "key_type=MetaServiceRegistryKey",
            "021073797374656d0001106d6574612d736572766963650001107265676973747279 0001",
        ),
        (
            "key_type=VersionedTableVersionKey&instance_id=i&table_id=x&versionstamp=00112233445566778899",
            "031076657273696f6e000110690001107461626c650001120000000000000000 1300112233445566778899ff",
        ),
    ] {
        let built = peer.ok(&format!("encode_key?{query}&unicode=false"), "").await.body;
        let key = key.replace(' ', "");
        assert_eq!(built.lines().rev().nth(2), Some(key.as_str()), "{query}\n{built}");
        let explained = peer.ok(&format!("decode_key?key={key}&unicode=false"), "").await.body;
        let picture: Vec<&str> = explained.lines().collect();
        assert!(built.starts_with(&picture[..picture.len() - 1].join("\n")), "{built}\n{explained}");
    }
}

#[tokio::test]
async fn what_is_no_key_is_refused() {
    let peer = Peer::alone().await;
    for (route, message) in [
        ("decode_key", "no key to decode"),
        ("decode_key?key=0", "failed to decode key, key=0"),
        ("decode_key?key=01zz", "failed to decode key, key=01zz"),
        ("decode_key?key=0110", "failed to decode key, key=0110"),
        ("encode_key", "key_type not supported: (empty)"),
        ("encode_key?key_type=instanceKey", "key_type not supported: instanceKey"),
        ("encode_key?key_type=InstanceKey", "instance_id is not given or empty"),
        (
            "encode_key?key_type=TxnLabelKey&instance_id=i&label=l",
            "db_id is not given or empty",
        ),
        (
            "encode_key?key_type=InstanceKey&instance_id=i&versionstamp=0011",
            "versionstamp 0011 is not 20 hex digits",
        ),
        ("get_value?key=0110", "key_type not supported: (empty)"),
        ("get_value?key_type=StorageVaultKey&instance_id=i", "vault_id is not given or empty"),
        ("show_meta_ranges", "this method only support fdb txn kv"),
    ] {
        let answered = peer.call(route, "").await;
        assert_eq!((answered.status, answered.body), (INVALID.0, reply(INVALID.1, message)), "{route}");
    }
}

#[tokio::test]
async fn a_key_is_drawn_up_to_a_length_and_a_number_of_fields() {
    let peer = Peer::alone().await;
    let with_fields = |count: usize| format!("01{}", "100001".repeat(count - 1));
    let with_bytes = |count: usize| format!("0110{}0001", "61".repeat(count - 4));
    for (key, bytes, fields) in [(with_fields(64), 190, 64), (with_bytes(4_096), 4_096, 2)] {
        let explained = peer.ok(&format!("decode_key?key={key}"), "").await;
        assert_eq!(explained.body.lines().count(), fields + 4, "{bytes} bytes");
    }
    for (key, bytes, fields) in [(with_fields(65), 193, 65), (with_bytes(4_097), 4_097, 2)] {
        let answered = peer.call(&format!("decode_key?key={key}"), "").await;
        let message = format!("the key has {bytes} bytes and {fields} fields, limits 4096 and 64; no kind of key needs more");
        assert_eq!((answered.status, answered.body), (INVALID.0, reply(INVALID.1, &message)));
    }
    let long = "i".repeat(4_096);
    let built = peer.call(&format!("encode_key?key_type=InstanceKey&instance_id={long}"), "").await;
    assert_eq!(built.status, INVALID.0, "{}", built.body);
}

#[tokio::test]
async fn values_are_shown_with_their_secrets_encrypted() {
    let peer = Peer::alone().await;
    let store = r#"{"ak":"an-ak","sk":"very-secret","bucket":"b","prefix":"p","endpoint":"e","external_endpoint":"x","region":"r","provider":"S3"}"#;
    let create = format!(r#"{{"instance_id":"i","name":"<n>","obj_info":{store},"vault":{{"obj_info":{store}}}}}"#);
    peer.ok("create_instance", &create).await;
    let by_name = peer.ok("get_value?key_type=InstanceKey&instance_id=i", "").await.body;
    let begin = r#"{"user_id":"","instance_id":"i","name":"\u003cn\u003e","obj_info":[{"#;
    assert!(
        by_name.starts_with(begin) && by_name.ends_with("}\n\n") && by_name.lines().count() == 2,
        "{by_name}"
    );
    assert!(!by_name.contains("very-secret") && !by_name.contains("iam_user"), "{by_name}");
    // The key itself names the same record.
    let by_key = peer
        .ok("get_value?key_type=InstanceKey&key=0110696e7374616e6365000110690001", "")
        .await
        .body;
    assert_eq!(by_key, by_name);
    let vault_id = {
        let value: serde_json::Value = serde_json::from_str(&by_name).expect("JSON");
        value["resource_ids"][0].as_str().expect("a vault").to_owned()
    };
    let vault = peer
        .ok(&format!("get_value?key_type=StorageVaultKey&instance_id=i&vault_id={vault_id}"), "")
        .await
        .body;
    assert!(
        vault.contains("built_in_storage_vault") && !vault.contains("very-secret"),
        "{vault}"
    );

    for (query, message) in [
        (
            "key_type=InstanceKey&instance_id=j",
            "kv not found, key=0110696e7374616e63650001106a0001",
        ),
        ("key_type=InstanceKey&key=01", "kv not found, key=01"),
        ("key_type=InstanceKey&key=0110", "failed to get kv, key=0110"),
        ("key_type=InstanceKey&key=xx", "failed to get kv, key=xx"),
        (
            "key_type=TxnIndexKey&key=0110696e7374616e6365000110690001",
            "kv not found, key=0110696e7374616e6365000110690001",
        ),
        (
            "key_type=MetaServiceEncryptionKey&key=0110696e7374616e6365000110690001",
            "kv not found, key=0110696e7374616e6365000110690001",
        ),
    ] {
        let answered = peer.call(&format!("get_value?{query}"), "").await;
        assert_eq!(
            (answered.status, answered.body),
            (INTERNAL.0, reply(INTERNAL.1, message)),
            "{query}"
        );
    }
    let vaultless = peer.call("get_value?key_type=StorageVaultKey&instance_id=i&vault_id=99", "").await;
    assert_eq!(vaultless.status, StatusCode::INTERNAL_SERVER_ERROR);
}
