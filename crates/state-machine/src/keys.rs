//! Where everything is. One sorted map; the first byte says what kind of row follows.
//!
//! ```text
//! 00 raft      | name                                          storage's own records; never in a digest
//! 01 counters                                                  Counters
//! 02 digests                                                   Digests; not part of the content digest
//! 03 session   | id u64                                        SessionRecord
//! 04 slot      | session u64 | slot u8                         SlotRecord
//! 10 record    | table u8 | table's own key                    plain rows
//! 20 versioned | table u8 | scope u64 | key' | !revision u64   a version: 00 = tombstone, 01 + value
//! 30 clean-up  | revision u64                                  what one log entry superseded or dropped waits to be looked at
//! 31 parked    | scope u64 | pin u64 | revision u64 | ...      ... or waits for the pinned revision that blocks it
//! 32 released  | scope u64 | pin u64                           what is parked there must be looked at again, from a row
//! 40 pin       | scope u64 | revision u64 | pin id u64         PinRecord
//! 41 hold      | owner scope u64 | revision u64 | holder u64   HoldRecord
//! 42 expiry    | time ms u64 | scope | revision | pin id       when a pin ends by itself
//! ```
//!
//! Numbers are big-endian, so that byte order is number order. `key'` is the user's key with 00 written 00 ff and closed by
//! 00 01: one user key is never a prefix of another, so all versions of a key lie together, newest first.

use bytes::{BufMut, Bytes, BytesMut};
use quorate_model::{Revision, ScopeId, SessionId};

/// First bytes of keys.
pub mod space {
    pub const RAFT: u8 = 0x00;
    pub const COUNTERS: u8 = 0x01;
    pub const DIGESTS: u8 = 0x02;
    pub const SESSION: u8 = 0x03;
    pub const SLOT: u8 = 0x04;
    pub const RECORD: u8 = 0x10;
    pub const VERSIONED: u8 = 0x20;
    pub const CLEANUP: u8 = 0x30;
    pub const PARKED: u8 = 0x31;
    pub const RELEASED: u8 = 0x32;
    pub const PIN: u8 = 0x40;
    pub const HOLD: u8 = 0x41;
    pub const PIN_EXPIRY: u8 = 0x42;
}

