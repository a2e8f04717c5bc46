//! The RPC table: one line per route of Doris's meta-service (spec/doris-http.md 10).
//!
//! Adding a route that exists in the list: give its line a command or a query. Lookup, labels of metrics, redirects, the
//! form of replies and the answer to routes that are still missing derive from these lines.

use crate::doris::call::{Check, Handler};
use crate::doris::{front_routes, keys, operations, read, snapshots, unavailable, write};
use quorate_state_machine::command::Prepare;
use quorate_state_machine::commands::{
    AddCluster, AddHdfsVault, AddNode, AddObjInfo, AddS3Vault, AlterIam, AlterObjInfo, AlterRamUser, AlterS3Vault, AlterVclusterInfo,
    CompactSnapshot, CreateInstance, DecommissionNode, DecoupleInstance, DisableInstanceSse, DropCluster, DropHdfsVault, DropInstance,
    DropInstanceSnapshot, DropNode, EnableInstanceSse, LegacyUpdateAkSk, NotifyDecommissioned, Numbered, RenameCluster, RenameInstance,
    SetClusterStatus, SetMultiVersionStatus, SetSnapshotProperty, UpdateAkSk, UpdateClusterEndpoint, UpdateClusterMysqlUserName,
};

/// Which of Doris's processes serves a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    MetaService,
    Recycler,
    Both,
}

/// Where a route's parameters travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    None,
    /// The query string; a body is ignored.
    Query,
    /// The body; the query string is ignored but for the token.
    Body,
    QueryOrBody,
    QueryAndBody,
}

/// What a reply looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplyForm {
    /// `code` and `msg`.
    Plain,
    /// A `result` too, on success.
    Result,
    /// A `result` on success, and an empty one on errors.
    ResultAlways,
    /// A whole response as `result`, with a status of its own, on errors too.
    ResponseAlways,
    /// No envelope on success.
    Text,
    /// As [`ReplyForm::Text`]; of an error of the service the caller gets the HTTP status alone.
    TextOrNothing,
    /// The service's status in protobuf's text format, on errors too.
    TextStatus,
}

/// What a route does.
#[derive(Clone, Copy)]
pub enum Work {
    /// Proposes the command of the same name.
    Command(Handler),
    /// Reads the state, linearizably unless the caller asks for a revision.
    Query(Handler),
    /// Doris has it, this version has not.
    Missing,
    /// As [`Work::Missing`], for a call whose arguments are right; one whose are not is told so first.
    MissingBehind(Check),
}

/// One row of the table.
#[derive(Clone, Copy)]
pub struct Rpc {
    /// Path below `/MetaService/http/`, and label of metrics.
    pub route: &'static str,
    pub work: Work,
    pub role: Role,
    pub parameters: Parameters,
    pub reply: ReplyForm,
}

impl Rpc {
    /// Whether the route's parameters can be in the body.
    pub fn reads_body(&self) -> bool {
        !matches!(self.parameters, Parameters::None | Parameters::Query)
    }
}

/// A command and its route have one name.
const fn command<C>() -> Rpc
where
    C: Numbered + Prepare + Send + Sync + 'static,
    C::Request: write::DorisRequest,
{
    Rpc {
        route: C::NAME,
        work: Work::Command(write::execute::<C>),
        role: Role::MetaService,
        parameters: Parameters::Body,
        reply: ReplyForm::Plain,
    }
}

/// The body's `op` chooses the command.
const fn by_operation(route: &'static str, handler: Handler) -> Rpc {
    Rpc {
        route,
        work: Work::Command(handler),
        role: Role::MetaService,
        parameters: Parameters::Body,
        reply: ReplyForm::Plain,
    }
}

/// A change whose parameters are in the query string.
const fn query_command(route: &'static str, handler: Handler, role: Role) -> Rpc {
    Rpc {
        route,
        work: Work::Command(handler),
        role,
        parameters: Parameters::Query,
        reply: ReplyForm::Plain,
    }
}

