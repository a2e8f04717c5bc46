//! Started processes: each is stopped when its owner is dropped, and killed if this process panics.

use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, OpenOptions};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// How long a process may take to stop before it is killed.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Pids to kill when this process panics: a release build aborts then, and drops nothing.
static STARTED: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// Kills every started process before a panic ends this one.
pub fn kill_children_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if let Ok(started) = STARTED.try_lock() {
            started.iter().for_each(|pid| send(*pid, Signal::KILL));
        }
        report(panic);
    }));
}

/// Adds a process that a child of ours started.
pub fn watch(pid: u32) {
    if let Ok(mut started) = STARTED.lock() {
        started.push(pid);
    }
}

/// Forgets a process that has ended, whose pid somebody else may get.
pub fn unwatch(pid: u32) {
    if let Ok(mut started) = STARTED.lock() {
        started.retain(|other| *other != pid);
    }
}

/// Sends a signal; a process that has ended is left alone.
pub fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        let _ = kill_process(pid, signal);
    }
}

/// Whether a process runs: a zombie does not, unless it has threads that are still ending and hold its ports.
pub fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    stat.rsplit_once(')')
        .is_some_and(|(_, rest)| threads > 1 || !rest.trim_start().starts_with(['Z', 'X']))
}

/// A program with its arguments, and where its output goes.
#[derive(Clone, Debug)]
pub struct Program {
    pub binary: PathBuf,
    pub arguments: Vec<String>,
    pub log: PathBuf,
}

/// A child process; stopped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Program {
    /// The word behind a flag.
    pub fn value_of(&self, flag: &str) -> Option<&str> {
        let at = self.arguments.iter().position(|argument| argument == flag)?;
        self.arguments.get(at + 1).map(String::as_str)
    }

    pub fn start(&self) -> anyhow::Result<Process> {
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("open {}", self.log.display()))?;
        let mut command = Command::new(&self.binary);
        command
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        // A group of its own: Ctrl-C reaches only us, and we stop the others in order.
        command.process_group(0);
        let child = command.spawn().with_context(|| format!("start {}", self.binary.display()))?;
        watch(child.id());
        Ok(Process { child })
    }
}

impl Process {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Asks the process to stop, without waiting.
    pub fn ask_to_stop(&self) {
        send(self.pid(), Signal::TERM);
    }

    /// Kills it and waits until it is gone.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        unwatch(self.pid());
    }

    /// An error that shows the end of the log, if the process has ended.
    pub fn check_runs(&mut self, log: &Path) -> anyhow::Result<()> {
        let Some(status) = self.child.try_wait()? else { return Ok(()) };
        let text = fs::read_to_string(log).unwrap_or_default();
        let last: Vec<&str> = text.lines().rev().take(5).collect();
        anyhow::bail!(
            "a server ended with {status}; end of {}:\n{}",
            log.display(),
            last.into_iter().rev().collect::<Vec<_>>().join("\n")
        )
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.ask_to_stop();
        let deadline = Instant::now() + STOP_TIMEOUT;
        while matches!(self.child.try_wait(), Ok(None)) {
            if Instant::now() > deadline {
                eprintln!(
                    "process {} did not stop within {} s and is killed",
                    self.pid(),
                    STOP_TIMEOUT.as_secs()
                );
                break;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }
}

/// Ports on loopback, `offsets` above a common base, that are free now. Another process can still take one before we use
/// it; the start then fails and says so.
pub fn free_ports(first_base: u16, offsets: &[u16]) -> anyhow::Result<u16> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    (first_base..60_000)
        .step_by(100)
        .find(|base| offsets.iter().all(|offset| free(base + offset)))
        .context("no free ports on loopback between 20000 and 60000")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(directory: &Path, binary: &str, arguments: &[&str]) -> Program {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        Program {
            binary: binary.into(),
            arguments,
            log: directory.join("log"),
        }
    }

    #[test]
    fn a_dropped_process_is_stopped() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let process = program(directory.path(), "/bin/sleep", &["1000"]).start().expect("sleep starts");
        let pid = process.pid();
        assert!(runs(pid));
        drop(process);
        assert!(!runs(pid));
    }

    #[test]
    fn a_process_that_ends_is_reported_with_the_end_of_its_log() {
        let directory = tempfile::tempdir().expect("temporary directory");
        let program = program(directory.path(), "/bin/sh", &["-c", "echo cannot bind; exit 3"]);
        let mut process = program.start().expect("sh starts");
        let deadline = Instant::now() + Duration::from_secs(60);
        let error = loop {
            if let Err(error) = process.check_runs(&program.log) {
                break error.to_string();
            }
            assert!(Instant::now() < deadline, "sh ends");
            std::thread::sleep(Duration::from_millis(1));
        };
        assert!(error.contains("cannot bind") && error.contains('3'), "{error}");
    }

    #[test]
    fn a_port_in_use_is_passed_over() {
        let base = free_ports(21_000, &[0, 1]).expect("some are free");
        let _taken = TcpListener::bind(("127.0.0.1", base + 1)).expect("it was free");
        assert_ne!(free_ports(base, &[0, 1]).expect("some are free"), base);
    }
}
