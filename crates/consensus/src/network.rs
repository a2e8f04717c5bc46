//! openraft's network over a [`Transport`].

use crate::acknowledged::{Acknowledged, OwnLog};
use crate::append_stream::AppendStream;
use crate::convert::{self, Malformed};
use crate::node::Core;
use crate::settings::{MAX_UNACKNOWLEDGED_BYTES, TransferPatience};
use crate::state_adapter::{SnapshotHandle, run_blocking};
use crate::transfer::{self, Bounds, Stalled};
use crate::transport::{Channel, PeerClient, Transport, TransportError};
use crate::types::{PeerNode, TypeConfig, Vote};
use futures::future::BoxFuture;
use futures::stream::{AbortHandle, BoxStream};
use futures::{Stream, StreamExt};
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{RPCOption, RaftNetworkFactory, v2::RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, StreamAppendResult, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use quorate_model::mutant;
use quorate_storage::codec;
use quorate_storage::state::{Checkpoint, CheckpointFile};
use quorate_wire::quorate::peer as wire;
use std::collections::VecDeque;
use std::future::Future;
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use std::task::Poll;
use std::time::Duration;
use tokio::time::Instant;

/// Bytes of a checkpoint sent at once.
const PIECE_BYTES: usize = 256 << 10;
/// Pause after a stream of appends failed. openraft waits only when it hands out a request, so where connections are
/// refused before one is asked for, it would open the next stream at once, for ever.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);

/// Makes a network per peer.
pub struct NetworkFactory {
    pub transport: Arc<dyn Transport>,
    /// What every peer has acknowledged to this one.
    pub acknowledged: Arc<Acknowledged>,
    /// A peer that has lost entries asks for no votes.
    pub own_log: Arc<OwnLog>,
    /// The node this belongs to, once it exists.
    pub core: Arc<OnceLock<Weak<Core>>>,
    /// 0 for as fast as it goes.
    pub checkpoint_bytes_per_second: u64,
    pub transfer: TransferPatience,
    /// Read files without the blocking pool: simulations only.
    pub inline_disk: bool,
}

/// The way to one peer.
pub struct Network {
    target: u64,
    client: Arc<dyn PeerClient>,
    acknowledged: Arc<Acknowledged>,
    own_log: Arc<OwnLog>,
    core: Arc<OnceLock<Weak<Core>>>,
    checkpoint_bytes_per_second: u64,
    transfer: TransferPatience,
    inline_disk: bool,
}

impl Network {
    fn append_stream(&self) -> Arc<AppendStream> {
        AppendStream::new(self.target, self.acknowledged.clone(), MAX_UNACKNOWLEDGED_BYTES)
    }

    /// Writes wait for this peer: nothing may hold up what it is sent.
    fn restores_quorum(&self) -> impl Fn() -> bool + Send + use<> {
        let (target, core) = (self.target, self.core.clone());
        move || core.get().and_then(Weak::upgrade).is_some_and(|core| core.quorum_needs(target))
    }

    fn may_campaign(&self) -> Result<(), RpcError> {
        self.own_log.loss().map_or(Ok(()), |loss| Err(unreachable_peer(loss)))
    }
}

impl NetworkFactory {
    fn network(&self, target: u64, node: &PeerNode, channel: Channel) -> Network {
        let client = self.transport.client(&node.peer_address, target, node.incarnation, channel);
        Network {
            target,
            client,
            acknowledged: self.acknowledged.clone(),
            own_log: self.own_log.clone(),
            core: self.core.clone(),
            checkpoint_bytes_per_second: self.checkpoint_bytes_per_second,
            transfer: self.transfer,
            inline_disk: self.inline_disk,
        }
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

fn vote_reply(reply: wire::VoteReply) -> Result<VoteResponse<TypeConfig>, TransportError> {
    if !reply.error.is_empty() {
        return Err(TransportError(reply.error));
    }
    Ok(VoteResponse::new(
        convert::vote_from_wire(reply.vote)?,
        convert::optional_log_id(reply.last_log_id)?,
        reply.granted,
    ))
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
        let stream = self.append_stream();
        let requests = stream.requests(futures::stream::iter([request])).boxed();
        let answer = within(&option, async {
            let mut answers = stream.answers(self.client.append(requests).await?).boxed();
            answers
                .next()
                .await
                .unwrap_or_else(|| Err(TransportError("stream ended without an answer".to_owned())))
        });
        Ok(answer.await?.into())
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
            let all_sent = Arc::new(AtomicBool::new(false));
            let end = mark_when_polled(all_sent.clone());
            let stream = self.append_stream();
            let (requests, abort) = futures::stream::abortable(stream.requests(input));
            let requests = requests.chain(end).boxed();
            let guard = AbortOnDrop(abort);
            // A peer that is gone is noticed by the connection's keep-alive, which breaks the stream.
            let replies = match self.client.append(requests).await {
                Ok(replies) => replies,
                Err(error) => {
                    tokio::time::sleep(RECONNECT_PAUSE).await;
                    return Err(unreachable_peer(error));
                }
            };
            let answers = stream.answers(replies).map(|answer| answer.map_err(unreachable_peer));
            let answers = answers.chain(closed_early(all_sent)).map(move |answer| {
                let _until_dropped = &guard;
                answer
            });
            Ok(answers.boxed())
        })
    }

    async fn vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.may_campaign()?;
        let reply = within(&option, self.client.vote(vote_to_wire(&request))).await?;
        vote_reply(reply).map_err(unreachable_peer)
    }

    async fn pre_vote(&mut self, request: VoteRequest<TypeConfig>, option: RPCOption) -> Result<VoteResponse<TypeConfig>, RpcError> {
        self.may_campaign()?;
        if mutant!("elected-by-pre-vote-default") {
            return Ok(VoteResponse::new(request.vote, request.last_log_id, true));
        }
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
        let sending = send_checkpoint(self, vote, snapshot.snapshot);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sending => sent.map_err(|error| {
                tracing::warn!(to_peer = self.target, %error, "a checkpoint could not be sent; it is tried again");
                StreamingError::Unreachable(Unreachable::from_string(error))
            }),
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
        if reply.accepted {
            Ok(Ok(()))
        } else {
            Err(unreachable_peer(reply.error))
        }
    }
}

