//! A peer dies, or is told by its disk that it cannot, at every step that makes something durable: no acknowledged write is
//! lost, none is applied twice, no read goes back, and the peer comes back from what it left on disk.
//!
//! The binary has a named site at each of these steps (`fail_point!`). A site is armed in one peer, at run time or at its
//! start, the step is brought about under load, and the peer must end of itself and say at which site. Then it is started
//! again without.

use quorate_tests::cluster::Cluster;
use quorate_tests::http;
use quorate_tests::load::Load;
use quorate_tests::raft_state::wait_log_gone;
use quorate_tests::random::up_to;
use quorate_tests::verdict;
use quorate_tests::waiting::{PATIENCE, phase, until, until_within};
use std::collections::BTreeSet;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Duration;

const INSTANCE: &str = "failpoints";
/// Checkpoints, purges and new log files come every few hundred milliseconds, so that the load alone reaches them.
const ARGUMENTS: [&str; 4] = ["--checkpoint-log-entries", "50", "--log-segment-bytes", "65536"];
/// A peer dies at one of the first hits of a site that is hit often, not always at the same one.
const HITS: u64 = 4;
/// Some sites are hit once per file of the log, and a slow disk takes its time to fill one.
const FAULT_PATIENCE: Duration = Duration::from_secs(PATIENCE.as_secs() * HITS);
/// Attempts at what comes about only if leadership is where the test takes it to be.
const ATTEMPTS: usize = 5;
/// What `abort` ends a process with.
const SIGABRT: i32 = 6;

/// How the step comes about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Under load, at the leader.
    Leading,
    /// Under load, at a follower.
    Following,
    /// A follower takes part in an election.
    Voting,
    /// A former leader takes entries back that it never got to a majority.
    TakingBack,
    /// A peer away until the log it needs was gone is sent a checkpoint: at the peer that sends it.
    Sending,
    /// The same, at the peer that gets it.
    Receiving,
}
use Way::*;

