//! What consensus asks of the network, in messages only: no sockets, no openraft.

use async_trait::async_trait;
use futures::stream::BoxStream;
use quorate_wire::quorate::peer as wire;
use std::sync::Arc;

/// A call that did not get an answer. Whether the other side saw it is unknown unless said otherwise.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct TransportError(pub String);

/// Which connection a call travels on, so that bulk never holds up heartbeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    Log,
    Heartbeat,
    Bulk,
    Forward,
}

/// One peer as seen from here. Calls fail fast when it cannot be reached.
#[async_trait]
pub trait PeerClient: Send + Sync + 'static {
    async fn append(
        &self,
        requests: BoxStream<'static, wire::AppendRequest>,
    ) -> Result<BoxStream<'static, Result<wire::AppendReply, TransportError>>, TransportError>;
    async fn vote(&self, request: wire::VoteRequest) -> Result<wire::VoteReply, TransportError>;
    async fn pre_vote(&self, request: wire::VoteRequest) -> Result<wire::VoteReply, TransportError>;
    async fn transfer_leader(&self, request: wire::TransferRequest) -> Result<wire::TransferReply, TransportError>;
    async fn prepare_install(&self, manifest: wire::InstallManifest) -> Result<wire::InstallPlan, TransportError>;
    async fn install(&self, chunks: BoxStream<'static, wire::InstallChunk>) -> Result<wire::InstallReply, TransportError>;
    async fn propose(&self, request: wire::ProposeRequest) -> Result<wire::ProposeReply, TransportError>;
    async fn read_index(&self, request: wire::ReadIndexRequest) -> Result<wire::ReadIndexReply, TransportError>;
    async fn hello(&self, request: wire::HelloRequest) -> Result<wire::HelloReply, TransportError>;
    async fn join(&self, request: wire::JoinRequest) -> Result<wire::JoinReply, TransportError>;
    async fn fetch_checkpoint(
        &self,
        request: wire::FetchCheckpointRequest,
    ) -> Result<BoxStream<'static, Result<wire::InstallChunk, TransportError>>, TransportError>;
}

/// Makes connections, lazily and again after they break.
#[async_trait]
pub trait Transport: Send + Sync + 'static {
    /// A client for the peer at `address`. `peer` and `incarnation` are who is expected there; 0 for "whoever".
    fn client(&self, address: &str, peer: u64, incarnation: u64, channel: Channel) -> Arc<dyn PeerClient>;

    /// Whether the process at this address has died, as far as can be told from here: its host refuses the connection. False when nothing
    /// answers.
    async fn has_died(&self, address: &str) -> bool;
}
