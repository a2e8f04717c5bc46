//! What a recovery raises, gives back and refuses.

use super::*;
use crate::commands::{
    AllocatePeer, ClaimTasks, CompleteTask, CreateInstance, CreatePin, ExpireClaim, FailTask, OpenSession, PublishJob, RenewClaims,
};
use crate::jobs::tests::{fixture, invariants};
use crate::jobs::translate::translate;
use crate::record::{CondemnedRecord, StatsRecord};
use crate::testing::Bench;
use crate::versioned::pins::PinKind;
use crate::{instances, vaults};
use bytes::Bytes;
use prost::Message;
use quorate_model::{ErrorCode, Revision};
use quorate_wire::doris::StorageVaultPb;
use quorate_wire::quorate::v1::{ClaimProgress, JobKind, JobState, StagedRow, TaskAssignment};

fn recover() -> RecoverCluster {
    RecoverCluster {
        cluster: vec![2; 16],
        parent: vec![1; 16],
        highest_member: 3,
        is_counted: true,
    }
}

#[test]
fn everything_handed_out_afterwards_is_beyond_what_may_have_been_before() {
    let mut bench = Bench::new();
    let before = bench.counters();
    let lineage = bench.run(&recover()).expect("recovered");
    assert_eq!((lineage.parent_revision, lineage.recovered_ms), (before.revision, bench.now_ms));
    let after = bench.counters();
    assert_eq!(after.revision, before.revision + RAISED_BY + 1, "its own row is the next change");
    assert_eq!(after.next_scope, before.next_scope + RAISED_BY);
    assert_eq!(after.next_pin, before.next_pin + RAISED_BY);
    let session = bench.run(&OpenSession::default()).expect("opened").session;
    assert!(session >= RAISED_BY, "{session}");
    let peer = bench.run(&AllocatePeer {
        highest_member: 1,
        incarnation: 7,
    });
    assert_eq!(peer.expect("given").peer, 4, "the parent had three");
    bench.check_content();
}

#[test]
fn a_second_one_for_the_same_cluster_changes_nothing_and_one_for_the_next_does() {
    let mut bench = Bench::new();
    let first = bench.run(&recover()).expect("recovered");
    let counters = bench.counters();
    assert_eq!(bench.run(&recover()).expect("answered"), first);
    assert_eq!(bench.counters().revision, counters.revision);
    let next = RecoverCluster {
        cluster: vec![3; 16],
        parent: vec![2; 16],
        highest_member: 4,
        is_counted: true,
    };
    bench.run(&next).expect("recovered");
    assert_eq!(bench.counters().revision, counters.revision + RAISED_BY + 1);
}

fn claim(bench: &mut Bench, worker: &str, max: u32) -> Vec<TaskAssignment> {
    let claim = ClaimTasks {
        worker: worker.to_owned(),
        max,
        ..ClaimTasks::default()
    };
    bench.run(&claim).expect("claimed").tasks
}

fn complete(task: &TaskAssignment, rows: Vec<StagedRow>) -> CompleteTask {
    CompleteTask {
        job: task.job_id,
        task: task.task,
        fence: task.fence,
        rows,
        files: task.files,
        bytes: task.bytes,
    }
}

fn fail(task: &TaskAssignment, can_retry: bool) -> FailTask {
    FailTask {
        job: task.job_id,
        task: task.task,
        fence: task.fence,
        reason: "a file is missing".to_owned(),
        can_retry,
        is_of_the_vault: false,
    }
}

/// Completes a task with the rows it is about.
fn complete_well(bench: &mut Bench, task: &TaskAssignment) {
    let rows = translate(task, &fixture::source_rows(bench, task)).expect("fits").rows;
    assert!(bench.run(&complete(task, rows)).expect("fits").accepted);
}

/// Whatever its worker reports of a claim changes nothing.
fn assert_counts_for_nothing(bench: &mut Bench, worker: &str, task: &TaskAssignment) {
    let before = bench.counters().revision;
    assert!(!bench.run(&complete(task, Vec::new())).expect("answered").accepted);
    assert!(!bench.run(&fail(task, false)).expect("answered").accepted);
    let held = ClaimProgress {
        job_id: task.job_id,
        task: task.task,
        fence: task.fence,
        ..ClaimProgress::default()
    };
    let renewal = RenewClaims {
        worker: worker.to_owned(),
        claims: vec![held],
    };
    assert_eq!(bench.run(&renewal).expect("answered").lost, [held]);
    assert_eq!(bench.counters().revision, before);
}

/// A restore whose tasks are planned.
fn planned_restore() -> (Bench, u64) {
    let mut bench = fixture::bench();
    let job = fixture::start(&mut bench, fixture::definition(JobKind::Restore, 1)).expect("started");
    fixture::plan_all(&mut bench, job);
    (bench, job)
}

