//! Segments whose files are being written: prepared, and not yet committed or given up.
//!
//! ```text
//! Upload        scope | segment           -> UploadRecord
//! UploadExpiry  expires | scope | segment -> ()
//! ```

use super::row_keys;
use crate::command::{ApplyContext, read_record};
use crate::keys::{self, RecordTable};
use crate::record::{CondemnedCause, CondemnedRecord, UploadRecord};
use crate::store::{Reader, StoreError};
use crate::{condemned, limits};
use bytes::Bytes;
use quorate_model::{ScopeId, StampedTime};

pub fn find(reader: &dyn Reader, scope: ScopeId, segment_id: u64) -> Result<Option<UploadRecord>, StoreError> {
    read_record(reader, &row_keys::upload(scope, segment_id))
}

pub fn add(context: &mut ApplyContext<'_, '_>, scope: ScopeId, segment_id: u64, record: &UploadRecord) {
    context.put_record(row_keys::upload(scope, segment_id), record);
    let expiry = row_keys::upload_expiry(record.expires_ms, scope, segment_id);
    context.changes().put(expiry, Bytes::new());
    context.counters.uploads += 1;
}

/// Ends an upload that is there; what becomes of its files is the caller's matter.
pub fn remove(context: &mut ApplyContext<'_, '_>, scope: ScopeId, segment_id: u64, record: &UploadRecord) {
    context.changes().remove(row_keys::upload(scope, segment_id));
    let expiry = row_keys::upload_expiry(record.expires_ms, scope, segment_id);
    context.changes().remove(expiry);
    context.counters.uploads = context.counters.uploads.saturating_sub(1);
}

/// Ends an upload that is there and condemns all that may have been written for it.
pub fn give_up(context: &mut ApplyContext<'_, '_>, scope: ScopeId, segment_id: u64, record: UploadRecord) {
    remove(context, scope, segment_id, &record);
    let directory = CondemnedRecord {
        scope: scope.0,
        vault: record.vault,
        path: record.path,
        sweeps_left: limits::UPLOAD_SWEEPS,
        cause: CondemnedCause::Upload as i32,
        cause_id: segment_id,
        ..CondemnedRecord::default()
    };
    condemned::add(context, &directory);
}

/// Uploads whose time has passed, oldest first, at most `limit`. Nothing behind them is looked at: rows of uploads that were committed are
/// gone, but a store needs time to forget them, and there may be a million.
pub fn expired(reader: &dyn Reader, now: StampedTime, limit: usize) -> Result<Vec<(ScopeId, u64)>, StoreError> {
    let table = keys::record_prefix(RecordTable::UploadExpiry);
    let end = row_keys::upload_expiry(now.0.saturating_add(1), ScopeId(0), 0);
    let mut cursor = reader.cursor(&table, &end)?;
    let mut found = Vec::new();
    while let Some((row, _)) = cursor.row() {
        if found.len() == limit {
            break;
        }
        let [_, scope, segment_id] = row_keys::read_numbers::<3>(&row[table.len()..])?;
        found.push((ScopeId(scope), segment_id));
        cursor.next()?;
    }
    Ok(found)
}

/// Whether `expire_uploads` would find anything.
pub fn is_due(reader: &dyn Reader, now: StampedTime) -> Result<bool, StoreError> {
    Ok(!expired(reader, now, 1)?.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MapStore;
    use crate::store::noting::Noting;

    #[test]
    fn what_has_time_left_is_not_gone_through() {
        let row = |expires_ms, segment| row_keys::upload_expiry(expires_ms, ScopeId(1), segment);
        let mut store = MapStore::default();
        for (expires_ms, segment) in [(100, 7), (101, 8)] {
            store.write(&[(row(expires_ms, segment), Some(Bytes::new()))]);
        }
        let noting = Noting::over(&store);
        let at = |now| expired(&noting, StampedTime(now), 10).expect("reads");
        assert!(at(99).is_empty());
        assert_eq!(at(100), [(ScopeId(1), 7)]);
        assert!(noting.ended_before(&row(101, 0)));
        assert_eq!(at(101), [(ScopeId(1), 7), (ScopeId(1), 8)]);
    }
}
