//! The rules of jobs, one by one.

use super::fixture::{self, BASE_SCOPE, CLONE_SCOPE, COLLECTION_ID, FILE_BYTES, PARTITION_IDS, REVISION, SEGMENTS, SOURCE_SCOPE, id_key};
use super::invariants;
use crate::commands::*;
use crate::jobs::tasks::any_claimable;
use crate::jobs::{rows, translate::translate};
use crate::keys::{RecordTable, VersionedTable};
use crate::limits;
use crate::queries;
use crate::record::*;
use crate::testing::Bench;
use crate::versioned::{Lineage, lineage};
use prost::Message;
use quorate_model::{ErrorCode, Revision, ScopeId};
use quorate_wire::quorate::v1::*;

pub(super) fn started(kind: JobKind, number: u64) -> (Bench, u64) {
    let mut bench = fixture::bench();
    let job = fixture::start(&mut bench, fixture::definition(kind, number)).expect("started");
    fixture::plan_all(&mut bench, job);
    (bench, job)
}

pub(super) fn claim(bench: &mut Bench, worker: &str, max: u32) -> Vec<TaskAssignment> {
    let claim = ClaimTasks {
        worker: worker.to_owned(),
        max,
        avoid_jobs: Vec::new(),
        min_age_ms: 0,
    };
    bench.run(&claim).expect("claimed").tasks
}

fn complete(bench: &mut Bench, task: &TaskAssignment) -> bool {
    let rows = match task.kind() {
        JobKind::Manifests => Vec::new(),
        _ => translate(task, &fixture::source_rows(bench, task)).expect("fits").rows,
    };
    let complete = CompleteTask {
        job: task.job_id,
        task: task.task,
        fence: task.fence,
        rows,
        files: task.files,
        bytes: task.bytes,
    };
    bench.run(&complete).expect("fits").accepted
}

pub(super) fn complete_all(bench: &mut Bench) {
    loop {
        let tasks = claim(bench, "w", 16);
        if tasks.is_empty() {
            return;
        }
        for task in tasks {
            assert!(complete(bench, &task));
        }
    }
}

fn describe(bench: &Bench, job: u64) -> Job {
    let request = DescribeJobRequest {
        job_id: job,
        ..DescribeJobRequest::default()
    };
    queries::jobs::describe_job(&bench.store, &request).expect("exists")
}

fn fail(bench: &mut Bench, task: &TaskAssignment, can_retry: bool) {
    let fail = FailTask {
        job: task.job_id,
        task: task.task,
        fence: task.fence,
        reason: "a file is missing".to_owned(),
        can_retry,
        is_of_the_vault: false,
    };
    assert!(bench.run(&fail).expect("reported").accepted);
}

#[test]
fn a_published_restore_shows_every_segment_under_new_ids_and_paths() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    assert_eq!(bench.refusal(&PublishJob { job }), ErrorCode::PreconditionFailed);
    complete_all(&mut bench);
    bench.run(&PublishJob { job }).expect("all done");
    invariants::check(&bench);
    let lineage = Lineage::of(&bench.store, ScopeId(SOURCE_SCOPE), Revision(u64::MAX)).expect("reads");
    for position in 0..SEGMENTS {
        let partition = PARTITION_IDS[position as usize % 2];
        let source = fixture::segment(60 + position);
        let found = (1_000..1_100).find_map(|id| {
            let key = id_key(&[201, 1_000 - partition, id]);
            let row = lineage.get(&bench.store, VersionedTable::Segment, &key).expect("reads")?;
            let segment = SegmentRecord::decode(row.value).expect("decodes");
            (segment.rows == source.rows).then_some((id, segment))
        });
        let (id, segment) = found.expect("restored");
        assert_eq!(segment.files, source.files);
        assert!(
            segment.path.starts_with(&format!("s1/j{job}/t")) && segment.path.ends_with(&format!("-f1/g{id}")),
            "{}",
            segment.path
        );
        assert_eq!((segment.vault.as_str(), segment.owner_scope), ("target-vault", 0));
    }
    let shown = describe(&bench, job);
    let progress = shown.progress.expect("shown");
    assert_eq!(
        (shown.state(), progress.percent, progress.bytes_done),
        (JobState::JobCompleted, 100, SEGMENTS * FILE_BYTES)
    );
    assert_eq!(
        bench.refusal(&CancelJob {
            job,
            reason: String::new()
        }),
        ErrorCode::PreconditionFailed
    );
}

