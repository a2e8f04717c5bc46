//! Deletes condemned files, in the order of condemnation. The files go first, then their row: a leader that dies in between leaves a
//! row whose files are deleted again, which does no harm.
//!
//! It fails closed. A vault that cannot be opened, or a directory without its marker, keeps its rows: nothing is noted as deleted
//! that was not. Such a vault is left alone for a while. Neither it nor a single file that cannot be deleted holds up those behind it
//! in the queue.

use super::{Access, Round, StepError};
use crate::counters::Counters;
use crate::settings::{BATCHES_PER_ROUND, DELETIONS_PER_BATCH, VAULT_PAUSE};
use crate::vaults::Vaults;
use quorate_objects::{ObjectError, ObjectPath, Vault};
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::commands::FinishDeletion;
use quorate_state_machine::condemned::{self, DeletionKey};
use quorate_state_machine::record::CondemnedRecord;
use std::collections::BTreeMap;
use tokio::time::Instant;

/// A scope and the name of a vault of its instance.
type VaultKey = (u64, String);

/// Which vaults could not be used, and until when they are left alone.
#[derive(Default)]
pub(super) struct Deleter {
    paused: BTreeMap<VaultKey, Instant>,
    /// Where the next step goes on: what could not be deleted stands in front of the queue.
    after: Option<DeletionKey>,
}

impl Deleter {
    pub(super) async fn step<N: Query + Propose, V: Vaults>(&mut self, access: &Access<N, V>) -> Result<Round, StepError> {
        for _ in 0..BATCHES_PER_ROUND {
            let now = access.node.now();
            let after = self.after;
            let look = || access.node.read(|reader| condemned::due(reader, now, after, DELETIONS_PER_BATCH));
            if look()?.is_empty() {
                self.after = None;
                return Ok(Round::Idle);
            }
            // What is condemned stays so; this holds off whoever leads no more without knowing it.
            access.node.confirm().await?;
            let due = look()?;
            let Some((last, _)) = due.last() else {
                return Ok(Round::Idle);
            };
            self.after = Some(*last);
            fail::fail_point!("delete_read", |_| Ok(Round::Idle));
            self.work_off(access, due).await?;
        }
        Ok(Round::More)
    }

    async fn work_off<N: Query + Propose, V: Vaults>(
        &mut self,
        access: &Access<N, V>,
        due: Vec<(DeletionKey, CondemnedRecord)>,
    ) -> Result<(), StepError> {
        let (mut deletions, now) = (Vec::new(), Instant::now());
        self.paused.retain(|_, until| *until > now);
        let mut by_vault: BTreeMap<VaultKey, Vec<(DeletionKey, CondemnedRecord)>> = BTreeMap::new();
        for (key, record) in due {
            by_vault
                .entry((record.scope, record.vault.clone()))
                .or_default()
                .push((key, record));
        }
        for (vault, rows) in by_vault {
            if self.paused.contains_key(&vault) {
                continue;
            }
            let deleted = delete_all(access, &vault, rows, &mut deletions).await;
            access.counters.vaults.note(vault.0, &vault.1, &deleted);
            if let Err(error) = deleted {
                Counters::add(&access.counters.delete_errors, 1);
                access.complaints.log("delete condemned files", &error);
                self.paused.insert(vault, now + VAULT_PAUSE);
            }
        }
        if !deletions.is_empty() {
            fail::fail_point!("delete_finish_before", |_| Ok(()));
            access.node.propose(&FinishDeletion { deletions }).await?;
            fail::fail_point!("delete_finish_after", |_| Ok(()));
        }
        Ok(())
    }
}

/// Deletes what rows of one vault name; `done` grows with each row that is finished. A row that fails by itself stays and is
/// tried again with the next pass over the queue.
async fn delete_all<N, V: Vaults>(
    access: &Access<N, V>,
    (scope, name): &VaultKey,
    rows: Vec<(DeletionKey, CondemnedRecord)>,
    done: &mut Vec<DeletionKey>,
) -> Result<(), ObjectError> {
    let vault = access.vaults.open(*scope, name).await?;
    for (key, record) in rows {
        match delete(&vault, &record).await {
            Ok(count) => Counters::add(&access.counters.files_deleted, count),
            Err(error) if error.concerns_the_vault() => return Err(error),
            Err(error) => {
                Counters::add(&access.counters.delete_errors, 1);
                access.complaints.log("delete condemned files", &error);
                continue;
            }
        }
        fail::fail_point!("delete_files_after", |_| Ok(()));
        done.push(key);
    }
    Ok(())
}

/// Deletes the files of one row, or all below its directory; returns how many.
async fn delete(vault: &Vault, record: &CondemnedRecord) -> Result<u64, ObjectError> {
    let directory = ObjectPath::new(record.path.as_str())?;
    if record.files.is_empty() {
        return vault.delete_prefix(&directory).await;
    }
    let paths = record
        .files
        .iter()
        .map(|name| directory.join(name))
        .collect::<Result<Vec<_>, _>>()?;
    vault.delete_many(&paths).await?;
    Ok(paths.len() as u64)
}
