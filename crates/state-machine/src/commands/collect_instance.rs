//! Removes the record of a dropped instance, or of a base layer of a clone, when all rows and files of it are gone. Proposed by the leader's
//! background loop when it has found that no condemned row names the scope ([`crate::collected`]).

use crate::collected;
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use quorate_model::{MetaError, ScopeId};

#[derive(Clone, PartialEq, prost::Message)]
pub struct CollectInstance {
    #[prost(uint64, tag = "1")]
    pub scope: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CollectInstanceReply {
    /// False: the record is gone already, or something needs it.
    #[prost(bool, tag = "1")]
    pub removed: bool,
}

impl Prepare for CollectInstance {
    /// Made by the leader's background loop, not by a call of the public API.
    type Request = CollectInstance;

    fn prepare(request: CollectInstance, _: &PrepareContext<'_>) -> Result<CollectInstance, MetaError> {
        Ok(request)
    }
}

impl Command for CollectInstance {
    type Reply = CollectInstanceReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CollectInstanceReply, ApplyError> {
        let removed = collected::remove(context, ScopeId(self.scope))?;
        Ok(CollectInstanceReply { removed })
    }
}
