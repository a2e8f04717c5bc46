//! A peer that is started wrongly does not start: exit code 1, and one line that says what and what to do.

use quorate_tests::cluster::{Cluster, write_secret};
use quorate_tests::http::get;
use quorate_tests::peer::{Peer, Refusal};
use quorate_tests::ports::free_address;
use quorate_tests::raft_state::assert_peers_agree;
use quorate_tests::waiting::{phase, until};
use std::fs;
use std::net::TcpListener;
use std::path::Path;

/// Starts a peer with these arguments, which must not succeed.
async fn refusal(dir: &Path, arguments: &[&str]) -> Refusal {
    let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
    let mut peer = Peer::new("", "", dir.join("peer"), arguments);
    let _ = fs::remove_file(dir.join("peer.log"));
    peer.start();
    peer.wait_refusal().await
}

#[tokio::test]
async fn wrong_settings_are_named_with_the_way_out() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (data, token, well_known, config) = (path("peer"), path("token"), path("well-known"), path("config.toml"));
    write_secret(token.as_ref(), "a-token");
    write_secret(well_known.as_ref(), "greedisgood9999\n");
    fs::write(&config, format!("data_dir = \"{data}\"\npeer_listn = \"127.0.0.1:1\"\n")).expect("written");
    let common = path("common.toml");
    fs::write(&common, "disk_low_percent = 500\n").expect("written");
    let (absent, absent_config) = (path("absent"), path("absent.toml"));
    let (public, peer, other) = (free_address(), free_address(), free_address());
    let open_peer = peer.replace("127.0.0.1", "0.0.0.0");
    let founders = format!("{peer},{other}");
    let base = ["--data-dir", &data, "--listen", &public, "--peer-listen", &peer];
    let cases: [(&[&str], &[&str]); 11] = [
        (
            &["--config", &config],
            &["config.toml, line 2: unknown key `peer_listn`; did you mean `peer_listen`?"],
        ),
        (&["--config", &common], &["no data directory: set `data_dir` (--data-dir)"]),
        (
            &["--config", &common, "--data-dir", &data],
            &["`disk_low_percent` (--disk-low-percent) is 500, allowed are 0 to 99"],
        ),
        (&["--config", &absent_config], &["config file", "absent.toml", "No such file"]),
        (&["--token-file", &token], &["--data-dir or --config is needed"]),
        (&base, &["no token", "--token-file", "QUORATE_TOKEN"]),
        (
            &[&base[..], &["--token-file", &absent]].concat(),
            &["secret file", "absent", "No such file"],
        ),
        (
            &[&base[..], &["--token-file", &well_known]].concat(),
            &["well-known default", "--allow-well-known-token"],
        ),
        (
            &[&base[..4], &["--peer-listen", &open_peer, "--token-file", &token]].concat(),
            &["without a cluster secret", "--cluster-secret-file"],
        ),
        (
            &[&base[..], &["--token-file", &token, "--peers", &founders]].concat(),
            &["no root keys", "--root-keys-file"],
        ),
        (
            &[&base[..], &["--token-file", &token, "--profile", "fast"]].concat(),
            &["profile \"fast\" is not known", "lan or wan"],
        ),
    ];
    for (arguments, parts) in cases {
        refusal(dir.path(), arguments).await.assert_says(parts);
    }
}

#[tokio::test]
async fn secrets_of_the_environment_are_checked_as_those_of_files_and_not_shown() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    write_secret(path("token").as_ref(), "a-token");
    write_secret(path("secret").as_ref(), "a-secret");
    let (public, peer) = (free_address(), free_address());
    let arguments = [
        "--data-dir",
        &path("peer"),
        "--listen",
        &public,
        "--peer-listen",
        &peer,
        "--token-file",
        &path("token"),
    ];
    let mut peer = Peer::new("", "", dir.path().join("peer"), arguments.map(str::to_owned).to_vec());
    peer.set_environment("QUORATE_CLUSTER_SECRET", "hunter2");
    peer.set_environment("QUORATE_ROOT_KEYS", "1 hunter2");

    phase("two secrets: nobody could tell which was meant");
    peer.start_with(&["--cluster-secret-file", &path("secret")]);
    let twice = ["both", "--cluster-secret-file", "QUORATE_CLUSTER_SECRET", "keep one"];
    peer.wait_refusal().await.assert_says(&twice);

    phase("keys that are none");
    peer.start();
    peer.wait_refusal().await.assert_says(&["QUORATE_ROOT_KEYS: line 1: the key is "]);
    assert!(!peer.log().contains("hunter2"), "{}", peer.log());
}

