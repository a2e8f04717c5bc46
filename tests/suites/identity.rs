//! Who may take part: emptied, foreign and damaged data directories are refused with a message that says what to do, and
//! never vote; a peer that lost its disk comes back under a new id.

use quorate_tests::cluster::Cluster;
use quorate_tests::http::get;
use quorate_tests::load::Load;
use quorate_tests::native::{self, list_patiently};
use quorate_tests::raft_state::assert_peers_agree;
use quorate_tests::waiting::{phase, until};
use std::fs;
use std::path::{Path, PathBuf};

/// Writes every writer must get through to show that the cluster goes on.
const SOME_WRITES: u64 = 10;

fn empty(dir: &Path) {
    fs::remove_dir_all(dir).expect("the data directory is removed");
}

#[tokio::test]
async fn an_emptied_peer_is_refused_and_casts_no_vote() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    let members = cluster.members(0).await;

    phase("a follower loses its disk while the others run");
    let follower = cluster.follower().await;
    cluster.peers[follower].kill();
    empty(&cluster.peers[follower].data_dir);
    cluster.peers[follower].start();
    let refusal = cluster.peers[follower].wait_refusal().await;
    refusal.assert_says(&["this data directory is empty", "belongs to cluster", "start it with --replace"]);
    let survivor = cluster.leader().await;
    assert_eq!(cluster.members(survivor).await, members, "nothing has changed");

    phase("one of the two others is down as well: the empty one must not make a majority");
    let third = 3 - follower - survivor;
    cluster.peers[third].kill();
    cluster.peers[follower].start();
    cluster.peers[follower]
        .wait_refusal()
        .await
        .assert_says(&["start it with --replace"]);
    until("the survivor has no quorum", async || {
        let ready = get(&cluster.peers[survivor].public, "/readyz").await.expect("answered");
        (ready.status == 503).then_some(())
    })
    .await;

    phase("with the third peer back the cluster serves, members unchanged");
    cluster.peers[third].start();
    until("the cluster serves", async || {
        let ready = get(&cluster.peers[third].public, "/readyz").await;
        ready.is_ok_and(|ready| ready.status == 200).then_some(())
    })
    .await;
    assert_eq!(cluster.members(third).await, members);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_peer_that_lost_its_disk_returns_under_a_new_id_while_writes_go_on() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    let load = Load::start(&cluster.addresses(), "i");
    load.wait_writes(SOME_WRITES).await;
    let mut expected = vec![1, 2, 3];

    for (new_id, whom) in [(4, "the leader"), (5, "a follower")] {
        phase(&format!("{whom} loses its disk and is started with --replace"));
        let lost = if new_id == 4 {
            cluster.leader().await
        } else {
            cluster.follower().await
        };
        let old_id = quorate_tests::native::status(&cluster.peers[lost].public)
            .await
            .expect("answered")
            .peer_id;
        cluster.peers[lost].kill();
        empty(&cluster.peers[lost].data_dir);
        load.wait_writes(SOME_WRITES).await;
        cluster.peers[lost].start_with(&["--replace"]);
        expected.retain(|id| *id != old_id);
        expected.push(new_id);
        let witness = (lost + 1) % 3;
        until("the new peer has the old one's place", async || {
            let members = cluster.members(witness).await;
            (members == (expected.clone(), expected.clone())).then_some(())
        })
        .await;
        cluster.wait_ready().await;
        load.wait_writes(SOME_WRITES).await;
    }

    phase("started again, with or without the flag, it keeps its id");
    let (with, without) = (0, 1);
    cluster.peers[with].kill();
    cluster.peers[with].start_with(&["--replace"]);
    cluster.wait_ready().await;
    cluster.peers[without].kill();
    cluster.peers[without].start();
    cluster.wait_ready().await;
    for peer in 0..3 {
        assert_eq!(cluster.members(peer).await, (expected.clone(), expected.clone()));
    }
    let ledger = load.finish().await;
    for address in cluster.addresses() {
        let found = list_patiently(&address, "i").await;
        for (name, revision) in &ledger.acknowledged {
            assert_eq!(
                found.get(name).map(|attribute| attribute.revision),
                Some(*revision),
                "{name} at {address}"
            );
        }
    }
    assert_peers_agree(&cluster).await;
}

