//! Claims tasks and does them, several at once, until it is stopped.
//!
//! A claim is kept alive by a task of its own, so that a slow disk cannot lose it. A claim that was lost is dropped at once: what
//! was copied under it lies in a directory nobody else uses, and is deleted with the claim or the job.

mod avoided;
mod copy;
mod failure;
mod held;
mod manifests;

use crate::complaints::Complaints;
use crate::counters::Counters;
use crate::settings::{Settings, WORK_RETRY};
use crate::vaults::Vaults;
use crate::work_source::{Wanted, WorkSource};
pub(crate) use avoided::Avoided;
use failure::Failure;
use held::ClaimKey;
pub(crate) use held::Held;
use quorate_model::{ErrorCode, MetaError, Outcome, RetryClass, mutant};
use quorate_objects::{MayWrite, ObjectError, ObjectErrorKind, ObjectPath};
use quorate_state_machine::limits::MAX_CLAIMS;
use quorate_wire::quorate::v1::{CompleteTaskRequest, FailTaskRequest, JobKind, StagedRow, TaskAssignment};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;

/// Bytes and files of one claim so far.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub files: AtomicU64,
    pub bytes: AtomicU64,
    /// What has ended and is in neither of them yet: the work gets on, though nobody is shown how far.
    pub signs_of_life: AtomicU64,
    /// The work is done, and only has to be heard of.
    pub is_done: AtomicBool,
    /// Milliseconds from the claim's arrival to the newest renewal that succeeded, counted from when that was asked for.
    pub renewed_ms: AtomicU64,
}

/// What a finished task reports.
struct Done {
    rows: Vec<StagedRow>,
    files: u64,
    bytes: u64,
}

pub struct Worker<S, V> {
    name: String,
    source: S,
    vaults: V,
    settings: Settings,
    counters: Arc<Counters>,
    complaints: Arc<Complaints>,
}

impl<S: WorkSource, V: Vaults> Worker<S, V> {
    /// `name` is how others see who has a claim; two workers of one name would take each other's for their own.
    pub fn new(name: String, source: S, vaults: V, settings: Settings, counters: Arc<Counters>) -> Worker<S, V> {
        Worker {
            name,
            source,
            vaults,
            settings,
            counters,
            complaints: Arc::default(),
        }
    }

    /// Works until `stop` turns true. What it was doing is then left: its claims end by themselves.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let (held, avoided) = (Held::default(), Avoided::default());
        let mut tasks = JoinSet::new();
        let mut renewals = JoinSet::new();
        renewals.spawn(held::keep_alive(
            self.name.clone(),
            self.source.clone(),
            held.clone(),
            self.counters.clone(),
            self.complaints.clone(),
        ));
        // Kept over the turns of the loop: a claim that is dropped while it is made may have been made all the same, by nobody.
        let (mut claiming, mut claiming_beside) = (std::pin::pin!(None), std::pin::pin!(None));
        loop {
            let (at_once, under_way, rest) = (self.settings.tasks_at_once, tasks.len(), held.rests_until());
            if under_way < at_once && claiming.is_none() && rest.is_none() {
                let wanted = self.wanted(at_once - under_way, &avoided);
                claiming.set(Some(self.source.claim(wanted)));
            }
            // A job whose tasks are large, or hang, has every place: the others do not wait for it.
            if (at_once..2 * at_once).contains(&under_way) && claiming_beside.is_none() && rest.is_none() {
                let wanted = self.wanted(1, &avoided).beside(&held);
                claiming_beside.set(Some(self.source.claim(wanted)));
            }
            tokio::select! {
                () = stopped(&mut stop) => return,
                Some(ended) = tasks.join_next() => settle(ended, &held, &avoided),
                Some(Err(ended)) = renewals.join_next() => rethrow(ended),
                Some(claimed) = next_claim(claiming.as_mut()), if claiming.is_some() => {
                    claiming.set(None);
                    self.take(claimed, &mut tasks, &held).await;
                }
                Some(claimed) = next_claim(claiming_beside.as_mut()), if claiming_beside.is_some() => {
                    claiming_beside.set(None);
                    self.take(claimed, &mut tasks, &held).await;
                }
                () = until(rest), if rest.is_some() => {}
            }
        }
    }

    fn wanted(&self, tasks: usize, avoided: &Avoided) -> Wanted {
        Wanted {
            worker: self.name.clone(),
            tasks: tasks.min(MAX_CLAIMS as usize) as u32,
            avoided: avoided.clone(),
            beside: None,
        }
    }

    async fn take(&self, claimed: Result<Vec<TaskAssignment>, MetaError>, tasks: &mut JoinSet<(ClaimKey, Ended)>, held: &Held) {
        match claimed {
            Ok(assignments) => assignments.into_iter().for_each(|task| self.begin(task, tasks, held)),
            Err(error) => {
                self.complaints.log("claim tasks", &error);
                tokio::time::sleep(WORK_RETRY).await;
            }
        }
    }

    fn begin(&self, task: TaskAssignment, tasks: &mut JoinSet<(ClaimKey, Ended)>, held: &Held) {
        let key = (task.job_id, task.task, task.fence);
        let progress = Arc::<Progress>::default();
        let work = Work {
            source: self.source.clone(),
            vaults: self.vaults.clone(),
            progress: progress.clone(),
            counters: self.counters.clone(),
            complaints: self.complaints.clone(),
            began: Instant::now(),
            task: task.clone(),
        };
        let abort = tasks.spawn(async move { (key, work.run().await) });
        held.add(key, &task, progress, abort);
    }
}

