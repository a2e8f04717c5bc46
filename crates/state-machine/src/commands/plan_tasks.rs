//! Adds tasks to a job that is being planned. Proposed by the leader's planner; counts only if nobody has planned further meanwhile.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs::{self, rows, source, tasks};
use crate::keys::VersionedTable;
use crate::limits;
use crate::object_ids;
use crate::record::{JobRecord, StatsRecord, TaskRecord};
use crate::snapshots::collections;
use bytes::Bytes;
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_model::job_states::job_may_become;
use quorate_wire::quorate::v1::{JobKind, JobState, TaskState};

#[derive(Clone, PartialEq, prost::Message)]
pub struct PlanTasks {
    #[prost(uint64, tag = "1")]
    pub job: u64,
    /// Where planning stood when this was made.
    #[prost(uint32, tag = "2")]
    pub after_table: u32,
    #[prost(bytes = "bytes", tag = "3")]
    pub after_key: Bytes,
    #[prost(message, repeated, tag = "4")]
    pub tasks: Vec<PlannedTask>,
    /// Where it stands with these.
    #[prost(uint32, tag = "5")]
    pub planned_table: u32,
    #[prost(bytes = "bytes", tag = "6")]
    pub planned_key: Bytes,
    /// These are the last.
    #[prost(bool, tag = "7")]
    pub done: bool,
    /// Of manifests of a whole instance: collections that will have some, all of them before the first task.
    #[prost(uint64, repeated, tag = "8")]
    pub collections: Vec<u64>,
}

/// A key range of a table, both ends included, and what it holds.
#[derive(Clone, PartialEq, prost::Message)]
pub struct PlannedTask {
    #[prost(uint32, tag = "1")]
    pub table: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub first_key: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub last_key: Bytes,
    /// Rows in `segments`.
    #[prost(message, optional, tag = "4")]
    pub expected: Option<StatsRecord>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PlanTasksReply {
    /// Whether these were the next.
    #[prost(bool, tag = "1")]
    pub accepted: bool,
}

impl Prepare for PlanTasks {
    /// Made by the leader's background loop, not by a call of the public API.
    type Request = PlanTasks;

    fn prepare(request: PlanTasks, _context: &PrepareContext<'_>) -> Result<PlanTasks, MetaError> {
        Ok(request)
    }
}

impl PlanTasks {
    fn check(&self, job: &JobRecord) -> Result<(), MetaError> {
        let kind = job.kind();
        for (count, what) in [(self.tasks.len(), "tasks"), (self.collections.len(), "collections")] {
            let limit = limits::MAX_TASKS_PER_COMMAND;
            if count > limit {
                return Err(MetaError::invalid(format!("{count} {what} in one command, limit {limit}; plan them in several")));
            }
        }
        if !self.collections.is_empty() && !source::is_of_whole_instance(job) {
            let text = format!("job {} writes no manifests of a whole instance, and its plan names collections; plan anew", self.job);
            return Err(MetaError::invalid(text));
        }
        let mut last = (self.after_table, self.after_key.as_ref());
        for task in &self.tasks {
            let table = VersionedTable::from_number(task.table);
            let is_of_job = table.is_some_and(|table| source::tables(kind).contains(&table));
            let follows = (task.table, task.first_key.as_ref()) > last;
            let holds_rows = task.expected.is_some_and(|expected| expected.segments > 0);
            if !is_of_job || !follows || task.last_key < task.first_key || !holds_rows {
                return Err(MetaError::invalid(format!(
                    "tasks of job {} are not ranges of its tables in order; plan anew",
                    self.job
                )));
            }
            last = (task.table, &task.last_key);
        }
        Ok(())
    }
}

impl Command for PlanTasks {
    type Reply = PlanTasksReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<PlanTasksReply, ApplyError> {
        let job = jobs::find_active(context.reader(), self.job)?;
        let Some(job) = job.filter(|job| {
            let at = (job.progress.planned_table, &job.progress.planned_key);
            job.record.state() == JobState::JobPlanning && at == (self.after_table, &self.after_key)
        }) else {
            return Ok(PlanTasksReply { accepted: false });
        };
        self.check(&job.record)?;
        if source::is_of_whole_instance(&job.record) {
            let (scope, revision) = (ScopeId(job.record.source_scope), Revision(job.record.snapshot_revision));
            if !collections::note(context, scope, revision, &self.collections)? {
                return Ok(PlanTasksReply { accepted: false });
            }
        }
        let mut progress = job.progress;
        for planned in &self.tasks {
            let expected = planned.expected.unwrap_or_default();
            let first_target_id = match job.record.kind() {
                JobKind::Restore => object_ids::reserve(context, expected.segments),
                _ => 0,
            };
            let task = TaskRecord {
                state: TaskState::TaskOpen as i32,
                table: planned.table,
                first_key: planned.first_key.clone(),
                last_key: planned.last_key.clone(),
                expected: Some(expected),
                first_target_id,
                not_before_ms: context.now().0,
                ..TaskRecord::default()
            };
            // Numbered from 1, like everything people count.
            progress.tasks_planned += 1;
            tasks::add(context, self.job, progress.tasks_planned, &task);
            progress.planned = Some(jobs::sum(progress.planned, Some(expected)));
        }
        progress.planned_table = self.planned_table;
        progress.planned_key = self.planned_key.clone();
        context.put_record(rows::active(self.job), &progress);
        if self.done {
            debug_assert!(job_may_become(job.record.state(), JobState::JobRunning));
            let record = JobRecord {
                state: JobState::JobRunning as i32,
                ..job.record
            };
            context.put_record(rows::job(self.job), &record);
        }
        Ok(PlanTasksReply { accepted: true })
    }
}
