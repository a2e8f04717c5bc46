//! Stored records of jobs and their tasks.

use prost::Message;

#[derive(Clone, PartialEq, Message)]
pub struct JobRecord {
    /// A `JobKind`.
    #[prost(int32, tag = "1")]
    pub kind: i32,
    /// A `JobState`.
    #[prost(int32, tag = "2")]
    pub state: i32,
    #[prost(string, tag = "3")]
    pub reason: String,
    /// What it reads: the source as this revision shows it. The job has a pin there.
    #[prost(uint64, tag = "4")]
    pub source_scope: u64,
    #[prost(uint64, tag = "5")]
    pub source_revision: u64,
    #[prost(uint64, tag = "6")]
    pub source_pin: u64,
    /// 0: everything in the scope.
    #[prost(uint64, tag = "7")]
    pub source_collection_id: u64,
    /// What it fills: a hidden collection of the scope, or a base layer's scope.
    #[prost(uint64, tag = "8")]
    pub target_scope: u64,
    /// Of a job that writes manifests: the collection whose they are, 0 for a whole instance and in jobs of earlier builds.
    #[prost(uint64, tag = "9")]
    pub target_collection_id: u64,
    #[prost(string, tag = "10")]
    pub target_vault: String,
    #[prost(bool, tag = "11")]
    pub copies_files: bool,
    /// Revision of the snapshot, and its pin; 0 for none.
    #[prost(uint64, tag = "12")]
    pub snapshot_revision: u64,
    #[prost(int64, tag = "13")]
    pub snapshot_pin: i64,
    #[prost(string, tag = "14")]
    pub snapshot_name: String,
    /// Names for people: they stay right after the objects are gone.
    #[prost(string, tag = "15")]
    pub source_instance_id: String,
    #[prost(string, tag = "16")]
    pub source_collection: String,
    #[prost(string, tag = "17")]
    pub target_instance_id: String,
    #[prost(string, tag = "18")]
    pub target_database: String,
    #[prost(string, tag = "19")]
    pub target_collection: String,
    /// The target's row, written when the job is published; its `database_id` is that of the target.
    #[prost(message, optional, tag = "20")]
    pub collection_row: Option<super::CollectionRecord>,
    /// Source and target ids of partitions.
    #[prost(message, repeated, tag = "21")]
    pub partitions: Vec<PartitionMapping>,
    #[prost(uint64, tag = "22")]
    pub created_ms: u64,
    /// How far it had come when it ended; before that its row of the active jobs says.
    #[prost(message, optional, tag = "23")]
    pub progress: Option<JobProgressRecord>,
    #[prost(uint64, tag = "24")]
    pub ended_ms: u64,
    #[prost(uint64, tag = "25")]
    pub deadline_ms: u64,
    /// The clone whose base layer it fills.
    #[prost(uint64, tag = "26")]
    pub clone_scope: u64,
    /// It ends when no manifest is left that names files which it replaced.
    #[prost(bool, tag = "27")]
    pub rewrites_manifests: bool,
    /// Revision from which on the clone reads its base layer, once that is so and manifests are left; 0 before.
    #[prost(uint64, tag = "28")]
    pub base_published_at: u64,
    /// Collections in the base layer that it fills name the place where the clone puts new files of them, not where its source does.
    #[prost(bool, tag = "29")]
    pub names_own_places: bool,
}

/// What changes while a job runs; a row of its own, because a job's definition may be long and is not to be written with each task.
#[derive(Clone, PartialEq, Message)]
pub struct JobProgressRecord {
    /// When the first task was claimed.
    #[prost(uint64, tag = "1")]
    pub started_ms: u64,
    /// Where the planner goes on: the table and the last key that is in a task. Planning is over when the job's state says so.
    #[prost(uint32, tag = "2")]
    pub planned_table: u32,
    #[prost(bytes = "bytes", tag = "3")]
    pub planned_key: bytes::Bytes,
    #[prost(uint32, tag = "4")]
    pub tasks_planned: u32,
    #[prost(uint32, tag = "5")]
    pub tasks_done: u32,
    /// Tasks that are claimed now.
    #[prost(uint32, tag = "6")]
    pub tasks_claimed: u32,
    /// Sums over tasks; rows of tables in `segments`.
    #[prost(message, optional, tag = "7")]
    pub planned: Option<super::StatsRecord>,
    #[prost(message, optional, tag = "8")]
    pub done: Option<super::StatsRecord>,
    /// Revision at which a task of it was claimed last: jobs take turns by it. 0 if none was, or by a peer that did not keep it.
    #[prost(uint64, tag = "9")]
    pub claimed_at: u64,
}

#[derive(Clone, PartialEq, Message)]
pub struct PartitionMapping {
    #[prost(uint64, tag = "1")]
    pub source_id: u64,
    #[prost(uint64, tag = "2")]
    pub target_id: u64,
    #[prost(string, tag = "3")]
    pub name: String,
}

/// A task: a key range of one table of the source.
#[derive(Clone, PartialEq, Message)]
pub struct TaskRecord {
    /// A `TaskState`.
    #[prost(int32, tag = "1")]
    pub state: i32,
    #[prost(uint32, tag = "2")]
    pub table: u32,
    /// First and last user key, both included.
    #[prost(bytes = "bytes", tag = "3")]
    pub first_key: bytes::Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    pub last_key: bytes::Bytes,
    /// What the range holds: rows in `segments`.
    #[prost(message, optional, tag = "5")]
    pub expected: Option<super::StatsRecord>,
    #[prost(uint64, tag = "6")]
    pub first_target_id: u64,
    #[prost(string, tag = "7")]
    pub worker: String,
    /// Grows with each claim; 0 before the first.
    #[prost(uint64, tag = "8")]
    pub fence: u64,
    /// Grows with each renewal: the leader's clock starts anew when it sees another number.
    #[prost(uint64, tag = "9")]
    pub renewals: u64,
    /// Failures, and claims that ended by themselves.
    #[prost(uint32, tag = "10")]
    pub attempts: u32,
    #[prost(uint32, tag = "11")]
    pub expirations: u32,
    #[prost(string, tag = "12")]
    pub reason: String,
    /// Not claimed before this stamped time: since then it is open.
    #[prost(uint64, tag = "13")]
    pub not_before_ms: u64,
    #[prost(uint64, tag = "14")]
    pub files_done: u64,
    #[prost(uint64, tag = "15")]
    pub bytes_done: u64,
    /// Failures because a vault was away, which are no attempts.
    #[prost(uint32, tag = "16")]
    pub vault_failures: u32,
    /// The last fence before each recovery after which it was claimed again; its fences have a gap behind each.
    #[prost(uint64, repeated, tag = "17")]
    pub former_fences: Vec<u64>,
    /// Length of the newest claim's lease; 0: [`crate::limits::CLAIM_LEASE_MS`].
    #[prost(uint64, tag = "18")]
    pub lease_ms: u64,
}

/// The peers' shared directory, once it carries its marker.
#[derive(Clone, PartialEq, Message)]
pub struct LocalVaultRecord {
    #[prost(string, tag = "1")]
    pub vault_id: String,
    #[prost(uint64, tag = "2")]
    pub marked_ms: u64,
}
