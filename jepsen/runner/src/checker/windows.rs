//! When a majority is whole: read from the history, which says which nodes faults had, and who no longer heard whom.
//!
//! A majority that clients reach, whose nodes all run and hear each other, must serve, whatever happens to the others. Its time begins
//! when the last of its nodes came back, and anew with each fault that is done: that may have taken the leader away. A fault that ends
//! gives no further time to a majority that was whole before.
//!
//! Nothing is promised while a fault is on its way, or of a kind that leaves a leader in place that is slow, or changes who
//! votes. What a wall clock shows, and worker processes, elections do not depend on.

use super::Asked;
use crate::history::{Op, Phase, Process};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

pub const MS: u64 = 1_000_000;
/// Longest election timeouts of the product's two profiles (`Timing` of quorate-consensus).
const ELECTION_LAN_NS: u64 = 320 * MS;
const ELECTION_WAN_NS: u64 = 2_000 * MS;
/// A follower waits for the lease and its own timeout; a further one is for votes that are split.
const ELECTIONS: u64 = 3;
/// A leader that lost its quorum and still reaches one of the majority keeps it from voting until it falls silent.
const ELECTIONS_HALF_CUT: u64 = 6;
/// For each node of the majority that had to start: nodes start one after the other, and read their logs back.
const RESTART_NS: u64 = 1_000 * MS;
/// A node that was started so long ago serves.
const STARTED_NS: u64 = 12_000 * MS;
/// Faults that do nothing to elections and to the peers' answers.
const HARMLESS: [&str; 2] = ["clock", "workers"];
/// Faults of which it is known what they leave whole.
const KNOWN: [&str; 9] = [
    "kill",
    "power",
    "failpoint",
    "failpoint-jobs",
    "failpoint-snapshots",
    "pause",
    "partition",
    "purge",
    "transfer",
];
/// Faults after which no process has to be started.
const NO_RESTART: [&str; 5] = ["pause", "partition", "packets", "starve", "clock-monotonic"];

/// The longest that electing a leader may take from the end of the last fault on.
pub fn longest_election_ns(asked: &Asked) -> u64 {
    // Nothing else leaves nodes that hear one side and not the other.
    let timeouts = if asked.has("partition") { ELECTIONS_HALF_CUT } else { ELECTIONS };
    let nodes = majorities(asked).iter().map(Vec::len).max().unwrap_or(0);
    election_ns(asked, timeouts, nodes as u64)
}

/// How soon a majority must have a leader, of which so many nodes had to start.
fn election_ns(asked: &Asked, timeouts: u64, restarts: u64) -> u64 {
    let election_ns = if asked.profile == "lan" { ELECTION_LAN_NS } else { ELECTION_WAN_NS };
    timeouts * election_ns + restarts * RESTART_NS
}

/// All times in which a majority is whole.
pub fn of(history: &[Op], asked: &Asked) -> Vec<Window> {
    windows(history, &faults(history), asked)
}

/// Spans of the main phase in which nothing was harmed: times of begin and end.
pub fn quiet_spans(history: &[Op]) -> Vec<(u64, u64)> {
    let whole = |interval: &Interval| interval.state.as_ref().is_some_and(State::is_untouched);
    let main_ends = history
        .iter()
        .filter(|op| op.phase == Phase::Main)
        .map(|op| op.time)
        .max()
        .unwrap_or(0);
    let all = intervals(history, &faults(history));
    let spans = all
        .iter()
        .filter(|interval| whole(interval))
        .map(|interval| (interval.from, interval.until.min(main_ends)));
    spans.filter(|(from, until)| from < until).collect()
}

/// A fault that was there, or may have been.
struct Fault<'a> {
    name: &'a str,
    begin: (u64, u64),
    /// What was said when it was done, and its index and time.
    done: Option<(u64, u64, &'a Json)>,
    end: Option<(u64, u64)>,
}

impl Fault<'_> {
    fn is_there(&self, time: u64) -> bool {
        self.begin.1 <= time && self.end.is_none_or(|(_, end)| time < end)
    }

    /// The outcome, once it is known that it was installed.
    fn installed(&self) -> Option<&Json> {
        self.done.map(|(.., value)| value).filter(|value| value["status"] == "installed")
    }

    fn nodes(&self) -> BTreeSet<usize> {
        let nodes = self.installed().and_then(|value| value["nodes"].as_array());
        nodes.into_iter().flatten().filter_map(place).collect()
    }

    fn cuts(&self) -> BTreeSet<(usize, usize)> {
        let cuts = self.installed().and_then(|value| value["cuts"].as_array());
        let pair = |cut: &Json| Some((place(&cut[0])?, place(&cut[1])?));
        cuts.into_iter().flatten().filter_map(pair).collect()
    }
}

