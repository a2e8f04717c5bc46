//! Manifests that name files which a compaction replaces.

use super::fixture::{self, CLONE_SCOPE, COLLECTION_ID, REVISION};
use super::rules::{claim, complete_all};
use crate::commands::*;
use crate::jobs::{self, publication, rewriting};
use crate::limits;
use crate::record::*;
use crate::snapshots::{self, clone_key, record_key};
use crate::testing::Bench;
use crate::versioned::lineage::{parent, parent_key};
use prost::Message;
use quorate_model::{ErrorCode, Revision, ScopeId};
use quorate_wire::doris::SnapshotCompactStatus;
use quorate_wire::quorate::v1::{JobKind, JobState, SnapshotState};

/// What a snapshot of the clone shows.
const SNAPSHOT: u64 = REVISION + 1;
/// The scope of a clone of the clone.
const FURTHER_SCOPE: u64 = 6;

/// A snapshot whose manifests a job of before has written.
fn put_snapshot(bench: &mut Bench, scope: u64, revision: u64) {
    let record = SnapshotRecord {
        name: "before".to_owned(),
        state: SnapshotState::Committed as i32,
        collection_id: COLLECTION_ID,
        manifest_job: 7,
        manifests_complete: true,
        manifests_listed: true,
        ..SnapshotRecord::default()
    };
    let key = record_key(ScopeId(scope), Revision(revision));
    bench.store.rows.insert(key, record.encode_to_vec().into());
    bench.adopt_rows();
}

fn compaction() -> JobRecord {
    JobRecord {
        rewrites_manifests: true,
        ..fixture::definition(JobKind::CompactClone, 2)
    }
}

fn record_of(bench: &Bench) -> SnapshotRecord {
    let found = snapshots::find(&bench.store, ScopeId(CLONE_SCOPE), Revision(SNAPSHOT)).expect("reads");
    found.expect("is there").record
}

fn status(bench: &Bench) -> SnapshotCompactStatus {
    let instance = publication::compacting_instance(&bench.store, &compaction()).expect("reads");
    instance.expect("lives").info.snapshot_compact_status()
}

#[test]
fn a_compaction_is_done_when_manifests_of_before_are_written_anew() {
    let mut bench = fixture::bench();
    put_snapshot(&mut bench, CLONE_SCOPE, SNAPSHOT);
    let job = fixture::start(&mut bench, compaction()).expect("started");
    fixture::plan_all(&mut bench, job);
    complete_all(&mut bench);
    let publish = PublishJob { job };
    bench.run(&publish).expect("its copies are read");
    let parent = parent(&bench.store, ScopeId(CLONE_SCOPE)).expect("reads").expect("a clone");
    assert!(parent.base_complete && !parent.holds_files);
    let active = jobs::find_active(&bench.store, job).expect("reads").expect("it goes on");
    assert_ne!(
        status(&bench),
        SnapshotCompactStatus::SnapshotCompactDone,
        "the source is still needed"
    );

    let cancel = CancelJob {
        job,
        reason: String::new(),
    };
    let fail = FailJob { job, ..FailJob::default() };
    assert_eq!(
        bench.refusal(&publish),
        ErrorCode::PreconditionFailed,
        "a manifest names the source's files"
    );
    assert_eq!(
        bench.refusal(&cancel),
        ErrorCode::PreconditionFailed,
        "copies that are read do not go"
    );
    assert_eq!(bench.refusal(&fail), ErrorCode::PreconditionFailed);

    let since = Revision(active.record.base_published_at);
    assert_eq!(to_begin(&bench, &active.record, bench.now_ms, 10), [SNAPSHOT]);
    let start = StartManifests {
        scope: CLONE_SCOPE,
        revision: SNAPSHOT,
        since: Some(since.0),
    };
    let manifests = bench.run(&start).expect("runs").job;
    assert!(manifests > job);
    let record = record_of(&bench);
    assert!(!record.manifests_complete && !record.manifests_listed && record.replaces_manifests);
    assert_eq!(bench.run(&start).expect("runs").job, 0, "it has one");
    assert_eq!(bench.refusal(&publish), ErrorCode::PreconditionFailed, "they are not there yet");

    fixture::plan_all(&mut bench, manifests);
    complete_all(&mut bench);
    bench.run(&PublishJob { job: manifests }).expect("all are there");
    let record = record_of(&bench);
    assert!(record.manifests_complete && !record.replaces_manifests && record.needs_work());
    assert_eq!(bench.run(&start).expect("runs").job, 0, "those that are there are newer");
    bench.run(&publish).expect("nothing is left");
    let ended = jobs::find(&bench.store, job).expect("reads").expect("is kept");
    assert_eq!(ended.state(), JobState::JobCompleted);
    assert_eq!(status(&bench), SnapshotCompactStatus::SnapshotCompactDone);
}

