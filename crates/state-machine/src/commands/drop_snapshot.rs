//! Drops a snapshot that nobody uses. Its name is free at once; its files, its record and what it kept go afterwards.
//!
//! Dropping what is not there, or is being deleted already, succeeds: upstream's callers repeat the call.

use crate::attributes;
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::snapshots::{lifecycle, names};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{DropSnapshotRequest, SnapshotRef, SnapshotState};

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropSnapshot {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(message, required, tag = "2")]
    pub snapshot: SnapshotRef,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropSnapshotReply {
    #[prost(bool, tag = "1")]
    pub existed: bool,
}

impl Prepare for DropSnapshot {
    type Request = DropSnapshotRequest;

    fn prepare(request: DropSnapshotRequest, _: &PrepareContext<'_>) -> Result<DropSnapshot, MetaError> {
        let snapshot = names::checked_reference(request.snapshot.unwrap_or_default())?;
        Ok(DropSnapshot {
            instance_id: checked_instance(request.instance_id)?,
            snapshot,
        })
    }
}

/// The instance that a call about a snapshot names.
pub(super) fn checked_instance(instance_id: String) -> Result<String, MetaError> {
    crate::text_bounds::check_text("instance_id", &instance_id)?;
    match instance_id.as_str() {
        "" => Err(MetaError::invalid("instance_id is empty; name the instance")),
        _ => Ok(instance_id),
    }
}

impl Command for DropSnapshot {
    type Reply = DropSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DropSnapshotReply, ApplyError> {
        let scope = attributes::live_scope(context.reader(), &self.instance_id)?;
        let found = names::resolve_to_drop(context.reader(), scope, &self.snapshot)?;
        let Some(snapshot) = found.filter(|snapshot| snapshot.state() != SnapshotState::Deleting) else {
            return Ok(DropSnapshotReply { existed: false });
        };
        lifecycle::check_unused(context.reader(), &snapshot, context.now().0)?;
        lifecycle::begin_deletion(context, snapshot)?;
        Ok(DropSnapshotReply { existed: true })
    }
}

#[cfg(test)]
mod tests;
