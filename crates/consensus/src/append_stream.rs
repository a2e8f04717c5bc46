//! One stream of appends as its sender sees it: what is under way, under which vote, and what the answers mean.
//!
//! What is sent and not yet answered is bounded in bytes: a peer that takes entries slower than they come would otherwise
//! pull megabyte after megabyte of log into this process's memory.
//!
//! An answer is of one request, but openraft takes one for all requests up to the entry that it names, and for as young as the last of
//! these. A request without entries, which says how much is committed, ends with the same entry as the one before it. Were the answer to
//! that one taken for its own, the peer would count as having heard from this leader at a time at which it may have followed another one
//! for long: a read that began in between would be answered from the past. So no answer is passed on while a later request is under way
//! that it would stand for too, the answer to which says as much; and no request is taken over between an answer and openraft's look at it.

use crate::acknowledged::Acknowledged;
use crate::convert;
use crate::transport::TransportError;
use crate::types::{LogId, TypeConfig, Vote};
use futures::{Stream, StreamExt, ready};
use openraft::EntryPayload;
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult};
use quorate_model::mutant;
use quorate_wire::quorate::peer as wire;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};
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
    /// Requests that openraft has handed out, oldest first: answers come in the order of the requests.
    unanswered: VecDeque<Unanswered>,
    /// Of those that are on their way.
    unanswered_bytes: usize,
    /// openraft has been handed an answer, and has not asked for the next one.
    being_read: bool,
    /// Who waits for it to be read.
    next_request: Option<Waker>,
}

