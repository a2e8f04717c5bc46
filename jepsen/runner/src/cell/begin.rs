//! What a run is asked for, and its way from there to results.

use super::interrupt::Interrupt;
use super::results::Results;
use super::schedule::Schedules;
use super::{Cast, run_phases, stop_nodes};
use crate::checker::{Asked, availability};
use crate::doctor;
use crate::field::{Field, FieldOptions, Ground, belongings};
use crate::history::Recorder;
use crate::nemesis::{self, Chosen};
use crate::workload::{self, Stage, Workload};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A node writes less than this in a run.
const BYTES_PER_NODE: u64 = 1 << 29;
/// Copies add less than this to the vault in a second: 1.9 GB is what the largest of 30 seconds had in the end.
const VAULT_BYTES_PER_SECOND: u64 = 48 << 20;
/// They go on for so long before and after the main phase.
const COPIES_GO_ON_SECONDS: u64 = 25;

/// One run, as it was asked for. Written to `cell.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CellOptions {
    pub workload: String,
    pub nemeses: Vec<String>,
    pub nodes: usize,
    pub seconds: u64,
    pub seed: u64,
    /// Answered operations a second, on average.
    pub rate: u64,
    pub ground: Ground,
    /// Timing of elections: `lan` or `wan`.
    pub profile: String,
    pub workers: usize,
    /// The run's directory.
    pub dir: PathBuf,
    pub binary: PathBuf,
    /// Further environment of the nodes, `NAME=value`.
    #[serde(default)]
    pub environment: Vec<String>,
    /// All disks answer syncs with success and sync nothing, from the start on. Raft promises nothing then: this is for the
    /// deliberate defect `lying-fsync` alone. It is no fault, so neither `--nemesis` nor the matrix can give it to a cell that is to
    /// hold.
    #[serde(default)]
    pub lying_disks: bool,
}

impl CellOptions {
    /// Runs it. An error says why it could not begin; everything later is in the results.
    pub fn run(&self) -> anyhow::Result<Results> {
        belongings::clean().context("what an earlier run left cannot be taken away")?;
        let workload = workload::by_name(&self.workload).with_context(|| {
            let known = workload::names().join(", ");
            format!("\"{}\" is no workload; there are {known}", self.workload)
        })?;
        let workload: Arc<dyn Workload> = Arc::from(workload);
        let chosen: Vec<Chosen> = self
            .nemeses
            .iter()
            .map(|spec| nemesis::by_name(spec, self.nodes))
            .collect::<anyhow::Result<_>>()?;
        let options = self.field_options(&chosen)?;
        self.make_dir()?;
        let recovery_asked = self.write()?;
        let began = std::time::SystemTime::now();
        let recorder = Recorder::default();
        let asked = chosen
            .iter()
            .map(|chosen| (chosen.name, chosen.required.clone()))
            .collect::<Vec<_>>();
        let schedules = Schedules::new(chosen, self.seed, self.seconds);
        let interrupt = Interrupt::listen()?;
        let field = Field::make(options)?;
        interrupt.made(field.clone());
        let stage = Stage::new(field.clone(), recorder.clone(), self.seed, self.rate);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut ran = runtime.block_on(async {
            let cast = Cast {
                field: &field,
                workload: &workload,
                stage: &stage,
                interrupt,
                main: Duration::from_secs(self.seconds),
                recovery_asked,
            };
            let mut ran = run_phases(&cast, schedules).await;
            stop_nodes(&field, &mut ran).await;
            ran
        });
        drop(runtime);
        let down = field.tear_down();
        if let Err(error) = &down {
            ran.failures.push(format!("teardown: {error:#}"));
        }
        let results = Results::judge(self, &field, workload.as_ref(), &recorder, &asked, ran, began)?;
        // What could not be taken down may still be mounted: nothing is deleted under it.
        if down.is_ok() && results.valid != serde_json::Value::Bool(false) {
            discard_data(&self.dir, self.ground);
        }
        Ok(results)
    }

    /// Writes `cell.json`, with what every run does; how long after the last fault the load must go on, so that the bound on recovery is asked.
    fn write(&self) -> anyhow::Result<Duration> {
        let mut cell = serde_json::to_value(self)?;
        let asked: Asked = serde_json::from_value(cell.clone())?;
        let recovery_asked = availability::longest_bound(&asked);
        cell["recovery_asked_ms"] = serde_json::json!(recovery_asked.as_millis() as u64);
        cell["probed"] = serde_json::json!(true);
        std::fs::write(self.dir.join("cell.json"), serde_json::to_string_pretty(&cell)?)?;
        Ok(recovery_asked)
    }

