//! The one error type and the one table that says what each code means to every kind of caller.

use std::fmt;

/// What a caller may do after an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RetryClass {
    /// The same call will fail again.
    Never,
    /// The same peer will answer later.
    SamePeer,
    /// Another peer (the leader) can answer now.
    OtherPeer,
    /// The call may have taken effect: repeat it under the same request id.
    SameRequestId,
}

impl RetryClass {
    /// As replies name it.
    pub fn name(self) -> &'static str {
        match self {
            RetryClass::Never => "never",
            RetryClass::SamePeer => "same_peer",
            RetryClass::OtherPeer => "other_peer",
            RetryClass::SameRequestId => "same_request_id",
        }
    }
}

/// Whether a failed write can have happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was changed and nothing will be.
    NotApplied,
    /// The write may have been applied, or may be later.
    Unknown,
}

impl Outcome {
    /// As replies name it.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::NotApplied => "not_applied",
            Outcome::Unknown => "unknown",
        }
    }
}

/// Doris's three-way view of an error, from which HTTP status and `code` string follow (spec/doris-http.md 5.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DorisClass {
    InvalidArgument,
    NotFound,
    AlreadyExisted,
    Internal,
}

impl DorisClass {
    /// The `code` string of the JSON envelope.
    pub fn name(self) -> &'static str {
        match self {
            DorisClass::InvalidArgument => "INVALID_ARGUMENT",
            DorisClass::NotFound => "NOT_FOUND",
            DorisClass::AlreadyExisted => "ALREADY_EXISTED",
            DorisClass::Internal => "INTERNAL_ERROR",
        }
    }

    pub fn http_status(self) -> u16 {
        match self {
            DorisClass::InvalidArgument => 400,
            DorisClass::NotFound => 404,
            DorisClass::AlreadyExisted => 409,
            DorisClass::Internal => 500,
        }
    }
}

/// One row of the error table.
#[derive(Clone, Copy, Debug)]
pub struct ErrorRow {
    pub code: ErrorCode,
    /// Stable number, carried in replies and stored in retry records. Never reused.
    pub number: u32,
    pub name: &'static str,
    pub doris: DorisClass,
    /// Doris `MetaServiceCode` number, for its gRPC replies.
    pub doris_number: i32,
    pub http_status: u16,
    /// gRPC status number.
    pub grpc_status: i32,
    pub retry: RetryClass,
    pub outcome: Outcome,
    /// What the reader should do next.
    pub advice: &'static str,
}

macro_rules! error_table {
    ($($variant:ident = $number:literal, $name:literal, $doris:ident $doris_number:literal, $http:literal, $grpc:literal, $retry:ident, $outcome:ident, $advice:literal;)*) => {
        /// Every error the product can answer. The numbers are stable.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($variant),* }

        /// All rows, in the order of their numbers.
        pub const ERROR_TABLE: &[ErrorRow] = &[$(ErrorRow {
            code: ErrorCode::$variant, number: $number, name: $name, doris: DorisClass::$doris, doris_number: $doris_number,
            http_status: $http, grpc_status: $grpc, retry: RetryClass::$retry, outcome: Outcome::$outcome, advice: $advice,
        }),*];

        impl ErrorCode {
            /// The row of this code.
            pub fn row(self) -> &'static ErrorRow { &ERROR_TABLE[self as usize] }

            /// The code with this number; `Internal` for one a newer peer made.
            pub fn from_number(number: u32) -> ErrorCode {
                match number { $($number => ErrorCode::$variant,)* _ => ErrorCode::Internal }
            }

            /// The code of this name, as replies carry it; `None` for one a newer peer made.
            pub fn from_name(name: &str) -> Option<ErrorCode> {
                match name { $($name => Some(ErrorCode::$variant),)* _ => None }
            }
        }
    };
}

