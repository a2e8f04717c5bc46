//! Medians, ratios, tables and JSON.

use crate::args::Sizes;
use crate::driver::System;
use crate::failover::FailoverResult;
use crate::load::{GroupResult, RunResult};
use crate::recovery::RecoveryResult;
use crate::transfer::TransferResult;
use crate::workload::Cell;
use anyhow::Context;
use comfy_table::{CellAlignment, Table, presets};
use serde::Serialize;
use std::fmt;
use std::path::Path;

/// Everything `compare` found out.
#[derive(Debug, Serialize)]
pub struct Comparison {
    pub machine: String,
    pub versions: Vec<String>,
    pub sizes: Sizes,
    pub cells: Vec<CellReport>,
    pub failover: Vec<FailoverResult>,
    pub transfer: Vec<TransferResult>,
    pub recovery: Vec<RecoveryResult>,
}

/// One workload on each system.
#[derive(Debug, Serialize)]
pub struct CellReport {
    pub name: String,
    pub sides: Vec<Side>,
}

/// The runs of one workload on one system. Of each figure the median is taken by itself.
#[derive(Debug, Serialize)]
pub struct Side {
    pub system: System,
    pub median: RunResult,
    pub runs: Vec<RunResult>,
}

/// The middle one, or the mean of the middle two; 0 of nothing.
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        count if count % 2 == 1 => sorted[count / 2],
        count => (sorted[count / 2 - 1] + sorted[count / 2]) / 2.0,
    }
}

impl Side {
    /// `runs` holds at least one.
    pub fn new(system: System, runs: Vec<RunResult>) -> Side {
        let of_runs = |figure: &dyn Fn(&RunResult) -> f64| median(&runs.iter().map(figure).collect::<Vec<f64>>());
        let kinds = runs.first().map_or(0, |run| run.groups.len());
        let groups = (0..kinds).map(|kind| median_group(&runs, kind)).collect();
        let median = RunResult {
            system,
            groups,
            server_cpu_us_per_operation: of_runs(&|run| run.server_cpu_us_per_operation),
            load_cpu_us_per_operation: of_runs(&|run| run.load_cpu_us_per_operation),
        };
        Side { system, median, runs }
    }
}

fn median_group(runs: &[RunResult], kind: usize) -> GroupResult {
    let of_runs = |figure: fn(&GroupResult) -> f64| median(&runs.iter().map(|run| figure(&run.groups[kind])).collect::<Vec<f64>>());
    GroupResult {
        operation: runs[0].groups[kind].operation,
        clients: runs[0].groups[kind].clients,
        operations_per_second: of_runs(|group| group.operations_per_second),
        p50_ms: of_runs(|group| group.p50_ms),
        p99_ms: of_runs(|group| group.p99_ms),
        p999_ms: of_runs(|group| group.p999_ms),
        // Errors are never averaged away.
        errors: runs.iter().map(|run| run.groups[kind].errors).sum(),
        error: runs.iter().find_map(|run| run.groups[kind].error.clone()),
    }
}

impl CellReport {
    pub fn new(cell: &Cell, sides: Vec<Side>) -> CellReport {
        CellReport { name: cell.name(), sides }
    }

    fn median_of(&self, system: System) -> Option<&RunResult> {
        self.sides.iter().find(|side| side.system == system).map(|side| &side.median)
    }
}

pub fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    // Markdown, so that it can be put into a document as it is.
    table.load_preset(presets::ASCII_MARKDOWN).set_header(header);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// Quorate's figure over etcd's.
fn ratio(quorate: Option<f64>, etcd: Option<f64>) -> String {
    match (quorate, etcd) {
        (Some(quorate), Some(etcd)) if etcd > 0.0 => format!("{:.2}x", quorate / etcd),
        _ => "-".to_owned(),
    }
}

