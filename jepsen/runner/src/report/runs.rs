//! What the page is made of: the ledger's lines, and the directories of runs.

use crate::cell::Results;
use crate::history::{self, Op};
use anyhow::Context as _;
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// How often a fault was there, as the ledger has it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Faults {
    pub installed: u64,
    pub skipped: u64,
    pub indeterminate: u64,
    /// Installed, by mode.
    pub modes: BTreeMap<String, u64>,
}

impl Faults {
    pub fn add(&mut self, other: &Faults) {
        self.installed += other.installed;
        self.skipped += other.skipped;
        self.indeterminate += other.indeterminate;
        for (mode, count) in &other.modes {
            *self.modes.entry(mode.clone()).or_default() += count;
        }
    }

    /// `5 all, 3 one`.
    pub fn by_mode(&self) -> String {
        let modes: Vec<String> = self.modes.iter().map(|(mode, count)| format!("{count} {mode}")).collect();
        modes.join(", ")
    }
}

/// One run, as the ledger has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Line {
    /// Seconds since 1970.
    pub began: u64,
    pub seconds: f64,
    /// `true`, `false` or `"unknown"`.
    pub valid: Json,
    pub workload: String,
    #[serde(default)]
    pub nemeses: Vec<String>,
    pub nodes: usize,
    pub seed: u64,
    #[serde(default)]
    pub commit: String,
    #[serde(default)]
    pub ops: BTreeMap<String, u64>,
    #[serde(default)]
    pub faults: BTreeMap<String, Faults>,
    pub dir: PathBuf,
}

/// One call of the simulation, as the ledger has it.
#[derive(Clone, Debug, Deserialize)]
pub struct Simulation {
    /// The first seed, and how many there were.
    pub from: u64,
    pub seeds: u64,
    #[serde(default)]
    pub broken: Vec<u64>,
}

/// All that was ever tried, oldest first.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    pub runs: Vec<Line>,
    pub simulations: Vec<Simulation>,
}

/// What a run came to, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ending {
    Held,
    Unknown,
    Broken,
}

impl Ending {
    pub fn of(valid: &Json) -> Ending {
        match valid {
            Json::Bool(true) => Ending::Held,
            Json::Bool(false) => Ending::Broken,
            _ => Ending::Unknown,
        }
    }

    /// The word and sign by which it is shown; colour alone would not do for everybody.
    pub fn shown(self) -> (&'static str, &'static str) {
        match self {
            Ending::Held => ("held", "\u{2713} held"),
            Ending::Unknown => ("unknown", "? unknown"),
            Ending::Broken => ("broken", "\u{2717} broken"),
        }
    }
}

impl Line {
    pub fn ending(&self) -> Ending {
        Ending::of(&self.valid)
    }

    /// Where the page shows this run.
    pub fn anchor(&self) -> String {
        format!("run-{}-{}-{}", self.began, self.workload, self.seed)
    }

    /// Names of the faults, without their modes.
    pub fn fault_names(&self) -> Vec<&str> {
        let names = self.nemeses.iter().map(|nemesis| nemesis.split(':').next().unwrap_or(nemesis));
        match self.nemeses.is_empty() {
            true => vec!["none"],
            false => names.collect(),
        }
    }
}

/// A run whose directory is still there.
pub struct Run {
    pub line: Line,
    pub results: Results,
    pub history: Vec<Op>,
    /// Who led in which term from which nanosecond on.
    pub leaders: Vec<LeaderChange>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaderChange {
    pub time: u64,
    pub term: u64,
    pub node: String,
}

/// A deliberate defect and how long the suite took to find it.
#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    pub name: String,
    #[serde(default)]
    pub breaks: String,
    #[serde(default)]
    pub caught_by: String,
    #[serde(default)]
    pub within_seconds: f64,
    #[serde(default)]
    pub seconds: Option<f64>,
    pub caught: bool,
    /// Of the source it was tried in.
    #[serde(default)]
    pub commit: String,
    /// Seconds since 1970; 0 if nobody noted it.
    #[serde(default)]
    pub began: u64,
}

impl Mutant {
    pub fn is_in_time(&self) -> bool {
        self.caught && self.seconds.is_none_or(|seconds| seconds <= self.within_seconds)
    }
}

/// A line is of a run, unless it says that it is of the simulation. A last line that a crash cut off is left out.
pub fn read_ledger(path: &Path) -> anyhow::Result<Ledger> {
    let text = fs::read_to_string(path).with_context(|| format!("{}: no run was made here yet", path.display()))?;
    let mut ledger = Ledger::default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    for (number, text) in (1..).zip(whole.lines()) {
        let place = || format!("{}:{number}", path.display());
        let mut line: Json = serde_json::from_str(text).with_context(place)?;
        match line.get_mut("simulation").map(Json::take) {
            None => ledger.runs.push(serde_json::from_value(line).with_context(place)?),
            Some(simulation) => ledger.simulations.push(serde_json::from_value(simulation).with_context(place)?),
        }
    }
    Ok(ledger)
}

