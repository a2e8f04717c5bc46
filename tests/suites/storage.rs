//! Object stores, vaults and accounts over the wire, through a follower; and that no secret is anywhere in the clear.

use quorate_tests::cluster::{Cluster, TOKEN, write_secret};
use quorate_tests::http;
use quorate_tests::peer::Peer;
use quorate_tests::raft_state::assert_peers_agree;
use quorate_tests::waiting::{phase, until};
use serde_json::{Value as Json, json};
use std::fs;
use std::path::{Path, PathBuf};

fn ok(message: &str) -> String {
    format!("{{\n    \"code\": \"OK\",\n    \"msg\": \"{message}\"\n}}\n")
}

fn store(bucket: &str, sk: &str) -> Json {
    json!({"ak": "an-ak", "sk": sk, "bucket": bucket, "prefix": "p", "endpoint": "e", "external_endpoint": "x", "region": "r",
        "provider": "S3", "user_id": "owner"})
}

fn caller(instance: &str, more: Json) -> Json {
    let mut body = json!({"cloud_unique_id": format!("1:{instance}:n")});
    let members = more.as_object().expect("an object").clone();
    body.as_object_mut().expect("an object").extend(members);
    body
}

/// Sends a call that must succeed with this `msg`.
async fn done(cluster: &Cluster, peer: usize, route: &str, body: &Json, message: &str) {
    let reply = cluster.doris(peer, route, &body.to_string()).await;
    assert_eq!((reply.status, reply.body.as_str()), (200, ok(message).as_str()), "{route}");
}

/// Sends a call that must be refused, and whose refusal must not quote `secret`.
async fn refused(cluster: &Cluster, peer: usize, route: &str, body: &Json, secret: &str) {
    let reply = cluster.doris(peer, route, &body.to_string()).await;
    assert!(reply.status >= 400, "{route}: {}", reply.body);
    assert_eq!(reply.header("quorate-outcome"), "not_applied", "{route}");
    assert!(!reply.body.contains(secret), "{route} quotes a secret: {}", reply.body);
}

/// What get_obj_store_info shows, as each peer says, which must be the same.
async fn shown(cluster: &Cluster, instance: &str) -> Json {
    let body = caller(instance, json!({})).to_string();
    let mut seen: Option<Json> = None;
    for peer in 0..cluster.peers.len() {
        let reply = cluster.doris(peer, "get_obj_store_info", &body).await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        let result = reply.json()["result"].clone();
        assert_eq!(
            *seen.get_or_insert_with(|| result.clone()),
            result,
            "peer {peer} sees something else"
        );
    }
    seen.expect("there are peers")
}

