//! Networks that do not connect everybody: all the shapes that have broken Raft systems.
//!
//! Clients keep their way to every node, but for the mode that is about them: so they also reach the side that must not
//! answer.

use super::modes::Modes;
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

/// All shapes.
pub const MODES: &[&str] = &[
    "leader-in-minority",
    "halves",
    "isolate",
    "scatter",
    "deaf",
    "mute",
    "flapping",
    "cable",
    "reset",
    "clients",
    "ring",
    "bridge",
    "weak-bridge",
];
/// Of these, those that are something else, or nothing, among three nodes.
pub const NEED_FIVE: [&str; 3] = ["ring", "bridge", "weak-bridge"];
/// Traffic between nodes that are cut is seen to be dropped within this.
const SEEN: Duration = Duration::from_secs(4);

pub struct Partition {
    modes: Modes,
    mode: &'static str,
    /// Ends the flapping.
    flapping: Option<(Arc<AtomicBool>, JoinHandle<anyhow::Result<()>>)>,
    unplugged: Vec<usize>,
}

/// What one namespace no longer hears, and where it no longer gets through. Places count from 1.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Cut {
    place: usize,
    from: Vec<usize>,
    to: Vec<usize>,
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
                let link = network.cable(leader)?;
                return Ok(Outcome::installed(self.mode, field, &[leader - 1], link));
            }
            "reset" => reset(network, &cuts)?,
            _ => {
                for cut in &cuts {
                    network.cut(cut.place, &cut.from, &cut.to)?;
                }
            }
        }
        self.see(field, network, before, shape).await
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

/// The shape of a mode in words, and its cuts. `leader` is a place.
fn cuts(mode: &str, leader: usize, nodes: usize, random: &mut Random) -> (String, Vec<Cut>) {
    let all: Vec<usize> = (1..=nodes).collect();
    let others: Vec<usize> = all.iter().copied().filter(|place| *place != leader).collect();
    let shuffled = random.choose(others.len(), &others);
    let node = if random.chance(50) { leader } else { *random.pick(&all) };
    let apart = |place: usize| all.iter().copied().filter(|other| *other != place).collect::<Vec<_>>();
    match mode {
        "leader-in-minority" | "flapping" | "reset" => {
            let mut small = vec![leader];
            if mode == "leader-in-minority" {
                small.extend(&shuffled[..(nodes - 1) / 2 - 1]);
            }
            (format!("n{leader} leads among {small:?}"), between(&small, &all))
        }
        "halves" => {
            let half = random.choose(nodes / 2, &all);
            (format!("{half:?} and the rest, led by n{leader}"), between(&half, &all))
        }
        "isolate" => (format!("n{node} is alone"), between(&[node], &all)),
        "scatter" => {
            let cut = |place: usize| Cut {
                place,
                from: apart(place),
                to: apart(place),
            };
            ("everybody is alone".to_owned(), all.iter().copied().map(cut).collect())
        }
        "deaf" => (
            format!("n{node} hears nobody"),
            vec![Cut {
                place: node,
                from: apart(node),
                to: Vec::new(),
            }],
        ),
        "mute" => (
            format!("nobody hears n{node}"),
            vec![Cut {
                place: node,
                from: Vec::new(),
                to: apart(node),
            }],
        ),
        "clients" => {
            let away = random.choose(nodes / 2 + 1, &all);
            (
                format!("clients do not reach {away:?}"),
                vec![Cut {
                    place: CLIENTS,
                    from: away.clone(),
                    to: away,
                }],
            )
        }
        "ring" => {
            let ring: Vec<usize> = [leader].into_iter().chain(shuffled).collect();
            (format!("each hears its neighbours in {ring:?}"), ring_of(&ring))
        }
        // The leader reaches one node only, without which nobody else is a majority (openraft issue 2080).
        "weak-bridge" => {
            let (bridge, lonely) = (shuffled[0], shuffled[1]);
            let cut = |place: usize| {
                let hears = |other: &usize| match (place, *other) {
                    (place, _) | (_, place) if place == lonely => false,
                    (place, other) => place != leader && other != leader || [place, other].contains(&bridge),
                };
                let away: Vec<usize> = apart(place).into_iter().filter(|other| !hears(other)).collect();
                Cut {
                    place,
                    from: away.clone(),
                    to: away,
                }
            };
            let shape = format!("n{leader} leads and hears n{bridge} only, n{lonely} is alone");
            (shape, all.iter().copied().map(cut).collect())
        }
        // The leader on one side, and one node that both sides reach.
        _ => {
            let (near, rest) = shuffled.split_at(1);
            let side = [leader, near[0]];
            let far = &rest[1..];
            let cuts = between(&side, &[&side[..], far].concat());
            (format!("{side:?} and {far:?}, with n{} between", rest[0]), cuts)
        }
    }
}

