//! What goes wrong during the first phase, and how all of it ends.

use crate::entropy::Dice;
use crate::peer::name;
use crate::plan::Fault;
use crate::world::{CLIENTS, World, jump_clocks};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use turmoil::Sim;

/// Disks a run may lose: each needs its replacement to be complete before the next.
const EMPTIED_DISKS: u32 = 2;
/// Furthest the wall clocks are put forward or back.
const CLOCK_JUMP_MS: u64 = 300_000;

/// Draws one fault after the other and remembers what is broken.
pub struct Faults {
    dice: Dice,
    down: Vec<bool>,
    next_at_ms: u64,
    /// A peer that no repair reaches until its time is over.
    cut_off: Option<(usize, u64)>,
    emptied: u32,
    /// How often each kind came about.
    pub counts: BTreeMap<String, u64>,
}

impl Faults {
    pub fn new(world: &World) -> Faults {
        Faults {
            dice: Dice::new(),
            down: vec![false; world.plan.hosts()],
            next_at_ms: 0,
            cut_off: None,
            emptied: 0,
            counts: BTreeMap::new(),
        }
    }

    /// Called at every step; acts when it is time.
    pub fn step(&mut self, sim: &mut Sim<'_>, world: &Arc<World>) {
        let now_ms = sim.elapsed().as_millis() as u64;
        if let Some((peer, until_ms)) = self.cut_off
            && now_ms >= until_ms
        {
            self.cut_off = None;
            world.note(format!("{} is reached again", name(peer)));
            self.repair(sim, world);
        }
        if now_ms < self.next_at_ms {
            return;
        }
        self.next_at_ms = now_ms + 50 + self.dice.roll(400);
        // Repairs are as likely as faults, or the cluster would spend the run waiting for a quorum.
        match self.dice.roll(20) {
            0..6 => self.restart(sim, world),
            6..11 => self.repair(sim, world),
            _ => {
                let fault = self.draw(world);
                if self.break_something(fault, sim, world, now_ms) {
                    *self.counts.entry(format!("{fault:?}")).or_default() += 1;
                }
            }
        }
    }

    fn draw(&mut self, world: &World) -> Fault {
        let faults = &world.plan.faults;
        let mut place = self.dice.roll(faults.iter().map(|(_, weight)| weight).sum());
        for (fault, weight) in faults {
            match place.checked_sub(*weight) {
                Some(left) => place = left,
                None => return *fault,
            }
        }
        Fault::Crash
    }

    /// Says whether it made sense now.
    fn break_something(&mut self, fault: Fault, sim: &mut Sim<'_>, world: &Arc<World>, now_ms: u64) -> bool {
        let hosts = world.plan.hosts();
        let victim = self.dice.roll(hosts as u64) as usize;
        let other = (victim + 1 + self.dice.roll(hosts as u64 - 1) as usize) % hosts;
        match fault {
            Fault::Crash => return self.die(sim, world, victim),
            Fault::Bounce => {
                let died = self.die(sim, world, victim);
                self.restart(sim, world);
                return died;
            }
            Fault::PowerCutMinority => {
                world.note("power goes at a minority");
                (0..(hosts - 1) / 2).for_each(|step| _ = self.crash(sim, world, (victim + step) % hosts));
            }
            Fault::PowerCutAll => {
                world.note("power goes everywhere");
                (0..hosts).for_each(|peer| _ = self.crash(sim, world, peer));
            }
            Fault::Part => {
                world.note(format!("{} and {} are parted", name(victim), name(other)));
                sim.partition(name(victim), name(other));
            }
            Fault::Isolate => isolate(sim, world, victim),
            Fault::OneWay => {
                world.note(format!("{} does not reach {}", name(victim), name(other)));
                sim.partition_oneway(name(victim), name(other));
            }
            Fault::Bridge => bridge(sim, world, victim),
            Fault::Refusal => {
                world.note(format!("{} is refused by everybody", name(victim)));
                world.refuse(victim);
            }
            Fault::Loss => {
                let rate = self.dice.roll(3) as f64 / 1_000.0;
                world.note(format!("links fail at {rate} a message"));
                sim.set_fail_rate(rate);
            }
            Fault::Delay => {
                let slowest = Duration::from_millis(30 + self.dice.roll(270));
                world.note(format!("messages of {} take up to {slowest:?}", name(victim)));
                (0..hosts).filter(|peer| *peer != victim).for_each(|peer| {
                    sim.set_link_max_message_latency(name(victim), name(peer), slowest);
                });
            }
            Fault::SlowSync => {
                let slowest = Duration::from_millis(self.dice.pick(&[50, 200, 1_000, 5_000]));
                world.note(format!("the disk of {} takes up to {slowest:?}", name(victim)));
                world.disk(victim).slow_down(slowest);
            }
            // The disk of a peer that does not run fails nobody; its next start does not begin with a failure.
            Fault::DiskError if self.down[victim] => return false,
            Fault::DiskError => {
                world.note(format!("the disk of {} fails", name(victim)));
                world.disk(victim).log.fail();
            }
            Fault::ClockJump => {
                let to_ms = self.dice.roll(2 * CLOCK_JUMP_MS) as i64 - CLOCK_JUMP_MS as i64;
                world.note(format!("clocks jump to {to_ms} ms off"));
                jump_clocks(to_ms);
            }
            Fault::CutOff if self.cut_off.is_none() => {
                isolate(sim, world, victim);
                self.cut_off = Some((victim, now_ms + 1_500 + self.dice.roll(3_000)));
            }
            Fault::CutOff => return false,
            Fault::EmptyDisk => return self.empty_disk(sim, world, victim),
        }
        true
    }

