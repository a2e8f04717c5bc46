//! Random interleavings of everything that happens to jobs, with commands that come twice and late.

use super::fixture;
use super::invariants;
use crate::commands::*;
use crate::frame::Frame;
use crate::jobs::{self, translate::translate};
use crate::property::cases;
use crate::record::TaskRecord;
use crate::testing::{Bench, command_frame};
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use quorate_model::job_states::{job_has_ended, job_may_become, task_may_become};
use quorate_wire::quorate::v1::{
    ClaimProgress, ClaimTasksReply, CompleteTaskReply, FailTaskReply, JobKind, JobState, RenewClaimsReply, StagedRow, TaskAssignment,
    TaskState,
};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Clone, Debug)]
enum Step {
    Start(JobKind),
    Plan(prop::sample::Index),
    Claim(u8, u32),
    Renew(u8),
    /// A claim, and how many renewals too few the leader saw.
    Expire(prop::sample::Index, u64),
    Complete(prop::sample::Index),
    /// With a result that does not fit.
    Spoil(prop::sample::Index, u8),
    Fail(prop::sample::Index, bool),
    Publish(prop::sample::Index),
    Cancel(prop::sample::Index),
    FailJob(prop::sample::Index),
    Remove,
    /// A command of before, once more.
    Repeat(prop::sample::Index),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use prop::sample::Index;
    let kind = prop_oneof![3 => Just(JobKind::Restore), 1 => Just(JobKind::CompactClone), 1 => Just(JobKind::Manifests)];
    let wait = prop_oneof![4 => Just(1_000u64), 3 => Just(60_000), 1 => Just(8 * 86_400_000)];
    let step = prop_oneof![
        2 => kind.prop_map(Step::Start),
        12 => any::<Index>().prop_map(Step::Plan),
        12 => (0u8..3, 1u32..5).prop_map(|(worker, max)| Step::Claim(worker, max)),
        3 => (0u8..3).prop_map(Step::Renew),
        2 => (any::<Index>(), 0u64..2).prop_map(|(claim, missed)| Step::Expire(claim, missed)),
        30 => any::<Index>().prop_map(Step::Complete),
        2 => (any::<Index>(), 0u8..5).prop_map(|(claim, how)| Step::Spoil(claim, how)),
        2 => (any::<Index>(), prop::bool::weighted(0.95)).prop_map(|(claim, retry)| Step::Fail(claim, retry)),
        12 => any::<Index>().prop_map(Step::Publish),
        1 => any::<Index>().prop_map(Step::Cancel),
        1 => any::<Index>().prop_map(Step::FailJob),
        1 => Just(Step::Remove),
        6 => any::<Index>().prop_map(Step::Repeat),
        2 => wait.prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 10..200)
}

/// A claim as its worker remembers it, with the work it has done meanwhile.
#[derive(Clone)]
struct Remembered {
    task: TaskAssignment,
    worker: String,
    rows: Vec<StagedRow>,
}

/// What callers have seen.
struct World {
    bench: Bench,
    jobs: Vec<u64>,
    claims: Vec<Remembered>,
    sent: Vec<Frame>,
    /// Tasks whose result was accepted.
    counted: BTreeSet<(u64, u32)>,
    ended: BTreeMap<u64, JobState>,
    compacts: bool,
}

impl World {
    fn new() -> World {
        World {
            bench: fixture::bench(),
            jobs: Vec::new(),
            claims: Vec::new(),
            sent: Vec::new(),
            counted: BTreeSet::new(),
            ended: BTreeMap::new(),
            compacts: false,
        }
    }

    fn task(&self, task: &TaskAssignment) -> Option<TaskRecord> {
        jobs::tasks::find(&self.bench.store, task.job_id, task.task).expect("reads")
    }

    /// Whether a claim still holds, by the records alone.
    fn holds(&self, job: u64, task: u32, fence: u64) -> bool {
        let active = self.state_of(job).is_some_and(|state| !job_has_ended(state));
        let record = jobs::tasks::find(&self.bench.store, job, task).expect("reads");
        active && record.is_some_and(|task| task.state() == TaskState::TaskClaimed && task.fence == fence)
    }

    fn state_of(&self, job: u64) -> Option<JobState> {
        jobs::find(&self.bench.store, job).expect("reads").map(|record| record.state())
    }

    fn states(&self) -> (BTreeMap<u64, JobState>, BTreeMap<Bytes, TaskState>) {
        let jobs = self.jobs.iter().filter_map(|job| Some((*job, self.state_of(*job)?))).collect();
        let tasks = invariants::table::<TaskRecord>(&self.bench, crate::keys::RecordTable::Task);
        (jobs, tasks.into_iter().map(|(key, task)| (key, task.state())).collect())
    }

