//! `jepsen sim`: the simulation, which is a program of its own because it takes the place of functions of libc. What it came to
//! gets a line in the ledger.

use crate::{cell, ledger, mutants, runs_dir};
use anyhow::{Context, bail};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::SystemTime;

/// Runs `quorate-sim`, which lies beside this program.
pub fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let own = std::env::current_exe().context("the path of this program")?;
    let program = own.with_file_name("quorate-sim");
    if !program.exists() {
        bail!("{} is absent; cargo build -p quorate-sim", program.display());
    }
    let runs = runs_dir()?;
    std::fs::create_dir_all(&runs).with_context(|| runs.display().to_string())?;
    let summary = runs.join(format!("simulation-{}.json", std::process::id()));
    let began = SystemTime::now();
    let status = Command::new(program).args(arguments).arg("--summary").arg(&summary).status()?;
    // Who asked for help has run no seed; and what a deliberate defect breaks says nothing about the product.
    if let Ok(text) = std::fs::read(&summary) {
        std::fs::remove_file(&summary)?;
        if std::env::var_os(mutants::VARIABLE).is_none() {
            ledger::append_simulation(&ledger_of(&runs), line(&text, began)?)?;
        }
    }
    Ok(ExitCode::from(status.code().map_or(1, |code| code.clamp(0, 255) as u8)))
}

/// The ledger of all runs.
fn ledger_of(runs: &Path) -> std::path::PathBuf {
    ledger::path(&runs.join("simulation"))
}

/// The ledger's line: the summary, but of broken seeds their numbers only, since their traces are kept.
fn line(summary: &[u8], began: SystemTime) -> anyhow::Result<Json> {
    let mut line: Json = serde_json::from_slice(summary).context("the summary of the simulation")?;
    let broken: Vec<Json> = line["broken"].as_array().into_iter().flatten().map(|one| one[0].clone()).collect();
    line["broken"] = json!(broken);
    line["began"] = json!(began.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs()));
    line["commit"] = json!(cell::commit());
    Ok(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_names_the_seeds_that_broke() {
        let summary = json!({"from": 5, "seeds": 3, "broken": [[6, {"rule": "one history", "what": "long"}]]}).to_string();
        let line = line(summary.as_bytes(), SystemTime::now()).expect("a line");
        assert_eq!(
            (&line["from"], &line["seeds"], &line["broken"]),
            (&json!(5), &json!(3), &json!([6]))
        );
    }
}
