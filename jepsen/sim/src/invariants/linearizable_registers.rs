//! Registers are linearizable, with revisions as witnesses; reads "at least at a revision" keep their bound; a write that was
//! refused has not happened, and one that was refused for its condition found what its client had seen overwritten.
//!
//! Every answer carries a revision. If replaying the writes in the order of their revisions explains every answer, and no
//! revision contradicts the order of events in real time, that order is the proof.

use super::{Held, holds};
use std::collections::BTreeMap;

/// A register's value, with the revision that wrote it.
pub type Seen = Option<(String, u64)>;

/// What an operation must come after.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Floor {
    /// Revision of the state.
    pub revision: u64,
    /// The register was written after this revision, if there is one: a conditional write found it so.
    pub written_after: Option<u64>,
}

/// What became of a write, as far as anybody has seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Under way, or its outcome is unknown.
    Open,
    Written(u64),
    Refused,
}

#[derive(Default)]
pub struct Registers {
    /// Highest revision that is surely in the past.
    floor: u64,
    /// Values are unique over all writes.
    fates: BTreeMap<String, (String, Fate)>,
    versions: BTreeMap<String, BTreeMap<u64, String>>,
    /// Per register, revisions between which it was not written: the first was seen, up to and including the second.
    quiet: BTreeMap<String, Vec<(u64, u64)>>,
    /// Per register, the highest revision that a conditional write expected and did not find.
    outdated: BTreeMap<String, u64>,
}

impl Registers {
    /// What a linearizable read of a register that begins now comes after.
    pub fn begins(&self, register: &str) -> Floor {
        Floor {
            revision: self.floor,
            written_after: self.outdated.get(register).copied(),
        }
    }

    pub fn write_begins(&mut self, register: &str, value: &str) -> u64 {
        self.fates.insert(value.to_owned(), (register.to_owned(), Fate::Open));
        self.floor
    }

    /// `floor` is what [`Registers::write_begins`] gave; `expected` the revision it was to find, of a conditional write.
    pub fn written(&mut self, register: &str, value: &str, revision: u64, floor: u64, expected: Option<u64>) -> Held {
        holds!(
            revision > floor,
            "write {value} got revision {revision}, though {floor} was in the past when it began"
        );
        self.fates.insert(value.to_owned(), (register.to_owned(), Fate::Written(revision)));
        self.version(register, value, revision)?;
        if let Some(expected) = expected {
            self.unwritten_between(register, expected, revision - 1)?;
        }
        self.floor = self.floor.max(revision);
        Ok(())
    }

    /// A write that surely has not happened.
    pub fn refused(&mut self, register: &str, value: &str) -> Held {
        self.fates.insert(value.to_owned(), (register.to_owned(), Fate::Refused));
        let versions = self.versions.entry(register.to_owned()).or_default();
        let seen = versions.iter().find(|(_, written)| *written == value);
        holds!(seen.is_none(), "write {value} was refused, and was seen before at {seen:?}");
        Ok(())
    }

    /// A conditional write was refused because the register was no more of the revision it expected. Revisions only go up, so
    /// it was written since: a newer version is known, or a write is under way.
    pub fn outdated(&mut self, register: &str, value: &str, expected: u64) -> Held {
        let versions = self.versions.entry(register.to_owned()).or_default();
        let is_known = versions.range(expected + 1..).next().is_some();
        let is_other = |other: &str, of: &str| other != value && of == register;
        let is_open = self
            .fates
            .iter()
            .any(|(other, (of, fate))| is_other(other, of) && *fate == Fate::Open);
        holds!(
            is_known || is_open,
            "write {value} was refused though nobody wrote {register} after revision {expected}, which it expected"
        );
        let outdated = self.outdated.entry(register.to_owned()).or_default();
        *outdated = (*outdated).max(expected);
        Ok(())
    }

