use super::*;
use crate::commands::{CommitSnapshot, ExpireSnapshots, FailSnapshot, RemoveSnapshot, UnpinSnapshot};
use crate::snapshot_fixture::*;
use crate::snapshots;
use crate::testing::Bench;
use crate::versioned::pins;
use quorate_model::{ErrorCode, Revision, ScopeId};

const SCOPE: ScopeId = ScopeId(1);

fn bench() -> Bench {
    let mut bench = Bench::new();
    add_collection(&mut bench, SCOPE, 3);
    add_collection(&mut bench, SCOPE, 4);
    bench
}

fn state(bench: &Bench, revision: u64) -> Option<SnapshotState> {
    let found = snapshots::find(&bench.store, SCOPE, Revision(revision)).expect("reads");
    found.map(|snapshot| snapshot.state())
}

fn remove(bench: &mut Bench, revision: u64) -> bool {
    bench.run(&RemoveSnapshot { scope: 1, revision }).expect("runs").removed
}

#[test]
fn a_dropped_snapshot_keeps_its_revision_until_its_files_are_gone() {
    let mut bench = bench();
    let revision = committed(&mut bench, 3, "s", 0);
    assert!(!remove(&mut bench, revision), "what is in use is not removed");
    assert!(drop_by(&mut bench, by_name("c3", "s")).expect("dropped"));
    assert_eq!(state(&bench, revision), Some(SnapshotState::Deleting));
    assert!(pins::is_pinned(&bench.store, SCOPE, Revision(revision)).expect("reads"));
    assert!(!drop_by(&mut bench, by_name("c3", "s")).expect("again"), "its name is gone");
    assert!(!drop_by(&mut bench, by_id(revision)).expect("again"));
    check_indexes(&bench);
    assert!(remove(&mut bench, revision));
    assert!(!remove(&mut bench, revision));
    assert_eq!(state(&bench, revision), None);
    assert!(!pins::is_pinned(&bench.store, SCOPE, Revision(revision)).expect("reads"));
    assert_eq!(bench.counters().pins, 0);
    assert_eq!(rows(&bench, crate::keys::RecordTable::Condemned).len(), 2, "a late writer is cleaned up after");
    check_indexes(&bench);
}

#[test]
fn a_live_pin_keeps_a_snapshot_and_an_expired_one_does_not() {
    let mut bench = bench();
    let revision = committed(&mut bench, 3, "s", 0);
    let until = pin(&mut bench, by_id(revision), 60, 40).expect("pinned");
    assert_eq!((until.pin_id, until.expires_ms), (20, bench.now_ms + 60_000));
    let forever = pin(&mut bench, by_id(revision), 0, 40).expect("pinned");
    assert_eq!((forever.pin_id, forever.expires_ms), (21, 0), "a taken id is not given again");
    let error = drop_by(&mut bench, by_id(revision)).expect_err("pinned");
    assert_eq!(error.code, ErrorCode::PreconditionFailed);
    assert_eq!(error.message, "2 active pins, unpin before dropping: snapshot pinned[snapshot=s][pins=20, 21]");
    let unpin = UnpinSnapshot {
        pin_id: 21,
        ..UnpinSnapshot::default()
    };
    assert!(bench.run(&unpin).expect("unpinned").existed);
    assert!(!bench.run(&unpin).expect("again").existed);
    bench.now_ms = until.expires_ms;
    assert_eq!(drop_by(&mut bench, by_id(revision)).expect_err("live to the end").code, ErrorCode::PreconditionFailed);
    bench.now_ms += 1;
    assert!(drop_by(&mut bench, by_id(revision)).expect("expired"));
    check_indexes(&bench);
    assert!(rows(&bench, crate::keys::RecordTable::SnapshotPin).is_empty(), "expired pins went in the same write");
}

#[test]
fn a_snapshot_is_found_after_its_collection_is_gone() {
    let mut bench = bench();
    let revision = committed(&mut bench, 3, "s", 0);
    let other = committed(&mut bench, 4, "s", 0);
    drop_collection(&mut bench, SCOPE, 3);
    let resolved = |bench: &Bench, reference: SnapshotRef| names::resolve(&bench.store, SCOPE, &reference).map(|found| found.map(|found| found.revision.0));
    assert_eq!(resolved(&bench, by_name("c3", "s")).expect("found"), Some(revision));
    assert_eq!(resolved(&bench, by_name("c4", "s")).expect("found"), Some(other));
    assert_eq!(resolved(&bench, by_name("c5", "s")).expect("none"), None);
    assert_eq!(resolved(&bench, by_id(revision)).expect("found"), Some(revision));
    let error = resolved(&bench, by_name("", "s")).expect_err("two fit").to_string();
    assert!(error.starts_with("2 snapshots are named \"s\"; name one by its id: "), "{error}");
    let refused = drop_by(&mut bench, by_name("c3", "s")).expect_err("of a collection that is gone it is dropped by its id");
    assert_eq!(refused.code, ErrorCode::PreconditionFailed);
    assert!(drop_by(&mut bench, by_id(revision)).expect("dropped"));
    assert_eq!(resolved(&bench, by_name("", "s")).expect("one left"), Some(other));
    assert!(!drop_by(&mut bench, by_name("", "t")).expect("nothing there"));
}

