//! The list of defects, and how each is caught.

use super::OF_DISKS;
use crate::HARNESS_FAILURE;
use anyhow::{Context, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// What a catcher says that has found nothing wrong.
pub const NOTHING: &str = "nothing was found";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct List {
    mutant: Vec<Mutant>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Mutant {
    pub name: String,
    pub breaks: String,
    pub within_seconds: u64,
    /// Why it has no day: a check of every change has no time for it.
    #[serde(default)]
    pub not_daily: Option<String>,
    #[serde(flatten)]
    pub catcher: Catcher,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Catcher {
    /// Seeds of the simulation.
    Sim { from: u64, seeds: u64 },
    /// Tests of the workspace.
    Test { package: String, target: String, filter: String },
    /// A cell of this runner.
    Cell {
        workload: String,
        nemeses: Vec<String>,
        nodes: usize,
        seconds: u64,
        seed: u64,
        /// The defect is that all disks lie about syncs, and none of the product's.
        #[serde(default)]
        lying_disks: bool,
        /// Words of which the verdicts must have some: what else goes wrong does not count as catching it. Without any, each verdict
        /// counts that says invalid.
        #[serde(default)]
        says: Vec<String>,
    },
}

impl Mutant {
    fn is_by_cell(&self) -> bool {
        matches!(self.catcher, Catcher::Cell { .. })
    }

    /// Whether the product has nothing to do with it.
    pub fn is_of_disks(&self) -> bool {
        matches!(self.catcher, Catcher::Cell { lying_disks: true, .. })
    }

    /// Of its run.
    pub fn run_name(&self) -> String {
        match self.is_by_cell() {
            true => format!("{}-{}", self.name, self.catcher.control_name()),
            false => self.name.clone(),
        }
    }
}

impl List {
    /// Every defect that is compiled in has its entry, and so has every one of disks, and the other way round.
    pub fn read(path: &Path) -> anyhow::Result<List> {
        let text = std::fs::read_to_string(path).with_context(|| format!("{}: run this from the repository", path.display()))?;
        let list: List = toml::from_str(&text).with_context(|| path.display().to_string())?;
        let listed: BTreeSet<&str> = list.mutant.iter().map(|mutant| mutant.name.as_str()).collect();
        // Beside what catches a defect soonest, a cell may show that real processes under real faults catch it too.
        let catchers: BTreeSet<(&str, bool)> = list
            .mutant
            .iter()
            .map(|mutant| (mutant.name.as_str(), mutant.is_by_cell()))
            .collect();
        ensure!(catchers.len() == list.mutant.len(), "{}: a defect is listed twice", path.display());
        let known: BTreeSet<&str> = super::names().collect();
        let (unlisted, unknown): (Vec<_>, Vec<_>) = (known.difference(&listed).collect(), listed.difference(&known).collect());
        ensure!(
            unlisted.is_empty() && unknown.is_empty(),
            "{}: not in the list: {unlisted:?}; neither in the product nor made by the runner: {unknown:?}",
            path.display()
        );
        let is_misplaced = |mutant: &&Mutant| mutant.is_of_disks() != OF_DISKS.contains(&mutant.name.as_str());
        if let Some(mutant) = list.mutant.iter().find(is_misplaced) {
            bail!(
                "{}: {}: disks lie for {OF_DISKS:?} and for nothing else",
                path.display(),
                mutant.name
            );
        }
        Ok(list)
    }

    /// Those that were asked for; all if none were.
    pub fn select(self, only: &[String]) -> anyhow::Result<Vec<Mutant>> {
        if only.is_empty() {
            return Ok(self.mutant);
        }
        let chosen: Vec<Mutant> = self.mutant.into_iter().filter(|mutant| only.contains(&mutant.name)).collect();
        let found: BTreeSet<&String> = chosen.iter().map(|mutant| &mutant.name).collect();
        if found.len() < only.len() {
            bail!("of {only:?} only {found:?} are in the list");
        }
        Ok(chosen)
    }

    /// Those that something quicker than a cell catches: all of the product.
    pub fn by_seeds_and_tests(mut self) -> List {
        self.mutant.retain(|mutant| !mutant.is_by_cell());
        self
    }

    /// Those that a cell catches.
    pub fn by_cells(mut self) -> List {
        self.mutant.retain(Mutant::is_by_cell);
        self
    }

    /// One of those that seeds catch and one of those that tests catch, each in its turn. Cells take minutes and root.
    pub fn of_the_day(self, day: u64) -> Vec<Mutant> {
        let daily = self.mutant.into_iter().filter(|mutant| mutant.not_daily.is_none());
        let quick = daily.filter(|mutant| !mutant.is_by_cell());
        let (by_seeds, by_tests): (Vec<Mutant>, Vec<Mutant>) = quick.partition(|mutant| matches!(mutant.catcher, Catcher::Sim { .. }));
        let of_these = |mut some: Vec<Mutant>| {
            let chosen = day.checked_rem(some.len() as u64)?;
            Some(some.swap_remove(chosen as usize))
        };
        of_these(by_seeds).into_iter().chain(of_these(by_tests)).collect()
    }
}

impl Catcher {
    /// Runs of the same name find the same where there is no defect.
    pub fn control_name(&self) -> String {
        match self {
            // The fewest seeds that any defect may take; what is asked for is that seeds hold, not which.
            Catcher::Sim { .. } => "sim".to_owned(),
            Catcher::Test { package, target, filter } => format!("{package}-{target}-{}", filter.replace(':', "_")),
            Catcher::Cell { workload, nemeses, .. } => format!("cell-{workload}-{}", nemeses.join("-").replace(['/', ':'], "_")),
        }
    }

    /// The same where there is no defect: of a cell, with disks that do as they say, and any verdict is an alarm.
    pub fn control(&self) -> Catcher {
        let mut control = self.clone();
        if let Catcher::Cell { lying_disks, says, .. } = &mut control {
            *lying_disks = false;
            says.clear();
        }
        control
    }

    /// What caught the defect; an error if nothing did.
    pub fn verdict(&self, code: i32, output: &str) -> Result<String, String> {
        let told = |start: &str| output.lines().find_map(|line| line.strip_prefix(start)).map(str::to_owned);
        match self {
            Catcher::Sim { .. } if code == 1 => told("seed ")
                .map(|line| format!("seed {}", without_details(&line)))
                .ok_or_else(|| format!("exit code {code}")),
            // The harness of Rust's tests.
            Catcher::Test { .. } if code == 101 => {
                let failed = output
                    .lines()
                    .find_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
                failed
                    .map(|test| format!("`{test}` fails"))
                    .ok_or_else(|| format!("exit code {code}"))
            }
            // What the suite could not do may be all that a checker has seen.
            Catcher::Cell { .. } if output.lines().any(|line| line.starts_with(HARNESS_FAILURE)) => {
                Err(format!("exit code {code}, and the suite itself failed"))
            }
            Catcher::Cell { says, .. } if code == 1 && !says.is_empty() => {
                let proves = |line: &&str| says.iter().any(|words| line.contains(words));
                let proof = output.lines().find(proves);
                proof
                    .map(|line| line.trim().to_owned())
                    .ok_or_else(|| format!("invalid, but nobody says one of {says:?}"))
            }
            Catcher::Cell { .. } if code == 1 => Ok(told("Invalid ").unwrap_or_else(|| "invalid".to_owned())),
            // A test that has found nothing must have looked.
            Catcher::Test { .. } if code == 0 && output.contains("running 0 tests") => Err("no test has this name".to_owned()),
            _ if code == 0 => Err(NOTHING.to_owned()),
            _ => Err(format!("exit code {code}")),
        }
    }
}

/// The seed and the rule it breaks; the output has the rest.
fn without_details(line: &str) -> &str {
    line.find("\": ").map_or(line, |end| &line[..=end])
}

impl fmt::Display for Catcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Catcher::Sim { .. } => f.write_str("simulation"),
            Catcher::Test { package, target, .. } => write!(f, "{package} {target}"),
            Catcher::Cell { workload, nemeses, .. } => write!(f, "cell {workload} {}", nemeses.join(",")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_model::mutants::NAMES;

    /// Who says what a cell must say.
    const SAID_IN: [&str; 2] = ["crates/storage/src/log/open_error.rs", "jepsen/runner/src/checker/set_full.rs"];
    /// Seconds that a check of every change has for a defect that a test catches, without the build.
    const DAILY_SECONDS: u64 = 200;

    fn list() -> List {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../mutants.toml");
        List::read(Path::new(path)).expect("the list is whole")
    }

    #[test]
    fn each_day_has_another_defect_that_seeds_catch_and_another_that_a_test_catches() {
        let days: Vec<Vec<Mutant>> = (20_000..20_005).map(|day| list().of_the_day(day)).collect();
        let names: BTreeSet<&str> = days.iter().flatten().map(|mutant| mutant.name.as_str()).collect();
        assert_eq!(names.len(), 10, "{names:?}");
        for day in &days {
            assert!(
                matches!([&day[0].catcher, &day[1].catcher], [Catcher::Sim { .. }, Catcher::Test { .. }]),
                "{day:?}"
            );
        }
    }

    #[test]
    fn every_defect_that_there_is_time_for_has_its_day() {
        let days = NAMES.len() as u64;
        let had: BTreeSet<String> = (20_000..20_000 + days)
            .flat_map(|day| list().of_the_day(day))
            .map(|mutant| mutant.name)
            .collect();
        let mut without = Vec::new();
        for mutant in list().by_seeds_and_tests().mutant {
            match &mutant.not_daily {
                Some(why) => {
                    assert!(!why.is_empty() && !had.contains(&mutant.name), "{mutant:?}");
                    without.push(mutant.name);
                }
                None => assert!(had.contains(&mutant.name), "{mutant:?} has no day"),
            }
        }
        assert_eq!(
            without,
            ["emptied-disk-under-old-id", "copies-without-sync"],
            "who is left out needs a reason that a reader agrees with"
        );
        let slow = |mutant: &Mutant| matches!(mutant.catcher, Catcher::Test { .. }) && mutant.within_seconds > DAILY_SECONDS;
        for day in 20_000..20_000 + days {
            assert!(!list().of_the_day(day).iter().any(slow), "day {day}");
        }
    }

    #[test]
    fn every_defect_has_its_catcher() {
        assert!(
            list()
                .mutant
                .iter()
                .all(|mutant| mutant.within_seconds > 0 && !mutant.breaks.is_empty())
        );
        let quick: BTreeSet<String> = list().by_seeds_and_tests().mutant.into_iter().map(|mutant| mutant.name).collect();
        assert!(
            NAMES.iter().all(|name| quick.contains(*name)),
            "a defect of the product has no catcher but a cell"
        );
        assert!(OF_DISKS.iter().all(|name| !NAMES.contains(name)), "the product would be told of it");
    }

    #[test]
    fn what_a_cell_must_say_is_still_said_and_of_lying_disks_something_must_be() {
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/../../");
        let read = |file: &&str| std::fs::read_to_string(format!("{root}{file}")).expect("a file of the repository");
        let sources: String = SAID_IN.iter().map(read).collect();
        for mutant in list().mutant {
            let Catcher::Cell { lying_disks, says, .. } = &mutant.catcher else {
                continue;
            };
            assert!(!lying_disks || !says.is_empty(), "{mutant:?}: whatever goes wrong would count");
            for words in says {
                assert!(sources.contains(words), "nobody says {words:?} any more");
            }
        }
    }

    #[test]
    fn a_cell_is_caught_by_the_words_it_names_and_never_by_a_failure_of_the_suite() {
        let cell = Catcher::Cell {
            workload: "set".into(),
            nemeses: vec!["power:all".into()],
            nodes: 3,
            seconds: 30,
            seed: 1,
            lying_disks: true,
            says: vec!["with --replace".into()],
        };
        let refused = "Valid faults: two\nInvalid nodes: after healing: n1 does not run:\nquorate: lost; start it with --replace\n";
        assert_eq!(cell.verdict(1, refused), Ok("quorate: lost; start it with --replace".to_owned()));
        let other = "Invalid growth: n1 holds 900 files\n";
        assert!(cell.verdict(1, other).is_err());
        assert_eq!(cell.control().verdict(1, other), Ok("growth: n1 holds 900 files".to_owned()));
        let failed = format!("{refused}{HARNESS_FAILURE}power cannot be undone: umount: target is busy\n");
        for catcher in [&cell, &cell.control()] {
            assert!(catcher.verdict(1, &failed).is_err_and(|why| why != NOTHING));
            assert!(catcher.verdict(2, refused).is_err());
            assert_eq!(catcher.verdict(0, ""), Err(NOTHING.to_owned()));
        }
        assert!(matches!(cell.control(), Catcher::Cell { lying_disks: false, .. }));
    }

    #[test]
    fn only_a_verdict_is_one() {
        let sim = Catcher::Sim { from: 1, seeds: 2 };
        assert_eq!(sim.verdict(1, "seed 7 breaks \"x\": y\n"), Ok("seed 7 breaks \"x\"".to_owned()));
        assert_eq!(sim.verdict(0, ""), Err(NOTHING.to_owned()));
        assert!(sim.verdict(2, "this build has deliberate defects").is_err());
        let test = Catcher::Test {
            package: "p".into(),
            target: "t".into(),
            filter: "f".into(),
        };
        assert_eq!(test.verdict(101, "test a::b ... FAILED\n"), Ok("`a::b` fails".to_owned()));
        assert_ne!(test.verdict(0, "running 0 tests\n"), Err(NOTHING.to_owned()));
        assert!(test.verdict(134, "").is_err(), "an abort is no verdict");
    }
}
