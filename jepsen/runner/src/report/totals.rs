//! Everything the ledger adds up to.

use super::runs::{Ending, Faults, Ledger};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

#[derive(Debug, Default, PartialEq)]
pub struct Totals {
    pub runs: usize,
    pub held: usize,
    pub unknown: usize,
    pub broken: usize,
    pub seconds: f64,
    pub operations: u64,
    pub faults: u64,
    /// By kind of fault.
    pub classes: BTreeMap<String, Faults>,
    /// Of runs.
    pub seeds: usize,
    /// Of the simulation, each once however often it was run.
    pub simulated_seeds: usize,
    pub broken_seeds: usize,
    pub commits: usize,
}

impl Totals {
    pub fn of(ledger: &Ledger) -> Totals {
        let Ledger { runs: lines, simulations } = ledger;
        let count = |ending| lines.iter().filter(|line| line.ending() == ending).count();
        let mut classes: BTreeMap<String, Faults> = BTreeMap::new();
        for (name, faults) in lines.iter().flat_map(|line| &line.faults) {
            classes.entry(name.clone()).or_default().add(faults);
        }
        Totals {
            runs: lines.len(),
            held: count(Ending::Held),
            unknown: count(Ending::Unknown),
            broken: count(Ending::Broken),
            seconds: lines.iter().map(|line| line.seconds).sum(),
            operations: lines.iter().flat_map(|line| line.ops.values()).sum(),
            faults: classes.values().map(|faults| faults.installed).sum(),
            classes,
            seeds: lines.iter().map(|line| line.seed).collect::<BTreeSet<_>>().len(),
            simulated_seeds: simulations
                .iter()
                .flat_map(|one| one.from..one.from + one.seeds)
                .collect::<BTreeSet<_>>()
                .len(),
            broken_seeds: simulations.iter().flat_map(|one| &one.broken).collect::<BTreeSet<_>>().len(),
            commits: lines.iter().map(|line| line.commit.as_str()).collect::<BTreeSet<_>>().len(),
        }
    }

    /// How often a fault was there, in all or in one mode.
    pub fn installed(&self, fault: &str, mode: Option<&str>) -> u64 {
        let faults = self.classes.get(fault);
        faults.map_or(0, |faults| match mode {
            None => faults.installed,
            Some(mode) => faults.modes.get(mode).copied().unwrap_or(0),
        })
    }

    /// For a terminal.
    pub fn text(&self) -> String {
        let mut text = format!(
            "{} runs of {} commits: {} held, {} unknown, {} broken\n",
            self.runs, self.commits, self.held, self.unknown, self.broken
        );
        let (hours, cuts) = (self.seconds / 3_600.0, self.installed("power", None));
        let _ = writeln!(
            text,
            "{hours:.2} hours under test, {} operations, {} seeds",
            self.operations, self.seeds
        );
        let _ = writeln!(
            text,
            "{} seeds of the simulation, {} broke a rule",
            self.simulated_seeds, self.broken_seeds
        );
        let whole = self.installed("power", Some("all"));
        let _ = writeln!(
            text,
            "{} faults installed, {cuts} of them power cuts, {whole} of these of the whole cluster",
            self.faults
        );
        text += "\nfault                installed   skipped indeterminate  by mode\n";
        for (name, faults) in &self.classes {
            let _ = writeln!(
                text,
                "{name:20} {:>9} {:>9} {:>13}  {}",
                faults.installed,
                faults.skipped,
                faults.indeterminate,
                faults.by_mode()
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::super::runs::{Line, Simulation};
    use super::*;
    use serde_json::json;

    #[test]
    fn totals_are_the_ledgers_by_fault_and_mode() {
        let line = |valid: serde_json::Value, seed: u64| -> Line {
            serde_json::from_value(json!({
                "began": seed, "seconds": 1800.0, "valid": valid, "workload": "set", "nemeses": ["kill", "power"], "nodes": 3, "seed": seed,
                "commit": "c", "ops": {"ok": 10, "info": 1}, "dir": "/gone",
                "faults": {
                    "kill": {"installed": 3, "skipped": 1},
                    "power": {"installed": 4, "indeterminate": 2, "modes": {"all": seed, "one": 1}},
                },
            }))
            .expect("a line")
        };
        let simulation = |from: u64, broken: &[u64]| Simulation {
            from,
            seeds: 60,
            broken: broken.to_vec(),
        };
        let ledger = Ledger {
            runs: vec![line(json!(true), 1), line(json!(false), 2), line(json!("unknown"), 2)],
            simulations: vec![simulation(1, &[]), simulation(1, &[7]), simulation(51, &[])],
        };
        let totals = Totals::of(&ledger);
        let kill = Faults {
            installed: 9,
            skipped: 3,
            ..Faults::default()
        };
        let power = Faults {
            installed: 12,
            skipped: 0,
            indeterminate: 6,
            modes: [("all".to_owned(), 5), ("one".to_owned(), 3)].into(),
        };
        let expected = Totals {
            runs: 3,
            held: 1,
            unknown: 1,
            broken: 1,
            seconds: 5400.0,
            operations: 33,
            faults: 21,
            classes: [("kill".to_owned(), kill), ("power".to_owned(), power)].into(),
            seeds: 2,
            simulated_seeds: 110,
            broken_seeds: 1,
            commits: 1,
        };
        assert_eq!(totals, expected);
        let counts = [Some("all"), Some("one"), Some("leader"), None].map(|mode| totals.installed("power", mode));
        assert_eq!(counts, [5, 3, 0, 12]);
        let text = totals.text();
        assert!(
            text.contains("21 faults installed, 12 of them power cuts, 5 of these of the whole cluster"),
            "{text}"
        );
        assert!(text.contains("5 all, 3 one"), "{text}");
    }
}
