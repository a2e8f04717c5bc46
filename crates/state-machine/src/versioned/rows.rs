//! Keys of the rows that decide how long versions live.
//!
//! Everything but a version's revision is its *name*: `20 | table | scope | key'`. Clean-up copies names as bytes and never
//! decodes a user's key, so it works for every table, also for one that a later version added.

use crate::command::decode_record;
use crate::keys::{REVISION_BYTES, space, take_escaped};
use crate::record::{CleanupRecord, SupersededRecord};
use crate::store::StoreError;
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_model::{Revision, ScopeId};

/// Bytes of `space | table | scope` in front of a name's user key.
const NAME_HEAD_BYTES: usize = 10;

/// A superseded version as its clean-up or parked row tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// Versioned key without the revision.
    pub name: Bytes,
    pub scope: ScopeId,
    pub written_at: Revision,
    pub superseded_at: Revision,
    pub superseded_ms: u64,
    /// A value superseded it, as far as is known.
    pub replaced: bool,
    /// [`crate::digest::row_hash`] of the version's row, if it is known.
    pub row_hash: Option<u128>,
}

impl Superseded {
    /// Reads a parked row, which ends in `revision | table | scope | key'`.
    pub fn from_parked(row: &[u8], value: &[u8]) -> Result<Superseded, StoreError> {
        let mut tail = row.get(17..).unwrap_or_default();
        let superseded_at = Revision(take_u64(row, &mut tail)?);
        let SupersededRecord {
            written_at,
            superseded_ms,
            row_hash,
        } = decode_record(row, Bytes::copy_from_slice(value))?;
        let mut name = BytesMut::with_capacity(1 + tail.len());
        name.put_u8(space::VERSIONED);
        name.put_slice(tail);
        Ok(Superseded {
            scope: scope_of(row, &name)?,
            name: name.freeze(),
            written_at: Revision(written_at),
            superseded_at,
            superseded_ms,
            replaced: false,
            row_hash: decode_hash(&row_hash),
        })
    }

    /// The user's key in its name.
    pub fn user_key(&self) -> Result<Vec<u8>, StoreError> {
        let escaped = self.name.get(NAME_HEAD_BYTES..).and_then(take_escaped);
        escaped.map(|(key, _)| key).ok_or_else(|| damaged(&self.name))
    }

    /// What its parked row holds.
    pub fn record(&self) -> SupersededRecord {
        SupersededRecord {
            written_at: self.written_at.0,
            superseded_ms: self.superseded_ms,
            row_hash: encode_hash(self.row_hash),
        }
    }

    /// The version's own row.
    pub fn version_key(&self) -> Bytes {
        let mut key = BytesMut::with_capacity(self.name.len() + REVISION_BYTES);
        key.put_slice(&self.name);
        key.put_u64(!self.written_at.0);
        key.freeze()
    }
}

/// A row of the clean-up queue: what one log entry superseded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanupBatch {
    /// The revision in the row's key: that of its first version.
    pub revision: Revision,
    pub superseded_ms: u64,
    pub versions: Vec<Superseded>,
}

impl CleanupBatch {
    pub fn read(row: &[u8], value: &[u8]) -> Result<CleanupBatch, StoreError> {
        let [revision] = read_numbers::<1>(row)?;
        let CleanupRecord { superseded_ms, versions } = decode_record(row, Bytes::copy_from_slice(value))?;
        let versions = versions.into_iter().map(|version| {
            Ok(Superseded {
                scope: scope_of(row, &version.name)?,
                name: version.name,
                written_at: Revision(version.written_at),
                superseded_at: Revision(version.superseded_at),
                superseded_ms,
                replaced: version.replaced,
                row_hash: decode_hash(&version.row_hash),
            })
        });
        Ok(CleanupBatch {
            revision: Revision(revision),
            superseded_ms,
            versions: versions.collect::<Result<_, StoreError>>()?,
        })
    }
}

