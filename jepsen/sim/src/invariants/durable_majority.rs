//! Committed is never lost: what any peer applies lies, synced, on a majority of disks at that moment. A disk that was emptied
//! since counts for what it had: it may have been a moment ago, and that an entry was committed is heard only later.

use super::{Held, holds};
use crate::disk::Disk;
use quorate_state_machine::Position;
use quorate_storage::codec::{LeaderId, LogId};
use std::sync::Arc;

/// The last entry that was applied by anybody.
#[derive(Default)]
pub struct DurableMajority {
    newest: u64,
    /// What was emptied, by position.
    emptied: Vec<(usize, Arc<Disk>)>,
}

impl DurableMajority {
    pub fn emptied(&mut self, position: usize, disk: Arc<Disk>) {
        self.emptied.push((position, disk));
    }

    /// To be asked whenever a peer applies an entry; those applied before by somebody have been looked at.
    pub fn applied(&mut self, position: Position, disks: &[Arc<Disk>], quorum: usize) -> Held {
        if position.index <= self.newest {
            return Ok(());
        }
        self.newest = position.index;
        let leader = LeaderId {
            term: position.term,
            peer: position.peer,
        };
        let id = LogId {
            leader,
            index: position.index,
        };
        let had = |position| {
            let mut emptied = self.emptied.iter().filter(|(emptied, _)| *emptied == position);
            emptied.any(|(_, disk)| disk.keeps(&id))
        };
        let holding = (0..disks.len()).filter(|position| disks[*position].keeps(&id) || had(*position));
        let holding = holding.count();
        holds!(
            holding >= quorum,
            "entry {id:?} is applied and lies on {holding} disks; a majority is {quorum}"
        );
        Ok(())
    }
}
