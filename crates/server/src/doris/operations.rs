//! Calls whose body says what to do: `op` chooses the command.
//!
//! Over HTTP a route stands for its operation, and only `set_instance_status` obeys the body (spec/doris-http.md 12.5); over
//! gRPC all changes of an instance are one call, and all of a cluster another.

use super::call::{Call, Success};
use super::write::{DorisRequest, propose};
use futures::future::BoxFuture;
use quorate_model::{ErrorCode, MetaError, Revision};
use quorate_state_machine::command::Prepare;
use quorate_state_machine::commands::{
    AddCluster, AddNode, AlterVclusterInfo, DecommissionNode, DisableInstanceSse, DropCluster, DropInstance, DropNode, EnableInstanceSse,
    NotifyDecommissioned, Numbered, RenameCluster, RenameInstance, SetClusterStatus, SetInstanceStatus, SetSnapshotProperty,
    UpdateClusterEndpoint, UpdateClusterMysqlUserName,
};
use quorate_state_machine::instances::{self, Route};
use quorate_wire::doris::{AlterClusterRequest, AlterInstanceRequest, alter_cluster_request, alter_instance_request};

/// `msg` of every success of the family.
pub const INSTANCE_ALTERED: &str = "OK";

/// Serves `set_instance_status`.
pub fn set_instance_status(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let revision = alter_instance(call.parse_body()?, &call).await?;
        Ok(Success {
            revision,
            message: INSTANCE_ALTERED,
            result: None,
        })
    })
}

/// Changes an instance as `op` says.
pub async fn alter_instance(request: AlterInstanceRequest, call: &Call) -> Result<Revision, MetaError> {
    use alter_instance_request::Operation;
    match request.op() {
        Operation::Drop => change::<DropInstance>(request, call).await,
        Operation::Refresh => refresh(&request, call).await,
        Operation::Rename => change::<RenameInstance>(request, call).await,
        Operation::EnableSse => change::<EnableInstanceSse>(request, call).await,
        Operation::DisableSse => change::<DisableInstanceSse>(request, call).await,
        Operation::SetOverdue | Operation::SetNormal => change::<SetInstanceStatus>(request, call).await,
        Operation::SetSnapshotProperty => change::<SetSnapshotProperty>(request, call).await,
        Operation::Unknown => Err(unknown_operation(request.op)),
    }
}

/// Changes a cluster or its nodes as `op` says.
pub async fn alter_cluster(request: AlterClusterRequest, call: &Call) -> Result<Revision, MetaError> {
    use alter_cluster_request::Operation;
    if request.op.is_none() {
        let is_addressed = !request.instance_id().is_empty() || !request.cloud_unique_id().is_empty();
        return Err(match is_addressed && request.cluster.is_some() {
            true => MetaError::invalid("op not given"),
            false => MetaError::invalid("invalid request instance_id or cluster not given"),
        });
    }
    match request.op() {
        Operation::AddCluster => change::<AddCluster>(request, call).await,
        Operation::DropCluster => change::<DropCluster>(request, call).await,
        Operation::AddNode => change::<AddNode>(request, call).await,
        Operation::DropNode => change::<DropNode>(request, call).await,
        Operation::RenameCluster => change::<RenameCluster>(request, call).await,
        Operation::UpdateClusterMysqlUserName => change::<UpdateClusterMysqlUserName>(request, call).await,
        Operation::DecommissionNode => change::<DecommissionNode>(request, call).await,
        Operation::NotifyDecommissioned => change::<NotifyDecommissioned>(request, call).await,
        Operation::UpdateClusterEndpoint => change::<UpdateClusterEndpoint>(request, call).await,
        Operation::SetClusterStatus => change::<SetClusterStatus>(request, call).await,
        Operation::AlterVclusterInfo => change::<AlterVclusterInfo>(request, call).await,
        Operation::Unknown | Operation::AlterProperties => Err(unknown_operation(request.op)),
    }
}

async fn change<C>(request: <C::Request as DorisRequest>::Body, call: &Call) -> Result<Revision, MetaError>
where
    C: Numbered + Prepare + Send + Sync + 'static,
    C::Request: DorisRequest,
{
    let (revision, _) = propose::<C>(request, call).await?;
    Ok(revision)
}

/// Upstream drops what it remembers of an instance; nothing here is remembered, so only a missing instance is an error.
async fn refresh(request: &AlterInstanceRequest, call: &Call) -> Result<Revision, MetaError> {
    let sender = AlterInstanceRequest::sender(request, "");
    call.app.cluster_settings.admit(&call.node, sender)?;
    let instance_id = instances::given_id(request)?;
    super::read::wait_until_fresh(call).await?;
    let (revision, _) = super::read::at_one_revision(call, |reader| instances::require(reader, &instance_id, Route::AlterInstance))?;
    Ok(revision)
}

/// The number is quoted as it came: a name of a newer version must be recognisable.
fn unknown_operation(number: Option<i32>) -> MetaError {
    let number = number.unwrap_or_default();
    MetaError::new(ErrorCode::InvalidArgument, format!("invalid request op, op={number}"))
}
