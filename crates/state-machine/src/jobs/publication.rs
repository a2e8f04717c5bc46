//! Makes a finished job's results visible, in one small entry.

use super::source::is_of_whole_instance;
use super::{ActiveJob, ending, rewriting, rows, tasks};
use crate::clones;
use crate::command::{ApplyContext, ApplyError, decode_record};
use crate::inherited;
use crate::instances::{self, Instance};
use crate::keys::{self, RecordTable, VersionedTable};
use crate::limits;
use crate::record::{CollectionRecord, DatabaseRecord, JobRecord, NameRecord, ParentRecord};
use crate::snapshots;
use crate::store::{Reader, StoreError};
use crate::versioned::lineage::parent_key;
use crate::versioned::{self, Lineage, LineageScan, PageLimit, lineage};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId};
use quorate_wire::doris::SnapshotCompactStatus;
use quorate_wire::quorate::v1::{JobKind, JobState};

/// Why a job cannot be published any more, if that is so: what it was to fill is gone. `None` while all is well.
pub fn obstacle(reader: &dyn Reader, record: &JobRecord) -> Result<Option<String>, StoreError> {
    match record.kind() {
        JobKind::Restore => {
            let scope = ScopeId(record.target_scope);
            if live_instance(reader, scope)?.is_none() {
                return Ok(Some(format!("instance {} was dropped", record.target_instance_id)));
            }
            let database_id = record.collection_row.as_ref().map_or(0, |row| row.database_id);
            Ok((!database_exists(reader, scope, database_id, &record.target_database)?)
                .then(|| format!("database {} was dropped", record.target_database)))
        }
        // What is left to do has nothing in its way.
        JobKind::CompactClone if record.base_published_at != 0 => Ok(None),
        JobKind::CompactClone => match (
            compacting_instance(reader, record)?,
            lineage::parent(reader, ScopeId(record.clone_scope))?,
        ) {
            (Some(_), Some(parent)) if parent.base_scope == record.target_scope && !parent.base_complete => Ok(None),
            _ => Ok(Some(format!("clone {} was dropped", record.target_instance_id))),
        },
        JobKind::Manifests => {
            let snapshot = snapshots::find(reader, ScopeId(record.source_scope), Revision(record.snapshot_revision))?;
            let is_usable = snapshot.is_some_and(|snapshot| snapshots::check_usable(&snapshot).is_ok());
            Ok((!is_usable).then(|| format!("snapshot {} was dropped", record.snapshot_name)))
        }
        JobKind::Unspecified => Ok(Some(format!("job kind {} is unknown", record.kind))),
    }
}

/// Publishes. Refuses unless every task is done and what they did is what was planned. A compaction after which manifests have to be written
/// anew is published twice: it ends with the second.
pub fn publish(context: &mut ApplyContext<'_, '_>, job: ActiveJob) -> Result<JobRecord, ApplyError> {
    let refuse = |why: String| Err(MetaError::new(ErrorCode::PreconditionFailed, format!("job {}: {why}", job.id)).into());
    if job.record.state() != JobState::JobRunning || !tasks::all_done(&job) {
        let (done, planned) = (job.progress.tasks_done, job.progress.tasks_planned);
        return refuse(format!(
            "{done} of {planned} tasks are done, and it is {}",
            super::state_name(&job.record)
        ));
    }
    if let Some(obstacle) = obstacle(context.reader(), &job.record)? {
        return refuse(obstacle);
    }
    match job.record.kind() {
        JobKind::Restore => publish_collection(context, &job)?,
        JobKind::CompactClone => {
            let is_first = job.record.base_published_at == 0;
            let since = rewriting::since(context, &job.record);
            let waiting = rewriting::waiting(context.reader(), &job.record, since, 1)?;
            if is_first {
                publish_base(context, &job.record)?;
            }
            match waiting.first() {
                None => {
                    compaction_is_done(context, &job.record)?;
                    let given_up = rewriting::said_of_given_up(context.reader(), &job.record)?;
                    return ending::end(context, job, JobState::JobCompleted, &given_up);
                }
                Some(snapshot) if !is_first => {
                    return refuse(format!(
                        "manifests of snapshot {} have to be written anew before",
                        snapshot.record.name
                    ));
                }
                Some(_) => {
                    let least_ms = context.now().0.saturating_add(limits::REWRITING_LEAST_MS);
                    let record = JobRecord {
                        base_published_at: since.0,
                        deadline_ms: job.record.deadline_ms.max(least_ms),
                        ..job.record.clone()
                    };
                    context.put_record(rows::job(job.id), &record);
                    return Ok(record);
                }
            }
        }
        JobKind::Manifests => {
            let (scope, revision) = (ScopeId(job.record.source_scope), Revision(job.record.snapshot_revision));
            if let Some(mut snapshot) = snapshots::find(context.reader(), scope, revision)? {
                snapshot.record.manifests_complete = true;
                snapshot.record.replaces_manifests = false;
                snapshot.record.manifests_given_up = 0;
                if is_of_whole_instance(&job.record) {
                    // Nobody knew how many it shows.
                    snapshot.record.stats = Some(job.progress.done.unwrap_or_default());
                }
                snapshots::save(context, &snapshot)?;
            }
        }
        JobKind::Unspecified => return refuse("its kind is unknown".to_owned()),
    }
    ending::end(context, job, JobState::JobCompleted, "")
}

