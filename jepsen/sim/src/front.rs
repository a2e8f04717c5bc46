//! The public port in a simulation: the server's own native services, over HTTP/2 on simulated sockets; and how clients get
//! there.

use crate::disk::Disk;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use quorate_client::{Client, ClientOptions, Connector};
use quorate_server::app::App;
use quorate_server::native::Services;
use quorate_server::secrets::SecretBox;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};
use turmoil::net::{TcpListener, TcpStream};

pub const PUBLIC_PORT: u16 = 5000;
/// A connection on which nothing came for so long after something was sent is dead: simulated TCP does not send a lost
/// segment again. Longer than any call may take.
const SILENCE: Duration = Duration::from_secs(4);

/// What the front ends of a peer have at hand, before it has a place.
pub fn app(disk: &Disk) -> anyhow::Result<Arc<App>> {
    let config = serde_json::from_value(serde_json::json!({ "data_dir": disk.path() }))?;
    let secrets = SecretBox::load_or_create(&disk.path().join("root-keys"))?;
    Ok(Arc::new(App::new(config, "token".to_owned(), secrets)))
}

/// Serves native calls until it is dropped.
pub async fn serve(listener: TcpListener, app: Arc<App>) {
    let services = Services::new(&app);
    let mut builder = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
    builder.timer(TokioTimer::new());
    let mut connections = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (services, builder) = (services.clone(), builder.clone());
        while connections.try_join_next().is_some() {}
        connections.spawn(async move {
            let answer =
                hyper::service::service_fn(move |request: http::Request<Incoming>| services.call(request.map(tonic::body::Body::new)));
            // A connection that breaks is the network's doing.
            let _ = builder.serve_connection(TokioIo::new(Mortal::new(stream)), answer).await;
        });
    }
}

/// A client of the peers with these names.
pub fn client(peers: impl Iterator<Item = String>) -> Client {
    let options = ClientOptions {
        deadline: Duration::from_secs(4),
        attempt_timeout: Duration::from_millis(1_200),
        connect_timeout: Duration::from_millis(300),
        connector: Some(Connector::new(|address| async move {
            let stream = TcpStream::connect(address).await?;
            Ok(Mortal::new(stream))
        })),
        ..ClientOptions::default()
    };
    let endpoints: Vec<String> = peers.map(|peer| format!("{peer}:{PUBLIC_PORT}")).collect();
    Client::open_with(endpoints, options).expect("names and ports are well-formed")
}

/// A simulated connection that notices its death, as keep-alive makes real ones do.
struct Mortal {
    stream: TcpStream,
    /// Set while something was sent and nothing has come since.
    waiting: Option<Pin<Box<Sleep>>>,
}

impl Mortal {
    fn new(stream: TcpStream) -> Mortal {
        Mortal { stream, waiting: None }
    }
}

impl AsyncRead for Mortal {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match Pin::new(&mut self.stream).poll_read(cx, buffer) {
            Poll::Ready(result) => {
                self.waiting = None;
                Poll::Ready(result)
            }
            Poll::Pending => match self.waiting.as_mut().map(|waiting| waiting.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())),
                _ => Poll::Pending,
            },
        }
    }
}

impl AsyncWrite for Mortal {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.waiting.is_none() {
            let mut waiting = Box::pin(tokio::time::sleep_until(Instant::now() + SILENCE));
            // The task that reads is this one; it must be woken by the clock too.
            let _ = waiting.as_mut().poll(cx);
            self.waiting = Some(waiting);
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
