//! openraft's log storage over our [`LogStore`].

use crate::append_latency::AppendLatency;
use crate::convert;
use crate::kept_tail::KeptTail;
use crate::types::{Entry, LogId, TypeConfig, Vote};
use crate::write_path::WritePath;
use futures::Stream;
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use quorate_model::mutant;
use quorate_storage::log::LogStore;
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::sync::Arc;
use tokio::time::Instant;

/// Bytes of entries read or sent at once; at least one entry.
pub const READ_BUDGET_BYTES: usize = 1 << 20;

/// The log as openraft sees it.
#[derive(Clone)]
pub struct LogAdapter {
    log: Arc<dyn LogStore>,
    latency: Arc<AppendLatency>,
    path: Arc<WritePath>,
    kept: Arc<KeptTail>,
}

impl LogAdapter {
    pub fn new(log: Arc<dyn LogStore>, latency: Arc<AppendLatency>, path: Arc<WritePath>, kept: Arc<KeptTail>) -> LogAdapter {
        LogAdapter { log, latency, path, kept }
    }

    fn read(&self, range: impl RangeBounds<u64>, budget: usize) -> io::Result<Vec<Entry>> {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        if start >= end {
            return Ok(Vec::new());
        }
        self.log
            .read(start, end, budget)?
            .into_iter()
            .map(|entry| convert::entry_from_disk(entry).map_err(io::Error::other))
            .collect()
    }
}

impl RaftLogReader<TypeConfig> for LogAdapter {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(&mut self, range: RB) -> Result<Vec<Entry>, io::Error> {
        self.read(range, usize::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        self.read(start..end, READ_BUDGET_BYTES)
    }

    /// Reads in steps of the budget: a peer that is far behind must not pull the whole log into memory.
    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = Result<Entry, io::Error>> + Send
    where
        RB: RangeBounds<u64> + Clone + Debug + Send,
    {
        let start = match range.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(start) => start + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(end) => end + 1,
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        let adapter = self.clone();
        let batches = futures::stream::unfold(start, move |next| {
            let batch = if next < end {
                adapter.read(next..end, READ_BUDGET_BYTES)
            } else {
                Ok(Vec::new())
            };
            let following = match &batch {
                Ok(entries) => entries.last().map_or(end, |entry| entry.log_id.index + 1),
                Err(_) => end,
            };
            let stop = matches!(&batch, Ok(entries) if entries.is_empty());
            futures::future::ready((!stop).then_some((batch, following)))
        });
        Box::pin(futures::StreamExt::flat_map(batches, |batch| {
            let items: Vec<Result<Entry, io::Error>> = match batch {
                Ok(entries) => entries.into_iter().map(Ok).collect(),
                Err(error) => vec![Err(error)],
            };
            futures::stream::iter(items)
        }))
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        Ok(self.log.state().vote.map(convert::vote_from_disk))
    }
}

impl RaftLogStorage<TypeConfig> for LogAdapter {
    type LogReader = LogAdapter;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, io::Error> {
        let state = self.log.state();
        Ok(LogState {
            last_purged_log_id: state.purged.map(convert::log_id_from_disk),
            last_log_id: state.last.map(convert::log_id_from_disk),
        })
    }

    async fn get_log_reader(&mut self) -> LogAdapter {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        fail::fail_point!("vote_save_before");
        let vote = convert::vote_to_disk(vote);
        wait(|done| self.log.save_vote(vote, done)).await?;
        fail::fail_point!("vote_save_after");
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        self.log.set_committed(committed.as_ref().map(convert::log_id_to_disk));
        Ok(())
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        Ok(self.log.state().committed.map(convert::log_id_from_disk))
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<TypeConfig>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        fail::fail_point!("log_append_before");
        let entries: Vec<_> = entries.into_iter().map(convert::entry_to_disk).collect();
        let (latency, path, started) = (self.latency.clone(), self.path.clone(), Instant::now());
        let last = entries.last().map(|entry| entry.log_id.index);
        if let (Some(first), Some(last)) = (entries.first(), last) {
            path.appended(first.log_id.index, last, started);
            self.kept.make_place(self.log.as_ref(), first.log_id.index)?;
        }
        let done = move |result| {
            fail::fail_point!("log_append_after");
            latency.record(started.elapsed());
            last.into_iter().for_each(|last| path.synced(last, started));
            callback.io_completed(result);
        };
        if mutant!("reply-before-sync") {
            done(Ok(()));
            return self.log.append(entries, Box::new(drop));
        }
        self.log.append(entries, Box::new(done))
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        fail::fail_point!("log_truncate_before");
        let last = last.as_ref().map(convert::log_id_to_disk);
        wait(|done| self.kept.truncate_after(self.log.as_ref(), last, done)).await?;
        fail::fail_point!("log_truncate_after");
        Ok(())
    }

    async fn purge(&mut self, upto: LogId) -> Result<(), io::Error> {
        fail::fail_point!("log_purge_before");
        let upto = match self.log.state().committed {
            Some(committed) if mutant!("purge-beyond-checkpoint") => committed,
            _ => convert::log_id_to_disk(&upto),
        };
        wait(|done| self.log.purge(upto, done)).await?;
        self.kept.purged(upto.index);
        fail::fail_point!("log_purge_after");
        Ok(())
    }
}

/// Starts a change and waits until it is durable.
async fn wait(start: impl FnOnce(quorate_storage::log::Done) -> io::Result<()>) -> io::Result<()> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    start(Box::new(move |result| {
        let _ = sender.send(result);
    }))?;
    receiver.await.map_err(|_| io::Error::other("the log writer stopped"))?
}
