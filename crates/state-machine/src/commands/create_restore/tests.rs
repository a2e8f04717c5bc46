use super::*;
use crate::catalog_fixture::{
    add_segments, bench_with_collection, call, collect_later, create_collection, drop_collection, drop_partition, drop_segments,
};
use crate::commands::{CancelJob, ClaimTasks, CollectVersions, DropCollection, PublishJob, RenameCollection};
use crate::jobs::tests::fixture::{self, COLLECTION_ID, PARTITION_IDS, REVISION, SOURCE_SCOPE, id_key};
use crate::jobs::tests::invariants;
use crate::jobs::translate::ids_of;
use crate::keys::{RecordTable, VersionedTable};
use crate::record::{PartitionRecord, SnapshotPinRecord};
use crate::snapshot_fixture;
use crate::store::Reader;
use crate::testing::{Bench, DROPPED, INSTANCE, OTHER_INSTANCE, prepare};
use prost::Message;
use quorate_model::{ErrorCode, Revision};
use quorate_wire::quorate::v1::{CreateSnapshotRequest, RenameCollectionRequest};

fn request(collection: &str) -> RestoreSnapshotRequest {
    RestoreSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        snapshot: Some(SnapshotRef {
            snapshot_id: format!("{REVISION:016x}0000"),
            ..SnapshotRef::default()
        }),
        target_collection: collection.to_owned(),
        ..RestoreSnapshotRequest::default()
    }
}

fn run(bench: &mut Bench, request: RestoreSnapshotRequest) -> Result<Job, MetaError> {
    let command = prepare::<CreateRestore>(request)?;
    bench.run(&command)
}

#[test]
fn a_restore_reserves_its_name_pins_its_source_and_stages_partitions_nobody_sees() {
    let mut bench = fixture::bench();
    let job = run(&mut bench, request("copy")).expect("started");
    assert_eq!((job.state(), job.kind(), job.collection.as_str()), (JobState::JobPlanning, JobKind::Restore, "copy"));
    assert_eq!(job.deadline_ms, bench.now_ms + limits::JOB_TIMEOUT_MS);
    invariants::check(&bench);
    let pins = invariants::table::<SnapshotPinRecord>(&bench, RecordTable::SnapshotPin);
    assert_eq!((pins.len(), pins[0].1.job, pins[0].1.revision), (1, job.job_id, REVISION));
    let record = jobs::find(&bench.store, job.job_id).expect("reads").expect("exists");
    assert_eq!(record.partitions.len(), PARTITION_IDS.len());
    let lineage = Lineage::of(&bench.store, record_scope(&record), Revision(u64::MAX)).expect("reads");
    for mapping in &record.partitions {
        let key = id_key(&[record.target_collection_id, mapping.target_id]);
        let staged = lineage.get(&bench.store, VersionedTable::Partition, &key).expect("reads").expect("staged");
        PartitionRecord::decode(staged.value).expect("decodes");
    }
    let refused = run(&mut bench, request("copy")).expect_err("reserved");
    assert_eq!(refused.code, ErrorCode::AlreadyExists);
    assert!(refused.message.contains(&format!("job {}", job.job_id)), "{refused}");
    let cancel = CancelJob {
        job: job.job_id,
        reason: String::new(),
    };
    bench.run(&cancel).expect("cancelled");
    assert!(invariants::table::<SnapshotPinRecord>(&bench, RecordTable::SnapshotPin).is_empty());
    run(&mut bench, request("copy")).expect("the name is free again");
}

#[test]
fn a_drop_of_the_collection_that_a_restore_fills_ends_the_restore() {
    let mut bench = fixture::bench();
    let job = run(&mut bench, request("copy")).expect("started").job_id;
    fixture::plan_all(&mut bench, job);
    let drop = |name: &str, ends_restore: bool| DropCollection {
        instance_id: INSTANCE.to_owned(),
        database: DEFAULT_DATABASE.to_owned(),
        name: name.to_owned(),
        ends_restore,
    };
    // The first as builds wrote it that let the restore go on.
    for passed_over in [drop("copy", false), drop("other", true)] {
        assert!(!bench.run(&passed_over).expect("runs").existed, "{passed_over:?}");
    }
    assert!(jobs::find_active(&bench.store, job).expect("reads").is_some());

    let dropped = drop_collection(&mut bench, INSTANCE, "copy").expect("dropped");
    assert_eq!((dropped.existed, dropped.revision), (true, bench.machine.revision().0));
    let record = jobs::find(&bench.store, job).expect("reads").expect("exists");
    assert_eq!((record.state(), record.reason.as_str()), (JobState::JobCancelled, "collection copy was dropped"));
    invariants::check(&bench);
    assert_eq!(bench.refusal(&PublishJob { job }), ErrorCode::PreconditionFailed);
    assert!(!drop_collection(&mut bench, INSTANCE, "copy").expect("runs").existed, "it was dropped before");
    create_collection(&mut bench, INSTANCE, "copy", &[]).expect("the name is free");
}

