//! Cuts a compacted clone from its source: the source's snapshot may be dropped afterwards. Files that were not copied stay held.
//!
//! Order of checks, texts and effect are Doris's (spec/doris-http.md 12.B): of the instance only the two ids of its source are cleared.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::snapshots::id;
use crate::versioned::lineage::parent;
use crate::{clones, instances, text_bounds};
use quorate_model::MetaError;
use quorate_wire::doris::SnapshotCompactStatus;
use quorate_wire::quorate::v1::DecoupleCloneRequest;

#[derive(Clone, PartialEq, prost::Message)]
pub struct DecoupleInstance {
    #[prost(string, tag = "1")]
    pub instance_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DecoupleInstanceReply {
    /// Whether it still reads files of its former source.
    #[prost(bool, tag = "1")]
    pub holds_files: bool,
}

impl Prepare for DecoupleInstance {
    type Request = DecoupleCloneRequest;

    fn prepare(request: DecoupleCloneRequest, _: &PrepareContext<'_>) -> Result<DecoupleInstance, MetaError> {
        let instance_id = request.instance_id;
        text_bounds::check_text("instance_id", &instance_id)?;
        if instance_id.is_empty() {
            return Err(MetaError::invalid("instance_id is empty"));
        }
        Ok(DecoupleInstance { instance_id })
    }
}

impl Command for DecoupleInstance {
    type Reply = DecoupleInstanceReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DecoupleInstanceReply, ApplyError> {
        let instance_id = &self.instance_id;
        let found = instances::find(context.reader(), instance_id)?;
        let Some(mut instance) = found.filter(|instance| !instance.is_dropped()) else {
            return Err(MetaError::not_found(format!("instance not found, instance_id={instance_id}")).into());
        };
        let info = &mut instance.info;
        if info.source_instance_id().is_empty() || info.source_snapshot_id().is_empty() {
            let text = format!("instance {instance_id} was not a cloned instance (created via clone_instance)");
            return Err(MetaError::invalid(text).into());
        }
        let status = info.snapshot_compact_status();
        if status != SnapshotCompactStatus::SnapshotCompactDone {
            let text = format!(
                "instance {instance_id} snapshot_compact_status is not SNAPSHOT_COMPACT_DONE, current status={}",
                status.as_str_name()
            );
            return Err(MetaError::invalid(text).into());
        }
        if id::parse(info.source_snapshot_id()).is_none() {
            let text = format!("failed to parse source_snapshot_id={} to versionstamp", info.source_snapshot_id());
            return Err(MetaError::internal(text).into());
        }
        (info.source_instance_id, info.source_snapshot_id) = (None, None);
        let record = parent(context.reader(), instance.scope)?.filter(|record| record.base_complete);
        let record = record.ok_or_else(|| MetaError::internal(format!("clone {instance_id} is compacted but has no base layer")))?;
        clones::decouple(context, instance.scope, &record)?;
        instances::put(context, &instance);
        Ok(DecoupleInstanceReply {
            holds_files: record.holds_files,
        })
    }
}