fn shown(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

/// The three columns of one figure.
fn columns(quorate: Option<f64>, etcd: Option<f64>, digits: usize) -> [String; 3] {
    [shown(quorate, digits), shown(etcd, digits), ratio(quorate, etcd)]
}

/// One row per workload and kind of operation.
fn for_each_kind(cells: &[CellReport], mut add: impl FnMut(String, usize, [Option<&RunResult>; 2])) {
    for cell in cells {
        let Some(first) = cell.sides.first() else { continue };
        let both = [cell.median_of(System::Quorate), cell.median_of(System::Etcd)];
        let kinds = first.median.groups.len();
        for (kind, group) in first.median.groups.iter().enumerate() {
            let name = if kinds == 1 {
                cell.name.clone()
            } else {
                format!("{}: {}", cell.name, group.operation.name())
            };
            add(name, kind, both);
        }
    }
}

/// Rates and latencies.
pub fn rate_table(cells: &[CellReport]) -> Table {
    let mut table = table(&[
        "workload",
        "quorate op/s",
        "etcd",
        "ratio",
        "quorate p50 ms",
        "etcd",
        "ratio",
        "quorate p99 ms",
        "etcd",
        "ratio",
    ]);
    for_each_kind(cells, |name, kind, both| {
        let figure = |of: fn(&GroupResult) -> f64| both.map(|run| run.map(|run| of(&run.groups[kind])));
        let mut row = vec![name];
        for (of, digits) in [
            (rate as fn(&GroupResult) -> f64, 0),
            (|group| group.p50_ms, 2),
            (|group| group.p99_ms, 2),
        ] {
            let [quorate, etcd] = figure(of);
            row.extend(columns(quorate, etcd, digits));
        }
        table.add_row(row);
    });
    table
}

fn rate(group: &GroupResult) -> f64 {
    group.operations_per_second
}

/// The far tail, CPU time and errors. CPU time of a mixed workload is per operation of either kind.
pub fn cost_table(cells: &[CellReport]) -> Table {
    let mut table = table(&[
        "workload",
        "quorate p99.9 ms",
        "etcd",
        "ratio",
        "quorate servers' CPU us/op",
        "etcd",
        "ratio",
        "quorate load's CPU us/op",
        "etcd",
        "ratio",
        "errors",
    ]);
    for_each_kind(cells, |name, kind, both| {
        let [quorate_p999, etcd_p999] = both.map(|run| run.map(|run| run.groups[kind].p999_ms));
        let [quorate_servers, etcd_servers] = both.map(|run| run.map(|run| run.server_cpu_us_per_operation));
        let [quorate_load, etcd_load] = both.map(|run| run.map(|run| run.load_cpu_us_per_operation));
        let mut row = vec![name];
        row.extend(columns(quorate_p999, etcd_p999, 2));
        row.extend(columns(quorate_servers, etcd_servers, 0));
        row.extend(columns(quorate_load, etcd_load, 0));
        row.push(both.iter().flatten().map(|run| run.groups[kind].errors).sum::<u64>().to_string());
        table.add_row(row);
    });
    table
}

/// Failover, transfers and recovery.
fn event_table(comparison: &Comparison) -> Table {
    let mut table = table(&["measure", "quorate", "etcd", "ratio"]);
    let mut add = |name: &str, [quorate, etcd]: [Option<f64>; 2], digits: usize| {
        let mut row = vec![name.to_owned()];
        row.extend(columns(quorate, etcd, digits));
        table.add_row(row);
    };
    let both = [System::Quorate, System::Etcd];
    let failover = |of: fn(&FailoverResult) -> f64| both.map(|system| comparison.failover.iter().find(|one| one.system == system).map(of));
    add("leader killed: longest gap, median ms", failover(|one| one.median_ms), 0);
    add("leader killed: longest gap, worst ms", failover(|one| one.worst_ms), 0);
    let transfer = |of: fn(&TransferResult) -> f64| both.map(|system| comparison.transfer.iter().find(|one| one.system == system).map(of));
    add(
        "planned transfer: longest gap at the client, median ms",
        transfer(|one| one.median_ms),
        0,
    );
    add(
        "planned transfer: longest gap at the client, worst ms",
        transfer(|one| one.worst_ms),
        0,
    );
    add("planned transfer: failed calls", transfer(|one| one.failed_calls as f64), 0);
    let recovery = |of: fn(&RecoveryResult) -> Option<f64>| {
        both.map(|system| comparison.recovery.iter().find(|one| one.system == system).and_then(of))
    };
    let records = comparison.sizes.records;
    add(
        &format!("fill {records} records, op/s"),
        recovery(|one| Some(one.fill_per_second)),
        0,
    );
    add("resident after it, MiB", recovery(|one| Some(mebibytes(one.memory.rss_bytes))), 0);
    add(
        "of that not file cache, MiB",
        recovery(|one| Some(mebibytes(one.memory.anonymous_bytes))),
        0,
    );
    add(
        "one peer killed, restart to linearizable read, s",
        recovery(|one| Some(one.one_peer_seconds)),
        2,
    );
    add(
        "all peers killed, restart to linearizable read, s",
        recovery(|one| Some(one.all_peers_seconds)),
        2,
    );
    add(
        "fresh follower, start to linearizable read and vote, s",
        recovery(|one| one.fresh_follower_seconds),
        2,
    );
    table
}

/// Bytes in MiB.
pub fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}; {}", self.machine, self.versions.join("; "))?;
        writeln!(
            f,
            "three peers and the load on this machine; {} s a run, {} runs, medians",
            self.sizes.seconds, self.sizes.runs
        )?;
        writeln!(
            f,
            "\n{}\n\n{}\n\n{}",
            rate_table(&self.cells),
            cost_table(&self.cells),
            event_table(self)
        )?;
        for cell in &self.cells {
            for side in &cell.sides {
                for error in side.median.groups.iter().filter_map(|group| group.error.as_ref()) {
                    writeln!(f, "errors in {} on {}, the first: {error}", cell.name, side.system.name())?;
                }
            }
        }
        Ok(())
    }
}

