//! Coverage: a run in which little happened has proved little. Every kind of operation must have succeeded in every phase
//! that has load, at a rate that is worth the name, and what the faults are meant to cause must have been seen.
//!
//! That each fault was there, with evidence, is judged beside this by who installed it.

use super::Asked;
use super::fates::Fates;
use crate::history::{Op, Phase};
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

const NAME: &str = "coverage";
/// Successes that each kind of operation must have in the main phase.
const LEAST_OF_A_KIND: usize = 5;
/// Share of the asked rate, in percent, at which operations must have succeeded: faults hold clients up, and what fails at once
/// proves nothing.
const LEAST_RATE_PERCENT: u64 = 5;
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
    let mut missing = kinds(&counts);
    let rate = rate(&all, asked);
    if rate * 100 < asked.rate * LEAST_RATE_PERCENT {
        missing.push(format!("{rate} operations a second succeeded, {} were asked for", asked.rate));
    }
    let terms: BTreeSet<u64> = all.iter().filter_map(Operation::term).collect();
    if lost_leader(history) && terms.len() < 2 {
        missing.push("no leader changed, though it was killed".to_owned());
    }
    let checkpoints = fates.map_or(0, |fates| fates.checkpoints);
    if ["purge", "snapshot"].iter().any(|nemesis| asked.has(nemesis)) && checkpoints == 0 {
        missing.push("no checkpoint was installed".to_owned());
    }
    let mut told: BTreeMap<String, [usize; 2]> = BTreeMap::new();
    for ((phase, f), (ok, begun)) in &counts {
        told.insert(format!("{phase:?} {f}").to_lowercase(), [*ok, *begun]);
    }
    let details = json!({"ok_of_begun": told, "rate": rate, "terms": terms.len(), "checkpoints_installed": checkpoints});
    let verdict = match missing.is_empty() {
        true => Verdict::valid(
            NAME,
            format!(
                "{rate} operations a second, {} terms, {checkpoints} checkpoints installed",
                terms.len()
            ),
        ),
        false => Verdict::unknown(NAME, missing.join("; ")),
    };
    verdict.with(details)
}

fn kinds(counts: &BTreeMap<(Phase, &str), (usize, usize)>) -> Vec<String> {
    let mut missing = Vec::new();
    for ((phase, f), (ok, begun)) in counts {
        let least = match phase {
            Phase::Main if RARE.contains(f) => 1,
            Phase::Main => LEAST_OF_A_KIND.min(*begun),
            _ => 0,
        };
        if *ok < least {
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

/// Whether a fault took the leader away while there was load.
fn lost_leader(history: &[Op]) -> bool {
    let takes_it =
        |op: &Op| matches!(op.f.as_str(), "start-kill" | "start-power") && matches!(op.value["mode"].as_str(), Some("leader" | "all"));
    history
        .iter()
        .any(|op| takes_it(op) && op.value["status"] == "installed" && op.phase == Phase::Main)
}

/// Operations that succeeded a second, in the main phase.
fn rate(all: &[Operation<'_>], asked: &Asked) -> u64 {
    let ok = all
        .iter()
        .filter(|operation| operation.phase() == Phase::Main && operation.is_ok())
        .count() as u64;
    ok / asked.seconds.max(1)
}

#[cfg(test)]
mod tests {
    use super::super::fates::by_hand::fates;
    use super::*;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    fn asked(nemeses: &[&str]) -> Asked {
        Asked {
            workload: "register".to_owned(),
            nemeses: nemeses.iter().map(|nemesis| (*nemesis).to_owned()).collect(),
            nodes: 3,
            seconds: 30,
            rate: 10,
            profile: "wan".to_owned(),
        }
    }

    fn good() -> Story {
        let mut story = Story::default();
        for number in 0..60 {
            story.done(0, "read", json!([1, null]), json!([1, 2]), number);
        }
        story.last().term = Some(2);
        story.enter(Phase::Final).done(0, "read", json!([1, null]), json!([1, 2]), 60);
        story
    }

    fn verdict(story: &Story, nemeses: &[&str]) -> Verdict {
        check(&story.ops, &asked(nemeses), Ok(&fates(&[])))
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
        one_term.ops[9] = crate::history::Op {
            process: crate::history::Process::Nemesis(crate::history::NemesisMark::Nemesis),
            f: "start-kill".to_owned(),
            value: json!({"status": "installed", "mode": "leader"}),
            ..one_term.ops[9].clone()
        };
        unknown(&one_term, &["kill"], "no leader changed");
        let mut refused = good();
        refused
            .enter(Phase::Main)
            .invoke(1, "cas", json!([1, [2, 3]]))
            .fail(1, "cas", json!([1, [2, 3]]), "refused: x");
        unknown(&refused, &[], "cas succeeded 0 times of 1");
        let mut slow = good();
        slow.ops.drain(20..120);
        unknown(&slow, &[], "operations a second succeeded");
        let mut unread = good();
        unread.ops.truncate(120);
        unknown(&unread, &[], "nothing was read in the end");
    }
}
