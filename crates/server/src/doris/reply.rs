//! Replies as Doris clients expect them, with headers for those that know more (spec/doris-http.md 2, 3 and 5).

use super::call::{Shown, Success};
use crate::app::App;
use crate::native::reply::DRY_RUN;
use crate::rpc_table::{ReplyForm, Rpc, Work};
use axum::body::Body;
use axum::response::Response;
use http::header::{CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use prost::Name as _;
use quorate_consensus::Node;
use quorate_model::error::DorisClass;
use quorate_model::{ErrorCode, MetaError, Outcome, Revision, proto_json};
use quorate_wire::doris::{MetaServiceCode, MetaServiceResponseStatus};
use serde_json::{Value as Json, json};

/// Advice is added to what goes wrong around a call; what a command or query refuses has upstream's exact text.
const REFUSALS: &[ErrorCode] = &[
    ErrorCode::InvalidArgument,
    ErrorCode::ParseError,
    ErrorCode::NotFound,
    ErrorCode::AlreadyExists,
    ErrorCode::KeyMissing,
    ErrorCode::VaultNotFound,
    ErrorCode::StageNotFound,
    ErrorCode::LimitReached,
    ErrorCode::EndpointMissing,
    ErrorCode::RateLimited,
];

const TEXT_PLAIN: &str = "text/plain; charset=utf-8";

/// A reply before it gets its revision.
pub struct Reply {
    /// Label of metrics: `ok` or what went wrong.
    pub outcome: &'static str,
    status: StatusCode,
    headers: HeaderMap,
    body: String,
    /// Of the write or read; the newest applied here when there was none.
    revision: Option<Revision>,
}

/// Where a caller is redirected to, and whether it came over TLS.
pub struct Leader<'a> {
    pub address: &'a str,
    pub secured: bool,
}

impl Reply {
    pub fn success(rpc: &Rpc, success: Success) -> Reply {
        let enveloped = |result| Reply::json("ok", StatusCode::OK, proto_json::envelope("OK", success.message, result));
        let reply = match (rpc.reply, success.result) {
            // Every reply ends with one line end more than its content.
            (ReplyForm::Text | ReplyForm::TextOrNothing | ReplyForm::TextStatus, Some(Shown::Json(Json::String(text)))) => {
                Reply::new("ok", StatusCode::OK, TEXT_PLAIN, format!("{text}\n"))
            }
            (_, Some(Shown::Body(body))) => Reply::json("ok", StatusCode::OK, body),
            (_, Some(Shown::Json(result))) => enveloped(Some(result)),
            (_, None) => enveloped(None),
        };
        Reply {
            revision: Some(success.revision),
            ..reply
        }
    }

    /// Says in a header that nothing was changed, if that was asked for.
    pub fn of_dry_run(mut self, dry_run: bool) -> Reply {
        if dry_run {
            self.set(DRY_RUN, HeaderValue::from_static("1"));
        }
        self
    }

    pub fn error(rpc: &Rpc, error: &MetaError) -> Reply {
        let row = error.code.row();
        let is_refusal = REFUSALS.contains(&error.code);
        let status = if is_refusal { row.doris.http_status() } else { row.http_status };
        let message = match is_refusal || error.message.ends_with(row.advice) {
            true => error.message.clone(),
            false => format!("{}; {}", error.message, row.advice),
        };
        let body = proto_json::envelope(row.doris.name(), &message, result_of_error(rpc, row.doris_number, &message));
        let mut reply = Reply::json(row.name, status_code(status), body);
        // A read changes nothing, however it fails.
        let may_have_applied = row.outcome == Outcome::Unknown && matches!(rpc.work, Work::Command(_));
        reply.set("quorate-error", HeaderValue::from_static(row.name));
        reply.set(
            "quorate-outcome",
            HeaderValue::from_static(if may_have_applied { "unknown" } else { "not_applied" }),
        );
        reply
    }