    /// Sends a command and holds what came of it against what must.
    fn send(&mut self, frame: Frame) {
        self.sent.push(frame.clone());
        let before = self.states();
        let held = report_of(&frame).map(|(job, task, fence)| self.holds(job, task, fence));
        let revision = self.bench.machine.revision();
        let answer = self.bench.send(frame.clone());
        let unchanged = self.bench.machine.revision() == revision;
        assert!(answer.body.is_ok() || unchanged, "a refusal changes nothing");
        match (frame.number, answer.body) {
            (ClaimTasks::NUMBER, Ok(body)) => self.remember_claims(&frame, &body),
            (CompleteTask::NUMBER, Ok(body)) => {
                let accepted = CompleteTaskReply::decode(body).expect("decodes").accepted;
                assert_eq!(Some(accepted), held, "only a claim that holds counts");
                if let (true, Some((job, task, _))) = (accepted, report_of(&frame)) {
                    assert!(self.counted.insert((job, task)), "task {task} of job {job} counts once");
                }
            }
            (FailTask::NUMBER, Ok(body)) => assert_eq!(Some(FailTaskReply::decode(body).expect("decodes").accepted), held),
            (RenewClaims::NUMBER, Ok(body)) => self.check_lost(&frame, &body),
            _ => {}
        }
        if held == Some(false) {
            assert!(unchanged, "a stale fence changes nothing");
        }
        self.check_transitions(before);
        invariants::check(&self.bench);
    }

    fn check_transitions(&mut self, (jobs, tasks): (BTreeMap<u64, JobState>, BTreeMap<Bytes, TaskState>)) {
        let (jobs_after, tasks_after) = self.states();
        for (job, after) in &jobs_after {
            let before = jobs.get(job).copied().unwrap_or(*after);
            assert!(
                before == *after || job_may_become(before, *after),
                "job {job} went from {before:?} to {after:?}"
            );
            if job_has_ended(*after) {
                let first = *self.ended.entry(*job).or_insert(*after);
                assert_eq!(first, *after, "the first end of job {job} is its end");
            }
        }
        for (key, after) in &tasks_after {
            let before = tasks.get(key).copied().unwrap_or(*after);
            assert!(
                before == *after || task_may_become(before, *after),
                "a task went from {before:?} to {after:?}"
            );
        }
    }

    fn remember_claims(&mut self, frame: &Frame, body: &Bytes) {
        let command = ClaimTasks::decode(frame.payload.clone()).expect("decodes");
        let reply = ClaimTasksReply::decode(body.clone()).expect("decodes");
        assert!(reply.tasks.len() <= command.max as usize);
        for task in reply.tasks {
            assert!(self.holds(task.job_id, task.task, task.fence));
            let again = self.claims.iter().any(|other| {
                let other = &other.task;
                (other.job_id, other.task, other.fence) == (task.job_id, task.task, task.fence)
            });
            assert!(!again, "no fence is given out twice");
            let rows = match task.kind() {
                JobKind::Manifests => Vec::new(),
                _ => translate(&task, &fixture::source_rows(&self.bench, &task)).expect("fits").rows,
            };
            let worker = command.worker.clone();
            self.claims.push(Remembered { task, worker, rows });
        }
    }

    fn check_lost(&self, frame: &Frame, body: &Bytes) {
        let command = RenewClaims::decode(frame.payload.clone()).expect("decodes");
        let reply = RenewClaimsReply::decode(body.clone()).expect("decodes");
        for claim in command.claims {
            let holds = self.holds(claim.job_id, claim.task, claim.fence);
            assert_eq!(!holds, reply.lost.contains(&claim), "lost is what does not hold");
        }
    }

    fn take(&mut self, step: Step) {
        let frame = match step {
            Step::Wait(ms) => {
                self.bench.now_ms += ms;
                return;
            }
            Step::Start(kind) => return self.start(kind),
            Step::Repeat(index) if !self.sent.is_empty() => index.get(&self.sent).clone(),
            Step::Claim(worker, max) => frame(&ClaimTasks {
                worker: format!("worker{worker}"),
                max,
                avoid_jobs: Vec::new(),
                min_age_ms: 0,
            }),
            Step::Renew(worker) => frame(&self.renewal(&format!("worker{worker}"))),
            Step::Remove => frame(&RemoveJobs {}),
            Step::Plan(index) if !self.jobs.is_empty() => match fixture::next_plan(&self.bench, *index.get(&self.jobs)) {
                Some(plan) => frame(&plan),
                None => return,
            },
            Step::Publish(index) if !self.jobs.is_empty() => return self.publish(*index.get(&self.jobs)),
            Step::Cancel(index) if !self.jobs.is_empty() => frame(&CancelJob {
                job: *index.get(&self.jobs),
                reason: String::new(),
            }),
            Step::FailJob(index) if !self.jobs.is_empty() => frame(&FailJob {
                job: *index.get(&self.jobs),
                reason: "its time is over".to_owned(),
                ..FailJob::default()
            }),
            Step::Expire(index, missed) if !self.claims.is_empty() => {
                let task = index.get(&self.claims).task.clone();
                let renewals = self.task(&task).map_or(0, |record| record.renewals);
                frame(&ExpireClaim {
                    job: task.job_id,
                    task: task.task,
                    fence: task.fence,
                    renewals: renewals.saturating_sub(missed),
                })
            }
            Step::Complete(index) if !self.claims.is_empty() => frame(&completion(index.get(&self.claims))),
            Step::Spoil(index, how) if !self.claims.is_empty() => return self.spoil(&index.get(&self.claims).clone(), how),
            Step::Fail(index, can_retry) if !self.claims.is_empty() => {
                let task = &index.get(&self.claims).task;
                frame(&FailTask {
                    job: task.job_id,
                    task: task.task,
                    fence: task.fence,
                    reason: "the disk is full".to_owned(),
                    can_retry,
                    is_of_the_vault: task.task.is_multiple_of(3),
                })
            }
            _ => return,
        };
        self.send(frame);
    }

