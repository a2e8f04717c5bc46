//! Peers in one process for the tests of this front end: real nodes on logs and states in memory, no sockets.

use crate::app::App;
use crate::config::ServerConfig;
use crate::secrets::SecretBox;
use async_trait::async_trait;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use http_body_util::BodyExt as _;
use quorate_consensus::bootstrap::{self, Newcomer};
use quorate_consensus::transport::{Channel, PeerClient, Transport, TransportError};
use quorate_consensus::{Node, NodeParts, Settings};
use quorate_model::{ClusterId, Incarnation, PeerId};
use quorate_storage::log::{Completion, MemoryLog};
use quorate_storage::state::MemoryState;
use quorate_wire::quorate::peer as wire;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tower::ServiceExt as _;

pub const TOKEN: &str = "test-token";
/// The root key of every peer, and one that is added later.
pub const ROOT_KEY: &str = "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
pub const NEWER_ROOT_KEY: &str = "9 CAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAg=";
/// Longest a test waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Hands calls to the nodes of this process.
#[derive(Clone, Default)]
pub struct LocalTransport(Arc<Mutex<BTreeMap<String, Node>>>);

#[async_trait]
impl Transport for LocalTransport {
    fn client(&self, address: &str, _: u64, _: u64, _: Channel) -> Arc<dyn PeerClient> {
        Arc::new(LocalPeer {
            transport: self.clone(),
            address: address.to_owned(),
        })
    }

    async fn has_died(&self, address: &str) -> bool {
        !self.0.lock().expect("not poisoned").contains_key(address)
    }
}

struct LocalPeer {
    transport: LocalTransport,
    address: String,
}

impl LocalPeer {
    fn node(&self) -> Result<Node, TransportError> {
        let nodes = self.transport.0.lock().expect("not poisoned");
        nodes
            .get(&self.address)
            .cloned()
            .ok_or_else(|| TransportError(format!("no peer at {}", self.address)))
    }
}

#[async_trait]
impl PeerClient for LocalPeer {
    async fn append(
        &self,
        requests: BoxStream<'static, wire::AppendRequest>,
    ) -> Result<BoxStream<'static, Result<wire::AppendReply, TransportError>>, TransportError> {
        Ok(self.node()?.handle_append(requests).map(Ok).boxed())
    }

    async fn vote(&self, request: wire::VoteRequest) -> Result<wire::VoteReply, TransportError> {
        Ok(self.node()?.handle_vote(request).await)
    }

    async fn pre_vote(&self, request: wire::VoteRequest) -> Result<wire::VoteReply, TransportError> {
        Ok(self.node()?.handle_pre_vote(request).await)
    }

    async fn transfer_leader(&self, request: wire::TransferRequest) -> Result<wire::TransferReply, TransportError> {
        Ok(self.node()?.handle_transfer(request).await)
    }

    async fn prepare_install(&self, manifest: wire::InstallManifest) -> Result<wire::InstallPlan, TransportError> {
        Ok(self.node()?.handle_prepare_install(manifest).await)
    }

    async fn install(&self, chunks: BoxStream<'static, wire::InstallChunk>) -> Result<wire::InstallReply, TransportError> {
        Ok(self.node()?.handle_install(chunks).await)
    }

    async fn propose(&self, request: wire::ProposeRequest) -> Result<wire::ProposeReply, TransportError> {
        Ok(self.node()?.handle_propose(request).await)
    }

    async fn read_index(&self, _: wire::ReadIndexRequest) -> Result<wire::ReadIndexReply, TransportError> {
        Ok(self.node()?.handle_read_index().await)
    }

    async fn hello(&self, request: wire::HelloRequest) -> Result<wire::HelloReply, TransportError> {
        Ok(self.node()?.handle_hello(&request))
    }

    async fn fetch_checkpoint(
        &self,
        request: wire::FetchCheckpointRequest,
    ) -> Result<BoxStream<'static, Result<wire::InstallChunk, TransportError>>, TransportError> {
        let chunks = self.node()?.handle_fetch_checkpoint(request, "a peer").await;
        let chunks = chunks.map_err(|error| TransportError(error.message))?;
        Ok(chunks.map(Ok).boxed())
    }

    async fn join(&self, request: wire::JoinRequest) -> Result<wire::JoinReply, TransportError> {
        Ok(self.node()?.handle_join(request).await)
    }
}

/// One peer with its front end.
pub struct Peer {
    pub app: Arc<App>,
    router: axum::Router,
    pub node: Option<Node>,
    /// Root keys and the like; gone with the test.
    dir: tempfile::TempDir,
}

/// What came back.
pub struct Answered {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answered {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("ASCII"))
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("the body is JSON")
    }
}

impl Peer {
    /// A peer that has no place in a cluster yet.
    pub fn homeless() -> Peer {
        // The same on every peer, as their operator has to see to.
        Peer::homeless_with(&[ROOT_KEY])
    }

    fn homeless_with(root_keys: &[&str]) -> Peer {
        Peer::homeless_configured(root_keys, |_| {})
    }

