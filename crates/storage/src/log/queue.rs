//! What callers, readers and the writer thread share: the log as callers see it, and the requests not yet durable.
//!
//! A request changes what callers see at once and waits here for the writer. The writer takes everything that waits as
//! one group; while it syncs, the next group collects. That is the whole batching: no timer, no tuning.

use super::entry_index::{EntryIndex, Location};
use super::options::{self, APPEND_BYTES_MAX, ENTRY_BYTES_MAX};
use super::tail::Tail;
use super::transition::{self, Change};
use super::{Done, FileLogOptions, LogState};
use crate::codec::{self, LogEntry, Payload, RAFT_RECORD_BYTES_MAX};
use std::collections::VecDeque;
use std::io;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub(crate) struct Request {
    pub change: Change,
    pub done: Done,
}

/// What the writer woke up for.
pub(crate) enum Work {
    Group(Vec<Request>),
    /// Nothing came within the time asked for.
    Idle,
    Closed,
}

/// Where the next entries a reader wants are.
pub(crate) enum Found {
    Nothing,
    Memory(Vec<LogEntry>),
    Files(Vec<Location>),
}

pub(crate) struct Shared {
    inner: Mutex<Inner>,
    work: Condvar,
    space: Condvar,
    pub options: FileLogOptions,
}

struct Inner {
    /// As callers see it: every request given so far is applied.
    state: LogState,
    tail: Tail,
    /// As the files are: only durable groups are applied.
    index: EntryIndex,
    waiting: VecDeque<Request>,
    /// Weight of requests not yet durable.
    pending_bytes: usize,
    /// Requests given so far, and those of them the writer has taken.
    submitted: u64,
    taken: u64,
    /// Requests that must be in the files before the committed id is: they hold the entries it names. An entry with the
    /// same index may be there already, of a leader that lost.
    committed_needs: u64,
    failure: Option<(io::ErrorKind, String)>,
    closing: bool,
}

impl Shared {
    pub fn new(state: LogState, index: EntryIndex, options: FileLogOptions) -> Self {
        let inner = Inner {
            state,
            tail: Tail::default(),
            index,
            waiting: VecDeque::new(),
            pending_bytes: 0,
            submitted: 0,
            taken: 0,
            committed_needs: 0,
            failure: None,
            closing: false,
        };
        Self {
            inner: Mutex::new(inner),
            work: Condvar::new(),
            space: Condvar::new(),
            options,
        }
    }

    pub fn state(&self) -> LogState {
        self.lock().state
    }

    pub fn set_committed(&self, committed: Option<codec::LogId>) {
        let mut inner = self.lock();
        inner.state.committed = committed;
        inner.committed_needs = inner.submitted;
    }

    /// The committed id, if the group just taken may carry it.
    pub fn committed_to_write(&self) -> Option<codec::LogId> {
        let inner = self.lock();
        inner.state.committed.filter(|_| inner.taken >= inner.committed_needs)
    }

    /// Applies the change for readers and queues it. Waits while the queue is full.
    pub fn submit(&self, change: Change, done: Done) -> io::Result<()> {
        match self.try_submit(change, done) {
            Ok(()) => Ok(()),
            Err((error, done)) => {
                done(Err(io::Error::new(error.kind(), error.to_string())));
                Err(error)
            }
        }
    }

    fn try_submit(&self, change: Change, done: Done) -> Result<(), (io::Error, Done)> {
        if let Err(error) = check_bounds(&change) {
            return Err((error, done));
        }
        let weight = change.weight();
        let mut inner = self.lock();
        while inner.failure.is_none() && inner.pending_bytes > 0 && inner.pending_bytes + weight > self.options.queue_bytes {
            inner = self.space.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if let Err(error) = inner.failure().and_then(|()| transition::check(&inner.state, &change)) {
            return Err((error, done));
        }
        inner.make_visible(&change);
        inner.pending_bytes += weight;
        inner.submitted += 1;
        inner.waiting.push_back(Request { change, done });
        drop(inner);
        self.work.notify_one();
        Ok(())
    }

    /// Everything that waits, up to the bound of a group.
    pub fn next_work(&self, idle_after: Option<Duration>) -> Work {
        let mut inner = self.lock();
        while inner.waiting.is_empty() && !inner.closing {
            inner = match idle_after {
                None => self.work.wait(inner).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let (inner, wait) = self.work.wait_timeout(inner, patience).unwrap_or_else(PoisonError::into_inner);
                    if wait.timed_out() && inner.waiting.is_empty() && !inner.closing {
                        return Work::Idle;
                    }
                    inner
                }
            };
        }
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(request) = inner.waiting.front() {
            bytes += request.change.weight();
            if !group.is_empty() && bytes > options::GROUP_BYTES_MAX {
                break;
            }
            group.extend(inner.waiting.pop_front());
        }
        inner.taken += group.len() as u64;
        if group.is_empty() { Work::Closed } else { Work::Group(group) }
    }

