//! The peer protocol over simulated TCP: a byte for the kind of call, who is expected there and who calls, then frames of
//! length and message. A caller that takes a peer for another one is not answered, nor is one that calls itself what the
//! membership calls another data directory: what the handshake of a real connection does.
//!
//! Simulated TCP does not send lost segments again, so a connection that has lost one is dead without knowing: whoever
//! waits for an answer gives up after a while, as keep-alive does on a real network.

use crate::disk::Disk;
use crate::world::World;
use async_trait::async_trait;
use bytes::{Buf, Bytes};
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use quorate_consensus::Node;
use quorate_consensus::bootstrap::{Newcomer, hello_before_start};
use quorate_consensus::transport::{Channel, PeerClient, Transport, TransportError};
use quorate_server::app::App;
use quorate_wire::quorate::peer as wire;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use turmoil::net::{TcpListener, TcpStream};

pub const PORT: u16 = 5001;
const CONNECT_TIMEOUT: Duration = Duration::from_millis(200);
const ANSWER_TIMEOUT: Duration = Duration::from_millis(600);
/// How often a link is tried while a checkpoint is being sent over it.
const SIGN_OF_LIFE_INTERVAL: Duration = Duration::from_millis(200);
/// Installing answers once, at the end.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Joining is answered when the newcomer is a learner.
const JOIN_TIMEOUT: Duration = Duration::from_secs(3);

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
    Join,
    ClientWrite,
    ClientRead,
    ClientMoveLeader,
    ClientRemoveMember,
}

const KINDS: [Kind; 14] = [
    Kind::Append,
    Kind::Vote,
    Kind::PreVote,
    Kind::Transfer,
    Kind::PrepareInstall,
    Kind::Install,
    Kind::Propose,
    Kind::ReadIndex,
    Kind::Hello,
    Kind::Join,
    Kind::ClientWrite,
    Kind::ClientRead,
    Kind::ClientMoveLeader,
    Kind::ClientRemoveMember,
];

/// Two ends of a connection: a peer and its data directory each, zero for "whoever" and "nobody yet".
#[derive(Clone, Copy, Default)]
struct Greeting {
    expected: (u64, u64),
    caller: (u64, u64),
}

impl Greeting {
    fn to_bytes(self) -> Vec<u8> {
        let numbers = [self.expected.0, self.expected.1, self.caller.0, self.caller.1];
        numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
    }

    async fn read(stream: &mut TcpStream) -> io::Result<Greeting> {
        let expected = (stream.read_u64_le().await?, stream.read_u64_le().await?);
        let caller = (stream.read_u64_le().await?, stream.read_u64_le().await?);
        Ok(Greeting { expected, caller })
    }
}

/// What a peer answers other peers with.
#[derive(Clone)]
pub struct PeerPort {
    pub world: Arc<World>,
    pub disk: Arc<Disk>,
    pub newcomer: Arc<Newcomer>,
    pub app: Arc<App>,
}

impl PeerPort {
    /// Whether both ends are who they take each other for.
    fn admits(&self, greeting: &Greeting) -> bool {
        let own = (self.disk.member().map_or(0, |(_, peer)| peer.0), self.disk.incarnation.0);
        let (caller, incarnation) = greeting.caller;
        let known = self.app.node().ok().and_then(|node| node.core().node_of(caller));
        let is_meant = greeting.expected.0 == 0 || greeting.expected == own;
        is_meant && known.is_none_or(|member| member.incarnation == incarnation)
    }
}

/// Answers other peers until it is dropped.
pub async fn accept(listener: TcpListener, port: PeerPort) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        // A broken connection is the network's doing; the caller finds out by itself.
        connections.spawn(serve(port.clone(), stream));
    }
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

async fn connect(address: &str, kind: Kind, greeting: Greeting) -> Result<TcpStream, TransportError> {
    let host = address.split(':').next().unwrap_or(address);
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect((host, PORT))).await;
    let mut stream = connected.map_err(|_| lost("not connected in time"))?.map_err(lost)?;
    let mut head = vec![kind as u8];
    head.extend(greeting.to_bytes());
    stream.write_all(&head).await.map_err(lost)?;
    Ok(stream)
}

/// One question, one answer, both as bytes.
pub async fn ask(address: &str, kind: Kind, question: &[u8], timeout: Duration) -> Result<Bytes, TransportError> {
    ask_as(Greeting::default(), address, kind, question, timeout).await
}

