//! Clocks that jump, run fast or slow, or tick back and forth. Whether only the wall clock moves, or both do, is decided
//! when the nodes are started.

use super::modes::Modes;
use super::targets::names;
use super::{Nemesis, Outcome};
use crate::field::Field;
use crate::seeded::Random;
use anyhow::Context;
use async_trait::async_trait;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio::time::sleep;

pub const MODES: &[&str] = &["jump-forward", "jump-back", "fast", "slow", "strobe"];
/// Peers tell each other their clocks every second.
const SEEN: Duration = Duration::from_secs(6);
/// An offset that no busy machine makes.
const CLEARLY_MS: i64 = 700;
const LARGEST_JUMP_SECONDS: u64 = 300;

pub struct Clock {
    modes: Modes,
    node: Option<usize>,
    strobe: Option<(Arc<AtomicBool>, JoinHandle<anyhow::Result<()>>)>,
}

impl Clock {
    pub fn new(modes: Modes) -> Clock {
        Clock {
            modes,
            node: None,
            strobe: None,
        }
    }

    fn strobe(&mut self, field: &Field, node: usize, random: &Random) -> anyhow::Result<()> {
        let clock = field
            .node(node)
            .clock
            .as_ref()
            .context("the nodes have their own clocks only when a run asks for it")?;
        let clock = clock.clone();
        let end = Arc::new(AtomicBool::new(false));
        let (ending, mut random) = (end.clone(), random.clone());
        clock.set("+5")?;
        let task = tokio::spawn(async move {
            // Long enough at first that the others see it.
            sleep(Duration::from_millis(2_500)).await;
            while !ending.load(Ordering::Relaxed) {
                sleep(Duration::from_millis(50 + random.below(400))).await;
                clock.set(&format!("{:+}", random.below(61) as i64 - 30))?;
            }
            Ok(())
        });
        self.strobe = Some((end, task));
        Ok(())
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
        let clock = field
            .node(node)
            .clock
            .as_ref()
            .context("the nodes have their own clocks only when a run asks for it")?;
        let jump = 1 + random.below(LARGEST_JUMP_SECONDS);
        let what = match mode {
            "jump-forward" => format!("+{jump}"),
            "jump-back" => format!("-{jump}"),
            "fast" => "+0 x5".to_owned(),
            "slow" => "+0 x0.5".to_owned(),
            _ => {
                self.strobe(field, node, random)?;
                "strobe".to_owned()
            }
        };
        if mode != "strobe" {
            clock.set(&what)?;
        }
        let seen = field.wait_for("the others see another clock", SEEN, async || {
            offset_ms(field, node).await.filter(|offset| offset.abs() > CLEARLY_MS)
        });
        match seen.await {
            Ok(offset) => Ok(Outcome::installed(
                mode,
                field,
                &[node],
                format!("{what}; another peer sees it {offset} ms off"),
            )),
            Err(_) => Ok(Outcome::Indeterminate {
                why: format!("{what} at {}, but no peer saw it within {} s", field.name(node), SEEN.as_secs()),
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
        field
            .node(node)
            .clock
            .as_ref()
            .context("the nodes have their own clocks")?
            .set("+0")?;
        Ok(format!("the clock of {} is right again", names(field, &[node])))
    }
}
