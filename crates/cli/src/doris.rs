//! Calls of the Doris HTTP routes at any peer: the one API that has instances, clusters, nodes, vaults and keys.
//!
//! A write runs in a session of its own under one request id, so that trying it again at another peer, after a lost answer
//! or the death of the leader, is the same write. What may be tried again is what the error table says. Calls begin at the endpoint
//! that answered last, and none takes the time of those after it.

use crate::channel::{self, TlsArguments};
use anyhow::{Context, anyhow, bail};
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt, Full, Limited};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use quorate_client::{TlsOptions, is_decided_by_the_state, tls};
use quorate_model::ErrorCode;
use quorate_model::error::{ERROR_TABLE, ErrorRow, Outcome, RetryClass};
use quorate_server::native::reply::NO_WAIT;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use quorate_wire::quorate::v1::{CloseSessionRequest, OpenSessionRequest};
use serde_json::Value as Json;
use std::cell::Cell;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::transport::Channel;
use tower::{Service as _, ServiceExt as _};

/// Pause before all endpoints are tried again: about as long as an election takes.
pub(crate) const ROUND_PAUSE: Duration = Duration::from_millis(150);
/// Longest wait for one peer: a peer that is paused accepts connections and says nothing.
const TRY_TIMEOUT: Duration = Duration::from_secs(4);
/// Longest time that is left for a peer's answer to arrive.
const MAX_WAY: Duration = Duration::from_millis(300);
/// Bytes of a reply: the largest instance with all its nodes is far below.
const MAX_REPLY_BYTES: usize = 64 << 20;
/// Of a reply that is not a peer's: it may be a whole page.
const MAX_SHOWN_CHARS: usize = 200;
/// How a peer's refusal of a path begins that it does not have.
const NO_ROUTE: &str = "there is no route ";

#[derive(Clone, Args)]
pub struct ConnectionArguments {
    /// Any peers' public addresses, `https://` before them if they speak TLS, separated by commas; one that answers is enough.
    #[arg(
        long = "endpoint",
        env = "QUORATE_ENDPOINTS",
        default_value = "127.0.0.1:5000",
        value_delimiter = ',',
        value_parser = channel::endpoint,
        global = true
    )]
    pub endpoints: Vec<String>,
    #[command(flatten)]
    tls: TlsArguments,
    /// File with the Doris token. The token itself is also taken from QUORATE_TOKEN; an argument would show in process lists.
    #[arg(long, env = "QUORATE_TOKEN_FILE", global = true)]
    pub token_file: Option<PathBuf>,
    /// Seconds until a command gives up.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600), global = true)]
    pub timeout: u64,
}

/// Where calls go, and until when.
pub struct Connection {
    pub(crate) endpoints: Vec<String>,
    pub(crate) tls: TlsOptions,
    pub(crate) token: String,
    /// How long one command may take.
    timeout: Duration,
    pub(crate) deadline: Instant,
    /// Position of the endpoint that answered last, to this connection or to one made anew of it.
    first: Arc<AtomicUsize>,
}

/// A request over HTTP, the same at every try.
pub struct Outgoing {
    pub method: http::Method,
    pub uri: String,
    pub body: String,
    /// Doris's routes, or the API's.
    pub dialect: Dialect,
    /// Of a write: only what it would come to.
    pub dry_run: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// The token is in the query, an answer in `result`.
    Doris,
    /// The token is in a header, an answer is the body.
    Api,
}

/// A reply of success.
pub struct Answer {
    /// Of the write, or of the state that was read.
    pub revision: String,
    /// `msg`: empty nearly always.
    pub message: String,
    /// Null when the route has none.
    pub result: Json,
    /// It is what a write would come to; nothing was changed.
    pub was_dry_run: bool,
}

#[cfg(test)]
impl Answer {
    /// Of a write at revision 7.
    pub fn by_hand(result: Json, was_dry_run: bool) -> Answer {
        Answer {
            revision: "7".to_owned(),
            message: String::new(),
            result,
            was_dry_run,
        }
    }
}

