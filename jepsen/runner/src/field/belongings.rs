//! What a run has made outside its own memory: processes, namespaces, mounts, loop devices, control groups.
//!
//! Each is written to a state file before it is made (a process: right after), and undone by that record alone, by name and
//! by pid, last made first. So a runner that was killed leaves a file from which the next one, or `jepsen clean`, undoes
//! what it left; whatever is not in such a file is never touched.

use super::cgroups;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a killed process may take to be gone, and a file system to be released.
const PATIENCE: Duration = Duration::from_secs(10);
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// One thing that must not stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum Belonging {
    /// The runner itself: its file is left over when it is gone.
    Runner {
        pid: u32,
        started: u64,
        dir: PathBuf,
    },
    /// `started` is the time in /proc, which tells a pid from the same number used again.
    Process {
        pid: u32,
        started: u64,
        name: String,
    },
    Namespace {
        name: String,
    },
    Mount {
        path: PathBuf,
    },
    /// The device is found by its file.
    Loop {
        file: PathBuf,
    },
    Cgroup {
        path: PathBuf,
    },
}

/// The state file of this run.
pub struct Belongings {
    path: PathBuf,
    file: Mutex<File>,
}

/// Where state files lie: of root in /run, of others beside their temporary files.
fn home() -> PathBuf {
    match rustix::process::geteuid().is_root() {
        true => PathBuf::from("/run/quorate-jepsen"),
        false => std::env::temp_dir().join(format!("quorate-jepsen-{}", rustix::process::geteuid().as_raw())),
    }
}

impl Belongings {
    /// Begins the state file of this process.
    pub fn begin(dir: &Path) -> anyhow::Result<Belongings> {
        let home = home();
        fs::create_dir_all(&home).with_context(|| home.display().to_string())?;
        let pid = std::process::id();
        let started = started(pid).context("this process has no entry in /proc")?;
        let path = home.join(format!("{pid}-{started}.jsonl"));
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        let belongings = Belongings {
            path,
            file: Mutex::new(file),
        };
        belongings.record(&Belonging::Runner {
            pid,
            started,
            dir: dir.to_owned(),
        })?;
        Ok(belongings)
    }

    pub fn record(&self, belonging: &Belonging) -> anyhow::Result<()> {
        let line = serde_json::to_string(belonging)? + "\n";
        let mut file = self.file.lock().expect("no writer of the state file panics");
        file.write_all(line.as_bytes()).context("the state file cannot be written")
    }

    /// Records a process that was just started.
    pub fn record_process(&self, pid: u32, name: &str) -> anyhow::Result<()> {
        // One that is gone already needs no record.
        let Some(started) = started(pid) else { return Ok(()) };
        let name = name.to_owned();
        self.record(&Belonging::Process { pid, started, name })
    }

    /// Undoes everything and removes the file. What cannot be undone stays in the file, and is told.
    pub fn undo(&self) -> anyhow::Result<()> {
        undo(&self.path)
    }
}

/// State files whose runner is gone, with what they name.
pub fn left_over() -> Vec<(PathBuf, Vec<Belonging>)> {
    let entries = fs::read_dir(home()).into_iter().flatten().flatten();
    let files = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|ending| ending == "jsonl"));
    let files = files.map(|path| {
        let belongings = read(&path);
        (path, belongings)
    });
    let orphaned = |belongings: &[Belonging]| {
        !belongings
            .iter()
            .any(|one| matches!(one, Belonging::Runner { pid, started: then, .. } if started(*pid) == Some(*then)))
    };
    files.filter(|(_, belongings)| orphaned(belongings)).collect()
}

/// Undoes what runners that are gone have left; returns how many things that were.
pub fn clean() -> anyhow::Result<usize> {
    let mut count = 0;
    for (path, belongings) in left_over() {
        undo(&path)?;
        count += belongings.len().saturating_sub(1);
    }
    Ok(count)
}

/// A last line that a crash cut off names something that was not made yet.
fn read(path: &Path) -> Vec<Belonging> {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn undo(path: &Path) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    // Processes first: they hold everything else. But what is frozen does not die.
    let (processes, others): (Vec<_>, Vec<_>) = read(path).into_iter().partition(|one| matches!(one, Belonging::Process { .. }));
    for belonging in &others {
        if let Belonging::Cgroup { path } = belonging {
            // What goes wrong here shows by what does not end below.
            let _ = cgroups::let_go(path);
        }
    }
    for belonging in processes.iter().chain(others.iter().rev()) {
        // Who asks twice for the end of a run has it undone by two hands: what is gone at the second look the other one has undone.
        if let Err(error) = undo_one(belonging).or_else(|_| undo_one(belonging)) {
            failed.push(format!("{belonging:?}: {error:#}"));
        }
    }
    anyhow::ensure!(failed.is_empty(), "left over, see {}: {}", path.display(), failed.join("; "));
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.with_context(|| path.display().to_string()),
    }
}

fn undo_one(belonging: &Belonging) -> anyhow::Result<()> {
    match belonging {
        Belonging::Runner { .. } => Ok(()),
        Belonging::Process { pid, started, .. } => end_process(*pid, *started),
        Belonging::Namespace { name } => end_namespace(name),
        Belonging::Mount { path } => release(path),
        Belonging::Loop { file } => detach(file),
        Belonging::Cgroup { path } => match path.exists() {
            true => wait_until("the control group is empty", || fs::remove_dir(path).is_ok()),
            false => Ok(()),
        },
    }
}

/// Clock ticks since boot at which a process began; `None` when there is none, or only its remains.
pub fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace();
    let state = fields.next()?;
    // The start is field 22, the state field 3.
    fields.nth(18)?.parse().ok().filter(|_| state != "Z")
}