    /// `floor` is what the answer must have reached; it is the state at `revision`. What a linearizable read saw is in the
    /// past for all that begin later.
    pub fn read(&mut self, register: &str, seen: Seen, revision: u64, floor: Floor, linearizable: bool) -> Held {
        holds!(
            revision >= floor.revision,
            "a read of {register} answered from revision {revision}, at least {} was due",
            floor.revision
        );
        let written_at = match seen {
            None => 0,
            Some((value, written_at)) => {
                let fate = self.fates.get(&value).map(|(register, fate)| (register.as_str(), *fate));
                let explained = match fate {
                    Some((of, Fate::Open)) => of == register,
                    Some((of, Fate::Written(at))) => of == register && at == written_at,
                    Some((_, Fate::Refused)) | None => false,
                };
                holds!(
                    explained,
                    "{register} holds {value} of revision {written_at}; known of it is {fate:?}"
                );
                self.version(register, &value, written_at)?;
                // It is no more under way, whatever its client was told.
                self.fates.insert(value, (register.to_owned(), Fate::Written(written_at)));
                written_at
            }
        };
        holds!(
            floor.written_after.is_none_or(|outdated| written_at > outdated),
            "{register} is of revision {written_at}, and a write that expected no newer one had been refused: {floor:?}"
        );
        self.unwritten_between(register, written_at, revision)?;
        if linearizable {
            self.floor = self.floor.max(revision);
        }
        Ok(())
    }

    fn version(&mut self, register: &str, value: &str, revision: u64) -> Held {
        let versions = self.versions.entry(register.to_owned()).or_default();
        let known = versions.entry(revision).or_insert_with(|| value.to_owned());
        holds!(known == value, "{register} at revision {revision} is {known} and {value}");
        let quiet = self.quiet.get(register).map_or(&[][..], Vec::as_slice);
        let broken = quiet.iter().find(|(from, to)| (from + 1..=*to).contains(&revision));
        holds!(
            broken.is_none(),
            "{register} was written at revision {revision}, but somebody saw no write between {broken:?}"
        );
        Ok(())
    }

    fn unwritten_between(&mut self, register: &str, from: u64, to: u64) -> Held {
        holds!(
            from <= to,
            "{register} was written at revision {from}, the state that shows it is of {to}"
        );
        let versions = self.versions.entry(register.to_owned()).or_default();
        let missed = versions.range(from..=to).find(|(revision, _)| **revision > from);
        holds!(
            missed.is_none(),
            "somebody saw {register} as of revision {from} in the state of {to}, but it was written: {missed:?}"
        );
        self.quiet.entry(register.to_owned()).or_default().push((from, to));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One register, written at revision 3 by `a`.
    fn written() -> Registers {
        let mut registers = Registers::default();
        let floor = registers.write_begins("r", "a");
        registers.written("r", "a", 3, floor, None).expect("the first write");
        registers
    }

    fn read(registers: &mut Registers, value: &str, written_at: u64, revision: u64) -> Held {
        let floor = registers.begins("r");
        registers.read("r", Some((value.to_owned(), written_at)), revision, floor, true)
    }

    #[test]
    fn a_condition_fails_only_when_somebody_has_written_since() {
        let mut registers = written();
        registers.write_begins("r", "b");
        registers.write_begins("other", "c");
        assert!(registers.outdated("r", "b", 3).is_err(), "only its own write was under way");
        assert!(registers.outdated("r", "b", 0).is_ok(), "it was written at 3");
        registers.write_begins("r", "d");
        assert!(registers.outdated("r", "b", 3).is_ok(), "the write of d may have been first");
    }

    #[test]
    fn what_a_failed_condition_shows_is_seen_by_later_reads() {
        let mut registers = written();
        registers.write_begins("r", "b");
        registers.write_begins("r", "c");
        let before = registers.begins("r");
        registers.outdated("r", "b", 3).expect("c may have been written");
        let old = Some(("a".to_owned(), 3));
        assert!(registers.read("r", old, 4, before, true).is_ok(), "it began before");
        assert!(read(&mut registers, "a", 3, 5).is_err(), "it is still of revision 3");
        let mut registers = written();
        registers.write_begins("r", "b");
        registers.write_begins("r", "c");
        registers.outdated("r", "b", 3).expect("c may have been written");
        assert!(read(&mut registers, "c", 4, 5).is_ok());
    }

    #[test]
    fn a_write_that_was_seen_is_no_more_under_way() {
        let mut registers = written();
        registers.write_begins("r", "b");
        read(&mut registers, "b", 4, 4).expect("its answer was lost");
        registers.write_begins("r", "c");
        assert!(registers.outdated("r", "c", 4).is_err(), "nobody has written since revision 4");
        assert!(read(&mut registers, "b", 6, 6).is_err(), "it was written once");
    }
}
