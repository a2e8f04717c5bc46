//! Where each entry stands: index to segment file and offset.
//!
//! Four bytes per entry and no map: within one file the live entries have indexes that follow each other, so a vector of
//! offsets per file is enough. It changes when a group is durable, in the order of the file, never earlier.

use std::collections::VecDeque;
use std::fs::File;
use std::sync::Arc;

/// One entry's place. Holds the file open, so a reader is not disturbed when the file is unlinked.
#[derive(Clone, Debug)]
pub(crate) struct Location {
    pub index: u64,
    pub file: Arc<File>,
    pub segment: u64,
    pub offset: u32,
}

#[derive(Debug)]
struct SegmentEntries {
    number: u64,
    file: Arc<File>,
    first_index: u64,
    offsets: Vec<u32>,
}

impl SegmentEntries {
    fn end(&self) -> u64 {
        self.first_index + self.offsets.len() as u64
    }
}

/// Oldest file first; the last one is the one being written.
#[derive(Debug, Default)]
pub(crate) struct EntryIndex {
    segments: VecDeque<SegmentEntries>,
}

impl EntryIndex {
    pub fn add_segment(&mut self, number: u64, file: Arc<File>) {
        self.segments.push_back(SegmentEntries {
            number,
            file,
            first_index: 0,
            offsets: Vec::new(),
        });
    }

    /// Notes an entry of the last file.
    pub fn push(&mut self, index: u64, offset: u32) {
        let segment = self.segments.back_mut().expect("a segment is added before its entries");
        if segment.offsets.is_empty() {
            segment.first_index = index;
        }
        assert_eq!(segment.end(), index, "entries of a file follow each other");
        segment.offsets.push(offset);
    }

    /// Forgets entries from `end` on.
    pub fn truncate(&mut self, end: u64) {
        for segment in &mut self.segments {
            let keep = end.saturating_sub(segment.first_index).min(segment.offsets.len() as u64);
            segment.offsets.truncate(keep as usize);
        }
    }

    /// Forgets entries before `first`, file by file: a file that holds a later one keeps its vector whole.
    pub fn purge(&mut self, first: u64) {
        for segment in self.segments.iter_mut().filter(|segment| segment.end() <= first) {
            segment.offsets = Vec::new();
        }
    }

    /// Removes the oldest files as far as none of their entries is live, and returns their numbers.
    pub fn take_obsolete(&mut self) -> Vec<u64> {
        let mut obsolete = Vec::new();
        while self.segments.len() > 1 && self.segments[0].offsets.is_empty() {
            obsolete.extend(self.segments.pop_front().map(|segment| segment.number));
        }
        obsolete
    }

    pub fn locate(&self, index: u64) -> Option<Location> {
        let segment = self
            .segments
            .iter()
            .rev()
            .find(|segment| segment.first_index <= index && index < segment.end())?;
        let offset = segment.offsets[(index - segment.first_index) as usize];
        Some(Location {
            index,
            file: segment.file.clone(),
            segment: segment.number,
            offset,
        })
    }

    /// The first index of `first..end` that stands in no file.
    pub fn first_gap(&self, first: u64, end: u64) -> Option<u64> {
        let mut expected = first;
        for segment in self.segments.iter().filter(|segment| !segment.offsets.is_empty()) {
            if segment.first_index > expected {
                break;
            }
            expected = expected.max(segment.end());
        }
        (expected < end).then_some(expected)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_of_two_files() -> EntryIndex {
        let file = Arc::new(tempfile::tempfile().unwrap());
        let mut index = EntryIndex::default();
        index.add_segment(1, file.clone());
        (0..5).for_each(|entry| index.push(entry, 100 + entry as u32));
        index.add_segment(2, file);
        (5..8).for_each(|entry| index.push(entry, entry as u32));
        index
    }

    fn place(index: &EntryIndex, entry: u64) -> Option<(u64, u32)> {
        index.locate(entry).map(|location| (location.segment, location.offset))
    }

    #[test]
    fn entries_are_found_in_their_files() {
        let index = index_of_two_files();
        assert_eq!(place(&index, 4), Some((1, 104)));
        assert_eq!(place(&index, 5), Some((2, 5)));
        assert_eq!(place(&index, 8), None);
        assert_eq!(index.first_gap(0, 8), None);
        assert_eq!(index.first_gap(0, 9), Some(8));
    }

    #[test]
    fn truncation_reaches_into_older_files() {
        let mut index = index_of_two_files();
        index.truncate(3);
        index.push(3, 900);
        assert_eq!(place(&index, 2), Some((1, 102)));
        assert_eq!(place(&index, 3), Some((2, 900)));
        assert_eq!(place(&index, 4), None);
        assert_eq!(index.first_gap(0, 4), None);
    }

    #[test]
    fn only_leading_files_without_live_entries_are_obsolete() {
        let mut index = index_of_two_files();
        index.purge(3);
        assert!(index.take_obsolete().is_empty());
        index.purge(5);
        assert_eq!(index.take_obsolete(), [1]);
        index.purge(100);
        assert!(index.take_obsolete().is_empty(), "the file being written stays");
        index.push(100, 1);
        assert_eq!(place(&index, 100), Some((2, 1)));
    }
}
