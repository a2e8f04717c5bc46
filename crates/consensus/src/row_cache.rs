//! Rows the apply thread reads again and again: sessions, answer slots, instances, index rows.
//!
//! A point read of the store costs a walk through its memtables, several per command and at every peer; most rows read are
//! rows written a moment ago. The applier is the only writer, so a copy it keeps is never stale: it takes over each group's
//! writes when they are committed and is emptied when the state is replaced. Only plain rows are kept: versions of keys are
//! written once and seldom read by apply.

use bytes::Bytes;
use quorate_state_machine::keys::space;
use quorate_state_machine::{Cursor, Reader, StoreError};
use std::cell::RefCell;
use std::collections::HashMap;

/// Bytes of keys and values kept; beyond it the cache starts anew, which costs one read per row that is still in use.
const MAX_BYTES: usize = 24 << 20;
/// A larger value is not kept.
const MAX_VALUE_BYTES: usize = 16 << 10;

/// Copies of rows, absent ones included.
#[derive(Default)]
pub struct RowCache {
    rows: HashMap<Bytes, Option<Bytes>>,
    bytes: usize,
}

impl RowCache {
    /// Reads through the cache.
    pub fn over<'a>(&'a mut self, base: &'a dyn Reader) -> CachedReader<'a> {
        CachedReader {
            base,
            cache: RefCell::new(self),
        }
    }

    /// Takes over what a group has written.
    pub fn written(&mut self, writes: Vec<(Bytes, Option<Bytes>)>) {
        for (key, value) in writes {
            self.keep(key, value);
        }
    }

    pub fn clear(&mut self) {
        self.rows.clear();
        self.bytes = 0;
    }

    fn keep(&mut self, key: Bytes, value: Option<Bytes>) {
        if !is_kept(&key) {
            return;
        }
        let size = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        if size(&value) > MAX_VALUE_BYTES {
            self.bytes -= self.rows.remove(&key).map_or(0, |old| key.len() + size(&old));
            return;
        }
        if self.bytes > MAX_BYTES {
            self.clear();
        }
        self.bytes += key.len() + size(&value);
        // A copy of its own: a slice would keep the whole entry it came from alive.
        let value = value.map(|value| Bytes::copy_from_slice(&value));
        let key_bytes = key.len();
        if let Some(old) = self.rows.insert(key, value) {
            self.bytes -= key_bytes + size(&old);
        }
    }
}

fn is_kept(key: &[u8]) -> bool {
    matches!(key.first(), Some(&(space::COUNTERS | space::SESSION | space::SLOT | space::RECORD)))
}

/// A reader whose point reads go through the cache.
pub struct CachedReader<'a> {
    base: &'a dyn Reader,
    cache: RefCell<&'a mut RowCache>,
}

impl Reader for CachedReader<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        if !is_kept(key) {
            return self.base.get(key);
        }
        if let Some(value) = self.cache.borrow().rows.get(key) {
            return Ok(value.clone());
        }
        let value = self.base.get(key)?;
        self.cache.borrow_mut().keep(Bytes::copy_from_slice(key), value.clone());
        Ok(value)
    }

    fn look_at(&self, key: &[u8], look: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), StoreError> {
        if let Some(value) = self.cache.borrow().rows.get(key) {
            look(value.as_deref());
            return Ok(());
        }
        look(self.get(key)?.as_deref());
        Ok(())
    }

    fn cursor<'a>(&'a self, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'a>, StoreError> {
        self.base.cursor(start, end)
    }

    fn first_in_prefix(&self, prefix: &[u8], key: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        self.base.first_in_prefix(prefix, key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_state_machine::store::MapStore;

    #[test]
    fn the_cache_answers_like_the_store_and_stays_within_its_bound() {
        let mut store = MapStore::default();
        let mut cache = RowCache::default();
        for round in 0..40_000u32 {
            let key: Bytes = [&[space::RECORD][..], &(round % 7_001).to_be_bytes()].concat().into();
            let value = (round % 3 != 0).then(|| Bytes::from(vec![round as u8; 1 + (round as usize * 37) % 20_000]));
            let write = [(key.clone(), value.clone())];
            assert_eq!(cache.over(&store).get(&key).expect("read"), store.rows.get(&key).cloned());
            store.write(&write);
            cache.written(write.to_vec());
            assert_eq!(cache.over(&store).get(&key).expect("read"), value);
            assert!(cache.bytes <= MAX_BYTES + MAX_VALUE_BYTES + 16);
        }
        let kept: usize = cache
            .rows
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len))
            .sum();
        assert_eq!(kept, cache.bytes);
    }
}
