//! Deletes condemned files, in the order of condemnation. The files go first, then their row: a leader that dies in between leaves a
//! row whose files are deleted again, which does no harm.
//!
//! It fails closed. A vault that cannot be opened, or a directory without its marker, keeps its rows: nothing is noted as deleted
//! that was not. Such a vault is left alone for a while. Neither it, nor one that hangs, nor a single file that cannot be deleted holds up
//! those behind it in the queue: each vault's rows are worked off by themselves.

use super::{Access, Round, StepError, VaultKey, VaultTurns};
use crate::counters::Counters;
use crate::settings::{DELETIONS_PER_BATCH, ROUND_INTERVAL, VAULT_PAUSE};
use crate::vaults::Vaults;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use quorate_objects::{ObjectError, ObjectPath, Vault};
use quorate_state_machine::access::{Propose, Query};
use quorate_state_machine::commands::FinishDeletion;
use quorate_state_machine::condemned::{self, DeletionKey};
use quorate_state_machine::record::CondemnedRecord;
use std::collections::BTreeMap;
use tokio::time::Instant;

type Row = (DeletionKey, CondemnedRecord);

/// Works until it is dropped.
pub(super) async fn look_after<N: Query + Propose, V: Vaults>(access: &Access<N, V>) {
    let (mut deleter, mut running) = (Deleter::default(), FuturesUnordered::new());
    loop {
        let seen = access.node.revision();
        let round = match deleter.next(access).await {
            Ok((round, work)) => {
                running.extend(work.into_iter().map(|(vault, rows)| work_off(access, vault, rows)));
                round
            }
            Err(error) => access.settle("delete files", Err(error)),
        };
        tokio::select! {
            Some((vault, is_useless)) = running.next() => deleter.turns.end(&vault, is_useless.then_some(VAULT_PAUSE)),
            () = access.rest(seen, round, Instant::now() + ROUND_INTERVAL) => {}
        }
    }
}

#[derive(Default)]
struct Deleter {
    turns: VaultTurns,
    /// Where the next look goes on: what could not be deleted stands in front of the queue.
    after: Option<DeletionKey>,
    /// When the queue was begun to be gone through: it is not gone through more often for what stays in it.
    pass_began: Option<Instant>,
}

impl Deleter {
    /// What is to be done next, by vault.
    async fn next<N: Query + Propose, V>(&mut self, access: &Access<N, V>) -> Result<(Round, BTreeMap<VaultKey, Vec<Row>>), StepError> {
        let now = access.node.now();
        let after = self.after;
        let look = || access.node.read(|reader| condemned::due(reader, now, after, DELETIONS_PER_BATCH));
        let mut work: BTreeMap<VaultKey, Vec<Row>> = BTreeMap::new();
        if after.is_none() {
            if self.pass_began.is_some_and(|began| began.elapsed() < ROUND_INTERVAL) {
                return Ok((Round::Idle, work));
            }
            self.pass_began = Some(Instant::now());
        }
        if look()?.is_empty() {
            self.after = None;
            return Ok((Round::Idle, work));
        }
        // What is condemned stays so; this holds off whoever leads no more without knowing it.
        access.node.confirm().await?;
        let due = look()?;
        fail::fail_point!("delete_read", |_| Ok((Round::Idle, BTreeMap::new())));
        let is_last_page = due.len() < DELETIONS_PER_BATCH;
        for (key, record) in due {
            let vault = (record.scope, record.vault.clone());
            if work.contains_key(&vault) || self.turns.begin(&vault) {
                work.entry(vault).or_default().push((key, record));
            } else if self.turns.ends_soon(&vault) {
                // It is not worth going round the whole queue for these.
                return Ok((Round::Idle, work));
            }
            self.after = Some(key);
        }
        if is_last_page {
            self.after = None;
        }
        Ok((if is_last_page { Round::Idle } else { Round::More }, work))
    }
}

/// Deletes what these rows name, and the rows. Says also whether the vault cannot be used.
async fn work_off<N: Query + Propose, V: Vaults>(access: &Access<N, V>, vault: VaultKey, rows: Vec<Row>) -> (VaultKey, bool) {
    let mut deletions = Vec::new();
    let deleted = delete_all(access, &vault, rows, &mut deletions).await;
    match &deleted {
        Ok(()) => access.counters.vaults.worked(vault.0, &vault.1),
        Err(error) => access.counters.vaults.failed(vault.0, &vault.1, error),
    }
    let is_useless = deleted.is_err();
    if let Err(error) = deleted {
        Counters::add(&access.counters.delete_errors, 1);
        access.complaints.log("delete condemned files", &error);
    }
    if let Err(error) = finish(access, deletions).await {
        access.complaints.log("delete files", &error);
    }
    (vault, is_useless)
}

async fn finish<N: Propose, V>(access: &Access<N, V>, deletions: Vec<DeletionKey>) -> Result<(), StepError> {
    if !deletions.is_empty() {
        fail::fail_point!("delete_finish_before", |_| Ok(()));
        access.node.propose(&FinishDeletion { deletions }).await?;
        fail::fail_point!("delete_finish_after", |_| Ok(()));
    }
    Ok(())
}

/// Deletes what rows of one vault name; `done` grows with each row that is finished. A row that fails by itself stays and is
/// tried again with the next pass over the queue.
async fn delete_all<N, V: Vaults>(
    access: &Access<N, V>,
    (scope, name): &VaultKey,
    rows: Vec<Row>,
    done: &mut Vec<DeletionKey>,
) -> Result<(), ObjectError> {
    let vault = access.vaults.open(*scope, name).await?;
    let mut outcome = Ok(());
    for (key, record) in rows {
        match delete(&vault, &record).await {
            Ok(count) => Counters::add(&access.counters.files_deleted, count),
            Err(error) if error.concerns_the_vault() => {
                outcome = Err(error);
                break;
            }
            Err(error) => {
                Counters::add(&access.counters.delete_errors, 1);
                access.complaints.log("delete condemned files", &error);
                continue;
            }
        }
        fail::fail_point!("delete_files_after", |_| Ok(()));
        done.push(key);
    }
    // In a share that has gone away meanwhile every file is missing, as if it were deleted: nothing of that counts.
    if let Err(error) = access.vaults.open(*scope, name).await {
        done.clear();
        return Err(error);
    }
    outcome
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
