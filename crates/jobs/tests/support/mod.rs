//! One state without a consensus, vaults in a temporary directory, and peers that may die: reconcilers and workers over both.

#![allow(dead_code)]

#[path = "../../../state-machine/src/testing.rs"]
pub mod testing;

use bytes::{BufMut, Bytes};
use prost::Message;
use quorate_jobs::{Counters, LocalWork, Reconciler, Settings, Vaults, Worker};
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId, StampedTime};
use quorate_objects::{Crc64, LocalPlace, ObjectError, ObjectErrorKind, Patience, Vault, VaultPlace};
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::command::{Command, Prepare};
use quorate_state_machine::commands::*;
use quorate_state_machine::condemned;
use quorate_state_machine::keys::{self, RecordTable};
use quorate_state_machine::limits::CLAIM_LEASE_MS;
use quorate_state_machine::queries;
use quorate_state_machine::record::{InstanceRecord, SnapshotRecord};
use quorate_state_machine::snapshots;
use quorate_state_machine::store::MapStore;
use quorate_state_machine::versioned::pins::PinKind;
use quorate_state_machine::{Cursor, Reader, StoreError};
use quorate_wire::doris::{InstanceInfoPb, ObjectStoreInfoPb};
use quorate_wire::quorate::v1::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use testing::{Bench, INSTANCE};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::Instant;

/// How long any condition of a test may take, in the test's own time.
const PATIENCE: Duration = Duration::from_secs(7_200);
const LEASE: Duration = Duration::from_millis(CLAIM_LEASE_MS);

/// The state, as every peer of the test sees it.
#[derive(Clone)]
pub struct State {
    bench: Arc<Mutex<Bench>>,
    applied: Arc<watch::Sender<Revision>>,
    /// The newest revision that changed a snapshot.
    snapshots: Arc<watch::Sender<Revision>>,
    /// Looks for snapshots that something is to be done for.
    snapshot_looks: Arc<AtomicU64>,
    began: Instant,
    began_ms: u64,
    /// How far the time of day has been moved.
    jumped_ms: Arc<AtomicU64>,
    /// How far the clock that stamps entries is behind the one that parts look at.
    behind_ms: Arc<AtomicU64>,
    /// Results of tasks that are executed and whose answer is lost.
    lost_results: Arc<AtomicU64>,
    /// Number of a command that gets no answer and is not executed; 0 is none.
    unanswered: Arc<AtomicU64>,
    /// Number of a command whose proposals never end; 0 is none.
    hanging: Arc<AtomicU64>,
    /// Proposals that have not ended because of that.
    hung: Arc<AtomicU64>,
    large_reads: Arc<AtomicU64>,
    /// Large reads that find no place from now on.
    refused_large_reads: Arc<AtomicU64>,
}

impl State {
    pub fn new() -> State {
        let mut bench = Bench::new();
        let key = keys::record_in_scope(RecordTable::Scope, bench.scope()).freeze();
        bench.store.rows.insert(key, Bytes::from_static(INSTANCE.as_bytes()));
        bench.adopt_rows();
        State {
            began_ms: bench.now_ms,
            bench: Arc::new(Mutex::new(bench)),
            applied: Arc::new(watch::Sender::new(Revision(0))),
            snapshots: Arc::new(watch::Sender::new(Revision(0))),
            snapshot_looks: Arc::default(),
            began: Instant::now(),
            jumped_ms: Arc::default(),
            behind_ms: Arc::default(),
            lost_results: Arc::default(),
            unanswered: Arc::default(),
            hanging: Arc::default(),
            hung: Arc::default(),
            large_reads: Arc::default(),
            refused_large_reads: Arc::default(),
        }
    }

    /// How often it was looked for snapshots that something is to be done for.
    pub fn snapshot_looks(&self) -> u64 {
        self.snapshot_looks.load(Ordering::Relaxed)
    }

    /// How many reads were made away from the thread that asked.
    pub fn large_reads(&self) -> u64 {
        self.large_reads.load(Ordering::Relaxed)
    }

