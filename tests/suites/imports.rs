//! Imports that do not get to their end: what they leave, what they say of it, and that the same command goes on.

use quorate_tests::cli;
use quorate_tests::cluster::Cluster;
use quorate_tests::lossy::{Loss, LossyWay, Lost};
use quorate_tests::waiting::{phase, until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::path::Path;
use std::process::Stdio;
use tempfile::TempDir;

const INSTANCE: &str = "archive";
/// Stands in the body of a commit and of no other call: only commits describe files.
const COMMIT: &str = "\"checksum\"";

/// A cluster and the directory that its peers share.
struct Archive {
    cluster: Cluster,
    vault: TempDir,
}

impl Archive {
    async fn start() -> Archive {
        let vault = tempfile::tempdir().expect("a temporary directory");
        let root = vault.path().to_str().expect("UTF-8");
        let cluster = Cluster::start_with(3, &["--local-vault", root]).await;
        cluster.create_instance(INSTANCE).await;
        // The leader makes the directory a vault when it finds it unmarked.
        let marker = vault.path().join(".quorate-vault");
        until("the vault is marked", async || marker.exists().then_some(())).await;
        Archive { cluster, vault }
    }

    async fn json(&self, arguments: &[&str]) -> Json {
        cli::json(&self.cluster, arguments).await
    }

    async fn create_collection(&self, name: &str) {
        cli::ok(&self.cluster, &["collection", "create", INSTANCE, name]).await;
    }

    /// How many segments a collection has.
    async fn segments(&self, collection: &str) -> usize {
        let listed = self.json(&["segment", "list", INSTANCE, "--collection", collection]).await;
        listed.as_array().expect("a list").len()
    }

    /// A way to the first peer on which commits get lost, but for the first `spared`.
    async fn losing(&self, loss: Loss, spared: usize) -> LossyWay {
        let lost = Lost {
            mark: COMMIT,
            spared,
            loss,
        };
        LossyWay::start(&self.cluster.peers[0].public, lost).await
    }
}

fn import<'a>(directory: &'a TempDir, collection: &'a str, files_per_segment: &'a str) -> Vec<&'a str> {
    let directory = directory.path().to_str().expect("UTF-8");
    let place = ["segment", "import", INSTANCE, directory, "--collection", collection];
    [&place[..], &["--files-per-segment", files_per_segment]].concat()
}

/// The arguments of a command that takes this way, and does not wait for long.
fn through<'a>(way: &'a LossyWay, arguments: &[&'a str]) -> Vec<&'a str> {
    [arguments, &["--endpoint", &way.address, "--timeout", "5"]].concat()
}

fn files(count: usize) -> TempDir {
    let directory = tempfile::tempdir().expect("a temporary directory");
    for number in 0..count {
        std::fs::write(directory.path().join(format!("{number:04}")), format!("content {number}")).expect("written");
    }
    directory
}

/// How many files an import wrote, and how many it found there.
fn counts(told: &Json) -> (usize, usize) {
    let count = |name: &str| told[name].as_str().and_then(|count| count.parse().ok()).expect("a number");
    (count("files"), count("present_files"))
}

/// Directories of segments in a vault: each has its id in its name.
fn segment_directories(directory: &Path) -> usize {
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("readable").flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_segment = name.strip_prefix('g').is_some_and(|id| id.parse::<u64>().is_ok());
        match entry.path() {
            path if !path.is_dir() => {}
            _ if is_segment => count += 1,
            path => count += segment_directories(&path),
        }
    }
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_gets_no_answer_is_looked_for() {
    let archive = Archive::start().await;

    phase("it was not made: what was committed before is named, and the same command imports the rest");
    let many = files(65);
    archive.create_collection("unmade").await;
    let arguments = import(&many, "unmade", "1");
    let way = archive.losing(Loss::Request, 1).await;
    let parts = [
        "imported so far: 64 segments (",
        "the commit was not made (",
        "the same command run again imports the rest",
    ];
    cli::refused(&archive.cluster, &through(&way, &arguments), "", &parts).await;
    assert_eq!(archive.segments("unmade").await, 64);
    assert_eq!(counts(&archive.json(&arguments).await), (1, 64));
    let again = [&arguments[..], &["--again"]].concat();
    assert_eq!(counts(&archive.json(&again).await), (65, 0));
    assert_eq!(archive.segments("unmade").await, 130);

    phase("it was made: the import goes on as if it had heard so");
    let few = files(3);
    archive.create_collection("made").await;
    let arguments = import(&few, "made", "1");
    let way = archive.losing(Loss::Reply, 0).await;
    assert_eq!(counts(&archive.json(&through(&way, &arguments)).await), (3, 0));
    assert_eq!(archive.segments("made").await, 3);

    phase("nobody can be asked: the import says so, gives nothing up, and says where to look");
    archive.create_collection("unknown").await;
    let arguments = import(&few, "unknown", "1");
    let way = archive.losing(Loss::ReplyAndAllAfterIt, 0).await;
    let again = [&through(&way, &arguments)[..], &["--again"]].concat();
    let parts = [
        "nothing is known to be imported",
        "`quorate segment list archive --collection unknown --partition _default`",
        "run it again without --again",
        "it is not known whether the change was made",
    ];
    cli::refused(&archive.cluster, &again, "", &parts).await;
    assert_eq!(archive.segments("unknown").await, 3);
    assert_eq!(counts(&archive.json(&arguments).await), (0, 3));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_that_is_interrupted_leaves_whole_segments_and_goes_on() {
    let archive = Archive::start().await;
    archive.create_collection("logs").await;

    phase("a name that the cluster refuses is found before anything is prepared");
    let wrong = files(1);
    for (name, parts) in [
        ("a\nb".to_owned(), ["a\\nb", "a control character"]),
        (format!("{0}/{0}", "n".repeat(128)), ["257 bytes", "limit 255"]),
    ] {
        let file = wrong.path().join(name);
        std::fs::create_dir_all(file.parent().expect("has one")).expect("made");
        std::fs::write(&file, b"x").expect("written");
        cli::refused(&archive.cluster, &import(&wrong, "logs", "1"), "", &parts).await;
        std::fs::remove_file(&file).expect("removed");
    }
    assert_eq!((archive.segments("logs").await, segment_directories(archive.vault.path())), (0, 0));

    phase("Ctrl-C after the first segment");
    let all = files(6_400);
    let arguments = import(&all, "logs", "100");
    let mut command = cli::command(&archive.cluster, &arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.spawn().expect("the binary runs");
    until("the second segment is begun", async || {
        (segment_directories(archive.vault.path()) > 1).then_some(())
    })
    .await;
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("a child has a pid");
    kill_process(pid, Signal::INT).expect("a child that was not waited for can be signalled");
    let output = tokio::task::block_in_place(|| child.wait_with_output()).expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && output.status.code().is_some(), "{said}");
    assert!(said.contains("imported so far: ") && said.contains("interrupted"), "{said}");
    let whole = archive.segments("logs").await;
    assert!(whole > 0 && whole < 64, "{whole} segments");

    phase("the same command imports the rest");
    assert_eq!(counts(&archive.json(&arguments).await), (6_400 - whole * 100, whole * 100));
    assert_eq!(archive.segments("logs").await, 64);
}