#[test]
fn progress_counts_running_tasks_and_reaches_100_only_with_publication() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    let tasks = claim(&mut bench, "w", 1);
    let renew = RenewClaims {
        worker: "w".to_owned(),
        claims: vec![ClaimProgress {
            job_id: job,
            task: tasks[0].task,
            fence: tasks[0].fence,
            files_done: 1,
            bytes_done: FILE_BYTES / 2,
        }],
    };
    assert!(bench.run(&renew).expect("renewed").lost.is_empty());
    let progress = describe(&bench, job).progress.expect("shown");
    assert_eq!(
        (progress.bytes_done, progress.files_done, progress.tasks_running),
        (FILE_BYTES / 2, 1, 1)
    );
    assert_eq!(progress.percent, (100 / (2 * SEGMENTS)) as u32);
    assert!(complete(&mut bench, &tasks[0]));
    complete_all(&mut bench);
    assert_eq!(describe(&bench, job).progress.expect("shown").percent, 99);
    bench.run(&PublishJob { job }).expect("published");
    assert_eq!(describe(&bench, job).progress.expect("shown").percent, 100);
}

#[test]
fn nothing_is_published_while_a_task_is_not_done() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    let tasks = claim(&mut bench, "w", 1);
    assert!(complete(&mut bench, &tasks[0]));
    assert!(
        describe(&bench, job).progress.expect("shown").tasks_total > 1,
        "others are not done"
    );
    assert_eq!(bench.refusal(&PublishJob { job }), ErrorCode::PreconditionFailed);
    assert_eq!(describe(&bench, job).state(), JobState::JobRunning);
}

#[test]
fn a_task_fails_five_times_with_growing_pauses_and_then_its_job() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    let mut claimed = claim(&mut bench, "w", 16);
    let first = claimed.remove(0);
    let mut task = first.clone();
    for pause_ms in [1_000, 2_000, 4_000, 8_000] {
        fail(&mut bench, &task, true);
        assert!(claim(&mut bench, "w", 1).is_empty());
        bench.now_ms += pause_ms - 1;
        assert!(claim(&mut bench, "w", 1).is_empty(), "before {pause_ms} ms are over");
        bench.now_ms += 1;
        task = claim(&mut bench, "w", 1).remove(0);
        assert_eq!((task.task, task.fence), (first.task, task.fence.max(2)));
    }
    fail(&mut bench, &task, true);
    let shown = describe(&bench, job);
    assert_eq!(
        (shown.state(), shown.reason.as_str()),
        (JobState::JobFailed, "task 1: a file is missing")
    );
    invariants::check(&bench);
}

#[test]
fn a_round_of_planning_ends_also_where_its_source_shows_nothing() {
    let mut bench = fixture::bench();
    let job = fixture::start(&mut bench, fixture::definition(JobKind::Restore, 1)).expect("started");
    // Between the snapshot's segments of one partition and those of the other.
    for id in 0..3 * limits::MAX_PAGE_KEYS as u64 {
        let key = id_key(&[COLLECTION_ID, PARTITION_IDS[0], 100_000 + id]);
        fixture::put_version(&mut bench, SOURCE_SCOPE, VersionedTable::Segment, &key, REVISION + 1, Some(b""));
    }
    bench.adopt_rows();
    let (mut rounds, mut empty) = (0, 0);
    while describe(&bench, job).state() == JobState::JobPlanning {
        let plan = fixture::next_plan(&bench, job).expect("active");
        (rounds, empty) = (rounds + 1, empty + usize::from(plan.tasks.is_empty()));
        assert!(bench.run(&plan).expect("planned").accepted);
    }
    assert_eq!((rounds, empty), (2, 0), "the first ends within what it cannot see");
    assert_eq!(describe(&bench, job).progress.expect("planned").rows_total, SEGMENTS);
    complete_all(&mut bench);
    assert!(bench.run(&PublishJob { job }).is_ok());
}