    fn start(&mut self, kind: JobKind) {
        // A base layer is filled by one job, as the command that starts it sees to.
        let is_second = kind == JobKind::CompactClone && self.compacts;
        if self.jobs.len() < 4 && !is_second {
            self.compacts |= kind == JobKind::CompactClone;
            let definition = fixture::definition(kind, self.jobs.len() as u64);
            let id = fixture::start(&mut self.bench, definition).expect("started");
            self.jobs.push(id);
            invariants::check(&self.bench);
        }
    }

    /// Every claim the worker has ever had, each in its newest fence only, as a worker has at most one claim on a task.
    fn renewal(&self, worker: &str) -> RenewClaims {
        let mine = self.claims.iter().filter(|claim| claim.worker == worker);
        let newest: BTreeMap<(u64, u32), ClaimProgress> = mine
            .map(|claim| {
                let progress = ClaimProgress {
                    job_id: claim.task.job_id,
                    task: claim.task.task,
                    fence: claim.task.fence,
                    files_done: 1,
                    bytes_done: claim.task.bytes / 2,
                };
                ((progress.job_id, progress.task), progress)
            })
            .collect();
        RenewClaims {
            worker: worker.to_owned(),
            claims: newest.into_values().collect(),
        }
    }

    /// Publication happens exactly when everything is done, and the job has not ended.
    fn publish(&mut self, job: u64) {
        let active = jobs::find_active(&self.bench.store, job).expect("reads");
        let is_ready = active.is_some_and(|active| {
            let tasks = active.progress.tasks_planned;
            let done = (1..=tasks).filter(|task| self.counted.contains(&(job, *task))).count();
            active.record.state() == JobState::JobRunning && done == tasks as usize
        });
        self.send(frame(&PublishJob { job }));
        assert_eq!(is_ready, self.ended.get(&job) == Some(&JobState::JobCompleted) && is_ready);
    }

    /// A result that does not fit is refused, and the claim goes on.
    fn spoil(&mut self, claim: &Remembered, how: u8) {
        let mut command = completion(claim);
        let Some(row) = command.rows.last_mut() else { return };
        match how {
            0 => command.bytes += 1,
            1 => drop(command.rows.pop()),
            2 => row.table = 3,
            3 => {
                row.key = [&row.key[..row.key.len() - 1], &[row.key[row.key.len() - 1] ^ 0x80]]
                    .concat()
                    .into()
            }
            _ => row.value = Bytes::from_static(b"\x0a\x01x"),
        }
        // Only segments have values that can be told from others.
        let is_segment = claim.rows.iter().all(|row| row.table == 8);
        if how == 4 && !is_segment {
            return;
        }
        let before = self.counted.len();
        self.send(frame(&command));
        assert_eq!(self.counted.len(), before, "what does not fit is not counted");
    }
}

fn completion(claim: &Remembered) -> CompleteTask {
    CompleteTask {
        job: claim.task.job_id,
        task: claim.task.task,
        fence: claim.task.fence,
        rows: claim.rows.clone(),
        files: claim.task.files,
        bytes: claim.task.bytes,
    }
}

fn frame<C: Numbered>(command: &C) -> Frame {
    command_frame(0, 0, command)
}

/// The claim a report is about.
fn report_of(frame: &Frame) -> Option<(u64, u32, u64)> {
    match frame.number {
        CompleteTask::NUMBER => {
            let command = CompleteTask::decode(frame.payload.clone()).ok()?;
            Some((command.job, command.task, command.fence))
        }
        FailTask::NUMBER => {
            let command = FailTask::decode(frame.payload.clone()).ok()?;
            Some((command.job, command.task, command.fence))
        }
        ExpireClaim::NUMBER => {
            let command = ExpireClaim::decode(frame.payload.clone()).ok()?;
            Some((command.job, command.task, command.fence))
        }
        _ => None,
    }
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn whatever_comes_twice_late_or_out_of_order_counts_once(steps in steps()) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
        }
    }
}
