//! At a follower: commands of its callers go to the leader, packed, one hop. A forwarded command is never forwarded again.

use crate::node::Core;
use crate::proposer::{Proposal, ProposeFailure, ProposeResult};
use crate::settings::{FORWARD_TIMEOUT, FORWARDS_IN_FLIGHT, MAX_FORWARD_REPLY_BYTES};
use crate::transport::PeerClient;
use bytes::Bytes;
use prost::Message as _;
use quorate_model::{ErrorCode, MetaError, Revision};
use quorate_state_machine::{Answer, limits};
use quorate_wire::quorate::peer as wire;
use std::sync::Arc;
use tokio::sync::{Semaphore, mpsc, oneshot};

/// Forwards until every sender is gone. A new one runs for each new leader.
pub async fn run(core: Arc<Core>, leader: u64, client: Arc<dyn PeerClient>, mut waiting: mpsc::Receiver<Proposal>) {
    let in_flight = Arc::new(Semaphore::new(FORWARDS_IN_FLIGHT));
    while let Some(first) = waiting.recv().await {
        if first.reply.is_closed() {
            // Its caller has left with "outcome unknown", as at the leader.
            continue;
        }
        let Ok(permit) = in_flight.clone().acquire_owned().await else {
            return;
        };
        let mut bytes = first.frame.len();
        let mut frames = vec![first.frame];
        let mut replies = vec![first.reply];
        while frames.len() < limits::MAX_COMMANDS_PER_ENTRY && bytes < limits::MAX_PACKED_BYTES {
            let Ok(proposal) = waiting.try_recv() else { break };
            if proposal.reply.is_closed() {
                continue;
            }
            bytes += proposal.frame.len();
            frames.push(proposal.frame);
            replies.push(proposal.reply);
        }
        let (client, leadership) = (client.clone(), core.clone());
        core.spawn(async move {
            let result = if leadership.leader() == Some(leader) {
                tokio::select! {
                    result = forward(client, frames, replies.len()) => result,
                    // The call may hang for as long as the network does; the next leader answers a repetition at once.
                    () = leadership.leader_lost(leader) => Err(ProposeFailure::Unknown("the leader changed before it answered".to_owned())),
                }
            } else {
                Err(ProposeFailure::NotLeader {
                    leader: leadership.leader(),
                })
            };
            answer_all(replies, result);
            drop(permit);
        });
    }
}

async fn forward(client: Arc<dyn PeerClient>, commands: Vec<Bytes>, expected: usize) -> Result<Vec<wire::Answer>, ProposeFailure> {
    let call = client.propose(wire::ProposeRequest { commands });
    match tokio::time::timeout(FORWARD_TIMEOUT, call).await {
        Ok(Ok(wire::ProposeReply { error: Some(error), .. })) => Err(failure_from_wire(error)),
        Ok(Ok(reply)) if reply.answers.len() == expected => Ok(reply.answers),
        Ok(Ok(_)) => Err(ProposeFailure::Unknown(
            "the leader answered a different number of commands".to_owned(),
        )),
        Ok(Err(error)) => Err(ProposeFailure::Unknown(format!("the leader did not answer: {error}"))),
        Err(_) => Err(ProposeFailure::Unknown("the leader did not answer in time".to_owned())),
    }
}

fn answer_all(replies: Vec<oneshot::Sender<ProposeResult>>, result: Result<Vec<wire::Answer>, ProposeFailure>) {
    // A caller that gave up is not an error.
    match result {
        Ok(answers) => {
            for (sender, answer) in replies.into_iter().zip(answers) {
                let _ = sender.send(answer_from_wire(answer));
            }
        }
        Err(failure) => {
            for sender in replies {
                let _ = sender.send(Err(failure.clone()));
            }
        }
    }
}

/// The leader's side: results of a forwarded batch as a message that the channel carries. An answer that finds no room is
/// said to be unknown: its caller's peer asks again under the same request id, and gets it from memory. The first one always
/// has room, so every round brings some.
pub fn results_to_wire(results: Vec<ProposeResult>) -> Vec<wire::Answer> {
    let mut bytes = 0;
    let mut within_budget = |answer: wire::Answer| {
        let size = answer.encoded_len();
        if bytes > 0 && bytes + size > MAX_FORWARD_REPLY_BYTES {
            let message = "the answers of the batch are more than one message carries".to_owned();
            return answer_to_wire(Err(ProposeFailure::Unknown(message)));
        }
        bytes += size;
        answer
    };
    results.into_iter().map(|result| within_budget(answer_to_wire(result))).collect()
}

fn answer_to_wire(result: ProposeResult) -> wire::Answer {
    match result {
        Ok(Answer { revision, body: Ok(body) }) => wire::Answer {
            revision: revision.0,
            body,
            error: None,
        },
        Ok(Answer {
            revision,
            body: Err(error),
        }) => wire::Answer {
            revision: revision.0,
            body: Bytes::new(),
            error: Some(refusal_to_wire(&error)),
        },
        Err(failure) => wire::Answer {
            revision: 0,
            body: Bytes::new(),
            error: Some(failure_to_wire(&failure)),
        },
    }
}

fn refusal_to_wire(error: &MetaError) -> wire::ErrorInfo {
    wire::ErrorInfo {
        code: error.code.row().number,
        message: error.message.clone(),
        leader: 0,
    }
}

pub fn failure_to_wire(failure: &ProposeFailure) -> wire::ErrorInfo {
    match failure {
        ProposeFailure::NotLeader { leader } => wire::ErrorInfo {
            code: ErrorCode::NotLeader.row().number,
            message: String::new(),
            leader: leader.unwrap_or(0),
        },
        ProposeFailure::Unknown(message) => wire::ErrorInfo {
            code: ErrorCode::OutcomeUnknown.row().number,
            message: message.clone(),
            leader: 0,
        },
        ProposeFailure::Refused(error) => refusal_to_wire(error),
    }
}

fn failure_from_wire(error: wire::ErrorInfo) -> ProposeFailure {
    match ErrorCode::from_number(error.code) {
        ErrorCode::NotLeader => ProposeFailure::NotLeader {
            leader: (error.leader != 0).then_some(error.leader),
        },
        ErrorCode::OutcomeUnknown => ProposeFailure::Unknown(error.message),
        code => ProposeFailure::Refused(MetaError::new(code, error.message)),
    }
}

fn answer_from_wire(answer: wire::Answer) -> ProposeResult {
    let revision = Revision(answer.revision);
    match answer.error {
        None => Ok(Answer {
            revision,
            body: Ok(answer.body),
        }),
        Some(error) => match failure_from_wire(error) {
            ProposeFailure::Refused(error) => Ok(Answer {
                revision,
                body: Err(error),
            }),
            failure => Err(failure),
        },
    }
}