#[tokio::test]
async fn every_storage_route_does_its_work_through_a_follower() {
    let cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    let send = async |route: &str, body: Json, message: &str| done(&cluster, follower, route, &body, message).await;

    phase("an instance with object stores");
    send("create_instance", json!({"instance_id": "i", "obj_info": store("first", "s1")}), "").await;
    send("add_obj_info", caller("i", json!({"obj": store("second", "s2")})), "").await;
    let keys = |sk: &str| caller("i", json!({"obj": {"id": "2", "ak": "new", "sk": sk}}));
    send("legacy_update_ak_sk", keys("s3"), "").await;
    send("legacy_update_ak_sk", keys("s3"), "ak/sk not changed").await;
    send("alter_obj_info", keys("s4"), "").await;
    let account = |sk: &str| json!({"user_id": "ram", "ak": "ram-ak", "sk": sk});
    send("alter_ram_user", json!({"instance_id": "i", "ram_user": account("r1")}), "").await;
    let owner = json!([{"user_id": "owner", "ak": "all", "sk": "s5"}]);
    let rotate = json!({"instance_id": "i", "ram_user": account("r2"), "internal_bucket_user": owner});
    send("update_ak_sk", rotate, "").await;
    send("alter_iam", json!({"account_id": "arn", "ak": "iam-ak", "sk": "m1"}), "").await;
    let stores = shown(&cluster, "i").await;
    for store in stores["obj_info"].as_array().expect("a list") {
        assert_eq!((&store["ak"], &store["sk"]), (&json!("all"), &json!("s5")));
    }
    for peer in 0..3 {
        let instance: Json = serde_json::from_str(&cluster.instance(peer, "i").await).expect("JSON");
        let instance = &instance["result"];
        assert_eq!(
            (&instance["ram_user"]["sk"], &instance["iam_user"]["sk"]),
            (&json!("r2"), &json!("m1"))
        );
    }
    let body = caller("i", json!({"type": "INTERNAL", "mysql_user_name": "u", "mysql_user_id": "1"}));
    let reply = cluster.doris(follower, "get_stage", &body.to_string()).await;
    assert_eq!(
        (reply.status, &reply.json()["msg"]),
        (500, &json!("stage not found, create a new one"))
    );

    phase("an instance with vaults");
    send("create_instance", json!({"instance_id": "v"}), "").await;
    let s3 = caller(
        "v",
        json!({"vault": {"name": "s3", "obj_info": store("b", "v1")}, "set_as_default_storage_vault": true}),
    );
    send("add_s3_vault", s3.clone(), "").await;
    let hdfs = json!({"name": "h", "hdfs_info": {"prefix": "p", "build_conf": {"fs_name": "hdfs://a"}}});
    send("add_hdfs_vault", caller("v", json!({"vault": hdfs})), "").await;
    let altered = json!({"name": "s3", "alter_name": "renamed", "obj_info": {"ak": "a", "sk": "v2"}});
    send("alter_s3_vault", caller("v", json!({"vault": altered})), "").await;
    refused(&cluster, follower, "drop_s3_vault", &s3, "no-secret").await;
    let state = shown(&cluster, "v").await;
    let facts: Vec<_> = state["storage_vault"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|vault| (vault["id"].as_str(), vault["name"].as_str(), vault["obj_info"]["sk"].as_str()))
        .collect();
    assert_eq!(facts, [(Some("1"), Some("renamed"), Some("v2")), (Some("2"), Some("h"), None)]);
    assert_eq!(state["default_storage_vault_name"], "renamed");
    send("drop_hdfs_vault", caller("v", json!({"vault": {"name": "h"}})), "").await;
    let reply = cluster
        .doris(follower, "show_storage_vaults", &caller("v", json!({})).to_string())
        .await;
    assert_eq!(reply.json()["result"]["storage_vault"].as_array().map(Vec::len), Some(1));
    assert_peers_agree(&cluster).await;
}

/// Two root keys: that of `Cluster::prepare`, and a newer one.
const ROTATED_KEYS: &str = "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n2 CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=\n";

#[tokio::test]
async fn a_rotated_root_key_keeps_old_secrets_readable_and_comparable() {
    let mut cluster = Cluster::start(3).await;
    let body = json!({"instance_id": "i", "obj_info": store("first", "old-secret")});
    done(&cluster, 0, "create_instance", &body, "").await;

    phase("every peer is started again with a second root key");
    write_secret(&cluster.dir().join("root-keys"), ROTATED_KEYS);
    for peer in &mut cluster.peers {
        peer.terminate();
        peer.wait_exit().await;
        peer.start();
    }
    cluster.wait_ready().await;
    let keys = |sk: &str| caller("i", json!({"obj": {"id": "1", "ak": "an-ak", "sk": sk}}));
    done(&cluster, 0, "alter_obj_info", &keys("old-secret"), "ak/sk not changed").await;
    let root_key = |state: &Json| state["obj_info"][0]["encryption_info"]["key_id"].clone();
    let state = shown(&cluster, "i").await;
    assert_eq!((&state["obj_info"][0]["sk"], root_key(&state)), (&json!("old-secret"), json!("1")));

    phase("what is written now is sealed under the newest key");
    done(&cluster, 1, "alter_obj_info", &keys("new-secret"), "").await;
    let state = shown(&cluster, "i").await;
    assert_eq!((&state["obj_info"][0]["sk"], root_key(&state)), (&json!("new-secret"), json!("2")));
}

/// 32 hex digits that no other text has: compression cannot take them apart.
fn marker(number: u64) -> String {
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(std::process::id());
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    next();
    format!("{:016x}{:016x}", next(), next())
}

/// Every secret that a test gives away, and what must be found, so that the search is known to see.
struct Marked {
    secrets: Vec<String>,
    access_keys: Vec<String>,
}

impl Marked {
    fn new() -> Marked {
        Marked {
            secrets: Vec::new(),
            access_keys: Vec::new(),
        }
    }

    fn secret(&mut self) -> String {
        let secret = marker(1_000 + self.secrets.len() as u64);
        self.secrets.push(secret.clone());
        secret
    }

    fn access_key(&mut self) -> String {
        let key = marker(2_000 + self.access_keys.len() as u64);
        self.access_keys.push(key.clone());
        key
    }

    fn keys(&mut self) -> Json {
        json!({"ak": self.access_key(), "sk": self.secret()})
    }

