//! Between two starts of a peer its state only goes forward: index, revision and stamped time.

use super::{Held, holds};
use quorate_consensus::applier::AppliedState;
use std::collections::BTreeMap;

/// What each running peer showed last.
#[derive(Default)]
pub struct MonotoneRevisions {
    last: BTreeMap<usize, AppliedState>,
}

impl MonotoneRevisions {
    /// A peer starts from what its disk holds.
    pub fn started(&mut self, position: usize) {
        self.last.remove(&position);
    }

    pub fn look(&mut self, position: usize, now: AppliedState) -> Held {
        if let Some(before) = self.last.insert(position, now) {
            let forward = now.index >= before.index && now.revision >= before.revision && now.stamped >= before.stamped;
            holds!(forward, "peer {position} (from 0) went from {before:?} back to {now:?}");
        }
        Ok(())
    }
}
