//! The error contract: what a client knows after a call that was not answered well.
//!
//! A write has *failed* only if nothing can have happened: no connection was made, or the peer says so (`quorate-outcome:
//! not_applied`, or a refusal in the body of a Doris response). All else leaves it open. A read changes nothing: without an
//! answer it has failed.

use quorate_model::ErrorCode;
use quorate_model::error::ERROR_TABLE;
use std::error::Error as _;
use tonic::{Code, Status};

/// What one attempt came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    pub outcome: Outcome,
    /// Name of the error, or how the connection broke, and what the peer said.
    pub error: String,
    /// The connection may be of no use any more.
    pub is_broken: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The state decided against it, so it had no effect whichever attempt got there first.
    Refused,
    /// This attempt certainly had no effect.
    NotApplied,
    Unknown,
}

/// Prefix of the error of an operation that the state itself refused.
pub const REFUSED: &str = "refused: ";

/// Refusals made while applying. They are remembered with the request id.
const DECIDED_BY_THE_STATE: [ErrorCode; 4] = [
    ErrorCode::NotFound,
    ErrorCode::AlreadyExists,
    ErrorCode::KeyMissing,
    ErrorCode::PreconditionFailed,
];

/// Judges the status of an attempt.
pub fn judge(status: &Status) -> Failed {
    let text = |key: &str| status.metadata().get(key).and_then(|value| value.to_str().ok());
    let Some(name) = text("quorate-error") else {
        return judge_transport(status);
    };
    let code = ErrorCode::from_name(name);
    let outcome = match text("quorate-outcome") {
        Some("not_applied") if code.is_some_and(|code| DECIDED_BY_THE_STATE.contains(&code)) => Outcome::Refused,
        Some("not_applied") => Outcome::NotApplied,
        _ => Outcome::Unknown,
    };
    Failed {
        outcome,
        error: described(outcome, name, status.message()),
        is_broken: false,
    }
}

/// Nobody of Quorate's answered: the connection failed, or never was.
fn judge_transport(status: &Status) -> Failed {
    let outcome = match has_connect_error(status) {
        true => Outcome::NotApplied,
        false => Outcome::Unknown,
    };
    let kind = match status.code() {
        Code::Unavailable if outcome == Outcome::NotApplied => "connect".to_owned(),
        code => format!("transport {code:?}").to_lowercase(),
    };
    Failed {
        outcome,
        error: format!("{kind}: {}", status.message()),
        is_broken: true,
    }
}

/// No answer within the client's time.
pub fn timeout() -> Failed {
    Failed {
        outcome: Outcome::Unknown,
        error: "timeout".to_owned(),
        is_broken: true,
    }
}

/// Judges the status in the body of a Doris response; 0 is success.
pub fn judge_doris(code: i32, message: &str) -> Option<Failed> {
    if code == 0 {
        return None;
    }
    let rows: Vec<_> = ERROR_TABLE.iter().filter(|row| row.doris_number == code).collect();
    // Several errors share a number: what one of them leaves open is open.
    let is_open = rows.is_empty() || rows.iter().any(|row| row.outcome == quorate_model::Outcome::Unknown);
    let is_decided =
        rows.iter().any(|row| DECIDED_BY_THE_STATE.contains(&row.code)) || code == ErrorCode::InvalidArgument.row().doris_number;
    let outcome = match () {
        () if is_open => Outcome::Unknown,
        () if is_decided => Outcome::Refused,
        () => Outcome::NotApplied,
    };
    Some(Failed {
        outcome,
        error: described(outcome, &format!("doris {code}"), message),
        is_broken: false,
    })
}

fn described(outcome: Outcome, name: &str, message: &str) -> String {
    let prefix = if outcome == Outcome::Refused { REFUSED } else { "" };
    let message: String = message.chars().take(200).collect();
    format!("{prefix}{name}: {message}")
}

/// As quorate-client decides it, but on its own: the client is itself under test.
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
    use tonic::metadata::MetadataValue;

    fn answered(name: &'static str, outcome: Option<&'static str>) -> Failed {
        let mut status = Status::unavailable("text");
        status.metadata_mut().insert("quorate-error", MetadataValue::from_static(name));
        if let Some(outcome) = outcome {
            status.metadata_mut().insert("quorate-outcome", MetadataValue::from_static(outcome));
        }
        judge(&status)
    }

    #[test]
    fn only_the_peers_own_word_makes_a_write_a_failure() {
        for row in ERROR_TABLE {
            let failed = answered(row.name, Some(row.outcome.name()));
            let is_open = failed.outcome == Outcome::Unknown;
            assert_eq!(is_open, row.outcome == quorate_model::Outcome::Unknown, "{}", row.name);
            assert_eq!(
                answered(row.name, None).outcome,
                Outcome::Unknown,
                "{} without a word on its outcome",
                row.name
            );
        }
        let refused = answered("precondition_failed", Some("not_applied"));
        assert_eq!(
            (refused.outcome, refused.error.as_str()),
            (Outcome::Refused, "refused: precondition_failed: text")
        );
        assert_eq!(answered("no_leader", Some("not_applied")).outcome, Outcome::NotApplied);
    }

    #[test]
    fn a_broken_connection_leaves_a_write_open() {
        for status in [
            Status::unavailable("reset"),
            Status::internal("h2"),
            Status::deadline_exceeded("late"),
            Status::unknown("?"),
        ] {
            assert_eq!((judge(&status).outcome, judge(&status).is_broken), (Outcome::Unknown, true));
        }
        assert_eq!(timeout().outcome, Outcome::Unknown);
    }

    #[tokio::test]
    async fn a_refused_connection_is_a_failure() {
        use quorate_wire::quorate::v1::{OpenSessionRequest, metadata_client::MetadataClient};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        drop(listener);
        let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).expect("an address");
        let mut client = MetadataClient::new(endpoint.connect_lazy());
        let status = client.open_session(OpenSessionRequest {}).await.expect_err("nobody listens");
        assert_eq!(
            (judge(&status).outcome, judge(&status).is_broken),
            (Outcome::NotApplied, true),
            "{status:?}"
        );
    }

    #[test]
    fn doris_numbers_are_judged_by_all_errors_that_share_them() {
        let outcome = |code| judge_doris(code, "").map(|failed| failed.outcome);
        assert_eq!(outcome(0), None);
        assert_eq!(outcome(3_001), Some(Outcome::Refused), "not found");
        assert_eq!(outcome(1_001), Some(Outcome::Refused), "how most of Doris's refusals are numbered");
        assert_eq!(outcome(6_001), Some(Outcome::NotApplied), "too many requests");
        assert_eq!(outcome(1_000_000), Some(Outcome::Unknown), "shared with internal");
        assert_eq!(outcome(1_004), Some(Outcome::Unknown), "shared with an outcome that is unknown");
        assert_eq!(outcome(77), Some(Outcome::Unknown), "of a newer peer");
    }
}
