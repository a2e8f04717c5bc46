//! A peer for unit tests of whoever waits for one: it answers what it was given, and to everything else nothing, for ever, as
//! a peer does whose disk hangs.

use crate::transport::{Channel, PeerClient, Transport, TransportError};
use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use quorate_wire::quorate::peer as wire;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Default)]
pub(crate) struct FakePeer {
    pub place: Option<wire::JoinReply>,
    pub plan: Option<wire::InstallPlan>,
    /// Pieces of a checkpoint it takes at most, and how long it needs for each.
    pub takes: usize,
    pub needs: Duration,
    pub installed: Option<wire::InstallReply>,
    /// Pieces of a checkpoint it gives.
    pub state: Option<Vec<wire::InstallChunk>>,
    /// What it did not take, kept as a transport keeps what it cannot send.
    pub left: Mutex<Option<BoxStream<'static, wire::InstallChunk>>>,
}

async fn answer<T: Clone>(given: Option<&T>) -> Result<T, TransportError> {
    match given {
        Some(answer) => Ok(answer.clone()),
        None => std::future::pending().await,
    }
}

#[async_trait]
impl PeerClient for FakePeer {
    async fn append(
        &self,
        _: BoxStream<'static, wire::AppendRequest>,
    ) -> Result<BoxStream<'static, Result<wire::AppendReply, TransportError>>, TransportError> {
        std::future::pending().await
    }

    async fn vote(&self, _: wire::VoteRequest) -> Result<wire::VoteReply, TransportError> {
        std::future::pending().await
    }

    async fn pre_vote(&self, _: wire::VoteRequest) -> Result<wire::VoteReply, TransportError> {
        std::future::pending().await
    }

    async fn transfer_leader(&self, _: wire::TransferRequest) -> Result<wire::TransferReply, TransportError> {
        std::future::pending().await
    }

    async fn prepare_install(&self, _: wire::InstallManifest) -> Result<wire::InstallPlan, TransportError> {
        answer(self.plan.as_ref()).await
    }

    async fn install(&self, mut chunks: BoxStream<'static, wire::InstallChunk>) -> Result<wire::InstallReply, TransportError> {
        for _ in 0..self.takes {
            if chunks.next().await.is_none() {
                break;
            }
            tokio::time::sleep(self.needs).await;
        }
        *self.left.lock().expect("no panic while held") = Some(chunks);
        answer(self.installed.as_ref()).await
    }

    async fn propose(&self, _: wire::ProposeRequest) -> Result<wire::ProposeReply, TransportError> {
        std::future::pending().await
    }

    async fn read_index(&self, _: wire::ReadIndexRequest) -> Result<wire::ReadIndexReply, TransportError> {
        std::future::pending().await
    }

    async fn hello(&self, _: wire::HelloRequest) -> Result<wire::HelloReply, TransportError> {
        std::future::pending().await
    }

    async fn join(&self, _: wire::JoinRequest) -> Result<wire::JoinReply, TransportError> {
        answer(self.place.as_ref()).await
    }

    async fn fetch_checkpoint(
        &self,
        _: wire::FetchCheckpointRequest,
    ) -> Result<BoxStream<'static, Result<wire::InstallChunk, TransportError>>, TransportError> {
        let chunks = answer(self.state.as_ref()).await?;
        Ok(futures::stream::iter(chunks.into_iter().map(Ok)).boxed())
    }
}

/// The peers of a test by address.
pub(crate) struct FakeTransport(pub BTreeMap<&'static str, Arc<FakePeer>>);

#[async_trait]
impl Transport for FakeTransport {
    fn client(&self, address: &str, _: u64, _: u64, _: Channel) -> Arc<dyn PeerClient> {
        self.0.get(address).expect("a peer of the test").clone()
    }

    async fn has_died(&self, _: &str) -> bool {
        false
    }
}