fn record_scope(record: &JobRecord) -> quorate_model::ScopeId {
    quorate_model::ScopeId(record.target_scope)
}

#[test]
fn a_restore_into_another_instance_makes_its_default_database() {
    let mut bench = fixture::bench();
    let there = RestoreSnapshotRequest {
        target_instance_id: OTHER_INSTANCE.to_owned(),
        timeout_seconds: 60,
        ..request("copy")
    };
    let job = run(&mut bench, there.clone()).expect("started");
    assert_eq!((job.instance_id.as_str(), job.database.as_str()), (OTHER_INSTANCE, "default"));
    assert_eq!(job.deadline_ms, bench.now_ms + 60_000);
    let elsewhere = RestoreSnapshotRequest {
        target_database: "analytics".to_owned(),
        ..there
    };
    assert_eq!(run(&mut bench, elsewhere).expect_err("no such database").code, ErrorCode::NotFound);
}

#[test]
fn what_cannot_be_restored_is_refused_and_changes_nothing() {
    let mut bench = fixture::bench();
    let named = |name: &str| RestoreSnapshotRequest {
        snapshot: Some(SnapshotRef {
            name: name.to_owned(),
            ..SnapshotRef::default()
        }),
        ..request("copy")
    };
    let other_id = |id: &str| RestoreSnapshotRequest {
        snapshot: Some(SnapshotRef {
            snapshot_id: id.to_owned(),
            ..SnapshotRef::default()
        }),
        ..request("copy")
    };
    let cases = [
        (named("missing"), ErrorCode::NotFound),
        (other_id("00000000000000990000"), ErrorCode::NotFound),
        (other_id("0000000000000099000g"), ErrorCode::InvalidArgument),
        (other_id(""), ErrorCode::InvalidArgument),
        (request(""), ErrorCode::InvalidArgument),
        (request("9"), ErrorCode::InvalidArgument),
        (request(&"x".repeat(256)), ErrorCode::InvalidArgument),
        (
            RestoreSnapshotRequest {
                target_vault: "nowhere".to_owned(),
                ..request("copy")
            },
            ErrorCode::VaultNotFound,
        ),
        (
            RestoreSnapshotRequest {
                target_instance_id: DROPPED.to_owned(),
                ..request("copy")
            },
            ErrorCode::NotFound,
        ),
        (
            RestoreSnapshotRequest {
                timeout_seconds: MAX_TIMEOUT_SECONDS + 1,
                ..request("copy")
            },
            ErrorCode::InvalidArgument,
        ),
    ];
    // Refused ones are stamped too.
    bench.refusal(&CancelJob::default());
    let before = (bench.machine.revision(), bench.counters());
    for (request, code) in cases {
        let text = format!("{request:?}");
        assert_eq!(run(&mut bench, request).expect_err("refused").code, code, "{text}");
    }
    assert_eq!((bench.machine.revision(), bench.counters()), before);
}

#[test]
fn a_name_that_is_taken_is_refused() {
    let mut bench = fixture::bench();
    let name = crate::record::NameRecord { id: COLLECTION_ID };
    let key = [&fixture::DATABASE_ID.to_be_bytes()[..], b"source"].concat();
    fixture::put_version(&mut bench, SOURCE_SCOPE, VersionedTable::CollectionName, &key, 2, Some(&name.encode_to_vec()));
    bench.adopt_rows();
    let refused = run(&mut bench, request("source")).expect_err("taken");
    assert_eq!(refused.code, ErrorCode::AlreadyExists);
    assert!(refused.message.contains("duplicate collection"), "in the contract's words: {refused}");
}

