//! Files that move: a clone is compacted, while a worker reads through it or before a snapshot of it is made, and the files of its source
//! go.

mod support;

use bytes::{BufMut, Bytes};
use prost::Message;
use quorate_jobs::{LocalWork, Settings, Wanted, WorkSource, Worker};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_objects::manifest::{FORMAT_VERSION, ManifestEntry};
use quorate_objects::metadata::SnapshotMetadata;
use quorate_state_machine::access::Query;
use quorate_state_machine::commands::compact_snapshot::CompactSnapshotCall;
use quorate_state_machine::commands::{CompactSnapshot, CreatePin, CreateRestore, CreateSnapshot};
use quorate_state_machine::keys::{self, RecordTable};
use quorate_state_machine::record::{ParentRecord, SnapshotRecord};
use quorate_state_machine::snapshots;
use quorate_state_machine::versioned::lineage;
use quorate_state_machine::versioned::pins::PinKind;
use quorate_wire::quorate::v1::*;
use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use support::testing::OTHER_INSTANCE;
use support::{Part, State, Trouble, World, sorted};
use tokio::sync::{Notify, watch};

const CLONE_SCOPE: u64 = 2;
const BASE_SCOPE: u64 = 4;

/// A worker's source that stops between the first reading of a restore's task and the copying.
#[derive(Clone)]
struct Stopping {
    work: LocalWork<State>,
    has_read: Arc<AtomicBool>,
    go_on: Arc<Notify>,
}

impl WorkSource for Stopping {
    async fn claim(&self, wanted: Wanted) -> Result<Vec<TaskAssignment>, MetaError> {
        self.work.claim(wanted).await
    }

    async fn renew(&self, worker: &str, claims: Vec<ClaimProgress>) -> Result<Vec<ClaimProgress>, MetaError> {
        self.work.renew(worker, claims).await
    }

    async fn read(&self, task: &TaskAssignment) -> Result<Vec<SourceRow>, MetaError> {
        let rows = self.work.read(task).await;
        if task.kind() == JobKind::Restore && !self.has_read.swap(true, Ordering::SeqCst) {
            self.go_on.notified().await;
        }
        rows
    }

    async fn complete(&self, result: CompleteTaskRequest) -> Result<bool, MetaError> {
        self.work.complete(result).await
    }

    async fn fail(&self, report: FailTaskRequest) -> Result<bool, MetaError> {
        self.work.fail(report).await
    }
}

/// Makes the other instance a clone of the first as of now.
fn make_clone(state: &State) {
    let pin = CreatePin {
        scope: 1,
        kind: PinKind::Clone as i32,
        ..CreatePin::default()
    };
    let pin = state.apply(&pin).expect("pinned");
    let parent = ParentRecord {
        source_scope: 1,
        source_revision: pin.revision,
        source_pin: pin.pin,
        base_scope: BASE_SCOPE,
        created_at: pin.revision,
        depth: 1,
        ..ParentRecord::default()
    };
    let mut bench = state.bench();
    let base = keys::record_in_scope(RecordTable::Scope, ScopeId(BASE_SCOPE)).freeze();
    bench.store.rows.insert(base, Bytes::from_static(OTHER_INSTANCE.as_bytes()));
    let row = lineage::parent_key(ScopeId(CLONE_SCOPE));
    bench.store.rows.insert(row, parent.encode_to_vec().into());
    bench.set_counters(|counters| counters.next_scope = BASE_SCOPE + 1);
}

/// A committed snapshot of what the clone inherits of a collection; its revision.
fn snapshot_of_clone(state: &State, collection: &str) -> u64 {
    let pin = CreatePin {
        scope: CLONE_SCOPE,
        kind: PinKind::Snapshot as i32,
        ..CreatePin::default()
    };
    let pin = state.apply(&pin).expect("pinned");
    let mut bench = state.bench();
    let lineage = lineage::Lineage::of(&bench.store, ScopeId(CLONE_SCOPE), Revision(u64::MAX)).expect("reads");
    let found = quorate_state_machine::catalog::find_collection(&bench.store, &lineage, "default", collection).expect("inherited");
    let record = SnapshotRecord {
        name: "s".to_owned(),
        state: SnapshotState::Committed as i32,
        collection_id: found.id,
        collection: collection.to_owned(),
        database: "default".to_owned(),
        pin: pin.pin,
        ..SnapshotRecord::default()
    };
    let mut key = keys::record_in_scope(RecordTable::Snapshot, ScopeId(CLONE_SCOPE));
    key.put_u64(pin.revision);
    bench.store.rows.insert(key.freeze(), record.encode_to_vec().into());
    bench.adopt_rows();
    pin.revision
}

