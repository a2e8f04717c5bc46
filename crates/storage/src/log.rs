//! The Raft log store: its contract, and two implementations.

mod directory;
mod entry_index;
mod file_log;
mod group;
mod high_water;
mod memory_log;
mod open_error;
mod options;
mod preparer;
mod queue;
mod reader;
mod record;
mod recovery;
mod segment;
mod tail;
mod transition;
mod writer;

pub use file_log::FileLog;
pub use memory_log::{Completion, CrashReport, MemoryLog};
pub use open_error::OpenError;
pub use options::{APPEND_BYTES_MAX, BeforeStep, ENTRY_BYTES_MAX, FileLogOptions, Step, Verdict};
pub use recovery::{RecoveryReport, TornTail};

use crate::codec::{LogEntry, LogId, Vote};
use std::io;

/// Called exactly once, from any thread, when everything up to and including the request it was given with is durable,
/// or when it can never be. An error means the process must stop: nothing after it is acknowledged. When the call that was
/// given it returns an error, it has been called with that error too. It must not wait for the log itself.
pub type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What the log knows at once, from memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogState {
    /// Last entry removed by [`LogStore::purge`].
    pub purged: Option<LogId>,
    /// Last entry present, durable or not; `purged` if none is.
    pub last: Option<LogId>,
    pub vote: Option<Vote>,
    /// Last committed log id written with a group; a lower bound after a restart.
    pub committed: Option<LogId>,
}

/// An append-only log of entries with indexes that follow each other, plus the vote.
///
/// All changes go through one queue and become durable in the order they were given: a completion covers everything
/// before it. Entries and vote can be read as soon as the call that gave them returns.
pub trait LogStore: Send + Sync + 'static {
    fn state(&self) -> LogState;

    /// Adds entries whose first index is `last + 1`. Blocks while more than the queue's bound of bytes waits.
    fn append(&self, entries: Vec<LogEntry>, done: Done) -> io::Result<()>;

    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()>;

    /// Remembers the committed id; it travels with the next group and costs no sync of its own.
    fn set_committed(&self, committed: Option<LogId>);

    /// Removes every entry after `last` (all when `None`).
    fn truncate_after(&self, last: Option<LogId>, done: Done) -> io::Result<()>;

    /// Removes every entry up to and including `upto`, which may lie beyond the last entry (after a snapshot install).
    fn purge(&self, upto: LogId, done: Done) -> io::Result<()>;

    /// Entries of `start..end` that exist, in order, at least one and then no more than `max_bytes` of weight.
    /// An error when an index inside (purged, last] cannot be read.
    fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<LogEntry>>;

    /// Bytes of entries appended since this log was opened; only grows.
    fn appended_bytes(&self) -> u64;

    /// Bytes the log occupies now.
    fn stored_bytes(&self) -> u64;

    /// The id of the entry at `index`, of the purged id included.
    fn log_id(&self, index: u64) -> io::Result<Option<LogId>>;
}