    /// So many large reads find no place from here on.
    pub fn refuse_large_reads(&self, count: u64) {
        self.refused_large_reads.store(count, Ordering::Relaxed);
    }

    /// How many of them are still to come.
    pub fn large_reads_to_refuse(&self) -> u64 {
        self.refused_large_reads.load(Ordering::Relaxed)
    }

    pub fn answer_again(&self) {
        self.unanswered.store(0, Ordering::Relaxed);
    }

    /// Proposals of this command fail from here on.
    pub fn leave_unanswered<C: Numbered>(&self) {
        self.unanswered.store(u64::from(C::NUMBER), Ordering::Relaxed);
    }

    /// Proposals of this command never end from here on.
    pub fn leave_hanging<C: Numbered>(&self) {
        self.hanging.store(u64::from(C::NUMBER), Ordering::Relaxed);
    }

    /// How many proposals hang.
    pub fn hung(&self) -> u64 {
        self.hung.load(Ordering::Relaxed)
    }

    /// Moves the time of day, and no timer.
    pub fn jump(&self, by: Duration) {
        self.jumped_ms.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// Entries are stamped by a clock that is so far behind, as if another peer led.
    pub fn stamp_behind(&self, by: Duration) {
        self.behind_ms.store(by.as_millis() as u64, Ordering::Relaxed);
    }

    /// The next answer to the result of a task gets lost on its way back.
    pub fn lose_a_result(&self) {
        self.lost_results.fetch_add(1, Ordering::Relaxed);
    }

    pub fn results_to_lose(&self) -> u64 {
        self.lost_results.load(Ordering::Relaxed)
    }

    pub fn bench(&self) -> MutexGuard<'_, Bench> {
        self.bench.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Runs a command that a caller sends.
    pub fn call<C: Prepare + Numbered>(&self, request: C::Request) -> Result<C::Reply, MetaError> {
        self.apply(&testing::prepare::<C>(request)?)
    }

    pub fn apply<C: Numbered>(&self, command: &C) -> Result<C::Reply, MetaError> {
        let mut bench = self.bench();
        bench.now_ms = self.now().0.saturating_sub(self.behind_ms.load(Ordering::Relaxed));
        let snapshots = rows_of(&bench, RecordTable::Snapshot);
        let reply = bench.run(command);
        bench.check_content();
        let revision = bench.machine.revision();
        self.applied.send_replace(revision);
        if rows_of(&bench, RecordTable::Snapshot) != snapshots {
            self.snapshots.send_replace(revision);
        }
        reply
    }

    pub fn describe(&self, job: u64) -> Job {
        let request = DescribeJobRequest {
            job_id: job,
            ..DescribeJobRequest::default()
        };
        queries::jobs::describe_job(&self.bench().store, &request).expect("exists")
    }

    /// The key of a table's first row.
    fn first_of(&self, table: RecordTable) -> Option<Bytes> {
        let prefix = keys::record_prefix(table).freeze();
        let bench = self.bench();
        let (key, _) = bench.store.rows.range(prefix.clone()..).next()?;
        key.starts_with(&prefix).then(|| key.clone())
    }

    /// Adds so many committed snapshots to scope 1 for which a job writes manifests.
    pub fn await_manifests(&self, snapshots: u64, job: u64) {
        let mut bench = self.bench();
        let record = SnapshotRecord {
            state: SnapshotState::Committed as i32,
            manifest_job: job,
            ..SnapshotRecord::default()
        };
        let last = bench.counters().revision;
        for revision in (last + 1..=last + snapshots).map(Revision) {
            let row = snapshots::record_key(ScopeId(1), revision);
            bench.store.rows.insert(row, record.encode_to_vec().into());
            bench.store.rows.insert(snapshots::work_key(ScopeId(1), revision), Bytes::new());
        }
        bench.set_counters(|counters| counters.revision += snapshots);
    }

    /// Waits, in the test's own time, until `is_so`.
    pub async fn wait(&self, what: &str, mut is_so: impl FnMut(&State) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !is_so(self) {
            assert!(Instant::now() < until, "{what} did not come about");
            let seen = self.revision();
            drop(tokio::time::timeout(Duration::from_secs(1), self.changed(seen)).await);
        }
    }
}

/// All rows of a table.
fn rows_of(bench: &Bench, table: RecordTable) -> Vec<(Bytes, Bytes)> {
    let prefix = keys::record_prefix(table).freeze();
    let rows = bench.store.rows.range(prefix.clone()..);
    rows.take_while(|(key, _)| key.starts_with(&prefix))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

/// Counts looks at the table of snapshots that something is to be done for.
struct Looked<'a> {
    store: &'a MapStore,
    snapshot_looks: &'a AtomicU64,
}

impl Reader for Looked<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.store.get(key)
    }

    fn cursor<'a>(&'a self, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'a>, StoreError> {
        if start.starts_with(&keys::record_prefix(RecordTable::SnapshotWork)) {
            self.snapshot_looks.fetch_add(1, Ordering::Relaxed);
        }
        self.store.cursor(start, end)
    }
}

