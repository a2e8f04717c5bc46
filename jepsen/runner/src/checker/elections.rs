//! How many terms went by in all. A fault may take the leader away, and votes may be split; a cluster that elects again and again, because
//! its disks are slow or a peer that was cut off comes back with a later term, serves in between and is not seen by who waits for service.

use crate::history::{Op, Process};
use crate::operation::operations;
use crate::verdict::Verdict;
use serde_json::json;

const NAME: &str = "elections";
/// For each fault that was done, whatever it was: when it begins, and when it ends. The most ever seen in a run were as many terms as faults.
const TERMS_PER_FAULT: u64 = 2;
/// For the begin, and for faults that were skipped after all though the attempt was felt.
const TERMS_BESIDES: u64 = 4;

pub fn check(history: &[Op]) -> Verdict {
    let all = operations(history);
    let told: Vec<(u64, u64)> = all
        .iter()
        .filter_map(|operation| Some((operation.term()?, operation.to())))
        .collect();
    let (Some(first), Some(last)) = (told.iter().map(|(term, _)| *term).min(), told.iter().map(|(term, _)| *term).max()) else {
        return Verdict::unknown(NAME, "no answer told its term");
    };
    let (passed, faults) = (last - first, faults(history));
    let allowed = TERMS_PER_FAULT * faults + TERMS_BESIDES;
    let details = json!({"terms_passed": passed, "faults": faults, "allowed": allowed});
    if passed > allowed {
        let too_late = told.iter().find(|(term, _)| term - first > allowed).map(|(_, index)| *index);
        let what = format!("{passed} terms went by under {faults} faults, {allowed} are allowed: leaders were elected for no reason");
        return Verdict::invalid(NAME, too_late, what).with(details);
    }
    Verdict::valid(NAME, format!("{passed} terms went by under {faults} faults; {allowed} are allowed")).with(details)
}

/// How many faults were done, or may have been.
fn faults(history: &[Op]) -> u64 {
    let done = |op: &&Op| matches!(op.process, Process::Nemesis(_)) && op.f.starts_with("start-") && op.value["status"] != "skipped";
    history.iter().filter(done).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::NemesisMark;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    /// A read in each of these terms, under so many faults.
    fn verdict(terms: &[u64], faults: usize, status: &str) -> Verdict {
        let mut story = Story::default();
        for _ in 0..faults {
            story.invoke(0, "start-kill", json!({"status": status}));
            story.last().process = Process::Nemesis(NemesisMark::Nemesis);
        }
        for term in terms {
            story.done(1, "read", json!([1, null]), json!([1, 2]), 1);
            story.last().term = Some(*term);
        }
        check(&story.ops)
    }

    #[test]
    fn so_many_terms_as_faults_explain_may_go_by_and_not_more() {
        assert_eq!(verdict(&[4, 5, 10], 1, "installed").valid, Validity::Valid);
        let many = verdict(&[4, 5, 11], 1, "installed");
        assert_eq!(many.valid, Validity::Invalid);
        assert!(
            many.what.starts_with("7 terms went by under 1 faults, 6 are allowed"),
            "{}",
            many.what
        );
        assert_eq!(many.first_bad, Some(6), "the answer that told the last term");
        assert_eq!(verdict(&[4, 5, 10], 1, "skipped").valid, Validity::Invalid);
        assert_eq!(verdict(&[4, 5, 10], 1, "indeterminate").valid, Validity::Valid);
    }

    #[test]
    fn answers_without_a_term_prove_nothing() {
        assert_eq!(verdict(&[], 1, "installed").valid, Validity::Unknown);
    }
}
