//! Cuts a compacted clone from its source: the source's snapshot may be dropped afterwards. Files that were not copied stay held.
//!
//! Order of checks, codes and effect are Doris's (spec/doris-http.md 12.B): of the instance only the two ids of its source are cleared. Texts
//! are Doris's for callers of its fronts; those of the native API are told what to do next.

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
    /// Asked for through the native API.
    #[prost(bool, tag = "2")]
    pub native: bool,
}

/// The parameters of each front.
#[derive(Clone, Debug, PartialEq)]
pub enum DecoupleInstanceCall {
    Http { instance_id: String },
    Native(DecoupleCloneRequest),
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DecoupleInstanceReply {
    /// Whether it still reads files of its former source.
    #[prost(bool, tag = "1")]
    pub holds_files: bool,
}

impl Prepare for DecoupleInstance {
    type Request = DecoupleInstanceCall;

    fn prepare(call: DecoupleInstanceCall, _: &PrepareContext<'_>) -> Result<DecoupleInstance, MetaError> {
        let (instance_id, native) = match call {
            DecoupleInstanceCall::Http { instance_id } => (instance_id, false),
            DecoupleInstanceCall::Native(request) => (request.instance_id, true),
        };
        text_bounds::check_text("instance_id", &instance_id)?;
        if instance_id.is_empty() {
            return Err(MetaError::invalid("instance_id is empty"));
        }
        Ok(DecoupleInstance { instance_id, native })
    }
}

impl Command for DecoupleInstance {
    type Reply = DecoupleInstanceReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DecoupleInstanceReply, ApplyError> {
        let instance_id = &self.instance_id;
        let found = instances::find(context.reader(), instance_id)?;
        let Some(mut instance) = found.filter(|instance| !instance.is_dropped()) else {
            return Err(clones::no_such_instance(instance_id, self.native).into());
        };
        let job = parent(context.reader(), instance.scope)?.map_or(0, |record| record.job);
        let info = &mut instance.info;
        if info.source_instance_id().is_empty() || info.source_snapshot_id().is_empty() {
            return Err(clones::no_clone(instance_id, "decouple", self.native).into());
        }
        let status = info.snapshot_compact_status();
        if status != SnapshotCompactStatus::SnapshotCompactDone {
            return Err(MetaError::invalid(self.not_compacted(status, job)).into());
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

impl DecoupleInstance {
    fn not_compacted(&self, status: SnapshotCompactStatus, job: u64) -> String {
        let id = &self.instance_id;
        match status {
            _ if !self.native => format!(
                "instance {id} snapshot_compact_status is not SNAPSHOT_COMPACT_DONE, current status={}",
                status.as_str_name()
            ),
            SnapshotCompactStatus::SnapshotCompactDoing => {
                format!("clone {id} is being compacted by job {job}; decouple it when that has completed (`quorate job watch {job}`)")
            }
            _ => format!("clone {id} still reads through its source; compact it first (`quorate instance compact {id} --wait`)"),
        }
    }
}
