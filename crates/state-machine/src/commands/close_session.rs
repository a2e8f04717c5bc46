//! Ends a session and forgets its answers. Closing one that is gone succeeds.

use crate::command::{ApplyContext, ApplyError, Command};
use crate::session;
use quorate_model::SessionId;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CloseSession {
    #[prost(uint64, tag = "1")]
    pub session: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CloseSessionReply {
    #[prost(bool, tag = "1")]
    pub existed: bool,
}

impl Command for CloseSession {
    type Reply = CloseSessionReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CloseSessionReply, ApplyError> {
        let existed = session::remove(context, SessionId(self.session))?;
        Ok(CloseSessionReply { existed })
    }
}
