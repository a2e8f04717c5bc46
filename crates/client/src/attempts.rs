//! One call, several tries: chooses a peer, sends, judges the answer, and goes on until it is final or the deadline passes.

use crate::backoff::Backoff;
use crate::error::{ClientError, Failure};
use crate::options::{Answer, ClientOptions};
use crate::peers::{Peer, Peers, Prefer};
use crate::tls;
use crate::verdict::{Next, Verdict, judge, judge_timeout};
use quorate_model::{ErrorCode, Outcome, RequestId};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// Redirects followed at once; further ones mean that the peers disagree about the leader, and wait like any retry.
const MAX_HOPS: u32 = 4;

/// What a call says beside its message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallShape {
    pub(crate) prefer: Prefer,
    pub(crate) request_id: Option<RequestId>,
    pub(crate) min_revision: Option<u64>,
    pub(crate) deadline: Instant,
    /// `deadline` as the caller gave it, for the error text.
    pub(crate) wait: Duration,
}

/// What all calls of a client share.
#[derive(Debug)]
pub(crate) struct Caller {
    pub(crate) peers: Peers,
    pub(crate) options: ClientOptions,
    /// Highest revision any answer carried.
    pub(crate) last_revision: AtomicU64,
}

/// What the tries so far have shown.
struct Trail {
    attempts: u32,
    hops: u32,
    /// Some try may have taken effect.
    outcome: Outcome,
    /// The last peer did not answer: let the next one forward, in case it led and only we cannot reach it.
    forward: bool,
    /// The error that a peer answered last; if none answered, what the last try met.
    code: Option<ErrorCode>,
    last: String,
}

impl Caller {
    /// Runs one call to its end.
    pub(crate) async fn call<Req, Rep, Fut>(
        &self,
        shape: CallShape,
        message: &Req,
        send: impl Fn(Channel, Request<Req>) -> Fut,
    ) -> Result<Answer<Rep>, ClientError>
    where
        Req: Clone,
        Fut: Future<Output = Result<Response<Rep>, Status>>,
    {
        let mut backoff = Backoff::new(&self.options);
        let mut trail = Trail {
            attempts: 0,
            hops: 0,
            outcome: Outcome::NotApplied,
            forward: false,
            code: None,
            last: "nothing was sent".to_owned(),
        };
        loop {
            let budget = shape
                .deadline
                .saturating_duration_since(Instant::now())
                .min(self.options.attempt_timeout);
            if budget.is_zero() {
                return Err(trail.deadline(shape.wait));
            }
            let peer = self.peers.choose(shape.prefer);
            let redirect = !trail.forward;
            trail.attempts += 1;
            let request = dress(message.clone(), &shape, self.options.token.as_deref(), budget, redirect);
            let (verdict, text) = match tokio::time::timeout(budget, send(peer.channel.clone(), request)).await {
                Ok(Ok(response)) => return Ok(self.answered(&shape, &peer, redirect, response)),
                Ok(Err(status)) => {
                    self.saw(status.metadata());
                    let text = match tls::advice(&status) {
                        Some(advice) => format!("peer {}: {advice}", peer.address),
                        None => status.message().to_owned(),
                    };
                    (judge(&status), text)
                }
                Err(_) => (
                    judge_timeout(),
                    format!("peer {} did not answer within {} ms", peer.address, budget.as_millis()),
                ),
            };
            tracing::debug!(peer = %peer.address, ?verdict, %text, "a try failed");
            let pause = self.after_failure(&shape, &peer, verdict, text, &mut trail)?;
            if pause {
                let wait = backoff.pause();
                if Instant::now() + wait >= shape.deadline {
                    return Err(trail.deadline(shape.wait));
                }
                tokio::time::sleep(wait).await;
            }
        }
    }