/// The number of a node; 0 for clients.
fn place(name: &Json) -> Option<usize> {
    match name.as_str()? {
        "clients" => Some(0),
        name => name.strip_prefix('n')?.parse().ok(),
    }
}

fn faults(history: &[Op]) -> Vec<Fault<'_>> {
    let mut under_way: BTreeMap<&str, Fault<'_>> = BTreeMap::new();
    let mut faults = Vec::new();
    for op in history.iter().filter(|op| matches!(op.process, Process::Nemesis(_))) {
        let Some((what, name)) = op.f.split_once('-') else { continue };
        let begin = (op.index, op.time);
        let new = Fault {
            name,
            begin,
            done: None,
            end: None,
        };
        match what {
            _ if HARMLESS.contains(&name) => {}
            "begin" => drop(under_way.insert(name, new)),
            "start" if op.value["status"] == "skipped" => drop(under_way.remove(name)),
            "start" => under_way.entry(name).or_insert(new).done = Some((op.index, op.time, &op.value)),
            "stop" => faults.extend(under_way.remove(name).map(|fault| Fault { end: Some(begin), ..fault })),
            _ => {}
        }
    }
    faults.extend(under_way.into_values());
    faults
}

/// Who is away, and what does not get through from whom to whom.
#[derive(Clone, Debug, Default)]
struct State {
    away: BTreeSet<usize>,
    cuts: BTreeSet<(usize, usize)>,
}

impl State {
    fn is_untouched(&self) -> bool {
        self.away.is_empty() && self.cuts.is_empty()
    }

    fn hears(&self, one: usize, other: usize) -> bool {
        !self.cuts.contains(&(one, other)) && !self.cuts.contains(&(other, one))
    }

    /// Whether these nodes run, hear each other, and are reached by clients.
    fn is_whole(&self, nodes: &[usize]) -> bool {
        let connected = nodes.iter().all(|one| nodes.iter().all(|other| self.hears(*one, *other)));
        connected && !nodes.iter().any(|node| self.away.contains(node)) && nodes.iter().any(|node| self.hears(*node, 0))
    }

    /// Whether a node that is cut from some of these still reaches another: it may go on as their leader.
    fn is_half_cut(&self, nodes: &[usize]) -> bool {
        let sources: BTreeSet<usize> = self.cuts.iter().flat_map(|(from, to)| [*from, *to]).collect();
        let mut outside = sources.iter().filter(|source| **source != 0 && !nodes.contains(source));
        outside.any(|source| {
            let reaches = nodes.iter().any(|node| !self.cuts.contains(&(*source, *node)));
            reaches && !nodes.iter().all(|node| self.hears(*source, *node))
        })
    }
}

/// A time in which no fault begins, is done or ends.
struct Interval {
    index: u64,
    from: u64,
    until: u64,
    /// Whether a fault was done at its begin.
    is_harm: bool,
    /// Unknown while a fault is on its way, or of another kind than those of which it is known.
    state: Option<State>,
}

