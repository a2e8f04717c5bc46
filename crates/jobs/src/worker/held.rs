//! The claims a worker holds: kept alive as long as their work moves, dropped when they are lost or nothing moves any more.

use super::Progress;
use crate::complaints::Complaints;
use crate::counters::Counters;
use crate::settings::{SILENCE, SILENT_BYTES_PER_SECOND, STUCK_REST};
use crate::work_source::WorkSource;
use quorate_state_machine::limits::LOST_CLAIM_HEARD_MS;
use quorate_state_machine::settings::CLAIM_LEASE_MS;
use quorate_wire::quorate::v1::{ClaimProgress, FailTaskRequest, TaskAssignment};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::Instant;

/// Job, task and fence.
pub(super) type ClaimKey = (u64, u32, u64);

/// A claim that is being worked on.
struct Running {
    progress: Arc<Progress>,
    abort: AbortHandle,
    /// Its signs of life when they were last looked at, and since when they are that.
    seen: [u64; 3],
    since: Instant,
    /// How long it may stand still: the longest since it moved last, for it may have waited for a large one that has ended.
    patience: Duration,
    /// Of the whole task.
    bytes: u64,
    renewed_every: Duration,
    /// When it was taken up: [`Progress::renewed_ms`] counts from just before.
    began: Instant,
}

impl Running {
    fn now(&self) -> (u64, u64) {
        let Progress { files, bytes, .. } = &*self.progress;
        (files.load(Ordering::Relaxed), bytes.load(Ordering::Relaxed))
    }

    fn is_silent(&mut self, now: Instant, patience: Duration) -> bool {
        let (files, bytes) = self.now();
        let signs = [files, bytes, self.progress.signs_of_life.load(Ordering::Relaxed)];
        if signs != self.seen || self.progress.is_done.load(Ordering::Relaxed) {
            (self.seen, self.since, self.patience) = (signs, now, patience);
        }
        self.patience = self.patience.max(patience);
        now.duration_since(self.since) >= self.patience
    }
}

#[derive(Default)]
struct Inner {
    running: BTreeMap<ClaimKey, Running>,
    rest_until: Option<Instant>,
}

#[derive(Clone, Default)]
pub(crate) struct Held {
    inner: Arc<Mutex<Inner>>,
    /// A claim has come, which may have a shorter lease than the others.
    added: Arc<Notify>,
}

impl Held {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn add(&self, key: ClaimKey, task: &TaskAssignment, progress: Arc<Progress>, abort: AbortHandle) {
        let now = Instant::now();
        let running = Running {
            progress,
            abort,
            seen: [0; 3],
            since: now,
            patience: Duration::ZERO,
            bytes: task.bytes,
            renewed_every: renewed_every(task),
            began: now,
        };
        let (job, task_number, fence) = key;
        let mut inner = self.lock();
        // A claim of before that expired unheard: the same task twice in one renewal is refused, with all others in it.
        inner.running.retain(|(other_job, other_task, other_fence), running| {
            let is_former = (*other_job, *other_task) == (job, task_number) && *other_fence < fence;
            if is_former {
                running.abort.abort();
            }
            !is_former
        });
        inner.running.insert(key, running);
        drop(inner);
        self.added.notify_one();
    }

    /// Waits until claims are to be renewed that were renewed last at this time.
    async fn renewal_is_due(&self, renewed: Instant) {
        loop {
            let pauses = self.lock().running.values().map(|running| running.renewed_every).min();
            let due = renewed + pauses.unwrap_or(RENEWED_EVERY);
            tokio::select! {
                () = tokio::time::sleep_until(due) => return,
                () = self.added.notified() => {}
            }
        }
    }

    pub(super) fn remove(&self, key: ClaimKey) {
        self.lock().running.remove(&key);
    }

    /// The jobs of the claims that are held.
    pub(crate) fn jobs(&self) -> BTreeSet<u64> {
        self.lock().running.keys().map(|(job, ..)| *job).collect()
    }

    /// Until when nothing is to be claimed, because an operation of before hangs.
    pub(super) fn rests_until(&self) -> Option<Instant> {
        let mut inner = self.lock();
        inner.rest_until = inner.rest_until.filter(|until| *until > Instant::now());
        inner.rest_until
    }

    fn shown(&self) -> Vec<ClaimProgress> {
        let shown = |((job_id, task, fence), running): (&ClaimKey, &Running)| {
            let (files_done, bytes_done) = running.now();
            ClaimProgress {
                job_id: *job_id,
                task: *task,
                fence: *fence,
                files_done,
                bytes_done,
            }
        };
        self.lock().running.iter().map(shown).collect()
    }

