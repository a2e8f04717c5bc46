//! Every command of the README's tour and of its sections on snapshots, on the Admin API and on settings, and the client's example, run as
//! they stand.

use quorate_tests::cluster::Cluster;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

/// The `sh` blocks of a section of the README, in order.
fn blocks(title: &str) -> Vec<&'static str> {
    let readme = include_str!("../../README.md");
    let heading = format!("{title}\n");
    let section = readme.split("\n## ").find(|section| section.starts_with(&heading));
    let section = section.unwrap_or_else(|| panic!("README has a section {title}"));
    let rest = section.split("```sh\n").skip(1);
    rest.map(|rest| rest.split("```").next().unwrap_or_default()).collect()
}

/// A port P such that P, P+1, P+10, P+11, P+20 and P+21 are free, outside the range the other suites draw from. No two calls look
/// at the same ports: what is free for one may be about to be taken by another.
fn free_base() -> u16 {
    static CALLS: AtomicU16 = AtomicU16::new(0);
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    let first = (std::process::id() % 60) as u16;
    let share = CALLS.fetch_add(1, Ordering::Relaxed) % 5 * 60;
    let bases = (0..60).map(|step| 20_000 + (share + (first + step) % 60) * 30);
    let usable = bases
        .into_iter()
        .find(|base| [0, 1, 10, 11, 20, 21].iter().all(|offset| free(base + offset)));
    usable.expect("six free ports among 1,800")
}

/// Runs a script that starts peers in `$dir`; what it printed to standard output. No peer stays behind.
fn run(script: &str) -> String {
    let notes = tempfile::tempdir().expect("a temporary directory");
    let binary = quorate_tests::peer::binary();
    let path = format!(
        "{}:{}",
        binary.parent().expect("a directory").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    // However the script ends, it leaves word of where its peers are, and of the one it started by hand.
    let leave_word = "trap 'echo \"${dir:-}\" >\"$TOUR_NOTES/dir\"; echo \"${restarted:-}\" >\"$TOUR_NOTES/restarted\"' EXIT\n";
    let output = Command::new("bash")
        .args(["-euo", "pipefail", "-c", &format!("{leave_word}{script}")])
        .env("PATH", path)
        .env("TOUR_NOTES", notes.path())
        .env("QUORATE_TOUR_PORT", free_base().to_string())
        .output()
        .expect("bash runs");
    kill_what_is_left(notes.path());
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "the script failed\n{out}\n{err}");
    out.into_owned()
}

/// Kills the peers that `dev.json` and the script itself have recorded, if they still run.
fn kill_what_is_left(notes: &Path) {
    let note = |name: &str| fs::read_to_string(notes.join(name)).unwrap_or_default().trim().to_owned();
    let dir = note("dir");
    if dir.is_empty() {
        return;
    }
    let recorded = fs::read(Path::new(&dir).join("dev.json")).unwrap_or_default();
    let recorded: Json = serde_json::from_slice(&recorded).unwrap_or_default();
    let mut pids: Vec<i64> = recorded
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|peer| peer["pid"].as_i64())
        .collect();
    pids.extend(note("restarted").parse::<i64>());
    for pid in pids {
        // A process that has ended may have left its number to another one.
        let command_line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let is_ours = String::from_utf8_lossy(&command_line).contains(&dir);
        if let (true, Some(pid)) = (is_ours, i32::try_from(pid).ok().and_then(Pid::from_raw)) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

#[test]
fn the_tour_of_the_readme_runs() {
    let tour = blocks("Tour").concat();
    assert!(tour.contains("kill -9"), "the tour kills a leader");
    let out = run(&tour);
    let told: Vec<&str> = out.lines().filter(|line| line.contains("   seen by peer ")).collect();
    assert_eq!(told.len(), 2, "it is looked at twice:\n{out}");
}

#[test]
fn the_commands_of_the_admin_api_run() {
    let tour = blocks("Tour");
    let start = tour.first().expect("the tour starts peers");
    let script = format!(
        "{start}{}quorate dev stop --dir \"$dir\"\nrm -r \"$dir\"\n",
        blocks("Admin API").concat()
    );
    let out = run(&script);
    for said in [
        "\"instance_id\": \"sales\"",
        "\"value\": \"aGVsbG8=\"",
        "\"code\": \"invalid_argument\"",
        "HTTP/1.1 307",
        "3.1.0",
    ] {
        assert!(out.contains(said), "{said} is missing in\n{out}");
    }
}

#[test]
fn the_commands_about_snapshots_run() {
    let tour = blocks("Tour");
    let start = tour.first().expect("the tour starts peers");
    let commands = blocks("Snapshots, restores and clones").concat();
    assert!(commands.contains("kill -9"), "a leader is killed while a restore runs");
    let out = run(&format!("{start}{commands}"));
    for said in [
        "restore of nightly into logs_again completed",
        "30 segments",
        "300 files are the same",
        "0 are missing",
        "compaction of lab completed",
        "600 files are the same",
    ] {
        assert!(out.contains(said), "{said} is missing in\n{out}");
    }
}

#[test]
fn the_commands_about_settings_run() {
    let tour = blocks("Tour");
    let start = tour.first().expect("the tour starts peers");
    let commands = blocks("Running three machines").concat();
    let out = run(&format!("{start}{commands}quorate dev stop --dir \"$dir\"\nrm -r \"$dir\"\n"));
    for said in [
        "all of these have their defaults",
        "claim_lease_ms is 30000, it was 10000",
        "job_retention_seconds is 2592000, it was 604800",
        "max_snapshots_per_collection is 50, it was 10000",
        "read_back_copies is 0, it was 1",
        "{\"value\":\"200\",\"value_before\":\"1000\"}",
        "claim_lease_ms is 10000, it was 30000",
    ] {
        assert!(out.contains(said), "{said} is missing in\n{out}");
    }
}

#[tokio::test]
async fn the_example_of_the_client_runs() {
    let cluster = Cluster::start(3).await;
    let created = cluster
        .doris(0, "create_instance", r#"{"instance_id":"tour","name":"t","user_id":"u"}"#)
        .await;
    assert_eq!(created.status, 200, "{}", created.body);
    let example = quorate_tests::peer::binary().parent().expect("a directory").join("examples/tour");
    let endpoints: Vec<String> = cluster.peers.iter().map(|peer| peer.public.clone()).collect();
    let output = tokio::task::spawn_blocking(move || Command::new(example).arg("tour").args(endpoints).output())
        .await
        .expect("joined");
    let output = output.expect("the example is built");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}
