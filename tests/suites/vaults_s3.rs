//! Collections whose files are in a real S3 server: imported, snapshot, restored into another bucket by workers of their own and
//! checked; and what is said when the store is down or does not let one in.

use quorate_tests::archive::import_words;
use quorate_tests::cli::{self, Said};
use quorate_tests::cluster::{Cluster, TOKEN};
use quorate_tests::files::content;
use quorate_tests::s3_server::S3Server;
use quorate_tests::waiting::{phase, until};
use quorate_tests::worker::WorkerProcess;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use tempfile::TempDir;

const INSTANCE: &str = "archive";
const FILES: usize = 24;
/// One of the files is uploaded and copied in parts.
const LARGE: usize = 20 << 20;
/// How a restore ends here that goes well.
const COMPLETED: &str = "JOB_COMPLETED";

/// A cluster without workers, an instance with two vaults in two buckets, and files to import.
struct Archive {
    cluster: Cluster,
    server: S3Server,
    files: TempDir,
}

impl Archive {
    async fn start() -> Archive {
        let server = S3Server::start(&["hot", "cold"]).await;
        let files = tempfile::tempdir().expect("a temporary directory");
        for number in 0..FILES {
            let size = if number == 0 { LARGE } else { 3_000 + number };
            std::fs::write(files.path().join(format!("{number}.bin")), content(number, size)).expect("written");
        }
        let cluster = Cluster::start_with(3, &["--workers", "0"]).await;
        let archive = Archive { cluster, server, files };
        archive.ok(&["instance", "create", INSTANCE]).await;
        for bucket in ["hot", "cold"] {
            archive.add_vault(bucket, bucket, &archive.server.secret_key);
        }
        archive
    }

    fn run(&self, arguments: &[&str], variables: &[(&str, &str)]) -> Said {
        tokio::task::block_in_place(|| cli::run_with(&self.cluster, variables, arguments, ""))
    }

    /// The caller's own keys are in the environment.
    async fn ok(&self, arguments: &[&str]) -> Said {
        let keys = [
            ("AWS_ACCESS_KEY_ID", self.server.access_key.as_str()),
            ("AWS_SECRET_ACCESS_KEY", self.server.secret_key.as_str()),
        ];
        let said = self.run(arguments, &keys);
        assert!(said.success, "{arguments:?}: {said:?}");
        assert!(
            !format!("{said:?}").contains(&self.server.secret_key),
            "{arguments:?} says the secret key"
        );
        said
    }

    async fn json(&self, arguments: &[&str]) -> Json {
        let said = self.ok(&[arguments, &["-o", "json"]].concat()).await;
        serde_json::from_str(&said.out).unwrap_or_else(|error| panic!("{arguments:?} is not JSON ({error}): {said:?}"))
    }

    fn add_vault(&self, name: &str, bucket: &str, secret_key: &str) {
        let place = self.server.place_flags(bucket);
        let mut arguments = vec!["vault", "add-s3", INSTANCE, name];
        arguments.extend(place.iter().map(String::as_str));
        let said = self.run(&arguments, &[("QUORATE_SK", secret_key)]);
        assert!(said.success, "{said:?}");
    }

    /// Sizes and checksums of a collection's files.
    async fn listed(&self, collection: &str) -> BTreeMap<String, (String, String)> {
        let segments = self.json(&["segment", "list", INSTANCE, "--collection", collection]).await;
        let mut files = BTreeMap::new();
        for file in segments
            .as_array()
            .expect("a list")
            .iter()
            .flat_map(|segment| segment["files"].as_array().expect("files"))
        {
            let text = |name: &str| file[name].as_str().expect("text").to_owned();
            files.insert(text("name"), (text("size_bytes"), text("checksum")));
        }
        files
    }

    /// What `gc verify` finds in one vault: files that are known, missing, damaged, and that nothing refers to.
    async fn verified(&self, vault: &str) -> (u64, usize, usize, usize) {
        let found = self.json(&["gc", "verify", INSTANCE, "--vault", vault]).await;
        let count = |name: &str| found[name].as_array().expect("a list").len();
        let known = found["files"].as_str().and_then(|files| files.parse().ok()).expect("a number");
        (known, count("missing"), count("damaged"), count("unreferenced"))
    }

    async fn restore(&self, to: &str, vault: &str) -> String {
        let restore = ["snapshot", "restore", INSTANCE, "first", "--to", to, "--to-vault", vault];
        let job = self.json(&restore).await;
        job["job_id"].as_str().expect("an id").to_owned()
    }

