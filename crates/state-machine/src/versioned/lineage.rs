//! Reading through clones: where a scope has no version of its own, its source's is seen, as of the clone's revision.
//!
//! ```text
//! clone C of A at 1000, clone D of C at 2000
//! a read of D at r asks  (D, r)  (C, 2000)  (A, 1000)      the first with a version or tombstone wins
//! once C is compacted    (D, r)  (C, 2000)  (base of C)    a base layer has no history: all of it was there at C's beginning
//! ```
//!
//! The levels are looked up anew with each read, so compacting C changes what D reads through, and nothing D sees.

use super::scan::{PageLimit, Scan, VersionScan};
use super::{Version, rows, version_at};
use crate::command::{ApplyError, read_record};
use crate::keys::{self, RecordTable, VersionedTable};
use crate::limits::MAX_CLONE_DEPTH;
use crate::record::ParentRecord;
use crate::store::{Reader, StoreError, prefix_end};
use bytes::Bytes;
use quorate_model::{MetaError, Revision, ScopeId};

/// One place a read looks, and the revision that bounds it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    pub scope: ScopeId,
    pub revision: Revision,
}

/// The places a read of one scope at one revision looks, nearest first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    levels: Vec<Level>,
}

/// A row and where it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FoundRow {
    pub key: Vec<u8>,
    /// The level it was found at: whose files it names, unless the row says otherwise.
    pub scope: ScopeId,
    /// Of the write that set it.
    pub revision: Revision,
    pub value: Bytes,
}

/// What to read of a range.
#[derive(Clone, Copy, Debug)]
pub struct LineageScan<'a> {
    pub table: VersionedTable,
    pub prefix: &'a [u8],
    /// Only keys greater than this one.
    pub after_key: Option<&'a [u8]>,
    pub limit: PageLimit,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineagePage {
    pub rows: Vec<FoundRow>,
    /// Pass it as `after_key` to go on; `None` when nothing is left.
    pub resume_after: Option<Vec<u8>>,
    /// Keys that were looked at, shown or not.
    pub keys: usize,
}

/// The key of a scope's [`ParentRecord`].
pub fn parent_key(scope: ScopeId) -> Bytes {
    keys::record_in_scope(RecordTable::Parent, scope).freeze()
}

/// Where a scope's reads fall through to; `None` for one that is no clone.
pub fn parent(reader: &dyn Reader, scope: ScopeId) -> Result<Option<ParentRecord>, StoreError> {
    read_record(reader, &parent_key(scope))
}

impl Lineage {
    /// Does not ask whether the revision may be read: [`super::readable`] does.
    pub fn of(reader: &dyn Reader, scope: ScopeId, revision: Revision) -> Result<Lineage, StoreError> {
        let mut levels = vec![Level { scope, revision }];
        let mut at = scope;
        while let Some(parent) = parent(reader, at)? {
            if levels.len() > MAX_CLONE_DEPTH {
                return Err(StoreError(format!("scope {scope} has more than {MAX_CLONE_DEPTH} ancestors")));
            }
            if parent.base_complete {
                levels.push(Level {
                    scope: ScopeId(parent.base_scope),
                    revision: Revision(u64::MAX),
                });
                break;
            }
            at = ScopeId(parent.source_scope);
            levels.push(Level {
                scope: at,
                revision: Revision(parent.source_revision),
            });
        }
        Ok(Lineage { levels })
    }

    /// The scope that is read, and whose rows a command may write.
    pub fn own_scope(&self) -> ScopeId {
        self.levels[0].scope
    }

    pub fn levels(&self) -> &[Level] {
        &self.levels
    }

    /// What a key holds.
    pub fn get(&self, reader: &dyn Reader, table: VersionedTable, key: &[u8]) -> Result<Option<FoundRow>, StoreError> {
        for level in &self.levels {
            let Some(Version { revision, value }) = version_at(reader, table, level.scope, key, level.revision)? else {
                continue;
            };
            return Ok(value.map(|value| FoundRow {
                key: key.to_vec(),
                scope: level.scope,
                revision,
                value,
            }));
        }
        Ok(None)
    }

    /// One page of a range, levels merged by key.
    pub fn scan(&self, reader: &dyn Reader, scan: &LineageScan<'_>) -> Result<LineagePage, StoreError> {
        let mut sources = Vec::with_capacity(self.levels.len());
        for level in &self.levels {
            let below = Scan {
                table: scan.table,
                scope: level.scope,
                prefix: scan.prefix,
                after_key: scan.after_key,
                revision: level.revision,
                limit: scan.limit,
            };
            let mut versions = VersionScan::open(reader, &below)?;
            let next = versions.next()?;
            sources.push((level.scope, versions, next));
        }
        let (mut page, mut page_bytes, mut last_key) = (LineagePage::default(), 0, None);
        for _ in 0..scan.limit.keys.max(1) {
            // The first of equal keys wins, and levels are nearest first.
            let nearest = sources
                .iter()
                .filter_map(|(_, _, next)| next.as_ref().map(|(key, _)| key))
                .min()
                .cloned();
            let Some(key) = nearest else { return Ok(page) };
            page.keys += 1;
            let mut winner: Option<(ScopeId, Version)> = None;
            for (scope, versions, next) in &mut sources {
                if next.as_ref().is_none_or(|(at, _)| *at != key) {
                    continue;
                }
                let found = std::mem::replace(next, versions.next()?);
                winner = winner.or(found.and_then(|(_, version)| Some((*scope, version?))));
            }
            if let Some((
                scope,
                Version {
                    revision,
                    value: Some(value),
                },
            )) = winner
            {
                page_bytes += key.len() + value.len();
                if page.rows.len() >= scan.limit.rows.max(1) || (page_bytes > scan.limit.bytes && !page.rows.is_empty()) {
                    page.resume_after = last_key;
                    return Ok(page);
                }
                let key = key.clone();
                page.rows.push(FoundRow {
                    key,
                    scope,
                    revision,
                    value,
                });
            }
            last_key = Some(key);
        }
        if sources.iter().any(|(_, _, next)| next.is_some()) {
            page.resume_after = last_key;
        }
        Ok(page)
    }
}

/// Whether a read of the scope at `revision` is exact: as [`super::readable_with`], and a clone has nothing before its
/// beginning.
pub fn check_readable(
    reader: &dyn Reader,
    counters: &crate::record::Counters,
    scope: ScopeId,
    revision: Revision,
) -> Result<(), ApplyError> {
    if let Some(parent) = parent(reader, scope)?
        && revision.0 < parent.created_at
    {
        let message = format!(
            "revision {revision} is older than the clone, which begins at {}; read its source instead",
            parent.created_at
        );
        return Err(MetaError::invalid(message).into());
    }
    super::readable_with(reader, counters, scope, revision)
}

/// Whether a tombstone of a clone hides something that the clone inherited, though it hides nothing of its own. A name is a versioned
/// key without its revision.
pub(super) fn hides_inherited(reader: &dyn Reader, name: &[u8]) -> Result<bool, StoreError> {
    let scope = rows::scope_of(name, name)?;
    if reader.get(&parent_key(scope))?.is_none() {
        return Ok(false);
    }
    for level in Lineage::of(reader, scope, Revision(u64::MAX))?.levels.iter().skip(1) {
        let name = rows::name_in(level.scope, name);
        let seek = [&name[..], &(!level.revision.0).to_be_bytes()].concat();
        let versions = reader.cursor(&seek, &prefix_end(&name))?;
        if let Some((row, stored)) = versions.row() {
            return Ok(super::decode_value(row, &Bytes::copy_from_slice(stored))?.is_some());
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
