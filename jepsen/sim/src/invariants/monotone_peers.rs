//! A peer never answers from a state older than one it has answered from, though nobody asked for a fresh one: not after a
//! restart either.

use super::{Held, holds};
use std::collections::BTreeMap;

/// The newest revision each peer has answered from.
#[derive(Default)]
pub struct MonotonePeers {
    answered: BTreeMap<usize, u64>,
}

impl MonotonePeers {
    /// What an answer to a question that is asked now must have reached.
    pub fn begins(&self, position: usize) -> u64 {
        self.answered.get(&position).copied().unwrap_or(0)
    }

    pub fn answered(&mut self, position: usize, revision: u64, floor: u64) -> Held {
        holds!(
            revision >= floor,
            "peer {position} (from 0) answered from revision {revision}; before that it had answered from {floor}"
        );
        let newest = self.answered.entry(position).or_default();
        *newest = revision.max(*newest);
        Ok(())
    }

    /// Its disk was emptied: whoever comes back there is another peer.
    pub fn forget(&mut self, position: usize) {
        self.answered.remove(&position);
    }
}
