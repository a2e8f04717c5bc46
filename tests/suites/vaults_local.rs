//! Directories of vaults that really fill up, each a small file system of its own, and one that is gone for ever. Says loudly when this machine
//! cannot have such a file system.

use quorate_tests::archive::{Archive, INSTANCE, files_below, import_words};
use quorate_tests::cli;
use quorate_tests::disk::Disk;
use quorate_tests::http;
use quorate_tests::waiting::{phase, until};
use serde_json::Value as Json;
use tempfile::TempDir;

const DISK_BYTES: u64 = 64 << 20;
const FILES: usize = 20;
const FILE_BYTES: usize = 200_000;
/// Less than one file.
const LITTLE: u64 = 100 << 10;
/// What is said of a full disk: what is wrong, and what to do.
const FULL: [&str; 2] = ["No space left on device", "free space on the vault's file system"];

/// An archive whose vault is on a disk of its own; `None` where this machine cannot have one. The disk goes last.
struct Small {
    archive: Archive,
    disk: Disk,
    _images: TempDir,
}

impl Small {
    async fn start() -> Option<Small> {
        let images = tempfile::tempdir().expect("a temporary directory");
        let disk = match Disk::new(images.path(), "vault", DISK_BYTES) {
            Ok(disk) => disk,
            Err(reason) => {
                eprintln!("SKIPPED, NO VAULT WAS FILLED: {reason}");
                return None;
            }
        };
        let vault = tempfile::tempdir_in(disk.path()).expect("a directory on the disk");
        let archive = Archive::start_in(vault, FILES, FILE_BYTES, &[]).await;
        Some(Small {
            archive,
            disk,
            _images: images,
        })
    }

    /// Nothing is missing from the vault, and nothing is there that nobody knows.
    async fn assert_whole(&self) {
        let verified = self.archive.json(&["gc", "verify", INSTANCE]).await;
        for what in ["missing", "damaged", "unreferenced"] {
            assert_eq!(verified[what], serde_json::json!([]), "{verified}");
        }
    }

    async fn assert_absent(&self, collection: &str) {
        let describe = ["collection", "describe", INSTANCE, collection];
        cli::refused(&self.archive.cluster, &describe, "", &[collection, "does not exist"]).await;
    }
}

/// The reason for which a task of a job that goes on is to be tried again.
fn reason_to_try_again(job: &Json) -> Option<String> {
    let tasks = job["tasks"].as_array()?;
    let failed = tasks.iter().find(|task| task["attempts"].as_u64() > Some(0))?;
    failed["reason"].as_str().filter(|reason| !reason.is_empty()).map(str::to_owned)
}

