//! Every bound of the state machine, each with its reason. A few are defaults, which an operator can change ([`crate::settings`]).

/// Rows one command may change: what needs more is a job.
pub const MAX_ROWS_PER_COMMAND: usize = 10_000;
/// Bytes of rows one command may change.
pub const MAX_BYTES_PER_COMMAND: usize = 4 << 20;
/// Rows the commands of one entry change together, unless the first alone changes more.
pub const MAX_ROWS_PER_ENTRY: usize = 10_000;
/// Bytes of rows and answers the commands of one entry make together, unless the first alone makes more.
pub const MAX_BYTES_PER_ENTRY: usize = 4 << 20;
/// One command's encoded payload: many must fit into one entry.
pub const MAX_COMMAND_BYTES: usize = 256 << 10;
/// Commands packed into one log entry.
pub const MAX_COMMANDS_PER_ENTRY: usize = 512;
/// Bytes of commands packed into one log entry by the proposer.
pub const MAX_PACKED_BYTES: usize = 1 << 20;
/// Hard limit of one log entry, checked again before append.
pub const MAX_ENTRY_BYTES: usize = 8 << 20;
/// Fingerprints of one request: one for each root key its receiver has, the newest of them.
pub const MAX_FINGERPRINTS: usize = 16;
/// Answers remembered per session; also the writes a session may have in flight.
pub const SLOTS_PER_SESSION: u64 = 128;
/// Open sessions: each may hold 128 answers.
pub const MAX_SESSIONS: u64 = 100_000;
/// Sessions beyond those that only peers may open, for their own writes: a peer needs one for 128 calls at once, and another when it
/// has lost that many answers.
pub const SESSIONS_KEPT_FOR_PEERS: u64 = 10_000;
/// A session unused for this long is closed by the leader.
pub const SESSION_IDLE_MS: u64 = 3_600_000;
/// A session's last use is written at most this often, so that a write does not rewrite its session record each time.
pub const SESSION_TOUCH_MS: u64 = 300_000;
/// Sessions closed by one command: each may remove 129 rows.
pub const SESSIONS_PER_EXPIRY: usize = 64;
/// Session records looked at by one command.
pub const SESSIONS_SCANNED_PER_EXPIRY: usize = 2_000;
/// Superseded versions are readable this long even when nothing pins them.
pub const HISTORY_WINDOW_MS: u64 = 600_000;
/// Keys one clean-up command looks at.
pub const CLEANUP_KEYS_PER_COMMAND: usize = 1_000;
/// Bytes of rows one clean-up command changes: long keys must not make it exceed what a command may change, for ever.
pub const CLEANUP_BYTES_PER_COMMAND: usize = 2 << 20;
/// Pins and holds of the cluster: clean-up looks them up, people forget to release them.
pub const MAX_PINS: u64 = 100_000;
/// Longest life of a read pin: a lost reader must not keep history for long.
pub const MAX_READ_PIN_MS: u64 = 600_000;
/// How long each page of a long list keeps its revision for the next one.
pub const LIST_PIN_MS: u64 = 60_000;
/// Versions a scan steps over before it seeks to the next key instead.
pub const STEPS_BEFORE_SEEK: usize = 4;
/// Attribute names, in bytes.
pub const MAX_ATTRIBUTE_NAME_BYTES: usize = 512;
/// Attribute values, in bytes.
pub const MAX_ATTRIBUTE_VALUE_BYTES: usize = 128 << 10;
/// Attributes one append touches.
pub const MAX_APPEND_KEYS: usize = 16;
/// Bytes of all values one append leaves behind: its answer holds them, and is remembered.
pub const MAX_APPEND_REPLY_BYTES: usize = 256 << 10;
/// Keys one page of a scan looks at: what it passes over (deleted keys) costs time too.
pub const MAX_PAGE_KEYS: usize = 10_000;
/// The key a page of a list ended with, in bytes: page tokens hold it.
pub const MAX_LISTED_KEY_BYTES: usize = MAX_ATTRIBUTE_NAME_BYTES;
/// Rows of one list page.
pub const MAX_PAGE_ROWS: usize = 1_000;
/// Bytes of one list page.
pub const MAX_PAGE_BYTES: usize = 2 << 20;
/// Ids, names, addresses and other single texts of an instance, cluster, node or object store, in bytes: they become keys.
pub const MAX_TEXT_BYTES: usize = 1_024;
/// Nodes one request adds or removes: each is three rows of the command's 10,000.
pub const MAX_NODES_PER_REQUEST: usize = 2_000;
/// Nodes of one cluster: dropping it must fit into one command, at three rows a node.
pub const MAX_NODES_PER_CLUSTER: u64 = 3_000;
/// Nodes that are read and shown in well under a millisecond: what shows no more of them counts as a small read.
pub const FEW_NODES: u64 = 100;
/// Clusters of one instance: most checks look at all of them.
pub const MAX_CLUSTERS_PER_INSTANCE: usize = 1_000;
/// User names, sub clusters, properties and the like of one cluster: they are rewritten with it.
pub const MAX_LIST_ENTRIES: usize = 1_000;
/// Rate limits of the cluster: one row holds them all.
pub const MAX_RATE_LIMITS: usize = 1_000;
/// What an error text quotes of an object, in bytes: the text is kept with the session that was refused.
pub const MAX_QUOTED_BYTES: usize = 4_096;
/// An object store as sent, in bytes of its message: upstream's bound, and all of an instance's are rewritten together.
pub const MAX_OBJECT_STORE_BYTES: usize = 1_024;
/// Object stores of one instance outside of vaults: upstream's bound.
pub const MAX_OBJECT_STORES: usize = 10;
/// Vaults of one instance: one reply shows them all, and their names stand in the instance's row.
pub const MAX_VAULTS: usize = 256;
/// One vault as sent, in bytes of its message: HDFS settings are a few KiB.
pub const MAX_VAULT_BYTES: usize = 16 << 10;
/// Accounts one rotation of keys names: each is compared with every object store.
pub const MAX_BUCKET_USERS: usize = 100;
/// Clones between an instance and one that is no clone: each is one more place a read looks.
pub const MAX_CLONE_DEPTH: usize = 16;
/// Names of databases, collections, partitions and snapshots, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// A collection's schema, in bytes.
pub const MAX_SCHEMA_BYTES: usize = 64 << 10;
/// Properties of a database or collection.
pub const MAX_PROPERTIES: usize = 64;
/// Keys and values of all properties of one object, in bytes.
pub const MAX_PROPERTIES_BYTES: usize = 16 << 10;
/// Partitions of a collection: a restore lists them in its job's record.
pub const MAX_PARTITIONS: u64 = 1_024;
/// Segments one command prepares, commits or drops.
pub const MAX_SEGMENTS_PER_COMMAND: usize = 1_000;
/// Files of one segment.
pub const MAX_FILES_PER_SEGMENT: usize = 1_000;
/// One segment's record: the rows of a task travel in one command.
pub const MAX_SEGMENT_BYTES: usize = 64 << 10;
/// Segments of the cluster that are prepared and neither committed nor given up.
pub const MAX_UPLOADS: u64 = 1_000_000;
/// Keys looked at to tell that a database holds no collection: those of dropped ones may not have been collected yet.
pub const MAX_KEYS_TO_DROP_DATABASE: usize = 10_000;
/// Uploads one command gives up.
pub const UPLOADS_PER_EXPIRY: usize = 1_000;
/// Condemned directories of uploads are swept again this often: whoever was given one may still be writing.
pub const UPLOAD_SWEEPS: u32 = 2;
/// What is swept again waits this long: first what has one more sweep to come, then two, then three.
pub const SWEEP_DELAYS_MS: [u64; 3] = [86_400_000, 3_600_000, LOST_CLAIM_HEARD_MS];
/// Condemned rows one command finishes.
pub const MAX_DELETIONS_PER_COMMAND: usize = 1_000;
/// Condemned rows one command forgets.
pub const MAX_ABANDONED_PER_COMMAND: usize = 1_000;
/// Condemned rows such a command looks at: those of other vaults stand among them.
pub const ABANDON_ROWS_LOOKED_AT: usize = 10_000;
/// Bytes of rows such a command looks at: one may name a thousand files.
pub const ABANDON_BYTES_LOOKED_AT: usize = 2 << 20;
/// Users of a vault that a refusal names: as many as somebody looks through.
pub const MAX_NAMED_USERS: usize = 10;
/// A segment that was prepared and not committed is given up after this.
pub const UPLOAD_LIFETIME_MS: u64 = 86_400_000;
/// Encoded source rows of one task: its results travel in one command.
pub const MAX_TASK_ROW_BYTES: usize = 96 << 10;
/// Rows of one task.
pub const MAX_TASK_ROWS: u64 = 256;
/// Bytes of files of one task, unless one row has more or another value was set: what is done again when a worker dies.
pub const MAX_TASK_FILE_BYTES: u64 = 256 << 20;
/// Tasks one planning command adds.
pub const MAX_TASKS_PER_COMMAND: usize = 500;
/// Failures of a task before its job fails, but for those of a vault that is away.
pub const MAX_TASK_ATTEMPTS: u32 = 5;
/// Claims of a task that may end by themselves before its job fails: a task that kills its workers must not go on for ever.
pub const MAX_TASK_EXPIRATIONS: u32 = 20;
/// Failures of a task because a vault is away, which are no attempts: with a pause of a minute between them more than a day. What their
/// claims wrote is condemned by one command.
pub const MAX_VAULT_FAILURES: u32 = 2_000;
/// Jobs that have not ended, unless set.
pub const MAX_ACTIVE_JOBS: u64 = 1_000;
/// Of so many places for jobs those that write manifests of snapshots take one: nobody waits for these, and restores must find room beside
/// them.
pub const PLACES_PER_MANIFESTS: u64 = 2;
/// Those that write manifests anew for a compaction have as many places more: all others may be taken by what waits for them.
pub const REWRITING_JOBS_BESIDE: u64 = 16;
/// Claims one worker takes at once.
pub const MAX_CLAIMS: u32 = 16;
/// Jobs a worker may except from its claim.
pub const MAX_AVOIDED_JOBS: usize = 64;
/// Claims that a recovery gives back: three rows each, of up to 2 KiB together, beside one for each active job. What is claimed beyond them
/// is left to its lease.
pub const CLAIMS_PER_RECOVERY: usize = 1_500;
/// A claim not renewed for this long is given to another worker, unless set.
pub const CLAIM_LEASE_MS: u64 = 10_000;
/// A worker that has lost a claim, and can hear of it, has heard after this: it renews its claims three times in it, or more often.
pub const LOST_CLAIM_HEARD_MS: u64 = 10_000;
/// A compaction that copies files has this long, for as many as a clone may have; it can be cancelled.
pub const COMPACTION_TIMEOUT_MS: u64 = 30 * 86_400_000;
/// Prefix of an object store that holds files of collections: what `quorate-objects` accepts.
pub const MAX_PREFIX_BYTES: usize = 100;
/// A compaction whose copies are read has at least this long for the manifests that name what it replaced.
pub const REWRITING_LEAST_MS: u64 = 43_200_000;
/// Snapshots whose manifests one command gives up: a record and a work row each.
pub const GIVEN_UP_PER_COMMAND: usize = 50;
/// A job that has not ended fails after this, unless it was given another time.
pub const JOB_TIMEOUT_MS: u64 = 86_400_000;
/// Records of ended jobs are kept this long, unless set.
pub const JOB_RETENTION_MS: u64 = 7 * 86_400_000;
/// A snapshot's description and other free texts, in bytes.
pub const MAX_DESCRIPTION_BYTES: usize = 1_024;
/// Longest life a snapshot may be given, in seconds: ten years.
pub const MAX_SNAPSHOT_TTL_SECONDS: u64 = 315_360_000;
/// Longest life of a caller's pin on a snapshot, in seconds: 30 days.
pub const MAX_SNAPSHOT_PIN_SECONDS: u64 = 2_592_000;
/// Snapshots of one instance, unless set; also of one collection.
pub const MAX_SNAPSHOTS_PER_INSTANCE: u64 = 10_000;
/// Collections that the metadata file of a snapshot of an instance lists: who makes the snapshot waits for the file.
pub const MAX_LISTED_COLLECTIONS: usize = 1_000;
/// Pins of one snapshot, ended ones included: dropping it removes them in one command.
pub const MAX_PINS_PER_SNAPSHOT: usize = 1_000;
/// Pins that a snapshot is shown with: as many as somebody looks through.
pub const MAX_SHOWN_PINS: usize = 100;
/// A snapshot that was given up, before its record goes: long enough to ask why.
pub const ABORTED_SNAPSHOT_KEPT_MS: u64 = 86_400_000;
/// A snapshot that has expired while it was in use is looked at again after this.
pub const EXPIRY_RETRY_MS: u64 = 600_000;
/// Expiry rows one command looks at.
pub const EXPIRIES_PER_COMMAND: usize = 200;
/// Longest time an image may take to arrive, in seconds: a week.
pub const MAX_SNAPSHOT_TIMEOUT_SECONDS: u64 = 604_800;
/// Instances that were rolled back into each other, one after the other.
pub const MAX_ROLLBACK_CHAIN: usize = 1_000;
/// After a job that could not write a snapshot's manifests has failed, another one is started no earlier.
pub const MANIFESTS_RETRY_MS: u64 = 600_000;
