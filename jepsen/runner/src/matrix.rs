//! `matrix.toml`: which cells there are.

use crate::seeded::Random;
use anyhow::Context;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The file as it was when this program was built; another can be named.
const BUILT_IN: &str = include_str!("../../matrix.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Matrix {
    pub smoke: Vec<MatrixCell>,
    pub soak: Soak,
}

/// One cell, but for its seed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MatrixCell {
    pub workload: String,
    pub nemeses: Vec<String>,
    pub nodes: usize,
    pub seconds: u64,
    /// Answered operations a second, on average.
    #[serde(default = "default_rate")]
    pub rate: u64,
    #[serde(default)]
    pub workers: usize,
    /// Timing of elections: `lan` or `wan`.
    #[serde(default = "default_profile")]
    pub profile: String,
}

fn default_rate() -> u64 {
    300
}

fn default_profile() -> String {
    "wan".to_owned()
}

/// What random cells are drawn from.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Soak {
    pub workloads: Vec<String>,
    pub nodes: Vec<usize>,
    pub seconds: Vec<u64>,
    pub rate: Vec<u64>,
    pub profiles: Vec<String>,
    /// With these faults elections have the timing `wan`.
    pub wan_only: Vec<String>,
    /// Faults that find something to harm with some workloads only.
    pub only_with: BTreeMap<String, Vec<String>>,
    pub most_faults: usize,
    pub faults: Vec<String>,
    /// Of each list, one at most is in a cell.
    pub apart: Vec<Vec<String>>,
}

impl Matrix {
    pub fn read(path: Option<&Path>) -> anyhow::Result<Matrix> {
        let text = match path {
            Some(path) => std::fs::read_to_string(path).with_context(|| path.display().to_string())?,
            None => BUILT_IN.to_owned(),
        };
        toml::from_str(&text).context("the matrix")
    }
}

/// How often each workload was run with each fault.
pub type Pairs = BTreeMap<(String, String), usize>;

impl Soak {
    /// The workload and the fault that were run together least often, of several the first. That counts in `runs` from now on:
    /// a pair whose run comes to nothing must not keep the others waiting.
    pub fn least_run(&self, runs: &mut Pairs, random: &mut Random) -> Option<MatrixCell> {
        let with_all = |workload: &String| {
            let faults = self.faults.iter().filter(|fault| self.harms(workload, fault));
            faults.map(|fault| (workload.clone(), fault.clone())).collect::<Vec<_>>()
        };
        let pairs = self.workloads.iter().flat_map(with_all);
        let (workload, fault) = pairs.min_by_key(|pair| runs.get(pair).copied().unwrap_or(0))?;
        *runs.entry((workload.clone(), fault.clone())).or_default() += 1;
        Some(self.cell(workload, vec![fault], random))
    }

    /// A cell by chance.
    pub fn draw(&self, random: &mut Random) -> MatrixCell {
        let workload = random.pick(&self.workloads).clone();
        let faults: Vec<String> = self.faults.iter().filter(|fault| self.harms(&workload, fault)).cloned().collect();
        let count = 1 + random.below(self.most_faults as u64) as usize;
        let mut nemeses = random.choose(count, &faults);
        for apart in &self.apart {
            let mut kept = false;
            nemeses.retain(|name| !apart.contains(name) || !std::mem::replace(&mut kept, true));
        }
        self.cell(workload, nemeses, random)
    }

    /// Whether a fault finds something to harm with a workload.
    fn harms(&self, workload: &String, fault: &str) -> bool {
        self.only_with.get(fault).is_none_or(|with| with.contains(workload))
    }

    fn cell(&self, workload: String, nemeses: Vec<String>, random: &mut Random) -> MatrixCell {
        let profile = match nemeses.iter().any(|name| self.wan_only.contains(name)) {
            true => default_profile(),
            false => random.pick(&self.profiles).clone(),
        };
        let workers = if workload == "copies" { 2 } else { 0 };
        MatrixCell {
            workload,
            nemeses,
            nodes: *random.pick(&self.nodes),
            seconds: *random.pick(&self.seconds),
            rate: *random.pick(&self.rate),
            workers,
            profile,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis;

    #[test]
    fn every_cell_of_the_matrix_can_be_run_and_every_fault_is_drawn() {
        let matrix = Matrix::read(None).expect("the built-in file is right");
        for profile in ["lan", "wan"] {
            assert!(
                matrix.smoke.iter().any(|cell| cell.profile == profile),
                "no cell has the timing {profile}"
            );
        }
        for cell in &matrix.smoke {
            assert!(["lan", "wan"].contains(&cell.profile.as_str()), "{cell:?}");
            for spec in &cell.nemeses {
                nemesis::by_name(spec, cell.nodes).expect("a fault there is");
            }
        }
        let mut drawn = std::collections::BTreeSet::new();
        let mut profiles = std::collections::BTreeSet::new();
        for seed in 0..500 {
            let cell = matrix.soak.draw(&mut Random::new(seed));
            assert!(!cell.nemeses.is_empty());
            for apart in &matrix.soak.apart {
                assert!(cell.nemeses.iter().filter(|name| apart.contains(name)).count() <= 1, "{cell:?}");
            }
            for (name, with) in &matrix.soak.only_with {
                assert!(!cell.nemeses.contains(name) || with.contains(&cell.workload), "{cell:?}");
            }
            let is_slow = cell.nemeses.iter().any(|name| matrix.soak.wan_only.contains(name));
            assert!(!is_slow || cell.profile == "wan", "{cell:?}");
            profiles.insert(cell.profile);
            drawn.extend(cell.nemeses);
        }
        assert_eq!(profiles.len(), 2, "{profiles:?}");
        for name in &drawn {
            nemesis::by_name(name, 3).expect("a fault there is");
        }
        assert_eq!(drawn.len(), nemesis::names().len(), "the soak leaves a fault out");
    }

    #[test]
    fn one_pair_after_the_other_has_its_turn_and_the_least_run_first() {
        let soak = Matrix::read(None).expect("the built-in file is right").soak;
        let (mut runs, mut random) = (Pairs::new(), Random::new(1));
        for workload in &soak.workloads {
            runs.insert((workload.clone(), "kill".to_owned()), 1);
        }
        let harmed = |workload: &String| soak.faults.iter().filter(|fault| soak.harms(workload, fault)).count();
        let all: usize = soak.workloads.iter().map(harmed).sum();
        let mut turns = Pairs::new();
        for _ in 0..all - soak.workloads.len() {
            let cell = soak.least_run(&mut runs, &mut random).expect("there are pairs");
            assert_ne!(cell.nemeses, ["kill"], "it was run before");
            *turns.entry((cell.workload, cell.nemeses.concat())).or_default() += 1;
        }
        assert_eq!(turns.len(), all - soak.workloads.len(), "each once");
        let next = soak.least_run(&mut runs, &mut random).expect("there are pairs");
        assert_eq!((next.workload, next.nemeses), (soak.workloads[0].clone(), vec!["kill".to_owned()]));
    }
}
