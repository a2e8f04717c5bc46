//! Connections that are opened otherwise than by sockets of this process's own network: in a simulation, through a tunnel.

use hyper_util::rt::TokioIo;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codegen::Service;
use tonic::transport::Uri;

/// A byte stream to a peer.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Connection for S {}

type Opening<C> = Pin<Box<dyn Future<Output = io::Result<C>> + Send>>;

/// Opens a connection to a peer's public address, `host:port`.
#[derive(Clone)]
pub struct Connector(Arc<dyn Fn(String) -> Opening<Box<dyn Connection>> + Send + Sync>);

impl Connector {
    /// `open` is called for each connection, also when one is opened again after it broke.
    pub fn new<C, F>(open: impl Fn(String) -> F + Send + Sync + 'static) -> Connector
    where
        C: Connection + 'static,
        F: Future<Output = io::Result<C>> + Send + 'static,
    {
        Connector(Arc::new(move |address| {
            let opening = open(address);
            Box::pin(async move { Ok(Box::new(opening.await?) as Box<dyn Connection>) })
        }))
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Connector")
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Box<dyn Connection>>;
    type Error = io::Error;
    type Future = Opening<Self::Response>;

    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let address = uri.authority().map(|authority| authority.to_string()).unwrap_or_default();
        let opening = (self.0)(address);
        Box::pin(async move { Ok(TokioIo::new(opening.await?)) })
    }
}
