//! Ends sessions that nobody used for an hour. Proposed by the leader's background loop; which ones is decided here, by
//! stamped time, so every peer ends the same.

use crate::command::{ApplyContext, ApplyError, Command, decode_record};
use crate::keys::space;
use crate::record::SessionRecord;
use crate::store::{Reader, prefix_end};
use crate::{keys, limits, session};
use quorate_model::SessionId;

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExpireSessions {
    /// Looks at sessions with greater ids.
    #[prost(uint64, tag = "1")]
    pub after: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExpireSessionsReply {
    #[prost(uint64, tag = "1")]
    pub expired: u64,
    /// Where the next call goes on; 0 when all were looked at.
    #[prost(uint64, tag = "2")]
    pub resume_after: u64,
}

impl Command for ExpireSessions {
    type Reply = ExpireSessionsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<ExpireSessionsReply, ApplyError> {
        let mut reply = ExpireSessionsReply::default();
        let mut idle = Vec::new();
        let view = context.reader();
        let mut cursor = view.cursor(
            &keys::session(SessionId(self.after.saturating_add(1))),
            &prefix_end(&[space::SESSION]),
        )?;
        for _ in 0..limits::SESSIONS_SCANNED_PER_EXPIRY {
            let Some((key, value)) = cursor.row() else {
                reply.resume_after = 0;
                break;
            };
            let id = session::id_of_key(key)?;
            let record: SessionRecord = decode_record(key, bytes::Bytes::copy_from_slice(value))?;
            if context.now().0.saturating_sub(record.used_ms) > limits::SESSION_IDLE_MS {
                idle.push(id);
            }
            reply.resume_after = id.0;
            if idle.len() == limits::SESSIONS_PER_EXPIRY {
                break;
            }
            cursor.next()?;
        }
        for id in idle {
            session::remove(context, id)?;
            reply.expired += 1;
        }
        Ok(reply)
    }
}