/// The job's own pin keeps what it reads, whatever becomes of the snapshot's.
#[test]
fn the_source_stays_readable_while_the_job_runs() {
    let mut bench = fixture::bench();
    let job = run(&mut bench, request("copy")).expect("started").job_id;
    for id in 0..fixture::SEGMENTS {
        let key = id_key(&[COLLECTION_ID, PARTITION_IDS[id as usize % 2], 60 + id]);
        let tombstone = REVISION + 1;
        fixture::put_version(&mut bench, SOURCE_SCOPE, VersionedTable::Segment, &key, tombstone, None);
    }
    bench.set_counters(|counters| counters.revision += 100);
    bench.now_ms += 2 * limits::HISTORY_WINDOW_MS;
    bench.run(&CollectVersions { max_keys: 0 }).expect("collected");
    fixture::plan_all(&mut bench, job);
    let shown = queries::jobs::describe_job(&bench.store, &job_request(job)).expect("exists");
    assert_eq!(shown.progress.expect("shown").rows_total, fixture::SEGMENTS);
    assert!(bench.store.get(&crate::jobs::rows::active(job)).expect("reads").is_some());
}

fn job_request(job_id: u64) -> quorate_wire::quorate::v1::DescribeJobRequest {
    quorate_wire::quorate::v1::DescribeJobRequest {
        job_id,
        ..Default::default()
    }
}

/// Takes and commits a snapshot of a collection, or of the whole instance when none is named; its revision.
fn snapshot(bench: &mut Bench, collection: &str, name: &str) -> u64 {
    let request = CreateSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        collection: collection.to_owned(),
        name: name.to_owned(),
        ..CreateSnapshotRequest::default()
    };
    let revision = snapshot_fixture::create(bench, request).expect("made").revision;
    let scope = bench.scope();
    snapshot_fixture::commit(bench, scope, revision);
    revision
}

/// Restores what is named `collection` in a snapshot.
fn out_of(revision: u64, collection: &str, target: &str) -> RestoreSnapshotRequest {
    RestoreSnapshotRequest {
        snapshot: Some(snapshot_fixture::by_id(revision)),
        source_collection: collection.to_owned(),
        ..request(target)
    }
}

fn with_id(revision: u64, collection_id: u64, target: &str) -> RestoreSnapshotRequest {
    RestoreSnapshotRequest {
        source_collection_id: collection_id,
        ..out_of(revision, "", target)
    }
}

fn id_of(bench: &Bench, collection: &str) -> u64 {
    let found = snapshots::names::collection_id(&bench.store, bench.scope(), DEFAULT_DATABASE, collection);
    found.expect("reads").expect("exists")
}

/// Ids of the segments that a job copies.
fn copied_by(bench: &mut Bench, job: u64) -> Vec<u64> {
    fixture::plan_all(bench, job);
    let claim = ClaimTasks {
        worker: "w".to_owned(),
        max: limits::MAX_CLAIMS,
        avoid_jobs: Vec::new(),
        min_age_ms: 0,
    };
    let tasks = bench.run(&claim).expect("claimed").tasks;
    let mut ids = Vec::new();
    for task in tasks.iter().filter(|task| task.job_id == job) {
        for row in fixture::source_rows(bench, task) {
            let [_, _, segment] = ids_of(&row.key).expect("a segment's key");
            ids.push(segment);
        }
    }
    ids
}

