//! What the nodes' processes held, as `nodes.jsonl` has it: memory, files or threads that are taken and not given back.
//!
//! The bounds are several times what runs of all workloads have shown, so that only what grows without an end reaches them.

use crate::verdict::Verdict;
use serde_json::{Value as Json, json};
use std::collections::BTreeMap;
use std::path::Path;

const NAME: &str = "growth";

/// What is looked at, and how much of it one node may hold. The most ever seen were 135 MiB,
/// 70 files and 17 threads with ten clients; there are up to a hundred, each with a connection, and those that a node which stood still
/// finds waiting are several for each. While a disk hangs more threads wait for it.
const BOUNDS: [(&str, u64); 3] = [("resident_kb", 512 << 10), ("open_files", 1_000), ("threads", 300)];

pub fn check(dir: &Path) -> Verdict {
    let text = std::fs::read_to_string(dir.join("nodes.jsonl")).unwrap_or_default();
    let looks: Vec<Json> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let mut most: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for node in looks.iter().filter_map(|look| look["nodes"].as_array()).flatten() {
        for (what, _) in BOUNDS {
            // A node that does not run holds nothing.
            if let (Some(name), Some(held)) = (node["node"].as_str(), node[what].as_u64()) {
                let highest = most.entry((what, name)).or_default();
                *highest = (*highest).max(held);
            }
        }
    }
    if most.is_empty() {
        return Verdict::unknown(NAME, "nobody looked at what the nodes hold");
    }
    let bound = |what: &str| BOUNDS.iter().find(|(bounded, _)| *bounded == what).map_or(0, |(_, bound)| *bound);
    let too_much: Vec<String> = most
        .iter()
        .filter(|((what, _), held)| **held > bound(what))
        .map(|((what, node), held)| format!("{node} had {what} {held}, at most {} are expected", bound(what)))
        .collect();
    if !too_much.is_empty() {
        let is_too_much = |node: &Json| {
            BOUNDS
                .iter()
                .any(|(what, bound)| node[*what].as_u64().is_some_and(|held| held > *bound))
        };
        let has_too_much = |look: &&Json| look["nodes"].as_array().is_some_and(|nodes| nodes.iter().any(is_too_much));
        let at_ns = looks.iter().find(has_too_much).and_then(|look| look["time"].as_u64());
        return Verdict::invalid(NAME, None, too_much.join("; ")).with(json!({"at_ns": at_ns}));
    }
    let highest = |wanted: &str| most.iter().filter(|((what, _), _)| *what == wanted).map(|(_, held)| *held).max();
    let highest: BTreeMap<&str, Option<u64>> = BOUNDS.iter().map(|(what, _)| (*what, highest(what))).collect();
    let what = format!("in {} looks no node held more than it should: {}", looks.len(), json!(highest));
    Verdict::valid(NAME, what).with(json!(highest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Validity;

    fn verdict(lines: &[Json]) -> Verdict {
        let dir = tempfile::tempdir().expect("a directory");
        let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
        std::fs::write(dir.path().join("nodes.jsonl"), text).expect("written");
        check(dir.path())
    }

    fn look(resident_kb: u64, open_files: u64, threads: u64) -> Json {
        let runs = json!({"node": "n1", "runs": true, "resident_kb": resident_kb, "open_files": open_files, "threads": threads});
        json!({"time": 1, "nodes": [runs, {"node": "n2", "runs": false, "resident_kb": null}]})
    }

    #[test]
    fn what_is_never_given_back_is_found() {
        let normal = look(80_000, 90, 20);
        assert_eq!(verdict(&[normal.clone(), normal.clone()]).valid, Validity::Valid);
        for (mut leaking, what) in [
            (look(2 << 20, 90, 20), "resident_kb"),
            (look(80_000, 5_000, 20), "open_files"),
            (look(80_000, 90, 900), "threads"),
        ] {
            leaking["time"] = json!(7);
            let verdict = verdict(&[normal.clone(), leaking.clone(), leaking, normal.clone()]);
            assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
            assert_eq!(verdict.details["at_ns"], 7, "when it was seen first");
            assert!(verdict.what.contains("n1") && verdict.what.contains(what), "{}", verdict.what);
        }
    }

    #[test]
    fn without_a_look_nothing_is_known() {
        assert_eq!(verdict(&[]).valid, Validity::Unknown);
        assert_eq!(check(Path::new("/no/such/run")).valid, Validity::Unknown);
    }

    #[test]
    fn runs_of_before_files_and_threads_were_counted_can_be_judged_again() {
        let old = json!({"time": 1, "nodes": [{"node": "n1", "resident_kb": 70_000}]});
        assert_eq!(verdict(&[old]).valid, Validity::Valid);
    }
}
