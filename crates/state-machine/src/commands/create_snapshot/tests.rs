use super::*;
use crate::commands::{ChangeSetting, DropInstance, ExpireSnapshots, OpenSession, PutAttribute};
use crate::snapshot_fixture::{add_collection, all_snapshots, by_name, check_indexes, create, create_request, drop_by, rows_of};
use crate::testing::{Bench, DROPPED, INSTANCE, OTHER_INSTANCE, command_frame, prepare};
use crate::versioned::{get_at, pins, readable};
use quorate_model::ErrorCode;

fn bench() -> Bench {
    let mut bench = Bench::new();
    add_collection(&mut bench, ScopeId(1), 3);
    add_collection(&mut bench, ScopeId(1), 4);
    bench
}

#[test]
fn a_snapshot_pins_its_own_revision_and_shows_what_was_there() {
    let mut bench = bench();
    let put = |value: &str| PutAttribute {
        instance_id: INSTANCE.into(),
        name: "a".into(),
        value: value.as_bytes().to_vec().into(),
        if_revision: None,
    };
    bench.run(&put("before")).expect("put");
    let snapshot = create(&mut bench, create_request(3, "s", 60)).expect("created");
    bench.run(&put("after")).expect("put");
    assert!(pins::is_pinned(&bench.store, ScopeId(1), Revision(snapshot.revision)).expect("reads"));
    readable(&bench.store, ScopeId(1), Revision(snapshot.revision)).expect("pinned");
    let seen = get_at(&bench.store, VersionedTable::Attribute, ScopeId(1), b"a", Revision(snapshot.revision)).expect("reads");
    assert_eq!(seen.expect("there").1, "before");
    let expected = Snapshot {
        snapshot_id: format!("{:016x}0000", snapshot.revision),
        name: "s".into(),
        state: SnapshotState::Pending as i32,
        database: "default".into(),
        collection: "c3".into(),
        collection_id: 103,
        revision: snapshot.revision,
        created_ms: bench.now_ms,
        expires_ms: bench.now_ms + 60_000,
        segments: 3,
        rows: 30,
        files: 6,
        bytes: 300,
        ..Snapshot::default()
    };
    assert_eq!(snapshot, expected);
    check_indexes(&bench);
}

#[test]
fn a_name_is_taken_within_its_collection_until_it_is_dropped() {
    let mut bench = bench();
    create(&mut bench, create_request(3, "s", 0)).expect("created");
    create(&mut bench, create_request(4, "s", 0)).expect("another collection");
    let whole = || CreateSnapshotRequest {
        collection: String::new(),
        ..create_request(3, "s", 0)
    };
    create(&mut bench, whole()).expect("the instance");
    for request in [create_request(3, "s", 0), create_request(3, " s ", 9), whole()] {
        let error = create(&mut bench, request).expect_err("taken");
        assert_eq!(error, MetaError::exists("snapshot name s already exists"));
    }
    assert!(drop_by(&mut bench, by_name("c3", "s")).expect("dropped"));
    create(&mut bench, create_request(3, "s", 0)).expect("free again while the old one is being deleted");
    check_indexes(&bench);
}

#[test]
fn only_the_same_request_id_makes_one_snapshot_of_two_calls() {
    let mut bench = bench();
    bench.run(&OpenSession::default()).expect("opened");
    let command = prepare::<CreateSnapshot>(create_request(3, "s", 0)).expect("well-formed");
    let first = bench.send(command_frame(1, 1, &command));
    assert_eq!(bench.send(command_frame(1, 1, &command)), first);
    let again = bench.send(command_frame(1, 2, &command)).body.expect_err("taken");
    assert_eq!(again.code, ErrorCode::AlreadyExists);
    assert_eq!(all_snapshots(&bench).len(), 1);
}

#[test]
fn what_does_not_exist_or_does_not_fit_is_refused_and_changes_nothing() {
    let mut bench = bench();
    let before = bench.store.rows.clone();
    let with = |change: fn(&mut CreateSnapshotRequest)| {
        let mut request = create_request(3, "s", 0);
        change(&mut request);
        request
    };
    for (request, code, text) in [
        (with(|request| request.instance_id.clear()), ErrorCode::InvalidArgument, "instance_id is empty; name the instance"),
        (with(|request| request.instance_id = "nobody".into()), ErrorCode::NotFound, "instance \"nobody\" does not exist"),
        (with(|request| request.instance_id = DROPPED.into()), ErrorCode::NotFound, "instance \"gone\" was dropped at revision 5"),
        (
            with(|request| request.collection = "c9".into()),
            ErrorCode::NotFound,
            "collection not found[database=default][collection=c9]",
        ),
        (
            with(|request| request.database = "d".into()),
            ErrorCode::NotFound,
            "database not found[database=d]",
        ),
        (
            with(|request| request.instance_id = OTHER_INSTANCE.into()),
            ErrorCode::NotFound,
            "collection not found[database=default][collection=c3]",
        ),
        (
            with(|request| request.description = "d".repeat(1_025)),
            ErrorCode::InvalidArgument,
            "description is 1025 bytes, limit 1024 bytes; shorten it",
        ),
        (
            with(|request| request.ttl_seconds = 315_360_001),
            ErrorCode::InvalidArgument,
            "ttl_seconds is 315360001, limit 315360000 (ten years); 0 keeps the snapshot until it is dropped",
        ),
        (
            with(|request| (request.database, request.collection) = ("default".into(), String::new())),
            ErrorCode::InvalidArgument,
            "a snapshot is of one collection or of the whole instance; name the collection, or leave the database out",
        ),
    ] {
        let error = create(&mut bench, request).expect_err(text);
        assert_eq!((error.code, error.message.as_str()), (code, text));
    }
    assert_eq!(bench.counters().revision, crate::testing::FIRST_REVISION);
    let untouched = |rows: &std::collections::BTreeMap<_, _>| rows.keys().filter(|key: &&bytes::Bytes| key[0] >= 0x10).count();
    assert_eq!(untouched(&bench.store.rows), untouched(&before));
}

