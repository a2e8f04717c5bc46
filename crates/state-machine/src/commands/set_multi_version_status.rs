//! Whether an instance keeps versions of its metadata: the condition of snapshots.
//!
//! Our versioned tables always keep versions, so a move needs no migration: it says what the instance may be used for. Leaving
//! MULTI_VERSION_DISABLED makes snapshots possible (their switch goes to OFF); going back makes them impossible.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext, decode_record};
use crate::instances;
use crate::keys::space;
use crate::record::PinRecord;
use crate::store::{Reader, StoreError, prefix_end};
use crate::text_bounds;
use crate::versioned::pins::PinKind;
use bytes::Bytes;
use quorate_model::{MetaError, ScopeId};
use quorate_wire::doris::{InstanceInfoPb, MultiVersionStatus, SnapshotSwitchStatus};

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetMultiVersionStatus {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// A `MultiVersionStatus`.
    #[prost(int32, tag = "2")]
    pub status: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetMultiVersionStatusReply {}

/// The parameters as they were sent.
#[derive(Clone, Debug, Default)]
pub struct SetMultiVersionStatusCall {
    pub instance_id: String,
    /// A name, in any case.
    pub multi_version_status: String,
}

impl Prepare for SetMultiVersionStatus {
    type Request = SetMultiVersionStatusCall;

    fn prepare(call: SetMultiVersionStatusCall, _: &PrepareContext<'_>) -> Result<SetMultiVersionStatus, MetaError> {
        text_bounds::check_text("instance_id", &call.instance_id)?;
        if call.instance_id.is_empty() {
            return Err(MetaError::invalid("empty instance id"));
        }
        if call.multi_version_status.is_empty() {
            return Err(MetaError::invalid("multi_version_status is required"));
        }
        let name = call.multi_version_status.to_ascii_uppercase();
        let Some(status) = MultiVersionStatus::from_str_name(&name) else {
            return Err(MetaError::invalid(
                "invalid multi_version_status value. Supported values: MULTI_VERSION_DISABLED, MULTI_VERSION_WRITE_ONLY, \
                 MULTI_VERSION_READ_WRITE, MULTI_VERSION_ENABLED",
            ));
        };
        Ok(SetMultiVersionStatus {
            instance_id: call.instance_id,
            status: status as i32,
        })
    }
}

impl Command for SetMultiVersionStatus {
    type Reply = SetMultiVersionStatusReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<SetMultiVersionStatusReply, ApplyError> {
        use MultiVersionStatus::MultiVersionDisabled;
        let Some(mut instance) = instances::find(context.reader(), &self.instance_id)? else {
            return Err(MetaError::not_found("instance not found").into());
        };
        let wanted = MultiVersionStatus::try_from(self.status).map_err(|_| MetaError::invalid("unknown multi_version_status"))?;
        check_move(&instance.info, wanted)?;
        if wanted == MultiVersionDisabled && has_snapshots(context.reader(), instance.scope)? {
            let text = format!("cannot set multi_version_status to {}, instance has snapshots; drop them first", wanted.as_str_name());
            return Err(MetaError::invalid(text).into());
        }
        let switch = match (wanted, instance.info.snapshot_switch_status()) {
            (MultiVersionDisabled, _) => SnapshotSwitchStatus::SnapshotSwitchDisabled,
            (_, SnapshotSwitchStatus::SnapshotSwitchDisabled) => SnapshotSwitchStatus::SnapshotSwitchOff,
            (_, unchanged) => unchanged,
        };
        instance.info.set_multi_version_status(wanted);
        instance.info.set_snapshot_switch_status(switch);
        instances::put(context, &instance);
        Ok(SetMultiVersionStatusReply {})
    }
}

fn check_move(info: &InstanceInfoPb, to: MultiVersionStatus) -> Result<(), MetaError> {
    use MultiVersionStatus::{MultiVersionDisabled, MultiVersionEnabled, MultiVersionReadWrite, MultiVersionWriteOnly};
    let from = info.multi_version_status();
    let is_allowed = match (from, to) {
        (MultiVersionEnabled, _) | (_, MultiVersionEnabled) => false,
        (MultiVersionDisabled, MultiVersionReadWrite) => false,
        (MultiVersionDisabled | MultiVersionWriteOnly | MultiVersionReadWrite, _) => true,
    };
    if !is_allowed {
        let (from, to) = (from.as_str_name(), to.as_str_name());
        return Err(MetaError::invalid(format!("directly convert from {from} to {to} is not allowed")));
    }
    if from == to {
        return Ok(());
    }
    if !info.source_instance_id().is_empty() && matches!(to, MultiVersionWriteOnly | MultiVersionDisabled) {
        let to = to.as_str_name();
        return Err(MetaError::invalid(format!("cannot set multi_version_status to {to} for cloned instances")));
    }
    if info.snapshot_switch_status() == SnapshotSwitchStatus::SnapshotSwitchOn {
        let to = to.as_str_name();
        return Err(MetaError::invalid(format!(
            "cannot set multi_version_status to {to} while snapshots are enabled; set_snapshot_property with status DISABLED first"
        )));
    }
    Ok(())
}

/// Snapshots are pins of the instance.
fn has_snapshots(reader: &dyn Reader, scope: ScopeId) -> Result<bool, StoreError> {
    let mut prefix = vec![space::PIN];
    prefix.extend_from_slice(&scope.0.to_be_bytes());
    let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
    while let Some((key, value)) = cursor.row() {
        let pin: PinRecord = decode_record(key, Bytes::copy_from_slice(value))?;
        if pin.kind == PinKind::Snapshot as i32 {
            return Ok(true);
        }
        cursor.next()?;
    }
    Ok(false)
}

#[cfg(test)]
mod tests;
