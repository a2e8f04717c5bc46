//! What the owner of a log chooses, and every bound of the log in one place.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// No payload is larger: the cluster refuses entries over 8 MiB, this leaves room for the packing around commands.
pub const ENTRY_BYTES_MAX: usize = 9 << 20;

/// One append is one piece of a group and is never split. Far above what consensus hands over at once (1 MiB).
pub const APPEND_BYTES_MAX: usize = 64 << 20;

/// A group takes waiting requests up to here, so that one sync cannot take arbitrarily long.
pub(crate) const GROUP_BYTES_MAX: usize = 8 << 20;

/// Offsets in a segment are 32 bits; a file is read whole at open.
pub(crate) const SEGMENT_BYTES_MAX: u32 = 1 << 30;

/// Entries looked up in the index per turn while the lock is held.
pub(crate) const LOOKUPS_PER_TURN: u64 = 1024;

/// What is read from a file at once when entries are older than the in-memory tail.
pub(crate) const READ_WINDOW_BYTES: usize = 256 << 10;

/// A step that can fail on a bad or full disk. Tests and failpoints stand in front of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    WriteGroup,
    SyncGroup,
    PrepareSegment,
    WriteSegmentHeader,
    NameSegment,
    WriteHighWater,
    UnlinkSegment,
}

/// Whether a step is really performed. `Skip` is a disk that lies: the step reports success without having happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Run,
    Skip,
}

pub type OnFatal = Arc<dyn Fn(&str) + Send + Sync>;
/// Makes room on the disk; says whether it could. Asked when a write found none, which is then tried once more.
pub type OnNoSpace = Arc<dyn Fn() -> bool + Send + Sync>;
pub type BeforeStep = Arc<dyn Fn(Step) -> io::Result<Verdict> + Send + Sync>;

#[derive(Clone)]
pub struct FileLogOptions {
    /// Size of a segment file. Larger files mean fewer pauses for a new one; smaller files give space back sooner.
    pub segment_bytes: u32,
    /// Weight of the newest entries kept in memory for readers. Entries still waiting for their sync come on top.
    pub tail_bytes: usize,
    /// Weight of requests that may wait; an append beyond it blocks.
    pub queue_bytes: usize,
    /// How old the high-water file may get while entries arrive. Votes and new segments renew it at once.
    pub high_water_interval: Duration,
    /// Called once when a write or sync failed. Nothing is acknowledged after it; the server aborts here.
    pub on_fatal: OnFatal,
    pub on_no_space: OnNoSpace,
    /// Asked before every [`Step`]; an error makes the step fail.
    pub before_step: BeforeStep,
}

impl Default for FileLogOptions {
    fn default() -> Self {
        Self {
            segment_bytes: 64 << 20,
            tail_bytes: 16 << 20,
            queue_bytes: 32 << 20,
            high_water_interval: Duration::from_secs(1),
            on_fatal: Arc::new(|text| tracing::error!("{text}")),
            on_no_space: Arc::new(|| false),
            before_step: Arc::new(|_| Ok(Verdict::Run)),
        }
    }
}

impl FileLogOptions {
    /// Tries once more when the disk was full and room could be made. Only for writes that begin anew: after a sync that
    /// failed nobody knows what is on disk.
    pub(crate) fn with_room<T>(&self, mut attempt: impl FnMut() -> io::Result<T>) -> io::Result<T> {
        match attempt() {
            Err(error) if error.kind() == io::ErrorKind::StorageFull && (self.on_no_space)() => attempt(),
            result => result,
        }
    }

    pub(crate) fn perform(&self, step: Step, action: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
        match (self.before_step)(step)? {
            Verdict::Run => action(),
            Verdict::Skip => Ok(()),
        }
    }
}

impl fmt::Debug for FileLogOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileLogOptions")
            .field("segment_bytes", &self.segment_bytes)
            .field("tail_bytes", &self.tail_bytes)
            .field("queue_bytes", &self.queue_bytes)
            .field("high_water_interval", &self.high_water_interval)
            .finish_non_exhaustive()
    }
}
