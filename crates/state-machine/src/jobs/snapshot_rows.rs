//! What jobs need of snapshots.

use crate::command::{ApplyContext, ApplyError, read_record};
use crate::keys::{self, RecordTable};
use crate::record::{SnapshotPinRecord, SnapshotRecord};
use crate::store::{Reader, StoreError, prefix_end};
use bytes::{BufMut, Bytes};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::{SnapshotRef, SnapshotState};

fn key(scope: ScopeId, revision: Revision) -> Bytes {
    let mut key = keys::record_in_scope(RecordTable::Snapshot, scope);
    key.put_u64(revision.0);
    key.freeze()
}

/// The snapshot of a revision, if it can be used.
pub fn usable(reader: &dyn Reader, scope: ScopeId, revision: Revision) -> Result<Option<SnapshotRecord>, StoreError> {
    let record: Option<SnapshotRecord> = read_record(reader, &key(scope, revision))?;
    Ok(record.filter(|record| record.state == SnapshotState::Committed as i32))
}

/// Notes that every manifest is written.
pub fn complete_manifests(context: &mut ApplyContext<'_, '_>, scope: ScopeId, revision: Revision) -> Result<(), StoreError> {
    if let Some(mut record) = usable(context.reader(), scope, revision)? {
        record.manifests_complete = true;
        context.put_record(key(scope, revision), &record);
    }
    Ok(())
}

/// The snapshot that a reference means, if it can be used. By name, the collection's name as of the snapshot tells which one is
/// meant where several collections have one of that name.
pub fn require(reader: &dyn Reader, scope: ScopeId, reference: &SnapshotRef) -> Result<(Revision, SnapshotRecord), ApplyError> {
    let asked = if reference.name.is_empty() {
        &reference.snapshot_id
    } else {
        &reference.name
    };
    let missing = || MetaError::not_found(format!("snapshot not found[snapshot={asked}]"));
    let revisions = match reference.snapshot_id.as_str() {
        "" => named(reader, scope, &reference.name)?,
        text => vec![parse_id(text)?],
    };
    let fits = |wanted: &str, actual: &str| wanted.is_empty() || wanted == actual;
    let mut found = Vec::new();
    for revision in revisions {
        if let Some(record) = usable(reader, scope, revision)?
            && fits(&reference.collection, &record.collection)
            && fits(&reference.database, &record.database)
        {
            found.push((revision, record));
        }
    }
    match found.len() {
        0 => Err(missing().into()),
        1 => Ok(found.remove(0)),
        count => Err(MetaError::invalid(format!(
            "{count} snapshots are named {asked}; name the collection too, or the snapshot's id"
        ))
        .into()),
    }
}

fn parse_id(text: &str) -> Result<Revision, MetaError> {
    let is_id = text.len() == 20 && text.ends_with("0000") && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let revision = text.get(..16).filter(|_| is_id).and_then(|text| u64::from_str_radix(text, 16).ok());
    let malformed = || MetaError::invalid("invalid snapshot_id format: not 20 hex digits");
    revision.map(Revision).ok_or_else(malformed)
}

/// Revisions of the snapshots with this name, in any collection.
fn named(reader: &dyn Reader, scope: ScopeId, name: &str) -> Result<Vec<Revision>, StoreError> {
    let prefix = keys::record_in_scope(RecordTable::SnapshotName, scope).freeze();
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((key, value)) = cursor.row() {
        let named = key.get(prefix.len() + 8..).and_then(keys::take_escaped);
        if named.is_some_and(|(named, _)| named == name.as_bytes()) {
            let revision = <[u8; 8]>::try_from(value).map_err(|_| StoreError(format!("name row {key:02x?} holds no revision")))?;
            found.push(Revision(u64::from_be_bytes(revision)));
        }
        cursor.next()?;
    }
    Ok(found)
}

/// Keeps a snapshot from being dropped while a job reads it. Job ids are unique, so its pin has the job's.
pub fn add_pin(context: &mut ApplyContext<'_, '_>, scope: ScopeId, revision: Revision, job: u64) -> Result<i64, StoreError> {
    let mut pin = job as i64;
    while context.reader().get(&pin_key(pin))?.is_some() {
        pin += 1;
    }
    let record = SnapshotPinRecord {
        scope: scope.0,
        revision: revision.0,
        expires_ms: 0,
        job,
    };
    context.put_record(pin_key(pin), &record);
    context.changes().put(pin_index_key(scope, revision, pin), Bytes::new());
    Ok(pin)
}

/// Takes a job's own pin on a snapshot away; it does not expire.
pub fn remove_pin(context: &mut ApplyContext<'_, '_>, scope: ScopeId, revision: Revision, pin: i64) {
    context.changes().remove(pin_key(pin));
    context.changes().remove(pin_index_key(scope, revision, pin));
}

fn pin_key(pin: i64) -> Bytes {
    let mut row = keys::record_prefix(RecordTable::SnapshotPin);
    row.put_i64(pin);
    row.freeze()
}

fn pin_index_key(scope: ScopeId, revision: Revision, pin: i64) -> Bytes {
    let mut row = keys::record_in_scope(RecordTable::SnapshotPinIndex, scope);
    row.put_u64(revision.0);
    row.put_i64(pin);
    row.freeze()
}

/// A snapshot's id as people see it: its revision and the ordinal 0.
pub fn id_text(revision: Revision) -> String {
    format!("{:016x}0000", revision.0)
}
