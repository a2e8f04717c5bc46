//! Rows that the machine itself keeps. Fields are only ever added.

pub mod catalog;
pub mod job;
pub mod snapshot;

pub use catalog::{
    CollectionRecord, CondemnedCause, CondemnedRecord, DatabaseRecord, DroppedRecord, NameRecord, PartitionRecord, SegmentRecord,
    StatsRecord, UploadRecord,
};
pub use job::{JobProgressRecord, JobRecord, LocalVaultRecord, PartitionMapping, TaskRecord};
use prost::Message;
pub use snapshot::{ParentRecord, SnapshotCountRecord, SnapshotPinRecord, SnapshotRecord};

/// Counters that every command may draw from; one row, written with each group.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct Counters {
    /// Revision of the last command that wrote.
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    /// Latest stamped time seen, in ms.
    #[prost(uint64, tag = "2")]
    pub stamped_ms: u64,
    #[prost(uint64, tag = "3")]
    pub next_scope: u64,
    #[prost(uint64, tag = "4")]
    pub next_session: u64,
    #[prost(uint64, tag = "5")]
    pub sessions: u64,
    /// Peer ids given out so far; never reused.
    #[prost(uint64, tag = "6")]
    pub last_peer: u64,
    #[prost(uint64, tag = "7")]
    pub next_pin: u64,
    /// Versions that have been removed were superseded at or before this revision: an unpinned read before it is refused.
    #[prost(uint64, tag = "8")]
    pub collected_before: u64,
    /// Pins and holds that exist.
    #[prost(uint64, tag = "9")]
    pub pins: u64,
    /// Nothing superseded before this revision is in the clean-up queue any more: where to begin, instead of searching
    /// through what a store keeps of removed rows.
    #[prost(uint64, tag = "10")]
    pub queue_worked_off: u64,
    /// Versions of the clean-up row at `queue_worked_off` that have been decided already.
    #[prost(uint64, tag = "11")]
    pub queue_versions_done: u64,
    /// The last id given to a database, collection, partition, segment or job; never reused.
    #[prost(uint64, tag = "12")]
    pub last_object: u64,
    /// The last number given to a row of the condemned table, whose key order is the order of condemnation.
    #[prost(uint64, tag = "13")]
    pub last_condemned: u64,
    /// Jobs that have not ended.
    #[prost(uint64, tag = "14")]
    pub active_jobs: u64,
    /// Segments that are prepared and neither committed nor given up.
    #[prost(uint64, tag = "15")]
    pub uploads: u64,
    /// Those of the active jobs that write manifests.
    #[prost(uint64, tag = "16")]
    pub active_manifests: u64,
    /// Recoveries from a lost majority that were counted ([`crate::recoveries`]).
    #[prost(uint64, tag = "17")]
    pub recoveries: u64,
}

#[derive(Clone, Copy, PartialEq, Message)]
pub struct SessionRecord {
    #[prost(uint64, tag = "1")]
    pub opened_ms: u64,
    /// Last use, at most five minutes too old.
    #[prost(uint64, tag = "2")]
    pub used_ms: u64,
}

/// The remembered answer of one write.
#[derive(Clone, PartialEq, Message)]
pub struct SlotRecord {
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// What the number was used for; more hashes of the same stand in `other_hashes`.
    #[prost(fixed64, tag = "2")]
    pub request_hash: u64,
    #[prost(uint64, tag = "3")]
    pub revision: u64,
    #[prost(bytes = "bytes", tag = "4")]
    pub body: bytes::Bytes,
    /// 0 when the write succeeded, else the error's number.
    #[prost(uint32, tag = "5")]
    pub error: u32,
    #[prost(string, tag = "6")]
    pub message: String,
    #[prost(fixed64, repeated, tag = "7")]
    pub other_hashes: Vec<u64>,
}

/// What commands mean ([`crate::level`]).
#[derive(Clone, Copy, PartialEq, Message)]
pub struct LevelRecord {
    #[prost(uint32, tag = "1")]
    pub level: u32,
}

/// The two digests of the state (design.md 5, divergence).
#[derive(Clone, PartialEq, Message)]
pub struct DigestRecord {
    #[prost(uint64, tag = "1")]
    pub index: u64,
    #[prost(bytes = "vec", tag = "2")]
    pub history: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    pub content: Vec<u8>,
}

/// All that one log entry superseded, waiting for clean-up.
#[derive(Clone, PartialEq, Message)]
pub struct CleanupRecord {
    #[prost(uint64, tag = "1")]
    pub superseded_ms: u64,
    /// In the order of the commands.
    #[prost(message, repeated, tag = "2")]
    pub versions: Vec<CleanupVersion>,
}

