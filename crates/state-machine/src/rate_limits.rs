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

/// Every RPC of upstream's meta-service by name, in order (spec/doris-grpc.md a). HTTP routes count as the RPC they stand for. Limits
/// of RPCs that do not exist here are kept and shown: upstream's settings name some of them.
pub const RPC_NAMES: &[&str] = &[
    "abort_snapshot",
    "abort_sub_txn",
    "abort_txn",
    "abort_txn_with_coordinator",
    "alter_cluster",
    "alter_iam",
    "alter_instance",
    "alter_obj_store_info",
    "alter_ram_user",
    "alter_storage_vault",
    "begin_copy",
    "begin_snapshot",
    "begin_sub_txn",
    "begin_txn",
    "check_kv",
    "check_txn_conflict",
    "clean_txn_label",
    "clone_instance",
    "commit_index",
    "commit_partition",
    "commit_restore_job",
    "commit_rowset",
    "commit_snapshot",
    "commit_txn",
    "compact_snapshot",
    "create_instance",
    "create_meta_sync_point",
    "create_stage",
    "create_tablets",
    "delete_streaming_job",
    "drop_index",
    "drop_partition",
    "drop_snapshot",
    "drop_stage",
    "filter_copy_files",
    "finish_copy",
    "finish_restore_job",
    "finish_tablet_job",
    "get_cluster",
    "get_cluster_status",
    "get_copy_files",
    "get_copy_job",
    "get_current_max_txn_id",
    "get_delete_bitmap",
    "get_delete_bitmap_update_lock",
    "get_iam",
    "get_instance",
    "get_obj_store_info",
    "get_prepare_txn_by_coordinator",
    "get_rl_task_commit_attach",
    "get_rowset",
    "get_schema_dict",
    "get_stage",
    "get_streaming_task_commit_attach",
    "get_table_stream_read_state",
    "get_tablet",
    "get_tablet_stats",
    "get_txn",
    "get_txn_id",
    "get_version",
    "http",
    "list_snapshot",
    "precommit_txn",
    "prepare_index",
    "prepare_partition",
    "prepare_restore_job",
    "prepare_rowset",
    "remove_delete_bitmap",
    "remove_delete_bitmap_update_lock",
    "reset_rl_progress",
    "reset_streaming_job_offset",
    "start_tablet_job",
    "update_ak_sk",
    "update_delete_bitmap",
    "update_packed_file_info",
    "update_snapshot",
    "update_tablet",
    "update_tmp_rowset",
];

/// Whether upstream has an RPC of this name, so that it may have a limit.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rpc_stands_in_the_list_once() {
        assert!(RPC_NAMES.is_sorted_by(|a, b| a < b));
        assert!(is_rpc("begin_txn") && is_rpc("get_cluster"));
        // Routes of HTTP alone, and what nobody knows.
        for name in ["decouple_instance", "adjust_rate_limit", "begin_tx", "Begin_txn", ""] {
            assert!(!is_rpc(name), "{name}");
        }
    }
}
