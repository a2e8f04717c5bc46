//! Three peers from bootstrap to shutdown: every peer answers, followers forward or redirect, leadership is handed over.

use quorate_objects::MARKER_NAME;
use quorate_tests::cluster::{Cluster, TOKEN};
use quorate_tests::http::{self, get, send};
use quorate_tests::load::Load;
use quorate_tests::native::{call, metadata, metadata_value};
use quorate_tests::peer::{Peer, binary};
use quorate_tests::ports::free_ports;
use quorate_tests::raft_state::assert_peers_agree;
use quorate_tests::waiting::{phase, until};
use quorate_wire::quorate::v1::{GetAttributeRequest, PutAttributeRequest};
use rustix::fs::{CWD, Mode, mkfifoat};
use rustix::process::{Pid, Resource, Rlimit, Signal, getrlimit, kill_process, setrlimit};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::Code;

#[tokio::test]
async fn every_peer_answers_before_and_after_all_are_started_again() {
    let mut cluster = Cluster::start(3).await;
    phase("created through one, read through every other");
    for peer in 0..3 {
        let created = cluster
            .doris(peer, "create_instance", &format!("{{\"instance_id\":\"from-{peer}\"}}"))
            .await;
        assert_eq!(created.status, 200, "{}", created.body);
        for reader in 0..3 {
            assert!(
                cluster
                    .instance(reader, &format!("from-{peer}"))
                    .await
                    .contains(&format!("from-{peer}"))
            );
        }
    }
    let before = cluster.instance(0, "from-1").await;
    let members = cluster.members(0).await;
    assert_eq!(members, (vec![1, 2, 3], vec![1, 2, 3]));

    phase("the same command again, on all of them");
    for peer in &cluster.peers {
        peer.terminate();
    }
    for peer in &mut cluster.peers {
        let status = peer.wait_exit().await;
        assert_eq!(status.code(), Some(0), "{}", peer.log_tail());
    }
    cluster.peers.iter_mut().for_each(|peer| peer.start());
    cluster.wait_ready().await;
    for peer in 0..3 {
        assert_eq!(cluster.instance(peer, "from-1").await, before);
        assert_eq!(cluster.members(peer).await, members);
    }
    assert_peers_agree(&cluster).await;
}

#[tokio::test]
async fn who_calls_while_all_peers_start_waits_for_them() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("before").await;
    phase("all are killed and started again; calls come as soon as a port is open");
    cluster.peers.iter_mut().for_each(|peer| peer.kill());
    cluster.peers.iter_mut().for_each(|peer| peer.start());
    let read_path = format!("/MetaService/http/get_instance?instance_id=before&token={TOKEN}");
    let write = async {
        listening(&cluster, 0).await;
        // With a secret, which needs the root keys to be compared too.
        let store = r#"{"ak":"a","sk":"s","bucket":"b","endpoint":"e.example.com","external_endpoint":"e.example.com","region":"r","provider":"S3","prefix":"p"}"#;
        let body = format!(r#"{{"instance_id":"at-once","obj_info":{store}}}"#);
        cluster.doris(0, "create_instance", &body).await
    };
    let read = async {
        send(listening(&cluster, 1).await, "GET", &read_path, &[], "")
            .await
            .expect("answered")
    };
    let old = [("quorate-min-revision", "1")];
    let read_old = async {
        send(listening(&cluster, 2).await, "GET", &read_path, &old, "")
            .await
            .expect("answered")
    };
    let (write, read, read_old) = tokio::join!(write, read, read_old);
    for (name, reply) in [("write", write), ("read", read), ("read of what is known", read_old)] {
        assert_eq!(reply.status, 200, "{name}: {}", reply.body);
    }
    assert!(cluster.instance(2, "at-once").await.contains("at-once"));
}