#[test]
fn a_vault_that_is_away_uses_up_no_attempts() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    let mut task = claim(&mut bench, "w", 16).remove(0);
    for _ in 0..limits::MAX_VAULT_FAILURES - 1 {
        let fail = FailTask {
            job,
            task: task.task,
            fence: task.fence,
            reason: "not mounted".to_owned(),
            can_retry: true,
            is_of_the_vault: true,
        };
        assert!(bench.run(&fail).expect("reported").accepted);
        bench.now_ms += 60_000;
        task = claim(&mut bench, "w", 1).remove(0);
    }
    fail(&mut bench, &task, true);
    assert_eq!(describe(&bench, job).state(), JobState::JobRunning, "its first attempt");
    bench.now_ms += 60_000;
    let again = claim(&mut bench, "w", 1).remove(0);
    assert!(complete(&mut bench, &again));
    let condemned = invariants::table::<CondemnedRecord>(&bench, RecordTable::Condemned);
    assert_eq!(
        condemned.len(),
        limits::MAX_VAULT_FAILURES as usize,
        "what each earlier claim may have written"
    );
    invariants::check(&bench);
}

#[test]
fn what_cannot_pass_fails_the_job_at_once() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    let task = claim(&mut bench, "w", 1).remove(0);
    fail(&mut bench, &task, false);
    assert_eq!(describe(&bench, job).state(), JobState::JobFailed);
    assert!(claim(&mut bench, "w", 16).is_empty(), "an ended job gives no tasks");
    invariants::check(&bench);
}

#[test]
fn a_task_that_stops_its_workers_ends_its_job() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    for round in 1..=limits::MAX_TASK_EXPIRATIONS {
        // The others stay claimed, so that it is always the first.
        let task = claim(&mut bench, "w", 16).remove(0);
        assert_eq!((task.task, task.fence), (1, u64::from(round)));
        let expire = ExpireClaim {
            job,
            task: task.task,
            fence: task.fence,
            renewals: 0,
        };
        assert!(bench.run(&expire).expect("looked at").expired);
    }
    let shown = describe(&bench, job);
    assert_eq!(shown.state(), JobState::JobFailed);
    assert!(shown.reason.contains("20 workers stopped"), "{}", shown.reason);
    invariants::check(&bench);
}

#[test]
fn jobs_take_turns_whatever_their_length() {
    let mut bench = fixture::bench();
    for number in 0..3 {
        let job = fixture::start(&mut bench, fixture::definition(JobKind::Restore, number)).expect("started");
        fixture::plan_all(&mut bench, job);
    }
    let tasks = claim(&mut bench, "w", 6);
    let mut of_jobs: Vec<u64> = tasks.iter().map(|task| task.job_id).collect();
    of_jobs.sort();
    assert!(
        of_jobs.chunks(2).all(|pair| pair[0] == pair[1]) && of_jobs[0] != of_jobs[2] && of_jobs[2] != of_jobs[4],
        "{of_jobs:?}"
    );
}

#[test]
fn a_completed_task_condemns_what_its_earlier_claims_wrote() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    let first = claim(&mut bench, "w", 1).remove(0);
    fail(&mut bench, &first, true);
    bench.now_ms += 1_000;
    let others = claim(&mut bench, "w", 16);
    let again = others.iter().find(|task| task.task == first.task).expect("open again");
    assert!(complete(&mut bench, again));
    let condemned = invariants::table::<CondemnedRecord>(&bench, RecordTable::Condemned);
    let paths: Vec<&str> = condemned.iter().map(|(_, record)| record.path.as_str()).collect();
    assert_eq!(paths, [format!("s1/j{job}/t{}-f1", first.task)]);
}

