//! A group's writes laid over the store as it was when the group began.
//!
//! A later command of a group must see what an earlier one did, though nothing is written before the whole group is:
//! this is what makes one batch per group equal to one batch per command.

use crate::changes::{Before, Change};
use crate::digest::{RowState, row_hash};
use crate::store::{Cursor, Reader, StoreError, prefix_end};
use bytes::Bytes;
use quorate_model::mutant;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound::{Excluded, Included};

/// Reads through the group's writes.
pub struct View<'a> {
    base: &'a dyn Reader,
    writes: BTreeMap<Bytes, Option<Bytes>>,
}

impl<'a> View<'a> {
    pub fn new(base: &'a dyn Reader) -> View<'a> {
        View {
            base,
            writes: BTreeMap::new(),
        }
    }

    /// Lays one write over and tells `account` the row before and after it. The store is not asked when the change knows what was there;
    /// but the overlay knows better: a fresh row that a command writes twice, or a known one that it removes twice, is accounted for once.
    pub fn write(&mut self, change: Change, account: impl FnOnce(&[u8], RowState<'_>, RowState<'_>)) -> Result<(), StoreError> {
        let Change { key, value, before, hash } = change;
        let after = hash.map_or_else(|| RowState::from(value.as_deref()), RowState::Hash);
        match self.writes.entry(key) {
            Entry::Occupied(mut row) => {
                account(row.key(), RowState::from(row.get().as_deref()), after);
                row.insert(value);
            }
            Entry::Vacant(row) => {
                debug_assert!(
                    bears_out(self.base, row.key(), before)?,
                    "row {:02x?} was not as its change says: {before:?}",
                    row.key().as_ref()
                );
                match before {
                    Before::Absent => account(row.key(), RowState::Absent, after),
                    Before::Hash(hash) => account(row.key(), RowState::Hash(hash), after),
                    Before::Unknown => {
                        let mut account = Some(account);
                        self.base.look_at(row.key(), &mut |found| {
                            if let Some(account) = account.take() {
                                account(row.key(), RowState::from(found), after);
                            }
                        })?;
                    }
                }
                row.insert(value);
            }
        }
        Ok(())
    }

    /// Whether this group removed the row.
    pub fn is_removed(&self, key: &[u8]) -> bool {
        matches!(self.writes.get(key), Some(None))
    }

    /// All writes of the group, by key; the last one of each key.
    pub fn into_writes(self) -> Vec<(Bytes, Option<Bytes>)> {
        self.writes.into_iter().collect()
    }
}

/// Whether a row is what its change says it was. Costs the read that is spared otherwise; by `get`, so that tests can tell it from those
/// that apply needs, which look.
fn bears_out(base: &dyn Reader, key: &[u8], before: Before) -> Result<bool, StoreError> {
    Ok(match before {
        Before::Unknown => true,
        Before::Absent => base.get(key)?.is_none(),
        Before::Hash(hash) => base.get(key)?.is_some_and(|value| row_hash(key, &value) == hash),
    })
}

impl Reader for View<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        match self.writes.get(key).filter(|_| !mutant!("apply-without-overlay")) {
            Some(value) => Ok(value.clone()),
            None => self.base.get(key),
        }
    }

    fn look_at(&self, key: &[u8], look: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), StoreError> {
        match self.writes.get(key) {
            Some(value) => look(value.as_deref()),
            None => self.base.look_at(key, look)?,
        }
        Ok(())
    }

    fn cursor<'b>(&'b self, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'b>, StoreError> {
        let mut cursor = ViewCursor {
            writes: &self.writes,
            end: end.to_vec(),
            over: None,
            base: self.base.cursor(start, end)?,
        };
        cursor.place_over(Included(start));
        cursor.settle()?;
        Ok(Box::new(cursor))
    }

    fn first_in_prefix(&self, prefix: &[u8], key: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let end = prefix_end(prefix);
        let key = key.max(prefix);
        if key >= end.as_slice() {
            return Ok(None);
        }
        if self
            .writes
            .range::<[u8], _>((Included(key), Excluded(end.as_slice())))
            .next()
            .is_none()
        {
            return self.base.first_in_prefix(prefix, key);
        }
        let cursor = self.cursor(key, &end)?;
        Ok(cursor
            .row()
            .map(|(key, value)| (Bytes::copy_from_slice(key), Bytes::copy_from_slice(value))))
    }
}

/// Merges the overlay and the base by key; the overlay wins, and its removals hide base rows.
struct ViewCursor<'a> {
    writes: &'a BTreeMap<Bytes, Option<Bytes>>,
    end: Vec<u8>,
    over: Option<(&'a Bytes, &'a Option<Bytes>)>,
    base: Box<dyn Cursor + 'a>,
}

impl ViewCursor<'_> {
    fn place_over(&mut self, from: std::ops::Bound<&[u8]>) {
        let empty = match from {
            Included(key) | Excluded(key) => key >= self.end.as_slice(),
            std::ops::Bound::Unbounded => false,
        };
        self.over = if empty {
            None
        } else {
            self.writes.range::<[u8], _>((from, Excluded(self.end.as_slice()))).next()
        };
    }

    fn step_over(&mut self) {
        if let Some((key, _)) = self.over {
            self.place_over(Excluded(key.as_ref()));
        }
    }

    /// Skips removed rows, and base rows that the overlay replaces.
    fn settle(&mut self) -> Result<(), StoreError> {
        while let Some((over_key, over_value)) = self.over {
            let base_key = self.base.row().map(|(key, _)| key);
            match base_key.map(|key| key.cmp(over_key.as_ref())) {
                Some(std::cmp::Ordering::Less) => return Ok(()),
                Some(std::cmp::Ordering::Equal) => self.base.next()?,
                _ if over_value.is_none() => self.step_over(),
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    fn overlay_is_first(&self) -> bool {
        match (self.over, self.base.row()) {
            (Some((over, _)), Some((base, _))) => over.as_ref() < base,
            (over, _) => over.is_some(),
        }
    }
}

impl Cursor for ViewCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.place_over(Included(key));
        self.base.seek(key)?;
        self.settle()
    }

    fn next(&mut self) -> Result<(), StoreError> {
        if self.overlay_is_first() {
            self.step_over();
        } else {
            self.base.next()?;
        }
        self.settle()
    }

    fn row(&self) -> Option<(&[u8], &[u8])> {
        if self.overlay_is_first() {
            let (key, value) = self.over?;
            return Some((key.as_ref(), value.as_ref()?.as_ref()));
        }
        self.base.row()
    }
}

#[cfg(test)]
mod tests;