    fn homeless_configured(root_keys: &[&str], configure: impl Fn(&mut ServerConfig)) -> Peer {
        let dir = tempfile::tempdir().expect("temporary directory");
        let path = dir.path().join("root-keys");
        std::fs::write(&path, root_keys.join("\n")).expect("written");
        let secrets = SecretBox::load(&path).expect("a key");
        let mut config = ServerConfig::new(dir.path().to_owned());
        configure(&mut config);
        let app = Arc::new(App::new(config, TOKEN.to_owned(), secrets));
        Peer {
            router: super::router(app.clone()).merge(crate::api::router(app.clone())),
            app,
            node: None,
            dir,
        }
    }

    /// A cluster of one.
    pub async fn alone() -> Peer {
        let mut peers = cluster(1).await;
        peers.remove(0)
    }

    /// A cluster of one with settings of its own.
    pub async fn alone_configured(configure: impl Fn(&mut ServerConfig)) -> Peer {
        let mut peers = join(vec![Peer::homeless_configured(&[ROOT_KEY], configure)]).await;
        peers.remove(0)
    }

    pub async fn send(&self, request: Request<Body>) -> Answered {
        let response = tokio::time::timeout(PATIENCE, self.router.clone().oneshot(request))
            .await
            .expect("answered in time");
        let (parts, body) = response.expect("a router does not fail").into_parts();
        let body = body.collect().await.expect("a whole body").to_bytes();
        Answered {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).expect("UTF-8"),
        }
    }

    /// A call with the right token.
    pub async fn call(&self, route_and_query: &str, body: &str) -> Answered {
        self.send(request(route_and_query, body)).await
    }

    /// A call that must succeed.
    pub async fn ok(&self, route: &str, body: &str) -> Answered {
        let answered = self.call(route, body).await;
        assert_eq!(answered.status, StatusCode::OK, "{route}: {}", answered.body);
        answered
    }

    pub fn node(&self) -> &Node {
        self.node.as_ref().expect("the peer has a node")
    }

    /// Metrics as they are exported.
    pub fn metrics(&self) -> String {
        self.app.metrics.render()
    }
}

/// A request with the right token; `route` may bring a query of its own.
pub fn request(route: &str, body: &str) -> Request<Body> {
    let separator = if route.contains('?') { '&' } else { '?' };
    let uri = format!("/MetaService/http/{route}{separator}token={TOKEN}");
    Request::post(uri)
        .body(Body::from(Bytes::copy_from_slice(body.as_bytes())))
        .expect("well-formed")
}

/// A cluster with a leader that has applied its first entries.
pub async fn cluster(size: u64) -> Vec<Peer> {
    cluster_with(&vec![&[ROOT_KEY][..]; size as usize]).await
}

/// A cluster with these root keys, peer by peer: as while a key is rotated.
pub async fn cluster_with(root_keys: &[&[&str]]) -> Vec<Peer> {
    join(root_keys.iter().map(|keys| Peer::homeless_with(keys)).collect()).await
}

/// A cluster whose peers do on other threads what the product does there, as applying and large reads.
pub async fn cluster_on_threads(size: usize) -> Vec<Peer> {
    join_with((0..size).map(|_| Peer::homeless()).collect(), Settings::default()).await
}

/// Makes a cluster of peers that have no place yet.
async fn join(peers: Vec<Peer>) -> Vec<Peer> {
    let settings = Settings {
        inline_apply: true,
        ..Settings::default()
    };
    join_with(peers, settings).await
}

async fn join_with(mut peers: Vec<Peer>, settings: Settings) -> Vec<Peer> {
    let transport = LocalTransport::default();
    let addresses: Vec<String> = (1..=peers.len()).map(|peer| format!("peer-{peer}:5001")).collect();
    for (position, (peer, address)) in peers.iter_mut().zip(&addresses).enumerate() {
        let node = start(position as u64 + 1, address, peer.dir.path(), &transport, settings.clone()).await;
        transport.0.lock().expect("not poisoned").insert(address.clone(), node.clone());
        peer.app.set_node(node.clone());
        peer.node = Some(node);
    }
    let newcomer = Newcomer {
        incarnation: Incarnation(1),
        peer_address: addresses[0].clone(),
        public_address: "peer-1:5000".to_owned(),
        peers: addresses,
        replace: false,
        join: false,
    };
    let shared: Arc<dyn Transport> = Arc::new(transport);
    bootstrap::found(peers[0].node(), &newcomer, &shared).await.expect("founded");
    for peer in &peers {
        peer.node()
            .read_barrier(Instant::now() + PATIENCE)
            .await
            .expect("a leader is elected");
    }
    peers
}

async fn start(peer: u64, address: &str, dir: &Path, transport: &LocalTransport, settings: Settings) -> Node {
    let parts = NodeParts {
        cluster: ClusterId(7),
        peer: PeerId(peer),
        incarnation: Incarnation(peer),
        peer_address: address.to_owned(),
        public_address: format!("peer-{peer}:5000"),
        seeds: Vec::new(),
        settings,
        log: Arc::new(MemoryLog::new(Completion::Automatic)),
        state: Arc::new(MemoryState::new(dir)),
        transport: Arc::new(transport.clone()),
        audit: None,
        disk_space: Arc::new(|| quorate_consensus::disk::DiskSpace::AMPLE),
        step_observer: quorate_consensus::steps::unobserved(),
    };
    Node::start(parts).await.expect("started")
}
