//! Chance, so that faults come at other moments each time.

use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

/// A number from 0 to `bound` - 1.
pub fn up_to(bound: u64) -> u64 {
    RandomState::new().build_hasher().finish() % bound
}
