//! `jepsen mutants`: the test of the tests. Every deliberate defect of `jepsen/mutants.toml` is tried, and must be caught in
//! its time by what the file names; the same catchers must say nothing about the control, which is the same build without
//! a defect.

mod build;
mod kept;
mod list;

use crate::day;
use anyhow::{Context, ensure};
use build::Built;
use clap::Args;
use kept::Kept;
use list::{List, Mutant};
use quorate_model::mutants::NAMES;
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant, SystemTime};
use tokio::signal::unix::{SignalKind, signal};

/// Chooses the defect (crates/model/src/mutants.rs).
pub const VARIABLE: &str = "QUORATE_MUTANT";
const CONTROL: &str = "none";
/// Defects that no build has: the runner makes its nodes' disks so, and the product is the control.
const OF_DISKS: &[&str] = &["lying-fsync"];
/// A run is ended when it takes this much longer than it may: it is late in any case.
const GRACE: u32 = 2;
/// What a run that is interrupted may need to take down what it made.
const TEARDOWN: Duration = Duration::from_secs(30);

#[derive(Args)]
pub struct MutantArguments {
    /// These only, separated by commas.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Those that a cell of the runner catches, by that; needs root, and a minute for each.
    #[arg(long, conflicts_with = "rotating")]
    cells: bool,
    /// One that the simulation catches and one that a test catches, others each day, and no control: what a check of every change
    /// has time for.
    #[arg(long, conflicts_with = "only")]
    rotating: bool,
    /// With --rotating, those of this day: days since 1970 [default: today].
    #[arg(long, requires = "rotating")]
    day: Option<u64>,
    /// The list.
    #[arg(long, default_value = "jepsen/mutants.toml")]
    list: PathBuf,
    /// Do without the runs that must find nothing.
    #[arg(long)]
    no_control: bool,
    /// Where the table of this call, the results of all calls and the output of each run are left [default: target/jepsen/mutants].
    #[arg(long)]
    out: Option<PathBuf>,
}

/// What became of one run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Outcome {
    /// Of the defect; of a control, what all controls like it have.
    name: String,
    breaks: String,
    caught_by: String,
    within_seconds: u64,
    seconds: f64,
    caught: bool,
    /// The rule or test that said so, or why nothing did.
    how: String,
    /// Of the source it was tried in; empty in results of before it was kept.
    #[serde(default)]
    commit: String,
    /// Seconds since 1970; 0 in results of before it was kept.
    #[serde(default)]
    began: u64,
}

/// All defects there are, the product's own first.
pub fn names() -> impl Iterator<Item = &'static str> {
    NAMES.iter().chain(OF_DISKS).copied()
}