    /// Notes that a group is durable and where its entries stand; returns the files nobody needs any more.
    pub fn made_durable(&self, group: &[Request], offsets: &[u32]) -> Vec<u64> {
        let mut inner = self.lock();
        let mut offsets = offsets.iter();
        for request in group {
            index_change(&mut inner.index, &request.change, &mut offsets);
            if let Change::Append(entries) = &request.change {
                inner.tail.made_durable(entries.len() as u64, self.options.tail_bytes);
            }
            inner.pending_bytes -= request.change.weight();
        }
        let obsolete = inner.index.take_obsolete();
        drop(inner);
        self.space.notify_all();
        obsolete
    }

    pub fn add_segment(&self, number: u64, file: std::sync::Arc<std::fs::File>) -> Vec<u64> {
        let mut inner = self.lock();
        inner.index.add_segment(number, file);
        inner.index.take_obsolete()
    }

    /// Fails this and every later request, then tells the owner. Nothing is acknowledged from here on.
    pub fn fail(&self, error: &io::Error, group: Vec<Request>) {
        let mut inner = self.lock();
        inner.failure = Some((error.kind(), error.to_string()));
        let waiting = std::mem::take(&mut inner.waiting);
        inner.pending_bytes = 0;
        drop(inner);
        self.space.notify_all();
        for request in group.into_iter().chain(waiting) {
            (request.done)(Err(io::Error::new(error.kind(), error.to_string())));
        }
        (self.options.on_fatal)(&error.to_string());
    }

    pub fn close(&self) {
        self.lock().closing = true;
        self.work.notify_all();
    }

    /// Where entries from `start` on are; memory answers up to `bytes_max`.
    pub fn find(&self, start: u64, end: u64, bytes_max: usize) -> io::Result<Found> {
        let inner = self.lock();
        let end = end.min(transition::next_index(&inner.state));
        if start >= end || start < transition::first_index(&inner.state) {
            return Ok(Found::Nothing);
        }
        let memory_start = inner.tail.first_index().unwrap_or(end);
        if start >= memory_start {
            return Ok(Found::Memory(inner.in_memory(start, end, bytes_max)));
        }
        let end = end.min(memory_start).min(start + options::LOOKUPS_PER_TURN);
        let located = (start..end).map(|index| inner.index.locate(index).ok_or_else(|| lost(index)));
        Ok(Found::Files(located.collect::<io::Result<_>>()?))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn failure(&self) -> io::Result<()> {
        match &self.failure {
            Some((kind, text)) => Err(io::Error::new(*kind, format!("log has failed before: {text}"))),
            None if self.closing => Err(io::Error::new(io::ErrorKind::BrokenPipe, "log is closed")),
            None => Ok(()),
        }
    }

    fn make_visible(&mut self, change: &Change) {
        transition::apply(&mut self.state, change);
        match change {
            Change::Append(entries) => entries.iter().for_each(|entry| self.tail.push(entry.clone())),
            Change::TruncateAfter(_) => self.tail.truncate(transition::next_index(&self.state)),
            Change::Purge(_) => self.tail.purge(transition::first_index(&self.state)),
            Change::Vote(_) => {}
        }
    }

    fn in_memory(&self, start: u64, end: u64, bytes_max: usize) -> Vec<LogEntry> {
        let mut entries: Vec<LogEntry> = Vec::new();
        let mut bytes = 0;
        for entry in (start..end).map_while(|index| self.tail.get(index)) {
            bytes += entry.weight();
            if !entries.is_empty() && bytes > bytes_max {
                break;
            }
            entries.push(entry.clone());
        }
        entries
    }
}

/// Applies a durable change to the index; shared with recovery.
pub(crate) fn index_change<'a>(index: &mut EntryIndex, change: &Change, offsets: &mut impl Iterator<Item = &'a u32>) {
    match change {
        Change::Append(entries) => {
            for (entry, offset) in entries.iter().zip(offsets) {
                index.push(entry.log_id.index, *offset);
            }
        }
        Change::TruncateAfter(last) => index.truncate(last.map_or(0, |last| last.index + 1)),
        Change::Purge(upto) => index.purge(upto.index + 1),
        Change::Vote(_) => {}
    }
}

fn check_bounds(change: &Change) -> io::Result<()> {
    let Change::Append(entries) = change else { return Ok(()) };
    let too_large = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    if change.weight() > APPEND_BYTES_MAX {
        return too_large(format!("append is {} bytes, limit {APPEND_BYTES_MAX}; split it", change.weight()));
    }
    for entry in entries {
        let (bytes, limit) = match &entry.payload {
            Payload::Blank => continue,
            Payload::Commands(bytes) => (bytes.len(), ENTRY_BYTES_MAX),
            Payload::Membership(membership) => (codec::encode_membership(membership).len(), RAFT_RECORD_BYTES_MAX),
        };
        if bytes > limit {
            return too_large(format!(
                "entry {} is {bytes} bytes, limit {limit}; split the request",
                entry.log_id.index
            ));
        }
    }
    Ok(())
}

fn lost(index: u64) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        format!("entry {index} is neither in memory nor in a segment file"),
    )
}
