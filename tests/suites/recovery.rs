//! What is left when things break: a state is rebuilt from another peer's, a cluster from its only survivor.

use quorate_tests::cli::{self, Said};
use quorate_tests::cluster::Cluster;
use quorate_tests::load::{Ledger, Load};
use quorate_tests::native;
use quorate_tests::peer::Peer;
use quorate_tests::raft_state::{assert_peers_agree, raft_state};
use quorate_tests::verdict::assert_has_exactly;
use quorate_tests::waiting::{phase, until};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Entries after which a peer makes a checkpoint and purges: small, so that the state cannot be had from the log alone.
const CHECKPOINT_ENTRIES: &str = "50";

/// Directory of the state in use.
fn generation(data_dir: &Path) -> PathBuf {
    let text = fs::read_to_string(data_dir.join("state/ACTIVE")).expect("text");
    let number = text.lines().next().and_then(|line| line.strip_prefix("generation "));
    data_dir.join(format!("state/gen-{}", number.expect("a number")))
}

/// Files of the state in use whose names begin or end like this.
fn state_files(data_dir: &Path, is_meant: impl Fn(&str) -> bool) -> Vec<PathBuf> {
    let files = fs::read_dir(generation(data_dir)).expect("a RocksDB directory");
    let mut files: Vec<PathBuf> = files.map(|file| file.expect("an entry").path()).collect();
    files.retain(|file| is_meant(&file.file_name().expect("a name").to_string_lossy()));
    assert!(!files.is_empty(), "no such file in {}", data_dir.display());
    files
}

/// Overwrites the last bytes of a file: of an SST the footer, of a MANIFEST a record.
fn spoil_end(file: &Path) {
    let mut bytes = fs::read(file).expect("readable");
    let begin = bytes.len().saturating_sub(64);
    bytes[begin..].fill(0xa5);
    fs::write(file, bytes).expect("written");
}

/// The MANIFEST in use.
fn manifest(data_dir: &Path) -> PathBuf {
    let name = fs::read_to_string(generation(data_dir).join("CURRENT")).expect("a name");
    generation(data_dir).join(name.trim())
}

fn change(file: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(file).expect("readable");
    change(&mut bytes);
    fs::write(file, bytes).expect("written");
}

type Harm = fn(&Path);

/// Nothing is left to be put aside.
const GONE: &str = "all of it is gone";

/// The state opens as it was at an earlier flush, from where the log leads on, unless tables of then are gone already.
const EARLIER: &str = "the MANIFEST's last record is cut";

/// Its membership can be read, so nobody need be named to it.
const MARKED: &str = "a row could not be read";

