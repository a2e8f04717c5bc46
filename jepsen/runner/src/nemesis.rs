//! Faults. Each is one kind of harm that is done, lasts a while and is undone.
//!
//! A run names them `kill` or `kill:leader/all`: without modes each time another one, in an order the seed decides, until
//! all were had. `start` returns once something shows that the harm is there.

mod clock;
mod corrupt;
mod failpoint;
mod fsync;
mod kill;
mod members;
mod membership;
mod modes;
mod packets;
mod partition;
mod pause;
mod power;
mod purge;
mod shapes;
mod space;
mod starve;
mod targets;
mod transfer;
mod workers;

use crate::field::Field;
use crate::seeded::Random;
use async_trait::async_trait;
use modes::Modes;
pub use packets::queue_rule;
pub use purge::SENT_STATE;
use serde::{Deserialize, Serialize};
use workers::HeldClaim;

/// Whether a fault was really there, and how that is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Outcome {
    /// `evidence` is something read back: a counter that moved, a state in /proc, an error the kernel gave.
    Installed {
        mode: String,
        nodes: Vec<String>,
        evidence: String,
        /// What a worker had claimed when it was stopped.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        claims: Vec<HeldClaim>,
        /// Who no longer hears whom: what the first says does not reach the second. Clients are `clients`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        cuts: Vec<(String, String)>,
    },
    /// It cannot be done here, or made no sense in this moment (no leader to kill).
    Skipped { why: String },
    /// It was asked for and nothing shows that it took effect.
    Indeterminate { why: String },
}

impl Outcome {
    fn installed(mode: &str, field: &Field, nodes: &[usize], evidence: impl Into<String>) -> Outcome {
        Outcome::Installed {
            mode: mode.to_owned(),
            nodes: nodes.iter().map(|node| field.name(*node)).collect(),
            evidence: evidence.into(),
            claims: Vec::new(),
            cuts: Vec::new(),
        }
    }

    fn holding(mut self, held: Vec<HeldClaim>) -> Outcome {
        if let Outcome::Installed { claims, .. } = &mut self {
            *claims = held;
        }
        self
    }

    fn cutting(mut self, pairs: Vec<(String, String)>) -> Outcome {
        if let Outcome::Installed { cuts, .. } = &mut self {
            *cuts = pairs;
        }
        self
    }

    fn skipped(why: impl Into<String>) -> Outcome {
        Outcome::Skipped { why: why.into() }
    }
}

/// One kind of harm. Each has a thread of its own: what it waits for, it may block on.
#[async_trait(?Send)]
pub trait Nemesis: Send {
    /// Does the harm. What is random comes from `random` alone.
    async fn start(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<Outcome>;

    /// Undoes it, and says what shows that it is gone. Called exactly once after each `start`, also after one that failed.
    async fn stop(&mut self, field: &Field, random: &mut Random) -> anyhow::Result<String>;
}

/// What a fault needs of the field.
#[derive(Clone, Copy, Debug, Default)]
pub struct Needs {
    pub namespaces: bool,
    /// Nodes whose syncs and clocks can be harmed.
    pub shim: bool,
    /// Nodes that can be taken in.
    pub spares: usize,
    pub workers: usize,
    /// The smallest cluster all its modes can be done to.
    pub nodes: usize,
    /// `quorate-jepsen-netq` beside the runner, and packets that the kernel hands to it.
    pub netq: bool,
    pub cgroups: bool,
    /// File systems that can be shut down.
    pub power_cuts: bool,
}

/// A fault a run was asked for.
pub struct Chosen {
    /// As it was asked for.
    pub spec: String,
    pub name: &'static str,
    /// Modes that were asked for by name: each must have been there.
    pub required: Vec<&'static str>,
    /// Shortest and longest that this fault lasts, in seconds.
    pub shortest_seconds: u64,
    pub longest_seconds: u64,
    pub needs: Needs,
    pub nemesis: Box<dyn Nemesis>,
}

/// One line of the table of faults.
struct Kind {
    name: &'static str,
    modes: &'static [&'static str],
    shortest_seconds: u64,
    longest_seconds: u64,
    needs: Needs,
    make: fn(Modes) -> Box<dyn Nemesis>,
}

