//! What a clone drops of what it inherits, and what then becomes of its copies.
//!
//! A drop hides what is inherited under tombstones in the clone's own scope; the base layer, where the copies are, stays as it is. So it
//! leaves something to clean-up as if what it hides had been written at the clone's beginning: a mark ([`crate::dropped`]), or the name of
//! the segment without a version. When nobody can see that any more, its copies go; before the clone is compacted there are none, and a
//! row waits for them.
//!
//! ```text
//! InheritedDrop  clone u64 | collection u64 | partition u64 | segment u64 -> ()      0: the whole collection, or partition
//! ```
//!
//! Copies of what waits are made nevertheless: what a job reads must not depend on when it looks.

use crate::catalog::row_keys;
use crate::changes::SupersededVersion;
use crate::command::{ApplyContext, decode_record};
use crate::dropped;
use crate::keys::{self, RecordTable, VersionedTable};
use crate::record::{CondemnedCause, DroppedRecord, ParentRecord, SegmentRecord};
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned::cleanup;
use crate::versioned::lineage::parent;
use crate::versioned::rows::Superseded;
use crate::versioned::{self, newest};
use bytes::{BufMut, Bytes};
use quorate_model::{Revision, ScopeId};

/// Collection, partition and segment; 0 for all of them.
pub type Object = [u64; 3];

/// Leaves a segment that a clone inherits, and does not show any more, to clean-up.
pub fn mark(context: &mut ApplyContext<'_, '_>, clone: ScopeId, segment: &[u8]) -> Result<(), StoreError> {
    let Some(parent) = parent(context.reader(), clone)? else {
        return Err(StoreError(format!("scope {clone} inherits a segment and is no clone")));
    };
    context.changes().supersede(SupersededVersion {
        name: keys::versioned_prefix(VersionedTable::Segment, clone, segment).freeze(),
        written_at: Revision(parent.created_at),
        replaced: false,
        row_hash: None,
    });
    Ok(())
}

/// Nobody can see a segment any more whose superseded version has no row. If it was inherited, its copy goes.
pub fn segment_is_unseen(context: &mut ApplyContext<'_, '_>, superseded: &Superseded) -> Result<(), StoreError> {
    match parent(context.reader(), superseded.scope)? {
        Some(parent) if superseded.written_at.0 == parent.created_at => {
            let segment = row_keys::read_numbers::<3>(&superseded.user_key()?)?;
            let dropped_at = superseded.superseded_at;
            is_unseen(context, (superseded.scope, &parent), segment, dropped_at)
        }
        // Its own, which went with a dropped object.
        _ => Ok(()),
    }
}

/// Nobody can see any more what a clone dropped of what it inherits: its copies go, now or once they are made.
pub fn is_unseen(
    context: &mut ApplyContext<'_, '_>,
    (clone, parent): (ScopeId, &ParentRecord),
    object: Object,
    dropped_at: Revision,
) -> Result<(), StoreError> {
    if !parent.base_complete {
        context.changes().put(key(clone, object), Bytes::new());
        return Ok(());
    }
    if parent.holds_files {
        return Ok(());
    }
    let base = ScopeId(parent.base_scope);
    match object {
        [collection_id, partition_id, 0] => {
            let record = DroppedRecord {
                collection_id,
                partition_id,
                ..DroppedRecord::default()
            };
            context.put_record(dropped::key(base, dropped_at, collection_id, partition_id), &record);
            Ok(())
        }
        [collection, partition, segment] => remove_copy(context, clone, base, &row_keys::segment(collection, partition, segment)),
    }
}

/// Removes a segment from the base layer, and the tombstone that hid it: together, so that it is seen at no time.
fn remove_copy(context: &mut ApplyContext<'_, '_>, clone: ScopeId, base: ScopeId, segment: &[u8]) -> Result<(), StoreError> {
    let Some((row, record)) = copy_in(context.reader(), base, segment)? else {
        // It went with its partition or collection.
        return Ok(());
    };
    let id = segment.last_chunk::<8>().map_or(0, |id| u64::from_be_bytes(*id));
    cleanup::condemn_segment(context, base, record, (CondemnedCause::Segment, id));
    context.changes().remove(row);
    let name = keys::versioned_prefix(VersionedTable::Segment, clone, segment).freeze();
    let reader = context.reader();
    let mut versions = reader.cursor(&name, &prefix_end(&name))?;
    let mut rows = Vec::new();
    while let Some((row, stored)) = versions.row() {
        if versioned::decode_value(row, &Bytes::copy_from_slice(stored))?.is_some() {
            return Err(StoreError(format!("clone {clone} has segment {id} of its own, and a copy of it")));
        }
        rows.push(Bytes::copy_from_slice(row));
        versions.next()?;
    }
    rows.into_iter().for_each(|row| context.changes().remove(row));
    Ok(())
}

fn copy_in(reader: &dyn Reader, base: ScopeId, segment: &[u8]) -> Result<Option<(Bytes, SegmentRecord)>, StoreError> {
    let Some(copy) = newest(reader, VersionedTable::Segment, base, segment)? else {
        return Ok(None);
    };
    let row = keys::versioned(VersionedTable::Segment, base, segment, copy.revision);
    match copy.value {
        Some(value) => Ok(Some((row.clone(), decode_record(&row, value)?))),
        None => Ok(None),
    }
}

/// The copy that goes when nobody sees this any more: of a segment that a clone inherited and dropped by itself.
pub fn copy_of(reader: &dyn Reader, superseded: &Superseded) -> Result<Option<SegmentRecord>, StoreError> {
    match parent(reader, superseded.scope)? {
        Some(parent) if superseded.written_at.0 == parent.created_at && parent.base_complete && !parent.holds_files => {
            let copy = copy_in(reader, ScopeId(parent.base_scope), &superseded.user_key()?)?;
            Ok(copy.map(|(_, record)| record))
        }
        _ => Ok(None),
    }
}

/// A clone has copies now: what waited for them can go.
pub fn copies_are_made(context: &mut ApplyContext<'_, '_>, clone: ScopeId) -> Result<(), StoreError> {
    let (start, end) = range(clone);
    if context.reader().cursor(&start, &end)?.row().is_some() {
        let record = DroppedRecord {
            inherited_drops: true,
            ..DroppedRecord::default()
        };
        dropped::add(context, clone, &record);
    }
    Ok(())
}

/// The rows that wait for the copies of a clone.
pub fn range(clone: ScopeId) -> (Vec<u8>, Vec<u8>) {
    let start = keys::record_in_scope(RecordTable::InheritedDrop, clone);
    let end = prefix_end(&start);
    (start.to_vec(), end)
}

/// What such a row waits for.
pub fn object_of(row: &[u8]) -> Result<Object, StoreError> {
    let head = keys::record_in_scope(RecordTable::InheritedDrop, ScopeId(0)).len();
    row_keys::read_numbers::<3>(row.get(head..).unwrap_or_default())
}

fn key(clone: ScopeId, object: Object) -> Bytes {
    let mut key = keys::record_in_scope(RecordTable::InheritedDrop, clone);
    object.into_iter().for_each(|number| key.put_u64(number));
    key.freeze()
}
