//! The public port: one accept loop for HTTP/1.1 and HTTP/2, and within HTTP/2 for gRPC.
//!
//! The first bytes of a connection tell TLS from plain ([`crate::tls`]), the next HTTP/1.1 from HTTP/2; the path tells gRPC services from HTTP routes. gRPC calls
//! skip the HTTP router: they are the hot path.

mod begun;
mod sending;
mod visit;

use crate::app::App;
use crate::doris_grpc::DorisService;
use crate::limits::{
    DEFAULT_DEADLINE, DRAIN_TIMEOUT, HANDSHAKE_TIMEOUT, HTTP2_KEEP_ALIVE, MAX_BODY_BYTES, MAX_HTTP1_BUFFER_BYTES, MAX_STREAMS,
    MAX_UNSENT_BYTES, REFUSED_LOOK, SCARCE_PLACES,
};
use crate::native::{self, Services};
use crate::peer::refusals::Refusals;
use crate::tls::{self, PublicTls};
use crate::{api, doris, doris_grpc, open_files, ops};
use axum::body::Body;
use begun::Begun;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use quorate_wire::doris::meta_service_server::MetaServiceServer;
use sending::Sending;
use std::convert::Infallible;
use std::future::Future;
use std::net::{IpAddr, Ipv6Addr};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;
use tower::ServiceExt;
use visit::{End, Visit, Visits};

/// It must be known within this time whether a connection is HTTP/2, and then headers of an HTTP/1.1 request must be complete.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// The first byte of a TLS connection; no HTTP request begins with it.
const TLS_HANDSHAKE: u8 = 0x16;

/// Routes a request to the front end it belongs to.
#[derive(Clone)]
struct Front {
    native: Services,
    doris: MetaServiceServer<DorisService>,
    http: axum::Router,
    app: Arc<App>,
    /// Where this connection comes from: some services have no token.
    remote: IpAddr,
    /// Whether this connection's bytes are encrypted.
    secured: bool,
    /// What this connection is at, and all the others are.
    visit: Arc<Visit>,
    visits: Arc<Visits>,
}

/// Marks a request that came over TLS: an address it is sent on to needs `https` too.
#[derive(Clone, Copy, Debug)]
pub struct Secured;

/// Marks a request whose answer nobody else can read: it came over TLS, or from this machine.
#[derive(Clone, Copy, Debug)]
pub struct Confidential;

impl Front {
    fn new(app: Arc<App>) -> Front {
        let doris = MetaServiceServer::new(DorisService { app: app.clone() });
        Front {
            doris: doris.max_decoding_message_size(MAX_BODY_BYTES),
            native: Services::new(&app),
            http: doris::router(app.clone())
                .merge(ops::router(app.clone()))
                .merge(api::router(app.clone())),
            app,
            // In no network that may be allowed: a connection that forgets to say where it comes from is refused.
            remote: IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            secured: false,
            visit: Visit::new(),
            visits: Arc::default(),
        }
    }
}

type Reply = Pin<Box<dyn Future<Output = Result<http::Response<Sending>, Infallible>> + Send>>;

impl hyper::service::Service<http::Request<Incoming>> for Front {
    type Response = http::Response<Sending>;
    type Error = Infallible;
    type Future = Reply;

    fn call(&self, mut request: http::Request<Incoming>) -> Reply {
        let call = self.visit.begin();
        let path = request.uri().path();
        if path.starts_with(native::PATH_PREFIX) {
            if self.secured || self.remote.to_canonical().is_loopback() {
                request.extensions_mut().insert(Confidential);
            }
            let reply = self.native.call(request);
            return Box::pin(async move { Ok(call.answered(reply.await?.map(Body::new))) });
        }
        if path.starts_with(doris_grpc::PATH_PREFIX) {
            if let Some(refusal) = doris_grpc::refusal(&self.app.config, self.remote) {
                return Box::pin(std::future::ready(Ok(call.answered(refusal.into_http()))));
            }
            let reply = doris_grpc::call(&self.doris, &self.app, request);
            return Box::pin(async move { Ok(call.answered(reply.await?.map(Body::new))) });
        }
        if self.secured {
            request.extensions_mut().insert(Secured);
        }
        let reply = self.http.clone().oneshot(request.map(Body::new));
        Box::pin(async move { Ok(call.answered(reply.await?)) })
    }
}

