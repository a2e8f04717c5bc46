//! Agreement of the nodes: their audit logs tell one story that contains everything acknowledged, and in the end their
//! digests are the same.

use super::Asked;
use super::fates::{Fate, Fates};
use crate::history::{Kind, Op};
use crate::operation::operations;
use crate::verdict::Verdict;
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;

const AUDIT: &str = "audit-agreement";
const DIGESTS: &str = "digest-agreement";

/// All nodes executed the same, nothing twice; every acknowledged write is there with the revision it was acknowledged
/// with, and no write that failed.
pub fn check_audit(history: &[Op], fates: Result<&Fates, &str>) -> Verdict {
    let fates = match fates {
        Ok(fates) => fates,
        Err(error) if error.contains("No such file") || error.contains("no node left") => return Verdict::unknown(AUDIT, error),
        Err(error) => return Verdict::invalid(AUDIT, None, error),
    };
    let all = operations(history);
    let mut acknowledged = 0;
    for operation in all.iter().filter(|operation| operation.request().is_some()) {
        let fate = fates.of_operation(operation);
        let broken = |what: String| Verdict::invalid(AUDIT, Some(operation.from()), format!("{} {what}", operation.name()));
        match (operation.kind(), fate) {
            (Kind::Ok, Some(Fate::Applied(revision) | Fate::Unchanged(revision))) if operation.revision() != Some(revision) => {
                return broken(format!(
                    "was answered with revision {:?}, executed at {revision}",
                    operation.revision()
                ));
            }
            (Kind::Ok, Some(Fate::Applied(_) | Fate::Unchanged(_))) => acknowledged += 1,
            (Kind::Ok, fate) => return broken(format!("was acknowledged; its fate was {fate:?}")),
            (Kind::Fail, Some(Fate::Applied(revision))) => {
                return broken(format!(
                    "failed ({}), but was applied at {revision}",
                    operation.error().unwrap_or_default()
                ));
            }
            _ => {}
        }
    }
    if acknowledged == 0 {
        return Verdict::unknown(AUDIT, "no write was acknowledged under a request id");
    }
    let what = format!(
        "{} nodes executed the same {} commands, {acknowledged} acknowledged writes among them, {} commands came again and were not executed again",
        fates.peers,
        fates.commands(),
        fates.repeats()
    );
    let details = json!({"nodes": fates.peers, "commands": fates.commands(), "acknowledged": acknowledged, "repeats": fates.repeats(), "checkpoints": fates.checkpoints});
    Verdict::valid(AUDIT, what).with(details)
}

/// A line of `final.json`.
#[derive(Deserialize)]
struct Final {
    node: String,
    applied: u64,
    digests: BTreeMap<u64, (String, String)>,
}

/// In the end all nodes have applied the same last entry, and have the same digests wherever two of them tell them.
pub fn check_digests(dir: &Path, asked: &Asked) -> Verdict {
    let read = std::fs::read_to_string(dir.join("final.json")).map_err(|error| error.to_string());
    let nodes: Result<Vec<Option<Final>>, String> = read.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
    match nodes {
        Err(error) => Verdict::unknown(DIGESTS, format!("final.json: {error}")),
        Ok(nodes) => compare(nodes.into_iter().flatten().collect(), asked.nodes),
    }
}

fn compare(nodes: Vec<Final>, expected: usize) -> Verdict {
    if nodes.len() < expected {
        return Verdict::unknown(DIGESTS, format!("{} nodes of {expected} told their digests", nodes.len()));
    }
    let mut known: BTreeMap<u64, (&str, &(String, String))> = BTreeMap::new();
    for node in &nodes {
        if node.applied != nodes[0].applied {
            let what = format!("{} has applied {}, {} {}", nodes[0].node, nodes[0].applied, node.node, node.applied);
            return Verdict::invalid(DIGESTS, None, what);
        }
        for (index, digests) in &node.digests {
            let (other, told) = known.entry(*index).or_insert((&node.node, digests));
            if *told != digests {
                return Verdict::invalid(
                    DIGESTS,
                    None,
                    format!("at index {index} {other} has {told:?}, {} has {digests:?}", node.node),
                );
            }
        }
    }
    let last = nodes[0].applied;
    let tell_last = nodes.iter().filter(|node| node.digests.contains_key(&last)).count();
    if tell_last < nodes.len() {
        return Verdict::unknown(
            DIGESTS,
            format!("{tell_last} nodes of {} told the digests of the last entry", nodes.len()),
        );
    }
    let what = format!(
        "{} nodes have the same digests at the last entry {last}, and at {} others",
        nodes.len(),
        known.len() - 1
    );
    Verdict::valid(DIGESTS, what).with(json!({"nodes": nodes.len(), "compared": known.len()}))
}

