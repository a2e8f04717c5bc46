//! Collections for tests of snapshots, and short forms of their commands.
//!
//! Shared by the crate's own tests and those in `tests/`, so it names the crate as an outsider does.

use crate::testing::{Bench, INSTANCE, prepare};
use bytes::Bytes;
use prost::Message;
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_state_machine::commands::pin_snapshot::{PinSnapshotCall, PinSnapshotReply};
use quorate_state_machine::commands::{CommitSnapshot, CreateSnapshot, DropSnapshot, PinSnapshot};
use quorate_state_machine::keys::{self, RecordTable, VersionedTable, space};
use quorate_state_machine::record::{CollectionRecord, DatabaseRecord, NameRecord, StatsRecord};
use quorate_state_machine::snapshots::{self, Snapshot};
use quorate_state_machine::store::{Reader, prefix_end};
use quorate_wire::quorate::v1::{self, CreateSnapshotRequest, DropSnapshotRequest, PinSnapshotRequest, SnapshotRef};
use std::collections::BTreeMap;

/// Id of the collection that [`add_collection`] makes of a number.
pub const FIRST_COLLECTION: u64 = 100;

/// A collection `c<number>` with as many segments as its number says, in database `default` of an instance's scope.
pub fn add_collection(bench: &mut Bench, scope: ScopeId, number: u64) {
    add_collection_named(bench, scope, number, &format!("c{number}"));
}

/// The same under a name of its own, which no collection has now.
pub fn add_collection_named(bench: &mut Bench, scope: ScopeId, number: u64, name: &str) {
    let id = FIRST_COLLECTION + number;
    let database = DatabaseRecord {
        database_id: 1,
        ..DatabaseRecord::default()
    };
    let collection = CollectionRecord {
        database_id: 1,
        name: name.to_owned(),
        vault: "v".to_owned(),
        ..CollectionRecord::default()
    };
    let stats = StatsRecord {
        segments: number,
        rows: 10 * number,
        files: 2 * number,
        bytes: 100 * number,
    };
    let mut put = |table, key: &[u8], value: Vec<u8>| put_version(bench, table, scope, key, value);
    put(VersionedTable::Database, b"default", database.encode_to_vec());
    let named = [&1u64.to_be_bytes()[..], name.as_bytes()].concat();
    put(VersionedTable::CollectionName, &named, NameRecord { id }.encode_to_vec());
    put(VersionedTable::Collection, &id.to_be_bytes(), collection.encode_to_vec());
    put(VersionedTable::CollectionStats, &id.to_be_bytes(), stats.encode_to_vec());
    let partition = [&id.to_be_bytes()[..], b"p"].concat();
    put(
        VersionedTable::PartitionName,
        &partition,
        NameRecord { id: id + 1_000 }.encode_to_vec(),
    );
    bench.adopt_rows();
}

fn put_version(bench: &mut Bench, table: VersionedTable, scope: ScopeId, key: &[u8], value: Vec<u8>) {
    let row = keys::versioned(table, scope, key, Revision(1));
    bench.store.rows.insert(row, [vec![1], value].concat().into());
}

/// Hides a collection's name behind the machine's back, as dropping it does.
pub fn drop_collection(bench: &mut Bench, scope: ScopeId, number: u64) {
    let named = [&1u64.to_be_bytes()[..], format!("c{number}").as_bytes()].concat();
    let row = keys::versioned(VersionedTable::CollectionName, scope, &named, Revision(1));
    bench.store.rows.insert(row, Bytes::from_static(&[0]));
    bench.adopt_rows();
}

pub fn create_request(collection: u64, name: &str, ttl_seconds: u64) -> CreateSnapshotRequest {
    CreateSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        collection: format!("c{collection}"),
        name: name.to_owned(),
        ttl_seconds,
        ..CreateSnapshotRequest::default()
    }
}

pub fn create(bench: &mut Bench, request: CreateSnapshotRequest) -> Result<v1::Snapshot, MetaError> {
    let command = prepare::<CreateSnapshot>(request)?;
    Ok(bench.run(&command)?.snapshot.expect("a success has the snapshot"))
}

pub fn commit(bench: &mut Bench, scope: ScopeId, revision: u64) -> i32 {
    let command = CommitSnapshot {
        scope: scope.0,
        revision,
        location: "l".to_owned(),
        manifests_listed: false,
    };
    bench.run(&command).expect("commits").state
}

/// Makes a snapshot and commits it.
pub fn committed(bench: &mut Bench, collection: u64, name: &str, ttl_seconds: u64) -> u64 {
    let revision = create(bench, create_request(collection, name, ttl_seconds))
        .expect("created")
        .revision;
    let scope = bench.scope();
    assert_eq!(commit(bench, scope, revision), v1::SnapshotState::Committed as i32);
    revision
}

