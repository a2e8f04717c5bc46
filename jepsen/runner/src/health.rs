//! Two verdicts of the runner itself: that the faults that were asked for were there, and that no node was in trouble that
//! its faults do not explain.

use crate::cell::{FaultCount, STOP};
use crate::field::Field;
use crate::verdict::Verdict;
use serde_json::json;
use std::collections::BTreeMap;

/// Bad signs that are shown of one node at most.
const MOST_SIGNS: usize = 10;

/// Each fault that was asked for must have been there, in each mode that was asked for by name: a run whose faults were not
/// there proves nothing.
pub fn faults(counts: &BTreeMap<String, FaultCount>, asked: &[(&'static str, Vec<&'static str>)]) -> Verdict {
    let mut absent = Vec::new();
    for (name, modes) in asked {
        let count = counts.get(*name);
        if count.is_none_or(|count| count.installed == 0) {
            absent.push((*name).to_owned());
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
pub fn nodes(field: &Field, anomalies: &[String]) -> Verdict {
    let mut signs = anomalies.to_vec();
    let exits: Vec<_> = field
        .exits()
        .into_iter()
        .filter(|exit| exit.allowed_by.as_deref() != Some(STOP))
        .collect();
    let surprising = exits.iter().filter(|exit| exit.allowed_by.is_none());
    signs.extend(surprising.map(|exit| format!("{} ended by itself, by {}: {}", exit.node, exit.how, exit.last_said)));
    signs.extend(field.anomalies());
    for node in 0..field.total() {
        let log = field.node(node).log();
        let bad = log.lines().filter(|line| is_bad(line));
        signs.extend(bad.take(MOST_SIGNS).map(|line| format!("{} said: {line}", field.name(node))));
    }
    for worker in 0..field.workers() {
        let log = field.worker_log(worker);
        let bad = log.lines().filter(|line| is_bad(line));
        signs.extend(bad.take(MOST_SIGNS).map(|line| format!("worker {} said: {line}", worker + 1)));
    }
    match signs.is_empty() {
        true => Verdict::valid(
            "nodes",
            format!("{} ends of nodes by themselves, all where a fault allows it", exits.len()),
        ),
        false => Verdict::invalid("nodes", None, signs.join("\n")).with(json!({"exits": exits})),
    }
}

/// A panic that no failpoint made, or a digest that differs.
fn is_bad(line: &str) -> bool {
    let panicked = line.contains("panicked at") && !line.contains("/fail-");
    panicked || line.contains("invariant") && line.contains("violated")
}
