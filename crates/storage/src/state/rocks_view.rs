//! One consistent view of a generation, shared by all who read between two writes.

use super::rocks::Generation;
use rocksdb::Snapshot;
use self_cell::self_cell;
use std::sync::Arc;

self_cell! {
    /// A snapshot and the database it is of.
    struct OwnedSnapshot {
        owner: Arc<Generation>,
        #[not_covariant]
        dependent: SnapshotOf,
    }
}

type SnapshotOf<'a> = Snapshot<'a>;

/// The state at one moment; a generation that is replaced stays readable for as long as a view of it lives.
pub(super) struct RocksView(OwnedSnapshot);

impl RocksView {
    pub(super) fn of(generation: Arc<Generation>) -> RocksView {
        RocksView(OwnedSnapshot::new(generation, |generation| generation.db().snapshot()))
    }

    pub(super) fn read<R>(&self, read: impl FnOnce(&Snapshot<'_>) -> R) -> R {
        self.0.with_dependent(|_, snapshot| read(snapshot))
    }
}
