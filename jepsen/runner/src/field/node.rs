//! One node: its process, and the handles of what can be harmed about it.

use super::belongings::Belongings;
use super::cgroups::Cgroups;
use super::disk::Disk;
use super::network::Network;
use super::preload::{ClockFault, ControlPage, SyncFault};
use super::process::{Process, Start, tail};
use anyhow::Context;
use rustix::process::Signal;
use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::{Mutex, MutexGuard};

/// What a node is made of.
pub struct Parts {
    pub name: String,
    pub public: String,
    pub control: String,
    pub peer: String,
    pub data_dir: PathBuf,
    pub audit: PathBuf,
    /// One of those the cluster began with.
    pub founder: bool,
    pub start: Start,
    pub disk: Option<Disk>,
    pub cgroups: Option<Cgroups>,
    pub page: Option<ControlPage>,
}

pub struct Node {
    pub name: String,
    pub public: String,
    pub control: String,
    pub peer: String,
    pub data_dir: PathBuf,
    pub audit: PathBuf,
    pub disk: Option<Disk>,
    pub cgroups: Option<Cgroups>,
    pub page: Option<ControlPage>,
    start: Start,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    process: Option<Process>,
    /// Whether it is started with `--join` instead of `--peers`.
    joins: bool,
}

impl Node {
    pub fn new(parts: Parts) -> Node {
        Node {
            name: parts.name,
            public: parts.public,
            control: parts.control,
            peer: parts.peer,
            data_dir: parts.data_dir,
            audit: parts.audit,
            disk: parts.disk,
            cgroups: parts.cgroups,
            page: parts.page,
            start: parts.start,
            state: Mutex::new(State {
                process: None,
                joins: !parts.founder,
            }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no user of a node panics")
    }

    pub fn is_running(&self) -> bool {
        self.state().process.is_some()
    }

    pub fn pid(&self) -> Option<u32> {
        self.state().process.as_ref().map(Process::pid)
    }

    /// The state letter in /proc; `None` when it does not run.
    pub fn process_state(&self) -> Option<char> {
        self.state().process.as_ref()?.state()
    }

    /// From now on it is started as a peer that asks for a place.
    pub fn joins_from_now_on(&self) {
        self.state().joins = true;
    }

    /// Starts it, if it does not run.
    pub(super) fn start(
        &self,
        further: &[&str],
        failpoints: &str,
        place: Option<(&Network, usize)>,
        belongings: &Belongings,
    ) -> anyhow::Result<()> {
        let mut state = self.state();
        if state.process.is_some() {
            return Ok(());
        }
        self.prepare_data_dir()?;
        let mut start = self.start.clone();
        if state.joins
            && let Some(founders) = start.arguments.iter_mut().find(|argument| *argument == "--peers")
        {
            "--join".clone_into(founders);
        }
        start.arguments.extend(further.iter().map(|argument| (*argument).to_owned()));
        start.environment.push(("FAILPOINTS".to_owned(), failpoints.to_owned()));
        state.process = Some(Process::start(&start, place, self.cgroups.as_ref(), belongings)?);
        Ok(())
    }

    /// The directory with a link to the audit log, which must outlive a power cut.
    fn prepare_data_dir(&self) -> anyhow::Result<()> {
        let link = self.data_dir.join("audit.log");
        if link.is_symlink() {
            return Ok(());
        }
        std::fs::create_dir_all(&self.data_dir).with_context(|| self.data_dir.display().to_string())?;
        std::os::unix::fs::symlink(&self.audit, &link)?;
        File::open(&self.data_dir)?.sync_all()?;
        if let Some(parent) = self.data_dir.parent() {
            File::open(parent)?.sync_all()?;
        }
        Ok(())
    }

    /// Takes all it has on disk away; it does not run.
    pub fn wipe(&self) -> anyhow::Result<()> {
        anyhow::ensure!(!self.is_running(), "{} runs", self.name);
        std::fs::remove_dir_all(&self.data_dir).with_context(|| self.data_dir.display().to_string())
    }

    /// kill -9, if it runs; how it ended.
    pub fn kill(&self) -> anyhow::Result<Option<ExitStatus>> {
        let process = self.state().process.take();
        process.map(Process::kill).transpose()
    }

    pub fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let state = self.state();
        let process = state.process.as_ref();
        process.with_context(|| format!("{} does not run", self.name))?.signal(signal)
    }

    /// How it ended, if it did by itself since the last look.
    pub fn ended(&self) -> anyhow::Result<Option<ExitStatus>> {
        let mut state = self.state();
        let Some(process) = state.process.as_mut() else { return Ok(None) };
        let status = process.ended()?;
        if status.is_some() {
            state.process = None;
        }
        Ok(status)
    }

    /// Takes everything away that slows, stops or misleads it.
    pub fn unharm(&self) -> anyhow::Result<()> {
        if let Some(page) = &self.page {
            page.harm_syncs(SyncFault::None)?;
            page.harm_clocks(ClockFault::default())?;
        }
        if let Some(cgroups) = &self.cgroups {
            cgroups.freeze(false)?;
            cgroups.limit_processor(None)?;
        }
        if let Some(disk) = &self.disk {
            disk.clear();
        }
        if self.process_state() == Some('T') {
            self.signal(Signal::CONT)?;
        }
        Ok(())
    }

    /// The end of what it said.
    pub fn log_tail(&self, lines: usize) -> String {
        tail(&self.start.log, lines)
    }

    /// All it said.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(&self.start.log).unwrap_or_default()).into_owned()
    }
}

/// `exit code 1`, `signal 9`.
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}
