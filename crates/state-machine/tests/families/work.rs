//! What leader and workers do about jobs.

use super::steps::Pick;
use super::{World, checks, nth};
use quorate_model::ScopeId;
use quorate_state_machine::catalog::storage;
use quorate_state_machine::commands::*;
use quorate_state_machine::jobs::{self, plan, tasks, translate};
use quorate_state_machine::queries;
use quorate_wire::quorate::v1::{JobKind, JobState, ReadTaskRequest, TaskAssignment};
use translate::Translation;

/// A task that a worker is at.
pub struct Claim {
    pub task: TaskAssignment,
    pub work: Translation,
}

impl World {
    /// The next steps of one of the jobs that have not ended.
    pub fn work(&mut self, at: Pick, steps: u8) {
        let active = jobs::all_active(&self.bench.store).expect("reads");
        if let Some((job, _)) = nth(active.into_iter(), at) {
            for _ in 0..steps {
                self.advance(job);
            }
        }
    }

    /// All that is left to do.
    pub fn finish(&mut self, job: u64, loses_a_claim: bool) {
        let mut is_to_be_lost = loses_a_claim;
        for _ in 0..10_000 {
            if jobs::find_active(&self.bench.store, job).expect("reads").is_none() {
                return;
            }
            self.advance(job);
            if is_to_be_lost && let Some(claim) = self.claims.iter().position(|claim| claim.task.job_id == job && self.holds(claim)) {
                self.lose(claim);
                is_to_be_lost = false;
            }
        }
        panic!("job {job} does not come to an end");
    }

    fn advance(&mut self, job: u64) {
        let Some(active) = jobs::find_active(&self.bench.store, job).expect("reads") else {
            return;
        };
        if jobs::publication::obstacle(&self.bench.store, &active.record)
            .expect("reads")
            .is_some()
        {
            // What a sweep of the leader does.
            let fail = FailJob {
                job,
                reason: "cannot be published".to_owned(),
                ..FailJob::default()
            };
            self.bench.run(&fail).expect("runs");
        } else if active.record.state() == JobState::JobPlanning {
            let next = plan::next(&self.bench.store, &active).expect("plans");
            assert!(self.bench.run(&next).expect("planned").accepted);
        } else if tasks::all_done(&active) {
            self.publish(job, active.record.kind());
        } else if let Some(claim) = self.claims.iter().position(|claim| claim.task.job_id == job && self.holds(claim)) {
            self.complete(claim);
        } else {
            self.claim();
        }
    }

    fn holds(&self, claim: &Claim) -> bool {
        let task = &claim.task;
        tasks::claim(&self.bench.store, task.job_id, task.task, task.fence)
            .expect("reads")
            .is_some()
    }

    /// A worker takes tasks of any job, after all pauses are over, and writes the files.
    fn claim(&mut self) {
        self.bench.now_ms += 60_000;
        let claim = ClaimTasks {
            worker: "worker".to_owned(),
            max: 4,
            avoid_jobs: Vec::new(),
            min_age_ms: 0,
        };
        for task in self.bench.run(&claim).expect("claims").tasks {
            let request = ReadTaskRequest {
                job_id: task.job_id,
                task: task.task,
                fence: task.fence,
            };
            let rows = queries::jobs::read_task(&self.bench.store, &request).expect("claimed").rows;
            let work = translate::translate(&task, &rows).expect("fits");
            for copy in &work.copies {
                let files = copy.files.iter().map(|file| format!("{}/{}", copy.target_path, file.name));
                self.written.extend(files);
            }
            self.claims.push(Claim { task, work });
        }
    }

    fn complete(&mut self, at: usize) {
        let Claim { task, work } = self.claims.remove(at);
        let command = CompleteTask {
            job: task.job_id,
            task: task.task,
            fence: task.fence,
            rows: work.rows,
            files: task.files,
            bytes: task.bytes,
        };
        assert!(self.bench.run(&command).expect("runs").accepted);
    }

    fn publish(&mut self, job: u64, kind: JobKind) {
        self.bench.run(&PublishJob { job }).expect("publishes");
        if kind == JobKind::CompactClone {
            self.seen.compacted += 1;
        }
        let Some((id, name, wanted)) = self.restores.remove(&job) else {
            return;
        };
        // The copies have ids of their own.
        let restored = self.partitions_listed(&id, &name, 0);
        assert_eq!(super::model::sizes(&restored), wanted, "restored {name}");
        self.family
            .get_mut(&id)
            .expect("its drop is an obstacle")
            .content
            .insert(name, restored);
        self.seen.restored += 1;
    }

    /// Its worker goes on writing for a while.
    pub fn expire(&mut self, at: Pick) {
        if let Some(claim) = nth(0..self.claims.len(), at) {
            self.lose(claim);
        }
    }

    fn lose(&mut self, claim: usize) {
        let task = &self.claims[claim].task;
        let found = tasks::find(&self.bench.store, task.job_id, task.task).expect("reads");
        let expire = ExpireClaim {
            job: task.job_id,
            task: task.task,
            fence: task.fence,
            renewals: found.map_or(0, |task| task.renewals),
        };
        self.bench.run(&expire).expect("runs");
    }

    pub fn fail(&mut self, at: Pick, can_retry: bool) {
        if let Some(claim) = nth(self.claims.iter(), at) {
            let task = &claim.task;
            let fail = FailTask {
                job: task.job_id,
                task: task.task,
                fence: task.fence,
                reason: "the disk is full".to_owned(),
                can_retry,
                is_of_the_vault: false,
            };
            self.bench.run(&fail).expect("runs");
        }
    }

    pub fn cancel(&mut self, at: Pick) {
        let active = jobs::all_active(&self.bench.store).expect("reads");
        if let Some((job, _)) = nth(active.into_iter(), at) {
            let cancel = CancelJob {
                job,
                reason: String::new(),
            };
            self.bench.run(&cancel).expect("cancels");
        }
    }

    /// What workers read under a claim that holds is there, and in a store that can be opened.
    pub fn check_claims(&mut self) {
        let claims = std::mem::take(&mut self.claims);
        self.claims = claims.into_iter().filter(|claim| self.holds(claim)).collect();
        for copy in self.claims.iter().flat_map(|claim| &claim.work.copies) {
            for file in &copy.files {
                self.check_file(&format!("{}/{}", copy.path, file.name));
            }
            let owner = storage::find_owner(&self.bench.store, ScopeId(copy.owner_scope)).expect("reads");
            let owner = owner.unwrap_or_else(|| panic!("nobody knows any more where {} is", copy.path));
            checks::can_be_opened(&self.bench, &owner, &copy.vault);
        }
    }
}
