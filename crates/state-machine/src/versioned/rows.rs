//! Keys of the rows that decide how long versions live.
//!
//! Everything but a version's revision is its *name*: `20 | table | scope | key'`. Clean-up copies names as bytes and never
//! decodes a user's key, so it works for every table, also for one that a later version added.

use crate::command::decode_record;
use crate::keys::{REVISION_BYTES, space};
use crate::record::SupersededRecord;
use crate::store::StoreError;
use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{Revision, ScopeId};

/// Bytes of `table | scope` in front of a name's user key.
const NAME_HEAD_BYTES: usize = 9;

/// A superseded version as its clean-up or parked row tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superseded {
    /// Versioned key without the revision.
    pub name: Bytes,
    pub scope: ScopeId,
    pub written_at: Revision,
    pub superseded_at: Revision,
    pub superseded_ms: u64,
    /// The row's value, to be parked as it is.
    pub record: Bytes,
}

impl Superseded {
    /// Reads `revision | table | scope | key'`, where both kinds of rows end alike.
    fn read(row: &[u8], mut tail: &[u8], value: &[u8]) -> Result<Superseded, StoreError> {
        let superseded_at = Revision(take_u64(row, &mut tail)?);
        if tail.len() < NAME_HEAD_BYTES {
            return Err(damaged(row));
        }
        let scope = ScopeId(take_u64(row, &mut &tail[1..])?);
        let record = Bytes::copy_from_slice(value);
        let SupersededRecord { written_at, superseded_ms } = decode_record(row, record.clone())?;
        let mut name = BytesMut::with_capacity(1 + tail.len() + REVISION_BYTES);
        name.put_u8(space::VERSIONED);
        name.put_slice(tail);
        Ok(Superseded {
            name: name.freeze(),
            scope,
            written_at: Revision(written_at),
            superseded_at,
            superseded_ms,
            record,
        })
    }

    pub fn from_cleanup(row: &[u8], value: &[u8]) -> Result<Superseded, StoreError> {
        Superseded::read(row, row.get(1..).unwrap_or_default(), value)
    }

    pub fn from_parked(row: &[u8], value: &[u8]) -> Result<Superseded, StoreError> {
        Superseded::read(row, row.get(17..).unwrap_or_default(), value)
    }

    /// The version's own row.
    pub fn version_key(&self) -> Bytes {
        let mut key = BytesMut::from(self.name.as_ref());
        key.put_u64(!self.written_at.0);
        key.freeze()
    }
}

/// The revision at the end of a versioned key.
pub fn revision_of(row: &[u8]) -> Result<Revision, StoreError> {
    let bytes = row.last_chunk::<REVISION_BYTES>().ok_or_else(|| damaged(row))?;
    Ok(Revision(!u64::from_be_bytes(*bytes)))
}

/// `name` is a versioned key without its revision.
pub fn cleanup(superseded_at: Revision, name: &[u8]) -> Bytes {
    let mut key = BytesMut::with_capacity(8 + name.len());
    key.put_u8(space::CLEANUP);
    key.put_u64(superseded_at.0);
    key.put_slice(&name[1..]);
    key.freeze()
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
