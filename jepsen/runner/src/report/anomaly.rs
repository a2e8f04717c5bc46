//! What surrounds an anomaly: operations, where a checker names one of them; else the faults around its time; else what the nodes that
//! it names said last.

use super::runs::Run;
use crate::field::process::tail;
use crate::history::{Op, Process};
use crate::verdict::{Validity, Verdict};
use maud::{Markup, html};
use std::collections::BTreeSet;
use std::path::Path;

/// Operations shown before and after the first anomaly.
const AROUND: usize = 20;
/// Starts and ends of faults shown before and after a time.
const FAULTS_AROUND: usize = 6;
/// Lines of a node's log.
const LAST_LINES: usize = 20;

pub fn surroundings(run: &Run) -> Markup {
    let verdicts = &run.results.verdicts;
    let first_bad = verdicts.iter().filter_map(|verdict| verdict.first_bad).min();
    let is_unplaced = |verdict: &&Verdict| verdict.valid == Validity::Invalid && verdict.first_bad.is_none();
    html! {
        @if let Some(first) = first_bad { (around_operation(&run.history, first)) }
        @for verdict in verdicts.iter().filter(is_unplaced) { (around_verdict(verdict, &run.history, &run.line.dir)) }
    }
}

fn around_operation(history: &[Op], first: u64) -> Markup {
    let at = history.iter().position(|op| op.index >= first).unwrap_or(history.len());
    let (from, until) = (at.saturating_sub(AROUND), (at + AROUND + 1).min(history.len()));
    html! {
        h4 { "The first anomaly, and what surrounds it" }
        (table(history[from..until].iter(), Some(first)))
    }
}

/// Of a verdict that names no operation.
fn around_verdict(verdict: &Verdict, history: &[Op], dir: &Path) -> Markup {
    if let Some(time) = verdict.details["at_ns"].as_u64() {
        let faults: Vec<&Op> = history.iter().filter(|op| matches!(op.process, Process::Nemesis(_))).collect();
        let at = faults.partition_point(|op| op.time < time);
        let (from, until) = (at.saturating_sub(FAULTS_AROUND), (at + FAULTS_AROUND).min(faults.len()));
        return html! {
            h4 { "Faults around " (verdict.checker) ", at " (format!("{:.3} s", time as f64 / 1e9)) }
            (table(faults[from..until].iter().copied(), None))
        };
    }
    let logs = nodes_named(&verdict.what).into_iter();
    let logs = logs.map(|node| (node, tail(&dir.join("logs").join(format!("{node}.log")), LAST_LINES)));
    html! {
        @for (node, said) in logs.filter(|(_, said)| !said.is_empty()) {
            h4 { "What " (node) " said last, which " (verdict.checker) " names" }
            div.wide { pre { (said) } }
        }
    }
}

/// Nodes and workers of which a sentence speaks: `n1`, `worker-1`.
fn nodes_named(sentence: &str) -> BTreeSet<&str> {
    let is_number = |text: &str| !text.is_empty() && text.chars().all(|letter| letter.is_ascii_digit());
    let is_node = |word: &&str| word.strip_prefix("worker-").or(word.strip_prefix('n')).is_some_and(is_number);
    let words = sentence.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '-');
    words.filter(is_node).collect()
}

fn table<'a>(ops: impl Iterator<Item = &'a Op>, bad: Option<u64>) -> Markup {
    html! {
        div.wide { table.ops { tbody {
            @for op in ops { tr.bad[bad == Some(op.index)] {
                td { (op.index) }
                td { (format!("{:.3} s", op.time as f64 / 1e9)) }
                td { @match op.process { Process::Client(client) => (client), Process::Nemesis(_) => "nemesis" } }
                td { (format!("{:?}", op.kind).to_lowercase()) }
                td { (op.f) }
                td { code { (op.value.to_string()) } }
                td { @if let Some(revision) = op.revision { "revision " (revision) } }
                td { (op.node.as_deref().unwrap_or_default()) }
                td { (op.error.as_deref().unwrap_or_default()) }
            } }
        } } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::Recorder;
    use serde_json::json;

    #[test]
    fn an_anomaly_with_a_time_is_shown_amid_its_faults() {
        let recorder = Recorder::default();
        for round in 0..20 {
            recorder.invoke(round, "read", json!("of a client"));
            recorder.fault("start-kill", json!(format!("round {round}.")));
        }
        let history = recorder.ops();
        let at_ns = history.iter().find(|op| op.value == json!("round 10.")).expect("it is there").time;
        let verdict = Verdict::invalid("growth", None, "n1 had too much").with(json!({"at_ns": at_ns}));
        let page = around_verdict(&verdict, &history, Path::new("/gone")).into_string();
        assert!(page.contains("Faults around growth, at "), "{page}");
        assert!(page.contains("round 9.") && page.contains("round 10."), "{page}");
        assert!(
            !page.contains("round 0.") && !page.contains("round 19.") && !page.contains("of a client"),
            "{page}"
        );
    }

    #[test]
    fn without_a_time_the_nodes_that_are_named_have_the_word() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("logs")).expect("made");
        for node in ["n1", "n2", "worker-1"] {
            let lines: String = (0..50).map(|line| format!("<{node}> line {line}.\n")).collect();
            std::fs::write(dir.path().join(format!("logs/{node}.log")), lines).expect("written");
        }
        let verdict = Verdict::invalid("digests", None, "n2 has applied 7, worker-1: nothing; n9 and nobody is not there");
        let page = around_verdict(&verdict, &[], dir.path()).into_string();
        assert!(
            page.contains("&lt;n2&gt; line 49.") && page.contains("&lt;worker-1&gt; line 30."),
            "{page}"
        );
        assert!(
            !page.contains("line 29.") && !page.contains("n1&gt;") && !page.contains("n9"),
            "{page}"
        );
        let nobody = Verdict::invalid("audit", None, "nobody is named");
        assert_eq!(around_verdict(&nobody, &[], dir.path()).into_string(), "");
    }
}