#[tokio::test]
async fn a_disk_that_was_replaced_and_turns_up_again_is_turned_away() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    let follower = cluster.follower().await;
    let (place, aside) = (cluster.peers[follower].data_dir.clone(), cluster.dir().join("aside"));
    phase("the peer returns with an empty disk, under a new id");
    cluster.peers[follower].kill();
    fs::rename(&place, &aside).expect("the old disk is put aside");
    cluster.peers[follower].start_with(&["--replace"]);
    let witness = (follower + 1) % 3;
    let members = until("the new peer has the old one's place", async || {
        let members = cluster.members(witness).await;
        (members.0.contains(&4) && members.1.len() == 3).then_some(members)
    })
    .await;

    phase("the old disk turns up in its place");
    cluster.peers[follower].kill();
    empty(&place);
    fs::rename(&aside, &place).expect("the old disk is put back");
    cluster.peers[follower].start();
    cluster.peers[follower]
        .wait_refusal()
        .await
        .assert_says(&["was removed from cluster", "start it with --replace"]);
    assert_eq!(cluster.members(witness).await, members, "nothing has changed");
    let created = cluster.doris(witness, "create_instance", "{\"instance_id\":\"afterwards\"}").await;
    assert_eq!(created.status, 200, "{}", created.body);
}

#[tokio::test]
async fn a_data_directory_of_another_cluster_is_kept_out() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("ours").await;
    let members = cluster.members(0).await;
    let mut other = Cluster::start(3).await;
    other.create_instance("theirs").await;
    other.peers.iter_mut().for_each(|peer| peer.kill());

    phase("somebody attaches the wrong disk");
    let follower = cluster.follower().await;
    cluster.peers[follower].kill();
    empty(&cluster.peers[follower].data_dir);
    fs::rename(&other.peers[0].data_dir, &cluster.peers[follower].data_dir).expect("the directory moves");
    cluster.peers[follower].start();
    until("the handshake is refused, and the log says why", async || {
        let log = cluster.peers[follower].log();
        (log.contains("this peer belongs to cluster") && log.contains("refused")).then_some(())
    })
    .await;

    phase("it serves nothing, and the cluster goes on without it");
    let ready = get(&cluster.peers[follower].public, "/readyz").await.expect("answered");
    assert_eq!(ready.status, 503, "{}", ready.body);
    let leader = cluster.leader().await;
    assert_ne!(leader, follower);
    let created = cluster.doris(leader, "create_instance", "{\"instance_id\":\"afterwards\"}").await;
    assert_eq!(created.status, 200, "{}", created.body);
    assert_eq!(cluster.members(leader).await, members);
}

#[tokio::test]
async fn a_damaged_identity_is_refused() {
    let mut cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    cluster.peers[follower].terminate();
    assert!(cluster.peers[follower].wait_exit().await.success());
    let path = cluster.peers[follower].data_dir.join("identity");
    let whole = fs::read_to_string(&path).expect("the identity is text");
    let cases = [
        (
            "a flipped digit",
            whole.replace("peer ", "peer 1"),
            &["is damaged: its checksum does not match", "--replace"][..],
        ),
        ("a cut", whole[..whole.len() / 2].to_owned(), &["is cut", "--replace"]),
        (
            "a newer format",
            newer_format(&whole),
            &[
                "has format \"quorate-data 9\"; this version reads \"quorate-data 2\"",
                "start the version that wrote it",
            ],
        ),
        (
            "a zeroed stretch",
            format!("{}{}{}", &whole[..20], "\u{0}".repeat(20), &whole[40..]),
            &["is damaged: its checksum does not match", "--replace"],
        ),
        ("not text", "\u{0}".repeat(100), &["identity", "--replace"]),
    ];
    for (what, text, parts) in cases {
        phase(what);
        fs::write(&path, text).expect("written");
        cluster.peers[follower].start();
        cluster.peers[follower].wait_refusal().await.assert_says(parts);
    }
    phase("an identity file that is gone while log and state are there");
    fs::remove_file(&path).expect("removed");
    cluster.peers[follower].start();
    cluster.peers[follower]
        .wait_refusal()
        .await
        .assert_says(&["holds data but", "has no identity file", "--replace"]);

    phase("put back as it was, the peer returns");
    fs::write(&path, whole).expect("written");
    cluster.peers[follower].start();
    cluster.wait_ready().await;
    assert_eq!(cluster.members(0).await, (vec![1, 2, 3], vec![1, 2, 3]));
}