    /// Drops what was not moving for too long, and lets the worker rest: whatever holds it up holds up its like as well.
    fn take_silent(&self) -> Vec<(ClaimKey, Duration)> {
        let now = Instant::now();
        let mut inner = self.lock();
        // Tasks share the files that are copied at once, so one may wait for all others.
        let patience = patience_for(inner.running.values().map(|running| running.bytes).sum());
        let mut dropped = Vec::new();
        inner.running.retain(|key, running| {
            let is_silent = running.is_silent(now, patience);
            if is_silent {
                running.abort.abort();
                dropped.push((*key, running.patience));
            }
            !is_silent
        });
        if !dropped.is_empty() {
            inner.rest_until = Some(now + STUCK_REST);
        }
        dropped
    }

    /// Notes a renewal that was asked for at this time, of those of the claims that are still held.
    fn renewed(&self, claims: &[ClaimProgress], asked: Instant) {
        let inner = self.lock();
        for claim in claims {
            if let Some(running) = inner.running.get(&(claim.job_id, claim.task, claim.fence)) {
                let after = asked.duration_since(running.began);
                running.progress.renewed_ms.store(after.as_millis() as u64, Ordering::Relaxed);
            }
        }
    }

    fn drop_lost(&self, lost: Vec<ClaimProgress>) {
        for claim in lost {
            let key = (claim.job_id, claim.task, claim.fence);
            if let Some(running) = self.lock().running.remove(&key) {
                let (job, task, fence) = key;
                tracing::info!(job, task, fence, "a claim is lost; its work is dropped");
                running.abort.abort();
            }
        }
    }
}

/// How long a task may show no sign of life: a store copies a large file without a word meanwhile, and so does a sync.
fn patience_for(bytes: u64) -> Duration {
    SILENCE + Duration::from_secs(bytes / SILENT_BYTES_PER_SECOND)
}

/// The pause between two renewals, unless a lease is short: who has lost a claim is to hear of it soon, however long its lease was.
const RENEWED_EVERY: Duration = Duration::from_millis(LOST_CLAIM_HEARD_MS / 3);

/// How long a claim holds that is not renewed; no shorter than can be set, whatever a leader says.
pub(super) fn lease_ms(task: &TaskAssignment) -> u64 {
    task.lease_ms.max(CLAIM_LEASE_MS.least)
}

/// How often a claim is renewed: three times in its lease, or more often.
fn renewed_every(task: &TaskAssignment) -> Duration {
    Duration::from_millis(lease_ms(task) / 3).min(RENEWED_EVERY)
}

