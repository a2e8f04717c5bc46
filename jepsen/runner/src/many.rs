//! Runs of several cells: `jepsen smoke`, the fixed ones of the matrix and those of the day, and `jepsen soak`, for hours random
//! ones or one pair of a workload and a fault after the other. Each cell is a process of its own, so that none can harm the next.

use crate::day;
use crate::doctor;
use crate::field::{Ground, belongings};
use crate::ledger;
use crate::matrix::{Matrix, MatrixCell, Pairs};
use crate::nemesis;
use crate::report::runs::read_ledger;
use crate::seeded::Random;
use anyhow::Context;
use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};
use tokio::signal::unix::{SignalKind, signal};

#[derive(Args, Clone)]
pub struct ManyArguments {
    /// Directory of the runs and of ledger.jsonl [default: target/jepsen].
    #[arg(long)]
    out: Option<PathBuf>,
    /// The server under test [default: quorate beside this program].
    #[arg(long)]
    binary: Option<PathBuf>,
    /// File with the cells [default: the matrix this program was built with].
    #[arg(long)]
    matrix: Option<PathBuf>,
    /// Decides everything that is random; drawn when absent.
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Args, Clone)]
pub struct SmokeArguments {
    /// Decides which cells are run besides the fixed ones: days since 1970 [default: today].
    #[arg(long)]
    day: Option<u64>,
    #[command(flatten)]
    many: ManyArguments,
}

#[derive(Args, Clone)]
pub struct SoakArguments {
    #[arg(long)]
    hours: f64,
    /// Every workload with every fault, one fault a cell, those first that have the fewest runs in the ledger.
    #[arg(long)]
    systematic: bool,
    #[command(flatten)]
    many: ManyArguments,
}

/// What a cell came to.
struct Outcome {
    title: String,
    /// `true`, `false`, `"unknown"`; null when there are no results.
    valid: Json,
    what: String,
}

/// The fixed cells and those of the day, once.
pub fn smoke(arguments: &SmokeArguments) -> anyhow::Result<ExitCode> {
    let SmokeArguments { day, many } = arguments;
    let matrix = Matrix::read(many.matrix.as_deref())?;
    let (day, seed) = (day.unwrap_or_else(day::today), many.seed.unwrap_or_else(drawn_seed));
    println!(
        "the fixed cells and those of {}; again: ./scripts/jepsen.sh smoke --day {day} --seed {seed}",
        day::name(day)
    );
    let mut skipped = Vec::new();
    let mut cells = Vec::new();
    let ground = match doctor::missing_for_ground(Ground::Namespaces) {
        missing if missing.is_empty() => Ground::Namespaces,
        missing => {
            skipped.push(format!("networks and disks of their own: {}", missing.join("; ")));
            Ground::Processes
        }
    };
    for mut cell in matrix.smoke_of(day) {
        cell.nemeses.retain(|spec| match can_be_done(spec, cell.nodes, ground) {
            Ok(()) => true,
            Err(why) => {
                skipped.push(format!("{spec} with {}: {why}", cell.workload));
                false
            }
        });
        cells.push(cell);
    }
    for what in &skipped {
        eprintln!("SKIPPED, NOT TESTED HERE: {what}");
    }
    let mut seeds = Random::new(seed);
    let cells = cells.into_iter().map(|cell| (cell, seeds.below(1_000_000_007)));
    run(cells, many, ground, "smoke")
}

