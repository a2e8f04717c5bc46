//! `results.json` of the defects: of each defect and each control the newest result, whichever call it was of.

use super::{Outcome, names};
use anyhow::Context as _;
use std::io::ErrorKind;
use std::path::PathBuf;

pub(super) struct Kept {
    path: PathBuf,
    defects: Vec<Outcome>,
    controls: Vec<Outcome>,
}

impl Kept {
    /// What earlier calls have left. Defects that are no longer there are forgotten, and so are controls of before their date was kept:
    /// what they were controls of is not known.
    pub(super) fn read(path: PathBuf) -> anyhow::Result<Kept> {
        let (mut defects, mut controls): (Vec<Outcome>, Vec<Outcome>) = match std::fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => (Vec::new(), Vec::new()),
            read => {
                let bytes = read.with_context(|| path.display().to_string())?;
                serde_json::from_slice(&bytes).with_context(|| path.display().to_string())?
            }
        };
        defects.retain(|outcome| names().any(|name| name == outcome.name));
        controls.retain(|outcome| outcome.began > 0);
        Ok(Kept { path, defects, controls })
    }

    /// In the place of an earlier result of the same defect; a cell stands beside what catches it soonest.
    pub(super) fn keep_defect(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        replace(&mut self.defects, outcome);
        self.write()
    }

    pub(super) fn keep_control(&mut self, outcome: Outcome) -> anyhow::Result<()> {
        replace(&mut self.controls, outcome);
        self.write()
    }

    /// How many defects were ever tried.
    pub(super) fn tried(&self) -> usize {
        let was_tried = |name: &&str| self.defects.iter().any(|outcome| outcome.name == *name);
        names().filter(was_tried).count()
    }

    fn write(&self) -> anyhow::Result<()> {
        let new = self.path.with_extension("new");
        std::fs::write(&new, serde_json::to_vec_pretty(&(&self.defects, &self.controls))?)?;
        std::fs::rename(&new, &self.path).with_context(|| self.path.display().to_string())
    }
}

fn replace(kept: &mut Vec<Outcome>, outcome: Outcome) {
    let is_by_cell = |outcome: &Outcome| outcome.caught_by.starts_with("cell ");
    kept.retain(|other| other.name != outcome.name || is_by_cell(other) != is_by_cell(&outcome));
    kept.push(outcome);
    kept.sort_by(|one, other| (&one.name, &one.caught_by).cmp(&(&other.name, &other.caught_by)));
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_model::mutants::NAMES;

    fn outcome(name: &str, caught_by: &str, began: u64) -> Outcome {
        Outcome {
            name: name.to_owned(),
            breaks: String::new(),
            caught_by: caught_by.to_owned(),
            within_seconds: 60,
            seconds: 1.5,
            caught: true,
            how: String::new(),
            commit: "c".to_owned(),
            began,
        }
    }

    #[test]
    fn a_newer_result_takes_the_place_of_its_own_and_of_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("results.json");
        let mut kept = Kept::read(path.clone()).expect("nobody has tried anything");
        for (began, name, caught_by) in [
            (1, NAMES[1], "simulation"),
            (2, NAMES[0], "simulation"),
            (3, NAMES[0], "cell set kill"),
        ] {
            kept.keep_defect(outcome(name, caught_by, began)).expect("kept");
        }
        kept.keep_control(outcome("sim", "simulation", 4)).expect("kept");
        let mut kept = Kept::read(path.clone()).expect("read back");
        kept.keep_defect(outcome(NAMES[0], "quorate-consensus cluster", 5)).expect("kept");
        assert_eq!(kept.tried(), 2);
        let kept = Kept::read(path.clone()).expect("read back");
        let began: Vec<u64> = kept.defects.iter().map(|outcome| outcome.began).collect();
        assert_eq!(began, [3, 5, 1]);
        assert_eq!(kept.controls.len(), 1);
        let mutants = crate::report::runs::read_mutants(&path).expect("the report reads the same");
        assert_eq!((mutants.len(), mutants[0].began, mutants[0].commit.as_str()), (3, 3, "c"));
    }

    #[test]
    fn what_nobody_makes_any_longer_is_forgotten() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("results.json");
        let all = (
            vec![
                outcome("no-such-defect", "simulation", 7),
                outcome("lying-fsync", "cell set power:all", 8),
            ],
            vec![outcome("drop-in-use", "simulation", 0)],
        );
        std::fs::write(&path, serde_json::to_vec(&all).expect("JSON")).expect("written");
        let kept = Kept::read(path).expect("read");
        assert_eq!((kept.defects.len(), kept.controls.len()), (1, 0));
        assert_eq!((kept.defects[0].name.as_str(), kept.tried()), ("lying-fsync", 1));
    }
}
