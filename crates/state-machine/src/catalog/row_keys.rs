//! User keys of the catalog's tables, and keys of its plain rows. Numbers are big-endian.

use crate::keys::{self, RecordTable};
use crate::store::StoreError;
use bytes::{BufMut, Bytes};
use quorate_model::ScopeId;

/// `collection` of tables Collection and CollectionStats; also the prefix of all that is in it.
pub fn collection(collection_id: u64) -> Vec<u8> {
    collection_id.to_be_bytes().to_vec()
}

/// `database | name` of table CollectionName; with an empty name the prefix of the database's collections.
pub fn collection_name(database_id: u64, name: &str) -> Vec<u8> {
    named(database_id, name)
}

/// `collection | name` of table PartitionName.
pub fn partition_name(collection_id: u64, name: &str) -> Vec<u8> {
    named(collection_id, name)
}

fn named(parent_id: u64, name: &str) -> Vec<u8> {
    let mut key = parent_id.to_be_bytes().to_vec();
    key.extend_from_slice(name.as_bytes());
    key
}

/// `collection | partition` of table Partition; also the prefix of its segments.
pub fn partition(collection_id: u64, partition_id: u64) -> Vec<u8> {
    [collection_id, partition_id].map(u64::to_be_bytes).concat()
}

/// `collection | partition | segment` of table Segment.
pub fn segment(collection_id: u64, partition_id: u64, segment_id: u64) -> Vec<u8> {
    [collection_id, partition_id, segment_id].map(u64::to_be_bytes).concat()
}

/// Reads a user key of big-endian numbers back.
pub fn read_numbers<const COUNT: usize>(key: &[u8]) -> Result<[u64; COUNT], StoreError> {
    let (numbers, rest) = key.as_chunks::<8>();
    match <&[[u8; 8]; COUNT]>::try_from(numbers) {
        Ok(numbers) if rest.is_empty() => Ok(numbers.map(u64::from_be_bytes)),
        _ => Err(StoreError(format!("key {key:02x?} does not consist of {COUNT} numbers"))),
    }
}

/// The name in a key of table CollectionName or PartitionName.
pub fn read_name(key: &[u8]) -> Result<String, StoreError> {
    let name = key.get(8..).and_then(|name| std::str::from_utf8(name).ok());
    let name = name.ok_or_else(|| StoreError(format!("key {key:02x?} does not end in a name")))?;
    Ok(name.to_owned())
}

/// `scope | segment` of table Upload.
pub fn upload(scope: ScopeId, segment_id: u64) -> Bytes {
    let mut key = keys::record_in_scope(RecordTable::Upload, scope);
    key.put_u64(segment_id);
    key.freeze()
}

/// `expires | scope | segment` of table UploadExpiry.
pub fn upload_expiry(expires_ms: u64, scope: ScopeId, segment_id: u64) -> Bytes {
    let mut key = keys::record_prefix(RecordTable::UploadExpiry);
    key.put_u64(expires_ms);
    key.put_u64(scope.0);
    key.put_u64(segment_id);
    key.freeze()
}

/// `scope | database | name'` of table ReservedName.
pub fn reserved_name(scope: ScopeId, database_id: u64, name: &str) -> Bytes {
    let mut key = keys::record_in_scope(RecordTable::ReservedName, scope);
    key.put_u64(database_id);
    keys::put_escaped(&mut key, name.as_bytes());
    key.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_back() {
        assert_eq!(read_numbers::<3>(&segment(1, 2, u64::MAX)).expect("three"), [1, 2, u64::MAX]);
        assert!(read_numbers::<2>(&segment(1, 2, 3)).is_err());
        assert!(read_numbers::<1>(&[0; 9]).is_err());
        assert_eq!(read_name(&collection_name(5, "a$")).expect("a name"), "a$");
        assert!(read_name(&[0; 7]).is_err());
    }
}