/// Cells until so many hours are over.
pub fn soak(arguments: &SoakArguments) -> anyhow::Result<ExitCode> {
    let SoakArguments { hours, systematic, many } = arguments;
    let missing = doctor::missing_for_ground(Ground::Namespaces);
    anyhow::ensure!(
        missing.is_empty(),
        "a soak needs networks and disks of its own: {}",
        missing.join("; ")
    );
    let mut matrix = Matrix::read(many.matrix.as_deref())?;
    matrix.soak.faults.retain(|name| match can_be_done(name, 7, Ground::Namespaces) {
        Ok(()) => true,
        Err(why) => {
            eprintln!("SKIPPED, NOT TESTED HERE: {name}: {why}");
            false
        }
    });
    anyhow::ensure!(!matrix.soak.faults.is_empty(), "no fault can be done here");
    let mut random = Random::new(many.seed.unwrap_or_else(drawn_seed));
    let mut runs = runs_so_far(&ledger::path(&out_dir(many)?.join("run")))?;
    let end = Instant::now() + Duration::from_secs_f64(hours * 3_600.0);
    let cells = std::iter::from_fn(|| {
        if Instant::now() >= end {
            return None;
        }
        let cell = match systematic {
            true => matrix.soak.least_run(&mut runs, &mut random)?,
            false => matrix.soak.draw(&mut random),
        };
        Some((cell, random.below(1_000_000_007)))
    });
    run(cells, many, Ground::Namespaces, "soak")
}

/// How often each pair is in the ledger; a run with several faults counts for each of them.
fn runs_so_far(ledger: &Path) -> anyhow::Result<Pairs> {
    let mut runs = Pairs::new();
    if !ledger.exists() {
        return Ok(runs);
    }
    for line in read_ledger(ledger)?.runs {
        for fault in line.fault_names() {
            *runs.entry((line.workload.clone(), fault.to_owned())).or_default() += 1;
        }
    }
    Ok(runs)
}

/// Where the runs lie.
fn out_dir(arguments: &ManyArguments) -> anyhow::Result<PathBuf> {
    let out = arguments.out.clone().map_or_else(crate::runs_dir, Ok)?;
    Ok(std::path::absolute(out)?)
}

fn drawn_seed() -> u64 {
    let since = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    since.as_nanos() as u64 % 1_000_000_007
}

fn can_be_done(spec: &str, nodes: usize, ground: Ground) -> Result<(), String> {
    let chosen = nemesis::by_name(spec, nodes).map_err(|error| error.to_string())?;
    match doctor::missing_for(&chosen, ground) {
        missing if missing.is_empty() => Ok(()),
        missing => Err(missing.join("; ")),
    }
}

fn run(cells: impl Iterator<Item = (MatrixCell, u64)>, arguments: &ManyArguments, ground: Ground, name: &str) -> anyhow::Result<ExitCode> {
    belongings::clean().context("what an earlier run left cannot be taken away")?;
    let own = std::env::current_exe()?;
    let out = out_dir(arguments)?;
    std::fs::create_dir_all(&out)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let began = Instant::now();
    let (mut outcomes, mut interrupted) = (Vec::new(), false);
    for (number, (cell, seed)) in cells.enumerate() {
        let dir = out.join(format!("{name}-{}-{}-{seed}", started_at(), cell.workload));
        let (outcome, ended) = runtime.block_on(run_cell(&own, arguments, ground, &cell, seed, &dir))?;
        println!(
            "{:3}  {:9}  {}  {}",
            number + 1,
            outcome.valid.to_string(),
            outcome.title,
            outcome.what
        );
        println!("     again: ./scripts/jepsen.sh {}", test_arguments(&cell, seed, ground).join(" "));
        outcomes.push(outcome);
        interrupted = ended;
        if interrupted {
            break;
        }
    }
    // A cell that was killed could not do it, and there may be no next one.
    if let Err(error) = belongings::clean() {
        eprintln!("jepsen: {error:#}; run `jepsen clean`");
    }
    Ok(summary(&outcomes, interrupted, began.elapsed()))
}

fn started_at() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

fn summary(outcomes: &[Outcome], interrupted: bool, took: Duration) -> ExitCode {
    let held = outcomes.iter().filter(|outcome| outcome.valid == Json::Bool(true)).count();
    let broken = outcomes.iter().filter(|outcome| outcome.valid == Json::Bool(false)).count();
    let unknown = outcomes.len() - held - broken;
    println!(
        "{} cells in {} s: {held} held, {broken} did not, {unknown} proved nothing{}",
        outcomes.len(),
        took.as_secs(),
        if interrupted { "; interrupted" } else { "" }
    );
    match (broken, unknown, interrupted) {
        (0, 0, false) if held > 0 => ExitCode::SUCCESS,
        (0, ..) => ExitCode::from(2),
        _ => ExitCode::FAILURE,
    }
}

