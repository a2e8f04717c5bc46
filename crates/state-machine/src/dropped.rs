//! What dropped objects leave to be collected: the rows below the two that the drop ended.
//!
//! A drop leaves a mark among what its command superseded ([`mark`]), as if the object were one version, written at its creation
//! and superseded at its drop. So clean-up decides when nobody can see it by the same rule, and in the same queues, as for
//! every version, and parks it behind the pin that can. Then the object gets a row here, and [`collect`] takes its rows away.
//!
//! ```text
//! Dropped  scope u64 | dropped at u64 | collection u64 | partition u64 -> DroppedRecord      nobody can see it any more
//! ```
//!
//! An instance is dropped as all of its scope at once: then no pin or hold of the scope is left. What remains is its record
//! ([`crate::collected`]). Versions of it may still be parked when their rows go here. Nothing else but clean-up removes versions of
//! attributes, and clean-up stands on that ([`cleanup`]).

use crate::attributes;
use crate::catalog::row_keys;
use crate::changes::SupersededVersion;
use crate::command::{ApplyContext, decode_record};
use crate::keys::{self, RecordTable, VersionedTable};
use crate::record::{CondemnedCause, DroppedRecord};
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned::cleanup;
use crate::versioned::lineage::parent;
use crate::versioned::rows::Superseded;
use crate::{clones, collected, inherited, limits, versioned};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{Revision, ScopeId};
use std::collections::BTreeSet;

/// Leaves what this command drops to clean-up. A partition of 0 is the whole collection, a collection of 0 the whole scope.
/// `created_at` is the oldest revision that can show it.
pub fn mark(context: &mut ApplyContext<'_, '_>, scope: ScopeId, collection_id: u64, partition_id: u64, created_at: Revision) {
    let name = keys::dropped_mark(scope, &row_keys::partition(collection_id, partition_id));
    context.changes().supersede(SupersededVersion {
        name,
        written_at: created_at,
        replaced: false,
        row_hash: None,
    });
}

/// Whether this is a mark and not a version.
pub fn is_mark(superseded: &Superseded) -> bool {
    superseded.name.get(1) == Some(&keys::DROPPED_MARK)
}

/// Nobody can see what a mark stands for: it can be collected.
pub fn make_ready(context: &mut ApplyContext<'_, '_>, mark: &Superseded) -> Result<(), StoreError> {
    let key = keys::dropped_mark_key(&mark.name).ok_or_else(|| StoreError(format!("{:02x?} is not a mark", mark.name)))?;
    let [collection_id, partition_id] = row_keys::read_numbers::<2>(&key)?;
    let record = DroppedRecord {
        collection_id,
        partition_id,
        ..DroppedRecord::default()
    };
    context.put_record(self::key(mark.scope, mark.superseded_at, collection_id, partition_id), &record);
    // What a clone inherited and has copied is its own too, and is read through its scope only.
    match parent(context.reader(), mark.scope)? {
        Some(parent) if collection_id != 0 && mark.written_at.0 < parent.created_at => {
            let object = [collection_id, partition_id, 0];
            inherited::is_unseen(context, (mark.scope, &parent), object, mark.superseded_at)
        }
        _ => Ok(()),
    }
}

/// Lets rows be collected that no reader has ever seen, so that there is no pin to ask: what an unpublished job staged.
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

/// Whether a run would find anything.
pub fn is_due(reader: &dyn Reader) -> Result<bool, StoreError> {
    let table = keys::record_prefix(RecordTable::Dropped);
    Ok(reader.cursor(&table, &prefix_end(&table))?.row().is_some())
}

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Rows of versions.
    pub removed: u64,
    /// Objects of which nothing is left.
    pub finished: u64,
    pub more: bool,
}

/// Removes at most `keys` rows of dropped objects and condemns the files they name.
pub fn collect(context: &mut ApplyContext<'_, '_>, keys: usize) -> Result<Outcome, StoreError> {
    let mut collection = Collection {
        removed: BTreeSet::new(),
        // One for an object itself and one for a row of it, or nothing would ever be done.
        keys_left: keys.max(2),
        outcome: Outcome::default(),
    };
    let table = keys::record_prefix(RecordTable::Dropped);
    let mut objects = context.reader().cursor(&table, &prefix_end(&table))?;
    while let Some((row, value)) = objects.row() {
        // Its own row is one of those that are changed: thousands of empty objects must not be more than a command may change.
        if collection.keys_left == 0 {
            collection.outcome.more = true;
            break;
        }
        collection.keys_left -= 1;
        let row = Bytes::copy_from_slice(row);
        let record: DroppedRecord = decode_record(&row, Bytes::copy_from_slice(value))?;
        let scope = ScopeId(numbers_of(&row)?[0]);
        let stopped_at = match record.inherited_drops {
            true => collection.remove_copies(context, scope, &record)?,
            false => collection.remove_rows(context, scope, &record)?,
        };
        if let Some(resume_at) = stopped_at {
            context.put_record(row, &DroppedRecord { resume_at, ..record });
            collection.outcome.more = true;
            break;
        }
        context.changes().remove(row);
        if record.collection_id == 0 && !record.inherited_drops {
            clones::release(context, scope)?;
            collected::note(context, scope);
        }
        collection.outcome.finished += 1;
        if record.inherited_drops {
            // Copies that went by themselves are still there for the reads of this command: what they were in, which comes after
            // them because a base layer's scope is greater than its clone's, would condemn them again.
            collection.outcome.more = true;
            break;
        }
        objects.next()?;
    }
    Ok(collection.outcome)
}