#[test]
fn a_collection_comes_out_of_a_snapshot_of_its_instance_as_it_was_then() {
    let mut bench = bench_with_collection();
    let ids = add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds");
    let (id, whole) = (id_of(&bench, "c"), snapshot(&mut bench, "", "whole"));
    // It changes, goes under another name, and another collection has the name it had.
    add_segments(&mut bench, INSTANCE, "c", "p", 2).expect("adds");
    drop_segments(&mut bench, INSTANCE, "c", "p", &ids[..1]).expect("drops");
    drop_partition(&mut bench, INSTANCE, "c", "q").expect("drops");
    let rename = RenameCollectionRequest {
        instance_id: INSTANCE.to_owned(),
        name: "c".to_owned(),
        new_name: "d".to_owned(),
        ..RenameCollectionRequest::default()
    };
    call::<RenameCollection>(&mut bench, rename).expect("renames");
    drop_collection(&mut bench, INSTANCE, "d").expect("drops");
    create_collection(&mut bench, INSTANCE, "c", &["other"]).expect("creates");
    add_segments(&mut bench, INSTANCE, "c", "other", 1).expect("adds");
    collect_later(&mut bench);

    let of_collection = [out_of(whole, "c", "first"), with_id(whole, id, "second")];
    for request in of_collection {
        let job = run(&mut bench, request).expect("started");
        assert_eq!((job.source_collection.as_str(), job.snapshot_name.as_str()), ("c", "whole"));
        let record = jobs::find(&bench.store, job.job_id).expect("reads").expect("exists");
        assert_eq!((record.source_collection_id, record.source_revision), (id, whole));
        let mut partitions: Vec<&str> = record.partitions.iter().map(|mapping| mapping.name.as_str()).collect();
        partitions.retain(|name| ["p", "q", "other"].contains(name));
        partitions.sort_unstable();
        assert_eq!(partitions, ["p", "q"]);
        assert_eq!(copied_by(&mut bench, job.job_id), ids);
    }
    let busy = snapshot_fixture::drop_by(&mut bench, snapshot_fixture::by_id(whole)).expect_err("jobs read it");
    assert_eq!(busy.code, ErrorCode::PreconditionFailed);
}

#[test]
fn what_a_snapshot_does_not_show_cannot_come_out_of_it() {
    let mut bench = bench_with_collection();
    let whole = snapshot(&mut bench, "", "whole");
    let one = snapshot(&mut bench, "c", "one");
    create_collection(&mut bench, INSTANCE, "later", &[]).expect("creates");
    let (c, later) = (id_of(&bench, "c"), id_of(&bench, "later"));
    let in_database = |database: &str, request: RestoreSnapshotRequest| RestoreSnapshotRequest {
        source_database: database.to_owned(),
        ..request
    };
    let cases = [
        (out_of(whole, "", "x"), ErrorCode::PreconditionFailed, "snapshot whole is of a whole instance"),
        (out_of(whole, "", "x"), ErrorCode::PreconditionFailed, "--collection"),
        (out_of(whole, "later", "x"), ErrorCode::NotFound, "shows no collection \"later\" of database \"default\""),
        (in_database("d", out_of(whole, "c", "x")), ErrorCode::NotFound, "shows no collection \"c\" of database \"d\""),
        (with_id(whole, later, "x"), ErrorCode::NotFound, "shows no collection"),
        (in_database("d", out_of(whole, "", "x")), ErrorCode::InvalidArgument, "source_database"),
        (in_database("d", with_id(whole, c, "x")), ErrorCode::InvalidArgument, "source_database"),
        (
            RestoreSnapshotRequest {
                source_collection_id: c,
                ..out_of(whole, "c", "x")
            },
            ErrorCode::InvalidArgument,
            "by name and by id",
        ),
        (out_of(whole, &"c".repeat(1_025), "x"), ErrorCode::InvalidArgument, "source_collection is 1025 bytes"),
        (out_of(one, "later", "x"), ErrorCode::PreconditionFailed, "is of collection default.c alone"),
        (with_id(one, later, "x"), ErrorCode::PreconditionFailed, "is of collection default.c alone"),
        (in_database("d", out_of(one, "c", "x")), ErrorCode::PreconditionFailed, "is of collection default.c alone"),
    ];
    let before = bench.counters();
    for (request, code, text) in cases {
        let error = run(&mut bench, request).expect_err(text);
        assert_eq!(error.code, code, "{error}");
        assert!(error.message.contains(text), "{error}");
    }
    assert_eq!(bench.counters().last_object, before.last_object);
    assert_eq!(bench.counters().active_jobs, before.active_jobs);

    run(&mut bench, in_database("default", out_of(one, "c", "by_name"))).expect("its own name");
    run(&mut bench, with_id(one, c, "by_id")).expect("its own id");
    let gone = snapshot_fixture::drop_by(&mut bench, snapshot_fixture::by_id(whole));
    assert_eq!(gone, Ok(true));
    let refused = run(&mut bench, out_of(whole, "c", "x")).expect_err("being deleted");
    assert_eq!(refused.code, ErrorCode::NotFound);
}
