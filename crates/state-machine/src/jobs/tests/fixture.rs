//! An instance with a collection, a snapshot of it, a clone, and jobs over them.

use crate::command::ApplyContext;
use crate::jobs::{self, plan};
use crate::keys::{self, COUNTERS_KEY, RecordTable, VersionedTable};
use crate::queries;
use crate::record::*;
use crate::testing::{Bench, OTHER_INSTANCE};
use crate::versioned::lineage::parent_key;
use crate::view::View;
use bytes::{BufMut, Bytes};
use prost::Message;
use quorate_model::{Revision, ScopeId, StampedTime};
use quorate_wire::doris::{InstanceInfoPb, ObjectStoreInfoPb};
use quorate_wire::quorate::v1::{JobKind, ReadTaskRequest, SegmentFile, SnapshotState, SourceRow, TaskAssignment};

pub const DATABASE_ID: u64 = 50;
pub const COLLECTION_ID: u64 = 51;
pub const PARTITION_IDS: [u64; 2] = [52, 53];
pub const SEGMENTS: u64 = 6;
/// More than a task may have: each segment is a task of its own.
pub const FILE_BYTES: u64 = 300 << 20;
/// Scope of the instance whose collection is copied, and of the clone.
pub const SOURCE_SCOPE: u64 = 1;
pub const CLONE_SCOPE: u64 = 2;
pub const BASE_SCOPE: u64 = 4;
pub const REVISION: u64 = 10;
/// The clone's own store.
pub const CLONE_STORE: &str = "clone-store";

pub fn id_key(ids: &[u64]) -> Bytes {
    ids.iter().flat_map(|id| id.to_be_bytes()).collect::<Vec<_>>().into()
}

pub fn put_version(bench: &mut Bench, scope: u64, table: VersionedTable, key: &[u8], revision: u64, record: Option<&[u8]>) {
    let row = keys::versioned(table, ScopeId(scope), key, Revision(revision));
    let value = record.map_or(vec![0], |record| [&[1], record].concat());
    bench.store.rows.insert(row, value.into());
}

pub fn segment(id: u64) -> SegmentRecord {
    let file = |name: &str| SegmentFile {
        name: name.to_owned(),
        size_bytes: FILE_BYTES / 2,
        checksum: id,
        ..SegmentFile::default()
    };
    SegmentRecord {
        path: format!("s1/c51/g{id}"),
        vault: "source-vault".to_owned(),
        rows: 10 * id,
        files: vec![file("data"), file("deletes")],
        created_ms: 5,
        owner_scope: 0,
    }
}

fn collection() -> CollectionRecord {
    CollectionRecord {
        database_id: DATABASE_ID,
        name: "source".to_owned(),
        partitions: 2,
        ..CollectionRecord::default()
    }
}

/// A bench with the collection, its snapshot, and a clone of the instance.
pub fn bench() -> Bench {
    let mut bench = Bench::new();
    let scope = SOURCE_SCOPE;
    let database = DatabaseRecord {
        database_id: DATABASE_ID,
        ..DatabaseRecord::default()
    };
    put_version(
        &mut bench,
        scope,
        VersionedTable::Database,
        b"default",
        2,
        Some(&database.encode_to_vec()),
    );
    put_version(
        &mut bench,
        scope,
        VersionedTable::Collection,
        &id_key(&[COLLECTION_ID]),
        2,
        Some(&collection().encode_to_vec()),
    );
    for id in PARTITION_IDS {
        let partition = PartitionRecord::default().encode_to_vec();
        put_version(
            &mut bench,
            scope,
            VersionedTable::Partition,
            &id_key(&[COLLECTION_ID, id]),
            2,
            Some(&partition),
        );
    }
    for id in 0..SEGMENTS {
        let key = id_key(&[COLLECTION_ID, PARTITION_IDS[id as usize % 2], 60 + id]);
        put_version(
            &mut bench,
            scope,
            VersionedTable::Segment,
            &key,
            3,
            Some(&segment(60 + id).encode_to_vec()),
        );
    }
    let snapshot = SnapshotRecord {
        name: "s".to_owned(),
        state: SnapshotState::Committed as i32,
        collection_id: COLLECTION_ID,
        ..SnapshotRecord::default()
    };
    let mut key = keys::record_in_scope(RecordTable::Snapshot, ScopeId(scope));
    key.put_u64(REVISION);
    bench.store.rows.insert(key.freeze(), snapshot.encode_to_vec().into());
    let parent = ParentRecord {
        source_scope: SOURCE_SCOPE,
        source_revision: REVISION,
        base_scope: BASE_SCOPE,
        created_at: REVISION + 1,
        ..ParentRecord::default()
    };
    bench
        .store
        .rows
        .insert(parent_key(ScopeId(CLONE_SCOPE)), parent.encode_to_vec().into());
    for (scope, name) in [(SOURCE_SCOPE, crate::testing::INSTANCE), (CLONE_SCOPE, OTHER_INSTANCE)] {
        let key = keys::record_in_scope(RecordTable::Scope, ScopeId(scope)).freeze();
        bench.store.rows.insert(key, Bytes::copy_from_slice(name.as_bytes()));
    }
    give_store(&mut bench);
    bench.set_counters(|counters| (counters.last_object, counters.next_scope) = (1_000, 5));
    bench
}