/// The address of a peer, once its port is open.
async fn listening(cluster: &Cluster, position: usize) -> &str {
    let address = cluster.peers[position].public.as_str();
    until("the port is open", async || TcpStream::connect(address).await.ok()).await;
    address
}

#[tokio::test]
async fn a_follower_redirects_who_asks_for_it_and_forwards_all_others() {
    let cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    let (leader, follower) = cluster.leader_and_follower().await;
    let (leader, follower) = (cluster.peers[leader].public.as_str(), cluster.peers[follower].public.as_str());

    phase("HTTP: 307 with the whole path and query");
    let path = format!("/MetaService/http/v1/get_instance?instance_id=i&token={TOKEN}");
    let redirected = send(follower, "GET", &path, &[("quorate-redirect", "1")], "")
        .await
        .expect("answered");
    assert_eq!(redirected.status, 307, "{}", redirected.body);
    assert_eq!(redirected.header("location"), format!("http://{leader}{path}"));
    assert_eq!(redirected.header("quorate-leader"), leader);
    let there = send(leader, "GET", &path, &[("quorate-redirect", "1")], "")
        .await
        .expect("answered");
    let forwarded = send(follower, "GET", &path, &[], "").await.expect("answered");
    assert_eq!((there.status, forwarded.status), (200, 200));
    assert_eq!(there.body, forwarded.body);

    phase("gRPC: UNAVAILABLE with the leader's address");
    let put = PutAttributeRequest {
        instance_id: "i".into(),
        name: "a".into(),
        value: vec![1].into(),
        if_revision: None,
    };
    let mut client = metadata(follower);
    let mut asking = call(put.clone());
    asking.metadata_mut().insert("quorate-redirect", "1".parse().expect("ASCII"));
    let refused = client.put_attribute(asking).await.expect_err("redirected");
    assert_eq!(refused.code(), Code::Unavailable, "{refused}");
    let says = |name: &str| metadata_value(&refused, name).to_owned();
    assert_eq!(
        (says("quorate-leader").as_str(), says("quorate-error").as_str()),
        (leader, "not_leader")
    );
    assert_eq!(says("quorate-outcome"), "not_applied");

    phase("a forwarded write is there for a read at any peer");
    let written = client.put_attribute(call(put)).await.expect("forwarded").into_inner().revision;
    for address in cluster.addresses() {
        let request = GetAttributeRequest {
            instance_id: "i".into(),
            name: "a".into(),
            ..Default::default()
        };
        let read = metadata(&address).get_attribute(call(request)).await.expect("read").into_inner();
        assert_eq!(read.attribute.map(|attribute| attribute.revision), Some(written));
    }
}

