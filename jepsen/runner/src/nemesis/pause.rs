//! SIGSTOP, or the freezer of control groups, for longer than a lease.

use super::modes::Modes;
use super::targets::{names, take};
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use async_trait::async_trait;
use std::time::Duration;

/// The mode that needs control groups.
pub const FREEZER: &str = "freezer";
/// A stopped process shows as such within this.
const STANDS: Duration = Duration::from_secs(5);

pub struct Pause {
    modes: Modes,
    frozen: bool,
    taken: Vec<usize>,
}

impl Pause {
    pub fn new(modes: Modes) -> Pause {
        Pause {
            modes,
            frozen: false,
            taken: Vec::new(),
        }
    }
}

/// Stops a node; what shows that it stands, if something does.
async fn stand_still(field: &Field, node: usize, frozen: bool) -> anyhow::Result<Option<String>> {
    let name = field.name(node);
    let how = match (frozen, &field.node(node).cgroups) {
        (true, Some(cgroups)) => {
            cgroups.freeze(true)?;
            // A group without a process is frozen as well.
            let stands = || field.node(node).process_state().is_some() && cgroups.is_frozen().unwrap_or(false);
            field
                .wait_for("the node stands", STANDS, async || stands().then_some("FROZEN"))
                .await
        }
        _ => {
            field.pause(node).await?;
            let stands = || field.node(node).process_state() == Some('T');
            field
                .wait_for("the node stands", STANDS, async || stands().then_some("in state T"))
                .await
        }
    };
    Ok(how.ok().map(|how| format!("{name} is {how}")))
}

async fn go_on(field: &Field, node: usize, frozen: bool) -> anyhow::Result<()> {
    match (frozen, &field.node(node).cgroups) {
        (true, Some(cgroups)) => cgroups.freeze(false),
        _ => field.resume(node).await,
    }
}

#[async_trait(?Send)]
impl Nemesis for Pause {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        let mode = self.modes.next(random);
        self.frozen = mode == FREEZER;
        if self.frozen && field.node(0).cgroups.is_none() {
            return Ok(Outcome::skipped("nodes without control groups are not in a freezer"));
        }
        let whom = if self.frozen { "leader" } else { mode };
        self.taken = match take(field, "pause", whom, false, random).await {
            Ok(taken) => taken,
            Err(skipped) => {
                self.modes.put_back(mode);
                return Ok(skipped);
            }
        };
        let mut stands = Vec::new();
        for node in &self.taken {
            match stand_still(field, *node, self.frozen).await? {
                Some(how) => stands.push(how),
                None => {
                    let why = format!("{} does not stand still after {} s", field.name(*node), STANDS.as_secs());
                    return Ok(Outcome::Indeterminate { why });
                }
            }
        }
        Ok(Outcome::installed(mode, field, &self.taken, stands.join(", ")))
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let taken = std::mem::take(&mut self.taken);
        for node in &taken {
            // One that ended meanwhile is noted as such.
            let _ = go_on(field, *node, self.frozen).await;
        }
        field.release(&taken);
        Ok(format!("{} go on", names(field, &taken)))
    }
}
