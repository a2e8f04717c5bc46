//! Health, metrics and the debug endpoint over HTTP.

use crate::app::App;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use quorate_consensus::Node;
use quorate_model::MetaError;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

/// How long `/readyz` waits for a linearizable read.
const READY_TIMEOUT: Duration = Duration::from_millis(1_500);
/// How old the gauges may be that `/metrics` shows.
const MEASURE_INTERVAL: Duration = Duration::from_secs(1);
/// Digests the debug endpoint shows at most.
const MAX_DIGESTS: usize = 10_000;

/// Routes that belong to no client protocol.
pub fn router(app: Arc<App>) -> Router {
    let router = Router::new();
    #[cfg(feature = "failpoints")]
    let router = router.route("/debug/failpoints", axum::routing::post(arm_failpoints));
    router
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/debug/raft", get(debug_raft))
        .fallback(not_found)
        .with_state(app)
}

async fn not_found() -> Response {
    (StatusCode::NOT_FOUND, "http path not found or not allowed\n").into_response()
}

fn unavailable(error: &MetaError) -> Response {
    (
        StatusCode::SERVICE_UNAVAILABLE,
        format!("{}; {}\n", error.message, error.code.row().advice),
    )
        .into_response()
}

/// 200 once this peer can answer a linearizable read, and encrypt.
async fn readyz(State(app): State<Arc<App>>) -> Response {
    let node = match app.node() {
        Ok(node) => node,
        Err(error) => return unavailable(&error),
    };
    let fresh = node.read_barrier(Instant::now() + READY_TIMEOUT).await;
    match fresh.and_then(|()| app.secrets.check_released()) {
        Ok(()) => "ok\n".into_response(),
        Err(error) => unavailable(&error),
    }
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    measure(&app).await;
    (
        [("content-type", "application/openmetrics-text; version=1.0.0; charset=utf-8")],
        app.metrics.render(),
    )
        .into_response()
}

/// Brings the gauges up to date, unless they are: that reads thousands of rows, and anybody may ask as often as he likes.
async fn measure(app: &Arc<App>) {
    let mut last = app.measured.clone().lock_owned().await;
    let is_fresh = last.is_some_and(|at| at.elapsed() < MEASURE_INTERVAL);
    if is_fresh || app.node().is_err() {
        return;
    }
    let app = app.clone();
    // The lock goes along: when a caller leaves, nobody else begins beside what goes on.
    let measuring = tokio::task::spawn_blocking(move || {
        if let Ok(node) = app.node() {
            set_gauges(&app, node);
        }
        *last = Some(Instant::now());
    });
    if let Err(error) = measuring.await {
        tracing::error!(%error, "the metrics were not measured");
    }
}

fn set_gauges(app: &App, node: &Node) {
    let metrics = &app.metrics;
    let applied = node.applied();
    let core = node.core();
    metrics.applied_index.set(applied.index as i64);
    metrics.revision.set(applied.revision.0 as i64);
    metrics.level.set(i64::from(applied.level));
    metrics.term.set(applied.term as i64);
    metrics.is_leader.set(i64::from(node.is_leader()));
    metrics.large_reads.set(core.large_reads.under_way() as i64);
    metrics.log_bytes.set(core.log.stored_bytes() as i64);
    let state = core.applier.engine().sizes();
    metrics.state_bytes.set(state.disk_bytes as i64);
    metrics.state_memory.set(state.memtable_bytes as i64);
    metrics.uncompacted_files.set(state.level0_files as i64);
    metrics.compaction_pending.set(state.compaction_pending_bytes as i64);
    metrics.writes_held.set(i64::from(state.writes_held));
    metrics.diverged.set(i64::from(core.health.is_diverged()));
    metrics.state_damaged.set(i64::from(core.content_scan.is_damaged()));
    // Counted over there; here it is only shown.
    metrics
        .content_scans
        .inner()
        .store(core.content_scan.completed(), Ordering::Relaxed);
    metrics.digest_disagreements.set(core.health.disagreements().len() as i64);
    let (space, low) = core.own_disk();
    metrics.disk_free.set(space.free_bytes as i64);
    metrics.disk_low.set(i64::from(low));
    metrics.growth_refused.set(i64::from(core.disk.refusal().is_some()));
    metrics.ballast.set(app.ballast_bytes() as i64);
    let reachable = node
        .status()
        .peers
        .iter()
        .filter(|peer| peer.reachable && peer.peer_id != core.peer)
        .count();
    metrics.peers_reachable.set(reachable as i64);
    crate::jobs::measure(app, node);
}

fn has_token(app: &App, headers: &HeaderMap) -> bool {
    let given = headers.get("quorate-token").map(|value| value.as_bytes()).unwrap_or_default();
    given.ct_eq(app.token.as_bytes()).into()
}

fn forbidden() -> Response {
    (StatusCode::FORBIDDEN, "header quorate-token is absent or wrong\n").into_response()
}

/// Arms failpoints, `site=actions` separated by semicolons; needs the token in header `quorate-token`.
#[cfg(feature = "failpoints")]
async fn arm_failpoints(State(app): State<Arc<App>>, headers: HeaderMap, list: String) -> Response {
    if !has_token(&app, &headers) {
        return forbidden();
    }
    match crate::failpoints::arm(&list) {
        Ok(()) => "armed\n".into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error}\n")).into_response(),
    }
}

/// Vote, log positions, membership and recent digests; needs the token in header `quorate-token`.
async fn debug_raft(State(app): State<Arc<App>>, headers: HeaderMap, Query(query): Query<BTreeMap<String, String>>) -> Response {
    if !has_token(&app, &headers) {
        return forbidden();
    }
    let node = match app.node() {
        Ok(node) => node,
        Err(error) => return unavailable(&error),
    };
    let count = query
        .get("digests")
        .and_then(|count| count.parse().ok())
        .unwrap_or(100)
        .min(MAX_DIGESTS);
    let core = node.core();
    let log = core.log.state();
    let digests: Vec<_> = core
        .applier
        .recent_digests(count)
        .into_iter()
        .map(|digests| {
            json!([
                digests.index,
                format!("{:032x}", digests.history),
                format!("{:032x}", digests.content)
            ])
        })
        .collect();
    let id = |id: Option<quorate_storage::codec::LogId>| id.map(|id| format!("{}.{}-{}", id.leader.term, id.leader.peer, id.index));
    let body = json!({
        "peer": core.peer,
        "incarnation": core.incarnation.to_string(),
        "cluster": core.cluster.to_string(),
        "vote": log.vote.map(|vote| json!({"term": vote.leader.term, "peer": vote.leader.peer, "committed": vote.committed})),
        "last": id(log.last),
        "committed": id(log.committed),
        "purged": id(log.purged),
        "applied": core.applier.applied().index,
        "durable": core.applier.engine().durable_applied().ok().map(id),
        "checkpoint": node.checkpoint_index(),
        "membership": node.status().peers.iter().map(|peer| json!({"peer": peer.peer_id, "address": peer.peer_address, "voter": peer.voter})).collect::<Vec<_>>(),
        "digests": digests,
    });
    axum::Json(body).into_response()
}
