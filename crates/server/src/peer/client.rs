//! Calls to other peers: one gRPC connection per peer and channel, made lazily, made again when it breaks.

use super::handshake::{self, Expected, HandshakeError};
use super::refusals::Refusals;
use super::{Identity, OwnIdentity};
use crate::limits::{HANDSHAKE_TIMEOUT, MAX_PEER_MESSAGE_BYTES};
use crate::tls::{PeerTls, explain, name_of};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use hyper_util::rt::TokioIo;
use quorate_consensus::transport::{Channel, PeerClient, Transport, TransportError};
use quorate_wire::quorate::peer as wire;
use quorate_wire::quorate::peer::peer_client::PeerClient as Stub;
use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tonic::transport::Endpoint;

/// A peer that does not accept in this time is treated as gone until the next try.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(500);
/// A silent connection is broken after two of these.
const KEEP_ALIVE: Duration = Duration::from_millis(1_000);
/// Large enough for a full batch of entries in flight.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;

type ClientKey = (String, u64, u64, Channel);

/// Makes clients over TCP.
pub struct TcpTransport {
    own: OwnIdentity,
    secret: Arc<Vec<u8>>,
    tls: Option<Arc<PeerTls>>,
    /// Peers that are there but refuse this one, or that this one refuses, by address.
    refused: Arc<Refusals>,
    clients: Mutex<BTreeMap<ClientKey, Arc<TcpPeer>>>,
}

impl TcpTransport {
    /// With `tls` set, every connection begins with TLS, with certificates of both sides.
    pub fn new(own: OwnIdentity, secret: Vec<u8>, tls: Option<Arc<PeerTls>>) -> TcpTransport {
        TcpTransport {
            own,
            secret: Arc::new(secret),
            tls,
            refused: Arc::default(),
            clients: Mutex::default(),
        }
    }

    fn connect(&self, address: &str, expected: Expected) -> Result<tonic::transport::Channel, tonic::transport::Error> {
        let (own, secret, address) = (self.own.clone(), self.secret.clone(), address.to_owned());
        let (tls, refused) = (self.tls.clone(), self.refused.clone());
        let connector = tower::service_fn(move |_: http::Uri| {
            let (own, secret, address) = (own.clone(), secret.clone(), address.clone());
            let (tls, refused) = (tls.clone(), refused.clone());
            async move {
                // The name is resolved at each connection: a peer may come back at another address.
                let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&address))
                    .await
                    .map_err(|_| io::Error::new(io::ErrorKind::TimedOut, format!("{address} does not accept")))??;
                stream.set_nodelay(true)?;
                let greeted = greet(stream, tls.as_deref(), &address, &secret, own.get(), expected).await;
                match &greeted {
                    Ok(_) => refused.forget(&address),
                    Err(error) => {
                        if let Some(untold) = refused.note(&address, &error.to_string()) {
                            tracing::warn!(%address, %error, untold, "no connection to a peer");
                        }
                    }
                }
                greeted.map(TokioIo::new)
            }
        });
        let endpoint = Endpoint::from_static("http://peer.quorate")
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(2 * STREAM_WINDOW_BYTES);
        Ok(endpoint.connect_with_connector_lazy(connector))
    }
}

/// A connection that is ready for calls.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// TLS if it is configured, then the handshake over the cluster secret.
async fn greet(
    stream: TcpStream,
    tls: Option<&PeerTls>,
    address: &str,
    secret: &[u8],
    own: Identity,
    expected: Expected,
) -> io::Result<Box<dyn Duplex>> {
    let mut stream: Box<dyn Duplex> = match tls {
        None => Box::new(stream),
        Some(tls) => {
            let connecting = TlsConnector::from(tls.connector.current()).connect(name_of(address)?, stream);
            let connected = tokio::time::timeout(HANDSHAKE_TIMEOUT, connecting).await;
            let connected = connected.map_err(|_| io::Error::other(format!("{address} did not finish its TLS handshake")))?;
            Box::new(connected.map_err(|error| explained(&error, address))?)
        }
    };
    match handshake::call(&mut stream, secret, own, expected).await {
        Ok(_) => Ok(stream),
        // The other side judges our certificate after its own was accepted: its verdict comes with the first bytes.
        Err(HandshakeError::Io(error)) if tls.is_some() => Err(explained(&error, address)),
        Err(error) => Err(io::Error::other(error)),
    }
}

fn explained(error: &io::Error, address: &str) -> io::Error {
    io::Error::other(explain(error, &format!("the peer at {address}")))
}

