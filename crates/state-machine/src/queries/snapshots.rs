//! Reads of snapshots, and of an instance's settings for them.
//!
//! A list is ordered by collection and name, and goes on where the page before ended: what is made or dropped meanwhile is seen
//! or not, and nothing else is left out or shown twice.

use super::QueryError;
use crate::attributes;
use crate::command::read_record;
use crate::instances::{self, Route};
use crate::keys::{COUNTERS_KEY, RecordTable, VersionedTable, record_prefix};
use crate::record::Counters;
use crate::snapshots::{self, Snapshot, lifecycle, names, names_prefix, numbers_of, shown};
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned::{Lineage, LineageScan, PageLimit};
use crate::{jobs, limits};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::doris::{GetInstanceRequest, SnapshotSwitchStatus};
use quorate_wire::quorate::v1::{self, DescribeSnapshotRequest, ListSnapshotsReply, ListSnapshotsRequest, SnapshotState};

/// One snapshot.
pub fn describe_snapshot(reader: &dyn Reader, request: &DescribeSnapshotRequest) -> Result<v1::Snapshot, QueryError> {
    let reference = names::checked_reference(request.snapshot.clone().unwrap_or_default())?;
    let scope = scope_of(reader, &request.instance_id)?;
    let snapshot = names::require(reader, scope, &reference)?;
    Ok(shown::show(reader, &snapshot, stamped(reader)?.stamped_ms)?)
}

/// One page of the snapshots of a collection, or of all of an instance. Those being deleted are not listed.
pub fn list_snapshots(reader: &dyn Reader, request: &ListSnapshotsRequest) -> Result<ListSnapshotsReply, QueryError> {
    let scope = scope_of(reader, &request.instance_id)?;
    let counters = stamped(reader)?;
    let collection = match request.collection.as_str() {
        "" if !request.database.is_empty() => {
            return Err(MetaError::invalid("list_snapshots names a database and no collection; name the collection, or neither").into());
        }
        "" => None,
        name => {
            let database = names::database_or_default(&request.database);
            Some(names::require_collection(reader, scope, database, name)?)
        }
    };
    let prefix = names_prefix(scope, collection);
    let mut start = prefix.to_vec();
    if !request.page_token.is_empty() {
        start = from_token(&request.page_token)?;
        if !start.starts_with(&prefix) {
            return Err(MetaError::invalid("page token is of another list; pass what this one returned, or list anew").into());
        }
        // Behind the row that the token names.
        start.push(0);
    }
    let rows = match request.page_size as usize {
        0 => limits::MAX_PAGE_ROWS,
        rows => rows.min(limits::MAX_PAGE_ROWS),
    };
    let mut reply = ListSnapshotsReply {
        revision: counters.revision,
        ..ListSnapshotsReply::default()
    };
    let mut cursor = reader.cursor(&start, &prefix_end(&prefix))?;
    let (mut last, mut bytes) = (Vec::new(), 0);
    while let Some((key, value)) = cursor.row() {
        let snapshot = indexed(reader, scope, key, value)?;
        let snapshot = shown::show(reader, &snapshot, counters.stamped_ms)?;
        bytes += prost::Message::encoded_len(&snapshot);
        if reply.snapshots.len() == rows || (bytes > limits::MAX_PAGE_BYTES && !reply.snapshots.is_empty()) {
            reply.next_page_token = last.iter().map(|byte: &u8| format!("{byte:02x}")).collect();
            return Ok(reply);
        }
        last = key.to_vec();
        reply.snapshots.push(snapshot);
        cursor.next()?;
    }
    Ok(reply)
}

fn indexed(reader: &dyn Reader, scope: ScopeId, key: &[u8], value: &[u8]) -> Result<Snapshot, StoreError> {
    let revision = names::revision_of(key, value)?;
    let found = snapshots::find(reader, scope, revision)?;
    found.ok_or_else(|| StoreError(format!("name row {key:02x?} names no snapshot")))
}

/// The scope of an instance; also of one that was dropped, while snapshots of it are left: whoever looks for what keeps its data must
/// find them, and their pins.
fn scope_of(reader: &dyn Reader, instance_id: &str) -> Result<ScopeId, QueryError> {
    if instance_id.is_empty() {
        return Err(MetaError::invalid("instance_id is empty; name the instance").into());
    }
    if let Some(scope) = instances::scope_of(reader, instance_id)?
        && lifecycle::count(reader, scope)? > 0
    {
        return Ok(scope);
    }
    attributes::live_scope(reader, instance_id)
}

fn stamped(reader: &dyn Reader) -> Result<Counters, StoreError> {
    Ok(read_record(reader, COUNTERS_KEY)?.unwrap_or_default())
}

/// A token is the key of the last row that was shown, in hex.
fn from_token(text: &str) -> Result<Vec<u8>, MetaError> {
    let refused = || MetaError::invalid("page token is malformed; pass it as the page before returned it, or list anew");
    // Escaped, a name is at most twice as long.
    if !text.is_ascii() || !text.len().is_multiple_of(2) || text.len() > 2 * (64 + 2 * limits::MAX_NAME_BYTES) {
        return Err(refused());
    }
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    let bytes: Option<Vec<u8>> = pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    bytes.ok_or_else(refused)
}