fn assert_says_full(reason: &str) {
    for part in FULL {
        assert!(reason.contains(part), "\"{part}\" is not in {reason}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_into_a_full_vault_goes_on_when_there_is_room_and_leaves_nothing_when_there_is_not() {
    let Some(small) = Small::start().await else { return };
    let archive = &small.archive;
    archive.import_and_snapshot("logs").await;
    let before = archive.verified(INSTANCE, "logs").await;
    assert_eq!(before.len(), FILES);

    phase("the vault is full: the job says so and tries again");
    small.disk.fill(LITTLE);
    let job = archive.restore("again").await;
    let reason = until("a task has failed", async || reason_to_try_again(&archive.job(&job).await)).await;
    assert_says_full(&reason);
    small.assert_absent("again").await;

    phase("there is room again in time");
    small.disk.clear();
    let ended = archive.ended(&job).await;
    assert_eq!(ended["state"].as_str(), Some("JOB_COMPLETED"), "{ended}");
    assert_eq!(archive.verified(INSTANCE, "again").await, before);

    phase("there is none for all attempts: the job fails, and nothing of it is left");
    small.disk.fill(LITTLE);
    let job = archive.restore("never").await;
    let ended = archive.ended(&job).await;
    assert_eq!(ended["state"].as_str(), Some("JOB_FAILED"), "{ended}");
    assert_says_full(ended["reason"].as_str().expect("a reason"));
    small.assert_absent("never").await;
    until("its files are gone, though the disk is full", async || {
        archive.files_of(&job).is_empty().then_some(())
    })
    .await;
    assert_eq!(archive.verified(INSTANCE, "logs").await, before);

    phase("with room the same restore succeeds");
    small.disk.clear();
    let job = archive.restore("never").await;
    let ended = archive.ended(&job).await;
    assert_eq!(ended["state"].as_str(), Some("JOB_COMPLETED"), "{ended}");
    assert_eq!(archive.verified(INSTANCE, "never").await, before);
    small.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_into_a_full_vault_says_so_and_the_same_command_imports_all_when_there_is_room() {
    let Some(small) = Small::start().await else { return };
    let archive = &small.archive;
    archive.ok(&["collection", "create", INSTANCE, "logs"]).await;
    let files = archive.files.path().to_str().expect("UTF-8");
    let import = import_words(INSTANCE, files, "logs", "5");

    phase("no file has room");
    small.disk.fill(LITTLE);
    let parts = [FULL[0], FULL[1], "nothing is imported; the same command run again imports the rest"];
    cli::refused(&archive.cluster, &import, "", &parts).await;
    assert!(archive.verified(INSTANCE, "logs").await.is_empty());
    small.assert_whole().await;

    phase("with room it imports all");
    small.disk.clear();
    archive.ok(&import).await;
    assert_eq!(archive.verified(INSTANCE, "logs").await.len(), FILES);
    small.assert_whole().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_to_be_deleted_from_a_vault_that_is_gone_is_given_up_when_somebody_says_so() {
    let archive = Archive::start(0, 0).await;
    archive.ok(&["collection", "create", INSTANCE, "logs"]).await;
    let abandon = ["gc", "abandon", INSTANCE];

    phase("an upload uses the vault");
    let segments = format!("/api/v1/instances/{INSTANCE}/databases/default/collections/logs/partitions/_default/segments");
    let prepared = post(&archive, &segments, r#"{"count": 1}"#).await;
    let id = prepared["segments"][0]["segment_id"].as_str().expect("an id").to_owned();
    let used = ["the local vault is in use by", "upload of segment", &id];
    cli::refused(&archive.cluster, &[&abandon[..], &["--yes"]].concat(), "", &used).await;
    let would = ["--dry-run: nothing was changed, and this would be refused", &id];
    cli::refused(&archive.cluster, &[&abandon[..], &["--dry-run"]].concat(), "", &would).await;

    phase("the directory is lost, and then the upload is given up");
    std::fs::remove_dir_all(archive.vault.path()).expect("removed");
    let abort = format!("/api/v1/instances/{INSTANCE}/segments/abort");
    post(&archive, &abort, &format!(r#"{{"segment_ids": ["{id}"]}}"#)).await;
    let planned = async || {
        let plan = archive.json(&["gc", "plan"]).await;
        plan.as_array().expect("a list").len()
    };
    assert_eq!(planned().await, 1);

    phase("what would be forgotten is said, and asked for");
    let amount = "0 files, and whatever is in 1 of 1 directory";
    let said = cli::ok(&archive.cluster, &[&abandon[..], &["--dry-run"]].concat()).await;
    assert!(
        said.err.contains(amount) && said.err.contains("--dry-run: nothing was changed"),
        "{said:?}"
    );
    cli::refused(&archive.cluster, &abandon, "n\n", &[amount, "not confirmed"]).await;
    assert_eq!(planned().await, 1);

    phase("it is forgotten once that is agreed to, and who asked stands in a log");
    let forgotten = archive.json(&[&abandon[..], &["--yes"]].concat()).await;
    assert_eq!(
        (forgotten["directories"].as_str(), forgotten["whole_directories"].as_str()),
        (Some("1"), Some("1")),
        "{forgotten}"
    );
    assert_eq!(planned().await, 0);
    let logs: Vec<String> = archive.cluster.peers.iter().map(|peer| peer.log()).collect();
    assert!(
        logs.iter()
            .any(|log| log.contains("files that were to be deleted are given up as lost")),
        "no peer has logged it"
    );
    let again = archive.ok(&[&abandon[..], &["--yes"]].concat()).await;
    assert!(again.contains("nothing is to be deleted from the peers' local vault"), "{again}");
    let mut left = Vec::new();
    files_below(archive.vault.path(), &mut left);
    assert!(left.is_empty(), "{left:?}");
}

/// A call of the API that must succeed; answers its reply.
async fn post(archive: &Archive, path: &str, body: &str) -> Json {
    let headers = [("content-type", "application/json")];
    let reply = http::send(&archive.cluster.peers[0].public, "POST", path, &headers, body)
        .await
        .expect("the peer answers");
    assert_eq!(reply.status, 200, "{path}: {}", reply.body);
    reply.json()
}
