//! Snapshots: a pinned revision with a name, of one collection or of a whole instance.
//!
//! ```text
//!            create                commit
//! (nothing) -------> PENDING ----------------> COMMITTED        every name, expiry and work row is derived from the record,
//!                       |  fail, drop              | drop, TTL   so rows and record cannot differ: [`save`]
//!                       |      (abort: ABORTED)    |
//!                       +--------> DELETING <------+
//!                                     | remove: files are gone; the pin goes with the record
//!                                     v
//!                                 (nothing)
//! ```
//!
//! A snapshot outlives its collection. While a live pin ([`pins`]) or a clone uses it, it is not dropped. Its revision is kept by a
//! pin of kind `Snapshot` until the record goes, so that whoever deletes its files can still read what they were.

pub mod collections;
pub mod expiry;
pub mod id;
pub mod lifecycle;
pub mod names;
pub mod pins;
pub mod shown;

use crate::command::{ApplyContext, ApplyError, decode_record, read_record};
use crate::keys::{self, RecordTable};
use crate::record::SnapshotRecord;
use crate::store::{Reader, StoreError, prefix_end};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::SnapshotState;
use std::collections::BTreeMap;

/// A snapshot and where its record is.
#[derive(Clone, Debug, PartialEq)]
pub struct Snapshot {
    pub scope: ScopeId,
    /// What it shows.
    pub revision: Revision,
    pub record: SnapshotRecord,
}

impl Snapshot {
    pub fn state(&self) -> SnapshotState {
        self.record.state()
    }

    /// Whether it is of a whole instance.
    pub fn is_of_instance(&self) -> bool {
        self.record.collection_id == 0
    }
}

impl SnapshotRecord {
    pub fn state(&self) -> SnapshotState {
        SnapshotState::try_from(self.state).unwrap_or(SnapshotState::Unspecified)
    }

    /// Whether a reconciler has something to do for it. Images of Doris's snapshots are written by its frontends.
    pub fn needs_work(&self) -> bool {
        match self.state() {
            SnapshotState::Deleting => true,
            SnapshotState::Pending => self.doris.is_none(),
            SnapshotState::Committed => !self.manifests_listed,
            SnapshotState::Aborted | SnapshotState::Unspecified => false,
        }
    }
}

/// Kinds of expiry rows.
pub mod expiry_kind {
    pub const SNAPSHOT: u8 = 0;
    pub const PIN: u8 = 1;
    /// All snapshots of a dropped instance.
    pub const INSTANCE: u8 = 2;
}

/// `table | numbers`.
pub(crate) fn numbers_key(table: RecordTable, numbers: &[u64]) -> Bytes {
    let mut key = keys::record_prefix(table);
    for number in numbers {
        key.put_u64(*number);
    }
    key.freeze()
}

/// The numbers a key of [`numbers_key`] ends in.
pub(crate) fn numbers_of<const COUNT: usize>(key: &[u8]) -> Result<[u64; COUNT], StoreError> {
    let rest = key.get(2..).unwrap_or_default();
    if rest.len() != 8 * COUNT {
        return Err(StoreError(format!("key {key:02x?} has the wrong length for its table")));
    }
    let mut numbers = [0; COUNT];
    for (number, bytes) in numbers.iter_mut().zip(rest.chunks_exact(8)) {
        *number = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
    }
    Ok(numbers)
}

pub fn record_key(scope: ScopeId, revision: Revision) -> Bytes {
    numbers_key(RecordTable::Snapshot, &[scope.0, revision.0])
}

/// All names of a scope, or of one collection in it, begin with it.
pub fn names_prefix(scope: ScopeId, collection: Option<u64>) -> BytesMut {
    let mut key = keys::record_in_scope(RecordTable::SnapshotName, scope);
    if let Some(collection) = collection {
        key.put_u64(collection);
    }
    key
}

/// The row of a name; more of them, each with a revision behind it, if the name is a label.
pub fn name_key(scope: ScopeId, collection: u64, name: &str) -> BytesMut {
    let mut key = names_prefix(scope, Some(collection));
    keys::put_escaped(&mut key, name.as_bytes());
    key
}

pub fn expiry_key(due_ms: u64, kind: u8, scope: ScopeId, revision: Revision, pin: i64) -> Bytes {
    let mut key = keys::record_prefix(RecordTable::SnapshotExpiry);
    key.put_u64(due_ms);
    key.put_u8(kind);
    key.put_u64(scope.0);
    key.put_u64(revision.0);
    key.put_i64(pin);
    key.freeze()
}

pub fn work_key(scope: ScopeId, revision: Revision) -> Bytes {
    numbers_key(RecordTable::SnapshotWork, &[scope.0, revision.0])
}

pub fn clone_key(scope: ScopeId, revision: Revision, clone: ScopeId) -> Bytes {
    numbers_key(RecordTable::SnapshotClone, &[scope.0, revision.0, clone.0])
}

/// The snapshot of a revision; there is at most one.
pub fn find(reader: &dyn Reader, scope: ScopeId, revision: Revision) -> Result<Option<Snapshot>, StoreError> {
    let record = read_record(reader, &record_key(scope, revision))?;
    Ok(record.map(|record| Snapshot { scope, revision, record }))
}

