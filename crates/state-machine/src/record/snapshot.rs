//! Stored records of snapshots and clones.

use prost::Message;
use quorate_wire::doris::SnapshotPb;

/// A snapshot; its key holds scope and revision, which is what it shows.
#[derive(Clone, PartialEq, Message)]
pub struct SnapshotRecord {
    #[prost(string, tag = "1")]
    pub name: String,
    #[prost(string, tag = "2")]
    pub description: String,
    /// A `SnapshotState`.
    #[prost(int32, tag = "3")]
    pub state: i32,
    /// 0: the whole instance.
    #[prost(uint64, tag = "4")]
    pub collection_id: u64,
    /// Names as of its creation.
    #[prost(string, tag = "5")]
    pub database: String,
    #[prost(string, tag = "6")]
    pub collection: String,
    #[prost(uint64, tag = "7")]
    pub created_ms: u64,
    /// 0: kept until dropped.
    #[prost(uint64, tag = "8")]
    pub expires_ms: u64,
    /// Id of the pin that keeps its revision.
    #[prost(uint64, tag = "9")]
    pub pin: u64,
    /// Vault and path of the metadata file.
    #[prost(string, tag = "10")]
    pub vault: String,
    #[prost(string, tag = "11")]
    pub location: String,
    #[prost(message, optional, tag = "12")]
    pub stats: Option<super::StatsRecord>,
    /// The job that writes the manifests; 0 before it is made.
    #[prost(uint64, tag = "13")]
    pub manifest_job: u64,
    #[prost(bool, tag = "14")]
    pub manifests_complete: bool,
    /// The metadata file lists them.
    #[prost(bool, tag = "15")]
    pub manifests_listed: bool,
    /// When its expiry row says to look at it: later than `expires_ms` if it was in use then; 0 for no row.
    #[prost(uint64, tag = "16")]
    pub due_ms: u64,
    /// What Doris's calls say of it; none for a snapshot they did not make.
    #[prost(message, optional, tag = "17")]
    pub doris: Option<SnapshotPb>,
    /// Revision at which the job of its manifests was started; 0 also if a peer started it that did not keep it.
    #[prost(uint64, tag = "18")]
    pub manifests_since: u64,
    /// There were manifests before those that are being written.
    #[prost(bool, tag = "19")]
    pub replaces_manifests: bool,
    /// The compaction that gave them up, by its [`super::JobRecord::base_published_at`]: they may name files that are gone, and do not count.
    /// 0 when none did, or they have been written anew since.
    #[prost(uint64, tag = "20")]
    pub manifests_given_up: u64,
}

/// How many snapshots an instance has, those being deleted included.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct SnapshotCountRecord {
    #[prost(uint64, tag = "1")]
    pub snapshots: u64,
}

/// Keeps a snapshot from being dropped: by a caller's `pin_snapshot`, or by a job.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct SnapshotPinRecord {
    #[prost(uint64, tag = "1")]
    pub scope: u64,
    /// Of the snapshot.
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// 0: until released.
    #[prost(uint64, tag = "3")]
    pub expires_ms: u64,
    /// The job that holds it; 0: a caller.
    #[prost(uint64, tag = "4")]
    pub job: u64,
}

/// Where a clone's reads fall through to.
#[derive(Clone, Copy, PartialEq, Message)]
pub struct ParentRecord {
    #[prost(uint64, tag = "1")]
    pub source_scope: u64,
    #[prost(uint64, tag = "2")]
    pub source_revision: u64,
    /// Id of the pin on the source's revision; 0 once decoupled.
    #[prost(uint64, tag = "3")]
    pub source_pin: u64,
    /// Scope of the base layer: what compaction inherited. Read instead of the source once `base_complete`.
    #[prost(uint64, tag = "4")]
    pub base_scope: u64,
    #[prost(bool, tag = "5")]
    pub base_complete: bool,
    /// The clone's first revision.
    #[prost(uint64, tag = "6")]
    pub created_at: u64,
    /// Its base layer names the source's files instead of copies.
    #[prost(bool, tag = "7")]
    pub holds_files: bool,
    /// Clones between it and an instance that is none: 1 for a clone of such an instance.
    #[prost(uint32, tag = "8")]
    pub depth: u32,
    /// The job that compacts it; 0 before there is one.
    #[prost(uint64, tag = "9")]
    pub job: u64,
    /// It has no store of its own: its files lie where the source's do.
    #[prost(bool, tag = "10")]
    pub shares_stores: bool,
}