fn restore(state: &State, revision: u64) -> u64 {
    let request = RestoreSnapshotRequest {
        instance_id: OTHER_INSTANCE.to_owned(),
        snapshot: Some(SnapshotRef {
            snapshot_id: format!("{revision:016x}0000"),
            ..SnapshotRef::default()
        }),
        target_collection: "copy".to_owned(),
        ..RestoreSnapshotRequest::default()
    };
    state.call::<CreateRestore>(request).expect("started").job_id
}

fn compact(state: &State) -> u64 {
    let call = CompactSnapshotCall::Native(CompactCloneRequest {
        instance_id: OTHER_INSTANCE.to_owned(),
        keep_files: Some(false),
    });
    state.call::<CompactSnapshot>(call).expect("started").job
}

#[tokio::test(start_paused = true)]
async fn a_file_that_was_moved_meanwhile_is_copied_from_where_it_is_now() {
    let mut world = World::new().await;
    let files = world.collection("source", 3, 1_000);
    make_clone(&world.state);
    let revision = snapshot_of_clone(&world.state, "source");
    let job = restore(&world.state, revision);
    world.start(Part::Reconciler);

    // A worker is told of the source's files, and is slow.
    let source = Stopping {
        work: LocalWork::new(world.state.clone()),
        has_read: Arc::default(),
        go_on: Arc::default(),
    };
    let (_stop, stopped) = watch::channel(false);
    let slow = Worker::new(
        "slow".to_owned(),
        source.clone(),
        world.vaults.clone(),
        Settings { tasks_at_once: 1 },
        world.counters.clone(),
    );
    let slow = tokio::spawn(slow.run(stopped));
    world.state.wait("a reading", |_| source.has_read.load(Ordering::SeqCst)).await;

    // Meanwhile the clone gets copies of its own, and the source's files are deleted.
    let compaction = compact(&world.state);
    world.start(Part::Worker);
    let (shown, _) = world.end_of(compaction).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
    for (name, _) in &files {
        fs::remove_file(world.vaults.path().join(name)).expect("deleted");
    }
    source.go_on.notify_one();

    let (shown, _) = world.end_of(job).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
    let expected = sorted(files.into_iter().map(|(_, content)| content).collect());
    assert_eq!(sorted(world.files_in(CLONE_SCOPE, "copy").expect("visible")), expected);
    let request = ListTasksRequest {
        job_id: job,
        ..ListTasksRequest::default()
    };
    let tasks = quorate_state_machine::queries::jobs::list_tasks(&world.state.bench().store, &request).expect("listed");
    let reasons: Vec<&str> = tasks.tasks.iter().map(|task| task.reason.as_str()).collect();
    assert!(
        reasons.iter().any(|reason| reason.ends_with("its segment was moved meanwhile")),
        "{reasons:?}"
    );
    slow.abort();
}

/// Makes a snapshot of a collection of the clone; what its record says when its manifests are written and listed.
async fn snapshot_with_manifests(world: &World, collection: &str) -> SnapshotRecord {
    let create = CreateSnapshotRequest {
        instance_id: OTHER_INSTANCE.to_owned(),
        collection: collection.to_owned(),
        name: "later".to_owned(),
        ..CreateSnapshotRequest::default()
    };
    let created = world.state.call::<CreateSnapshot>(create).expect("created");
    let revision = Revision(created.snapshot.expect("shown").revision);
    let record_in = |state: &State| {
        let found = state.read(|reader| snapshots::find(reader, ScopeId(CLONE_SCOPE), revision));
        found.expect("reads").expect("not dropped").record
    };
    let is_listed = |state: &State| record_in(state).manifests_listed;
    world.state.wait("the list of its manifests", is_listed).await;
    record_in(&world.state)
}