/// What the error of a write has as its context when the write may have happened.
#[derive(Clone, Copy, Debug)]
pub struct InDoubt;

impl fmt::Display for InDoubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is not known whether the change was made; look before you repeat the command")
    }
}

/// What one try came to.
enum Try {
    Answered(Answer),
    /// The log said no, which is the answer of every try under the same request id.
    Decided(anyhow::Error),
    /// The peer said no, and another try would hear the same; but of an earlier one this says nothing. The peer may know other
    /// tokens or routes than the one before, the session may be gone, or the peer prepared the same call otherwise, as it does
    /// under other root keys, and so takes it for another one.
    Refused(anyhow::Error),
    /// A peer answered that it cannot now, and what to do if that stays so. Nothing was changed by this try.
    NotNow(anyhow::Error, &'static str),
    /// No peer was reached.
    Failed(anyhow::Error),
    /// The write may have happened.
    Unknown(anyhow::Error),
}

impl Connection {
    /// Takes the token from its file or the environment.
    pub fn open(arguments: &ConnectionArguments) -> anyhow::Result<Connection> {
        let connection = Connection::with_token_if_any(arguments)?;
        if connection.token.is_empty() {
            bail!("no token: name its file with --token-file or QUORATE_TOKEN_FILE, or set QUORATE_TOKEN");
        }
        Ok(connection)
    }

    /// For calls that need a token only beyond loopback.
    pub fn with_token_if_any(arguments: &ConnectionArguments) -> anyhow::Result<Connection> {
        let token = match &arguments.token_file {
            Some(path) => std::fs::read_to_string(path).with_context(|| format!("token file {}", path.display()))?,
            None => std::env::var("QUORATE_TOKEN").unwrap_or_default(),
        };
        if http::HeaderValue::from_str(token.trim()).is_err() {
            bail!("the token has characters that no request can carry; it is one line of visible ASCII");
        }
        Ok(Connection {
            endpoints: arguments.endpoints.clone(),
            tls: arguments.tls.options(),
            token: token.trim().to_owned(),
            timeout: Duration::from_secs(arguments.timeout),
            deadline: Instant::now() + Duration::from_secs(arguments.timeout),
            first: Arc::default(),
        })
    }

    /// The same with its whole time ahead: for commands that are many calls.
    pub fn anew(&self) -> Connection {
        Connection {
            endpoints: self.endpoints.clone(),
            tls: self.tls.clone(),
            token: self.token.clone(),
            timeout: self.timeout,
            deadline: Instant::now() + self.timeout,
            first: self.first.clone(),
        }
    }

    /// The endpoints, beginning with the one that answered last.
    pub(crate) fn in_order(&self) -> impl Iterator<Item = &String> {
        let first = self.first.load(Ordering::Relaxed).min(self.endpoints.len());
        let (before, from) = self.endpoints.split_at(first);
        from.iter().chain(before)
    }

    /// An endpoint answered: the next call begins there.
    pub(crate) fn answered(&self, endpoint: &str) {
        if let Some(position) = self.endpoints.iter().position(|known| known == endpoint) {
            self.first.store(position, Ordering::Relaxed);
        }
    }

    /// Until when one endpoint is waited for, of those that are left in this round.
    pub(crate) fn try_until(&self, endpoints_left: usize) -> Instant {
        let now = Instant::now();
        now + share(self.deadline.saturating_duration_since(now), endpoints_left)
    }

    /// Reads through a route whose parameters travel in the query string.
    pub async fn read_query(&self, route: &str, parameters: &[(&str, &str)]) -> anyhow::Result<Answer> {
        let encoded = parameters
            .iter()
            .map(|(name, value)| format!("&{name}={}", utf8_percent_encode(value, NON_ALPHANUMERIC)));
        self.call(route, &encoded.collect::<String>(), "", None).await
    }

    /// Reads through a route whose parameters travel in the body.
    pub async fn read(&self, route: &str, body: &Json) -> anyhow::Result<Answer> {
        self.call(route, "", &body.to_string(), None).await
    }