const HARMS: &[(&str, Harm)] = &[
    ("an SST ends in other bytes", |data_dir| {
        spoil_end(&state_files(data_dir, |name| name.ends_with(".sst"))[0]);
    }),
    ("an SST is gone", |data_dir| {
        fs::remove_file(&state_files(data_dir, |name| name.ends_with(".sst"))[0]).expect("removed");
    }),
    ("the MANIFEST ends in other bytes", |data_dir| {
        spoil_end(&state_files(data_dir, |name| name.starts_with("MANIFEST"))[0]);
    }),
    ("CURRENT names nothing", |data_dir| {
        fs::write(&state_files(data_dir, |name| name == "CURRENT")[0], "MANIFEST-999999\n").expect("written");
    }),
    ("CURRENT is gone", |data_dir| {
        fs::remove_file(&state_files(data_dir, |name| name == "CURRENT")[0]).expect("removed");
    }),
    ("an SST is cut", |data_dir| {
        change(&state_files(data_dir, |name| name.ends_with(".sst"))[0], |bytes| {
            bytes.truncate(bytes.len() / 2);
        });
    }),
    ("the MANIFEST has a flipped bit", |data_dir| {
        change(&manifest(data_dir), |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        });
    }),
    ("the MANIFEST has a zeroed stretch", |data_dir| {
        change(&manifest(data_dir), |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 64].fill(0);
        });
    }),
    (EARLIER, |data_dir| {
        change(&manifest(data_dir), |bytes| bytes.truncate(bytes.len() - 5));
    }),
    ("the MANIFEST is gone", |data_dir| {
        fs::remove_file(manifest(data_dir)).expect("removed");
    }),
    ("CURRENT has a flipped bit", |data_dir| {
        change(&generation(data_dir).join("CURRENT"), |bytes| bytes[0] ^= 1);
    }),
    ("CURRENT is empty", |data_dir| {
        fs::write(generation(data_dir).join("CURRENT"), "").expect("written");
    }),
    ("ACTIVE is no number", |data_dir| {
        fs::write(data_dir.join("state/ACTIVE"), "one\n").expect("written");
    }),
    ("ACTIVE has a flipped bit", |data_dir| {
        change(&data_dir.join("state/ACTIVE"), |bytes| {
            let digit = "generation ".len();
            bytes[digit] ^= 1;
        });
    }),
    ("ACTIVE is empty", |data_dir| {
        fs::write(data_dir.join("state/ACTIVE"), "").expect("written");
    }),
    ("ACTIVE is gone", |data_dir| {
        fs::remove_file(data_dir.join("state/ACTIVE")).expect("removed");
    }),
    (
        "ACTIVE, as older versions wrote it, names a generation that is not there",
        |data_dir| {
            fs::write(data_dir.join("state/ACTIVE"), "77\n").expect("written");
        },
    ),
    ("the generation is gone", |data_dir| {
        fs::remove_dir_all(generation(data_dir)).expect("removed");
    }),
    (MARKED, |data_dir| {
        let marked = state_files(data_dir, |name| name == "CURRENT")[0].with_file_name("DAMAGED");
        fs::write(marked, "a block's checksum is wrong\n").expect("written");
    }),
    (GONE, |data_dir| {
        fs::remove_dir_all(data_dir.join("state")).expect("removed");
    }),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_damaged_state_is_rebuilt_under_the_same_id_while_writes_go_on() {
    let mut cluster = Cluster::start_with(3, &["--checkpoint-log-entries", CHECKPOINT_ENTRIES]).await;
    cluster.create_instance("i").await;
    let load = Load::start(&cluster.addresses(), "i");
    let members = cluster.members(0).await;
    for (what, harm) in HARMS {
        phase(what);
        let follower = cluster.follower().await;
        load.wait_writes(60).await;
        until("the follower's log has no beginning any more", async || {
            let state = raft_state(&cluster.peers[follower].public).await?;
            (state.purged > 0).then_some(())
        })
        .await;
        cluster.peers[follower].terminate();
        assert!(cluster.peers[follower].wait_exit().await.success());
        let aside = cluster.peers[follower].data_dir.join("state.damaged");
        if aside.exists() {
            fs::remove_dir_all(&aside).expect("removed");
        }
        harm(&cluster.peers[follower].data_dir);
        let told = cluster.peers[follower].log().len();
        let own = cluster.peers[follower].peer_address.clone();
        match *what {
            MARKED => cluster.peers[follower].start_with(&["--peers", &own]),
            _ => cluster.peers[follower].start(),
        }
        cluster.wait_ready().await;
        let log = cluster.peers[follower].log();
        let is_rebuilt = log[told..].contains("the state is rebuilt from another peer's checkpoint");
        assert!(is_rebuilt || *what == EARLIER, "{what}: {}", &log[told..]);
        assert!(aside.exists() || [GONE, EARLIER].contains(what), "{what}");
        assert_eq!(cluster.members(follower).await, members, "{what}: under the same id");
        load.wait_writes(5).await;
    }
    let ledger = load.finish().await;
    assert_has_exactly(&cluster, "i", &ledger).await;
    assert_peers_agree(&cluster).await;

    phase("what was rebuilt is on disk: all start once more");
    cluster.peers.iter_mut().for_each(Peer::kill);
    cluster.peers.iter_mut().for_each(Peer::start);
    cluster.wait_ready().await;
    assert_has_exactly(&cluster, "i", &ledger).await;
    assert_peers_agree(&cluster).await;
}

