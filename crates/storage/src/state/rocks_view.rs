//! One consistent view of a generation, shared by all who read between two writes.

use super::rocks::Generation;
use super::rocks_reader::RocksReader;
use bytes::Bytes;
use quorate_state_machine::{StoreError, keys};
use rocksdb::Snapshot;
use self_cell::self_cell;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

self_cell! {
    /// A snapshot and the database it is of.
    struct OwnedSnapshot {
        owner: Arc<Generation>,
        #[not_covariant]
        dependent: SnapshotOf,
    }
}

type SnapshotOf<'a> = Snapshot<'a>;

/// Rows kept in memory: beyond that many, reads go to the store.
const MAX_KEPT_ROWS: usize = 4_096;

/// The state at one moment; a generation that is replaced stays readable for as long as a view of it lives.
pub(super) struct RocksView {
    snapshot: OwnedSnapshot,
    /// Rows that have been read and will be read again: a view does not change.
    kept: KeptRows,
}

impl RocksView {
    pub(super) fn of(generation: Arc<Generation>) -> RocksView {
        RocksView {
            snapshot: OwnedSnapshot::new(generation, |generation| generation.db().snapshot()),
            kept: Mutex::default(),
        }
    }

    pub(super) fn read<R>(&self, read: impl FnOnce(&RocksReader<'_>) -> R) -> R {
        self.snapshot.with_dependent(|generation, snapshot| {
            read(&RocksReader {
                snapshot,
                damage: &generation.damage,
                kept: &self.kept,
            })
        })
    }
}

pub(super) type KeptRows = Mutex<HashMap<Bytes, Option<Bytes>>>;

/// Reads a row through the kept ones.
pub(super) fn get_kept(
    kept: &KeptRows,
    key: &[u8],
    get: impl FnOnce() -> Result<Option<Bytes>, StoreError>,
) -> Result<Option<Bytes>, StoreError> {
    if !keys::is_looked_at_by_all(key) {
        return get();
    }
    if let Some(value) = lock(kept).get(key) {
        return Ok(value.clone());
    }
    let value = get()?;
    let mut rows = lock(kept);
    if rows.len() < MAX_KEPT_ROWS {
        rows.insert(Bytes::copy_from_slice(key), value.clone());
    }
    Ok(value)
}

fn lock(kept: &KeptRows) -> MutexGuard<'_, HashMap<Bytes, Option<Bytes>>> {
    kept.lock().expect("nobody panics while holding this lock")
}
