//! Disks that really fill up: every peer has a small file system of its own. Says loudly when this machine cannot have one.

use quorate_tests::cluster::Cluster;
use quorate_tests::disk::Disk;
use quorate_tests::http::get;
use quorate_tests::native;
use quorate_tests::raft_state::assert_peers_agree;
use quorate_tests::waiting::{phase, until};

const MIB: u64 = 1 << 20;
/// Two segments of the log take 128 MiB.
const DISK_BYTES: u64 = 400 * MIB;
/// Below this a disk counts as low.
const LOW_BYTES: u64 = 64 * MIB;
/// Clearly below.
const LITTLE: u64 = 40 * MIB;
const BALLAST_BYTES: u64 = 16 * MIB;

async fn metric(cluster: &Cluster, peer: usize, name: &str) -> i64 {
    let text = get(&cluster.peers[peer].public, "/metrics").await.expect("answered").body;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{name} is not in {text}")).parse().expect("a number")
}

async fn wait_metric(cluster: &Cluster, peer: usize, name: &str, value: i64) {
    until(&format!("{name} of peer {peer} is {value}"), async || {
        (metric(cluster, peer, name).await == value).then_some(())
    })
    .await;
}

/// A cluster whose peers live on these disks.
async fn start_on(disks: &[Disk]) -> Cluster {
    let (low, ballast) = (LOW_BYTES.to_string(), BALLAST_BYTES.to_string());
    let mut cluster = Cluster::prepare(disks.len(), &["--disk-low-bytes", &low, "--ballast-bytes", &ballast]);
    for (peer, disk) in cluster.peers.iter_mut().zip(disks) {
        std::os::unix::fs::symlink(disk.path().join("data"), &peer.data_dir).expect("linked");
        std::fs::create_dir(disk.path().join("data")).expect("made");
        peer.start();
    }
    cluster.wait_ready().await;
    cluster
}

async fn create(cluster: &Cluster, peer: usize, name: &str) -> (u16, String) {
    let reply = cluster
        .doris(peer, "create_instance", &format!("{{\"instance_id\":\"{name}\"}}"))
        .await;
    (reply.status, reply.body)
}

#[tokio::test]
async fn a_cluster_whose_disks_fill_up_refuses_what_grows_and_comes_back() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let made: Result<Vec<Disk>, String> = (0..3)
        .map(|peer| Disk::new(dir.path(), &format!("disk{peer}"), DISK_BYTES))
        .collect();
    let disks = match made {
        Ok(disks) => disks,
        Err(reason) => return eprintln!("SKIPPED, NO DISK WAS FILLED: {reason}"),
    };
    let mut cluster = start_on(&disks).await;
    for name in ["first", "second", "third"] {
        cluster.create_instance(name).await;
    }
    for peer in 0..3 {
        assert_eq!(metric(&cluster, peer, "quorate_ballast_bytes").await, BALLAST_BYTES as i64);
        assert_eq!(metric(&cluster, peer, "quorate_disk_low").await, 0);
    }

    phase("the leader's disk fills up: it hands over, and writes go on");
    let first = cluster.leader().await;
    disks[first].fill(LITTLE);
    let leader = until("somebody else leads", async || {
        Some(cluster.leader().await).filter(|leader| *leader != first)
    })
    .await;
    assert_eq!(create(&cluster, first, "while-one-is-low").await.0, 200);
    let first_id = native::status(&cluster.peers[first].public).await.expect("answered").peer_id;
    let low = format!("peer {first_id}");
    until("the new leader shows it, and blames nobody else", async || {
        let findings = native::status(&cluster.peers[leader].public).await.ok()?.findings;
        let (of_it, of_others): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| finding.object == low);
        // A peer that did not answer once is blamed for a second.
        let blames_others = of_others.iter().any(|finding| finding.severity == "critical");
        let shows_it = of_it.iter().any(|finding| finding.text.contains("MiB of disk left"));
        (shows_it && !blames_others).then_some(())
    })
    .await;

    phase("a second disk fills up: what grows is refused at every peer, deletes go on");
    let second = 3 - first - leader;
    disks[second].fill(LITTLE);
    wait_metric(&cluster, leader, "quorate_growth_refused", 1).await;
    for peer in 0..3 {
        let (code, body) = create(&cluster, peer, "too-much").await;
        assert!(code == 507 && body.contains("2 of 3 voters are short of disk"), "{code} {body}");
    }
    let dropped = cluster.doris(second, "drop_instance", "{\"instance_id\":\"third\"}").await;
    assert_eq!(dropped.status, 200, "{}", dropped.body);

    phase("nothing at all is left on it: the ballast is given back, and the peer lives on");
    disks[second].fill(0);
    wait_metric(&cluster, second, "quorate_ballast_bytes", 0).await;
    assert!(cluster.peers[second].log().contains("the ballast is given back"));
    assert!(
        disks[second].free_bytes() >= BALLAST_BYTES / 2,
        "{} bytes are free",
        disks[second].free_bytes()
    );
    let dropped = cluster.doris(second, "drop_instance", "{\"instance_id\":\"second\"}").await;
    assert_eq!(dropped.status, 200, "{}", dropped.body);

    restart_and_recover(&mut cluster, &disks, [first, second, leader]).await;
    assert_peers_agree(&cluster).await;
}

/// The end of the story: starts on a low disk, room again, a start with room.
async fn restart_and_recover(cluster: &mut Cluster, disks: &[Disk], [first, second, leader]: [usize; 3]) {
    phase("a peer that is started on a low disk gives its ballast back first");
    assert_eq!(
        metric(cluster, first, "quorate_ballast_bytes").await,
        BALLAST_BYTES as i64,
        "there was room enough so far"
    );
    cluster.peers[first].kill();
    cluster.peers[first].start();
    cluster.wait_ready().await;
    assert_eq!(metric(cluster, first, "quorate_ballast_bytes").await, 0);

    phase("with room again everything is taken, and a start makes a new ballast");
    disks.iter().for_each(Disk::clear);
    wait_metric(cluster, leader, "quorate_growth_refused", 0).await;
    until("what grows is taken again", async || {
        (create(cluster, first, "afterwards").await.0 == 200).then_some(())
    })
    .await;
    cluster.peers[second].terminate();
    assert!(cluster.peers[second].wait_exit().await.success());
    cluster.peers[second].start();
    cluster.wait_ready().await;
    assert_eq!(metric(cluster, second, "quorate_ballast_bytes").await, BALLAST_BYTES as i64);
}
