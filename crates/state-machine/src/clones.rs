//! Clones: instances whose reads fall through to a snapshot of another one, and how they become independent.
//!
//! ```text
//! clone           Parent row, pin `Clone` on the source's revision, SnapshotClone row
//! compact         a job fills the base layer; then Parent.base_complete, and holds on those whose files it did not copy
//! decouple        the pin and the SnapshotClone row go; the Parent row stays: it says where the base layer is
//! collected       what is left of all this goes, when the clone was dropped and nobody reads through it any more: [`release`]
//! ```
//! A SnapshotClone row and a `Clone` pin stand exactly as long as `Parent.source_pin` says so.
//!
//! Dropping a clone does not end its pin: its own clones and snapshots may still read through it. So the pin waits until all that is
//! in the clone's scope has been collected. A clone of a dropped one can be compacted all the same, and through any number of them; once
//! it is decoupled, or dropped, they go, unless it holds their files.

use crate::catalog::storage;
use crate::collected;
use crate::command::{ApplyContext, ApplyError};
use crate::dropped;
use crate::instance_snapshots::default_place;
use crate::instances::Instance;
use crate::jobs::publication::live_instance;
use crate::keys::{self, RecordTable};
use crate::limits::MAX_CLONE_DEPTH;
use crate::record::{DroppedRecord, ParentRecord};
use crate::snapshots::{Snapshot, clone_key};
use crate::store::{Reader, StoreError};
use crate::versioned::Lineage;
use crate::versioned::lineage::{parent, parent_key};
use crate::versioned::pins::{self, PinKind};
use bytes::Bytes;
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId};
use quorate_wire::doris::SnapshotCompactStatus;

/// Clones between a scope and one that is no clone. One that was compacted counts as one: its base layer is a level as well.
pub fn depth(reader: &dyn Reader, scope: ScopeId) -> Result<usize, StoreError> {
    let (mut depth, mut at) = (0, scope);
    while let Some(parent) = parent(reader, at)? {
        depth += 1;
        if parent.base_complete || depth > MAX_CLONE_DEPTH {
            break;
        }
        at = ScopeId(parent.source_scope);
    }
    Ok(depth)
}

/// Makes a scope, which has just been allocated, read through to a source at a revision that a snapshot keeps.
pub fn begin(
    context: &mut ApplyContext<'_, '_>,
    clone: ScopeId,
    instance_id: &str,
    source: &Snapshot,
    shares_stores: bool,
) -> Result<(), ApplyError> {
    let (source, revision) = (source.scope, source.revision);
    let depth = depth(context.reader(), source)? + 1;
    if depth > MAX_CLONE_DEPTH {
        let text =
            format!("the clone would be the {depth}th of a chain, limit {MAX_CLONE_DEPTH}; compact one of those it reads through first");
        return Err(MetaError::new(ErrorCode::LimitReached, text).into());
    }
    let source_pin = pins::begin(context, PinKind::Clone, source, revision, 0)?;
    let record = ParentRecord {
        source_scope: source.0,
        source_revision: revision.0,
        source_pin,
        base_scope: base_scope(context, clone, instance_id),
        created_at: context.revision().0,
        depth: depth as u32,
        shares_stores,
        ..ParentRecord::default()
    };
    context.put_record(parent_key(clone), &record);
    context.changes().put(clone_key(source, revision, clone), Bytes::new());
    Ok(())
}

/// A scope that was never used, for a base layer. Its files are the clone's: its row names the clone's instance.
pub fn base_scope(context: &mut ApplyContext<'_, '_>, clone: ScopeId, instance_id: &str) -> u64 {
    let scope = context.counters.next_scope.max(1);
    context.counters.next_scope = scope + 1;
    let key = keys::record_in_scope(RecordTable::Scope, ScopeId(scope)).freeze();
    context.changes().put(key, Bytes::copy_from_slice(instance_id.as_bytes()));
    collected::note_base(context, clone, ScopeId(scope));
    scope
}

/// The clone that has to be compacted before one with this record: the nearest that it reads through and that still can be. What it
/// inherits is then copied or held once, not once more for each clone on the way.
///
/// One that was dropped cannot be compacted any more, so it is read through as it is. Nothing of it changes or goes meanwhile: the pins of
/// what reads through it keep it, and with it its own pin on what it reads through; afterwards, the holds of whose files were not copied.
pub fn to_compact_first(reader: &dyn Reader, record: &ParentRecord) -> Result<Option<Instance>, StoreError> {
    let mut at = ScopeId(record.source_scope);
    for _ in 0..=MAX_CLONE_DEPTH {
        let Some(source) = parent(reader, at)?.filter(|source| !source.base_complete) else {
            break;
        };
        if let Some(instance) = live_instance(reader, at)? {
            return Ok(Some(instance));
        }
        at = ScopeId(source.source_scope);
    }
    Ok(None)
}

/// The clone whose copies end what one with this record reads through: the nearest that was compacted, dropped or not.
fn compacted_source(reader: &dyn Reader, record: &ParentRecord) -> Result<Option<ScopeId>, StoreError> {
    let mut at = ScopeId(record.source_scope);
    for _ in 0..=MAX_CLONE_DEPTH {
        match parent(reader, at)? {
            Some(source) if source.base_complete => return Ok(Some(at)),
            Some(source) => at = ScopeId(source.source_scope),
            None => break,
        }
    }
    Ok(None)
}

