//! Sessions: a repeated write gets its first answer instead of being executed again.
//!
//! Write number n of a session has slot n mod 128. The slot keeps the latest number it saw, with a hash of the request and
//! the answer. A number smaller than the slot's has left the window; a number greater than the slot's was never
//! executed, because executing it would have put it there.

use crate::command::{Answer, ApplyContext, ApplyError, read_record};
use crate::frame::Frame;
use crate::record::{SessionRecord, SlotRecord};
use crate::store::{Reader, StoreError, prefix_end};
use crate::view::View;
use crate::{keys, limits};
use bytes::Bytes;
use quorate_model::{ErrorCode, MetaError, RequestId, Revision, SessionId, StampedTime, mutant};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// What the session says about a write before it is executed.
pub enum Admission {
    /// Not seen before: execute it. Carries the session's record if its last use must be written.
    Execute { touch: Option<SessionRecord> },
    /// Executed before: this was the answer.
    Repeat(Answer),
    /// Refused, and not remembered.
    Refuse(MetaError),
}

/// Hash by which a request is told from another: of what its caller asked, where the frame says so, else of the command.
pub fn request_hash(frame: &Frame) -> u64 {
    match frame.fingerprints.first() {
        Some(fingerprint) => fingerprint_hash(frame, *fingerprint),
        None => payload_hash(frame),
    }
}

fn payload_hash(frame: &Frame) -> u64 {
    xxh3_64_with_seed(&frame.payload, u64::from(frame.number))
}

fn fingerprint_hash(frame: &Frame, fingerprint: u64) -> u64 {
    xxh3_64_with_seed(&fingerprint.to_le_bytes(), u64::from(frame.number))
}

/// Whether a frame carries the request that the slot remembers. Two peers that have one root key in common agree on one
/// fingerprint; a slot written before there were any has the hash of the command, and so has a repeated one.
fn is_same_request(slot: &SlotRecord, frame: &Frame) -> bool {
    let is_remembered = |hash: u64| slot.request_hash == hash || slot.other_hashes.contains(&hash);
    is_remembered(payload_hash(frame))
        || frame
            .fingerprints
            .iter()
            .any(|fingerprint| is_remembered(fingerprint_hash(frame, *fingerprint)))
}

fn slot_key(request: RequestId) -> Bytes {
    keys::slot(request.session, (request.number % limits::SLOTS_PER_SESSION) as u8)
}

/// Looks a write up.
pub fn admit(view: &View<'_>, frame: &Frame, now: StampedTime) -> Result<Admission, StoreError> {
    let request = frame.request;
    let Some(session) = read_record::<SessionRecord>(view, &keys::session(request.session))? else {
        if mutant!("expired-session-executes") {
            return Ok(Admission::Execute { touch: None });
        }
        return Ok(Admission::Refuse(expired(request, "is not open")));
    };
    let touch = (now.0.saturating_sub(session.used_ms) > limits::SESSION_TOUCH_MS).then_some(SessionRecord { used_ms: now.0, ..session });
    let Some(slot) = read_record::<SlotRecord>(view, &slot_key(request))? else {
        return Ok(Admission::Execute { touch });
    };
    if slot.number < request.number || mutant!("no-request-dedup") {
        return Ok(Admission::Execute { touch });
    }
    if slot.number > request.number {
        return Ok(Admission::Refuse(expired(
            request,
            "no longer remembers this number: its window of 128 has passed",
        )));
    }
    if !is_same_request(&slot, frame) {
        let message = format!(
            "session {} already used number {} for another request",
            request.session, request.number
        );
        return Ok(Admission::Refuse(MetaError::new(ErrorCode::RequestIdReused, message)));
    }
    let body = match slot.error {
        0 => Ok(slot.body),
        error => Err(MetaError::new(ErrorCode::from_number(error), slot.message)),
    };
    Ok(Admission::Repeat(Answer {
        revision: Revision(slot.revision),
        body,
    }))
}

/// What a state says about a write that is not about to be applied: whether it was executed before, and how it ended.
pub fn answered(reader: &dyn Reader, frame: &Frame) -> Result<Admission, StoreError> {
    admit(&View::new(reader), frame, StampedTime(0))
}

/// Whether a request was executed, whatever has become since of what it was about.
pub fn is_answered(reader: &dyn Reader, request: RequestId) -> Result<bool, StoreError> {
    let slot = read_record::<SlotRecord>(reader, &slot_key(request))?;
    Ok(slot.is_some_and(|slot| slot.number >= request.number))
}

/// The session that a caller names, unless it is a peer's own: nobody else writes in one, gets its answers or ends it.
/// Such an id is refused as one that is not open, before anything else is done about the call.
pub fn of_caller(session: SessionId) -> Result<SessionId, MetaError> {
    if session.is_of_peer() {
        let message = format!("session {session} is not open; nothing was executed by this call");
        return Err(MetaError::new(ErrorCode::SessionExpired, message));
    }
    Ok(session)
}

fn expired(request: RequestId, why: &str) -> MetaError {
    MetaError::new(
        ErrorCode::SessionExpired,
        format!(
            "session {} {why}; write {} was not executed by this call",
            request.session, request.number
        ),
    )
}

/// The row that remembers an answer.
pub fn remember(frame: &Frame, answer: &Answer) -> (Bytes, Vec<u8>) {
    let (body, error, message) = match &answer.body {
        Ok(body) => (body.clone(), 0, String::new()),
        Err(error) => (Bytes::new(), error.code.row().number, error.message.clone()),
    };
    let record = SlotRecord {
        number: frame.request.number,
        request_hash: request_hash(frame),
        revision: answer.revision.0,
        body,
        error,
        message,
        other_hashes: frame
            .fingerprints
            .iter()
            .skip(1)
            .map(|fingerprint| fingerprint_hash(frame, *fingerprint))
            .collect(),
    };
    (slot_key(frame.request), prost::Message::encode_to_vec(&record))
}

/// Removes a session and its slots; says whether it existed.
pub fn remove(context: &mut ApplyContext<'_, '_>, id: SessionId) -> Result<bool, ApplyError> {
    let key = keys::session(id);
    let view = context.reader();
    if view.get(&key)?.is_none() {
        return Ok(false);
    }
    let first = keys::slot(id, 0);
    let mut cursor = view.cursor(&first, &prefix_end(&first[..first.len() - 1]))?;
    while let Some((slot, _)) = cursor.row() {
        context.changes().remove(Bytes::copy_from_slice(slot));
        cursor.next()?;
    }
    context.changes().remove(key);
    context.counters.sessions = context.counters.sessions.saturating_sub(1);
    Ok(true)
}

/// The id in a session row's key.
pub fn id_of_key(key: &[u8]) -> Result<SessionId, StoreError> {
    let id = key.get(1..9).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    id.map(SessionId)
        .ok_or_else(|| StoreError(format!("session key of {} bytes, expected 9", key.len())))
}
