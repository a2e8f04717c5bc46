//! Settings of the Doris fronts that can change while the cluster runs: one row, the same for every peer.
//!
//! Upstream keeps them per process, in a file. Here a change is a command: it survives, and no peer behaves differently from
//! its neighbours. The names are upstream's (spec/doris-http.md 6). A setting decides what a peer puts into the commands it
//! prepares; apply never looks here.

use crate::command::{PrepareSettings, read_record};
use crate::keys::{self, RecordTable};
use crate::rate_limits;
use crate::record::FrontSettingsRecord;
use crate::store::{Reader, StoreError};
use bytes::Bytes;
use quorate_model::MetaError;
use std::collections::BTreeMap;

/// What a setting's value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    /// From the least to the greatest value.
    Integer(i64, i64),
    /// `rpc:limit;rpc:limit`.
    Limits,
    Text,
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub name: &'static str,
    pub kind: Kind,
    pub default: &'static str,
    pub can_change: bool,
}

const fn changeable(name: &'static str, kind: Kind, default: &'static str) -> Setting {
    Setting {
        name,
        kind,
        default,
        can_change: true,
    }
}

/// Every setting, by name.
pub const SETTINGS: &[Setting] = &[
    changeable("default_max_qps_limit", Kind::Integer(0, i64::MAX), "1000000"),
    changeable("enable_check_fe_drop_in_safe_time", Kind::Bool, "true"),
    changeable("enable_check_instance_id", Kind::Bool, "true"),
    changeable("enable_cluster_name_check", Kind::Bool, "false"),
    changeable("enable_cluster_snapshot", Kind::Bool, "false"),
    changeable("enable_multi_version_status", Kind::Bool, "false"),
    changeable("enable_rate_limit", Kind::Bool, "true"),
    // The cipher is part of what rests in the state.
    Setting {
        name: "encryption_method",
        kind: Kind::Text,
        default: crate::object_stores::ENCRYPTION_METHOD,
        can_change: false,
    },
    changeable("snapshot_max_reserved_num", Kind::Integer(0, 100_000), "35"),
    changeable("snapshot_min_interval_seconds", Kind::Integer(1, 31_536_000), "3600"),
    changeable("specific_max_qps_limit", Kind::Limits, "get_cluster:5000000;begin_txn:5000000"),
];

/// The row of a name.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.name == name)
}

impl Setting {
    /// Upstream's name of the type.
    pub fn type_name(&self) -> &'static str {
        match self.kind {
            Kind::Bool => "bool",
            Kind::Integer(..) => "int64_t",
            Kind::Limits | Kind::Text => "std::string",
        }
    }

    fn accepts(&self, value: &str) -> bool {
        match self.kind {
            Kind::Bool => matches!(value, "true" | "false"),
            Kind::Integer(least, greatest) => value.parse().is_ok_and(|number: i64| (least..=greatest).contains(&number)),
            Kind::Limits => parse_limits(value).is_some(),
            Kind::Text => true,
        }
    }

    /// Refuses a change that this setting does not take, in upstream's words.
    pub fn check_change(&self, value: &str) -> Result<(), MetaError> {
        let name = self.name;
        if !self.can_change {
            return Err(MetaError::invalid(format!("config field={name} is immutable")));
        }
        if !self.accepts(value) {
            return Err(MetaError::invalid(format!("not supported to modify field={name}, value={value}")));
        }
        Ok(())
    }
}

fn parse_limits(value: &str) -> Option<BTreeMap<String, i64>> {
    let mut limits = BTreeMap::new();
    for entry in value.split(';').filter(|entry| !entry.is_empty()) {
        let (rpc, limit) = entry.split_once(':')?;
        let limit: i64 = limit.parse().ok().filter(|limit| *limit >= 0)?;
        if !rate_limits::is_rpc(rpc) {
            return None;
        }
        limits.insert(rpc.to_owned(), limit);
    }
    Some(limits)
}

