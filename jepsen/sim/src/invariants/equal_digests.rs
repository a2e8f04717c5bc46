//! Peers that have applied the same entry have the same state.

use super::{Held, holds};
use quorate_state_machine::digest::Digests;
use std::collections::BTreeMap;

/// The digests after each entry, with the first peer that showed them.
#[derive(Default)]
pub struct EqualDigests {
    known: BTreeMap<u64, (usize, Digests)>,
}

impl EqualDigests {
    pub fn compare(&mut self, position: usize, digests: Digests) -> Held {
        // A peer that has applied nothing shows no index of its own.
        if digests == Digests::default() {
            return Ok(());
        }
        let (first, known) = self.known.entry(digests.index).or_insert((position, digests));
        holds!(
            *known == digests,
            "peers {first} and {position} (from 0) differ after entry {}",
            digests.index
        );
        Ok(())
    }
}
