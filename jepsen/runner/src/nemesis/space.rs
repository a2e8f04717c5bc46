//! Disks without a free block.

use super::modes::Modes;
use super::targets::{names, start_all, take};
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use anyhow::Context;
use async_trait::async_trait;

/// Less than any file system can use.
const NOTHING: u64 = 64 << 10;

pub struct Space {
    modes: Modes,
    taken: Vec<usize>,
}

impl Space {
    pub fn new(modes: Modes) -> Space {
        Space { modes, taken: Vec::new() }
    }
}

#[async_trait(?Send)]
impl Nemesis for Space {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        let mode = self.modes.next(random);
        self.taken = match take(field, "space", mode, true, random).await {
            Ok(taken) => taken,
            Err(skipped) => {
                self.modes.put_back(mode);
                return Ok(skipped);
            }
        };
        let mut left = Vec::new();
        for node in &self.taken {
            let disk = field.node(*node).disk.as_ref().context("full disks need disks")?;
            disk.fill(0)?;
            left.push(disk.free_bytes());
        }
        match left.iter().all(|left| *left <= NOTHING) {
            true => Ok(Outcome::installed(mode, field, &self.taken, format!("free bytes: {left:?}"))),
            false => Ok(Outcome::Indeterminate {
                why: format!("free bytes: {left:?}"),
            }),
        }
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let taken = std::mem::take(&mut self.taken);
        for node in &taken {
            field.node(*node).disk.as_ref().context("full disks need disks")?.clear();
        }
        let started = start_all(field, &taken).await;
        field.release(&taken);
        Ok(format!(
            "{} have room again; started {}",
            names(field, &taken),
            names(field, &started?)
        ))
    }
}