/// What the armed site does, and what must come of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// The process dies there.
    Dies,
    /// The step fails with this error, and the process must end of itself.
    Ends(&'static str),
    /// The step fails twice with this error; the peer says so, tries again and goes on.
    Goes(&'static str),
}
use Fault::*;

/// Every site of the source, each at least once.
const CASES: &[(&str, Way, Fault)] = &[
    ("vote_save_before", Voting, Dies),
    ("vote_save_after", Voting, Dies),
    ("log_append_before", Leading, Dies),
    ("log_append_before", Following, Dies),
    ("log_append_after", Leading, Dies),
    ("log_append_after", Following, Dies),
    ("log_write_group", Leading, Dies),
    ("log_write_group", Following, Dies),
    ("log_sync_group", Leading, Dies),
    ("log_sync_group", Following, Dies),
    ("log_prepare_segment", Leading, Dies),
    ("log_write_segment_header", Following, Dies),
    ("log_name_segment", Leading, Dies),
    ("log_write_high_water", Following, Dies),
    ("log_unlink_segment", Following, Dies),
    ("log_purge_before", Leading, Dies),
    ("log_purge_after", Following, Dies),
    ("apply_commit_before", Leading, Dies),
    ("apply_commit_before", Following, Dies),
    ("apply_commit_after", Leading, Dies),
    ("apply_commit_after", Following, Dies),
    ("checkpoint_before", Leading, Dies),
    ("checkpoint_after", Following, Dies),
    ("log_truncate_before", TakingBack, Dies),
    ("log_truncate_after", TakingBack, Dies),
    ("snapshot_send_before", Sending, Dies),
    ("snapshot_send_piece", Sending, Dies),
    ("snapshot_receive_chunk", Receiving, Dies),
    ("snapshot_receive_file", Receiving, Dies),
    ("snapshot_received", Receiving, Dies),
    ("install_before", Receiving, Dies),
    ("install_named", Receiving, Dies),
    ("install_activated", Receiving, Dies),
    ("install_after", Receiving, Dies),
    ("log_write_group", Leading, Ends("ENOSPC")),
    ("log_sync_group", Leading, Ends("EIO")),
    ("log_sync_group", Following, Ends("EIO")),
    ("log_sync_group", Voting, Ends("EIO")),
    ("log_write_high_water", Voting, Ends("EIO")),
    ("log_prepare_segment", Following, Ends("ENOSPC")),
    ("log_name_segment", Leading, Ends("ENOSPC")),
    ("apply_commit_before", Leading, Ends("EIO")),
    ("apply_commit_before", Following, Ends("EIO")),
    ("checkpoint_before", Leading, Goes("ENOSPC")),
    ("install_before", Receiving, Ends("EIO")),
    ("log_unlink_segment", Following, Goes("EIO")),
    ("snapshot_send_before", Sending, Goes("EIO")),
    ("snapshot_send_piece", Sending, Goes("EIO")),
    ("snapshot_receive_chunk", Receiving, Goes("ENOSPC")),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_peer_that_dies_at_any_step_of_its_log_and_state_loses_nothing() {
    run(|way, fault| fault == Dies && !is_transfer(way)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_peer_that_dies_while_it_catches_up_another_or_itself_loses_nothing() {
    run(|way, fault| fault == Dies && is_transfer(way)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_peer_whose_disk_fails_stops_or_tries_again_and_loses_nothing() {
    run(|_, fault| fault != Dies).await;
}

fn is_transfer(way: Way) -> bool {
    matches!(way, TakingBack | Sending | Receiving)
}

/// Every case of the table that is asked for, one after the other in one cluster under one load.
async fn run(wanted: impl Fn(Way, Fault) -> bool) {
    let mut cluster = Cluster::start_with(3, &ARGUMENTS).await;
    cluster.create_instance(INSTANCE).await;
    let load = Load::start(&cluster.addresses(), INSTANCE);
    for (site, way, fault) in CASES.iter().filter(|(_, way, fault)| wanted(*way, *fault)) {
        phase(&format!("{site}, {way:?}: {fault:?}"));
        load.some_writes().await;
        match way {
            Leading | Following | Voting => under_load(&mut cluster, site, *way, *fault).await,
            TakingBack => taking_back(&mut cluster, site, *fault).await,
            Sending => sending(&mut cluster, site, *fault).await,
            Receiving => receiving(&mut cluster, site, *fault).await,
        }
        cluster.wait_ready().await;
    }
    load.some_writes().await;
    verdict::finish(&mut cluster, load, INSTANCE).await;
}

/// What a site is armed with.
fn armed(site: &str, way: Way, fault: Fault) -> String {
    // An election has few votes to save.
    let later = if way == Voting { 0 } else { up_to(HITS) };
    match fault {
        Dies => format!("{site}={later}*off->panic"),
        Ends(error) => format!("{site}={later}*off->return({error})"),
        Goes(error) => format!("{site}=2*return({error})"),
    }
}

/// Waits until the peer ended, or went on, as the fault says; then it runs.
async fn wait_fault(cluster: &mut Cluster, peer: usize, said_before: usize, site: &str, fault: Fault) {
    let peer = &mut cluster.peers[peer];
    match fault {
        Dies => {
            let status = peer.wait_exit_within(FAULT_PATIENCE).await;
            assert_died_at(site, status, &peer.log()[said_before..]);
            peer.start();
        }
        Ends(_) => {
            let status = peer.wait_exit_within(FAULT_PATIENCE).await;
            let said = &peer.log()[said_before..];
            assert!(!status.success() && said.contains(&mark(site, fault)), "{status}: {said}");
            assert!(!said.contains("panicked at"), "an error of the disk is no panic: {said}");
            peer.start();
        }
        Goes(_) => {
            let complaint = mark(site, fault);
            until_within(FAULT_PATIENCE, "the peer complains", async || {
                peer.log()[said_before..].contains(&complaint).then_some(())
            })
            .await;
            assert!(peer.exited().is_none(), "it was to go on: {}", peer.log_tail());
        }
    }
}

fn assert_died_at(site: &str, status: ExitStatus, said: &str) {
    assert_eq!(status.signal(), Some(SIGABRT), "{said}");
    assert!(said.contains(&mark(site, Dies)), "it died, but not there: {said}");
}

/// What a peer that meets the fault says of it.
fn mark(site: &str, fault: Fault) -> String {
    match fault {
        Dies => format!("failpoint {site} panic"),
        Ends(error) | Goes(error) => format!("injected {error}"),
    }
}

async fn serves(address: &str) -> bool {
    matches!(http::get(address, "/readyz").await, Ok(reply) if reply.status == 200)
}

async fn under_load(cluster: &mut Cluster, site: &str, way: Way, fault: Fault) {
    let leader = cluster.leader().await;
    let peer = if way == Leading { leader } else { (leader + 1) % 3 };
    let said = cluster.peers[peer].log().len();
    cluster.peers[peer].arm(&armed(site, way, fault)).await;
    if way == Voting {
        // Neither of the two others is elected without the vote of this one.
        cluster.peers[leader].kill();
    }
    wait_fault(cluster, peer, said, site, fault).await;
    if way == Voting {
        cluster.peers[leader].start();
    }
}

async fn taking_back(cluster: &mut Cluster, site: &str, fault: Fault) {
    for _ in 0..ATTEMPTS {
        let old = cluster.leader().await;
        leave_alone(cluster, old).await;
        cluster.peers[old].kill();
        (0..3).filter(|peer| *peer != old).for_each(|peer| cluster.peers[peer].start());
        cluster.leader().await;
        let said = cluster.peers[old].log().len();
        cluster.peers[old].start_armed(&format!("{site}=panic"));
        // It may have died before the entry was in its file, or led no more; then there is nothing to take back.
        let address = cluster.peers[old].public.clone();
        let peer = &mut cluster.peers[old];
        let ended = until("the former leader ends or serves", async || match peer.exited() {
            Some(status) => Some(Some(status)),
            None => serves(&address).await.then_some(None),
        });
        if let Some(status) = ended.await {
            assert_eq!(fault, Dies);
            assert_died_at(site, status, &peer.log()[said..]);
            peer.start();
            return;
        }
    }
    panic!("{site} was not hit in {ATTEMPTS} attempts");
}

/// Every peer but this one dies before it appends what comes next. A leader is then left with an entry that nobody else has: its
/// entries need one of them.
async fn leave_alone(cluster: &mut Cluster, leader: usize) {
    let site = "log_append_before";
    for peer in (0..3).filter(|peer| *peer != leader) {
        let said = cluster.peers[peer].log().len();
        cluster.peers[peer].arm(&armed(site, Voting, Dies)).await;
        let peer = &mut cluster.peers[peer];
        let status = peer.wait_exit().await;
        assert_died_at(site, status, &peer.log()[said..]);
    }
}

/// Kills a follower until the log it needs is gone; answers which.
async fn leave_behind(cluster: &mut Cluster) -> usize {
    let absent = cluster.follower().await;
    cluster.peers[absent].kill();
    wait_log_gone(cluster, absent).await;
    absent
}

async fn receiving(cluster: &mut Cluster, site: &str, fault: Fault) {
    let absent = leave_behind(cluster).await;
    let said = cluster.peers[absent].log().len();
    cluster.peers[absent].start_armed(&armed(site, Voting, fault));
    wait_fault(cluster, absent, said, site, fault).await;
}

async fn sending(cluster: &mut Cluster, site: &str, fault: Fault) {
    for _ in 0..ATTEMPTS {
        let absent = leave_behind(cluster).await;
        let sender = cluster.leader().await;
        let said = cluster.peers[sender].log().len();
        cluster.peers[sender].arm(&armed(site, Voting, fault)).await;
        cluster.peers[absent].start();
        let met = until("the leader meets the fault, or the absent peer serves without", async || {
            // In this order: the leader says what it met before the other one can have come back.
            let is_back = serves(&cluster.peers[absent].public).await;
            let met = cluster.peers[sender].log()[said..].contains(&mark(site, fault));
            (met || is_back).then_some(met)
        });
        if met.await {
            return wait_fault(cluster, sender, said, site, fault).await;
        }
        // Another one led by then, and sent it.
        cluster.peers[sender].arm(&format!("{site}=off")).await;
        cluster.wait_ready().await;
    }
    panic!("{site} was not hit in {ATTEMPTS} attempts");
}

/// Names in calls of `fail_point!` below `dir`.
fn sites_below(dir: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(dir).expect("a directory of the source").flatten() {
        let path = entry.path();
        // The steps of jobs have a suite of their own.
        if path.ends_with("crates/jobs") {
            continue;
        }
        if path.is_dir() {
            sites_below(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = std::fs::read_to_string(&path).expect("source is text");
            let calls = text.split("fail_point!(\"").skip(1);
            found.extend(calls.filter_map(|call| call.split('"').next()).map(str::to_owned));
        }
    }
}

#[test]
fn every_site_of_the_source_has_a_case_and_every_case_a_site() {
    let mut in_source = BTreeSet::new();
    let crates = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates"));
    for entry in std::fs::read_dir(crates).expect("the crates").flatten() {
        // Sites of long work have their cases in that crate's own tests, with workers and leaders that die in one process.
        if entry.path().is_dir() && entry.file_name() != "jobs" {
            sites_below(&entry.path(), &mut in_source);
        }
    }
    let in_table: BTreeSet<String> = CASES.iter().map(|(site, ..)| (*site).to_owned()).collect();
    assert_eq!(in_source, in_table);
    let die: BTreeSet<String> = CASES
        .iter()
        .filter(|case| case.2 == Dies)
        .map(|(site, ..)| (*site).to_owned())
        .collect();
    assert_eq!(die, in_source, "a peer dies at every site");
}