    /// What the service itself refuses: two routes without envelope have none for that either. A body that does not parse never
    /// gets to the service, and what goes wrong around a call is not of its words.
    pub fn refusal(rpc: &Rpc, error: &MetaError) -> Reply {
        let mut reply = Reply::error(rpc, error);
        if !REFUSALS.contains(&error.code) || error.code == ErrorCode::ParseError {
            return reply;
        }
        let text = match rpc.reply {
            ReplyForm::TextOrNothing => String::new(),
            ReplyForm::TextStatus => status_text(error),
            _ => return reply,
        };
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static(TEXT_PLAIN));
        reply.body = format!("{text}\n");
        reply
    }

    /// The route exists in Doris and not here.
    pub fn not_available(rpc: &Rpc) -> Reply {
        let message = format!("route {} is not available in this version of quorate", rpc.route);
        let body = proto_json::envelope(DorisClass::Internal.name(), &message, None);
        let mut reply = Reply::json("not_available", StatusCode::NOT_IMPLEMENTED, body);
        reply.set("quorate-outcome", HeaderValue::from_static("not_applied"));
        reply
    }

    /// To the same path and query, token included, at the leader.
    pub fn redirect(rpc: &Rpc, node: &Node, leader: Leader<'_>, uri: &Uri) -> Reply {
        let (scheme, leader) = (if leader.secured { "https" } else { "http" }, leader.address);
        let message = format!("peer {} does not lead, the peer at {leader} does", node.peer());
        let mut reply = Reply::error(rpc, &MetaError::new(ErrorCode::NotLeader, message));
        let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str());
        // An address in the membership that no header can carry leaves an answer a client can still act on.
        if let (Ok(location), Ok(leader)) = (format!("{scheme}://{leader}{path}").parse(), leader.parse()) {
            reply.status = StatusCode::TEMPORARY_REDIRECT;
            reply.headers.insert(LOCATION, location);
            reply.set("quorate-leader", leader);
        }
        reply
    }

    pub fn wrong_token(given: &str) -> Reply {
        let shown = if given.is_empty() { "(not given)" } else { given };
        Reply::text(
            "unauthenticated",
            StatusCode::FORBIDDEN,
            format!("incorrect token, token={shown}\n"),
        )
    }

    pub fn no_such_path() -> Reply {
        Reply::text(
            "no_such_path",
            StatusCode::NOT_FOUND,
            "http path not found or not allowed\n".to_owned(),
        )
    }

    fn json(outcome: &'static str, status: StatusCode, body: String) -> Reply {
        Reply::new(outcome, status, "application/json", body)
    }

    fn text(outcome: &'static str, status: StatusCode, body: String) -> Reply {
        let mut reply = Reply::new(outcome, status, TEXT_PLAIN, body);
        reply.set("quorate-outcome", HeaderValue::from_static("not_applied"));
        reply
    }

    fn new(outcome: &'static str, status: StatusCode, content_type: &'static str, body: String) -> Reply {
        let headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static(content_type))]);
        Reply {
            outcome,
            status,
            headers,
            body,
            revision: None,
        }
    }

    fn set(&mut self, name: &'static str, value: HeaderValue) {
        self.headers.insert(HeaderName::from_static(name), value);
    }

    /// Adds the revision, and the term with its leader's peer, that every reply carries; 0 before this peer has a place.
    pub fn into_response(mut self, app: &App) -> Response {
        let applied = app.node().map(Node::applied).unwrap_or_default();
        let revision = self.revision.unwrap_or(applied.revision);
        self.set("quorate-revision", revision.0.into());
        let term = HeaderValue::try_from(applied.leader_text()).expect("digits and a dot are ASCII");
        self.set("quorate-term", term);
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}

/// What some routes show beside an error: nothing in an object, or a response that has only its status, in which `code` is
/// finer than that of the envelope.
fn result_of_error(rpc: &Rpc, doris_number: i32, message: &str) -> Option<Json> {
    match rpc.reply {
        ReplyForm::ResultAlways => Some(json!({})),
        ReplyForm::ResponseAlways => {
            let code = MetaServiceCode::try_from(doris_number).unwrap_or(MetaServiceCode::UndefinedErr);
            Some(json!({"status": {"code": code.as_str_name(), "msg": message}}))
        }
        ReplyForm::Plain | ReplyForm::Result | ReplyForm::Text | ReplyForm::TextOrNothing | ReplyForm::TextStatus => None,
    }
}

/// The service's status as a message in protobuf's text format.
fn status_text(error: &MetaError) -> String {
    let status = MetaServiceResponseStatus {
        code: Some(error.code.row().doris_number),
        msg: Some(error.message.clone()),
    };
    proto_json::text::multi_line(&proto_json::to_dynamic(&MetaServiceResponseStatus::full_name(), &status))
}

fn status_code(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