#[test]
fn a_compacted_clone_reads_its_base_layer() {
    for copies in [2, 1] {
        let (mut bench, job) = started(JobKind::CompactClone, copies);
        complete_all(&mut bench);
        bench.run(&PublishJob { job }).expect("published");
        invariants::check(&bench);
        let lineage = Lineage::of(&bench.store, ScopeId(CLONE_SCOPE), Revision(u64::MAX)).expect("reads");
        assert_eq!(lineage.levels()[1].scope, ScopeId(BASE_SCOPE));
        for position in 0..SEGMENTS {
            let key = id_key(&[COLLECTION_ID, PARTITION_IDS[position as usize % 2], 60 + position]);
            let row = lineage
                .get(&bench.store, VersionedTable::Segment, &key)
                .expect("reads")
                .expect("inherited");
            let segment = SegmentRecord::decode(row.value).expect("decodes");
            let expected_owner = if copies == 2 { 0 } else { SOURCE_SCOPE };
            assert_eq!(segment.owner_scope, expected_owner);
            assert_eq!(segment.path.starts_with("s4/j"), copies == 2, "{}", segment.path);
        }
        let database = lineage.get(&bench.store, VersionedTable::Database, b"default").expect("reads");
        assert!(database.is_some_and(|row| row.scope == ScopeId(BASE_SCOPE)));
        let parent = lineage::parent(&bench.store, ScopeId(CLONE_SCOPE))
            .expect("reads")
            .expect("a clone");
        assert_eq!((parent.base_complete, parent.holds_files), (true, copies != 2));
        let held = bench.store.rows.keys().any(|key| key[0] == crate::keys::space::HOLD);
        assert_eq!(held, copies != 2, "files that were not copied are held");
    }
}

#[test]
fn rows_that_are_not_the_sources_fail_the_job_and_are_never_seen() {
    let of_table = |bench: &mut Bench, table: VersionedTable| {
        let tasks = claim(bench, "w", 16);
        let rows = tasks
            .into_iter()
            .map(|task| (translate(&task, &fixture::source_rows(bench, &task)).expect("fits").rows, task));
        rows.into_iter()
            .find(|(rows, _)| rows.iter().any(|row| row.table == table as u32))
            .expect("has one")
    };
    type Tampering = fn(&mut StagedRow);
    let tampered: [(VersionedTable, Tampering); 6] = [
        (VersionedTable::Database, |row| {
            row.value = bytes::Bytes::from_static(b"\xff\xff no record")
        }),
        (VersionedTable::Collection, |row| {
            let mut record = CollectionRecord::decode(row.value.clone()).expect("decodes");
            record.database_id += 1;
            row.value = record.encode_to_vec().into();
        }),
        (VersionedTable::Segment, |row| {
            row.value = bytes::Bytes::from_static(b"\xff\xff no record")
        }),
        (VersionedTable::Segment, |row| {
            let mut record = SegmentRecord::decode(row.value.clone()).expect("decodes");
            record.files[0].name = "../../elsewhere".to_owned();
            row.value = record.encode_to_vec().into();
        }),
        (VersionedTable::Segment, |row| {
            let mut record = SegmentRecord::decode(row.value.clone()).expect("decodes");
            record.path.push_str("/../../elsewhere");
            row.value = record.encode_to_vec().into();
        }),
        (VersionedTable::Segment, |row| {
            let mut record = SegmentRecord::decode(row.value.clone()).expect("decodes");
            record.path.push_str("//elsewhere");
            row.value = record.encode_to_vec().into();
        }),
    ];
    for (table, tamper) in tampered {
        let (mut bench, job) = started(JobKind::CompactClone, 2);
        let (mut rows, task) = of_table(&mut bench, table);
        tamper(&mut rows[0]);
        let complete = CompleteTask {
            job,
            task: task.task,
            fence: task.fence,
            rows,
            files: task.files,
            bytes: task.bytes,
        };
        let before = bench.store.rows.len();
        let error = bench.run(&complete).expect_err("refused");
        let start = format!("the result of task {} does not fit: ", task.task);
        assert!(
            error.code == ErrorCode::InvalidArgument && error.message.starts_with(&start),
            "{table:?}: {error}"
        );
        assert_eq!(bench.store.rows.len(), before, "{table:?}: nothing is staged");
        // What a worker does with such an answer.
        let report = FailTask {
            job,
            task: task.task,
            fence: task.fence,
            reason: error.message.clone(),
            can_retry: false,
            is_of_the_vault: false,
        };
        assert!(bench.run(&report).expect("reported").accepted);
        let shown = describe(&bench, job);
        assert!(
            shown.state() == JobState::JobFailed && shown.reason.contains(&error.message),
            "{}",
            shown.reason
        );
        let parent = lineage::parent(&bench.store, ScopeId(CLONE_SCOPE))
            .expect("reads")
            .expect("a clone");
        assert!(!parent.base_complete);
        invariants::check(&bench);
    }
}

