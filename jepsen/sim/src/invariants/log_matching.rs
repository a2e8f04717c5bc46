//! Logs match: an entry of one leader at one place is the same entry everywhere, and so is the one before it.

use super::{Held, holds};
use quorate_storage::codec::{LogEntry, LogId};
use quorate_storage::log::LogStore;
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Leader and index.
type Place = (u64, u64, u64);

fn place(id: &LogId) -> Place {
    (id.leader.term, id.leader.peer, id.index)
}

/// Every entry any log has held.
#[derive(Default)]
pub struct LogMatching {
    /// Its payload's hash, and the entry before it where one was seen.
    known: BTreeMap<Place, (u64, Option<Place>)>,
    /// The last entry of each peer's log when it was looked at.
    looked_at: BTreeMap<usize, LogId>,
}

impl LogMatching {
    /// Looks at what is new in one peer's log.
    pub fn look(&mut self, position: usize, log: &dyn LogStore) -> Held {
        let Some(last) = log.state().last else { return Ok(()) };
        let before = self.looked_at.insert(position, last);
        if before == Some(last) {
            return Ok(());
        }
        // Whatever was replaced lies behind the last entry the two states of the log have in common.
        let from = match before {
            Some(before) if log.log_id(before.index).map_err(|error| error.to_string())? == Some(before) => before.index,
            _ => 0,
        };
        let entries = log.read(from, u64::MAX, usize::MAX).map_err(|error| error.to_string())?;
        let mut previous = None;
        for entry in &entries {
            self.compare(position, entry, previous)?;
            previous = Some(place(&entry.log_id));
        }
        Ok(())
    }

    fn compare(&mut self, position: usize, entry: &LogEntry, previous: Option<Place>) -> Held {
        let mut hasher = DefaultHasher::new();
        format!("{:?}", entry.payload).hash(&mut hasher);
        let given = hasher.finish();
        let (payload, before) = self.known.entry(place(&entry.log_id)).or_insert((given, previous));
        holds!(
            *payload == given,
            "peer {position} (from 0) has another entry {:?} than others",
            entry.log_id
        );
        match (before.is_some(), previous) {
            (true, Some(_)) => holds!(
                *before == previous,
                "at peer {position} (from 0) entry {:?} follows {previous:?}, elsewhere {before:?}",
                entry.log_id
            ),
            _ => *before = before.or(previous),
        }
        Ok(())
    }
}