/// What makes a cell anew, by itself.
fn test_arguments(cell: &MatrixCell, seed: u64, ground: Ground) -> Vec<String> {
    let mut arguments = vec!["test".to_owned(), "--workload".to_owned(), cell.workload.clone()];
    if !cell.nemeses.is_empty() {
        arguments.extend(["--nemesis".to_owned(), cell.nemeses.join(",")]);
    }
    let numbers = [
        ("--nodes", cell.nodes as u64),
        ("--seconds", cell.seconds),
        ("--seed", seed),
        ("--rate", cell.rate),
        ("--workers", cell.workers as u64),
    ];
    arguments.extend(numbers.into_iter().flat_map(|(flag, number)| [flag.to_owned(), number.to_string()]));
    let words = ["--profile", &cell.profile, "--ground", ground.name()];
    arguments.extend(words.map(str::to_owned));
    arguments
}

/// Runs one cell; whether somebody asked for the end meanwhile.
async fn run_cell(
    own: &Path,
    arguments: &ManyArguments,
    ground: Ground,
    cell: &MatrixCell,
    seed: u64,
    dir: &Path,
) -> anyhow::Result<(Outcome, bool)> {
    let mut command = tokio::process::Command::new(own);
    command.args(test_arguments(cell, seed, ground)).arg("--out").arg(dir);
    if let Some(binary) = &arguments.binary {
        command.arg("--binary").arg(binary);
    }
    let log_path = dir.with_extension("log");
    let log = std::fs::File::create(&log_path).with_context(|| log_path.display().to_string())?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    // Ctrl-C is handed on, once.
    command.process_group(0);
    let mut child = command.spawn()?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut interrupted = false;
    loop {
        tokio::select! {
            status = child.wait() => {
                let status = status?;
                let outcome = read_outcome(cell, seed, dir, &log_path, status.code());
                return Ok((outcome, interrupted));
            }
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        interrupted = true;
        if let Some(pid) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            let _ = kill_process(pid, Signal::INT);
        }
    }
}

fn read_outcome(cell: &MatrixCell, seed: u64, dir: &Path, log: &Path, code: Option<i32>) -> Outcome {
    let title = format!(
        "{} x {} on {} nodes, seed {seed}",
        cell.workload,
        cell.nemeses.join("+"),
        cell.nodes
    );
    let text = std::fs::read_to_string(dir.join("results.json")).unwrap_or_default();
    let results: Json = serde_json::from_str(&text).unwrap_or_default();
    let what = match results["valid"] {
        Json::Null => {
            let said = std::fs::read_to_string(log).unwrap_or_default();
            format!("no results, exit code {code:?}: {}", said.lines().last().unwrap_or_default())
        }
        Json::Bool(true) => held(&results),
        _ => format!("see {}", dir.display()),
    };
    Outcome {
        title,
        valid: results["valid"].clone(),
        what,
    }
}

/// A run that held, in figures.
fn held(results: &Json) -> String {
    let seconds = |name: &str| results[name].as_f64().unwrap_or(0.0);
    format!(
        "{} ok, {} a second were answered, {:.0} s, of which checking {:.1} s",
        results["ops"]["ok"],
        results["answered_per_second"],
        seconds("seconds"),
        seconds("check_seconds")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        test: crate::TestArguments,
    }

    #[test]
    fn what_is_printed_makes_the_same_cell_again() {
        let matrix = Matrix::read(None).expect("the built-in file is right");
        for cell in matrix.smoke_of(20_000) {
            let line = test_arguments(&cell, 7, Ground::Namespaces);
            assert!(
                line.iter().all(|word| !word.contains(char::is_whitespace)),
                "a shell takes it as it is: {line:?}"
            );
            let again = Line::parse_from(line).test;
            assert_eq!((again.workload, again.nemesis), (cell.workload, cell.nemeses));
            assert_eq!((again.nodes, again.seconds, again.rate), (cell.nodes, cell.seconds, cell.rate));
            assert_eq!((again.seed, again.workers, again.profile), (Some(7), cell.workers, cell.profile));
        }
    }
}
