//! `ledger.jsonl`: one line per run, and per call of the simulation, only ever appended to; all totals come from it.

use crate::cell::Results;
use serde_json::{Value as Json, json};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The ledger beside a run's directory, or where `QUORATE_JEPSEN_LEDGER` says.
pub fn path(dir: &Path) -> PathBuf {
    let said = std::env::var_os("QUORATE_JEPSEN_LEDGER").map(PathBuf::from);
    said.unwrap_or_else(|| dir.parent().unwrap_or(dir).join("ledger.jsonl"))
}

pub fn append(dir: &Path, results: &Results) -> anyhow::Result<()> {
    let faults: serde_json::Map<_, _> = results
        .faults
        .iter()
        .map(|(name, count)| {
            (
                name.clone(),
                json!({"installed": count.installed, "skipped": count.skipped, "indeterminate": count.indeterminate, "modes": count.modes}),
            )
        })
        .collect();
    let verdicts: serde_json::Map<_, _> = results
        .verdicts
        .iter()
        .map(|verdict| (verdict.checker.clone(), json!(verdict.valid)))
        .collect();
    let line = json!({
        "began": results.began, "seconds": results.seconds, "valid": results.valid, "workload": results.workload,
        "nemeses": results.nemeses, "nodes": results.nodes, "seed": results.seed, "commit": results.commit,
        "ops": results.ops, "answered_per_second": results.answered_per_second, "faults": faults, "verdicts": verdicts,
        "harness_failures": results.harness_failures.len(), "dir": dir,
    });
    write(&path(dir), &line)
}

/// Appends a call of the simulation, under a name that no run has.
pub fn append_simulation(ledger: &Path, simulation: Json) -> anyhow::Result<()> {
    write(ledger, &json!({"simulation": simulation}))
}

fn write(ledger: &Path, line: &Json) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().create(true).append(true).open(ledger)?;
    // One write, so that lines of runs that end together do not mix.
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}