    /// The process of a peer ends and its host lives on: the others are told, as a kernel does. Says whether it ran.
    fn die(&mut self, sim: &mut Sim<'_>, world: &Arc<World>, peer: usize) -> bool {
        let id = world.node(peer).map(|node| node.peer());
        let died = self.crash(sim, world, peer);
        if died && let Some(id) = id {
            world.died(peer, id);
        }
        died
    }

    /// A peer falls silent, as with its whole host. Says whether it ran.
    pub fn crash(&mut self, sim: &mut Sim<'_>, world: &Arc<World>, peer: usize) -> bool {
        if self.down[peer] || !world.is_called(peer) {
            return false;
        }
        self.down[peer] = true;
        sim.crash(name(peer));
        world.stopped(peer);
        let report = world.disk(peer).crash(&mut self.dice);
        world.note(format!("{} crashes: {report:?}", name(peer)));
        true
    }

    /// Only while everybody is there, so that the loss of one disk is all there is to bear until its replacement is complete.
    fn empty_disk(&mut self, sim: &mut Sim<'_>, world: &Arc<World>, peer: usize) -> bool {
        if self.emptied == EMPTIED_DISKS || self.down.contains(&true) || !crate::run::is_complete(world) {
            return false;
        }
        if world.node(peer).is_none() || !self.crash(sim, world, peer) {
            return false;
        }
        self.emptied += 1;
        world.note(format!("the disk of {} is emptied", name(peer)));
        world.empty_disk(peer);
        true
    }

    /// Starts again what has ended by itself.
    pub fn restart_ended(&mut self, sim: &mut Sim<'_>, world: &Arc<World>) {
        if (0..self.down.len()).any(|peer| world.has_ended(peer)) {
            self.restart(sim, world);
        }
    }

    /// Starts again what does not run: what crashed, and what has ended by itself.
    fn restart(&mut self, sim: &mut Sim<'_>, world: &Arc<World>) {
        for peer in 0..self.down.len() {
            if world.has_ended(peer) {
                self.crash(sim, world, peer);
                if world.was_removed(peer) {
                    world.empty_disk(peer);
                    world.call(peer, peer < world.plan.founders);
                }
            }
            if self.down[peer] {
                world.note(format!("{} starts again", name(peer)));
                world.restarts(peer);
                sim.bounce(name(peer));
                self.down[peer] = false;
            }
        }
    }

    /// Links and disks work again, except those of a peer that is cut off for longer.
    fn repair(&mut self, sim: &mut Sim<'_>, world: &Arc<World>) {
        world.note("links and disks are repaired");
        sim.set_fail_rate(0.0);
        world.refuse_nobody();
        let hosts = world.plan.hosts();
        (0..hosts).for_each(|peer| world.disk(peer).recover_speed());
        let cut_off = self.cut_off.map(|(peer, _)| name(peer));
        let everybody: Vec<String> = (0..hosts).map(name).chain(client_names()).collect();
        for (position, one) in everybody.iter().enumerate() {
            for other in &everybody[position + 1..] {
                if cut_off.as_ref().is_none_or(|cut_off| one != cut_off && other != cut_off) {
                    sim.repair(one.as_str(), other.as_str());
                    sim.set_link_max_message_latency(one.as_str(), other.as_str(), world.plan.max_latency);
                }
            }
        }
    }

    /// Ends all of it.
    pub fn heal(&mut self, sim: &mut Sim<'_>, world: &Arc<World>) {
        self.cut_off = None;
        jump_clocks(0);
        self.repair(sim, world);
        self.restart(sim, world);
    }
}

fn isolate(sim: &mut Sim<'_>, world: &World, victim: usize) {
    world.note(format!("{} is alone", name(victim)));
    (0..world.plan.hosts())
        .filter(|peer| *peer != victim)
        .for_each(|peer| sim.partition(name(victim), name(peer)));
}

/// Parts the peers into two halves; only `middle` reaches both.
pub fn bridge(sim: &mut Sim<'_>, world: &World, middle: usize) {
    world.note(format!("{} is the only bridge", name(middle)));
    let hosts = world.plan.hosts();
    let others: Vec<usize> = (1..hosts).map(|step| (middle + step) % hosts).collect();
    let (left, right) = others.split_at(others.len() / 2);
    for one in left {
        right.iter().for_each(|other| sim.partition(name(*one), name(*other)));
    }
}

pub fn client_names() -> Vec<String> {
    let lists = (1..=CLIENTS).map(|number| format!("client{number}"));
    let registers = (1..=CLIENTS).map(|number| format!("user{number}"));
    lists.chain(registers).chain(["operator".to_owned()]).collect()
}