/// Ends the requests with the replies. While it waits, openraft's request stream holds a lock that its next stream needs: if
/// the transport kept a dead connection's requests, nothing would be sent to this peer until the next write.
struct AbortOnDrop(AbortHandle);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// An empty stream that leaves a mark when it is reached.
fn mark_when_polled<T: Send + 'static>(mark: Arc<AtomicBool>) -> impl Stream<Item = T> + Send {
    futures::stream::poll_fn(move |_| {
        mark.store(true, Ordering::Release);
        Poll::Ready(None)
    })
}

/// What follows the last answer: nothing if all requests were sent, else the peer has closed the stream, which is an error.
fn closed_early(all_sent: Arc<AtomicBool>) -> impl Stream<Item = Result<StreamAppendResult<TypeConfig>, RpcError>> + Send {
    let check = async move {
        if all_sent.load(Ordering::Acquire) {
            return None;
        }
        tokio::time::sleep(RECONNECT_PAUSE).await;
        Some(Err(unreachable_peer("the peer closed the stream")))
    };
    futures::stream::once(check).filter_map(futures::future::ready)
}

/// Sends the files of a checkpoint that the receiver does not have yet. A receiver that does not get on is given up.
async fn send_checkpoint(network: &Network, vote: Vote, handle: SnapshotHandle) -> Result<SnapshotResponse<TypeConfig>, TransportError> {
    let Network { target, inline_disk, .. } = network;
    let SnapshotHandle::Held(checkpoint) = handle else {
        return Err(TransportError("a received checkpoint cannot be sent on".to_owned()));
    };
    fail::fail_point!("snapshot_send_before", |why| Err(unreadable(crate::failpoints::error(why))));
    let held = checkpoint.clone();
    let files = run_blocking(*inline_disk, move || held.files().map(<[_]>::to_vec))
        .await
        .map_err(unreadable)?;
    // For a plan it sums up what it has of them, for the install all.
    let patience = network.transfer.with_files(files.iter().map(|file| file.bytes).sum());
    let manifest = manifest_of(&checkpoint, &files, Some(convert::vote_to_wire(&vote)));
    let announced = network.client.prepare_install(manifest.clone());
    let done = "said which files of a checkpoint it lacks";
    let plan = transfer::answer_within(patience, &format!("peer {target}"), done, announced).await?;
    if !plan.error.is_empty() {
        return Err(TransportError(plan.error));
    }
    tracing::info!(
        to_peer = *target,
        files = files.len(),
        wanted = plan.wanted.len(),
        "sending a checkpoint"
    );
    let reply = send_files(network, checkpoint, manifest, plan.wanted, patience).await?;
    if !reply.error.is_empty() {
        return Err(TransportError(reply.error));
    }
    Ok(SnapshotResponse::new(convert::vote_from_wire(reply.vote)?))
}

