//! What a task makes of its source rows: the rows to stage, and the files these name and somebody must copy first.

use super::source::segment_stats;
use crate::command::decode_record;
use crate::keys::VersionedTable;
use crate::record::{SegmentRecord, StatsRecord};
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{JobKind, SegmentFile, SourceRow, StagedRow, TaskAssignment};

/// A task's work.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Translation {
    /// In key order.
    pub rows: Vec<StagedRow>,
    pub copies: Vec<SegmentCopy>,
    pub stats: StatsRecord,
}

/// The files of one segment, from directory to directory.
#[derive(Clone, Debug, PartialEq)]
pub struct SegmentCopy {
    /// Whose vault has them.
    pub owner_scope: u64,
    pub vault: String,
    pub path: String,
    pub target_path: String,
    pub files: Vec<SegmentFile>,
}

/// Works out a task of a restore or a compaction. Refuses rows that its assignment does not fit, which is a bug or damage.
pub fn translate(task: &TaskAssignment, rows: &[SourceRow]) -> Result<Translation, MetaError> {
    let mut translation = Translation::default();
    for (position, row) in rows.iter().enumerate() {
        if row.table != VersionedTable::Segment as u32 {
            translation.stats.segments += 1;
            translation.rows.push(StagedRow {
                table: row.table,
                key: row.key.clone(),
                value: row.value.clone(),
            });
            continue;
        }
        let source = segment_of(row)?;
        translation.stats = super::sum(Some(translation.stats), Some(segment_stats(&source)));
        let key = match task.kind() {
            JobKind::Restore => restored_key(task, position as u64, row)?,
            _ => row.key.clone(),
        };
        let target = match task.copies_files {
            true => copied(task, &key, &source),
            false => SegmentRecord {
                owner_scope: row.owner_scope,
                ..source.clone()
            },
        };
        if task.copies_files {
            translation.copies.push(SegmentCopy {
                owner_scope: row.owner_scope,
                vault: source.vault,
                path: source.path,
                target_path: target.path.clone(),
                files: source.files,
            });
        }
        translation.rows.push(StagedRow {
            table: row.table,
            key,
            value: target.encode_to_vec().into(),
        });
    }
    // New ids follow the source's order, but partitions may not.
    translation.rows.sort_by(|one, other| one.key.cmp(&other.key));
    Ok(translation)
}

/// The segment of a source row.
pub fn segment_of(row: &SourceRow) -> Result<SegmentRecord, MetaError> {
    decode_record(&row.key, row.value.clone()).map_err(|error| MetaError::internal(error.to_string()))
}

/// Collection, partition and id of a segment's key.
pub fn ids_of(key: &[u8]) -> Result<[u64; 3], MetaError> {
    let key = <&[u8; 24]>::try_from(key).map_err(|_| MetaError::internal(format!("key {key:02x?} is no segment's")))?;
    let number = |at: usize| key[at..at + 8].iter().fold(0u64, |number, byte| number << 8 | u64::from(*byte));
    Ok([number(0), number(8), number(16)])
}

fn restored_key(task: &TaskAssignment, position: u64, row: &SourceRow) -> Result<Bytes, MetaError> {
    let [_, source_partition, _] = ids_of(&row.key)?;
    let partition = task.partitions.iter().find(|pair| pair.source_id == source_partition);
    let partition = partition.ok_or_else(|| {
        let text = format!(
            "task {} of job {} has a segment of partition {source_partition}, which its job does not map",
            task.task, task.job_id
        );
        MetaError::internal(text)
    })?;
    let mut key = BytesMut::with_capacity(24);
    key.put_u64(task.target_collection_id);
    key.put_u64(partition.target_id);
    key.put_u64(task.first_target_id + position);
    Ok(key.freeze())
}

/// A segment with files of its own: a directory below the claim's for each, as names are unique within a segment only.
fn copied(task: &TaskAssignment, key: &[u8], source: &SegmentRecord) -> SegmentRecord {
    let segment = key.last_chunk::<8>().map_or(0, |bytes| u64::from_be_bytes(*bytes));
    SegmentRecord {
        path: format!("{}/g{segment}", task.target_path),
        vault: task.target_vault.clone(),
        owner_scope: 0,
        ..source.clone()
    }
}
