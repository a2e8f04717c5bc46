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
use crate::store::{Reader, StoreError, prefix_end};
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

/// Uploads whose time has passed, oldest first, at most `limit`.
pub fn expired(reader: &dyn Reader, now: StampedTime, limit: usize) -> Result<Vec<(ScopeId, u64)>, StoreError> {
    let table = keys::record_prefix(RecordTable::UploadExpiry);
    let mut cursor = reader.cursor(&table, &prefix_end(&table))?;
    let mut found = Vec::new();
    while let Some((row, _)) = cursor.row() {
        let [expires_ms, scope, segment_id] = row_keys::read_numbers::<3>(&row[table.len()..])?;
        if expires_ms > now.0 || found.len() == limit {
            break;
        }
        found.push((ScopeId(scope), segment_id));
        cursor.next()?;
    }
    Ok(found)
}

/// Whether `expire_uploads` would find anything.
pub fn is_due(reader: &dyn Reader, now: StampedTime) -> Result<bool, StoreError> {
    Ok(!expired(reader, now, 1)?.is_empty())
}