#[cfg(test)]
mod tests {
    use super::super::fates::by_hand::fates;
    use super::*;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    const LOG: &[&str] = &["7.1:20:1:0", "7.2:20:1:0", "7.3:20:2:0"];

    fn good() -> Story {
        let mut story = Story::default();
        let mut write = |number, revision| {
            story
                .done(0, "write", json!([1, number]), json!([1, number]), revision)
                .under(7, number);
        };
        write(1, 1);
        write(2, 1);
        story.invoke(0, "write", json!([1, 3])).info(0, "write", json!([1, 3])).under(7, 3);
        story
            .invoke(1, "write", json!([1, 4]))
            .fail(1, "write", json!([1, 4]), "no_leader: ")
            .under(7, 4);
        story
    }

    fn assert_invalid(story: &Story, log: &[&str], rule: &str) {
        let verdict = check_audit(&story.ops, Ok(&fates(log)));
        assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
        assert!(verdict.what.contains(rule), "{}", verdict.what);
    }

    #[test]
    fn a_good_run_agrees_and_one_without_writes_proves_nothing() {
        let verdict = check_audit(&good().ops, Ok(&fates(LOG)));
        assert_eq!(verdict.valid, Validity::Valid, "{}", verdict.what);
        assert_eq!(check_audit(&[], Ok(&fates(LOG))).valid, Validity::Unknown);
        assert_eq!(check_audit(&good().ops, Err("no node left an audit log")).valid, Validity::Unknown);
        let disagreement = "entry 3 is \"a\" here and \"b\" there";
        assert_eq!(check_audit(&good().ops, Err(disagreement)).valid, Validity::Invalid);
    }

    #[test]
    fn a_lost_write_one_at_another_revision_and_one_that_had_failed_are_found() {
        assert_invalid(&good(), &["7.1:20:1:0"], "its fate was Some(Never)");
        assert_invalid(&good(), &["7.2:20:1:0", "7.1:20:2:0"], "executed at 2");
        assert_invalid(&good(), &[LOG, &["7.4:20:3:0"]].concat(), "but was applied at 3");
        assert_invalid(&good(), &["7.1:20:0:21", "7.2:20:1:0"], "its fate was Some(Refused");
    }

    fn told(node: &str, applied: u64, last: &str) -> Final {
        let digest = |text: &str| (text.to_owned(), text.to_owned());
        Final {
            node: node.to_owned(),
            applied,
            digests: [(applied - 1, digest("aa")), (applied, digest(last))].into(),
        }
    }

    #[test]
    fn digests_that_differ_or_are_not_told_are_found() {
        let valid = |nodes: Vec<Final>| compare(nodes, 2).valid;
        assert_eq!(valid(vec![told("n1", 9, "bb"), told("n2", 9, "bb")]), Validity::Valid);
        assert_eq!(valid(vec![told("n1", 9, "bb"), told("n2", 9, "cc")]), Validity::Invalid);
        assert_eq!(valid(vec![told("n1", 9, "bb"), told("n2", 8, "bb")]), Validity::Invalid);
        assert_eq!(valid(vec![told("n1", 9, "bb")]), Validity::Unknown);
        let mut silent = told("n2", 9, "bb");
        silent.digests.clear();
        assert_eq!(valid(vec![told("n1", 9, "bb"), silent]), Validity::Unknown);
    }
}
