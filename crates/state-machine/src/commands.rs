//! The command table. Adding a command: a file below, one line here with the next free number, one line in the server's
//! RPC table.
//!
//! A number is never reused, and an applied command changes its meaning only from a level on ([`crate::level`]): the log of a running
//! cluster holds it, and peers of other builds apply it, too.

use crate::command::{ApplyContext, ApplyError, Command};
use bytes::Bytes;
use prost::Message;
use quorate_model::{ErrorCode, MetaError};

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct CommandInfo {
    pub number: u32,
    /// Also the metric label and the name in log dumps.
    pub name: &'static str,
    /// Whether it may add to what is stored for good. While disks are full, such a command is refused and all others go on.
    pub grows: bool,
}

/// A command with its number.
pub trait Numbered: Command {
    const NUMBER: u32;
    const NAME: &'static str;
}

/// Builds the table: module files, numbers, names and dispatch, from one list.
macro_rules! command_table {
    ($($number:literal $module:ident $command:ident;)*) => {
        $(pub mod $module; pub use $module::$command;)*

        $(impl Numbered for $command {
            const NUMBER: u32 = $number;
            const NAME: &'static str = stringify!($module);
        })*

        /// Every command, by number.
        pub const COMMANDS: &[CommandInfo] = &[$(CommandInfo { number: $number, name: stringify!($module), grows: grows_by_name(stringify!($module)) }),*];

        /// Applies the command with this number; `None` when this version does not know it.
        pub(crate) fn dispatch(number: u32, payload: Bytes, context: &mut ApplyContext<'_, '_>) -> Option<Result<Bytes, ApplyError>> {
            match number {
                $($number => Some(run::<$command>(payload, context)),)*
                _ => None,
            }
        }
    };
}

command_table! {
    1 open_session OpenSession;
    2 close_session CloseSession;
    3 expire_sessions ExpireSessions;
    4 create_pin CreatePin;
    5 release_pin ReleasePin;
    6 collect_versions CollectVersions;
    7 allocate_peer AllocatePeer;
    8 register_root_key RegisterRootKey;
    9 recover_cluster RecoverCluster;
    10 create_instance CreateInstance;
    11 drop_instance DropInstance;
    12 set_instance_status SetInstanceStatus;
    13 add_cluster AddCluster;
    14 drop_cluster DropCluster;
    15 set_cluster_status SetClusterStatus;
    16 add_node AddNode;
    17 drop_node DropNode;
    20 put_attribute PutAttribute;
    21 delete_attribute DeleteAttribute;
    22 append_attributes AppendAttributes;
    30 rename_instance RenameInstance;
    31 enable_instance_sse EnableInstanceSse;
    32 disable_instance_sse DisableInstanceSse;
    33 rename_cluster RenameCluster;
    34 update_cluster_endpoint UpdateClusterEndpoint;
    35 update_cluster_mysql_user_name UpdateClusterMysqlUserName;
    36 decommission_node DecommissionNode;
    37 notify_decommissioned NotifyDecommissioned;
    38 alter_vcluster_info AlterVclusterInfo;
    39 set_snapshot_property SetSnapshotProperty;
    40 set_multi_version_status SetMultiVersionStatus;
    41 adjust_rate_limit AdjustRateLimit;
    42 update_config UpdateConfig;
    43 change_setting ChangeSetting;
    60 add_obj_info AddObjInfo;
    61 legacy_update_ak_sk LegacyUpdateAkSk;
    62 alter_obj_info AlterObjInfo;
    63 update_ak_sk UpdateAkSk;
    64 add_s3_vault AddS3Vault;
    65 alter_s3_vault AlterS3Vault;
    66 add_hdfs_vault AddHdfsVault;
    67 drop_hdfs_vault DropHdfsVault;
    68 alter_ram_user AlterRamUser;
    69 alter_iam AlterIam;
    70 set_default_vault SetDefaultVault;
    71 unset_default_vault UnsetDefaultVault;
    72 alter_hdfs_vault AlterHdfsVault;
    100 create_database CreateDatabase;
    101 rename_database RenameDatabase;
    102 drop_database DropDatabase;
    103 create_collection CreateCollection;
    104 rename_collection RenameCollection;
    105 drop_collection DropCollection;
    106 create_partition CreatePartition;
    107 rename_partition RenamePartition;
    108 drop_partition DropPartition;
    109 prepare_segments PrepareSegments;
    110 commit_segments CommitSegments;
    111 abort_segments AbortSegments;
    112 drop_segments DropSegments;
    113 expire_uploads ExpireUploads;
    114 collect_dropped CollectDropped;
    115 finish_deletion FinishDeletion;
    116 collect_instance CollectInstance;
    117 abandon_deletions AbandonDeletions;
    120 create_snapshot CreateSnapshot;
    121 commit_snapshot CommitSnapshot;
    122 fail_snapshot FailSnapshot;
    123 drop_snapshot DropSnapshot;
    124 remove_snapshot RemoveSnapshot;
    125 expire_snapshots ExpireSnapshots;
    126 pin_snapshot PinSnapshot;
    127 unpin_snapshot UnpinSnapshot;
    130 create_restore CreateRestore;
    131 plan_tasks PlanTasks;
    132 claim_tasks ClaimTasks;
    133 renew_claims RenewClaims;
    134 expire_claim ExpireClaim;
    135 complete_task CompleteTask;
    136 fail_task FailTask;
    137 publish_job PublishJob;
    138 cancel_job CancelJob;
    139 fail_job FailJob;
    140 remove_jobs RemoveJobs;
    141 mark_local_vault MarkLocalVault;
    142 start_manifests StartManifests;
    150 begin_instance_snapshot BeginInstanceSnapshot;
    151 update_instance_snapshot UpdateInstanceSnapshot;
    152 commit_instance_snapshot CommitInstanceSnapshot;
    153 abort_instance_snapshot AbortInstanceSnapshot;
    154 drop_instance_snapshot DropInstanceSnapshot;
    155 clone_instance CloneInstance;
    156 compact_snapshot CompactSnapshot;
    157 decouple_instance DecoupleInstance;
    158 raise_level RaiseLevel;
}