/// Writes a result as JSON.
pub fn write_json(path: &Path, result: &impl Serialize) -> anyhow::Result<()> {
    let text = serde_json::to_vec_pretty(result)?;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::Memory;
    use crate::workload::{CELLS, Operation};

    fn run(system: System, rate: f64, errors: u64) -> RunResult {
        let group = GroupResult {
            operation: Operation::Put,
            clients: 1,
            operations_per_second: rate,
            p50_ms: 1.0,
            p99_ms: 2.0,
            p999_ms: 3.0,
            errors,
            error: None,
        };
        RunResult {
            system,
            groups: vec![group],
            server_cpu_us_per_operation: 10.0,
            load_cpu_us_per_operation: 5.0,
        }
    }

    #[test]
    fn a_median_is_the_middle() {
        assert_eq!(median(&[]), 0.0);
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), 2.5);
    }

    #[test]
    fn a_row_shows_medians_the_ratio_and_all_errors() {
        let quorate = [100.0, 300.0, 200.0].map(|rate| run(System::Quorate, rate, 1)).to_vec();
        let etcd = vec![run(System::Etcd, 80.0, 0)];
        let report = CellReport::new(&CELLS[0], vec![Side::new(System::Quorate, quorate), Side::new(System::Etcd, etcd)]);
        assert_eq!(
            (
                report.sides[0].median.groups[0].operations_per_second,
                report.sides[0].median.groups[0].errors
            ),
            (200.0, 3)
        );
        let cells = [report];
        let text = rate_table(&cells).to_string();
        assert!(text.contains("2.50x"), "{text}");
        assert!(
            cost_table(&cells).to_string().trim_end().ends_with("3 |"),
            "the last column is the errors"
        );
    }

    #[test]
    fn one_system_alone_has_no_ratio() {
        let report = CellReport::new(&CELLS[0], vec![Side::new(System::Etcd, vec![run(System::Etcd, 80.0, 0)])]);
        let text = rate_table(&[report]).to_string();
        assert!(text.contains("80") && !text.contains("NaN") && !text.contains("inf"), "{text}");
    }

    fn transfer(system: System, worst_ms: f64, failed_calls: u64) -> TransferResult {
        TransferResult {
            system,
            writers: 8,
            gaps_ms: vec![20.0, worst_ms],
            median_ms: 20.0,
            worst_ms,
            failed_calls,
        }
    }

    fn recovery(system: System, fresh_follower_seconds: Option<f64>) -> RecoveryResult {
        RecoveryResult {
            system,
            records: 1_000,
            fill_per_second: 100.0,
            memory: Memory {
                rss_bytes: 8 << 20,
                anonymous_bytes: 4 << 20,
            },
            one_peer_seconds: 1.0,
            all_peers_seconds: 2.0,
            memory_after_restart: Memory::default(),
            fresh_follower_seconds,
        }
    }

    #[test]
    fn events_of_both_systems_stand_side_by_side_and_what_did_not_come_about_is_a_dash() {
        let comparison = Comparison {
            machine: String::new(),
            versions: Vec::new(),
            sizes: Sizes {
                seconds: 1.0,
                runs: 1,
                kills: 0,
                transfers: 2,
                records: 1_000,
            },
            cells: Vec::new(),
            failover: Vec::new(),
            transfer: vec![transfer(System::Quorate, 40.0, 0), transfer(System::Etcd, 400.0, 3)],
            recovery: vec![recovery(System::Quorate, Some(7.5)), recovery(System::Etcd, None)],
        };
        let text = event_table(&comparison).to_string();
        let row = |measure: &str| {
            let line = text.lines().find(|line| line.contains(measure)).expect("a row of the table");
            line.split('|').skip(2).take(3).map(str::trim).collect::<Vec<&str>>()
        };
        assert_eq!(row("leader killed: longest gap, worst ms"), ["-", "-", "-"]);
        assert_eq!(row("planned transfer: longest gap at the client, median ms"), ["20", "20", "1.00x"]);
        assert_eq!(row("planned transfer: longest gap at the client, worst ms"), ["40", "400", "0.10x"]);
        assert_eq!(row("planned transfer: failed calls"), ["0", "3", "0.00x"]);
        assert_eq!(row("of that not file cache, MiB"), ["4", "4", "1.00x"]);
        assert_eq!(row("fresh follower, start to linearizable read and vote, s"), ["7.50", "-", "-"]);
    }
}
