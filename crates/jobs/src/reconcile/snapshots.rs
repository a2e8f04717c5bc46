//! Brings snapshots forward: writes their metadata files, starts the jobs for their manifests, and deletes the files of those that
//! were dropped. Files come before the command that says so, when they are written and when they are deleted.

use super::{Access, StepError, VaultKey, VaultTurns, place_of};
use crate::settings::{
    PAGE_TRIES, PENDING_SNAPSHOT_PATIENCE, ROUND_INTERVAL, SNAPSHOT_IDLE_PAUSE, SNAPSHOT_PAUSE, SNAPSHOTS_PER_LOOK, SNAPSHOTS_PER_ROUND,
    VAULT_PAUSE,
};
use crate::vaults::Vaults;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use prost::Message;
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId};
use quorate_objects::manifest::{FORMAT_VERSION, manifest_path, metadata_path};
use quorate_objects::metadata::{
    CollectionDescription, CollectionSummary, InstanceDescription, LAYOUT_REFERENCED, MetadataHead, MetadataWriter, Property,
    STATE_COMMITTED, SnapshotInfo, is_schema_message,
};
use quorate_objects::{Existing, ObjectError, ObjectErrorKind, ObjectPath, Vault};
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::command::read_record;
use quorate_state_machine::commands::{CommitSnapshot, FailSnapshot, RemoveSnapshot, StartManifests};
use quorate_state_machine::jobs;
use quorate_state_machine::jobs::source::Source;
use quorate_state_machine::jobs::translate::ids_of;
use quorate_state_machine::keys::{self, RecordTable, VersionedTable};
use quorate_state_machine::record::{CollectionRecord, Counters, JobRecord, PartitionRecord, SegmentRecord};
use quorate_state_machine::snapshots::collections::{self, ShownCollection};
use quorate_state_machine::snapshots::{self, Snapshot, lifecycle};
use quorate_state_machine::store::prefix_end;
use quorate_state_machine::versioned::{Lineage, LineageScan, PageLimit};
use quorate_state_machine::{Reader, StoreError, limits};
use quorate_wire::quorate::v1::SnapshotState;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// Below the milliseconds of a hybrid timestamp, as the contract has them (spec/milvus-snapshot.md b.3), is room for a counter.
const HYBRID_COUNTER_BITS: u32 = 18;

/// Scope and revision.
type Key = (u64, u64);

/// Works until it is dropped. Looks go over all that wait, a part at a time, and begin again at the first. They follow each other quickly
/// when a snapshot has changed or a step has got one further, until all have been looked at since.
pub(super) async fn look_after<N: Query + Propose, V: Vaults>(access: &Access<N, V>) {
    let (mut steps, mut running) = (SnapshotSteps::default(), FuturesUnordered::new());
    // What happens after the looks began at the first may concern one that they are past.
    let (mut seen, mut got_further) = (access.node.revision(), false);
    let mut is_quick = true;
    loop {
        if steps.after.is_none() {
            (seen, got_further) = (access.node.revision(), false);
        }
        match steps.next(access).await {
            Ok(work) => running.extend(work.into_iter().map(|(turn, snapshots)| work_off(access, turn, snapshots))),
            Err(error) => {
                access.complaints.log("work on snapshots", &error);
                (is_quick, got_further) = (false, false);
            }
        }
        let wait = match steps.after {
            _ if got_further => None,
            Some(_) if is_quick => None,
            Some(_) => Some(SNAPSHOT_IDLE_PAUSE),
            None => Some(ROUND_INTERVAL),
        };
        tokio::select! {
            Some(ended) = running.next() => {
                if ended.got_further() {
                    (is_quick, got_further) = (true, true);
                }
                steps.settle(ended);
                // It may never have waited: looks at thousands of snapshots would follow each other and leave nobody the thread.
                tokio::task::yield_now().await;
            }
            goes_on = rest(access, seen, wait) => is_quick = goes_on,
        }
    }
}

/// The pause between two looks; with a `wait`, so much longer or until a snapshot changes. Whether the next look is to be followed by
/// others quickly: not when nothing has changed.
async fn rest<N: Query, V>(access: &Access<N, V>, seen: Revision, wait: Option<Duration>) -> bool {
    tokio::time::sleep(SNAPSHOT_PAUSE).await;
    match wait {
        None => true,
        Some(wait) => tokio::time::timeout(wait, access.node.snapshots_changed(seen)).await.is_ok(),
    }
}

