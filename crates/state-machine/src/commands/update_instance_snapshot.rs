//! Notes the upload that a frontend of Doris has begun for a snapshot's image, so that an orphaned one can be told.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::{instance_snapshots, snapshots, text_bounds};
use quorate_model::MetaError;
use quorate_wire::doris::UpdateSnapshotRequest;

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateInstanceSnapshot {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    #[prost(string, tag = "2")]
    pub snapshot_id: String,
    #[prost(string, tag = "3")]
    pub upload_file: String,
    #[prost(string, tag = "4")]
    pub upload_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UpdateInstanceSnapshotReply {}

impl Prepare for UpdateInstanceSnapshot {
    type Request = UpdateSnapshotRequest;

    fn prepare(request: UpdateSnapshotRequest, _: &PrepareContext<'_>) -> Result<UpdateInstanceSnapshot, MetaError> {
        instance_snapshots::check_caller(request.cloud_unique_id())?;
        text_bounds::check_texts(&[("upload_file", &request.upload_file), ("upload_id", &request.upload_id)])?;
        instance_snapshots::parse_id(request.snapshot_id())?;
        Ok(UpdateInstanceSnapshot {
            cloud_unique_id: request.cloud_unique_id.unwrap_or_default(),
            snapshot_id: request.snapshot_id.unwrap_or_default(),
            upload_file: request.upload_file.unwrap_or_default(),
            upload_id: request.upload_id.unwrap_or_default(),
        })
    }
}

impl Command for UpdateInstanceSnapshot {
    type Reply = UpdateInstanceSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<UpdateInstanceSnapshotReply, ApplyError> {
        let instance = instance_snapshots::instance_of_caller(context.reader(), &self.cloud_unique_id)?;
        let mut snapshot = instance_snapshots::require_in_preparation(context.reader(), &instance, &self.snapshot_id)?;
        let doris = snapshot.record.doris.get_or_insert_default();
        doris.upload_file = Some(self.upload_file.clone());
        doris.upload_id = Some(self.upload_id.clone());
        snapshots::save(context, &snapshot)?;
        Ok(UpdateInstanceSnapshotReply {})
    }
}