const fn query(route: &'static str, handler: Handler, parameters: Parameters, reply: ReplyForm) -> Rpc {
    Rpc {
        route,
        work: Work::Query(handler),
        role: Role::MetaService,
        parameters,
        reply,
    }
}

const fn missing(route: &'static str, role: Role, parameters: Parameters, reply: ReplyForm) -> Rpc {
    Rpc {
        route,
        work: Work::Missing,
        role,
        parameters,
        reply,
    }
}

const fn missing_behind(route: &'static str, check: Check, parameters: Parameters, reply: ReplyForm) -> Rpc {
    Rpc {
        work: Work::MissingBehind(check),
        ..missing(route, Role::MetaService, parameters, reply)
    }
}

use Parameters::{Body, Query, QueryAndBody, QueryOrBody};
use ReplyForm::{Plain, ResponseAlways, Result, ResultAlways, Text, TextOrNothing, TextStatus};
use Role::{Both, MetaService, Recycler};

/// Every route of the contract.
pub const RPC_TABLE: &[Rpc] = &[
    command::<CreateInstance>(),
    command::<DropInstance>(),
    command::<RenameInstance>(),
    command::<EnableInstanceSse>(),
    command::<DisableInstanceSse>(),
    by_operation("set_instance_status", operations::set_instance_status),
    query("get_instance", read::get_instance, Query, ResultAlways),
    command::<AddCluster>(),
    command::<DropCluster>(),
    command::<RenameCluster>(),
    command::<UpdateClusterEndpoint>(),
    command::<UpdateClusterMysqlUserName>(),
    command::<AddNode>(),
    command::<DropNode>(),
    command::<DecommissionNode>(),
    command::<NotifyDecommissioned>(),
    command::<SetClusterStatus>(),
    command::<AlterVclusterInfo>(),
    query("get_cluster", read::get_cluster, Body, Result),
    query("get_cluster_status", read::get_cluster_status, Body, ResponseAlways),
    query("get_obj_store_info", read::get_obj_store_info, Body, ResponseAlways),
    query("show_storage_vaults", read::get_obj_store_info, Body, ResponseAlways),
    command::<AddObjInfo>(),
    command::<LegacyUpdateAkSk>(),
    command::<AlterObjInfo>(),
    command::<UpdateAkSk>(),
    command::<AddS3Vault>(),
    command::<AlterS3Vault>(),
    query("drop_s3_vault", read::drop_s3_vault, Body, Plain),
    command::<AddHdfsVault>(),
    command::<DropHdfsVault>(),
    query("get_stage", read::get_stage, Body, ResponseAlways),
    command::<AlterRamUser>(),
    command::<AlterIam>(),
    query("decode_key", keys::decode_key, Query, Text),
    query("encode_key", keys::encode_key, Query, Text),
    query("get_value", keys::get_value, Query, Text),
    missing_behind("set_value", unavailable::set_value, QueryAndBody, Text),
    query("show_meta_ranges", keys::show_meta_ranges, Parameters::None, Text),
    missing_behind("get_tablet_stats", unavailable::get_tablet_stats, Body, TextOrNothing),
    missing_behind("fix_tablet_stats", unavailable::fix_tablet_stats, Query, TextStatus),
    missing_behind("fix_tablet_db_id", unavailable::fix_tablet_db_id, Query, Text),
    missing_behind("abort_txn", unavailable::abort_txn, Body, Plain),
    missing_behind("abort_tablet_job", unavailable::abort_tablet_job, Body, Plain),
    missing_behind("txn_lazy_commit", unavailable::txn_lazy_commit, Query, Plain),
    query_command("adjust_rate_limit", front_routes::adjust_rate_limit, MetaService),
    query("list_rate_limit", front_routes::list_rate_limit, Parameters::None, Result),
    missing("injection_point", MetaService, Query, Plain),
    query("list_snapshot", snapshots::list_snapshot, QueryOrBody, ResponseAlways),
    query_command("drop_snapshot", write::execute_query::<DropInstanceSnapshot>, MetaService),
    command::<SetSnapshotProperty>(),
    query("get_snapshot_property", front_routes::get_snapshot_property, Query, Result),
    query_command(
        "set_multi_version_status",
        write::execute_query::<SetMultiVersionStatus>,
        MetaService,
    ),
    query_command("compact_snapshot", write::execute_query::<CompactSnapshot>, MetaService),
    query_command("decouple_instance", write::execute_query::<DecoupleInstance>, MetaService),
    missing("recycle_instance", Recycler, Body, Text),
    missing("statistics_recycle", Recycler, Body, Text),
    missing("recycle_copy_jobs", Recycler, Query, Text),
    missing("recycle_job_info", Recycler, Query, Text),
    missing("check_instance", Recycler, Query, Text),
    missing("check_job_info", Recycler, Query, Text),
    missing("check_meta", Recycler, Query, Text),
    missing("adjust_rate_limiter", Recycler, Query, Plain),
    Rpc {
        role: Both,
        ..query("show_config", front_routes::show_config, Query, Result)
    },
    query_command("update_config", front_routes::update_config, Both),
];

