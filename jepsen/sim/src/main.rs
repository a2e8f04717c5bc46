//! `quorate-sim`: runs seeds of the simulation, one process each, and says which rule was broken where.

use clap::Parser;
use quorate_sim::{Fuzzer, Report};
use std::path::PathBuf;
use std::process::ExitCode;

/// Simulated clusters from seeds.
#[derive(Parser)]
#[command(name = "quorate-sim", version)]
struct Arguments {
    /// How many seeds to run.
    #[arg(long, default_value_t = 20)]
    seeds: u64,
    /// The first of them.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// One seed only, with its trace on standard output.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Seeds at a time; one per core unless said.
    #[arg(long)]
    jobs: Option<usize>,
    /// Where traces of broken seeds are left.
    #[arg(long, default_value = "target/sim")]
    out: PathBuf,
    /// Stop at the first broken seed.
    #[arg(long)]
    until_broken: bool,
    /// The summary as JSON.
    #[arg(long)]
    json: bool,
    /// A file the summary is written to as well, as JSON: for `jepsen sim`, which reads it.
    #[arg(long, hide = true)]
    summary: Option<PathBuf>,
}

fn main() -> anyhow::Result<ExitCode> {
    if Fuzzer::be_child()? {
        return Ok(ExitCode::SUCCESS);
    }
    #[cfg(feature = "mutants")]
    if let Err(why) = quorate_model::mutants::check() {
        eprintln!("quorate-sim: {why}");
        return Ok(ExitCode::from(2));
    }
    let arguments = Arguments::parse();
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let fuzzer = Fuzzer {
        program: std::env::current_exe()?,
        arguments: Vec::new(),
        from: arguments.seed.unwrap_or(arguments.from),
        seeds: arguments.seed.map_or(arguments.seeds, |_| 1),
        jobs: arguments.jobs.unwrap_or(cores),
        out: arguments.out,
        until_broken: arguments.until_broken,
    };
    let summary = fuzzer.run(|report| {
        if arguments.seed.is_some() {
            print!("{}", report.trace);
        }
        tell(report);
    })?;
    if let Some(path) = &arguments.summary {
        std::fs::write(path, serde_json::to_vec(&summary)?)?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
    } else {
        println!(
            "{} seeds in {:.0} s ({:.0} a minute): {} broken; {} s simulated, {} writes, {} checkpoints installed, slowest recovery {} ms",
            summary.seeds,
            summary.seconds,
            summary.seeds_per_minute,
            summary.broken.len(),
            summary.simulated_seconds,
            summary.writes,
            summary.checkpoints,
            summary.slowest_recovery_ms
        );
        println!("faults: {:?}", summary.faults);
    }
    Ok(if summary.broken.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn tell(report: &Report) {
    if let Some(broken) = &report.broken {
        let what = broken.what.lines().next().unwrap_or_default();
        eprintln!("seed {} breaks \"{}\": {what}", report.seed, broken.rule);
        eprintln!("  again: quorate-sim --seed {}", report.seed);
    }
}
