//! One run in full: the picture, figures, faults with their evidence, verdicts, and what surrounds anomalies.

use super::anomaly::surroundings;
use super::runs::Run;
use super::timeline::timeline;
use crate::history::{Kind, Op, Phase, Process};
use crate::verdict::Validity;
use maud::{Markup, html};
use serde_json::Value as Json;
use std::collections::BTreeMap;

/// How the operations of one name ended, and how long those took that were answered.
#[derive(Default)]
struct Figures {
    ok: Vec<u64>,
    fail: u64,
    info: u64,
}

impl Figures {
    fn quantile(&self, share: f64) -> String {
        match self.ok.is_empty() {
            true => "\u{2013}".to_owned(),
            false => format!("{:.1}", self.ok[((self.ok.len() - 1) as f64 * share) as usize] as f64 / 1e6),
        }
    }
}

fn figures(history: &[Op]) -> BTreeMap<(Phase, String), Figures> {
    let mut open: BTreeMap<u64, &Op> = BTreeMap::new();
    let mut all: BTreeMap<(Phase, String), Figures> = BTreeMap::new();
    for op in history {
        let Process::Client(process) = op.process else { continue };
        if op.kind == Kind::Invoke {
            open.insert(process, op);
            continue;
        }
        let Some(invoked) = open.remove(&process) else { continue };
        let figures = all.entry((invoked.phase, op.f.clone())).or_default();
        match op.kind {
            Kind::Ok => figures.ok.push(op.time - invoked.time),
            Kind::Fail => figures.fail += 1,
            _ => figures.info += 1,
        }
    }
    all.values_mut().for_each(|figures| figures.ok.sort_unstable());
    all
}

pub fn details(run: &Run, open: bool) -> Markup {
    let (results, ending) = (&run.results, run.line.ending());
    html! {
        details.run id=(run.line.anchor()) open[open] {
            summary {
                span.verdict.(ending.shown().0) { (ending.shown().1) }
                " " b { (results.workload) }
                " under " (run.line.fault_names().join(", ")) ", " (results.nodes) " nodes, seed " (results.seed)
            }
            (timeline(run))
            p.note {
                span.key.ok {} " answered  " span.key.fail {} " refused, certainly without effect  " span.key.info {} " no answer  "
                "dashed: a leader  shaded: a fault"
            }
            dl.facts {
                dt { "took" } dd { (format!("{:.0} s", results.seconds)) ", of which checking " (format!("{:.1} s", results.check_seconds)) }
                @if results.answered_per_second > 0 {
                    dt { "answered" } dd { (results.answered_per_second) " operations a second of " (results.rate) " asked for, faults and all" }
                }
                dt { "after healing" } dd {
                    @match results.recovery_seconds {
                        Some(seconds) => (format!("every node served again within {seconds:.1} s")),
                        None => "not every node served again",
                    }
                }
                dt { "commit" } dd { code { (results.commit) } }
                dt { "binary" } dd { code { (results.binary.get(..16).unwrap_or(&results.binary)) } }
                dt { "again" } dd { code { (results.repeat) } }
            }
            (verdicts(run))
            (recoveries("clients", told(run, "availability")))
            (recoveries("probes", &told(run, "availability")["probes"]))
            (coverage(told(run, "coverage")))
            (operations(&run.history))
            (faults(&run.history))
        }
    }
}

fn verdicts(run: &Run) -> Markup {
    let class = |validity| match validity {
        Validity::Valid => ("held", "\u{2713}"),
        Validity::Unknown => ("unknown", "?"),
        Validity::Invalid => ("broken", "\u{2717}"),
    };
    html! {
        h4 { "What the checkers say" }
        table { tbody {
            @for verdict in &run.results.verdicts { tr {
                td class=(class(verdict.valid).0) { (class(verdict.valid).1) }
                th { (verdict.checker) }
                td { (verdict.what) }
            } }
            @for failure in &run.results.harness_failures { tr { td.unknown { "?" } th { "harness" } td { (failure) } } }
        } }
        (surroundings(run))
    }
}

/// What a checker that is not there has told.
static NOTHING: Json = Json::Null;

/// What a checker has told besides its verdict.
fn told<'a>(run: &'a Run, checker: &str) -> &'a Json {
    let verdict = run.results.verdicts.iter().find(|verdict| verdict.checker == checker);
    verdict.map_or(&NOTHING, |verdict| &verdict.details)
}

/// When a majority became whole, or the last fault that left it whole was done, in milliseconds, and how long after that reads and
/// writes were served.
fn recovery_times(availability: &Json) -> BTreeMap<u64, [Option<u64>; 2]> {
    let mut times: BTreeMap<u64, [Option<u64>; 2]> = BTreeMap::new();
    for one in availability["recoveries"].as_array().into_iter().flatten() {
        if let (Some(at), Some(took)) = (one["at_ms"].as_u64(), one["took_ms"].as_u64()) {
            times.entry(at).or_default()[usize::from(one["kind"] == "write")] = Some(took);
        }
    }
    times
}

