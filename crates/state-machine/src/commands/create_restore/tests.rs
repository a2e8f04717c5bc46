use super::*;
use crate::commands::{CancelJob, CollectVersions};
use crate::jobs::tests::fixture::{self, COLLECTION_ID, PARTITION_IDS, REVISION, SOURCE_SCOPE, id_key};
use crate::jobs::tests::invariants;
use crate::keys::{RecordTable, VersionedTable};
use crate::record::{PartitionRecord, SnapshotPinRecord};
use crate::store::Reader;
use crate::testing::{Bench, DROPPED, INSTANCE, OTHER_INSTANCE, prepare};
use prost::Message;
use quorate_model::Revision;

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
