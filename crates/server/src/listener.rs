//! The public port: one accept loop for HTTP/1.1 and HTTP/2, and within HTTP/2 for gRPC.
//!
//! The first bytes of a connection tell HTTP/1.1 from HTTP/2; the path tells gRPC services from HTTP routes. gRPC calls
//! skip the HTTP router: they are the hot path.

use crate::app::App;
use crate::limits::{DRAIN_TIMEOUT, MAX_CONNECTIONS};
use crate::native::admin::AdminService;
use crate::native::metadata::MetadataService;
use crate::{doris, ops};
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use quorate_wire::quorate::v1::admin_server::AdminServer;
use quorate_wire::quorate::v1::metadata_server::MetadataServer;
use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower::{Service, ServiceExt};

/// Headers of an HTTP/1.1 request must be complete within this time.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Calls one HTTP/2 connection may have open.
const MAX_STREAMS: u32 = 1_024;

/// Routes a request to the front end it belongs to.
#[derive(Clone)]
struct Front {
    metadata: MetadataServer<MetadataService>,
    admin: AdminServer<AdminService>,
    http: axum::Router,
}

impl Front {
    fn new(app: Arc<App>) -> Front {
        Front {
            metadata: MetadataServer::new(MetadataService { app: app.clone() }),
            admin: AdminServer::new(AdminService { app: app.clone() }),
            http: doris::router(app.clone()).merge(ops::router(app)),
        }
    }
}

type Reply = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl hyper::service::Service<http::Request<Incoming>> for Front {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Reply;

    fn call(&self, request: http::Request<Incoming>) -> Reply {
        let path = request.uri().path();
        if path.starts_with("/quorate.v1.Metadata/") {
            let reply = self.metadata.clone().call(request.map(tonic::body::Body::new));
            return Box::pin(async move { Ok(reply.await?.map(Body::new)) });
        }
        if path.starts_with("/quorate.v1.Admin/") {
            let reply = self.admin.clone().call(request.map(tonic::body::Body::new));
            return Box::pin(async move { Ok(reply.await?.map(Body::new)) });
        }
        Box::pin(self.http.clone().oneshot(request.map(Body::new)))
    }
}

/// Serves until `stop` turns true, then lets running calls end.
pub async fn serve(app: Arc<App>, listener: TcpListener, mut stop: watch::Receiver<bool>) {
    let front = Front::new(app.clone());
    let graceful = GracefulShutdown::new();
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Ok(permit) = connections.clone().try_acquire_owned() else {
            tracing::warn!(limit = MAX_CONNECTIONS, "a connection was closed: too many are open");
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended at once");
            continue;
        }
        app.metrics.connections.inc();
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), front.clone()).into_owned());
        let app = app.clone();
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection broke");
            }
            app.metrics.connections.dec();
            drop(permit);
        });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN_TIMEOUT, graceful.shutdown()).await.is_err() {
        tracing::warn!(seconds = DRAIN_TIMEOUT.as_secs(), "some calls did not end in time and are cut off");
    }
}