    fn answered<Rep>(&self, shape: &CallShape, peer: &Peer, asked_for_redirect: bool, response: Response<Rep>) -> Answer<Rep> {
        if shape.prefer == Prefer::Leader && asked_for_redirect {
            self.peers.wrote(&peer.address);
        }
        let revision = self.saw(response.metadata());
        Answer {
            value: response.into_inner(),
            revision,
        }
    }

    /// Notes the revision of an answer.
    fn saw(&self, metadata: &MetadataMap) -> u64 {
        let revision = metadata
            .get("quorate-revision")
            .and_then(|value| value.to_str().ok()?.parse().ok())
            .unwrap_or(0);
        self.last_revision.fetch_max(revision, Ordering::Relaxed);
        revision
    }

    /// Decides whether and where the call goes on; true means after a pause.
    fn after_failure(
        &self,
        shape: &CallShape,
        peer: &Peer,
        verdict: Verdict,
        text: String,
        trail: &mut Trail,
    ) -> Result<bool, ClientError> {
        let writes = shape.request_id.is_some();
        if verdict.decides_the_call {
            trail.outcome = verdict.outcome;
        } else if writes && verdict.outcome == Outcome::Unknown {
            trail.outcome = Outcome::Unknown;
        }
        if verdict.next == Next::Stop {
            return Err(trail.stop(verdict.code, text));
        }
        // The last try is often cut short by the deadline: what was answered before says more.
        if verdict.code.is_some() || trail.code.is_none() {
            (trail.code, trail.last) = (verdict.code, text);
        }
        if verdict.next == Next::SamePeer {
            return Ok(true);
        }
        if let Next::Leader(leader) = &verdict.next {
            if self.peers.avoids(leader) {
                // It could not be reached just now: let the one that named it forward.
                trail.forward = true;
                return Ok(false);
            }
            if self.peers.follow(leader, &peer.address) {
                trail.hops += 1;
                return Ok(trail.hops.is_multiple_of(MAX_HOPS));
            }
        }
        trail.forward = verdict.unreachable && shape.prefer == Prefer::Leader;
        if trail.forward {
            self.peers.unreachable(&peer.address);
        }
        self.peers.failed(&peer.address);
        // A connection refused costs nothing, so the first pass over the peers need not wait.
        let first_pass = verdict.unreachable && verdict.outcome == Outcome::NotApplied;
        Ok(!(first_pass && trail.attempts < self.peers.count()))
    }
}

impl Trail {
    fn stop(&self, code: Option<ErrorCode>, text: String) -> ClientError {
        let failure = match code {
            Some(code) => Failure::Refused { code, message: text },
            None => Failure::Foreign(text),
        };
        ClientError::new(failure, self.outcome, self.attempts)
    }

    fn deadline(&self, wait: Duration) -> ClientError {
        ClientError::new(
            Failure::Deadline {
                deadline: wait,
                code: self.code,
                last: self.last.clone(),
            },
            self.outcome,
            self.attempts,
        )
    }
}

/// Puts the metadata of a call on its message.
fn dress<Req>(message: Req, shape: &CallShape, token: Option<&str>, budget: Duration, redirect: bool) -> Request<Req> {
    let mut request = Request::new(message);
    request.set_timeout(budget);
    let metadata = request.metadata_mut();
    // Another peer may serve already while this one starts.
    metadata.insert("quorate-no-wait", tonic::metadata::MetadataValue::from_static("1"));
    // A token that is no valid metadata cannot be the cluster's either: the peer refuses the call.
    if let Some(token) = token.and_then(|token| token.parse().ok()) {
        metadata.insert("quorate-token", token);
    }
    if let Some(id) = shape.request_id {
        metadata.insert("quorate-session", id.session.0.into());
        metadata.insert("quorate-request", id.number.into());
    }
    if let Some(revision) = shape.min_revision {
        metadata.insert("quorate-min-revision", revision.into());
    }
    if redirect && shape.prefer == Prefer::Leader {
        metadata.insert("quorate-redirect", tonic::metadata::MetadataValue::from_static("1"));
    }
    request
}
