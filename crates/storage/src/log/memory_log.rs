//! The same contract in memory, with a model of fsync: for simulations and for tests of what stands above.
//!
//! A request is visible at once and pending until it is synced, as in the file log. A crash keeps a prefix of what is
//! pending, because files keep the order of requests; which prefix is the caller's choice. Nothing here has a thread or a
//! clock: the same calls give the same result.

use super::transition::{self, Change};
use super::{Done, LogState, LogStore};
use crate::codec::{LogEntry, LogId, Vote};
use std::collections::VecDeque;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// When requests become durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Completion {
    /// Before the call returns; `done` is called inside it.
    Automatic,
    /// When [`MemoryLog::sync`] says so.
    Manual,
}

/// What a crash did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CrashReport {
    pub survived: usize,
    pub lost: usize,
    /// The first lost request was half written; opening cut it.
    pub torn: bool,
}

pub struct MemoryLog {
    inner: Mutex<Inner>,
    completion: Completion,
}

#[derive(Default)]
struct Inner {
    visible: Image,
    durable: Image,
    pending: VecDeque<(Change, Done)>,
    appended_bytes: u64,
    /// Pending requests that hold what the committed id names.
    committed_waits_for: usize,
    failing: bool,
}

/// A log and its entries.
#[derive(Clone, Default)]
struct Image {
    state: LogState,
    entries: VecDeque<LogEntry>,
}

impl MemoryLog {
    pub fn new(completion: Completion) -> Self {
        Self {
            inner: Mutex::default(),
            completion,
        }
    }

    pub fn pending(&self) -> usize {
        self.lock().pending.len()
    }

    /// What would be there after a crash that takes all that is pending.
    pub fn durable_state(&self) -> LogState {
        self.lock().durable.state
    }

    /// Whether this very entry would be there after a crash, or has been purged after it was.
    pub fn is_durable(&self, id: &LogId) -> bool {
        let inner = self.lock();
        let is_purged = inner.durable.state.purged.is_some_and(|purged| purged.index >= id.index);
        is_purged || inner.durable.entries.iter().any(|entry| entry.log_id == *id)
    }

    /// Whether [`MemoryLog::fail`] was called since the last crash.
    pub fn is_failing(&self) -> bool {
        self.lock().failing
    }

    /// Makes the oldest `count` pending requests durable and calls their completions; returns how many there were.
    pub fn sync(&self, count: usize) -> usize {
        let completed = {
            let mut inner = self.lock();
            let count = count.min(inner.pending.len());
            inner.take_durable(count)
        };
        // Outside the lock: a completion may append.
        completed.into_iter().map(|done| done(Ok(()))).count()
    }

    pub fn sync_all(&self) -> usize {
        self.sync(usize::MAX)
    }

    /// The disk fails: pending requests get an error, and so does every later one.
    pub fn fail(&self) {
        let pending = {
            let mut inner = self.lock();
            inner.failing = true;
            std::mem::take(&mut inner.pending)
        };
        pending.into_iter().for_each(|(_, done)| done(Err(failure())));
    }

    /// Power goes and comes back: the oldest `keep` pending requests reached the disk, the others did not. With `torn`,
    /// part of the first lost one did; opening cuts it, as the file log does, so the log is the same. Completions are
    /// dropped uncalled: whoever waited is gone too.
    pub fn crash(&self, keep: usize, torn: bool) -> CrashReport {
        let mut inner = self.lock();
        let survived = keep.min(inner.pending.len());
        let lost = inner.pending.len() - survived;
        drop(inner.take_durable(survived));
        let uncalled = std::mem::take(&mut inner.pending);
        inner.visible = inner.durable.clone();
        inner.committed_waits_for = 0;
        inner.failing = false;
        drop(inner);
        drop(uncalled);
        CrashReport {
            survived,
            lost,
            torn: torn && lost > 0,
        }
    }

    fn submit(&self, change: Change, done: Done) -> io::Result<()> {
        // A defect: told at once, synced when it comes to it.
        let (done, told): (Done, Option<Done>) = match transition::forgets_sync(&change) {
            true => (Box::new(|_| {}), Some(done)),
            false => (done, None),
        };
        let refused = {
            let mut inner = self.lock();
            let checked = if inner.failing {
                Err(failure())
            } else {
                transition::check(&inner.visible.state, &change)
            };
            match checked {
                Ok(()) => {
                    if let Change::Append(entries) = &change {
                        inner.appended_bytes += entries.iter().map(|entry| entry.weight() as u64).sum::<u64>();
                    }
                    inner.visible.apply(&change);
                    inner.pending.push_back((change, done));
                    None
                }
                Err(error) => Some((error, done)),
            }
        };
        if let Some((error, done)) = refused {
            done(Err(io::Error::new(error.kind(), error.to_string())));
            return Err(error);
        }
        told.into_iter().for_each(|done| done(Ok(())));
        if self.completion == Completion::Automatic {
            self.sync_all();
        }
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// The committed id travels with a request, as in the file log.
    fn take_durable(&mut self, count: usize) -> Vec<Done> {
        let mut completed = Vec::new();
        for (change, done) in self.pending.drain(..count) {
            self.durable.apply(&change);
            completed.push(done);
        }
        let covered = count >= self.committed_waits_for;
        self.committed_waits_for = self.committed_waits_for.saturating_sub(count);
        let committed = self.visible.state.committed.filter(|_| covered);
        if count > 0 && committed.is_some_and(|committed| transition::may_write_committed(&self.durable.state, &committed)) {
            self.durable.state.committed = committed;
        }
        completed
    }
}

impl Image {
    fn apply(&mut self, change: &Change) {
        transition::apply(&mut self.state, change);
        if let Change::Append(entries) = change {
            self.entries.extend(entries.iter().cloned());
        }
        let (first, end) = (transition::first_index(&self.state), transition::next_index(&self.state));
        while self.entries.front().is_some_and(|entry| entry.log_id.index < first) {
            self.entries.pop_front();
        }
        while self.entries.back().is_some_and(|entry| entry.log_id.index >= end) {
            self.entries.pop_back();
        }
    }
}

impl LogStore for MemoryLog {
    fn state(&self) -> LogState {
        self.lock().visible.state
    }

