//! openraft's network over a [`Transport`].

use crate::convert::{self, Malformed};
use crate::log_adapter::READ_BUDGET_BYTES;
use crate::state_adapter::SnapshotHandle;
use crate::transport::{Channel, PeerClient, Transport, TransportError};
use crate::types::{PeerNode, TypeConfig, Vote};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendError, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse, VoteRequest, VoteResponse};
use quorate_storage::codec;
use quorate_wire::quorate::peer as wire;
use std::future::Future;
use std::io::Read;
use std::sync::Arc;

/// Makes a network per peer.
pub struct NetworkFactory {
    pub transport: Arc<dyn Transport>,
}

/// The way to one peer.
pub struct Network {
    target: u64,
    client: Arc<dyn PeerClient>,
}

impl NetworkFactory {
    fn network(&self, target: u64, node: &PeerNode, channel: Channel) -> Network {
        Network { target, client: self.transport.client(&node.peer_address, target, node.incarnation, channel) }
    }
}

impl RaftNetworkFactory<TypeConfig> for NetworkFactory {
    type Network = Network;

    async fn new_client(&mut self, target: u64, node: &PeerNode) -> Network {
        self.network(target, node, Channel::Log)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &PeerNode) -> Network {
        self.network(target, node, Channel::Heartbeat)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &PeerNode) -> Network {
        self.network(target, node, Channel::Bulk)
    }
}

type RpcError = RPCError<TypeConfig>;

fn unreachable_peer(error: impl ToString) -> RpcError {
    RPCError::Unreachable(Unreachable::from_string(error))
}

impl From<Malformed> for TransportError {
    fn from(error: Malformed) -> TransportError {
        TransportError(error.to_string())
    }
}

