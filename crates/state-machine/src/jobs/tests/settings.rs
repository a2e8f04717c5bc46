//! What settings of the cluster change about jobs.

use super::fixture::{self, REVISION, SOURCE_SCOPE};
use super::invariants;
use super::rules::{claim, started};
use crate::commands::*;
use crate::jobs::{self, tasks};
use crate::limits;
use crate::testing::Bench;
use quorate_model::ErrorCode;
use quorate_wire::quorate::v1::{ClaimProgress, JobKind};

fn set(bench: &mut Bench, name: &str, value: Option<u64>) {
    let name = name.to_owned();
    bench.run(&ChangeSetting { name, value }).expect("known");
}

#[test]
fn how_long_records_are_kept_holds_also_for_jobs_that_have_ended() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    let reason = String::new();
    bench.run(&CancelJob { job, reason }).expect("cancelled");
    let ended_ms = bench.now_ms;
    let is_due = |bench: &Bench, after_ms| remove_jobs::is_due(&bench.store, ended_ms + after_ms).expect("reads");
    let missing = |bench: &Bench| jobs::missing(&bench.store, 7).expect("reads").message;
    assert_eq!(
        missing(&bench),
        "job 7 does not exist, or ended more than 7 days ago; list the jobs"
    );

    set(&mut bench, "job_retention_seconds", Some(14 * 86_400));
    bench.now_ms = ended_ms + limits::JOB_RETENTION_MS;
    assert_eq!(bench.run(&RemoveJobs {}).expect("looked").removed, 0, "it is kept longer now");
    assert!(!is_due(&bench, 14 * 86_400_000 - 1) && is_due(&bench, 14 * 86_400_000));
    assert_eq!(
        missing(&bench),
        "job 7 does not exist, or ended more than 14 days ago; list the jobs"
    );
    invariants::check(&bench);

    set(&mut bench, "job_retention_seconds", Some(90_000));
    assert_eq!(
        missing(&bench),
        "job 7 does not exist, or ended more than 25 hours ago; list the jobs"
    );
    assert!(!is_due(&bench, 90_000_000 - 1) && is_due(&bench, 90_000_000));
    assert_eq!(
        bench.run(&RemoveJobs {}).expect("removed").removed,
        1,
        "its time has been over for long"
    );
    assert_eq!(jobs::find(&bench.store, job).expect("reads"), None);
}

#[test]
fn a_claim_keeps_the_lease_that_it_was_made_with() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    set(&mut bench, "claim_lease_ms", Some(25_000));
    let first = claim(&mut bench, "one", 1).remove(0);
    set(&mut bench, "claim_lease_ms", Some(3_000));
    let second = claim(&mut bench, "two", 1).remove(0);
    set(&mut bench, "claim_lease_ms", None);
    let third = claim(&mut bench, "three", 1).remove(0);
    assert_eq!([&first, &second, &third].map(|claim| claim.lease_ms), [25_000, 3_000, 10_000]);
    let lease_of = |bench: &Bench, number| {
        let task = tasks::find(&bench.store, job, number).expect("reads").expect("is there");
        (task.lease_ms, task.lease_ms())
    };
    assert_eq!(lease_of(&bench, first.task), (25_000, 25_000));
    assert_eq!(lease_of(&bench, third.task), (0, 10_000), "the usual one as ever");
    let renew = RenewClaims {
        worker: "one".to_owned(),
        claims: vec![ClaimProgress {
            job_id: job,
            task: first.task,
            fence: first.fence,
            ..ClaimProgress::default()
        }],
    };
    assert!(bench.run(&renew).expect("renewed").lost.is_empty());
    assert_eq!(lease_of(&bench, first.task).1, 25_000, "also when it is renewed");

    let expire = ExpireClaim {
        job,
        task: second.task,
        fence: second.fence,
        renewals: 0,
    };
    assert!(bench.run(&expire).expect("answered").expired);
    let task = tasks::find(&bench.store, job, second.task).expect("reads").expect("is there");
    assert_eq!(task.reason, "worker two was not heard of for 3000 ms");
    invariants::check(&bench);
}

#[test]
fn a_claim_says_whether_its_copies_are_read_back() {
    let (mut bench, _) = started(JobKind::Restore, 1);
    let skips = |bench: &mut Bench| claim(bench, "w", 1).remove(0).skip_read_back;
    assert!(!skips(&mut bench), "they are, unless that was changed");
    set(&mut bench, "read_back_copies", Some(0));
    assert!(skips(&mut bench));
    set(&mut bench, "read_back_copies", Some(1));
    assert!(!skips(&mut bench));
}

#[test]
fn a_task_has_as_many_bytes_of_files_as_was_set_or_one_segment() {
    for (segments_per_task, tasks) in [(6, 1), (3, 2), (2, 3), (1, 6)] {
        let mut bench = fixture::bench();
        set(&mut bench, "max_task_bytes", Some(segments_per_task * fixture::FILE_BYTES));
        let job = fixture::start(&mut bench, fixture::definition(JobKind::Restore, 1)).expect("started");
        let plan = fixture::next_plan(&bench, job).expect("active");
        let bytes = |task: &plan_tasks::PlannedTask| task.expected.unwrap_or_default().bytes;
        let planned: Vec<u64> = plan.tasks.iter().map(bytes).filter(|bytes| *bytes > 0).collect();
        assert_eq!(planned, vec![segments_per_task * fixture::FILE_BYTES; tasks]);
    }
    let (mut bench, job) = started(JobKind::Restore, 1);
    let is_planned = |bench: &Bench| fixture::next_plan(bench, job).map(|plan| plan.tasks.len());
    let before = is_planned(&bench);
    set(&mut bench, "max_task_bytes", Some(64 << 10));
    assert_eq!(is_planned(&bench), before, "a segment is in one task, however many bytes it has");
}

#[test]
fn places_for_jobs_are_as_many_as_was_set_and_half_of_them_for_manifests() {
    let mut bench = fixture::bench();
    set(&mut bench, "max_active_jobs", Some(3));
    let start = StartManifests {
        scope: SOURCE_SCOPE,
        revision: REVISION,
        since: None,
    };
    bench.set_counters(|counters| (counters.active_jobs, counters.active_manifests) = (1, 1));
    assert_eq!(bench.run(&start).expect("looked at").job, 0, "the half has one place");
    bench.set_counters(|counters| (counters.active_jobs, counters.active_manifests) = (2, 0));
    let restore = fixture::definition(JobKind::Restore, 1);
    fixture::start(&mut bench, restore.clone()).expect("the third");
    let error = fixture::start(&mut bench, restore.clone()).expect_err("too many");
    let text = "3 jobs have not ended, limit 3 (setting max_active_jobs); wait for some, or cancel what is not needed";
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::LimitReached, text));
    set(&mut bench, "max_active_jobs", None);
    fixture::start(&mut bench, restore).expect("there is room again");
}
