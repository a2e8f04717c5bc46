//! The newest entries in memory.
//!
//! Entries are readable before they are durable, so whatever is not written yet must be here; beyond that the tail is
//! bounded by weight. Replication and apply read entries moments after they were appended: they never touch a file.

use crate::codec::LogEntry;
use std::collections::VecDeque;

#[derive(Debug, Default)]
pub(crate) struct Tail {
    /// With the number each entry got when it was appended: an index is used again after a truncation, this is not.
    entries: VecDeque<(u64, LogEntry)>,
    weight: usize,
    appended: u64,
    /// Entries numbered below this one are durable.
    durable: u64,
}

impl Tail {
    pub fn push(&mut self, entry: LogEntry) {
        self.weight += entry.weight();
        self.entries.push_back((self.appended, entry));
        self.appended += 1;
    }

    pub fn get(&self, index: u64) -> Option<&LogEntry> {
        let position = index.checked_sub(self.first_index()?)?;
        self.entries.get(usize::try_from(position).ok()?).map(|(_, entry)| entry)
    }

    pub fn first_index(&self) -> Option<u64> {
        self.entries.front().map(|(_, entry)| entry.log_id.index)
    }

    /// Forgets entries from `end` on.
    pub fn truncate(&mut self, end: u64) {
        while self.entries.back().is_some_and(|(_, entry)| entry.log_id.index >= end) {
            self.weight -= self.entries.pop_back().map_or(0, |(_, entry)| entry.weight());
        }
    }

    /// Forgets entries before `first`.
    pub fn purge(&mut self, first: u64) {
        while self.entries.front().is_some_and(|(_, entry)| entry.log_id.index < first) {
            self.pop_front();
        }
    }

    /// The next `count` appended entries are durable; drops the oldest durable ones until the weight is within bounds.
    pub fn made_durable(&mut self, count: u64, weight_max: usize) {
        self.durable += count;
        while self.weight > weight_max && self.entries.front().is_some_and(|(number, _)| *number < self.durable) {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        self.weight -= self.entries.pop_front().map_or(0, |(_, entry)| entry.weight());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{LeaderId, LogId, Payload};

    fn entry(index: u64) -> LogEntry {
        LogEntry {
            log_id: LogId {
                leader: LeaderId::default(),
                index,
            },
            payload: Payload::Blank,
        }
    }

    #[test]
    fn entries_that_are_not_durable_stay_whatever_they_weigh() {
        let mut tail = Tail::default();
        (0..4).for_each(|index| tail.push(entry(index)));
        tail.made_durable(2, 0);
        assert_eq!(tail.first_index(), Some(2));
        assert!(tail.get(1).is_none());
        assert_eq!(tail.get(3), Some(&entry(3)));
    }

    #[test]
    fn an_index_written_again_is_not_taken_for_the_durable_one() {
        let mut tail = Tail::default();
        (0..4).for_each(|index| tail.push(entry(index)));
        tail.truncate(2);
        tail.push(entry(2));
        tail.made_durable(4, 0);
        assert_eq!(tail.first_index(), Some(2), "the second entry 2 is the fifth appended");
        tail.purge(3);
        assert_eq!(tail.first_index(), None);
    }
}
