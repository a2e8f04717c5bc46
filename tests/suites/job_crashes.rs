//! Peers that die at every step of a job, a snapshot or a clean-up that makes something durable, and what becomes of it, with files in a
//! directory that the peers share and in a bucket.

use quorate_tests::archive::{Archive, HELD, INSTANCE, JOB_PATIENCE, RELEASED, files_below, import_words};
use quorate_tests::cli;
use quorate_tests::cluster::TOKEN;
use quorate_tests::peer::Peer;
use quorate_tests::s3_server::S3Server;
use quorate_tests::waiting::{LOOK_AGAIN, phase, until};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use tokio::time::{Instant, sleep};

/// What `abort` ends a process with.
const SIGABRT: i32 = 6;

/// Every site of the jobs' source, and what brings it about.
const SITES: &[(&str, Way)] = &[
    ("job_plan_before", Way::Restore),
    ("job_plan_after", Way::Restore),
    ("job_task_claimed", Way::Restore),
    ("job_copy_start", Way::Restore),
    ("job_file_copied", Way::Restore),
    ("job_copy_synced", Way::Restore),
    ("job_complete_before", Way::Restore),
    ("job_complete_after", Way::Restore),
    ("job_publish_before", Way::Restore),
    ("job_publish_after", Way::Restore),
    ("snapshot_metadata_written", Way::Snapshot),
    ("snapshot_commit_after", Way::Snapshot),
    ("job_manifests_before", Way::Snapshot),
    ("job_manifests_after", Way::Snapshot),
    ("snapshot_files_deleted", Way::DropSnapshot),
    ("delete_read", Way::Cancel),
    ("delete_files_after", Way::Cancel),
    ("delete_finish_before", Way::Cancel),
    ("delete_finish_after", Way::Cancel),
    ("upkeep_before", Way::Cancel),
    ("upkeep_after", Way::Cancel),
    ("job_fail_before", Way::Fail),
    ("job_fail_after", Way::Fail),
    ("job_give_up_before", Way::GiveUp),
    ("job_give_up_after", Way::GiveUp),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Restore,
    Snapshot,
    DropSnapshot,
    Cancel,
    /// A task cannot succeed, at any peer that has not died yet.
    Fail,
    /// The job's time is over before its files are copied.
    GiveUp,
}

impl Way {
    /// Who dies starts again without what keeps the job from completing, so either end may come.
    fn must_succeed(self) -> bool {
        !matches!(self, Way::Fail | Way::GiveUp)
    }

    /// What brings it about.
    fn command(self, target: &str) -> Vec<String> {
        let restore = ["snapshot", "restore", INSTANCE, "first", "--to", target];
        let words = match self {
            Way::Restore | Way::Fail => restore.to_vec(),
            Way::Snapshot => vec!["snapshot", "create", INSTANCE, target, "--collection", "logs"],
            Way::DropSnapshot => vec!["snapshot", "drop", INSTANCE, "r_job_manifests_after", "--yes"],
            Way::Cancel => vec!["job", "cancel", target, "--yes"],
            Way::GiveUp => [&restore[..], &["--give-up-after", "2"]].concat(),
        };
        words.into_iter().chain(["--timeout", "60"]).map(str::to_owned).collect()
    }
}

/// Starts again whoever died at the site; answers how many that were.
fn start_the_dead(archive: &mut Archive, site: &str) -> usize {
    let mut died = 0;
    for peer in &mut archive.cluster.peers {
        let Some(status) = peer.exited() else { continue };
        let log = peer.log();
        assert_eq!(status.signal(), Some(SIGABRT), "{log}");
        assert!(
            log.contains(&format!("failpoint {site} panic")),
            "it died, but not at {site}: {log}"
        );
        peer.start();
        died += 1;
    }
    died
}

/// Where the files are.
enum Store {
    Directory,
    Bucket(S3Server),
}

/// The bucket, and the vault that it is.
const BUCKET: &str = "cold";

impl Store {
    async fn bucket() -> Store {
        Store::Bucket(S3Server::start(&[BUCKET]).await)
    }

