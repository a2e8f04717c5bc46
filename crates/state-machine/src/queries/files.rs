//! Which store files are in, and which files the state knows of one store.

use super::QueryError;
use super::page_token::hex_bytes;
use crate::catalog::row_keys;
use crate::catalog::storage::{self, SameStore, StoredVault};
use crate::command::decode_record;
use crate::instances;
use crate::jobs;
use crate::keys::{self, RecordTable, VersionedTable, space};
use crate::limits;
use crate::record::{CondemnedRecord, SegmentRecord, SnapshotRecord, UploadRecord};
use crate::snapshots::{self, Snapshot, collections, lifecycle};
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned;
use bytes::Bytes;
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::{SegmentFile, SnapshotState};

/// The store that a scope's rows mean by a vault, by id or name; empty: the local directory. What nothing can be
/// copied from is refused: HDFS, Azure, and stores that need a role. The caller decrypts and opens it.
pub fn resolve_vault(reader: &dyn Reader, owner: ScopeId, vault: &str) -> Result<StoredVault, QueryError> {
    let instance = storage::require_owner(reader, owner)?;
    let store = storage::resolve_usable(reader, &instance, vault)?;
    if let StoredVault::S3(store) = &store {
        storage::require_s3(store, vault)?;
    }
    Ok(store)
}

/// What the state knows of one directory of a store.
#[derive(Clone, Debug, PartialEq)]
pub struct KnownFiles {
    pub kind: KnownKind,
    /// From the vault's root.
    pub path: String,
    /// Below it; none: whatever is there.
    pub files: Vec<SegmentFile>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KnownKind {
    /// Some revision shows them: they must be there.
    Segment,
    /// Being written.
    Upload,
    /// Being deleted.
    Condemned,
    /// A snapshot's own: what is named must be there, in whatever size.
    Snapshot,
}

/// One page of what is known of a store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VaultPage {
    pub known: Vec<KnownFiles>,
    /// Pass it to go on; empty when nothing is left.
    pub next_page_token: String,
}

/// Everything that the state knows of the files in one store of an instance, page by page: segments of every scope and every
/// revision that is kept, hidden collections and base layers included, uploads, snapshots' own files, the directories of jobs that
/// have not ended, and what is condemned. The local directory is one store for all instances, and so is an object store that several
/// have.
pub fn scan_vault(reader: &dyn Reader, instance_id: &str, vault: &str, page_token: &str) -> Result<VaultPage, QueryError> {
    let instance = instances::find(reader, instance_id)?.ok_or_else(|| missing(instance_id))?;
    let store = storage::resolve_usable(reader, &instance, vault)?;
    let mut scan = VaultScan {
        reader,
        same: SameStore::new(store),
    };
    let malformed = || MetaError::invalid("page token is malformed; pass it as the page before returned it, or list anew");
    let after = hex_bytes(page_token, limits::MAX_LISTED_KEY_BYTES).ok_or_else(malformed)?;
    let mut page = VaultPage::default();
    let (mut looked_at, mut bytes) = (0, 0);
    let stopped_at = walk(reader, &vault_ranges(), &after, |row, value| {
        bytes += value.len();
        page.known.extend(scan.known(row, value)?);
        looked_at += 1;
        Ok(looked_at == limits::MAX_PAGE_KEYS || bytes > limits::MAX_PAGE_BYTES || page.known.len() >= limits::MAX_PAGE_ROWS)
    })?;
    page.next_page_token = stopped_at.iter().flatten().map(|byte| format!("{byte:02x}")).collect();
    Ok(page)
}

/// Goes through the rows of ranges in key order, those behind `after`, until `look` says that it has seen enough; answers the row where it
/// stopped.
pub(super) fn walk(
    reader: &dyn Reader,
    ranges: &[(Vec<u8>, Vec<u8>)],
    after: &[u8],
    mut look: impl FnMut(&[u8], Bytes) -> Result<bool, QueryError>,
) -> Result<Option<Vec<u8>>, QueryError> {
    let behind = if after.is_empty() { Vec::new() } else { prefix_end(after) };
    for (start, end) in ranges {
        let start = start.max(&behind);
        if start >= end {
            continue;
        }
        let mut cursor = reader.sweep(start, end)?;
        while let Some((row, value)) = cursor.row() {
            if look(row, Bytes::copy_from_slice(value))? {
                return Ok(Some(row.to_vec()));
            }
            cursor.next()?;
        }
    }
    Ok(None)
}

pub(super) fn missing(instance_id: &str) -> MetaError {
    MetaError::not_found(format!("instance {instance_id:?} does not exist"))
}

/// The rows that name files, in key order.
fn vault_ranges() -> [(Vec<u8>, Vec<u8>); 6] {
    let record = |table| {
        let start = keys::record_prefix(table).to_vec();
        let end = prefix_end(&start);
        (start, end)
    };
    let segments = vec![space::VERSIONED, VersionedTable::Segment as u8];
    let segments_end = prefix_end(&segments);
    [
        record(RecordTable::Upload),
        record(RecordTable::Condemned),
        record(RecordTable::Snapshot),
        record(RecordTable::SnapshotCollection),
        record(RecordTable::ActiveJob),
        (segments, segments_end),
    ]
}