/// Tries them; the exit code says whether all were caught, and only they.
pub fn run(arguments: &MutantArguments) -> anyhow::Result<ExitCode> {
    let list = List::read(&arguments.list)?;
    let mutants = match (arguments.rotating, arguments.cells) {
        (true, _) => {
            let day = arguments.day.unwrap_or_else(day::today);
            println!(
                "the defects of {}; again: ./scripts/jepsen.sh mutants --rotating --day {day}",
                day::name(day)
            );
            list.of_the_day(day)
        }
        (false, true) => list.by_cells().select(&arguments.only)?,
        (false, false) => list.by_seeds_and_tests().select(&arguments.only)?,
    };
    let out = match &arguments.out {
        Some(out) => std::path::absolute(out)?,
        None => crate::runs_dir()?.join("mutants"),
    };
    std::fs::create_dir_all(&out)?;
    let mut kept = Kept::read(out.join("results.json"))?;
    let built = Built::make(&mutants, &out)?;
    let mut outcomes = Vec::new();
    for mutant in &mutants {
        let outcome = attempt(mutant, &mutant.name, &built, &out)?;
        println!("{}", line(&outcome));
        kept.keep_defect(outcome.clone())?;
        outcomes.push(outcome);
    }
    let mut controls = Vec::new();
    if !arguments.no_control && !arguments.rotating {
        // Each catcher once: several defects may have the same.
        let distinct: BTreeMap<String, &Mutant> = mutants.iter().map(|mutant| (mutant.catcher.control_name(), mutant)).collect();
        for mutant in distinct.values() {
            let outcome = attempt(mutant, CONTROL, &built, &out)?;
            println!(
                "control {}: {}",
                outcome.caught_by,
                if outcome.caught { outcome.how.as_str() } else { "finds nothing" }
            );
            kept.keep_control(outcome.clone())?;
            controls.push(outcome);
        }
    }
    std::fs::write(out.join("table.md"), table(&outcomes, &controls))?;
    let missed = outcomes.iter().filter(|outcome| !outcome.in_time()).count();
    let false_alarms = controls.iter().filter(|outcome| outcome.caught).count();
    println!(
        "{} of {} caught in time, {false_alarms} of {} controls raised an alarm; so far {} of {} defects were tried; {}",
        outcomes.len() - missed,
        outcomes.len(),
        controls.len(),
        kept.tried(),
        names().count(),
        out.join("table.md").display()
    );
    Ok(if missed + false_alarms == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

impl Outcome {
    fn in_time(&self) -> bool {
        self.caught && self.seconds <= self.within_seconds as f64
    }
}

/// Runs one catcher against one defect, or against none.
fn attempt(mutant: &Mutant, chosen: &str, built: &Built, out: &Path) -> anyhow::Result<Outcome> {
    let name = match chosen {
        CONTROL => format!("control-{}", mutant.catcher.control_name()),
        _ => mutant.run_name(),
    };
    let dir = out.join(&name);
    drop(std::fs::remove_dir_all(&dir));
    std::fs::create_dir_all(&dir)?;
    let said = dir.join("output.txt");
    let catcher = match chosen {
        CONTROL => mutant.catcher.control(),
        _ => mutant.catcher.clone(),
    };
    // A build with defects refuses a name it does not know, and these disks are under a product without one.
    let of_product = if mutant.is_of_disks() { CONTROL } else { chosen };
    let mut command = built.command(&catcher, of_product, &dir)?;
    let file = std::fs::File::create(&said)?;
    command
        .env(VARIABLE, of_product)
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file);
    let (began, since_1970) = (Instant::now(), SystemTime::now().duration_since(SystemTime::UNIX_EPOCH));
    // A control runs to its end.
    let patience = match chosen {
        CONTROL => Duration::from_secs(3_600),
        _ => GRACE * Duration::from_secs(mutant.within_seconds),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let described = format!("{name}: {command:?}");
    let code = runtime.block_on(wait(command, patience)).context(described)?;
    let text = String::from_utf8_lossy(&std::fs::read(&said)?).into_owned();
    let how = match code {
        Some(code) => catcher.verdict(code, &text),
        None => Err(format!("no verdict within {} s", patience.as_secs())),
    };
    // Who could not judge has not caught anything; a control that could not be judged has not passed either.
    if let (Err(why), CONTROL) = (&how, chosen) {
        ensure!(why == list::NOTHING, "{name}: {why}, see {}", said.display());
    }
    Ok(Outcome {
        name: match chosen {
            CONTROL => mutant.catcher.control_name(),
            _ => mutant.name.clone(),
        },
        breaks: mutant.breaks.clone(),
        caught_by: mutant.catcher.to_string(),
        within_seconds: mutant.within_seconds,
        seconds: began.elapsed().as_secs_f64(),
        caught: how.is_ok(),
        how: how.unwrap_or_else(|why| why),
        commit: crate::cell::commit(),
        began: since_1970.map_or(0, |since| since.as_secs()),
    })
}

/// The exit code; `None` if it had to be ended. It has a group of its own, so that what it has started ends with it; Ctrl-C is handed on.
async fn wait(command: Command, patience: Duration) -> anyhow::Result<Option<i32>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut child = tokio::process::Command::from(command).process_group(0).spawn()?;
    let group = child.id().and_then(|id| Pid::from_raw(id.cast_signed()));
    let end = |how| group.map_or(Ok(()), |group| kill_process_group(group, how));
    let is_interrupted = tokio::select! {
        status = child.wait() => {
            let status = status?;
            return Ok(Some(status.code().unwrap_or(128 + status.signal().unwrap_or(0))));
        }
        () = tokio::time::sleep(patience) => false,
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
    };
    if is_interrupted {
        // A cell takes its network and its disks down.
        end(Signal::INT)?;
        let _ = tokio::time::timeout(TEARDOWN, child.wait()).await;
    }
    // Its members may outlive it.
    let _ = end(Signal::KILL);
    child.wait().await?;
    ensure!(!is_interrupted, "interrupted");
    Ok(None)
}

fn line(outcome: &Outcome) -> String {
    let mark = match (outcome.caught, outcome.in_time()) {
        (true, true) => "caught",
        (true, false) => "LATE",
        _ => "MISSED",
    };
    format!(
        "{mark:7} {:34} {:6.1} s of {:4}  {}",
        outcome.name, outcome.seconds, outcome.within_seconds, outcome.how
    )
}

/// For the README.
fn table(outcomes: &[Outcome], controls: &[Outcome]) -> String {
    let mut text = "| defect | what it breaks | caught by | seconds | at most |\n|---|---|---|---|---|\n".to_owned();
    for outcome in outcomes {
        let seconds = if outcome.caught {
            format!("{:.1}", outcome.seconds)
        } else {
            "not caught".to_owned()
        };
        let _ = writeln!(
            text,
            "| `{}` | {} | {}: {} | {seconds} | {} |",
            outcome.name,
            outcome.breaks,
            outcome.caught_by,
            outcome.how.replace('|', "/"),
            outcome.within_seconds
        );
    }
    for control in controls.iter().filter(|control| control.caught) {
        let _ = writeln!(
            text,
            "| no defect | | {}: {} | {:.1} | |",
            control.caught_by, control.how, control.seconds
        );
    }
    let silent = controls.iter().filter(|control| !control.caught);
    let seconds: f64 = silent.clone().map(|control| control.seconds).sum();
    let _ = writeln!(text, "| no defect | | {} catchers find nothing | {seconds:.1} | |", silent.count());
    text
}
