//! Replies of the API: JSON, errors in one form, and the headers every reply carries.
//!
//! ```text
//! {"error": {"code": "not_found", "number": 3, "message": ..., "advice": ..., "outcome": "not_applied", "retry": "never"}}
//! ```

use super::dispatch::{Answered, message_of};
use super::routes::Method;
use crate::app::App;
use axum::body::Body;
use axum::response::Response;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use prost_reflect::MethodDescriptor;
use quorate_model::error::Outcome;
use quorate_model::{ErrorCode, MetaError, proto_json};
use serde_json::{Value as Json, json};

const REVISION: HeaderName = HeaderName::from_static("quorate-revision");
const TERM: HeaderName = HeaderName::from_static("quorate-term");
const LEADER: HeaderName = HeaderName::from_static("quorate-leader");
const ERROR: HeaderName = HeaderName::from_static("quorate-error");
const OUTCOME: HeaderName = HeaderName::from_static("quorate-outcome");

/// A reply before it gets its revision.
pub struct Reply {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
    /// Name of the error; label of metrics.
    outcome_label: &'static str,
}

impl Reply {
    /// A document that is not of the state.
    pub fn ok(json: &Json) -> Reply {
        Reply::document(&json.to_string())
    }

    /// The same, written already.
    pub fn document(text: &str) -> Reply {
        Reply {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: format!("{}\n", text.trim_end()),
            outcome_label: "ok",
        }
    }

    /// What this method of a native service answered.
    pub fn of_call(answered: Answered, method: &MethodDescriptor, is_read: bool) -> Reply {
        let result = answered.result.and_then(|encoded| message_of(method, encoded));
        let mut reply = match &result {
            Ok(message) => Reply::ok(&proto_json::render_whole(message)),
            // A read changes nothing, however it fails.
            Err(failed) if is_read => Reply::error(&failed.error, Outcome::NotApplied),
            Err(failed) => Reply::error(&failed.error, failed.outcome),
        };
        let failed = std::mem::take(&mut reply.headers);
        reply.headers = answered.headers;
        reply.headers.extend(failed);
        reply
    }

    /// An error before anything was done.
    pub fn refused(error: MetaError) -> Reply {
        Reply::error(&error, Outcome::NotApplied)
    }

    pub fn no_such_route(path: &str, nearest: Option<&str>) -> Reply {
        let hint = match nearest {
            Some(nearest) => format!("the nearest is {nearest}"),
            None => "/api/openapi.json has all there are".to_owned(),
        };
        let shown: String = path.chars().take(200).collect();
        Reply::refused(MetaError::not_found(format!("there is no route {shown}; {hint}")))
    }

    /// The status is HTTP's own: the error table has no row for it.
    pub fn wrong_method(method: &http::Method, path: &str, allowed: &[Method]) -> Reply {
        let allowed: Vec<&str> = allowed.iter().map(|method| method.name()).collect();
        let shown: String = path.chars().take(200).collect();
        let message = format!("{shown} does not take {method}; it takes {}", allowed.join(", "));
        let mut reply = Reply::refused(MetaError::invalid(message));
        reply.status = StatusCode::METHOD_NOT_ALLOWED;
        let allowed = HeaderValue::from_str(&allowed.join(", ")).expect("names of methods are ASCII");
        reply.headers.insert(ALLOW, allowed);
        reply
    }

    /// The same holds here.
    pub fn wrong_content_type() -> Reply {
        let message = "the body is not said to be JSON; send header content-type: application/json";
        let mut reply = Reply::refused(MetaError::invalid(message));
        reply.status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        reply
    }

    fn error(error: &MetaError, outcome: Outcome) -> Reply {
        let row = error.code.row();
        let body = json!({"error": {
            "code": row.name, "number": row.number, "message": error.message, "advice": row.advice, "outcome": outcome.name(),
            "retry": row.retry.name()
        }});
        let headers = HeaderMap::from_iter([
            (ERROR, HeaderValue::from_static(row.name)),
            (OUTCOME, HeaderValue::from_static(outcome.name())),
        ]);
        Reply {
            status: StatusCode::from_u16(row.http_status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
            headers,
            body: format!("{body}\n"),
            outcome_label: row.name,
        }
    }

    pub fn outcome_label(&self) -> &'static str {
        self.outcome_label
    }

    /// Adds the revision, and the term with its leader's peer, that every reply carries, 0 before this peer has a place, and the
    /// way to the leader where the service named it.
    pub fn into_response(mut self, app: &App, uri: &Uri, secured: bool) -> Response {
        let applied = app.node().map(|node| node.applied()).unwrap_or_default();
        self.headers.entry(REVISION).or_insert(applied.revision.0.into());
        let term = HeaderValue::try_from(applied.leader_text()).expect("digits and a dot are ASCII");
        self.headers.entry(TERM).or_insert(term);
        self.headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        // An answer of now is no answer of later.
        self.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        let is_elsewhere = self.outcome_label == ErrorCode::NotLeader.row().name;
        let leader = self.headers.get(LEADER).and_then(|leader| leader.to_str().ok());
        if let (true, Some(leader)) = (is_elsewhere, leader) {
            let scheme = if secured { "https" } else { "http" };
            let path = uri.path_and_query().map_or(uri.path(), |path| path.as_str());
            if let Ok(location) = HeaderValue::from_str(&format!("{scheme}://{leader}{path}")) {
                self.status = StatusCode::TEMPORARY_REDIRECT;
                self.headers.insert(LOCATION, location);
            }
        }
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }
}