/// The row that queues what an entry superseded; `None` if that is nothing.
pub fn cleanup_row(record: &CleanupRecord) -> Option<(Bytes, Bytes)> {
    let first = record.versions.first()?;
    let key = numbers(space::CLEANUP, &[first.superseded_at]);
    Some((key, record.encode_to_vec().into()))
}

/// A row's hash as clean-up and parked rows hold it; empty if it is not known.
pub fn encode_hash(hash: Option<u128>) -> Bytes {
    hash.map_or_else(Bytes::new, |hash| Bytes::copy_from_slice(&hash.to_be_bytes()))
}

fn decode_hash(stored: &[u8]) -> Option<u128> {
    stored.try_into().ok().map(u128::from_be_bytes)
}

pub(super) fn scope_of(row: &[u8], name: &[u8]) -> Result<ScopeId, StoreError> {
    if name.len() < NAME_HEAD_BYTES {
        return Err(damaged(row));
    }
    Ok(ScopeId(take_u64(row, &mut &name[2..])?))
}

/// The same name in another scope.
pub(super) fn name_in(scope: ScopeId, name: &[u8]) -> Vec<u8> {
    let (head, key) = name.split_at(NAME_HEAD_BYTES.min(name.len()));
    [&head[..2.min(head.len())], &scope.0.to_be_bytes(), key].concat()
}

/// The revision at the end of a versioned key.
pub fn revision_of(row: &[u8]) -> Result<Revision, StoreError> {
    let bytes = row.last_chunk::<REVISION_BYTES>().ok_or_else(|| damaged(row))?;
    Ok(Revision(!u64::from_be_bytes(*bytes)))
}

pub fn parked(pinned: Revision, superseded: &Superseded) -> Bytes {
    let mut key = BytesMut::from(parked_prefix(superseded.scope, pinned).as_ref());
    key.put_u64(superseded.superseded_at.0);
    key.put_slice(&superseded.name[1..]);
    key.freeze()
}

/// Everything parked behind one pinned revision begins with it.
pub fn parked_prefix(scope: ScopeId, pinned: Revision) -> Bytes {
    numbers(space::PARKED, &[scope.0, pinned.0])
}

pub fn released(scope: ScopeId, pinned: Revision) -> Bytes {
    numbers(space::RELEASED, &[scope.0, pinned.0])
}

pub fn pin(scope: ScopeId, revision: Revision, pin: u64) -> Bytes {
    numbers(space::PIN, &[scope.0, revision.0, pin])
}

pub fn hold(owner: ScopeId, revision: Revision, holder: u64) -> Bytes {
    numbers(space::HOLD, &[owner.0, revision.0, holder])
}

pub fn pin_expiry(expires_ms: u64, scope: ScopeId, revision: Revision, pin: u64) -> Bytes {
    numbers(space::PIN_EXPIRY, &[expires_ms, scope.0, revision.0, pin])
}

/// A space's byte and big-endian numbers.
pub(super) fn numbers(space: u8, numbers: &[u64]) -> Bytes {
    let mut key = BytesMut::with_capacity(1 + 8 * numbers.len());
    key.put_u8(space);
    for number in numbers {
        key.put_u64(*number);
    }
    key.freeze()
}

/// Reads a key of [`numbers`] back.
pub(super) fn read_numbers<const COUNT: usize>(row: &[u8]) -> Result<[u64; COUNT], StoreError> {
    let mut rest = row.get(1..).unwrap_or_default();
    let mut found = [0; COUNT];
    for number in &mut found {
        *number = take_u64(row, &mut rest)?;
    }
    if rest.is_empty() { Ok(found) } else { Err(damaged(row)) }
}

fn take_u64(row: &[u8], rest: &mut &[u8]) -> Result<u64, StoreError> {
    let (head, tail) = rest.split_first_chunk::<8>().ok_or_else(|| damaged(row))?;
    *rest = tail;
    Ok(u64::from_be_bytes(*head))
}

fn damaged(row: &[u8]) -> StoreError {
    StoreError(format!("key {row:02x?} has the wrong length for its space"))
}
