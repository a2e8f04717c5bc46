//! A node dies at a step that makes something durable, wherever the load next brings one there.

use super::modes::Modes;
use super::targets::{names, start_all, take};
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use async_trait::async_trait;
use std::time::Duration;

/// Sites that ordinary load reaches at every node.
pub const MODES: &[&str] = &[
    "log_append_before",
    "log_append_after",
    "log_write_group",
    "log_sync_group",
    "log_write_high_water",
    "log_unlink_segment",
    "log_purge_before",
    "log_purge_after",
    "apply_commit_before",
    "apply_commit_after",
    "checkpoint_before",
    "checkpoint_after",
];
/// Longest wait for the step to come about.
const PATIENCE: Duration = Duration::from_secs(8);

pub struct Failpoint {
    modes: Modes,
    site: &'static str,
    taken: Vec<usize>,
}

impl Failpoint {
    pub fn new(modes: Modes) -> Failpoint {
        Failpoint {
            modes,
            site: "",
            taken: Vec::new(),
        }
    }
}

#[async_trait(?Send)]
impl Nemesis for Failpoint {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        self.site = self.modes.next(random);
        let whom = if random.chance(50) { "leader" } else { "one" };
        self.taken = match take(field, "failpoint", whom, true, random).await {
            Ok(taken) => taken,
            Err(skipped) => {
                self.modes.put_back(self.site);
                return Ok(skipped);
            }
        };
        let node = self.taken[0];
        let said_before = field.node(node).log().len();
        // It dies at one of the first hits, not always at the same one.
        if let Err(error) = field.arm(node, &format!("{}={}*off->panic", self.site, random.below(4))).await {
            return Ok(Outcome::skipped(format!("{} cannot be armed: {error:#}", field.name(node))));
        }
        let ended = field.wait_for("the node dies", PATIENCE, async || {
            let _ = field.look_for_exits();
            (!field.node(node).is_running()).then_some(())
        });
        if ended.await.is_err() {
            return Ok(Outcome::Indeterminate {
                why: format!("{} did not come to {} in {} s", field.name(node), self.site, PATIENCE.as_secs()),
            });
        }
        let died_there = format!("failpoint {} panic", self.site);
        match field.node(node).log().get(said_before..).unwrap_or_default().contains(&died_there) {
            true => Ok(Outcome::installed(
                self.site,
                field,
                &self.taken,
                format!("{} said \"{died_there}\"", field.name(node)),
            )),
            false => Ok(Outcome::Indeterminate {
                why: format!("{} died elsewhere: {}", field.name(node), field.node(node).log_tail(3)),
            }),
        }
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let taken = std::mem::take(&mut self.taken);
        for node in &taken {
            if field.node(*node).is_running() {
                // Should it end here after all, it is started below.
                let _ = field.arm(*node, &format!("{}=off", self.site)).await;
            }
        }
        let started = start_all(field, &taken).await;
        field.release(&taken);
        Ok(format!("started {}", names(field, &started?)))
    }
}