#[test]
fn no_task_of_an_ended_job_is_shown_as_claimed() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    let tasks = claim(&mut bench, "w", 2);
    assert!(complete(&mut bench, &tasks[0]));
    let cancel = CancelJob {
        job,
        reason: String::new(),
    };
    bench.run(&cancel).expect("cancelled");
    let request = ListTasksRequest {
        job_id: job,
        ..ListTasksRequest::default()
    };
    let shown = queries::jobs::list_tasks(&bench.store, &request).expect("listed").tasks;
    let states: Vec<TaskState> = shown.iter().map(Task::state).collect();
    assert_eq!(states[0], TaskState::TaskCompleted);
    assert!(
        states.len() == SEGMENTS as usize && states[1..].iter().all(|state| *state == TaskState::TaskCancelled),
        "{states:?}"
    );
    assert_eq!((shown[0].worker.as_str(), shown[1].worker.as_str()), ("w", ""));
}

#[test]
fn segments_of_dropped_collections_and_partitions_are_not_copied() {
    let mut bench = fixture::bench();
    let partition = id_key(&[COLLECTION_ID, PARTITION_IDS[0]]);
    fixture::put_version(&mut bench, SOURCE_SCOPE, VersionedTable::Partition, &partition, REVISION, None);
    bench.adopt_rows();
    let job = fixture::start(&mut bench, fixture::definition(JobKind::CompactClone, 2)).expect("started");
    fixture::plan_all(&mut bench, job);
    assert_eq!(describe(&bench, job).progress.expect("shown").files_total, SEGMENTS / 2 * 2);
    complete_all(&mut bench);
    bench.run(&PublishJob { job }).expect("published");

    let mut bench = fixture::bench();
    fixture::put_version(
        &mut bench,
        SOURCE_SCOPE,
        VersionedTable::Collection,
        &id_key(&[COLLECTION_ID]),
        REVISION,
        None,
    );
    bench.adopt_rows();
    let job = fixture::start(&mut bench, fixture::definition(JobKind::CompactClone, 2)).expect("started");
    fixture::plan_all(&mut bench, job);
    let progress = describe(&bench, job).progress.expect("shown");
    assert_eq!((progress.files_total, progress.rows_total), (0, 1), "only the database is left");
}

