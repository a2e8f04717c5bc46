//! `jepsen`: breaks a cluster on purpose and says what held.

mod cell;
mod checker;
mod client;
mod contract;
mod day;
mod doctor;
mod edn;
mod field;
mod health;
mod history;
mod ledger;
mod many;
mod matrix;
mod mutants;
mod nemesis;
mod operation;
mod probes;
mod report;
mod seeded;
mod sim;
mod verdict;
mod workload;

use anyhow::{Context, bail};
use cell::{CellOptions, Results};
use clap::{Args, Parser, Subcommand};
use field::{Ground, belongings};
use many::{SmokeArguments, SoakArguments};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use verdict::Validity;

/// How a line begins that says what the suite could not do.
const HARNESS_FAILURE: &str = "harness failure: ";

#[derive(Parser)]
#[command(name = "jepsen", about = "Fault tests of Quorate", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Say what this machine can do.
    Doctor,
    /// Run one cell: a workload under faults.
    Test(TestArguments),
    /// Run the fixed cells of the matrix and those of the day, about six minutes.
    Smoke(SmokeArguments),
    /// Run random cells of the matrix for hours, or with --systematic every workload with every fault in turn.
    Soak(SoakArguments),
    /// Ask all checkers again what they say of a run, from its directory alone.
    Check {
        /// The run's directory.
        dir: PathBuf,
    },
    /// Write `report/index.html` over all runs of a ledger.
    Report {
        /// Directory of the ledger, and of the runs [default: target/jepsen beside this program's].
        dir: Option<PathBuf>,
    },
    /// Say what all runs of a ledger add up to: faults by kind and mode, hours, operations, seeds.
    Ledger {
        /// Directory of the ledger [default: target/jepsen beside this program's].
        dir: Option<PathBuf>,
    },
    /// Run seeds of the simulation: `jepsen sim --seeds 100 --from 1`.
    #[command(disable_help_flag = true)]
    Sim {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Try every deliberate defect: each must be caught in its time, and the control must not.
    Mutants(mutants::MutantArguments),
    /// Take away what a runner that is gone has left.
    Clean,
    /// The search for a linearization, in a process that may use so much memory and time; `check` starts it.
    #[command(hide = true)]
    Wgl { file: PathBuf },
}

#[derive(Args, Clone)]
struct TestArguments {
    /// What clients do.
    #[arg(long)]
    workload: String,
    /// Faults, separated by commas, each with modes if not all: `kill,partition:bridge/ring`.
    #[arg(long, value_delimiter = ',')]
    nemesis: Vec<String>,
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// Length of the main phase.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// Decides arguments and schedules; drawn when absent.
    #[arg(long)]
    seed: Option<u64>,
    /// Answered operations a second, on average: what faults hold up is made up for at three times the rate.
    #[arg(long, default_value_t = 300)]
    rate: u64,
    /// Where peers run: namespaces need root; processes can only be killed and paused.
    #[arg(long, default_value = "namespaces")]
    ground: Ground,
    /// Timing of elections: lan or wan.
    #[arg(long, default_value = "wan")]
    profile: String,
    /// `quorate worker` processes.
    #[arg(long, default_value_t = 0)]
    workers: usize,
    /// Directory of the run, made anew [default: one below target/jepsen].
    #[arg(long)]
    out: Option<PathBuf>,
    /// The server under test [default: quorate beside this program].
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Further environment of the nodes, `NAME=value`.
    #[arg(long)]
    env: Vec<String>,
    /// All disks answer syncs with success and sync nothing: a control, which a power cut must break. `jepsen mutants --cells` has it.
    #[arg(long)]
    lying_disks: bool,
}

/// `target/jepsen`, where this program is `target/PROFILE/jepsen`.
fn runs_dir() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("the path of this program")?;
    Ok(own
        .ancestors()
        .nth(2)
        .context("this program lies in target/PROFILE")?
        .join("jepsen"))
}

