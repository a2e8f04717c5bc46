//! Availability: from each change on, as long as a connected majority is whole, reads and writes succeed within a bound that
//! follows from the timing of elections in use.
//!
//! What faults did is read from the history: which nodes they had, and who no longer heard whom. A majority that clients
//! reach, whose nodes all run and hear each other, must serve, whatever happens to the others. Its time begins when the last
//! of its nodes came back, and anew with each fault that is done: that may have taken the leader away. A fault that ends
//! gives no further time to a majority that was whole before.
//!
//! Nothing is promised while a fault is on its way, or of a kind that leaves a leader in place that is slow, or changes who
//! votes. What a wall clock shows, and worker processes, elections do not depend on.

use super::Asked;
use crate::history::{Op, Phase, Process};
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use crate::workload::STALE_READS;
use serde_json::{Value as Json, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const NAME: &str = "availability";
const MS: u64 = 1_000_000;
/// Longest election timeouts of the product's two profiles (`Timing` of quorate-consensus).
const ELECTION_LAN_NS: u64 = 320 * MS;
const ELECTION_WAN_NS: u64 = 2_000 * MS;
/// A follower waits for the lease and its own timeout; a further one is for votes that are split.
const ELECTIONS: u64 = 3;
/// A leader that lost its quorum and still reaches one of the majority keeps it from voting until it falls silent.
const ELECTIONS_HALF_CUT: u64 = 6;
/// A client may have asked a node that went away just before, and then another: each holds it for its timeout of a second. One
/// more, because all nodes and clients share this machine.
const CLIENTS_NS: u64 = 3_000 * MS;
/// Clients whose calls hang notice after their timeout that writes are served again.
const NOTICED_NS: u64 = 1_000 * MS;
/// For each node of the majority that had to start: nodes start one after the other, and read their logs back.
const RESTART_NS: u64 = 1_000 * MS;
/// A node that was started so long ago serves.
const STARTED_NS: u64 = 12_000 * MS;
/// So many operations must have been tried when the bound was nearly over: a workload may have nothing to write for a while.
const LEAST_TRIES: usize = 3;
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

pub fn check(history: &[Op], asked: &Asked) -> Verdict {
    let all = operations(history);
    let measured = match measure(history, &all, asked) {
        Ok(measured) => measured,
        Err((index, what)) => return Verdict::invalid(NAME, Some(index), what),
    };
    let times: Vec<u64> = measured.recoveries.values().map(|took| took / MS).collect();
    let each = measured.recoveries.iter();
    let each: Vec<Json> = each
        .map(|((from, name), took)| json!({"at_ms": from / MS, "kind": name, "took_ms": took / MS}))
        .collect();
    let slowest = times.iter().max().copied().unwrap_or(0);
    let (demanded, harmed) = (measured.demanded.len(), measured.demanded_harmed.len());
    let details = json!({
        "recoveries_ms": times, "recoveries": each, "demanded": demanded, "demanded_under_a_fault": harmed, "phases": phases(&all),
        "longest_gap_ms": longest_gap(&all),
    });
    if times.is_empty() {
        return Verdict::unknown(NAME, "there was no moment at which recovery could be measured").with(details);
    }
    let what = format!(
        "a connected majority served again within {slowest} ms; {demanded} times it was whole for as long as it may take, {harmed} of them \
         while a fault was there"
    );
    Verdict::valid(NAME, what).with(details)
}

/// How often the bound was asked: `None` if it was not kept.
pub fn demanded(history: &[Op], all: &[Operation<'_>], asked: &Asked) -> Option<usize> {
    measure(history, all, asked).ok().map(|measured| measured.demanded.len())
}

/// The longest that a majority may take from the end of the last fault on: load that goes on for longer asks the bound once at
/// least.
pub fn longest_bound(asked: &Asked) -> Duration {
    // Nothing else leaves nodes that hear one side and not the other.
    let timeouts = if asked.has("partition") { ELECTIONS_HALF_CUT } else { ELECTIONS };
    let nodes = majorities(asked).iter().map(Vec::len).max().unwrap_or(0);
    Duration::from_nanos(bound_ns(asked, timeouts, nodes as u64))
}

/// How soon a majority must serve, of which so many nodes had to start.
fn bound_ns(asked: &Asked, timeouts: u64, restarts: u64) -> u64 {
    let election_ns = if asked.profile == "lan" { ELECTION_LAN_NS } else { ELECTION_WAN_NS };
    timeouts * election_ns + CLIENTS_NS + restarts * RESTART_NS
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

/// An error has the index and words of a window in which nothing was served in time.
fn measure(history: &[Op], all: &[Operation<'_>], asked: &Asked) -> Result<Measured, (u64, String)> {
    let faults = faults(history);
    let kinds = [("read", Kind::of(all, false)), ("write", Kind::of(all, true))];
    let mut measured = Measured::default();
    for window in &windows(history, &faults, asked) {
        for (name, kind) in &kinds {
            let first = kind.first_success(window.from);
            let deadline = window.from + window.bound_ns;
            if let Some(first) = first.filter(|first| *first <= deadline.min(window.until)) {
                measured.recoveries.insert((window.from, *name), first - window.from);
                if window.until >= deadline {
                    measured.demanded.insert(window.from);
                    measured.demanded_harmed.extend(window.is_harmed.then_some(window.from));
                }
            } else if window.until >= deadline && kind.tries(deadline - window.bound_ns / 3, deadline) >= LEAST_TRIES {
                return Err((window.index, late(window, name, first)));
            }
        }
    }
    Ok(measured)
}

fn late(window: &Window, name: &str, first: Option<u64>) -> String {
    let nodes: Vec<String> = window.nodes.iter().map(|node| format!("n{node}")).collect();
    let found = match first {
        Some(first) => format!("the first {name} succeeded after {} ms", (first - window.from) / MS),
        None => format!("no {name} succeeded"),
    };
    format!(
        "{} were whole and connected; {found}, allowed are {} ms",
        nodes.join(", "),
        window.bound_ns / MS
    )
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

/// What is left of the quiet spans when writes are served again and clients have noticed.
pub fn settled_spans(history: &[Op], all: &[Operation<'_>]) -> Vec<(u64, u64)> {
    let writes = Kind::of(all, true);
    let settled = |(from, until): (u64, u64)| Some((writes.first_success(from)?.saturating_add(NOTICED_NS), until));
    let spans = quiet_spans(history).into_iter().filter_map(settled);
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
struct Window {
    index: u64,
    from: u64,
    until: u64,
    nodes: Vec<usize>,
    bound_ns: u64,
    /// Whether a fault that leaves it whole was there when it began.
    is_harmed: bool,
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
                    bound_ns: bound_ns(asked, timeouts, restarts),
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

/// Reads, or writes.
struct Kind {
    /// When each began.
    begun: Vec<u64>,
    /// When each that was served began, and the first end among it and all that began later.
    served: Vec<(u64, u64)>,
}

impl Kind {
    fn of(all: &[Operation<'_>], is_write: bool) -> Kind {
        let is_it = move |operation: &&Operation<'_>| operation.request().is_some() == is_write && !STALE_READS.contains(&operation.f());
        let of_it = || all.iter().filter(is_it);
        let mut begun: Vec<u64> = of_it().map(|operation| operation.invoked.time).collect();
        begun.sort_unstable();
        let ended = |operation: &Operation<'_>| Some((operation.invoked.time, operation.ended?.time));
        let mut served: Vec<(u64, u64)> = of_it().filter(|operation| operation.is_answered()).filter_map(ended).collect();
        served.sort_unstable();
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
