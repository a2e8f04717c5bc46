//! The texts that the contract fixes for what is missing or misnamed (spec/milvus-snapshot.md a.5), for every call that names a
//! snapshot or its collection.

use crate::commands::CreateRestore;
use crate::queries::snapshots::{describe_snapshot, list_snapshots};
use crate::snapshot_fixture::{add_collection, committed, create, drop_by, pin};
use crate::testing::{Bench, INSTANCE, prepare};
use quorate_model::ScopeId;
use quorate_wire::quorate::v1::{
    CreateSnapshotRequest, DescribeSnapshotRequest, ListSnapshotsRequest, RestoreSnapshotRequest, SnapshotRef,
};

/// Makes a call; what its refusal says.
type Call = fn(&mut Bench, &SnapshotRef) -> Option<String>;

fn created(bench: &mut Bench, named: &SnapshotRef) -> Option<String> {
    let request = CreateSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        database: named.database.clone(),
        collection: named.collection.clone(),
        name: named.name.clone(),
        ..CreateSnapshotRequest::default()
    };
    create(bench, request).err().map(|error| error.message)
}

fn listed(bench: &mut Bench, named: &SnapshotRef) -> Option<String> {
    let request = ListSnapshotsRequest {
        instance_id: INSTANCE.to_owned(),
        database: named.database.clone(),
        collection: named.collection.clone(),
        ..ListSnapshotsRequest::default()
    };
    list_snapshots(&bench.store, &request).err().map(|error| error.to_string())
}

fn described(bench: &mut Bench, named: &SnapshotRef) -> Option<String> {
    let request = DescribeSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        snapshot: Some(named.clone()),
        ..DescribeSnapshotRequest::default()
    };
    describe_snapshot(&bench.store, &request).err().map(|error| error.to_string())
}

fn pinned(bench: &mut Bench, named: &SnapshotRef) -> Option<String> {
    pin(bench, named.clone(), 0, 1).err().map(|error| error.message)
}

fn dropped(bench: &mut Bench, named: &SnapshotRef) -> Option<String> {
    drop_by(bench, named.clone()).err().map(|error| error.message)
}

fn restored(bench: &mut Bench, named: &SnapshotRef) -> Option<String> {
    let request = RestoreSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        snapshot: Some(named.clone()),
        target_collection: "copy".to_owned(),
        ..RestoreSnapshotRequest::default()
    };
    let started = prepare::<CreateRestore>(request).and_then(|command| bench.run(&command));
    started.err().map(|error| error.message)
}

#[test]
fn what_is_missing_or_misnamed_is_said_in_the_words_of_the_contract() {
    let mut bench = Bench::new();
    add_collection(&mut bench, ScopeId(1), 3);
    committed(&mut bench, 3, "s", 0);
    let of_collection: &[Call] = &[created, listed, described, pinned, restored];
    let of_snapshot: &[Call] = &[described, pinned, restored];
    let of_creation: &[Call] = &[created];
    let of_name: &[Call] = &[created, described, pinned, dropped, restored];
    let blank = "snapshot name should be not empty: invalid parameter[expected=not empty][actual=]";
    let first =
        "the first character of snapshot name must be an underscore or letter: invalid parameter[expected=underscore or letter][actual=1]";
    let other = "snapshot name can only contain numbers, letters, underscores, and allowed characters ($), found - at 1: invalid parameter";
    let table: &[(&[Call], [&str; 3], &str)] = &[
        (of_collection, ["d", "c3", "s"], "database not found[database=d]"),
        (
            of_collection,
            ["", "c9", "s"],
            "collection not found[database=default][collection=c9]",
        ),
        (of_snapshot, ["", "c3", "t"], "collection 103: snapshot not found[snapshot=t]"),
        (of_snapshot, ["", "", "t"], "snapshot not found[snapshot=t]"),
        (of_name, ["", "c3", " \t"], blank),
        (of_name, ["", "c3", "1s"], first),
        (of_name, ["", "c3", "a-b"], other),
        (of_creation, ["", "c3", " s "], "snapshot name s already exists"),
    ];
    for (calls, [database, collection, name], text) in table {
        let named = SnapshotRef {
            database: (*database).to_owned(),
            collection: (*collection).to_owned(),
            name: (*name).to_owned(),
            ..SnapshotRef::default()
        };
        for (position, call) in calls.iter().enumerate() {
            assert_eq!(call(&mut bench, &named).as_deref(), Some(*text), "call {position} of {named:?}");
        }
    }
    let with_blanks = SnapshotRef {
        collection: "c3".to_owned(),
        name: " s ".to_owned(),
        ..SnapshotRef::default()
    };
    assert_eq!(described(&mut bench, &with_blanks), None, "a name is taken as creation takes it");
    assert_eq!(dropped(&mut bench, &with_blanks), None);
    assert_eq!(
        dropped(&mut bench, &with_blanks),
        None,
        "dropping what is not there succeeds: callers repeat the call"
    );
}
