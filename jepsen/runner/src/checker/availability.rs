//! Availability: from each change on, as long as a connected majority is whole ([`windows`]), reads and writes succeed within a bound
//! that follows from the timing of elections in use.
//!
//! Two kinds of callers are held to it. Probes, which ask every node all the time and give up soon, find a majority that serves within
//! little more than the election. The workload's clients stay with nodes that are silent, and get seconds for noticing.

use super::Asked;
use super::windows::{self, MS, Window};
use crate::history::{Op, Phase};
use crate::operation::{Operation, operations};
use crate::probes::{self, Probe};
use crate::verdict::Verdict;
use crate::workload::STALE_READS;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const NAME: &str = "availability";
/// A client may have asked a node that went away just before, and then another: each holds it for its timeout of a second. One
/// more, because all nodes and clients share this machine.
const CLIENTS_NS: u64 = 3_000 * MS;
/// A probe is under way when a node begins to serve, and the next one is answered; as much again, because all nodes and clients share
/// this machine.
const PROBES_NS: u64 = 2 * (probes::PATIENCE.as_nanos() as u64);
/// Clients whose calls hang notice after their timeout that writes are served again.
const NOTICED_NS: u64 = 1_000 * MS;
/// So many operations must have been tried when the bound was nearly over: a workload may have nothing to write for a while.
const LEAST_TRIES: usize = 3;

/// `probed` is what the run's probes saw.
pub fn check(history: &[Op], probed: Result<Vec<Probe>, String>, asked: &Asked) -> Verdict {
    let probed = match probed {
        Ok(probed) => probed,
        Err(error) => return Verdict::unknown(NAME, error),
    };
    let all = operations(history);
    let windows = windows::of(history, asked);
    let (clients, probes) = match (Callers::clients(&all).measure(&windows), Callers::probes(&probed).measure(&windows)) {
        (Ok(clients), Ok(probes)) => (clients, probes),
        (Err((index, what)), _) | (_, Err((index, what))) => return Verdict::invalid(NAME, Some(index), what),
    };
    let mut details = clients.shown();
    details["phases"] = json!(phases(&all));
    details["longest_gap_ms"] = json!(longest_gap(&all));
    if asked.probed {
        details["probes"] = probes.shown();
    }
    if clients.recoveries.is_empty() {
        return Verdict::unknown(NAME, "there was no moment at which recovery could be measured").with(details);
    }
    if asked.probed && probes.demanded.is_empty() {
        return Verdict::unknown(NAME, "no probe was asked for the bound on recovery").with(details);
    }
    let mut what = format!("a connected majority served clients again {}", clients.told());
    if asked.probed {
        what += &format!("; it served probes again {}", probes.told());
    }
    Verdict::valid(NAME, what).with(details)
}