#[test]
fn a_compaction_of_an_entry_of_before_ends_at_once() {
    let mut bench = fixture::bench();
    put_snapshot(&mut bench, CLONE_SCOPE, SNAPSHOT);
    let job = fixture::start(&mut bench, fixture::definition(JobKind::CompactClone, 2)).expect("started");
    fixture::plan_all(&mut bench, job);
    complete_all(&mut bench);
    bench.run(&PublishJob { job }).expect("published");
    assert_eq!(status(&bench), SnapshotCompactStatus::SnapshotCompactDone);
    assert!(record_of(&bench).manifests_listed);
}

#[test]
fn snapshots_of_clones_that_read_through_the_clone_wait_as_well() {
    let mut bench = fixture::bench();
    let mut further = ParentRecord {
        source_scope: CLONE_SCOPE,
        source_revision: SNAPSHOT,
        created_at: SNAPSHOT + 1,
        ..ParentRecord::default()
    };
    let clone = clone_key(ScopeId(CLONE_SCOPE), Revision(SNAPSHOT), ScopeId(FURTHER_SCOPE));
    bench.store.rows.insert(clone, bytes::Bytes::new());
    bench
        .store
        .rows
        .insert(parent_key(ScopeId(FURTHER_SCOPE)), further.encode_to_vec().into());
    put_snapshot(&mut bench, FURTHER_SCOPE, SNAPSHOT + 2);
    let waiting = |bench: &Bench, since| {
        let found = rewriting::waiting(&bench.store, &compaction(), Revision(since), 10).expect("reads");
        found.into_iter().map(|snapshot| snapshot.scope.0).collect::<Vec<_>>()
    };
    assert_eq!(waiting(&bench, SNAPSHOT + 9), [FURTHER_SCOPE]);
    assert_eq!(waiting(&bench, 0), [0u64; 0], "manifests of later name the copies");
    further.base_complete = true;
    bench
        .store
        .rows
        .insert(parent_key(ScopeId(FURTHER_SCOPE)), further.encode_to_vec().into());
    bench.adopt_rows();
    assert_eq!(waiting(&bench, SNAPSHOT + 9), [0u64; 0], "it has copies of its own");
}

#[test]
fn manifests_are_written_anew_though_those_that_wait_for_them_have_all_places() {
    let mut bench = fixture::bench();
    put_snapshot(&mut bench, CLONE_SCOPE, SNAPSHOT);
    let job = fixture::start(&mut bench, compaction()).expect("started");
    fixture::plan_all(&mut bench, job);
    complete_all(&mut bench);
    bench.run(&PublishJob { job }).expect("its copies are read");
    let record = jobs::find(&bench.store, job).expect("reads").expect("is there");
    let full = limits::MAX_ACTIVE_JOBS;
    bench.set_counters(|counters| counters.active_jobs = full);
    fixture::start(&mut bench, fixture::definition(JobKind::Restore, 1)).expect_err("no place for others");
    let start = StartManifests {
        scope: CLONE_SCOPE,
        revision: SNAPSHOT,
        since: Some(record.base_published_at),
    };
    let first = bench.run(&start).expect("runs").job;
    assert!(first > 0);
    let fail = FailJob {
        job: first,
        ..FailJob::default()
    };
    bench.run(&fail).expect("fails");

    // The next one finds a place as well, after a while.
    assert_eq!(to_begin(&bench, &record, bench.now_ms, 10), [0u64; 0]);
    let later = bench.now_ms + limits::MANIFESTS_RETRY_MS + limits::LOST_CLAIM_HEARD_MS;
    assert_eq!(to_begin(&bench, &record, later, 10), [SNAPSHOT]);
    assert!(bench.run(&start).expect("runs").job > first);
    bench.set_counters(|counters| counters.active_jobs = full + limits::REWRITING_JOBS_BESIDE);
    assert!(!jobs::has_room_for_rewriting(&bench.counters(), full), "there is a bound");
}

