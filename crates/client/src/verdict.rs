//! What one failed try means: pure, so that every row of the error table can be tested without a network.

use quorate_model::error::ERROR_TABLE;
use quorate_model::{ErrorCode, Outcome, RetryClass};
use std::error::Error as _;
use tonic::{Code, Status};

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// The answer is final.
    Stop,
    /// The same peer, after a pause.
    SamePeer,
    /// Another peer, after a pause.
    OtherPeer,
    /// The leader at this address, at once.
    Leader(String),
}

/// A failed try, judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// `None` when the status is not one of Quorate's.
    pub(crate) code: Option<ErrorCode>,
    pub(crate) next: Next,
    /// Of this try alone: an earlier try of the same call may still have taken effect.
    pub(crate) outcome: Outcome,
    /// Whether the answer is the one remembered for the request id, whichever try executed it.
    pub(crate) decides_the_call: bool,
    /// The peer did not answer at all, so its address may be of no use to us.
    pub(crate) unreachable: bool,
}

/// Judges the status of one failed try.
pub(crate) fn judge(status: &Status) -> Verdict {
    match metadata(status, "quorate-error") {
        Some(name) => judge_answer(name, status),
        None => judge_transport(status),
    }
}

/// A try that got no answer in time.
pub(crate) fn judge_timeout() -> Verdict {
    Verdict {
        code: None,
        next: Next::OtherPeer,
        outcome: Outcome::Unknown,
        decides_the_call: false,
        unreachable: true,
    }
}

fn metadata<'a>(status: &'a Status, key: &str) -> Option<&'a str> {
    status.metadata().get(key).and_then(|value| value.to_str().ok())
}

/// A peer answered.
fn judge_answer(name: &str, status: &Status) -> Verdict {
    let row = ERROR_TABLE.iter().find(|row| row.name == name);
    let outcome = match (metadata(status, "quorate-outcome"), row) {
        (Some("not_applied"), _) => Outcome::NotApplied,
        (Some(_), _) => Outcome::Unknown,
        (None, Some(row)) => row.outcome,
        (None, None) => Outcome::Unknown,
    };
    // A code of a newer peer: its gRPC status still says whether another try makes sense.
    let retry = row.map_or_else(|| retry_of_grpc(status.code()), |row| row.retry);
    let leader = metadata(status, "quorate-leader");
    let code = row.map_or(ErrorCode::Internal, |row| row.code);
    let next = match (retry, leader) {
        // It had its share of our time: a peer cut off from the others answers this way for as long as we ask it.
        _ if code == ErrorCode::DeadlineExceeded => Next::OtherPeer,
        (RetryClass::OtherPeer, Some(leader)) => Next::Leader(leader.to_owned()),
        (RetryClass::OtherPeer | RetryClass::SameRequestId, _) => Next::OtherPeer,
        (RetryClass::SamePeer, _) => Next::SamePeer,
        (RetryClass::Never, _) => Next::Stop,
    };
    Verdict {
        code: Some(code),
        next,
        outcome,
        decides_the_call: is_decided_by_the_state(code),
        unreachable: false,
    }
}

/// Whether a refusal is made while applying: such are stored with the request id, so they are also the answer to every earlier try.
/// All others say something about the last try only: `LimitReached` too, with which too many partitions are refused before the log.
pub fn is_decided_by_the_state(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::NotFound | ErrorCode::AlreadyExists | ErrorCode::KeyMissing | ErrorCode::PreconditionFailed
    )
}

fn retry_of_grpc(code: Code) -> RetryClass {
    match code {
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Aborted => RetryClass::OtherPeer,
        Code::ResourceExhausted => RetryClass::SamePeer,
        _ => RetryClass::Never,
    }
}

