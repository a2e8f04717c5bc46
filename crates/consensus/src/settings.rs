//! Timing and bounds of the Raft group, each with its reason.

use crate::disk::DiskBounds;
use quorate_model::mutant;
use quorate_state_machine::level::LEVEL;
use std::time::Duration;

/// Timing of elections. Where a leader falls silent, detection takes up to `election_max` plus a random time in
/// `election_min..election_max`, because a follower first lets its lease run out; not where its process has died (`succession`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timing {
    pub heartbeat_ms: u64,
    pub election_min_ms: u64,
    pub election_max_ms: u64,
    /// A leader without a quorum leaves out its heartbeats for every other interval of this length, so that a bridge between two
    /// halves cannot keep it alive.
    pub quorum_loss_probe_ms: u64,
}

impl Timing {
    /// One data centre.
    pub const LAN: Timing = Timing {
        heartbeat_ms: 60,
        election_min_ms: 180,
        election_max_ms: 320,
        quorum_loss_probe_ms: 1_280,
    };
    /// Peers far apart.
    pub const WAN: Timing = Timing {
        heartbeat_ms: 250,
        election_min_ms: 1_000,
        election_max_ms: 2_000,
        quorum_loss_probe_ms: 8_000,
    };
}

/// How long a peer waits for another one while a checkpoint goes between them; what is not done by then is given up and tried
/// again. A connection whose other end is gone breaks sooner; this is for a peer that lives and does not get on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferPatience {
    /// For an answer, the time not counted that the disk over there needs for the files.
    pub answer: Duration,
    /// For one piece to be taken, the pause not counted that the rate of the transfer asks for. A receiver syncs each file, and
    /// a busy disk may take some seconds for that.
    pub piece: Duration,
}

impl TransferPatience {
    pub const DEFAULT: TransferPatience = TransferPatience {
        answer: Duration::from_secs(30),
        piece: Duration::from_secs(30),
    };

    /// For an answer for which `bytes` of files are read or written over there.
    pub fn with_files(self, bytes: u64) -> Duration {
        self.answer + Duration::from_secs(bytes / SLOWEST_DISK_BYTES_PER_SECOND)
    }
}

/// What one peer's consensus layer is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    pub timing: Timing,
    /// Log growth after which a checkpoint is made and the log purged.
    pub checkpoint_log_bytes: u64,
    pub checkpoint_log_entries: u64,
    pub checkpoint_interval: Duration,
    /// Log kept for slow peers that can be reached, at most; beyond it the slowest get a checkpoint instead.
    pub max_log_bytes: u64,
    /// Applied bytes after which the state is flushed.
    pub flush_bytes: u64,
    pub flush_entries: u64,
    pub flush_interval: Duration,
    /// When this peer's disk counts as low.
    pub disk: DiskBounds,
    /// Pause between two scans of the whole state.
    pub content_scan_interval: Duration,
    /// How fast a checkpoint is sent to one peer, unless the transfer restores the quorum; 0 for as fast as it goes.
    pub checkpoint_bytes_per_second: u64,
    /// The highest level of the cluster that this peer knows: its build's. Tests stand in for other builds by it.
    pub level: u32,
    /// How long the other side of such a transfer is waited for.
    pub transfer: TransferPatience,
    /// Apply inline instead of on a thread: simulations only.
    pub inline_apply: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            timing: Timing::LAN,
            checkpoint_log_bytes: 256 << 20,
            checkpoint_log_entries: 1_000_000,
            checkpoint_interval: Duration::from_secs(3_600),
            max_log_bytes: 1 << 30,
            flush_bytes: 64 << 20,
            flush_entries: 200_000,
            flush_interval: Duration::from_secs(60),
            disk: DiskBounds::DEFAULT,
            content_scan_interval: Duration::from_secs(86_400),
            checkpoint_bytes_per_second: 64 << 20,
            level: LEVEL,
            transfer: TransferPatience::DEFAULT,
            inline_apply: false,
        }
    }
}

impl Settings {
    /// Log kept for slow peers on a disk of this size: a tenth of it, but no more than the setting, and no less than what grows
    /// between two checkpoints, because that cannot be purged whoever lags.
    pub fn log_cap(&self, disk_bytes: u64) -> u64 {
        self.max_log_bytes.min((disk_bytes / 10).max(self.checkpoint_log_bytes))
    }