/// Tables of plain rows. Numbers are stored; never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum RecordTable {
    /// instance_id' -> InstanceRecord
    Instance = 1,
    /// scope u64 | revision of addition u64 -> ClusterRecord: key order is the order of addition
    Cluster = 2,
    /// scope u64 | cluster u64 | revision of addition u64 | position u32 -> NodeInfoPB as stored; cluster is the end of
    /// the cluster's own key
    Node = 3,
    /// cloud_unique_id' | rest of the node's key -> (): where a node id is registered
    NodeIndex = 4,
    /// attribute name' | scope u64 -> revision u64 | hash u128 of its row: which instances have an attribute
    AttributeIndex = 5,
    /// key id i64 -> RegisterRootKey: the check value of a root key
    RootKey = 6,
    /// incarnation u64 -> the peer id it was given
    Peer = 7,
    /// scope u64 -> instance_id
    Scope = 8,
    /// scope u64 | cluster type u8 | address:port' | rest of the node's key without scope -> (): taken FE and BE endpoints
    Endpoint = 9,
    /// scope u64 | vault id' -> StorageVaultPB, secrets as ciphertext
    Vault = 10,
    /// scope u64 -> ParentRecord: where a clone's reads fall through to; no row for an instance that is no clone
    Parent = 11,
    /// scope u64 | segment u64 -> UploadRecord: segments whose files are being written
    Upload = 12,
    /// expires ms u64 | scope u64 | segment u64 -> (): uploads in the order in which they are given up
    UploadExpiry = 13,
    /// scope u64 | database u64 | collection name' -> job u64: taken by a restore that has not been published
    ReservedName = 14,
    /// not before ms u64 | number u64 -> CondemnedRecord: files to delete, in the order in which that is due
    Condemned = 15,
    /// scope u64 | dropped at u64 | collection u64 (0: whole scope) | partition u64 (0: whole collection) -> DroppedRecord: what
    /// nobody can see any more
    Dropped = 16,
    /// scope u64 | revision u64 -> SnapshotRecord
    Snapshot = 17,
    /// scope u64 | collection u64 (0: whole instance) | name' -> revision u64: taken names. A label, which several snapshots
    /// may have, is followed by the revision u64
    SnapshotName = 18,
    /// pin id i64 -> SnapshotPinRecord
    SnapshotPin = 19,
    /// scope u64 | revision u64 | pin id i64 -> (): the pins of one snapshot
    SnapshotPinIndex = 20,
    /// due ms u64 | kind u8 (0: snapshot, 1: pin, 2: all of a dropped instance) | scope u64 | revision u64 | pin id i64 -> ()
    SnapshotExpiry = 21,
    /// scope u64 | revision u64 | clone scope u64 -> (): the clones that read through a snapshot
    SnapshotClone = 22,
    /// scope u64 | revision u64 -> (): snapshots a reconciler has something to do for (pending, deleting, manifests)
    SnapshotWork = 23,
    /// scope u64 -> SnapshotCountRecord
    SnapshotCount = 24,
    /// scope u64 | revision u64 | collection u64 -> (): collections of a snapshot of a whole instance that have files of their own
    SnapshotCollection = 25,
    /// () -> FrontSettingsRecord
    FrontSettings = 30,
    /// () -> RateLimitsRecord
    RateLimits = 31,
    /// () -> SettingsRecord: settings of the cluster that were changed
    Settings = 32,
    /// () -> RamUserPB, secret as ciphertext: the cloud account that peers work under
    ServiceAccount = 60,
    /// !job u64 -> JobRecord: newest first
    Job = 70,
    /// job u64 -> JobProgressRecord: jobs that have not ended
    ActiveJob = 71,
    /// target scope u64 | target collection u64 (0: a base layer, or manifests) | job u64 -> (): the jobs of an instance, for lists
    JobByTarget = 72,
    /// job u64 | task u32 -> TaskRecord
    Task = 73,
    /// job u64 | not before ms u64 | task u32 -> (): tasks that can be claimed
    OpenTask = 74,
    /// job u64 | task u32 -> (): tasks that are claimed
    ClaimedTask = 75,
    /// end ms and seven days u64 | job u64 -> (): ended jobs in the order of their ends, in which their records go
    JobRetention = 76,
    /// () -> LocalVaultRecord: the peers' shared directory carries its marker
    LocalVault = 77,
    /// clone scope u64 | collection u64 | partition u64 | segment u64 -> (): what a clone dropped of what it inherits and nobody sees any
    /// more, until there are copies of it to remove
    InheritedDrop = 78,
    /// scope u64 -> (): all of its rows have been collected; its record goes when its files are deleted
    CollectedScope = 79,
    /// scope of an instance u64 | scope u64 -> (): base layers whose files are the instance's
    BaseScope = 80,
    /// cluster id u128 -> Lineage: which cluster it was recovered from
    Lineage = 90,
    /// () -> LevelRecord; no row: level 1
    Level = 91,
}

/// Versioned tables. Numbers are stored; never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum VersionedTable {
    /// Attributes of an instance, by name.
    Attribute = 1,
    /// name -> DatabaseRecord
    Database = 2,
    /// database u64 | name -> NameRecord
    CollectionName = 3,
    /// collection u64 -> CollectionRecord
    Collection = 4,
    /// collection u64 -> StatsRecord
    CollectionStats = 5,
    /// collection u64 | name -> NameRecord
    PartitionName = 6,
    /// collection u64 | partition u64 -> PartitionRecord
    Partition = 7,
    /// collection u64 | partition u64 | segment u64 -> SegmentRecord
    Segment = 8,
}

