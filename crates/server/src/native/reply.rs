//! What every native call has in common: request metadata in, error and revision metadata out.

use crate::app::App;
use crate::config::is_loopback;
use crate::limits::MAX_DEADLINE;
use http::HeaderMap;
use quorate_consensus::Deadline;
use quorate_consensus::applier::AppliedState;
use quorate_model::{ErrorCode, MetaError, RequestId, Revision, SessionId};
use quorate_state_machine::session;
use std::time::Duration;
use subtle::ConstantTimeEq;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use tonic::{Code, Response, Status};

/// What a caller said beside the request itself.
#[derive(Clone, Copy, Debug)]
pub struct CallInfo {
    pub request: Option<RequestId>,
    pub deadline: Deadline,
    /// How long the call may wait for a peer that starts or catches up: until its deadline, or not at all.
    pub ready_by: Deadline,
    /// Answer with the leader's address instead of forwarding.
    pub redirect: bool,
    pub min_revision: Option<Revision>,
    /// Of a write: say what it would come to, and change nothing.
    pub dry_run: bool,
}

/// Asks for a dry run; in a reply it says that it was one.
pub const DRY_RUN: &str = "quorate-dry-run";

/// `1` from a caller that can ask another peer: one that starts or catches up refuses at once.
pub const NO_WAIT: &str = "quorate-no-wait";

/// How long a call waits for its peer to get ready.
pub fn ready_by(no_wait: Option<&[u8]>, deadline: Deadline) -> Deadline {
    match no_wait {
        Some(b"1") => Instant::now(),
        _ => deadline,
    }
}

/// Whether a header asks for a dry run. What is neither yes nor no is refused: taken for no it would be the deed itself.
pub fn asks_for_dry_run(value: Option<&[u8]>) -> Result<bool, MetaError> {
    match value {
        None | Some(b"0") => Ok(false),
        Some(b"1") => Ok(true),
        Some(_) => Err(MetaError::invalid(format!("{DRY_RUN} is neither 0 nor 1"))),
    }
}

fn number(metadata: &MetadataMap, name: &str) -> Result<Option<u64>, MetaError> {
    let Some(value) = metadata.get(name) else { return Ok(None) };
    let parsed = value.to_str().ok().and_then(|text| text.parse().ok());
    parsed
        .map(Some)
        .ok_or_else(|| MetaError::invalid(format!("metadata {name} is not a number")))
}

/// The id a caller gave its request.
pub fn request_id(metadata: &MetadataMap) -> Result<Option<RequestId>, MetaError> {
    match (number(metadata, "quorate-session")?, number(metadata, "quorate-request")?) {
        (Some(session), Some(number)) if session > 0 && number > 0 => Ok(Some(RequestId {
            session: session::of_caller(SessionId(session))?,
            number,
        })),
        (None, None) => Ok(None),
        _ => Err(MetaError::invalid(
            "quorate-session and quorate-request go together and count from 1",
        )),
    }
}

/// Reads the metadata of a call.
pub fn call_info(app: &App, metadata: &MetadataMap) -> Result<CallInfo, MetaError> {
    let request = request_id(metadata)?;
    let asked = match number(metadata, "quorate-deadline-ms")? {
        Some(ms) => Some(Duration::from_millis(ms)),
        None => metadata
            .get("grpc-timeout")
            .and_then(|value| value.to_str().ok())
            .and_then(parse_grpc_timeout),
    };
    let deadline = asked.map_or_else(|| app.default_deadline(), |wait| Instant::now() + wait.min(MAX_DEADLINE));
    Ok(CallInfo {
        request,
        deadline,
        ready_by: ready_by(metadata.get(NO_WAIT).map(|value| value.as_bytes()), deadline),
        redirect: metadata.get("quorate-redirect").is_some_and(|value| value == "1"),
        min_revision: number(metadata, "quorate-min-revision")?.map(Revision),
        dry_run: asks_for_dry_run(metadata.get(DRY_RUN).map(|value| value.as_bytes()))?,
    })
}

/// Beyond loopback a call needs the token, in metadata `quorate-token`; on loopback it may do without.
pub fn check_token(app: &App, headers: &HeaderMap) -> Result<(), MetaError> {
    if !headers.contains_key("quorate-token") && is_loopback(&app.config.listen) {
        return Ok(());
    }
    require_token(app, headers)
}

