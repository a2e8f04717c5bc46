//! Switches snapshots of an instance on or off, and bounds how many are kept and how often they are made.
//!
//! Properties have two spellings: the HTTP route's (`status`, `max_reserved_snapshots`, `snapshot_interval_seconds`) and the
//! names of an enum; `prepare` brings the first into the second. All are applied or none.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Route};
use crate::{limits, text_bounds};
use quorate_model::MetaError;
use quorate_wire::doris::alter_instance_request::SnapshotProperty;
use quorate_wire::doris::{AlterInstanceRequest, InstanceInfoPb, MultiVersionStatus, SnapshotSwitchStatus};
use std::collections::BTreeMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetSnapshotProperty {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// By the names of the enum, not checked yet.
    #[prost(btree_map = "string, string", tag = "2")]
    pub properties: BTreeMap<String, String>,
    /// The receiving peer's settings.
    #[prost(int64, tag = "3")]
    pub max_reserved: i64,
    #[prost(int64, tag = "4")]
    pub min_interval_seconds: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetSnapshotPropertyReply {}

impl Prepare for SetSnapshotProperty {
    type Request = AlterInstanceRequest;

    fn prepare(request: AlterInstanceRequest, context: &PrepareContext<'_>) -> Result<SetSnapshotProperty, MetaError> {
        let mut properties = BTreeMap::new();
        for (name, value) in &request.properties {
            text_bounds::check_text("property name", name)?;
            text_bounds::check_text("property value", value)?;
            let (name, value) = spelled_as_enum(name, value)?;
            properties.insert(name.to_owned(), value.to_owned());
        }
        if properties.len() > limits::MAX_LIST_ENTRIES {
            let text = format!("properties has {} entries, limit {}; send fewer", properties.len(), limits::MAX_LIST_ENTRIES);
            return Err(MetaError::invalid(text));
        }
        Ok(SetSnapshotProperty {
            instance_id: instances::given_id(&request)?,
            properties,
            max_reserved: context.settings.snapshot_max_reserved,
            min_interval_seconds: context.settings.snapshot_min_interval_seconds,
        })
    }
}

/// A property as the HTTP route spells it, in the enum's spelling. `status` is judged here: upstream does so before it
/// looks for the instance, and though its text says otherwise, only in capitals.
fn spelled_as_enum<'a>(name: &'a str, value: &'a str) -> Result<(&'a str, &'a str), MetaError> {
    match (name, value) {
        ("status", "ENABLED") => Ok((SnapshotProperty::EnableSnapshot.as_str_name(), "true")),
        ("status", "DISABLED") => Ok((SnapshotProperty::EnableSnapshot.as_str_name(), "false")),
        ("status", other) => Err(MetaError::invalid(format!(
            "Invalid value for status property: {other}, expected 'ENABLED' or 'DISABLED' (case insensitive)"
        ))),
        ("max_reserved_snapshots", _) => Ok((SnapshotProperty::MaxReservedSnapshots.as_str_name(), value)),
        ("snapshot_interval_seconds", _) => Ok((SnapshotProperty::SnapshotIntervalSeconds.as_str_name(), value)),
        _ => Ok((name, value)),
    }
}

impl Command for SetSnapshotProperty {
    type Reply = SetSnapshotPropertyReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<SetSnapshotPropertyReply, ApplyError> {
        let mut instance = instances::require(context.reader(), &self.instance_id, Route::AlterInstance)?;
        if self.properties.is_empty() {
            return Err(MetaError::invalid(format!("snapshot properties is empty, instance_id = {}", self.instance_id)).into());
        }
        for (name, value) in &self.properties {
            self.set(&mut instance.info, name, value)?;
        }
        instances::put(context, &instance);
        Ok(SetSnapshotPropertyReply {})
    }
}

impl SetSnapshotProperty {
    fn set(&self, info: &mut InstanceInfoPb, name: &str, value: &str) -> Result<(), MetaError> {
        match SnapshotProperty::from_str_name(name) {
            Some(SnapshotProperty::EnableSnapshot) => self.switch(info, value),
            Some(SnapshotProperty::MaxReservedSnapshots) => {
                info.max_reserved_snapshot = Some(self.reserved(value)?);
                Ok(())
            }
            Some(SnapshotProperty::SnapshotIntervalSeconds) => {
                info.snapshot_interval_seconds = Some(self.interval(value)?);
                Ok(())
            }
            Some(SnapshotProperty::UnknownProperty) | None => Err(MetaError::invalid(format!("unknown snapshot property: {name}"))),
        }
    }

    fn switch(&self, info: &mut InstanceInfoPb, value: &str) -> Result<(), MetaError> {
        let id = &self.instance_id;
        let wanted = match value {
            "true" => SnapshotSwitchStatus::SnapshotSwitchOn,
            "false" => SnapshotSwitchStatus::SnapshotSwitchOff,
            _ => {
                return Err(MetaError::invalid(format!(
                    "Invalid value for ENABLE_SNAPSHOT property: {value}, expected 'true' or 'false', instance_id: {id}"
                )));
            }
        };
        if info.snapshot_switch_status() == SnapshotSwitchStatus::SnapshotSwitchDisabled {
            return Err(MetaError::invalid(format!("Snapshot is not ready, instance_id: {id}")));
        }
        if info.snapshot_switch_status() == wanted {
            let wanted = wanted.as_str_name();
            return Err(MetaError::invalid(format!("Snapshot is already set to {wanted}, instance_id: {id}")));
        }
        if wanted == SnapshotSwitchStatus::SnapshotSwitchOn {
            if info.multi_version_status() != MultiVersionStatus::MultiVersionReadWrite {
                let status = info.multi_version_status().as_str_name();
                return Err(MetaError::invalid(format!(
                    "Cannot enable snapshot when multi_version_status is not MULTI_VERSION_READ_WRITE. \
                     Current status is {status}, instance_id: {id}"
                )));
            }
            info.snapshot_interval_seconds.get_or_insert(self.min_interval_seconds);
            info.max_reserved_snapshot.get_or_insert(0);
        }
        info.set_snapshot_switch_status(wanted);
        Ok(())
    }

    fn reserved(&self, value: &str) -> Result<i64, MetaError> {
        let Some(count) = leading_integer(value) else {
            return Err(MetaError::invalid(format!("Invalid numeric value for max_reserved_snapshots: {value}")));
        };
        if count < 0 {
            return Err(MetaError::invalid(format!("MAX_RESERVED_SNAPSHOTS must be non-negative, got: {value}")));
        }
        if count > self.max_reserved {
            let most = self.max_reserved;
            return Err(MetaError::invalid(format!("MAX_RESERVED_SNAPSHOTS too large, maximum is {most}, got: {value}")));
        }
        Ok(count)
    }

    fn interval(&self, value: &str) -> Result<i64, MetaError> {
        let Some(seconds) = leading_integer(value) else {
            return Err(MetaError::invalid(format!("Invalid numeric value for SNAPSHOT_INTERVAL_SECONDS: {value}")));
        };
        if seconds < self.min_interval_seconds {
            let least = self.min_interval_seconds;
            return Err(MetaError::invalid(format!(
                "SNAPSHOT_INTERVAL_SECONDS too small, minimum is {least} seconds, got: {value}"
            )));
        }
        Ok(seconds)
    }
}

/// The number a text begins with, as C++'s `stoll` reads it; none if it begins with none or is too large.
fn leading_integer(text: &str) -> Option<i64> {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let digits = unsigned.bytes().take_while(u8::is_ascii_digit).count();
    text[..text.len() - unsigned.len() + digits].parse().ok()
}

#[cfg(test)]
mod tests;
