//! Keys that the clients of a group share: a few at a time, each given up for a new one after so many operations. More load is
//! more groups with more keys, and no more clients at one key.

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
    /// Each with the operations it still has; those of a group stand together.
    active: Vec<(u64, u64)>,
    per_group: usize,
    next: u64,
    operations: u64,
}

impl Keys {
    /// Starts with so many keys for each group, of `operations` each.
    pub fn begin(&self, groups: usize, per_group: usize, operations: u64) {
        let count = (groups * per_group) as u64;
        let mut ring = self.ring.lock().expect("no panic while held");
        *ring = Ring {
            active: (0..count).map(|key| (key, operations)).collect(),
            per_group,
            next: count,
            operations,
        };
    }

    /// A key for one operation of a client of this group.
    pub fn pick(&self, group: usize, random: &mut Random) -> u64 {
        let mut ring = self.ring.lock().expect("no panic while held");
        let position = group * ring.per_group + random.below(ring.per_group as u64) as usize;
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
        keys.begin(2, 3, 10);
        let mut random = Random::new(1);
        let mut uses = std::collections::BTreeMap::<u64, u64>::new();
        for number in 0..1_000 {
            *uses.entry(keys.pick(number % 2, &mut random)).or_default() += 1;
        }
        let active = keys.active();
        assert!(uses.iter().all(|(key, uses)| *uses == 10 || active.contains(key)), "{uses:?}");
        assert!(uses.values().all(|uses| *uses <= 10));
        assert_eq!(keys.all().len(), active.iter().max().map_or(0, |last| *last as usize + 1));
        assert_ne!(keys.value(), keys.value());
    }

    #[test]
    fn no_key_is_of_two_groups() {
        let keys = Keys::default();
        keys.begin(3, 2, 10);
        let mut random = Random::new(1);
        let mut groups = std::collections::BTreeMap::<u64, usize>::new();
        for number in 0..1_000 {
            let group = number % 3;
            let first = *groups.entry(keys.pick(group, &mut random)).or_insert(group);
            assert_eq!(first, group);
        }
        assert_eq!(keys.active().len(), 6);
    }
}
