//! Pins on snapshots: what keeps one from being dropped. A caller's may end by itself; a job's is taken and given back by the job.
//!
//! ```text
//! SnapshotPin       id -> record                      found by id alone
//! SnapshotPinIndex  scope | revision | id -> ()       found by snapshot
//! SnapshotExpiry    expires | 1 | scope | revision | id -> ()     only if it expires
//! ```
//! Live is a pin that does not expire, or does so at or after the stamped time that asks. One that has expired is as good as gone
//! at once; its rows go with the next drop or expiry run.

use super::{expiry_key, expiry_kind, numbers_key, numbers_of};
use crate::command::{ApplyContext, ApplyError, read_record};
use crate::keys::{self, RecordTable};
use crate::limits;
use crate::record::SnapshotPinRecord;
use crate::store::{Reader, StoreError, prefix_end};
use bytes::{BufMut, Bytes};
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId};

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SnapshotPin {
    pub id: i64,
    pub record: SnapshotPinRecord,
}

impl SnapshotPin {
    pub fn is_live(&self, now_ms: u64) -> bool {
        self.record.expires_ms == 0 || self.record.expires_ms >= now_ms
    }
}

pub fn pin_key(id: i64) -> Bytes {
    let mut key = keys::record_prefix(RecordTable::SnapshotPin);
    key.put_i64(id);
    key.freeze()
}

fn index_key(scope: ScopeId, revision: Revision, id: i64) -> Bytes {
    numbers_key(RecordTable::SnapshotPinIndex, &[scope.0, revision.0, id as u64])
}

/// Puts a pin on a snapshot that the caller has found usable. `wanted_id` is random, or a job's; if it is taken, the next free one
/// is used. Returns the id.
pub fn add(context: &mut ApplyContext<'_, '_>, wanted_id: i64, record: SnapshotPinRecord) -> Result<i64, ApplyError> {
    let (scope, revision) = (ScopeId(record.scope), Revision(record.revision));
    let existing = of_snapshot(context.reader(), scope, revision)?.len();
    if existing >= limits::MAX_PINS_PER_SNAPSHOT {
        let text = format!(
            "the snapshot has {existing} pins, limit {}; unpin some",
            limits::MAX_PINS_PER_SNAPSHOT
        );
        return Err(MetaError::new(ErrorCode::LimitReached, text).into());
    }
    let mut id = wanted_id.max(1);
    while context.reader().get(&pin_key(id))?.is_some() {
        id = if id == i64::MAX { 1 } else { id + 1 };
    }
    context.put_record(pin_key(id), &record);
    context.changes().put(index_key(scope, revision, id), Bytes::new());
    if record.expires_ms != 0 {
        let expiry = expiry_key(record.expires_ms, expiry_kind::PIN, scope, revision, id);
        context.changes().put(expiry, Bytes::new());
    }
    Ok(id)
}

pub fn find(reader: &dyn Reader, id: i64) -> Result<Option<SnapshotPin>, StoreError> {
    let record = read_record(reader, &pin_key(id))?;
    Ok(record.map(|record| SnapshotPin { id, record }))
}

/// Takes a pin away; whether it was there.
pub fn remove(context: &mut ApplyContext<'_, '_>, id: i64) -> Result<bool, StoreError> {
    let Some(pin) = find(context.reader(), id)? else {
        return Ok(false);
    };
    let SnapshotPinRecord {
        scope,
        revision,
        expires_ms,
        ..
    } = pin.record;
    let (scope, revision) = (ScopeId(scope), Revision(revision));
    context.changes().remove(pin_key(id));
    context.changes().remove(index_key(scope, revision, id));
    if expires_ms != 0 {
        let expiry = expiry_key(expires_ms, expiry_kind::PIN, scope, revision, id);
        context.changes().remove(expiry);
    }
    Ok(true)
}

/// All pins of a snapshot, expired ones included.
pub fn of_snapshot(reader: &dyn Reader, scope: ScopeId, revision: Revision) -> Result<Vec<SnapshotPin>, StoreError> {
    let prefix = numbers_key(RecordTable::SnapshotPinIndex, &[scope.0, revision.0]);
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((key, _)) = cursor.row() {
        let [_, _, id] = numbers_of::<3>(key)?;
        let pin = find(reader, id as i64)?;
        found.push(pin.ok_or_else(|| StoreError(format!("pin {id} of snapshot {revision} of scope {scope} has no record")))?);
        cursor.next()?;
    }
    Ok(found)
}

/// Those that keep the snapshot at a stamped time.
pub fn live(reader: &dyn Reader, scope: ScopeId, revision: Revision, now_ms: u64) -> Result<Vec<SnapshotPin>, StoreError> {
    let mut pins = of_snapshot(reader, scope, revision)?;
    pins.retain(|pin| pin.is_live(now_ms));
    Ok(pins)
}

/// Takes all pins of a snapshot away, whose time is over.
pub(super) fn remove_all(context: &mut ApplyContext<'_, '_>, scope: ScopeId, revision: Revision) -> Result<(), StoreError> {
    for pin in of_snapshot(context.reader(), scope, revision)? {
        remove(context, pin.id)?;
    }
    Ok(())
}
