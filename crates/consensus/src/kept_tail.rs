//! Keeps acknowledged entries until the checkpoint that takes their place is durable.
//!
//! When openraft gets a checkpoint that contradicts the log at the checkpoint's last index, it truncates everything it does
//! not know to be committed and installs afterwards. Among what it truncates may be entries that agree with the leader and
//! that this peer has acknowledged; were it to die in between, a committed entry could be left with a minority. So of such
//! a truncation only the part that contradicts is done at once: the rest is owed, and paid by the purge that follows the
//! install, or by the next append that needs its place.
//!
//! ```text
//!  log          1 2 3 4 5 6 7 8 9 | checkpoint ends at 8, and the log has another 8
//!  asked for    1 2 3             | truncate after 3, the last known as committed
//!  done         1 2 3 4 5 6 7     | 4..7 are owed until the state that has them is installed
//! ```

use quorate_storage::codec::LogId;
use quorate_storage::log::{Done, LogStore};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};

/// The install under way and the truncation that waits for it.
#[derive(Debug, Default)]
pub struct KeptTail(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    /// Last index of the checkpoint that openraft is installing.
    installing: Option<u64>,
    /// The last entry openraft believes in; what the log has behind it is kept for nobody but a restart.
    owed: Option<Option<LogId>>,
}

/// An install under way; over when this is dropped.
#[must_use]
pub struct Installing(Arc<KeptTail>);

impl Drop for Installing {
    fn drop(&mut self) {
        self.0.kept().installing = None;
    }
}

impl KeptTail {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().expect("no panic while held")
    }

    /// To be held from before openraft gets a checkpoint that ends with entry `index` until it has answered.
    pub fn installing(self: &Arc<KeptTail>, index: u64) -> Installing {
        self.kept().installing = Some(index);
        Installing(self.clone())
    }

    /// As [`LogStore::truncate_after`], except for what an install will make superfluous.
    pub fn truncate_after(&self, log: &dyn LogStore, last: Option<LogId>, done: Done) -> io::Result<()> {
        let mut kept = self.kept();
        kept.owed = None;
        let next = last.map_or(0, |last| last.index + 1);
        let stays = kept
            .installing
            .and_then(|end| end.checked_sub(1))
            .filter(|stays| *stays >= next && log.state().last.is_some_and(|last| last.index > *stays));
        let Some(stays) = stays else {
            return log.truncate_after(last, done);
        };
        let stays = match log.log_id(stays) {
            Ok(stays) => stays,
            Err(error) => {
                let returned = io::Error::new(error.kind(), error.to_string());
                done(Err(error));
                return Err(returned);
            }
        };
        kept.owed = Some(last);
        log.truncate_after(stays, done)
    }

    /// To be called before entries from index `first` on are appended.
    pub fn make_place(&self, log: &dyn LogStore, first: u64) -> io::Result<()> {
        let mut kept = self.kept();
        let Some(last) = kept.owed else { return Ok(()) };
        if log.state().last.is_some_and(|last| last.index >= first) {
            // Durable with the append that follows it in the log's queue.
            log.truncate_after(last, Box::new(|_| ()))?;
            kept.owed = None;
        }
        Ok(())
    }

    /// Entries up to here are gone.
    pub fn purged(&self, upto: u64) {
        let mut kept = self.kept();
        if kept.owed.is_some_and(|owed| owed.is_none_or(|owed| owed.index < upto)) {
            kept.owed = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_storage::codec::{LeaderId, LogEntry, Payload};
    use quorate_storage::log::{Completion, MemoryLog};

    fn id(term: u64, index: u64) -> LogId {
        LogId {
            leader: LeaderId { term, peer: 1 },
            index,
        }
    }

    fn blank(term: u64, index: u64) -> LogEntry {
        LogEntry {
            log_id: id(term, index),
            payload: Payload::Blank,
        }
    }

    fn ignored() -> Done {
        Box::new(|result| result.expect("a memory log takes it"))
    }

    /// A log of entries 0 to 9 of term 1.
    fn log() -> MemoryLog {
        let log = MemoryLog::new(Completion::Automatic);
        log.append((0..10).map(|index| blank(1, index)).collect(), ignored())
            .expect("they follow each other");
        log
    }

    fn last(log: &MemoryLog) -> Option<LogId> {
        log.state().last
    }

    #[test]
    fn a_truncation_without_an_install_is_done_at_once() {
        let (log, kept) = (log(), Arc::<KeptTail>::default());
        kept.truncate_after(&log, Some(id(1, 3)), ignored()).unwrap();
        assert_eq!(last(&log), Some(id(1, 3)));
        drop(kept.installing(8));
        kept.truncate_after(&log, Some(id(1, 2)), ignored()).unwrap();
        assert_eq!(last(&log), Some(id(1, 2)));
    }

    #[test]
    fn an_install_keeps_what_does_not_contradict_it_until_the_purge() {
        let (log, kept) = (log(), Arc::<KeptTail>::default());
        let installing = kept.installing(8);
        kept.truncate_after(&log, Some(id(1, 3)), ignored()).unwrap();
        assert_eq!(last(&log), Some(id(1, 7)), "8 contradicts, 4 to 7 may be acknowledged");
        log.purge(id(2, 8), ignored()).unwrap();
        kept.purged(8);
        drop(installing);
        kept.make_place(&log, 9).unwrap();
        log.append(vec![blank(2, 9)], ignored()).unwrap();
        assert_eq!(last(&log), Some(id(2, 9)));
    }

    #[test]
    fn a_leader_that_writes_in_their_place_is_not_hindered() {
        let (log, kept) = (log(), Arc::<KeptTail>::default());
        let installing = kept.installing(8);
        kept.truncate_after(&log, None, ignored()).unwrap();
        drop(installing);
        kept.make_place(&log, 0).unwrap();
        log.append(vec![blank(3, 0)], ignored()).unwrap();
        assert_eq!(last(&log), Some(id(3, 0)));
        kept.make_place(&log, 1).unwrap();
        assert_eq!(last(&log), Some(id(3, 0)), "it was owed once");
    }

    #[test]
    fn a_truncation_beyond_the_checkpoint_is_not_held_back() {
        let (log, kept) = (log(), Arc::<KeptTail>::default());
        let _installing = kept.installing(4);
        kept.truncate_after(&log, Some(id(1, 6)), ignored()).unwrap();
        assert_eq!(last(&log), Some(id(1, 6)));
    }
}
