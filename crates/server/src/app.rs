//! What every front end has at hand.

use crate::cluster_settings::ClusterSettings;
use crate::config::ServerConfig;
use crate::limits::{DEFAULT_DEADLINE, MAX_IN_FLIGHT, RELEASE_WAIT};
use crate::metrics::Metrics;
use crate::secrets::SecretBox;
use crate::slow::{Answered, DEFAULT_SLOW_REQUEST_MS, SlowLog};
use crate::{doris_grpc, jobs};
use quorate_consensus::{Deadline, Node};
use quorate_model::{ErrorCode, MetaError, RequestId};
use quorate_state_machine::StoreError;
use quorate_state_machine::command::{PrepareContext, PrepareSettings};
use quorate_state_machine::service_account::ConfiguredAccount;
use quorate_storage::ballast::Ballast;
use quorate_wire::quorate::v1::StatusReply;
use std::sync::{Arc, OnceLock};
use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

/// Shared by all connections of a peer.
pub struct App {
    pub config: ServerConfig,
    /// Doris token; compared in constant time, never logged.
    pub token: String,
    pub prepare_settings: PrepareSettings,
    pub secrets: SecretBox,
    /// The cloud account peers work under unless `alter_iam` has stored one.
    pub iam_user: ConfiguredAccount,
    pub metrics: Metrics,
    /// When the gauges of `/metrics` were measured last; locked while they are.
    pub measured: Arc<Mutex<Option<Instant>>>,
    /// Settings and rate limits that the state holds.
    pub cluster_settings: ClusterSettings,
    /// What this peer's worker and, while it leads, its reconcilers have done.
    pub job_counters: Arc<quorate_jobs::Counters>,
    /// Set once this peer has found its place in a cluster.
    node: OnceLock<Node>,
    /// Why it has no node yet, if it knows its place.
    awaits: OnceLock<String>,
    /// Whether the node is being started, and comes by itself.
    starting: watch::Sender<bool>,
    ballast: OnceLock<Arc<Ballast>>,
    in_flight: Arc<Semaphore>,
    slow: SlowLog,
    closing: watch::Sender<bool>,
}

impl App {
    pub fn new(config: ServerConfig, token: String, secrets: SecretBox) -> App {
        App {
            slow: SlowLog::new(config.slow_request_ms.unwrap_or(DEFAULT_SLOW_REQUEST_MS)),
            config,
            token,
            prepare_settings: PrepareSettings::default(),
            secrets,
            iam_user: ConfiguredAccount::default(),
            metrics: Metrics::new(),
            measured: Arc::default(),
            cluster_settings: ClusterSettings::default(),
            job_counters: Arc::default(),
            node: OnceLock::new(),
            awaits: OnceLock::new(),
            starting: watch::Sender::default(),
            ballast: OnceLock::new(),
            in_flight: Arc::new(Semaphore::new(MAX_IN_FLIGHT)),
            closing: watch::Sender::default(),
        }
    }

    /// The process is about to end: calls that only wait for something to happen end now.
    pub fn close(&self) {
        self.closing.send_replace(true);
    }

    pub fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    async fn closed(&self) {
        let mut closing = self.closing.subscribe();
        let _ = closing.wait_for(|closing| *closing).await;
    }

    /// The same with a configured cloud account.
    pub fn with_iam_user(self, iam_user: ConfiguredAccount) -> App {
        App { iam_user, ..self }
    }

    /// The running node; an error while this peer has no place in a cluster yet, or no state to go on from.
    pub fn node(&self) -> Result<&Node, MetaError> {
        self.node.get().ok_or_else(|| {
            let why = self.awaits.get().map_or("this peer has not joined its cluster yet", String::as_str);
            MetaError::new(ErrorCode::NotReady, why)
        })
    }

    /// The running node, waited for until `by` while it is being started. A peer without a place in a cluster, or with a damaged state
    /// that it asks others for, refuses at once: that may take for ever.
    pub async fn started_node(&self, by: Deadline) -> Result<&Node, MetaError> {
        if self.node.get().is_none() {
            let mut starting = self.starting.subscribe();
            let _ = tokio::time::timeout_at(by, starting.wait_for(|starting| !*starting)).await;
        }
        self.node()
    }