fn append_to_wire(request: AppendEntriesRequest<TypeConfig>) -> wire::AppendRequest {
    wire::AppendRequest {
        vote: Some(convert::vote_to_wire(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(convert::log_id_to_wire),
        entries: request.entries.into_iter().map(convert::entry_to_wire).collect(),
        leader_commit: request.leader_commit.as_ref().map(convert::log_id_to_wire),
    }
}

fn append_result(reply: wire::AppendReply) -> Result<StreamAppendResult<TypeConfig>, TransportError> {
    use wire::append_reply::Kind;
    let log_id = convert::optional_log_id(reply.log_id)?;
    match reply.kind() {
        Kind::Success | Kind::Partial => Ok(Ok(log_id)),
        Kind::Conflict => {
            let log_id = log_id.ok_or_else(|| TransportError("conflict without a log id".to_owned()))?;
            Ok(Err(StreamAppendError::Conflict(log_id)))
        }
        Kind::HigherVote => Ok(Err(StreamAppendError::HigherVote(convert::vote_from_wire(reply.vote)?))),
        Kind::Failed => Err(TransportError(reply.error)),
    }
}

fn vote_reply(reply: wire::VoteReply) -> Result<VoteResponse<TypeConfig>, TransportError> {
    if !reply.error.is_empty() {
        return Err(TransportError(reply.error));
    }
    Ok(VoteResponse::new(convert::vote_from_wire(reply.vote)?, convert::optional_log_id(reply.last_log_id)?, reply.granted))
}

fn vote_to_wire(request: &VoteRequest<TypeConfig>) -> wire::VoteRequest {
    wire::VoteRequest {
        vote: Some(convert::vote_to_wire(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(convert::log_id_to_wire),
        leadership_transfer: request.leadership_transfer,
    }
}

/// Gives a call the time openraft allows it.
async fn within<T>(option: &RPCOption, call: impl Future<Output = Result<T, TransportError>>) -> Result<T, RpcError> {
    match tokio::time::timeout(option.hard_ttl(), call).await {
        Ok(result) => result.map_err(unreachable_peer),
        Err(_) => Err(unreachable_peer("no answer in time")),
    }
}

impl RaftNetworkV2<TypeConfig> for Network {
    type SnapshotData = SnapshotHandle;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<TypeConfig>, RpcError> {
        let requests = futures::stream::iter([append_to_wire(request)]).boxed();
        let reply = within(&option, async {
            let mut replies = self.client.append(requests).await?;
            replies.next().await.unwrap_or_else(|| Err(TransportError("stream ended without an answer".to_owned())))
        })
        .await?;
        Ok(append_result(reply).map_err(unreachable_peer)?.into())
    }

    fn stream_append<'s, S>(
        &'s mut self,
        input: S,
        _option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + Send + Unpin + 'static,
    {
        Box::pin(async move {
            let requests = input.map(append_to_wire).boxed();
            // A peer that is gone is noticed by the connection's keep-alive, which breaks the stream.
            let replies = self.client.append(requests).await.map_err(unreachable_peer)?;
            Ok(replies.map(|reply| reply.and_then(append_result).map_err(unreachable_peer)).boxed())
        })
    }

    async fn vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let reply = within(&option, self.client.vote(vote_to_wire(&request))).await?;
        vote_reply(reply).map_err(unreachable_peer)
    }

    async fn pre_vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let reply = within(&option, self.client.pre_vote(vote_to_wire(&request))).await?;
        vote_reply(reply).map_err(unreachable_peer)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::storage::Snapshot<crate::types::LeaderIdOf, u64, PeerNode, SnapshotHandle>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let sending = send_checkpoint(self.client.clone(), self.target, vote, snapshot.snapshot);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sending => sent.map_err(|error| StreamingError::Unreachable(Unreachable::from_string(error))),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let message = wire::TransferRequest {
            from_leader: Some(convert::vote_to_wire(request.from_leader())),
            to_peer: *request.to_node_id(),
            last_log_id: request.last_log_id().map(convert::log_id_to_wire),
        };
        let reply = within(&option, self.client.transfer_leader(message)).await?;
        if reply.accepted { Ok(Ok(())) } else { Err(unreachable_peer(reply.error)) }
    }
}

/// Sends the files of a checkpoint that the receiver does not have yet.
async fn send_checkpoint(
    client: Arc<dyn PeerClient>,
    target: u64,
    vote: Vote,
    handle: SnapshotHandle,
) -> Result<SnapshotResponse<TypeConfig>, TransportError> {
    let SnapshotHandle::Held(checkpoint) = handle else {
        return Err(TransportError("a received checkpoint cannot be sent on".to_owned()));
    };
    fail::fail_point!("snapshot_send_before");
    let held = checkpoint.clone();
    let files = tokio::task::spawn_blocking(move || held.files().map(<[_]>::to_vec))
        .await
        .map_err(|error| TransportError(error.to_string()))?
        .map_err(|error| TransportError(format!("checkpoint cannot be read: {error}")))?;
    let raft = checkpoint.raft();
    let manifest = wire::InstallManifest {
        vote: Some(convert::vote_to_wire(&vote)),
        log_id: raft.applied.as_ref().map(convert::disk_log_id_to_wire),
        membership: codec::encode_stored_membership(&raft.membership).into(),
        membership_log_id: None,
        files: files.iter().map(|file| wire::FileInfo { name: file.name.clone(), bytes: file.bytes, crc32c: file.crc32c }).collect(),
    };
    let plan = client.prepare_install(manifest.clone()).await?;
    if !plan.error.is_empty() {
        return Err(TransportError(plan.error));
    }
    tracing::info!(to_peer = target, files = files.len(), wanted = plan.wanted.len(), "sending a checkpoint");
    let (sender, receiver) = tokio::sync::mpsc::channel(8);
    let dir = checkpoint.dir().to_owned();
    let reading = tokio::task::spawn_blocking(move || {
        // Holds the checkpoint: its directory lives until every byte is handed over.
        let _held = checkpoint;
        let first = wire::InstallChunk { manifest: Some(manifest), ..Default::default() };
        if sender.blocking_send(first).is_err() {
            return Ok(());
        }
        plan.wanted.iter().try_for_each(|name| send_file(&dir, name, &sender))
    });
    let reply = client.install(tokio_stream::wrappers::ReceiverStream::new(receiver).boxed()).await?;
    reading
        .await
        .map_err(|error| TransportError(error.to_string()))?
        .map_err(|error| TransportError(format!("checkpoint cannot be read: {error}")))?;
    if !reply.error.is_empty() {
        return Err(TransportError(reply.error));
    }
    Ok(SnapshotResponse::new(convert::vote_from_wire(reply.vote)?))
}

fn send_file(dir: &std::path::Path, name: &str, sender: &tokio::sync::mpsc::Sender<wire::InstallChunk>) -> std::io::Result<()> {
    let mut file = std::fs::File::open(dir.join(name))?;
    loop {
        let mut data = vec![0; READ_BUDGET_BYTES / 4];
        let read = file.read(&mut data)?;
        data.truncate(read);
        let chunk = wire::InstallChunk { manifest: None, file: name.to_owned(), data: data.into(), end_of_file: read == 0 };
        // A receiver that hung up has said why in its reply.
        if sender.blocking_send(chunk).is_err() || read == 0 {
            return Ok(());
        }
    }
}
