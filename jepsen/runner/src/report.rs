//! `report/index.html`: one static page, without any network, that says what was tried and what held.
//!
//! All totals come from `ledger.jsonl`; runs whose directories are still there are shown in detail.

mod anomaly;
mod dates;
mod details;
mod matrix;
mod page;
pub mod runs;
mod timeline;
mod totals;
mod track_record;

pub use dates::day;

use anyhow::Context as _;
use runs::Ledger;
use std::fs;
use std::path::{Path, PathBuf};
use totals::Totals;

/// Runs shown in detail at most: those that did not hold first, then the newest.
const MOST_DETAILED: usize = 60;

/// What the ledger in `root` adds up to, for a terminal.
pub fn ledger(root: &Path) -> anyhow::Result<String> {
    Ok(Totals::of(&read(root)?).text())
}

/// Writes the page for the runs whose ledger lies in `root`, and returns where.
pub fn write(root: &Path) -> anyhow::Result<PathBuf> {
    let ledger = read(root)?;
    let detailed = runs::choose(&ledger.runs, MOST_DETAILED);
    let mutants = runs::read_mutants(&root.join("mutants/results.json"))?;
    let page = page::page(&ledger, &detailed, &mutants);
    let dir = root.join("report");
    fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
    let path = dir.join("index.html");
    fs::write(&path, page.into_string()).with_context(|| path.display().to_string())?;
    Ok(path)
}

fn read(root: &Path) -> anyhow::Result<Ledger> {
    let ledger = runs::read_ledger(&root.join("ledger.jsonl"))?;
    anyhow::ensure!(
        !ledger.runs.is_empty(),
        "{} has no runs yet; begin with `jepsen smoke`",
        root.display()
    );
    Ok(ledger)
}