    /// The run's directory: a new one, with room for what nodes write.
    fn make_dir(&self) -> anyhow::Result<()> {
        let shown = self.dir.display();
        if std::fs::read_dir(&self.dir).is_ok_and(|mut entries| entries.next().is_some()) {
            bail!("{shown} is not empty; name another directory, or take it away");
        }
        std::fs::create_dir_all(&self.dir).with_context(|| shown.to_string())?;
        let facts = rustix::fs::statvfs(&self.dir)?;
        let (free, needed) = (facts.f_bavail * facts.f_frsize, self.bytes_needed());
        if free < needed {
            bail!(
                "{} MiB are free at {shown}, the run may need {}; name another directory",
                free >> 20,
                needed >> 20
            );
        }
        Ok(())
    }

    /// What the nodes write, and what copies leave in the vault.
    fn bytes_needed(&self) -> u64 {
        let vault = match self.workload.as_str() {
            "copies" => VAULT_BYTES_PER_SECOND * (self.seconds + COPIES_GO_ON_SECONDS),
            _ => 0,
        };
        BYTES_PER_NODE * self.nodes as u64 + vault
    }

    fn field_options(&self, chosen: &[Chosen]) -> anyhow::Result<FieldOptions> {
        for one in chosen {
            if self.nodes < one.needs.nodes {
                bail!("{} needs {} nodes", one.spec, one.needs.nodes);
            }
            let missing = doctor::missing_for(one, self.ground);
            if !missing.is_empty() {
                bail!("{} cannot be done here: {}; see `jepsen doctor`", one.spec, missing.join("; "));
            }
        }
        let most = |what: fn(&Chosen) -> usize| chosen.iter().map(what).max().unwrap_or(0);
        let pair = |pair: &String| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
        Ok(FieldOptions {
            ground: self.ground,
            nodes: self.nodes,
            spares: most(|one| one.needs.spares),
            workers: self.workers.max(most(|one| one.needs.workers)),
            dir: self.dir.clone(),
            binary: self.binary.clone(),
            profile: self.profile.clone(),
            shim: self.lying_disks || chosen.iter().any(|one| one.needs.shim),
            lying_disks: self.lying_disks,
            environment: self.environment.iter().filter_map(pair).collect(),
        })
    }
}

/// Takes away what is large and what nobody asks for after a run without an anomaly; after one with an anomaly it is the
/// evidence, and stays.
fn discard_data(dir: &Path, ground: Ground) {
    // On plain processes data directories stay; images of disks are unreadable without root.
    let disks = (ground == Ground::Namespaces).then_some("disks");
    for name in disks.into_iter().chain(["vault", "source"]) {
        // What is not there need not go.
        let _ = std::fs::remove_dir_all(dir.join(name));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cell(workload: &str, seconds: u64) -> CellOptions {
        CellOptions {
            workload: workload.to_owned(),
            nemeses: Vec::new(),
            nodes: 3,
            seconds,
            seed: 1,
            rate: 300,
            ground: Ground::Namespaces,
            profile: "wan".to_owned(),
            workers: 0,
            dir: PathBuf::new(),
            binary: PathBuf::new(),
            environment: Vec::new(),
            lying_disks: false,
        }
    }

    #[test]
    fn the_space_that_is_asked_for_has_room_for_the_vault() {
        assert_eq!(cell("register", 30).bytes_needed(), 3 * BYTES_PER_NODE);
        let vault = cell("copies", 30).bytes_needed() - 3 * BYTES_PER_NODE;
        assert!(vault > 1_900_000_000, "{vault}");
        assert!(cell("copies", 300).bytes_needed() > cell("copies", 30).bytes_needed());
    }

    #[test]
    fn what_is_written_says_how_long_the_load_goes_on() {
        let dir = tempfile::tempdir().expect("a directory");
        let cell = CellOptions {
            dir: dir.path().to_owned(),
            ..cell("register", 30)
        };
        assert_eq!(cell.write().expect("written"), Duration::from_secs(11));
        assert_eq!(Asked::read(dir.path()).expect("read").recovery_asked_ms, 11_000);
    }

    #[test]
    fn what_is_large_goes_and_what_tells_of_the_run_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let make = || {
            for name in ["disks", "vault", "logs"] {
                std::fs::create_dir_all(dir.path().join(name)).expect("made");
            }
        };
        let is_there = |name: &str| dir.path().join(name).exists();
        make();
        discard_data(dir.path(), Ground::Processes);
        assert_eq!((is_there("disks"), is_there("vault"), is_there("logs")), (true, false, true));
        make();
        discard_data(dir.path(), Ground::Namespaces);
        assert_eq!((is_there("disks"), is_there("vault"), is_there("logs")), (false, false, true));
    }
}