/// All of them, from the begin of the load to the last operation of a client.
fn intervals(history: &[Op], faults: &[Fault<'_>]) -> Vec<Interval> {
    let Some(main) = history.iter().find(|op| op.phase == Phase::Main) else {
        return Vec::new();
    };
    let clients = history.iter().filter(|op| matches!(op.process, Process::Client(_)));
    let last = clients.map(|op| op.time).max().unwrap_or(0);
    let mut moments: BTreeMap<u64, (u64, bool)> = BTreeMap::from([(main.time, (main.index, false))]);
    for fault in faults {
        let done = fault.done.map(|(index, time, _)| (index, time));
        for (index, time) in [Some(fault.begin), fault.end].into_iter().flatten() {
            moments.entry(time).or_insert((index, false));
        }
        if let Some((index, time)) = done {
            moments.insert(time, (index, true));
        }
    }
    moments.retain(|time, _| *time >= main.time && *time <= last);
    let starts: Vec<(u64, (u64, bool))> = moments.into_iter().collect();
    let interval = |(position, (from, (index, is_harm))): (usize, &(u64, (u64, bool)))| Interval {
        index: *index,
        from: *from,
        until: starts.get(position + 1).map_or(last, |(next, _)| *next),
        is_harm: *is_harm,
        state: state_at(faults, *from),
    };
    starts.iter().enumerate().map(interval).collect()
}

fn state_at(faults: &[Fault<'_>], time: u64) -> Option<State> {
    let mut state = State::default();
    for fault in faults.iter().filter(|fault| fault.is_there(time)) {
        let (_, done, _) = fault.done?;
        fault.installed()?;
        if done > time || !KNOWN.contains(&fault.name) {
            return None;
        }
        if fault.name == "partition" {
            let cuts = fault.cuts();
            // One that comes and goes does not say what it cuts.
            if cuts.is_empty() {
                return None;
            }
            state.cuts.extend(cuts);
        } else {
            state.away.extend(fault.nodes());
        }
    }
    Some(state)
}

/// A time in which a majority is whole, and no fault is done.
pub struct Window {
    /// Of the operation at which it begins.
    pub index: u64,
    pub from: u64,
    pub until: u64,
    pub nodes: Vec<usize>,
    /// How soon it must have a leader.
    pub election_ns: u64,
    /// Whether a fault that leaves it whole was there when it began.
    pub is_harmed: bool,
}

fn windows(history: &[Op], faults: &[Fault<'_>], asked: &Asked) -> Vec<Window> {
    let intervals = intervals(history, faults);
    let mut windows = Vec::new();
    for nodes in majorities(asked) {
        let mut open: Option<Window> = None;
        let mut was_half_cut = false;
        for interval in &intervals {
            let state = interval.state.as_ref();
            let is_half_cut = state.is_some_and(|state| state.is_half_cut(&nodes));
            if !state.is_some_and(|state| state.is_whole(&nodes)) {
                windows.extend(open.take());
            } else if let Some(window) = open.as_mut().filter(|_| !interval.is_harm) {
                window.until = interval.until;
            } else {
                let timeouts = if is_half_cut || was_half_cut {
                    ELECTIONS_HALF_CUT
                } else {
                    ELECTIONS
                };
                let restarts = restarts(faults, &nodes, interval.from);
                windows.extend(open.replace(Window {
                    index: interval.index,
                    from: interval.from,
                    until: interval.until,
                    nodes: nodes.clone(),
                    election_ns: election_ns(asked, timeouts, restarts),
                    is_harmed: state.is_some_and(|state| !state.is_untouched()),
                }));
            }
            // While a fault is on its way, it is as it was.
            if state.is_some() {
                was_half_cut = is_half_cut;
            }
        }
        windows.extend(open);
    }
    windows
}

/// Sets of as many nodes as decide. Where members come and go it is not known here who votes: then it is all.
fn majorities(asked: &Asked) -> Vec<Vec<usize>> {
    let all: Vec<usize> = (1..=asked.nodes).collect();
    if asked.has("membership") || asked.has("corrupt") {
        return vec![all];
    }
    let chosen = |mask: u32| -> Vec<usize> { all.iter().copied().filter(|node| (mask >> (node - 1)) & 1 == 1).collect() };
    let masks = (0..1u32 << asked.nodes).filter(|mask| mask.count_ones() as usize == asked.nodes / 2 + 1);
    masks.map(chosen).collect()
}

/// How many of these nodes were started again not long before. Of a fault that was not seen it may be any.
fn restarts(faults: &[Fault<'_>], nodes: &[usize], from: u64) -> u64 {
    let recent = |fault: &&Fault<'_>| fault.end.is_some_and(|(_, end)| end <= from && from - end < STARTED_NS);
    let mut started: BTreeSet<usize> = BTreeSet::new();
    for fault in faults.iter().filter(recent).filter(|fault| !NO_RESTART.contains(&fault.name)) {
        match fault.installed() {
            Some(_) => started.extend(fault.nodes()),
            None => started.extend(nodes),
        }
    }
    nodes.iter().filter(|node| started.contains(node)).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_that_is_named_here_exists() {
        for name in HARMLESS.iter().chain(&KNOWN).chain(&NO_RESTART) {
            assert!(crate::nemesis::kinds().contains(name), "{name}");
        }
    }
}
