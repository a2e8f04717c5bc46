//! Two verdicts of the runner itself: that the faults that were asked for were there, and that no node was in trouble that
//! its faults do not explain.

use crate::cell::FaultCount;
use crate::field::Exit;
use crate::verdict::Verdict;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What a node says when its state is not that of the others, or not what it applied.
const ALARMS: [&str; 3] = [
    "this peer and another disagree about the state",
    "the state is damaged: its rows are not what was applied",
    "this peer's state is wrong: it stops serving",
];
/// Bad signs that are shown of one node at most.
const MOST_SIGNS: usize = 10;

/// Each fault that was asked for must have been there, in each mode that was asked for by name: a run whose faults were not
/// there, or of which nothing shows that they were, proves nothing.
pub fn faults(counts: &BTreeMap<String, FaultCount>, asked: &[(&'static str, Vec<&'static str>)]) -> Verdict {
    let mut absent = Vec::new();
    for (name, modes) in asked {
        let count = counts.get(*name);
        if count.is_none_or(|count| count.installed == 0) {
            let tried = count.map(|count| format!(" ({} times skipped, {} indeterminate)", count.skipped, count.indeterminate));
            absent.push(format!("{name}{}", tried.unwrap_or_default()));
        }
        for mode in modes {
            if count.is_none_or(|count| !count.modes.contains_key(*mode)) {
                absent.push(format!("{name}:{mode}"));
            }
        }
    }
    let installed: u64 = counts.values().map(|count| count.installed).sum();
    let verdict = match absent.is_empty() {
        true => Verdict::valid("faults", format!("{installed} faults were there, of every kind that was asked for")),
        false => Verdict::unknown("faults", format!("never there: {}", absent.join(", "))),
    };
    verdict.with(json!(counts))
}

/// No node or worker may end by itself unless a fault says that it may; none may panic but where a failpoint tells it to.
/// `exits` are those that nobody asked for, `anomalies` what the runner and the faults have seen besides; the rest is in the logs.
pub fn nodes(dir: &Path, exits: &[Exit], anomalies: &[String], is_damaged: bool) -> Verdict {
    let is_bad = |line: &&str| is_panic(line) || (!is_damaged && is_alarm(line));
    let mut signs = anomalies.to_vec();
    let surprising = exits.iter().filter(|exit| exit.allowed_by.is_none());
    signs.extend(surprising.map(|exit| format!("{} ended by itself, by {}: {}", exit.node, exit.how, exit.last_said)));
    let logs = logs(dir);
    for (name, log) in &logs {
        let bad = log.lines().filter(is_bad);
        signs.extend(bad.take(MOST_SIGNS).map(|line| format!("{name} said: {line}")));
    }
    if !signs.is_empty() {
        return Verdict::invalid("nodes", None, signs.join("\n")).with(json!({"exits": exits}));
    }
    match logs.is_empty() {
        true => Verdict::unknown("nodes", "no node left a log"),
        false => Verdict::valid(
            "nodes",
            format!("{} ends of nodes by themselves, all where a fault allows it", exits.len()),
        ),
    }
}

/// What nodes and workers have said, by their names: `logs/NAME.log`. Tools of the suite have logs there too.
fn logs(dir: &Path) -> Vec<(String, String)> {
    let entries = std::fs::read_dir(dir.join("logs")).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let log = |path: PathBuf| {
        let name = path.file_name()?.to_str()?.strip_suffix(".log")?;
        let is_node = name.strip_prefix('n').is_some_and(|number| number.parse::<usize>().is_ok());
        let text = (is_node || name.starts_with("worker-")).then(|| std::fs::read(&path).ok())??;
        Some((name.to_owned(), String::from_utf8_lossy(&text).into_owned()))
    };
    paths.into_iter().filter_map(log).collect()
}

/// A panic that no failpoint made, or a rule of the product's own that does not hold.
fn is_panic(line: &str) -> bool {
    let panicked = line.contains("panicked at") && !line.contains("/fail-");
    panicked || line.contains("invariant") && line.contains("violated")
}

/// The product's word that states differ: true of a run whose files were damaged, and of no other.
fn is_alarm(line: &str) -> bool {
    ALARMS.iter().any(|alarm| line.contains(alarm))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Validity;

    #[test]
    fn panics_and_alarms_are_told_from_what_is_ordinary() {
        let alarm = "2026-11-21T13:58:53Z ERROR quorate_consensus::maintenance: this peer and another disagree about the state peer=2";
        assert!(is_alarm(alarm) && !is_panic(alarm));
        assert!(is_panic("thread 'main' panicked at crates/storage/src/log.rs:7:1:"));
        assert!(!is_panic(
            "thread 'main' panicked at /root/.cargo/registry/src/x/fail-0.5.1/src/lib.rs:488:9:"
        ));
        assert!(!is_alarm(
            "2026-11-21T13:58:53Z  INFO quorate::serve: serving peer=1 address=10.77.0.1:5000"
        ));
    }

    #[test]
    fn a_fault_of_which_nothing_ever_showed_that_it_was_there_makes_a_run_unknown() {
        let verdict = |installed| {
            let count = FaultCount {
                installed,
                indeterminate: 3,
                ..FaultCount::default()
            };
            faults(&BTreeMap::from([("purge".to_owned(), count)]), &[("purge", Vec::new())])
        };
        assert_eq!(verdict(1).valid, Validity::Valid);
        let never = verdict(0);
        assert_eq!(never.valid, Validity::Unknown);
        assert!(never.what.contains("purge (0 times skipped, 3 indeterminate)"), "{}", never.what);
    }

    #[test]
    fn the_product_still_says_so() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../crates/consensus/src/");
        let read = |file: &str| std::fs::read_to_string(format!("{root}{file}")).expect("a file of the product");
        let sources = read("maintenance.rs") + &read("content_scan.rs");
        for alarm in ALARMS {
            assert!(sources.contains(alarm), "nobody says {alarm:?} any more");
        }
    }
}
