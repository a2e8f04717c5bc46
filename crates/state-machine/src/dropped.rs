//! What dropped objects leave to be collected, in the order of the drops within a scope.
//!
//! ```text
//! Dropped  scope u64 | dropped at u64 | collection u64 | partition u64 -> DroppedRecord
//! ```

use crate::command::ApplyContext;
use crate::keys::{self, RecordTable};
use crate::record::DroppedRecord;
use bytes::{BufMut, Bytes};
use quorate_model::{Revision, ScopeId};

/// Queues the rows of what this command drops.
pub fn add(context: &mut ApplyContext<'_, '_>, scope: ScopeId, record: &DroppedRecord) {
    let key = key(scope, context.revision(), record.collection_id, record.partition_id);
    context.put_record(key, record);
}

/// Where the row of a dropped object is.
pub fn key(scope: ScopeId, dropped_at: Revision, collection_id: u64, partition_id: u64) -> Bytes {
    let mut key = keys::record_in_scope(RecordTable::Dropped, scope);
    key.put_u64(dropped_at.0);
    key.put_u64(collection_id);
    key.put_u64(partition_id);
    key.freeze()
}