#[test]
fn snapshots_that_cannot_be_written_leave_their_places_to_others() {
    let mut bench = fixture::bench();
    for number in 0..5 {
        put_snapshot(&mut bench, CLONE_SCOPE, SNAPSHOT + number);
    }
    let (_, record) = publish_base(&mut bench, compaction());
    let begin = |bench: &mut Bench, revision| {
        let start = StartManifests {
            scope: CLONE_SCOPE,
            revision,
            since: Some(record.base_published_at),
        };
        bench.run(&start).expect("runs").job
    };
    assert_eq!(to_begin(&bench, &record, bench.now_ms, 2), [SNAPSHOT, SNAPSHOT + 1]);
    let dead: Vec<u64> = (0..2).map(|number| begin(&mut bench, SNAPSHOT + number)).collect();
    assert_eq!(to_begin(&bench, &record, bench.now_ms, 2), [0u64; 0], "both places are taken");
    for job in dead {
        bench.run(&FailJob { job, ..FailJob::default() }).expect("fails");
    }
    assert_eq!(to_begin(&bench, &record, bench.now_ms, 2), [SNAPSHOT + 2, SNAPSHOT + 3]);
    let last = begin(&mut bench, SNAPSHOT + 4);
    let later = bench.now_ms + limits::MANIFESTS_RETRY_MS + limits::LOST_CLAIM_HEARD_MS;
    assert_eq!(
        to_begin(&bench, &record, later, 2),
        [SNAPSHOT + 2],
        "one that stands behind is under way"
    );
    assert_eq!(
        to_begin(&bench, &record, later, 5)[2..],
        [SNAPSHOT, SNAPSHOT + 1],
        "what was tried before comes last"
    );

    // A vault that does not answer fails no job: its tasks are tried again for a day.
    fixture::plan_all(&mut bench, last);
    let claimed = &claim(&mut bench, "worker", 1)[0];
    let away = FailTask {
        job: last,
        task: claimed.task,
        fence: claimed.fence,
        reason: "its vault does not answer".to_owned(),
        can_retry: true,
        is_of_the_vault: true,
    };
    assert!(bench.run(&away).expect("runs").accepted);
    let both = [SNAPSHOT + 2, SNAPSHOT + 3];
    assert_eq!(
        to_begin(&bench, &record, later, 2),
        both,
        "one that waits for its vault takes no place"
    );
}

/// The snapshots with which to begin then, if no more than `at_once` are to be under way.
fn to_begin(bench: &Bench, record: &JobRecord, now_ms: u64, at_once: usize) -> Vec<u64> {
    let waiting = rewriting::waiting(&bench.store, record, Revision(record.base_published_at), 10).expect("reads");
    let begun = rewriting::to_begin(&bench.store, waiting, now_ms, at_once).expect("reads");
    begun.iter().map(|snapshot| snapshot.revision.0).collect()
}

/// Publishes a compaction whose manifests are still to be written anew; its record.
fn publish_base(bench: &mut Bench, definition: JobRecord) -> (u64, JobRecord) {
    let job = fixture::start(bench, definition).expect("started");
    fixture::plan_all(bench, job);
    complete_all(bench);
    bench.run(&PublishJob { job }).expect("its copies are read");
    let active = jobs::find_active(&bench.store, job).expect("reads").expect("it goes on");
    (job, active.record)
}

fn time_is_over(job: u64, record: &JobRecord) -> FailJob {
    FailJob {
        job,
        reason: String::new(),
        deadline_ms: Some(record.deadline_ms),
    }
}

