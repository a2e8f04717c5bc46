//! Calls of `quorate.v1.Admin`: asked of any peer, taken to the leader when only the leader can answer.
//!
//! Every call here may be made twice: repeated after a lost answer it finds what the first one did.

use crate::channel;
use crate::doris::{Connection, ROUND_PAUSE, WRONG_TOKEN, row_of};
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
#[error("{message}{}", ending(.code, .in_doubt))]
pub struct Refusal {
    message: String,
    /// The cluster's error, if a peer answered with one.
    pub code: Option<ErrorCode>,
    /// A try before this answer may have done what was asked.
    pub in_doubt: bool,
}

/// What follows when no peer has answered; a peer's own words say what to do.
fn ending(code: &Option<ErrorCode>, in_doubt: &bool) -> &'static str {
    match (code, in_doubt) {
        (Some(_), _) => "",
        (None, true) => "; it may have been done all the same: look before you repeat it; see `quorate status`",
        (None, false) => "; see `quorate status`",
    }
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
            let mut addresses: VecDeque<String> = self.in_order().cloned().collect();
            // Each peer may name one other: whoever names more is in an election.
            let mut redirects = addresses.len();
            while let Some(address) = addresses.pop_front() {
                if Instant::now() >= self.deadline {
                    failures.push(format!("{address}: there was no time left to ask it"));
                    break;
                }
                let until = self.try_until(addresses.len() + 1);
                let status = match self.admin_once(&address, message.clone(), until, &call).await {
                    Ok(reply) => {
                        self.answered(&address);
                        return Ok(reply);
                    }
                    Err(Failed::Unsent(why)) => {
                        failures.push(format!("{address}: {why}"));
                        continue;
                    }
                    Err(Failed::Answered(status)) => status,
                };
                let row = row_of(&status);
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
                if redirects > 0
                    && let Some(leader) = leader_of(&status)
                {
                    redirects -= 1;
                    // It is named as `host:port`; who speaks TLS here speaks it there.
                    let scheme = if address.starts_with(HTTPS) { HTTPS } else { "" };
                    addresses.push_front(format!("{scheme}{leader}"));
                    continue;
                }
                failures.push(format!("{address}: {}", tls::advice(&status).unwrap_or(status.message())));
            }
            if Instant::now() + ROUND_PAUSE >= self.deadline {
                return Err(out_of_time(what, &failures, in_doubt));
            }
            tokio::time::sleep(ROUND_PAUSE).await;
        }
    }

    /// The same for a call that changes nothing, wherever it got.
    pub async fn ask<Req: Clone, Rep>(
        &self,
        what: &str,
        message: Req,
        call: impl AsyncFn(AdminClient<Channel>, Request<Req>) -> Result<Response<Rep>, Status>,
    ) -> Result<Rep, Refusal> {
        let undoubted = |refusal: Refusal| Refusal {
            in_doubt: false,
            ..refusal
        };
        self.admin(what, message, call).await.map_err(undoubted)
    }

    async fn admin_once<Req, Rep>(
        &self,
        address: &str,
        message: Req,
        until: Instant,
        call: &impl AsyncFn(AdminClient<Channel>, Request<Req>) -> Result<Response<Rep>, Status>,
    ) -> Result<Rep, Failed> {
        let channel = match tokio::time::timeout_at(until, channel::connect(address, &self.tls)).await {
            Ok(Ok(channel)) => channel,
            Ok(Err(error)) => return Err(Failed::Unsent(format!("{error:#}"))),
            Err(_) => return Err(Failed::Unsent("cannot connect in time".to_owned())),
        };
        let unsent = |status: Status| Failed::Unsent(status.message().to_owned());
        let mut request = self.native_request(message).map_err(unsent)?;
        request.set_timeout(until.saturating_duration_since(Instant::now()));
        match tokio::time::timeout_at(until, call(AdminClient::new(channel), request)).await {
            Ok(Ok(reply)) => Ok(reply.into_inner()),
            Ok(Err(status)) => Err(Failed::Answered(status)),
            Err(_) => Err(Failed::Answered(Status::deadline_exceeded("no answer in time"))),
        }
    }
}

/// Public address of the leader, if the peer named it.
fn leader_of(status: &Status) -> Option<&str> {
    let leader = status.metadata().get("quorate-leader")?.to_str().ok()?;
    Some(leader).filter(|leader| !leader.is_empty())
}

fn out_of_time(what: &str, failures: &[String], in_doubt: bool) -> Refusal {
    Refusal {
        message: format!("no peer could {what} ({})", failures.join("; ")),
        code: None,
        in_doubt,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doris::fake_peer::{FakePeer, Said, connection};
    use quorate_client::TlsOptions;
    use quorate_model::ErrorCode;
    use quorate_wire::quorate::v1::{RemoveMemberReply, RemoveMemberRequest};
    use std::time::Duration;
    use tokio::net::TcpListener;

    async fn remove(connection: &Connection) -> Result<RemoveMemberReply, Refusal> {
        let request = RemoveMemberRequest {
            peer_id: 2,
            ..RemoveMemberRequest::default()
        };
        connection
            .admin("remove the peer", request, async |mut client, request| {
                client.remove_member(request).await
            })
            .await
    }

    #[tokio::test]
    async fn a_call_whose_time_is_over_is_not_made_and_leaves_no_doubt() {
        let peer = FakePeer::start([Said::message(&RemoveMemberReply::default())]).await;
        let late = connection(&[&peer.address], Duration::ZERO);
        let refusal = remove(&late).await.expect_err("its time is over");
        assert!(!refusal.in_doubt && refusal.to_string().contains("no time left"), "{refusal}");
        assert_eq!(peer.calls(), [""; 0]);
        remove(&connection(&[&peer.address], Duration::from_secs(60)))
            .await
            .expect("in time it is done");
    }

    #[tokio::test]
    async fn a_connection_that_does_not_open_leaves_no_doubt_and_one_that_breaks_does() {
        // The system accepts connections for it; nobody answers the handshake.
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = format!("{HTTPS}{}", silent.local_addr().expect("the socket is bound"));
        let mut waiting = connection(&[&address], Duration::from_secs(2));
        waiting.tls = TlsOptions {
            ca_file: Some("/dev/null".into()),
            ..TlsOptions::default()
        };
        let refusal = remove(&waiting).await.expect_err("nobody answers");
        assert!(!refusal.in_doubt, "{refusal}");

        let answer = Said::plain(502, "upstream failed");
        let proxy = FakePeer::start([answer]).await;
        let refusal = remove(&connection(&[&proxy.address], Duration::from_secs(2))).await;
        let refusal = refusal.expect_err("no peer answers");
        assert!(refusal.in_doubt, "{refusal}");
        let told = refusal.to_string();
        assert!(
            told.contains("no peer could remove the peer") && told.contains("it may have been done all the same"),
            "{told}"
        );
    }

    #[tokio::test]
    async fn calls_begin_at_the_endpoint_that_answered_last() {
        let unready = FakePeer::start([Said::status(ErrorCode::NotReady)]).await;
        let peer = FakePeer::start([Said::message(&RemoveMemberReply::default())]).await;
        let connection = connection(&[&unready.address, &peer.address], Duration::from_secs(60));
        remove(&connection).await.expect("one peer is there");
        assert_eq!(unready.calls().len(), 1, "the first call has begun at the first endpoint");
        remove(&connection.anew()).await.expect("one peer is there");
        assert_eq!(unready.calls().len(), 1);
    }
}
