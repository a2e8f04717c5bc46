//! Keys that clients share: a few at a time, each given up for a new one after so many operations.

use crate::seeded::Random;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Numbers keys and values of a run.
#[derive(Default)]
pub struct Keys {
    ring: Mutex<Ring>,
    values: AtomicU64,
}

#[derive(Default)]
struct Ring {
    /// Each with the operations it still has.
    active: Vec<(u64, u64)>,
    next: u64,
    operations: u64,
}

impl Keys {
    /// Starts with `count` keys of `operations` each.
    pub fn begin(&self, count: usize, operations: u64) {
        let mut ring = self.ring.lock().expect("no panic while held");
        *ring = Ring {
            active: (0..count as u64).map(|key| (key, operations)).collect(),
            next: count as u64,
            operations,
        };
    }

    /// A key for one operation.
    pub fn pick(&self, random: &mut Random) -> u64 {
        let mut ring = self.ring.lock().expect("no panic while held");
        let position = random.below(ring.active.len() as u64) as usize;
        let (key, left) = ring.active[position];
        if left > 1 {
            ring.active[position].1 = left - 1;
        } else {
            ring.active[position] = (ring.next, ring.operations);
            ring.next += 1;
        }
        key
    }

    /// A value nobody had before.
    pub fn value(&self) -> u64 {
        self.values.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The value given out last; they count from 1.
    pub fn last_value(&self) -> u64 {
        self.values.load(Ordering::Relaxed)
    }

    pub fn active(&self) -> Vec<u64> {
        let ring = self.ring.lock().expect("no panic while held");
        ring.active.iter().map(|(key, _)| *key).collect()
    }

    /// Every key there ever was.
    pub fn all(&self) -> Vec<u64> {
        (0..self.ring.lock().expect("no panic while held").next).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_up_after_its_operations_and_none_comes_back() {
        let keys = Keys::default();
        keys.begin(3, 10);
        let mut random = Random::new(1);
        let mut uses = std::collections::BTreeMap::<u64, u64>::new();
        for _ in 0..1_000 {
            *uses.entry(keys.pick(&mut random)).or_default() += 1;
        }
        let active = keys.active();
        assert!(uses.iter().all(|(key, uses)| *uses == 10 || active.contains(key)), "{uses:?}");
        assert!(uses.values().all(|uses| *uses <= 10));
        assert_eq!(keys.all().len(), active.iter().max().map_or(0, |last| *last as usize + 1));
        assert_ne!(keys.value(), keys.value());
    }
}
