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
    /// Its id is of those that callers do not write under ([`SessionId::of_peer`]). Earlier builds wrote entries without it.
    #[prost(bool, tag = "2")]
    pub is_apart: bool,
}

impl OpenSession {
    /// For a peer's own writes, where no caller can write.
    pub fn of_peer() -> OpenSession {
        OpenSession {
            for_peer: true,
            is_apart: true,
        }
    }
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
        let number = context.counters.next_session.max(1);
        context.counters.next_session = number + 1;
        let session = if self.is_apart { SessionId::of_peer(number) } else { SessionId(number) };
        context.counters.sessions += 1;
        let now_ms = context.now().0;
        context.put_record(
            keys::session(session),
            &SessionRecord {
                opened_ms: now_ms,
                used_ms: now_ms,
            },
        );
        Ok(OpenSessionReply { session: session.0 })
    }
}
