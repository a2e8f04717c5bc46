//! `quorate-bench run`: one workload on a cluster that is already there.

use crate::args::RunArguments;
use crate::driver::System;
use crate::load::{self, Load, RunResult, fill};
use crate::quorate::create_instance_with;
use crate::report::{self, CellReport, Side};
use crate::system::find_leader;
use crate::workload::{Cell, KEYS, Target};
use anyhow::Context;
use std::time::Duration;

pub async fn run(arguments: &RunArguments) -> anyhow::Result<()> {
    anyhow::ensure!(
        arguments.seconds > 0.0 && arguments.runs > 0 && arguments.clients > 0,
        "--seconds, --runs and --clients start at 1"
    );
    if let (System::Quorate, Some(token)) = (arguments.system, &arguments.token) {
        create_instance_with(&arguments.endpoints[0], token).await?;
    }
    fill(arguments.system, &arguments.endpoints, 0..KEYS, 1)
        .await
        .context("write the keys of the workload")?;
    let target = if arguments.leader_only { Target::Leader } else { Target::Spread };
    let endpoints = match target {
        Target::Leader => vec![find_leader(arguments.system, &arguments.endpoints).await?],
        Target::Spread => arguments.endpoints.clone(),
    };
    let cell = Cell {
        workload: arguments.workload,
        clients: arguments.clients,
        target,
    };
    let mut runs: Vec<RunResult> = Vec::new();
    for number in 0..arguments.runs {
        let load = Load {
            system: arguments.system,
            endpoints: endpoints.clone(),
            groups: cell.workload.groups(cell.clients),
            keys: KEYS,
            duration: Duration::from_secs_f64(arguments.seconds),
            seed: number as u64 + 2,
            server_pids: arguments.pids.clone(),
        };
        runs.push(load::run(&load).await?);
    }
    let report = CellReport::new(&cell, vec![Side::new(arguments.system, runs)]);
    let cells = [report];
    println!("{}\n\n{}", report::rate_table(&cells), report::cost_table(&cells));
    if let Some(path) = &arguments.json {
        report::write_json(path, &cells[0])?;
    }
    Ok(())
}
