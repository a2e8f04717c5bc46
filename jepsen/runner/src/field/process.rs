//! One process of a run: started where it belongs, recorded, signalled by its pid.

use super::belongings::Belongings;
use super::cgroups::Cgroups;
use super::network::Network;
use anyhow::Context;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::OpenOptions;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

/// Arguments, environment and place of a process.
#[derive(Clone, Debug)]
pub struct Start {
    pub name: String,
    pub binary: PathBuf,
    pub arguments: Vec<String>,
    pub environment: Vec<(String, String)>,
    pub log: PathBuf,
}

/// A child that runs, or has ended and was not yet asked.
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts it in the namespace of `place`, in its control groups.
    pub fn start(
        start: &Start,
        place: Option<(&Network, usize)>,
        cgroups: Option<&Cgroups>,
        belongings: &Belongings,
    ) -> anyhow::Result<Process> {
        let mut command = command(start)?;
        let spawned = match place {
            Some((network, place)) => network.within(place, || command.spawn())?,
            None => command.spawn(),
        };
        let child = spawned.with_context(|| start.binary.display().to_string())?;
        belongings.record_process(child.id(), &start.name)?;
        if let Some(cgroups) = cgroups {
            cgroups.admit(child.id())?;
        }
        Ok(Process { child })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("a pid")?;
        kill_process(pid, signal).context("a child that was not waited for can be signalled")
    }

    /// kill -9, and waits; how it ended.
    pub fn kill(mut self) -> anyhow::Result<ExitStatus> {
        // It may have ended just before.
        let _ = self.child.kill();
        Ok(self.child.wait()?)
    }

    /// Whether it has ended by itself.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// The state letter in /proc: `T` when it is paused.
    pub fn state(&self) -> Option<char> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).ok()?;
        stat.rsplit_once(')')?.1.trim_start().chars().next()
    }
}

fn command(start: &Start) -> anyhow::Result<Command> {
    let log = OpenOptions::new().create(true).append(true).open(&start.log);
    let log = log.with_context(|| start.log.display().to_string())?;
    let mut command = Command::new(&start.binary);
    command.args(&start.arguments).stdin(Stdio::null());
    command.stdout(log.try_clone()?).stderr(log);
    command.envs(start.environment.iter().map(|(name, value)| (name, value)));
    // Ctrl-C is for the runner, which ends its children itself.
    command.process_group(0);
    Ok(command)
}

/// The end of a log, for messages.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