/// Serves until `stop` turns true, then lets running calls end. With `tls` set, every connection begins with TLS, or may.
pub async fn serve(app: Arc<App>, listener: TcpListener, tls: Option<Arc<PublicTls>>, mut stop: watch::Receiver<bool>) {
    let front = Front::new(app.clone());
    let graceful = GracefulShutdown::new();
    let mut places = Places::new(open_files::connections());
    let (builder, refused) = (builder(), Refusals::default());
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
        let Some(permit) = places.take(&front.visits) else {
            // All of them are one event, wherever they come from.
            if let Some(untold) = refused.note(&app.config.listen, "too many connections") {
                tracing::warn!(from = %remote.ip(), limit = places.limit, untold, "a connection was closed: too many are open");
            }
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection ended at once");
            continue;
        }
        app.metrics.connections.inc();
        let (tls, builder, mut front, watcher, app) = (tls.clone(), builder.clone(), front.clone(), graceful.watcher(), app.clone());
        let stop = stop.clone();
        front.remote = remote.ip();
        tokio::spawn(async move {
            let served = match tls {
                None => serve_stream(&builder, stream, front, watcher, stop).await,
                Some(tls) => serve_with_tls(&tls, &builder, stream, front, watcher, stop).await,
            };
            if let Err(error) = served {
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

/// Places for connections.
struct Places {
    free: Arc<Semaphore>,
    limit: usize,
    /// When an idle connection was looked for last.
    looked: Option<Instant>,
}

impl Places {
    fn new(limit: usize) -> Places {
        Places {
            free: Arc::new(Semaphore::new(limit)),
            limit,
            looked: None,
        }
    }

    /// A place, if there is one. Where they are scarce an idle connection is told to go, also for who finds none: whoever fills all places
    /// faster than connections become idle would keep them otherwise.
    fn take(&mut self, visits: &Visits) -> Option<OwnedSemaphorePermit> {
        let place = self.free.clone().try_acquire_owned().ok();
        let is_scarce = self.free.available_permits() < self.limit / SCARCE_PLACES;
        let may_look = place.is_some() || self.looked.is_none_or(|looked| looked.elapsed() >= REFUSED_LOOK);
        if is_scarce && may_look {
            self.looked = Some(Instant::now());
            visits.end_one();
        }
        place
    }
}

/// Turns true when the peer stops.
type Stop = watch::Receiver<bool>;
type Builder = auto::Builder<TokioExecutor>;
type Served = Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn builder() -> Builder {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    let http1 = &mut builder.http1();
    http1.timer(TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
    http1.max_buf_size(MAX_HTTP1_BUFFER_BYTES);
    let http2 = &mut builder.http2();
    http2.timer(TokioTimer::new()).max_concurrent_streams(MAX_STREAMS);
    http2.keep_alive_interval(HTTP2_KEEP_ALIVE).keep_alive_timeout(HTTP2_KEEP_ALIVE);
    http2.max_send_buf_size(MAX_UNSENT_BYTES);
    builder
}

/// Whoever connects must also speak: until it is known which HTTP that is, nothing else limits how long a connection is held.
/// One that has not said it when the peer stops has no call under way.
async fn serve_stream<S>(builder: &Builder, stream: S, mut front: Front, watcher: Watcher, mut stop: Stop) -> Served
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let begun = tokio::select! {
        begun = tokio::time::timeout(HEADER_TIMEOUT, Begun::read(stream)) => begun??,
        _ = stop.wait_for(|stop| *stop) => return Ok(()),
    };
    let visit = front.visits.open();
    front.visit = visit.clone();
    let mut serving = pin!(builder.serve_connection(TokioIo::new(begun), front));
    // A stop waits until this is dropped.
    let _watched = watcher;
    let mut is_stopping = false;
    loop {
        let end = tokio::select! {
            served = serving.as_mut() => return served,
            end = visit.over() => end,
            _ = stop.wait_for(|stop| *stop), if !is_stopping => {
                is_stopping = true;
                End::Idle
            }
        };
        match end {
            End::Idle => serving.as_mut().graceful_shutdown(),
            End::Gone => return Ok(()),
            End::Unread => {
                // Other calls of the connection may be about to be answered.
                serving.as_mut().graceful_shutdown();
                let _ = tokio::time::timeout(DEFAULT_DEADLINE, serving.as_mut()).await;
                return Err("the caller takes no answer".into());
            }
        }
    }
}

/// What a caller without TLS is told by a port that speaks nothing else. An HTTP/2 caller at least sees that this is not it.
const NEEDS_TLS: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-type: text/plain\r\ncontent-length: 58\r\n\r\n\
this port speaks TLS only; use https:// and the CA's file\n";

async fn serve_with_tls(
    public: &PublicTls,
    builder: &Builder,
    mut stream: TcpStream,
    mut front: Front,
    watcher: Watcher,
    stop: Stop,
) -> Served {
    let mut first = [0];
    tokio::time::timeout(HANDSHAKE_TIMEOUT, stream.peek(&mut first)).await??;
    match first[0] {
        TLS_HANDSHAKE => {}
        _ if public.allow_plain => return serve_stream(builder, stream, front, watcher, stop).await,
        _ => {
            stream.write_all(NEEDS_TLS).await?;
            tls::dismiss(stream).await;
            return Ok(());
        }
    }
    let stream = tls::accept(&public.acceptor, stream).await?;
    front.secured = true;
    serve_stream(builder, stream, front, watcher, stop).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doris::test_peers::{Peer, TOKEN};
    use crate::limits::{FAREWELL_TIME, IDLE_TIMEOUT, KNOWN_IDLE_TIMEOUT, MAX_IN_FLIGHT, SPARED_IDLE, UNREAD_TIMEOUT};
    use bytes::Bytes;
    use futures::FutureExt as _;
    use http_body_util::{BodyExt as _, Empty};
    use hyper::client::conn::http2::{self, SendRequest};
    use tokio::io::AsyncReadExt as _;
    use tokio::task::JoinHandle;
    use tokio::time::{advance, sleep, timeout};

    /// More than a connection takes without anybody who reads.
    const LARGE: usize = 1 << 20;

    /// The front of a peer, and what its connections are watched by.
    fn front() -> (Front, GracefulShutdown) {
        (Front::new(Peer::homeless().app.clone()), GracefulShutdown::new())
    }

    /// The same with one route, `/large`, whose calls have a place.
    fn front_of_large_answers() -> (Front, GracefulShutdown) {
        let (mut front, graceful) = front();
        let app = front.app.clone();
        let large = move || {
            let place = app.admit();
            async move {
                let mut answer = http::Response::new(Body::from(vec![0u8; LARGE]));
                place.expect("there is one").go_with(&mut answer);
                answer
            }
        };
        front.http = axum::Router::new().route("/large", axum::routing::get(large));
        (front, graceful)
    }

    /// An HTTP/2 caller with small windows, and how its connection is served.
    async fn caller(front: &Front, graceful: &GracefulShutdown, stop: &Stop) -> (SendRequest<Empty<Bytes>>, JoinHandle<Served>) {
        let (caller, stream) = tokio::io::duplex(1 << 16);
        let (front, watcher, stop) = (front.clone(), graceful.watcher(), stop.clone());
        let serving = tokio::spawn(async move {
            let builder = builder();
            serve_stream(&builder, stream, front, watcher, stop).await
        });
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2.initial_stream_window_size(1 << 15);
        let (sender, connection) = http2.handshake(TokioIo::new(caller)).await.expect("they shake hands");
        tokio::spawn(connection);
        (sender, serving)
    }

    fn get(path: &str) -> http::Request<Empty<Bytes>> {
        let request = http::Request::get(format!("http://peer{path}"));
        request.body(Empty::new()).expect("well-formed")
    }

    /// Every place but one.
    fn all_places_but_one(app: &App) -> Vec<crate::app::Place> {
        (1..MAX_IN_FLIGHT).map(|_| app.admit().expect("within the limit")).collect()
    }

    async fn place_is_given_back(app: &App) {
        let free = async {
            while app.admit().is_err() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(HEADER_TIMEOUT, free).await.expect("the place is given back");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_keeps_its_place_until_its_caller_has_taken_it() {
        let (front, graceful) = front_of_large_answers();
        let (_running, stop) = watch::channel(false);
        let (mut sender, _serving) = caller(&front, &graceful, &stop).await;
        let _others = all_places_but_one(&front.app);
        let answer = sender.send_request(get("/large")).await.expect("answered");
        sleep(UNREAD_TIMEOUT / 2).await;
        assert!(front.app.admit().is_err(), "the place was given back before the answer was taken");
        let body = answer.into_body().collect().await.expect("whole").to_bytes();
        assert_eq!(body.len(), LARGE);
        place_is_given_back(&front.app).await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_takes_ends_its_connection() {
        let (front, graceful) = front_of_large_answers();
        let (_running, stop) = watch::channel(false);
        let _others = all_places_but_one(&front.app);

        let (mut sender, mut serving) = caller(&front, &graceful, &stop).await;
        let answer = sender.send_request(get("/large")).await.expect("answered");
        let began = Instant::now();
        let served = loop {
            tokio::select! {
                served = &mut serving => break served.expect("no panic"),
                () = sleep(UNREAD_TIMEOUT / 8) => {}
            }
            assert!(began.elapsed() < 2 * UNREAD_TIMEOUT, "it is still held");
            // That it goes on calling does not help it.
            if let Ok(other) = sender.send_request(get("/nothing")).await {
                assert_eq!(other.status(), http::StatusCode::NOT_FOUND);
            }
        };
        assert!(served.is_err() && began.elapsed() > UNREAD_TIMEOUT / 2);
        place_is_given_back(&front.app).await;
        drop(answer);

        let (mut caller, stream) = tokio::io::duplex(1 << 16);
        let request = b"GET /large HTTP/1.1\r\nhost: a\r\n\r\n";
        caller.write_all(request).await.expect("written");
        let builder = builder();
        let serving = serve_stream(&builder, stream, front.clone(), graceful.watcher(), stop);
        let served = timeout(2 * UNREAD_TIMEOUT, serving).await.expect("it is not held any longer");
        assert!(served.is_err());
        place_is_given_back(&front.app).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_calls_ends_however_many_pings_it_answers() {
        let (front, graceful) = front();
        let (_running, stop) = watch::channel(false);
        let began = Instant::now();
        let (mut sender, serving) = caller(&front, &graceful, &stop).await;
        // A call that anybody may make puts it off, and makes nobody known.
        sleep(IDLE_TIMEOUT / 2).await;
        let answer = sender.send_request(get("/livez")).await.expect("answered");
        assert_eq!(answer.status(), http::StatusCode::OK);
        drop(answer);
        let served = timeout(2 * IDLE_TIMEOUT, serving).await.expect("it is not held any longer");
        served.expect("no panic").ok();
        assert!(began.elapsed() >= IDLE_TIMEOUT + IDLE_TIMEOUT / 2);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_was_let_in_once_may_be_idle_for_longer() {
        let (front, graceful) = front();
        let (_running, stop) = watch::channel(false);
        let (mut sender, serving) = caller(&front, &graceful, &stop).await;
        let call = get(&format!("/MetaService/http/get_instance?token={TOKEN}"));
        let answer = sender.send_request(call).await.expect("answered");
        assert_eq!(answer.status(), http::StatusCode::SERVICE_UNAVAILABLE, "this peer has no node");
        drop(answer);
        sleep(2 * IDLE_TIMEOUT).await;
        assert!(!serving.is_finished());
        let served = timeout(KNOWN_IDLE_TIMEOUT, serving).await.expect("it is not held any longer");
        served.expect("no panic").ok();
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_shows_the_token_to_admin_is_known_though_that_needs_no_place() {
        let (front, graceful) = front();
        let (_running, stop) = watch::channel(false);
        let grpc = |call: &str, token: &str| {
            let request = http::Request::post(format!("http://peer{}Admin/{call}", native::PATH_PREFIX));
            let request = request.header("content-type", "application/grpc").header("quorate-token", token);
            request.body(Empty::new()).expect("well-formed")
        };
        let api = http::Request::get("http://peer/api/v1/status").header("authorization", format!("Bearer {TOKEN}"));
        for (call, is_known) in [
            (grpc("Status", "wrong"), false),
            (grpc("TransferLeader", "wrong"), false),
            (grpc("Status", TOKEN), true),
            (grpc("TransferLeader", TOKEN), true),
            (api.body(Empty::new()).expect("well-formed"), true),
        ] {
            let (mut sender, serving) = caller(&front, &graceful, &stop).await;
            let shown = format!("{call:?}");
            drop(sender.send_request(call).await.expect("answered"));
            sleep(2 * IDLE_TIMEOUT).await;
            assert_eq!(!serving.is_finished(), is_known, "{shown}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_ends_when_its_place_is_wanted_also_when_its_caller_does_not_go() {
        let (front, graceful) = front();
        let (_running, stop) = watch::channel(false);
        let (_sender, polite) = caller(&front, &graceful, &stop).await;
        sleep(Duration::from_secs(1)).await;
        // Like an HTTP/2 caller that says nothing more, not even that it has seen the pings.
        let (mut silent, stream) = tokio::io::duplex(1 << 16);
        silent
            .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .expect("written");
        let builder = builder();
        let mut rude = pin!(serve_stream(&builder, stream, front.clone(), graceful.watcher(), stop.clone()));
        assert!(timeout(SPARED_IDLE, rude.as_mut()).await.is_err(), "it is served");
        front.visits.end_one();
        let served = timeout(2 * FAREWELL_TIME, polite).await.expect("the first one goes first");
        served.expect("no panic").ok();
        front.visits.end_one();
        let served = timeout(2 * FAREWELL_TIME, rude).await.expect("it is not held any longer");
        served.expect("nothing broke");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_finds_no_place_has_an_idle_connection_end_for_the_next_one() {
        let (visits, mut places) = (Visits::default(), Places::new(2 * SCARCE_PLACES));
        let held: Vec<_> = (0..2 * SCARCE_PLACES)
            .map(|_| (places.take(&visits).expect("one is free"), visits.open()))
            .collect();
        let told = || held.iter().filter_map(|(_, visit)| visit.over().now_or_never()).count();
        assert!(places.take(&visits).is_none());
        assert_eq!(told(), 0, "none is idle for long enough");
        advance(SPARED_IDLE).await;
        assert!(places.take(&visits).is_none());
        assert!(places.take(&visits).is_none());
        assert_eq!(told(), 1, "a look goes through all connections, and callers come faster");
        advance(REFUSED_LOOK).await;
        assert!(places.take(&visits).is_none());
        assert_eq!(told(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_stops_within_the_first_bytes_is_hung_up_on() {
        let (front, graceful) = front();
        let (_running, stop) = watch::channel(false);
        for first in ["", "P", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r"] {
            let (mut caller, stream) = tokio::io::duplex(4_096);
            caller.write_all(first.as_bytes()).await.expect("written");
            let builder = builder();
            let serving = serve_stream(&builder, stream, front.clone(), graceful.watcher(), stop.clone());
            let served = tokio::time::timeout(2 * HEADER_TIMEOUT, serving).await;
            assert!(served.expect("it is not held any longer").is_err(), "{first:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_has_not_begun_does_not_hold_up_a_stop() {
        let (front, graceful) = front();
        let (mut caller, stream) = tokio::io::duplex(4_096);
        caller.write_all(b"P").await.expect("written");
        let (stop, builder) = (watch::Sender::new(false), builder());
        let serving = serve_stream(&builder, stream, front, graceful.watcher(), stop.subscribe());
        let began = tokio::time::Instant::now();
        let (served, _) = tokio::join!(serving, async { stop.send(true) });
        served.expect("nothing broke");
        graceful.shutdown().await;
        assert!(began.elapsed() < HEADER_TIMEOUT);
    }

    /// What a caller is told whose request has a header of so many bytes.
    async fn told_of_head(header_bytes: usize) -> String {
        let (front, graceful) = front();
        let (_running, stop) = watch::channel(false);
        // All of the head finds room there, read or not.
        let (mut caller, stream) = tokio::io::duplex(4 * MAX_HTTP1_BUFFER_BYTES);
        let builder = builder();
        let calling = async {
            let filler = "a".repeat(header_bytes);
            let head = format!("GET /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-filler: {filler}\r\n\r\n");
            caller.write_all(head.as_bytes()).await.expect("written");
            let mut answer = String::new();
            caller.read_to_string(&mut answer).await.expect("answered");
            answer
        };
        let (_served, answer) = tokio::join!(serve_stream(&builder, stream, front, graceful.watcher(), stop), calling);
        answer
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_whose_head_is_too_long_is_refused_before_all_of_it_is_read() {
        let answer = told_of_head(MAX_HTTP1_BUFFER_BYTES - 256).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
        let answer = told_of_head(2 * MAX_HTTP1_BUFFER_BYTES).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_begins_like_http_2_and_goes_on_is_served() {
        let (front, graceful) = front();
        let (_running, stop) = watch::channel(false);
        let (mut caller, stream) = tokio::io::duplex(4_096);
        let builder = builder();
        let calling = async {
            caller.write_all(b"P").await.expect("written");
            tokio::time::sleep(HEADER_TIMEOUT / 2).await;
            let rest = b"UT /nowhere HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            caller.write_all(rest).await.expect("written");
            let mut answer = String::new();
            caller.read_to_string(&mut answer).await.expect("answered");
            answer
        };
        let (served, answer) = tokio::join!(serve_stream(&builder, stream, front, graceful.watcher(), stop), calling);
        served.expect("served");
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
}
