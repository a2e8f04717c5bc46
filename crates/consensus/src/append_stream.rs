//! One stream of appends as its sender sees it: what is under way, under which vote, and what the answers mean.
//!
//! What is sent and not yet answered is bounded in bytes: a peer that takes entries slower than they come would otherwise
//! pull megabyte after megabyte of log into this process's memory.

use crate::acknowledged::Acknowledged;
use crate::convert;
use crate::transport::TransportError;
use crate::types::{TypeConfig, Vote};
use futures::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use quorate_wire::quorate::peer as wire;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::sync::Notify;

/// What an entry weighs besides its commands.
const ENTRY_OVERHEAD_BYTES: usize = 64;

/// Shared by the requests and the answers of one stream to one peer.
pub(crate) struct AppendStream {
    peer: u64,
    acknowledged: Arc<Acknowledged>,
    limit_bytes: usize,
    state: Mutex<State>,
    answered: Notify,
}

#[derive(Default)]
struct State {
    /// Of all requests of this stream; openraft opens another stream under another vote.
    vote: Option<Vote>,
    /// Weights of the requests under way, oldest first: answers come in the order of the requests.
    unanswered: VecDeque<usize>,
    unanswered_bytes: usize,
}

impl AppendStream {
    pub fn new(peer: u64, acknowledged: Arc<Acknowledged>, limit_bytes: usize) -> Arc<AppendStream> {
        Arc::new(AppendStream {
            peer,
            acknowledged,
            limit_bytes,
            state: Mutex::default(),
            answered: Notify::new(),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }

    /// The requests as messages, each sent when there is room for it; one that is larger than the bound goes alone.
    pub fn requests<S>(self: &Arc<Self>, input: S) -> impl Stream<Item = wire::AppendRequest> + Send + use<S>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        futures::stream::unfold((input, self.clone()), |(mut input, this)| async move {
            let request = input.next().await?;
            let weight = weight(&request);
            while !this.has_room(weight) {
                this.answered.notified().await;
            }
            Some((this.send(request, weight), (input, this)))
        })
    }

    fn has_room(&self, weight: usize) -> bool {
        let state = self.state();
        state.unanswered_bytes == 0 || state.unanswered_bytes + weight <= self.limit_bytes
    }

    fn send(&self, request: AppendEntriesRequest<TypeConfig>, weight: usize) -> wire::AppendRequest {
        let mut state = self.state();
        // The peer compares its log with this before it takes anything from the stream.
        let acknowledged = match state.vote {
            None => self.acknowledged.under(self.peer, &request.vote),
            Some(_) => None,
        };
        state.vote = Some(request.vote);
        state.unanswered.push_back(weight);
        state.unanswered_bytes += weight;
        wire::AppendRequest {
            vote: Some(convert::vote_to_wire(&request.vote)),
            prev_log_id: request.prev_log_id.as_ref().map(convert::log_id_to_wire),
            entries: request.entries.into_iter().map(convert::entry_to_wire).collect(),
            leader_commit: request.leader_commit.as_ref().map(convert::log_id_to_wire),
            acknowledged: acknowledged.as_ref().map(convert::log_id_to_wire),
        }
    }

    /// What an answer means. One that shows that the peer has lost acknowledged entries is an error: given a conflict
    /// below what it counts as matched, openraft panics with debug assertions and otherwise goes on counting the entry.
    pub fn answer(&self, reply: wire::AppendReply) -> Result<StreamAppendResult<TypeConfig>, TransportError> {
        use wire::append_reply::Kind;
        let mut state = self.state();
        let weight = state.unanswered.pop_front().unwrap_or(0);
        state.unanswered_bytes -= weight;
        let vote = state
            .vote
            .ok_or_else(|| TransportError("an answer came before a request".to_owned()))?;
        drop(state);
        self.answered.notify_one();
        let log_id = convert::optional_log_id(reply.log_id)?;
        let lost = |error: crate::acknowledged::LostEntries| TransportError(error.to_string());
        match reply.kind() {
            Kind::Success | Kind::Partial => {
                self.acknowledged.record(self.peer, vote, log_id).map_err(lost)?;
                Ok(Ok(log_id))
            }
            Kind::Conflict => {
                let log_id = log_id.ok_or_else(|| TransportError("conflict without a log id".to_owned()))?;
                self.acknowledged.record_conflict(self.peer, &vote, &log_id).map_err(lost)?;
                Ok(Err(StreamAppendError::Conflict(log_id)))
            }
            Kind::HigherVote => Ok(Err(StreamAppendError::HigherVote(convert::vote_from_wire(reply.vote)?))),
            Kind::Lost => {
                self.acknowledged.record_loss(self.peer);
                Err(TransportError(reply.error))
            }
            Kind::Failed => Err(TransportError(reply.error)),
        }
    }
}

fn weight(request: &AppendEntriesRequest<TypeConfig>) -> usize {
    let entries = request.entries.iter().map(|entry| match &entry.payload {
        EntryPayload::Normal(data) => ENTRY_OVERHEAD_BYTES + data.0.len(),
        EntryPayload::Blank | EntryPayload::Membership(_) => ENTRY_OVERHEAD_BYTES,
    });
    entries.sum()
}