    fn append(&self, entries: Vec<LogEntry>, done: Done) -> io::Result<()> {
        self.submit(Change::Append(entries), done)
    }

    fn save_vote(&self, vote: Vote, done: Done) -> io::Result<()> {
        self.submit(Change::Vote(vote), done)
    }

    fn set_committed(&self, committed: Option<LogId>) {
        let mut inner = self.lock();
        inner.visible.state.committed = committed;
        inner.committed_waits_for = inner.pending.len();
    }

    fn truncate_after(&self, last: Option<LogId>, done: Done) -> io::Result<()> {
        self.submit(Change::TruncateAfter(last), done)
    }

    fn purge(&self, upto: LogId, done: Done) -> io::Result<()> {
        self.submit(Change::Purge(upto), done)
    }

    fn read(&self, start: u64, end: u64, max_bytes: usize) -> io::Result<Vec<LogEntry>> {
        let inner = self.lock();
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut weight = 0;
        for entry in inner
            .visible
            .entries
            .iter()
            .filter(|entry| (start..end).contains(&entry.log_id.index))
        {
            weight += entry.weight();
            if !entries.is_empty() && weight > max_bytes {
                break;
            }
            entries.push(entry.clone());
        }
        Ok(entries)
    }

    fn appended_bytes(&self) -> u64 {
        self.lock().appended_bytes
    }

    fn stored_bytes(&self) -> u64 {
        let entries = self.read(0, u64::MAX, usize::MAX).unwrap_or_default();
        entries.iter().map(|entry| entry.weight() as u64).sum()
    }

    fn log_id(&self, index: u64) -> io::Result<Option<LogId>> {
        let inner = self.lock();
        let purged = inner.visible.state.purged.filter(|purged| purged.index == index);
        let present = || {
            inner
                .visible
                .entries
                .iter()
                .find(|entry| entry.log_id.index == index)
                .map(|entry| entry.log_id)
        };
        Ok(purged.or_else(present))
    }
}

fn failure() -> io::Error {
    io::Error::other("log has failed before")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{LeaderId, Payload};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    fn id(index: u64) -> LogId {
        LogId {
            leader: LeaderId { term: 1, peer: 1 },
            index,
        }
    }

    fn entry(index: u64) -> Vec<LogEntry> {
        vec![LogEntry {
            log_id: id(index),
            payload: Payload::Blank,
        }]
    }

    fn counting(count: &Arc<AtomicU64>) -> Done {
        let count = count.clone();
        Box::new(move |result| {
            count.fetch_add(if result.is_ok() { 1 } else { 100 }, Ordering::Relaxed);
        })
    }

    #[test]
    fn automatic_completion_happens_inside_the_call() {
        let (log, count) = (MemoryLog::new(Completion::Automatic), Arc::default());
        log.append(entry(0), counting(&count)).unwrap();
        assert_eq!(count.load(Ordering::Relaxed), 1);
        assert_eq!(
            log.crash(0, false),
            CrashReport {
                survived: 0,
                lost: 0,
                torn: false
            }
        );
        assert_eq!(log.state().last, Some(id(0)));
    }

    #[test]
    fn crash_keeps_the_chosen_prefix_and_calls_nobody() {
        let (log, count) = (MemoryLog::new(Completion::Manual), Arc::default());
        (0..4).for_each(|index| log.append(entry(index), counting(&count)).unwrap());
        log.set_committed(Some(id(3)));
        assert_eq!(log.sync(1), 1);
        assert_eq!(log.state().last, Some(id(3)), "visible before it is durable");
        assert_eq!(
            log.crash(1, true),
            CrashReport {
                survived: 1,
                lost: 2,
                torn: true
            }
        );
        assert_eq!((log.state().last, log.state().committed), (Some(id(1)), None));
        assert_eq!(count.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn a_failed_disk_fails_pending_and_later_requests() {
        let (log, count) = (MemoryLog::new(Completion::Manual), Arc::default());
        log.append(entry(0), counting(&count)).unwrap();
        log.fail();
        assert!(log.append(entry(1), counting(&count)).is_err());
        assert_eq!(count.load(Ordering::Relaxed), 200);
    }
}
