//! kill -9 of one node, the leader, a minority or all, and a start after a while.

use super::modes::Modes;
use super::targets::{names, start_all, take};
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::field::node::describe;
use crate::seeded::Random;
use async_trait::async_trait;
use std::os::unix::process::ExitStatusExt;

/// SIGKILL.
const KILLED: i32 = 9;

pub struct Kill {
    modes: Modes,
    taken: Vec<usize>,
}

impl Kill {
    pub fn new(modes: Modes) -> Kill {
        Kill { modes, taken: Vec::new() }
    }
}

#[async_trait(?Send)]
impl Nemesis for Kill {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        let mode = self.modes.next(random);
        self.taken = match take(field, "kill", mode, false, random).await {
            Ok(taken) => taken,
            Err(skipped) => {
                self.modes.put_back(mode);
                return Ok(skipped);
            }
        };
        let mut ends = Vec::new();
        for node in &self.taken {
            if let Some(status) = field.node(*node).kill()? {
                if status.signal() != Some(KILLED) {
                    field.note_anomaly(format!(
                        "{} ended by itself, by {}, before it was killed",
                        field.name(*node),
                        describe(status)
                    ));
                }
                ends.push(format!("{} ended by {}", field.name(*node), describe(status)));
            }
        }
        match ends.is_empty() {
            true => Ok(Outcome::skipped("they did not run")),
            false => Ok(Outcome::installed(mode, field, &self.taken, ends.join(", "))),
        }
    }

    async fn stop(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<String> {
        let taken = std::mem::take(&mut self.taken);
        let started = start_all(field, &random.choose(taken.len(), &taken)).await;
        field.release(&taken);
        Ok(format!("started {}", names(field, &started?)))
    }
}
