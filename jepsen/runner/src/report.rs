//! `report/index.html`: one static page, without any network, that says what was tried and what held.
//!
//! All totals come from `ledger.jsonl`; runs whose directories are still there are shown in detail.

mod dates;
mod details;
mod matrix;
mod page;
pub mod runs;
mod timeline;

use anyhow::Context as _;
use std::fs;
use std::path::{Path, PathBuf};

/// Runs shown in detail at most: those that did not hold first, then the newest.
const MOST_DETAILED: usize = 60;

/// Writes the page for the runs whose ledger lies in `root`, and returns where.
pub fn write(root: &Path) -> anyhow::Result<PathBuf> {
    let ledger = runs::read_ledger(&root.join("ledger.jsonl"))?;
    anyhow::ensure!(
        !ledger.runs.is_empty(),
        "{} has no runs yet; begin with `jepsen smoke`",
        root.display()
    );
    let detailed = runs::choose(&ledger.runs, MOST_DETAILED);
    let mutants = runs::read_mutants(&root.join("mutants/results.json"))?;
    let page = page::page(&ledger, &detailed, &mutants);
    let dir = root.join("report");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let path = dir.join("index.html");
    fs::write(&path, page.into_string()).with_context(|| path.display().to_string())?;
    Ok(path)
}