    /// Waits until a job has ended; answers its state and its reason.
    async fn ended(&self, job: &str) -> (String, String) {
        until("the job ends", async || {
            let shown = self.json(&["job", "show", job]).await;
            let text = |name: &str| shown[name].as_str().unwrap_or_default().to_owned();
            let ended = !matches!(text("state").as_str(), "JOB_PLANNING" | "JOB_RUNNING");
            ended.then(|| (text("state"), text("reason")))
        })
        .await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_collection_in_a_bucket_is_restored_into_another_bucket_by_workers_and_deleted_again() {
    let archive = Archive::start().await;
    let directory = archive.files.path().to_str().expect("UTF-8").to_owned();

    phase("import");
    archive.ok(&["collection", "create", INSTANCE, "logs", "--vault", "hot"]).await;
    let import = import_words(INSTANCE, &directory, "logs", "1");
    let without_keys = archive.run(&import, &[("AWS_ACCESS_KEY_ID", ""), ("AWS_SECRET_ACCESS_KEY", "")]);
    assert!(
        !without_keys.success && without_keys.err.contains("AWS_ACCESS_KEY_ID"),
        "{without_keys:?}"
    );
    archive.ok(&import).await;
    let before = archive.listed("logs").await;
    assert_eq!(before.len(), FILES);
    assert_eq!(before["0.bin"].0, LARGE.to_string());
    assert_eq!(archive.verified("hot").await, (FILES as u64, 0, 0, 0));

    phase("a snapshot, and a restore into the other bucket: peers have no workers, a process does it");
    archive.ok(&["snapshot", "create", INSTANCE, "first", "--collection", "logs"]).await;
    let job = archive.restore("again", "cold").await;
    let first = WorkerProcess::start(&archive.cluster, "first", TOKEN);
    assert_eq!(archive.ended(&job).await, (COMPLETED.to_owned(), String::new()));
    assert_eq!(archive.listed("again").await, before);
    assert_eq!(archive.verified("cold").await, (FILES as u64, 0, 0, 0));
    assert_eq!(archive.server.open_uploads("cold"), 0);

    phase("of a job that is cancelled in its middle nothing stays in the bucket");
    drop(first);
    let _held = WorkerProcess::start_with(&archive.cluster, "held", TOKEN, "job_copy_synced=pause");
    let settled = archive.server.objects("cold");
    let job = archive.restore("cancelled", "cold").await;
    until("it has copied all", async || {
        (archive.server.objects("cold") >= settled + FILES).then_some(())
    })
    .await;
    archive.ok(&["job", "cancel", &job, "--yes"]).await;
    until("what it wrote is deleted", async || {
        (archive.server.objects("cold") == settled).then_some(())
    })
    .await;
    assert_eq!(archive.verified("cold").await, (FILES as u64, 0, 0, 0));
    assert_eq!(archive.server.open_uploads("cold"), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_does_not_let_one_in_or_has_lost_a_file_fails_the_job_with_a_reason_that_says_where() {
    let mut archive = Archive::start().await;
    let directory = archive.files.path().to_str().expect("UTF-8").to_owned();
    archive.ok(&["collection", "create", INSTANCE, "logs", "--vault", "hot"]).await;
    archive
        .ok(&["segment", "import", INSTANCE, &directory, "--collection", "logs"])
        .await;
    archive.ok(&["snapshot", "create", INSTANCE, "first", "--collection", "logs"]).await;

    phase("a bucket that is not there, and a key that is wrong: the restore is refused, nothing is begun");
    archive.add_vault("nowhere", "nowhere", &archive.server.secret_key);
    archive.add_vault("locked", "cold", "a-wrong-secret");
    for (vault, place) in [("nowhere", "nowhere"), ("locked", "cold")] {
        let restore = ["snapshot", "restore", INSTANCE, "first", "--to", "again", "--to-vault", vault];
        let said = archive.run(&restore, &[]);
        assert!(!said.success && said.err.contains(place), "{said:?}");
        assert!(
            !said.err.contains("a-wrong-secret") && !said.err.contains(&archive.server.secret_key),
            "{said:?}"
        );
    }
    let jobs = archive.json(&["job", "list"]).await;
    assert!(!jobs.to_string().contains("RESTORE"), "{jobs}");

    phase("the store goes down: a restore is refused, a job that has begun goes on by itself, status names the vault");
    let job = archive.restore("again", "cold").await;
    archive.server.kill();
    let restore = ["snapshot", "restore", INSTANCE, "first", "--to", "other", "--to-vault", "cold"];
    let said = archive.run(&restore, &[]);
    assert!(
        !said.success && said.err.contains("check that the endpoint is reachable"),
        "{said:?}"
    );
    let _worker = WorkerProcess::start(&archive.cluster, "first", TOKEN);
    until("somebody tries", async || {
        let shown = archive.json(&["job", "show", &job]).await;
        assert_eq!(shown["state"].as_str(), Some("JOB_RUNNING"), "{shown}");
        shown["workers"].as_array().is_some_and(|workers| !workers.is_empty()).then_some(())
    })
    .await;
    archive.ok(&["job", "cancel", &job, "--yes"]).await;
    for address in archive.cluster.addresses() {
        until("status of every peer names the vault whose store is down", async || {
            let said = archive.run(&["status", "--endpoint", &address], &[]);
            said.out.contains(&format!("vault cold of instance {INSTANCE}")).then_some(())
        })
        .await;
    }
}