/// The route that the meta-service serves under this name.
pub fn find(route: &str) -> Option<&'static Rpc> {
    RPC_TABLE.iter().find(|rpc| rpc.route == route && rpc.role != Recycler)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_has_65_routes_and_each_has_one_line() {
        assert_eq!(RPC_TABLE.len(), 65);
        for rpc in RPC_TABLE {
            assert_eq!(
                RPC_TABLE.iter().filter(|other| other.route == rpc.route).count(),
                1,
                "{}",
                rpc.route
            );
        }
        let of_role = |role| RPC_TABLE.iter().filter(|rpc| rpc.role == role).count();
        assert_eq!((of_role(MetaService), of_role(Recycler), of_role(Both)), (55, 8, 2));
    }

    #[test]
    fn commands_carry_the_names_of_their_routes() {
        let named =
            |is_wanted: fn(&Work) -> bool| -> Vec<_> { RPC_TABLE.iter().filter(|rpc| is_wanted(&rpc.work)).map(|rpc| rpc.route).collect() };
        assert_eq!(
            named(|work| matches!(work, Work::Command(_))),
            [
                "create_instance",
                "drop_instance",
                "rename_instance",
                "enable_instance_sse",
                "disable_instance_sse",
                "set_instance_status",
                "add_cluster",
                "drop_cluster",
                "rename_cluster",
                "update_cluster_endpoint",
                "update_cluster_mysql_user_name",
                "add_node",
                "drop_node",
                "decommission_node",
                "notify_decommissioned",
                "set_cluster_status",
                "alter_vcluster_info",
                "add_obj_info",
                "legacy_update_ak_sk",
                "alter_obj_info",
                "update_ak_sk",
                "add_s3_vault",
                "alter_s3_vault",
                "add_hdfs_vault",
                "drop_hdfs_vault",
                "alter_ram_user",
                "alter_iam",
                "adjust_rate_limit",
                "drop_snapshot",
                "set_snapshot_property",
                "set_multi_version_status",
                "compact_snapshot",
                "decouple_instance",
                "update_config",
            ]
        );
        assert_eq!(
            named(|work| matches!(work, Work::Query(_))),
            [
                "get_instance",
                "get_cluster",
                "get_cluster_status",
                "get_obj_store_info",
                "show_storage_vaults",
                "drop_s3_vault",
                "get_stage",
                "decode_key",
                "encode_key",
                "get_value",
                "show_meta_ranges",
                "list_rate_limit",
                "list_snapshot",
                "get_snapshot_property",
                "show_config",
            ]
        );
    }

    #[test]
    fn routes_are_found_by_exact_name_and_role() {
        assert!(find("create_instance").is_some_and(Rpc::reads_body));
        assert!(find("get_instance").is_some_and(|rpc| !rpc.reads_body()));
        assert!(find("show_config").is_some());
        for absent in [
            "",
            "Create_instance",
            "create_instance/",
            "clone_instance",
            "import_table_meta",
            "recycle_instance",
        ] {
            assert!(find(absent).is_none(), "{absent}");
        }
    }
}
