//! What a run is asked for, and its way from there to results.

use super::interrupt::Interrupt;
use super::results::Results;
use super::schedule::Schedules;
use super::{Cast, Ran, run_phases, stop_nodes};
use crate::doctor;
use crate::field::{Field, FieldOptions, Ground, belongings};
use crate::history::Recorder;
use crate::nemesis::{self, Chosen};
use crate::workload::{self, Stage, Workload};
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Arc;

/// A node writes less than this in a run.
const BYTES_PER_NODE: u64 = 1 << 29;

/// One run, as it was asked for. Written to `cell.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CellOptions {
    pub workload: String,
    pub nemeses: Vec<String>,
    pub nodes: usize,
    pub seconds: u64,
    pub seed: u64,
    /// Operations a second.
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
        std::fs::write(self.dir.join("cell.json"), serde_json::to_string_pretty(self)?)?;
        let began = std::time::SystemTime::now();
        let recorder = Recorder::default();
        let asked = chosen
            .iter()
            .map(|chosen| (chosen.name, chosen.required.clone()))
            .collect::<Vec<_>>();
        let schedules = Schedules::new(chosen, self.seed, self.seconds);
        let field = Field::make(options)?;
        let stage = Stage::new(field.clone(), recorder.clone(), self.seed, self.rate);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let ran = runtime.block_on(async {
            let cast = Cast {
                field: &field,
                workload: &workload,
                stage: &stage,
                interrupt: Interrupt::listen(field.clone())?,
            };
            let mut ran = run_phases(self.seconds, &cast, schedules).await;
            stop_nodes(&field, &mut ran).await;
            anyhow::Ok(ran)
        });
        drop(runtime);
        let mut ran = ran.unwrap_or_else(|error| Ran {
            failures: vec![format!("{error:#}")],
            ..Ran::default()
        });
        self.tear_down(&field, &mut ran);
        Results::judge(self, &field, workload.as_ref(), &recorder, &asked, ran, began)
    }

    /// The run's directory: a new one, with room for what nodes write.
    fn make_dir(&self) -> anyhow::Result<()> {
        let shown = self.dir.display();
        if std::fs::read_dir(&self.dir).is_ok_and(|mut entries| entries.next().is_some()) {
            bail!("{shown} is not empty; name another directory, or take it away");
        }
        std::fs::create_dir_all(&self.dir).with_context(|| shown.to_string())?;
        let facts = rustix::fs::statvfs(&self.dir)?;
        let (free, needed) = (facts.f_bavail * facts.f_frsize, BYTES_PER_NODE * self.nodes as u64);
        if free < needed {
            bail!(
                "{} MiB are free at {shown}, the run may need {}; name another directory",
                free >> 20,
                needed >> 20
            );
        }
        Ok(())
    }

    /// What is left goes, whatever happened before.
    fn tear_down(&self, field: &Arc<Field>, ran: &mut Ran) {
        if let Err(error) = field.tear_down() {
            ran.failures.push(format!("teardown: {error:#}"));
        }
        let images = self.dir.join("disks");
        // Data directories are kept on plain processes only; images of disks are large, and unreadable without root.
        if self.ground == Ground::Namespaces && ran.anomalies.is_empty() {
            let _ = std::fs::remove_dir_all(images);
        }
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
            shim: chosen.iter().any(|one| one.needs.shim),
            environment: self.environment.iter().filter_map(pair).collect(),
        })
    }
}
