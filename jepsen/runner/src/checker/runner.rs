//! The runner's own verdicts, from what a run has left: that its faults were there, that no node was in trouble, and what the suite
//! itself could not do. They are what they were when the run ended, wherever its directory tells.

use super::Asked;
use crate::cell::count_faults;
use crate::field::Exit;
use crate::history::Op;
use crate::verdict::Verdict;
use crate::{health, nemesis};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use std::path::Path;

const NODES: &str = "nodes";
const HARNESS: &str = "harness";

pub fn again(history: &[Op], asked: &Asked, dir: &Path) -> Vec<Verdict> {
    let text = std::fs::read(dir.join("results.json")).unwrap_or_default();
    // Absent if the runner was killed before it wrote them.
    let results: Json = serde_json::from_slice(&text).unwrap_or_default();
    vec![faults(history, asked), nodes(&results, asked, dir), harness(&results)]
}

fn faults(history: &[Op], asked: &Asked) -> Verdict {
    let chosen = asked.nemeses.iter().map(|spec| nemesis::by_name(spec, asked.nodes));
    let named = chosen.map(|chosen| chosen.map(|chosen| (chosen.name, chosen.required)));
    match named.collect::<anyhow::Result<Vec<_>>>() {
        Ok(named) => health::faults(&count_faults(history), &named),
        Err(error) => Verdict::unknown("faults", format!("{error:#}")),
    }
}

fn nodes(results: &Json, asked: &Asked, dir: &Path) -> Verdict {
    let is_damaged = asked.has("corrupt");
    if let (Some(exits), Some(anomalies)) = (kept::<Vec<Exit>>(results, "exits"), kept::<Vec<String>>(results, "anomalies")) {
        return health::nodes(dir, &exits, &anomalies, is_damaged);
    }
    // Results of before anomalies were kept have the verdict that they made; the logs may say more.
    let verdicts: Vec<Verdict> = kept(results, "verdicts").unwrap_or_default();
    let then = verdicts.into_iter().find(|verdict| verdict.checker == NODES);
    let then = then.unwrap_or_else(|| Verdict::unknown(NODES, "nothing tells how the nodes ended: the run did not come to its end"));
    let of_logs = health::nodes(dir, &[], &[], is_damaged);
    if of_logs.valid > then.valid { of_logs } else { then }
}

fn harness(results: &Json) -> Verdict {
    match kept::<Vec<String>>(results, "harness_failures") {
        Some(failures) if failures.is_empty() => Verdict::valid(HARNESS, "the suite did all that it was to do"),
        Some(failures) => Verdict::unknown(HARNESS, failures.join("; ")),
        None => Verdict::unknown(HARNESS, "there are no results: the run did not come to its end"),
    }
}

fn kept<T: DeserializeOwned>(results: &Json, name: &str) -> Option<T> {
    serde_json::from_value(results[name].clone()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity::{self, Invalid, Unknown, Valid};
    use serde_json::json;

    /// A run's directory with these results, and a node that has said this.
    fn left(results: &Json, said: &str) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("logs")).expect("made");
        std::fs::write(dir.path().join("logs/n1.log"), said).expect("written");
        std::fs::write(dir.path().join("results.json"), results.to_string()).expect("written");
        dir
    }

    fn verdicts(results: &Json, said: &str) -> Vec<Validity> {
        let dir = left(results, said);
        let story = Story::default();
        let again = again(&story.ops, &Asked::by_hand(&[]), dir.path());
        again.iter().map(|verdict| verdict.valid).collect()
    }

    const PANIC: &str = "thread 'main' panicked at crates/storage/src/log.rs:7:1:\n";

    #[test]
    fn a_panic_a_surprising_end_and_what_the_suite_could_not_do_are_told_again() {
        let good = json!({"exits": [], "anomalies": [], "harness_failures": []});
        assert_eq!(verdicts(&good, "all is well\n"), [Valid, Valid, Valid]);
        assert_eq!(verdicts(&good, PANIC), [Valid, Invalid, Valid]);
        let mut seen = good.clone();
        seen["anomalies"] = json!(["n1 serves without what it had acknowledged"]);
        assert_eq!(verdicts(&seen, ""), [Valid, Invalid, Valid]);
        let mut ended = good.clone();
        ended["exits"] = json!([{"node": "n1", "how": "exit code 1", "allowed_by": null, "last_said": "no"}]);
        assert_eq!(verdicts(&ended, ""), [Valid, Invalid, Valid]);
        ended["exits"][0]["allowed_by"] = json!("space");
        assert_eq!(verdicts(&ended, ""), [Valid, Valid, Valid]);
        let mut failed = good;
        failed["harness_failures"] = json!(["the run was interrupted"]);
        assert_eq!(verdicts(&failed, ""), [Valid, Valid, Unknown]);
    }

    #[test]
    fn older_results_have_the_verdict_they_made_and_none_are_unknown() {
        let older =
            |valid: &str| json!({"exits": [], "harness_failures": [], "verdicts": [{"checker": "nodes", "valid": valid, "what": "so"}]});
        assert_eq!(verdicts(&older("valid"), ""), [Valid, Valid, Valid]);
        assert_eq!(verdicts(&older("invalid"), ""), [Valid, Invalid, Valid]);
        assert_eq!(verdicts(&older("valid"), PANIC), [Valid, Invalid, Valid]);
        assert_eq!(verdicts(&Json::Null, ""), [Valid, Unknown, Unknown]);
        assert_eq!(verdicts(&Json::Null, PANIC), [Valid, Invalid, Unknown]);
    }

    #[test]
    fn a_fault_that_was_never_there_makes_a_run_unknown_again() {
        let dir = left(&Json::Null, "");
        let mut story = Story::default();
        story.invoke(0, "start-kill", json!({"status": "installed", "mode": "one", "nodes": ["n1"]}));
        let last = story.last();
        last.process = crate::history::Process::Nemesis(crate::history::NemesisMark::Nemesis);
        let faults = |nemeses: &[&str]| again(&story.ops, &Asked::by_hand(nemeses), dir.path()).swap_remove(0);
        assert_eq!(faults(&["kill"]).valid, Valid);
        assert!(faults(&["kill:leader"]).what.contains("kill:leader"));
        assert_eq!(faults(&["kill", "pause"]).valid, Unknown);
        assert_eq!(faults(&["no-such-fault"]).valid, Unknown);
    }
}