/// What `jepsen mutants` has left: the defects, and its controls. None if nobody has tried it yet.
pub fn read_mutants(path: &Path) -> anyhow::Result<Vec<Mutant>> {
    match fs::read(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        read => {
            let (mutants, _): (Vec<Mutant>, Vec<Json>) = serde_json::from_slice(&read?).with_context(|| path.display().to_string())?;
            Ok(mutants)
        }
    }
}

/// Those that did not hold, then the newest; of those whose directory is gone only the ledger's line is left.
pub fn choose(lines: &[Line], most: usize) -> Vec<Run> {
    let mut ordered: Vec<&Line> = lines.iter().rev().collect();
    ordered.sort_by_key(|line| line.ending() == Ending::Held);
    let mut chosen: Vec<Run> = ordered.into_iter().filter_map(|line| read_run(line).ok()).take(most).collect();
    chosen.sort_by_key(|run| std::cmp::Reverse((run.line.ending(), run.line.began)));
    chosen
}

fn read_run(line: &Line) -> anyhow::Result<Run> {
    let results: Results = serde_json::from_slice(&fs::read(line.dir.join("results.json"))?)?;
    anyhow::ensure!(results.began == line.began, "another run has taken its directory");
    Ok(Run {
        results,
        history: history::read(&line.dir)?,
        leaders: read_leaders(&line.dir.join("nodes.jsonl")),
        line: line.clone(),
    })
}

/// A look at the nodes, as the runner wrote it.
#[derive(Deserialize)]
struct Look {
    time: u64,
    nodes: Vec<LookedAt>,
}

#[derive(Deserialize)]
struct LookedAt {
    node: String,
    peer: Option<u64>,
    leader: Option<u64>,
    term: Option<u64>,
}

/// A peer that says it leads itself, in a term nobody led before.
fn read_leaders(path: &Path) -> Vec<LeaderChange> {
    let mut changes: Vec<LeaderChange> = Vec::new();
    for line in fs::read_to_string(path).unwrap_or_default().lines() {
        let Ok(look) = serde_json::from_str::<Look>(line) else { continue };
        for node in look.nodes {
            let (Some(peer), Some(leader), Some(term)) = (node.peer, node.leader, node.term) else {
                continue;
            };
            let newer = changes.last().is_none_or(|last| last.term < term);
            if peer == leader && newer {
                changes.push(LeaderChange {
                    time: look.time,
                    term,
                    node: node.node,
                });
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_torn_last_line_is_left_out_and_a_bad_one_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("ledger.jsonl");
        let line = r#"{"began":1,"seconds":2.5,"valid":"unknown","workload":"set","nodes":3,"seed":4,"dir":"/gone"}"#;
        let simulation = r#"{"simulation":{"from":1,"seeds":60,"broken":[7],"seconds":9.5}}"#;
        fs::write(&path, format!("{line}\n{simulation}\n{}", &line[..20])).expect("written");
        let Ledger { runs: lines, simulations } = read_ledger(&path).expect("two whole lines");
        assert_eq!(
            (simulations.len(), simulations[0].seeds, &simulations[0].broken[..]),
            (1, 60, &[7][..])
        );
        assert_eq!((lines.len(), lines[0].ending()), (1, Ending::Unknown));
        assert_eq!(lines[0].fault_names(), ["none"]);
        fs::write(&path, format!("{line}\nnonsense\n")).expect("written");
        let error = format!("{:#}", read_ledger(&path).expect_err("not JSON"));
        assert!(error.contains("ledger.jsonl:2"), "{error}");
    }

    #[test]
    fn a_leader_counts_once_per_term_and_only_by_its_own_word() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("nodes.jsonl");
        let look = |time: u64, nodes: &str| format!(r#"{{"time":{time},"nodes":[{nodes}]}}"#);
        let says = |node: &str, peer: u64, leader: u64, term: u64| {
            format!(r#"{{"node":"{node}","peer":{peer},"leader":{leader},"term":{term},"runs":true}}"#)
        };
        let looks = [
            look(1, &says("n2", 2, 1, 4)),
            look(2, &says("n1", 1, 1, 4)),
            look(3, &says("n1", 1, 1, 4)),
            look(4, &format!("{},{}", says("n1", 1, 1, 4), says("n2", 2, 2, 6))),
        ];
        fs::write(&path, looks.join("\n")).expect("written");
        let led: Vec<(u64, u64)> = read_leaders(&path).iter().map(|change| (change.time, change.term)).collect();
        assert_eq!(led, [(2, 4), (4, 6)]);
    }
}