/// Scope, revision of the drop, collection and partition of a row's key.
pub fn numbers_of(row: &[u8]) -> Result<[u64; 4], StoreError> {
    let head = keys::record_prefix(RecordTable::Dropped).len();
    row_keys::read_numbers::<4>(row.get(head..).unwrap_or_default())
}

/// One run's bookkeeping.
struct Collection {
    /// An object may be dropped within a larger one: what the run has removed is still there for its reads.
    removed: BTreeSet<Bytes>,
    keys_left: usize,
    outcome: Outcome,
}

impl Collection {
    /// Removes the copies that rows of a clone waited for; returns where it had to stop.
    fn remove_copies(
        &mut self,
        context: &mut ApplyContext<'_, '_>,
        clone: ScopeId,
        record: &DroppedRecord,
    ) -> Result<Option<Bytes>, StoreError> {
        let parent = parent(context.reader(), clone)?;
        let (start, end) = inherited::range(clone);
        let mut rows = context.reader().cursor(&start.max(record.resume_at.to_vec()), &end)?;
        while let Some((row, _)) = rows.row() {
            let row = Bytes::copy_from_slice(row);
            if self.is_full(context) {
                return Ok(Some(row));
            }
            self.keys_left -= 1;
            if let Some(parent) = &parent {
                let (object, now) = (inherited::object_of(&row)?, context.revision());
                inherited::is_unseen(context, (clone, parent), object, now)?;
            }
            context.changes().remove(row);
            self.outcome.removed += 1;
            rows.next()?;
        }
        Ok(None)
    }

    fn is_full(&self, context: &mut ApplyContext<'_, '_>) -> bool {
        self.keys_left == 0 || context.changes().bytes() >= limits::CLEANUP_BYTES_PER_COMMAND
    }

    /// Removes an object's rows; returns where it had to stop.
    fn remove_rows(
        &mut self,
        context: &mut ApplyContext<'_, '_>,
        scope: ScopeId,
        record: &DroppedRecord,
    ) -> Result<Option<Bytes>, StoreError> {
        for (start, end) in ranges(scope, record) {
            let start = start.max(record.resume_at.to_vec());
            if start >= end {
                continue;
            }
            let mut rows = context.reader().cursor(&start, &end)?;
            while let Some((row, value)) = rows.row() {
                let row = Bytes::copy_from_slice(row);
                if self.is_full(context) {
                    return Ok(Some(row));
                }
                self.keys_left -= 1;
                if self.removed.insert(row.clone()) {
                    remove_version(context, scope, row, &Bytes::copy_from_slice(value), record)?;
                    self.outcome.removed += 1;
                }
                rows.next()?;
            }
        }
        Ok(None)
    }
}

/// The rows that go with an object, in key order.
fn ranges(scope: ScopeId, record: &DroppedRecord) -> Vec<(Vec<u8>, Vec<u8>)> {
    use VersionedTable::{CollectionStats, Partition, PartitionName, Segment};
    let (tables, prefix): (&[VersionedTable], Vec<u8>) = match (record.collection_id, record.partition_id) {
        (0, _) => (&VersionedTable::ALL, Vec::new()),
        (collection, 0) => (
            &[CollectionStats, PartitionName, Partition, Segment],
            row_keys::collection(collection),
        ),
        (collection, partition) => (&[Segment], row_keys::partition(collection, partition)),
    };
    let range = |table: &VersionedTable| {
        let mut start = BytesMut::from(keys::versioned_scope(*table, scope).as_ref());
        keys::put_escaped_prefix(&mut start, &prefix);
        let end = prefix_end(&start);
        (start.to_vec(), end)
    };
    let waiting = (record.collection_id == 0).then(|| inherited::range(scope));
    waiting.into_iter().chain(tables.iter().map(range)).collect()
}

/// What the files of a dropped object are condemned for.
fn cause(scope: ScopeId, record: &DroppedRecord) -> (CondemnedCause, u64) {
    match (record.collection_id, record.partition_id) {
        (0, _) => (CondemnedCause::Scope, scope.0),
        (collection, 0) => (CondemnedCause::Collection, collection),
        (_, partition) => (CondemnedCause::Partition, partition),
    }
}

fn remove_version(
    context: &mut ApplyContext<'_, '_>,
    scope: ScopeId,
    row: Bytes,
    stored: &Bytes,
    record: &DroppedRecord,
) -> Result<(), StoreError> {
    let head = keys::versioned_scope(VersionedTable::Attribute, scope).len();
    let table = row.get(1).copied().filter(|_| row.first() == Some(&keys::space::VERSIONED));
    if table == Some(VersionedTable::Segment as u8)
        && !record.files_condemned
        && let Some(value) = versioned::decode_value(&row, stored)?
    {
        cleanup::condemn_segment(context, scope, decode_record(&row, value)?, cause(scope, record));
    }
    if table == Some(VersionedTable::Attribute as u8)
        && let Some((name, _)) = keys::take_escaped(&row[head..])
        && let Ok(name) = std::str::from_utf8(&name)
    {
        context.changes().remove(attributes::index_key(name, scope));
    }
    context.changes().remove(row);
    Ok(())
}