/// When each pending snapshot was seen first, and which are left alone for a while because something did not succeed.
#[derive(Default)]
struct SnapshotSteps {
    proposals: VaultTurns,
    short: VaultTurns,
    long: VaultTurns,
    /// What is worked on: its state may change meanwhile, and its next step must not begin before the last has ended.
    in_work: BTreeSet<Key>,
    pending: BTreeMap<Key, Instant>,
    paused: BTreeMap<Key, Instant>,
    /// Where the next round goes on, so that none waits behind those that need long.
    after: Option<Key>,
}

/// How long a step takes: a snapshot that is being made waits for none whose thousands of files are listed or deleted, nor for jobs that are
/// started for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Pace {
    Proposal,
    Short,
    Long,
}

fn pace(snapshot: &Snapshot) -> Pace {
    match snapshot.state() {
        SnapshotState::Deleting => Pace::Long,
        SnapshotState::Committed if snapshot.record.manifests_complete => Pace::Long,
        SnapshotState::Committed => Pace::Proposal,
        _ => Pace::Short,
    }
}

/// Whose turn it is.
type Turn = (VaultKey, Pace);

/// The snapshots of one turn.
type Work = Vec<Snapshot>;

/// What came of it.
struct Ended {
    turn: Turn,
    worked_on: Vec<Key>,
    /// How long it is left alone.
    pause: Option<Duration>,
    /// Snapshots that are to be left alone, and how long.
    paused: Vec<(Key, Duration)>,
}

impl Ended {
    /// Whether a snapshot may have a next step now.
    fn got_further(&self) -> bool {
        self.pause.is_none() && self.paused.len() < self.worked_on.len()
    }
}

impl SnapshotSteps {
    /// What is to be done next, by turn. Gives up what has been pending for too long: that needs no vault.
    async fn next<N: Query + Propose, V>(&mut self, access: &Access<N, V>) -> Result<BTreeMap<Turn, Work>, StepError> {
        let now = Instant::now();
        self.paused.retain(|_, until| *until > now);
        let after = self.after;
        if after.is_none() {
            self.forget_no_longer_pending(access, now)?;
        }
        let is_left_alone = |key: &Key| self.is_left_alone(key, now);
        let (waiting, goes_on_after) = access.node.read(|reader| waiting(reader, after, is_left_alone))?;
        self.after = goes_on_after;
        let mut work: BTreeMap<Turn, Work> = BTreeMap::new();
        for snapshot in waiting {
            let key = key_of(&snapshot);
            // All that is kept in one place has one turn, so that a busy instance does not take it from the others.
            let turn = (place_of(&(snapshot.scope.0, snapshot.record.vault.clone())), pace(&snapshot));
            if snapshot.state() == SnapshotState::Pending {
                self.pending.entry(key).or_insert(now);
            } else {
                self.pending.remove(&key);
            }
            if self.is_overdue(&key, now) {
                let (scope, revision) = key;
                // Not the end of this look: turns that were begun must be taken.
                match access.node.propose(&FailSnapshot { scope, revision }).await {
                    Ok(reply) if reply.failed => tell_given_up(access, &snapshot),
                    Ok(_) => {}
                    Err(error) => access.complaints.log("give up a snapshot", &error),
                }
            } else if !self.is_left_alone(&key, now) && (work.contains_key(&turn) || self.turns(turn.1).begin(&turn.0)) {
                self.in_work.insert(key);
                work.entry(turn).or_default().push(snapshot);
            }
        }
        Ok(work)
    }

    /// Forgets since when snapshots were pending that were committed or dropped while nobody looked. Only those are looked for that would
    /// be overdue: the others cost no look of their own.
    fn forget_no_longer_pending<N: Query, V>(&mut self, access: &Access<N, V>, now: Instant) -> Result<(), StepError> {
        let overdue: Vec<Key> = self.pending.keys().filter(|key| self.is_overdue(key, now)).copied().collect();
        for key in overdue {
            let found = access
                .node
                .read(|reader| snapshots::find(reader, ScopeId(key.0), Revision(key.1)))?;
            if found.is_none_or(|snapshot| snapshot.state() != SnapshotState::Pending) {
                self.pending.remove(&key);
            }
        }
        Ok(())
    }