const PLAIN: Needs = Needs {
    namespaces: false,
    shim: false,
    spares: 0,
    workers: 0,
    nodes: 3,
    netq: false,
    cgroups: false,
    power_cuts: false,
};
const ROOTED: Needs = Needs { namespaces: true, ..PLAIN };

/// All faults there are, each of which must be survived. Disks that lie about syncs are not among them: they break what Raft is built
/// on, so a cell has them by `CellOptions::lying_disks` alone, and is to be caught.
const KINDS: &[Kind] = &[
    Kind {
        name: "kill",
        modes: &["one", "leader", "minority", "all"],
        shortest_seconds: 1,
        longest_seconds: 4,
        needs: PLAIN,
        make: |modes| Box::new(kill::Kill::new(modes)),
    },
    Kind {
        name: "failpoint",
        modes: failpoint::MODES,
        shortest_seconds: 1,
        longest_seconds: 3,
        needs: PLAIN,
        make: |modes| Box::new(failpoint::Failpoint::new("failpoint", modes)),
    },
    Kind {
        name: "failpoint-jobs",
        modes: failpoint::JOBS,
        shortest_seconds: 1,
        longest_seconds: 3,
        needs: PLAIN,
        make: |modes| Box::new(failpoint::Failpoint::new("failpoint-jobs", modes)),
    },
    Kind {
        name: "failpoint-snapshots",
        modes: failpoint::SNAPSHOTS,
        shortest_seconds: 1,
        longest_seconds: 3,
        needs: PLAIN,
        make: |modes| Box::new(failpoint::Failpoint::new("failpoint-snapshots", modes)),
    },
    Kind {
        name: "pause",
        modes: &["leader", "follower", "minority", pause::FREEZER],
        shortest_seconds: 1,
        longest_seconds: 8,
        needs: PLAIN,
        make: |modes| Box::new(pause::Pause::new(modes)),
    },
    Kind {
        name: "partition",
        modes: shapes::MODES,
        shortest_seconds: 1,
        longest_seconds: 15,
        needs: ROOTED,
        make: |modes| Box::new(partition::Partition::new(modes)),
    },
    Kind {
        name: "packets",
        modes: &["loss", "delay", "reorder", "bandwidth"],
        shortest_seconds: 1,
        longest_seconds: 8,
        needs: Needs { netq: true, ..ROOTED },
        make: |modes| Box::new(packets::Packets::new(modes)),
    },
    Kind {
        name: "clock",
        modes: clock::WALL,
        shortest_seconds: 1,
        longest_seconds: 8,
        needs: Needs { shim: true, ..ROOTED },
        make: |modes| Box::new(clock::Clock::wall(modes)),
    },
    Kind {
        name: "clock-monotonic",
        modes: clock::MONOTONIC,
        shortest_seconds: 1,
        longest_seconds: 8,
        needs: Needs { shim: true, ..ROOTED },
        make: |modes| Box::new(clock::Clock::both(modes)),
    },
    Kind {
        name: "power",
        modes: &["one", "leader", "minority", "majority", "all"],
        shortest_seconds: 1,
        longest_seconds: 3,
        needs: Needs {
            power_cuts: true,
            ..ROOTED
        },
        make: |modes| Box::new(power::Power::new(modes)),
    },
    Kind {
        name: "fsync",
        modes: &["slow", "hang", "fail", "fail-once"],
        shortest_seconds: 1,
        longest_seconds: 6,
        needs: Needs { shim: true, ..ROOTED },
        make: |modes| Box::new(fsync::Fsync::new(modes)),
    },
    Kind {
        name: "space",
        modes: &["one", "leader", "all"],
        shortest_seconds: 1,
        longest_seconds: 6,
        needs: ROOTED,
        make: |modes| Box::new(space::Space::new(modes)),
    },
    Kind {
        name: "corrupt",
        modes: corrupt::MODES,
        shortest_seconds: 1,
        longest_seconds: 2,
        needs: ROOTED,
        make: |modes| Box::new(corrupt::Corrupt::new(modes)),
    },
    Kind {
        name: "starve",
        modes: &["processor", "disk"],
        shortest_seconds: 1,
        longest_seconds: 10,
        needs: Needs { cgroups: true, ..ROOTED },
        make: |modes| Box::new(starve::Starve::new(modes)),
    },
    Kind {
        name: "membership",
        modes: &["replace", "grow", "shrink"],
        shortest_seconds: 1,
        longest_seconds: 4,
        needs: Needs { spares: 1, ..PLAIN },
        make: |modes| Box::new(membership::Membership::new(modes)),
    },
    Kind {
        name: "transfer",
        modes: &["best", "random", "dead"],
        shortest_seconds: 1,
        longest_seconds: 1,
        needs: PLAIN,
        make: |modes| Box::new(transfer::Transfer::new(modes)),
    },
    Kind {
        name: "purge",
        modes: purge::MODES,
        shortest_seconds: 1,
        longest_seconds: 1,
        needs: ROOTED,
        make: |modes| Box::new(purge::Purge::new(modes)),
    },
    Kind {
        name: "workers",
        modes: &["kill", "pause"],
        // Longer than a claim lives without its worker.
        shortest_seconds: 12,
        longest_seconds: 20,
        needs: Needs { workers: 2, ..PLAIN },
        make: |modes| Box::new(workers::Workers::new(modes)),
    },
];

