//! The power of disks is cut: what was not synced is gone. Of one node, the leader, a minority, a majority, or all at once.
//! When a majority comes back without what it had not synced, those that kept their power still have it: what was acknowledged
//! is with both, and of the rest each entry is kept or given up by all.

use super::modes::Modes;
use super::targets::{names, start_all, take};
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use anyhow::Context;
use async_trait::async_trait;
use std::time::Duration;
use tokio::time::sleep;

/// A node may live on so long without its disk: it must not acknowledge anything meanwhile.
const LINGERS_MS: u64 = 300;

pub struct Power {
    modes: Modes,
    taken: Vec<usize>,
}

impl Power {
    pub fn new(modes: Modes) -> Power {
        Power { modes, taken: Vec::new() }
    }
}

#[async_trait(?Send)]
impl Nemesis for Power {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        let mode = self.modes.next(random);
        self.taken = match take(field, "power", mode, true, random).await {
            Ok(taken) => taken,
            Err(skipped) => {
                self.modes.put_back(mode);
                return Ok(skipped);
            }
        };
        for node in &self.taken {
            field.node(*node).disk.as_ref().context("power cuts need disks")?.cut_power()?;
        }
        if random.chance(50) {
            sleep(Duration::from_millis(random.below(LINGERS_MS))).await;
        }
        for node in &self.taken {
            field.kill(*node).await?;
        }
        let cut = |node: &&usize| field.node(**node).disk.as_ref().is_some_and(|disk| disk.is_cut());
        let refusing = self.taken.iter().filter(cut).count();
        match refusing == self.taken.len() {
            true => Ok(Outcome::installed(
                mode,
                field,
                &self.taken,
                format!("{refusing} disks take no write"),
            )),
            false => Ok(Outcome::Indeterminate {
                why: format!("{refusing} of {} disks take no write", self.taken.len()),
            }),
        }
    }

    async fn stop(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<String> {
        let taken = std::mem::take(&mut self.taken);
        let taken = random.choose(taken.len(), &taken);
        for node in &taken {
            field.node(*node).disk.as_ref().context("power cuts need disks")?.power_on()?;
        }
        let started = start_all(field, &taken).await;
        field.release(&taken);
        Ok(format!("mounted again and started: {}", names(field, &started?)))
    }
}
