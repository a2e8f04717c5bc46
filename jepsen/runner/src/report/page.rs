//! The page itself.

use super::dates::{day, short};
use super::details::details;
use super::matrix::matrix;
use super::runs::{Ledger, Line, Mutant, Run};
use super::totals::Totals;
use super::track_record::track_record;
use crate::mutants::names;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use std::collections::BTreeSet;

/// What a green page does not say; design of the suite, section 7.10.
const LIMITS: [&str; 5] = [
    "One kernel, one disk and one clock source carry all nodes; faults of real network cards and disk firmware are not among the faults.",
    "A disk that lies about syncs, or damage on a majority, is outside what Raft promises; both are used as controls only.",
    "Runs on real processes cannot be replayed, only their schedules can; the simulation replays byte for byte.",
    "Which faults this machine cannot do, `jepsen doctor` says; a run that asked for one of them did not hold.",
    "Held means: no anomaly was found under these faults. It is not a proof.",
];

pub fn page(ledger: &Ledger, detailed: &[Run], mutants: &[Mutant]) -> Markup {
    let (totals, lines) = (Totals::of(ledger), &ledger.runs);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { "Quorate: fault tests" }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header {
                    h1 { "Quorate: fault tests" }
                    (headline(&totals))
                }
                main {
                    section { h2 { "Workloads and faults" } (matrix(lines)) }
                    section { h2 { "Faults of all runs" } (fault_table(&totals)) }
                    @if !mutants.is_empty() { section { h2 { "Deliberate defects" } (mutant_table(mutants)) } }
                    section {
                        h2 { "Runs" }
                        @for (position, run) in detailed.iter().enumerate() { (details(run, position == 0)) }
                        (others(lines, detailed))
                    }
                    section { h2 { "What this does not say" } ul { @for limit in LIMITS { li { (limit) } } } }
                    section { h2 { "What was found" } (track_record()) }
                }
            }
        }
    }
}

fn headline(totals: &Totals) -> Markup {
    let (mut class, mut sentence) = match (totals.broken, totals.unknown) {
        (0, 0) => ("held", format!("All {} runs held.", totals.runs)),
        (0, unknown) => (
            "unknown",
            format!("{unknown} of {} runs proved nothing; no anomaly was found.", totals.runs),
        ),
        (broken, _) => ("broken", format!("{broken} of {} runs found an anomaly.", totals.runs)),
    };
    if totals.broken_seeds > 0 {
        class = "broken";
        sentence += &format!(" {} seeds of the simulation broke a rule.", totals.broken_seeds);
    }
    let figures = [
        (format!("{:.2}", totals.seconds / 3_600.0), "hours under test"),
        (totals.operations.to_string(), "operations"),
        (totals.faults.to_string(), "faults installed"),
        (totals.installed("power", None).to_string(), "power cuts"),
        (totals.installed("power", Some("all")).to_string(), "of the whole cluster"),
        (totals.seeds.to_string(), "seeds of runs"),
        (totals.simulated_seeds.to_string(), "seeds of the simulation"),
        (totals.commits.to_string(), "commits"),
        (totals.held.to_string(), "runs held"),
        (totals.unknown.to_string(), "unknown"),
        (totals.broken.to_string(), "broken"),
    ];
    html! {
        p.headline.(class) { (sentence) }
        dl.totals { @for (figure, what) in figures { div { dd { (figure) } dt { (what) } } } }
    }
}

/// By kind and mode. Lines of before modes were noted count in their kind only.
fn fault_table(totals: &Totals) -> Markup {
    html! {
        div.wide { table {
            thead { tr { th { "fault" } th { "installed" } th { "skipped" } th { "indeterminate" } th { "installed, by mode" } } }
            tbody { @for (name, faults) in &totals.classes { tr {
                th { (name) }
                td.number { (faults.installed) }
                td.number { (faults.skipped) }
                td.number { (faults.indeterminate) }
                td { (faults.by_mode()) }
            } } }
        } }
    }
}