#[test]
fn a_compaction_whose_time_is_over_gives_up_manifests_and_completes() {
    let mut bench = fixture::bench();
    put_snapshot(&mut bench, CLONE_SCOPE, SNAPSHOT);
    let (job, record) = publish_base(&mut bench, compaction());
    let waits_for = |bench: &Bench| rewriting::waits_for(&bench.store, &record).expect("reads");
    assert!(
        waits_for(&bench).starts_with("manifests of snapshot before ("),
        "{}",
        waits_for(&bench)
    );
    let start = |since| StartManifests {
        scope: CLONE_SCOPE,
        revision: SNAPSHOT,
        since: Some(since),
    };
    let manifests = bench.run(&start(record.base_published_at)).expect("runs").job;
    let fail = FailJob {
        job: manifests,
        reason: "the bucket is gone".to_owned(),
        deadline_ms: None,
    };
    bench.run(&fail).expect("fails");
    let said = waits_for(&bench);
    assert!(said.contains("failed: the bucket is gone; mend its vault, or drop it"), "{said}");

    let late = time_is_over(job, &record);
    bench.now_ms = record.deadline_ms - 1;
    assert_eq!(bench.refusal(&late), ErrorCode::PreconditionFailed, "a millisecond is left");
    bench.now_ms = record.deadline_ms;
    bench.run(&late).expect("gives up");
    let left = record_of(&bench);
    assert!(!left.manifests_complete && !left.manifests_listed && left.replaces_manifests && left.needs_work());
    assert_eq!(
        (left.manifests_given_up, waits_for(&bench).as_str()),
        (record.base_published_at, "")
    );
    bench.run(&PublishJob { job }).expect("nothing is waited for");
    let ended = jobs::find(&bench.store, job).expect("reads").expect("is kept");
    assert_eq!(ended.state(), JobState::JobCompleted);
    assert!(ended.reason.starts_with("manifests of snapshot before ("), "{}", ended.reason);
    assert_eq!(status(&bench), SnapshotCompactStatus::SnapshotCompactDone, "it can be decoupled");

    // Whoever writes manifests of any snapshot writes these as well.
    let manifests = bench.run(&start(0)).expect("runs").job;
    assert!(manifests > job);
    fixture::plan_all(&mut bench, manifests);
    complete_all(&mut bench);
    bench.run(&PublishJob { job: manifests }).expect("all are there");
    let written = record_of(&bench);
    assert!(written.manifests_complete && written.manifests_given_up == 0 && written.manifests_since > record.base_published_at);
}

#[test]
fn manifests_that_an_older_job_still_writes_are_not_given_up() {
    let mut bench = fixture::bench();
    let snapshot = SnapshotRecord {
        name: "before".to_owned(),
        state: SnapshotState::Committed as i32,
        collection_id: COLLECTION_ID,
        ..SnapshotRecord::default()
    };
    let key = record_key(ScopeId(CLONE_SCOPE), Revision(SNAPSHOT));
    bench.store.rows.insert(key, snapshot.encode_to_vec().into());
    bench.adopt_rows();
    let start = StartManifests {
        scope: CLONE_SCOPE,
        revision: SNAPSHOT,
        since: Some(0),
    };
    let older = bench.run(&start).expect("runs").job;
    assert!(older > 0);
    let (job, record) = publish_base(&mut bench, compaction());
    let late = time_is_over(job, &record);
    bench.now_ms = record.deadline_ms;
    bench.run(&late).expect("gives up none");
    assert_eq!(record_of(&bench).manifests_given_up, 0, "that job would call them complete");
    assert_eq!(bench.refusal(&PublishJob { job }), ErrorCode::PreconditionFailed);
    let fail = FailJob {
        job: older,
        ..FailJob::default()
    };
    bench.run(&fail).expect("fails");
    bench.run(&late).expect("gives up");
    assert_eq!(record_of(&bench).manifests_given_up, record.base_published_at);
    bench.run(&PublishJob { job }).expect("nothing is waited for");
}

#[test]
fn a_compaction_that_is_nearly_late_has_time_for_manifests() {
    let mut bench = fixture::bench();
    put_snapshot(&mut bench, CLONE_SCOPE, SNAPSHOT);
    let definition = JobRecord {
        deadline_ms: bench.now_ms + 1,
        ..compaction()
    };
    let (_, record) = publish_base(&mut bench, definition);
    assert!(record.deadline_ms > bench.now_ms + limits::REWRITING_LEAST_MS / 2);
}
