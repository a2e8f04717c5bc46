//! The command table. Adding a command: a file below, one line here with the next free number, one line in the server's
//! RPC table.
//!
//! A number is never reused and an applied command never changes its meaning: the log of a running cluster holds it.

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
        pub const COMMANDS: &[CommandInfo] = &[$(CommandInfo { number: $number, name: stringify!($module) }),*];

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
}
