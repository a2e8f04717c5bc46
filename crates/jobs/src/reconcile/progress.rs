//! Plans jobs, publishes those whose tasks are done, and ends those that cannot succeed any more.

use super::{Access, Round, StepError};
use quorate_model::{ErrorCode, MetaError, Revision};
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::command::read_record;
use quorate_state_machine::commands::{FailJob, PlanTasks, PublishJob, StartManifests};
use quorate_state_machine::jobs::{self, ActiveJob, plan, publication, rewriting, tasks};
use quorate_state_machine::keys;
use quorate_state_machine::limits::MAX_PAGE_ROWS;
use quorate_state_machine::record::{Counters, JobRecord};
use quorate_state_machine::snapshots::Snapshot;
use quorate_state_machine::{Reader, StoreError};
use quorate_wire::quorate::v1::JobState;

/// What a job needs next.
enum Next {
    Nothing,
    Plan,
    Publish,
    /// Manifests are to be written anew before.
    Rewrite(Vec<StartManifests>),
    Fail(FailJob),
}

/// Snapshots whose manifests are written anew at a time, for each compaction.
const REWRITTEN_AT_ONCE: usize = 16;
/// Among so many of those that wait they are chosen: fewer than that may be such as cannot be written.
const REWRITTEN_AMONG: usize = 256;

pub(super) async fn step<N: Query + Propose, V>(access: &Access<N, V>) -> Result<Round, StepError> {
    let active = access.node.read(|reader| jobs::all_active(reader))?;
    let mut round = Round::Idle;
    for (job, _) in active {
        // One job's trouble is not the others'.
        match advance(access, job).await {
            Ok(advanced) => round = round.and(advanced),
            Err(error) => access.complaints.log("advance a job", &error),
        }
    }
    Ok(round)
}

/// One step: other jobs wait for theirs.
async fn advance<N: Query + Propose, V>(access: &Access<N, V>, job: u64) -> Result<Round, StepError> {
    match next_of(access, job)? {
        Next::Nothing => return Ok(Round::Idle),
        Next::Plan => {
            let Some(plan) = next_plan(access, job).await? else {
                return Ok(Round::Idle);
            };
            fail::fail_point!("job_plan_before", |_| Ok(Round::Idle));
            access.node.propose(&plan).await?;
            fail::fail_point!("job_plan_after", |_| Ok(Round::Idle));
        }
        Next::Publish => {
            fail::fail_point!("job_publish_before", |_| Ok(Round::Idle));
            publish(access, job).await?;
            fail::fail_point!("job_publish_after", |_| Ok(Round::Idle));
        }
        Next::Rewrite(starts) => return rewrite(access, starts).await,
        Next::Fail(failure) => {
            fail::fail_point!("job_give_up_before", |_| Ok(Round::Idle));
            let has_failed = fail_job(access, &failure).await?;
            fail::fail_point!("job_give_up_after", |_| Ok(Round::Idle));
            if !has_failed {
                return Ok(Round::Idle);
            }
        }
    }
    Ok(Round::More)
}

fn next_of<N: Query, V>(access: &Access<N, V>, job: u64) -> Result<Next, StoreError> {
    let now_ms = access.node.now().0;
    access.node.read(|reader| {
        let Some(active) = jobs::find_active(reader, job)? else {
            return Ok(Next::Nothing);
        };
        if let Some(obstacle) = publication::obstacle(reader, &active.record)? {
            return Ok(Next::Fail(FailJob {
                job,
                reason: obstacle,
                deadline_ms: None,
            }));
        }
        // A published base layer is not given up for lack of time, but what else it waits for: below.
        if active.record.base_published_at == 0 && active.record.deadline_ms <= now_ms {
            return Ok(Next::Fail(FailJob {
                job,
                reason: too_late(reader, job, &active.record)?,
                deadline_ms: Some(active.record.deadline_ms),
            }));
        }
        Ok(match active.record.state() {
            JobState::JobPlanning => Next::Plan,
            JobState::JobRunning if tasks::all_done(&active) => publication_of(reader, &active, now_ms)?,
            _ => Next::Nothing,
        })
    })
}