#[test]
fn manifests_are_complete_with_their_job() {
    let (mut bench, job) = started(JobKind::Manifests, 0);
    let tasks = claim(&mut bench, "w", 16);
    assert_eq!(
        (tasks.len(), tasks[0].rows),
        (1, SEGMENTS),
        "files cost nothing here, so one task has them all"
    );
    assert_eq!(tasks[0].target_path, format!("snapshots/{COLLECTION_ID}/manifests/{REVISION}"));
    assert!(complete(&mut bench, &tasks[0]));
    bench.run(&PublishJob { job }).expect("published");
    let snapshots = invariants::table::<SnapshotRecord>(&bench, RecordTable::Snapshot);
    assert!(snapshots[0].1.manifests_complete);
    invariants::check(&bench);
}

#[test]
fn a_restore_into_a_database_that_is_gone_is_not_published() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    complete_all(&mut bench);
    fixture::put_version(&mut bench, SOURCE_SCOPE, VersionedTable::Database, b"default", REVISION + 1, None);
    bench.adopt_rows();
    let error = bench.run(&PublishJob { job }).expect_err("no database");
    assert!(error.message.contains("database default was dropped"), "{error}");
    let reason = "its database was dropped".to_owned();
    let fail = FailJob {
        job,
        reason,
        ..FailJob::default()
    };
    bench.run(&fail).expect("failed instead");
    invariants::check(&bench);
}

#[test]
fn the_records_of_a_long_job_go_in_parts_after_a_week() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    for number in SEGMENTS as u32 + 1..=5_000 {
        let task = TaskRecord {
            state: TaskState::TaskOpen as i32,
            ..TaskRecord::default()
        };
        bench.store.rows.insert(rows::task(job, number), task.encode_to_vec().into());
        bench.store.rows.insert(rows::open(job, 0, number), bytes::Bytes::new());
    }
    bench.adopt_rows();
    bench
        .run(&CancelJob {
            job,
            reason: String::new(),
        })
        .expect("cancelled");
    bench.now_ms += limits::JOB_RETENTION_MS - 1;
    assert_eq!(bench.run(&RemoveJobs {}).expect("looked"), Default::default());
    bench.now_ms += 1;
    let runs: Vec<_> = (0..3).map(|_| bench.run(&RemoveJobs {}).expect("removed")).collect();
    assert_eq!(
        runs.iter().map(|run| (run.removed, run.more)).collect::<Vec<_>>(),
        [(0, true), (0, true), (1, false)]
    );
    let tables = [
        RecordTable::Job,
        RecordTable::Task,
        RecordTable::OpenTask,
        RecordTable::JobByTarget,
        RecordTable::JobRetention,
    ];
    for table in tables {
        let left = bench
            .store
            .rows
            .keys()
            .filter(|key| key.starts_with(&[crate::keys::space::RECORD, table as u8]))
            .count();
        assert_eq!(left, 0, "{table:?}");
    }
}

#[test]
fn one_job_too_many_is_refused_and_takes_no_pin() {
    let mut bench = fixture::bench();
    bench.set_counters(|counters| counters.active_jobs = limits::MAX_ACTIVE_JOBS);
    let pins = bench.counters().pins;
    let error = fixture::start(&mut bench, fixture::definition(JobKind::Restore, 1)).expect_err("too many");
    assert_eq!((error.code, bench.counters().pins), (ErrorCode::LimitReached, pins));
}

