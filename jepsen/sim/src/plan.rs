//! What a seed makes of a run: how many peers, how they are set, which kinds of trouble come how often.

use crate::entropy::Dice;
use quorate_consensus::Settings;
use std::time::Duration;

/// A kind of trouble. Each has a weight in the plan; a run need not have all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// One process dies: what it had not synced is gone up to a random point.
    Crash,
    /// One process dies and starts again before anybody notices.
    Bounce,
    /// Power goes at a minority, or at everybody.
    PowerCutMinority,
    PowerCutAll,
    /// Two peers, or one and all others, do not hear each other.
    Part,
    Isolate,
    /// One of them still hears the other.
    OneWay,
    /// Two halves that only one peer, which is in both, can reach.
    Bridge,
    /// What one peer calls is refused, though it lives: it takes the others for dead.
    Refusal,
    /// Messages are lost now and then.
    Loss,
    /// Links of one peer become slow.
    Delay,
    /// One peer's disk takes long to sync, or very long.
    SlowSync,
    /// One peer's disk fails for good; the process ends.
    DiskError,
    /// All clocks jump.
    ClockJump,
    /// One peer is cut off for so long that the others purge what it needs.
    CutOff,
    /// A disk is emptied; its peer comes back under a new id.
    EmptyDisk,
}

/// One run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub founders: usize,
    /// Peers that are started later and join; the operator adds and removes members then.
    pub spares: usize,
    pub faults_for: Duration,
    pub max_latency: Duration,
    /// Weights; what is left out has none.
    pub faults: Vec<(Fault, u64)>,
    pub settings: Settings,
}

const COMMON: [(Fault, u64); 10] = [
    (Fault::Crash, 6),
    (Fault::Bounce, 3),
    (Fault::PowerCutMinority, 1),
    (Fault::PowerCutAll, 2),
    (Fault::Part, 2),
    (Fault::Isolate, 3),
    (Fault::OneWay, 2),
    (Fault::Refusal, 2),
    (Fault::Loss, 2),
    (Fault::SlowSync, 3),
];

const RARE: [(Fault, u64); 5] = [
    (Fault::Delay, 3),
    (Fault::DiskError, 2),
    (Fault::ClockJump, 1),
    (Fault::CutOff, 2),
    (Fault::Bridge, 3),
];

impl Plan {
    /// Drawn first of all from a run's seed.
    pub fn draw() -> Plan {
        let mut dice = Dice::new();
        let founders = if dice.chance(65) { 3 } else { 5 };
        let spares = usize::from(dice.chance(30));
        let mut faults = COMMON.to_vec();
        // Half of the rare ones each time: a run with all of them hardly has a quorum.
        faults.extend(RARE.into_iter().filter(|(fault, _)| {
            let wanted = dice.chance(50);
            wanted && (*fault != Fault::Bridge || founders == 5)
        }));
        if spares > 0 {
            faults.push((Fault::EmptyDisk, 2));
        }
        Plan {
            founders,
            spares,
            faults_for: Duration::from_secs(10 + dice.roll(10)),
            max_latency: Duration::from_millis(dice.pick(&[2, 8, 8, 20])),
            faults,
            settings: settings(&mut dice),
        }
    }

    /// Hosts, spares included.
    pub fn hosts(&self) -> usize {
        self.founders + self.spares
    }

    /// Fewest peers that are a majority of any membership of the run.
    pub fn smallest_quorum(&self) -> usize {
        // The operator keeps at least three members.
        if self.spares > 0 { 2 } else { self.founders / 2 + 1 }
    }
}

/// Checkpoints come so early that a peer that was away for a moment needs one.
fn settings(dice: &mut Dice) -> Settings {
    let slow_transfers = dice.chance(33);
    Settings {
        checkpoint_log_entries: 20 + dice.roll(60),
        // Either a slow peer has a claim on the log, or it gets a checkpoint at once. Who needs long to be sent one and has no
        // claim would never be done: that is what the claim is for.
        max_log_bytes: if slow_transfers { 1 << 30 } else { dice.pick(&[1, 1, 1 << 30]) },
        flush_entries: 10 + dice.roll(30),
        // Some transfers take so long that further checkpoints are made meanwhile.
        checkpoint_bytes_per_second: if slow_transfers { 500_000 } else { 0 },
        inline_apply: true,
        ..Settings::default()
    }
}