struct Unanswered {
    weight: usize,
    last_log_id: Option<LogId>,
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
            let request = this.take_over(&mut input).await?;
            let weight = weight(&request);
            while !this.has_room(weight) {
                this.answered.notified().await;
            }
            Some((this.send(request, weight), (input, this)))
        })
    }

    /// The next request of openraft, which notes it in the moment in which it hands it out.
    async fn take_over<S>(&self, input: &mut S) -> Option<AppendEntriesRequest<TypeConfig>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Unpin,
    {
        futures::future::poll_fn(|context| {
            let mut state = self.state();
            if state.being_read {
                state.next_request = Some(context.waker().clone());
                return Poll::Pending;
            }
            // Under the lock: no answer gets between what openraft notes and what is noted here.
            let request = ready!(input.poll_next_unpin(context));
            if let Some(request) = &request {
                state.unanswered.push_back(Unanswered {
                    weight: weight(request),
                    last_log_id: request.entries.last().map(|entry| entry.log_id).or(request.prev_log_id),
                });
            }
            Poll::Ready(request)
        })
        .await
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
        state.unanswered_bytes += weight;
        wire::AppendRequest {
            vote: Some(convert::vote_to_wire(&request.vote)),
            prev_log_id: request.prev_log_id.as_ref().map(convert::log_id_to_wire),
            entries: request.entries.into_iter().map(convert::entry_to_wire).collect(),
            leader_commit: request.leader_commit.as_ref().map(convert::log_id_to_wire),
            acknowledged: acknowledged.as_ref().map(convert::log_id_to_wire),
        }
    }

    /// What openraft is told of the replies.
    pub fn answers<S>(
        self: &Arc<Self>,
        replies: S,
    ) -> impl Stream<Item = Result<StreamAppendResult<TypeConfig>, TransportError>> + Send + use<S>
    where
        S: Stream<Item = Result<wire::AppendReply, TransportError>> + Send + Unpin,
    {
        futures::stream::unfold((replies, self.clone()), |(mut replies, this)| async move {
            // Whoever asks for another answer has read the one before.
            this.was_read();
            loop {
                let answer = match replies.next().await? {
                    Ok(reply) => this.answer(reply),
                    Err(error) => Err(error),
                };
                if let Some(answer) = answer.transpose() {
                    return Some((answer, (replies, this)));
                }
            }
        })
    }

    fn was_read(&self) {
        let mut state = self.state();
        state.being_read = false;
        if let Some(next_request) = state.next_request.take() {
            next_request.wake();
        }
    }

    /// Takes the oldest request for answered, by this entry if it went well; returns the vote it was sent under, and whether the answer is
    /// to be passed on.
    fn settle(&self, log_id: Option<&LogId>, is_success: bool) -> Result<(Vote, bool), TransportError> {
        let mut state = self.state();
        let weight = state.unanswered.pop_front().map_or(0, |request| request.weight);
        state.unanswered_bytes = state.unanswered_bytes.saturating_sub(weight);
        let vote = state
            .vote
            .ok_or_else(|| TransportError("an answer came before a request".to_owned()))?;
        let stands_for_more = || state.unanswered.iter().any(|later| later.last_log_id.as_ref() <= log_id);
        let is_passed_on = !is_success || mutant!("one-answer-for-two") || !stands_for_more();
        state.being_read = is_passed_on;
        drop(state);
        self.answered.notify_one();
        Ok((vote, is_passed_on))
    }

    /// What an answer means; nothing when a later one will say the same. One that shows that the peer has lost acknowledged entries is an
    /// error: given a conflict below what it counts as matched, openraft panics with debug assertions and otherwise goes on counting the
    /// entry.
    fn answer(&self, reply: wire::AppendReply) -> Result<Option<StreamAppendResult<TypeConfig>>, TransportError> {
        use wire::append_reply::Kind;
        let kind = reply.kind();
        let log_id = convert::optional_log_id(reply.log_id)?;
        let is_success = matches!(kind, Kind::Success | Kind::Partial);
        let (vote, is_passed_on) = self.settle(log_id.as_ref(), is_success)?;
        let lost = |error: crate::acknowledged::LostEntries| TransportError(error.to_string());
        match kind {
            Kind::Success | Kind::Partial => {
                self.acknowledged.record(self.peer, vote, log_id).map_err(lost)?;
                Ok(is_passed_on.then_some(Ok(log_id)))
            }
            Kind::Conflict => {
                let log_id = log_id.ok_or_else(|| TransportError("conflict without a log id".to_owned()))?;
                self.acknowledged.record_conflict(self.peer, &vote, &log_id).map_err(lost)?;
                Ok(Some(Err(StreamAppendError::Conflict(log_id))))
            }
            Kind::HigherVote => {
                let vote = convert::vote_from_wire(reply.vote)?;
                Ok(Some(Err(StreamAppendError::HigherVote(vote))))
            }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Entry, LeaderIdOf};
    use futures::FutureExt;
    use futures::channel::mpsc;
    use wire::append_reply::Kind;

    const LIMIT_BYTES: usize = 1 << 20;

    fn id(index: u64) -> LogId {
        LogId::new(LeaderIdOf { term: 1, node_id: 1 }, index)
    }

    /// A request of the entries after the first up to the second; of none when they are the same.
    fn request((previous, last): (u64, u64)) -> AppendEntriesRequest<TypeConfig> {
        let entries = (previous + 1..=last).map(|index| Entry {
            log_id: id(index),
            payload: EntryPayload::Blank,
        });
        AppendEntriesRequest {
            vote: Vote {
                leader_id: LeaderIdOf { term: 1, node_id: 1 },
                committed: true,
            },
            prev_log_id: Some(id(previous)),
            entries: entries.collect(),
            leader_commit: None,
        }
    }

    fn success(last: u64) -> Result<wire::AppendReply, TransportError> {
        Ok(wire::AppendReply {
            kind: Kind::Success.into(),
            log_id: Some(convert::log_id_to_wire(&id(last))),
            ..Default::default()
        })
    }

    #[tokio::test]
    async fn an_answer_is_not_passed_on_while_it_would_stand_for_a_later_request_too() {
        for (second, told) in [((5, 5), &[5][..]), ((5, 7), &[5, 7])] {
            let stream = AppendStream::new(2, Arc::default(), LIMIT_BYTES);
            let requests = [request((3, 5)), request(second)];
            let sent: Vec<_> = stream.requests(futures::stream::iter(requests)).collect().await;
            assert_eq!(sent.len(), 2);
            let replies = futures::stream::iter([success(5), success(second.1)]);
            let answers: Vec<_> = stream.answers(replies).collect().await;
            let last = |answer: Result<StreamAppendResult<TypeConfig>, TransportError>| {
                let matching = answer.expect("the stream goes on").expect("taken");
                matching.expect("an entry").index
            };
            assert_eq!(answers.into_iter().map(last).collect::<Vec<_>>(), told);
        }
    }

    #[tokio::test]
    async fn no_request_is_taken_over_between_an_answer_and_the_look_at_it() {
        let stream = AppendStream::new(2, Arc::default(), LIMIT_BYTES);
        let (hand_out, handed_out) = mpsc::unbounded();
        let (reply, replies) = mpsc::unbounded();
        let mut requests = std::pin::pin!(stream.requests(handed_out));
        let mut answers = std::pin::pin!(stream.answers(replies));
        hand_out.unbounded_send(request((3, 5))).expect("open");
        requests.next().await.expect("sent");
        reply.unbounded_send(success(5)).expect("open");
        answers.next().await.expect("an answer").expect("no error").expect("taken");
        hand_out.unbounded_send(request((5, 5))).expect("open");
        assert!(
            requests.next().now_or_never().is_none(),
            "the answer to the first might still be taken for one to this"
        );
        assert!(
            answers.next().now_or_never().is_none(),
            "there is no other, but the first has been read"
        );
        requests.next().now_or_never().flatten().expect("sent");
    }
}
