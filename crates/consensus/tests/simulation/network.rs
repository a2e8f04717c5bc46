//! The peer protocol over simulated TCP: a byte for the kind of call, then frames of length and message.
//!
//! Simulated TCP does not send lost segments again, so a connection that has lost one is dead without knowing: whoever
//! waits for an answer gives up after a while, as keep-alive does on a real network.

use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use quorate_consensus::Node;
use quorate_consensus::transport::{Channel, PeerClient, Transport, TransportError};
use quorate_wire::quorate::peer as wire;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use turmoil::net::TcpStream;

pub const PORT: u16 = 5001;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(600);
/// Installing answers once, at the end.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(5);

/// Kinds of calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    Append = 1,
    Vote,
    PreVote,
    Transfer,
    PrepareInstall,
    Install,
    Propose,
    ReadIndex,
    Hello,
    ClientWrite,
    ClientRead,
    ClientMoveLeader,
}

const KINDS: [Kind; 12] = [
    Kind::Append,
    Kind::Vote,
    Kind::PreVote,
    Kind::Transfer,
    Kind::PrepareInstall,
    Kind::Install,
    Kind::Propose,
    Kind::ReadIndex,
    Kind::Hello,
    Kind::ClientWrite,
    Kind::ClientRead,
    Kind::ClientMoveLeader,
];

pub async fn read_kind(stream: &mut TcpStream) -> io::Result<Kind> {
    let number = stream.read_u8().await?;
    KINDS
        .into_iter()
        .find(|kind| *kind as u8 == number)
        .ok_or_else(|| io::Error::other("unknown kind"))
}

async fn write_frame(stream: &mut (impl AsyncWriteExt + Unpin), message: &[u8]) -> io::Result<()> {
    let mut frame = (message.len() as u32).to_le_bytes().to_vec();
    frame.extend_from_slice(message);
    stream.write_all(&frame).await
}

/// The next frame; `None` at the end.
async fn read_frame(stream: &mut (impl AsyncReadExt + Unpin)) -> io::Result<Option<Bytes>> {
    let mut length = [0; 4];
    if stream.read(&mut length[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut length[1..]).await?;
    let mut message = vec![0; u32::from_le_bytes(length) as usize];
    stream.read_exact(&mut message).await?;
    Ok(Some(message.into()))
}

fn lost(error: impl ToString) -> TransportError {
    TransportError(error.to_string())
}

async fn connect(address: &str, kind: Kind) -> Result<TcpStream, TransportError> {
    let host = address.split(':').next().unwrap_or(address);
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host, PORT))).await;
    let mut stream = connected.map_err(|_| lost("not connected in time"))?.map_err(lost)?;
    stream.write_all(&[kind as u8]).await.map_err(lost)?;
    Ok(stream)
}

/// One question, one answer, both as bytes.
pub async fn ask(address: &str, kind: Kind, question: &[u8], timeout: Duration) -> Result<Bytes, TransportError> {
    let talk = async {
        let mut stream = connect(address, kind).await?;
        write_frame(&mut stream, question).await.map_err(lost)?;
        read_frame(&mut stream)
            .await
            .map_err(lost)?
            .ok_or_else(|| lost("closed without an answer"))
    };
    tokio::time::timeout(timeout, talk).await.map_err(|_| lost("no answer in time"))?
}

pub struct SimulatedTransport;

impl Transport for SimulatedTransport {
    fn client(&self, address: &str, _peer: u64, _incarnation: u64, _channel: Channel) -> Arc<dyn PeerClient> {
        Arc::new(Client {
            address: address.to_owned(),
        })
    }
}

struct Client {
    address: String,
}

impl Client {
    async fn call<R: Message + Default>(&self, kind: Kind, request: impl Message) -> Result<R, TransportError> {
        let answer = ask(&self.address, kind, &request.encode_to_vec(), ANSWER_TIMEOUT).await?;
        R::decode(answer).map_err(lost)
    }
}

