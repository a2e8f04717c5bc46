//! Reading RocksDB as the state machine's sorted map.

use super::damage::Damage;
use super::rocks_view::{KeptRows, get_kept};
use bytes::Bytes;
use quorate_state_machine::{Cursor, Reader, StoreError, keys, store::prefix_end};
use rocksdb::{DBRawIterator, ReadOptions, Snapshot};

/// One consistent view.
pub(super) struct RocksReader<'a> {
    pub snapshot: &'a Snapshot<'a>,
    pub kept: &'a KeptRows,
    pub damage: &'a Damage,
}

/// What a caller hears of it; damage is remembered.
fn failed(damage: &Damage, error: rocksdb::Error) -> StoreError {
    damage.note(&error);
    StoreError(error.to_string())
}

impl Reader for RocksReader<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        get_kept(self.kept, key, || {
            let value = self.snapshot.get_pinned(key).map_err(|error| failed(self.damage, error))?;
            Ok(value.map(|value| Bytes::copy_from_slice(&value)))
        })
    }

    fn cursor<'a>(&'a self, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'a>, StoreError> {
        self.cursor_with(ReadOptions::default(), start, end)
    }

    fn sweep<'a>(&'a self, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'a>, StoreError> {
        let mut options = ReadOptions::default();
        options.fill_cache(false);
        self.cursor_with(options, start, end)
    }

    fn first_in_prefix(&self, prefix: &[u8], key: &[u8]) -> Result<Option<(Bytes, Bytes)>, StoreError> {
        let mut options = ReadOptions::default();
        // The filter covers versioned keys without their revision and other keys whole. So it may be asked only when the prefix is
        // exactly that and something follows: of a key that is the prefix itself it would say that nothing longer is there.
        if keys::filter_prefix(key) == prefix && key.len() > prefix.len() {
            options.set_prefix_same_as_start(true);
        } else {
            options.set_total_order_seek(true);
            options.set_iterate_upper_bound(prefix_end(prefix));
        }
        let mut iterator = self.snapshot.raw_iterator_opt(options);
        iterator.seek(key);
        match iterator.item() {
            Some((key, value)) if key.starts_with(prefix) => Ok(Some((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)))),
            Some(_) => Ok(None),
            None => iterator.status().map_err(|error| failed(self.damage, error)).map(|()| None),
        }
    }
}

impl RocksReader<'_> {
    fn cursor_with<'a>(&'a self, mut options: ReadOptions, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'a>, StoreError> {
        options.set_total_order_seek(true);
        options.set_iterate_upper_bound(end);
        let mut cursor = RocksCursor {
            iterator: self.snapshot.raw_iterator_opt(options),
            damage: self.damage,
        };
        cursor.seek(start)?;
        Ok(Box::new(cursor))
    }
}

struct RocksCursor<'a> {
    iterator: DBRawIterator<'a>,
    damage: &'a Damage,
}

impl RocksCursor<'_> {
    fn check(&self) -> Result<(), StoreError> {
        if self.iterator.valid() {
            Ok(())
        } else {
            self.iterator.status().map_err(|error| failed(self.damage, error))
        }
    }
}

impl Cursor for RocksCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.iterator.seek(key);
        self.check()
    }

    fn next(&mut self) -> Result<(), StoreError> {
        if self.iterator.valid() {
            self.iterator.next();
        }
        self.check()
    }

    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.iterator.item()
    }
}