#[test]
fn jobs_are_listed_newest_first_by_page_and_filter() {
    let mut bench = fixture::bench();
    for number in 0..5 {
        let definition = JobRecord {
            target_collection: format!("c{}", number % 2),
            ..fixture::definition(JobKind::Restore, number)
        };
        fixture::start(&mut bench, definition).expect("started");
    }
    let list = |bench: &Bench, request: ListJobsRequest| queries::jobs::list_jobs(&bench.store, &request).expect("listed");
    let all: Vec<u64> = list(&bench, ListJobsRequest::default()).jobs.iter().map(|job| job.job_id).collect();
    assert!(all.len() == 5 && all.is_sorted_by(|one, other| one > other), "{all:?}");
    let (mut paged, mut page_token) = (Vec::new(), String::new());
    loop {
        let request = ListJobsRequest {
            page_size: 2,
            page_token: page_token.clone(),
            ..ListJobsRequest::default()
        };
        let page = list(&bench, request);
        paged.extend(page.jobs.iter().map(|job| job.job_id));
        if page.next_page_token.is_empty() {
            break;
        }
        page_token = page.next_page_token;
    }
    assert_eq!(paged, all);
    let job = all[0];
    bench
        .run(&CancelJob {
            job,
            reason: "r".to_owned(),
        })
        .expect("cancelled");
    let count = |collection: &str, only_active| {
        let request = ListJobsRequest {
            collection: collection.to_owned(),
            only_active,
            ..ListJobsRequest::default()
        };
        list(&bench, request).jobs.len()
    };
    assert_eq!(
        (count("c0", false), count("c0", true), count("c1", true), count("x", false)),
        (3, 2, 2, 0)
    );
    let nobody = ListJobsRequest {
        instance_id: "nobody".to_owned(),
        ..ListJobsRequest::default()
    };
    let error = queries::jobs::list_jobs(&bench.store, &nobody).expect_err("no such instance");
    assert!(error.to_string().contains("instance nobody does not exist"), "{error}");
    let wrong = ListJobsRequest {
        page_token: "x".to_owned(),
        ..ListJobsRequest::default()
    };
    queries::jobs::list_jobs(&bench.store, &wrong).expect_err("malformed");
}

#[test]
fn tasks_are_read_under_their_claim_only() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    let task = claim(&mut bench, "w", 1).remove(0);
    assert_eq!(fixture::source_rows(&bench, &task).len(), 1);
    for (task_number, fence) in [(task.task, task.fence + 1), (task.task + 1, 1), (99, 1)] {
        let request = ReadTaskRequest {
            job_id: job,
            task: task_number,
            fence,
        };
        queries::jobs::read_task(&bench.store, &request).expect_err("not claimed");
    }
    let request = ListTasksRequest {
        job_id: job,
        page_size: 4,
        ..ListTasksRequest::default()
    };
    let page = queries::jobs::list_tasks(&bench.store, &request).expect("listed");
    assert_eq!(
        (page.tasks.len(), page.tasks[0].state(), page.next_page_token.as_str()),
        (4, TaskState::TaskClaimed, "4")
    );
    let page = queries::jobs::list_tasks(
        &bench.store,
        &ListTasksRequest {
            page_token: page.next_page_token,
            ..request
        },
    )
    .expect("listed");
    assert_eq!((page.tasks.len(), page.tasks[0].task, page.next_page_token.as_str()), (2, 5, ""));
}

#[test]
fn what_a_worker_sends_is_bounded() {
    use crate::testing::prepare;
    let claim = |worker: &str, tasks| ClaimTasksRequest {
        worker: worker.to_owned(),
        tasks,
        ..ClaimTasksRequest::default()
    };
    let avoiding = |count: u64| ClaimTasksRequest {
        avoid_jobs: (0..count).collect(),
        ..claim("w", 1)
    };
    prepare::<ClaimTasks>(claim("w", 16)).expect("allowed");
    prepare::<ClaimTasks>(avoiding(64)).expect("allowed");
    for wrong in [
        avoiding(65),
        claim("", 1),
        claim("w", 0),
        claim("w", 17),
        claim(&"w".repeat(256), 1),
        claim("a\n", 1),
    ] {
        prepare::<ClaimTasks>(wrong).expect_err("out of bounds");
    }
    let progress = |task| ClaimProgress {
        job_id: 1,
        task,
        ..ClaimProgress::default()
    };
    let renew = |claims| RenewClaimsRequest {
        worker: "w".to_owned(),
        claims,
    };
    prepare::<RenewClaims>(renew((0..256).map(progress).collect())).expect("allowed");
    prepare::<RenewClaims>(renew((0..257).map(progress).collect())).expect_err("too many");
    prepare::<RenewClaims>(renew(vec![progress(1), progress(1)])).expect_err("twice");
    prepare::<CancelJob>(CancelJobRequest::default()).expect_err("no job");
    let long = FailTaskRequest {
        reason: "ä".repeat(600),
        ..FailTaskRequest::default()
    };
    assert_eq!(prepare::<FailTask>(long).expect("cut").reason.len(), limits::MAX_DESCRIPTION_BYTES);
}