/// No peer's answer: the connection failed, or something else answered.
fn judge_transport(status: &Status) -> Verdict {
    let never_sent = has_connect_error(status);
    // HTTP/2 stream resets arrive as INTERNAL: they say nothing about the call.
    let broken = matches!(
        status.code(),
        Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DeadlineExceeded | Code::Internal
    ) || status.source().is_some();
    let outcome = match status.code() {
        _ if never_sent => Outcome::NotApplied,
        Code::Unimplemented | Code::Unauthenticated | Code::PermissionDenied | Code::InvalidArgument | Code::NotFound => {
            Outcome::NotApplied
        }
        _ => Outcome::Unknown,
    };
    let next = if broken || never_sent { Next::OtherPeer } else { Next::Stop };
    Verdict {
        code: None,
        next,
        outcome,
        decides_the_call: false,
        unreachable: broken || never_sent,
    }
}

/// Whether the connection was never open: then nothing can have been executed.
fn has_connect_error(status: &Status) -> bool {
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<tonic::ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(name: &'static str, outcome: Option<&'static str>) -> Status {
        let mut status = Status::unavailable("text");
        status
            .metadata_mut()
            .insert("quorate-error", tonic::metadata::MetadataValue::from_static(name));
        if let Some(outcome) = outcome {
            status
                .metadata_mut()
                .insert("quorate-outcome", tonic::metadata::MetadataValue::from_static(outcome));
        }
        status
    }

    #[test]
    fn every_row_of_the_error_table_is_judged_by_its_retry_class_and_outcome() {
        for row in ERROR_TABLE {
            let verdict = judge(&answer(row.name, None));
            let next = match row.retry {
                RetryClass::Never => Next::Stop,
                RetryClass::SamePeer if row.code == ErrorCode::DeadlineExceeded => Next::OtherPeer,
                RetryClass::SamePeer => Next::SamePeer,
                RetryClass::OtherPeer | RetryClass::SameRequestId => Next::OtherPeer,
            };
            assert_eq!(
                (verdict.code, verdict.next, verdict.outcome),
                (Some(row.code), next, row.outcome),
                "{}",
                row.name
            );
            assert!(!verdict.decides_the_call || row.outcome == Outcome::NotApplied, "{}", row.name);
        }
    }

    #[test]
    fn the_outcome_in_the_reply_wins_over_the_table() {
        assert_eq!(judge(&answer("deadline_exceeded", Some("unknown"))).outcome, Outcome::Unknown);
        assert_eq!(judge(&answer("outcome_unknown", Some("not_applied"))).outcome, Outcome::NotApplied);
    }

    #[test]
    fn a_leader_in_the_reply_is_followed_only_when_another_peer_can_help() {
        let with_leader = |name| {
            let mut status = answer(name, None);
            status
                .metadata_mut()
                .insert("quorate-leader", "10.0.0.1:5000".parse().expect("an address is valid metadata"));
            judge(&status).next
        };
        assert_eq!(with_leader("not_leader"), Next::Leader("10.0.0.1:5000".to_owned()));
        assert_eq!(with_leader("invalid_argument"), Next::Stop);
        assert_eq!(with_leader("outcome_unknown"), Next::OtherPeer);
    }

    #[test]
    fn a_code_of_a_newer_peer_is_retried_by_its_grpc_status_with_an_unknown_outcome() {
        let verdict = judge(&answer("invented_tomorrow", None));
        assert_eq!((verdict.next, verdict.outcome), (Next::OtherPeer, Outcome::Unknown));
    }

    #[test]
    fn a_status_of_something_else_stops_unless_the_connection_broke() {
        let foreign = judge(&Status::unimplemented("no such service"));
        assert_eq!(
            (foreign.next, foreign.outcome, foreign.code),
            (Next::Stop, Outcome::NotApplied, None)
        );
        let reset = judge(&Status::internal("h2 stream reset"));
        assert_eq!((reset.next, reset.outcome), (Next::OtherPeer, Outcome::Unknown));
        assert_eq!(judge_timeout().outcome, Outcome::Unknown);
    }
}
