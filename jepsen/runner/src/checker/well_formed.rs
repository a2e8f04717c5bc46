//! Whether a history is one at all: the other checkers rely on it.

use crate::client::UNEXPECTED;
use crate::history::{Kind, Op, Process};
use crate::verdict::Verdict;
use serde_json::json;
use std::collections::{HashMap, HashSet};

const NAME: &str = "well-formed";

type Broken = (u64, String);

pub fn check(history: &[Op]) -> Verdict {
    match walk(history) {
        Err((index, what)) => Verdict::invalid(NAME, Some(index), what),
        Ok(0) => Verdict::unknown(NAME, "no client did anything"),
        Ok(processes) => {
            let what = format!("{} lines of {processes} processes", history.len());
            Verdict::valid(NAME, what).with(json!({"lines": history.len(), "processes": processes}))
        }
    }
}

fn walk(history: &[Op]) -> Result<usize, Broken> {
    let mut open: HashMap<u64, &Op> = HashMap::new();
    let mut over: HashSet<u64> = HashSet::new();
    let mut processes: HashSet<u64> = HashSet::new();
    let mut last_time = 0;
    for (position, op) in (0..).zip(history) {
        let broken = |what: String| Err((op.index, what));
        if op.index != position {
            return broken(format!("line {position} has index {}", op.index));
        }
        if op.time < last_time {
            return broken(format!("time goes back from {last_time} to {}", op.time));
        }
        last_time = op.time;
        let Process::Client(process) = op.process else {
            if op.kind != Kind::Info {
                return broken("a fault is told as something else than info".to_owned());
            }
            continue;
        };
        processes.insert(process);
        if over.contains(&process) {
            return broken(format!("process {process} goes on after an operation without an answer"));
        }
        if op.kind == Kind::Invoke {
            if let Some(other) = open.insert(process, op) {
                return broken(format!("process {process} begins {} while {} is open", op.f, other.f));
            }
            continue;
        }
        match open.remove(&process) {
            Some(begun) if begun.f == op.f => {}
            Some(begun) => return broken(format!("process {process} ends {}, but began {}", op.f, begun.f)),
            None => return broken(format!("process {process} ends {} without having begun it", op.f)),
        }
        if op.kind == Kind::Info {
            over.insert(process);
        }
        if let Some(what) = op.error.as_deref().and_then(|error| error.strip_prefix(UNEXPECTED)) {
            return broken(format!("an answer of no known shape: {what}"));
        }
        if op.kind == Kind::Ok && op.error.is_some() {
            return broken("an operation ended well, with an error".to_owned());
        }
    }
    Ok(processes.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::operation::by_hand::Story;
    use crate::verdict::Validity;

    fn good() -> Story {
        let mut story = Story::default();
        story.invoke(0, "read", json!([1, null])).invoke(1, "write", json!([1, 2]));
        story.ok(0, "read", json!([1, 2]), 1).info(1, "write", json!([1, 2]));
        story.done(0, "read", json!([1, null]), json!([1, 2]), 1);
        story
    }

    #[test]
    fn a_good_history_is_one_and_an_empty_one_is_none() {
        assert_eq!(check(&good().ops).valid, Validity::Valid);
        assert_eq!(check(&[]).valid, Validity::Unknown);
    }

    #[test]
    fn every_fault_of_form_is_found() {
        type Damage = fn(&mut Story);
        let damaged: [(&str, Damage); 8] = [
            ("has index", |story| story.ops[3].index = 7),
            ("time goes back", |story| story.ops[3].time = 0),
            ("while read is open", |story| {
                story.invoke(0, "read", json!(1)).invoke(0, "read", json!(1));
            }),
            ("without having begun", |story| {
                story.ok(0, "read", json!(1), 1);
            }),
            ("but began", |story| {
                story.invoke(0, "read", json!(1)).ok(0, "write", json!(1), 1);
            }),
            ("goes on after", |story| {
                story.invoke(1, "read", json!(1));
            }),
            ("no known shape", |story| {
                story.ops[5].error = Some("unexpected: garbage".to_owned())
            }),
            ("with an error", |story| story.ops[5].error = Some("timeout".to_owned())),
        ];
        for (rule, damage) in damaged {
            let mut story = good();
            damage(&mut story);
            let verdict = check(&story.ops);
            assert_eq!(verdict.valid, Validity::Invalid, "{rule}");
            assert!(verdict.what.contains(rule), "{rule}: {}", verdict.what);
        }
    }
}
