//! Checkers. Each reads a history, and what else a run left in its directory, and says valid, invalid or unknown.

pub mod agreement;
pub mod availability;
pub mod completions;
pub mod copies;
pub mod coverage;
pub mod cycles;
pub mod elections;
pub mod fates;
pub mod final_ops;
pub mod graph;
pub mod growth;
pub mod lifecycle;
mod runner;
pub mod session_reads;
pub mod set_full;
pub mod topology;
pub mod walks;
pub mod well_formed;
pub mod wgl;
pub mod windows;
pub mod witness;

use crate::history::{self, Op};
use crate::probes;
use crate::verdict::Verdict;
use crate::workload;
use anyhow::Context as _;
use fates::Fates;
use serde::Deserialize;
use std::path::Path;

/// What a run was asked for, as far as checkers need it; a part of `cell.json`.
#[derive(Clone, Debug, Deserialize)]
pub struct Asked {
    pub workload: String,
    #[serde(default)]
    pub nemeses: Vec<String>,
    pub nodes: usize,
    /// Length of the main phase.
    pub seconds: u64,
    /// Answered operations a second, on average.
    pub rate: u64,
    /// Timing of elections: `lan` or `wan`.
    #[serde(default = "default_profile")]
    pub profile: String,
    /// The load goes on for so long after the last fault that the bound on recovery is asked; 0 in runs of before it did.
    #[serde(default)]
    pub recovery_asked_ms: u64,
    /// Every node was probed all the time; not in runs of before that.
    #[serde(default)]
    pub probed: bool,
}

/// Of runs that did not write it down.
fn default_profile() -> String {
    "wan".to_owned()
}

impl Asked {
    /// Of a run of half a minute that a test makes up.
    #[cfg(test)]
    pub fn by_hand(nemeses: &[&str]) -> Asked {
        Asked {
            workload: "register".to_owned(),
            nemeses: nemeses.iter().map(|nemesis| (*nemesis).to_owned()).collect(),
            nodes: 3,
            seconds: 30,
            rate: 10,
            profile: "wan".to_owned(),
            recovery_asked_ms: 0,
            probed: false,
        }
    }

    pub fn read(dir: &Path) -> anyhow::Result<Asked> {
        let path = dir.join("cell.json");
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    /// Whether a nemesis was asked for, with whatever modes.
    pub fn has(&self, nemesis: &str) -> bool {
        self.nemeses.iter().any(|asked| asked.split(':').next() == Some(nemesis))
    }
}

/// The checkers that every workload has.
pub fn common(history: &[Op], dir: &Path) -> Vec<Verdict> {
    let asked = match Asked::read(dir) {
        Ok(asked) => asked,
        Err(error) => return vec![Verdict::unknown("asked", format!("{error:#}"))],
    };
    let fates = Fates::read(dir);
    let fates = fates.as_ref().map_err(String::as_str);
    vec![
        well_formed::check(history),
        agreement::check_audit(history, fates),
        agreement::check_digests(dir, &asked),
        availability::check(history, probes::read(dir), &asked),
        elections::check(history),
        coverage::check(history, &asked, fates),
        growth::check(dir),
        final_ops::check(history, &asked),
    ]
}

/// Asks all checkers again, from a run's directory alone, and what the runner saw as far as that is kept there.
pub fn again(dir: &Path) -> anyhow::Result<Vec<Verdict>> {
    let history = history::read(dir)?;
    let asked = Asked::read(dir)?;
    let workload = workload::by_name(&asked.workload).with_context(|| format!("there is no workload {:?}", asked.workload))?;
    let seen = runner::again(&history, &asked, dir);
    Ok([seen, common(&history, dir), workload.check(&history, dir)].concat())
}
