//! A node that gets little of the processor, or of its disk.

use super::modes::Modes;
use super::targets::{names, take};
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::field::cgroups::Cgroups;
use crate::seeded::Random;
use anyhow::Context;
use async_trait::async_trait;
use std::os::linux::fs::MetadataExt;
use std::time::Duration;

/// The harm is felt within this.
const FELT: Duration = Duration::from_secs(4);

pub struct Starve {
    modes: Modes,
    mode: &'static str,
    taken: Vec<usize>,
}

impl Starve {
    pub fn new(modes: Modes) -> Starve {
        Starve {
            modes,
            mode: "",
            taken: Vec::new(),
        }
    }
}

fn cgroups(field: &Field, node: usize) -> anyhow::Result<&Cgroups> {
    field.node(node).cgroups.as_ref().context("starving needs control groups")
}

/// The number of a node's loop device, `7:0` for example.
fn device(field: &Field, node: usize) -> anyhow::Result<String> {
    let disk = field.node(node).disk.as_ref().context("starving needs disks")?;
    let number = std::fs::metadata(disk.device()?)?.st_rdev();
    Ok(format!("{}:{}", rustix::fs::major(number), rustix::fs::minor(number)))
}

fn limit_disk(field: &Field, node: usize, bytes_per_second: u64) -> anyhow::Result<()> {
    cgroups(field, node)?.limit_writes(&device(field, node)?, bytes_per_second)
}

impl Starve {
    /// Slows the disks of all that were taken, and waits until something went to one of them at that pace.
    async fn slow_disks(&self, field: &Field, bytes_per_second: u64) -> anyhow::Result<Outcome> {
        let mut slowed = Vec::new();
        for node in &self.taken {
            let (groups, device) = (cgroups(field, *node)?, device(field, *node)?);
            groups.limit_writes(&device, bytes_per_second)?;
            let in_force = groups.write_limit(&device)?;
            if in_force != Some(bytes_per_second) {
                let why = format!("the limit of {} is {in_force:?}", field.name(*node));
                return Ok(Outcome::Indeterminate { why });
            }
            slowed.push((groups, device));
        }
        let written = || -> anyhow::Result<u64> { slowed.iter().map(|(groups, device)| groups.written(device)).sum() };
        let before = written()?;
        let felt = field.wait_for("something is written", FELT, async || {
            written().ok().map(|now| now.saturating_sub(before)).filter(|bytes| *bytes > 0)
        });
        Ok(match felt.await {
            Ok(bytes) => {
                let evidence = format!("{bytes_per_second} bytes a second; {bytes} bytes were written so far");
                Outcome::installed(self.mode, field, &self.taken, evidence)
            }
            Err(_) => Outcome::Indeterminate {
                why: format!("{} write nothing", names(field, &self.taken)),
            },
        })
    }
}

#[async_trait(?Send)]
impl Nemesis for Starve {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        self.mode = self.modes.next(random);
        let whom = *random.pick(&["leader", "one", "minority"]);
        self.taken = match take(field, "starve", whom, false, random).await {
            Ok(taken) => taken,
            Err(skipped) => {
                self.modes.put_back(self.mode);
                return Ok(skipped);
            }
        };
        let taken = self.taken.clone();
        if self.mode == "disk" {
            return self.slow_disks(field, 50_000 + random.below(250_000)).await;
        }
        let percent = 5 + random.below(16);
        let throttled = || -> anyhow::Result<u64> { taken.iter().map(|node| cgroups(field, *node)?.throttled()).sum() };
        let before = throttled()?;
        for node in &taken {
            cgroups(field, *node)?.limit_processor(Some(percent))?;
        }
        let felt = field.wait_for("a node waits for the processor", FELT, async || {
            throttled().ok().map(|now| now.saturating_sub(before)).filter(|count| *count > 0)
        });
        match felt.await {
            Ok(count) => Ok(Outcome::installed(
                self.mode,
                field,
                &taken,
                format!("{percent} % of a core; had to wait {count} times so far"),
            )),
            Err(_) => Ok(Outcome::Indeterminate {
                why: format!("{} need less than {percent} % of a core", names(field, &taken)),
            }),
        }
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let taken = std::mem::take(&mut self.taken);
        for node in &taken {
            match self.mode {
                "disk" => limit_disk(field, *node, 0)?,
                _ => cgroups(field, *node)?.limit_processor(None)?,
            }
        }
        field.release(&taken);
        Ok(format!("{} get all they want", names(field, &taken)))
    }
}
