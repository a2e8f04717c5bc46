//! Doris's HTTP dialect over the wire: every mistake gets exactly the specified reply at every peer, and changes nothing.

use quorate_tests::cluster::Cluster;
use quorate_tests::http::{self, Reply};
use quorate_tests::native;
use quorate_tests::raft_state::assert_peers_agree;
use quorate_tests::waiting::phase;

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
