//! W9: registers and a topology at once, meant to be run while members come and go and leadership is handed over (nemesis
//! `membership`). Half of the operations are of each; all that holds for either must hold.

use super::register::Register;
use super::topology::Topology;
use super::{Stage, Workload};
use crate::history::Op;
use crate::verdict::Verdict;
use async_trait::async_trait;
use std::path::Path;

#[derive(Default)]
pub struct Churn {
    registers: Register,
    topology: Topology,
}

#[async_trait]
impl Workload for Churn {
    async fn prepare(&self, stage: &Stage) -> anyhow::Result<()> {
        self.registers.prepare(&half(stage)).await?;
        self.topology.prepare(stage).await
    }

    async fn run(&self, stage: &Stage) -> anyhow::Result<()> {
        let (registers, topology) = (half(stage), half(stage));
        tokio::try_join!(self.registers.run(&registers), self.topology.run(&topology))?;
        Ok(())
    }

    async fn read_all(&self, stage: &Stage) -> anyhow::Result<()> {
        self.registers.read_all(stage).await?;
        self.topology.read_all(stage).await
    }

    fn check(&self, history: &[Op], dir: &Path) -> Vec<Verdict> {
        [self.registers.check(history, dir), self.topology.check(history, dir)].concat()
    }
}

/// The stage of one of the two, with a schedule of its own.
fn half(stage: &Stage) -> Stage {
    stage.at(stage.rate.div_ceil(2))
}
