//! Ends a snapshot whose files are gone: its record, and the pin that kept its revision.
//!
//! Proposed by the leader's reconciler, files first. A snapshot that is not being deleted stays, whoever asks. One of an instance with very many
//! collections goes in several steps, each of which is said by the same command.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::snapshots::{self, lifecycle};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::SnapshotState;

#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoveSnapshot {
    #[prost(uint64, tag = "1")]
    pub scope: u64,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RemoveSnapshotReply {
    #[prost(bool, tag = "1")]
    pub removed: bool,
}

impl Prepare for RemoveSnapshot {
    type Request = RemoveSnapshot;

    fn prepare(request: RemoveSnapshot, _: &PrepareContext<'_>) -> Result<RemoveSnapshot, MetaError> {
        Ok(request)
    }
}

impl Command for RemoveSnapshot {
    type Reply = RemoveSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<RemoveSnapshotReply, ApplyError> {
        let found = snapshots::find(context.reader(), ScopeId(self.scope), Revision(self.revision))?;
        match found.filter(|snapshot| snapshot.state() == SnapshotState::Deleting) {
            None => Ok(RemoveSnapshotReply { removed: false }),
            Some(snapshot) => {
                let removed = lifecycle::remove(context, &snapshot)?;
                Ok(RemoveSnapshotReply { removed })
            }
        }
    }
}