#[test]
fn an_instance_has_no_more_snapshots_than_the_limit() {
    let mut bench = bench();
    let key = crate::keys::record_in_scope(crate::keys::RecordTable::SnapshotCount, ScopeId(1)).freeze();
    let count = crate::record::SnapshotCountRecord {
        snapshots: limits::MAX_SNAPSHOTS_PER_INSTANCE,
    };
    bench.store.rows.insert(key, prost::Message::encode_to_vec(&count).into());
    bench.adopt_rows();
    let error = create(&mut bench, create_request(3, "s", 0)).expect_err("full");
    assert_eq!(error.code, ErrorCode::LimitReached);
    assert_eq!(error.message, "the instance has 10000 snapshots, limit 10000; drop some that are not needed");
}

#[test]
fn quotas_that_were_set_hold_for_the_instance_and_for_each_collection() {
    let mut bench = bench();
    let set = |bench: &mut Bench, name: &str, value| {
        let name = name.to_owned();
        bench.run(&ChangeSetting { name, value }).expect("known");
    };
    let full = |bench: &mut Bench, collection, name| {
        let error = create(bench, create_request(collection, name, 0)).expect_err("full");
        assert_eq!(error.code, ErrorCode::LimitReached);
        error.message
    };
    set(&mut bench, "max_snapshots_per_collection", Some(2));
    create(&mut bench, create_request(3, "one", 0)).expect("the first of c3");
    create(&mut bench, create_request(3, "two", 0)).expect("the second");
    assert_eq!(
        full(&mut bench, 3, "three"),
        "collection c3 has all the snapshots it may have, limit 2 (setting max_snapshots_per_collection); drop some that are not needed"
    );
    create(&mut bench, create_request(4, "one", 0)).expect("of another collection");
    let whole = CreateSnapshotRequest {
        collection: String::new(),
        ..create_request(3, "whole", 0)
    };
    create(&mut bench, whole).expect("of the whole instance");
    drop_by(&mut bench, by_name("c3", "one")).expect("dropped");
    create(&mut bench, create_request(3, "three", 0)).expect("one that is being deleted does not count");

    set(&mut bench, "max_snapshots_per_collection", None);
    set(&mut bench, "max_snapshots_per_instance", Some(4));
    assert_eq!(
        full(&mut bench, 3, "four"),
        "the instance has 5 snapshots, limit 4 (setting max_snapshots_per_instance); drop some that are not needed"
    );
    set(&mut bench, "max_snapshots_per_instance", Some(6));
    create(&mut bench, create_request(3, "four", 0)).expect("there is room again");
    check_indexes(&bench);
}

#[test]
fn snapshots_of_a_dropped_instance_end_when_nobody_uses_them() {
    let mut bench = bench();
    let kept = crate::snapshot_fixture::committed(&mut bench, 3, "kept", 0);
    for number in 0..5 {
        crate::snapshot_fixture::committed(&mut bench, 3, &format!("s{number}"), 0);
    }
    crate::snapshot_fixture::pin(&mut bench, by_name("c3", "kept"), 3_600, 7).expect("pinned");
    bench
        .run(&DropInstance {
            instance_id: INSTANCE.into(),
        })
        .expect("dropped");
    bench.now_ms += 1;
    let expire = ExpireSnapshots { max_rows: 2 };
    let mut dropped = 0;
    loop {
        let reply = bench.run(&expire).expect("expires");
        dropped += reply.snapshots_dropped;
        check_indexes(&bench);
        if !reply.more {
            break;
        }
    }
    assert_eq!(dropped, 5);
    let live = |bench: &Bench| all_snapshots(bench).iter().filter(|one| one.state() != SnapshotState::Deleting).count();
    assert_eq!(live(&bench), 1, "the pinned one stays");
    bench.now_ms += 3_600_001;
    for _ in 0..3 {
        bench.run(&expire).expect("expires");
    }
    assert_eq!(live(&bench), 0);
    assert!(all_snapshots(&bench).iter().any(|one| one.revision.0 == kept));
    assert!(rows_of(&bench, &crate::keys::record_prefix(crate::keys::RecordTable::SnapshotExpiry)).is_empty());
}
