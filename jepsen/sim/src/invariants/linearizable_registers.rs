//! Registers are linearizable, with revisions as witnesses; reads "at least at a revision" keep their bound; a write that was
//! refused has not happened.
//!
//! Every answer carries a revision. If replaying the writes in the order of their revisions explains every answer, and no
//! revision contradicts the order of events in real time, that order is the proof.

use super::{Held, holds};
use std::collections::BTreeMap;

/// A register's value, with the revision that wrote it.
pub type Seen = Option<(String, u64)>;

/// What became of a write, as far as its client knows.
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
}

impl Registers {
    /// The revision that whatever begins now comes after.
    pub fn begins(&self) -> u64 {
        self.floor
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

    /// `floor` is a revision the answer must have reached; it is the state at `revision`. What a linearizable read saw is in the
    /// past for all that begin later.
    pub fn read(&mut self, register: &str, seen: Seen, revision: u64, floor: u64, linearizable: bool) -> Held {
        holds!(
            revision >= floor,
            "a read of {register} answered from revision {revision}, at least {floor} was due"
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
                written_at
            }
        };
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
