//! Stored records of the catalog: databases, collections, partitions, segments, and what waits for its files to be deleted.
//!
//! The first five are values of versioned tables: no record names its own instance, because a clone reads it too.

use prost::Message;
use quorate_wire::quorate::v1::SegmentFile;
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, Message)]
pub struct DatabaseRecord {
    #[prost(uint64, tag = "1")]
    pub database_id: u64,
    #[prost(btree_map = "string, string", tag = "2")]
    pub properties: BTreeMap<String, String>,
    #[prost(uint64, tag = "3")]
    pub created_ms: u64,
}

/// A name and the id it stands for: collections by database, partitions by collection.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct NameRecord {
    #[prost(uint64, tag = "1")]
    pub id: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct CollectionRecord {
    #[prost(uint64, tag = "1")]
    pub database_id: u64,
    #[prost(string, tag = "2")]
    pub name: String,
    /// The caller's own.
    #[prost(bytes = "bytes", tag = "3")]
    pub schema: bytes::Bytes,
    #[prost(btree_map = "string, string", tag = "4")]
    pub properties: BTreeMap<String, String>,
    /// Where files of new segments go; empty: the peers' local directory.
    #[prost(string, tag = "5")]
    pub vault: String,
    #[prost(uint64, tag = "6")]
    pub created_ms: u64,
    /// Partitions that exist, so that their number can be bounded without counting them.
    #[prost(uint64, tag = "7")]
    pub partitions: u64,
    /// Oldest revision that shows it: a pin before it does not keep it.
    #[prost(uint64, tag = "8")]
    pub created_at: u64,
}

/// Sums over a collection's visible segments. A row of its own, so that a commit does not rewrite the collection.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct StatsRecord {
    #[prost(uint64, tag = "1")]
    pub segments: u64,
    #[prost(uint64, tag = "2")]
    pub rows: u64,
    #[prost(uint64, tag = "3")]
    pub files: u64,
    #[prost(uint64, tag = "4")]
    pub bytes: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct PartitionRecord {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(uint64, tag = "2")]
    pub created_ms: u64,
    /// What its segments add to the collection's sums: dropping it takes them out at once.
    #[prost(message, optional, tag = "3")]
    pub stats: Option<StatsRecord>,
    /// Oldest revision that shows it.
    #[prost(uint64, tag = "4")]
    pub created_at: u64,
}

/// A segment: written once and never changed, its id is never used again. So a segment has one version, and at most a tombstone.
#[derive(Clone, PartialEq, Message)]
pub struct SegmentRecord {
    /// Directory of its files, from the vault's root.
    #[prost(string, tag = "1")]
    pub path: String,
    #[prost(string, tag = "2")]
    pub vault: String,
    #[prost(uint64, tag = "3")]
    pub rows: u64,
    #[prost(message, repeated, tag = "4")]
    pub files: Vec<SegmentFile>,
    #[prost(uint64, tag = "5")]
    pub created_ms: u64,
    /// The scope whose files these are; 0: that of the row. A clone that was compacted without copying names its source's.
    #[prost(uint64, tag = "6")]
    pub owner_scope: u64,
}

/// A segment whose files are being written; not versioned, not visible.
#[derive(Clone, PartialEq, Message)]
pub struct UploadRecord {
    #[prost(uint64, tag = "1")]
    pub collection_id: u64,
    #[prost(uint64, tag = "2")]
    pub partition_id: u64,
    #[prost(string, tag = "3")]
    pub path: String,
    #[prost(string, tag = "4")]
    pub vault: String,
    /// Stamped time after which it is given up.
    #[prost(uint64, tag = "5")]
    pub expires_ms: u64,
}

/// Files that may be deleted: final, what names them is gone and nothing can name them again.
#[derive(Clone, PartialEq, Message)]
pub struct CondemnedRecord {
    /// The scope whose vault holds them.
    #[prost(uint64, tag = "1")]
    pub scope: u64,
    #[prost(string, tag = "2")]
    pub vault: String,
    /// A directory, from the vault's root, without a slash at its end.
    #[prost(string, tag = "3")]
    pub path: String,
    /// Names below it; none: all that is there.
    #[prost(string, repeated, tag = "4")]
    pub files: Vec<String>,
    /// Not before this stamped time.
    #[prost(uint64, tag = "5")]
    pub not_before_ms: u64,
    /// Times it is to be swept again, each later than the one before: a worker that lost its claim may still write.
    #[prost(uint32, tag = "6")]
    pub sweeps_left: u32,
    /// A `CondemnedCause`.
    #[prost(int32, tag = "7")]
    pub cause: i32,
    /// Of the job, segment, collection, partition or scope; the revision of a snapshot.
    #[prost(uint64, tag = "8")]
    pub cause_id: u64,
    /// When that was decided.
    #[prost(uint64, tag = "9")]
    pub condemned_ms: u64,
}

/// What files were condemned for. Numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
pub enum CondemnedCause {
    /// Condemned before causes were recorded.
    Unspecified = 0,
    /// A segment was prepared and given up.
    Upload = 1,
    /// A task of a job was done under a later claim.
    Claim = 2,
    /// A job ended without being published.
    Job = 3,
    Snapshot = 4,
    /// A segment was dropped by itself.
    Segment = 5,
    Collection = 6,
    Partition = 7,
    /// All of an instance, or of the base layer of a clone.
    Scope = 8,
}

/// What an object that nobody can see any more leaves to be collected: its rows, one by one.
#[derive(Clone, PartialEq, Message)]
pub struct DroppedRecord {
    /// 0: all that is in the scope.
    #[prost(uint64, tag = "1")]
    pub collection_id: u64,
    /// 0: the whole collection.
    #[prost(uint64, tag = "2")]
    pub partition_id: u64,
    /// Its files are condemned already, by the directory they are in.
    #[prost(bool, tag = "4")]
    pub files_condemned: bool,
    /// Where the last run stopped.
    #[prost(bytes = "bytes", tag = "5")]
    pub resume_at: bytes::Bytes,
    /// No object: what a clone had dropped of what it inherits before it was compacted.
    #[prost(bool, tag = "6")]
    pub inherited_drops: bool,
}