impl Query for State {
    fn read<R>(&self, mut read: impl FnMut(&dyn Reader) -> R) -> R {
        read(&Looked {
            store: &self.bench().store,
            snapshot_looks: &self.snapshot_looks,
        })
    }

    async fn read_large<R: Send + 'static>(&self, read: impl FnMut(&dyn Reader) -> R + Send + 'static) -> Result<R, MetaError> {
        self.large_reads.fetch_add(1, Ordering::Relaxed);
        if self.large_reads_to_refuse() > 0 {
            self.refused_large_reads.fetch_sub(1, Ordering::Relaxed);
            return Err(MetaError::new(ErrorCode::TooManyRequests, "no place among large reads"));
        }
        Ok(self.read(read))
    }

    async fn confirm(&self) -> Result<(), MetaError> {
        Ok(())
    }

    fn revision(&self) -> Revision {
        self.bench().machine.revision()
    }

    async fn changed(&self, seen: Revision) {
        let mut applied = self.applied.subscribe();
        drop(applied.wait_for(|revision| *revision > seen).await);
    }

    async fn snapshots_changed(&self, seen: Revision) {
        let mut snapshots = self.snapshots.subscribe();
        drop(snapshots.wait_for(|revision| *revision > seen).await);
    }

    fn now(&self) -> StampedTime {
        StampedTime(self.began_ms + self.began.elapsed().as_millis() as u64 + self.jumped_ms.load(Ordering::Relaxed))
    }
}

impl Propose for State {
    async fn propose<C: Numbered + Sync>(&self, command: &C) -> Result<<C as Command>::Reply, MetaError> {
        // As long as an entry takes: others come in between.
        tokio::time::sleep(Duration::from_millis(1)).await;
        if u64::from(C::NUMBER) == self.unanswered.load(Ordering::Relaxed) {
            return Err(MetaError::new(ErrorCode::OutcomeUnknown, "no quorum"));
        }
        if u64::from(C::NUMBER) == self.hanging.load(Ordering::Relaxed) {
            self.hung.fetch_add(1, Ordering::Relaxed);
            std::future::pending::<()>().await;
        }
        let reply = self.apply(command);
        if C::NUMBER == CompleteTask::NUMBER && self.lost_results.load(Ordering::Relaxed) > 0 {
            self.lost_results.fetch_sub(1, Ordering::Relaxed);
            return Err(MetaError::new(ErrorCode::OutcomeUnknown, "the answer was lost"));
        }
        reply
    }
}

/// Directories by the name of their vault.
#[derive(Clone)]
pub struct Directories {
    root: Arc<tempfile::TempDir>,
    /// What is wrong with the vaults of a scope now, as one machine sees them.
    troubles: Arc<Mutex<BTreeMap<u64, Trouble>>>,
    opened: Arc<AtomicU64>,
}

