//! Availability: after the last fault has ended, reads and writes succeed again within a bound, and before that the success
//! rate of each phase is told.
//!
//! A fault that ends while others go on promises nothing, so the bound is asked after moments when none was there any more,
//! and after the heal at the end.

use crate::history::{Kind, Op, Phase, Process};
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use serde_json::json;
use std::collections::BTreeMap;

const NAME: &str = "availability";
/// From the end of the last fault to the first success; restarts of killed nodes included.
const RECOVERY_NS: u64 = 10_000_000_000;

pub fn check(history: &[Op]) -> Verdict {
    let all = operations(history);
    let quiet = quiet_moments(history);
    let mut recoveries = Vec::new();
    for (index, moment, next) in &quiet {
        for is_write in [false, true] {
            let begun = |operation: &&Operation<'_>| operation.invoked.time >= *moment && operation.request().is_some() == is_write;
            let first = all
                .iter()
                .filter(begun)
                .filter(|operation| operation.is_ok())
                .filter_map(|operation| operation.ended)
                .map(|ended| ended.time)
                .min();
            let kind = if is_write { "write" } else { "read" };
            match first {
                Some(first) if first - moment <= RECOVERY_NS => recoveries.push(first - moment),
                // The next fault came before the bound was over: nothing was promised.
                _ if next.is_some_and(|next| next - moment < RECOVERY_NS) => {}
                Some(first) => {
                    let what = format!(
                        "the first {kind} after the faults had ended succeeded after {} ms",
                        (first - moment) / 1_000_000
                    );
                    return Verdict::invalid(NAME, Some(*index), what);
                }
                None if was_watched(history, *moment) => {
                    return Verdict::invalid(NAME, Some(*index), format!("no {kind} succeeded after the faults had ended"));
                }
                None => {}
            }
        }
    }
    let phases = phases(&all);
    let details = json!({"recoveries_ms": recoveries.iter().map(|took| took / 1_000_000).collect::<Vec<_>>(), "phases": phases, "longest_gap_ms": longest_gap(&all)});
    if recoveries.is_empty() {
        return Verdict::unknown(NAME, "there was no moment at which recovery could be measured").with(details);
    }
    let slowest = recoveries.iter().max().copied().unwrap_or(0) / 1_000_000;
    let what = format!(
        "reads and writes succeeded again within {slowest} ms at each of {} moments without faults",
        quiet.len()
    );
    Verdict::valid(NAME, what).with(details)
}

/// Moments from which no fault is there: index and time, and when the next one begins. The begin of the load is one, too.
fn quiet_moments(history: &[Op]) -> Vec<(u64, u64, Option<u64>)> {
    let spans = spans(history);
    let main = history.iter().find(|op| op.phase == Phase::Main).map(|op| (op.index, op.time));
    let ends = spans.iter().filter_map(|span| span.end);
    let quiet = |moment: u64| {
        let there = |span: &Span| span.begin <= moment && span.end.is_none_or(|(_, end)| end > moment);
        !spans.iter().any(there)
    };
    let next = |moment: u64| spans.iter().map(|span| span.begin).filter(|begin| *begin > moment).min();
    let moments = main.into_iter().chain(ends).filter(|(_, moment)| quiet(*moment));
    moments.map(|(index, moment)| (index, moment, next(moment))).collect()
}

/// From before a fault was done until after it was undone.
struct Span {
    begin: u64,
    /// Index and time.
    end: Option<(u64, u64)>,
}

fn spans(history: &[Op]) -> Vec<Span> {
    let mut under_way: BTreeMap<&str, u64> = BTreeMap::new();
    let mut spans = Vec::new();
    for op in history.iter().filter(|op| matches!(op.process, Process::Nemesis(_))) {
        let Some((what, name)) = op.f.split_once('-') else { continue };
        match what {
            "begin" => drop(under_way.insert(name, op.time)),
            "start" if op.value["status"] == "skipped" => drop(under_way.remove(name)),
            "start" => drop(under_way.entry(name).or_insert(op.time)),
            "stop" => {
                let end = Some((op.index, op.time));
                spans.extend(under_way.remove(name).map(|begin| Span { begin, end }));
            }
            _ => {}
        }
    }
    spans.extend(under_way.into_values().map(|begin| Span { begin, end: None }));
    spans
}

/// Whether clients went on for as long as the bound after a moment.
fn was_watched(history: &[Op], moment: u64) -> bool {
    let clients = history
        .iter()
        .filter(|op| matches!(op.process, Process::Client(_)) && op.kind == Kind::Invoke);
    clients.map(|op| op.time).max().is_some_and(|last| last > moment + RECOVERY_NS)
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
    times.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0) / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::NemesisMark;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    const MS: u64 = 1_000_000;

    fn fault(story: &mut Story, f: &str, at_ms: u64) {
        story.invoke(0, f, json!({"status": "installed"}));
        let last = story.last();
        last.process = Process::Nemesis(NemesisMark::Nemesis);
        (last.kind, last.time) = (Kind::Info, at_ms * MS);
    }

    /// A read and a write that both end then.
    fn successes(story: &mut Story, at_ms: u64) {
        story.done(1, "read", json!([1, null]), json!([1, 2]), 1).last().time = at_ms * MS;
        let begun = story.ops.len() - 2;
        story.ops[begun].time = (at_ms - 1) * MS;
        story.done(1, "write", json!([1, 2]), json!([1, 2]), 1).under(7, 1).last().time = at_ms * MS;
        let begun = story.ops.len() - 2;
        story.ops[begun].time = at_ms * MS;
    }

    #[test]
    fn recovery_is_measured_from_the_end_of_the_last_fault() {
        let mut story = Story::default();
        successes(&mut story, 1);
        fault(&mut story, "begin-kill", 1_000);
        fault(&mut story, "start-kill", 2_000);
        fault(&mut story, "begin-pause", 19_000);
        fault(&mut story, "stop-kill", 20_000);
        fault(&mut story, "start-pause", 21_000);
        fault(&mut story, "stop-pause", 30_000);
        successes(&mut story, 33_000);
        let verdict = check(&story.ops);
        assert_eq!(verdict.valid, Validity::Valid, "{}", verdict.what);
        assert_eq!(verdict.details["recoveries_ms"][2], json!(3_000));
        assert_eq!(verdict.details["longest_gap_ms"], json!(32_999));
    }

    #[test]
    fn a_slow_recovery_and_none_at_all_are_found() {
        let mut slow = Story::default();
        successes(&mut slow, 1);
        fault(&mut slow, "start-kill", 1_000);
        fault(&mut slow, "stop-kill", 2_000);
        successes(&mut slow, 13_000);
        assert_eq!(check(&slow.ops).valid, Validity::Invalid);
        let mut never = Story::default();
        successes(&mut never, 1);
        fault(&mut never, "start-kill", 1_000);
        fault(&mut never, "stop-kill", 2_000);
        never
            .invoke(1, "read", json!([1, null]))
            .fail(1, "read", json!([1, null]), "timeout");
        never.ops.iter_mut().rev().take(2).for_each(|op| op.time = 13_000 * MS);
        assert_eq!(check(&never.ops).valid, Validity::Invalid);
    }

    #[test]
    fn a_fault_that_comes_too_soon_leaves_nothing_to_be_measured() {
        let mut story = Story::default();
        fault(&mut story, "start-kill", 1_000);
        fault(&mut story, "stop-kill", 2_000);
        fault(&mut story, "start-kill", 3_000);
        assert_eq!(check(&story.ops).valid, Validity::Unknown);
    }
}