    fn store(&mut self, bucket: &str) -> Json {
        let mut store = store(bucket, "");
        store
            .as_object_mut()
            .expect("an object")
            .extend(self.keys().as_object().expect("an object").clone());
        store
    }

    fn user(&mut self, user_id: &str) -> Json {
        let mut user = self.keys();
        user["user_id"] = json!(user_id);
        user
    }
}

/// Sends secrets through every route that takes one, in requests that succeed.
async fn give_secrets_away(cluster: &Cluster, peer: usize, marked: &mut Marked) {
    let vault = json!({"name": "x", "obj_info": marked.store("built-in")});
    let body = json!({"instance_id": "i", "obj_info": marked.store("1"), "ram_user": marked.user("ram"), "vault": vault});
    done(cluster, peer, "create_instance", &body, "").await;
    done(cluster, peer, "create_instance", &json!({"instance_id": "v"}), "").await;
    let with_id = |mut obj: Json| {
        obj["id"] = json!("1");
        caller("i", json!({"obj": obj}))
    };
    let s3 = |store: Json| caller("v", json!({"vault": {"name": "s3", "obj_info": store}}));
    let hdfs = |store: Json| caller("v", json!({"vault": {"name": "second", "obj_info": store}}));
    let rotate = |own: Json, owner: Json| json!({"instance_id": "i", "ram_user": own, "internal_bucket_user": [owner]});
    let iam = |mut keys: Json| {
        keys["account_id"] = json!("arn");
        keys
    };
    let calls = [
        ("add_obj_info", caller("i", json!({"obj": marked.store("2")}))),
        ("legacy_update_ak_sk", with_id(marked.keys())),
        ("alter_obj_info", with_id(marked.keys())),
        ("update_ak_sk", rotate(marked.user("ram"), marked.user("owner"))),
        ("alter_ram_user", json!({"instance_id": "i", "ram_user": marked.user("ram")})),
        ("alter_iam", iam(marked.keys())),
        ("add_s3_vault", s3(marked.store("3"))),
        ("alter_s3_vault", s3(marked.keys())),
        ("add_hdfs_vault", hdfs(marked.store("4"))),
    ];
    for (route, body) in &calls {
        done(cluster, peer, route, body, "").await;
    }
}

/// Sends secrets through every route that takes one, in requests that are refused.
async fn waste_secrets(cluster: &Cluster, peer: usize, marked: &mut Marked) {
    let s3 = |store: Json| caller("v", json!({"vault": {"name": "s3", "obj_info": store}}));
    let rotate = |own: Json, owner: Json| json!({"instance_id": "i", "ram_user": own, "internal_bucket_user": [owner]});
    let mut no_place = marked.store("5");
    no_place["bucket"] = json!("");
    let incomplete = |mut user: Json| {
        user["user_id"] = json!("");
        user
    };
    let refusals = [
        ("create_instance", json!({"instance_id": "i", "ram_user": marked.user("ram")})),
        ("create_instance", json!({"instance_id": "j", "obj_info": {"sk": marked.secret()}})),
        ("add_obj_info", caller("i", json!({"obj": no_place}))),
        ("add_obj_info", caller("i", json!({"obj": {"sk": marked.secret()}}))),
        ("add_obj_info", caller("nobody", json!({"obj": marked.store("6")}))),
        ("add_obj_info", caller("i", json!({"obj": {"sk": [marked.secret()]}}))),
        (
            "legacy_update_ak_sk",
            caller("i", json!({"obj": {"id": "77", "ak": "a", "sk": marked.secret()}})),
        ),
        (
            "alter_obj_info",
            caller("i", json!({"obj": {"id": "1", "role_arn": "r", "sk": marked.secret()}})),
        ),
        ("update_ak_sk", json!({"instance_id": "i", "ram_user": incomplete(marked.user(""))})),
        ("update_ak_sk", rotate(marked.user("other"), marked.user("owner"))),
        (
            "alter_ram_user",
            json!({"instance_id": "i", "ram_user": incomplete(marked.user(""))}),
        ),
        ("alter_iam", json!({"ak": "a", "sk": marked.secret()})),
        ("add_s3_vault", s3(marked.store("7"))),
        (
            "alter_s3_vault",
            caller("v", json!({"vault": {"name": "s3", "obj_info": {"sk": marked.secret()}}})),
        ),
        ("drop_s3_vault", s3(marked.store("8"))),
        ("add_hdfs_vault", caller("v", json!({"obj": marked.store("9")}))),
        (
            "drop_hdfs_vault",
            caller("v", json!({"vault": {"name": "n", "obj_info": marked.store("10")}})),
        ),
    ];
    for (route, body) in &refusals {
        let secret = marked
            .secrets
            .iter()
            .find(|secret| body.to_string().contains(*secret))
            .expect("marked");
        refused(cluster, peer, route, body, secret).await;
    }
}

