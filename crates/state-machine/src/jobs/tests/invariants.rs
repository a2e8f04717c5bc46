//! What must hold after every step, computed anew from the records.

use super::fixture::{BASE_SCOPE, CLONE_SCOPE, CLONE_STORE, SOURCE_SCOPE, id_key};
use crate::command::decode_record;
use crate::jobs::{self, rows};
use crate::keys::{self, RecordTable, VersionedTable, space};
use crate::limits;
use crate::record::*;
use crate::store::Reader;
use crate::testing::Bench;
use crate::versioned::{self, Lineage, LineageScan, PageLimit};
use bytes::Bytes;
use prost::Message;
use quorate_model::job_states::job_has_ended;
use quorate_model::{Revision, ScopeId};
use quorate_wire::quorate::v1::{JobKind, JobState, TaskState};
use std::collections::{BTreeMap, BTreeSet};

/// All rows of a plain table.
pub fn table<M: Message + Default>(bench: &Bench, table: RecordTable) -> Vec<(Bytes, M)> {
    let prefix = keys::record_prefix(table).freeze();
    let rows = bench.store.rows.iter().filter(|(key, _)| key.starts_with(&prefix));
    rows.map(|(key, value)| (key.clone(), decode_record(key, value.clone()).expect("decodes")))
        .collect()
}

fn keys_of(bench: &Bench, table: RecordTable) -> BTreeSet<Bytes> {
    let prefix = keys::record_prefix(table).freeze();
    bench.store.rows.keys().filter(|key| key.starts_with(&prefix)).cloned().collect()
}

pub fn check(bench: &Bench) {
    let jobs: BTreeMap<u64, JobRecord> = table::<JobRecord>(bench, RecordTable::Job)
        .into_iter()
        .map(|(key, record)| (rows::job_of(&key).expect("a job's key"), record))
        .collect();
    let mut tasks: BTreeMap<u64, Vec<(u32, TaskRecord)>> = BTreeMap::new();
    for (key, record) in table::<TaskRecord>(bench, RecordTable::Task) {
        let job = u64::from_be_bytes(key[2..10].try_into().expect("8 bytes"));
        tasks
            .entry(job)
            .or_default()
            .push((rows::task_of(&key).expect("a task's key"), record));
    }
    check_index_rows(bench, &jobs, &tasks);
    let none = Vec::new();
    for (id, record) in &jobs {
        check_progress(bench, *id, record, tasks.get(id).unwrap_or(&none));
        check_end(bench, *id, record, tasks.get(id).unwrap_or(&none));
    }
    let pins = bench
        .store
        .rows
        .keys()
        .filter(|key| matches!(key[0], space::PIN | space::HOLD))
        .count();
    assert_eq!(bench.counters().pins, pins as u64);
    bench.check_content();
}

fn check_index_rows(bench: &Bench, jobs: &BTreeMap<u64, JobRecord>, tasks: &BTreeMap<u64, Vec<(u32, TaskRecord)>>) {
    let (mut open, mut claimed) = (BTreeSet::new(), BTreeSet::new());
    for (job, tasks) in tasks {
        for (number, task) in tasks {
            match task.state() {
                TaskState::TaskOpen => drop(open.insert(rows::open(*job, task.not_before_ms, *number))),
                TaskState::TaskClaimed => drop(claimed.insert(rows::claimed(*job, *number))),
                _ => {}
            }
        }
    }
    assert_eq!(keys_of(bench, RecordTable::OpenTask), open);
    assert_eq!(keys_of(bench, RecordTable::ClaimedTask), claimed);
    let active = jobs.iter().filter(|(_, record)| !job_has_ended(record.state()));
    let active: BTreeSet<Bytes> = active.map(|(id, _)| rows::active(*id)).collect();
    assert_eq!(bench.counters().active_jobs, active.len() as u64);
    assert_eq!(keys_of(bench, RecordTable::ActiveJob), active);
    let manifests = jobs
        .values()
        .filter(|record| record.kind() == JobKind::Manifests && !job_has_ended(record.state()));
    assert_eq!(bench.counters().active_manifests, manifests.count() as u64);
    let by_target = jobs
        .iter()
        .map(|(id, record)| rows::by_target(record.target_scope, record.target_collection_id, *id));
    assert_eq!(keys_of(bench, RecordTable::JobByTarget), by_target.collect());
    let ended = jobs.iter().filter(|(_, record)| job_has_ended(record.state()));
    let retention = ended.map(|(id, record)| rows::retention(record.ended_ms, *id));
    assert_eq!(keys_of(bench, RecordTable::JobRetention), retention.collect());
}