impl VersionedTable {
    /// Every table, in the order of their numbers: what a clone's base layer consists of.
    pub const ALL: [VersionedTable; 8] = [
        VersionedTable::Attribute,
        VersionedTable::Database,
        VersionedTable::CollectionName,
        VersionedTable::Collection,
        VersionedTable::CollectionStats,
        VersionedTable::PartitionName,
        VersionedTable::Partition,
        VersionedTable::Segment,
    ];

    /// The table with this number.
    pub fn from_number(number: u32) -> Option<VersionedTable> {
        VersionedTable::ALL.into_iter().find(|table| *table as u32 == number)
    }
}

/// Stands in the place of a versioned table's number: what is superseded is not a version but a dropped object, by
/// `collection u64 | partition u64`. There are no rows of that name, only clean-up and parked rows that hold it.
pub const DROPPED_MARK: u8 = 0;

pub const COUNTERS_KEY: &[u8] = &[space::COUNTERS];
pub const DIGESTS_KEY: &[u8] = &[space::DIGESTS];

/// Bytes of the inverted revision that ends a versioned key.
pub const REVISION_BYTES: usize = 8;
/// A versioned key of an empty user key: space, table, scope, `00 01`, revision.
const VERSIONED_BYTES_MIN: usize = 12 + REVISION_BYTES;

/// Writes `key'`: escaped and closed, so that order is kept and no key is a prefix of another.
pub fn put_escaped(out: &mut BytesMut, key: &[u8]) {
    for &byte in key {
        out.put_u8(byte);
        if byte == 0 {
            out.put_u8(0xff);
        }
    }
    out.put_slice(&[0x00, 0x01]);
}

/// Writes the escaped form of a key prefix, not closed: every key with that prefix begins with it.
pub fn put_escaped_prefix(out: &mut BytesMut, prefix: &[u8]) {
    put_escaped(out, prefix);
    out.truncate(out.len() - 2);
}

/// Reads one escaped key from the front; `None` if it is not well-formed. Returns the key and the rest.
pub fn take_escaped(mut input: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut key = Vec::with_capacity(input.len());
    loop {
        match input {
            [0x00, 0x01, rest @ ..] => return Some((key, rest)),
            [0x00, 0xff, rest @ ..] => {
                key.push(0);
                input = rest;
            }
            [0x00, ..] | [] => return None,
            [byte, rest @ ..] => {
                key.push(*byte);
                input = rest;
            }
        }
    }
}

pub fn session(id: SessionId) -> Bytes {
    let mut key = BytesMut::with_capacity(9);
    key.put_u8(space::SESSION);
    key.put_u64(id.0);
    key.freeze()
}

pub fn slot(id: SessionId, slot: u8) -> Bytes {
    let mut key = BytesMut::with_capacity(10);
    key.put_u8(space::SLOT);
    key.put_u64(id.0);
    key.put_u8(slot);
    key.freeze()
}

/// The start of a plain table's keys.
pub fn record_prefix(table: RecordTable) -> BytesMut {
    let mut key = BytesMut::with_capacity(48);
    key.put_u8(space::RECORD);
    key.put_u8(table as u8);
    key
}

/// `table | name'`.
pub fn record_by_name(table: RecordTable, name: &[u8]) -> Bytes {
    let mut key = record_prefix(table);
    put_escaped(&mut key, name);
    key.freeze()
}

/// `table | scope`: all rows of a scope begin with it.
pub fn record_in_scope(table: RecordTable, scope: ScopeId) -> BytesMut {
    let mut key = record_prefix(table);
    key.put_u64(scope.0);
    key
}

/// Everything of a versioned key but its revision: all versions of one key begin with it and nothing else does.
pub fn versioned_prefix(table: VersionedTable, scope: ScopeId, user_key: &[u8]) -> BytesMut {
    let mut key = BytesMut::with_capacity(28 + user_key.len());
    key.put_u8(space::VERSIONED);
    key.put_u8(table as u8);
    key.put_u64(scope.0);
    put_escaped(&mut key, user_key);
    key
}

