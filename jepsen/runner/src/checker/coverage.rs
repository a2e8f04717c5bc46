//! Coverage: a run in which little happened has proved little. Every kind of operation must have succeeded in the main phase,
//! something must have been read in the end, operations must have been answered at a rate that is worth the name, and what the
//! faults are meant to cause must have been seen.
//!
//! That each fault was there, with evidence, is judged beside this by who installed it.

use super::fates::Fates;
use super::{Asked, availability, completions, windows};
use crate::history::{Op, Phase};
use crate::nemesis::SENT_STATE;
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use crate::workload;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "coverage";
/// Successes that each kind of operation must have in the main phase.
const LEAST_OF_A_KIND: usize = 5;
/// Share of the asked rate, in percent, at which operations must have been answered: faults hold clients up, and what fails at
/// once proves nothing. Clients make up for what was held up as far as they can, so runs have far more.
const LEAST_RATE_PERCENT: u64 = 10;
/// The same while nothing is harmed, the time to recover included: then nothing holds clients up, but for a slow machine.
const LEAST_QUIET_RATE_PERCENT: u64 = 15;
/// The same from when writes are served again: then clients go on as fast as was asked, or faster. A third leaves room for a slow
/// machine that carries many nodes.
const LEAST_SETTLED_RATE_PERCENT: u64 = 33;
/// In less time than this a rate says little: of quiet time, most goes by until a leader is elected.
const LEAST_SPANS_NS: u64 = 5_000_000_000;
/// Kinds that are meant to be refused most of the time, or of which there is little to do.
const RARE: [&str; 5] = ["cancel", "commit-image", "abort-image", "drop-image", "drop-cluster"];

pub fn check(history: &[Op], asked: &Asked, fates: Result<&Fates, &str>) -> Verdict {
    let all = operations(history);
    let mut counts: BTreeMap<(Phase, &str), (usize, usize)> = BTreeMap::new();
    for operation in &all {
        let (ok, begun) = counts.entry((operation.phase(), operation.f())).or_default();
        *begun += 1;
        *ok += usize::from(operation.is_ok());
    }
    let mut missing = kinds(&counts, asked);
    let rates = Rates::of(history, &all, asked);
    missing.extend(rates.too_low(asked.rate));
    let terms: BTreeSet<u64> = all.iter().filter_map(Operation::term).collect();
    if let Some(fault) = lost_leader(history, &all)
        && terms.len() < 2
    {
        missing.push(format!("no leader changed, though {fault} took it away"));
    }
    let checkpoints = fates.map_or(0, |fates| fates.checkpoints);
    if ["purge", "snapshot"].iter().any(|nemesis| asked.has(nemesis)) && checkpoints == 0 {
        missing.push("no checkpoint was installed".to_owned());
    }
    if asked.has("purge") && !was_purged(history) {
        missing.push("no node was sent a checkpoint because the log that it needed was purged".to_owned());
    }
    let demanded = availability::demanded(history, &all, asked);
    if asked.recovery_asked_ms > 0 && demanded == Some(0) {
        missing.push("nothing was whole for as long as recovery may take, so its bound was never asked".to_owned());
    }
    if let Ok(fates) = fates {
        let kept = completions::not_expired(history, fates);
        if !kept.is_empty() {
            missing.push(format!("of the claims of workers that were stopped, {} never expired", kept.len()));
        }
    }
    let mut told: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for ((phase, f), (ok, begun)) in &counts {
        told.insert(format!("{phase:?} {f}").to_lowercase(), [*ok, *begun]);
    }
    let details = json!({
        "ok_of_begun": told, "rate": rates.whole, "quiet_rate": rates.quiet, "settled_rate": rates.settled, "terms": terms.len(),
        "checkpoints_installed": checkpoints, "recovery_bound_asked": demanded,
    });
    let verdict = match missing.is_empty() {
        true => Verdict::valid(
            NAME,
            format!(
                "{} operations a second were answered of {} asked for, {} terms, {checkpoints} checkpoints installed",
                rates.whole,
                asked.rate,
                terms.len()
            ),
        ),
        false => Verdict::unknown(NAME, missing.join("; ")),
    };
    verdict.with(details)
}

