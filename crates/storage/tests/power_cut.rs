//! Real power cuts: a file system of its own whose unwritten memory is thrown away in the middle of appends.
//!
//! The child appends to a log on a loop-mounted ext4 and prints every index the log acknowledged. The parent shuts the
//! file system down without flushing anything, mounts it again and opens the log: everything printed must be there. The
//! same with a disk that lies about syncs shows that the test can see a loss. Needs root, mkfs.ext4, mount and perl (the
//! shutdown is an ioctl without a safe wrapper); says loudly when it cannot run.

#[path = "support/loop_disk.rs"]
mod loop_disk;
mod support;

use loop_disk::Disk;
use quorate_storage::codec::{LeaderId, Vote};
use quorate_storage::log::{FileLog, FileLogOptions, LogStore, Step, Verdict};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::{entry, small, wait};

const DIR_VARIABLE: &str = "QUORATE_POWER_CUT_DIR";
const LYING_VARIABLE: &str = "QUORATE_POWER_CUT_LYING_DISK";
const ENTRY_BYTES: usize = 300;
/// More than the test harness says before the child begins, so that some of them tell of what was acknowledged.
const FIRST_LINES: usize = 11;

/// Ended whatever happens, before its disk goes.
struct Appender(Child);

impl Drop for Appender {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn acknowledged_entries_survive_a_power_cut() {
    for pause_ms in [300, 700, 1300] {
        let Some(acknowledged) = cut_after(pause_ms, false) else { return };
        println!("power cut after {pause_ms} ms: {acknowledged}");
        assert!(acknowledged.starts_with("kept"), "{acknowledged}");
    }
}

#[test]
fn a_disk_that_lies_about_syncs_is_seen_to_lose() {
    // At once: the kernel writes by itself what is seconds old, and nobody else syncs this disk.
    let Some(outcome) = cut_after(0, true) else { return };
    println!("negative control, syncs skipped: {outcome}");
    assert!(outcome.starts_with("lost"), "{outcome}");
}

/// The child's body; an ordinary test run passes through it without doing anything.
#[test]
fn child_appends_until_it_is_cut() {
    let Some(dir) = std::env::var_os(DIR_VARIABLE) else { return };
    let lying = std::env::var_os(LYING_VARIABLE).is_some();
    let options = FileLogOptions {
        before_step: Arc::new(move |step| {
            Ok(if lying && step == Step::SyncGroup {
                Verdict::Skip
            } else {
                Verdict::Run
            })
        }),
        ..small(1 << 20)
    };
    let log = FileLog::open(&dir, options).expect("a fresh disk");
    for index in 0.. {
        // Several wait at once, so that groups of all sizes are cut.
        let entries = vec![entry(index, ENTRY_BYTES)];
        let report = move |result: std::io::Result<()>| {
            if result.is_ok() {
                println!("acknowledged entry {index}");
            }
        };
        let appended = if index % 5 == 0 {
            wait(|done| log.append(entries, chain(report, done)))
        } else {
            log.append(entries, Box::new(report))
        };
        let voted = if index % 200 == 199 { vote(&log, index) } else { Ok(()) };
        if appended.is_err() || voted.is_err() {
            return;
        }
    }
}

fn chain(first: impl FnOnce(std::io::Result<()>) + Send + 'static, done: quorate_storage::log::Done) -> quorate_storage::log::Done {
    Box::new(move |result| {
        first(result.as_ref().map(|_| ()).map_err(|error| error.kind().into()));
        done(result);
    })
}

fn vote(log: &FileLog, term: u64) -> std::io::Result<()> {
    wait(|done| {
        log.save_vote(
            Vote {
                leader: LeaderId { term, peer: 1 },
                committed: false,
            },
            done,
        )
    })?;
    println!("acknowledged vote {term}");
    Ok(())
}

/// What became of the acknowledged entries; `None` when this machine cannot do it.
fn cut_after(pause_ms: u64, lying: bool) -> Option<String> {
    let dir = tempfile::tempdir().unwrap();
    let disk = match Disk::new(dir.path()) {
        Ok(disk) => disk,
        Err(reason) => {
            eprintln!("SKIPPED, NO POWER WAS CUT: {reason}");
            return None;
        }
    };
    let log_dir = disk.mount.join("log");
    let (entries, vote) = append_and_cut(&disk, &log_dir, Duration::from_millis(pause_ms), lying);
    disk.detach().expect("nothing uses the disk any more");
    disk.attach().expect("ext4 recovers");
    Some(judge(&log_dir, entries, vote))
}

/// The last acknowledged entry and vote.
fn append_and_cut(disk: &Disk, log_dir: &Path, pause: Duration, lying: bool) -> (u64, Option<u64>) {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["child_appends_until_it_is_cut", "--exact", "--nocapture"])
        .env(DIR_VARIABLE, log_dir);
    if lying {
        command.env(LYING_VARIABLE, "1");
    }
    let mut child = Appender(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let output = BufReader::new(child.0.stdout.take().unwrap());
    let (said, begun) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        let (mut entry, mut vote) = (0, None);
        for line in output.lines().map_while(Result::ok) {
            let _ = said.send(());
            let number = |word: &str| line.split_once(word).and_then(|(_, number)| number.parse::<u64>().ok());
            entry = number("acknowledged entry ").unwrap_or(entry);
            vote = number("acknowledged vote ").or(vote);
        }
        (entry, vote)
    });
    for _ in 0..FIRST_LINES {
        begun
            .recv_timeout(Duration::from_secs(60))
            .expect("the child begins within a minute");
    }
    let cut_at = Instant::now() + pause;
    // Not a wait for anything: the moment of the cut is what the test varies.
    std::thread::sleep(cut_at.saturating_duration_since(Instant::now()));
    disk.cut_power().expect("ext4 can be shut down");
    drop(child);
    reader.join().unwrap()
}

fn judge(log_dir: &Path, entry_acknowledged: u64, vote_acknowledged: Option<u64>) -> String {
    let log = match FileLog::open(log_dir, small(1 << 20)) {
        Ok(log) => log,
        Err(error) => return format!("lost: entry {entry_acknowledged} was acknowledged; the log refuses to open: {error}"),
    };
    let last = log.state().last.map(|last| last.index);
    if last < Some(entry_acknowledged) || log.state().vote.map(|vote| vote.leader.term) < vote_acknowledged {
        return format!("lost: entry {entry_acknowledged} was acknowledged, the log ends at {last:?}");
    }
    let entries = log.read(0, u64::MAX, usize::MAX).unwrap();
    for (index, found) in entries.iter().enumerate() {
        assert_eq!(*found, entry(index as u64, ENTRY_BYTES));
    }
    format!(
        "kept {} entries, {entry_acknowledged} was the last acknowledged, {:?}",
        entries.len(),
        log.recovery()
    )
}