fn end_process(pid: u32, then: u64) -> anyhow::Result<()> {
    if started(pid) != Some(then) {
        return Ok(());
    }
    let id = i32::try_from(pid).ok().and_then(Pid::from_raw).context("a pid")?;
    let _ = kill_process(id, Signal::KILL);
    wait_until("the process is gone", || started(pid) != Some(then))
}

/// Ends whatever still runs in a namespace of ours, and removes it.
fn end_namespace(name: &str) -> anyhow::Result<()> {
    if !Path::new("/run/netns").join(name).exists() {
        return Ok(());
    }
    let own = std::process::id();
    for pid in run(Command::new("ip").args(["netns", "pids", name]))?.split_whitespace() {
        match pid.parse() {
            // The runner itself lives in the hub of its own network.
            Ok(pid) if pid != own => match started(pid) {
                Some(then) => end_process(pid, then)?,
                None => continue,
            },
            _ => continue,
        }
    }
    run(Command::new("ip").args(["netns", "del", name])).map(drop)
}

fn release(path: &Path) -> anyhow::Result<()> {
    let mounted = || {
        let mounts = fs::read_to_string("/proc/mounts").unwrap_or_default();
        mounts
            .lines()
            .any(|line| line.split(' ').nth(1).is_some_and(|at| Path::new(at) == path))
    };
    wait_until("the file system is released", || {
        !mounted() || (run(Command::new("umount").arg(path)).is_ok() && !mounted())
    })
}

fn detach(file: &Path) -> anyhow::Result<()> {
    for device in devices_of(file)? {
        run(Command::new("losetup").arg("-d").arg(&device))?;
    }
    Ok(())
}

/// Loop devices over this file.
pub fn devices_of(file: &Path) -> anyhow::Result<Vec<String>> {
    let said = run(Command::new("losetup").args(["-n", "-O", "NAME,BACK-FILE"]))?;
    // A file that was removed is marked as such, and still held.
    let is_over = |line: &str| {
        let (device, over) = line.trim().split_once(char::is_whitespace)?;
        let over = over.trim().trim_end_matches(" (deleted)");
        (Path::new(over) == file).then(|| device.to_owned())
    };
    Ok(said.lines().filter_map(is_over).collect())
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) -> anyhow::Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        anyhow::ensure!(Instant::now() < deadline, "not within {} s: {what}", PATIENCE.as_secs());
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Runs a tool to its end; its standard output, or what it complained about.
pub fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "{command:?}: {}", complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_ended_by_its_pid_and_start_and_by_no_pid_alone() {
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep runs");
        let began = started(child.id()).expect("it runs");
        end_process(child.id(), began + 1).expect("another process of that number is not ours");
        assert_eq!(started(child.id()), Some(began));
        end_process(child.id(), began).expect("ended");
        assert!(!child.wait().expect("it ended").success());
    }

    /// Needs root and the freezer; says so where they are not.
    #[test]
    fn what_a_runner_left_frozen_is_ended_too() {
        let group = PathBuf::from(format!("/sys/fs/cgroup/freezer/qj-test-{}", std::process::id()));
        if let Err(error) = fs::create_dir(&group) {
            eprintln!("NOT TESTED HERE: {}: {error}", group.display());
            return;
        }
        let mut child = Command::new("sleep").arg("60").spawn().expect("sleep runs");
        let pid = child.id();
        let reaped = std::thread::spawn(move || child.wait());
        let process = Belonging::Process {
            pid,
            started: started(pid).expect("it runs"),
            name: "sleep".to_owned(),
        };
        let write = |file: &str, text: &str| fs::write(group.join(file), text).expect("the group is written to");
        write("cgroup.procs", &pid.to_string());
        write("freezer.state", "FROZEN");
        let lines = [process, Belonging::Cgroup { path: group.clone() }].map(|one| serde_json::to_string(&one).expect("JSON") + "\n");
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.jsonl");
        fs::write(&path, lines.concat()).expect("written");
        let undone = undo(&path);
        // Whatever came of it, nothing of this test stays.
        let _ = cgroups::let_go(&group);
        undone.expect("undone");
        assert!(!reaped.join().expect("no panic").expect("it ended").success());
        assert!(!group.exists() && !path.exists());
    }

    #[test]
    fn a_line_that_a_crash_cut_off_is_passed_over() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.jsonl");
        let namespace = Belonging::Namespace { name: "qj-none".into() };
        fs::write(&path, serde_json::to_string(&namespace).expect("JSON") + "\n{\"kind\":\"mou").expect("written");
        assert_eq!(read(&path), [namespace]);
        undo(&path).expect("a namespace that is not there needs nothing");
        assert!(!path.exists());
        undo(&path).expect("another hand has undone it");
    }

    /// Needs root; says so where it is not.
    #[test]
    fn two_hands_that_undo_the_same_leave_nothing_over() {
        let names: Vec<String> = (0..12).map(|number| format!("qj-test-{}-{number}", std::process::id())).collect();
        for name in &names {
            if let Err(error) = run(Command::new("ip").args(["netns", "add", name])) {
                eprintln!("NOT TESTED HERE: {error:#}");
                return;
            }
        }
        let lines = names.iter().map(|name| Belonging::Namespace { name: name.clone() });
        let lines: Vec<String> = lines.map(|one| serde_json::to_string(&one).expect("JSON") + "\n").collect();
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state.jsonl");
        fs::write(&path, lines.concat()).expect("written");
        let other = path.clone();
        let other = std::thread::spawn(move || undo(&other));
        let one = undo(&path);
        let other = other.join().expect("no panic");
        assert!(one.is_ok() && other.is_ok(), "{one:?} {other:?}");
        assert!(names.iter().all(|name| !Path::new("/run/netns").join(name).exists()));
    }
}