/// What a later version might write: another first line, and a checksum that holds.
fn newer_format(identity: &str) -> String {
    let body = identity.replace("quorate-data 2", "quorate-data 9");
    with_checksum(&body)
}

/// What an older version wrote: nothing about the log.
fn older_identity(identity: &str) -> String {
    let body = identity.replace("log begun\n", "");
    assert_ne!(body, identity);
    with_checksum(&body)
}

/// The same with a checksum that holds.
fn with_checksum(identity: &str) -> String {
    let (body, _) = identity.trim_end().rsplit_once('\n').expect("the last line is the checksum");
    let body = format!("{body}\n");
    let mut crc = !0u32;
    for byte in body.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    format!("{body}crc32c {:08x}\n", !crc)
}

#[tokio::test]
async fn a_lost_log_is_refused_with_and_without_a_state() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    let follower = cluster.follower().await;
    cluster.peers[follower].terminate();
    assert!(cluster.peers[follower].wait_exit().await.success());
    let data_dir = cluster.peers[follower].data_dir.clone();
    let identity = data_dir.join("identity");
    let whole = fs::read_to_string(&identity).expect("the identity is text");
    let parts = ["the log is missing", "under a new id", "start it with --replace"];

    phase("the log is gone while identity and state are there");
    let aside = |name: &str| cluster.dir().join(format!("{name}-aside"));
    let (log_aside, state_aside) = (aside("log"), aside("state"));
    fs::rename(data_dir.join("log"), &log_aside).expect("moved away");
    cluster.peers[follower].start();
    cluster.peers[follower].wait_refusal().await.assert_says(&parts);

    phase("an identity of an older version says nothing about the log, but the state does");
    fs::write(&identity, older_identity(&whole)).expect("written");
    cluster.peers[follower].start();
    cluster.peers[follower].wait_refusal().await.assert_says(&parts);

    phase("log and state are gone");
    fs::write(&identity, &whole).expect("written");
    fs::rename(data_dir.join("state"), &state_aside).expect("moved away");
    cluster.peers[follower].start();
    cluster.peers[follower].wait_refusal().await.assert_says(&parts);

    phase("put back, with an identity of an older version, the peer returns and completes it");
    fs::rename(&log_aside, data_dir.join("log")).expect("moved back");
    fs::rename(&state_aside, data_dir.join("state")).expect("moved back");
    fs::write(&identity, older_identity(&whole)).expect("written");
    cluster.peers[follower].start();
    cluster.wait_ready().await;
    assert_eq!(fs::read_to_string(&identity).expect("text"), whole);
    assert_eq!(cluster.members(0).await, (vec![1, 2, 3], vec![1, 2, 3]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_damaged_log_is_refused_and_the_cluster_goes_on() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    let load = Load::start(&cluster.addresses(), "i");
    load.wait_writes(100).await;

    phase("a byte in the middle of a stopped peer's log is flipped");
    let follower = cluster.follower().await;
    cluster.peers[follower].terminate();
    assert!(cluster.peers[follower].wait_exit().await.success());
    let segment = damage_segment(&cluster.peers[follower].data_dir.join("log"));
    cluster.peers[follower].start();
    let refusal = cluster.peers[follower].wait_refusal().await;
    let segment = segment.display().to_string();
    refusal.assert_says(&["acknowledged data is damaged", &segment, "at offset", "under a new id"]);

    phase("the others go on, and the peer returns under a new id");
    load.wait_writes(SOME_WRITES).await;
    empty(&cluster.peers[follower].data_dir);
    cluster.peers[follower].start_with(&["--replace"]);
    cluster.wait_ready().await;
    load.wait_writes(SOME_WRITES).await;
    load.finish().await;
    assert_peers_agree(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_peer_whose_last_acknowledged_group_is_gone_is_kept_out_by_the_leader() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    let refusal = loop {
        phase("kill a follower right after it acknowledged an entry, and damage that entry");
        let (leader, follower) = cluster.leader_and_follower().await;
        write_until_acknowledged_by(&cluster, leader, follower).await;
        cluster.peers[follower].kill();
        let segment = newest_segment(&cluster.peers[follower].data_dir.join("log"));
        let whole = fs::read(&segment).expect("a segment");
        let mut bytes = whole.clone();
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("a segment is not empty");
        bytes[used] ^= 1;
        fs::write(&segment, bytes).expect("written");

        phase("start it: the log opens without the entry, the leader knows better");
        cluster.peers[follower].start();
        let refusal = cluster.peers[follower].wait_refusal().await;
        if refusal.message.contains("the log was durable") {
            // Its high-water file was renewed in the moment before the kill: the log itself has noticed. Once more.
            fs::write(&segment, whole).expect("put back");
            cluster.peers[follower].start();
            cluster.wait_ready().await;
            continue;
        }
        break (follower, refusal);
    };
    let (follower, refusal) = refusal;
    refusal.assert_says(&[
        "this peer had acknowledged entry",
        "the end of the log is lost",
        "start it with --replace",
    ]);

    phase("nor may it start when nobody is left who remembers");
    for other in (0..3).filter(|other| *other != follower) {
        cluster.peers[other].kill();
    }
    cluster.peers[follower].start();
    cluster.peers[follower].wait_refusal().await.assert_says(&[
        "may not be used any more",
        "the end of the log is lost",
        "start it with --replace",
    ]);

    phase("the others have everything, and it returns under a new id");
    for other in (0..3).filter(|other| *other != follower) {
        cluster.peers[other].start();
    }
    empty(&cluster.peers[follower].data_dir);
    cluster.peers[follower].start_with(&["--replace"]);
    cluster.wait_ready().await;
    assert_peers_agree(&cluster).await;
}

/// Writes, and waits until the leader knows that the follower has everything.
async fn write_until_acknowledged_by(cluster: &Cluster, leader: usize, follower: usize) {
    let follower_id = native::status(&cluster.peers[follower].public).await.expect("answered").peer_id;
    let name = format!(
        "vault{}",
        native::status(&cluster.peers[leader].public).await.expect("answered").revision
    );
    cluster.create_instance(&name).await;
    until("the follower has acknowledged all", async || {
        let status = native::status(&cluster.peers[leader].public).await.ok()?;
        let last = status.peers.iter().find(|peer| peer.peer_id == status.peer_id)?.last_log_index;
        let matched = status.peers.iter().find(|peer| peer.peer_id == follower_id)?.matched_index;
        (matched == last).then_some(())
    })
    .await;
}

fn newest_segment(log: &Path) -> PathBuf {
    let files = fs::read_dir(log)
        .expect("a log directory")
        .map(|file| file.expect("an entry").path());
    let segments = files.filter(|path| path.extension().is_some_and(|extension| extension == "segment"));
    segments.max().expect("a log has a segment")
}

/// Flips one bit in the middle of what the only segment holds.
fn damage_segment(log: &Path) -> PathBuf {
    let files = fs::read_dir(log)
        .expect("a log directory")
        .map(|file| file.expect("an entry").path());
    let mut segments: Vec<PathBuf> = files
        .filter(|path| path.extension().is_some_and(|extension| extension == "segment"))
        .collect();
    segments.sort();
    let segment = segments.remove(0);
    let mut bytes = fs::read(&segment).expect("a segment");
    let used = bytes.iter().rposition(|byte| *byte != 0).expect("a segment is not empty");
    bytes[used / 2] ^= 1;
    fs::write(&segment, bytes).expect("written");
    segment
}
