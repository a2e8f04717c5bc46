//! Reads of an instance's snapshot settings.

use super::QueryError;
use crate::instances::{self, Route};
use crate::store::Reader;
use quorate_wire::doris::{GetInstanceRequest, SnapshotSwitchStatus};

/// What `get_snapshot_property` shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotProperties {
    /// `UNSUPPORTED`, `DISABLED` or `ENABLED`.
    pub status: &'static str,
    /// Only if set, like the next.
    pub max_reserved_snapshots: Option<i64>,
    pub snapshot_interval_seconds: Option<i64>,
}

/// Names the instance as `get_instance` does, and refuses in its words.
pub fn get_snapshot_property(reader: &dyn Reader, request: &GetInstanceRequest) -> Result<SnapshotProperties, QueryError> {
    let instance_id = super::instances::requested_instance(reader, request)?;
    let info = instances::require(reader, &instance_id, Route::GetInstance)?.info;
    Ok(SnapshotProperties {
        status: match info.snapshot_switch_status() {
            SnapshotSwitchStatus::SnapshotSwitchDisabled => "UNSUPPORTED",
            SnapshotSwitchStatus::SnapshotSwitchOff => "DISABLED",
            SnapshotSwitchStatus::SnapshotSwitchOn => "ENABLED",
        },
        max_reserved_snapshots: info.max_reserved_snapshot,
        snapshot_interval_seconds: info.snapshot_interval_seconds,
    })
}
