//! Networks that do not connect everybody: all the shapes that have broken Raft systems.
//!
//! Clients keep their way to every node, but for the mode that is about them: so they also reach the side that must not
//! answer.

use super::modes::Modes;
use super::shapes::{Cut, cuts, pairs, unplugged};
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::field::network::{CLIENTS, Network, data_address};
use crate::seeded::Random;
use anyhow::Context;
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// Traffic between nodes that are cut is seen to be dropped within this.
const SEEN: Duration = Duration::from_secs(4);

pub struct Partition {
    modes: Modes,
    mode: &'static str,
    /// Ends the flapping.
    flapping: Option<(Arc<AtomicBool>, JoinHandle<anyhow::Result<()>>)>,
    unplugged: Vec<usize>,
}

impl Partition {
    pub fn new(modes: Modes) -> Partition {
        Partition {
            modes,
            mode: "",
            flapping: None,
            unplugged: Vec::new(),
        }
    }
}

#[async_trait(?Send)]
impl Nemesis for Partition {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        let network = field.network().context("partitions need namespaces")?;
        self.mode = self.modes.next(random);
        let Some(leader) = field.leader().await.map(|leader| leader + 1) else {
            self.modes.put_back(self.mode);
            return Ok(Outcome::skipped("nobody leads"));
        };
        let (shape, cuts) = cuts(self.mode, leader, field.size(), random);
        let before = dropped(field, network)?;
        match self.mode {
            "flapping" => self.flap(field, leader, random)?,
            "cable" => {
                self.unplugged = vec![leader];
                network.plug(leader, false)?;
                let cuts = pairs(&unplugged(leader, field.size()));
                return Ok(self.see_unplugged(field, network, leader).await?.cutting(cuts));
            }
            "reset" => reset(network, &cuts)?,
            _ => {
                for cut in &cuts {
                    network.cut(cut.place, &cut.from, &cut.to)?;
                }
            }
        }
        // One that comes and goes does not say whom it cuts.
        let told = if self.mode == "flapping" { Vec::new() } else { pairs(&cuts) };
        Ok(self.see(field, network, before, shape).await?.cutting(told))
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        let network = field.network().context("partitions need namespaces")?;
        if let Some((end, task)) = self.flapping.take() {
            end.store(true, Ordering::Relaxed);
            task.await??;
        }
        for place in self.unplugged.drain(..) {
            network.plug(place, true)?;
        }
        for place in (1..=field.total()).chain([CLIENTS]) {
            network.cut(place, &[], &[])?;
            if self.mode == "reset" && place != CLIENTS {
                network.tool(place, "iptables", &["-F", "OUTPUT"])?;
            }
        }
        Ok("the sets of cut addresses are empty".to_owned())
    }
}

impl Partition {
    /// Waits until something was dropped that a cut is for.
    async fn see(&self, field: &Field, network: &Network, before: u64, shape: String) -> anyhow::Result<Outcome> {
        let deadline = Instant::now() + SEEN;
        while Instant::now() < deadline {
            let after = match self.mode {
                "reset" => reset_packets(field, network)?,
                _ => dropped(field, network)?,
            };
            let count = after.saturating_sub(if self.mode == "reset" { 0 } else { before });
            if count > 0 {
                let all: Vec<usize> = (0..field.size()).collect();
                return Ok(Outcome::installed(
                    self.mode,
                    field,
                    &all,
                    format!("{shape}; {count} packets stopped so far"),
                ));
            }
            sleep(Duration::from_millis(50)).await;
        }
        Ok(Outcome::Indeterminate {
            why: format!("{shape}, but nothing was dropped in {} s", SEEN.as_secs()),
        })
    }

    /// Waits until neither end of the cable has a carrier.
    async fn see_unplugged(&self, field: &Field, network: &Network, place: usize) -> anyhow::Result<Outcome> {
        let gone = field.wait_for("the carrier is gone", SEEN, async || {
            network.has_carrier(place).is_ok_and(|has| !has).then_some(())
        });
        Ok(match gone.await {
            Ok(()) => {
                let evidence = format!("neither end of the cable of n{place} has a carrier");
                Outcome::installed(self.mode, field, &[place - 1], evidence)
            }
            Err(error) => Outcome::Indeterminate {
                why: format!("the cable of n{place}: {error:#}"),
            },
        })
    }

    /// Cuts the leader off and lets it back, again and again.
    fn flap(&mut self, field: &Field, leader: usize, random: &mut Random) -> anyhow::Result<()> {
        let network = field.network().context("partitions need namespaces")?.clone();
        let others: Vec<usize> = (1..=field.size()).filter(|place| *place != leader).collect();
        let end = Arc::new(AtomicBool::new(false));
        let mut random = random.clone();
        network.cut(leader, &others, &others)?;
        let ending = end.clone();
        let task = tokio::spawn(async move {
            let mut cut = true;
            while !ending.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(200 + random.below(1_800))).await;
                cut = !cut;
                let away: &[usize] = if cut { &others } else { &[] };
                network.cut(leader, away, away)?;
            }
            Ok(())
        });
        self.flapping = Some((end, task));
        Ok(())
    }
}

/// Packets that any cut has stopped so far.
fn dropped(field: &Field, network: &Network) -> anyhow::Result<u64> {
    let places = (1..=field.total()).chain([CLIENTS]);
    places.map(|place| network.dropped(place)).sum()
}

/// Connections across the cut are answered with a reset, as by a machine that was restarted, instead of with silence.
fn reset(network: &Network, cuts: &[Cut]) -> anyhow::Result<()> {
    for cut in cuts {
        for other in &cut.to {
            let to = data_address(*other);
            let rule = ["-A", "OUTPUT", "-p", "tcp", "-d", &to, "-j", "REJECT", "--reject-with", "tcp-reset"];
            network.tool(cut.place, "iptables", &rule)?;
        }
    }
    Ok(())
}

fn reset_packets(field: &Field, network: &Network) -> anyhow::Result<u64> {
    let mut count = 0;
    for place in 1..=field.size() {
        let said = network.tool(place, "iptables", &["-nvxL", "OUTPUT"])?;
        let rules = said.lines().filter(|line| line.contains("REJECT"));
        count += rules
            .filter_map(|line| line.split_whitespace().next()?.parse::<u64>().ok())
            .sum::<u64>();
    }
    Ok(count)
}
