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
/// What the kernel says when there is none left.
const FULL: &str = "No space left on device";

pub struct Space {
    modes: Modes,
    taken: Vec<usize>,
    /// How long their logs were before, by position in `taken`.
    said_before: Vec<usize>,
}

impl Space {
    pub fn new(modes: Modes) -> Space {
        Space {
            modes,
            taken: Vec::new(),
            said_before: Vec::new(),
        }
    }

    /// A peer whose ballast is used up may end, and it must say that its disk is full: whoever runs it has nothing else to go by. How
    /// many ended.
    fn look_at_ends(&self, field: &Field, taken: &[usize]) -> anyhow::Result<usize> {
        field.look_for_exits()?;
        let mut count = 0;
        for (node, before) in taken.iter().zip(&self.said_before) {
            if field.node(*node).is_running() {
                continue;
            }
            count += 1;
            let log = field.node(*node).log();
            if !says_that_it_is_full(log.get(*before..).unwrap_or(&log)) {
                field.note_anomaly(format!(
                    "{} ended on a full disk and does not say so: {}",
                    field.name(*node),
                    field.node(*node).log_tail(5)
                ));
            }
        }
        Ok(count)
    }
}

fn says_that_it_is_full(said: &str) -> bool {
    said.contains(FULL)
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
        self.said_before = self.taken.iter().map(|node| field.node(*node).log().len()).collect();
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
        let ended = self.look_at_ends(field, &taken)?;
        for node in &taken {
            field.node(*node).disk.as_ref().context("full disks need disks")?.clear();
        }
        let started = start_all(field, &taken).await;
        field.release(&taken);
        Ok(format!(
            "{} have room again, {ended} had ended; started {}",
            names(field, &taken),
            names(field, &started?)
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_for_another_reason_is_told_from_one_on_a_full_disk() {
        let full = "quorate: the log cannot be written: No space left on device (os error 28); stopping at once";
        assert!(says_that_it_is_full(full));
        assert!(!says_that_it_is_full(
            &full.replace("No space left on device (os error 28)", "Input/output error (os error 5)")
        ));
    }
}