    /// Writes, at most once however often it is tried.
    pub async fn write(&self, route: &str, body: &Json) -> anyhow::Result<Answer> {
        self.perform(&self.writing(route, body)).await
    }

    /// A write through one of Doris's routes.
    pub fn writing(&self, route: &str, body: &Json) -> Outgoing {
        self.outgoing(route, "", &body.to_string())
    }

    /// Makes a change, at most once however often it is tried.
    pub async fn perform(&self, change: &Outgoing) -> anyhow::Result<Answer> {
        let session = self.open_session().await?;
        let answer = self.send(change, Some(session)).await;
        // What is left open ends by itself an hour later.
        let _ = self.close_session(session).await;
        answer
    }

    /// Asks what a change would come to; changes nothing.
    pub async fn perform_dry(&self, change: Outgoing) -> anyhow::Result<Answer> {
        self.send(&Outgoing { dry_run: true, ..change }, None).await
    }

    async fn call(&self, route: &str, query: &str, body: &str, session: Option<u64>) -> anyhow::Result<Answer> {
        self.send(&self.outgoing(route, query, body), session).await
    }

    fn outgoing(&self, route: &str, query: &str, body: &str) -> Outgoing {
        let token = utf8_percent_encode(&self.token, NON_ALPHANUMERIC);
        Outgoing {
            method: http::Method::POST,
            uri: format!("/MetaService/http/{route}?token={token}{query}"),
            body: body.to_owned(),
            dialect: Dialect::Doris,
            dry_run: false,
        }
    }

