//! Says that a snapshot's metadata file is there: the snapshot is usable from now on. Said again when the file lists all manifests.
//!
//! Proposed by the leader's reconciler, which may be late or repeat itself: what does not fit the record's state changes nothing.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::{snapshots, text_bounds};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::SnapshotState;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitSnapshot {
    #[prost(uint64, tag = "1")]
    pub scope: u64,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// Of the metadata file.
    #[prost(string, tag = "3")]
    pub location: String,
    /// The file lists the manifests, all of which are there.
    #[prost(bool, tag = "4")]
    pub manifests_listed: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitSnapshotReply {
    /// After the command; unspecified when there is no such snapshot.
    #[prost(enumeration = "SnapshotState", tag = "1")]
    pub state: i32,
}

impl Prepare for CommitSnapshot {
    type Request = CommitSnapshot;

    fn prepare(request: CommitSnapshot, _: &PrepareContext<'_>) -> Result<CommitSnapshot, MetaError> {
        text_bounds::check_text("location", &request.location)?;
        Ok(request)
    }
}

impl Command for CommitSnapshot {
    type Reply = CommitSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CommitSnapshotReply, ApplyError> {
        let Some(mut snapshot) = snapshots::find(context.reader(), ScopeId(self.scope), Revision(self.revision))? else {
            return Ok(CommitSnapshotReply::default());
        };
        let is_ours = snapshot.record.doris.is_none();
        let before = snapshot.record.clone();
        if is_ours && snapshot.state() == SnapshotState::Pending {
            snapshot.record.state = SnapshotState::Committed as i32;
            snapshot.record.location = self.location.clone();
        }
        if is_ours && snapshot.state() == SnapshotState::Committed && self.manifests_listed && snapshot.record.manifests_complete {
            snapshot.record.manifests_listed = true;
        }
        if snapshot.record != before {
            snapshots::save(context, &snapshot)?;
        }
        Ok(CommitSnapshotReply {
            state: snapshot.record.state,
        })
    }
}
