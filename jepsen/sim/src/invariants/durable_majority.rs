//! Committed is never lost: what any peer applies lies, synced, on a majority of disks at that moment.

use super::{Held, holds};
use crate::disk::Disk;
use quorate_state_machine::Position;
use quorate_storage::codec::{LeaderId, LogId};
use std::sync::Arc;

/// The last entry that was applied by anybody.
#[derive(Default)]
pub struct DurableMajority {
    newest: u64,
}

impl DurableMajority {
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
        let holding = disks.iter().filter(|disk| disk.keeps(&id)).count();
        holds!(
            holding >= quorum,
            "entry {id:?} is applied and lies on {holding} disks; a majority is {quorum}"
        );
        Ok(())
    }
}