#[test]
fn a_worker_of_the_lost_cluster_reports_in_vain() {
    let (mut bench, job) = planned_restore();
    let held = claim(&mut bench, "old", 2);
    assert_eq!(held.len(), 2);
    bench.run(&recover()).expect("recovered");
    invariants::check(&bench);
    for task in &held {
        let record = tasks::find(&bench.store, job, task.task).expect("reads").expect("planned");
        assert_eq!((record.state(), record.fence), (TaskState::TaskOpen, task.fence));
        assert_eq!((record.attempts, record.expirations), (0, 0), "nobody has done anything wrong");
        assert_eq!(record.reason, "the cluster was recovered while worker old had it");
        assert_counts_for_nothing(&mut bench, "old", task);
    }

    let again = claim(&mut bench, "new", 16);
    assert_eq!(again.len() as u64, fixture::SEGMENTS, "each segment is a task of its own");
    for task in &held {
        let newer = again.iter().find(|newer| newer.task == task.task).expect("it is open");
        assert_eq!(newer.fence, RAISED_BY + 1);
        assert_ne!(newer.target_path, task.target_path);
    }
    let counters = bench.counters();
    bench.run(&recover()).expect("answered");
    assert_eq!(
        bench.counters().revision,
        counters.revision,
        "a repetition takes nothing from the new workers"
    );
    invariants::check(&bench);
}

#[test]
fn a_claim_that_the_survivor_never_saw_does_not_come_up_again() {
    for plans_are_known in [true, false] {
        let [mut lost, mut survivor] = [(); 2].map(|()| {
            let mut bench = fixture::bench();
            let job = fixture::start(&mut bench, fixture::definition(JobKind::Restore, 1)).expect("started");
            if plans_are_known {
                fixture::plan_all(&mut bench, job);
            }
            (bench, job)
        });
        assert_eq!(lost.1, survivor.1, "one job");
        if !plans_are_known {
            fixture::plan_all(&mut lost.0, lost.1);
        }
        let old = claim(&mut lost.0, "w", 16);
        let (survivor, job) = (&mut survivor.0, survivor.1);
        survivor.run(&recover()).expect("recovered");
        if !plans_are_known {
            fixture::plan_all(survivor, job);
        }
        // A worker of this name still runs, and claims here too.
        let new = claim(survivor, "w", 16);
        assert_eq!((old.len(), new.len()), (fixture::SEGMENTS as usize, fixture::SEGMENTS as usize));
        for (old, new) in old.iter().zip(&new) {
            assert_eq!((old.job_id, old.task, old.fence), (new.job_id, new.task, 1));
            assert_eq!(new.fence, RAISED_BY + 1);
            assert_ne!(old.target_path, new.target_path);
            assert_counts_for_nothing(survivor, "w", old);
            complete_well(survivor, new);
        }
        survivor.run(&PublishJob { job }).expect("everything is done");
        let record = jobs::find(&survivor.store, job).expect("reads").expect("is there");
        assert_eq!(record.state(), JobState::JobCompleted);
        invariants::check(survivor);
    }
}

#[test]
fn what_claims_before_and_after_a_recovery_wrote_is_condemned() {
    let (mut bench, job) = planned_restore();
    let first = claim(&mut bench, "w", 16).remove(0);
    bench.run(&recover()).expect("recovered");
    let next = |bench: &mut Bench| {
        bench.now_ms += 60_000;
        let open = claim(bench, "w", 16);
        open.into_iter().find(|task| task.task == first.task).expect("it is open")
    };
    let second = next(&mut bench);
    assert!(bench.run(&fail(&second, true)).expect("reported").accepted);
    let third = next(&mut bench);
    let again = RecoverCluster {
        cluster: vec![3; 16],
        parent: vec![2; 16],
        ..recover()
    };
    bench.run(&again).expect("recovered");
    let fourth = next(&mut bench);
    assert_eq!(
        [&first, &second, &third, &fourth].map(|task| task.fence),
        [1, RAISED_BY + 1, RAISED_BY + 2, 2 * RAISED_BY + 1]
    );
    complete_well(&mut bench, &fourth);
    let condemned = invariants::table::<CondemnedRecord>(&bench, RecordTable::Condemned);
    let condemned: Vec<&str> = condemned.iter().map(|(_, record)| record.path.as_str()).collect();
    assert_eq!(condemned, [&first, &second, &third].map(|task| task.target_path.as_str()));
    assert_eq!(first.target_path, format!("s1/j{job}/t{}-f1", first.task));
    invariants::check(&bench);
}

