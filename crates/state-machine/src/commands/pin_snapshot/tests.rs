use super::*;
use crate::commands::UnpinSnapshot;
use crate::snapshot_fixture::{add_collection, by_id, by_name, committed, create, create_request, drop_by, pin};
use crate::testing::{Bench, OTHER_INSTANCE, prepare};
use quorate_model::{ErrorCode, ScopeId};
use quorate_wire::quorate::v1::UnpinSnapshotRequest;

fn bench() -> Bench {
    let mut bench = Bench::new();
    add_collection(&mut bench, ScopeId(1), 3);
    bench
}

#[test]
fn only_a_committed_snapshot_is_pinned() {
    let mut bench = bench();
    let pending = create(&mut bench, create_request(3, "s", 0)).expect("created").revision;
    let error = pin(&mut bench, by_name("c3", "s"), 0, 1).expect_err("pending");
    assert_eq!(error.message, "collection 103: snapshot not found[snapshot=s]: it is PENDING, not committed");
    drop_by(&mut bench, by_id(pending)).expect("dropped");
    let error = pin(&mut bench, by_id(pending), 0, 1).expect_err("deleting");
    assert_eq!((error.code, error.message.as_str()), (ErrorCode::NotFound, "snapshot is being deleted: s"));
    let error = pin(&mut bench, by_name("c3", "s"), 0, 1).expect_err("gone");
    assert_eq!(error.message, "collection 103: snapshot not found[snapshot=s]");
}

#[test]
fn what_is_wrong_with_a_pin_is_said() {
    let mut bench = bench();
    committed(&mut bench, 3, "s", 0);
    let error = pin(&mut bench, by_name("c3", "s"), 2_592_001, 1).expect_err("too long");
    assert_eq!(error, MetaError::invalid("ttl_seconds exceeds maximum of 2592000 (30 days)"));
    let pinned = pin(&mut bench, by_name("c3", "s"), 0, 1).expect("pinned").pin_id;
    assert_eq!(pinned, 1, "an id is positive");
    let unpin = |instance_id: &str, pin_id| {
        prepare::<UnpinSnapshot>(UnpinSnapshotRequest {
            instance_id: instance_id.to_owned(),
            pin_id,
        })
    };
    unpin("", 0).expect_err("no id");
    let other = unpin(OTHER_INSTANCE, pinned).expect("well-formed");
    assert_eq!(bench.refusal(&other), ErrorCode::InvalidArgument);
    assert!(bench.run(&unpin("", pinned).expect("well-formed")).expect("unpinned").existed);
}

#[test]
fn a_jobs_pin_is_not_taken_away_by_a_caller() {
    let mut bench = bench();
    let revision = committed(&mut bench, 3, "s", 0);
    let pinned = pin(&mut bench, by_id(revision), 0, 8).expect("pinned").pin_id;
    let record = SnapshotPinRecord {
        scope: 1,
        revision,
        expires_ms: 0,
        job: 77,
    };
    bench.store.rows.insert(pins::pin_key(pinned), prost::Message::encode_to_vec(&record).into());
    bench.adopt_rows();
    let unpin = UnpinSnapshot {
        pin_id: pinned,
        ..UnpinSnapshot::default()
    };
    let error = bench.run(&unpin).expect_err("a job's");
    assert_eq!(error.message, "pin 4 belongs to job 77; cancel the job, or wait until it has ended");
}

#[test]
fn a_snapshot_has_no_more_pins_than_the_limit() {
    let mut bench = bench();
    let revision = committed(&mut bench, 3, "s", 0);
    for random in 0..limits::MAX_PINS_PER_SNAPSHOT as u64 {
        pin(&mut bench, by_id(revision), 60, 2 * random).expect("pinned");
    }
    let error = pin(&mut bench, by_id(revision), 60, 1).expect_err("full");
    assert_eq!(error.message, "the snapshot has 1000 pins, limit 1000; unpin some");
    bench.now_ms += 60_001;
    assert!(drop_by(&mut bench, by_id(revision)).expect("fits into one command"));
}
