//! Keys of the rows of jobs and tasks.

use crate::keys::{self, RecordTable};
use crate::store::StoreError;
use bytes::{BufMut, Bytes, BytesMut};

/// Bytes in front of a plain table's own key: space and table.
const HEAD_BYTES: usize = 2;
/// Keys of ended jobs have a time so far behind the end: once all records were kept for as long as that. It orders them by their ends, and
/// says nothing of when they go.
const BEHIND_END_MS: u64 = 7 * 86_400_000;

fn numbers(table: RecordTable, numbers: &[u64]) -> BytesMut {
    let mut key = keys::record_prefix(table);
    numbers.iter().for_each(|number| key.put_u64(*number));
    key
}

fn with_task(mut key: BytesMut, task: u32) -> Bytes {
    key.put_u32(task);
    key.freeze()
}

/// Ids inverted: newest first.
pub fn job(job: u64) -> Bytes {
    numbers(RecordTable::Job, &[!job]).freeze()
}

pub fn all_jobs() -> Bytes {
    numbers(RecordTable::Job, &[]).freeze()
}

/// Reads the id out of a key of [`job`].
pub fn job_of(key: &[u8]) -> Result<u64, StoreError> {
    Ok(!number_at(key, 0)?)
}

pub fn active(job: u64) -> Bytes {
    numbers(RecordTable::ActiveJob, &[job]).freeze()
}

pub fn all_active() -> Bytes {
    numbers(RecordTable::ActiveJob, &[]).freeze()
}

pub fn job_of_active(key: &[u8]) -> Result<u64, StoreError> {
    number_at(key, 0)
}

pub fn by_target(scope: u64, collection_id: u64, job: u64) -> Bytes {
    numbers(RecordTable::JobByTarget, &[scope, collection_id, job]).freeze()
}

/// All jobs that fill something in a scope.
pub fn by_target_of(scope: u64) -> Bytes {
    numbers(RecordTable::JobByTarget, &[scope]).freeze()
}

/// Those of them that are about one collection; 0: about none.
pub fn by_target_of_collection(scope: u64, collection_id: u64) -> Bytes {
    numbers(RecordTable::JobByTarget, &[scope, collection_id]).freeze()
}

/// Reads the id out of a key of [`by_target`].
pub fn job_of_by_target(key: &[u8]) -> Result<u64, StoreError> {
    number_at(key, 2)
}

pub fn task(job: u64, task: u32) -> Bytes {
    with_task(numbers(RecordTable::Task, &[job]), task)
}

pub fn tasks_of(job: u64) -> Bytes {
    numbers(RecordTable::Task, &[job]).freeze()
}

pub fn open(job: u64, not_before_ms: u64, task: u32) -> Bytes {
    with_task(numbers(RecordTable::OpenTask, &[job, not_before_ms]), task)
}

pub fn open_of(job: u64) -> Bytes {
    numbers(RecordTable::OpenTask, &[job]).freeze()
}

/// Reads time and task out of a key of [`open`].
pub fn parts_of_open(key: &[u8]) -> Result<(u64, u32), StoreError> {
    Ok((number_at(key, 1)?, task_of(key)?))
}

pub fn claimed(job: u64, task: u32) -> Bytes {
    with_task(numbers(RecordTable::ClaimedTask, &[job]), task)
}

pub fn claimed_of(job: u64) -> Bytes {
    numbers(RecordTable::ClaimedTask, &[job]).freeze()
}

pub fn all_claimed() -> Bytes {
    numbers(RecordTable::ClaimedTask, &[]).freeze()
}

/// The task at the end of a key of [`task`], [`open`] or [`claimed`].
pub fn task_of(key: &[u8]) -> Result<u32, StoreError> {
    let bytes = key.last_chunk::<4>().ok_or_else(|| damaged(key))?;
    Ok(u32::from_be_bytes(*bytes))
}

pub fn retention(ended_ms: u64, job: u64) -> Bytes {
    numbers(RecordTable::JobRetention, &[ended_ms.saturating_add(BEHIND_END_MS), job]).freeze()
}

pub fn all_retention() -> Bytes {
    numbers(RecordTable::JobRetention, &[]).freeze()
}

/// Reads the time of its end and the job out of a key of [`retention`].
pub fn parts_of_retention(key: &[u8]) -> Result<(u64, u64), StoreError> {
    Ok((number_at(key, 0)?.saturating_sub(BEHIND_END_MS), number_at(key, 1)?))
}

fn number_at(key: &[u8], position: usize) -> Result<u64, StoreError> {
    let start = HEAD_BYTES + 8 * position;
    let bytes = key.get(start..).and_then(|rest| rest.first_chunk::<8>());
    Ok(u64::from_be_bytes(*bytes.ok_or_else(|| damaged(key))?))
}

fn damaged(key: &[u8]) -> StoreError {
    StoreError(format!("key {key:02x?} has the wrong length for its table"))
}