/// Renews all claims three times in the shortest lease. What has not moved for long is given back instead: others may do it, whose mount
/// does not hang.
pub(super) async fn keep_alive<S: WorkSource>(worker: String, source: S, held: Held, counters: Arc<Counters>, complaints: Arc<Complaints>) {
    let mut renewed = Instant::now();
    loop {
        held.renewal_is_due(renewed).await;
        renewed = Instant::now();
        for ((job_id, task, fence), patience) in held.take_silent() {
            let reason = format!(
                "worker {worker} got no further for {} s; a mount or a store hangs there",
                patience.as_secs()
            );
            complaints.log("copy files", &reason);
            let report = FailTaskRequest {
                job_id,
                task,
                fence,
                reason,
                can_retry: true,
                // What hangs may be one file: it is an attempt.
                is_of_the_vault: false,
            };
            // If it is not heard, the claim ends by itself.
            match source.fail(report).await {
                Ok(true) => counters.add_failure(true),
                Ok(false) => {}
                Err(error) => complaints.log("fail a task", &error),
            }
        }
        let running = held.shown();
        if running.is_empty() {
            continue;
        }
        let asked = Instant::now();
        match source.renew(&worker, running.clone()).await {
            Ok(lost) => {
                held.drop_lost(lost);
                held.renewed(&running, asked);
            }
            Err(error) => complaints.log("renew claims", &error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: u64 = 3_600 * SILENT_BYTES_PER_SECOND;

    /// Begins a task that does nothing by itself.
    fn begin(held: &Held, number: u32, bytes: u64) -> (ClaimKey, Arc<Progress>) {
        let (key, progress) = ((1, number, 1), Arc::<Progress>::default());
        let task = TaskAssignment {
            bytes,
            ..TaskAssignment::default()
        };
        let abort = tokio::spawn(std::future::pending::<()>()).abort_handle();
        held.add(key, &task, progress.clone(), abort);
        (key, progress)
    }

    #[tokio::test(start_paused = true)]
    async fn claims_are_renewed_three_times_in_the_shortest_lease_also_when_that_came_last() {
        let held = Held::default();
        let is_about = |began: Instant, pause: Duration| (pause..pause + Duration::from_millis(5)).contains(&began.elapsed());
        let began = Instant::now();
        held.renewal_is_due(began).await;
        assert!(is_about(began, RENEWED_EVERY), "nothing is held");
        let add = |number: u32, lease_ms| {
            let task = TaskAssignment {
                lease_ms,
                ..TaskAssignment::default()
            };
            let abort = tokio::spawn(std::future::pending::<()>()).abort_handle();
            held.add((1, number, 1), &task, Arc::default(), abort);
        };
        add(1, 600_000);
        let began = Instant::now();
        held.renewal_is_due(began).await;
        assert!(is_about(began, RENEWED_EVERY), "whoever loses it is to hear of that");
        let began = Instant::now();
        let later = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            add(2, 3_000);
        };
        tokio::join!(held.renewal_is_due(began), later);
        assert!(is_about(began, Duration::from_secs(1)), "{:?}", began.elapsed());
        assert_eq!(
            renewed_every(&TaskAssignment::default()),
            Duration::from_secs(1),
            "no renewal without a pause, whatever a leader says"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_whose_numbers_stand_still_does_not_hang_while_parts_of_it_end() {
        let held = Held::default();
        let (key, progress) = begin(&held, 0, 0);
        for _ in 0..3 {
            tokio::time::advance(SILENCE - Duration::from_secs(1)).await;
            progress.signs_of_life.fetch_add(1, Ordering::Relaxed);
            assert_eq!(silent(&held), []);
        }
        tokio::time::advance(SILENCE).await;
        assert_eq!(silent(&held), [key]);
    }

    fn silent(held: &Held) -> Vec<ClaimKey> {
        held.take_silent().into_iter().map(|(key, _)| key).collect()
    }

    #[tokio::test]
    async fn a_task_that_is_claimed_again_is_renewed_under_its_last_fence_only() {
        let held = Held::default();
        let (_, progress) = begin(&held, 7, 0);
        progress.files.store(3, Ordering::Relaxed);
        begin(&held, 8, 0);
        let former = tokio::spawn(std::future::pending::<()>());
        held.add((1, 9, 4), &TaskAssignment::default(), Arc::default(), former.abort_handle());
        let again = tokio::spawn(std::future::pending::<()>());
        held.add((1, 9, 6), &TaskAssignment::default(), Arc::default(), again.abort_handle());
        assert!(former.await.is_err_and(|error| error.is_cancelled()));
        let fences: Vec<_> = held.shown().iter().map(|claim| (claim.task, claim.fence)).collect();
        assert_eq!(fences, [(7, 1), (8, 1), (9, 6)]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_hangs_is_found_also_beside_tasks_that_come_and_go() {
        let held = Held::default();
        let (hung, _) = begin(&held, 0, 0);
        for number in 1..5 {
            let (other, _) = begin(&held, number, 0);
            tokio::time::advance(SILENCE / 5).await;
            assert_eq!((silent(&held), held.rests_until()), (vec![], None));
            held.remove(other);
        }
        tokio::time::advance(SILENCE / 5).await;
        assert_eq!(silent(&held), [hung]);
        assert_eq!(held.rests_until(), Some(Instant::now() + STUCK_REST));
        tokio::time::advance(STUCK_REST).await;
        assert_eq!(held.rests_until(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waited_for_a_large_task_or_only_has_to_be_heard_of_does_not_hang() {
        let held = Held::default();
        let (large, _) = begin(&held, 0, LARGE);
        let (waiting, progress) = begin(&held, 1, 0);
        let (_, done) = begin(&held, 2, 0);
        done.is_done.store(true, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(3_600)).await;
        assert_eq!(silent(&held), []);
        held.remove(large);
        assert_eq!(silent(&held), [], "it has hardly begun");
        progress.bytes.store(1, Ordering::Relaxed);
        assert_eq!(silent(&held), []);
        tokio::time::advance(SILENCE).await;
        assert_eq!(silent(&held), [waiting], "it has moved, and from then on it has its own time");
    }
}
