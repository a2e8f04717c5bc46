//! Removes versions that nothing can see any more, and ends pins whose time has passed. Proposed by the leader's background
//! loop while [`crate::versioned::cleanup::behind_ms`] says so; what goes is decided here, by stamped time, so every peer removes the
//! same.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::limits;
use crate::versioned::{cleanup, pins};
use quorate_model::MetaError;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CollectVersions {
    /// Looks at no more keys than this: the proposer's way to go gently under load. 0, or too many: the limit.
    #[prost(uint32, tag = "1")]
    pub max_keys: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CollectVersionsReply {
    #[prost(uint64, tag = "1")]
    pub removed: u64,
    #[prost(uint64, tag = "2")]
    pub parked: u64,
    #[prost(uint64, tag = "3")]
    pub tombstones_removed: u64,
    #[prost(uint64, tag = "4")]
    pub pins_ended: u64,
    /// There was more to do than the bounds allowed: propose another.
    #[prost(bool, tag = "5")]
    pub more: bool,
}

impl Prepare for CollectVersions {
    /// Made by the leader's background loop, not by a call of the public API.
    type Request = CollectVersions;

    fn prepare(request: CollectVersions, _context: &PrepareContext<'_>) -> Result<CollectVersions, MetaError> {
        Ok(request)
    }
}

impl Command for CollectVersions {
    type Reply = CollectVersionsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CollectVersionsReply, ApplyError> {
        let keys = match self.max_keys as usize {
            0 => limits::CLEANUP_KEYS_PER_COMMAND,
            keys => keys.min(limits::CLEANUP_KEYS_PER_COMMAND),
        };
        let ended = pins::end_expired(context, keys)?;
        if ended > 0 {
            // Clean-up reads the pins as they were before this command, so it waits for the next one.
            return Ok(CollectVersionsReply {
                pins_ended: ended as u64,
                more: true,
                ..CollectVersionsReply::default()
            });
        }
        let outcome = cleanup::run(context, keys)?;
        let cleanup::Outcome {
            removed,
            parked,
            tombstones_removed,
            more,
        } = outcome;
        Ok(CollectVersionsReply {
            removed,
            parked,
            tombstones_removed,
            pins_ended: 0,
            more,
        })
    }
}

#[cfg(test)]
mod tests;
