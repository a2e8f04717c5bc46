//! Opens a client session (design.md 5, retries).

use crate::command::{ApplyContext, ApplyError, Command};
use crate::record::SessionRecord;
use crate::{keys, limits};
use quorate_model::{ErrorCode, MetaError, SessionId};

#[derive(Clone, PartialEq, prost::Message)]
pub struct OpenSession {
    /// For a peer's own writes, those that end idle sessions among them: sessions of callers cannot take its place.
    #[prost(bool, tag = "1")]
    pub for_peer: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct OpenSessionReply {
    #[prost(uint64, tag = "1")]
    pub session: u64,
}

impl Command for OpenSession {
    type Reply = OpenSessionReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<OpenSessionReply, ApplyError> {
        let limit = limits::MAX_SESSIONS + if self.for_peer { limits::SESSIONS_KEPT_FOR_PEERS } else { 0 };
        if context.counters.sessions >= limit {
            let message = format!(
                "{} sessions are open, limit {limit}; close unused ones or wait for them to end",
                context.counters.sessions
            );
            return Err(MetaError::new(ErrorCode::TooManyRequests, message).into());
        }
        let session = context.counters.next_session.max(1);
        context.counters.next_session = session + 1;
        context.counters.sessions += 1;
        let now_ms = context.now().0;
        context.put_record(
            keys::session(SessionId(session)),
            &SessionRecord {
                opened_ms: now_ms,
                used_ms: now_ms,
            },
        );
        Ok(OpenSessionReply { session })
    }
}
