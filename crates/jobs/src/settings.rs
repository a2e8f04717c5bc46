//! Bounds and times of reconcilers and workers, each with its reason.

use std::time::Duration;

/// What the configuration of a peer may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Tasks a worker does at once; beside them, one of each further job, up to as many again. The files of all of them share one bound,
    /// so more tasks hide more waiting and move no more bytes.
    pub tasks_at_once: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { tasks_at_once: 4 }
    }
}

/// A reconciler that hears of no change looks by itself after this: deadlines and pauses end without anything being applied.
pub const ROUND_INTERVAL: Duration = Duration::from_millis(500);
/// Rounds, and looks for work, are at least this far apart, however much is applied: each reads all active jobs.
pub const ROUND_PAUSE: Duration = Duration::from_millis(20);
/// The same for looks at snapshots that follow a change of one: whoever makes one waits for its file, and a look reads a few rows.
pub const SNAPSHOT_PAUSE: Duration = Duration::from_millis(5);
/// The same for looks at snapshots that follow no change, while there are more than one look takes: pauses and patience end without one.
pub const SNAPSHOT_IDLE_PAUSE: Duration = Duration::from_millis(50);
/// What has no hurry is looked at this often.
pub const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);
/// Condemned rows looked at together; those of one vault are worked off in one go.
pub const DELETIONS_PER_BATCH: usize = 64;
/// Vaults in which something is done at once: each may hang, and then holds a thread of this process.
pub const TURNS_AT_ONCE: usize = 64;
/// What is done in a vault since less than this is likely to end soon.
pub const SOON: Duration = Duration::from_secs(5);
/// Commands of one kind of upkeep in one round.
pub const UPKEEP_PER_ROUND: usize = 8;
/// Dropped instances whose records are looked after at once.
pub const RECORDS_PER_LOOK: usize = 1_000;
/// Looks whether files of dropped instances are left begin at least this far apart: each reads all condemned rows.
pub const RECORDS_INTERVAL: Duration = Duration::from_secs(60);
/// Condemned rows that one round of upkeep reads for that; a million of them then take three quarters of an hour, which nobody waits for.
pub const CONDEMNED_PER_PAGE: usize = 2_000;
/// A vault that could not be used is left alone for this long.
pub const VAULT_PAUSE: Duration = Duration::from_secs(30);
/// Snapshots one look at them may begin to work on.
pub const SNAPSHOTS_PER_ROUND: usize = 16;
/// Snapshots one look goes over: one that is left alone for now costs it a key, and no record.
pub const SNAPSHOTS_PER_LOOK: usize = 512;
/// Tries of one page of a metadata file's long lists. Each may wait ten seconds for a place among large reads, so the file, and the turn of
/// its vault, is held up for no more than a minute before it is begun anew.
pub const PAGE_TRIES: u32 = 6;
/// A snapshot whose files could not be written for this long is given up.
pub const PENDING_SNAPSHOT_PATIENCE: Duration = Duration::from_secs(600);
/// The first pause a worker makes from a job whose task failed there; each further one is twice as long.
pub const AVOID_FIRST: Duration = Duration::from_secs(10);
/// The longest of these pauses.
pub const AVOID_LONGEST: Duration = Duration::from_secs(60);
/// A task of which no file, byte or manifest gets done for this long is given back, and in addition a second for each
/// [`SILENT_BYTES_PER_SECOND`] of it: stores copy large files without a word.
pub const SILENCE: Duration = Duration::from_secs(300);
pub const SILENT_BYTES_PER_SECOND: u64 = 1 << 20;
/// A worker with a task that did not move claims nothing for this long: what hangs there cannot be ended, only waited for.
pub const STUCK_REST: Duration = Duration::from_secs(600);
/// A worker whose places are taken gets only tasks that nobody else has wanted for this long: it may hang itself.
pub const BESIDE_AGE: Duration = Duration::from_secs(2);
/// A worker that is refused, or hears nothing, asks again after this.
pub const WORK_RETRY: Duration = Duration::from_millis(500);
/// How long one question for work waits for some.
pub const CLAIM_WAIT: Duration = Duration::from_secs(20);
/// Manifests that a task writes together; how far it is, is told after each such part, and after each of them that it lives.
pub const MANIFESTS_TOGETHER: usize = 64;
/// The same trouble is logged this often.
pub const COMPLAINT_INTERVAL: Duration = Duration::from_secs(60);
/// A vault that nobody has tried for this long is not called unusable any more.
pub const TROUBLE_REMEMBERED: Duration = Duration::from_secs(300);
