//! Files that may be deleted. Condemned is final: what named them is gone, and their paths are never used again.
//!
//! ```text
//! Condemned  number u64 -> CondemnedRecord        key order is the order of condemnation, and that of deletion
//! ```

use crate::command::ApplyContext;
use crate::keys::{self, RecordTable};
use crate::record::CondemnedRecord;
use bytes::{BufMut, Bytes};

/// Queues files for the deleter.
pub fn add(context: &mut ApplyContext<'_, '_>, record: &CondemnedRecord) {
    let number = context.counters.last_condemned + 1;
    context.counters.last_condemned = number;
    context.put_record(key(number), record);
}

/// Where a condemned row is.
pub fn key(number: u64) -> Bytes {
    let mut key = keys::record_prefix(RecordTable::Condemned);
    key.put_u64(number);
    key.freeze()
}