/// What is wrong with a vault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    NoMarker,
    /// After it was opened so often.
    NoMarkerAfter(u32),
    Slow(Duration),
    Hangs,
}

impl Directories {
    pub async fn new() -> Directories {
        let directories = Directories {
            root: Arc::new(tempfile::tempdir().expect("a directory")),
            troubles: Arc::default(),
            opened: Arc::default(),
        };
        Vault::create_marker(&directories.place("")).await.expect("marked");
        directories
    }

    fn place(&self, vault: &str) -> LocalPlace {
        LocalPlace {
            root: self.root.path().join(format!("vault-{vault}")),
            cluster_id: "cluster".to_owned(),
            vault_id: format!("vault {vault}"),
        }
    }

    pub fn path(&self) -> PathBuf {
        self.place("").root
    }

    /// The same directories, with troubles of their own.
    pub fn on_another_machine(&self) -> Directories {
        Directories {
            root: self.root.clone(),
            troubles: Arc::default(),
            opened: Arc::default(),
        }
    }

    pub fn close(&self) {
        self.trouble(Trouble::NoMarker);
    }

    pub fn trouble(&self, trouble: Trouble) {
        self.trouble_in(1, trouble);
    }

    pub fn trouble_in(&self, scope: u64, trouble: Trouble) {
        self.troubles.lock().expect("no panic while held").insert(scope, trouble);
    }

    pub fn open_again(&self) {
        self.troubles.lock().expect("no panic while held").clear();
    }

    fn take_trouble(&self, scope: u64) -> Option<Trouble> {
        let mut troubles = self.troubles.lock().expect("no panic while held");
        let trouble = troubles.get_mut(&scope)?;
        match trouble {
            Trouble::NoMarkerAfter(0) => *trouble = Trouble::NoMarker,
            Trouble::NoMarkerAfter(opens) => *opens -= 1,
            _ => {}
        }
        Some(*trouble)
    }

    /// How often a vault was opened, or was tried to.
    pub fn opened(&self) -> u64 {
        self.opened.load(Ordering::Relaxed)
    }

    /// Every file that is there, from the vault's root, without the marker.
    pub fn files(&self) -> Vec<String> {
        let mut found = Vec::new();
        collect(&self.path(), &self.path(), &mut found);
        found.retain(|name| name != ".quorate-vault");
        found.sort();
        found
    }
}

fn collect(root: &Path, directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("entry").path();
        match path.is_dir() {
            true => collect(root, &path, found),
            false => found.push(path.strip_prefix(root).expect("below").display().to_string()),
        }
    }
}

impl Vaults for Directories {
    async fn open(&self, scope: u64, vault: &str) -> Result<Vault, ObjectError> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let trouble = self.take_trouble(scope);
        match trouble {
            None | Some(Trouble::NoMarkerAfter(_)) => {}
            Some(Trouble::Slow(pause)) => tokio::time::sleep(pause).await,
            Some(Trouble::Hangs) => std::future::pending().await,
            Some(Trouble::NoMarker) => {
                return Err(ObjectError::new(
                    ObjectErrorKind::WrongMarker,
                    "the vault's directory has no marker; mount it",
                ));
            }
        }
        Vault::open(&VaultPlace::Local(self.place(vault)), Patience::default()).await
    }
}

/// Which parts of a peer run, and die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    Reconciler,
    Worker,
}

/// A state with vaults, and the parts that run over them.
pub struct World {
    pub state: State,
    pub vaults: Directories,
    pub counters: Arc<Counters>,
    /// Of workers that are started from here on.
    pub settings: Settings,
    parts: Vec<(Part, JoinHandle<()>)>,
    stop: watch::Sender<bool>,
    workers: u32,
}

impl World {
    pub async fn new() -> World {
        World {
            state: State::new(),
            vaults: Directories::new().await,
            counters: Arc::default(),
            settings: Settings::default(),
            parts: Vec::new(),
            stop: watch::Sender::new(false),
            workers: 0,
        }
    }