#[test]
fn of_commit_and_failure_the_first_wins() {
    let mut bench = bench();
    let fail = |bench: &mut Bench, revision| bench.run(&FailSnapshot { scope: 1, revision }).expect("runs").failed;
    let committed = committed(&mut bench, 3, "s", 0);
    assert!(!fail(&mut bench, committed));
    let failed = create(&mut bench, create_request(3, "t", 0)).expect("created").revision;
    assert!(fail(&mut bench, failed));
    assert_eq!(commit(&mut bench, SCOPE, failed), SnapshotState::Deleting as i32);
    assert_eq!(state(&bench, failed), Some(SnapshotState::Deleting));
    create(&mut bench, create_request(3, "t", 0)).expect("the name is free");
    assert_eq!(commit(&mut bench, SCOPE, 9_999), 0, "there is no such snapshot");
    check_indexes(&bench);
}

#[test]
fn a_snapshot_past_its_time_goes_unless_it_is_used() {
    let mut bench = bench();
    let revision = committed(&mut bench, 3, "s", 60);
    pin(&mut bench, by_id(revision), 120, 2).expect("pinned");
    bench.now_ms += 60_000;
    let expire = ExpireSnapshots::default();
    assert_eq!(bench.run(&expire).expect("runs"), Default::default(), "not due before its time is over");
    bench.now_ms += 1;
    let put_off = bench.run(&expire).expect("runs");
    assert_eq!((put_off.put_off, put_off.snapshots_dropped), (1, 0));
    check_indexes(&bench);
    assert_eq!(bench.run(&expire).expect("runs").put_off, 0, "it is not looked at again at once");
    bench.now_ms += crate::limits::EXPIRY_RETRY_MS + 1;
    let ended = bench.run(&expire).expect("runs");
    assert_eq!((ended.pins_ended, ended.snapshots_dropped), (1, 1));
    assert_eq!(state(&bench, revision), Some(SnapshotState::Deleting));
    check_indexes(&bench);
}

#[test]
fn the_metadata_file_is_written_again_when_all_manifests_are_there() {
    use crate::queries::snapshots::{WorkKind, snapshot_work};
    let mut bench = bench();
    let work = |bench: &Bench| snapshot_work(&bench.store, None, 10).expect("reads").into_iter().map(|work| work.kind).collect::<Vec<_>>();
    let revision = create(&mut bench, create_request(3, "s", 0)).expect("created").revision;
    assert_eq!(work(&bench), [WorkKind::WriteMetadata]);
    commit(&mut bench, SCOPE, revision);
    assert_eq!(work(&bench), [WorkKind::StartManifests]);
    let listed = CommitSnapshot {
        scope: 1,
        revision,
        location: "l".into(),
        manifests_listed: true,
    };
    bench.run(&listed).expect("runs");
    assert_eq!(work(&bench), [WorkKind::StartManifests], "manifests that are not there cannot be listed");
    set(&mut bench, revision, |record| record.manifest_job = 7);
    assert_eq!(work(&bench), [WorkKind::StartManifests], "a job that is gone is not waited for");
    let mut job = |ended_ms| {
        let record = crate::record::JobRecord {
            ended_ms,
            ..Default::default()
        };
        let record = prost::Message::encode_to_vec(&record);
        bench.store.rows.insert(crate::jobs::rows::job(7), record.into());
        work(&bench)
    };
    let retry_ms = crate::limits::MANIFESTS_RETRY_MS;
    assert_eq!(job(1_000_000 - retry_ms), [WorkKind::StartManifests], "one that failed long ago is followed by another");
    assert_eq!(job(1_000_001 - retry_ms), [WorkKind::AwaitManifests]);
    assert_eq!(job(0), [WorkKind::AwaitManifests]);
    bench.adopt_rows();
    set(&mut bench, revision, |record| record.manifests_complete = true);
    assert_eq!(work(&bench), [WorkKind::ListManifests]);
    bench.run(&listed).expect("runs");
    assert!(work(&bench).is_empty());
    drop_by(&mut bench, by_id(revision)).expect("dropped");
    assert_eq!(work(&bench), [WorkKind::DeleteFiles]);
}

/// Changes a record behind the machine's back, as a job's commands will.
fn set(bench: &mut Bench, revision: u64, change: fn(&mut crate::record::SnapshotRecord)) {
    let mut snapshot = snapshots::find(&bench.store, SCOPE, Revision(revision)).expect("reads").expect("there");
    change(&mut snapshot.record);
    let record = prost::Message::encode_to_vec(&snapshot.record);
    bench.store.rows.insert(snapshots::record_key(SCOPE, Revision(revision)), record.into());
    bench.adopt_rows();
}

#[test]
fn a_repeated_drop_by_name_spares_the_backup_of_a_former_collection() {
    let mut bench = bench();
    let backup = committed(&mut bench, 3, "s", 0);
    drop_collection(&mut bench, SCOPE, 3);
    add_collection_named(&mut bench, SCOPE, 5, "c3");
    let newer = committed(&mut bench, 3, "s", 0);
    assert!(drop_by(&mut bench, by_name("c3", "s")).expect("drops the newer one"));
    assert_eq!(state(&bench, newer), Some(SnapshotState::Deleting));
    assert!(!drop_by(&mut bench, by_name("c3", "s")).expect("its answer was lost, it is sent again"));
    assert_eq!(state(&bench, backup), Some(SnapshotState::Committed));
    drop_collection(&mut bench, SCOPE, 3);
    let refused = drop_by(&mut bench, by_name("c3", "s")).expect_err("also when the newer collection is gone");
    assert_eq!(refused.code, ErrorCode::PreconditionFailed);
    assert!(refused.message.contains(&crate::snapshots::id::text(Revision(backup))), "{}", refused.message);
    assert_eq!(state(&bench, backup), Some(SnapshotState::Committed));
    assert!(drop_by(&mut bench, by_id(backup)).expect("by id it is meant"));
}