fn check_progress(bench: &Bench, id: u64, record: &JobRecord, tasks: &[(u32, TaskRecord)]) {
    // The tasks of an ended job are being removed before it is.
    if job_has_ended(record.state()) && bench.now_ms >= record.ended_ms + limits::JOB_RETENTION_MS {
        return;
    }
    let progress = jobs::active_progress(&bench.store, id).expect("reads").or(record.progress.clone());
    let progress = progress.unwrap_or_default();
    let count = |state: TaskState| tasks.iter().filter(|(_, task)| task.state() == state).count() as u32;
    let sum = |tasks: &mut dyn Iterator<Item = &(u32, TaskRecord)>| {
        tasks.fold(StatsRecord::default(), |all, (_, task)| jobs::sum(Some(all), task.expected))
    };
    assert_eq!(progress.tasks_planned as usize, tasks.len());
    assert_eq!(progress.tasks_done, count(TaskState::TaskCompleted));
    assert_eq!(progress.tasks_claimed, count(TaskState::TaskClaimed));
    assert_eq!(progress.planned.unwrap_or_default(), sum(&mut tasks.iter()));
    let mut done = tasks.iter().filter(|(_, task)| task.state() == TaskState::TaskCompleted);
    assert_eq!(progress.done.unwrap_or_default(), sum(&mut done));
}

/// Whether the target is visible, and what of the job is left, follow from how it ended.
fn check_end(bench: &Bench, id: u64, record: &JobRecord, tasks: &[(u32, TaskRecord)]) {
    let (state, has_ended) = (record.state(), job_has_ended(record.state()));
    let pin = versioned::rows::pin(ScopeId(record.source_scope), Revision(record.source_revision), record.source_pin);
    assert_eq!(bench.store.get(&pin).expect("reads").is_some(), !has_ended, "the pin of job {id}");
    let was_discarded = has_ended && state != JobState::JobCompleted;
    let dropped = table::<DroppedRecord>(bench, RecordTable::Dropped);
    let is_dropped = dropped
        .iter()
        .any(|(key, dropped)| key[2..10] == record.target_scope.to_be_bytes() && dropped.collection_id == record.target_collection_id);
    let directory = jobs::directory(record, id);
    let condemned = table::<CondemnedRecord>(bench, RecordTable::Condemned);
    let is_condemned = condemned
        .iter()
        .any(|(_, condemned)| condemned.path == directory && condemned.files.is_empty());
    assert_eq!(is_condemned, was_discarded && record.copies_files, "the files of job {id}");
    match record.kind() {
        JobKind::Restore => {
            assert_eq!(is_dropped, was_discarded);
            let reserved = jobs::publication::reserved_name(record);
            assert_eq!(bench.store.get(&reserved).expect("reads").is_some(), !has_ended);
            let lineage = Lineage::of(&bench.store, ScopeId(SOURCE_SCOPE), Revision(u64::MAX)).expect("reads");
            let key = id_key(&[record.target_collection_id]);
            let visible = lineage
                .get(&bench.store, VersionedTable::Collection, &key)
                .expect("reads")
                .is_some();
            assert_eq!(visible, state == JobState::JobCompleted, "the target of job {id}");
            check_staged(bench, record, tasks);
        }
        JobKind::CompactClone => {
            let parent = versioned::lineage::parent(&bench.store, ScopeId(CLONE_SCOPE))
                .expect("reads")
                .expect("a clone");
            assert_eq!(parent.base_complete, state == JobState::JobCompleted, "the base layer of job {id}");
            assert_eq!(is_dropped, was_discarded);
            check_base(bench, record);
        }
        _ => {}
    }
}

/// Rows of a base layer are the source's, but for segments, and for where new files of collections go.
fn check_base(bench: &Bench, record: &JobRecord) {
    let level = |scope: u64, revision: u64| Lineage::of(&bench.store, ScopeId(scope), Revision(revision)).expect("reads");
    let (source, base) = (level(record.source_scope, record.source_revision), level(BASE_SCOPE, u64::MAX));
    for table in VersionedTable::ALL {
        if table == VersionedTable::Segment {
            continue;
        }
        let all = LineageScan {
            table,
            prefix: b"",
            after_key: None,
            limit: PageLimit::default(),
        };
        for row in base.scan(&bench.store, &all).expect("reads").rows {
            let found = source
                .get(&bench.store, table, &row.key)
                .expect("reads")
                .expect("the source has it");
            let mut expected = found.value;
            if table == VersionedTable::Collection {
                let mut collection: CollectionRecord = decode_record(&row.key, expected).expect("decodes");
                collection.vault = CLONE_STORE.to_owned();
                expected = collection.encode_to_vec().into();
            }
            assert_eq!(row.value, expected, "a row of {table:?} in the base layer");
        }
    }
}

/// Staged rows are those of the tasks that are done, each once.
fn check_staged(bench: &Bench, record: &JobRecord, tasks: &[(u32, TaskRecord)]) {
    let prefix = {
        let mut prefix = bytes::BytesMut::from(&[space::VERSIONED, VersionedTable::Segment as u8][..]);
        prefix.extend_from_slice(&record.target_scope.to_be_bytes());
        keys::put_escaped_prefix(&mut prefix, &record.target_collection_id.to_be_bytes());
        prefix.freeze()
    };
    let staged = bench.store.rows.keys().filter(|key| key.starts_with(&prefix)).count() as u64;
    let done = tasks.iter().filter(|(_, task)| task.state() == TaskState::TaskCompleted);
    let expected: u64 = done.map(|(_, task)| task.expected.unwrap_or_default().segments).sum();
    // Retention takes tasks away, not what they made.
    if !tasks.is_empty() && bench.now_ms < record.created_ms + limits::JOB_RETENTION_MS {
        assert_eq!(staged, expected);
    }
    assert_ne!(record.target_scope, BASE_SCOPE);
}