/// Sends these files of a checkpoint; `patience` is for the answer behind them.
async fn send_files(
    network: &Network,
    checkpoint: Arc<Checkpoint>,
    manifest: wire::InstallManifest,
    wanted: Vec<String>,
    patience: Duration,
) -> Result<wire::InstallReply, TransportError> {
    let (target, rate) = (network.target, network.checkpoint_bytes_per_second);
    let unread: Arc<Mutex<Option<TransportError>>> = Arc::default();
    let first = wire::InstallChunk {
        manifest: Some(manifest),
        ..Default::default()
    };
    let pieces = read_files(checkpoint, wanted, network.inline_disk, unread.clone());
    let pieces = paced(pieces, rate, network.restores_quorum());
    let (watch, pieces) = transfer::watched(futures::stream::iter([first]).chain(pieces).boxed());
    let bounds = bounds(network.transfer, rate, patience);
    let reply = tokio::select! {
        biased;
        reply = network.client.install(pieces) => reply,
        stalled = watch.stalled(bounds) => Err(TransportError(match stalled {
            Stalled::BetweenPieces => format!("no piece of a checkpoint got from this disk to peer {target} for {:?}", bounds.piece),
            Stalled::BehindTheLast => format!("peer {target} has not installed a checkpoint within {:?} of its last piece", bounds.end),
        })),
    };
    // What went wrong here explains what the receiver says.
    let unread = unread.lock().expect("no panic while held").take();
    unread.map_or(reply, Err)
}

/// How long a taker of pieces sent at this rate is waited for: what the rate itself takes does not count.
pub(crate) fn bounds(patience: TransferPatience, bytes_per_second: u64, end: Duration) -> Bounds {
    let pause = match bytes_per_second {
        0 => Duration::ZERO,
        rate => Duration::from_secs_f64(PIECE_BYTES as f64 / rate as f64),
    };
    Bounds {
        piece: patience.piece + pause,
        end,
    }
}

fn manifest_of(checkpoint: &Checkpoint, files: &[CheckpointFile], vote: Option<wire::Vote>) -> wire::InstallManifest {
    let raft = checkpoint.raft();
    wire::InstallManifest {
        vote,
        log_id: raft.applied.as_ref().map(convert::disk_log_id_to_wire),
        membership: codec::encode_stored_membership(&raft.membership).into(),
        membership_log_id: None,
        files: files
            .iter()
            .map(|file| wire::FileInfo {
                name: file.name.clone(),
                bytes: file.bytes,
                crc32c: file.crc32c,
            })
            .collect(),
    }
}