/// Starts a peer that has no state, and is given nobody else's address, while nobody else runs: it knows whom to ask, and serves nothing.
async fn asks_for_a_state_in_vain(peer: &mut Peer) {
    let (told, own) = (peer.log().len(), peer.peer_address.clone());
    peer.start_with(&["--peers", &own]);
    until("it asks the others for a state", async || {
        peer.log()[told..].contains("no state was given").then_some(())
    })
    .await;
    let ready = quorate_tests::http::get(&peer.public, "/readyz").await.expect("answered");
    assert!(ready.status == 503 && ready.body.contains("has lost its state"), "{}", ready.body);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_damaged_state_with_a_whole_log_needs_nobody_and_one_without_is_not_served() {
    phase("the log has everything: the state follows from it");
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    let load = Load::start(&cluster.addresses(), "i");
    load.wait_writes(20).await;
    let ledger = load.finish().await;
    cluster.peers.iter_mut().for_each(Peer::kill);
    for peer in &mut cluster.peers {
        fs::write(peer.data_dir.join("state/ACTIVE"), "damaged\n").expect("written");
        peer.start();
    }
    cluster.wait_ready().await;
    assert_has_exactly(&cluster, "i", &ledger).await;
    assert_peers_agree(&cluster).await;

    phase("the log has not, and nobody else runs: nothing is served until somebody does");
    let mut cluster = Cluster::start_with(3, &["--checkpoint-log-entries", CHECKPOINT_ENTRIES]).await;
    cluster.create_instance("i").await;
    let load = Load::start(&cluster.addresses(), "i");
    until("every log has lost its beginning", async || {
        for peer in &cluster.peers {
            raft_state(&peer.public).await.filter(|state| state.purged > 0)?;
        }
        Some(())
    })
    .await;
    let ledger = load.finish().await;
    assert_peers_agree(&cluster).await;
    for peer in &mut cluster.peers {
        peer.terminate();
        assert!(peer.wait_exit().await.success());
    }
    let data_dir = cluster.peers[0].data_dir.clone();
    let (state, away) = (data_dir.join("state"), cluster.dir().join("state-away"));
    fs::rename(&state, &away).expect("moved away");
    let said = recover(&cluster, &data_dir, &["--yes-i-lost-the-majority"], "");
    assert!(
        !said.success && said.err.contains("its state ends before its log begins"),
        "{said:?}"
    );
    assert!(!state.exists(), "nothing was made");
    fs::rename(&away, &state).expect("moved back");
    fs::write(generation(&data_dir).join("DAMAGED"), "a block's checksum is wrong\n").expect("written");
    asks_for_a_state_in_vain(&mut cluster.peers[0]).await;
    cluster.peers[0].kill();
    asks_for_a_state_in_vain(&mut cluster.peers[0]).await;

    phase("of the two others one has no state either, so there is no leader: the last one gives both its own");
    fs::write(cluster.peers[1].data_dir.join("state/ACTIVE"), "damaged\n").expect("written");
    cluster.peers[1].start();
    cluster.peers[2].start();
    cluster.wait_ready().await;
    assert_has_exactly(&cluster, "i", &ledger).await;
    assert_peers_agree(&cluster).await;
}

/// `quorate recover` on a peer's data directory.
fn recover(cluster: &Cluster, data_dir: &Path, further: &[&str], typed: &str) -> Said {
    let dir = data_dir.display().to_string();
    let arguments = [&["recover", "--as-new-cluster", "--data-dir", &dir][..], further].concat();
    tokio::task::block_in_place(|| cli::run(cluster, &arguments, typed))
}

/// Without the typed sentence nothing is changed.
fn assert_asks(cluster: &Cluster, data_dir: &Path, parent: &str) {
    for (further, typed, part) in [
        (&["--dry-run"][..], "", "nothing was changed"),
        (&[], "yes\n", "not confirmed"),
        (&[], "", "I lost the majority"),
    ] {
        let said = recover(cluster, data_dir, further, typed);
        assert_eq!(said.success, further == ["--dry-run"], "{said:?}");
        assert!(
            said.err.contains(part) && said.err.contains("Given up, and kept out from now on"),
            "{said:?}"
        );
        let identity = fs::read_to_string(data_dir.join("identity")).expect("text");
        assert!(identity.contains(parent), "{identity}");
    }
    let said = recover(cluster, data_dir, &["--dry-run", "-o", "json"], "");
    let planned: Json = serde_json::from_str(&said.out).expect("JSON");
    assert_eq!(planned["parent_cluster_id"], parent, "{planned}");
    assert_eq!(planned["cluster_id"], Json::Null, "there is none yet: {planned}");
    assert_eq!(planned["lost"].as_array().map(Vec::len), Some(2), "{planned}");
}

/// A peer of the lost cluster is refused by those of the new one.
async fn assert_kept_out(mut returned: Peer) {
    returned.start();
    until("the handshake is refused, and the log says why", async || {
        returned.log().contains("this peer belongs to cluster").then_some(())
    })
    .await;
    let ready = quorate_tests::http::get(&returned.public, "/readyz").await.expect("answered");
    assert_eq!(ready.status, 503, "{}", ready.body);
}

async fn cluster_id(address: &str) -> String {
    native::status(address).await.expect("a peer that runs answers").cluster_id
}

/// The peers' shared directory is used by the new cluster, and by nobody who still thinks to be of the old one.
async fn vault_belongs_to(vault: &Path, cluster: &str) {
    let marker = vault.join(".quorate-vault");
    let text = format!("cluster = {cluster}\n");
    until("the vault's marker names the cluster", async || {
        let found = fs::read_to_string(&marker).unwrap_or_default();
        found.starts_with(&text).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_survivor_becomes_a_new_cluster_that_grows_back_to_three() {
    let vault = tempfile::tempdir().expect("a directory");
    let root = vault.path().to_str().expect("UTF-8");
    let mut cluster = Cluster::start_with(3, &["--local-vault", root]).await;
    cluster.create_instance("before").await;
    cluster.create_instance("after").await;
    let load = Load::start(&cluster.addresses(), "before");
    load.wait_writes(20).await;
    let before: Ledger = load.finish().await;
    assert_peers_agree(&cluster).await;
    let parent = cluster_id(&cluster.peers[0].public).await;
    vault_belongs_to(vault.path(), &parent).await;
    let last_revision = native::status(&cluster.peers[0].public).await.expect("answered").revision;

    phase("a peer that runs is not recovered");
    let survivor = cluster.follower().await;
    let data_dir = cluster.peers[survivor].data_dir.clone();
    let said = recover(&cluster, &data_dir, &["--yes-i-lost-the-majority"], "");
    assert!(!said.success && said.err.contains("is open in another process"), "{said:?}");

    phase("two of three are destroyed");
    let gone: Vec<usize> = (0..3).filter(|peer| *peer != survivor).collect();
    let kept = cluster.dir().join("kept");
    cluster.peers.iter_mut().for_each(Peer::kill);
    fs::rename(&cluster.peers[gone[0]].data_dir, &kept).expect("one disk turns up again later");
    fs::remove_dir_all(&cluster.peers[gone[1]].data_dir).expect("the other does not");

    phase("the recovery asks, and changes nothing until it is told; the only state there is goes on, damaged or not");
    let mark = data_dir.join("state/gen-1/DAMAGED");
    fs::write(&mark, "a block's checksum is wrong\n").expect("written");
    assert_asks(&cluster, &data_dir, &parent);
    let said = recover(&cluster, &data_dir, &[], "I lost the majority\n");
    assert!(said.success && said.out.contains("is the only member of cluster"), "{said:?}");
    assert!(!mark.exists(), "nobody could give another one");
    let said = recover(&cluster, &data_dir, &["--yes-i-lost-the-majority"], "");
    assert!(!said.success && said.err.contains("it is the only member"), "{said:?}");

    phase("alone, it has everything and goes on far above");
    let mut survivor = cluster.peers.remove(survivor);
    let lost = std::mem::take(&mut cluster.peers);
    survivor.start();
    cluster.peers.push(survivor);
    cluster.wait_ready().await;
    assert_has_exactly(&cluster, "before", &before).await;
    let recovered = cluster_id(&cluster.peers[0].public).await;
    assert_ne!(recovered, parent);
    vault_belongs_to(vault.path(), &recovered).await;
    let load = Load::start(&cluster.addresses(), "after");
    load.wait_writes(10).await;
    for expected in [2, 3] {
        let mut newcomer = cluster.newcomer();
        newcomer.start();
        cluster.peers.push(newcomer);
        until("the newcomer votes", async || {
            (cluster.members(0).await.0.len() == expected).then_some(())
        })
        .await;
        cluster.wait_ready().await;
    }
    load.wait_writes(10).await;
    let after = load.finish().await;
    let first = after.acknowledged.values().min().expect("something was written");
    assert!(*first > last_revision + (1 << 32), "{first} after {last_revision}");
    let ids = cluster.members(0).await.1;
    assert!(
        ids.iter().filter(|id| **id > 3).count() == 2,
        "no id of a lost peer is given again: {ids:?}"
    );
    assert_has_exactly(&cluster, "before", &before).await;
    assert_has_exactly(&cluster, "after", &after).await;
    assert_peers_agree(&cluster).await;

    phase("a lost peer turns up again with its old disk, and is kept out");
    let returned = lost.into_iter().next().expect("two were lost");
    fs::rename(&kept, &returned.data_dir).expect("its disk is back");
    assert_kept_out(returned).await;
    assert_eq!(cluster.members(0).await.1, ids);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_recovery_goes_on_from_a_state_that_is_ahead_of_its_log() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("before").await;
    assert_peers_agree(&cluster).await;
    let id = native::status(&cluster.peers[0].public).await.expect("answered").peer_id;
    cluster.peers.iter_mut().for_each(Peer::kill);
    let data_dir = cluster.peers[0].data_dir.clone();
    let shorter = cluster.dir().join("log-before");
    copy_dir(&data_dir.join("log"), &shorter);
    cluster.peers.iter_mut().for_each(Peer::start);
    cluster.wait_ready().await;
    cluster.create_instance("later").await;
    assert_peers_agree(&cluster).await;

    phase("it stops in good order, so that its whole state is on disk, and loses the end of its log");
    cluster.peers[0].terminate();
    cluster.peers[0].wait_exit().await;
    cluster.peers[1..].iter_mut().for_each(Peer::kill);
    fs::remove_dir_all(data_dir.join("log")).expect("removed");
    copy_dir(&shorter, &data_dir.join("log"));
    let said = recover(&cluster, &data_dir, &["--yes-i-lost-the-majority"], "");
    assert!(said.success, "{said:?}");
    cluster.peers.truncate(1);
    cluster.peers[0].start();
    cluster.wait_ready().await;
    assert_eq!(cluster.members(0).await, (vec![id], vec![id]));
    cluster.instance(0, "later").await;
    cluster.create_instance("afterwards").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_recovery_that_was_interrupted_goes_on_and_keeps_the_peer_from_starting() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    // What peer 0 has answered it need not have: the two others may have decided without it.
    assert_peers_agree(&cluster).await;
    let id = native::status(&cluster.peers[0].public).await.expect("answered").peer_id;
    cluster.peers.iter_mut().for_each(Peer::kill);
    let data_dir = cluster.peers[0].data_dir.clone();
    let old_identity = fs::read(data_dir.join("identity")).expect("an identity");
    let log_before = cluster.dir().join("log-before");
    copy_dir(&data_dir.join("log"), &log_before);
    let said = recover(&cluster, &data_dir, &["--yes-i-lost-the-majority"], "");
    assert!(said.success, "{said:?}");
    let identity = fs::read(data_dir.join("identity")).expect("an identity");
    let line = |name: &str, from: &[u8]| {
        let text = std::str::from_utf8(from).expect("text");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
        lines.next().expect("the line is there").to_owned()
    };
    let (new, old) = (line("cluster ", &identity), line("cluster ", &old_identity));

    // After each of its steps: only begun, identity written, log written too.
    for step in 0..3 {
        phase(&format!("interrupted after step {step}"));
        let body = format!("cluster {new}\nparent {old}\n");
        fs::write(data_dir.join("recovery"), format!("{body}crc32c {:08x}\n", crc32c(&body))).expect("written");
        fs::write(data_dir.join("identity"), if step == 0 { &old_identity } else { &identity }).expect("written");
        if step < 2 {
            fs::remove_dir_all(data_dir.join("log")).expect("removed");
            copy_dir(&log_before, &data_dir.join("log"));
        }
        cluster.peers[0].start();
        cluster.peers[0]
            .wait_refusal()
            .await
            .assert_says(&["has not ended", "quorate recover --as-new-cluster"]);
        let said = recover(&cluster, &data_dir, &["--yes-i-lost-the-majority"], "");
        assert!(
            said.success && said.out.contains(&new) && said.err.contains("goes on with a recovery"),
            "{said:?}"
        );
    }
    cluster.peers[0].start();
    cluster.peers.truncate(1);
    cluster.wait_ready().await;
    assert_eq!(cluster_id(&cluster.peers[0].public).await, new);
    assert_eq!(cluster.members(0).await, (vec![id], vec![id]));
    cluster.instance(0, "i").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_recovery_of_a_damaged_state_is_refused_and_changes_nothing() {
    let mut cluster = Cluster::start(3).await;
    cluster.create_instance("i").await;
    assert_peers_agree(&cluster).await;
    cluster.peers.iter_mut().for_each(Peer::kill);
    let data_dir = cluster.peers[0].data_dir.clone();
    let active = data_dir.join("state/ACTIVE");
    let whole = fs::read(&active).expect("text");
    // A generation that is not in use is not taken away either.
    let other = data_dir.join("state/gen-7");
    copy_dir(&generation(&data_dir), &other);
    let wrongs: [(&str, &[u8]); 3] = [
        ("gen-3 is the generation in use and is not there", b"3\n"),
        ("does not say which generation is in use", b""),
        ("does not say which generation is in use", b"\0\0\0"),
    ];
    for (part, text) in wrongs {
        fs::write(&active, text).expect("written");
        let before = files_below(&data_dir.join("state"));
        for further in ["--dry-run", "--yes-i-lost-the-majority"] {
            let said = recover(&cluster, &data_dir, &[further], "");
            assert!(
                !said.success && said.err.contains(part) && said.err.contains("recover another survivor"),
                "{said:?}"
            );
            assert!(files_below(&data_dir.join("state")) == before, "{part}");
        }
    }
    phase("as it was, it is looked at without a trace, and recovered");
    fs::write(&active, whole).expect("written");
    let before = files_below(&data_dir.join("state"));
    let said = recover(&cluster, &data_dir, &["--dry-run"], "");
    assert!(said.success, "{said:?}");
    assert!(files_below(&data_dir.join("state")) == before);
    let said = recover(&cluster, &data_dir, &["--yes-i-lost-the-majority"], "");
    assert!(said.success, "{said:?}");
    cluster.peers.truncate(1);
    cluster.peers[0].start();
    cluster.wait_ready().await;
    cluster.instance(0, "i").await;
    assert!(!other.exists(), "the one in use is open");
}

/// All files below `dir` with what is in them.
fn files_below(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).expect("a directory") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files_below(&path));
        } else {
            let bytes = fs::read(&path).expect("readable");
            found.insert(path, bytes);
        }
    }
    found
}

fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for file in fs::read_dir(from).expect("a directory") {
        let file = file.expect("an entry");
        fs::copy(file.path(), to.join(file.file_name())).expect("copied");
    }
}

fn crc32c(text: &str) -> u32 {
    let mut crc = !0u32;
    for byte in text.bytes() {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}