#[test]
fn nobody_reads_at_a_revision_that_only_the_lost_cluster_has_given_out() {
    let mut bench = Bench::new();
    let last = bench.counters().revision;
    bench.run(&recover()).expect("recovered");
    let pin = |revision| CreatePin {
        scope: 1,
        kind: PinKind::Job as i32,
        revision,
        ..CreatePin::default()
    };
    for unknown in [last + 1, last + RAISED_BY] {
        assert_eq!(bench.refusal(&pin(unknown)), ErrorCode::RevisionCollected);
        let read = crate::versioned::readable(&bench.store, bench.scope(), Revision(unknown));
        let refused = matches!(&read, Err(ApplyError::Refused(error)) if error.message.contains("read at one after"));
        assert!(refused, "{read:?}");
    }
    for known in [last, last + RAISED_BY + 1] {
        bench.run(&pin(known)).expect("pinned");
    }
}

#[test]
fn a_vault_gets_no_id_that_the_lost_cluster_can_have_given_to_another() {
    let mut bench = Bench::new();
    bench.run(&recover()).expect("recovered");
    let vault = StorageVaultPb {
        name: Some("v".to_owned()),
        ..StorageVaultPb::default()
    };
    let create = CreateInstance {
        instance_id: "new".to_owned(),
        vault: Some(vault.clone()),
        ..CreateInstance::default()
    };
    bench.run(&create).expect("created");
    let instance = instances::find(&bench.store, "new").expect("reads").expect("is there");
    assert_eq!(instance.info.resource_ids, ["65537"]);
    let mut info = instance.info;
    vaults::register(&bench.counters(), &mut info, &vault, 1, false);
    assert_eq!(info.resource_ids, ["65537", "65538"], "one after the other from there");
}

/// Logs of earlier builds have such entries.
#[test]
fn a_recovery_that_is_not_counted_raises_no_fence_and_refuses_no_revision() {
    let (mut bench, _) = planned_restore();
    let last = bench.counters().revision;
    let held = claim(&mut bench, "w", 1).remove(0);
    let earlier = RecoverCluster {
        is_counted: false,
        ..recover()
    };
    assert_eq!(bench.run(&earlier).expect("recovered").passed_over, 0);
    let again = claim(&mut bench, "w", 16);
    let again = again.iter().find(|task| task.task == held.task).expect("it is open");
    assert_eq!(again.fence, held.fence + 1);
    let readable = crate::versioned::readable(&bench.store, bench.scope(), Revision(last + 5));
    assert!(readable.is_ok(), "{readable:?}");
}

#[test]
fn more_claims_than_one_command_can_give_back_do_not_hold_up_a_recovery() {
    let (mut bench, job) = planned_restore();
    let key: Bytes = vec![b'k'; limits::MAX_LISTED_KEY_BYTES].into();
    let task = TaskRecord {
        state: TaskState::TaskClaimed as i32,
        first_key: key.clone(),
        last_key: key,
        expected: Some(StatsRecord::default()),
        worker: "w".repeat(limits::MAX_NAME_BYTES),
        fence: 1,
        ..TaskRecord::default()
    };
    let further = 3;
    let claims = limits::CLAIMS_PER_RECOVERY as u32 + further;
    let mut progress = jobs::active_progress(&bench.store, job).expect("reads").expect("active");
    for number in progress.tasks_planned + 1..=progress.tasks_planned + claims {
        let record = task.encode_to_vec();
        bench.store.rows.insert(rows::task(job, number), record.into());
        bench.store.rows.insert(rows::claimed(job, number), Bytes::new());
    }
    progress.tasks_planned += claims;
    progress.tasks_claimed = claims;
    bench.store.rows.insert(rows::active(job), progress.encode_to_vec().into());
    bench.adopt_rows();
    invariants::check(&bench);

    bench.run(&recover()).expect("recovered");
    invariants::check(&bench);
    let left = tasks::claimed(&bench.store, job).expect("reads");
    assert_eq!(left.len() as u32, further);
    for (number, record) in left {
        let held = TaskAssignment {
            job_id: job,
            task: number,
            fence: record.fence,
            ..TaskAssignment::default()
        };
        assert_counts_for_nothing(&mut bench, &record.worker, &held);
        let expire = ExpireClaim {
            job,
            task: number,
            fence: record.fence,
            renewals: record.renewals,
        };
        assert!(bench.run(&expire).expect("answered").expired, "its lease ends");
    }
}

#[test]
fn a_counter_at_its_end_is_refused_and_nothing_is_raised() {
    let mut bench = Bench::new();
    bench.set_counters(|counters| counters.next_pin = u64::MAX);
    let before = bench.counters();
    bench.refusal(&recover());
    assert_eq!(bench.counters().revision, before.revision);
}
