//! At the leader: waiting commands become one log entry, one entry in flight.
//!
//! While one entry is being synced and replicated, the next collects whoever comes; so batches grow with load by
//! themselves and a lone command waits for nobody.

use crate::cluster_clock::ClusterClock;
use crate::settings::MAX_WAITING_COMMANDS;
use crate::state_adapter::StateAdapter;
use crate::types::{EntryData, TypeConfig};
use crate::write_path::WritePath;
use bytes::Bytes;
use openraft::Raft;
use openraft::errors::{ClientWriteError, RaftError};
use quorate_model::{ErrorCode, MetaError};
use quorate_state_machine::{Answer, frame, limits};
use std::collections::VecDeque;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How often it is looked who still waits while an entry is in flight: without a quorum that may be long.
const GONE_LOOK: Duration = Duration::from_millis(100);

/// Why a command got no answer from the log.
#[derive(Clone, Debug)]
pub enum ProposeFailure {
    /// Refused before it was appended: it has not happened and will not.
    NotLeader { leader: Option<u64> },
    /// It may have happened, or may still.
    Unknown(String),
    /// Refused for what it is.
    Refused(MetaError),
}

pub type ProposeResult = Result<Answer, ProposeFailure>;

/// One command that waits for its place in an entry.
pub struct Proposal {
    /// Encoded by [`frame::encode_frame`], by the peer that received the call.
    pub frame: Bytes,
    pub reply: oneshot::Sender<ProposeResult>,
}

/// Packs and proposes until every sender is gone.
pub async fn run(
    raft: Raft<TypeConfig, StateAdapter>,
    path: Arc<WritePath>,
    clock: Arc<ClusterClock>,
    mut waiting: mpsc::Receiver<Proposal>,
) {
    let mut carried: VecDeque<Proposal> = VecDeque::new();
    // Fewer for a while after an entry that could not hold what its commands change: most of a full one would come back.
    let mut most_commands = limits::MAX_COMMANDS_PER_ENTRY;
    loop {
        let first = match carried.pop_front() {
            Some(proposal) => proposal,
            None => match waiting.recv().await {
                Some(proposal) => proposal,
                None => return,
            },
        };
        if first.reply.is_closed() {
            // Its caller has left with "outcome unknown"; not executing it is one of the two outcomes.
            continue;
        }
        let mut frames = vec![first.frame];
        let mut replies = vec![first.reply];
        let mut bytes = frames[0].len();
        while frames.len() < most_commands {
            let Some(proposal) = carried.pop_front().or_else(|| waiting.try_recv().ok()) else {
                break;
            };
            if bytes + proposal.frame.len() > limits::MAX_PACKED_BYTES {
                carried.push_front(proposal);
                break;
            }
            bytes += proposal.frame.len();
            frames.push(proposal.frame);
            replies.push(proposal.reply);
        }
        let entry = frame::pack(clock.now(), &frames);
        if entry.len() > limits::MAX_ENTRY_BYTES {
            let message = format!(
                "entry is {} bytes, limit {}; split the request",
                entry.len(),
                limits::MAX_ENTRY_BYTES
            );
            answer_all(replies, Err(ProposeFailure::Refused(MetaError::new(ErrorCode::TooLarge, message))));
            continue;
        }
        path.packed();
        let written = while_in_flight(raft.client_write(EntryData(entry)), &mut carried, &mut waiting).await;
        match written {
            Ok(response) => {
                let answers = response.data.0;
                most_commands = match answers.len() < frames.len() {
                    true => answers.len().max(1),
                    false => (2 * most_commands).min(limits::MAX_COMMANDS_PER_ENTRY),
                };
                put_back(&mut carried, &mut frames, &mut replies, answers.len());
                for (reply, answer) in replies.into_iter().zip(answers) {
                    // A caller that gave up is not an error: its command has happened and is remembered.
                    let _ = reply.send(Ok(answer));
                }
            }
            Err(error) => {
                path.given_up();
                answer_all(replies, Err(classify(error)));
            }
        }
    }
}

