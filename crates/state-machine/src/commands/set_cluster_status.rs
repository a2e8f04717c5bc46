//! Moves a compute cluster between its states (spec/doris-http.md 11.2).

use crate::cluster_request::ClusterRequest;
use crate::clusters;
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use quorate_model::MetaError;
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::{AlterClusterRequest, ClusterPb, ClusterStatus};

/// Every allowed move, from and to.
const MOVES: &[(ClusterStatus, ClusterStatus)] = &[
    (ClusterStatus::Unknown, ClusterStatus::Normal),
    (ClusterStatus::Normal, ClusterStatus::Suspended),
    (ClusterStatus::Normal, ClusterStatus::ManualShutdown),
    (ClusterStatus::Suspended, ClusterStatus::ToResume),
    (ClusterStatus::Suspended, ClusterStatus::Normal),
    (ClusterStatus::ToResume, ClusterStatus::Normal),
    (ClusterStatus::ManualShutdown, ClusterStatus::Normal),
];

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetClusterStatus {
    #[prost(message, required, tag = "1")]
    pub request: ClusterRequest,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetClusterStatusReply {}

impl Prepare for SetClusterStatus {
    type Request = AlterClusterRequest;

    fn prepare(request: AlterClusterRequest, context: &PrepareContext<'_>) -> Result<SetClusterStatus, MetaError> {
        let request = ClusterRequest::about_existing(request, context.settings, |cluster| ClusterPb {
            cluster_status: cluster.cluster_status,
            ..ClusterPb::default()
        })?;
        Ok(SetClusterStatus { request })
    }
}

impl Command for SetClusterStatus {
    type Reply = SetClusterStatusReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<SetClusterStatusReply, ApplyError> {
        let (instance_id, wanted) = self.request.resolve(context.reader())?;
        let (instance, mut cluster) = clusters::find_to_update(context.reader(), &instance_id, wanted)?;
        if cluster.cluster_type() != Some(Type::Compute) {
            return Err(MetaError::invalid("just support set COMPUTE cluster status").into());
        }
        check_move(cluster.info().cluster_status(), wanted.cluster_status())?;
        cluster.record.info.set_cluster_status(wanted.cluster_status());
        cluster.record.info.mtime = Some(context.now().seconds());
        clusters::put(context, instance.scope, &cluster);
        Ok(SetClusterStatusReply {})
    }
}

fn check_move(from: ClusterStatus, to: ClusterStatus) -> Result<(), MetaError> {
    if from == to {
        let from = from.as_str_name();
        return Err(MetaError::invalid(format!(
            "failed to set cluster status, status eq original status, original cluster is {from}"
        )));
    }
    if !MOVES.contains(&(from, to)) {
        let (from, to) = (from.as_str_name(), to.as_str_name());
        return Err(MetaError::invalid(format!(
            "failed to set cluster status, original cluster is {from} and want set {to}"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
