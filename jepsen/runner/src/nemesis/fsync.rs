//! Syncs that are slow, hang or fail.

use super::modes::Modes;
use super::targets::{names, start_all, take};
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::field::preload::SyncFault;
use crate::seeded::Random;
use anyhow::Context;
use async_trait::async_trait;
use std::time::Duration;

/// A node under load syncs within this.
const SYNCS: Duration = Duration::from_secs(4);
/// A node whose every sync fails ends within this.
const ENDS: Duration = Duration::from_secs(10);

pub struct Fsync {
    modes: Modes,
    mode: &'static str,
    taken: Vec<usize>,
    /// How many syncs of their logs had failed before, by position in `taken`.
    failed_before: Vec<u64>,
}

impl Fsync {
    pub fn new(modes: Modes) -> Fsync {
        Fsync {
            modes,
            mode: "",
            taken: Vec::new(),
            failed_before: Vec::new(),
        }
    }
}

/// How many syncs of a node's log have failed so far.
fn failed_logs(field: &Field, node: usize) -> anyhow::Result<u64> {
    field.node(node).page.as_ref().context("the nodes have no shim")?.failed_log_syncs()
}

/// How many syncs of these nodes were harmed so far.
fn harmed(field: &Field, nodes: &[usize]) -> anyhow::Result<u64> {
    let mut sum = 0;
    for node in nodes {
        sum += field.node(*node).page.as_ref().context("the nodes have no shim")?.harmed_syncs()?;
    }
    Ok(sum)
}

fn set(field: &Field, nodes: &[usize], fault: SyncFault) -> anyhow::Result<()> {
    nodes
        .iter()
        .try_for_each(|node| field.node(*node).page.as_ref().context("the nodes have no shim")?.harm_syncs(fault))
}

#[async_trait(?Send)]
impl Nemesis for Fsync {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        self.mode = self.modes.next(random);
        let may_end = self.mode.starts_with("fail");
        let whom = *random.pick(&["leader", "one", "minority"]);
        self.taken = match take(field, "fsync", whom, may_end, random).await {
            Ok(taken) => taken,
            Err(skipped) => {
                self.modes.put_back(self.mode);
                return Ok(skipped);
            }
        };
        let fault = match self.mode {
            "slow" => SyncFault::Slow {
                ms: 50 + random.below(950),
            },
            "hang" => SyncFault::Hang,
            "fail" => SyncFault::Fail,
            _ => SyncFault::FailOnce,
        };
        let before = harmed(field, &self.taken)?;
        self.failed_before = self
            .taken
            .iter()
            .map(|node| failed_logs(field, *node))
            .collect::<anyhow::Result<_>>()?;
        set(field, &self.taken, fault)?;
        let taken = &self.taken;
        let seen = field.wait_for("a sync is harmed", SYNCS, async || {
            harmed(field, taken)
                .ok()
                .map(|now| now.saturating_sub(before))
                .filter(|count| *count > 0)
        });
        match seen.await {
            Ok(count) => Ok(Outcome::installed(
                self.mode,
                field,
                taken,
                format!("{fault:?} at {whom}: {count} syncs so far"),
            )),
            Err(_) => Ok(Outcome::Indeterminate {
                why: format!("{} did not sync in {} s", names(field, taken), SYNCS.as_secs()),
            }),
        }
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let taken = std::mem::take(&mut self.taken);
        if self.mode.starts_with("fail") {
            self.expect_end(field, &taken).await?;
        }
        set(field, &taken, SyncFault::None)?;
        let started = start_all(field, &taken).await;
        field.release(&taken);
        Ok(format!(
            "syncs are whole again at {}; started {}",
            names(field, &taken),
            names(field, &started?)
        ))
    }
}

impl Fsync {
    /// A node whose log failed to sync once must stop at once, and one that cannot sync anything when it has something to sync. One
    /// that had nothing to sync, or a single file that is no log, had no reason to.
    async fn expect_end(&self, field: &Field, taken: &[usize]) -> anyhow::Result<()> {
        for (node, before) in taken.iter().zip(&self.failed_before) {
            let failed = failed_logs(field, *node)?.saturating_sub(*before);
            if self.mode == "fail-once" && failed == 0 {
                continue;
            }
            let ended = field.wait_for("the node ends", ENDS, async || {
                let _ = field.look_for_exits();
                (!field.node(*node).is_running()).then_some(())
            });
            if ended.await.is_ok() {
                continue;
            }
            let page = field.node(*node).page.as_ref().context("the nodes have no shim")?;
            if failed > 0 || (page.harmed_syncs()? > 0 && field.is_ready(*node).await) {
                field.note_anomaly(format!(
                    "{} goes on for {} s though syncs failed, {failed} of them of its log: {}",
                    field.name(*node),
                    ENDS.as_secs(),
                    field.node(*node).log_tail(5)
                ));
            }
        }
        Ok(())
    }
}
