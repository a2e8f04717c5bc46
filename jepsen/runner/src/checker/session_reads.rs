//! Guarantees of reads that need not be the newest: a read at least at revision r is of r or later; such a session never
//! goes back; a node's stale reads never go back.

use crate::history::Op;
use crate::operation::{Operation, operations};
use crate::verdict::Verdict;
use serde_json::json;
use std::collections::HashMap;

const NAME: &str = "session-reads";

pub fn check(history: &[Op]) -> Verdict {
    let all = operations(history);
    let of = |f: &str| {
        all.iter()
            .filter(|operation| operation.f() == f && operation.is_ok())
            .collect::<Vec<_>>()
    };
    let (since, stale) = (of("read-since"), of("stale-read"));
    if since.is_empty() || stale.is_empty() {
        return Verdict::unknown(
            NAME,
            format!(
                "{} reads since a revision and {} stale ones were answered",
                since.len(),
                stale.len()
            ),
        );
    }
    let broken = since
        .iter()
        .find_map(|read| check_since(read))
        .or_else(|| check_nodes(&stale))
        .or_else(|| check_own_writes(&all));
    if let Some((index, what)) = broken {
        return Verdict::invalid(NAME, Some(index), what);
    }
    let what = format!(
        "{} reads since a revision are not older, {} stale ones never went back at their node",
        since.len(),
        stale.len()
    );
    Verdict::valid(NAME, what).with(json!({"since": since.len(), "stale": stale.len()}))
}

fn check_since(read: &Operation<'_>) -> Option<(u64, String)> {
    let asked = read.input()[2]["since"].as_u64().unwrap_or(0);
    let seen = read.revision().unwrap_or(0);
    let what = || format!("{} asked for revision {asked} and saw {seen}", read.name());
    (seen < asked).then(|| (read.from(), what()))
}

/// Of two stale reads at one node, of which one ended before the other began, the later is not of an older state.
fn check_nodes(stale: &[&Operation<'_>]) -> Option<(u64, String)> {
    let mut by_node: HashMap<&str, Vec<&Operation<'_>>> = HashMap::new();
    for read in stale {
        by_node.entry(read.node().unwrap_or_default()).or_default().push(read);
    }
    by_node
        .into_iter()
        .filter_map(|(node, reads)| goes_back(&reads).map(|(index, what)| (index, format!("node {node}: {what}"))))
        .min()
}

fn goes_back(reads: &[&Operation<'_>]) -> Option<(u64, String)> {
    let mut ended = reads.to_vec();
    ended.sort_by_key(|read| read.to());
    let mut ended = ended.into_iter().peekable();
    let mut highest: Option<&Operation<'_>> = None;
    // In the order in which they began.
    for read in reads {
        while let Some(before) = ended.next_if(|before| before.to() < read.from()) {
            if highest.is_none_or(|highest| before.revision() > highest.revision()) {
                highest = Some(before);
            }
        }
        if let Some(highest) = highest.filter(|highest| highest.revision() > read.revision()) {
            let (was, is) = (highest.revision().unwrap_or(0), read.revision().unwrap_or(0));
            return Some((
                read.from(),
                format!("{} saw revision {is}, {} had seen {was}", read.name(), highest.name()),
            ));
        }
    }
    None
}

/// What a process wrote and was told of is not newer than what it reads since then.
fn check_own_writes(all: &[Operation<'_>]) -> Option<(u64, String)> {
    let mut written: HashMap<u64, u64> = HashMap::new();
    for operation in all.iter().filter(|operation| operation.is_ok()) {
        let highest = written.entry(operation.process()).or_default();
        match operation.f() {
            "write" => *highest = (*highest).max(operation.revision().unwrap_or(0)),
            "read-since" if operation.revision().unwrap_or(0) < *highest => {
                let what = format!("{} does not see its own write of revision {highest}", operation.name());
                return Some((operation.from(), what));
            }
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    fn since(story: &mut Story, process: u64, asked: u64, seen: u64) {
        let value = json!([1, null, {"session": process, "since": asked}]);
        story.done(process, "read-since", value.clone(), value, seen);
    }

    fn stale(story: &mut Story, process: u64, node: &str, seen: u64) {
        let value = json!([1, null, {"session": process, "since": null}]);
        story.done(process, "stale-read", value.clone(), value, seen).at(node);
    }

    fn good() -> Story {
        let mut story = Story::default();
        story.done(1, "write", json!([1, 5]), json!([1, 5]), 7);
        since(&mut story, 1, 7, 9);
        stale(&mut story, 2, "n1", 9);
        stale(&mut story, 3, "n2", 6);
        stale(&mut story, 2, "n1", 9);
        story
    }

    fn assert_invalid(story: &Story, rule: &str) {
        let verdict = check(&story.ops);
        assert_eq!(verdict.valid, Validity::Invalid, "{}", verdict.what);
        assert!(verdict.what.contains(rule), "{}", verdict.what);
    }

    #[test]
    fn a_good_history_passes_and_an_empty_one_proves_nothing() {
        assert_eq!(check(&good().ops).valid, Validity::Valid);
        assert_eq!(check(&[]).valid, Validity::Unknown);
    }

    #[test]
    fn a_read_older_than_asked_is_found() {
        let mut story = good();
        since(&mut story, 4, 9, 8);
        assert_invalid(&story, "asked for revision 9 and saw 8");
    }

    #[test]
    fn a_node_that_goes_back_is_found_and_two_reads_at_once_may_differ() {
        let mut story = good();
        let value = json!([1, null, {"session": 2, "since": null}]);
        story.invoke(5, "stale-read", value.clone());
        stale(&mut story, 2, "n1", 12);
        story.ok(5, "stale-read", value, 10).at("n1");
        assert_eq!(check(&story.ops).valid, Validity::Valid, "they overlapped");
        stale(&mut story, 2, "n1", 11);
        assert_invalid(&story, "node n1");
    }

    #[test]
    fn a_session_sees_its_own_writes() {
        let mut story = good();
        story.done(6, "write", json!([1, 6]), json!([1, 6]), 20);
        since(&mut story, 6, 0, 19);
        assert_invalid(&story, "does not see its own write");
    }
}