/// How the work of a claim ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Completed,
    /// For a reason that may be this machine's alone.
    ToBeLeftToOthers,
    Failed,
}

async fn until(rest: Option<Instant>) {
    match rest {
        Some(rest) => tokio::time::sleep_until(rest).await,
        None => std::future::pending().await,
    }
}

/// What a claim under way comes to; nothing when none is.
async fn next_claim<F: Future>(claiming: Pin<&mut Option<F>>) -> Option<F::Output> {
    match claiming.as_pin_mut() {
        Some(claiming) => Some(claiming.await),
        None => None,
    }
}

/// Ends when the worker is to stop, or when nobody is left who could say so.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    drop(stop.wait_for(|stop| *stop).await);
}

/// Forgets a task that has ended. One that was dropped because its claim was lost is forgotten already.
fn settle(ended: Result<(ClaimKey, Ended), JoinError>, held: &Held, avoided: &Avoided) {
    match ended {
        Ok((key, ended)) => {
            held.remove(key);
            match ended {
                Ended::Completed => avoided.succeeded(key.0),
                Ended::ToBeLeftToOthers => avoided.failed(key.0, Instant::now()),
                Ended::Failed => {}
            }
        }
        Err(error) => rethrow(error),
    }
}

/// A panic is a bug of this process: it must not be taken for a task that failed.
fn rethrow(error: JoinError) {
    if let Ok(panic) = error.try_into_panic() {
        std::panic::resume_unwind(panic);
    }
}

/// One claimed task.
struct Work<S, V> {
    source: S,
    vaults: V,
    task: TaskAssignment,
    progress: Arc<Progress>,
    counters: Arc<Counters>,
    complaints: Arc<Complaints>,
    /// When it was claimed, as far as this worker knows.
    began: Instant,
}

impl<S, V> Work<S, V> {
    /// Whether the claim is sure to hold: it was renewed less than its lease ago, by this process's own clock, so nobody else has the task
    /// yet. That clock (`CLOCK_MONOTONIC`) goes on while the process is stopped, not while its whole machine is.
    fn may_write(&self) -> MayWrite {
        let (began, progress) = (self.began, self.progress.clone());
        let lease_ms = held::lease_ms(&self.task);
        Arc::new(move || {
            let until = Duration::from_millis(progress.renewed_ms.load(Ordering::Relaxed).saturating_add(lease_ms));
            if began.elapsed() < until {
                return Ok(());
            }
            let text = format!("the claim could not be renewed for its lease of {lease_ms} ms, so nothing more is written under it");
            Err(ObjectError::new(ObjectErrorKind::Failed, text))
        })
    }
}

