//! The Admin API: every call of package `quorate.v1` as HTTP+JSON below `/api/v1`.
//!
//! ```text
//! route --404, 405--> headers --400, 403--> admission --429--> body --413, 415--> message --400--> native service --> JSON
//! ```
//!
//! One line in [`routes`] makes a route of a native call. The request becomes the call's protobuf message by its descriptor
//! ([`message`], [`json`]) and goes to the same service that serves it as gRPC ([`dispatch`]), so admission, token, redirect,
//! request ids, deadlines and metrics have one place. The document at `/api/openapi.json` is made from the same table and
//! descriptors ([`openapi`]).
//!
//! Replies are protobuf JSON with the names of the `.proto` files; 64-bit integers are strings, bytes are base64. Requests may
//! hold secrets: nothing here logs, and no error quotes a value of a body.

mod dispatch;
mod json;
mod message;
mod openapi;
mod reply;
mod routes;

use crate::app::App;
use crate::doris::body;
use crate::limits::MAX_INLINE_REPLY_BYTES;
use crate::listener::Secured;
use crate::native::{Admitted, Services};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use dispatch::{Answered, CallHeaders};
use http::header::CONTENT_TYPE;
use prost_reflect::MethodDescriptor;
use quorate_consensus::Deadline;
use quorate_model::error::ERROR_TABLE;
use quorate_model::{ErrorCode, MetaError};
use reply::Reply;
use routes::{Answer, Found, Method, Parameters, Resolved};
use serde_json::json;
use std::sync::Arc;
use tokio::time::Instant;

/// Label in the metrics of calls that are refused before they reach their service, which counts them itself from there on.
const REFUSED_CALL: &str = "api";

#[derive(Clone)]
struct Api {
    app: Arc<App>,
    services: Services,
}

/// Everything below `/api`, any method.
pub fn router(app: Arc<App>) -> Router {
    let api = Api {
        services: Services::new(&app),
        app,
    };
    Router::new()
        .route("/api", any(serve))
        .route("/api/", any(serve))
        .route("/api/{*path}", any(serve))
        .with_state(api)
}

async fn serve(State(api): State<Api>, mut request: Request) -> Response {
    let started = Instant::now();
    let uri = request.uri().clone();
    let secured = request.extensions().get::<Secured>().is_some();
    let mut admitted = None;
    let reply = match answer(&api, &mut request, &mut admitted).await {
        Ok(reply) => reply,
        Err(refused) => {
            api.app.served(REFUSED_CALL, refused.outcome_label(), None, started);
            refused
        }
    };
    let mut response = reply.into_response(&api.app, &uri, secured);
    if let Some(admitted) = admitted {
        admitted.go_with(&mut response);
    }
    body::discard(request).await;
    response
}

/// The reply of a route, and how the call was let in if it was; an error is one that did not reach the native service.
async fn answer(api: &Api, request: &mut Request, let_in: &mut Option<Admitted>) -> Result<Reply, Reply> {
    let uri = request.uri().clone();
    let found = routes::find(request.method().as_str(), uri.path()).map_err(Reply::refused)?;
    let (resolved, variables) = match found {
        Found::Route(resolved, variables) => (resolved, variables),
        Found::WrongMethod(allowed) => return Err(Reply::wrong_method(request.method(), uri.path(), &allowed)),
        Found::Nothing(nearest) => return Err(Reply::no_such_route(uri.path(), nearest)),
    };
    let (method, parameters) = match &resolved.answer {
        Answer::Errors => return Ok(Reply::ok(&errors())),
        Answer::OpenApi => return Ok(Reply::document(openapi::document())),
        Answer::Call { method, parameters } => (method, *parameters),
    };
    let headers = CallHeaders::of(&api.app, request.headers());
    let admitted = headers.and_then(|headers| Ok((dispatch::admit(&api.services, method, &headers)?, headers)));
    let (admitted, headers) = admitted.map_err(Reply::refused)?;
    *let_in = Some(admitted);
    let body = match parameters {
        Parameters::Query => refuse_body(resolved, request, headers.deadline).await.map(|()| None)?,
        Parameters::Body => body_of(resolved, request, headers.deadline).await?,
    };
    let query = uri.query().unwrap_or_default();
    let message = message::build(&method.input(), &variables, query, body.as_deref()).map_err(Reply::refused)?;
    let deadline = headers.deadline;
    let answered = dispatch::call(&api.services, method, &message, headers).await;
    let is_read = resolved.route.method == Method::Get;
    Ok(reply_to(&api.app, answered, method.clone(), is_read, deadline).await)
}

/// A large answer of a read is rendered as it was read: away from the threads that serve calls. That of a write is small, and a
/// write that was made must not be refused.
async fn reply_to(app: &App, answered: Answered, method: MethodDescriptor, is_read: bool, deadline: Deadline) -> Reply {
    let bytes = answered.result.as_ref().map_or(0, Bytes::len);
    let render = move || Reply::of_call(answered, &method, is_read);
    match app.node() {
        Ok(node) if is_read && bytes > MAX_INLINE_REPLY_BYTES => node.run_large(deadline, render).await.unwrap_or_else(Reply::refused),
        _ => render(),
    }
}

fn is_json(request: &Request) -> bool {
    let value = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = value.unwrap_or_default().split(';').next().unwrap_or_default();
    media_type.trim().eq_ignore_ascii_case("application/json")
}

/// A body that would be ignored is a mistake worth telling; nothing of it is kept.
async fn refuse_body(resolved: &Resolved, request: &mut Request, deadline: Deadline) -> Result<(), Reply> {
    match body::read_up_to(0, request, deadline).await {
        Ok(_) => Ok(()),
        Err(error) if error.code == ErrorCode::TooLarge => {
            let message = format!(
                "{} {} takes no body; its parameters are in the query",
                resolved.route.method.name(),
                resolved.route.path
            );
            Err(Reply::refused(MetaError::invalid(message)))
        }
        Err(error) => Err(Reply::refused(error)),
    }
}

/// The body a route takes. That it is missing is worth telling, too.
async fn body_of(resolved: &Resolved, request: &mut Request, deadline: Deadline) -> Result<Option<Bytes>, Reply> {
    let has_json = is_json(request);
    let body = body::read(request, deadline).await.map_err(Reply::refused)?;
    match body.is_empty() {
        false if has_json => Ok(Some(body)),
        false => Err(Reply::wrong_content_type()),
        true if resolved.needs_no_body() => Ok(None),
        true => {
            let message = format!(
                "{} {} takes a JSON object as its body and got none; send at least {{}}",
                resolved.route.method.name(),
                resolved.route.path
            );
            Err(Reply::refused(MetaError::new(ErrorCode::ParseError, message)))
        }
    }
}

/// The error table.
fn errors() -> serde_json::Value {
    let rows = ERROR_TABLE.iter().map(|row| {
        json!({
            "code": row.name, "number": row.number, "advice": row.advice, "outcome": row.outcome.name(), "retry": row.retry.name(),
            "http_status": row.http_status, "grpc_status": row.grpc_status
        })
    });
    json!({"errors": rows.collect::<Vec<_>>()})
}

#[cfg(test)]
mod tests;