    /// Whether a snapshot has been pending for too long.
    fn is_overdue(&self, key: &Key, now: Instant) -> bool {
        let since = self.pending.get(key);
        since.is_some_and(|since| now.duration_since(*since) >= PENDING_SNAPSHOT_PATIENCE)
    }

    /// Whether nothing is to be done for a snapshot now. One that is overdue is given up whatever is being done to it.
    fn is_left_alone(&self, key: &Key, now: Instant) -> bool {
        (self.paused.contains_key(key) || self.in_work.contains(key)) && !self.is_overdue(key, now)
    }

    fn turns(&mut self, pace: Pace) -> &mut VaultTurns {
        match pace {
            Pace::Proposal => &mut self.proposals,
            Pace::Short => &mut self.short,
            Pace::Long => &mut self.long,
        }
    }

    fn settle(&mut self, ended: Ended) {
        let (vault, pace) = &ended.turn;
        self.turns(*pace).end(vault, ended.pause);
        self.in_work.retain(|key| !ended.worked_on.contains(key));
        let now = Instant::now();
        // The more are left alone, the longer: so looks at those whose pause has ended do not grow with their number.
        let at_least = (SNAPSHOT_PAUSE * self.paused.len() as u32).min(VAULT_PAUSE);
        let paused = ended.paused.into_iter().map(|(key, pause)| (key, now + pause.max(at_least)));
        self.paused.extend(paused);
    }
}

/// Its record goes with its files: what is left of it is this line.
fn tell_given_up<N, V>(access: &Access<N, V>, snapshot: &Snapshot) {
    let (scope, revision) = key_of(snapshot);
    let record = &snapshot.record;
    let troubles = access.counters.vaults.troubles();
    let trouble = troubles
        .iter()
        .find(|trouble| trouble.scope == scope && trouble.vault == record.vault);
    let reason = trouble.map_or("its metadata file was not written in time", |trouble| trouble.reason.as_str());
    tracing::warn!(
        snapshot = %record.name,
        snapshot_id = %snapshots::id::text(snapshot.revision),
        collection = %record.collection,
        vault = %record.vault,
        scope,
        revision,
        reason,
        "a snapshot that stayed pending is given up"
    );
}

/// Advances the snapshots of one turn, one after the other. When the vault itself is the trouble, only those that are to go: they do not
/// need it.
async fn work_off<N: Query + Propose, V: Vaults>(access: &Access<N, V>, turn: Turn, work: Work) -> Ended {
    let mut ended = Ended {
        turn,
        worked_on: work.iter().map(key_of).collect(),
        pause: None,
        paused: Vec::new(),
    };
    for snapshot in work {
        if ended.pause.is_some() && snapshot.state() != SnapshotState::Deleting {
            continue;
        }
        match advance(access, &snapshot).await {
            Ok(None) => {}
            Ok(Some(pause)) => ended.paused.push((key_of(&snapshot), pause)),
            Err(error) => {
                access.complaints.log("work on a snapshot", &error);
                ended.paused.push((key_of(&snapshot), VAULT_PAUSE));
                let StepError::Object(error) = error else { continue };
                if error.concerns_the_vault() {
                    access.counters.vaults.failed(snapshot.scope.0, &snapshot.record.vault, &error);
                    ended.pause = Some(VAULT_PAUSE);
                }
            }
        }
    }
    ended
}

/// Takes one step; answers how long the snapshot is to be left alone, if it is.
async fn advance<N: Query + Propose, V: Vaults>(access: &Access<N, V>, snapshot: &Snapshot) -> Result<Option<Duration>, StepError> {
    let (scope, revision) = key_of(snapshot);
    match snapshot.state() {
        SnapshotState::Pending => commit(access, snapshot, Lists::Without).await?,
        SnapshotState::Committed if snapshot.record.manifests_complete => commit(access, snapshot, Lists::With).await?,
        SnapshotState::Committed => {
            if !awaits_job(access, snapshot)? && has_room(access)? {
                let start = StartManifests {
                    scope,
                    revision,
                    since: Some(0),
                };
                access.node.propose(&start).await?;
            }
            return Ok(Some(ROUND_INTERVAL));
        }
        SnapshotState::Deleting => remove(access, snapshot).await?,
        _ => {}
    }
    Ok(None)
}

