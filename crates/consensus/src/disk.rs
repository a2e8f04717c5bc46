//! Free space on the peers' disks: who is short of it, and what the leader refuses then.
//!
//! A peer says with its health whether its disk is low, by its own bounds. With a majority of voters low the leader refuses
//! commands that grow, before they are appended: a log that goes on growing would stop those peers, and with them the
//! cluster, where deletes could have made room. A leader that alone is low hands over; a low follower is shown and left
//! alone, because the cluster survives it.

use crate::node::{Core, Node};
use crate::proposer::ProposeFailure;
use crate::settings::{FORWARD_TIMEOUT, HELLO_INTERVAL};
use bytes::Bytes;
use quorate_model::{ErrorCode, MetaError};
use quorate_state_machine::session::{self, Admission};
use quorate_state_machine::{Answer, commands, frame};
use quorate_storage::state::read_with;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::time::Instant;

/// A follower further behind than this is not handed leadership: reads and writes would wait for it.
pub(crate) const HANDOVER_ENTRIES: u64 = 1_000;

/// Space of one file system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskSpace {
    pub free_bytes: u64,
    pub total_bytes: u64,
}

impl DiskSpace {
    /// More than anybody needs: for tests and simulations.
    pub const AMPLE: DiskSpace = DiskSpace {
        free_bytes: 1 << 40,
        total_bytes: 1 << 40,
    };
}

/// When a disk counts as low: below either of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskBounds {
    pub low_bytes: u64,
    pub low_percent: u64,
}

impl DiskBounds {
    pub const DEFAULT: DiskBounds = DiskBounds {
        low_bytes: 1 << 30,
        low_percent: 5,
    };

    /// Free bytes below which a disk of this size is low.
    pub fn low_below(&self, total_bytes: u64) -> u64 {
        self.low_bytes
            .max((u128::from(total_bytes) * u128::from(self.low_percent) / 100) as u64)
    }
}

/// What this peer knows about disks.
#[derive(Debug, Default)]
pub struct DiskWatch {
    low: AtomicBool,
    refuses_growth: AtomicBool,
    /// Why commands that grow are refused; told to their callers.
    why: Mutex<String>,
}

impl DiskWatch {
    /// Whether this peer's disk is low. Once it is, it takes an eighth more than the bound to end it, so that a file that
    /// comes and goes does not move leadership to and fro.
    fn judge(&self, space: DiskSpace, bounds: &DiskBounds) -> bool {
        let bound = bounds.low_below(space.total_bytes);
        let was_low = self.low.load(Ordering::Acquire);
        let low = space.free_bytes < if was_low { bound + bound / 8 } else { bound };
        self.low.store(low, Ordering::Release);
        low
    }

    /// Why this peer, if it leads, refuses commands that grow.
    pub fn refusal(&self) -> Option<String> {
        let refuses = self.refuses_growth.load(Ordering::Acquire);
        refuses.then(|| self.why.lock().expect("no panic while held").clone())
    }

    fn refuse(&self, why: Option<String>) {
        let refuses = why.is_some();
        if let Some(why) = why {
            *self.why.lock().expect("no panic while held") = why;
        }
        if self.refuses_growth.swap(refuses, Ordering::AcqRel) != refuses {
            match self.refusal() {
                Some(why) => tracing::error!("{why}"),
                None => tracing::info!("enough voters have disk space again: nothing is refused any more"),
            }
        }
    }
}

impl Core {
    /// Space of this peer's disk, and whether it is low.
    pub fn own_disk(&self) -> (DiskSpace, bool) {
        let space = (self.disk_space)();
        (space, self.disk.judge(space, &self.settings.disk))
    }

    /// Refuses a framed command that grows while a majority is short of disk. It has not been appended. One that was applied
    /// before gets its answer: its repetition adds nothing, and "refused" would be wrong.
    pub(crate) async fn admit_growth(&self, frame: &Bytes) -> Result<Option<Answer>, ProposeFailure> {
        let Some(why) = self.disk.refusal() else { return Ok(None) };
        let refused = || ProposeFailure::Refused(MetaError::new(ErrorCode::StorageFull, why));
        let Ok(frame) = frame::decode_single(frame.clone()) else {
            return Err(refused());
        };
        if !commands::grows(frame.number) {
            return Ok(None);
        }
        if frame.request.session.0 == 0 {
            return Err(refused());
        }
        // A leader that has just been elected may not have applied yet what the one before it answered.
        if self.read_barrier(Instant::now() + FORWARD_TIMEOUT).await.is_err() {
            return Err(ProposeFailure::NotLeader { leader: self.leader() });
        }
        let revision = self.applier.applied().revision;
        match read_with(self.applier.engine().as_ref(), |reader| session::answered(reader, &frame)) {
            Ok(Admission::Repeat(answer)) => Ok(Some(answer)),
            Ok(Admission::Refuse(error)) => Ok(Some(Answer {
                revision,
                body: Err(error),
            })),
            Ok(Admission::Execute { .. }) => Err(refused()),
            Err(error) => {
                tracing::error!(%error, "the remembered answers cannot be read");
                Err(ProposeFailure::Refused(MetaError::internal("this peer cannot read its state")))
            }
        }
    }
}