    /// A world in which a restore of a snapshot of so many segments of one file each, into `copy`, has been asked for.
    pub async fn restoring(segments: u32, file_bytes: usize) -> (World, Source, u64) {
        let world = World::new().await;
        let source = world.snapshot("source", segments, file_bytes);
        let job = world.restore(&source, "copy", 0).expect("started");
        (world, source, job)
    }

    /// Starts one of each.
    pub fn start_all(&mut self) {
        self.start(Part::Reconciler);
        self.start(Part::Worker);
    }

    pub fn start(&mut self, part: Part) {
        match part {
            Part::Reconciler => {
                let reconciler = Reconciler::new(self.state.clone(), self.vaults.clone(), self.counters.clone());
                self.parts.push((part, tokio::spawn(reconciler.run())));
            }
            Part::Worker => self.start_worker(self.vaults.clone()),
        }
    }

    /// Starts a worker on a machine that has the vaults like this.
    pub fn start_worker(&mut self, vaults: Directories) {
        self.workers += 1;
        let worker = Worker::new(
            format!("worker{}", self.workers),
            LocalWork::new(self.state.clone()),
            vaults,
            self.settings,
            self.counters.clone(),
        );
        self.parts.push((Part::Worker, tokio::spawn(worker.run(self.stop.subscribe()))));
    }

    /// Kills every part of this kind, as the end of its process does.
    pub async fn kill(&mut self, part: Part) {
        for (kind, handle) in std::mem::take(&mut self.parts) {
            if kind == part {
                handle.abort();
                drop(handle.await);
            } else {
                self.parts.push((kind, handle));
            }
        }
    }

    /// What ends each of the parts that run, from wherever it is called.
    pub fn abort_handles(&self) -> Vec<AbortHandle> {
        self.parts.iter().map(|(_, handle)| handle.abort_handle()).collect()
    }

    /// Starts anew what has died of itself, or of a handle of [`World::abort_handles`]; how many that were.
    pub async fn revive(&mut self) -> usize {
        let (mut died, mut alive) = (Vec::new(), Vec::new());
        for (part, handle) in std::mem::take(&mut self.parts) {
            match handle.is_finished() {
                true => {
                    let ended = handle.await;
                    assert!(ended.is_err(), "a {part:?} ended without a reason");
                    died.push(part);
                }
                false => alive.push((part, handle)),
            }
        }
        self.parts = alive;
        died.iter().for_each(|part| self.start(*part));
        died.len()
    }

