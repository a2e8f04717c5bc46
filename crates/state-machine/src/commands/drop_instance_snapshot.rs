//! Drops a snapshot of an instance, as Doris's `drop_snapshot` does: one that is finished and that nobody uses.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Route};
use crate::snapshots::{clones, lifecycle, pins};
use crate::{instance_snapshots, text_bounds};
use quorate_model::{ErrorCode, MetaError};
use quorate_wire::doris::DropSnapshotRequest;
use quorate_wire::quorate::v1::SnapshotState;

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropInstanceSnapshot {
    /// Either says which instance; this one wins.
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub cloud_unique_id: String,
    #[prost(string, tag = "3")]
    pub snapshot_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropInstanceSnapshotReply {}

/// The parameters of either front: over HTTP an instance is named, over gRPC the caller.
#[derive(Clone, Debug, PartialEq)]
pub enum DropInstanceSnapshotCall {
    Http { instance_id: String, snapshot_id: String },
    Grpc(DropSnapshotRequest),
}

impl Prepare for DropInstanceSnapshot {
    type Request = DropInstanceSnapshotCall;

    fn prepare(call: DropInstanceSnapshotCall, _: &PrepareContext<'_>) -> Result<DropInstanceSnapshot, MetaError> {
        let command = match call {
            DropInstanceSnapshotCall::Http { instance_id, snapshot_id } => {
                text_bounds::check_text("instance_id", &instance_id)?;
                if instance_id.is_empty() {
                    return Err(MetaError::invalid("instance_id is empty"));
                }
                if snapshot_id.is_empty() {
                    return Err(MetaError::invalid("snapshot_id is empty"));
                }
                DropInstanceSnapshot {
                    instance_id,
                    snapshot_id,
                    ..DropInstanceSnapshot::default()
                }
            }
            DropInstanceSnapshotCall::Grpc(request) => {
                instance_snapshots::check_caller(request.cloud_unique_id())?;
                DropInstanceSnapshot {
                    cloud_unique_id: request.cloud_unique_id.unwrap_or_default(),
                    snapshot_id: request.snapshot_id.unwrap_or_default(),
                    ..DropInstanceSnapshot::default()
                }
            }
        };
        instance_snapshots::parse_id(&command.snapshot_id)?;
        Ok(command)
    }
}

impl Command for DropInstanceSnapshot {
    type Reply = DropInstanceSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DropInstanceSnapshotReply, ApplyError> {
        let reader = context.reader();
        let instance = match self.instance_id.as_str() {
            "" => instance_snapshots::instance_of_caller(reader, &self.cloud_unique_id)?,
            instance_id => instances::require(reader, instance_id, Route::ChangeStorage)?,
        };
        let revision = instance_snapshots::parse_id(&self.snapshot_id)?;
        let Some(snapshot) = instance_snapshots::find(reader, &instance, revision)? else {
            let text = format!("snapshot not found, snapshot_id={}", self.snapshot_id);
            return Err(MetaError::new(ErrorCode::KeyMissing, text).into());
        };
        if !matches!(snapshot.state(), SnapshotState::Committed | SnapshotState::Aborted) {
            return Err(MetaError::invalid("cannot drop snapshot that is not in final state (NORMAL or ABORTED)").into());
        }
        let clones = clones(reader, snapshot.scope, revision)?;
        if !clones.is_empty() {
            let derived = lifecycle::clone_names(reader, &clones)?.join(", ");
            let text = format!("cannot drop snapshot that is referenced by other instance, derived_instance_ids={derived}");
            return Err(MetaError::invalid(text).into());
        }
        let live = pins::live(reader, snapshot.scope, revision, context.now().0)?.len();
        if live > 0 {
            return Err(MetaError::invalid(format!("cannot drop snapshot that has {live} active pins, unpin before dropping")).into());
        }
        lifecycle::begin_deletion(context, snapshot)?;
        Ok(DropInstanceSnapshotReply {})
    }
}