#[derive(Clone, PartialEq, Message)]
pub struct CleanupVersion {
    /// Versioned key without the revision.
    #[prost(bytes = "bytes", tag = "1")]
    pub name: bytes::Bytes,
    #[prost(uint64, tag = "2")]
    pub written_at: u64,
    #[prost(uint64, tag = "3")]
    pub superseded_at: u64,
    /// A value superseded it. Rows of older builds do not say so.
    #[prost(bool, tag = "4")]
    pub replaced: bool,
    /// [`crate::digest::row_hash`] of the version's row, 16 bytes, big-endian. Empty: nobody knew it, and whoever removes the row reads it.
    #[prost(bytes = "bytes", tag = "5")]
    pub row_hash: bytes::Bytes,
}

/// A superseded version that is parked behind a pin.
#[derive(Clone, PartialEq, Message)]
pub struct SupersededRecord {
    /// The version's own revision; the one that superseded it stands in the row's key.
    #[prost(uint64, tag = "1")]
    pub written_at: u64,
    #[prost(uint64, tag = "2")]
    pub superseded_ms: u64,
    /// As in [`CleanupVersion`].
    #[prost(bytes = "bytes", tag = "3")]
    pub row_hash: bytes::Bytes,
}

/// Keeps what its scope showed at a revision.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct PinRecord {
    /// A `PinKind`.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    #[prost(uint64, tag = "2")]
    pub created_ms: u64,
    /// When it ends by itself; 0 when it must be released.
    #[prost(uint64, tag = "3")]
    pub expires_ms: u64,
}

/// Keeps another scope's files; counts as a pin of the owner.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct HoldRecord {
    #[prost(uint64, tag = "1")]
    pub created_ms: u64,
}

/// An instance. Its clusters and nodes are rows of their own, so that changing one does not rewrite the instance.
#[derive(Clone, PartialEq, Message)]
pub struct InstanceRecord {
    /// Owner of its versioned rows; never reused, also not when the name is.
    #[prost(uint64, tag = "1")]
    pub scope: u64,
    /// Revision at which it was dropped; 0 while it lives.
    #[prost(uint64, tag = "2")]
    pub dropped_at: u64,
    /// doris.cloud.InstanceInfoPB as stored: without clusters, secrets as ciphertext.
    #[prost(bytes = "bytes", tag = "3")]
    pub info: bytes::Bytes,
    /// A clone that takes no writes: `info` says it too, but most writes have no need to decode that.
    #[prost(bool, tag = "4")]
    pub read_only: bool,
}

/// A cluster without its nodes, which are rows of their own.
#[derive(Clone, PartialEq, Message)]
pub struct ClusterRecord {
    /// doris.cloud.ClusterPB with `nodes` empty.
    #[prost(message, required, tag = "1")]
    pub info: quorate_wire::doris::ClusterPb,
    #[prost(uint64, tag = "2")]
    pub nodes: u64,
    /// Nodes of type FE_MASTER, counted so that changing one node does not read the others.
    #[prost(uint64, tag = "3")]
    pub masters: u64,
    /// Nodes of type FE_FOLLOWER.
    #[prost(uint64, tag = "4")]
    pub followers: u64,
}

/// Settings of the Doris fronts that were changed.
#[derive(Clone, PartialEq, Message)]
pub struct FrontSettingsRecord {
    #[prost(btree_map = "string, string", tag = "1")]
    pub values: std::collections::BTreeMap<String, String>,
    /// Revision of the last change.
    #[prost(uint64, tag = "2")]
    pub changed_at: u64,
    /// Why the last change was made, in its caller's words.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// Settings of the cluster that were changed ([`crate::settings`]).
#[derive(Clone, PartialEq, Message)]
pub struct SettingsRecord {
    /// In the setting's unit, by its name.
    #[prost(btree_map = "string, uint64", tag = "1")]
    pub values: std::collections::BTreeMap<String, u64>,
    /// Revision of the last change.
    #[prost(uint64, tag = "2")]
    pub changed_at: u64,
}

/// Rate limits that were set, ordered by RPC and instance.
#[derive(Clone, PartialEq, Message)]
pub struct RateLimitsRecord {
    #[prost(message, repeated, tag = "1")]
    pub limits: Vec<RateLimit>,
}

#[derive(Clone, PartialEq, Message)]
pub struct RateLimit {
    /// Empty: every RPC.
    #[prost(string, tag = "1")]
    pub rpc: String,
    /// Empty: every instance.
    #[prost(string, tag = "2")]
    pub instance_id: String,
    /// Calls per second.
    #[prost(int64, tag = "3")]
    pub qps: i64,
}
