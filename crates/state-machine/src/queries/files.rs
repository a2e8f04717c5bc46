//! Which store files are in, and which files the state knows of one store.

use super::QueryError;
use super::page_token::hex_bytes;
use crate::catalog::row_keys;
use crate::catalog::storage::{self, StoredVault};
use crate::command::decode_record;
use crate::instances;
use crate::keys::{self, RecordTable, VersionedTable, space};
use crate::limits;
use crate::record::{CondemnedRecord, SegmentRecord, UploadRecord};
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned;
use bytes::Bytes;
use quorate_model::{MetaError, ScopeId};
use quorate_wire::quorate::v1::SegmentFile;
use std::collections::BTreeMap;

/// The store that a scope's rows mean by a vault, by id or name; empty: the local directory. HDFS is refused, because nothing
/// can be copied from there. The caller decrypts and opens it.
pub fn resolve_vault(reader: &dyn Reader, owner: ScopeId, vault: &str) -> Result<StoredVault, QueryError> {
    let instance = storage::owner(reader, owner)?;
    storage::resolve_usable(reader, &instance, vault)
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
}

/// One page of what is known of a store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VaultPage {
    pub known: Vec<KnownFiles>,
    /// Pass it to go on; empty when nothing is left.
    pub next_page_token: String,
}

/// Everything that the state knows of the files in one store of an instance, page by page: segments of every scope and every
/// revision that is kept, hidden collections and base layers included, uploads, and what is condemned. The local directory
/// is one store for all instances, and so is an object store that several have. What jobs write, and snapshots' own files, lie in directories of their own and are not
/// listed here.
pub fn scan_vault(reader: &dyn Reader, instance_id: &str, vault: &str, page_token: &str) -> Result<VaultPage, QueryError> {
    let instance = instances::find(reader, instance_id)?.ok_or_else(|| missing(instance_id))?;
    let store = storage::resolve_usable(reader, &instance, vault)?;
    let mut scan = VaultScan {
        reader,
        store,
        places: BTreeMap::new(),
    };
    let malformed = || MetaError::invalid("page token is malformed; pass it as the page before returned it, or list anew");
    let after = hex_bytes(page_token, limits::MAX_LISTED_KEY_BYTES).ok_or_else(malformed)?;
    let mut page = VaultPage::default();
    let (mut looked_at, mut bytes) = (0, 0);
    for (start, end) in vault_ranges() {
        let start = if after.is_empty() { start } else { start.max(prefix_end(&after)) };
        if start >= end {
            continue;
        }
        let mut cursor = reader.sweep(&start, &end)?;
        while let Some((row, value)) = cursor.row() {
            let value = Bytes::copy_from_slice(value);
            bytes += value.len();
            page.known.extend(scan.known(row, value)?);
            looked_at += 1;
            if looked_at == limits::MAX_PAGE_KEYS || bytes > limits::MAX_PAGE_BYTES || page.known.len() == limits::MAX_PAGE_ROWS {
                page.next_page_token = row.iter().map(|byte| format!("{byte:02x}")).collect();
                return Ok(page);
            }
            cursor.next()?;
        }
    }
    Ok(page)
}

fn missing(instance_id: &str) -> MetaError {
    MetaError::not_found(format!("instance {instance_id:?} does not exist"))
}

/// The rows that name files, in key order.
fn vault_ranges() -> [(Vec<u8>, Vec<u8>); 3] {
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
        (segments, segments_end),
    ]
}

/// Sorts out which rows are of the store that is asked for.
struct VaultScan<'a> {
    reader: &'a dyn Reader,
    store: StoredVault,
    /// Scopes and vaults that were met, and whether they mean it.
    places: BTreeMap<(u64, String), bool>,
}

impl VaultScan<'_> {
    fn known(&mut self, row: &[u8], value: Bytes) -> Result<Option<KnownFiles>, QueryError> {
        let (scope, vault, known) = match row {
            [space::RECORD, table, rest @ ..] if *table == RecordTable::Upload as u8 => {
                let record: UploadRecord = decode_record(row, value)?;
                let [scope, _] = row_keys::read_numbers::<2>(rest)?;
                (scope, record.vault, known(KnownKind::Upload, record.path, Vec::new()))
            }
            [space::RECORD, ..] => {
                let record: CondemnedRecord = decode_record(row, value)?;
                let file = |name| SegmentFile {
                    name,
                    ..SegmentFile::default()
                };
                let files = record.files.into_iter().map(file).collect();
                (record.scope, record.vault, known(KnownKind::Condemned, record.path, files))
            }
            [_, _, rest @ ..] => {
                let Some(value) = versioned::decode_value(row, &value)? else {
                    return Ok(None);
                };
                let record: SegmentRecord = decode_record(row, value)?;
                let head = rest
                    .first_chunk::<8>()
                    .ok_or_else(|| StoreError(format!("row {row:02x?} has no scope")))?;
                let scope = if record.owner_scope == 0 {
                    u64::from_be_bytes(*head)
                } else {
                    record.owner_scope
                };
                (scope, record.vault, known(KnownKind::Segment, record.path, record.files))
            }
            _ => return Ok(None),
        };
        Ok(self.is_of_store(scope, vault)?.then_some(known))
    }

    /// Whether a scope's rows mean the same place by a vault: clones name their source's stores under vaults of their own.
    fn is_of_store(&mut self, scope: u64, vault: String) -> Result<bool, QueryError> {
        if matches!(self.store, StoredVault::Local { .. }) || vault.is_empty() {
            return Ok(matches!(self.store, StoredVault::Local { .. }) && vault.is_empty());
        }
        if let Some(known) = self.places.get(&(scope, vault.clone())) {
            return Ok(*known);
        }
        let instance = storage::owner(self.reader, ScopeId(scope))?;
        let is_same = match storage::resolve(self.reader, &instance, &vault) {
            Ok(store) => place(&store) == place(&self.store),
            // A vault that has been removed has no files that could be asked for.
            Err(QueryError::Refused(_)) => false,
            Err(error) => return Err(error),
        };
        self.places.insert((scope, vault), is_same);
        Ok(is_same)
    }
}

/// What tells one store from another.
fn place(store: &StoredVault) -> Option<[&str; 3]> {
    match store {
        StoredVault::S3(store) => Some([store.endpoint(), store.bucket(), store.prefix()]),
        StoredVault::Local { .. } | StoredVault::Hdfs => None,
    }
}

fn known(kind: KnownKind, path: String, files: Vec<SegmentFile>) -> KnownFiles {
    KnownFiles { kind, path, files }
}

#[cfg(test)]
mod tests;