/// What goes on with a job's plan; `None` when there is nothing to plan any more. A step of it looks at tens of thousands of rows: meanwhile
/// the loops beside this one, for which callers wait, go on.
async fn next_plan<N: Query, V>(access: &Access<N, V>, job: u64) -> Result<Option<PlanTasks>, StepError> {
    let planned = access.node.read_large(move |reader| match jobs::find_active(reader, job)? {
        Some(active) if active.record.state() == JobState::JobPlanning => plan::next(reader, &active).map(Some),
        _ => Ok(None),
    });
    Ok(planned.await??)
}

/// What publishes a job whose tasks are done: for a compaction whose copies are read already, manifests may have to be written anew first.
fn publication_of(reader: &dyn Reader, active: &ActiveJob, now_ms: u64) -> Result<Next, StoreError> {
    let record = &active.record;
    if record.base_published_at == 0 {
        return Ok(Next::Publish);
    }
    let counters: Option<Counters> = read_record(reader, keys::COUNTERS_KEY)?;
    let has_room = jobs::has_room_for_rewriting(&counters.unwrap_or_default(), jobs::most_active(reader)?);
    let among = if has_room { REWRITTEN_AMONG } else { 1 };
    let waiting = rewriting::waiting(reader, record, Revision(record.base_published_at), among)?;
    if waiting.is_empty() {
        return Ok(Next::Publish);
    }
    if record.deadline_ms <= now_ms {
        return giving_up(reader, active);
    }
    let begun = match has_room {
        true => rewriting::to_begin(reader, waiting, now_ms, REWRITTEN_AT_ONCE)?,
        false => Vec::new(),
    };
    let start = |snapshot: Snapshot| StartManifests {
        scope: snapshot.scope.0,
        revision: snapshot.revision.0,
        since: Some(record.base_published_at),
    };
    Ok(Next::Rewrite(begun.into_iter().map(start).collect()))
}

/// What gives up the manifests that a compaction waits for whose time is over: first jobs end that may have written some of before, and
/// would call them complete.
fn giving_up(reader: &dyn Reader, active: &ActiveJob) -> Result<Next, StoreError> {
    for snapshot in rewriting::to_give_up(reader, &active.record)? {
        if rewriting::has_older_job(reader, &active.record, &snapshot)? {
            return Ok(Next::Fail(FailJob {
                job: snapshot.record.manifest_job,
                reason: format!("compaction job {} has moved files that these manifests name", active.id),
                deadline_ms: None,
            }));
        }
    }
    Ok(Next::Fail(FailJob {
        job: active.id,
        reason: String::new(),
        deadline_ms: Some(active.record.deadline_ms),
    }))
}

async fn rewrite<N: Query + Propose, V>(access: &Access<N, V>, starts: Vec<StartManifests>) -> Result<Round, StepError> {
    let mut round = Round::Idle;
    for start in starts {
        if access.node.propose(&start).await?.job != 0 {
            round = Round::More;
        }
    }
    Ok(round)
}

/// Why a job's time was not enough: what a task waits for, if one does.
fn too_late(reader: &dyn Reader, job: u64, record: &JobRecord) -> Result<String, StoreError> {
    let seconds = record.deadline_ms.saturating_sub(record.created_ms) / 1_000;
    let advice = match tasks::held_up(reader, job, MAX_PAGE_ROWS)? {
        Some((task, reason)) => format!("task {task} waited: {reason}"),
        None => "give it more time, or add workers".to_owned(),
    };
    Ok(format!("it did not end within its {seconds} s; {advice}"))
}

/// What refuses a publication for good ends the job: it would be refused again each time.
async fn publish<N: Query + Propose, V>(access: &Access<N, V>, job: u64) -> Result<(), MetaError> {
    match access.node.propose(&PublishJob { job }).await {
        Err(error) if error.code == ErrorCode::AlreadyExists => {
            let failure = FailJob {
                job,
                reason: error.message,
                deadline_ms: None,
            };
            fail_job(access, &failure).await.map(|_| ())
        }
        // It has ended meanwhile, or what it fills went away: the next look says which.
        Err(error) if error.code == ErrorCode::PreconditionFailed => Ok(()),
        outcome => outcome.map(drop),
    }
}

/// Whether it did: not if the job has ended meanwhile, or has time left by the clock that stamps the entry.
async fn fail_job<N: Query + Propose, V>(access: &Access<N, V>, failure: &FailJob) -> Result<bool, MetaError> {
    match access.node.propose(failure).await {
        Err(error) if matches!(error.code, ErrorCode::PreconditionFailed | ErrorCode::NotFound) => Ok(false),
        outcome => outcome.map(|_| true),
    }
}