    /// A collection `logs`, and the snapshot `first` of it.
    async fn fill(&self, archive: &Archive) {
        let Store::Bucket(server) = self else {
            return archive.import_and_snapshot("logs").await;
        };
        let place = server.place_flags(BUCKET);
        let add = [&["vault", "add-s3", INSTANCE, BUCKET], &*words(&place)].concat();
        self.ok(archive, &add);
        archive.ok(&["collection", "create", INSTANCE, "logs", "--vault", BUCKET]).await;
        let files = archive.files.path().to_str().expect("UTF-8");
        let import = import_words(INSTANCE, files, "logs", "5");
        self.ok(archive, &import);
        archive.ok(&["snapshot", "create", INSTANCE, "first", "--collection", "logs"]).await;
    }

    /// With the keys of the bucket.
    fn ok(&self, archive: &Archive, arguments: &[&str]) -> String {
        let (access_key, secret_key) = match self {
            Store::Directory => ("", ""),
            Store::Bucket(server) => (server.access_key.as_str(), server.secret_key.as_str()),
        };
        let keys = [
            ("QUORATE_SK", secret_key),
            ("AWS_ACCESS_KEY_ID", access_key),
            ("AWS_SECRET_ACCESS_KEY", secret_key),
        ];
        let said = tokio::task::block_in_place(|| cli::run_with(&archive.cluster, &keys, arguments, ""));
        assert!(said.success, "{arguments:?}: {said:?}");
        said.out
    }

    async fn verified(&self, archive: &Archive, collection: &str) -> BTreeMap<String, (String, String)> {
        match self {
            Store::Directory => archive.verified(INSTANCE, collection).await,
            Store::Bucket(server) => {
                let read = |file: &str| server.object(BUCKET, &format!("data/{file}"));
                archive.verified_by(INSTANCE, collection, read).await
            }
        }
    }

    /// How many files there are of a job.
    fn files_of(&self, archive: &Archive, job: &str) -> usize {
        match self {
            Store::Directory => archive.files_of(job).len(),
            Store::Bucket(server) => {
                let of_job = format!("/j{job}/");
                server.keys(BUCKET).iter().filter(|key| key.contains(&of_job)).count()
            }
        }
    }

    /// Nothing that is known is missing or damaged: the command would fail.
    fn assert_whole(&self, archive: &Archive) {
        let mut verify = vec!["gc", "verify", INSTANCE];
        if let Store::Bucket(_) = self {
            verify.extend(["--vault", BUCKET]);
        }
        self.ok(archive, &verify);
    }
}

