//! One peer as a process: started, stopped, killed, paused; killed when dropped.

use crate::cluster::TOKEN;
use crate::http;
use crate::waiting::{PATIENCE, until_within};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// The binary under test: `target/<profile>/quorate`, where `target/<profile>/deps/` holds the running test.
pub fn binary() -> PathBuf {
    let test = std::env::current_exe().expect("the path of the running test");
    let profile = test.parent().and_then(Path::parent).expect("a test lies in target/<profile>/deps");
    let binary = profile.join("quorate");
    assert!(
        binary.exists(),
        "{} is absent; build it with `cargo build -p quorate`",
        binary.display()
    );
    binary
}

/// A peer and how it is started.
pub struct Peer {
    /// Address clients reach it at.
    pub public: String,
    /// Address the other peers reach it at.
    pub peer_address: String,
    pub data_dir: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, &'static str)>,
    log: PathBuf,
    /// Unset: as many as this process.
    open_files: Option<u64>,
    child: Option<Child>,
}

impl Peer {
    pub fn new(public: &str, peer_address: &str, data_dir: PathBuf, arguments: Vec<String>) -> Peer {
        let log = data_dir.with_extension("log");
        Peer {
            public: public.to_owned(),
            peer_address: peer_address.to_owned(),
            data_dir,
            arguments,
            environment: Vec::new(),
            log,
            open_files: None,
            child: None,
        }
    }

    /// Sets an environment variable for all further starts.
    pub fn set_environment(&mut self, name: &'static str, value: &'static str) {
        self.environment.push((name, value));
    }

    /// Bounds the files it may have open, for all further starts.
    pub fn set_open_files(&mut self, limit: u64) {
        self.open_files = Some(limit);
    }

    /// Starts it, with the same arguments each time.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// Starts it with further arguments, this time only; they win over its own.
    pub fn start_with(&mut self, further: &[&str]) {
        self.spawn(further, "");
    }

    /// Starts it, this time only, as a further peer that asks the peer at `known` for a place.
    pub fn start_joining(&mut self, known: &str) {
        let own = self.arguments.clone();
        let founders = self
            .arguments
            .iter()
            .position(|argument| argument == "--peers")
            .expect("it is a founder");
        self.arguments
            .splice(founders..founders + 2, ["--join".to_owned(), known.to_owned()]);
        self.start();
        self.arguments = own;
    }

    /// Starts it with failpoints armed, `site=actions` separated by semicolons, this time only.
    pub fn start_armed(&mut self, failpoints: &str) {
        self.spawn(&[], failpoints);
    }

    fn spawn(&mut self, further: &[&str], failpoints: &str) {
        assert!(self.child.is_none(), "the peer already runs");
        let log = OpenOptions::new().create(true).append(true).open(&self.log).expect("the log opens");
        let mut command = self.command();
        let mut arguments = self.arguments.clone();
        for flag in further.iter().filter(|argument| argument.starts_with("--")) {
            if let Some(position) = arguments.iter().position(|argument| argument == flag) {
                arguments.drain(position..position + 2);
            }
        }
        command.arg("serve").args(&arguments).args(further).stdin(Stdio::null());
        command.env("FAILPOINTS", failpoints);
        command.envs(self.environment.iter().copied());
        command.stdout(log.try_clone().expect("a second handle")).stderr(log);
        self.child = Some(command.spawn().expect("the peer starts"));
    }

    /// Arms failpoints of a peer that runs, `site=actions` separated by semicolons.
    pub async fn arm(&self, failpoints: &str) {
        self.try_arm(failpoints).await.expect("a peer that runs answers");
    }

    /// As [`Peer::arm`]; an error if it does not run.
    pub async fn try_arm(&self, failpoints: &str) -> io::Result<()> {
        let reply = http::send(&self.public, "POST", "/debug/failpoints", &[("quorate-token", TOKEN)], failpoints).await?;
        assert_eq!(reply.status, 200, "{}; is this build with failpoints?", reply.body);
        Ok(())
    }

    fn command(&self) -> Command {
        let Some(limit) = self.open_files else {
            return Command::new(binary());
        };
        let mut command = Command::new("sh");
        command
            .args(["-c", "ulimit -n \"$0\" && exec \"$@\"", &limit.to_string()])
            .arg(binary());
        command
    }

    fn signal(&self, signal: Signal) {
        let id = self.child.as_ref().map(|child| child.id()).expect("the peer runs");
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw).expect("a child has a pid");
        kill_process(pid, signal).expect("a child that was not waited for can be signalled");
    }

    /// kill -9.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("the peer runs");
        child.kill().expect("a child can be killed");
        child.wait().expect("a killed child ends");
    }

    /// SIGTERM; [`Peer::wait_exit`] tells how it ended.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: it stays there and says nothing.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
    }

    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Processor time it has used so far, in hundredths of a second.
    pub fn processor_ticks(&self) -> u64 {
        let id = self.child.as_ref().map(|child| child.id()).expect("the peer runs");
        let stat = fs::read_to_string(format!("/proc/{id}/stat")).expect("a child has an entry in /proc");
        let (_, fields) = stat.rsplit_once(')').expect("the name stands in brackets");
        // User and system time are fields 14 and 15; the first after the name is field 3.
        fields
            .split_whitespace()
            .skip(11)
            .take(2)
            .map(|ticks| ticks.parse::<u64>().expect("a number"))
            .sum()
    }

    /// Whether it has ended by itself.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().expect("a child can be asked");
        if status.is_some() {
            self.child = None;
        }
        status
    }

    /// Waits until it ends by itself.
    pub async fn wait_exit(&mut self) -> ExitStatus {
        self.wait_exit_within(PATIENCE).await
    }

    /// As [`Peer::wait_exit`], when that may take longer than anything else.
    pub async fn wait_exit_within(&mut self, patience: Duration) -> ExitStatus {
        until_within(patience, "the peer ends", async || self.exited()).await
    }

    /// Waits until it ends, and what it said last to the person who started it.
    pub async fn wait_refusal(&mut self) -> Refusal {
        let status = self.wait_exit().await;
        let log = self.log();
        let message = log
            .rsplit_once("quorate: ")
            .map_or("", |(_, message)| message)
            .trim_end()
            .to_owned();
        Refusal {
            code: status.code(),
            message,
            panicked: log.contains("panicked at"),
        }
    }

    /// Its standard error since the test began.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its standard error.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(60)..].join("\n")
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// How a peer that does not start says so.
#[derive(Debug)]
pub struct Refusal {
    pub code: Option<i32>,
    pub message: String,
    pub panicked: bool,
}

impl Refusal {
    /// Exit code 1, no panic, and a message with all of `parts`.
    pub fn assert_says(&self, parts: &[&str]) {
        assert_eq!((self.code, self.panicked), (Some(1), false), "{self:?}");
        for part in parts {
            assert!(self.message.contains(part), "\"{part}\" is not in: {self:?}");
        }
    }
}
