//! Clocks that jump, run fast or slow, or tick back and forth: the wall clock alone, or with it the monotonic clock, which no
//! real machine does, and which never goes back.

use super::modes::Modes;
use super::targets::names;
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::field::preload::{ClockFault, ControlPage};
use crate::seeded::Random;
use anyhow::Context;
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub const WALL: &[&str] = &["jump-forward", "jump-back", "fast", "slow", "strobe"];
pub const MONOTONIC: &[&str] = &["jump-forward", "fast", "slow"];
/// Peers tell each other their clocks every second.
const SEEN: Duration = Duration::from_secs(6);
/// An offset that no busy machine makes.
const CLEARLY_MS: i64 = 700;
const LARGEST_JUMP_MS: u64 = 300_000;
/// What sleeps until an absolute time sleeps longer by so much.
const LARGEST_MONOTONIC_JUMP_MS: u64 = 3_000;

pub struct Clock {
    modes: Modes,
    monotonic: bool,
    node: Option<usize>,
    strobe: Option<(Arc<AtomicBool>, JoinHandle<anyhow::Result<()>>)>,
}

impl Clock {
    pub fn wall(modes: Modes) -> Clock {
        Clock {
            modes,
            monotonic: false,
            node: None,
            strobe: None,
        }
    }

    pub fn both(modes: Modes) -> Clock {
        Clock {
            monotonic: true,
            ..Clock::wall(modes)
        }
    }

    fn fault(&self, mode: &str, random: &mut Random) -> ClockFault {
        let jump_ms = (1_000 + random.below(LARGEST_JUMP_MS)).cast_signed();
        let mut fault = ClockFault {
            moves_monotonic: self.monotonic,
            ..ClockFault::default()
        };
        match mode {
            "jump-back" => fault.wall_offset_ms = -jump_ms,
            "fast" => fault.rate_permille = 2_000 + random.below(3_001).cast_signed(),
            "slow" => fault.rate_permille = 500,
            _ if self.monotonic => {
                fault.monotonic_jump_ms = (1_000 + random.below(LARGEST_MONOTONIC_JUMP_MS - 1_000)).cast_signed();
                fault.wall_offset_ms = fault.monotonic_jump_ms;
            }
            _ => fault.wall_offset_ms = jump_ms,
        }
        fault
    }

    /// Goes on changing the offset of the wall clock several times a second.
    fn begin_strobe(&mut self, page: &ControlPage, random: &Random) {
        let end = Arc::new(AtomicBool::new(false));
        let (ending, mut random, page) = (end.clone(), random.clone(), page.clone());
        let task = tokio::spawn(async move {
            // Long enough at first that the others see it.
            sleep(Duration::from_millis(2_500)).await;
            while !ending.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(50 + random.below(400))).await;
                page.harm_clocks(ClockFault {
                    wall_offset_ms: random.below(60_001).cast_signed() - 30_000,
                    ..ClockFault::default()
                })?;
            }
            Ok(())
        });
        self.strobe = Some((end, task));
    }
}

/// How far a node's clock is from that of another, as that one says.
async fn offset_ms(field: &Field, node: usize) -> Option<i64> {
    let address = field.peer_address(node);
    for status in field.statuses().await.into_iter().flatten() {
        let of_node = status.peers.iter().find(|peer| peer.peer_address == address);
        if let Some(peer) = of_node.filter(|peer| peer.peer_id != status.peer_id && peer.reachable) {
            return Some(peer.clock_offset_ms);
        }
    }
    None
}

fn page(field: &Field, node: usize) -> anyhow::Result<&ControlPage> {
    field.node(node).page.as_ref().context("the nodes have no shim")
}

#[async_trait(?Send)]
impl Nemesis for Clock {
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome> {
        let mode = self.modes.next(random);
        let leader = field.leader().await;
        let running: Vec<usize> = (0..field.size()).filter(|node| field.node(*node).is_running()).collect();
        let node = match (leader, running.is_empty()) {
            (Some(leader), _) if random.chance(50) => leader,
            (_, false) => *random.pick(&running),
            _ => return Ok(Outcome::skipped("no node runs")),
        };
        self.node = Some(node);
        let page = page(field, node)?;
        let fault = self.fault(mode, random);
        let readings = page.wrong_readings()?;
        page.harm_clocks(fault)?;
        if mode == "strobe" {
            self.begin_strobe(page, random);
        }
        let seen = field.wait_for("the others see another clock", SEEN, async || {
            offset_ms(field, node).await.filter(|offset| offset.abs() > CLEARLY_MS)
        });
        let seen = seen.await;
        let readings = page.wrong_readings()?.saturating_sub(readings);
        match seen {
            Ok(offset) => {
                let evidence = format!("{fault:?}; another peer sees it {offset} ms off; {readings} wrong readings so far");
                Ok(Outcome::installed(mode, field, &[node], evidence))
            }
            // With the node cut off or the peers busy nobody may see it; that the process read it is enough.
            Err(_) if readings > 0 => Ok(Outcome::installed(
                mode,
                field,
                &[node],
                format!("{fault:?}; {readings} wrong readings so far"),
            )),
            Err(_) => Ok(Outcome::Indeterminate {
                why: format!("{fault:?} at {}, which read no clock within {} s", field.name(node), SEEN.as_secs()),
            }),
        }
    }

    async fn stop(&mut self, field: &Field, _: &mut Random) -> anyhow::Result<String> {
        if let Some((end, task)) = self.strobe.take() {
            end.store(true, Ordering::Relaxed);
            task.await??;
        }
        let Some(node) = self.node.take() else {
            return Ok("nothing was done".to_owned());
        };
        page(field, node)?.harm_clocks(ClockFault::default())?;
        Ok(format!("the clock of {} is right again", names(field, &[node])))
    }
}
