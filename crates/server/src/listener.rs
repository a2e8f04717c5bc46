//! The public port: one accept loop for HTTP/1.1 and HTTP/2, and within HTTP/2 for gRPC.
//!
//! The first bytes of a connection tell HTTP/1.1 from HTTP/2; the path tells gRPC services from HTTP routes. gRPC calls
//! skip the HTTP router: they are the hot path.

use crate::app::App;
use crate::doris_grpc::DorisService;
use crate::limits::{DRAIN_TIMEOUT, MAX_BODY_BYTES, MAX_CONNECTIONS};
use crate::native::admin::AdminService;
use crate::native::metadata::MetadataService;
use crate::{doris, doris_grpc, ops};
use axum::body::Body;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use quorate_wire::doris::meta_service_server::MetaServiceServer;
use quorate_wire::quorate::v1::admin_server::AdminServer;
use quorate_wire::quorate::v1::metadata_server::MetadataServer;
use std::convert::Infallible;
use std::future::Future;
use std::net::IpAddr;
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
    doris: MetaServiceServer<DorisService>,
    http: axum::Router,
    app: Arc<App>,
}

/// The front of one connection: some services ask where it comes from.
struct Connection {
    front: Front,
    remote: IpAddr,
}

impl Front {
    fn new(app: Arc<App>) -> Front {
        let doris = MetaServiceServer::new(DorisService { app: app.clone() });
        Front {
            doris: doris.max_decoding_message_size(MAX_BODY_BYTES),
            metadata: MetadataServer::new(MetadataService { app: app.clone() }),
            admin: AdminServer::new(AdminService { app: app.clone() }),
            http: doris::router(app.clone()).merge(ops::router(app.clone())),
            app,
        }
    }
}

type Reply = Pin<Box<dyn Future<Output = Result<http::Response<Body>, Infallible>> + Send>>;

impl hyper::service::Service<http::Request<Incoming>> for Connection {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Reply;

    fn call(&self, request: http::Request<Incoming>) -> Reply {
        let Connection { front, remote } = self;
        let path = request.uri().path();
        if path.starts_with("/quorate.v1.Metadata/") {
            let reply = front.metadata.clone().call(request.map(tonic::body::Body::new));
            return Box::pin(async move { Ok(reply.await?.map(Body::new)) });
        }
        if path.starts_with("/quorate.v1.Admin/") {
            let reply = front.admin.clone().call(request.map(tonic::body::Body::new));
            return Box::pin(async move { Ok(reply.await?.map(Body::new)) });
        }
        if path.starts_with(doris_grpc::PATH_PREFIX) {
            if let Some(refusal) = doris_grpc::refusal(&front.app.config, *remote) {
                return Box::pin(std::future::ready(Ok(refusal.into_http())));
            }
            let reply = front.doris.clone().call(request.map(tonic::body::Body::new));
            return Box::pin(async move { Ok(reply.await?.map(Body::new)) });
        }
        Box::pin(front.http.clone().oneshot(request.map(Body::new)))
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
        let (stream, remote) = match accepted {
            Ok(accepted) => accepted,
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
        let service = Connection {
            front: front.clone(),
            remote: remote.ip(),
        };
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service).into_owned());
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
