//! The manifests that snapshots must have in one store: one for each segment that a snapshot shows, once its metadata file lists them.
//!
//! They are found by a walk over the segments as of the snapshot's revision, which its pin keeps; a page holds a bounded number, however
//! many there are.

use super::QueryError;
use super::files;
use super::page_token::hex_bytes;
use crate::catalog::storage::{self, SameStore};
use crate::command::decode_record;
use crate::instances;
use crate::jobs::source::Source;
use crate::jobs::translate::ids_of;
use crate::keys::{self, RecordTable, VersionedTable};
use crate::limits;
use crate::record::JobRecord;
use crate::snapshots::{self, Snapshot, collections, lifecycle};
use crate::store::{Reader, StoreError, prefix_end};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::{ScanManifestsReply, ScanManifestsRequest, SnapshotManifests, SnapshotState};

/// One page of the manifests in one store of an instance, of all snapshots that have theirs there, whosever they are.
pub fn scan_manifests(reader: &dyn Reader, request: &ScanManifestsRequest) -> Result<ScanManifestsReply, QueryError> {
    let instance = instances::find(reader, &request.instance_id)?.ok_or_else(|| files::missing(&request.instance_id))?;
    let store = storage::resolve_usable(reader, &instance, &request.vault)?;
    let mut page = Page {
        reader,
        same: SameStore::new(store),
        manifests: Vec::new(),
        names_left: limits::MAX_PAGE_ROWS,
        keys_left: limits::MAX_PAGE_KEYS,
    };
    let ended = page.fill(&Place::parse(&request.page_token)?)?;
    Ok(ScanManifestsReply {
        manifests: page.manifests,
        next_page_token: ended.map_or_else(String::new, |place| place.token()),
    })
}

/// Where a page ended: at the row of a snapshot, or of a collection in one, and at which segment; with none it had all of the row.
struct Place {
    row: Vec<u8>,
    after: Option<Vec<u8>>,
}

impl Place {
    /// `row` or `row-segment`, in hex; empty before the first page.
    fn parse(token: &str) -> Result<Place, MetaError> {
        let bytes = |text: &str| hex_bytes(text, limits::MAX_LISTED_KEY_BYTES).ok_or_else(malformed);
        let (row, after) = token.split_once('-').map_or((token, None), |(row, after)| (row, Some(after)));
        Ok(Place {
            row: bytes(row)?,
            after: after.map(bytes).transpose()?,
        })
    }

    fn token(&self) -> String {
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        match &self.after {
            None => hex(&self.row),
            Some(after) => format!("{}-{}", hex(&self.row), hex(after)),
        }
    }

    /// The first row that the next page looks at.
    fn start(&self) -> Vec<u8> {
        match (&self.after, self.row.as_slice()) {
            (None, []) => Vec::new(),
            (None, row) => prefix_end(row),
            (Some(_), row) => row.to_vec(),
        }
    }
}

fn malformed() -> MetaError {
    MetaError::invalid("page token is malformed; pass it as the page before returned it, or list anew")
}

/// A page that is being filled.
struct Page<'a> {
    reader: &'a dyn Reader,
    same: SameStore,
    manifests: Vec<SnapshotManifests>,
    /// Names that fit into it, and rows that it may still look at.
    names_left: usize,
    keys_left: usize,
}

impl Page<'_> {
    /// Goes on from where the page before ended; answers where this one did, unless there is nothing more.
    fn fill(&mut self, begun: &Place) -> Result<Option<Place>, QueryError> {
        let reader = self.reader;
        for table in [RecordTable::Snapshot, RecordTable::SnapshotCollection] {
            let prefix = keys::record_prefix(table);
            let (start, end) = (begun.start().max(prefix.to_vec()), prefix_end(&prefix));
            if start >= end {
                continue;
            }
            let mut cursor = reader.sweep(&start, &end)?;
            while let Some((row, value)) = cursor.row() {
                let after = begun.after.clone().filter(|_| row == begun.row);
                let goes_on = self.add(row, value, after)?;
                if goes_on.is_some() || self.names_left == 0 || self.keys_left == 0 {
                    return Ok(Some(Place {
                        row: row.to_vec(),
                        after: goes_on,
                    }));
                }
                cursor.next()?;
            }
        }
        Ok(None)
    }

    /// Adds the manifests of what a row names, those behind a segment or all; answers the segment behind which the next page goes on if
    /// they do not all fit.
    fn add(&mut self, row: &[u8], value: &[u8], mut after: Option<Vec<u8>>) -> Result<Option<Vec<u8>>, QueryError> {
        self.keys_left = self.keys_left.saturating_sub(1);
        let Some(snapshot) = with_manifests(self.reader, row, value)? else {
            return Ok(None);
        };
        let Snapshot { scope, revision, record } = &snapshot;
        if !self.same.is_meant(self.reader, scope.0, &record.vault)? {
            return Ok(None);
        }
        if after
            .as_ref()
            .is_some_and(|after| !after.starts_with(&record.collection_id.to_be_bytes()))
        {
            return Err(malformed().into());
        }
        let source = JobRecord {
            source_scope: scope.0,
            source_revision: revision.0,
            source_collection_id: record.collection_id,
            ..JobRecord::default()
        };
        let mut source = Source::open(self.reader, &source)?;
        let mut names = Vec::new();
        let goes_on = loop {
            let page = source.page(VersionedTable::Segment, after.as_deref(), self.names_left)?;
            self.names_left = self.names_left.saturating_sub(page.rows.len());
            self.keys_left = self.keys_left.saturating_sub(page.keys);
            for row in page.rows {
                let [_, _, segment] = ids_of(&row.key)?;
                names.push(lifecycle::manifest_name(segment));
            }
            after = page.resume_after;
            if after.is_none() || self.names_left == 0 || self.keys_left == 0 {
                break after;
            }
        };
        if !names.is_empty() {
            self.manifests.push(SnapshotManifests {
                instance_id: instances::id_of_scope(self.reader, *scope)?,
                snapshot_id: snapshots::id::text(*revision),
                snapshot_name: record.name.clone(),
                path: lifecycle::manifests_directory(&snapshot),
                files: names,
            });
        }
        Ok(goes_on)
    }
}

/// The snapshot of a row, as if it were of one collection alone, if it lists manifests. A snapshot of a whole instance has them for each
/// of its collections, which have rows of their own.
fn with_manifests(reader: &dyn Reader, row: &[u8], value: &[u8]) -> Result<Option<Snapshot>, QueryError> {
    let snapshot = match row {
        [_, table, ..] if *table == RecordTable::Snapshot as u8 => {
            let [scope, revision] = snapshots::numbers_of::<2>(row)?;
            Snapshot {
                scope: ScopeId(scope),
                revision: Revision(revision),
                record: decode_record(row, value)?,
            }
        }
        _ => {
            let [scope, revision, collection] = snapshots::numbers_of::<3>(row)?;
            let found = snapshots::find(reader, ScopeId(scope), Revision(revision))?;
            let found = found.ok_or_else(|| StoreError(format!("row {row:02x?} names no snapshot")))?;
            collections::alone(&found, collection)
        }
    };
    let record = &snapshot.record;
    let lists_manifests = record.state() == SnapshotState::Committed && record.manifests_listed && record.doris.is_none();
    Ok((lists_manifests && !snapshot.is_of_instance()).then_some(snapshot))
}

#[cfg(test)]
mod tests;