/// How often the bound was asked of clients: `None` if it was not kept.
pub fn demanded(history: &[Op], all: &[Operation<'_>], asked: &Asked) -> Option<usize> {
    let measured = Callers::clients(all).measure(&windows::of(history, asked));
    measured.ok().map(|measured| measured.demanded.len())
}

/// The longest that a majority may take from the end of the last fault on: load that goes on for longer asks the bound once at
/// least.
pub fn longest_bound(asked: &Asked) -> Duration {
    Duration::from_nanos(windows::longest_election_ns(asked) + CLIENTS_NS)
}

/// What all windows of a run came to.
#[derive(Default)]
struct Measured {
    /// By begin of the window, and what was served.
    recoveries: BTreeMap<(u64, &'static str), u64>,
    /// Begins of windows that lasted as long as it may take, and of those in which a fault was there.
    demanded: BTreeSet<u64>,
    demanded_harmed: BTreeSet<u64>,
}

impl Measured {
    fn shown(&self) -> Json {
        let each = self.recoveries.iter();
        let each: Vec<Json> = each
            .map(|((from, name), took)| json!({"at_ms": from / MS, "kind": name, "took_ms": took / MS}))
            .collect();
        let times: Vec<u64> = self.recoveries.values().map(|took| took / MS).collect();
        let (demanded, harmed) = (self.demanded.len(), self.demanded_harmed.len());
        json!({"recoveries_ms": times, "recoveries": each, "demanded": demanded, "demanded_under_a_fault": harmed})
    }

    fn told(&self) -> String {
        let slowest = self.recoveries.values().max().map_or(0, |took| took / MS);
        let (demanded, harmed) = (self.demanded.len(), self.demanded_harmed.len());
        format!("within {slowest} ms; {demanded} times it was whole for as long as it may take, {harmed} of them while a fault was there")
    }
}

/// Who asks: clients, or probes.
struct Callers {
    name: &'static str,
    kinds: [(&'static str, Kind); 2],
    /// What they get on top of the election.
    allowance_ns: u64,
}

impl Callers {
    fn clients(all: &[Operation<'_>]) -> Callers {
        Callers {
            name: "clients",
            kinds: [("read", Kind::of(all, false)), ("write", Kind::of(all, true))],
            allowance_ns: CLIENTS_NS,
        }
    }

    fn probes(all: &[Probe]) -> Callers {
        Callers {
            name: "probes",
            kinds: [
                ("read", Kind::probed(all, probes::Kind::Read)),
                ("write", Kind::probed(all, probes::Kind::Write)),
            ],
            allowance_ns: PROBES_NS,
        }
    }

    /// An error has the index and words of a window in which nothing was served in time.
    fn measure(&self, windows: &[Window]) -> Result<Measured, (u64, String)> {
        let mut measured = Measured::default();
        for window in windows {
            let bound_ns = window.election_ns + self.allowance_ns;
            let deadline = window.from + bound_ns;
            for (name, kind) in &self.kinds {
                let first = kind.first_success(window.from);
                if let Some(first) = first.filter(|first| *first <= deadline.min(window.until)) {
                    measured.recoveries.insert((window.from, *name), first - window.from);
                    if window.until >= deadline {
                        measured.demanded.insert(window.from);
                        measured.demanded_harmed.extend(window.is_harmed.then_some(window.from));
                    }
                } else if window.until >= deadline && kind.tries(deadline - bound_ns / 3, deadline) >= LEAST_TRIES {
                    return Err((window.index, self.late(window, name, first)));
                }
            }
        }
        Ok(measured)
    }

    fn late(&self, window: &Window, name: &str, first: Option<u64>) -> String {
        let nodes: Vec<String> = window.nodes.iter().map(|node| format!("n{node}")).collect();
        let found = match first {
            Some(first) => format!("the first {name} succeeded after {} ms", (first - window.from) / MS),
            None => format!("no {name} succeeded"),
        };
        format!(
            "{} were whole and connected; of {}, {found}, allowed are {} ms",
            nodes.join(", "),
            self.name,
            (window.election_ns + self.allowance_ns) / MS
        )
    }
}

/// What is left of the quiet spans when writes are served again and clients have noticed.
pub fn settled_spans(history: &[Op], all: &[Operation<'_>]) -> Vec<(u64, u64)> {
    let writes = Kind::of(all, true);
    let settled = |(from, until): (u64, u64)| Some((writes.first_success(from)?.saturating_add(NOTICED_NS), until));
    let spans = windows::quiet_spans(history).into_iter().filter_map(settled);
    spans.filter(|(from, until)| from < until).collect()
}

/// Reads, or writes.
struct Kind {
    /// When each began.
    begun: Vec<u64>,
    /// When each that was served began, and the first end among it and all that began later.
    served: Vec<(u64, u64)>,
}

impl Kind {
    fn of(all: &[Operation<'_>], is_write: bool) -> Kind {
        let is_it = |operation: &&Operation<'_>| operation.request().is_some() == is_write && !STALE_READS.contains(&operation.f());
        let answered = |operation: &Operation<'_>| operation.ended.filter(|_| operation.is_answered()).map(|ended| ended.time);
        let of_it = all.iter().filter(is_it);
        Kind::new(of_it.map(|operation| (operation.invoked.time, answered(operation))).collect())
    }

    fn probed(all: &[Probe], kind: probes::Kind) -> Kind {
        let of_it = all.iter().filter(|probe| probe.kind == kind);
        let answered = |probe: &Probe| probe.error.is_none().then_some(probe.ended);
        Kind::new(of_it.map(|probe| (probe.begun, answered(probe))).collect())
    }

    /// By when each began, and when it was served, if it was.
    fn new(mut all: Vec<(u64, Option<u64>)>) -> Kind {
        all.sort_unstable();
        let begun = all.iter().map(|(begun, _)| *begun).collect();
        let mut served: Vec<(u64, u64)> = all.into_iter().filter_map(|(begun, served)| Some((begun, served?))).collect();
        let mut first = u64::MAX;
        for (_, end) in served.iter_mut().rev() {
            first = first.min(*end);
            *end = first;
        }
        Kind { begun, served }
    }

    /// When the first of those succeeded that began then or later.
    fn first_success(&self, from: u64) -> Option<u64> {
        let position = self.served.partition_point(|(begun, _)| *begun < from);
        self.served.get(position).map(|(_, first)| *first)
    }

    fn tries(&self, from: u64, until: u64) -> usize {
        self.begun.partition_point(|begun| *begun <= until) - self.begun.partition_point(|begun| *begun < from)
    }
}

/// Successes of all operations, by phase.
fn phases(all: &[Operation<'_>]) -> BTreeMap<Phase, (usize, usize)> {
    let mut phases = BTreeMap::new();
    for operation in all {
        let (ok, count) = phases.entry(operation.phase()).or_insert((0, 0));
        *count += 1;
        *ok += usize::from(operation.is_ok());
    }
    phases
}

/// Longest time without any success in the main phase, in milliseconds.
fn longest_gap(all: &[Operation<'_>]) -> u64 {
    let ended = all.iter().filter(|operation| operation.is_ok() && operation.phase() == Phase::Main);
    let mut times: Vec<u64> = ended.filter_map(|operation| operation.ended).map(|ended| ended.time).collect();
    times.sort_unstable();
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0) / MS
}

#[cfg(test)]
#[path = "availability_tests.rs"]
mod tests;