#[tokio::test]
async fn health_metrics_and_status_tell_the_same_story() {
    let mut cluster = Cluster::start(3).await;
    until("all serve, and say who leads", async || {
        let leader = cluster.leader().await;
        for (position, peer) in cluster.peers.iter().enumerate() {
            if !serves_and_says(&peer.public, position == leader).await {
                return None;
            }
        }
        Some(())
    })
    .await;
    for peer in &cluster.peers {
        let alive = get(&peer.public, "/livez").await.expect("answered");
        assert_eq!((alive.status, alive.body.as_str()), (200, "ok\n"));
        let metrics = get(&peer.public, "/metrics").await.expect("answered");
        assert!(metrics.header("content-type").starts_with("application/openmetrics-text"));
        assert!(metrics.body.ends_with("# EOF\n"), "{}", metrics.body);
        let debug = get(&peer.public, "/debug/raft").await.expect("answered");
        assert_eq!(
            (debug.status, debug.body.as_str()),
            (403, "header quorate-token is absent or wrong\n")
        );
    }

    phase("all is well: exit code 0, and every peer is listed");
    let status = status_with_code(&cluster.addresses().join(","), 0).await;
    let peers = status["peers"].as_array().expect("peers");
    let publics: Vec<&str> = peers.iter().filter_map(|peer| peer["public_address"].as_str()).collect();
    assert_eq!(publics.len(), 3);
    assert!(
        cluster.addresses().iter().all(|address| publics.contains(&address.as_str())),
        "{status}"
    );
    assert!(
        peers.iter().all(|peer| peer["voter"] == true && peer["reachable"] == true),
        "{status}"
    );

    phase("one is down: exit code 2, and a finding with advice");
    let (leader, follower) = cluster.leader_and_follower().await;
    cluster.peers[follower].kill();
    let leader = cluster.peers[leader].public.clone();
    let status = status_with_code(&leader, 2).await;
    let finding = &status["findings"][0];
    assert!(finding["advice"].as_str().is_some_and(|advice| !advice.is_empty()), "{status}");

    phase("two are down: alive, but not ready, and a write says that it was not made");
    let other = cluster
        .peers
        .iter()
        .position(|peer| peer.public != leader && peer.public != cluster.peers[follower].public);
    cluster.peers[other.expect("three peers")].kill();
    until("the survivor is not ready", async || {
        let reply = get(&leader, "/readyz").await.expect("answered");
        (reply.status == 503).then_some(())
    })
    .await;
    assert_eq!(get(&leader, "/livez").await.expect("answered").status, 200);
    let path = format!("/MetaService/http/create_instance?token={TOKEN}");
    let refused = send(&leader, "POST", &path, &[("quorate-deadline-ms", "500")], "{\"instance_id\":\"j\"}")
        .await
        .expect("answered");
    assert!([503, 504].contains(&refused.status), "{} {}", refused.status, refused.body);
    assert!(!refused.header("quorate-outcome").is_empty(), "{refused:?}");
}

#[tokio::test]
async fn a_local_vault_that_is_not_mounted_is_told_though_nobody_uses_it() {
    let mount = tempfile::tempdir().expect("a directory");
    let (root, away) = (mount.path().join("vault"), mount.path().join("away"));
    std::fs::create_dir(&root).expect("created");
    let cluster = Cluster::start_with(3, &["--local-vault", root.to_str().expect("UTF-8")]).await;
    let endpoints = cluster.addresses().join(",");
    let findings = || status_json(&endpoints).1["findings"].to_string();
    // Its marker alone is not enough: until the cluster knows of it, an empty directory is made a vault like the first one.
    until("the leader has made it a vault", async || {
        let is_told = |peer: &Peer| peer.log().contains("the local vault is marked");
        cluster.peers.iter().any(is_told).then_some(())
    })
    .await;

    phase("the mount goes, and an empty directory is in its place");
    std::fs::rename(&root, &away).expect("moved");
    std::fs::create_dir(&root).expect("created");
    until("each peer says so", async || {
        let told = findings();
        (1..=3)
            .all(|peer| told.contains(&format!("peer {peer} cannot use it")))
            .then_some(())
    })
    .await;

    phase("it comes back");
    std::fs::remove_dir(&root).expect("still empty");
    std::fs::rename(&away, &root).expect("moved back");
    until("nobody complains", async || (!findings().contains("local vault")).then_some(())).await;
}

#[tokio::test]
async fn a_peer_whose_local_vault_hangs_ends_when_it_is_asked_to_stop() {
    let root = tempfile::tempdir().expect("a directory");
    let mut cluster = Cluster::start_with(1, &["--local-vault", root.path().to_str().expect("UTF-8")]).await;
    until("the leader has made it a vault", async || {
        cluster.peers[0].log().contains("the local vault is marked").then_some(())
    })
    .await;

    phase("whoever opens the marker waits, as on a mount that hangs");
    let marker = root.path().join(MARKER_NAME);
    std::fs::remove_file(&marker).expect("removed");
    mkfifoat(CWD, marker.as_path(), Mode::RUSR | Mode::WUSR).expect("made");
    let endpoint = cluster.peers[0].public.clone();
    until("the peer says so", async || {
        let findings = status_json(&endpoint).1["findings"].to_string();
        findings.contains("the mount may hang").then_some(())
    })
    .await;

    cluster.peers[0].terminate();
    let status = cluster.peers[0].wait_exit().await;
    assert_eq!(status.code(), Some(0), "{}", cluster.peers[0].log_tail());
}

