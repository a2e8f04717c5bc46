//! Each place in the log is given once: every peer that applies it, also again after a crash, applies the same entry, of the
//! same leader. Along the log leaders only get greater, so in each term and from each leader there is one history.

use super::holds;
use quorate_state_machine::{EntryInput, EntryKind};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// A leader, ordered as openraft orders them, and what it put into one place.
type Given = ((u64, u64), u64);

#[derive(Default)]
pub struct OneHistory {
    given: BTreeMap<u64, Given>,
}

impl OneHistory {
    /// Checks one applied entry and describes it.
    pub fn applied(&mut self, position: usize, entry: &EntryInput) -> Result<String, String> {
        let leader = (entry.position.term, entry.position.peer);
        let index = entry.position.index;
        let mut hasher = DefaultHasher::new();
        match &entry.kind {
            EntryKind::Commands(payload) => payload.hash(&mut hasher),
            EntryKind::Other => 0u8.hash(&mut hasher),
        }
        let given = (leader, hasher.finish());
        let known = self.given.entry(index).or_insert(given);
        holds!(
            *known == given,
            "entry {index} was applied as one thing before and by peer {position} (from 0) as another"
        );
        let before = self.given.range(..index).next_back().map(|(_, (leader, _))| *leader);
        let after = self.given.range(index + 1..).next().map(|(_, (leader, _))| *leader);
        holds!(
            before.is_none_or(|before| before <= leader),
            "entry {index} of {leader:?} follows one of {before:?}"
        );
        holds!(
            after.is_none_or(|after| after >= leader),
            "entry {index} of {leader:?} comes before one of {after:?}"
        );
        Ok(format!(
            "{position} applied {index} of {}.{} ({:016x})",
            leader.0, leader.1, given.1
        ))
    }
}