/// A call that needs the token wherever it comes from.
pub fn require_token(app: &App, headers: &HeaderMap) -> Result<(), MetaError> {
    let given = headers.get("quorate-token").map(|value| value.as_bytes());
    if bool::from(given.unwrap_or_default().ct_eq(app.token.as_bytes())) {
        return Ok(());
    }
    Err(MetaError::new(
        ErrorCode::Unauthenticated,
        "metadata quorate-token is absent or wrong",
    ))
}

/// gRPC's own deadline: up to eight digits and a unit.
fn parse_grpc_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let count: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    match unit {
        "H" => Some(Duration::from_secs(count * 3_600)),
        "M" => Some(Duration::from_secs(count * 60)),
        "S" => Some(Duration::from_secs(count)),
        "m" => Some(Duration::from_millis(count)),
        "u" => Some(Duration::from_micros(count)),
        "n" => Some(Duration::from_nanos(count)),
        _ => None,
    }
}

/// A follower's answer to a caller that wants to go to the leader itself.
pub fn check_redirect(app: &App, info: &CallInfo) -> Result<(), Status> {
    let node = app.node().map_err(|error| status(app, error))?;
    if !info.redirect || node.is_leader() {
        return Ok(());
    }
    // Without a known leader the call waits here as any other.
    let Some((peer, leader)) = node.leader() else { return Ok(()) };
    let error = MetaError::new(
        ErrorCode::NotLeader,
        format!("peer {} does not lead, peer {peer} does", node.peer()),
    );
    let mut status = status(app, error);
    if let Ok(address) = leader.public_address.parse() {
        status.metadata_mut().insert("quorate-leader", address);
    }
    Err(status)
}

/// An error as a gRPC status with everything a client needs to decide what to do.
pub fn status(app: &App, error: MetaError) -> Status {
    let row = error.code.row();
    let mut status = Status::new(Code::from(row.grpc_status), format!("{}; {}", error.message, row.advice));
    let metadata = status.metadata_mut();
    metadata.insert("quorate-error", MetadataValue::from_static(row.name));
    metadata.insert("quorate-outcome", MetadataValue::from_static(row.outcome.name()));
    if let Ok(node) = app.node() {
        let applied = node.applied();
        metadata.insert("quorate-revision", applied.revision.0.into());
        metadata.insert("quorate-term", term_value(applied));
    }
    status
}

/// What a service answered. A message over its limit is refused before the service sees it, by a status that says nothing of us: in
/// its place goes one from which a caller learns that nothing was executed.
pub fn with_own_refusals(app: &App, answer: http::Response<Body>) -> http::Response<Body> {
    match Status::from_header_map(answer.headers()) {
        Some(refused) if refused.code() == Code::OutOfRange && error_of(&refused).is_none() => {
            status(app, MetaError::new(ErrorCode::TooLarge, refused.message())).into_http()
        }
        _ => answer,
    }
}

/// The error that [`status`] made a status of; `None` for one that is not of its making.
pub fn error_of(status: &Status) -> Option<MetaError> {
    let code = ErrorCode::from_name(status.metadata().get("quorate-error")?.to_str().ok()?)?;
    let text = status.message();
    let message = text
        .strip_suffix(code.row().advice)
        .and_then(|text| text.strip_suffix("; "))
        .unwrap_or(text);
    Some(MetaError::new(code, message))
}

/// A reply with the revision it is of.
pub fn response<T>(app: &App, body: T, revision: Revision) -> Response<T> {
    let mut response = Response::new(body);
    response.metadata_mut().insert("quorate-revision", revision.0.into());
    if let Ok(node) = app.node() {
        response.metadata_mut().insert("quorate-term", term_value(node.applied()));
    }
    response
}

fn term_value(applied: AppliedState) -> MetadataValue<Ascii> {
    applied.leader_text().parse().expect("digits and a dot are ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grpc_timeouts_are_read_in_every_unit_and_refused_otherwise() {
        assert_eq!(parse_grpc_timeout("5S"), Some(Duration::from_secs(5)));
        assert_eq!(parse_grpc_timeout("250m"), Some(Duration::from_millis(250)));
        assert_eq!(parse_grpc_timeout("7u"), Some(Duration::from_micros(7)));
        for bad in ["", "S", "5", "5x", "-1S", "123456789H", "\u{e9}"] {
            assert_eq!(parse_grpc_timeout(bad), None, "{bad}");
        }
    }
}
