//! How many calls per second an instance may make: limits by RPC, by instance, by both, or for all. One row.
//!
//! Limits are of the whole cluster; each peer counts the calls it serves itself, as each of upstream's processes does.

use crate::command::{ApplyContext, read_record};
use crate::front_settings::FrontSettings;
use crate::keys::{self, RecordTable};
use crate::record::RateLimitsRecord;
use crate::store::{Reader, StoreError};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap};

/// Every RPC whose calls are counted, by upstream's names. HTTP routes count as the RPC they stand for.
pub const RPC_NAMES: &[&str] = &[
    "alter_cluster",
    "alter_instance",
    "alter_obj_store_info",
    "create_instance",
    "get_cluster",
    "get_instance",
    "get_obj_store_info",
];

/// Whether calls of this name are counted.
pub fn is_rpc(name: &str) -> bool {
    RPC_NAMES.contains(&name)
}

/// The limits, most special first: RPC and instance, instance, RPC, all; then the settings.
#[derive(Clone, Debug, Default)]
pub struct RateLimits {
    /// By RPC (empty: any), then by instance (empty: any).
    set: HashMap<String, HashMap<String, i64>>,
    by_rpc: BTreeMap<String, i64>,
    default: i64,
}

impl RateLimits {
    pub fn load(reader: &dyn Reader, settings: &FrontSettings) -> Result<RateLimits, StoreError> {
        let record = read_record::<RateLimitsRecord>(reader, &key())?.unwrap_or_default();
        let mut set: HashMap<String, HashMap<String, i64>> = HashMap::new();
        for limit in record.limits {
            set.entry(limit.rpc).or_default().insert(limit.instance_id, limit.qps);
        }
        Ok(RateLimits {
            set,
            by_rpc: settings.limits_by_rpc(),
            default: settings.default_limit(),
        })
    }

    fn set_for(&self, rpc: &str, instance_id: &str) -> Option<i64> {
        self.set.get(rpc)?.get(instance_id).copied()
    }

    /// Calls per second that an instance may make.
    pub fn of(&self, rpc: &str, instance_id: &str) -> i64 {
        let special = self.set_for(rpc, instance_id).or_else(|| self.set_for("", instance_id));
        special.unwrap_or_else(|| self.of_rpc(rpc))
    }

    /// Calls per second that each instance without a limit of its own may make.
    pub fn of_rpc(&self, rpc: &str) -> i64 {
        let set = self.set_for(rpc, "").or_else(|| self.set_for("", ""));
        set.or_else(|| self.by_rpc.get(rpc).copied()).unwrap_or(self.default)
    }

    /// Instances with a limit of their own, with that limit.
    pub fn of_instances(&self, rpc: &str) -> BTreeMap<&str, i64> {
        let named = ["", rpc].into_iter().filter_map(|rpc| self.set.get(rpc)).flatten();
        named
            .filter(|(instance_id, _)| !instance_id.is_empty())
            .map(|(instance_id, _)| (instance_id.as_str(), self.of(rpc, instance_id)))
            .collect()
    }
}

/// Takes the limits of an instance away that is gone: whoever gets its id has none of it.
pub(crate) fn forget(context: &mut ApplyContext<'_, '_>, instance_id: &str) -> Result<(), StoreError> {
    let mut record: RateLimitsRecord = context.record(&key())?.unwrap_or_default();
    let before = record.limits.len();
    record.limits.retain(|limit| limit.instance_id != instance_id);
    if record.limits.len() < before {
        context.put_record(key(), &record);
    }
    Ok(())
}

/// Where the row is.
pub(crate) fn key() -> Bytes {
    keys::record_prefix(RecordTable::RateLimits).freeze()
}
