//! The disk of one peer: what survives a crash, and a model of what it costs to sync.

use crate::entropy::{self, Dice};
use quorate_model::{ClusterId, Incarnation, PeerId};
use quorate_storage::codec::LogId;
use quorate_storage::log::{Completion, CrashReport, MemoryLog};
use quorate_storage::state::{MemoryState, StateEngine};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// Longest a healthy disk takes to sync.
const HEALTHY_MS: u64 = 8;

pub struct Disk {
    pub log: Arc<MemoryLog>,
    pub state: Arc<MemoryState>,
    pub incarnation: Incarnation,
    /// It takes the place of one that was emptied.
    pub replaces: bool,
    /// The place in a cluster, once it has one; written and synced in one step, as the identity file is.
    member: Mutex<Option<(ClusterId, PeerId)>>,
    slowest_ms: AtomicU64,
    repaired: Notify,
    /// Checkpoints are real files; so are the root keys.
    dir: tempfile::TempDir,
}

impl Disk {
    pub fn new(replaces: bool) -> Disk {
        // Names follow from the seed. One that another process of the same seed has taken would be drawn again, and shift all
        // that is drawn after it.
        let prefix = format!("quorate-sim-{}-", std::process::id());
        let dir = tempfile::Builder::new().prefix(&prefix).tempdir().expect("temporary directory");
        Disk {
            log: Arc::new(MemoryLog::new(Completion::Manual)),
            state: Arc::new(MemoryState::new(dir.path())),
            incarnation: Incarnation(entropy::next().max(1)),
            replaces,
            member: Mutex::new(None),
            slowest_ms: AtomicU64::new(HEALTHY_MS),
            repaired: Notify::new(),
            dir,
        }
    }

    pub fn path(&self) -> &std::path::Path {
        self.dir.path()
    }

    pub fn member(&self) -> Option<(ClusterId, PeerId)> {
        *self.member.lock().expect("not poisoned")
    }

    pub fn become_member(&self, cluster: ClusterId, peer: PeerId) {
        *self.member.lock().expect("not poisoned") = Some((cluster, peer));
    }

    /// Whether an entry, or what follows from it, would be there after a power cut.
    pub fn keeps(&self, id: &LogId) -> bool {
        // What a checkpoint has brought needs no entries.
        let in_state = self.state.durable_applied().ok().flatten();
        self.log.is_durable(id) || in_state.is_some_and(|applied| applied.index >= id.index)
    }

    /// From now on a sync takes up to so long.
    pub fn slow_down(&self, slowest: Duration) {
        self.slowest_ms.store(slowest.as_millis() as u64, Ordering::Relaxed);
    }

    /// Also of a sync that has begun: what is asked of a healthy cluster must not wait for one.
    pub fn recover_speed(&self) {
        self.slowest_ms.store(HEALTHY_MS, Ordering::Relaxed);
        self.repaired.notify_waiters();
    }

    /// What is pending reaches the disk up to a random point; all after it is gone, and memtables are too.
    pub fn crash(&self, dice: &mut Dice) -> CrashReport {
        let keep = dice.roll(self.log.pending() as u64 + 1) as usize;
        let report = self.log.crash(keep, dice.chance(50));
        self.state.crash();
        report
    }

    /// What waits becomes durable a little later, in groups of any size; runs until it is dropped.
    pub async fn sync_now_and_then(self: Arc<Disk>, mut dice: Dice) {
        loop {
            let slowest = self.slowest_ms.load(Ordering::Relaxed);
            let takes = Duration::from_millis(1 + dice.roll(slowest));
            let _ = tokio::time::timeout(takes, self.repaired.notified()).await;
            let waiting = self.log.pending();
            if waiting > 0 {
                self.log.sync(1 + dice.roll(waiting as u64) as usize);
            }
        }
    }
}