/// First words of commands that give space back, or end what occupies some.
const VERBS_THAT_SHRINK: &[&str] = &[
    "abandon", "abort", "cancel", "close", "collect", "complete", "decouple", "delete", "drop", "end", "expire", "fail", "finish",
    "release", "remove", "unpin",
];
/// Commands without which those above, or a change of members, could not be made, those that let a running job end, and the settings by
/// which less is kept; what they add is bounded.
const NEEDED_TO_SHRINK: &[&str] = &[
    "open_session",
    "allocate_peer",
    "register_root_key",
    "renew_claims",
    "publish_job",
    "change_setting",
];

/// A command grows unless its name says otherwise: the safe side for one that is added without a thought of full disks.
const fn grows_by_name(name: &str) -> bool {
    let mut at = 0;
    while at < VERBS_THAT_SHRINK.len() {
        if begins_with(name, VERBS_THAT_SHRINK[at], b'_') {
            return false;
        }
        at += 1;
    }
    at = 0;
    while at < NEEDED_TO_SHRINK.len() {
        if name.len() == NEEDED_TO_SHRINK[at].len() && begins_with(name, NEEDED_TO_SHRINK[at], 0) {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether `name` is `word`, or begins with it and goes on with `next`.
const fn begins_with(name: &str, word: &str, next: u8) -> bool {
    let (name, word) = (name.as_bytes(), word.as_bytes());
    if name.len() < word.len() || (name.len() > word.len() && name[word.len()] != next) {
        return false;
    }
    let mut at = 0;
    while at < word.len() {
        if name[at] != word[at] {
            return false;
        }
        at += 1;
    }
    true
}

/// Whether the command with this number may add to what is stored for good; one this version does not know may.
pub fn grows(number: u32) -> bool {
    info(number).is_none_or(|info| info.grows)
}

/// The table's row of a number.
pub fn info(number: u32) -> Option<&'static CommandInfo> {
    COMMANDS.iter().find(|info| info.number == number)
}

fn run<C: Numbered>(payload: Bytes, context: &mut ApplyContext<'_, '_>) -> Result<Bytes, ApplyError> {
    let command = C::decode(payload).map_err(|_| {
        // The decoder's own text would be remembered in the state and may differ between versions of the library.
        MetaError::new(ErrorCode::ParseError, format!("the command does not decode as {}", C::NAME))
    })?;
    let reply = command.apply(context)?;
    Ok(reply.encode_to_vec().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique_and_in_order() {
        assert!(COMMANDS.is_sorted_by(|a, b| a.number < b.number));
        for info in COMMANDS {
            assert_eq!(COMMANDS.iter().filter(|other| other.name == info.name).count(), 1, "{}", info.name);
        }
    }

    #[test]
    fn what_gives_space_back_goes_on_when_disks_are_full() {
        let shrinking: Vec<&str> = COMMANDS.iter().filter(|info| !info.grows).map(|info| info.name).collect();
        for name in [
            "open_session",
            "release_pin",
            "collect_versions",
            "drop_instance",
            "delete_attribute",
            "abandon_deletions",
            "allocate_peer",
            "change_setting",
        ] {
            assert!(shrinking.contains(&name), "{name} is not among {shrinking:?}");
        }
        for name in ["create_instance", "put_attribute", "append_attributes", "create_pin", "add_node"] {
            assert!(!shrinking.contains(&name), "{name} is among {shrinking:?}");
        }
        assert!(!grows_by_name("drop") && grows_by_name("dropped_instance") && grows_by_name("open_sessions") && grows_by_name(""));
        assert!(grows(u32::MAX), "a command this version does not know");
    }
}
