//! Notes that condemned files have been deleted. Proposed by the leader's deleter, after the deed; a row that is gone already is no
//! error, because the same files may have been deleted by a leader before.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::condemned::{self, DeletionKey};
use crate::limits;
use quorate_model::MetaError;
use std::collections::BTreeSet;

#[derive(Clone, PartialEq, prost::Message)]
pub struct FinishDeletion {
    #[prost(message, repeated, tag = "1")]
    pub deletions: Vec<DeletionKey>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FinishDeletionReply {
    #[prost(uint32, tag = "1")]
    pub finished: u32,
}

impl Prepare for FinishDeletion {
    /// Made by the leader's deleter, not by a call of the public API.
    type Request = FinishDeletion;

    fn prepare(request: FinishDeletion, _: &PrepareContext<'_>) -> Result<FinishDeletion, MetaError> {
        request.check()?;
        Ok(request)
    }
}

impl FinishDeletion {
    fn check(&self) -> Result<(), MetaError> {
        let (count, limit) = (self.deletions.len(), limits::MAX_DELETIONS_PER_COMMAND);
        if count > limit {
            return Err(MetaError::invalid(format!("{count} deletions, limit {limit}; split the request")));
        }
        Ok(())
    }
}

impl Command for FinishDeletion {
    type Reply = FinishDeletionReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<FinishDeletionReply, ApplyError> {
        self.check()?;
        let mut finished = 0;
        for place in self.deletions.iter().collect::<BTreeSet<_>>() {
            finished += u32::from(condemned::finish(context, *place)?);
        }
        Ok(FinishDeletionReply { finished })
    }
}
