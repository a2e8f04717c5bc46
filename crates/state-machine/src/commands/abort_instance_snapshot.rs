//! Gives up a snapshot of an instance whose image a frontend of Doris could not upload. Doing so again succeeds.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::snapshots::expiry;
use crate::{instance_snapshots, limits};
use quorate_model::MetaError;
use quorate_wire::doris::AbortSnapshotRequest;
use quorate_wire::quorate::v1::SnapshotState;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AbortInstanceSnapshot {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    #[prost(string, tag = "2")]
    pub snapshot_id: String,
    #[prost(string, tag = "3")]
    pub reason: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AbortInstanceSnapshotReply {}

impl Prepare for AbortInstanceSnapshot {
    type Request = AbortSnapshotRequest;

    fn prepare(request: AbortSnapshotRequest, _: &PrepareContext<'_>) -> Result<AbortInstanceSnapshot, MetaError> {
        instance_snapshots::check_caller(request.cloud_unique_id())?;
        instance_snapshots::parse_id(request.snapshot_id())?;
        let bytes = request.reason().len();
        if bytes > limits::MAX_DESCRIPTION_BYTES {
            let limit = limits::MAX_DESCRIPTION_BYTES;
            return Err(MetaError::invalid(format!("reason is {bytes} bytes, limit {limit} bytes; shorten it")));
        }
        Ok(AbortInstanceSnapshot {
            cloud_unique_id: request.cloud_unique_id.unwrap_or_default(),
            snapshot_id: request.snapshot_id.unwrap_or_default(),
            reason: request.reason.unwrap_or_default(),
        })
    }
}

impl Command for AbortInstanceSnapshot {
    type Reply = AbortInstanceSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AbortInstanceSnapshotReply, ApplyError> {
        let instance = instance_snapshots::instance_of_caller(context.reader(), &self.cloud_unique_id)?;
        let revision = instance_snapshots::parse_id(&self.snapshot_id)?;
        let found = instance_snapshots::find(context.reader(), &instance, revision)?;
        if found.is_some_and(|found| found.state() == SnapshotState::Aborted) {
            return Ok(AbortInstanceSnapshotReply {});
        }
        let snapshot = instance_snapshots::require_in_preparation(context.reader(), &instance, &self.snapshot_id)?;
        expiry::abort(context, snapshot, &self.reason)?;
        Ok(AbortInstanceSnapshotReply {})
    }
}
