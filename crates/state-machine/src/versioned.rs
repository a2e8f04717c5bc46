//! Versioned tables: what a key held at any revision that somebody may still ask for.
//!
//! A write adds a version and never changes one, so a snapshot costs nothing but a pin. Writes of revision r are visible
//! at r. The price is clean-up: whoever supersedes a version queues it ([`rows`]), with the stamped time, because the
//! state has no other way to find it again without reading everything. [`cleanup`] decides later, by the interval rule,
//! what nobody can see. [`pins`] says what may be read, [`scan`] reads ranges.
//!
//! ```text
//! revision        3      5      9
//! versions   a    x ---- y ---- (tombstone)
//! a read at 4 sees x, at 5..8 y, from 9 on nothing; a pin at 4 keeps x, one at 6 keeps y.
//! ```
//!
//! A command writes a key at most once: it looks at the state before the command and would not see its own version.

pub mod cleanup;
pub mod lineage;
pub mod pins;
pub mod rows;
pub mod scan;

use crate::changes::SupersededVersion;
use crate::command::ApplyContext;
use crate::keys::{self, REVISION_BYTES, VersionedTable};
use crate::store::{Reader, StoreError};
use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{Revision, ScopeId};

pub use lineage::{FoundRow, Level, Lineage, LineagePage, LineageScan};
pub use pins::{readable, readable_with};
pub use scan::{Page, PageLimit, Row, Scan, scan_at};

const TOMBSTONE: u8 = 0x00;
const VALUE: u8 = 0x01;

/// One version of a key as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Version {
    pub revision: Revision,
    /// `None` is a tombstone: from this revision on the key is gone.
    pub value: Option<Bytes>,
}

/// The newest version of a key, as far as the next one must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Newest {
    pub revision: Revision,
    /// [`crate::digest::row_hash`] of its row, where somebody has kept it. Clean-up removes the row by it, and does not look.
    pub row_hash: Option<u128>,
}

impl From<Revision> for Newest {
    fn from(revision: Revision) -> Newest {
        Newest { revision, row_hash: None }
    }
}

/// What the key held at `revision`, and the revision that wrote it. Does not ask whether `revision` may be read:
/// [`readable`] does.
pub fn get_at(
    reader: &dyn Reader,
    table: VersionedTable,
    scope: ScopeId,
    key: &[u8],
    revision: Revision,
) -> Result<Option<(Revision, Bytes)>, StoreError> {
    let version = version_at(reader, table, scope, key, revision)?;
    Ok(version.and_then(|version| Some((version.revision, version.value?))))
}

/// The newest version of a key, tombstones included.
pub fn newest(reader: &dyn Reader, table: VersionedTable, scope: ScopeId, key: &[u8]) -> Result<Option<Version>, StoreError> {
    version_at(reader, table, scope, key, Revision(u64::MAX))
}

/// The newest version at or before `revision`: one seek.
fn version_at(
    reader: &dyn Reader,
    table: VersionedTable,
    scope: ScopeId,
    key: &[u8],
    revision: Revision,
) -> Result<Option<Version>, StoreError> {
    let seek = keys::versioned(table, scope, key, revision);
    match reader.first_in_prefix(&seek[..seek.len() - REVISION_BYTES], &seek)? {
        None => Ok(None),
        Some((row, value)) => Ok(Some(Version {
            revision: rows::revision_of(&row)?,
            value: decode_value(&row, &value)?,
        })),
    }
}

/// The version written at exactly `revision`: a point read, for callers that know from elsewhere that it is the newest.
pub fn written_at(
    reader: &dyn Reader,
    table: VersionedTable,
    scope: ScopeId,
    key: &[u8],
    revision: Revision,
) -> Result<Option<Version>, StoreError> {
    let row = keys::versioned(table, scope, key, revision);
    match reader.get(&row)? {
        None => Ok(None),
        Some(value) => Ok(Some(Version {
            revision,
            value: decode_value(&row, &value)?,
        })),
    }
}

/// Sets a key. Returns the version it supersedes.
pub fn put(
    context: &mut ApplyContext<'_, '_>,
    table: VersionedTable,
    scope: ScopeId,
    key: &[u8],
    value: &[u8],
) -> Result<Option<Version>, StoreError> {
    let superseded = newest(context.reader(), table, scope, key)?;
    write(
        context,
        table,
        scope,
        key,
        Some(value),
        superseded.as_ref().map(|version| version.revision.into()),
    );
    Ok(superseded)
}

/// Ends a key with a tombstone; writes nothing if there is nothing to end. Returns the version it supersedes.
pub fn remove(
    context: &mut ApplyContext<'_, '_>,
    table: VersionedTable,
    scope: ScopeId,
    key: &[u8],
) -> Result<Option<Version>, StoreError> {
    let superseded = newest(context.reader(), table, scope, key)?;
    if superseded.as_ref().is_some_and(|version| version.value.is_some()) {
        write(
            context,
            table,
            scope,
            key,
            None,
            superseded.as_ref().map(|version| version.revision.into()),
        );
    }
    Ok(superseded)
}

/// Ends a key that is visible through a lineage, whether its own scope wrote it or it is inherited; the tombstone goes into the
/// own scope. Returns what the key held; `None`, and nothing written, if there is nothing to end.
pub fn end_visible(
    context: &mut ApplyContext<'_, '_>,
    lineage: &Lineage,
    table: VersionedTable,
    key: &[u8],
) -> Result<Option<FoundRow>, StoreError> {
    let reader = context.reader();
    let Some(found) = lineage.get(reader, table, key)? else {
        return Ok(None);
    };
    let own = lineage.own_scope();
    // What was found further down has no version in the own scope: one there, also a tombstone, would have won.
    let superseded = (found.scope == own).then_some(found.revision.into());
    write(context, table, own, key, None, superseded);
    Ok(Some(found))
}

/// Adds a version (`None`: a tombstone) for a caller that knows the [`newest`] one, which it must pass on: that version is queued for
/// clean-up here and nowhere else. Returns the hash of the new version's row, for who keeps it.
pub fn write(
    context: &mut ApplyContext<'_, '_>,
    table: VersionedTable,
    scope: ScopeId,
    key: &[u8],
    value: Option<&[u8]>,
    superseded: Option<Newest>,
) -> u128 {
    let revision = context.revision();
    let mut row = keys::versioned_prefix(table, scope, key);
    if let Some(superseded) = superseded {
        let written_at = superseded.revision;
        assert!(written_at < revision, "version {written_at} cannot be superseded at {revision}");
        let name = Bytes::copy_from_slice(&row);
        context.changes().supersede(SupersededVersion {
            name,
            written_at,
            replaced: value.is_some(),
            row_hash: superseded.row_hash,
        });
    }
    row.put_u64(!revision.0);
    context.changes().put_fresh_hashed(row.freeze(), encode_value(value))
}

fn encode_value(value: Option<&[u8]>) -> Bytes {
    let Some(value) = value else {
        return Bytes::from_static(&[TOMBSTONE]);
    };
    let mut out = BytesMut::with_capacity(1 + value.len());
    out.put_u8(VALUE);
    out.put_slice(value);
    out.freeze()
}

pub(crate) fn decode_value(row: &[u8], stored: &Bytes) -> Result<Option<Bytes>, StoreError> {
    match stored.first() {
        Some(&VALUE) => Ok(Some(stored.slice(1..))),
        Some(&TOMBSTONE) if stored.len() == 1 => Ok(None),
        _ => Err(StoreError(format!("version {row:02x?} is neither a value nor a tombstone"))),
    }
}

#[cfg(test)]
mod tests;
