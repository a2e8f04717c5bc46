//! Calls of `quorate.v1.Admin`: asked of any peer, taken to the leader when only the leader can answer.
//!
//! Every call here may be made twice: repeated after a lost answer it finds what the first one did.

use crate::channel;
use crate::doris::{Connection, ROUND_PAUSE, TRY_TIMEOUT, WRONG_TOKEN, row_named};
use quorate_client::tls::{self, HTTPS};
use quorate_model::ErrorCode;
use quorate_model::error::{Outcome, RetryClass};
use quorate_wire::quorate::v1::admin_client::AdminClient;
use std::collections::VecDeque;
use tokio::time::Instant;
use tonic::transport::Channel;
use tonic::{Request, Response, Status};

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    message: String,
    /// The cluster's error, if a peer answered with one.
    pub code: Option<ErrorCode>,
    /// A try before this answer may have done what was asked.
    pub in_doubt: bool,
}

/// How one try failed.
enum Failed {
    /// Nothing was sent.
    Unsent(String),
    Answered(Status),
}

impl Connection {
    /// Makes one call; `what` completes the sentence "no peer could ...".
    pub async fn admin<Req: Clone, Rep>(
        &self,
        what: &str,
        message: Req,
        call: impl AsyncFn(AdminClient<Channel>, Request<Req>) -> Result<Response<Rep>, Status>,
    ) -> Result<Rep, Refusal> {
        let mut in_doubt = false;
        loop {
            let mut failures = Vec::new();
            let mut addresses: VecDeque<String> = self.endpoints.iter().cloned().collect();
            // Each peer may name one other: whoever names more is in an election.
            let mut redirects = addresses.len();
            while let Some(address) = addresses.pop_front() {
                let until = self.deadline.min(Instant::now() + TRY_TIMEOUT);
                let status = match tokio::time::timeout_at(until, self.admin_once(&address, message.clone(), until, &call)).await {
                    Ok(Ok(reply)) => return Ok(reply),
                    Ok(Err(Failed::Unsent(why))) => {
                        failures.push(format!("{address}: {why}"));
                        continue;
                    }
                    Ok(Err(Failed::Answered(status))) => status,
                    Err(_) => Status::deadline_exceeded("no answer in time"),
                };
                let metadata = |name: &str| {
                    status
                        .metadata()
                        .get(name)
                        .and_then(|value| value.to_str().ok())
                        .unwrap_or_default()
                };
                let row = row_named(metadata("quorate-error"));
                let code = row.map(|row| row.code);
                if code == Some(ErrorCode::Unauthenticated) {
                    let message = WRONG_TOKEN.to_owned();
                    return Err(Refusal { message, code, in_doubt });
                }
                if row.is_some_and(|row| row.retry == RetryClass::Never) {
                    let message = status.message().to_owned();
                    return Err(Refusal { message, code, in_doubt });
                }
                // Without a word of the peer's own, the call may have arrived.
                in_doubt |= row.is_none_or(|row| row.outcome == Outcome::Unknown);
                let leader = metadata("quorate-leader");
                if !leader.is_empty() && redirects > 0 {
                    redirects -= 1;
                    // It is named as `host:port`; who speaks TLS here speaks it there.
                    let scheme = if address.starts_with(HTTPS) { HTTPS } else { "" };
                    addresses.push_front(format!("{scheme}{leader}"));
                    continue;
                }
                failures.push(format!("{address}: {}", tls::advice(&status).unwrap_or(status.message())));
            }
            if Instant::now() + ROUND_PAUSE >= self.deadline {
                let doubt = if in_doubt {
                    "; it may have been done all the same: look before you repeat it"
                } else {
                    ""
                };
                let message = format!("no peer could {what} ({}){doubt}; see `quorate status`", failures.join("; "));
                return Err(Refusal {
                    message,
                    code: None,
                    in_doubt,
                });
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    async fn admin_once<Req, Rep>(
        &self,
        address: &str,
        message: Req,
        until: Instant,
        call: &impl AsyncFn(AdminClient<Channel>, Request<Req>) -> Result<Response<Rep>, Status>,
    ) -> Result<Rep, Failed> {
        let channel = channel::connect(address, &self.tls)
            .await
            .map_err(|error| Failed::Unsent(format!("{error:#}")))?;
        let unsent = |status: Status| Failed::Unsent(status.message().to_owned());
        let mut request = self.native_request(message).map_err(unsent)?;
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        let reply = call(AdminClient::new(channel), request).await.map_err(Failed::Answered)?;
        Ok(reply.into_inner())
    }
}