#[tokio::test]
async fn a_peer_that_may_open_too_few_files_says_so() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut peer = Peer::new("", "", dir.path().join("peer"), vec!["--data-dir".to_owned(), "unused".to_owned()]);
    peer.set_open_files(1_000);
    peer.start();
    peer.wait_refusal()
        .await
        .assert_says(&["may have 1000 files open, and needs 1024", "ulimit -n", "LimitNOFILE"]);
}

#[tokio::test]
async fn addresses_by_which_nobody_is_found_are_refused_before_a_cluster_is_founded() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    write_secret(path("secret").as_ref(), "a-secret");
    write_secret(path("root-keys").as_ref(), "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n");
    let (public, peer, other) = (free_address(), free_address(), free_address());
    let open = |address: &str| address.replace("127.0.0.1", "0.0.0.0");
    let (open_public, open_peer) = (open(&public), open(&peer));
    let alias = peer.replace("127.0.0.1", "localhost");
    let (others, twice) = (format!("{other},{alias}"), format!("{peer},{alias}"));
    let (data, secret, keys) = (path("peer"), path("secret"), path("root-keys"));
    let secrets = ["--token-file", &secret, "--cluster-secret-file", &secret, "--root-keys-file", &keys];
    let base = [&["--data-dir", data.as_str()][..], &secrets].concat();
    let cases: [(&[&str], &[&str]); 4] = [
        (
            &["--listen", &open_public, "--peer-listen", &peer],
            &[&open_public, "set `advertise` (--advertise)"],
        ),
        (
            &["--listen", &public, "--peer-listen", &open_peer],
            &[&open_peer, "set `peer_advertise` (--peer-advertise)"],
        ),
        (
            &["--listen", &public, "--peer-listen", &peer, "--peers", &others],
            &["without this peer's own address", &peer, "--join"],
        ),
        (
            &["--listen", &public, "--peer-listen", &peer, "--peers", &twice],
            &[&alias, "is this peer itself", "name every peer in --peers once"],
        ),
    ];
    for (arguments, parts) in cases {
        refusal(dir.path(), &[&base[..], arguments].concat()).await.assert_says(parts);
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_flag() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| dir.path().join(name).display().to_string();
    write_secret(path("token").as_ref(), "a-token");
    let taken = TcpListener::bind("127.0.0.1:0").expect("bound");
    let taken = taken.local_addr().expect("bound").to_string();
    let free = free_address();
    for (public, peer, flag) in [(&taken, &free, "--listen"), (&free, &taken, "--peer-listen")] {
        let arguments = [
            "--data-dir",
            &path("peer"),
            "--token-file",
            &path("token"),
            "--listen",
            public,
            "--peer-listen",
            peer,
        ];
        refusal(dir.path(), &arguments)
            .await
            .assert_says(&[&taken, "Address already in use", &format!("choose another with {flag}")]);
    }
}

#[tokio::test]
async fn a_data_directory_in_use_or_unusable_is_named() {
    let mut cluster = Cluster::start(1).await;
    let data = cluster.peers[0].data_dir.display().to_string();
    let token = cluster.dir().join("token").display().to_string();
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (public, peer) = (free_address(), free_address());
    let arguments = [
        "--data-dir",
        &data,
        "--token-file",
        &token,
        "--listen",
        &public,
        "--peer-listen",
        &peer,
    ];
    refusal(dir.path(), &arguments)
        .await
        .assert_says(&["is open in another process", "stop that process first"]);
    assert!(cluster.peers[0].exited().is_none(), "the first process goes on");

    let file = dir.path().join("file");
    fs::write(&file, "not a directory").expect("written");
    let file = file.display().to_string();
    let arguments = [
        "--data-dir",
        &file,
        "--token-file",
        &token,
        "--listen",
        &public,
        "--peer-listen",
        &peer,
    ];
    refusal(dir.path(), &arguments).await.assert_says(&["data directory", &file]);
}

