//! `quorate-bench compare`: both systems side by side on this machine, each workload in turn on one and the other.

use crate::args::{CompareArguments, Sizes};
use crate::driver::System;
use crate::failover::{self, FailoverResult};
use crate::load::{self, Load, RunResult, fill};
use crate::machine;
use crate::recovery::{self, RecoveryResult};
use crate::report::{self, CellReport, Comparison, Side};
use crate::system::Cluster;
use crate::transfer::{self, TransferResult};
use crate::workload::{CELLS, Cell, KEYS, Target};
use anyhow::Context;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub async fn run(arguments: &CompareArguments) -> anyhow::Result<()> {
    let systems = systems(arguments)?;
    let sizes = arguments.sizes();
    anyhow::ensure!(sizes.seconds > 0.0 && sizes.runs > 0, "--seconds and --runs start at 1");
    require_empty(&arguments.dir)?;
    let mut clusters = Vec::new();
    for (system, binary) in &systems {
        eprintln!("starting three peers of {}", system.name());
        let directory = arguments.dir.join(system.name());
        let cluster = Cluster::start(*system, binary, &directory).await;
        clusters.push(cluster.with_context(|| format!("start {}; its logs are in {}", system.name(), directory.display()))?);
    }
    for cluster in &clusters {
        fill(cluster.system, &cluster.endpoints(), 0..KEYS, 1)
            .await
            .with_context(|| format!("fill {}", cluster.system.name()))?;
    }
    let comparison = Comparison {
        machine: machine::describe(),
        versions: systems.iter().map(|(_, binary)| version(binary)).collect(),
        sizes,
        cells: run_cells(&mut clusters, sizes).await?,
        failover: run_failover(&mut clusters, sizes).await?,
        transfer: run_transfers(&mut clusters, sizes).await?,
        recovery: run_recovery(&mut clusters, sizes).await?,
    };
    println!("{comparison}");
    let json = arguments.json.clone().unwrap_or_else(|| arguments.dir.join("result.json"));
    report::write_json(&json, &comparison)?;
    eprintln!("result in {}", json.display());
    Ok(())
}

fn systems(arguments: &CompareArguments) -> anyhow::Result<Vec<(System, PathBuf)>> {
    let named = [(System::Quorate, &arguments.quorate_bin), (System::Etcd, &arguments.etcd_bin)];
    let mut systems = Vec::new();
    for (system, binary) in named {
        if let Some(binary) = binary {
            let found = binary
                .canonicalize()
                .with_context(|| format!("{} binary {}", system.name(), binary.display()))?;
            systems.push((system, found));
        }
    }
    anyhow::ensure!(!systems.is_empty(), "give --quorate-bin, --etcd-bin or both");
    Ok(systems)
}

/// Makes the directory, which must have nothing in it: a cluster that starts with old data does not have the state that is measured.
pub fn require_empty(directory: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))?;
    let empty = std::fs::read_dir(directory)?.next().is_none();
    anyhow::ensure!(empty, "{} is not empty; name a new directory", directory.display());
    Ok(())
}

fn version(binary: &Path) -> String {
    let output = Command::new(binary)
        .arg("--version")
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    String::from_utf8_lossy(&output).lines().next().unwrap_or("unknown").to_owned()
}

/// Every cell on every system, `runs` times over: what changes on the machine meanwhile meets both alike.
async fn run_cells(clusters: &mut [Cluster], sizes: Sizes) -> anyhow::Result<Vec<CellReport>> {
    let mut results: Vec<Vec<Vec<RunResult>>> = vec![vec![Vec::new(); clusters.len()]; CELLS.len()];
    for run in 0..sizes.runs {
        for (cell, results) in CELLS.iter().zip(&mut results) {
            for (cluster, results) in clusters.iter_mut().zip(results) {
                let result = run_cell(cluster, cell, sizes, run as u64).await;
                let result = result.with_context(|| format!("{} on {}", cell.name(), cluster.system.name()))?;
                let rates: Vec<String> = result
                    .groups
                    .iter()
                    .map(|group| format!("{:.0}/s", group.operations_per_second))
                    .collect();
                eprintln!(
                    "  run {} {:<16} {:<8} {}",
                    run + 1,
                    cell.name(),
                    cluster.system.name(),
                    rates.join(", ")
                );
                results.push(result);
            }
        }
    }
    let side = |(cluster, runs): (&Cluster, Vec<RunResult>)| Side::new(cluster.system, runs);
    let report = |(cell, results): (&Cell, Vec<Vec<RunResult>>)| CellReport::new(cell, clusters.iter().zip(results).map(side).collect());
    Ok(CELLS.iter().zip(results).map(report).collect())
}

async fn run_cell(cluster: &mut Cluster, cell: &Cell, sizes: Sizes, run: u64) -> anyhow::Result<RunResult> {
    let endpoints = match cell.target {
        Target::Spread => cluster.endpoints(),
        Target::Leader => {
            let leader = cluster.leader().await?;
            vec![cluster.peers[leader].address.clone()]
        }
    };
    let load = Load {
        system: cluster.system,
        endpoints,
        groups: cell.workload.groups(cell.clients),
        keys: KEYS,
        duration: Duration::from_secs_f64(sizes.seconds),
        seed: run + 2,
        server_pids: cluster.pids(),
    };
    load::run(&load).await
}

async fn run_failover(clusters: &mut [Cluster], sizes: Sizes) -> anyhow::Result<Vec<FailoverResult>> {
    let mut results = Vec::new();
    for cluster in clusters {
        eprintln!("killing the leader of {} {} times", cluster.system.name(), sizes.kills);
        results.push(
            failover::run(cluster, sizes.kills, 3)
                .await
                .with_context(|| format!("failover of {}", cluster.system.name()))?,
        );
    }
    Ok(results)
}

async fn run_transfers(clusters: &mut [Cluster], sizes: Sizes) -> anyhow::Result<Vec<TransferResult>> {
    let mut results = Vec::new();
    for cluster in clusters {
        eprintln!("having the leader of {} hand over {} times", cluster.system.name(), sizes.transfers);
        results.push(
            transfer::run(cluster, sizes.transfers, 5)
                .await
                .with_context(|| format!("transfers of {}", cluster.system.name()))?,
        );
    }
    Ok(results)
}

async fn run_recovery(clusters: &mut [Cluster], sizes: Sizes) -> anyhow::Result<Vec<RecoveryResult>> {
    let mut results = Vec::new();
    for cluster in clusters {
        eprintln!("filling {} with {} records", cluster.system.name(), sizes.records);
        results.push(
            recovery::run(cluster, sizes.records, 4)
                .await
                .with_context(|| format!("recovery of {}", cluster.system.name()))?,
        );
    }
    Ok(results)
}