async fn ask_as(greeting: Greeting, address: &str, kind: Kind, question: &[u8], timeout: Duration) -> Result<Bytes, TransportError> {
    let talk = async {
        let mut stream = connect(address, kind, greeting).await?;
        write_frame(&mut stream, question).await.map_err(lost)?;
        read_frame(&mut stream)
            .await
            .map_err(lost)?
            .ok_or_else(|| lost("closed without an answer"))
    };
    tokio::time::timeout(timeout, talk).await.map_err(|_| lost("no answer in time"))?
}

/// The connections of the peer with this disk.
pub struct SimulatedTransport {
    pub world: Arc<World>,
    pub position: usize,
    pub disk: Arc<Disk>,
}

#[async_trait]
impl Transport for SimulatedTransport {
    fn client(&self, address: &str, peer: u64, incarnation: u64, _channel: Channel) -> Arc<dyn PeerClient> {
        Arc::new(Client {
            address: address.to_owned(),
            expected: (peer, incarnation),
            disk: self.disk.clone(),
        })
    }

    /// Hosts here fall silent when they crash: who refuses is written down.
    async fn has_died(&self, address: &str) -> bool {
        self.world.is_refused(self.position, address)
    }
}

struct Client {
    address: String,
    expected: (u64, u64),
    disk: Arc<Disk>,
}

impl Client {
    fn greeting(&self) -> Greeting {
        Greeting {
            expected: self.expected,
            caller: (self.disk.member().map_or(0, |(_, peer)| peer.0), self.disk.incarnation.0),
        }
    }

    async fn connect(&self, kind: Kind) -> Result<TcpStream, TransportError> {
        connect(&self.address, kind, self.greeting()).await
    }

    /// Ends when the peer is not reached. Links here lose for good what is sent while they are parted, and a stream over them waits
    /// for ever; the product's go on afterwards, or break by their keep-alive.
    async fn link_breaks(&self) {
        while self
            .call::<wire::HelloReply>(Kind::Hello, wire::HelloRequest::default(), ANSWER_TIMEOUT)
            .await
            .is_ok()
        {
            tokio::time::sleep(SIGN_OF_LIFE_INTERVAL).await;
        }
    }

    async fn call<R: Message + Default>(&self, kind: Kind, request: impl Message, within: Duration) -> Result<R, TransportError> {
        let answer = ask_as(self.greeting(), &self.address, kind, &request.encode_to_vec(), within).await?;
        R::decode(answer).map_err(lost)
    }
}

#[async_trait]
impl PeerClient for Client {
    async fn append(
        &self,
        mut requests: BoxStream<'static, wire::AppendRequest>,
    ) -> Result<BoxStream<'static, Result<wire::AppendReply, TransportError>>, TransportError> {
        let (mut reader, mut writer) = self.connect(Kind::Append).await?.into_split();
        // The end of the requests waits for an answer too: that the replies end.
        let unanswered = Arc::new(AtomicUsize::new(0));
        let sent = unanswered.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                sent.fetch_add(1, Ordering::Relaxed);
                if write_frame(&mut writer, &request.encode_to_vec()).await.is_err() {
                    return;
                }
            }
            sent.fetch_add(1, Ordering::Relaxed);
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
        self.call(Kind::Vote, request, ANSWER_TIMEOUT).await
    }

    async fn pre_vote(&self, request: wire::VoteRequest) -> Result<wire::VoteReply, TransportError> {
        self.call(Kind::PreVote, request, ANSWER_TIMEOUT).await
    }

    async fn transfer_leader(&self, request: wire::TransferRequest) -> Result<wire::TransferReply, TransportError> {
        self.call(Kind::Transfer, request, ANSWER_TIMEOUT).await
    }

    async fn prepare_install(&self, manifest: wire::InstallManifest) -> Result<wire::InstallPlan, TransportError> {
        self.call(Kind::PrepareInstall, manifest, ANSWER_TIMEOUT).await
    }

    async fn install(&self, mut chunks: BoxStream<'static, wire::InstallChunk>) -> Result<wire::InstallReply, TransportError> {
        let talk = async {
            let mut stream = self.connect(Kind::Install).await?;
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
        tokio::select! {
            done = tokio::time::timeout(INSTALL_TIMEOUT, talk) => done.map_err(|_| lost("not installed in time"))?,
            () = self.link_breaks() => Err(lost("no sign of life")),
        }
    }

    async fn propose(&self, request: wire::ProposeRequest) -> Result<wire::ProposeReply, TransportError> {
        self.call(Kind::Propose, request, ANSWER_TIMEOUT).await
    }

    async fn read_index(&self, request: wire::ReadIndexRequest) -> Result<wire::ReadIndexReply, TransportError> {
        self.call(Kind::ReadIndex, request, ANSWER_TIMEOUT).await
    }

    async fn hello(&self, request: wire::HelloRequest) -> Result<wire::HelloReply, TransportError> {
        self.call(Kind::Hello, request, ANSWER_TIMEOUT).await
    }

    async fn fetch_checkpoint(
        &self,
        _request: wire::FetchCheckpointRequest,
    ) -> Result<BoxStream<'static, Result<wire::InstallChunk, TransportError>>, TransportError> {
        Err(lost("no state is lost here"))
    }

    async fn join(&self, request: wire::JoinRequest) -> Result<wire::JoinReply, TransportError> {
        self.call(Kind::Join, request, JOIN_TIMEOUT).await
    }
}