/// Both directions between `side` and the rest of `all`.
fn between(side: &[usize], all: &[usize]) -> Vec<Cut> {
    let cut = |place: &usize| {
        let inside = side.contains(place);
        let away: Vec<usize> = all.iter().copied().filter(|other| side.contains(other) != inside).collect();
        Cut {
            place: *place,
            from: away.clone(),
            to: away,
        }
    };
    all.iter().map(cut).collect()
}

/// Each is cut from all but the two beside it.
fn ring_of(ring: &[usize]) -> Vec<Cut> {
    let count = ring.len();
    let cut = |position: usize| {
        let beside = [ring[(position + 1) % count], ring[(position + count - 1) % count], ring[position]];
        let away: Vec<usize> = ring.iter().copied().filter(|other| !beside.contains(other)).collect();
        Cut {
            place: ring[position],
            from: away.clone(),
            to: away,
        }
    };
    (0..count).map(cut).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether what `from` says reaches `to`.
    fn reaches(cuts: &[Cut], from: usize, to: usize) -> bool {
        let stopped = |cut: &Cut| (cut.place == to && cut.from.contains(&from)) || (cut.place == from && cut.to.contains(&to));
        !cuts.iter().any(stopped)
    }

    /// Nodes that hear `node` and are heard by it, itself included.
    fn degree(cuts: &[Cut], node: usize) -> usize {
        (1..=5)
            .filter(|other| reaches(cuts, node, *other) && reaches(cuts, *other, node))
            .count()
    }

    #[test]
    fn every_shape_is_what_its_name_says() {
        for seed in 0..50 {
            let random = &mut Random::new(seed);
            let leader = 1 + seed as usize % 5;
            let minority = cuts("leader-in-minority", leader, 5, random).1;
            assert_eq!(degree(&minority, leader), 2);
            let ring = cuts("ring", leader, 5, random).1;
            assert!((1..=5).all(|node| degree(&ring, node) == 3), "{ring:?}");
            let bridge = cuts("bridge", leader, 5, random).1;
            let mut degrees: Vec<usize> = (1..=5).map(|node| degree(&bridge, node)).collect();
            degrees.sort_unstable();
            assert_eq!(degrees, [3, 3, 3, 3, 5], "{bridge:?}");
            assert_eq!(degree(&bridge, leader), 3, "the leader is not the bridge");
            let weak = cuts("weak-bridge", leader, 5, random).1;
            let mut degrees: Vec<usize> = (1..=5).map(|node| degree(&weak, node)).collect();
            assert_eq!(degree(&weak, leader), 2);
            degrees.sort_unstable();
            assert_eq!(degrees, [1, 2, 3, 3, 4], "{weak:?}");
            let scatter = cuts("scatter", leader, 5, random).1;
            assert!((1..=5).all(|node| degree(&scatter, node) == 1));
            let deaf = cuts("deaf", leader, 5, random).1;
            let node = deaf[0].place;
            assert!(
                (1..=5)
                    .filter(|other| *other != node)
                    .all(|other| !reaches(&deaf, other, node) && reaches(&deaf, node, other))
            );
            let three = cuts("leader-in-minority", 1, 3, random).1;
            assert!(!reaches(&three, 1, 2) && !reaches(&three, 3, 1) && reaches(&three, 2, 3));
        }
    }
}
