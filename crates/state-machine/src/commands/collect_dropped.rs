//! Removes rows of dropped objects that nobody can see any more and condemns the files they name. Proposed by the leader's background
//! loop while [`dropped::is_due`], as often as there is more.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::{dropped, limits};
use quorate_model::MetaError;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CollectDropped {
    /// Removes no more rows than this: the proposer's way to go gently under load. 0, or too many: the limit.
    #[prost(uint32, tag = "1")]
    pub max_keys: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CollectDroppedReply {
    /// Rows of versions.
    #[prost(uint64, tag = "1")]
    pub removed: u64,
    /// Objects of which nothing is left.
    #[prost(uint64, tag = "2")]
    pub finished: u64,
    /// There was more to do than the bounds allowed: propose another.
    #[prost(bool, tag = "3")]
    pub more: bool,
}

impl Prepare for CollectDropped {
    /// Made by the leader's background loop, not by a call of the public API.
    type Request = CollectDropped;

    fn prepare(request: CollectDropped, _: &PrepareContext<'_>) -> Result<CollectDropped, MetaError> {
        Ok(request)
    }
}

impl Command for CollectDropped {
    type Reply = CollectDroppedReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CollectDroppedReply, ApplyError> {
        let keys = match self.max_keys as usize {
            0 => limits::CLEANUP_KEYS_PER_COMMAND,
            keys => keys.min(limits::CLEANUP_KEYS_PER_COMMAND),
        };
        let dropped::Outcome { removed, finished, more } = dropped::collect(context, keys)?;
        Ok(CollectDroppedReply { removed, finished, more })
    }
}