/// Whether the manifests' job runs, or has failed not long ago: the next one is not tried at once.
fn awaits_job<N: Query, V>(access: &Access<N, V>, snapshot: &Snapshot) -> Result<bool, StepError> {
    let now_ms = access.node.now().0;
    let job = snapshot.record.manifest_job;
    Ok(access
        .node
        .read(|reader| quorate_state_machine::queries::snapshots::awaits_job(reader, job, now_ms))?)
}

/// Whether the job could start: without room it is not proposed, however many snapshots wait.
fn has_room<N: Query, V>(access: &Access<N, V>) -> Result<bool, StepError> {
    let has_room = access.node.read(|reader| {
        let counters: Option<Counters> = read_record(reader, keys::COUNTERS_KEY)?;
        Ok::<_, StoreError>(jobs::has_room_for_manifests(
            &counters.unwrap_or_default(),
            jobs::most_active(reader)?,
        ))
    });
    Ok(has_room?)
}

fn key_of(snapshot: &Snapshot) -> Key {
    (snapshot.scope.0, snapshot.revision.0)
}

/// Snapshots that something is to be done for, and the one after which the next look goes on; `None` behind the last. Those that are left
/// alone are passed over by their keys.
fn waiting(
    reader: &dyn Reader,
    after: Option<Key>,
    is_left_alone: impl Fn(&Key) -> bool,
) -> Result<(Vec<Snapshot>, Option<Key>), StoreError> {
    let prefix = keys::record_prefix(RecordTable::SnapshotWork);
    let start = after.map_or_else(
        || prefix.to_vec(),
        |(scope, revision)| prefix_end(&snapshots::work_key(ScopeId(scope), Revision(revision))),
    );
    let mut cursor = reader.cursor(&start, &prefix_end(&prefix))?;
    let (mut found, mut looked_at) = (Vec::new(), 0);
    while let Some((key, _)) = cursor.row() {
        let number = |at: usize| {
            key.get(at..at + 8)
                .map(|bytes| bytes.iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte)))
        };
        let (Some(scope), Some(revision)) = (number(2), number(10)) else {
            return Err(StoreError(format!("key {key:02x?} has the wrong length for its table")));
        };
        let key = (scope, revision);
        if !is_left_alone(&key) {
            found.extend(snapshots::find(reader, ScopeId(scope), Revision(revision))?);
        }
        looked_at += 1;
        if found.len() == SNAPSHOTS_PER_ROUND || looked_at == SNAPSHOTS_PER_LOOK {
            return Ok((found, Some(key)));
        }
        cursor.next()?;
    }
    Ok((found, None))
}

/// Whether the metadata file has the long lists.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lists {
    Without,
    With,
}

/// Writes the metadata file, then says that it is there. Of a whole instance, before the last one, those of its collections.
async fn commit<N: Query + Propose, V: Vaults>(access: &Access<N, V>, snapshot: &Snapshot, lists: Lists) -> Result<(), StepError> {
    if lists == Lists::With && snapshot.is_of_instance() {
        write_collections(access, snapshot).await?;
    }
    let location = location_of(snapshot)?;
    match write_metadata(access, snapshot, lists, &location).await {
        // The first file must not take the place of the last: a leader of before may be that slow.
        Err(StepError::Object(error)) if lists == Lists::Without && error.kind == ObjectErrorKind::AlreadyExists => {}
        written => written?,
    }
    fail::fail_point!("snapshot_metadata_written", |_| Ok(()));
    let command = CommitSnapshot {
        scope: snapshot.scope.0,
        revision: snapshot.revision.0,
        location: location.to_string(),
        manifests_listed: lists == Lists::With,
    };
    access.node.propose(&command).await?;
    fail::fail_point!("snapshot_commit_after", |_| Ok(()));
    Ok(())
}

fn location_of(snapshot: &Snapshot) -> Result<ObjectPath, ObjectError> {
    metadata_path(snapshot.record.collection_id as i64, snapshot.revision.0 as i64)
}

