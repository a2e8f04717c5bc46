//! What a failed call tells its caller: why, and whether a write can have happened.

use quorate_model::{ErrorCode, Outcome};
use std::time::Duration;

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// A peer answered with an error that a repetition would not change.
    #[error("{message}")]
    Refused { code: ErrorCode, message: String },
    /// A peer answered with a status that is not Quorate's: a proxy, a port of another service, a much older peer.
    #[error("answer not understood: {0}")]
    Foreign(String),
    /// The deadline of the call passed. `code` and `last` are the error that a peer answered last; if none answered, there is no
    /// code, and `last` is what the last try met.
    #[error("no answer within {:.1} s; last: {last}", .deadline.as_secs_f64())]
    Deadline {
        deadline: Duration,
        code: Option<ErrorCode>,
        last: String,
    },
    /// The client was given something it cannot work with; nothing was sent.
    #[error("{0}")]
    Unusable(String),
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{failure} (after {attempts} {}{})", if *.attempts == 1 { "try" } else { "tries" }, self.warning())]
pub struct ClientError {
    failure: Failure,
    outcome: Outcome,
    attempts: u32,
}

impl ClientError {
    pub(crate) fn new(failure: Failure, outcome: Outcome, attempts: u32) -> ClientError {
        ClientError {
            failure,
            outcome,
            attempts,
        }
    }

    pub(crate) fn unusable(message: impl Into<String>) -> ClientError {
        ClientError::new(Failure::Unusable(message.into()), Outcome::NotApplied, 0)
    }

    /// Why the call failed.
    pub fn failure(&self) -> &Failure {
        &self.failure
    }

    /// Whether the write can have happened, or still can. Of a call that writes nothing: always `NotApplied`.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }

    /// The cluster's error code, if a peer answered with one; at the deadline the last.
    pub fn code(&self) -> Option<ErrorCode> {
        match &self.failure {
            Failure::Refused { code, .. } => Some(*code),
            Failure::Deadline { code, .. } => *code,
            Failure::Foreign(_) | Failure::Unusable(_) => None,
        }
    }

    /// How often the call was sent.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    fn warning(&self) -> &'static str {
        match self.outcome {
            Outcome::NotApplied => "",
            Outcome::Unknown => "; the write may have been applied",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_says_why_how_often_and_whether_the_write_can_have_happened() {
        let failure = Failure::Deadline {
            deadline: Duration::from_millis(1500),
            code: None,
            last: "connection refused".to_owned(),
        };
        let unknown = ClientError::new(failure.clone(), Outcome::Unknown, 3);
        assert_eq!(
            unknown.to_string(),
            "no answer within 1.5 s; last: connection refused (after 3 tries; the write may have been applied)"
        );
        let safe = ClientError::new(failure, Outcome::NotApplied, 1);
        assert_eq!(safe.to_string(), "no answer within 1.5 s; last: connection refused (after 1 try)");
        assert_eq!(safe.code(), None);
    }
}
