//! The rules by which a request changes what the log knows. Pure, and used by every implementation and by recovery, so
//! that a log read back from disk cannot disagree with the one that wrote it.

use super::LogState;
use crate::codec::{LogEntry, LogId, Vote};
use quorate_model::mutant;
use std::io;

/// One change of the log, as it waits in a queue and as it stands in a file.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Append(Vec<LogEntry>),
    Vote(Vote),
    TruncateAfter(Option<LogId>),
    Purge(LogId),
}

impl Change {
    /// Bytes it counts for in the queue's bound.
    pub fn weight(&self) -> usize {
        match self {
            Change::Append(entries) => entries.iter().map(LogEntry::weight).sum(),
            Change::Vote(_) | Change::TruncateAfter(_) | Change::Purge(_) => 64,
        }
    }
}

/// A defect: the request counts as durable before it is.
pub(crate) fn forgets_sync(change: &Change) -> bool {
    match change {
        Change::Append(_) => mutant!("log-without-sync"),
        Change::Vote(_) => mutant!("vote-without-sync"),
        Change::TruncateAfter(_) | Change::Purge(_) => false,
    }
}

/// Index the next appended entry must have.
pub(crate) fn next_index(state: &LogState) -> u64 {
    state.last.map_or(0, |last| last.index + 1)
}

/// First index that may still be present.
pub(crate) fn first_index(state: &LogState) -> u64 {
    state.purged.map_or(0, |purged| purged.index + 1)
}

/// Refuses a change that would leave a gap or bring back what was purged.
pub(crate) fn check(state: &LogState, change: &Change) -> io::Result<()> {
    match change {
        Change::Append(entries) => {
            let first = next_index(state);
            match entries
                .iter()
                .zip(first..)
                .find(|(entry, expected)| entry.log_id.index != *expected)
            {
                Some((entry, expected)) => Err(refused(format!(
                    "entry {} cannot be appended: the next index is {expected}",
                    entry.log_id.index
                ))),
                None => Ok(()),
            }
        }
        Change::TruncateAfter(Some(last)) if state.purged.is_some_and(|purged| last.index < purged.index) => Err(refused(format!(
            "log cannot be truncated after index {}: entries up to index {} are purged",
            last.index,
            first_index(state) - 1
        ))),
        Change::TruncateAfter(_) | Change::Vote(_) | Change::Purge(_) => Ok(()),
    }
}

/// Applies a change that [`check`] let pass.
pub(crate) fn apply(state: &mut LogState, change: &Change) {
    match change {
        Change::Append(entries) => {
            if let Some(entry) = entries.last() {
                state.last = Some(entry.log_id);
            }
        }
        Change::Vote(vote) => state.vote = Some(*vote),
        Change::TruncateAfter(Some(last)) => {
            if last.index + 1 < next_index(state) {
                state.last = Some(*last);
            }
        }
        Change::TruncateAfter(None) => state.last = state.purged,
        Change::Purge(upto) => {
            if upto.index >= first_index(state) {
                state.purged = Some(*upto);
            }
            if upto.index >= next_index(state) {
                state.last = Some(*upto);
            }
        }
    }
}

/// Whether `committed` may be written after `state`: it must not name an entry that a crash could still take away while
/// the mark survives.
pub(crate) fn may_write_committed(state: &LogState, committed: &LogId) -> bool {
    committed.index < next_index(state)
}

fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{LeaderId, Payload};

    fn id(index: u64) -> LogId {
        LogId {
            leader: LeaderId { term: 1, peer: 1 },
            index,
        }
    }

    fn entries(from: u64, to: u64) -> Change {
        Change::Append(
            (from..to)
                .map(|index| LogEntry {
                    log_id: id(index),
                    payload: Payload::Blank,
                })
                .collect(),
        )
    }

    #[test]
    fn first_entry_has_index_zero_and_gaps_are_refused() {
        let mut state = LogState::default();
        assert!(check(&state, &entries(1, 2)).is_err());
        assert!(check(&state, &entries(0, 3)).is_ok());
        apply(&mut state, &entries(0, 3));
        assert_eq!(state.last, Some(id(2)));
        let text = check(&state, &entries(5, 6)).unwrap_err().to_string();
        assert_eq!(text, "entry 5 cannot be appended: the next index is 3");
    }

    #[test]
    fn purge_beyond_the_last_entry_moves_both_ends() {
        let mut state = LogState::default();
        apply(&mut state, &entries(0, 3));
        apply(&mut state, &Change::Purge(id(9)));
        assert_eq!((state.purged, state.last), (Some(id(9)), Some(id(9))));
        apply(&mut state, &Change::Purge(id(4)));
        assert_eq!(state.purged, Some(id(9)), "an older purge changes nothing");
        assert!(check(&state, &entries(10, 11)).is_ok());
    }

    #[test]
    fn truncation_keeps_what_is_purged() {
        let mut state = LogState::default();
        apply(&mut state, &entries(0, 9));
        apply(&mut state, &Change::Purge(id(4)));
        assert!(check(&state, &Change::TruncateAfter(Some(id(3)))).is_err());
        apply(&mut state, &Change::TruncateAfter(Some(id(20))));
        assert_eq!(state.last, Some(id(8)), "a truncation beyond the end changes nothing");
        apply(&mut state, &Change::TruncateAfter(Some(id(6))));
        assert_eq!(state.last, Some(id(6)));
        apply(&mut state, &Change::TruncateAfter(None));
        assert_eq!(state.last, Some(id(4)));
    }

    #[test]
    fn committed_waits_for_the_entries_it_names() {
        let mut state = LogState::default();
        assert!(!may_write_committed(&state, &id(0)));
        apply(&mut state, &entries(0, 3));
        assert!(may_write_committed(&state, &id(2)));
        assert!(!may_write_committed(&state, &id(3)));
    }
}