/// Writes the metadata file of each collection that a snapshot of a whole instance shows, with its lists. Whoever begins again writes the same.
async fn write_collections<N: Query, V: Vaults>(access: &Access<N, V>, snapshot: &Snapshot) -> Result<(), StepError> {
    let mut after = None;
    loop {
        let page = access
            .node
            .read(|reader| collections::noted(reader, snapshot, after, limits::MAX_PAGE_ROWS))?;
        let Some(last) = page.last().copied() else { return Ok(()) };
        for collection in page {
            let alone = collections::alone(snapshot, collection);
            write_metadata(access, &alone, Lists::With, &location_of(&alone)?).await?;
        }
        after = Some(last);
    }
}

/// The vault of a snapshot. One that is wrongly described is noted as well as one that is away.
async fn open<N, V: Vaults>(access: &Access<N, V>, snapshot: &Snapshot) -> Result<Vault, ObjectError> {
    let (scope, name) = (snapshot.scope.0, &snapshot.record.vault);
    let opened = access.vaults.open(scope, name).await;
    access.counters.vaults.opened(scope, name, &opened);
    opened
}

async fn write_metadata<N: Query, V: Vaults>(
    access: &Access<N, V>,
    snapshot: &Snapshot,
    lists: Lists,
    path: &ObjectPath,
) -> Result<(), StepError> {
    let vault = open(access, snapshot).await?;
    let head = match snapshot.is_of_instance() {
        // It lists up to a thousand collections, each with its sums, and looks past as many keys of dropped ones.
        true => {
            let (shown, place) = (snapshot.clone(), path.clone());
            access.node.read_large(move |reader| head(reader, &shown, lists, &place)).await??
        }
        // A few rows, and its partitions: who makes a snapshot does not wait for a place among large reads as well.
        false => access.node.read(|reader| head(reader, snapshot, lists, path))?,
    };
    let existing = match lists {
        Lists::Without => Existing::Refuse,
        Lists::With => Existing::Replace,
    };
    let object = vault.writer(path, existing, None).await?;
    let mut writer = MetadataWriter::begin(object, &head).await?;
    // Those of an instance are in the files of its collections.
    if lists == Lists::With && !snapshot.is_of_instance() {
        for list in [LongList::Manifests, LongList::Segments, LongList::Builds] {
            write_list(access, snapshot, &mut writer, list).await?;
        }
    }
    writer.finish(LAYOUT_REFERENCED).await?;
    access.counters.vaults.worked(snapshot.scope.0, &snapshot.record.vault);
    Ok(())
}

/// The long lists, in the order of the file.
#[derive(Clone, Copy)]
enum LongList {
    Manifests,
    Segments,
    Builds,
}

/// Walks over all segments for one list: what is written is read once more, so that nothing has to be kept.
async fn write_list<N: Query, V>(
    access: &Access<N, V>,
    snapshot: &Snapshot,
    writer: &mut MetadataWriter,
    list: LongList,
) -> Result<(), StepError> {
    let (collection, revision) = (snapshot.record.collection_id as i64, snapshot.revision.0 as i64);
    let mut after_key = None;
    while let Some((segments, resume_after)) = segment_page(access, snapshot, &after_key).await? {
        for (id, record) in segments {
            match list {
                LongList::Manifests => writer.manifest_path(manifest_path(collection, revision, id)?.as_str()).await?,
                LongList::Segments => writer.segment_id(id).await?,
                LongList::Builds => {
                    for build_id in builds_of(id, record)? {
                        writer.build_id(build_id).await?;
                    }
                }
            }
        }
        after_key = Some(resume_after);
    }
    Ok(())
}

/// The builds that a segment's index files are of, as far as these say so.
fn builds_of(segment: i64, record: Bytes) -> Result<BTreeSet<i64>, StoreError> {
    let record = SegmentRecord::decode(record).map_err(|error| StoreError(format!("segment {segment} does not decode: {error}")))?;
    let builds = record
        .files
        .iter()
        .filter_map(|file| file.index.as_ref())
        .map(|index| index.build_id);
    Ok(builds.filter(|build_id| *build_id != 0).collect())
}

/// Ids and records of some segments of a snapshot.
type SegmentPage = (Vec<(i64, Bytes)>, Option<Vec<u8>>);