// Columns: variant = number, name, Doris class and number, HTTP, gRPC, retry class, outcome, advice.
error_table! {
    InvalidArgument = 1, "invalid_argument", InvalidArgument 1001, 400, 3, Never, NotApplied, "correct the argument named in the message";
    ParseError = 2, "parse_error", InvalidArgument 1006, 400, 3, Never, NotApplied, "send a body in the documented form";
    NotFound = 3, "not_found", NotFound 3001, 404, 5, Never, NotApplied, "check the name; list the objects that exist";
    AlreadyExists = 4, "already_exists", AlreadyExisted 3002, 409, 6, Never, NotApplied, "choose another name, or read the object that exists";
    KeyMissing = 5, "key_missing", Internal 1003, 500, 5, Never, NotApplied, "check the instance id";
    Internal = 6, "internal", Internal 1000000, 500, 13, Never, Unknown, "read the peer's log; report a bug";
    RevisionCollected = 7, "revision_collected", InvalidArgument 1001, 410, 11, Never, NotApplied, "read at a newer revision, or pin one with a snapshot first";
    SessionExpired = 8, "session_expired", Internal 1004, 409, 9, Never, NotApplied, "open a new session; find out by reading whether the earlier call took effect";
    RequestIdReused = 9, "request_id_reused", InvalidArgument 1001, 409, 9, Never, NotApplied, "number each different write of a session anew";
    TooLarge = 10, "too_large", InvalidArgument 1001, 413, 8, Never, NotApplied, "split the request";
    TooManyRequests = 11, "too_many_requests", Internal 6001, 429, 8, SamePeer, NotApplied, "retry after a pause, with fewer calls in flight";
    NoLeader = 12, "no_leader", Internal 1005, 503, 14, OtherPeer, NotApplied, "retry; if it lasts, see `quorate status` for which peers are missing";
    NotLeader = 13, "not_leader", Internal 1005, 503, 14, OtherPeer, NotApplied, "send the call to the leader named in the reply";
    OutcomeUnknown = 14, "outcome_unknown", Internal 1004, 503, 14, SameRequestId, Unknown, "repeat the call under the same request id: it is executed at most once";
    DeadlineExceeded = 15, "deadline_exceeded", Internal 1005, 504, 4, SamePeer, NotApplied, "retry with a longer deadline";
    Unauthenticated = 16, "unauthenticated", InvalidArgument 1001, 403, 16, Never, NotApplied, "pass the token of this cluster";
    StorageFull = 17, "storage_full", Internal 1004, 507, 8, SamePeer, NotApplied, "free disk space on the peers shown by `quorate status`, or delete data";
    Diverged = 18, "diverged", Internal 1000000, 500, 15, OtherPeer, NotApplied, "this peer's state differs from the majority's: replace the peer";
    ShuttingDown = 19, "shutting_down", Internal 1005, 503, 14, OtherPeer, NotApplied, "use another peer";
    UnknownCommand = 20, "unknown_command", Internal 1000000, 501, 12, Never, NotApplied, "upgrade every peer to the same version";
    PreconditionFailed = 21, "precondition_failed", InvalidArgument 1001, 412, 9, Never, NotApplied, "read the object again and decide anew";
    NotReady = 22, "not_ready", Internal 1005, 503, 14, OtherPeer, NotApplied, "this peer is still catching up: use another, or wait for /readyz";
    SecretUnreadable = 23, "secret_unreadable", Internal 7002, 500, 13, OtherPeer, NotApplied, "give this peer the root keys file that the other peers have";
    VaultNotFound = 24, "vault_not_found", Internal 3004, 404, 5, Never, NotApplied, "check the name; list the vaults of the instance";
    StageNotFound = 25, "stage_not_found", Internal 4001, 404, 5, Never, NotApplied, "check the name of the stage";
    LimitReached = 26, "limit_reached", Internal 1000000, 409, 8, Never, NotApplied, "remove what is no longer used, or use another instance";
    EndpointMissing = 27, "endpoint_missing", Internal 3003, 400, 3, Never, NotApplied, "send the private endpoint too";
    RateLimited = 28, "rate_limited", Internal 6001, 429, 8, SamePeer, NotApplied, "call less often, or raise the limit with adjust_rate_limit";
    VaultUnusable = 29, "vault_unusable", Internal 1000000, 424, 9, Never, NotApplied, "bring its store or its mount back, or mend its credentials, then repeat the call";
}

/// An error with its code and a message that names the object, the limit and the next step.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct MetaError {
    pub code: ErrorCode,
    pub message: String,
}

impl MetaError {
    pub fn new(code: ErrorCode, message: impl Into<String>) -> MetaError {
        MetaError {
            code,
            message: message.into(),
        }
    }

    pub fn invalid(message: impl Into<String>) -> MetaError {
        MetaError::new(ErrorCode::InvalidArgument, message)
    }

    pub fn not_found(message: impl Into<String>) -> MetaError {
        MetaError::new(ErrorCode::NotFound, message)
    }

    pub fn exists(message: impl Into<String>) -> MetaError {
        MetaError::new(ErrorCode::AlreadyExists, message)
    }

    pub fn internal(message: impl Into<String>) -> MetaError {
        MetaError::new(ErrorCode::Internal, message)
    }
}

impl fmt::Display for MetaError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_in_order_and_its_numbers_and_names_are_unique() {
        for (position, row) in ERROR_TABLE.iter().enumerate() {
            assert_eq!(row.number as usize, position + 1, "numbers only grow: {}", row.name);
            assert_eq!(row.code as usize, position);
            assert_eq!(ErrorCode::from_number(row.number), row.code);
            assert_eq!(ErrorCode::from_name(row.name), Some(row.code));
            assert_eq!(ERROR_TABLE.iter().filter(|other| other.name == row.name).count(), 1, "{}", row.name);
            assert!(!row.advice.is_empty());
        }
    }

    #[test]
    fn an_unknown_number_is_an_internal_error() {
        assert_eq!(ErrorCode::from_number(60_000), ErrorCode::Internal);
    }
}