/// Sorts out which rows are of the store that is asked for.
struct VaultScan<'a> {
    reader: &'a dyn Reader,
    same: SameStore,
}

impl VaultScan<'_> {
    fn known(&mut self, row: &[u8], value: Bytes) -> Result<Vec<KnownFiles>, QueryError> {
        let named = match row {
            [space::RECORD, table, rest @ ..] if *table == RecordTable::Upload as u8 => {
                let record: UploadRecord = decode_record(row, value)?;
                let [scope, _] = row_keys::read_numbers::<2>(rest)?;
                Some((scope, record.vault, vec![known(KnownKind::Upload, record.path, Vec::new())]))
            }
            [space::RECORD, table, ..] if *table == RecordTable::Condemned as u8 => {
                let record: CondemnedRecord = decode_record(row, value)?;
                let files = record.files.into_iter().map(file_named).collect();
                Some((record.scope, record.vault, vec![known(KnownKind::Condemned, record.path, files)]))
            }
            [space::RECORD, table, ..] if *table == RecordTable::Snapshot as u8 => Some(of_snapshot(row, value)?),
            [space::RECORD, table, ..] if *table == RecordTable::SnapshotCollection as u8 => self.of_collection(row)?,
            [space::RECORD, ..] => self.of_job(jobs::rows::job_of_active(row)?)?,
            [_, _, rest @ ..] => of_segment(row, rest, &value)?,
            _ => None,
        };
        let Some((scope, vault, known)) = named else {
            return Ok(Vec::new());
        };
        let is_meant = self.same.is_meant(self.reader, scope, &vault)?;
        Ok(if is_meant { known } else { Vec::new() })
    }

    /// What a snapshot of a whole instance has of one collection. The metadata files must be there once the snapshot's own lists them.
    fn of_collection(&self, row: &[u8]) -> Result<Option<Named>, QueryError> {
        let [scope, revision, collection] = snapshots::numbers_of::<3>(row)?;
        let Some(snapshot) = snapshots::find(self.reader, ScopeId(scope), Revision(revision))? else {
            return Err(StoreError(format!("row {row:02x?} names no snapshot")).into());
        };
        let kind = match kind_of(&snapshot) {
            KnownKind::Snapshot if !snapshot.record.manifests_listed => KnownKind::Upload,
            kind => kind,
        };
        Ok(Some(places_of(collections::alone(&snapshot, collection), kind)))
    }

    /// The directory that a job's tasks write to while it has not ended; afterwards its files are known as segments', or condemned.
    fn of_job(&self, job: u64) -> Result<Option<Named>, QueryError> {
        let record = jobs::find(self.reader, job)?;
        Ok(record.filter(|record| record.copies_files).map(|record| {
            let directory = jobs::directory(&record, job);
            (
                record.target_scope,
                record.target_vault,
                vec![known(KnownKind::Upload, directory, Vec::new())],
            )
        }))
    }
}

/// What a row names: in which scope's sense, in which vault, and what.
type Named = (u64, String, Vec<KnownFiles>);

fn of_segment(row: &[u8], user_key: &[u8], value: &Bytes) -> Result<Option<Named>, QueryError> {
    let Some(value) = versioned::decode_value(row, value)? else {
        return Ok(None);
    };
    let record: SegmentRecord = decode_record(row, value)?;
    let head = user_key
        .first_chunk::<8>()
        .ok_or_else(|| StoreError(format!("row {row:02x?} has no scope")))?;
    let scope = if record.owner_scope == 0 {
        u64::from_be_bytes(*head)
    } else {
        record.owner_scope
    };
    Ok(Some((
        scope,
        record.vault,
        vec![known(KnownKind::Segment, record.path, record.files)],
    )))
}

/// A snapshot's metadata file and its manifests, or the image that a frontend of Doris has put there. The metadata file must be there
/// once the snapshot is committed.
fn of_snapshot(row: &[u8], value: Bytes) -> Result<Named, QueryError> {
    let record: SnapshotRecord = decode_record(row, value)?;
    let [scope, revision] = snapshots::numbers_of::<2>(row)?;
    let snapshot = Snapshot {
        scope: ScopeId(scope),
        revision: Revision(revision),
        record,
    };
    let kind = kind_of(&snapshot);
    Ok(places_of(snapshot, kind))
}

fn kind_of(snapshot: &Snapshot) -> KnownKind {
    match snapshot.state() {
        SnapshotState::Committed => KnownKind::Snapshot,
        SnapshotState::Pending | SnapshotState::Unspecified => KnownKind::Upload,
        SnapshotState::Deleting | SnapshotState::Aborted => KnownKind::Condemned,
    }
}

fn places_of(snapshot: Snapshot, kind: KnownKind) -> Named {
    let places = lifecycle::places(&snapshot).into_iter();
    let known = places.map(|(path, files)| known(kind, path, files.into_iter().map(file_named).collect()));
    (snapshot.scope.0, snapshot.record.vault, known.collect())
}

fn file_named(name: String) -> SegmentFile {
    SegmentFile {
        name,
        ..SegmentFile::default()
    }
}

fn known(kind: KnownKind, path: String, files: Vec<SegmentFile>) -> KnownFiles {
    KnownFiles { kind, path, files }
}

#[cfg(test)]
mod tests;