/// The clone whose compaction has to end before that of one with this record begins: its copies are read already, and manifests of whatever
/// reads through it are still to be written anew (`jobs/rewriting.rs`), which is not waited for where that has a base layer of its own.
pub fn to_wait_for(reader: &dyn Reader, record: &ParentRecord) -> Result<Option<Instance>, StoreError> {
    let Some(source) = compacted_source(reader, record)? else {
        return Ok(None);
    };
    let is_at_it = |instance: &Instance| instance.info.snapshot_compact_status() == SnapshotCompactStatus::SnapshotCompactDoing;
    Ok(live_instance(reader, source)?.filter(is_at_it))
}

/// Whether a clone with this record reads copies of one that was dropped. Perhaps before manifests of what reads through it were written anew:
/// these name files that only its pin keeps.
pub fn reads_copies_of_dropped(reader: &dyn Reader, record: &ParentRecord) -> Result<bool, StoreError> {
    match compacted_source(reader, record)? {
        Some(source) => Ok(live_instance(reader, source)?.is_none()),
        None => Ok(false),
    }
}

/// Where a clone puts new files of what it inherited from `origin`, if that is not where the source has them: its instance's default
/// place, when it or a clone between the two was given a store of its own.
///
/// The walk ends at the first base layer: compactions ask this and put the answer into its collections, because what lies behind it may go
/// (`jobs/results.rs`). What earlier builds staged names the source's place; that of a clone with a store of its own is passed over here.
pub fn own_place(reader: &dyn Reader, clone: ScopeId, origin: ScopeId) -> Result<Option<String>, StoreError> {
    let mut at = clone;
    for _ in 0..=MAX_CLONE_DEPTH {
        let Some(record) = parent(reader, at)?.filter(|_| at != origin) else {
            break;
        };
        if !record.shares_stores {
            return Ok(Some(default_place(&storage::owner(reader, clone)?)));
        }
        if record.base_complete {
            break;
        }
        at = ScopeId(record.source_scope);
    }
    Ok(None)
}

/// The scopes whose files the rows of a clone's base layer may name, and at which revisions, when it was filled without copying. The same
/// at any time after that: of what the clone read through, all that could be compacted was, and what was dropped stays as it is.
pub fn owners_of_files(reader: &dyn Reader, record: &ParentRecord) -> Result<Vec<(ScopeId, Revision)>, StoreError> {
    let mut owners = Vec::new();
    let mut at = *record;
    for _ in 0..=MAX_CLONE_DEPTH {
        let source = Lineage::of(reader, ScopeId(at.source_scope), Revision(at.source_revision))?;
        owners.extend(source.levels().iter().map(|level| (level.scope, level.revision)));
        // The source's own base layer may name files of others in turn.
        let Some(last) = source.levels().iter().rev().find(|level| level.revision != Revision(u64::MAX)) else {
            break;
        };
        match parent(reader, last.scope)? {
            Some(next) if next.base_complete && next.holds_files => at = next,
            _ => break,
        }
    }
    Ok(owners)
}

/// Keeps the files that a base layer filled without copying names.
pub fn hold_files(context: &mut ApplyContext<'_, '_>, clone: ScopeId, record: &ParentRecord) -> Result<(), ApplyError> {
    for (owner, revision) in owners_of_files(context.reader(), record)? {
        pins::begin_hold(context, owner, revision, clone.0)?;
    }
    Ok(())
}

/// Refusal of a call about a clone that does not exist.
pub fn no_such_instance(instance_id: &str, native: bool) -> MetaError {
    MetaError::not_found(match native {
        true => format!("instance {instance_id} does not exist"),
        false => format!("instance not found, instance_id={instance_id}"),
    })
}

/// Refusal of a call about a clone that names an instance which is none; `verb` is what was to be done to it.
pub fn no_clone(instance_id: &str, verb: &str, native: bool) -> MetaError {
    MetaError::invalid(match native {
        true => format!("instance {instance_id} is no clone, or was decoupled before: there is nothing to {verb}"),
        false => format!("instance {instance_id} was not a cloned instance (created via clone_instance)"),
    })
}

/// Cuts a compacted clone from its source.
pub fn decouple(context: &mut ApplyContext<'_, '_>, clone: ScopeId, record: &ParentRecord) -> Result<(), StoreError> {
    unpin_source(context, clone, record)?;
    let decoupled = ParentRecord { source_pin: 0, ..*record };
    context.put_record(parent_key(clone), &decoupled);
    Ok(())
}

fn unpin_source(context: &mut ApplyContext<'_, '_>, clone: ScopeId, record: &ParentRecord) -> Result<(), StoreError> {
    if record.source_pin != 0 {
        let (source, revision) = (ScopeId(record.source_scope), Revision(record.source_revision));
        pins::end(context, PinKind::Clone, source, revision, record.source_pin)?;
        context.changes().remove(clone_key(source, revision, clone));
    }
    Ok(())
}

/// Gives back all that a clone holds of others, and lets its base layer be collected. To be called when its scope has been collected: nothing can be read through it any
/// more. Does nothing for a scope that is no clone.
pub fn release(context: &mut ApplyContext<'_, '_>, clone: ScopeId) -> Result<(), StoreError> {
    let Some(record) = parent(context.reader(), clone)? else {
        return Ok(());
    };
    unpin_source(context, clone, &record)?;
    if record.holds_files {
        for (owner, revision) in owners_of_files(context.reader(), &record)? {
            pins::end(context, PinKind::Hold, owner, revision, clone.0)?;
        }
    }
    context.changes().remove(parent_key(clone));
    if record.base_scope != 0 {
        dropped::add(context, ScopeId(record.base_scope), &DroppedRecord::default());
    }
    Ok(())
}