/// One voter's disk, as it said last.
struct VoterDisk {
    peer: u64,
    free_bytes: u64,
    low: bool,
    /// Could lead in this peer's place.
    fit: bool,
}

/// Looks at the disks of all voters once; every peer does, so that the next leader knows too.
pub(crate) async fn watch(node: &Node) {
    let core = node.core();
    let (own_space, own_low) = core.own_disk();
    let voters: Vec<u64> = core.metrics().membership_config.voter_ids().collect();
    let applied = core.applier.applied().index;
    let disks: Vec<VoterDisk> = voters
        .iter()
        .filter_map(|peer| {
            if *peer == core.peer {
                return Some(VoterDisk {
                    peer: *peer,
                    free_bytes: own_space.free_bytes,
                    low: own_low,
                    fit: false,
                });
            }
            core.health.recent(*peer).map(|hello| VoterDisk {
                peer: *peer,
                free_bytes: hello.disk_free_bytes,
                low: hello.disk_low,
                fit: !hello.disk_low
                    && !hello.diverged
                    && hello.serving
                    && hello.applied_index + HANDOVER_ENTRIES >= applied
                    && core.has_cluster_time(*peer),
            })
        })
        .collect();
    let why = refusal(voters.len(), &disks);
    let refuses = why.is_some();
    core.disk.refuse(why);
    if own_low && !refuses && node.is_leader() && disks.iter().any(|disk| disk.fit) {
        tracing::warn!(peer = core.peer, "this peer's disk is low: it hands leadership over");
        if let Err(error) = node.transfer_leader(None, Instant::now() + HELLO_INTERVAL).await {
            tracing::warn!(%error, "leadership could not be given up; it is tried again");
        }
    }
}

/// Why commands that grow are refused, if a majority of the voters is low.
fn refusal(voters: usize, disks: &[VoterDisk]) -> Option<String> {
    let low: Vec<String> = disks
        .iter()
        .filter(|disk| disk.low)
        .map(|disk| format!("peer {} has {} MiB left", disk.peer, disk.free_bytes >> 20))
        .collect();
    (low.len() > voters / 2).then(|| {
        format!(
            "{} of {voters} voters are short of disk ({}): what adds data is refused, deletes go on",
            low.len(),
            low.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn space(free_bytes: u64, total_bytes: u64) -> DiskSpace {
        DiskSpace { free_bytes, total_bytes }
    }

    #[test]
    fn a_disk_is_low_below_either_bound_and_until_there_is_clearly_more() {
        let bounds = DiskBounds {
            low_bytes: 800,
            low_percent: 5,
        };
        let watch = DiskWatch::default();
        assert!(!watch.judge(space(800, 10_000), &bounds));
        assert!(watch.judge(space(799, 10_000), &bounds), "below the bytes");
        assert!(watch.judge(space(899, 10_000), &bounds), "not yet clearly above");
        assert!(!watch.judge(space(900, 10_000), &bounds));
        assert!(watch.judge(space(4_999, 100_000), &bounds), "below the percentage");
        assert_eq!(bounds.low_below(u64::MAX), u64::MAX / 20, "no overflow");
    }

    #[test]
    fn only_a_majority_of_low_voters_makes_the_leader_refuse() {
        let disk = |peer, low| VoterDisk {
            peer,
            free_bytes: 40 << 20,
            low,
            fit: !low,
        };
        assert_eq!(refusal(3, &[disk(1, true), disk(2, false), disk(3, false)]), None);
        assert_eq!(refusal(4, &[disk(1, true), disk(2, true), disk(3, false)]), None);
        let why = refusal(3, &[disk(1, true), disk(3, true)]).expect("two of three");
        assert!(why.contains("2 of 3 voters") && why.contains("peer 3 has 40 MiB left"), "{why}");
    }
}
