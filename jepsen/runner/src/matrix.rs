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
    pub rotation: Option<Rotation>,
    pub soak: Soak,
}

/// What smoke runs besides its fixed cells, others each day: every workload of the soak with each of its faults, in turn.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rotation {
    /// How many a day.
    pub cells: u64,
    pub nodes: usize,
    pub seconds: u64,
    /// Cells of several faults that have their turn before those.
    #[serde(default)]
    pub also: Vec<MatrixCell>,
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

    /// The fixed cells of smoke, and those of this day since 1970.
    pub fn smoke_of(&self, day: u64) -> Vec<MatrixCell> {
        let mut cells = self.smoke.clone();
        if let Some(rotation) = &self.rotation {
            let first = day.saturating_mul(rotation.cells);
            cells.extend((0..rotation.cells).filter_map(|step| self.rotated(rotation, first.saturating_add(step))));
        }
        cells
    }

    /// The cell of a turn. When all have had theirs, each has it again, those that may with the other timing of elections.
    fn rotated(&self, rotation: &Rotation, turn: u64) -> Option<MatrixCell> {
        let pairs = self.soak.pairs_in_turn();
        let all = (rotation.also.len() + pairs.len()) as u64;
        let (place, round) = (turn.checked_rem(all)? as usize, (turn / all) as usize);
        let Some(position) = place.checked_sub(rotation.also.len()) else {
            return Some(rotation.also[place].clone());
        };
        let (workload, fault) = pairs[position].clone();
        let profile = match self.soak.wan_only.contains(&fault) {
            true => default_profile(),
            false => {
                let profiles = &self.soak.profiles;
                profiles.get(round % profiles.len().max(1)).cloned().unwrap_or_else(default_profile)
            }
        };
        Some(MatrixCell {
            workers: workers_of(&workload),
            workload,
            nemeses: vec![fault],
            nodes: rotation.nodes,
            seconds: rotation.seconds,
            rate: default_rate(),
            profile,
        })
    }
}

/// Workers that a workload needs.
fn workers_of(workload: &str) -> usize {
    if workload == "copies" { 2 } else { 0 }
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

    /// Every workload with every fault that finds something to harm, workloads in turn, each with another fault than its
    /// neighbours: whoever takes a few at a time soon had all workloads and all faults.
    fn pairs_in_turn(&self) -> Vec<(String, String)> {
        let apart = self.faults.len().div_ceil(self.workloads.len().max(1));
        let mut pairs = Vec::new();
        for step in 0..self.faults.len() {
            for (number, workload) in self.workloads.iter().enumerate() {
                let fault = &self.faults[(step + number * apart) % self.faults.len()];
                if self.harms(workload, fault) {
                    pairs.push((workload.clone(), fault.clone()));
                }
            }
        }
        pairs
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
        MatrixCell {
            workers: workers_of(&workload),
            workload,
            nemeses,
            nodes: *random.pick(&self.nodes),
            seconds: *random.pick(&self.seconds),
            rate: *random.pick(&self.rate),
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
        let also = matrix.rotation.iter().flat_map(|rotation| &rotation.also);
        for cell in matrix.smoke.iter().chain(also) {
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
    fn each_day_has_other_cells_until_every_workload_had_every_fault() {
        let matrix = Matrix::read(None).expect("the built-in file is right");
        let rotation = matrix.rotation.as_ref().expect("smoke has cells of the day");
        let of = |day: u64| matrix.smoke_of(day)[matrix.smoke.len()..].to_vec();
        assert_eq!(format!("{:?}", of(20_000)), format!("{:?}", of(20_000)), "the day alone decides");
        let all = matrix.soak.pairs_in_turn();
        let days = (all.len() + rotation.also.len()).div_ceil(rotation.cells as usize) as u64;
        let cells: Vec<MatrixCell> = (20_000..20_000 + days).flat_map(of).collect();
        let pair = |cell: &MatrixCell| (cell.workload.clone(), cell.nemeses.concat());
        let had: std::collections::BTreeSet<(String, String)> = cells.iter().map(pair).collect();
        let harmed = |workload: &String| matrix.soak.faults.iter().filter(|fault| matrix.soak.harms(workload, fault)).count();
        assert_eq!(all.len(), matrix.soak.workloads.iter().map(harmed).sum::<usize>());
        for pair in &all {
            assert!(had.contains(pair), "{pair:?} has no day");
        }
        for cell in &cells {
            assert!(matrix.soak.workloads.contains(&cell.workload), "{cell:?}");
            assert!(cell.workload != "copies" || cell.workers > 0, "{cell:?}");
            let is_slow = cell.nemeses.iter().any(|name| matrix.soak.wan_only.contains(name));
            assert!(!is_slow || cell.profile == "wan", "{cell:?}");
            cell.nemeses
                .iter()
                .for_each(|spec| drop(nemesis::by_name(spec, cell.nodes).expect("a fault there is")));
        }
    }

    #[test]
    fn within_four_weeks_every_workload_and_every_fault_had_a_cell_of_the_day() {
        let matrix = Matrix::read(None).expect("the built-in file is right");
        let rotation = matrix.rotation.as_ref().expect("smoke has cells of the day");
        let all = matrix.soak.pairs_in_turn();
        // Where a round ends, the next one begins with the cells of several faults.
        for first in 0..all.len().saturating_sub(28 * rotation.cells as usize) {
            let some = &all[first..first + 28 * rotation.cells as usize];
            for workload in &matrix.soak.workloads {
                assert!(some.iter().any(|(of, _)| of == workload), "{workload} from {first}");
            }
            for fault in matrix
                .soak
                .faults
                .iter()
                .filter(|fault| !matrix.soak.only_with.contains_key(*fault))
            {
                assert!(some.iter().any(|(_, with)| with == fault), "{fault} from {first}");
            }
        }
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
