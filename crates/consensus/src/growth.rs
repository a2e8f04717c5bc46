//! Flush, checkpoint and purge, as log and state grow.

use crate::node::{Core, Node};
use crate::state_adapter::run_blocking;
use crate::steps::Step;
use quorate_model::mutant;
use std::time::Duration;
use tokio::time::Instant;

/// How often growth of log and state is looked at.
const GROWTH_INTERVAL: Duration = Duration::from_millis(500);
/// Pause after a checkpoint that could not be made.
const CHECKPOINT_RETRY: Duration = Duration::from_secs(5);
/// What a flush or a checkpoint takes besides the rows: lists of files, beginnings of files.
const FLUSH_SPARE_BYTES: u64 = 4 << 20;
/// A flush or a checkpoint that takes this long gets a line in the log.
const SLOW_STEP: Duration = Duration::from_secs(1);

/// Flushes the state and makes checkpoints as the log grows, and purges what nobody needs any more.
pub(crate) async fn watch(node: Node) {
    let core = node.core().clone();
    let settings = core.settings.clone();
    let mut flushed_at = Instant::now();
    let mut checkpoint_at = Instant::now();
    let mut flushed_index = core.applier.applied().index;
    let mut checkpoint_index = core.log.state().purged.map_or(0, |id| id.index);
    let mut log_bytes_at_checkpoint = core.log.appended_bytes();
    let mut log_bytes_at_flush = log_bytes_at_checkpoint;
    let mut no_checkpoint_before = Instant::now();
    while !core.is_stopping() {
        tokio::time::sleep(GROWTH_INTERVAL).await;
        let applied = core.applier.applied().index;
        let log_bytes = core.log.appended_bytes();
        let flush_due = log_bytes - log_bytes_at_flush >= settings.flush_bytes
            || applied.saturating_sub(flushed_index) >= settings.flush_entries
            || (applied > flushed_index && flushed_at.elapsed() >= settings.flush_interval);
        if flush_due && has_room(&core) {
            flush(&core).await;
            (flushed_at, flushed_index, log_bytes_at_flush) = (Instant::now(), applied, log_bytes);
        }
        let checkpoint_due = log_bytes - log_bytes_at_checkpoint >= settings.checkpoint_log_bytes
            || applied.saturating_sub(checkpoint_index) >= settings.checkpoint_log_entries
            || (applied > checkpoint_index && checkpoint_at.elapsed() >= settings.checkpoint_interval);
        if checkpoint_due && Instant::now() >= no_checkpoint_before && has_room(&core) {
            match make_checkpoint(&core).await {
                Ok(()) => (checkpoint_at, checkpoint_index, log_bytes_at_checkpoint) = (Instant::now(), applied, log_bytes),
                Err(error) => {
                    tracing::warn!(%error, "no checkpoint was made; the log keeps growing");
                    no_checkpoint_before = Instant::now() + CHECKPOINT_RETRY;
                }
            }
        }
        purge(&core).await;
    }
}

/// Whether what this peer has in memory finds room on its disk. A flush that finds none fails every write after it, also when there is room
/// again, and ends a peer that could have gone on.
fn has_room(core: &Core) -> bool {
    let needed = core.applier.engine().sizes().memtable_bytes.saturating_add(FLUSH_SPARE_BYTES);
    (core.disk_space)().free_bytes >= needed
}

async fn flush(core: &Core) {
    let engine = core.applier.engine().clone();
    let (started, bytes) = (Instant::now(), engine.sizes().memtable_bytes);
    if let Err(error) = run_blocking(core.settings.inline_apply, move || engine.flush()).await {
        tracing::error!(%error, "the state cannot be flushed; the log keeps growing");
    }
    took(core, Step::Flush, started, bytes);
}

async fn make_checkpoint(core: &Core) -> Result<(), String> {
    let (started, bytes) = (Instant::now(), core.applier.engine().sizes().memtable_bytes);
    let prepared = core.state_adapter.prepare_checkpoint().await;
    took(core, Step::Checkpoint, started, bytes);
    prepared.map_err(|error| error.to_string())?;
    core.raft().trigger().snapshot().await.map_err(|error| error.to_string())
}

/// Counts a step that has ended, and says so when it was slow: writes that wait for memory wait for it.
fn took(core: &Core, step: Step, started: Instant, bytes: u64) {
    let time = started.elapsed();
    core.write_path.took(step, time);
    if time >= SLOW_STEP {
        tracing::warn!(
            step = step.name(),
            took_ms = time.as_millis() as u64,
            memory_bytes = bytes,
            "writing the state to disk was slow: look at the disk and the CPU"
        );
    }
}