impl TestArguments {
    fn cell(self) -> anyhow::Result<CellOptions> {
        let own = std::env::current_exe().context("the path of this program")?;
        let beside = own.parent().context("this program lies in a directory")?;
        let binary = self.binary.unwrap_or_else(|| beside.join("quorate"));
        if !binary.exists() {
            bail!("{} is absent; cargo build -p quorate --features failpoints,audit", binary.display());
        }
        let missing = doctor::missing_for_ground(self.ground);
        if !missing.is_empty() {
            bail!("no cluster can be made here: {}", missing.join("; "));
        }
        let seconds_since = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or_default();
        let seed = self.seed.unwrap_or(seconds_since.as_nanos() as u64 % 1_000_000_007);
        let runs = runs_dir()?;
        let name = format!("{}-{}-{seed}", seconds_since.as_secs(), self.workload);
        Ok(CellOptions {
            dir: std::path::absolute(self.out.unwrap_or_else(|| runs.join(name)))?,
            workload: self.workload,
            nemeses: self.nemesis,
            nodes: self.nodes,
            seconds: self.seconds,
            seed,
            rate: self.rate,
            ground: self.ground,
            profile: self.profile,
            workers: self.workers,
            binary: std::path::absolute(binary)?,
            environment: self.env,
            lying_disks: self.lying_disks,
        })
    }
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Doctor => say_what_is_missing(),
        Verb::Test(arguments) => arguments.cell().and_then(|cell| cell.run()).map(|results| tell(&results)),
        Verb::Smoke(arguments) => many::smoke(&arguments),
        Verb::Soak(arguments) => many::soak(&arguments),
        Verb::Check { dir } => check_again(&dir),
        Verb::Wgl { file } => checker::wgl::child(&file).map(|()| ExitCode::SUCCESS),
        Verb::Report { dir } => dir.map_or_else(runs_dir, Ok).and_then(|dir| report::write(&dir)).map(|path| {
            println!("{}", path.display());
            ExitCode::SUCCESS
        }),
        Verb::Ledger { dir } => dir.map_or_else(runs_dir, Ok).and_then(|dir| report::ledger(&dir)).map(|text| {
            print!("{text}");
            ExitCode::SUCCESS
        }),
        Verb::Sim { arguments } => sim::run(&arguments),
        Verb::Mutants(arguments) => mutants::run(&arguments),
        Verb::Clean => belongings::clean().map(|count| {
            println!("{count} things of runners that are gone were taken away");
            ExitCode::SUCCESS
        }),
    };
    done.unwrap_or_else(|error| {
        eprintln!("jepsen: {error:#}");
        ExitCode::from(3)
    })
}

fn say_what_is_missing() -> anyhow::Result<ExitCode> {
    let mut skipped = BTreeSet::new();
    for check in doctor::checks() {
        let missing = (check.missing)();
        let state = missing.as_deref().unwrap_or("there");
        println!("{:16} {:56} {state}", check.what, check.why);
        if missing.is_some() {
            let faults = doctor::skipped_without(check.what);
            println!("    skipped without it: {}", faults.join(", "));
            skipped.extend(faults);
        }
    }
    println!("faults: {}", nemesis::names().join(", "));
    println!("workloads: {}", workload::names().join(", "));
    if skipped.is_empty() {
        println!("all faults can be done here");
        return Ok(ExitCode::SUCCESS);
    }
    let (skipped, all) = (Vec::from_iter(skipped), nemesis::kinds().len());
    println!("{} of {all} faults will be skipped here: {}", skipped.len(), skipped.join(", "));
    Ok(ExitCode::FAILURE)
}

fn check_again(dir: &Path) -> anyhow::Result<ExitCode> {
    let verdicts = checker::again(dir)?;
    for verdict in &verdicts {
        println!("{:?} {}: {}", verdict.valid, verdict.checker, verdict.what);
    }
    Ok(match verdicts.iter().map(|verdict| verdict.valid).max() {
        Some(Validity::Valid) => ExitCode::SUCCESS,
        Some(Validity::Invalid) => ExitCode::FAILURE,
        _ => ExitCode::from(2),
    })
}

/// 0 for a run that held, 1 for one that did not, 2 for one that proved nothing.
fn tell(results: &Results) -> ExitCode {
    for verdict in &results.verdicts {
        println!("{:?} {}: {}", verdict.valid, verdict.checker, verdict.what);
    }
    for failure in &results.harness_failures {
        println!("{HARNESS_FAILURE}{failure}");
    }
    let ops: Vec<String> = results.ops.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    println!(
        "valid: {}; {}; {} a second were answered of {}; {:.1} s, of which checking {:.1} s",
        results.valid,
        ops.join(", "),
        results.answered_per_second,
        results.rate,
        results.seconds,
        results.check_seconds
    );
    match &results.valid {
        serde_json::Value::Bool(true) => ExitCode::SUCCESS,
        serde_json::Value::Bool(false) => ExitCode::FAILURE,
        _ => ExitCode::from(2),
    }
}