/// The settings as they are.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct FrontSettings {
    /// Those that were changed.
    values: BTreeMap<String, String>,
    /// Revision of the last change; 0 when there was none.
    pub changed_at: u64,
}

impl FrontSettings {
    pub fn load(reader: &dyn Reader) -> Result<FrontSettings, StoreError> {
        let record = read_record::<FrontSettingsRecord>(reader, &key())?.unwrap_or_default();
        Ok(FrontSettings {
            values: record.values,
            changed_at: record.changed_at,
        })
    }

    /// A value as text. One that this version does not accept, because another wrote it, counts as not set.
    pub fn text(&self, setting: &Setting) -> &str {
        let value = self.values.get(setting.name).map(String::as_str);
        value.filter(|value| setting.accepts(value)).unwrap_or(setting.default)
    }

    fn named(&self, name: &str) -> &str {
        find(name).map_or("", |setting| self.text(setting))
    }

    fn is_on(&self, name: &str) -> bool {
        self.named(name) == "true"
    }

    fn number(&self, name: &str) -> i64 {
        self.named(name).parse().unwrap_or_default()
    }

    /// What a receiving peer prepares commands with.
    pub fn prepare(&self) -> PrepareSettings {
        let defaults = PrepareSettings::default();
        PrepareSettings {
            check_cluster_name: self.is_on("enable_cluster_name_check"),
            check_instance_id: self.is_on("enable_check_instance_id"),
            frontend_drop_safe_seconds: match self.is_on("enable_check_fe_drop_in_safe_time") {
                true => defaults.frontend_drop_safe_seconds,
                false => 0,
            },
            multi_version_instances: self.is_on("enable_multi_version_status"),
            snapshot_instances: self.is_on("enable_cluster_snapshot"),
            snapshot_max_reserved: self.number("snapshot_max_reserved_num"),
            snapshot_min_interval_seconds: self.number("snapshot_min_interval_seconds"),
        }
    }

    pub fn limits_calls(&self) -> bool {
        self.is_on("enable_rate_limit")
    }

    /// Calls per second of an instance to any RPC that has no limit of its own.
    pub fn default_limit(&self) -> i64 {
        self.number("default_max_qps_limit")
    }

    /// Calls per second of an instance, by RPC.
    pub fn limits_by_rpc(&self) -> BTreeMap<String, i64> {
        parse_limits(self.named("specific_max_qps_limit")).unwrap_or_default()
    }
}

/// Where the row is.
pub(crate) fn key() -> Bytes {
    keys::record_prefix(RecordTable::FrontSettings).freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_its_defaults_are_accepted() {
        assert!(SETTINGS.is_sorted_by(|a, b| a.name < b.name));
        for setting in SETTINGS {
            assert!(setting.accepts(setting.default), "{}", setting.name);
        }
    }

    #[test]
    fn without_changes_the_defaults_of_prepare_hold() {
        let defaults = FrontSettings::default();
        assert_eq!(format!("{:?}", defaults.prepare()), format!("{:?}", PrepareSettings::default()));
        assert!(defaults.limits_calls());
        assert_eq!(defaults.default_limit(), 1_000_000);
        let specific = ["get_cluster", "begin_txn"].map(|rpc| (rpc.to_owned(), 5_000_000));
        assert_eq!(defaults.limits_by_rpc(), BTreeMap::from(specific));
    }

    #[test]
    fn values_of_another_version_count_as_not_set() {
        let values = [
            ("enable_rate_limit", "maybe"),
            ("default_max_qps_limit", "-1"),
            ("specific_max_qps_limit", "x"),
        ];
        let odd = FrontSettings {
            values: values.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
            changed_at: 1,
        };
        assert!(odd.limits_calls());
        assert_eq!(odd.default_limit(), 1_000_000);
        assert_eq!(odd.limits_by_rpc(), FrontSettings::default().limits_by_rpc());
    }
}