/// The segments after a page; `after` is `None` for the first, and `Some(None)` behind the last.
async fn segment_page<N: Query, V>(
    access: &Access<N, V>,
    snapshot: &Snapshot,
    after: &Option<Option<Vec<u8>>>,
) -> Result<Option<SegmentPage>, StepError> {
    let after_key = match after {
        Some(None) => return Ok(None),
        Some(after_key) => after_key.clone(),
        None => None,
    };
    let source = JobRecord {
        source_scope: snapshot.scope.0,
        source_revision: snapshot.revision.0,
        source_collection_id: snapshot.record.collection_id,
        ..JobRecord::default()
    };
    let page = read_page(access, move |reader| {
        let mut source = Source::open(reader, &source)?;
        source.page(VersionedTable::Segment, after_key.as_deref(), limits::MAX_PAGE_ROWS)
    });
    let page = page.await??;
    let segments = page
        .rows
        .into_iter()
        .map(|row| ids_of(&row.key).map(|[_, _, segment]| (segment as i64, row.value)));
    let segments = segments.collect::<Result<Vec<_>, _>>()?;
    Ok(Some((segments, page.resume_after)))
}

/// Reads a page of a long list. One that finds no place among large reads in time is read again, up to a bound: to give the file up for it
/// would be to write all pages before it once more.
async fn read_page<N: Query, V, R: Send + 'static>(
    access: &Access<N, V>,
    read: impl FnMut(&dyn Reader) -> R + Clone + Send + 'static,
) -> Result<R, MetaError> {
    for _ in 1..PAGE_TRIES {
        match access.node.read_large(read.clone()).await {
            Err(error) if error.code == ErrorCode::TooManyRequests => access.complaints.log("read a page of a list", &error),
            outcome => return outcome,
        }
    }
    access.node.read_large(read).await
}

/// What stands before the long lists.
fn head(reader: &dyn Reader, snapshot: &Snapshot, lists: Lists, path: &ObjectPath) -> Result<MetadataHead, StepError> {
    let record = &snapshot.record;
    let lineage = Lineage::of(reader, snapshot.scope, snapshot.revision)?;
    let collection = lineage.get(reader, VersionedTable::Collection, &record.collection_id.to_be_bytes())?;
    let collection = match collection {
        Some(row) => quorate_state_machine::command::decode_record::<CollectionRecord>(&row.key, row.value)?,
        None => CollectionRecord::default(),
    };
    let partitions = partitions(reader, &lineage, record.collection_id)?;
    let instance = match snapshot.is_of_instance() {
        true => Some(instance(reader, snapshot, lists)?),
        false => None,
    };
    // The schema is the caller's own: JSON is shown, anything else is not.
    let given: serde_json::Value = serde_json::from_slice(&collection.schema).unwrap_or_default();
    let (schema, schema_as_given) = match is_schema_message(&given) {
        true => (given, serde_json::Value::Null),
        false => (serde_json::Value::Null, given),
    };
    Ok(MetadataHead {
        format_version: FORMAT_VERSION,
        snapshot_info: SnapshotInfo {
            name: record.name.clone(),
            id: snapshot.revision.0 as i64,
            description: record.description.clone(),
            collection_id: record.collection_id as i64,
            partition_ids: partitions.values().copied().collect(),
            create_ts: (record.created_ms as i64) << HYBRID_COUNTER_BITS,
            s3_location: path.to_string(),
            state: STATE_COMMITTED,
            ..SnapshotInfo::default()
        },
        collection: CollectionDescription {
            schema,
            schema_as_given,
            num_partitions: partitions.len() as i64,
            properties: collection
                .properties
                .into_iter()
                .map(|(key, value)| Property { key, value })
                .collect(),
            partitions,
            ..CollectionDescription::default()
        },
        instance,
        ..MetadataHead::default()
    })
}

/// What an instance's snapshot shows. The long lists are in the files of its collections, as soon as it has these.
fn instance(reader: &dyn Reader, snapshot: &Snapshot, lists: Lists) -> Result<InstanceDescription, StepError> {
    let shown = collections::first(reader, snapshot, limits::MAX_LISTED_COLLECTIONS)?;
    let mut summaries = Vec::with_capacity(shown.collections.len());
    for one in shown.collections {
        let s3_location = match lists {
            Lists::With => location_of(&collections::alone(snapshot, one.id))?.to_string(),
            Lists::Without => String::new(),
        };
        summaries.push(CollectionSummary {
            s3_location,
            ..summary(one)
        });
    }
    Ok(InstanceDescription {
        collections: summaries,
        more_collections: shown.more,
        lacks: ["manifest_list", "segment_ids", "build_ids"].map(str::to_owned).to_vec(),
    })
}

