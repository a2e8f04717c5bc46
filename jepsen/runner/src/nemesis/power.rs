//! The power of disks is cut: what was not synced is gone. Of one node, the leader, a minority, a majority, or all at once.
//! When a majority comes back without what it had not synced, those that kept their power still have it: what was acknowledged
//! is with both, and of the rest each entry is kept or given up by all.
//!
//! With all nodes the vault loses its power, too, and with it the workers: what was copied and acknowledged must be there in the end.
//! Any fewer leave it alone: it is elsewhere.

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
    /// Whether the vault's power is cut, too.
    with_vault: bool,
}

impl Power {
    pub fn new(modes: Modes) -> Power {
        Power {
            modes,
            taken: Vec::new(),
            with_vault: false,
        }
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
        // The vault after them: what fails there for lack of power, nobody can be told.
        self.with_vault = mode == "all" && field.claim_all("power", &spares(field), true);
        let vault = match self.with_vault {
            true => format!(", nor does the vault's; {} workers died", field.cut_vault()?),
            false => String::new(),
        };
        if random.chance(50) {
            sleep(Duration::from_millis(random.below(LINGERS_MS))).await;
        }
        for node in &self.taken {
            field.kill(*node).await?;
        }
        let cut = |node: &&usize| field.node(**node).disk.as_ref().is_some_and(|disk| disk.is_cut());
        let refusing = self.taken.iter().filter(cut).count();
        if self.with_vault && !field.is_vault_cut() {
            return Ok(Outcome::Indeterminate {
                why: "the vault's disk takes writes".to_owned(),
            });
        }
        match refusing == self.taken.len() {
            true => Ok(Outcome::installed(
                mode,
                field,
                &self.taken,
                format!("{refusing} disks take no write{vault}"),
            )),
            false => Ok(Outcome::Indeterminate {
                why: format!("{refusing} of {} disks take no write", self.taken.len()),
            }),
        }
    }

    async fn stop(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<String> {
        let taken = std::mem::take(&mut self.taken);
        let with_vault = std::mem::take(&mut self.with_vault);
        let taken = random.choose(taken.len(), &taken);
        for node in &taken {
            field.node(*node).disk.as_ref().context("power cuts need disks")?.power_on()?;
        }
        if with_vault {
            field.power_vault_on()?;
        }
        let started = start_all(field, &taken).await;
        field.release(&taken);
        if with_vault {
            field.start_waiting_workers()?;
            field.release(&spares(field));
        }
        Ok(format!("mounted again and started: {}", names(field, &started?)))
    }
}

/// A further member has power of its own: while it writes to the vault, that keeps its power, too.
fn spares(field: &Field) -> Vec<usize> {
    (field.size()..field.total()).collect()
}