/// Of clients, or of probes.
fn recoveries(whom: &str, availability: &Json) -> Markup {
    let times = recovery_times(availability);
    let count = |name: &str| availability[name].as_u64().unwrap_or(0);
    let ms = |took: &Option<u64>| took.map_or("\u{2013}".to_owned(), |took| took.to_string());
    html! {
        @if !times.is_empty() {
            details {
                summary {
                    "Time until " (whom) " were served, from when a majority was whole (" (times.len()) "); the bound was asked " (count("demanded"))
                    " times, " (count("demanded_under_a_fault")) " of them while a fault was there"
                }
                table.figures {
                    thead { tr { th { "whole from" } th { "first read ms" } th { "first write ms" } } }
                    tbody { @for (at, [read, write]) in &times { tr {
                        td.number { (format!("{:.1} s", *at as f64 / 1e3)) }
                        td.number { (ms(read)) }
                        td.number { (ms(write)) }
                    } } }
                }
            }
        }
    }
}

/// Figures of the checker of coverage, and their words.
const COVERED: [(&str, &str); 6] = [
    ("rate", "operations a second that were answered"),
    ("quiet_rate", "the same without any fault"),
    ("settled_rate", "the same while writes were served without any fault, at least"),
    ("terms", "terms"),
    ("checkpoints_installed", "checkpoints installed"),
    ("recovery_bound_asked", "times the bound on recovery was asked"),
];

fn coverage(coverage: &Json) -> Markup {
    let figures = COVERED.iter().filter(|(name, _)| !coverage[*name].is_null());
    html! {
        @if let Some(kinds) = coverage["ok_of_begun"].as_object() {
            details {
                summary { "Coverage" }
                table.figures { tbody {
                    @for (name, what) in figures { tr { th { (what) } td.number { (coverage[*name].to_string()) } } }
                    @for (kind, counts) in kinds { tr {
                        th { (kind) ", answered well" }
                        td.number { (counts[0].to_string()) " of " (counts[1].to_string()) }
                    } }
                } }
            }
        }
    }
}

fn operations(history: &[Op]) -> Markup {
    html! {
        h4 { "Operations" }
        table.figures {
            thead { tr { th { "phase" } th { "operation" } th { "answered" } th { "refused" } th { "no answer" } th { "median ms" } th { "p99 ms" } th { "slowest ms" } } }
            tbody { @for ((phase, name), figures) in figures(history) { tr {
                td { (format!("{phase:?}").to_lowercase()) }
                td { (name) }
                td.number { (figures.ok.len()) }
                td.number { (figures.fail) }
                td.number { (figures.info) }
                td.number { (figures.quantile(0.5)) }
                td.number { (figures.quantile(0.99)) }
                td.number { (figures.quantile(1.0)) }
            } } }
        }
    }
}

fn faults(history: &[Op]) -> Markup {
    let faults: Vec<&Op> = history.iter().filter(|op| matches!(op.process, Process::Nemesis(_))).collect();
    html! {
        @if !faults.is_empty() {
            details {
                summary { "Faults and their evidence (" (faults.iter().filter(|op| op.f.starts_with("start-")).count()) ")" }
                div.wide { table { tbody { @for op in faults { tr {
                    td { (format!("{:.1} s", op.time as f64 / 1e9)) }
                    th { (op.f) }
                    td { code { (op.value.to_string()) } }
                } } } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn each_recovery_and_all_of_the_coverage_is_on_the_page() {
        let availability = json!({
            "demanded": 2, "demanded_under_a_fault": 1,
            "recoveries": [
                {"at_ms": 1_500, "kind": "read", "took_ms": 81}, {"at_ms": 1_500, "kind": "write", "took_ms": 82},
                {"at_ms": 9_000, "kind": "write", "took_ms": 83},
            ],
        });
        let times = recovery_times(&availability);
        assert_eq!((times[&1_500], times[&9_000]), ([Some(81), Some(82)], [None, Some(83)]));
        let page = recoveries("clients", &availability).into_string();
        assert!(
            page.contains("asked 2 times, 1 of them") && page.contains(">1.5 s<") && page.contains(">83<"),
            "{page}"
        );
        assert_eq!(recoveries("probes", &Json::Null).into_string(), "");
        let page = coverage(&json!({"ok_of_begun": {"main read": [7, 9]}, "rate": 41, "quiet_rate": null})).into_string();
        assert!(
            page.contains("7 of 9") && page.contains(">41<") && !page.contains("without any fault"),
            "{page}"
        );
    }
}