/// Waits for an entry, and sees to it that the queue does not fill with commands whose callers are gone.
async fn while_in_flight<T>(entry: impl Future<Output = T>, carried: &mut VecDeque<Proposal>, waiting: &mut mpsc::Receiver<Proposal>) -> T {
    let mut entry = pin!(entry);
    loop {
        match tokio::time::timeout(GONE_LOOK, entry.as_mut()).await {
            Ok(written) => return written,
            Err(_) => drop_the_gone(carried, waiting),
        }
    }
}

/// Makes room in the queue: who still waits is carried on, in order, as far as the bound permits.
fn drop_the_gone(carried: &mut VecDeque<Proposal>, waiting: &mut mpsc::Receiver<Proposal>) {
    carried.retain(|proposal| !proposal.reply.is_closed());
    while carried.len() < MAX_WAITING_COMMANDS
        && let Ok(proposal) = waiting.try_recv()
    {
        if !proposal.reply.is_closed() {
            carried.push_back(proposal);
        }
    }
}

/// Takes the commands that the entry had no room for, and that have not happened, to the head of those that wait.
fn put_back(carried: &mut VecDeque<Proposal>, frames: &mut Vec<Bytes>, replies: &mut Vec<oneshot::Sender<ProposeResult>>, executed: usize) {
    while frames.len() > executed
        && let (Some(frame), Some(reply)) = (frames.pop(), replies.pop())
    {
        carried.push_front(Proposal { frame, reply });
    }
}

fn answer_all(replies: Vec<oneshot::Sender<ProposeResult>>, result: ProposeResult) {
    for reply in replies {
        let _ = reply.send(result.clone());
    }
}

/// What a failed write means. The enum is matched, never asked through `forward_to_leader()`, which would call a
/// discarded entry "not leader" though it may still commit.
fn classify(error: RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> ProposeFailure {
    match error {
        RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => ProposeFailure::NotLeader { leader: forward.leader_id },
        RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) => {
            ProposeFailure::Unknown("the leader changed while the write was under way".to_owned())
        }
        RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => {
            ProposeFailure::Refused(MetaError::invalid(error.to_string()))
        }
        RaftError::APIError(ClientWriteError::PreconditionFailed(error)) => ProposeFailure::Refused(MetaError::internal(error.to_string())),
        RaftError::Fatal(fatal) => ProposeFailure::Unknown(format!("this peer is stopping: {fatal}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(name: &'static str) -> (Proposal, oneshot::Receiver<ProposeResult>) {
        let (reply, answer) = oneshot::channel();
        let frame = Bytes::from_static(name.as_bytes());
        (Proposal { frame, reply }, answer)
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_quorum_commands_whose_callers_are_gone_take_no_places() {
        let (queue, mut waiting) = mpsc::channel(2);
        let mut carried = VecDeque::new();
        let (first, _first_waits) = proposal("first");
        let (gone, hung_up) = proposal("gone");
        carried.extend([first, gone]);
        drop(hung_up);
        let (gone, hung_up) = proposal("gone, too");
        drop(hung_up);
        let (second, _second_waits) = proposal("second");
        for proposal in [gone, second] {
            assert!(queue.try_send(proposal).is_ok());
        }
        let (third, _third_waits) = proposal("third");
        let late = async { queue.send(third).await.map_err(|_| "closed") };
        // Ends when the third has found a place, which it does while the entry is in flight.
        let sent = while_in_flight(late, &mut carried, &mut waiting).await;
        assert_eq!(sent, Ok(()));
        let frames: Vec<Bytes> = carried.iter().map(|proposal| proposal.frame.clone()).collect();
        assert_eq!(frames, ["first", "second"]);
        assert_eq!(waiting.try_recv().expect("it has a place").frame, "third");
    }
}