/// `space | table | scope`: all rows of a scope in one versioned table begin with it.
pub fn versioned_scope(table: VersionedTable, scope: ScopeId) -> Bytes {
    let mut key = versioned_prefix(table, scope, b"");
    key.truncate(key.len() - 2);
    key.freeze()
}

/// The name under which a dropped object waits for clean-up.
pub fn dropped_mark(scope: ScopeId, object: &[u8]) -> Bytes {
    let mut name = BytesMut::with_capacity(28 + object.len());
    name.put_u8(space::VERSIONED);
    name.put_u8(DROPPED_MARK);
    name.put_u64(scope.0);
    put_escaped(&mut name, object);
    name.freeze()
}

/// The object in such a name.
pub fn dropped_mark_key(name: &[u8]) -> Option<Vec<u8>> {
    match name {
        [space::VERSIONED, DROPPED_MARK, rest @ ..] => take_escaped(rest.get(8..)?).map(|(object, _)| object),
        _ => None,
    }
}

/// A seek to this key lands on the newest version at or before `revision`.
pub fn versioned(table: VersionedTable, scope: ScopeId, user_key: &[u8], revision: Revision) -> Bytes {
    let mut key = versioned_prefix(table, scope, user_key);
    key.put_u64(!revision.0);
    key.freeze()
}

/// The part of a key that prefix filters cover: a versioned key without its revision, any other key whole. A name comes
/// back as it is, as filters require: `00 01` stands at the end of `key'` only.
pub fn filter_prefix(key: &[u8]) -> &[u8] {
    match key.first() {
        Some(&space::VERSIONED) if key.len() >= VERSIONED_BYTES_MIN => {
            let name = &key[..key.len() - REVISION_BYTES];
            if name.ends_with(&[0x00, 0x01]) { name } else { key }
        }
        _ => key,
    }
}

/// Rows that nearly every read looks at, whatever it is about: worth keeping in memory while the state does not change.
pub fn is_looked_at_by_all(key: &[u8]) -> bool {
    match key {
        [space::COUNTERS, ..] => true,
        [space::RECORD, table, ..] => *table == RecordTable::Instance as u8 || *table == RecordTable::Parent as u8,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaping_keeps_order_and_comes_back() {
        let names: &[&[u8]] = &[
            b"",
            b"\x00",
            b"\x00\x00",
            b"\x00\xff",
            b"a",
            b"a\x00",
            b"a\x00b",
            b"a\x01",
            b"ab",
            b"\xff",
        ];
        let mut encoded = Vec::new();
        for name in names {
            let mut out = BytesMut::new();
            put_escaped(&mut out, name);
            out.put_slice(b"rest");
            let (back, rest) = take_escaped(&out).expect("well-formed");
            assert_eq!((back.as_slice(), rest), (*name, &b"rest"[..]));
            encoded.push(out.freeze());
        }
        assert!(encoded.is_sorted());
        assert!(take_escaped(b"no end").is_none());
        assert!(take_escaped(b"\x00\x02").is_none());
    }

    #[test]
    fn versions_of_a_key_are_newest_first_and_apart_from_other_keys() {
        let key = |name: &[u8], revision| versioned(VersionedTable::Attribute, ScopeId(1), name, Revision(revision));
        let order = [key(b"a", 9), key(b"a", 2), key(b"a\x00", 9), key(b"ab", 9), key(b"ab", 1)];
        assert!(order.is_sorted());
        assert_eq!(filter_prefix(&order[0]), filter_prefix(&order[1]));
        assert_ne!(filter_prefix(&order[0]), filter_prefix(&order[2]));
        for length in 0..12 {
            let name = versioned_prefix(VersionedTable::Attribute, ScopeId(1), &vec![b'x'; length]);
            let key = versioned(VersionedTable::Attribute, ScopeId(1), &vec![b'x'; length], Revision(u64::MAX));
            assert_eq!(filter_prefix(&key), name);
            assert_eq!(filter_prefix(&name), name, "a name is its own filter prefix");
        }
    }
}
