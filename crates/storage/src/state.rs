//! The state engine: one sorted map, written one group at a time, with checkpoints that cost hard links.
//!
//! The state has no log of its own: after a crash it is as it was at its last flush, and the Raft log fills the gap. So
//! each batch carries the id of the entry it brings the state to, and only the *durable* one limits what the log may drop.

mod active;
mod checkpoint;
mod damage;
mod manifest;
mod memory;
mod rocks;
mod rocks_reader;
mod rocks_view;

pub use checkpoint::{Checkpoint, CheckpointFile, checksum};
pub use memory::MemoryState;
pub use rocks::{RocksState, RocksStateOptions, is_damage, wait_closed};

use crate::codec::{LogId, StoredMembership};
use bytes::Bytes;
use quorate_state_machine::Reader;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Rows storage keeps in the state about Raft itself; written in the same batch as what they describe.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RaftRows {
    /// Entry the state has been brought to.
    pub applied: Option<LogId>,
    /// Last applied membership, with the entry that carried it.
    pub membership: StoredMembership,
}

/// A replicated state as one peer keeps it.
pub trait StateEngine: Send + Sync + 'static {
    /// Runs `read` on a consistent view of everything committed so far.
    fn read(&self, read: &mut dyn FnMut(&dyn Reader));

    /// Writes one group, all or nothing: rows, the entry they bring the state to, and the membership if the group
    /// changed it. Not durable until flushed.
    fn commit(&self, writes: &[(Bytes, Option<Bytes>)], applied: LogId, membership: Option<&StoredMembership>) -> io::Result<()>;

    fn raft_rows(&self) -> io::Result<RaftRows>;

    /// Entry up to which the state would survive a crash now.
    fn durable_applied(&self) -> io::Result<Option<LogId>>;

    /// Makes everything committed durable.
    fn flush(&self) -> io::Result<()>;

    /// A durable image of the state as it is now.
    fn checkpoint(&self) -> io::Result<Arc<Checkpoint>>;

    /// Where the files of a checkpoint that is being received are kept between attempts.
    fn incoming_dir(&self) -> PathBuf;

    /// Replaces the state by the complete checkpoint in `incoming_dir`, durably, and switches readers to it.
    fn install(&self, expected: &RaftRows) -> io::Result<()>;

    /// Bytes on disk and in memory, for status and metrics.
    fn sizes(&self) -> StateSizes;

    /// What a read or a write has met that is not what was written. The next opening of the state refuses it as damaged.
    fn damage(&self) -> Option<String> {
        None
    }

    /// Has the next opening refuse the state: what is in it is known to be wrong.
    fn mark_damaged(&self, _what: &str) {}
}

/// What the state occupies.
#[derive(Clone, Copy, Debug, Default)]
pub struct StateSizes {
    pub disk_bytes: u64,
    /// Rows that only memory and the log hold.
    pub memtable_bytes: u64,
    pub rows_estimate: u64,
    /// Flushed files that wait for their first compaction, each of which every read looks into.
    pub level0_files: u64,
    /// What compaction has still to rewrite.
    pub compaction_pending_bytes: u64,
    /// Writes are held back until flushes and compactions have caught up.
    pub writes_held: bool,
}

/// Runs a read that gives a value.
pub fn read_with<R>(engine: &dyn StateEngine, mut read: impl FnMut(&dyn Reader) -> R) -> R {
    let mut result = None;
    engine.read(&mut |reader| result = Some(read(reader)));
    result.expect("StateEngine::read runs its closure exactly once")
}

/// Keys of Raft's own rows.
pub(crate) mod raft_keys {
    pub const APPLIED: &[u8] = b"\x00applied";
    pub const MEMBERSHIP: &[u8] = b"\x00membership";
}