/// What the workload's clients do and did not do enough.
fn kinds(counts: &BTreeMap<(Phase, &str), (usize, usize)>, asked: &Asked) -> Vec<String> {
    let mut missing = Vec::new();
    for f in workload::kinds(&asked.workload) {
        let (ok, begun) = counts.get(&(Phase::Main, f)).copied().unwrap_or_default();
        let least = if RARE.contains(&f) { 1 } else { LEAST_OF_A_KIND };
        if ok < least {
            missing.push(format!("{f} succeeded {ok} times of {begun} in the main phase"));
        }
    }
    if !counts.keys().any(|(phase, _)| *phase == Phase::Main) {
        missing.push("nothing was done in the main phase".to_owned());
    }
    if !counts.iter().any(|((phase, _), (ok, _))| *phase == Phase::Final && *ok > 0) {
        missing.push("nothing was read in the end".to_owned());
    }
    missing
}

/// A fault that took the leader away while there was load, so that another one must have led: it died, or a write was
/// acknowledged, begun and ended while it stood or was cut off.
fn lost_leader<'a>(history: &'a [Op], all: &[Operation<'_>]) -> Option<&'a str> {
    let installed = |op: &&Op| op.phase == Phase::Main && op.value["status"] == "installed";
    history.iter().filter(installed).find_map(|op| {
        let fault = op.f.strip_prefix("start-")?;
        let took_it = match (fault, op.value["mode"].as_str()?) {
            ("kill" | "power", "leader" | "all") => true,
            ("pause", "leader" | "freezer") | ("partition", "leader-in-minority" | "cable" | "reset") => {
                let stop = format!("stop-{fault}");
                let end = history.iter().find(|later| later.index > op.index && later.f == stop);
                was_written(all, op.time, end.map_or(u64::MAX, |end| end.time))
            }
            _ => false,
        };
        took_it.then_some(fault)
    })
}

/// Whether a node came back to a log that no longer had what it needed: checkpoints are installed for other reasons, too.
fn was_purged(history: &[Op]) -> bool {
    let mut undone = history.iter().filter(|op| op.f == "stop-purge");
    undone.any(|op| op.value["evidence"].as_str().is_some_and(|said| said.contains(SENT_STATE)))
}

fn was_written(all: &[Operation<'_>], from: u64, until: u64) -> bool {
    all.iter().any(|operation| {
        let is_within = operation.invoked.time >= from && operation.ended.is_some_and(|ended| ended.time <= until);
        is_within && operation.is_ok() && operation.request().is_some()
    })
}

/// Operations that were answered a second.
struct Rates {
    /// In the main phase.
    whole: u64,
    /// While nothing was harmed, if there was time for that.
    quiet: Option<u64>,
    /// From when writes were served again, likewise: the lowest of all such spans.
    settled: Option<u64>,
}

impl Rates {
    fn of(history: &[Op], all: &[Operation<'_>], asked: &Asked) -> Rates {
        let answered = all.iter().filter(|operation| operation.is_answered());
        let mut ended: Vec<u64> = answered.filter_map(|operation| operation.ended).map(|ended| ended.time).collect();
        ended.sort_unstable();
        Rates {
            whole: answered_per_second(all, asked.seconds),
            quiet: rate_within(&windows::quiet_spans(history), &ended),
            // Of each by itself: clients that make up for what was held up would hide one in which nothing went on.
            settled: availability::settled_spans(history, all)
                .into_iter()
                .filter_map(|span| rate_within(&[span], &ended))
                .min(),
        }
    }

    /// Which of them are too low, in words.
    fn too_low(&self, asked: u64) -> Vec<String> {
        let of_them = [
            (Some(self.whole), LEAST_RATE_PERCENT, ""),
            (self.quiet, LEAST_QUIET_RATE_PERCENT, " without any fault"),
            (
                self.settled,
                LEAST_SETTLED_RATE_PERCENT,
                " while writes were served without any fault",
            ),
        ];
        let is_low = |rate: &u64, percent: u64| rate * 100 < asked * percent;
        let low = of_them
            .into_iter()
            .filter_map(|(rate, percent, when)| Some((rate.filter(|rate| is_low(rate, percent))?, when)));
        low.map(|(rate, when)| format!("{rate} operations a second were answered{when}, {asked} were asked for"))
            .collect()
    }
}

/// How many of these times a second are in these spans, if there is enough of them.
fn rate_within(spans: &[(u64, u64)], times: &[u64]) -> Option<u64> {
    let length_ns: u64 = spans.iter().map(|(from, until)| until - from).sum();
    let within = |(from, until): &(u64, u64)| times.partition_point(|time| time < until) - times.partition_point(|time| time < from);
    let count: usize = spans.iter().map(within).sum();
    (length_ns >= LEAST_SPANS_NS).then(|| count as u64 * 1_000_000_000 / length_ns)
}

/// Operations that were answered a second, in a main phase of so many seconds.
pub fn answered_per_second(all: &[Operation<'_>], seconds: u64) -> u64 {
    let answered = all
        .iter()
        .filter(|operation| operation.phase() == Phase::Main && operation.is_answered())
        .count() as u64;
    answered / seconds.max(1)
}

#[cfg(test)]
mod tests {
    use super::super::fates::by_hand::fates;
    use super::*;
    use crate::history::{Kind, NemesisMark, Process};
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    fn good() -> Story {
        let mut story = Story::default();
        for number in 0..20 {
            story.done(0, "read", json!([1, null]), json!([1, 2]), number);
            story.done(0, "write", json!([1, 2]), json!([1, 2]), number).under(7, number);
            story.done(0, "cas", json!([1, [2, 3]]), json!([1, [2, 3]]), number);
        }
        story.last().term = Some(2);
        story.enter(Phase::Final).done(0, "read", json!([1, null]), json!([1, 2]), 60);
        story
    }

    fn verdict(story: &Story, nemeses: &[&str]) -> Verdict {
        check(&story.ops, &Asked::by_hand(nemeses), Ok(&fates(&[])))
    }

    #[test]
    fn a_run_that_did_something_passes() {
        let verdict = verdict(&good(), &["kill:leader"]);
        assert_eq!(verdict.valid, Validity::Valid, "{}", verdict.what);
    }

    #[test]
    fn whatever_did_not_happen_makes_it_unknown() {
        let unknown = |story: &Story, nemeses: &[&str], rule: &str| {
            let verdict = verdict(story, nemeses);
            assert_eq!(verdict.valid, Validity::Unknown, "{rule}");
            assert!(verdict.what.contains(rule), "{rule}: {}", verdict.what);
        };
        unknown(&Story::default(), &[], "nothing was done");
        unknown(&good(), &["purge"], "no checkpoint was installed");
        let mut one_term = good();
        one_term.ops.iter_mut().for_each(|op| op.term = op.term.map(|_| 1));
        assert_eq!(verdict(&one_term, &[]).valid, Validity::Valid);
        unknown(
            &faulty(one_term, "start-kill", "leader"),
            &["kill"],
            "no leader changed, though kill",
        );
        let mut refused = good();
        refused
            .ops
            .iter_mut()
            .filter(|op| op.f == "cas" && op.kind == Kind::Ok)
            .for_each(|op| op.kind = Kind::Fail);
        unknown(&refused, &[], "cas succeeded 0 times of 20");
        let mut untried = good();
        untried.ops.retain(|op| op.f != "write");
        unknown(&untried, &[], "write succeeded 0 times of 0");
        let mut slow = good();
        slow.ops.drain(20..120);
        unknown(&slow, &[], "operations a second were answered, 10");
        let mut unread = good();
        unread.ops.truncate(120);
        unknown(&unread, &[], "nothing was read in the end");
    }

    #[test]
    fn a_run_with_purge_must_have_sent_a_checkpoint_for_it() {
        let unpurged = |story: &Story| verdict(story, &["purge"]).what.contains("the log that it needed was purged");
        let mut story = faulty(good(), "stop-purge", "");
        assert!(unpurged(&good()) && unpurged(&story));
        story.ops[9].value = json!({"evidence": "its network is whole again; it needed no checkpoint, and has applied 300"});
        assert!(unpurged(&story));
        story.ops[9].value = json!({"evidence": format!("its network is whole again; {SENT_STATE} 300")});
        assert!(!unpurged(&story));
        assert!(!verdict(&good(), &["snapshot"]).what.contains("the log that it needed was purged"));
    }

    #[test]
    fn a_run_whose_load_goes_on_after_healing_must_have_asked_the_bound() {
        let mut wanted = Asked::by_hand(&["kill"]);
        wanted.recovery_asked_ms = 11_000;
        let story = good();
        let verdict = check(&story.ops, &wanted, Ok(&fates(&[])));
        assert!(verdict.what.contains("its bound was never asked"), "{}", verdict.what);
        let mut long = good();
        long.ops.iter_mut().for_each(|op| op.time *= 100);
        let verdict = check(&long.ops, &wanted, Ok(&fates(&[])));
        assert!(!verdict.what.contains("its bound was never asked"), "{}", verdict.what);
        assert_eq!(verdict.details["recovery_bound_asked"], json!(1));
    }

    /// The tenth line replaced by a fault.
    fn faulty(mut story: Story, f: &str, mode: &str) -> Story {
        story.ops[9] = Op {
            process: Process::Nemesis(NemesisMark::Nemesis),
            kind: Kind::Info,
            f: f.to_owned(),
            value: json!({"status": "installed", "mode": mode}),
            ..story.ops[9].clone()
        };
        story
    }

    #[test]
    fn whoever_served_while_the_leader_was_away_is_another_leader() {
        let one_term = || {
            let mut story = good();
            story.ops.iter_mut().for_each(|op| op.term = op.term.map(|_| 1));
            story
        };
        let paused = faulty(one_term(), "start-pause", "leader");
        assert!(verdict(&paused, &["pause"]).what.contains("no leader changed, though pause"));
        assert!(
            verdict(&faulty(one_term(), "start-partition", "cable"), &["partition"])
                .what
                .contains("though partition")
        );
        assert_eq!(
            verdict(&faulty(one_term(), "start-pause", "follower"), &["pause"]).valid,
            Validity::Valid
        );
        let mut unserved = paused;
        unserved.ops.iter_mut().for_each(|op| op.request = None);
        assert_eq!(verdict(&unserved, &["pause"]).valid, Validity::Valid, "nobody need have led");
    }

    #[test]
    fn claims_of_a_worker_that_was_killed_must_have_expired() {
        let mut story = faulty(good(), "start-workers", "kill");
        story.ops[9].value["claims"] = json!([{"job": 11, "task": 0, "fence": 1}]);
        story.done(1, "jobs", serde_json::Value::Null, json!([{"job": 11, "state": "completed"}]), 99);
        assert!(verdict(&story, &["workers"]).what.contains("1 never expired"));
        let expired = fates(&["9.1:134:1:0:11.0.1"]);
        assert_eq!(
            check(&story.ops, &Asked::by_hand(&["workers"]), Ok(&expired)).valid,
            Validity::Valid
        );
    }

    #[test]
    fn a_cluster_that_is_slow_without_any_fault_proves_little() {
        let mut story = good();
        // The same operations over two minutes: one in two seconds.
        story.ops.iter_mut().for_each(|op| op.time *= 1_000);
        unknown_of(&story, "answered without any fault");
    }

    #[test]
    fn a_rate_is_asked_for_from_when_writes_are_served_and_refusals_count() {
        // Twelve seconds, in the first seven of which reads alone are answered, then a write and a refusal each half second.
        let mut story = Story::default();
        let at = |story: &mut Story, from: usize, ms: u64| story.ops[from..].iter_mut().for_each(|op| op.time = ms * 1_000_000);
        for number in 0..24 {
            let from = story.ops.len();
            story.done(0, "read", json!([1, null]), json!([1, 2]), number);
            if number >= 14 {
                story.done(0, "write", json!([1, 2]), json!([1, 2]), number).under(7, number);
                let value = json!([1, [8, 9]]);
                story
                    .invoke(0, "cas", value.clone())
                    .fail(0, "cas", value, "refused: precondition_failed");
            }
            at(&mut story, from, number * 500);
        }
        let mut wanted = Asked::by_hand(&[]);
        wanted.seconds = 12;
        let rates = Rates::of(&story.ops, &operations(&story.ops), &wanted);
        assert_eq!((rates.whole, rates.quiet), (44 / 12, Some(3)));
        assert_eq!(rates.settled, None, "three and a half seconds say little");
        story.ops.iter_mut().for_each(|op| op.time *= 2);
        let rates = Rates::of(&story.ops, &operations(&story.ops), &wanted);
        assert_eq!(rates.settled, Some(3), "from a second after the first write on");
        assert!(
            rates.too_low(10).iter().any(|text| text.contains("while writes were served")),
            "{:?}",
            rates.too_low(10)
        );
        assert!(rates.too_low(2).is_empty(), "{:?}", rates.too_low(2));
    }

    fn unknown_of(story: &Story, rule: &str) {
        let verdict = verdict(story, &[]);
        assert_eq!(verdict.valid, Validity::Unknown);
        assert!(verdict.what.contains(rule), "{}", verdict.what);
    }
}
