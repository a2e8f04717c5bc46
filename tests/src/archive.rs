//! Instances with real files: a cluster whose peers share a directory, files to import, and the command line.

use crate::cli;
use crate::cluster::Cluster;
use crate::files::content;
use crate::waiting::{LOOK_AGAIN, until};
use quorate_objects::Crc64;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::{Instant, sleep};

/// The instance that an [`Archive`] begins with.
pub const INSTANCE: &str = "archive";
/// Longest a job may take: a worker that died keeps its claim for ten seconds, and some die several times.
pub const JOB_PATIENCE: Duration = Duration::from_secs(180);
/// Holds a restore in its middle, at the first task of every peer, until the site is switched off: however long what is to come meanwhile
/// takes on a busy machine. The binary is built with failpoints; it holds a thread, so peers have several.
pub const HELD: &str = "job_copy_synced=1*pause";
pub const RELEASED: &str = "job_copy_synced=off";

/// A cluster, the directory its peers share, and files to import.
pub struct Archive {
    pub cluster: Cluster,
    pub vault: TempDir,
    pub files: TempDir,
}

impl Archive {
    /// With `count` files of `size` bytes, no two alike.
    pub async fn start(count: usize, size: usize) -> Archive {
        Archive::start_with(count, size, &[]).await
    }

    pub async fn start_with(count: usize, size: usize, further: &[&str]) -> Archive {
        let vault = tempfile::tempdir().expect("a temporary directory");
        Archive::start_in(vault, count, size, further).await
    }

    /// With a directory of the caller's for the vault.
    pub async fn start_in(vault: TempDir, count: usize, size: usize, further: &[&str]) -> Archive {
        let files = tempfile::tempdir().expect("a temporary directory");
        for number in 0..count {
            let directory = files.path().join(format!("part-{}", number % 4));
            std::fs::create_dir_all(&directory).expect("made");
            std::fs::write(directory.join(format!("{number}.bin")), content(number, size)).expect("written");
        }
        let root = vault.path().to_str().expect("UTF-8").to_owned();
        let cluster = Cluster::start_with(3, &[&["--local-vault", &root, "--worker-threads", "4"], further].concat()).await;
        cluster.create_instance(INSTANCE).await;
        let archive = Archive { cluster, vault, files };
        // The leader makes the directory a vault when it finds it unmarked.
        let marker = archive.vault.path().join(".quorate-vault");
        until("the vault is marked", async || marker.exists().then_some(())).await;
        archive
    }

    pub async fn ok(&self, arguments: &[&str]) -> String {
        cli::ok(&self.cluster, arguments).await.out
    }

    pub async fn json(&self, arguments: &[&str]) -> Json {
        cli::json(&self.cluster, arguments).await
    }

    /// A collection with all files in it, and a snapshot of it.
    pub async fn import_and_snapshot(&self, collection: &str) {
        self.import(INSTANCE, collection).await;
        self.ok(&["snapshot", "create", INSTANCE, "first", "--collection", collection])
            .await;
    }

    pub async fn import(&self, instance: &str, collection: &str) {
        self.import_by(instance, collection, "5").await;
    }

    pub async fn import_by(&self, instance: &str, collection: &str, files_per_segment: &str) {
        self.ok(&["collection", "create", instance, collection]).await;
        let files = self.files.path().to_str().expect("UTF-8");
        self.ok(&import_words(instance, files, collection, files_per_segment)).await;
    }

    /// Names, sizes and checksums of a collection's files, as the cluster has them; each is compared with what is in the vault.
    pub async fn verified(&self, instance: &str, collection: &str) -> BTreeMap<String, (String, String)> {
        let read = |file: &str| std::fs::read(self.vault.path().join(file)).expect("what is visible is there");
        self.verified_by(instance, collection, read).await
    }

    /// The same of files in another store; `read` has them by their paths there.
    pub async fn verified_by(
        &self,
        instance: &str,
        collection: &str,
        read: impl Fn(&str) -> Vec<u8>,
    ) -> BTreeMap<String, (String, String)> {
        let segments = self.json(&["segment", "list", instance, "--collection", collection]).await;
        let mut files = BTreeMap::new();
        for segment in segments.as_array().expect("a list") {
            let directory = segment["path"].as_str().expect("a path");
            for file in segment["files"].as_array().expect("files") {
                let text = |name: &str| file[name].as_str().expect("text").to_owned();
                let bytes = read(&format!("{directory}/{}", text("name")));
                assert_eq!(
                    (bytes.len().to_string(), Crc64::of(&bytes).0.to_string()),
                    (text("size_bytes"), text("checksum"))
                );
                files.insert(text("name"), (text("size_bytes"), text("checksum")));
            }
        }
        files
    }

    /// Starts a restore of the snapshot `first`; answers the job's id.
    pub async fn restore(&self, to: &str) -> String {
        let job = self.json(&["snapshot", "restore", INSTANCE, "first", "--to", to]).await;
        job["job_id"].as_str().expect("an id").to_owned()
    }

    pub async fn job(&self, id: &str) -> Json {
        self.json(&["job", "show", id]).await
    }

    /// Waits until a job has ended; answers it.
    pub async fn ended(&self, id: &str) -> Json {
        let deadline = Instant::now() + JOB_PATIENCE;
        loop {
            let job = self.job(id).await;
            if !matches!(job["state"].as_str(), Some("JOB_PLANNING" | "JOB_RUNNING")) {
                return job;
            }
            assert!(Instant::now() < deadline, "job {id} does not end: {job}");
            sleep(LOOK_AGAIN * 10).await;
        }
    }

    /// Arms a failpoint in every peer.
    pub async fn arm(&self, failpoint: &str) {
        self.try_arm(failpoint).await.expect("a peer that runs answers");
    }

    /// The same; an error if one does not run.
    pub async fn try_arm(&self, failpoint: &str) -> std::io::Result<()> {
        for peer in &self.cluster.peers {
            peer.try_arm(failpoint).await?;
        }
        Ok(())
    }

    /// Lets held restores go on at every peer but this one, which does not run.
    pub async fn release_all_but(&self, dead: usize) {
        for (position, peer) in self.cluster.peers.iter().enumerate() {
            if position != dead {
                peer.arm(RELEASED).await;
            }
        }
    }

    /// Files in the vault below directories of jobs.
    pub fn files_of_jobs(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        files_below(self.vault.path(), &mut found);
        let of_job = |path: &PathBuf| path.iter().any(|part| is_job_directory(&part.to_string_lossy()));
        found.retain(of_job);
        found
    }

    /// Those of one job.
    pub fn files_of(&self, job: &str) -> Vec<PathBuf> {
        let directory = format!("j{job}");
        let mut found = self.files_of_jobs();
        found.retain(|path| path.iter().any(|part| part.to_string_lossy() == directory));
        found
    }
}

/// The words that import all files of a directory.
pub fn import_words<'a>(instance: &'a str, files: &'a str, collection: &'a str, files_per_segment: &'a str) -> [&'a str; 8] {
    let per_segment = "--files-per-segment";
    [
        "segment",
        "import",
        instance,
        files,
        "--collection",
        collection,
        per_segment,
        files_per_segment,
    ]
}

fn is_job_directory(name: &str) -> bool {
    let digits = name.strip_prefix('j').unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Adds the files below a directory.
pub fn files_below(directory: &Path, found: &mut Vec<PathBuf>) {
    // A directory may go while it is looked at.
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.path() {
            path if path.is_dir() => files_below(&path, found),
            path => found.push(path),
        }
    }
}