/// A whole checkpoint for a peer that asks for one: the manifest, then every file. A file that cannot be read ends it early.
pub(crate) async fn checkpoint_stream(
    checkpoint: Arc<Checkpoint>,
    bytes_per_second: u64,
    inline_disk: bool,
) -> std::io::Result<BoxStream<'static, wire::InstallChunk>> {
    let held = checkpoint.clone();
    let files = run_blocking(inline_disk, move || held.files().map(<[_]>::to_vec)).await?;
    let first = wire::InstallChunk {
        manifest: Some(manifest_of(&checkpoint, &files, None)),
        ..Default::default()
    };
    let names = files.into_iter().map(|file| file.name).collect();
    let pieces = read_files(checkpoint, names, inline_disk, Arc::default());
    let pieces = paced(pieces, bytes_per_second, || false);
    Ok(futures::stream::iter([first]).chain(pieces).boxed())
}

/// The pieces at most at `bytes_per_second` (0 for no bound), except while `unbounded` says that somebody waits for them.
fn paced(
    pieces: impl Stream<Item = wire::InstallChunk> + Send,
    bytes_per_second: u64,
    unbounded: impl Fn() -> bool + Send,
) -> impl Stream<Item = wire::InstallChunk> + Send {
    let mut due = Instant::now();
    pieces.then(move |piece| {
        if bytes_per_second > 0 && !unbounded() {
            // Counted from now on: time in which nothing was sent is not made up for.
            due = due.max(Instant::now()) + Duration::from_secs_f64(piece.data.len() as f64 / bytes_per_second as f64);
        }
        let wait = due;
        async move {
            tokio::time::sleep_until(wait).await;
            piece
        }
    })
}

fn unreadable(error: std::io::Error) -> TransportError {
    TransportError(format!("checkpoint cannot be read: {error}"))
}

/// Where the reader of a checkpoint stands: the files still to send, and the one being sent.
struct Reading {
    /// Held: its directory lives until every byte is handed over.
    checkpoint: Arc<Checkpoint>,
    waiting: VecDeque<String>,
    open: Option<(String, std::fs::File)>,
}

impl Reading {
    /// The next piece; the last one of a file is empty. `None` when all files are sent.
    fn next_piece(&mut self) -> std::io::Result<Option<wire::InstallChunk>> {
        if self.open.is_none() {
            let Some(name) = self.waiting.pop_front() else { return Ok(None) };
            let file = std::fs::File::open(self.checkpoint.dir().join(&name))?;
            self.open = Some((name, file));
        }
        let Some((name, file)) = &mut self.open else { return Ok(None) };
        fail::fail_point!("snapshot_send_piece", crate::failpoints::fail);
        let mut data = vec![0; PIECE_BYTES];
        let read = file.read(&mut data)?;
        data.truncate(read);
        let piece = wire::InstallChunk {
            manifest: None,
            file: name.clone(),
            data: data.into(),
            end_of_file: read == 0,
        };
        if read == 0 {
            self.open = None;
        }
        Ok(Some(piece))
    }
}

/// The wanted files, piece by piece, as fast as the receiver takes them. An error ends the stream and is left in `unread`.
fn read_files(
    checkpoint: Arc<Checkpoint>,
    wanted: Vec<String>,
    inline: bool,
    unread: Arc<Mutex<Option<TransportError>>>,
) -> impl Stream<Item = wire::InstallChunk> + Send + 'static {
    let reading = Reading {
        checkpoint,
        waiting: wanted.into(),
        open: None,
    };
    futures::stream::unfold((reading, unread), move |(mut reading, unread)| async move {
        let result = run_blocking(inline, move || {
            let piece = reading.next_piece()?;
            Ok((piece, reading))
        })
        .await;
        match result {
            Ok((piece, reading)) => piece.map(|piece| (piece, (reading, unread))),
            Err(error) => {
                *unread.lock().expect("no panic while held") = Some(unreadable(error));
                None
            }
        }
    })
}

#[cfg(test)]
mod tests;
