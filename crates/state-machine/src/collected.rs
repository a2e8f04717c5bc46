//! Records of dropped instances. When all that was in an instance's scope has been collected and its files are deleted, nothing needs its
//! record any more: it goes, with its keys and rate limits, and its id is free.
//!
//! ```text
//! CollectedScope  scope u64 -> ()                         its rows have been collected; its record waits for its files
//! BaseScope       instance's scope u64 | scope u64 -> ()  a scope whose files are the instance's as well: the base layer of a clone
//! ```
//! The deleter opens the vaults of a scope with what its instance's record says, so the record stays as long as a condemned row names the
//! scope. These have no index: the leader looks through all of them, in pages, and proposes `collect_instance`. What it sees
//! cannot become untrue. A scope gets condemned rows from its versions, uploads, snapshots, and jobs that fill it. Its versions
//! are gone; of the others none begins once its instance was dropped, or its compaction has ended, and while one is left the
//! leader does not begin to look ([`is_needed`]). A condemned row that is to be swept again goes to a later place in the queue, which is
//! ahead of who goes through it.
//!
//! A base layer's record goes before its instance's, and alone if a compaction failed.

use crate::command::{ApplyContext, ApplyError};
use crate::instances::{self, Instance};
use crate::keys::{self, RecordTable};
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned::pins::Blockers;
use crate::{dropped, jobs, rate_limits};
use bytes::{BufMut, Bytes};
use quorate_model::{MetaError, Revision, ScopeId};
use std::collections::BTreeSet;

/// Tables with rows that keep the record of their scope.
const NEEDING: [RecordTable; 5] = [
    RecordTable::Upload,
    RecordTable::Dropped,
    RecordTable::Snapshot,
    RecordTable::InheritedDrop,
    RecordTable::BaseScope,
];

/// Notes that all rows in a scope have been collected.
pub fn note(context: &mut ApplyContext<'_, '_>, scope: ScopeId) {
    context.changes().put(key(scope), Bytes::new());
}

/// Notes whose instance's files those of a new base layer are.
pub fn note_base(context: &mut ApplyContext<'_, '_>, instance: ScopeId, base: ScopeId) {
    context.changes().put(base_key(instance, base), Bytes::new());
}

/// Scopes whose records wait to go, in order: at most `limit` that come after `after`.
pub fn waiting(reader: &dyn Reader, after: ScopeId, limit: usize) -> Result<Vec<ScopeId>, StoreError> {
    let table = keys::record_prefix(RecordTable::CollectedScope);
    let mut rows = reader.cursor(&prefix_end(&key(after)), &prefix_end(&table))?;
    let mut found = Vec::new();
    while let Some((row, _)) = rows.row() {
        if found.len() == limit {
            break;
        }
        let scope = row.last_chunk::<8>().filter(|_| row.len() == table.len() + 8);
        let scope = scope.ok_or_else(|| StoreError(format!("key {row:02x?} is not of a collected scope")))?;
        found.push(ScopeId(u64::from_be_bytes(*scope)));
        rows.next()?;
    }
    Ok(found)
}

/// Whether anything but condemned rows needs the record of a scope that has been collected; `filled` are the scopes that jobs fill
/// ([`jobs::filled_scopes`]). What is not needed will never be.
pub fn is_needed(reader: &dyn Reader, scope: ScopeId, filled: &BTreeSet<ScopeId>) -> Result<bool, StoreError> {
    if filled.contains(&scope) {
        return Ok(true);
    }
    for table in NEEDING {
        let rows = keys::record_in_scope(table, scope);
        let cursor = reader.cursor(&rows, &prefix_end(&rows))?;
        if cursor.row().is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Whether anybody still opens the stores of a dropped instance, with the keys that its record has: whoever reads what a pin or a hold
/// keeps, or, once nobody can see it any more, the deleter. The time between, the history window, needs no keys.
pub fn opens_stores(reader: &dyn Reader, instance: &Instance) -> Result<bool, StoreError> {
    let (scope, dropped_at) = (instance.scope, Revision(instance.dropped_at));
    let mut blockers = Blockers::open(reader)?;
    Ok(blockers.oldest(scope, Revision(0), Revision(u64::MAX))?.is_some()
        || reader.get(&dropped::key(scope, dropped_at, 0, 0))?.is_some()
        || reader.get(&key(scope))?.is_some())
}

/// Removes the record of a scope; of its instance too, unless the scope is a base layer. Whether it did: not if something needs it. That no
/// condemned row names the scope has been found by who proposes it.
pub fn remove(context: &mut ApplyContext<'_, '_>, scope: ScopeId) -> Result<bool, ApplyError> {
    let reader = context.reader();
    let row = key(scope);
    if reader.get(&row)?.is_none() || is_needed(reader, scope, &jobs::filled_scopes(reader)?)? {
        return Ok(false);
    }
    // None: a base layer that was collected when its compaction failed, and again when its clone was dropped.
    if let Some(instance_id) = instances::find_id_of_scope(reader, scope)? {
        match instances::find(reader, &instance_id)? {
            Some(instance) if instance.scope == scope => {
                if !instance.is_dropped() {
                    let text = format!("the rows of instance {instance_id:?} have been collected, but it was not dropped");
                    return Err(MetaError::internal(text).into());
                }
                remove_vaults(context, scope)?;
                instances::remove(context, &instance_id);
                rate_limits::forget(context, &instance_id)?;
            }
            Some(instance) => context.changes().remove(base_key(instance.scope, scope)),
            None => {}
        }
        instances::remove_scope(context, scope);
    }
    context.changes().remove(row);
    Ok(true)
}

/// At most [`crate::limits::MAX_VAULTS`] rows. Whatever else is in a scope has gone before: clusters with their nodes before the drop, attributes
/// with their index as rows of the scope, counts and names of snapshots with these.
fn remove_vaults(context: &mut ApplyContext<'_, '_>, scope: ScopeId) -> Result<(), StoreError> {
    let prefix = keys::record_in_scope(RecordTable::Vault, scope);
    let mut vaults = context.reader().cursor(&prefix, &prefix_end(&prefix))?;
    while let Some((row, _)) = vaults.row() {
        let row = Bytes::copy_from_slice(row);
        context.changes().remove(row);
        vaults.next()?;
    }
    Ok(())
}

fn key(scope: ScopeId) -> Bytes {
    keys::record_in_scope(RecordTable::CollectedScope, scope).freeze()
}

fn base_key(instance: ScopeId, base: ScopeId) -> Bytes {
    let mut key = keys::record_in_scope(RecordTable::BaseScope, instance);
    key.put_u64(base.0);
    key.freeze()
}

#[cfg(test)]
mod tests;