fn summary(shown: ShownCollection) -> CollectionSummary {
    let ShownCollection {
        database,
        name,
        id,
        partitions,
        stats,
    } = shown;
    CollectionSummary {
        database,
        name,
        id: id as i64,
        num_partitions: partitions as i64,
        num_segments: stats.segments as i64,
        num_rows: stats.rows as i64,
        num_files: stats.files as i64,
        num_bytes: stats.bytes as i64,
        ..CollectionSummary::default()
    }
}

fn partitions(reader: &dyn Reader, lineage: &Lineage, collection_id: u64) -> Result<BTreeMap<String, i64>, StoreError> {
    if collection_id == 0 {
        return Ok(BTreeMap::new());
    }
    let scan = LineageScan {
        table: VersionedTable::Partition,
        prefix: &collection_id.to_be_bytes(),
        after_key: None,
        limit: PageLimit {
            rows: limits::MAX_PARTITIONS as usize,
            bytes: usize::MAX,
            keys: usize::MAX,
        },
    };
    let rows = lineage.scan(reader, &scan)?.rows.into_iter().map(|row| {
        let id = row.key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let partition =
            PartitionRecord::decode(row.value).map_err(|error| StoreError(format!("partition {id} does not decode: {error}")))?;
        Ok((partition.name, id as i64))
    });
    rows.collect()
}

/// Deletes the files of a dropped snapshot, then its record. The files are condemned with the record in any case, so a vault that cannot
/// be used, perhaps for ever, does not keep the snapshot and all that its pin keeps. Of an instance with very many collections this is one
/// step of several: the record stays until the last.
async fn remove<N: Query + Propose, V: Vaults>(access: &Access<N, V>, snapshot: &Snapshot) -> Result<(), StepError> {
    access.node.confirm().await?;
    let (scope, name) = (snapshot.scope.0, &snapshot.record.vault);
    let next = access
        .node
        .read(|reader| collections::noted(reader, snapshot, None, lifecycle::COLLECTIONS_AT_ONCE))?;
    let deleted = match open(access, snapshot).await {
        Ok(vault) => {
            let deleted = delete_files(&vault, snapshot, &next).await;
            access.counters.vaults.note(scope, name, &deleted);
            deleted
        }
        Err(error) => Err(error),
    };
    if let Err(error) = deleted {
        access.complaints.log("delete the files of a snapshot", &error);
    }
    fail::fail_point!("snapshot_files_deleted", |_| Ok(()));
    let command = RemoveSnapshot {
        scope: snapshot.scope.0,
        revision: snapshot.revision.0,
    };
    access.node.propose(&command).await?;
    Ok(())
}

/// Deletes the files of some collections, and those of the snapshot itself with the last of them.
async fn delete_files(vault: &Vault, snapshot: &Snapshot, ids: &[u64]) -> Result<(), ObjectError> {
    for collection in ids {
        delete_places(vault, &collections::alone(snapshot, *collection)).await?;
    }
    if ids.len() < lifecycle::COLLECTIONS_AT_ONCE {
        delete_places(vault, snapshot).await?;
    }
    Ok(())
}

async fn delete_places(vault: &Vault, snapshot: &Snapshot) -> Result<(), ObjectError> {
    for (directory, files) in lifecycle::places(snapshot) {
        let directory = ObjectPath::new(directory)?;
        if files.is_empty() {
            vault.delete_prefix(&directory).await?;
        }
        for file in files {
            vault.delete(&directory.join(&file)?).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_wire::quorate::v1::{FileKind, IndexFile, SegmentFile};

    #[test]
    fn each_build_of_a_segment_is_listed_once() {
        let file = |build_id: Option<i64>| SegmentFile {
            kind: FileKind::Index as i32,
            index: build_id.map(|build_id| IndexFile {
                build_id,
                ..IndexFile::default()
            }),
            ..SegmentFile::default()
        };
        let record = SegmentRecord {
            files: [Some(9), None, Some(7), Some(9), Some(0)].map(file).to_vec(),
            ..SegmentRecord::default()
        };
        let builds = builds_of(1, record.encode_to_vec().into()).expect("decodes");
        assert_eq!(builds.into_iter().collect::<Vec<_>>(), [7, 9]);
    }
}
