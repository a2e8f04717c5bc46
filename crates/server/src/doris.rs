//! The Doris meta-service over HTTP: `/MetaService/http[/v1]/<route>?token=` (spec/doris-http.md 1-5).
//!
//! ```text
//! token --403--> version and route --404--> admission, headers --> redirect? --307--> body --413--> command or query --> reply
//! ```
//!
//! Clients of Doris know five `code` strings and read `msg`; everything a better client needs (revision, error name,
//! whether a failed write can have happened) travels in headers.
//!
//! Requests hold tokens in their URL and secrets in their body: nothing here logs either, and labels of metrics come
//! from the RPC table only.

pub(crate) mod body;
pub(crate) mod call;
pub(crate) mod front_routes;
pub(crate) mod keys;
pub(crate) mod operations;
pub(crate) mod query_string;
pub(crate) mod read;
mod reply;
pub(crate) mod snapshots;
pub(crate) mod storage_operations;
mod target;
#[cfg(test)]
pub(crate) mod test_peers;
#[cfg(test)]
mod tests;
pub mod unavailable;
pub(crate) mod write;

use crate::app::{App, Place};
use crate::listener::Secured;
use crate::rpc_table::{self, Rpc, Work};
use axum::Router;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use call::{Call, CallInfo};
use query_string::QueryString;
use quorate_consensus::Node;
use quorate_model::MetaError;
use reply::{Leader, Reply};
use std::sync::Arc;
use target::Target;
use tokio::time::Instant;

/// Label of calls that name no route.
const NO_ROUTE: &str = "unknown";

/// Everything under the prefixes of Doris's two services; any method.
pub fn router(app: Arc<App>) -> Router {
    Router::new()
        .route("/MetaService", any(serve))
        .route("/MetaService/", any(serve))
        .route("/MetaService/{*path}", any(serve))
        .route("/RecyclerService", any(serve))
        .route("/RecyclerService/", any(serve))
        .route("/RecyclerService/{*path}", any(serve))
        .with_state(app)
}

async fn serve(State(app): State<Arc<App>>, mut request: Request) -> Response {
    let started = Instant::now();
    let id = call::request_id(request.headers()).ok().flatten();
    let mut place = None;
    let (call, reply) = answer(&app, &mut request, &mut place).await;
    app.served(call, reply.outcome, id, started);
    let mut response = reply.into_response(&app);
    if let Some(place) = place {
        place.go_with(&mut response);
    }
    body::discard(request).await;
    response
}

/// The route and its reply, with the call's place if it got one.
async fn answer(app: &Arc<App>, request: &mut Request, place: &mut Option<Place>) -> (&'static str, Reply) {
    let query = QueryString::parse(request.uri().query().unwrap_or_default());
    let path = request.uri().path().to_owned();
    let Some(path) = path.strip_prefix("/MetaService/http/") else {
        return (NO_ROUTE, Reply::no_such_path());
    };
    if !target::is_token(&query, &app.token) {
        return (NO_ROUTE, Reply::wrong_token(&query.text("token")));
    }
    let Some(rpc) = Target::of(path).route().and_then(rpc_table::find) else {
        return (NO_ROUTE, Reply::no_such_path());
    };
    let reply = match run(app, rpc, path, query, request, place).await {
        Ok(reply) => reply,
        Err(error) => Reply::error(rpc, &error),
    };
    (rpc.route, reply)
}

/// Runs one call of a known route.
async fn run(
    app: &Arc<App>,
    rpc: &'static Rpc,
    path: &str,
    query: QueryString,
    request: &mut Request,
    place: &mut Option<Place>,
) -> Result<Reply, MetaError> {
    if matches!(rpc.work, Work::Missing) {
        return Ok(Reply::not_available(rpc));
    }
    *place = Some(app.admit()?);
    let info = CallInfo::of(app, request.headers())?;
    let node = app.started_node(info.ready_by).await?.clone();
    let dry_run = info.dry_run;
    if let Some(leader) = redirect_to(&node, &info, rpc) {
        let secured = request.extensions().get::<Secured>().is_some();
        return Ok(Reply::redirect(rpc, &node, Leader { address: &leader, secured }, request.uri()));
    }
    app.wait_ready(&node, info.ready_by).await;
    let body = match rpc.reads_body() {
        true => body::read(request, info.deadline).await?,
        false => Bytes::new(),
    };
    let call = Call {
        app: app.clone(),
        node,
        path: path.to_owned(),
        query,
        body,
        info,
    };
    match rpc.work {
        Work::Command(handler) | Work::Query(handler) => Ok(Reply::success(rpc, handler(call).await?).of_dry_run(dry_run)),
        Work::MissingBehind(check) => Ok(match check(call).await {
            Ok(()) => Reply::not_available(rpc),
            Err(error) => Reply::refusal(rpc, &error),
        }),
        Work::Missing => Ok(Reply::not_available(rpc)),
    }
}

/// Public address of the leader, for a caller that wants to go there itself.
///
/// Without a known leader the call waits here as any other does. A read at a revision is answered by any peer.
fn redirect_to(node: &Node, info: &CallInfo, rpc: &Rpc) -> Option<String> {
    let is_local = matches!(rpc.work, Work::Query(_)) && info.min_revision.is_some();
    if !info.redirect || is_local || node.is_leader() {
        return None;
    }
    node.leader().map(|(_, leader)| leader.public_address)
}