/// Says when writes begin to be held back because flushes and compactions cannot keep up, and when that is over.
pub(crate) async fn watch_held_writes(node: Node) {
    let core = node.core().clone();
    let mut held: Option<Instant> = None;
    while !core.is_stopping() {
        tokio::time::sleep(GROWTH_INTERVAL).await;
        let sizes = core.applier.engine().sizes();
        match held {
            None if sizes.writes_held => {
                held = Some(Instant::now());
                tracing::warn!(
                    level0_files = sizes.level0_files,
                    compaction_pending_bytes = sizes.compaction_pending_bytes,
                    memory_bytes = sizes.memtable_bytes,
                    "the state holds writes back: its files are not written as fast as its rows; look at the disk and the CPU"
                );
            }
            Some(since) if !sizes.writes_held => {
                held = None;
                tracing::info!(
                    after_ms = since.elapsed().as_millis() as u64,
                    "the state takes writes at full speed again"
                );
            }
            _ => {}
        }
    }
}

/// Purges up to the lowest of: the checkpoint's index, what is durable in the state, what every reachable peer has.
async fn purge(core: &Core) {
    let Some(mut upto) = core.state_adapter.checkpoint_index() else {
        return;
    };
    match core.applier.engine().durable_applied() {
        Ok(durable) => upto = upto.min(durable.map_or(0, |id| id.index)),
        Err(error) => return tracing::error!(%error, "the state's durable index cannot be read; nothing is purged"),
    }
    let metrics = core.metrics();
    let purged = metrics.purged.map_or(0, |id| id.index);
    let cap = core.settings.log_cap((core.disk_space)().total_bytes);
    let overdue = overdue(purged, metrics.last_log_index.unwrap_or(0), core.log.stored_bytes(), cap);
    if !mutant!("purge-during-transfer") {
        // Who is being sent a checkpoint is slower than all others.
        if core.state_adapter.checkpoint_in_use() && overdue == 0 {
            return;
        }
        // A peer that cannot be reached has no claim: it gets a checkpoint when it comes back.
        let others = metrics.membership_config.nodes().filter(|(peer, _)| **peer != core.peer);
        let claims = others.filter_map(|(peer, _)| Some(core.health.recent(*peer)?.last_log_index));
        upto = upto.min(claimed(claims, overdue));
    }
    if upto > purged
        && let Err(error) = core.raft().trigger().purge_log(upto).await
    {
        tracing::warn!(%error, "the log was not purged");
    }
}

/// The entry up to which a log that is longer than its cap must go, as if all its entries had one length; 0 for one that is not.
fn overdue(purged: u64, last: u64, stored_bytes: u64, cap: u64) -> u64 {
    if stored_bytes <= cap {
        return 0;
    }
    let entries = u128::from(last.saturating_sub(purged));
    let excess = u128::from(stored_bytes - cap);
    purged + (entries * excess).div_ceil(u128::from(stored_bytes)) as u64
}

/// How far a purge may go for the sake of peers that have the log up to `claims`. What is overdue goes whoever lacks it: the
/// slowest peers lose their claims, and no more of them than must.
fn claimed(claims: impl Iterator<Item = u64>, overdue: u64) -> u64 {
    claims.filter(|claim| *claim >= overdue).min().unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_that_is_too_long_is_kept_for_all_but_the_slowest() {
        assert_eq!(overdue(100, 1_100, 1_000, 1_000), 0, "not too long");
        assert_eq!(overdue(100, 1_100, 2_000, 1_500), 350, "a quarter of its thousand entries");
        assert_eq!(overdue(100, 1_100, 2_000, 0), 1_100, "all of it");
        assert_eq!(overdue(u64::MAX - 8, u64::MAX, u64::MAX, 1), u64::MAX, "no overflow");

        let claimed = |claims: &[u64], overdue| super::claimed(claims.iter().copied(), overdue);
        assert_eq!(claimed(&[900, 200, 600], 0), 200, "everybody's claim holds");
        assert_eq!(
            claimed(&[900, 200, 600], 350),
            600,
            "the slowest loses its own, the next one keeps it"
        );
        assert_eq!(claimed(&[900, 200, 600], 901), u64::MAX);
        assert_eq!(claimed(&[], 0), u64::MAX, "nobody is heard of");
    }
}