/// Gives the clone's instance the store of its own.
fn give_store(bench: &mut Bench) {
    let store = ObjectStoreInfoPb {
        id: Some(CLONE_STORE.to_owned()),
        ..ObjectStoreInfoPb::default()
    };
    let info = InstanceInfoPb {
        instance_id: Some(OTHER_INSTANCE.to_owned()),
        obj_info: vec![store],
        ..InstanceInfoPb::default()
    };
    let record = InstanceRecord {
        scope: CLONE_SCOPE,
        info: info.encode_to_vec().into(),
        ..InstanceRecord::default()
    };
    let key = keys::record_by_name(RecordTable::Instance, OTHER_INSTANCE.as_bytes());
    bench.store.rows.insert(key, record.encode_to_vec().into());
}

/// What a job of each kind is started with. Restores fill a collection named after their number.
pub fn definition(kind: JobKind, number: u64) -> JobRecord {
    let common = JobRecord {
        kind: kind as i32,
        source_scope: SOURCE_SCOPE,
        source_revision: REVISION,
        target_scope: SOURCE_SCOPE,
        target_vault: "target-vault".to_owned(),
        target_database: "default".to_owned(),
        ..JobRecord::default()
    };
    match kind {
        JobKind::Restore => JobRecord {
            source_collection_id: COLLECTION_ID,
            target_collection_id: 200 + number,
            copies_files: true,
            collection_row: Some(CollectionRecord {
                name: format!("restored{number}"),
                ..collection()
            }),
            partitions: PARTITION_IDS
                .iter()
                .map(|id| PartitionMapping {
                    source_id: *id,
                    // The other way round: the order of rows is not that of the source.
                    target_id: 1_000 - *id,
                    name: String::new(),
                })
                .collect(),
            ..common
        },
        JobKind::CompactClone => JobRecord {
            target_scope: BASE_SCOPE,
            clone_scope: CLONE_SCOPE,
            copies_files: number.is_multiple_of(2),
            names_own_places: true,
            ..common
        },
        _ => JobRecord {
            source_collection_id: COLLECTION_ID,
            snapshot_revision: REVISION,
            ..common
        },
    }
}

/// Starts a job as a command does that has decided to.
pub fn start(bench: &mut Bench, definition: JobRecord) -> Result<u64, quorate_model::MetaError> {
    let view = View::new(&bench.store);
    let mut context = ApplyContext::new(&view, bench.counters(), StampedTime(bench.now_ms));
    let started = jobs::start(&mut context, definition.clone());
    let (changes, _) = std::mem::take(&mut context.changes).into_parts();
    let counters = Counters {
        revision: context.counters.revision + 1,
        ..context.counters
    };
    drop(context);
    let id = match started {
        Ok(id) => id,
        Err(crate::command::ApplyError::Refused(error)) => return Err(error),
        Err(crate::command::ApplyError::Store(error)) => panic!("{error}"),
    };
    for change in changes {
        match change.value {
            Some(value) => bench.store.rows.insert(change.key, value),
            None => bench.store.rows.remove(&change.key),
        };
    }
    if definition.kind() == JobKind::Restore {
        let reserved = jobs::publication::reserved_name(&definition);
        bench.store.rows.insert(reserved, Bytes::copy_from_slice(&id.to_be_bytes()));
    }
    bench
        .store
        .rows
        .insert(Bytes::from_static(COUNTERS_KEY), counters.encode_to_vec().into());
    bench.adopt_rows();
    Ok(id)
}

/// The next planning command of a job, as the leader would propose it.
pub fn next_plan(bench: &Bench, job: u64) -> Option<crate::commands::PlanTasks> {
    let job = jobs::find_active(&bench.store, job).expect("reads")?;
    Some(plan::next(&bench.store, &job).expect("plans"))
}

/// Plans a job to its end.
pub fn plan_all(bench: &mut Bench, job: u64) {
    while jobs::find(&bench.store, job).expect("reads").expect("exists").state() == quorate_wire::quorate::v1::JobState::JobPlanning {
        let plan = next_plan(bench, job).expect("active");
        assert!(bench.run(&plan).expect("planned").accepted);
    }
}

/// What a worker reads of its claim.
pub fn source_rows(bench: &Bench, task: &TaskAssignment) -> Vec<SourceRow> {
    let request = ReadTaskRequest {
        job_id: task.job_id,
        task: task.task,
        fence: task.fence,
    };
    queries::jobs::read_task(&bench.store, &request).expect("claimed").rows
}