/// Names of the partitions a snapshot of a collection shows, in order; read as of its revision, which its pin keeps.
pub fn partition_names(reader: &dyn Reader, snapshot: &Snapshot) -> Result<Vec<String>, QueryError> {
    let lineage = Lineage::of(reader, snapshot.scope, snapshot.revision)?;
    let prefix = snapshot.record.collection_id.to_be_bytes();
    let (mut names, mut after_key) = (Vec::new(), None::<Vec<u8>>);
    loop {
        let scan = LineageScan {
            table: VersionedTable::PartitionName,
            prefix: &prefix,
            after_key: after_key.as_deref(),
            limit: PageLimit::default(),
        };
        let page = lineage.scan(reader, &scan)?;
        for row in page.rows {
            let name = String::from_utf8(row.key[prefix.len()..].to_vec());
            names.push(name.map_err(|error| StoreError(format!("partition name is not text: {error}")))?);
        }
        after_key = page.resume_after;
        if after_key.is_none() {
            return Ok(names);
        }
    }
}

/// What a reconciler has to do for a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkKind {
    /// Write the metadata file, then `commit_snapshot`.
    WriteMetadata,
    /// Start the job that writes the manifests.
    StartManifests,
    /// Nothing: the job is at it, or has just failed.
    AwaitManifests,
    /// Write the metadata file with the lists of manifests, then `commit_snapshot` with `manifests_listed`.
    ListManifests,
    /// Delete what is at [`snapshots::lifecycle::places`], then `remove_snapshot`.
    DeleteFiles,
}

#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotWork {
    pub kind: WorkKind,
    pub snapshot: Snapshot,
}

/// What there is to do, at most `limit` of it, behind a snapshot or from the beginning.
pub fn snapshot_work(reader: &dyn Reader, after: Option<(ScopeId, Revision)>, limit: usize) -> Result<Vec<SnapshotWork>, QueryError> {
    let prefix = record_prefix(RecordTable::SnapshotWork);
    let start = match after {
        None => prefix.to_vec(),
        Some((scope, revision)) => {
            let mut key = snapshots::work_key(scope, revision).to_vec();
            key.push(0);
            key
        }
    };
    let now_ms = stamped(reader)?.stamped_ms;
    let mut cursor = reader.cursor(&start, &prefix_end(&prefix))?;
    let mut work = Vec::new();
    while let Some((key, _)) = cursor.row() {
        if work.len() == limit {
            break;
        }
        let [scope, revision] = numbers_of::<2>(key)?;
        let found = snapshots::find(reader, ScopeId(scope), Revision(revision))?;
        let snapshot = found.ok_or_else(|| StoreError(format!("work row {key:02x?} names no snapshot")))?;
        work.push(SnapshotWork {
            kind: kind_of(reader, &snapshot, now_ms)?,
            snapshot,
        });
        cursor.next()?;
    }
    Ok(work)
}

fn kind_of(reader: &dyn Reader, snapshot: &Snapshot, now_ms: u64) -> Result<WorkKind, StoreError> {
    let record = &snapshot.record;
    match snapshot.state() {
        SnapshotState::Pending => Ok(WorkKind::WriteMetadata),
        SnapshotState::Deleting => Ok(WorkKind::DeleteFiles),
        SnapshotState::Committed if record.manifests_complete => Ok(WorkKind::ListManifests),
        SnapshotState::Committed if awaits_job(reader, record.manifest_job, now_ms)? => Ok(WorkKind::AwaitManifests),
        SnapshotState::Committed => Ok(WorkKind::StartManifests),
        state => Err(StoreError(format!(
            "snapshot {} of scope {} is {} and has a work row",
            snapshot.revision,
            snapshot.scope,
            state.as_str_name()
        ))),
    }
}

/// Whether a job is at it; one that failed is not followed by the next at once.
pub fn awaits_job(reader: &dyn Reader, job: u64, now_ms: u64) -> Result<bool, StoreError> {
    if job == 0 {
        return Ok(false);
    }
    let record = jobs::find(reader, job)?;
    Ok(record.is_some_and(|record| record.ended_ms == 0 || record.ended_ms.saturating_add(limits::MANIFESTS_RETRY_MS) > now_ms))
}

/// What `get_snapshot_property` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotProperties {
    /// `UNSUPPORTED`, `DISABLED` or `ENABLED`.
    pub status: &'static str,
    /// Only if set, like the next.
    pub max_reserved_snapshots: Option<i64>,
    pub snapshot_interval_seconds: Option<i64>,
}

/// Names the instance as `get_instance` does, and refuses in its words.
pub fn get_snapshot_property(reader: &dyn Reader, request: &GetInstanceRequest) -> Result<SnapshotProperties, QueryError> {
    let instance_id = super::instances::requested_instance(reader, request)?;
    let info = instances::require(reader, &instance_id, Route::GetInstance)?.info;
    Ok(SnapshotProperties {
        status: match info.snapshot_switch_status() {
            SnapshotSwitchStatus::SnapshotSwitchDisabled => "UNSUPPORTED",
            SnapshotSwitchStatus::SnapshotSwitchOff => "DISABLED",
            SnapshotSwitchStatus::SnapshotSwitchOn => "ENABLED",
        },
        max_reserved_snapshots: info.max_reserved_snapshot,
        snapshot_interval_seconds: info.snapshot_interval_seconds,
    })
}

#[cfg(test)]
mod tests;