/// Answers one call of another peer, or of a client.
async fn serve(port: PeerPort, mut stream: TcpStream) -> io::Result<()> {
    let number = stream.read_u8().await?;
    let kind = KINDS.into_iter().find(|kind| *kind as u8 == number);
    let kind = kind.ok_or_else(|| io::Error::other("unknown kind"))?;
    let greeting = Greeting::read(&mut stream).await?;
    if !port.admits(&greeting) {
        return Ok(());
    }
    let node = port.app.node().cloned();
    if kind == Kind::Hello && node.is_err() {
        let _question = read_frame(&mut stream).await?;
        let Some(reply) = hello_before_start(&port.newcomer, port.disk.member().is_some()) else {
            return Ok(());
        };
        return write_frame(&mut stream, &reply.encode_to_vec()).await;
    }
    let Ok(node) = node else { return Ok(()) };
    match kind {
        Kind::Append => return serve_append(&port, &node, stream).await,
        Kind::Install => return serve_install(&node, stream).await,
        _ => {}
    }
    let question = read_frame(&mut stream)
        .await?
        .ok_or_else(|| io::Error::other("closed without a question"))?;
    let answer = answer(&port, &node, kind, question).await?;
    write_frame(&mut stream, &answer).await
}

async fn answer(port: &PeerPort, node: &Node, kind: Kind, question: Bytes) -> io::Result<Vec<u8>> {
    Ok(match kind {
        Kind::Vote => {
            let reply = node.handle_vote(decode(question)?).await;
            port.world.vote_answered(&port.disk, &reply);
            reply.encode_to_vec()
        }
        Kind::PreVote => node.handle_pre_vote(decode(question)?).await.encode_to_vec(),
        Kind::Transfer => node.handle_transfer(decode(question)?).await.encode_to_vec(),
        Kind::PrepareInstall => node.handle_prepare_install(decode(question)?).await.encode_to_vec(),
        Kind::Propose => node.handle_propose(decode(question)?).await.encode_to_vec(),
        Kind::ReadIndex => node.handle_read_index().await.encode_to_vec(),
        Kind::Hello => node.handle_hello(&decode(question)?).encode_to_vec(),
        Kind::Join => node.handle_join(decode(question)?).await.encode_to_vec(),
        Kind::ClientWrite | Kind::ClientRead | Kind::ClientMoveLeader | Kind::ClientRemoveMember => {
            crate::workload::answer(node, kind, question).await
        }
        Kind::Append | Kind::Install => Vec::new(),
    })
}

fn decode<M: Message + Default>(bytes: Bytes) -> io::Result<M> {
    M::decode(bytes).map_err(io::Error::other)
}

async fn serve_append(port: &PeerPort, node: &Node, stream: TcpStream) -> io::Result<()> {
    let (reader, mut writer) = stream.into_split();
    let requests = futures::stream::unfold(reader, |mut reader| async move {
        let frame = read_frame(&mut reader).await.ok().flatten()?;
        Some((wire::AppendRequest::decode(frame).ok()?, reader))
    });
    let mut replies = node.handle_append(requests);
    while let Some(reply) = replies.next().await {
        port.world.append_answered(&port.disk, &reply);
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