    /// openraft's configuration. Each deviation from its defaults is a trap that was met.
    pub(crate) fn raft_config(&self, cluster_name: String) -> Result<openraft::Config, openraft::ConfigError> {
        openraft::Config {
            cluster_name,
            heartbeat_interval: self.timing.heartbeat_ms,
            election_timeout_min: self.timing.election_min_ms,
            election_timeout_max: self.timing.election_max_ms,
            quorum_loss_probe_interval: Some(self.timing.quorum_loss_probe_ms).filter(|_| !mutant!("no-quorum-probe")),
            enable_pre_vote: Some(!mutant!("no-pre-vote")),
            // A restarted leader that resumes could serve reads older than its acknowledged writes.
            enable_leader_restore: Some(mutant!("leader-restore")),
            // The default is 0.2 s of load: a busy follower would be sent a checkpoint again and again.
            replication_lag_threshold: u64::MAX,
            // Checkpoints and purges are ours (growth).
            snapshot_policy: openraft::SnapshotPolicy::Never,
            // openraft would purge after every checkpoint, whatever the other peers still need.
            max_in_snapshot_log_to_keep: u64::MAX,
            max_payload_entries: 512,
            install_snapshot_timeout: 600_000,
            backoff: "50ms".to_owned(),
            ..Default::default()
        }
        .validate()
    }
}

/// Commands, and reads, that may wait in a queue of one peer; one more is refused with `too_many_requests`. As many more may have been
/// taken from it while there is no quorum.
pub const MAX_WAITING_COMMANDS: usize = 4_096;
/// Bytes of answers in the reply to one forwarded batch: the channel carries 9 MiB, and what says "ask again" takes room too.
pub const MAX_FORWARD_REPLY_BYTES: usize = 8 << 20;
/// Forwarded batches in flight to the leader: enough to cover the round trip, few enough to keep batches large.
pub const FORWARDS_IN_FLIGHT: usize = 2;
/// Bytes of entries sent to one peer and not yet acknowledged: enough to keep a fast link full, little enough that a slow
/// peer costs no memory.
pub const MAX_UNACKNOWLEDGED_BYTES: usize = 16 << 20;
/// Longest a forwarded batch is waited for before its outcome counts as unknown.
pub const FORWARD_TIMEOUT: Duration = Duration::from_secs(5);
/// Large reads that run at one peer at the same time, each on a thread of its own: more of them would leave two cores little for
/// anything else, and the largest replies take some hundred megabytes while they are made.
pub const LARGE_READS_AT_ONCE: usize = 2;
/// A disk that reads or writes less than this counts as one that hangs.
pub const SLOWEST_DISK_BYTES_PER_SECOND: u64 = 16 << 20;
/// Longest a leader takes to give a newcomer an id and to add it as a learner.
pub const JOIN_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest a follower waits for that: the leader's own answer, a refusal too, comes before.
pub const HANDED_ON_JOIN_TIMEOUT: Duration = JOIN_TIMEOUT.saturating_add(Duration::from_secs(1));
/// Longest a newcomer waits for one peer's answer, which may have handed its question on.
pub const JOIN_ANSWER_TIMEOUT: Duration = HANDED_ON_JOIN_TIMEOUT.saturating_add(Duration::from_secs(1));
/// How long a peer whose state is lost waits at first until another one begins to give its own: a checkpoint of it is made and
/// read once before. Doubled for a peer that has not begun in time: a large state must not be given up for ever.
pub const STATE_ANSWER_TIMEOUT: Duration = Duration::from_secs(60);
/// A peer looks this often whether it has failed, when nothing else tells it to.
pub const FAILURE_LOOK: Duration = Duration::from_secs(1);
/// Pause before a write or read that found no leader tries again.
pub const LEADER_RETRY: Duration = Duration::from_millis(20);
/// How often peers exchange health and digests.
pub const HELLO_INTERVAL: Duration = Duration::from_secs(1);
/// Read-index question to the leader.
pub const READ_INDEX_TIMEOUT: Duration = Duration::from_millis(1_000);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_about_files_may_take_as_long_as_a_slow_disk_does() {
        let patience = TransferPatience::DEFAULT;
        assert_eq!(patience.with_files(1 << 20), Duration::from_secs(30));
        assert_eq!(patience.with_files(4 << 30), Duration::from_secs(30 + 256));
    }

    #[test]
    fn the_log_is_capped_by_the_setting_and_by_a_tenth_of_the_disk() {
        let settings = Settings::default();
        let cap = |disk_gib: u64| settings.log_cap(disk_gib << 30) >> 20;
        assert_eq!((cap(1_000), cap(10), cap(5)), (1_024, 1_024, 512));
        assert_eq!((cap(1), cap(0)), (256, 256), "what grows between two checkpoints");
    }
}
