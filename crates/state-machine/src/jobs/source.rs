//! What a job reads: rows of its source as of the pinned revision, in table and key order. Planner and workers read through the
//! same function, so that a task holds what was counted for it.

use crate::command::{ApplyError, decode_record};
use crate::keys::VersionedTable;
use crate::limits;
use crate::record::{JobRecord, SegmentRecord, StatsRecord, TaskRecord};
use crate::store::{Reader, StoreError};
use crate::versioned::{FoundRow, Lineage, LineageScan, PageLimit};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::JobKind;

/// The tables a job of this kind copies.
pub fn tables(kind: JobKind) -> &'static [VersionedTable] {
    match kind {
        JobKind::CompactClone => &VersionedTable::ALL,
        JobKind::Restore | JobKind::Manifests => &[VersionedTable::Segment],
        JobKind::Unspecified => &[],
    }
}

/// Whether a job writes the manifests of all collections of an instance.
pub fn is_of_whole_instance(job: &JobRecord) -> bool {
    job.kind() == JobKind::Manifests && job.source_collection_id == 0
}

/// The tables that its planner goes through: before the segments of a whole instance, the collections that these are in.
pub fn planned_tables(job: &JobRecord) -> &'static [VersionedTable] {
    match is_of_whole_instance(job) {
        true => &[VersionedTable::Collection, VersionedTable::Segment],
        false => tables(job.kind()),
    }
}

/// A job's source.
pub struct Source<'a> {
    reader: &'a dyn Reader,
    lineage: Lineage,
    collection_id: u64,
    /// The parent looked at last, and whether it is visible: neighbours have the same.
    parent: Option<(VersionedTable, Vec<u8>, bool)>,
}

/// Some rows of a table.
#[derive(Debug, Default)]
pub struct SourcePage {
    pub rows: Vec<FoundRow>,
    /// Where to go on; `None` when the table has no more.
    pub resume_after: Option<Vec<u8>>,
    /// Keys that were looked at, shown or not.
    pub keys: usize,
}

impl<'a> Source<'a> {
    pub fn open(reader: &'a dyn Reader, job: &JobRecord) -> Result<Source<'a>, StoreError> {
        Ok(Source {
            reader,
            lineage: Lineage::of(reader, ScopeId(job.source_scope), Revision(job.source_revision))?,
            collection_id: job.source_collection_id,
            parent: None,
        })
    }

    /// The rows after a key, without those of dropped collections and partitions.
    pub fn page(&mut self, table: VersionedTable, after_key: Option<&[u8]>, rows: usize) -> Result<SourcePage, StoreError> {
        let prefix = match self.collection_id {
            0 => Vec::new(),
            collection_id => collection_id.to_be_bytes().to_vec(),
        };
        let scan = LineageScan {
            table,
            prefix: &prefix,
            after_key,
            limit: PageLimit {
                rows,
                ..PageLimit::default()
            },
        };
        let page = self.lineage.scan(self.reader, &scan)?;
        let mut visible = Vec::with_capacity(page.rows.len());
        for row in page.rows {
            if self.parent_is_visible(table, &row.key)? {
                visible.push(row);
            }
        }
        Ok(SourcePage {
            rows: visible,
            resume_after: page.resume_after,
            keys: page.keys,
        })
    }

    /// What is below a dropped collection or partition is still there and reads like nothing.
    fn parent_is_visible(&mut self, table: VersionedTable, key: &[u8]) -> Result<bool, StoreError> {
        match table {
            VersionedTable::CollectionStats | VersionedTable::PartitionName | VersionedTable::Partition => {
                self.is_visible(VersionedTable::Collection, prefix_of(key, 8)?)
            }
            VersionedTable::Segment => {
                // The partition's row alone does not tell: dropping its collection leaves it as it is.
                let partition = prefix_of(key, 16)?;
                match &self.parent {
                    Some((VersionedTable::Partition, parent, visible)) if parent == partition => Ok(*visible),
                    _ => {
                        let collection = self.lineage.get(self.reader, VersionedTable::Collection, prefix_of(key, 8)?)?;
                        Ok(collection.is_some() && self.is_visible(VersionedTable::Partition, partition)?)
                    }
                }
            }
            VersionedTable::Attribute | VersionedTable::Database | VersionedTable::CollectionName | VersionedTable::Collection => Ok(true),
        }
    }

    fn is_visible(&mut self, table: VersionedTable, key: &[u8]) -> Result<bool, StoreError> {
        if let Some((parent_table, parent, visible)) = &self.parent
            && *parent_table == table
            && parent == key
        {
            return Ok(*visible);
        }
        let visible = self.lineage.get(self.reader, table, key)?.is_some();
        self.parent = Some((table, key.to_vec(), visible));
        Ok(visible)
    }

    /// Every row of a task.
    pub fn rows_of(&mut self, task: &TaskRecord) -> Result<Vec<FoundRow>, ApplyError> {
        let table = VersionedTable::from_number(task.table)
            .ok_or_else(|| StoreError(format!("a task names table {}, which does not exist", task.table)))?;
        let mut rows = Vec::new();
        if let Some(first) = self.lineage.get(self.reader, table, &task.first_key)?
            && self.parent_is_visible(table, &task.first_key)?
        {
            rows.push(first);
        }
        let mut after_key = task.first_key.to_vec();
        while after_key.as_slice() < task.last_key.as_ref() {
            let page = self.page(table, Some(&after_key), limits::MAX_TASK_ROWS as usize)?;
            rows.extend(page.rows.into_iter().filter(|row| row.key.as_slice() <= task.last_key.as_ref()));
            match page.resume_after {
                Some(resume_after) => after_key = resume_after,
                None => break,
            }
        }
        let expected = task.expected.unwrap_or_default().segments;
        if rows.len() as u64 != expected {
            let message = format!("the source shows {} rows of a task that was planned with {expected}", rows.len());
            return Err(MetaError::internal(message).into());
        }
        Ok(rows)
    }
}

/// What one row adds to a job's sums: files and bytes of segments; all others are rows only.
pub fn stats_of(table: VersionedTable, key: &[u8], value: &bytes::Bytes) -> Result<StatsRecord, StoreError> {
    if table != VersionedTable::Segment {
        return Ok(StatsRecord {
            segments: 1,
            ..StatsRecord::default()
        });
    }
    let segment: SegmentRecord = decode_record(key, value.clone())?;
    Ok(segment_stats(&segment))
}

/// What a segment adds to sums.
pub fn segment_stats(segment: &SegmentRecord) -> StatsRecord {
    StatsRecord {
        segments: 1,
        rows: segment.rows,
        files: segment.files.len() as u64,
        bytes: segment.files.iter().map(|file| file.size_bytes).sum(),
    }
}

fn prefix_of(key: &[u8], bytes: usize) -> Result<&[u8], StoreError> {
    key.get(..bytes)
        .ok_or_else(|| StoreError(format!("key {key:02x?} has the wrong length for its table")))
}