    /// Waits until `by` for a peer that catches up after its restart. Whether it serves then, and may seal, the call itself finds out.
    ///
    /// Who waits has a place among the calls in work; what a peer needs to get ready comes over the peers' own port, and needs none.
    pub async fn wait_ready(&self, node: &Node, by: Deadline) {
        if node.check_serving().is_ok() && self.secrets.check_released().is_ok() {
            return;
        }
        let ready = async {
            if node.wait_serving(by).await.is_ok() {
                let _ = tokio::time::timeout_at(by.min(Instant::now() + RELEASE_WAIT), self.secrets.released()).await;
            }
        };
        tokio::select! {
            () = ready => {}
            () = self.closed() => {}
        }
    }

    /// From now on a node is on its way: calls wait for it.
    pub fn expect_node(&self) {
        self.starting.send_replace(true);
    }

    /// Told to callers until there is a node, at once.
    pub fn set_awaits(&self, why: String) {
        let _ = self.awaits.set(why);
        self.starting.send_replace(false);
    }

    pub fn set_node(&self, node: Node) {
        if self.node.set(node).is_err() {
            tracing::error!("a second node was started in one process; the first one stays");
        }
        self.starting.send_replace(false);
    }

    /// Shown in the metrics from now on.
    pub fn set_ballast(&self, ballast: Arc<Ballast>) {
        let _ = self.ballast.set(ballast);
    }

    /// Bytes that can be given back when the disk is full.
    pub fn ballast_bytes(&self) -> u64 {
        self.ballast.get().map_or(0, |ballast| ballast.held_bytes())
    }

    /// The cluster as this peer sees it, which asks the others, with what the server itself knows.
    pub async fn status(&self) -> Result<StatusReply, MetaError> {
        let node = self.node()?;
        node.set_findings(jobs::vault_findings(self, node));
        let mut status = node.fresh_status().await;
        status.findings.extend(doris_grpc::finding(&self.config));
        Ok(status)
    }

    /// What `prepare` may use for calls that no setting of the Doris fronts applies to.
    pub fn prepare_context(&self) -> PrepareContext<'_> {
        PrepareContext {
            secrets: &self.secrets,
            settings: &self.prepare_settings,
        }
    }

    /// Counts an answered call; a slow one is logged.
    pub fn served(&self, call: &'static str, outcome: &'static str, request: Option<RequestId>, started: Instant) {
        self.metrics.served(call, outcome, started);
        let answered = Answered {
            call,
            outcome,
            request,
            started,
            ended: Instant::now(),
        };
        if self.slow.is_slow(&answered) {
            self.metrics.slow_requests.inc();
            self.slow.write(&answered, self.node.get());
        }
    }

    /// The deadline of a call that brought none.
    pub fn default_deadline(&self) -> Deadline {
        Instant::now() + DEFAULT_DEADLINE
    }

    /// Counts a request in; refused when too many are in work.
    pub fn admit(&self) -> Result<Place, MetaError> {
        let permit = self.in_flight.clone().try_acquire_owned().map_err(|_| {
            MetaError::new(
                ErrorCode::TooManyRequests,
                format!("{MAX_IN_FLIGHT} requests are in work at this peer, which is its limit"),
            )
        })?;
        Ok(Place { _permit: Arc::new(permit) })
    }
}

/// Marks the answer of a call whose caller is known, though it needed no place.
#[derive(Clone, Copy, Debug)]
pub struct LetIn;

/// A call's place among those in work.
#[derive(Clone, Debug)]
pub struct Place {
    _permit: Arc<OwnedSemaphorePermit>,
}

impl Place {
    /// Sends the place along with the call's answer: it is given back when that has been sent, or when nobody wants it.
    pub fn go_with<B>(self, answer: &mut http::Response<B>) {
        answer.extensions_mut().insert(self);
    }
}

/// The refusal of a call for which the state could not be read. Where that is this peer's damage, another can.
pub fn unreadable(node: &Node, error: &StoreError) -> MetaError {
    tracing::error!(%error, "a read of the state failed");
    let text = "this peer cannot read its state";
    match node.failure() {
        Some(_) => MetaError::new(ErrorCode::ShuttingDown, text),
        None => MetaError::internal(text),
    }
}