fn read(world: &World, name: &str) -> Vec<u8> {
    fs::read(world.vaults.path().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The data files that the manifests of a snapshot name.
fn named_by_manifests(world: &World, record: &SnapshotRecord) -> Vec<String> {
    let metadata = SnapshotMetadata::from_json(&read(world, &record.location)).expect("whole");
    let mut named = Vec::new();
    for manifest in &metadata.manifest_list {
        let entry = ManifestEntry::decode(FORMAT_VERSION, &read(world, manifest)).expect("whole");
        let listed = entry.binlog_files.into_iter().flat_map(|field| field.binlogs);
        named.extend(listed.map(|file| file.log_path));
    }
    named
}

#[tokio::test(start_paused = true)]
async fn manifests_of_a_compacted_clones_snapshot_name_its_own_copies() {
    let mut world = World::new().await;
    let files = world.collection("source", 3, 1_000);
    make_clone(&world.state);
    world.start_all();
    let compaction = compact(&world.state);
    let (shown, _) = world.end_of(compaction).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);

    let record = snapshot_with_manifests(&world, "source").await;
    for (name, _) in &files {
        fs::remove_file(world.vaults.path().join(name)).expect("deleted");
    }
    let expected = sorted(files.into_iter().map(|(_, content)| content).collect());
    let named = named_by_manifests(&world, &record);
    assert_eq!(sorted(named.iter().map(|name| read(&world, name)).collect()), expected, "{named:?}");
}

#[tokio::test(start_paused = true)]
async fn manifests_of_before_a_compaction_name_the_copies_when_it_is_done() {
    let mut world = World::new().await;
    let files = world.collection("source", 3, 1_000);
    make_clone(&world.state);
    world.start_all();
    let record = snapshot_with_manifests(&world, "source").await;
    let names = sorted(files.iter().map(|(name, _)| name.clone()).collect());
    assert_eq!(
        sorted(named_by_manifests(&world, &record)),
        names,
        "the clone has nothing of its own yet"
    );

    let compaction = compact(&world.state);
    let (shown, _) = world.end_of(compaction).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
    // From here on the clone may be decoupled, and its source may go.
    for (name, _) in &files {
        fs::remove_file(world.vaults.path().join(name)).expect("deleted");
    }
    let expected = sorted(files.into_iter().map(|(_, content)| content).collect());
    let named = named_by_manifests(&world, &record);
    assert_eq!(sorted(named.iter().map(|name| read(&world, name)).collect()), expected, "{named:?}");
}

#[tokio::test(start_paused = true)]
async fn a_compaction_whose_manifests_cannot_be_written_anew_completes_when_its_time_is_over() {
    let mut world = World::new().await;
    let files = world.collection("source", 3, 1_000);
    make_clone(&world.state);
    world.start_all();
    snapshot_with_manifests(&world, "source").await;
    let record_in = |state: &State| {
        let mut found = state.read(|reader| snapshots::all(reader, ScopeId(CLONE_SCOPE))).expect("reads");
        found.pop().expect("not dropped").record
    };

    // What is copied lies in other scopes.
    world.vaults.trouble_in(CLONE_SCOPE, Trouble::NoMarker);
    let compaction = compact(&world.state);
    let says_why = |state: &State| state.describe(compaction).waits_for.contains("which failed: ");
    world.state.wait("a failure of what it waits for", says_why).await;
    let shown = world.state.describe(compaction);
    assert_eq!(shown.state(), JobState::JobRunning, "it has a month");

    world.state.jump(Duration::from_secs(31 * 86_400));
    let (shown, _) = world.end_of(compaction).await;
    assert_eq!(shown.state(), JobState::JobCompleted, "{}", shown.reason);
    assert!(shown.reason.contains("could not be written anew in time"), "{}", shown.reason);
    let record = record_in(&world.state);
    assert!(!record.manifests_complete && !record.manifests_listed, "nobody is to rely on them");

    for (name, _) in &files {
        fs::remove_file(world.vaults.path().join(name)).expect("deleted");
    }
    world.vaults.open_again();
    world.state.wait("manifests", |state| record_in(state).manifests_listed).await;
    let expected = sorted(files.into_iter().map(|(_, content)| content).collect());
    let named = named_by_manifests(&world, &record_in(&world.state));
    assert_eq!(sorted(named.iter().map(|name| read(&world, name)).collect()), expected, "{named:?}");
}