/// Whether a peer is ready, and its gauge, up to a second old, says whether it leads.
async fn serves_and_says(address: &str, leads: bool) -> bool {
    let ready = get(address, "/readyz").await.expect("answered");
    let metrics = get(address, "/metrics").await.expect("answered");
    let gauge = format!("quorate_is_leader {}\n", u8::from(leads));
    (ready.status, ready.body.as_str()) == (200, "ok\n") && metrics.body.contains(&gauge)
}

/// Exit code and output of `quorate status -o json`.
fn status_json(endpoints: &str) -> (Option<i32>, serde_json::Value) {
    let output = Command::new(binary())
        .args(["status", "-o", "json", "--endpoint", endpoints])
        .output()
        .expect("runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let json = serde_json::from_str(&text);
    (
        output.status.code(),
        json.unwrap_or_else(|error| panic!("{error}: {text} {}", String::from_utf8_lossy(&output.stderr))),
    )
}

/// The status once its exit code is `expected`: a peer that is busy, or new to the others, may be missing from the first.
async fn status_with_code(endpoints: &str, expected: i32) -> serde_json::Value {
    until("the status is as expected", async || {
        let (code, status) = status_json(endpoints);
        (code == Some(expected)).then_some(status)
    })
    .await
}

/// Longest a writer may wait while leadership is handed over: a few round trips, the rest is for a busy machine. Time does not tell a
/// hand-over from a crash, after which an election is as quick; the leader says that it has handed over.
const HAND_OVER: Duration = Duration::from_secs(2);
const HANDED_OVER: &str = "leadership was handed over before the stop";

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_leader_that_is_asked_to_stop_hands_over_first() {
    let mut cluster = Cluster::start(3).await;
    let mut gaps = Vec::new();
    for round in 0..3 {
        let instance = format!("round-{round}");
        cluster.create_instance(&instance).await;
        let leader = cluster.leader().await;
        let staying: Vec<String> = (0..3)
            .filter(|peer| *peer != leader)
            .map(|peer| cluster.peers[peer].public.clone())
            .collect();
        let load = Load::start(&staying, &instance);
        load.wait_writes(20).await;
        let said = cluster.peers[leader].log().len();
        cluster.peers[leader].terminate();
        let status = cluster.peers[leader].wait_exit().await;
        assert_eq!(status.code(), Some(0), "{}", cluster.peers[leader].log_tail());
        let log = cluster.peers[leader].log();
        assert!(log[said..].contains(HANDED_OVER), "{}", &log[said..]);
        load.wait_writes(20).await;
        let ledger = load.finish().await;
        gaps.push(ledger.longest_gap);
        cluster.peers[leader].start();
        cluster.wait_ready().await;
    }
    gaps.sort();
    eprintln!("longest gaps: {gaps:?}");
    assert!(
        gaps[1] < HAND_OVER,
        "the median of the longest gaps is more than a hand-over takes: {gaps:?}"
    );
    assert_peers_agree(&cluster).await;
}

/// Writes to one peer, one after the other, until it cannot be connected to any more; what was answered.
async fn write_to(address: String, writer: usize) -> Vec<http::Reply> {
    let mut answers = Vec::new();
    for count in 0.. {
        let instance = format!("stop-{writer}-{count}");
        let (path, body) = (
            format!("/MetaService/http/create_instance?token={TOKEN}"),
            format!("{{\"instance_id\":\"{instance}\"}}"),
        );
        match send(&address, "PUT", &path, &[], &body).await {
            Ok(answer) => answers.push(answer),
            Err(_) => break,
        }
    }
    answers
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_peer_that_is_asked_to_stop_answers_the_calls_it_has_begun() {
    let mut cluster = Cluster::start(3).await;
    for round in 0..6 {
        let leader = cluster.leader().await;
        let stopping = if round % 2 == 0 { leader } else { (leader + 1) % 3 };
        phase(&format!("round {round}: peer {stopping} is stopped, peer {leader} leads"));
        let address = &cluster.peers[stopping].public;
        let writers: Vec<_> = (0..16)
            .map(|writer| tokio::spawn(write_to(address.clone(), 16 * round + writer)))
            .collect();
        cluster.create_instance(&format!("begun-{round}")).await;
        let said = cluster.peers[stopping].log().len();
        cluster.peers[stopping].terminate();
        let status = cluster.peers[stopping].wait_exit().await;
        assert_eq!(status.code(), Some(0), "{}", cluster.peers[stopping].log_tail());
        let log = cluster.peers[stopping].log();
        assert!(!log[said..].contains("are cut off"), "{}", &log[said..]);
        for writer in writers {
            for answer in writer.await.expect("ends") {
                assert_eq!(answer.status, 200, "{}", answer.body);
            }
        }
        cluster.peers[stopping].start();
        cluster.wait_ready().await;
    }
}

/// How long an idle leader is watched, and the processor time it may use meanwhile: a fifth of one core.
const WATCHED: Duration = Duration::from_secs(2);
const IDLE_TICKS: u64 = 40;

#[tokio::test]
async fn a_peer_that_is_down_costs_the_leader_next_to_nothing() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    let follower = cluster.follower().await;
    cluster.peers[follower].kill();
    let leader = cluster.leader().await;
    phase("the leader tries to reach the dead peer now and then, not as fast as it can");
    let before = cluster.peers[leader].processor_ticks();
    tokio::time::sleep(WATCHED).await;
    let used = cluster.peers[leader].processor_ticks() - before;
    assert!(
        used <= IDLE_TICKS,
        "the idle leader used {used} hundredths of a second of {} s",
        WATCHED.as_secs()
    );
}

/// Three peers take base to base + 21.
const DEV_PORTS: u16 = 22;

#[tokio::test]
async fn a_development_cluster_starts_once_per_directory_and_stops() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().join("cluster");
    let base = free_ports(DEV_PORTS);
    let started = dev(&["--detach", "--base-port", &base.to_string()], &dir);
    let stop = StopOnDrop(&dir);
    assert_eq!(started.0, Some(0), "{started:?}");
    for offset in [0, 10, 20] {
        let address = format!("127.0.0.1:{}", base + offset);
        assert!(started.1.contains(&address), "{started:?}");
        assert_eq!(get(&address, "/readyz").await.expect("answered").status, 200);
    }

    assert!(
        dir.join("vault/.quorate-vault").exists(),
        "the vault is there as soon as the start says that peers serve"
    );

    phase("another cluster does not take these peers for its own");
    let other = dir.with_file_name("other");
    let refused = dev(&["--detach", "--base-port", &base.to_string()], &other);
    assert_eq!(refused.0, Some(1), "{refused:?}");
    assert!(refused.2.contains(&format!("port 127.0.0.1:{base} cannot be used")), "{refused:?}");

    let path = |route: &str| format!("/MetaService/http/{route}token=greedisgood9999");
    let first = format!("127.0.0.1:{base}");
    let created = send(&first, "PUT", &path("create_instance?"), &[], "{\"instance_id\":\"i\"}")
        .await
        .expect("answered");
    assert_eq!(created.status, 200, "{}", created.body);

    phase("a second start in the same directory says how to stop the first");
    let second = dev(&["--detach", "--base-port", &free_ports(DEV_PORTS).to_string()], &dir);
    assert_eq!(second.0, Some(1));
    assert!(
        second.2.contains("peers already run in") && second.2.contains("quorate dev stop --dir"),
        "{second:?}"
    );
    assert_eq!(get(&first, "/readyz").await.expect("answered").status, 200);

    phase("stop, and stop again");
    let stopped = dev(&["stop"], &dir);
    assert_eq!(stopped.0, Some(0), "{stopped:?}");
    assert!(get(&first, "/livez").await.is_err(), "nobody listens any more");
    let again = dev(&["stop"], &dir);
    assert_eq!(again.0, Some(1));
    assert!(again.2.contains("no peers run in"), "{again:?}");

    phase("on other ports its peers would not find each other");
    let moved = dev(&["--detach", "--base-port", &free_ports(DEV_PORTS).to_string()], &dir);
    assert_eq!(moved.0, Some(1), "{moved:?}");
    assert!(
        moved.2.contains(&format!("was made with --peers 3 --base-port {base}")),
        "{moved:?}"
    );

    phase("what was there is there after the next start");
    let next = dev(&["--detach", "--base-port", &base.to_string()], &dir);
    assert_eq!(next.0, Some(0), "{next:?}");
    let found = get(&first, &path("get_instance?instance_id=i&")).await.expect("answered");
    assert_eq!(found.status, 200, "{}", found.body);
    drop(stop);
    assert!(get(&first, "/livez").await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn peers_of_a_start_in_the_foreground_end_with_it_and_it_ends_with_them() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path().join("cluster");
    let base = free_ports(DEV_PORTS);
    let _stop = StopOnDrop(&dir);

    phase("whoever read its output has gone when it is told to end, and one peer was started again by hand");
    let (mut process, output) = foreground(&dir, base);
    drop(output);
    let mut by_hand = start_again_by_hand(&dir).await;
    kill_process(Pid::from_child(&process), Signal::TERM).expect("told");
    assert!(ended(&mut process).await.success());
    assert!(ended(&mut by_hand).await.success());
    assert_nothing_is_left(&dir);

    phase("somebody else stops the peers");
    let (mut process, mut output) = foreground(&dir, base);
    let stopped = dev(&["stop"], &dir);
    assert_eq!(stopped.0, Some(0), "{stopped:?}");
    assert!(ended(&mut process).await.success());
    let mut said = String::new();
    output.read_to_string(&mut said).expect("text");
    assert!(said.contains("the peers have ended"), "{said}");

    phase("a detached start is interrupted while its peers start");
    until("one that is interrupted in time", async || {
        let mut detached = command(&["--detach", "--base-port", &base.to_string()], &dir);
        let mut detached = detached.stdout(Stdio::null()).spawn().expect("starts");
        until("peers", async || dir.join("dev.json").exists().then_some(())).await;
        kill_process(Pid::from_child(&detached), Signal::TERM).expect("told");
        let code = ended(&mut detached).await.code();
        if code == Some(0) {
            // It was quicker.
            dev(&["stop"], &dir);
        }
        (code == Some(130)).then_some(())
    })
    .await;
    assert_nothing_is_left(&dir);

    phase("peers that refuse to start are told at once, also beside one that only waits for them");
    for peer in ["peer-2", "peer-3"] {
        std::fs::remove_dir_all(dir.join(peer)).expect("removed");
    }
    let refused = dev(&["--detach", "--base-port", &base.to_string()], &dir);
    assert_eq!(refused.0, Some(1), "{refused:?}");
    assert!(
        refused.2.contains(" ended with ") && refused.2.contains("start it with --replace"),
        "{refused:?}"
    );
    assert_nothing_is_left(&dir);
}

/// Starts `quorate dev` in the foreground; returns when it has said that its peers serve.
fn foreground(dir: &Path, base: u16) -> (Child, BufReader<ChildStdout>) {
    let mut started = command(&["--base-port", &base.to_string()], dir);
    let mut started = started.stdout(Stdio::piped()).spawn().expect("starts");
    let mut output = BufReader::new(started.stdout.take().expect("a pipe"));
    let mut said = String::new();
    while !said.contains("Ctrl-C") {
        assert_ne!(output.read_line(&mut said).expect("text"), 0, "it has ended: {said}");
    }
    (started, output)
}

/// Kills the first peer of a start and starts it as its dev.json says.
async fn start_again_by_hand(dir: &Path) -> Child {
    let peers = std::fs::read(dir.join("dev.json")).expect("a file");
    let peers: Vec<serde_json::Value> = serde_json::from_slice(&peers).expect("a list");
    let pid = peers[0]["pid"].as_i64().expect("a number") as i32;
    kill_process(Pid::from_raw(pid).expect("a pid"), Signal::KILL).expect("killed");
    until("its end", async || (!Path::new(&format!("/proc/{pid}")).exists()).then_some(())).await;
    let arguments = peers[0]["args"].as_array().expect("a list").iter();
    let mut command = Command::new(binary());
    command.args(arguments.map(|argument| argument.as_str().expect("text")));
    let started = command.stderr(Stdio::null()).spawn().expect("starts");
    let address = peers[0]["public"].as_str().expect("an address").to_owned();
    until("that it serves", async || {
        get(&address, "/readyz")
            .await
            .is_ok_and(|answer| answer.status == 200)
            .then_some(())
    })
    .await;
    started
}

async fn ended(process: &mut Child) -> ExitStatus {
    until("its end", async || process.try_wait().expect("a child")).await
}

fn assert_nothing_is_left(dir: &Path) {
    let again = dev(&["stop"], dir);
    assert!(again.2.contains("no peers run in"), "{again:?}");
    assert!(!dir.join("dev.json").exists(), "it names peers that do not run");
}

/// Runs `quorate dev` to its end: exit code, standard output, standard error.
fn dev(arguments: &[&str], dir: &Path) -> (Option<i32>, String, String) {
    let output = command(arguments, dir).output().expect("runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

fn command(arguments: &[&str], dir: &Path) -> Command {
    let mut command = Command::new(binary());
    command.arg("dev").args(arguments).arg("--dir").arg(dir);
    command
}

/// Peers started detached are no children of the test.
struct StopOnDrop<'a>(&'a Path);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        let _ = dev(&["stop"], self.0);
    }
}