#[test]
fn jobs_take_turns_when_there_are_more_of_them_than_workers() {
    const JOBS: usize = 4;
    let mut bench = fixture::bench();
    for number in 1..=JOBS as u64 {
        let job = fixture::start(&mut bench, fixture::definition(JobKind::Restore, number)).expect("started");
        fixture::plan_all(&mut bench, job);
    }
    let mut served = Vec::new();
    while let [task] = claim(&mut bench, "the only worker", 1).as_slice() {
        served.push(task.job_id);
        assert!(complete(&mut bench, task));
    }
    let tasks_of_each = served.len() / JOBS;
    assert!(tasks_of_each > 1, "{served:?}");
    for turn in served.chunks(JOBS) {
        let distinct: std::collections::BTreeSet<u64> = turn.iter().copied().collect();
        assert_eq!(distinct.len(), JOBS, "{served:?}");
    }
}

#[test]
fn a_worker_gets_no_task_of_a_job_it_avoids_and_another_one_does() {
    let (mut bench, first) = started(JobKind::Restore, 1);
    let second = fixture::start(&mut bench, fixture::definition(JobKind::Restore, 2)).expect("started");
    fixture::plan_all(&mut bench, second);
    let avoiding = |bench: &mut Bench, avoid_jobs: Vec<u64>| {
        let claim = ClaimTasks {
            worker: "picky".to_owned(),
            max: 16,
            avoid_jobs,
            min_age_ms: 0,
        };
        let tasks = bench.run(&claim).expect("claimed").tasks;
        tasks.iter().map(|task| task.job_id).collect::<Vec<_>>()
    };
    assert_eq!(avoiding(&mut bench, vec![first, second]), Vec::<u64>::new());
    let got = avoiding(&mut bench, vec![first]);
    assert!(!got.is_empty() && got.iter().all(|job| *job == second), "{got:?}");
    assert!(claim(&mut bench, "other", 1).iter().all(|task| task.job_id == first));
}

#[test]
fn a_worker_that_is_busy_gets_only_what_nobody_else_has_wanted() {
    let (mut bench, job) = started(JobKind::Restore, 1);
    let busy = ClaimTasks {
        worker: "busy".to_owned(),
        max: 1,
        avoid_jobs: Vec::new(),
        min_age_ms: 2_000,
    };
    let look = |bench: &Bench| any_claimable(&bench.store, bench.now_ms, &[], busy.min_age_ms).expect("reads");
    bench.now_ms += 1_999;
    assert!(!look(&bench));
    assert_eq!(bench.run(&busy).expect("answered").tasks, []);
    bench.now_ms += 1;
    assert!(look(&bench));
    let tasks = bench.run(&busy).expect("claimed").tasks;
    assert_eq!(tasks.iter().map(|task| task.job_id).collect::<Vec<_>>(), [job]);
    assert!(!claim(&mut bench, "idle", 1).is_empty(), "at once, whatever is left");
    let fail = FailTask {
        job,
        task: tasks[0].task,
        fence: tasks[0].fence,
        reason: "r".to_owned(),
        can_retry: true,
        is_of_the_vault: false,
    };
    while !claim(&mut bench, "idle", 16).is_empty() {}
    assert!(bench.run(&fail).expect("reported").accepted);
    bench.now_ms += 1_000 + busy.min_age_ms - 1;
    assert!(!look(&bench), "its pause is no time in which somebody could have had it");
    bench.now_ms += 1;
    assert!(look(&bench));
}