pub fn by_name(collection: &str, name: &str) -> SnapshotRef {
    SnapshotRef {
        collection: collection.to_owned(),
        name: name.to_owned(),
        ..SnapshotRef::default()
    }
}

pub fn by_id(revision: u64) -> SnapshotRef {
    SnapshotRef {
        snapshot_id: snapshots::id::text(Revision(revision)),
        ..SnapshotRef::default()
    }
}

pub fn drop_by(bench: &mut Bench, reference: SnapshotRef) -> Result<bool, MetaError> {
    let request = DropSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        snapshot: Some(reference),
    };
    let command = prepare::<DropSnapshot>(request)?;
    Ok(bench.run(&command)?.existed)
}

pub fn pin(bench: &mut Bench, reference: SnapshotRef, ttl_seconds: u64, random: u64) -> Result<PinSnapshotReply, MetaError> {
    let request = PinSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        snapshot: Some(reference),
        ttl_seconds,
    };
    let command = prepare::<PinSnapshot>(PinSnapshotCall { request, random })?;
    bench.run(&command)
}

/// All rows of a table.
pub fn rows(bench: &Bench, table: RecordTable) -> BTreeMap<Bytes, Bytes> {
    rows_of(bench, &[space::RECORD, table as u8])
}

pub fn rows_of(bench: &Bench, prefix: &[u8]) -> BTreeMap<Bytes, Bytes> {
    let mut cursor = bench.store.cursor(prefix, &prefix_end(prefix)).expect("reads");
    let mut rows = BTreeMap::new();
    while let Some((key, value)) = cursor.row() {
        rows.insert(Bytes::copy_from_slice(key), Bytes::copy_from_slice(value));
        cursor.next().expect("reads");
    }
    rows
}

/// Every snapshot there is.
pub fn all_snapshots(bench: &Bench) -> Vec<Snapshot> {
    (1..=bench.counters().next_scope)
        .flat_map(|scope| snapshots::all(&bench.store, ScopeId(scope)).expect("reads"))
        .collect()
}

/// Index rows and counts are what the records say, and nothing else.
pub fn check_indexes(bench: &Bench) {
    use quorate_state_machine::record::{SnapshotCountRecord, SnapshotPinRecord};
    let found = all_snapshots(bench);
    let mut expected: BTreeMap<Bytes, Bytes> = found.iter().flat_map(snapshots::index_rows).collect();
    let mut counts = BTreeMap::<u64, u64>::new();
    for snapshot in &found {
        *counts.entry(snapshot.scope.0).or_default() += 1;
        expected.insert(
            snapshots::record_key(snapshot.scope, snapshot.revision),
            snapshot.record.encode_to_vec().into(),
        );
    }
    for (scope, snapshots) in counts {
        let key = keys::record_in_scope(RecordTable::SnapshotCount, ScopeId(scope)).freeze();
        expected.insert(key, SnapshotCountRecord { snapshots }.encode_to_vec().into());
    }
    for (key, value) in rows(bench, RecordTable::SnapshotPin) {
        let id = i64::from_be_bytes(key[2..].try_into().expect("a pin's key is its id"));
        let record = SnapshotPinRecord::decode(value.clone()).expect("decodes");
        expected.insert(key, value);
        let mut index = keys::record_in_scope(RecordTable::SnapshotPinIndex, ScopeId(record.scope)).to_vec();
        index.extend([record.revision.to_be_bytes(), id.to_be_bytes()].concat());
        expected.insert(index.into(), Bytes::new());
        if record.expires_ms != 0 {
            let (scope, revision) = (ScopeId(record.scope), Revision(record.revision));
            let expiry = snapshots::expiry_key(record.expires_ms, snapshots::expiry_kind::PIN, scope, revision, id);
            expected.insert(expiry, Bytes::new());
        }
    }
    let tables = [
        RecordTable::Snapshot,
        RecordTable::SnapshotName,
        RecordTable::SnapshotPin,
        RecordTable::SnapshotPinIndex,
        RecordTable::SnapshotExpiry,
        RecordTable::SnapshotWork,
        RecordTable::SnapshotCount,
    ];
    let mut actual: BTreeMap<Bytes, Bytes> = tables.into_iter().flat_map(|table| rows(bench, table)).collect();
    // A dropped instance's row in the queue is derived from no record.
    actual.retain(|key, _| key[1] != RecordTable::SnapshotExpiry as u8 || key[10] != snapshots::expiry_kind::INSTANCE);
    assert_eq!(actual, expected, "index rows differ from the records");
}