#[async_trait]
impl PeerClient for Client {
    async fn append(
        &self,
        mut requests: BoxStream<'static, wire::AppendRequest>,
    ) -> Result<BoxStream<'static, Result<wire::AppendReply, TransportError>>, TransportError> {
        let (mut reader, mut writer) = connect(&self.address, Kind::Append).await?.into_split();
        let unanswered = Arc::new(AtomicUsize::new(0));
        let sent = unanswered.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                sent.fetch_add(1, Ordering::Relaxed);
                if write_frame(&mut writer, &request.encode_to_vec()).await.is_err() {
                    return;
                }
            }
            let _ = writer.shutdown().await;
        });
        let (sender, replies) = tokio::sync::mpsc::channel(64);
        tokio::spawn(async move {
            loop {
                let reply = {
                    let reading = read_frame(&mut reader);
                    tokio::pin!(reading);
                    loop {
                        match tokio::time::timeout(ANSWER_TIMEOUT, &mut reading).await {
                            Ok(Ok(frame)) => break Ok(frame),
                            Ok(Err(error)) => break Err(lost(error)),
                            Err(_) if unanswered.load(Ordering::Relaxed) > 0 => break Err(lost("no answer in time")),
                            Err(_) => {}
                        }
                        if sender.is_closed() {
                            return;
                        }
                    }
                };
                unanswered.fetch_sub(unanswered.load(Ordering::Relaxed).min(1), Ordering::Relaxed);
                let reply = match reply {
                    Ok(None) => return,
                    Ok(Some(frame)) => wire::AppendReply::decode(frame).map_err(lost),
                    Err(error) => Err(error),
                };
                let failed = reply.is_err();
                if sender.send(reply).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(tokio_stream::wrappers::ReceiverStream::new(replies).boxed())
    }

    async fn vote(&self, request: wire::VoteRequest) -> Result<wire::VoteReply, TransportError> {
        self.call(Kind::Vote, request).await
    }

    async fn pre_vote(&self, request: wire::VoteRequest) -> Result<wire::VoteReply, TransportError> {
        self.call(Kind::PreVote, request).await
    }

    async fn transfer_leader(&self, request: wire::TransferRequest) -> Result<wire::TransferReply, TransportError> {
        self.call(Kind::Transfer, request).await
    }

    async fn prepare_install(&self, manifest: wire::InstallManifest) -> Result<wire::InstallPlan, TransportError> {
        self.call(Kind::PrepareInstall, manifest).await
    }

    async fn install(&self, mut chunks: BoxStream<'static, wire::InstallChunk>) -> Result<wire::InstallReply, TransportError> {
        let talk = async {
            let mut stream = connect(&self.address, Kind::Install).await?;
            while let Some(chunk) = chunks.next().await {
                write_frame(&mut stream, &chunk.encode_to_vec()).await.map_err(lost)?;
            }
            // An empty frame ends the files and leaves the way back open.
            write_frame(&mut stream, &[]).await.map_err(lost)?;
            let reply = read_frame(&mut stream)
                .await
                .map_err(lost)?
                .ok_or_else(|| lost("closed without an answer"))?;
            wire::InstallReply::decode(reply).map_err(lost)
        };
        tokio::time::timeout(INSTALL_TIMEOUT, talk)
            .await
            .map_err(|_| lost("not installed in time"))?
    }

    async fn propose(&self, request: wire::ProposeRequest) -> Result<wire::ProposeReply, TransportError> {
        self.call(Kind::Propose, request).await
    }

    async fn read_index(&self, request: wire::ReadIndexRequest) -> Result<wire::ReadIndexReply, TransportError> {
        self.call(Kind::ReadIndex, request).await
    }

    async fn hello(&self, request: wire::HelloRequest) -> Result<wire::HelloReply, TransportError> {
        self.call(Kind::Hello, request).await
    }

    async fn fetch_checkpoint(
        &self,
        _request: wire::FetchCheckpointRequest,
    ) -> Result<BoxStream<'static, Result<wire::InstallChunk, TransportError>>, TransportError> {
        Err(lost("no state is lost here"))
    }

    async fn join(&self, _request: wire::JoinRequest) -> Result<wire::JoinReply, TransportError> {
        Err(lost("nobody joins here"))
    }
}

/// Answers one call of another peer.
pub async fn serve(node: &Node, kind: Kind, mut stream: TcpStream) -> io::Result<()> {
    match kind {
        Kind::Append => return serve_append(node, stream).await,
        Kind::Install => return serve_install(node, stream).await,
        _ => {}
    }
    let question = read_frame(&mut stream)
        .await?
        .ok_or_else(|| io::Error::other("closed without a question"))?;
    let answer = match kind {
        Kind::Vote => node.handle_vote(decode(question)?).await.encode_to_vec(),
        Kind::PreVote => node.handle_pre_vote(decode(question)?).await.encode_to_vec(),
        Kind::Transfer => node.handle_transfer(decode(question)?).await.encode_to_vec(),
        Kind::PrepareInstall => node.handle_prepare_install(decode(question)?).await.encode_to_vec(),
        Kind::Propose => node.handle_propose(decode(question)?).await.encode_to_vec(),
        Kind::ReadIndex => node.handle_read_index().await.encode_to_vec(),
        Kind::Hello => node.handle_hello(&decode(question)?).encode_to_vec(),
        Kind::ClientWrite | Kind::ClientRead | Kind::ClientMoveLeader => crate::workload::answer(node, kind, question).await,
        Kind::Append | Kind::Install => return Ok(()),
    };
    write_frame(&mut stream, &answer).await
}

fn decode<M: Message + Default>(bytes: Bytes) -> io::Result<M> {
    M::decode(bytes).map_err(io::Error::other)
}

async fn serve_append(node: &Node, stream: TcpStream) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let requests = futures::stream::unfold(reader, |mut reader| async move {
        let frame = read_frame(&mut reader).await.ok().flatten()?;
        Some((wire::AppendRequest::decode(frame).ok()?, reader))
    });
    let mut replies = node.handle_append(requests);
    while let Some(reply) = replies.next().await {
        write_frame(&mut writer, &reply.encode_to_vec()).await?;
    }
    Ok(())
}

async fn serve_install(node: &Node, stream: TcpStream) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let chunks = futures::stream::unfold(reader, |mut reader| async move {
        let frame = read_frame(&mut reader).await.ok().flatten().filter(Buf::has_remaining)?;
        Some((wire::InstallChunk::decode(frame).ok()?, reader))
    });
    let reply = node.handle_install(chunks.boxed()).await;
    write_frame(&mut writer, &reply.encode_to_vec()).await
}
