//! The peer protocol's server: accepts, checks who calls, hands calls to the node.

use super::refusals::Refusals;
use super::under_way::{Place, UnderWay};
use super::{Identity, OwnIdentity, handshake};
use crate::app::App;
use crate::limits::{HTTP2_KEEP_ALIVE, MAX_PEER_CONNECTIONS, MAX_PEER_MESSAGE_BYTES};
use crate::tls::{self, PeerTls};
use futures::StreamExt;
use futures::stream::BoxStream;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use quorate_consensus::Node;
use quorate_consensus::bootstrap::{Newcomer, hello_before_start};
use quorate_model::mutant;
use quorate_wire::quorate::peer as wire;
use quorate_wire::quorate::peer::peer_server::{Peer, PeerServer};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};
use tower::ServiceExt;

/// HTTP/2 windows: one full batch of entries per stream.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

/// What the peer port serves with.
#[derive(Clone)]
pub struct PeerPort {
    pub app: Arc<App>,
    pub own: OwnIdentity,
    pub secret: Arc<Vec<u8>>,
    pub tls: Option<Arc<PeerTls>>,
    pub newcomer: Arc<Newcomer>,
    /// Refused callers, by the address they call from.
    pub refused: Arc<Refusals>,
}

/// Accepts peer connections until the process ends.
pub async fn accept(port: PeerPort, listener: TcpListener) {
    let connections = Arc::new(Semaphore::new(MAX_PEER_CONNECTIONS));
    let handshakes = Arc::new(UnderWay::default());
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let places = (connections.clone().try_acquire_owned(), handshakes.begin(from.ip()));
                let (Ok(connection), Some(handshake)) = places else {
                    if let Some(untold) = port.refused.note(&from.ip().to_string(), "too many connections") {
                        tracing::warn!(from = %from.ip(), untold, "a peer connection was closed: too many are open");
                    }
                    continue;
                };
                let port = port.clone();
                tokio::spawn(async move {
                    if let Err(error) = serve_connection(port, stream, from, handshake).await {
                        tracing::debug!(%from, %error, "peer connection ended");
                    }
                    drop(connection);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a peer connection was not accepted");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}

type Served = Result<(), Box<dyn std::error::Error + Send + Sync>>;

async fn serve_connection(port: PeerPort, stream: TcpStream, from: SocketAddr, handshake: Place) -> Served {
    stream.set_nodelay(true)?;
    let Some(peer_tls) = port.tls.clone() else {
        return serve_stream(port, stream, from, handshake).await;
    };
    match tls::accept(&peer_tls.acceptor, stream).await {
        Ok(stream) => serve_stream(port, stream, from, handshake).await,
        Err(error) => {
            if let Some(untold) = port.refused.note(&from.ip().to_string(), &error.to_string()) {
                tracing::warn!(%error, untold, "a peer was refused");
            }
            Ok(())
        }
    }
}

async fn serve_stream<S>(port: PeerPort, mut stream: S, from: SocketAddr, under_way: Place) -> Served
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let caller = handshake::serve(&mut stream, &port.secret, port.own.get(), |caller| admit(&port, caller))
        .await
        .inspect_err(|error| {
            // Its port is another one each time.
            if let handshake::HandshakeError::Refused(why) = error
                && let Some(untold) = port.refused.note(&from.ip().to_string(), why)
            {
                tracing::warn!(from = %from.ip(), %error, untold, "a peer was refused");
            }
        })?;
    drop(under_way);
    let _closed = Closed {
        app: port.app.clone(),
        peer: caller.peer,
    };
    let service = PeerServer::new(PeerService { port, caller })
        .max_decoding_message_size(MAX_PEER_MESSAGE_BYTES)
        .max_encoding_message_size(MAX_PEER_MESSAGE_BYTES)
        .map_request(|request: http::Request<hyper::body::Incoming>| request.map(tonic::body::Body::new));
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(2 * STREAM_WINDOW_BYTES)
        // The caller has a keep-alive of its own; this one is for a caller that is gone without a word.
        .timer(TokioTimer::new())
        .keep_alive_interval(HTTP2_KEEP_ALIVE)
        .keep_alive_timeout(HTTP2_KEEP_ALIVE)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .await?;
    Ok(())
}

/// Says that a peer's connection has closed when it has, however it did.
struct Closed {
    app: Arc<App>,
    peer: u64,
}

impl Drop for Closed {
    fn drop(&mut self) {
        if let Ok(node) = self.app.node() {
            node.connection_closed(self.peer);
        }
    }
}

/// Refuses a caller that uses an id which the membership gives to another data directory.
fn admit(port: &PeerPort, caller: Identity) -> Result<(), String> {
    let Ok(node) = port.app.node() else { return Ok(()) };
    match node.core().node_of(caller.peer) {
        Some(_) if mutant!("emptied-disk-under-old-id") => Ok(()),
        Some(member) if caller.peer != 0 && member.incarnation != caller.incarnation.0 => Err(format!(
            "peer {} is data directory {:016x}, the caller's is {}: an emptied or copied directory needs a new peer id",
            caller.peer, member.incarnation, caller.incarnation
        )),
        _ => Ok(()),
    }
}

/// One connection's calls.
struct PeerService {
    port: PeerPort,
    caller: Identity,
}

impl PeerService {
    /// The node, for calls that only a member of the same cluster may make.
    fn node_for_member(&self) -> Result<Node, Status> {
        let node = self.port.app.node().map_err(|error| Status::unavailable(error.message))?;
        if self.caller.cluster != node.core().cluster {
            return Err(Status::permission_denied("the caller has no place in this cluster yet"));
        }
        Ok(node.clone())
    }
}

/// Takes messages until the stream ends or breaks.
fn until_broken<M: Send + 'static>(stream: Streaming<M>) -> impl futures::Stream<Item = M> + Send + Unpin + 'static {
    stream
        .take_while(|message| futures::future::ready(message.is_ok()))
        .filter_map(|message| futures::future::ready(message.ok()))
}

#[tonic::async_trait]
impl Peer for PeerService {
    type AppendStream = BoxStream<'static, Result<wire::AppendReply, Status>>;

    async fn append(&self, request: Request<Streaming<wire::AppendRequest>>) -> Result<Response<Self::AppendStream>, Status> {
        let node = self.node_for_member()?;
        Ok(Response::new(
            node.handle_append(until_broken(request.into_inner())).map(Ok).boxed(),
        ))
    }

    async fn vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteReply>, Status> {
        Ok(Response::new(self.node_for_member()?.handle_vote(request.into_inner()).await))
    }

    async fn pre_vote(&self, request: Request<wire::VoteRequest>) -> Result<Response<wire::VoteReply>, Status> {
        Ok(Response::new(self.node_for_member()?.handle_pre_vote(request.into_inner()).await))
    }

    async fn transfer_leader(&self, request: Request<wire::TransferRequest>) -> Result<Response<wire::TransferReply>, Status> {
        Ok(Response::new(self.node_for_member()?.handle_transfer(request.into_inner()).await))
    }

    async fn prepare_install(&self, request: Request<wire::InstallManifest>) -> Result<Response<wire::InstallPlan>, Status> {
        Ok(Response::new(
            self.node_for_member()?.handle_prepare_install(request.into_inner()).await,
        ))
    }

    async fn install(&self, request: Request<Streaming<wire::InstallChunk>>) -> Result<Response<wire::InstallReply>, Status> {
        let node = self.node_for_member()?;
        Ok(Response::new(node.handle_install(until_broken(request.into_inner())).await))
    }

    async fn propose(&self, request: Request<wire::ProposeRequest>) -> Result<Response<wire::ProposeReply>, Status> {
        Ok(Response::new(self.node_for_member()?.handle_propose(request.into_inner()).await))
    }

    async fn read_index(&self, _request: Request<wire::ReadIndexRequest>) -> Result<Response<wire::ReadIndexReply>, Status> {
        Ok(Response::new(self.node_for_member()?.handle_read_index().await))
    }

    async fn hello(&self, request: Request<wire::HelloRequest>) -> Result<Response<wire::HelloReply>, Status> {
        let reply = match self.port.app.node() {
            Ok(node) => node.handle_hello(&request.into_inner()),
            Err(error) => {
                let has_place = self.port.own.get().peer != 0;
                hello_before_start(&self.port.newcomer, has_place).ok_or_else(|| Status::unavailable(error.message))?
            }
        };
        Ok(Response::new(reply))
    }

    type FetchCheckpointStream = BoxStream<'static, Result<wire::InstallChunk, Status>>;

    async fn fetch_checkpoint(
        &self,
        request: Request<wire::FetchCheckpointRequest>,
    ) -> Result<Response<Self::FetchCheckpointStream>, Status> {
        let node = self.node_for_member()?;
        let asker = format!("peer {}", self.caller.peer);
        let chunks = node.handle_fetch_checkpoint(request.into_inner(), &asker).await;
        let chunks = chunks.map_err(|error| Status::unavailable(error.message))?;
        Ok(Response::new(chunks.map(Ok).boxed()))
    }

    async fn join(&self, request: Request<wire::JoinRequest>) -> Result<Response<wire::JoinReply>, Status> {
        let node = self.port.app.node().map_err(|error| Status::unavailable(error.message))?.clone();
        Ok(Response::new(node.handle_join(request.into_inner()).await))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doris::test_peers::Peer as TestPeer;
    use crate::limits::MAX_PEER_HANDSHAKES_OF_ADDRESS;
    use quorate_model::Incarnation;
    use std::time::Duration;
    use tokio::io::AsyncReadExt as _;
    use tokio::net::TcpSocket;

    const SECRET: &[u8] = b"secret";
    const PATIENCE: Duration = Duration::from_secs(20);

    /// The peer port of a peer without a place.
    fn port() -> PeerPort {
        let newcomer = Newcomer {
            incarnation: Incarnation(1),
            peer_address: "127.0.0.1:5001".to_owned(),
            public_address: "127.0.0.1:5000".to_owned(),
            peers: Vec::new(),
            replace: false,
            join: false,
        };
        PeerPort {
            app: TestPeer::homeless().app.clone(),
            own: OwnIdentity::default(),
            secret: Arc::new(SECRET.to_vec()),
            tls: None,
            newcomer: Arc::new(newcomer),
            refused: Arc::default(),
        }
    }

    async fn connect(from: &str, to: SocketAddr) -> TcpStream {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(from.parse().expect("an address")).expect("bound");
        socket.connect(to).await.expect("connected")
    }

    #[tokio::test]
    async fn silent_callers_of_one_address_leave_places_to_others() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let accepting = tokio::spawn(accept(port(), listener));
        let mut silent = Vec::new();
        for _ in 0..MAX_PEER_HANDSHAKES_OF_ADDRESS {
            silent.push(connect("127.0.0.1:0", address).await);
        }
        let mut refused = connect("127.0.0.1:0", address).await;
        let closed = tokio::time::timeout(PATIENCE, refused.read_u8()).await.expect("closed");
        assert!(closed.is_err(), "nothing is said");
        let mut peer = connect("127.0.0.2:0", address).await;
        let shaken = handshake::call(&mut peer, SECRET, Identity::default(), handshake::Expected::default()).await;
        assert_eq!(shaken.expect("it has a place"), Identity::default());
        accepting.abort();
    }
}