    /// Asks one peer after the other until one answers. With a session the request is a write, under that session's first number.
    pub(crate) async fn send(&self, outgoing: &Outgoing, session: Option<u64>) -> anyhow::Result<Answer> {
        let mut may_have_happened = false;
        loop {
            let mut round = Round::default();
            for (asked, endpoint) in self.in_order().enumerate() {
                let until = self.try_until(self.endpoints.len() - asked);
                let error = match self.try_once(endpoint, outgoing, session, until).await {
                    Try::Answered(answer) => {
                        self.answered(endpoint);
                        return Ok(answer);
                    }
                    Try::Decided(error) => {
                        self.answered(endpoint);
                        return Err(error);
                    }
                    Try::Refused(error) if may_have_happened => return Err(error.context(InDoubt)),
                    Try::Refused(error) => return Err(error),
                    Try::NotNow(error, advice) => {
                        round.advice = Some(advice);
                        error
                    }
                    Try::Failed(error) => error,
                    Try::Unknown(error) => {
                        may_have_happened = session.is_some();
                        error
                    }
                };
                round.failures.push(format!("{endpoint}: {error:#}"));
            }
            if Instant::now() + ROUND_PAUSE >= self.deadline {
                let error = anyhow!("no peer could do it in time ({})", round.failures());
                return Err(match may_have_happened {
                    true => error.context(InDoubt),
                    false => error.context(format!("nothing was changed; {}", round.advice())),
                });
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    async fn try_once(&self, endpoint: &str, outgoing: &Outgoing, session: Option<u64>, until: Instant) -> Try {
        let channel = match tokio::time::timeout_at(until, channel::connect(endpoint, &self.tls)).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Try::Failed(error),
            Err(_) => return Try::Failed(anyhow!("cannot connect in time")),
        };
        let wait = until.saturating_duration_since(Instant::now());
        match tokio::time::timeout_at(until, self.exchange(channel, outgoing, session, wait)).await {
            Ok(Ok(reply)) if outgoing.dry_run && reply.status == 200 && !reply.was_dry_run => Try::Refused(anyhow!(
                "the peer at {endpoint} does not know dry runs and may have made the change; look, and upgrade it"
            )),
            Ok(Ok(reply)) => verdict(&reply, outgoing.dialect),
            Ok(Err(error)) => Try::Unknown(error.context("the connection broke")),
            Err(_) => Try::Unknown(anyhow!("no answer in time")),
        }
    }

    /// Opens a session at any peer.
    pub async fn open_session(&self) -> anyhow::Result<u64> {
        let open = async |channel| {
            let request = self.native_request(OpenSessionRequest {})?;
            MetadataClient::new(channel).open_session(request).await
        };
        Ok(self.native("open a session", open).await?.session_id)
    }

    /// Closes a session; one that is not there is closed too.
    pub async fn close_session(&self, session_id: u64) -> anyhow::Result<()> {
        let close = async |channel| {
            let request = self.native_request(CloseSessionRequest { session_id })?;
            MetadataClient::new(channel).close_session(request).await
        };
        self.native("close the session", close).await.map(|_| ())
    }

    /// Closes a session for who opened it, and says whether it was open. That is asked as a write of the session itself: one that is not open
    /// executes nothing. If an earlier try may have got through, it is what has closed it.
    pub async fn end_session(&self, session_id: u64) -> anyhow::Result<bool> {
        let in_doubt = Cell::new(false);
        let close = async |channel: Channel| {
            let mut request = self.native_request(CloseSessionRequest { session_id })?;
            request.metadata_mut().insert("quorate-session", session_id.into());
            // No write of the owner's has this number.
            request.metadata_mut().insert("quorate-request", u64::MAX.into());
            let may_have_happened = in_doubt.replace(true);
            let status = match MetadataClient::new(channel).close_session(request).await {
                Ok(_) => return Ok(tonic::Response::new(true)),
                Err(status) => status,
            };
            match row_of(&status) {
                Some(row) if row.code == ErrorCode::SessionExpired => return Ok(tonic::Response::new(may_have_happened)),
                Some(row) if row.outcome == Outcome::NotApplied => in_doubt.set(may_have_happened),
                _ => {}
            }
            Err(status)
        };
        self.native("close the session", close).await
    }

    pub(crate) fn native_request<T>(&self, message: T) -> Result<tonic::Request<T>, tonic::Status> {
        let mut request = tonic::Request::new(message);
        if !self.token.is_empty() {
            let token = self.token.parse();
            let token = token.map_err(|_| tonic::Status::invalid_argument("the token has characters that gRPC cannot carry"))?;
            request.metadata_mut().insert("quorate-token", token);
        }
        let left = self.deadline.saturating_duration_since(Instant::now());
        let told = told_ms(share(left, self.endpoints.len()));
        request.metadata_mut().insert("quorate-deadline-ms", told.into());
        request
            .metadata_mut()
            .insert(NO_WAIT, tonic::metadata::MetadataValue::from_static("1"));
        Ok(request)
    }

    /// Asks one peer after the other until one answers: only for calls that may be made twice.
    pub(crate) async fn native<T>(
        &self,
        what: &str,
        call: impl AsyncFn(Channel) -> Result<tonic::Response<T>, tonic::Status>,
    ) -> anyhow::Result<T> {
        loop {
            let mut round = Round::default();
            for (asked, endpoint) in self.in_order().enumerate() {
                let until = self.try_until(self.endpoints.len() - asked);
                let attempt = async {
                    let channel = channel::connect(endpoint, &self.tls).await;
                    let channel = channel.map_err(|error| tonic::Status::unavailable(format!("{error:#}")))?;
                    call(channel).await
                };
                let status = match tokio::time::timeout_at(until, attempt).await {
                    Ok(Ok(reply)) => {
                        self.answered(endpoint);
                        return Ok(reply.into_inner());
                    }
                    Ok(Err(status)) => status,
                    Err(_) => tonic::Status::deadline_exceeded("no answer in time"),
                };
                if status.code() == tonic::Code::Unauthenticated {
                    bail!(WRONG_TOKEN);
                }
                let why = match row_of(&status) {
                    Some(row) if row.retry == RetryClass::Never => bail!("{}", status.message()),
                    Some(row) => {
                        round.advice = Some(row.advice);
                        without_advice(status.message(), row)
                    }
                    None => tls::advice(&status).unwrap_or(status.message()),
                };
                round.failures.push(format!("{endpoint}: {why}"));
            }
            if Instant::now() + ROUND_PAUSE >= self.deadline {
                bail!("no peer could {what} ({}); {}", round.failures(), round.advice());
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }
}

pub(crate) const WRONG_TOKEN: &str = "the cluster does not accept this token; check --token-file or QUORATE_TOKEN";
/// What to do when nobody answers.
const NO_ANSWER: &str = "is the cluster running, and is --endpoint right? see `quorate status`";

/// Asks for a dry run, and says in a reply that it was one.
pub(crate) const DRY_RUN: &str = "quorate-dry-run";

/// What became of asking every endpoint once, if none could help.
#[derive(Default)]
struct Round {
    failures: Vec<String>,
    /// Of the last peer that answered.
    advice: Option<&'static str>,
}

impl Round {
    fn failures(&self) -> String {
        self.failures.join("; ")
    }

    fn advice(&self) -> &'static str {
        self.advice.unwrap_or(NO_ANSWER)
    }
}

/// How long one endpoint is waited for: the others that are left keep their share of the time.
fn share(left: Duration, endpoints_left: usize) -> Duration {
    let shares = u32::try_from(endpoints_left.max(1)).unwrap_or(u32::MAX);
    (left / shares).min(TRY_TIMEOUT)
}

/// The time a peer is given by a caller who waits so long: what it says at the end, why it could not, has to arrive.
fn told_ms(wait: Duration) -> u64 {
    let way = (wait / 10).min(MAX_WAY);
    u64::try_from((wait - way).as_millis()).unwrap_or(u64::MAX)
}

struct Reply {
    status: u16,
    error: String,
    outcome: String,
    revision: String,
    was_dry_run: bool,
    body: Bytes,
}

impl Connection {
    async fn exchange(&self, mut channel: Channel, outgoing: &Outgoing, session: Option<u64>, wait: Duration) -> anyhow::Result<Reply> {
        let mut request = http::Request::builder()
            .method(outgoing.method.clone())
            .uri(&outgoing.uri)
            .header("quorate-deadline-ms", told_ms(wait))
            .header(NO_WAIT, "1");
        if let Some(session) = session {
            request = request.header("quorate-session", session).header("quorate-request", 1);
        }
        if outgoing.dry_run {
            request = request.header(DRY_RUN, "1");
        }
        if outgoing.dialect == Dialect::Api {
            request = request.header(http::header::CONTENT_TYPE, "application/json");
            if !self.token.is_empty() {
                request = request.header("quorate-token", &self.token);
            }
        }
        let request = request.body(Body::new(Full::new(Bytes::copy_from_slice(outgoing.body.as_bytes()))))?;
        read_reply(channel.ready().await?.call(request).await?).await
    }
}

async fn read_reply(response: http::Response<Body>) -> anyhow::Result<Reply> {
    let (head, body) = response.into_parts();
    let text = |name: &str| {
        let value = head.headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let limited = Limited::new(body, MAX_REPLY_BYTES).collect().await;
    let body = limited.map_err(|error| anyhow!("reply: {error}"))?.to_bytes();
    Ok(Reply {
        status: head.status.as_u16(),
        error: text("quorate-error"),
        outcome: text("quorate-outcome"),
        revision: text("quorate-revision"),
        was_dry_run: text(DRY_RUN) == "1",
        body,
    })
}

/// What a reply means for what to do next.
fn verdict(reply: &Reply, dialect: Dialect) -> Try {
    let text = String::from_utf8_lossy(&reply.body);
    let json: Json = serde_json::from_slice(&reply.body).unwrap_or_default();
    let said = match dialect {
        Dialect::Doris => &json["msg"],
        Dialect::Api => &json["error"]["message"],
    };
    let message = said.as_str().unwrap_or(text.trim()).to_owned();
    if reply.status == 200 {
        return Try::Answered(Answer {
            revision: reply.revision.clone(),
            message,
            result: match dialect {
                Dialect::Doris => json["result"].clone(),
                Dialect::Api => json,
            },
            was_dry_run: reply.was_dry_run,
        });
    }
    if reply.status == 403 {
        return Try::Refused(anyhow!(WRONG_TOKEN));
    }
    let Some(row) = row_named(&reply.error) else {
        return of_a_stranger(reply, &message);
    };
    let error = anyhow!("{message} ({})", row.name);
    // An older peer says of a route that it does not have what is said of an object that is not there.
    let is_decided = is_decided_by_the_state(row.code) && !message.starts_with(NO_ROUTE);
    match (row.retry, reply.outcome.as_str()) {
        _ if matches!(row.code, ErrorCode::SessionExpired | ErrorCode::RequestIdReused) => Try::Refused(error),
        (RetryClass::SameRequestId, _) | (_, "unknown") => Try::Unknown(error),
        // It is the cluster that has no room, and it does not get any while a command waits.
        (RetryClass::SamePeer, _) if row.code == ErrorCode::StorageFull => Try::Refused(advised(&message, row)),
        (RetryClass::SamePeer | RetryClass::OtherPeer, _) => {
            let bare = without_advice(&message, row);
            Try::NotNow(anyhow!("{bare} ({})", row.name), row.advice)
        }
        (RetryClass::Never, _) if is_decided => Try::Decided(advised(&message, row)),
        (RetryClass::Never, _) => Try::Refused(advised(&message, row)),
    }
}

/// A reply that names no error of ours. A peer says of every call that failed what became of it; without a word of that, something
/// on the way to the peer has answered. When it says that a server failed, the call may have got through.
fn of_a_stranger(reply: &Reply, message: &str) -> Try {
    let shown: String = message.chars().take(MAX_SHOWN_CHARS).collect();
    let error = anyhow!("{shown} (HTTP {})", reply.status);
    let got_through = reply.outcome == "unknown" || (reply.outcome.is_empty() && reply.status >= 500);
    match got_through {
        true => Try::Unknown(error),
        false => Try::Refused(error),
    }
}

/// What the cluster refused for good: its text, with what to do.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Advised {
    code: ErrorCode,
    text: String,
}

/// A refusal with what to do. The server's own text ends with that already unless it quotes upstream's words.
fn advised(message: &str, row: &ErrorRow) -> anyhow::Error {
    let text = match message.ends_with(row.advice) {
        true => format!("{message} ({})", row.name),
        false => format!("{message} ({}); {}", row.name, row.advice),
    };
    anyhow::Error::new(Advised { code: row.code, text })
}

/// Whether the cluster has refused because something is not there.
pub fn is_not_found(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Advised>()
        .is_some_and(|refused| refused.code == ErrorCode::NotFound)
}

/// Says of something that it is not there, as the cluster does.
pub fn not_found(message: &str) -> anyhow::Error {
    advised(message, ErrorCode::NotFound.row())
}

/// A peer's message without what to do, which is said once for all peers.
fn without_advice<'a>(message: &'a str, row: &ErrorRow) -> &'a str {
    let bare = message.strip_suffix(row.advice).and_then(|text| text.strip_suffix("; "));
    bare.unwrap_or(message)
}

/// The row of the error that a peer named.
pub(crate) fn row_of(status: &tonic::Status) -> Option<&'static ErrorRow> {
    let name = status.metadata().get("quorate-error").and_then(|value| value.to_str().ok());
    name.and_then(row_named)
}

/// The error table's row of a name.
pub fn row_named(name: &str) -> Option<&'static ErrorRow> {
    ERROR_TABLE.iter().find(|row| row.name == name)
}

/// How the outcome of a failed write reads.
pub fn outcome_text(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::NotApplied => "nothing was changed",
        Outcome::Unknown => "the change may have been made",
    }
}

#[cfg(test)]
pub(crate) mod fake_peer;
#[cfg(test)]
mod tests;