/// The snapshot of a revision, if it can be used: read through, restored, cloned, pinned.
pub fn require_usable(reader: &dyn Reader, scope: ScopeId, revision: Revision) -> Result<Snapshot, ApplyError> {
    let Some(snapshot) = find(reader, scope, revision)? else {
        return Err(MetaError::not_found(format!("snapshot not found[snapshot={}]", id::text(revision))).into());
    };
    check_usable(&snapshot)?;
    Ok(snapshot)
}

/// Refuses a snapshot that is not committed, in the contract's words where it has some.
pub fn check_usable(snapshot: &Snapshot) -> Result<(), MetaError> {
    let name = &snapshot.record.name;
    match snapshot.state() {
        SnapshotState::Committed => Ok(()),
        SnapshotState::Deleting => Err(MetaError::not_found(format!("snapshot is being deleted: {name}"))),
        state => Err(MetaError::not_found(format!(
            "collection {}: snapshot not found[snapshot={name}]: it is {}, not committed",
            snapshot.record.collection_id,
            state.as_str_name()
        ))),
    }
}

/// The rows that a record implies.
pub fn index_rows(snapshot: &Snapshot) -> BTreeMap<Bytes, Bytes> {
    let Snapshot { scope, revision, record } = snapshot;
    let mut rows = BTreeMap::new();
    if !matches!(record.state(), SnapshotState::Deleting) {
        let mut name = name_key(*scope, record.collection_id, &record.name);
        if record.doris.is_some() {
            name.put_u64(revision.0);
        }
        rows.insert(name.freeze(), Bytes::copy_from_slice(&revision.0.to_be_bytes()));
        if record.due_ms != 0 {
            rows.insert(expiry_key(record.due_ms, expiry_kind::SNAPSHOT, *scope, *revision, 0), Bytes::new());
        }
    }
    if record.needs_work() {
        rows.insert(work_key(*scope, *revision), Bytes::new());
    }
    rows
}

/// Writes a record and the rows it implies, over what the state has of the same snapshot.
pub fn save(context: &mut ApplyContext<'_, '_>, snapshot: &Snapshot) -> Result<(), StoreError> {
    let before = find(context.reader(), snapshot.scope, snapshot.revision)?;
    let before = before.as_ref().map(index_rows).unwrap_or_default();
    let after = index_rows(snapshot);
    for key in before.keys().filter(|key| !after.contains_key(*key)) {
        context.changes().remove(key.clone());
    }
    for (key, value) in after {
        if !before.contains_key(&key) {
            context.changes().put(key, value);
        }
    }
    context.put_record(record_key(snapshot.scope, snapshot.revision), &snapshot.record);
    Ok(())
}

/// Removes a record and the rows it implies.
pub(crate) fn erase(context: &mut ApplyContext<'_, '_>, snapshot: &Snapshot) {
    for key in index_rows(snapshot).into_keys() {
        context.changes().remove(key);
    }
    context.changes().remove(record_key(snapshot.scope, snapshot.revision));
}

/// All snapshots of a scope, in the order of their creation.
pub fn all(reader: &dyn Reader, scope: ScopeId) -> Result<Vec<Snapshot>, StoreError> {
    let prefix = keys::record_in_scope(RecordTable::Snapshot, scope);
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((key, value)) = cursor.row() {
        let [_, revision] = numbers_of::<2>(key)?;
        found.push(Snapshot {
            scope,
            revision: Revision(revision),
            record: decode_record(key, Bytes::copy_from_slice(value))?,
        });
        cursor.next()?;
    }
    Ok(found)
}

/// The scopes of the clones that read through a snapshot.
pub fn clones(reader: &dyn Reader, scope: ScopeId, revision: Revision) -> Result<Vec<ScopeId>, StoreError> {
    let prefix = numbers_key(RecordTable::SnapshotClone, &[scope.0, revision.0]);
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((key, _)) = cursor.row() {
        let [_, _, clone] = numbers_of::<3>(key)?;
        found.push(ScopeId(clone));
        cursor.next()?;
    }
    Ok(found)
}

/// The scopes of the clones that read through any snapshot of a scope.
pub fn clones_of_scope(reader: &dyn Reader, scope: ScopeId) -> Result<Vec<ScopeId>, StoreError> {
    let prefix = keys::record_in_scope(RecordTable::SnapshotClone, scope);
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((key, _)) = cursor.row() {
        let [_, _, clone] = numbers_of::<3>(key)?;
        found.push(ScopeId(clone));
        cursor.next()?;
    }
    Ok(found)
}

/// Notes the job that writes a snapshot's manifests.
pub fn set_manifest_job(context: &mut ApplyContext<'_, '_>, scope: ScopeId, revision: Revision, job: u64) -> Result<(), StoreError> {
    let Some(mut snapshot) = find(context.reader(), scope, revision)? else {
        return Ok(());
    };
    snapshot.record.manifest_job = job;
    save(context, &snapshot)
}

/// The same, and since when; those that were there are replaced.
pub fn set_manifest_job_since(context: &mut ApplyContext<'_, '_>, mut snapshot: Snapshot, job: u64) -> Result<(), StoreError> {
    let record = &mut snapshot.record;
    record.manifest_job = job;
    record.manifests_since = context.revision().0;
    record.replaces_manifests |= record.manifests_complete;
    (record.manifests_complete, record.manifests_listed) = (false, false);
    save(context, &snapshot)
}

#[cfg(test)]
mod contract_tests;
#[cfg(test)]
mod model_tests;