impl<S: WorkSource, V: Vaults> Work<S, V> {
    async fn run(self) -> Ended {
        fail::fail_point!("job_task_claimed");
        let failure = match self.perform().await {
            Ok(done) => match self.complete(done).await {
                Ok(()) => return Ended::Completed,
                Err(failure) => failure,
            },
            Err(failure) => failure,
        };
        self.progress.is_done.store(true, Ordering::Relaxed);
        let ended = match failure.can_retry && failure.is_of_this_machine {
            true => Ended::ToBeLeftToOthers,
            false => Ended::Failed,
        };
        self.report(failure).await;
        ended
    }

    async fn perform(&self) -> Result<Done, Failure> {
        let rows = self.source.read(&self.task).await?;
        match self.task.kind() {
            JobKind::Manifests => manifests::write(self, &rows).await,
            JobKind::Restore | JobKind::CompactClone => copy::perform(self, &rows).await,
            JobKind::Unspecified => Err(Failure::for_good(format!(
                "this worker does not know job kind {}; upgrade it",
                self.task.kind
            ))),
        }
    }

    /// Reports the result until it is known whether it counted: said twice it counts once.
    async fn complete(&self, done: Done) -> Result<(), Failure> {
        self.progress.is_done.store(true, Ordering::Relaxed);
        fail::fail_point!("job_complete_before", |_| Ok(()));
        let (files, bytes) = (done.files, done.bytes);
        let result = CompleteTaskRequest {
            job_id: self.task.job_id,
            task: self.task.task,
            fence: self.task.fence,
            rows: done.rows,
            files,
            bytes,
        };
        loop {
            match self.source.complete(result.clone()).await {
                Ok(accepted) => {
                    fail::fail_point!("job_complete_after", |_| Ok(()));
                    if !accepted && mutant!("deleted-without-condemning") {
                        self.delete_own_files().await;
                    }
                    if accepted {
                        Counters::add(&self.counters.tasks_completed, 1);
                        self.counters.task_times.add(self.began.elapsed());
                    }
                    // Manifests and held files are accounted for and not copied.
                    if accepted && self.task.copies_files {
                        Counters::add(&self.counters.files_copied, files);
                        Counters::add(&self.counters.bytes_copied, bytes);
                    }
                    return Ok(());
                }
                Err(error) if passes(&error) => {
                    self.complaints.log("complete a task", &error);
                    tokio::time::sleep(WORK_RETRY).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// A defect: what was written under a claim that does not hold is taken away here, not condemned.
    async fn delete_own_files(&self) {
        let vault = self.vaults.open(self.task.target_scope, &self.task.target_vault).await;
        if let (Ok(vault), Ok(directory)) = (vault, ObjectPath::new(self.task.target_path.as_str())) {
            drop(vault.delete_prefix(&directory).await);
        }
    }

    async fn report(&self, failure: Failure) {
        let report = FailTaskRequest {
            job_id: self.task.job_id,
            task: self.task.task,
            fence: self.task.fence,
            reason: failure.reason,
            can_retry: failure.can_retry,
            is_of_the_vault: failure.is_of_the_vault,
        };
        tracing::info!(job = report.job_id, task = report.task, reason = %report.reason, can_retry = report.can_retry, "a task failed");
        fail::fail_point!("job_fail_before");
        let accepted = loop {
            match self.source.fail(report.clone()).await {
                Ok(accepted) => break accepted,
                Err(error) => {
                    self.complaints.log("fail a task", &error);
                    if !passes(&error) {
                        return;
                    }
                    tokio::time::sleep(WORK_RETRY).await;
                }
            }
        };
        if accepted {
            self.counters.add_failure(report.can_retry);
        }
        fail::fail_point!("job_fail_after");
    }
}

/// Whether the same call may succeed later.
fn passes(error: &MetaError) -> bool {
    let row = error.code.row();
    row.retry != RetryClass::Never || (row.outcome == Outcome::Unknown && error.code != ErrorCode::Internal)
}