#[tokio::test]
async fn a_peer_with_other_root_keys_is_refused() {
    let mut cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    cluster.peers[follower].kill();
    let keys = cluster.dir().join("other-root-keys");
    write_secret(&keys, "1 CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=\n");
    cluster.peers[follower].start_with(&["--root-keys-file", &keys.display().to_string()]);
    let refusal = cluster.peers[follower].wait_refusal().await;
    refusal.assert_says(&["root key"]);
    cluster.peers[follower].start();
    cluster.wait_ready().await;
}

#[tokio::test]
async fn a_peer_with_none_of_the_cluster_s_root_keys_is_refused_and_a_rotation_goes_through() {
    let mut cluster = Cluster::start(3).await;
    let follower = cluster.follower().await;
    cluster.peers[follower].kill();
    let keys = cluster.dir().join("own-root-keys");
    let (old, new) = (
        "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n",
        "77 CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=\n",
    );
    let path = keys.display().to_string();

    phase("a key that was made here, under an id of its own");
    write_secret(&keys, new);
    cluster.peers[follower].start_with(&["--root-keys-file", &path]);
    let refusal = cluster.peers[follower].wait_refusal().await;
    refusal.assert_says(&[
        "none of the cluster's root keys (1), only 77",
        "give it the file of the other peers",
    ]);

    phase("the same key beside the cluster's is a rotation, and alone it is the end of one");
    write_secret(&keys, &format!("{old}{new}"));
    cluster.peers[follower].start_with(&["--root-keys-file", &path]);
    cluster.wait_ready().await;
    cluster.peers[follower].kill();
    write_secret(&keys, new);
    cluster.peers[follower].start_with(&["--root-keys-file", &path]);
    cluster.wait_ready().await;
}

#[tokio::test]
async fn a_peer_with_another_cluster_secret_is_kept_out() {
    let mut cluster = Cluster::start(3).await;
    let members = cluster.members(0).await;
    let follower = cluster.follower().await;
    cluster.peers[follower].kill();
    let secret = cluster.dir().join("other-secret");
    write_secret(&secret, "guessed");
    cluster.peers[follower].start_with(&["--cluster-secret-file", &secret.display().to_string()]);
    until("it runs, and is not ready", async || {
        let ready = get(&cluster.peers[follower].public, "/readyz").await;
        ready.is_ok_and(|ready| ready.status == 503).then_some(())
    })
    .await;
    let leader = cluster.leader().await;
    assert_ne!(leader, follower, "it takes no part");
    let created = cluster.doris(leader, "create_instance", "{\"instance_id\":\"i\"}").await;
    assert_eq!(created.status, 200, "{}", created.body);
    assert_eq!(cluster.members(leader).await, members);

    cluster.peers[follower].kill();
    cluster.peers[follower].start();
    cluster.wait_ready().await;
    assert_peers_agree(&cluster).await;
}

#[tokio::test]
async fn a_wrong_cluster_secret_is_named_by_whoever_connects_and_not_again_and_again() {
    let mut cluster = Cluster::start(3).await;
    let (leader, odd) = cluster.leader_and_follower().await;
    let other = cluster.dir().join("other-secret");
    write_secret(&other, "not-the-suite-cluster-secret");
    cluster.peers[odd].kill();
    cluster.peers[odd].start_with(&["--cluster-secret-file", &other.display().to_string()]);
    let told = |log: &str| log.lines().filter(|line| line.contains("the cluster secrets differ")).count();
    for peer in [odd, leader] {
        let log = until("the connecting side says what is wrong", async || {
            let log = cluster.peers[peer].log();
            (told(&log) > 0).then_some(log)
        })
        .await;
        assert!(
            log.contains("no connection to a peer") && log.contains("--cluster-secret-file"),
            "{log}"
        );
        assert!(!log.contains("suite-cluster-secret"), "a secret was logged");
    }
    // Both sides try again twenty times a second. By now they have, for as long as it takes to be found missing.
    let odd_id = cluster.peers[odd].peer_address.clone();
    until("the odd one counts as unreachable", async || {
        let status = quorate_tests::native::status(&cluster.peers[leader].public).await.ok()?;
        let found = status.peers.iter().find(|peer| peer.peer_address == odd_id)?;
        (!found.reachable).then_some(())
    })
    .await;
    // Once a minute for each of the others.
    assert!(told(&cluster.peers[odd].log()) <= 6);
    assert!((1..=3).contains(&told(&cluster.peers[leader].log())));
}
