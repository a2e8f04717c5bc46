//! What goes wrong during the first phase.

use crate::entropy::Dice;
use crate::peer::{PEERS, name};
use crate::run::World;
use std::sync::Arc;
use turmoil::Sim;

/// Draws one fault after the other and remembers which peers are down.
pub struct Faults {
    dice: Dice,
    down: [bool; PEERS],
    next_at_ms: u64,
}

impl Faults {
    pub fn new() -> Faults {
        Faults {
            dice: Dice::new(),
            down: [false; PEERS],
            next_at_ms: 0,
        }
    }

    /// Called at every step; acts when it is time.
    pub fn step(&mut self, sim: &mut Sim<'_>, world: &Arc<World>) {
        let now_ms = sim.elapsed().as_millis() as u64;
        if now_ms < self.next_at_ms {
            return;
        }
        self.next_at_ms = now_ms + 50 + self.dice.roll(400);
        let victim = self.dice.roll(PEERS as u64) as usize;
        let other = (victim + 1 + self.dice.roll(PEERS as u64 - 1) as usize) % PEERS;
        // Repairs are as likely as faults, or the cluster would spend the run waiting for a quorum.
        match self.dice.roll(20) {
            0..3 => self.crash(sim, world, victim),
            3 => (0..PEERS).for_each(|peer| self.crash(sim, world, peer)),
            4..10 => self.restart(sim, world),
            10 => {
                world.note(format!("{} and {} are parted", name(victim), name(other)));
                sim.partition(name(victim), name(other));
            }
            11 => {
                world.note(format!("{} does not reach {}", name(victim), name(other)));
                sim.partition_oneway(name(victim), name(other));
            }
            12 => {
                world.note(format!("{} is alone", name(victim)));
                (0..PEERS)
                    .filter(|peer| *peer != victim)
                    .for_each(|peer| sim.partition(name(victim), name(peer)));
            }
            13 => {
                let rate = self.dice.roll(3) as f64 / 1_000.0;
                world.note(format!("links fail at {rate} a message"));
                sim.set_fail_rate(rate);
            }
            14 => self.restart_without_pause(sim, world, victim),
            _ => repair(sim, world),
        }
    }

    fn crash(&mut self, sim: &mut Sim<'_>, world: &Arc<World>, peer: usize) {
        if self.down[peer] {
            return;
        }
        self.down[peer] = true;
        sim.crash(name(peer));
        world.crashed(peer);
        let disk = &world.disks[peer];
        let keep = self.dice.roll(disk.log.pending() as u64 + 1) as usize;
        let report = disk.log.crash(keep, self.dice.roll(2) == 0);
        disk.state.crash();
        world.note(format!("{} crashes: {report:?}", name(peer)));
    }

    /// A crash nobody has time to notice.
    fn restart_without_pause(&mut self, sim: &mut Sim<'_>, world: &Arc<World>, peer: usize) {
        self.crash(sim, world, peer);
        self.restart(sim, world);
    }

    fn restart(&mut self, sim: &mut Sim<'_>, world: &Arc<World>) {
        for peer in (0..PEERS).filter(|peer| self.down[*peer]) {
            world.note(format!("{} starts again", name(peer)));
            sim.bounce(name(peer));
        }
        self.down = [false; PEERS];
    }

    /// Ends all of it.
    pub fn heal(&mut self, sim: &mut Sim<'_>, world: &Arc<World>) {
        sim.set_fail_rate(0.0);
        repair(sim, world);
        self.restart(sim, world);
    }
}

fn repair(sim: &mut Sim<'_>, world: &Arc<World>) {
    world.note("all links are repaired".to_owned());
    let everybody: Vec<String> = (0..PEERS).map(name).chain(crate::run::client_names()).collect();
    for (position, one) in everybody.iter().enumerate() {
        for other in &everybody[position + 1..] {
            sim.repair(one.as_str(), other.as_str());
        }
    }
}