#[async_trait]
impl Transport for TcpTransport {
    fn client(&self, address: &str, peer: u64, incarnation: u64, channel: Channel) -> Arc<dyn PeerClient> {
        let key = (address.to_owned(), peer, incarnation, channel);
        let mut clients = self.clients.lock().expect("no panic while held");
        if let Some(client) = clients.get(&key) {
            return client.clone();
        }
        let made = self.connect(address, Expected { peer, incarnation });
        let stub = made.ok().map(|channel| {
            Stub::new(channel)
                .max_decoding_message_size(MAX_PEER_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_PEER_MESSAGE_BYTES)
        });
        let client = Arc::new(TcpPeer {
            stub,
            address: address.to_owned(),
        });
        clients.insert(key, client.clone());
        client
    }

    async fn has_died(&self, address: &str) -> bool {
        let tried = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await;
        matches!(tried, Ok(Err(error)) if error.kind() == io::ErrorKind::ConnectionRefused)
    }
}

struct TcpPeer {
    stub: Option<Stub<tonic::transport::Channel>>,
    address: String,
}

impl TcpPeer {
    fn stub(&self) -> Result<Stub<tonic::transport::Channel>, TransportError> {
        self.stub
            .clone()
            .ok_or_else(|| TransportError(format!("{} is not a usable address", self.address)))
    }

    fn error(&self, status: tonic::Status) -> TransportError {
        let mut text = format!("peer at {}: {}", self.address, status.message());
        let mut source = std::error::Error::source(&status);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        TransportError(text)
    }
}

/// A request stream of one named type: the compiler cannot see that a boxed one is `Send` for every lifetime.
struct Outgoing<M>(BoxStream<'static, M>);

impl<M> futures::Stream for Outgoing<M> {
    type Item = M;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<M>> {
        self.0.poll_next_unpin(context)
    }
}

/// One unary call.
macro_rules! unary {
    ($self:ident, $method:ident, $request:ident) => {
        $self
            .stub()?
            .$method($request)
            .await
            .map(tonic::Response::into_inner)
            .map_err(|status| $self.error(status))
    };
}

#[async_trait]
impl PeerClient for TcpPeer {
    async fn append(
        &self,
        requests: BoxStream<'static, wire::AppendRequest>,
    ) -> Result<BoxStream<'static, Result<wire::AppendReply, TransportError>>, TransportError> {
        let replies = self
            .stub()?
            .append(Outgoing(requests))
            .await
            .map_err(|status| self.error(status))?
            .into_inner();
        Ok(replies
            .map(|reply| reply.map_err(|status| TransportError(status.message().to_owned())))
            .boxed())
    }

    async fn vote(&self, request: wire::VoteRequest) -> Result<wire::VoteReply, TransportError> {
        unary!(self, vote, request)
    }

    async fn pre_vote(&self, request: wire::VoteRequest) -> Result<wire::VoteReply, TransportError> {
        unary!(self, pre_vote, request)
    }

    async fn transfer_leader(&self, request: wire::TransferRequest) -> Result<wire::TransferReply, TransportError> {
        unary!(self, transfer_leader, request)
    }

    async fn prepare_install(&self, manifest: wire::InstallManifest) -> Result<wire::InstallPlan, TransportError> {
        unary!(self, prepare_install, manifest)
    }

    async fn install(&self, chunks: BoxStream<'static, wire::InstallChunk>) -> Result<wire::InstallReply, TransportError> {
        let chunks = Outgoing(chunks);
        unary!(self, install, chunks)
    }

    async fn propose(&self, request: wire::ProposeRequest) -> Result<wire::ProposeReply, TransportError> {
        unary!(self, propose, request)
    }

    async fn read_index(&self, request: wire::ReadIndexRequest) -> Result<wire::ReadIndexReply, TransportError> {
        unary!(self, read_index, request)
    }

    async fn hello(&self, request: wire::HelloRequest) -> Result<wire::HelloReply, TransportError> {
        unary!(self, hello, request)
    }

    async fn fetch_checkpoint(
        &self,
        request: wire::FetchCheckpointRequest,
    ) -> Result<BoxStream<'static, Result<wire::InstallChunk, TransportError>>, TransportError> {
        let fetched = self.stub()?.fetch_checkpoint(request).await.map_err(|status| self.error(status))?;
        let chunks = fetched.into_inner();
        Ok(chunks
            .map(|chunk| chunk.map_err(|status| TransportError(status.message().to_owned())))
            .boxed())
    }

    async fn join(&self, request: wire::JoinRequest) -> Result<wire::JoinReply, TransportError> {
        unary!(self, join, request)
    }
}