    /// Waits until a job has ended, starting anew whatever dies. Returns the job and how many died.
    pub async fn end_of(&mut self, job: u64) -> (Job, usize) {
        let (mut deaths, until) = (0, Instant::now() + PATIENCE);
        loop {
            deaths += self.revive().await;
            let shown = self.state.describe(job);
            if quorate_model::job_states::job_has_ended(shown.state()) {
                return (shown, deaths);
            }
            assert!(Instant::now() < until, "the job did not end: {shown:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until `is_so`, starting anew whatever dies. Returns how many died.
    pub async fn revive_until(&mut self, what: &str, mut is_so: impl FnMut(&World) -> bool) -> usize {
        let (mut deaths, until) = (0, Instant::now() + PATIENCE);
        loop {
            deaths += self.revive().await;
            let world: &World = self;
            if is_so(world) {
                return deaths;
            }
            assert!(Instant::now() < until, "{what} did not come about");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Gives an instance an object store as its only place for files of this name; it is a directory of the test's too.
    pub fn give_store(&self, instance_id: &str, store_id: &str) {
        let mut bench = self.state.bench();
        let key = keys::record_by_name(RecordTable::Instance, instance_id.as_bytes());
        let mut record = InstanceRecord::decode(bench.store.rows[&key].clone()).expect("decodes");
        let mut info = InstanceInfoPb::decode(record.info).expect("decodes");
        info.obj_info.push(ObjectStoreInfoPb {
            id: Some(store_id.to_owned()),
            ..ObjectStoreInfoPb::default()
        });
        record.info = info.encode_to_vec().into();
        bench.store.rows.insert(key, record.encode_to_vec().into());
        bench.adopt_rows();
    }

    /// A new collection with so many segments of one file each; what was written, by name.
    pub fn collection(&self, collection: &str, segments: u32, file_bytes: usize) -> Vec<(String, Vec<u8>)> {
        let create = CreateCollectionRequest {
            instance_id: INSTANCE.to_owned(),
            name: collection.to_owned(),
            ..CreateCollectionRequest::default()
        };
        self.state.call::<CreateCollection>(create).expect("created");
        let mut files = Vec::new();
        for first in (0..segments).step_by(500) {
            self.commit(collection, 500.min(segments - first), file_bytes, &mut files);
        }
        files
    }

    /// A committed snapshot of a new collection.
    pub fn snapshot(&self, collection: &str, segments: u32, file_bytes: usize) -> Source {
        let state = &self.state;
        let files = self.collection(collection, segments, file_bytes);
        let pin = CreatePin {
            scope: 1,
            kind: PinKind::Snapshot as i32,
            ..CreatePin::default()
        };
        let pin = state.apply(&pin).expect("pinned");
        let described = state.read(|reader| {
            let lineage = quorate_state_machine::versioned::Lineage::of(reader, ScopeId(1), Revision(u64::MAX)).expect("reads");
            quorate_state_machine::catalog::find_collection(reader, &lineage, "default", collection).expect("exists")
        });
        let record = SnapshotRecord {
            name: format!("{collection}_snapshot"),
            state: SnapshotState::Committed as i32,
            collection_id: described.id,
            collection: collection.to_owned(),
            database: "default".to_owned(),
            pin: pin.pin,
            ..SnapshotRecord::default()
        };
        let mut key = keys::record_in_scope(RecordTable::Snapshot, ScopeId(1));
        key.put_u64(pin.revision);
        let mut bench = state.bench();
        bench.store.rows.insert(key.freeze(), record.encode_to_vec().into());
        bench.adopt_rows();
        Source {
            revision: pin.revision,
            files,
        }
    }

    fn commit(&self, collection: &str, count: u32, file_bytes: usize, files: &mut Vec<(String, Vec<u8>)>) {
        let prepare = PrepareSegmentsRequest {
            instance_id: INSTANCE.to_owned(),
            collection: collection.to_owned(),
            count,
            ..PrepareSegmentsRequest::default()
        };
        let prepared = self.state.call::<PrepareSegments>(prepare).expect("prepared");
        let mut segments = Vec::new();
        for segment in prepared.segments {
            let content: Vec<u8> = (0..file_bytes).map(|at| (at as u64 * 31 + segment.segment_id) as u8).collect();
            let directory = self.vaults.path().join(&segment.path);
            std::fs::create_dir_all(&directory).expect("made");
            std::fs::write(directory.join("data"), &content).expect("written");
            let file = SegmentFile {
                name: "data".to_owned(),
                size_bytes: content.len() as u64,
                checksum: Crc64::of(&content).0,
                kind: FileKind::Data as i32,
                rows: 1,
                ..SegmentFile::default()
            };
            files.push((format!("{}/data", segment.path), content));
            segments.push(SegmentContent {
                segment_id: segment.segment_id,
                rows: 1,
                files: vec![file],
            });
        }
        let commit = CommitSegmentsRequest {
            instance_id: INSTANCE.to_owned(),
            segments,
        };
        self.state.call::<CommitSegments>(commit).expect("committed");
    }

    /// Starts a restore of a snapshot.
    pub fn restore(&self, source: &Source, collection: &str, timeout_seconds: u64) -> Result<u64, MetaError> {
        let request = RestoreSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            snapshot: Some(SnapshotRef {
                snapshot_id: format!("{:016x}0000", source.revision),
                ..SnapshotRef::default()
            }),
            target_collection: collection.to_owned(),
            timeout_seconds,
            ..RestoreSnapshotRequest::default()
        };
        Ok(self.state.call::<CreateRestore>(request)?.job_id)
    }

    /// The files of a collection that callers can see; `None` when they see no such collection.
    pub fn visible_files(&self, collection: &str) -> Option<Vec<Vec<u8>>> {
        self.files_in(1, collection)
    }

    /// The same for the instance of a scope.
    pub fn files_in(&self, scope: u64, collection: &str) -> Option<Vec<Vec<u8>>> {
        self.state.read(|reader| {
            use quorate_state_machine::keys::VersionedTable;
            use quorate_state_machine::record::SegmentRecord;
            use quorate_state_machine::versioned::{Lineage, LineageScan, PageLimit};
            let lineage = Lineage::of(reader, ScopeId(scope), Revision(u64::MAX)).expect("reads");
            let found = quorate_state_machine::catalog::find_collection(reader, &lineage, "default", collection).ok()?;
            let scan = LineageScan {
                table: VersionedTable::Segment,
                prefix: &found.id.to_be_bytes(),
                after_key: None,
                limit: PageLimit {
                    rows: 100_000,
                    bytes: usize::MAX,
                    keys: usize::MAX,
                },
            };
            let rows = lineage.scan(reader, &scan).expect("reads").rows;
            let segments = rows.into_iter().map(|row| SegmentRecord::decode(row.value).expect("decodes"));
            let content = |segment: SegmentRecord| {
                let file = self.vaults.path().join(&segment.path).join(&segment.files[0].name);
                std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
            };
            Some(segments.map(content).collect())
        })
    }

    /// Waits until every condemned file is deleted, all sweeps included, and no staged row is left.
    pub async fn cleaned_up(&mut self) {
        let waiting = |state: &State, table: RecordTable| {
            let prefix = keys::record_prefix(table).freeze();
            state.bench().store.rows.keys().any(|key| key.starts_with(&prefix))
        };
        let until = Instant::now() + Duration::from_secs(7 * 86_400);
        while waiting(&self.state, RecordTable::Condemned) || waiting(&self.state, RecordTable::Dropped) {
            assert!(Instant::now() < until, "clean-up did not end");
            self.revive().await;
            tokio::time::sleep(Duration::from_secs(10)).await;
        }
    }

    /// As [`World::cleaned_up`], but the time of day is moved to the next sweep, once a worker that lost its claim must have heard of it.
    /// Returns how many died.
    pub async fn swept(&mut self) -> usize {
        let (mut deaths, until) = (0, Instant::now() + PATIENCE);
        loop {
            deaths += self.revive().await;
            let next_ms = self
                .state
                .first_of(RecordTable::Condemned)
                .map(|key| condemned::read_key(&key).expect("a condemned row").not_before_ms);
            match (self.state.first_of(RecordTable::Dropped), next_ms) {
                (None, None) => break,
                (None, Some(next_ms)) if next_ms > self.state.now().0 => {
                    tokio::time::sleep(2 * LEASE).await;
                    self.state.jump(Duration::from_millis(next_ms.saturating_sub(self.state.now().0)));
                }
                _ => {}
            }
            assert!(Instant::now() < until, "clean-up did not end");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Who died at the very last step.
        tokio::time::sleep(Duration::from_secs(2)).await;
        deaths + self.revive().await
    }
}

impl Drop for World {
    /// Its parts would go on for as long as the test, and come to what is armed for another world.
    fn drop(&mut self) {
        self.parts.iter().for_each(|(_, handle)| handle.abort());
    }
}

/// A snapshot and what its files hold.
pub struct Source {
    pub revision: u64,
    pub files: Vec<(String, Vec<u8>)>,
}

impl Source {
    /// The contents in an order of their own.
    pub fn contents(&self) -> Vec<Vec<u8>> {
        sorted(self.files.iter().map(|(_, content)| content.clone()).collect())
    }

    pub fn names(&self) -> Vec<String> {
        sorted(self.files.iter().map(|(name, _)| name.clone()).collect())
    }
}

pub fn sorted<T: Ord>(mut items: Vec<T>) -> Vec<T> {
    items.sort();
    items
}