/// What other callers can read, other than the routes that show secrets by contract.
async fn other_replies(cluster: &Cluster) -> Vec<(String, String)> {
    let mut replies = Vec::new();
    for (position, peer) in cluster.peers.iter().enumerate() {
        for path in ["/metrics", "/api/v1/status", "/readyz", "/debug/raft"] {
            let what = format!("{path} of peer {position}");
            // A peer that missed its leader for a moment is not ready.
            let body = until(&what, async || {
                let reply = http::send(&peer.public, "GET", path, &[("quorate-token", TOKEN)], "").await;
                let reply = reply.expect("the peer answers");
                (reply.status == 200).then_some(reply.body)
            })
            .await;
            replies.push((what, body));
        }
        let body = caller("i", json!({})).to_string();
        for route in ["get_cluster", "get_stage", "drop_s3_vault", "get_obj_store_info?token=wrong"] {
            let path = match route.contains("token=") {
                true => format!("/MetaService/http/{route}"),
                false => format!("/MetaService/http/{route}?token={TOKEN}"),
            };
            let reply = http::send(&peer.public, "POST", &path, &[], &body).await.expect("the peer answers");
            replies.push((format!("{route} of peer {position}"), reply.body));
        }
    }
    replies
}

fn files_below(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("listed").flatten() {
        match entry.file_type().expect("a type").is_dir() {
            true => files_below(&entry.path(), found),
            false => found.push(entry.path()),
        }
    }
}

fn contains(bytes: &[u8], text: &str) -> bool {
    // A linear search per marker over tens of megabytes of mostly zeros: look for the first byte only where it is.
    let first = text.as_bytes()[0];
    let mut rest = bytes;
    while let Some(start) = rest.iter().position(|byte| *byte == first) {
        rest = &rest[start..];
        if rest.starts_with(text.as_bytes()) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

#[tokio::test]
async fn no_secret_is_in_the_clear_anywhere() {
    let mut cluster = Cluster::prepare(3, &["--audit"]);
    for peer in &mut cluster.peers {
        // All that we log; how libraries print bytes on the wire is not ours to decide.
        peer.set_environment("QUORATE_LOG", "trace,h2=info,hyper=info,tonic=info,tower=info");
        peer.start();
    }
    cluster.wait_ready().await;
    let mut marked = Marked::new();
    let follower = cluster.follower().await;
    phase("secrets through every route, at a follower");
    give_secrets_away(&cluster, follower, &mut marked).await;
    waste_secrets(&cluster, follower, &mut marked).await;

    phase("they are shown where the contract says so");
    let instance = cluster.instance(0, "i").await;
    let shown_secrets = marked.secrets.iter().filter(|secret| instance.contains(*secret)).count();
    assert!(shown_secrets >= 3, "stores, own account and peer account: {instance}");
    for (what, reply) in other_replies(&cluster).await {
        for secret in &marked.secrets {
            assert!(!reply.contains(secret), "{what} shows a secret: {reply}");
        }
    }

    phase("nothing on disk and in the logs of the peers, once all has been flushed");
    cluster.peers.iter().for_each(Peer::terminate);
    for peer in &mut cluster.peers {
        peer.wait_exit().await;
    }
    let mut files = Vec::new();
    files_below(cluster.dir(), &mut files);
    let mut access_keys_seen = [("/log/", false), ("/state/", false)];
    for file in &files {
        let bytes = fs::read(file).expect("read");
        for secret in &marked.secrets {
            assert!(!contains(&bytes, secret), "{} holds a secret", file.display());
        }
        for (place, seen) in &mut access_keys_seen {
            let looked_at = file.to_string_lossy().contains(*place);
            *seen |= looked_at && marked.access_keys.iter().any(|key| contains(&bytes, key));
        }
    }
    let logs: String = cluster.peers.iter().map(Peer::log).collect();
    assert!(
        logs.contains("TRACE") || logs.contains("DEBUG"),
        "the peers' logs are as talkative as they can be"
    );
    assert!(
        files.iter().any(|file| file.ends_with("audit.log")),
        "the audit log was searched too"
    );
    // What is not secret is found, so the search sees what is there.
    assert_eq!(access_keys_seen.map(|(_, seen)| seen), [true; 2], "{access_keys_seen:?}");
}
