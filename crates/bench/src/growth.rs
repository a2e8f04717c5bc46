//! How cost grows with the number of records: rate and latency of writes and reads, memory, and the state on disk. Each size is loaded as
//! soon as it is filled, so what the fill has left to compact is part of what is measured.

use crate::args::GrowthArguments;
use crate::compare::require_empty;
use crate::driver::System;
use crate::load::{self, Load, RunResult, fill};
use crate::machine::{self, Memory, file_bytes};
use crate::recovery::largest_memory;
use crate::report::{mebibytes, table, write_json};
use crate::system::Cluster;
use crate::workload::Workload;
use anyhow::Context;
use serde::Serialize;
use std::ops::Range;
use std::time::Duration;

/// Clients of each load, spread over all peers.
const CLIENTS: usize = 64;

/// What one number of records costs.
#[derive(Debug, Serialize)]
struct SizeResult {
    records: u64,
    /// Of those records alone that the size before did not have.
    fill_seconds: f64,
    put: RunResult,
    get: RunResult,
    /// The largest of the peers, after the load.
    memory: Memory,
    /// Of the peer that has most, after the load.
    state_bytes: u64,
}

#[derive(Debug, Serialize)]
struct GrowthResult {
    machine: String,
    clients: usize,
    /// Of each load.
    seconds: f64,
    sizes: Vec<SizeResult>,
}

/// Starts three peers, and fills and loads them for one size after the other.
pub async fn run(arguments: &GrowthArguments) -> anyhow::Result<()> {
    check(&arguments.records, arguments.seconds)?;
    require_empty(&arguments.dir)?;
    let cluster = Cluster::start(System::Quorate, &arguments.quorate_bin, &arguments.dir).await?;
    let mut sizes = Vec::new();
    let mut filled = 0;
    for records in arguments.records.iter().copied() {
        let measured = measure(&cluster, filled..records, arguments.seconds).await;
        sizes.push(measured.with_context(|| format!("with {records} records"))?);
        filled = records;
    }
    let result = GrowthResult {
        machine: machine::describe(),
        clients: CLIENTS,
        seconds: arguments.seconds,
        sizes,
    };
    println!("{}", shown(&result));
    arguments.json.as_ref().map_or(Ok(()), |path| write_json(path, &result))
}

/// Each size goes on from the one before.
fn check(records: &[u64], seconds: f64) -> anyhow::Result<()> {
    let grow = records.windows(2).all(|pair| pair[0] < pair[1]);
    let some = records.first().is_some_and(|first| *first > 0);
    anyhow::ensure!(grow && some, "--records are numbers from 1 on, each larger than the one before");
    anyhow::ensure!(seconds > 0.0, "--seconds is more than 0");
    Ok(())
}

/// Fills those that are not there yet, and loads all.
async fn measure(cluster: &Cluster, missing: Range<u64>, seconds: f64) -> anyhow::Result<SizeResult> {
    let records = missing.end;
    eprintln!("filling up to {records} records");
    let took = fill(cluster.system, &cluster.endpoints(), missing, records).await?;
    let put = load_all(cluster, Workload::Put, records, seconds).await?;
    let get = load_all(cluster, Workload::Get, records, seconds).await?;
    Ok(SizeResult {
        records,
        fill_seconds: took.as_secs_f64(),
        put,
        get,
        memory: largest_memory(cluster)?,
        state_bytes: largest_state(cluster)?,
    })
}

async fn load_all(cluster: &Cluster, workload: Workload, records: u64, seconds: f64) -> anyhow::Result<RunResult> {
    let load = Load {
        system: cluster.system,
        endpoints: cluster.endpoints(),
        groups: workload.groups(CLIENTS),
        keys: records,
        duration: Duration::from_secs_f64(seconds),
        seed: records,
        server_pids: cluster.pids(),
    };
    let result = load::run(&load).await?;
    for group in &result.groups {
        eprintln!("  {} {:.0}/s", workload.name(), group.operations_per_second);
        if let Some(error) = &group.error {
            eprintln!("  errors, the first: {error}");
        }
    }
    Ok(result)
}

fn largest_state(cluster: &Cluster) -> anyhow::Result<u64> {
    let mut largest = 0;
    for peer in &cluster.peers {
        largest = largest.max(file_bytes(&peer.data_dir()?.join("state"))?);
    }
    Ok(largest)
}

fn shown(result: &GrowthResult) -> comfy_table::Table {
    let mut rows = table(&[
        "records",
        "put op/s",
        "p50 ms",
        "p99 ms",
        "get op/s",
        "p50 ms",
        "p99 ms",
        "not file cache, MiB",
        "state on disk, MiB",
        "errors",
    ]);
    for size in &result.sizes {
        let mut row = vec![size.records.to_string()];
        let mut errors = 0;
        for group in size.put.groups.iter().chain(&size.get.groups) {
            row.push(format!("{:.0}", group.operations_per_second));
            row.push(format!("{:.2}", group.p50_ms));
            row.push(format!("{:.2}", group.p99_ms));
            errors += group.errors;
        }
        row.push(format!("{:.0}", mebibytes(size.memory.anonymous_bytes)));
        row.push(format!("{:.1}", mebibytes(size.state_bytes)));
        row.push(errors.to_string());
        rows.add_row(row);
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::GroupResult;
    use crate::workload::Operation;

    #[test]
    fn sizes_that_do_not_grow_are_refused() {
        assert!(check(&[1, 10, 100], 1.0).is_ok());
        for records in [&[][..], &[0], &[0, 1], &[1, 1], &[1, 10, 9]] {
            assert!(check(records, 1.0).is_err(), "{records:?}");
        }
        assert!(check(&[1], 0.0).is_err());
    }

    fn run(operation: Operation, rate: f64, errors: u64) -> RunResult {
        let group = GroupResult {
            operation,
            clients: CLIENTS,
            operations_per_second: rate,
            p50_ms: 1.5,
            p99_ms: 2.5,
            p999_ms: 3.5,
            errors,
            error: None,
        };
        RunResult {
            system: System::Quorate,
            groups: vec![group],
            server_cpu_us_per_operation: 0.0,
            load_cpu_us_per_operation: 0.0,
        }
    }

    #[test]
    fn each_size_has_a_row() {
        let size = |records: u64, state_bytes: u64| SizeResult {
            records,
            fill_seconds: 1.0,
            put: run(Operation::Put, 1_000.0, 1),
            get: run(Operation::Get, 4_000.0, 2),
            memory: Memory {
                rss_bytes: 9 << 20,
                anonymous_bytes: 7 << 20,
            },
            state_bytes,
        };
        let result = GrowthResult {
            machine: String::new(),
            clients: CLIENTS,
            seconds: 1.0,
            sizes: vec![size(10, 512 << 10), size(100, 3 << 20)],
        };
        let text = shown(&result).to_string();
        let row = |records: &str| {
            let cells = text.lines().map(|line| line.split('|').map(str::trim).collect::<Vec<&str>>());
            let mut rows = cells.filter(|cells| cells.get(1) == Some(&records));
            rows.next().expect("a row of the table")[2..11].to_vec()
        };
        assert_eq!(row("10"), ["1000", "1.50", "2.50", "4000", "1.50", "2.50", "7", "0.5", "3"]);
        assert_eq!(row("100"), ["1000", "1.50", "2.50", "4000", "1.50", "2.50", "7", "3.0", "3"]);
    }
}