/// Names of all faults.
pub fn kinds() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

/// Names of the faults that need something.
pub fn kinds_that_need(what: impl Fn(&Needs) -> bool) -> Vec<&'static str> {
    KINDS.iter().filter(|kind| what(&kind.needs)).map(|kind| kind.name).collect()
}

/// Names of all faults, each with its modes.
pub fn names() -> Vec<String> {
    KINDS.iter().map(|kind| format!("{}:{}", kind.name, kind.modes.join("/"))).collect()
}

/// The fault of `kill` or `kill:leader/all`, for a cluster of so many nodes.
pub fn by_name(spec: &str, nodes: usize) -> anyhow::Result<Chosen> {
    let (name, wanted) = spec.split_once(':').map_or((spec, None), |(name, modes)| (name, Some(modes)));
    let kind = KINDS.iter().find(|kind| kind.name == name);
    let kind = kind.ok_or_else(|| anyhow::anyhow!("\"{name}\" is no fault; there are {}", names().join(", ")))?;
    let mut required = Vec::new();
    for mode in wanted.iter().flat_map(|modes| modes.split('/')) {
        let known = kind.modes.iter().find(|known| **known == mode);
        required.push(*known.ok_or_else(|| anyhow::anyhow!("\"{mode}\" is no mode of {name}; there are {}", names().join(", ")))?);
    }
    if required.iter().any(|mode| shapes::NEED_FIVE.contains(mode)) {
        anyhow::ensure!(nodes >= 5, "{spec} needs five nodes");
    }
    let possible = |mode: &&'static str| nodes >= 5 || !shapes::NEED_FIVE.contains(mode);
    let modes = match required.is_empty() {
        true => kind.modes.iter().copied().filter(possible).collect(),
        false => required.clone(),
    };
    let mut needs = kind.needs;
    // Among other modes it may be skipped.
    needs.cgroups |= required.contains(&pause::FREEZER);
    Ok(Chosen {
        spec: spec.to_owned(),
        name: kind.name,
        required,
        shortest_seconds: kind.shortest_seconds,
        longest_seconds: kind.longest_seconds,
        needs,
        nemesis: (kind.make)(Modes::new(modes)),
    })
}
