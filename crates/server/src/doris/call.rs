//! One call of a known route: what came with it, and what its handler gives back.

use super::query_string::QueryString;
use crate::app::App;
use crate::limits::MAX_DEADLINE;
use crate::native::reply::{DRY_RUN, NO_WAIT, asks_for_dry_run, ready_by};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{HeaderMap, HeaderValue};
use prost::{Message, Name};
use quorate_consensus::{Deadline, Node};
use quorate_model::{ErrorCode, MetaError, RequestId, Revision, SessionId, proto_json};
use quorate_state_machine::session;
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Serves one call of a route.
pub type Handler = fn(Call) -> BoxFuture<'static, Result<Success, MetaError>>;

/// Looks at the arguments of a route that is not there.
pub type Check = fn(Call) -> BoxFuture<'static, Result<(), MetaError>>;

/// What a handler is given. Holds token and secrets: it has no `Debug`.
pub struct Call {
    pub app: Arc<App>,
    pub node: Node,
    /// Below `/MetaService/http/`, as sent: error texts quote it with its version.
    pub path: String,
    pub query: QueryString,
    /// Empty unless the route reads it.
    pub body: Bytes,
    pub info: CallInfo,
}

impl Call {
    /// The body as the message a route takes.
    pub fn parse_body<M: Message + Name + Default>(&self) -> Result<M, MetaError> {
        proto_json::parse_into(&self.body, &M::full_name()).map_err(|failure| {
            let message = format!("parse http request '{}': INVALID_ARGUMENT:{failure}", self.path);
            MetaError::new(ErrorCode::ParseError, message)
        })
    }
}

/// What a handler answers when all went well.
pub struct Success {
    /// Of the write, or of the state that was read.
    pub revision: Revision,
    pub message: &'static str,
    pub result: Option<Shown>,
}

/// What a reply shows beside its message.
pub enum Shown {
    /// The result, written when the reply is.
    Json(Json),
    /// The whole body, written already: where a large result was read it is rendered too.
    Body(String),
}

impl From<Json> for Shown {
    fn from(result: Json) -> Shown {
        Shown::Json(result)
    }
}

/// What a caller said in headers, beside the request itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CallInfo {
    /// Under which the answer of a write is remembered.
    pub request: Option<RequestId>,
    pub deadline: Deadline,
    /// How long the call may wait for a peer that starts or catches up: until its deadline, or not at all.
    pub ready_by: Deadline,
    /// Answer with the leader's address instead of forwarding.
    pub redirect: bool,
    /// A read of this revision or a later one will do.
    pub min_revision: Option<Revision>,
    /// Say what a write would come to, and change nothing.
    pub dry_run: bool,
}

impl CallInfo {
    pub fn of(app: &App, headers: &HeaderMap) -> Result<CallInfo, MetaError> {
        let request = request_id(headers)?;
        let wait = number(headers, "quorate-deadline-ms")?.map(|ms| Duration::from_millis(ms).min(MAX_DEADLINE));
        let deadline = wait.map_or_else(|| app.default_deadline(), |wait| Instant::now() + wait);
        Ok(CallInfo {
            request,
            deadline,
            ready_by: ready_by(headers.get(NO_WAIT).map(HeaderValue::as_bytes), deadline),
            redirect: headers.get("quorate-redirect").is_some_and(|value| value == "1"),
            min_revision: number(headers, "quorate-min-revision")?.map(Revision),
            dry_run: asks_for_dry_run(headers.get(DRY_RUN).map(HeaderValue::as_bytes))?,
        })
    }
}

/// The id a caller gave its request.
pub fn request_id(headers: &HeaderMap) -> Result<Option<RequestId>, MetaError> {
    match (number(headers, "quorate-session")?, number(headers, "quorate-request")?) {
        (None, None) => Ok(None),
        (Some(session), Some(number)) if session > 0 && number > 0 => Ok(Some(RequestId {
            session: session::of_caller(SessionId(session))?,
            number,
        })),
        _ => Err(MetaError::invalid(
            "headers quorate-session and quorate-request go together and count from 1",
        )),
    }
}

fn number(headers: &HeaderMap, name: &str) -> Result<Option<u64>, MetaError> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed
        .map(Some)
        .ok_or_else(|| MetaError::invalid(format!("header {name} is not a number")))
}
