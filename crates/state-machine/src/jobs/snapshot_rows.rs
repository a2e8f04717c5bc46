//! What jobs need of snapshots.

use crate::command::{ApplyContext, read_record};
use crate::keys::{self, RecordTable};
use crate::record::SnapshotRecord;
use crate::store::{Reader, StoreError};
use bytes::{BufMut, Bytes};
use quorate_model::{Revision, ScopeId};
use quorate_wire::quorate::v1::SnapshotState;

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

/// Takes a job's own pin on a snapshot away; it does not expire.
pub fn remove_pin(context: &mut ApplyContext<'_, '_>, scope: ScopeId, revision: Revision, pin: i64) {
    let mut row = keys::record_prefix(RecordTable::SnapshotPin);
    row.put_i64(pin);
    context.changes().remove(row.freeze());
    let mut row = keys::record_in_scope(RecordTable::SnapshotPinIndex, scope);
    row.put_u64(revision.0);
    row.put_i64(pin);
    context.changes().remove(row.freeze());
}

/// A snapshot's id as people see it: its revision and the ordinal 0.
pub fn id_text(revision: Revision) -> String {
    format!("{:016x}0000", revision.0)
}