fn mutant_table(mutants: &[Mutant]) -> Markup {
    let tried: BTreeSet<&str> = mutants.iter().map(|mutant| mutant.name.as_str()).collect();
    let in_time = mutants.iter().filter(|mutant| mutant.is_in_time());
    let caught = in_time.map(|mutant| mutant.name.as_str()).collect::<BTreeSet<_>>().len();
    let untried: Vec<&str> = names().filter(|name| !tried.contains(name)).collect();
    let all = tried.len() + untried.len();
    html! {
        p {
            "Of " (all) " deliberate defects " (tried.len()) " were tried, and " (caught)
            " caught in time. A suite that catches none proves nothing."
        }
        @if !untried.is_empty() { p.note { "Never tried: " (untried.join(", ")) "." } }
        div.wide { table {
            thead { tr {
                th {} th { "defect" } th { "what it breaks" } th { "caught by" } th { "after" } th { "allowed" } th { "day" } th { "commit" }
            } }
            tbody { @for mutant in mutants { tr {
                @match mutant.is_in_time() { true => td.held { "\u{2713}" }, false => td.broken { "\u{2717}" } }
                th { (mutant.name) }
                td { (mutant.breaks) }
                td { (mutant.caught_by) }
                td.number { @if let Some(seconds) = mutant.seconds { (format!("{seconds:.1} s")) } }
                td.number { (format!("{:.0} s", mutant.within_seconds)) }
                td.number { (day(mutant.began)) }
                td { code { (short(&mutant.commit)) } }
            } } }
        } }
    }
}

/// Runs of which only the ledger is left.
fn others(lines: &[Line], detailed: &[Run]) -> Markup {
    let shown: BTreeSet<String> = detailed.iter().map(|run| run.line.anchor()).collect();
    let rest: Vec<&Line> = lines.iter().rev().filter(|line| !shown.contains(&line.anchor())).collect();
    html! {
        @if !rest.is_empty() {
            details {
                summary { (rest.len()) " more runs, of which the ledger tells" }
                table { tbody { @for line in rest { tr id=(line.anchor()) {
                    td class=(line.ending().shown().0) { (line.ending().shown().1) }
                    th { (line.workload) }
                    td { (line.fault_names().join(", ")) }
                    td.number { (line.nodes) " nodes" }
                    td.number { (format!("{:.0} s", line.seconds)) }
                    td.number { "seed " (line.seed) }
                } } } }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::runs::Simulation;
    use super::*;
    use serde_json::json;

    #[test]
    fn one_broken_run_is_the_headline() {
        let line = |valid: serde_json::Value, seed: u64| -> Line {
            serde_json::from_value(json!({
                "began": seed, "seconds": 1800.0, "valid": valid, "workload": "<set>", "nemeses": ["power"], "nodes": 3, "seed": seed,
                "dir": "/gone", "faults": {"power": {"installed": 4, "modes": {"all": 3, "one": 1}}},
            }))
            .expect("a line")
        };
        let ledger = Ledger {
            runs: vec![line(json!(true), 1), line(json!(false), 2), line(json!("unknown"), 2)],
            simulations: vec![Simulation {
                from: 1,
                seeds: 60,
                broken: vec![7],
            }],
        };
        let page = page(&ledger, &[], &[]).into_string();
        assert!(page.contains("1 seeds of the simulation broke a rule."), "{page}");
        assert!(page.contains("1 of 3 runs found an anomaly.") && page.contains("1.50"), "{page}");
        assert!(page.contains("9 all, 3 one") && page.contains("of the whole cluster"), "{page}");
        assert!(page.contains("stays mended by"), "the track record is there");
        assert!(page.contains("&lt;set&gt;") && !page.contains("<set>"), "text is escaped");
    }

    #[test]
    fn a_page_with_one_defect_says_how_many_were_not_tried() {
        let all: Vec<&str> = names().collect();
        let one = |caught_by: &str, caught: bool| -> Mutant {
            serde_json::from_value(json!({
                "name": all[0], "caught_by": caught_by, "within_seconds": 60, "seconds": 2.5, "caught": caught,
                "commit": "0123456789abcdef", "began": 1_795_382_238,
            }))
            .expect("a result")
        };
        let page = mutant_table(&[one("simulation", true), one("cell set kill", false)]).into_string();
        let said = format!("Of {} deliberate defects 1 were tried, and 1 caught in time.", all.len());
        assert!(page.contains(&said), "{page}");
        assert!(all[1..].iter().all(|name| page.contains(name)), "{page}");
        assert!(page.contains("2026-11-22") && page.contains(">0123456789<"), "{page}");
    }
}
