//! Gives up a snapshot whose metadata file could not be written: it goes the way of a dropped one, and its name is free.
//!
//! Proposed by the leader, who has seen no progress for too long on its own clock. One that was committed meanwhile stays.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::snapshots::{self, lifecycle};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::SnapshotState;

#[derive(Clone, PartialEq, prost::Message)]
pub struct FailSnapshot {
    #[prost(uint64, tag = "1")]
    pub scope: u64,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct FailSnapshotReply {
    #[prost(bool, tag = "1")]
    pub failed: bool,
}

impl Prepare for FailSnapshot {
    type Request = FailSnapshot;

    fn prepare(request: FailSnapshot, _: &PrepareContext<'_>) -> Result<FailSnapshot, MetaError> {
        Ok(request)
    }
}

impl Command for FailSnapshot {
    type Reply = FailSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<FailSnapshotReply, ApplyError> {
        let found = snapshots::find(context.reader(), ScopeId(self.scope), Revision(self.revision))?;
        match found.filter(|snapshot| snapshot.state() == SnapshotState::Pending && snapshot.record.doris.is_none()) {
            None => Ok(FailSnapshotReply { failed: false }),
            Some(snapshot) => {
                lifecycle::begin_deletion(context, snapshot)?;
                Ok(FailSnapshotReply { failed: true })
            }
        }
    }
}
