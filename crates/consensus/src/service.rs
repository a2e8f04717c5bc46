//! What a peer answers to other peers. The transport has already checked who is calling.

use crate::acknowledged;
use crate::convert::{self, Malformed};
use crate::node::{Core, Node};
use crate::proposer::{ProposeFailure, ProposeResult};
use crate::types::{PeerNode, TypeConfig};
use crate::{env, forward, reads, receiving};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::raft::{AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest};
use quorate_model::{ErrorCode, MetaError, mutant};
use quorate_state_machine::{commands, frame, limits};
use quorate_wire::quorate::peer as wire;
use std::sync::{Arc, OnceLock, Weak};

fn append_from_wire(request: wire::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, Malformed> {
    Ok(AppendEntriesRequest {
        vote: convert::vote_from_wire(request.vote)?,
        prev_log_id: convert::optional_log_id(request.prev_log_id)?,
        entries: request
            .entries
            .into_iter()
            .map(convert::entry_from_wire)
            .collect::<Result<_, _>>()?,
        leader_commit: convert::optional_log_id(request.leader_commit)?,
    })
}

/// One request as openraft takes it, unless it is malformed, or the end of this log is lost.
fn take_append(core: &Weak<Core>, mut request: wire::AppendRequest) -> Result<AppendEntriesRequest<TypeConfig>, String> {
    let core = core.upgrade().ok_or("this peer has stopped")?;
    let mark = acknowledged::mark_from_wire(request.vote, request.acknowledged.take());
    match mark {
        Some(mark) => core.own_log.compare(core.log.as_ref(), &mark)?,
        None => core.takes_part()?,
    }
    append_from_wire(request).map_err(|error| error.to_string())
}

fn append_reply(result: StreamAppendResult<TypeConfig>) -> wire::AppendReply {
    use wire::append_reply::Kind;
    let mut reply = wire::AppendReply::default();
    match result {
        Ok(log_id) => reply.log_id = log_id.as_ref().map(convert::log_id_to_wire),
        Err(StreamAppendError::Conflict(log_id)) => {
            reply.set_kind(Kind::Conflict);
            reply.log_id = Some(convert::log_id_to_wire(&log_id));
        }
        Err(StreamAppendError::HigherVote(vote)) => {
            reply.set_kind(Kind::HigherVote);
            reply.vote = Some(convert::vote_to_wire(&vote));
        }
    }
    reply
}

fn failed(error: impl ToString) -> wire::AppendReply {
    let mut reply = wire::AppendReply {
        error: error.to_string(),
        ..Default::default()
    };
    reply.set_kind(wire::append_reply::Kind::Failed);
    reply
}

fn vote_request(request: wire::VoteRequest) -> Result<VoteRequest<TypeConfig>, Malformed> {
    let vote = convert::vote_from_wire(request.vote)?;
    let mut message = VoteRequest::new(vote, convert::optional_log_id(request.last_log_id)?);
    message.leadership_transfer = request.leadership_transfer;
    Ok(message)
}

/// The numbers of forwarded commands; `None` if these are too many, or one of them is too long or malformed.
fn command_numbers(commands: &[Bytes]) -> Option<Vec<u32>> {
    if commands.len() > limits::MAX_COMMANDS_PER_ENTRY {
        return None;
    }
    let number = |command: &Bytes| {
        let fits = command.len() <= limits::MAX_COMMAND_BYTES + frame::MAX_FRAME_EXTRA_BYTES;
        let frame = frame::decode_single(command.clone()).ok().filter(|_| fits)?;
        Some(frame.number)
    };
    commands.iter().map(number).collect()
}

fn vote_error(error: impl ToString) -> wire::VoteReply {
    wire::VoteReply {
        error: error.to_string(),
        ..Default::default()
    }
}

impl Node {
    /// Appends of a leader, pipelined: requests are taken while earlier ones are still being synced.
    pub fn handle_append(
        &self,
        requests: impl Stream<Item = wire::AppendRequest> + Send + 'static,
    ) -> BoxStream<'static, wire::AppendReply> {
        // Weakly: whoever sends may keep an idle stream, and with it this closure, long after this node is gone.
        let core = Arc::downgrade(&self.core);
        let refused: Arc<OnceLock<String>> = Arc::default();
        let why = refused.clone();
        // What is not taken ends the stream: nothing after it can be matched with an answer.
        let requests = requests
            .map(move |request| take_append(&core, request).map_err(|error| why.set(error)))
            .take_while(|request| futures::future::ready(request.is_ok()))
            .filter_map(|request| futures::future::ready(request.ok()));
        let own_log = self.core.own_log.clone();
        let refusal = futures::stream::once(async move {
            let mut reply = failed(refused.get()?);
            if own_log.loss().is_some() {
                reply.set_kind(wire::append_reply::Kind::Lost);
            }
            Some(reply)
        });
        self.core
            .raft()
            .stream_append(requests)
            .map(|result| result.map_or_else(failed, append_reply))
            .chain(refusal.filter_map(futures::future::ready))
            .boxed()
    }

    pub async fn handle_vote(&self, request: wire::VoteRequest) -> wire::VoteReply {
        if let Err(loss) = self.core.takes_part() {
            return vote_error(loss);
        }
        let request = match vote_request(request) {
            Ok(request) => request,
            Err(error) => return vote_error(error),
        };
        match self.core.raft().vote(request).await {
            Ok(reply) => vote_reply(reply),
            Err(error) => vote_error(error),
        }
    }

    pub async fn handle_pre_vote(&self, request: wire::VoteRequest) -> wire::VoteReply {
        if let Err(loss) = self.core.takes_part() {
            return vote_error(loss);
        }
        let request = match vote_request(request) {
            Ok(request) => request,
            Err(error) => return vote_error(error),
        };
        match self.core.raft().pre_vote(request).await {
            Ok(reply) => vote_reply(reply),
            Err(error) => vote_error(error),
        }
    }

    pub async fn handle_transfer(&self, request: wire::TransferRequest) -> wire::TransferReply {
        let refused = |error: String| wire::TransferReply { accepted: false, error };
        if let Err(loss) = self.core.takes_part() {
            return refused(loss);
        }
        let parsed = convert::vote_from_wire(request.from_leader).and_then(|vote| {
            Ok(TransferLeaderRequest::new(
                vote,
                request.to_peer,
                convert::optional_log_id(request.last_log_id)?,
            ))
        });
        let request = match parsed {
            Ok(request) => request,
            Err(error) => return refused(error.to_string()),
        };
        match self.core.raft().handle_transfer_leader(request).await {
            Ok(Ok(())) => wire::TransferReply {
                accepted: true,
                error: String::new(),
            },
            Ok(Err(error)) => refused(error.to_string()),
            Err(fatal) => refused(fatal.to_string()),
        }
    }

    /// Commands forwarded by a follower: they are proposed here or refused, never forwarded again.
    pub async fn handle_propose(&self, request: wire::ProposeRequest) -> wire::ProposeReply {
        let refuse = |failure: ProposeFailure| wire::ProposeReply {
            error: Some(forward::failure_to_wire(&failure)),
            ..Default::default()
        };
        // Answers come from this peer's state: if it is wrong, another peer must lead.
        let can_answer = !self.core.health.is_diverged() && !self.core.is_stopping();
        if self.core.leader() != Some(self.core.peer) || !can_answer {
            return refuse(ProposeFailure::NotLeader {
                leader: self.core.leader(),
            });
        }
        let Some(numbers) = command_numbers(&request.commands) else {
            let error = MetaError::new(ErrorCode::ParseError, "malformed forwarded batch");
            return refuse(ProposeFailure::Refused(error));
        };
        let proposals = numbers.into_iter().zip(request.commands);
        let results = futures::future::join_all(proposals.map(|(number, command)| self.propose_known(number, command))).await;
        wire::ProposeReply {
            answers: forward::results_to_wire(results),
            error: None,
            term: self.core.applier.applied().term,
            leader: self.core.peer,
        }
    }

    /// A peer of a newer build forwards what this one may not know. In the log it would end every peer of this build.
    async fn propose_known(&self, number: u32, command: Bytes) -> ProposeResult {
        if commands::info(number).is_none() {
            let text = format!("peer {}, which leads, does not know command {number}", self.core.peer);
            return Err(ProposeFailure::Refused(MetaError::new(ErrorCode::UnknownCommand, text)));
        }
        self.core.propose_forwarded(command).await
    }

    /// The index a follower's readers must have applied.
    pub async fn handle_read_index(&self) -> wire::ReadIndexReply {
        match reads::ask_with_own(&self.core).await {
            Ok(index) => wire::ReadIndexReply {
                index,
                error: None,
                term: self.core.applier.applied().term,
                leader: self.core.peer,
            },
            Err(error) => {
                let info = wire::ErrorInfo {
                    code: error.code.row().number,
                    message: error.message,
                    leader: self.core.leader().unwrap_or(0),
                };
                wire::ReadIndexReply {
                    error: Some(info),
                    ..Default::default()
                }
            }
        }
    }

    /// Health, clock and digests.
    pub fn handle_hello(&self, request: &wire::HelloRequest) -> wire::HelloReply {
        let core = &self.core;
        let metrics = core.metrics();
        let digests = core.applier.applied().digests;
        let is_it = |(_, node): &(&u64, &PeerNode)| match mutant!("emptied-disk-under-old-id") {
            true => node.peer_address == request.peer_address,
            false => request.incarnation != 0 && node.incarnation == request.incarnation,
        };
        // A newcomer keeps what it is told for good, so it is told what is committed. A member is gone once that is committed.
        let settled = crate::membership::settled(&metrics);
        let known = match request.empty {
            true => settled.nodes().find(is_it),
            false => settled.nodes().chain(metrics.membership_config.nodes()).find(is_it),
        };
        // openraft goes on naming a leader that is cut off; whoever believes it must not hear it of ourselves.
        let leader = metrics
            .current_leader
            .filter(|leader| *leader != core.peer || core.leads_a_quorum());
        let leader = leader.unwrap_or(0);
        let (disk, disk_low) = core.own_disk();
        let acknowledged = known.and_then(|(peer, _)| core.acknowledged.mark_of(*peer));
        wire::HelloReply {
            in_cluster: metrics.membership_config.nodes().next().is_some(),
            cluster_id: core.cluster.to_string(),
            peer_id: core.peer,
            incarnation: core.incarnation.0,
            peer_address: core.peer_address.clone(),
            public_address: core.public_address.clone(),
            leader,
            leader_peer_address: core.node_of(leader).map(|node| node.peer_address).unwrap_or_default(),
            term: metrics.current_term,
            last_log_index: metrics.last_log_index.unwrap_or(0),
            applied_index: core.applier.applied().index,
            unix_ms: env::wall_clock().0,
            disk_free_bytes: disk.free_bytes,
            append_p999_us: core.append_latency.p999_us(),
            digest_index: digests.index,
            digest: digests.to_bytes().to_vec().into(),
            diverged: core.health.is_diverged(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            snapshot_index: core.state_adapter.checkpoint_index().unwrap_or(0),
            purged_index: metrics.purged.map_or(0, |id| id.index),
            serving: self.check_serving().is_ok(),
            digest_at_asked: core
                .applier
                .digests_at(request.digest_index)
                .map(|digests| digests.to_bytes().to_vec().into())
                .unwrap_or_default(),
            your_peer_id: known.map_or(0, |(peer, _)| *peer),
            acknowledged_vote: acknowledged.as_ref().map(|mark| convert::vote_to_wire(&mark.vote)),
            acknowledged: acknowledged.as_ref().map(|mark| convert::log_id_to_wire(&mark.log_id)),
            state_damaged: core.content_scan.is_damaged(),
            disk_low,
            disk_total_bytes: disk.total_bytes,
            findings: core.own_findings.lock().expect("no panic while held").clone(),
            level: core.settings.level,
        }
    }

    /// Compares an announced checkpoint with the files already here; leftovers of other checkpoints are removed.
    pub async fn handle_prepare_install(&self, manifest: wire::InstallManifest) -> wire::InstallPlan {
        if let Err(error) = self.core.takes_part() {
            return wire::InstallPlan {
                error,
                ..Default::default()
            };
        }
        match receiving::plan(&self.core, manifest).await {
            Ok(wanted) => wire::InstallPlan {
                wanted,
                ..Default::default()
            },
            Err(error) => wire::InstallPlan {
                error,
                ..Default::default()
            },
        }
    }

    /// Receives the missing files, verifies all of them and hands the checkpoint to openraft.
    pub async fn handle_install(&self, chunks: impl Stream<Item = wire::InstallChunk> + Send + Unpin + 'static) -> wire::InstallReply {
        match receiving::receive_and_install(self.core.clone(), chunks).await {
            Ok(vote) => wire::InstallReply {
                vote: Some(vote),
                error: String::new(),
            },
            Err(error) => {
                tracing::warn!(%error, "a checkpoint could not be installed");
                wire::InstallReply { vote: None, error }
            }
        }
    }
}

fn vote_reply(reply: openraft::raft::VoteResponse<TypeConfig>) -> wire::VoteReply {
    wire::VoteReply {
        vote: Some(convert::vote_to_wire(&reply.vote)),
        last_log_id: reply.last_log_id.as_ref().map(convert::log_id_to_wire),
        granted: reply.vote_granted,
        error: String::new(),
    }
}