fn words(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_die_at_any_step_of_a_restore_complete_it_all_the_same() {
    die_at_each(Store::Directory, |way| way == Way::Restore).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_die_at_any_step_of_another_job_end_it_all_the_same() {
    die_at_each(Store::Directory, |way| way != Way::Restore).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_die_at_any_step_of_a_restore_within_a_bucket_complete_it_all_the_same() {
    die_at_each(Store::bucket().await, |way| way == Way::Restore).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn peers_that_die_at_any_step_of_another_job_on_a_bucket_end_it_all_the_same() {
    die_at_each(Store::bucket().await, |way| way != Way::Restore).await;
}

async fn die_at_each(store: Store, is_wanted: impl Fn(Way) -> bool) {
    let mut archive = Archive::start(12, 10_000).await;
    store.fill(&archive).await;
    let expected = store.verified(&archive, "logs").await;
    assert_eq!(expected.len(), 12);
    for (site, way) in SITES.iter().filter(|(_, way)| is_wanted(*way)) {
        phase(&format!("{site}: {way:?}"));
        let mut target = format!("r_{site}");
        if *way == Way::Cancel {
            archive.arm(HELD).await;
            let job = archive.restore(&target).await;
            until("files are copied", async || (store.files_of(&archive, &job) > 0).then_some(())).await;
            target = job;
        }
        match way {
            Way::Fail => archive.arm("job_copy_start=return").await,
            Way::GiveUp => archive.arm("job_copy_synced=sleep(5000)").await,
            _ => {}
        }
        archive.arm(&format!("{site}=1*panic->off")).await;
        let done = spawn_command(&archive, way.command(&target));
        let mut died = 0;
        let deadline = Instant::now() + JOB_PATIENCE;
        while !done.is_finished() || died == 0 || !is_settled(&archive, &store, *way, &target).await {
            died += start_the_dead(&mut archive, site);
            assert!(Instant::now() < deadline, "{site}: {died} peers died, and it does not settle");
            sleep(LOOK_AGAIN).await;
        }
        let (success, said) = done.await.expect("it ran");
        assert!(success || !way.must_succeed(), "{site}: {said}");
        disarm(&mut archive, site).await;
        archive.cluster.wait_ready().await;
        if *way == Way::Restore {
            assert_eq!(store.verified(&archive, &target).await, expected, "{site}");
            archive.ok(&["collection", "drop", INSTANCE, &target, "--yes"]).await;
        }
    }
    store.assert_whole(&archive);
}

/// A failpoint that this round did not come to must not go off in the next one; a peer that comes to it meanwhile starts without it.
async fn disarm(archive: &mut Archive, site: &str) {
    let off = format!("{site}=off;job_copy_start=off;{RELEASED}");
    let deadline = Instant::now() + JOB_PATIENCE;
    loop {
        start_the_dead(archive, site);
        if archive.try_arm(&off).await.is_ok() && !archive.cluster.peers.iter().any(|peer| is_dying(peer, site)) {
            return;
        }
        assert!(Instant::now() < deadline, "{site}: not every peer runs");
        sleep(LOOK_AGAIN).await;
    }
}

/// Whether a peer has come to the site and still answers, because it writes how it came to that.
fn is_dying(peer: &Peer, site: &str) -> bool {
    let log = peer.log();
    log.rfind(&format!("failpoint {site} panic")) > log.rfind("serving peer=")
}

/// The command line, while the test looks after the peers.
fn spawn_command(archive: &Archive, arguments: Vec<String>) -> tokio::task::JoinHandle<(bool, String)> {
    let endpoints = archive.cluster.addresses().join(",");
    tokio::task::spawn_blocking(move || {
        let mut command = std::process::Command::new(quorate_tests::peer::binary());
        command
            .args(&arguments)
            .env("QUORATE_ENDPOINTS", endpoints)
            .env("QUORATE_TOKEN", TOKEN);
        let output = command.output().expect("the binary runs");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    })
}

/// Whether what was brought about has come to its end, as one peer that answers says.
async fn is_settled(archive: &Archive, store: &Store, way: Way, target: &str) -> bool {
    let asks: &[&str] = match way {
        Way::Restore => &["collection", "describe", INSTANCE, target],
        Way::Snapshot => &["snapshot", "describe", INSTANCE, target],
        Way::DropSnapshot | Way::Fail | Way::GiveUp => &["snapshot", "list", INSTANCE],
        Way::Cancel => &["job", "show", target],
    };
    let asks = [asks, &["-o", "json", "--timeout", "2"]].concat();
    let said = tokio::task::block_in_place(|| cli::run(&archive.cluster, &asks, ""));
    let Ok(shown) = serde_json::from_str::<Json>(&said.out) else {
        return false;
    };
    match way {
        // The command line has waited for the end.
        Way::Restore | Way::Fail | Way::GiveUp => true,
        Way::Snapshot => shown["state"] == "COMMITTED" && shown["manifests"] == shown["segments"],
        Way::DropSnapshot => !said.out.contains("r_job_manifests_after"),
        Way::Cancel => shown["state"] == "JOB_CANCELLED" && store.files_of(archive, target) == 0,
    }
}

/// Names in calls of `fail_point!` below a directory.
fn sites_below(directory: &Path, found: &mut BTreeSet<String>) {
    let mut files = Vec::new();
    files_below(directory, &mut files);
    for file in files {
        let text = std::fs::read_to_string(&file).expect("source is text");
        let calls = text.split("fail_point!(\"").skip(1);
        found.extend(calls.filter_map(|call| call.split('"').next()).map(str::to_owned));
    }
}

#[test]
fn every_site_of_the_jobs_source_has_a_case_and_every_case_a_site() {
    let mut in_source = BTreeSet::new();
    sites_below(
        &PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates/jobs/src")),
        &mut in_source,
    );
    let in_table: BTreeSet<String> = SITES.iter().map(|(site, _)| (*site).to_owned()).collect();
    assert_eq!(in_source, in_table);
}