/// A connection is an open file, and a log that cannot open its next file ends its peer.
#[tokio::test]
async fn callers_that_open_all_they_can_end_no_peer() {
    const FILES: u64 = 1_024;
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).expect("raised as far as it may be");
    let mut cluster = Cluster::prepare(1, &[]);
    cluster.peers[0].set_open_files(FILES);
    cluster.peers[0].start();
    cluster.wait_ready().await;
    cluster.create_instance("i").await;
    let address = cluster.peers[0].public.clone();
    let mut client = metadata(&address);
    let mut number = 0u8;
    let mut put = async || {
        number = number.wrapping_add(1);
        let request = PutAttributeRequest {
            instance_id: "i".into(),
            name: "a".into(),
            value: vec![number].into(),
            if_revision: None,
        };
        client.put_attribute(call(request)).await
    };
    put().await.expect("written before");

    let mut held = Vec::new();
    for _ in 0..FILES {
        held.extend(TcpStream::connect(&address).await);
    }
    until("the peer closes whom it cannot take", async || {
        cluster.peers[0].log().contains("too many are open").then_some(())
    })
    .await;
    let high_water = cluster.peers[0].data_dir.join("log/high-water");
    let replaced = || std::fs::metadata(&high_water).and_then(|file| file.modified()).expect("there");
    let before = replaced();
    until("the log opens a file", async || {
        put().await.expect("written meanwhile");
        (replaced() != before).then_some(())
    })
    .await;
    assert!(cluster.peers[0].exited().is_none(), "{}", cluster.peers[0].log_tail());
}