/// The collection appears: its partitions and segments are there already.
fn publish_collection(context: &mut ApplyContext<'_, '_>, job: &ActiveJob) -> Result<(), ApplyError> {
    let record = &job.record;
    let scope = ScopeId(record.target_scope);
    let row = record.collection_row.clone().unwrap_or_default();
    let name_key = name_key(&row);
    let lineage = Lineage::of(context.reader(), scope, Revision(u64::MAX))?;
    if lineage.get(context.reader(), VersionedTable::CollectionName, &name_key)?.is_some() {
        return Err(MetaError::exists(format!("collection {} exists; its name was reserved", record.target_collection)).into());
    }
    let row = CollectionRecord {
        created_ms: context.now().0,
        created_at: context.revision().0,
        ..row
    };
    let id = record.target_collection_id.to_be_bytes();
    let name = NameRecord {
        id: record.target_collection_id,
    };
    versioned::put(context, VersionedTable::CollectionName, scope, &name_key, &name.encode_to_vec())?;
    versioned::put(context, VersionedTable::Collection, scope, &id, &row.encode_to_vec())?;
    let stats = job.progress.done.unwrap_or_default();
    versioned::put(context, VersionedTable::CollectionStats, scope, &id, &stats.encode_to_vec())?;
    let reserved = reserved_name(record);
    context.changes().remove(reserved);
    Ok(())
}

/// From here on the clone reads its base layer and not its source.
fn publish_base(context: &mut ApplyContext<'_, '_>, record: &JobRecord) -> Result<(), ApplyError> {
    let clone = ScopeId(record.clone_scope);
    if let Some(parent) = lineage::parent(context.reader(), clone)? {
        let parent = ParentRecord {
            base_complete: true,
            holds_files: !record.copies_files,
            ..parent
        };
        context.put_record(parent_key(clone), &parent);
        if parent.holds_files {
            clones::hold_files(context, clone, &parent)?;
        }
        inherited::copies_are_made(context, clone)?;
    }
    Ok(())
}

/// The clone can be decoupled: nothing that is left of it needs its source.
fn compaction_is_done(context: &mut ApplyContext<'_, '_>, record: &JobRecord) -> Result<(), ApplyError> {
    if let Some(mut instance) = compacting_instance(context.reader(), record)? {
        instance
            .info
            .set_snapshot_compact_status(SnapshotCompactStatus::SnapshotCompactDone);
        instances::put(context, &instance);
    }
    Ok(())
}

/// The row that keeps a restore's name for it.
pub fn reserved_name(record: &JobRecord) -> Bytes {
    let row = record.collection_row.as_ref();
    let (database_id, name) = row.map_or((0, ""), |row| (row.database_id, row.name.as_str()));
    reserved_name_key(ScopeId(record.target_scope), database_id, name)
}

/// Where a reserved name of a database is.
pub fn reserved_name_key(scope: ScopeId, database_id: u64, name: &str) -> Bytes {
    let mut key = keys::record_in_scope(RecordTable::ReservedName, scope);
    key.put_u64(database_id);
    keys::put_escaped(&mut key, name.as_bytes());
    key.freeze()
}

fn name_key(row: &CollectionRecord) -> Bytes {
    let mut key = BytesMut::from(&row.database_id.to_be_bytes()[..]);
    key.put_slice(row.name.as_bytes());
    key.freeze()
}

/// The instance of a scope, unless it was dropped.
pub fn live_instance(reader: &dyn Reader, scope: ScopeId) -> Result<Option<Instance>, StoreError> {
    let key = keys::record_in_scope(RecordTable::Scope, scope);
    let Some(name) = reader.get(&key)? else {
        return Ok(None);
    };
    let Ok(name) = std::str::from_utf8(&name) else {
        return Err(StoreError(format!("row of scope {scope} is not a name")));
    };
    let instance = instances::find(reader, name)?;
    Ok(instance.filter(|instance| instance.scope == scope && !instance.is_dropped()))
}

/// The clone that a job compacts, unless it was dropped.
pub fn compacting_instance(reader: &dyn Reader, record: &JobRecord) -> Result<Option<Instance>, StoreError> {
    live_instance(reader, ScopeId(record.clone_scope))
}

/// Whether the database is still there, under its name or, renamed, under another.
fn database_exists(reader: &dyn Reader, scope: ScopeId, database_id: u64, name: &str) -> Result<bool, StoreError> {
    let lineage = Lineage::of(reader, scope, Revision(u64::MAX))?;
    let is_it = |key: &[u8], value: Bytes| -> Result<bool, StoreError> {
        Ok(decode_record::<DatabaseRecord>(key, value)?.database_id == database_id)
    };
    if let Some(row) = lineage.get(reader, VersionedTable::Database, name.as_bytes())?
        && is_it(&row.key, row.value)?
    {
        return Ok(true);
    }
    let mut after_key = None;
    loop {
        let scan = LineageScan {
            table: VersionedTable::Database,
            prefix: b"",
            after_key: after_key.as_deref(),
            limit: PageLimit {
                rows: limits::MAX_PAGE_ROWS,
                ..PageLimit::default()
            },
        };
        let page = lineage.scan(reader, &scan)?;
        for row in page.rows {
            if is_it(&row.key, row.value)? {
                return Ok(true);
            }
        }
        match page.resume_after {
            Some(resume_after) => after_key = Some(resume_after),
            None => return Ok(false),
        }
    }
}
