//! What a finished task leaves: rows staged where no reader looks. They are checked against the plan before any is written.
//!
//! A base layer takes rows as the source has them, but for segments and one thing: where new files of a collection go, if that is not
//! where its source has them. Through the base layer nobody could tell any more: what the clone read through before may be gone.

use super::source::{segment_stats, tables};
use super::{ActiveJob, claim_directory, sum};
use crate::clones;
use crate::command::{ApplyContext, ApplyError, decode_record};
use crate::keys::VersionedTable;
use crate::record::{CollectionRecord, SegmentRecord, StatsRecord, TaskRecord};
use crate::store::{Reader, StoreError};
use crate::versioned::{self, FoundRow, Lineage};
use bytes::Bytes;
use prost::Message;
use quorate_model::file_names::is_file_name;
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::{JobKind, StagedRow};

/// Stages a task's rows. Refuses, and writes nothing, unless they are what the task is about.
pub fn stage(
    context: &mut ApplyContext<'_, '_>,
    job: &ActiveJob,
    number: u32,
    task: &TaskRecord,
    rows: &[StagedRow],
) -> Result<(), ApplyError> {
    let place = Place {
        job,
        directory: claim_directory(&job.record, job.id, number, task.fence),
        task,
        source: Lineage::of(
            context.reader(),
            ScopeId(job.record.source_scope),
            Revision(job.record.source_revision),
        )?,
        reader: context.reader(),
    };
    match job.record.kind() {
        JobKind::Manifests | JobKind::Unspecified if rows.is_empty() => return Ok(()),
        JobKind::Manifests | JobKind::Unspecified => return Err(refused(number, "it stages rows, and its job has none").into()),
        JobKind::Restore | JobKind::CompactClone => {}
    }
    let table = VersionedTable::from_number(task.table).filter(|table| tables(job.record.kind()).contains(table));
    let table = table.ok_or_else(|| refused(number, "its table does not exist"))?;
    let mut found = StatsRecord::default();
    let mut last_key: Option<&[u8]> = None;
    let mut values = Vec::with_capacity(rows.len());
    for row in rows {
        if row.table != task.table || last_key.is_some_and(|last| last >= row.key.as_ref()) {
            return Err(refused(number, "its rows are of another table or not in order").into());
        }
        last_key = Some(&row.key);
        let (stats, value) = place.check(number, table, row)?;
        found = sum(Some(found), Some(stats));
        values.push(value);
    }
    let expected = task.expected.unwrap_or_default();
    if found != expected {
        let text = format!(
            "it was planned with {} rows, {} files and {} bytes, and brings {} rows, {} files and {} bytes",
            expected.segments, expected.files, expected.bytes, found.segments, found.files, found.bytes
        );
        return Err(refused(number, &text).into());
    }
    let scope = ScopeId(job.record.target_scope);
    for (row, value) in rows.iter().zip(values) {
        // Nobody but this task writes here, and it does so once: there is nothing to supersede.
        versioned::write(context, table, scope, &row.key, Some(&value), None);
    }
    Ok(())
}

/// What rows of one task must fit.
struct Place<'a> {
    job: &'a ActiveJob,
    directory: String,
    task: &'a TaskRecord,
    source: Lineage,
    reader: &'a dyn Reader,
}

impl Place<'_> {
    /// Checks one row; returns what it adds to the sums, and what is to be written for it.
    fn check(&self, number: u32, table: VersionedTable, row: &StagedRow) -> Result<(StatsRecord, Bytes), ApplyError> {
        let is_restore = self.job.record.kind() == JobKind::Restore;
        let in_place = match is_restore {
            true => self.is_restored_key(&row.key),
            false => (self.task.first_key.as_ref()..=self.task.last_key.as_ref()).contains(&row.key.as_ref()),
        };
        if !in_place {
            return Err(refused(number, "one of its rows lies outside of what it may write").into());
        }
        if table != VersionedTable::Segment {
            // Workers bring such rows as they are. One that does not decode would be met by every peer that reads it, once it is visible.
            let source = self.source.get(self.reader, table, &row.key)?;
            let Some(source) = source.filter(|source| source.value == row.value) else {
                let text = format!("a row of table {} is not what the source holds", row.table);
                return Err(refused(number, &text).into());
            };
            let stats = StatsRecord {
                segments: 1,
                ..StatsRecord::default()
            };
            return Ok((stats, self.with_own_place(table, source)?));
        }
        let segment = SegmentRecord::decode(row.value.clone()).map_err(|_| refused(number, "one of its rows is no segment"))?;
        let files_in_place = match self.job.record.copies_files {
            true => {
                let below = segment.path.strip_prefix(self.directory.as_str());
                let below = below.and_then(|rest| rest.strip_prefix('/'));
                // What leads out of the claim's directory would be read, and deleted, in its neighbours'.
                below.is_some_and(is_file_name) && segment.vault == self.job.record.target_vault && segment.owner_scope == 0
            }
            false => segment.owner_scope != 0,
        };
        if !files_in_place || !segment.files.iter().all(|file| is_file_name(&file.name)) {
            return Err(refused(number, "one of its segments names files that are not its own").into());
        }
        Ok((segment_stats(&segment), row.value.clone()))
    }

    /// A row as the base layer has it: a collection names the place where the clone puts new files of it.
    fn with_own_place(&self, table: VersionedTable, source: FoundRow) -> Result<Bytes, StoreError> {
        let job = &self.job.record;
        if table != VersionedTable::Collection || !job.names_own_places {
            return Ok(source.value);
        }
        let Some(vault) = clones::own_place(self.reader, ScopeId(job.clone_scope), source.scope)? else {
            return Ok(source.value);
        };
        let collection: CollectionRecord = decode_record(&source.key, source.value)?;
        Ok(CollectionRecord { vault, ..collection }.encode_to_vec().into())
    }

    /// Within the hidden collection, one of its partitions, and the ids that were reserved for the task.
    fn is_restored_key(&self, key: &[u8]) -> bool {
        let Ok(key) = <&[u8; 24]>::try_from(key) else { return false };
        let number = |at: usize| key[at..at + 8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
        let [collection, partition, segment] = [number(0), number(8), number(16)];
        let first = self.task.first_target_id;
        collection == self.job.record.target_collection_id
            && self.job.record.partitions.iter().any(|mapped| mapped.target_id == partition)
            && (first..first + self.task.expected.unwrap_or_default().segments).contains(&segment)
    }
}

fn refused(number: u32, why: &str) -> MetaError {
    MetaError::invalid(format!("the result of task {number} does not fit: {why}"))
}
