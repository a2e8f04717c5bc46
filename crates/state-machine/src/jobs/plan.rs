//! Cuts a job's source into tasks, some at a time. What is decided here is proposed and counts only if the job has not been planned
//! further meanwhile.

use super::ActiveJob;
use super::source::{self, Source};
use crate::commands::plan_tasks::{PlanTasks, PlannedTask};
use crate::keys::VersionedTable;
use crate::limits;
use crate::record::{JobRecord, StatsRecord};
use crate::settings;
use crate::store::{Reader, StoreError};
use crate::versioned::FoundRow;

/// Keys of the source one round looks at, more or less: it holds a reader, and takes tens of milliseconds.
const KEYS_PER_ROUND: usize = 20_000;
/// Rows of one page: each may become a task of its own.
const ROWS_PER_PAGE: usize = 100;
/// Keys of a round's tasks, in bytes, after which no page is added: the tasks travel in one command.
const KEY_BYTES_PER_ROUND: usize = 96 << 10;

/// The next planning command of a job that is being planned.
pub fn next(reader: &dyn Reader, job: &ActiveJob) -> Result<PlanTasks, StoreError> {
    let tables = source::planned_tables(&job.record);
    let begun = VersionedTable::from_number(job.progress.planned_table);
    let mut at = begun.and_then(|table| tables.iter().position(|other| *other == table)).unwrap_or(0);
    let mut after_key = begun.map(|_| job.progress.planned_key.to_vec()).filter(|key| !key.is_empty());
    let mut round = Round::new(&job.record, settings::value(reader, &settings::MAX_TASK_BYTES)?);
    let mut source = Source::open(reader, &job.record)?;
    let mut done = tables.is_empty();
    loop {
        let Some(&table) = tables.get(at) else {
            done = true;
            break;
        };
        if round.is_full() {
            break;
        }
        let page = source.page(table, after_key.as_deref(), ROWS_PER_PAGE)?;
        for row in &page.rows {
            match round.by_collection && table == VersionedTable::Collection {
                true => round.collections.push(collection_of(row)?),
                false => round.add(table, row)?,
            }
        }
        round.keys += page.keys;
        match page.resume_after {
            Some(resume_after) => after_key = Some(resume_after),
            None => (at, after_key) = (at + 1, None),
        }
        // A task has one table.
        if after_key.is_none() {
            round.cut();
        }
    }
    done |= at >= tables.len();
    round.cut();
    Ok(PlanTasks {
        job: job.id,
        after_table: job.progress.planned_table,
        after_key: job.progress.planned_key.clone(),
        tasks: round.tasks,
        planned_table: tables.get(at).map_or(job.progress.planned_table, |table| *table as u32),
        planned_key: after_key.unwrap_or_default().into(),
        done,
        collections: round.collections,
    })
}

/// The collection that a row is, or is in.
fn collection_of(row: &FoundRow) -> Result<u64, StoreError> {
    let id = row.key.first_chunk::<8>().map(|id| u64::from_be_bytes(*id));
    id.ok_or_else(|| StoreError(format!("key {:02x?} names no collection", row.key)))
}

/// The tasks of one round.
struct Round {
    tasks: Vec<PlannedTask>,
    open: Option<PlannedTask>,
    /// Encoded rows of the open task.
    row_bytes: usize,
    /// Of the source, looked at.
    keys: usize,
    /// Whether files cost anything: else the size of a task is that of its rows.
    copies_files: bool,
    max_file_bytes: u64,
    /// Whether each task is of one collection, which has a directory of its own.
    by_collection: bool,
    collections: Vec<u64>,
}

impl Round {
    fn new(job: &JobRecord, max_file_bytes: u64) -> Round {
        Round {
            tasks: Vec::new(),
            open: None,
            row_bytes: 0,
            keys: 0,
            copies_files: job.copies_files,
            max_file_bytes,
            by_collection: source::is_of_whole_instance(job),
            collections: Vec::new(),
        }
    }

    /// Whether a page more could be too much.
    fn is_full(&self) -> bool {
        let keys = self.tasks.iter().map(|task| task.first_key.len() + task.last_key.len());
        self.keys >= KEYS_PER_ROUND
            || self.tasks.len() + self.collections.len() + ROWS_PER_PAGE >= limits::MAX_TASKS_PER_COMMAND
            || keys.sum::<usize>() >= KEY_BYTES_PER_ROUND
    }

    fn add(&mut self, table: VersionedTable, row: &FoundRow) -> Result<(), StoreError> {
        let stats = source::stats_of(table, &row.key, &row.value)?;
        let row_bytes = row.key.len() + row.value.len();
        if let Some(open) = &self.open {
            let expected = open.expected.unwrap_or_default();
            let too_long = self.row_bytes + row_bytes > limits::MAX_TASK_ROW_BYTES || expected.segments >= limits::MAX_TASK_ROWS;
            let too_heavy = self.copies_files && expected.bytes + stats.bytes > self.max_file_bytes;
            let elsewhere = self.by_collection && open.last_key.get(..8) != row.key.get(..8);
            if too_long || too_heavy || elsewhere {
                self.cut();
            }
        }
        self.row_bytes += row_bytes;
        let key = bytes::Bytes::copy_from_slice(&row.key);
        let open = self.open.get_or_insert_with(|| PlannedTask {
            table: table as u32,
            first_key: key.clone(),
            last_key: key.clone(),
            expected: Some(StatsRecord::default()),
        });
        open.last_key = key;
        open.expected = Some(super::sum(open.expected, Some(stats)));
        Ok(())
    }

    fn cut(&mut self) {
        self.tasks.extend(self.open.take());
        self.row_bytes = 0;
    }
}
