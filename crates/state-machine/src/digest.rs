//! Two digests that tell whether peers agree: *history* (how the state came to be) and *content* (what it is).

use crate::keys::space;
use crate::record::DigestRecord;
use crate::store::{Reader, StoreError};
use xxhash_rust::xxh3::{Xxh3, xxh3_128};

/// Digests after one applied entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    pub index: u64,
    /// Chained over log id, payload and writes of every entry.
    pub history: u128,
    /// Sum over all rows of hash(key, value), modulo 2^128: independent of the order in which rows came.
    pub content: u128,
}

impl Digests {
    pub fn to_record(self) -> DigestRecord {
        DigestRecord {
            index: self.index,
            history: self.history.to_be_bytes().to_vec(),
            content: self.content.to_be_bytes().to_vec(),
        }
    }

    pub fn from_record(record: &DigestRecord) -> Option<Digests> {
        Some(Digests {
            index: record.index,
            history: u128::from_be_bytes(record.history.as_slice().try_into().ok()?),
            content: u128::from_be_bytes(record.content.as_slice().try_into().ok()?),
        })
    }

    /// Both digests as 32 bytes, for the exchange between peers.
    pub fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(&self.history.to_be_bytes());
        bytes[16..].copy_from_slice(&self.content.to_be_bytes());
        bytes
    }

    /// Accounts for one row that changed from `before` to `after`.
    pub fn row_changed(&mut self, key: &[u8], before: RowState<'_>, after: RowState<'_>) {
        if is_content(key) {
            self.content = self.content.wrapping_sub(before.hash(key)).wrapping_add(after.hash(key));
        }
    }
}

/// A row before or after a change, as far as the content digest must know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowState<'a> {
    Absent,
    Value(&'a [u8]),
    /// There is a row, and this is its [`row_hash`].
    Hash(u128),
}

impl<'a> From<Option<&'a [u8]>> for RowState<'a> {
    fn from(value: Option<&'a [u8]>) -> RowState<'a> {
        value.map_or(RowState::Absent, RowState::Value)
    }
}

impl RowState<'_> {
    fn hash(self, key: &[u8]) -> u128 {
        match self {
            RowState::Absent => 0,
            RowState::Value(value) => row_hash(key, value),
            RowState::Hash(hash) => hash,
        }
    }
}

/// Whether a row counts for the content digest: all but storage's own records and the digests themselves.
fn is_content(key: &[u8]) -> bool {
    !matches!(key.first(), None | Some(&space::RAFT) | Some(&space::DIGESTS))
}

/// What a row adds to the content digest. Hashes of rows stand in other rows ([`crate::attributes`]), so it can never be another one.
pub fn row_hash(key: &[u8], value: &[u8]) -> u128 {
    let mut buffer = [0u8; 512];
    let length = 4 + key.len() + value.len();
    if length <= buffer.len() {
        buffer[..4].copy_from_slice(&(key.len() as u32).to_le_bytes());
        buffer[4..4 + key.len()].copy_from_slice(key);
        buffer[4 + key.len()..length].copy_from_slice(value);
        return xxh3_128(&buffer[..length]);
    }
    let mut hasher = Xxh3::new();
    hasher.update(&(key.len() as u32).to_le_bytes());
    hasher.update(key);
    hasher.update(value);
    hasher.digest128()
}

/// The next link of the history chain, computed while an entry is applied: over its log id, its payload and its writes in the
/// order they were made.
pub struct Link(Xxh3);

impl Link {
    pub fn new(before: u128, position: [u64; 3], payload: &[u8]) -> Link {
        let mut hasher = Xxh3::new();
        hasher.update(&before.to_be_bytes());
        for number in position {
            hasher.update(&number.to_be_bytes());
        }
        hasher.update(&(payload.len() as u64).to_be_bytes());
        hasher.update(payload);
        Link(hasher)
    }

    pub fn write(&mut self, key: &[u8], value: Option<&[u8]>) {
        self.0.update(&(key.len() as u32).to_be_bytes());
        self.0.update(key);
        match value {
            Some(value) => {
                self.0.update(&(value.len() as u32).to_be_bytes());
                self.0.update(value);
            }
            None => self.0.update(&u32::MAX.to_be_bytes()),
        }
    }

    pub fn finish(&self) -> u128 {
        self.0.digest128()
    }
}

/// Computes the content digest anew by reading every row: what the background scan compares with.
pub fn recompute_content(reader: &dyn Reader) -> Result<u128, StoreError> {
    let sum = recompute_content_in_steps(reader, usize::MAX, &mut || true)?;
    Ok(sum.unwrap_or_default())
}

/// As [`recompute_content`], asking after every `step_rows` rows whether to go on; `None` if told not to.
pub fn recompute_content_in_steps(
    reader: &dyn Reader,
    step_rows: usize,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Option<u128>, StoreError> {
    let mut sum = 0u128;
    let mut rows = 0;
    let mut cursor = reader.sweep(&[space::COUNTERS], &[0xff; 16])?;
    while let Some((key, value)) = cursor.row() {
        if is_content(key) {
            sum = sum.wrapping_add(row_hash(key, value));
        }
        cursor.next()?;
        rows += 1;
        if rows == step_rows {
            rows = 0;
            if !go_on() {
                return Ok(None);
            }
        }
    }
    Ok(Some(sum))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Computed by another implementation of XXH3. With more than 512 bytes a row is hashed in pieces.
    #[test]
    fn hashes_of_rows_are_frozen() {
        let golden = [
            (1, "3411a346beb615e3488c4bfbe9e482de"),
            (507, "77692faa80acb4ca0954c151c4a5150e"),
            (508, "40896fdb574b1059d886a9df96b04745"),
        ];
        for (bytes, golden) in golden {
            let hash = row_hash(b"k", &vec![b'v'; bytes]);
            assert_eq!(format!("{hash:032x}"), golden, "a value of {bytes} bytes");
        }
    }
}
