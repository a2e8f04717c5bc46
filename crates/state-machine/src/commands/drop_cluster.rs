//! Removes a cluster and its nodes from an instance. Only the cluster's id counts; its name may be absent or wrong.

use crate::cluster_request::{ClusterRequest, NOT_FOUND_HELP, check_id_given};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Route};
use crate::{clusters, nodes, text_bounds, virtual_clusters};
use quorate_model::{MetaError, ScopeId};
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::{AlterClusterRequest, ClusterPb};

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropCluster {
    #[prost(message, required, tag = "1")]
    pub request: ClusterRequest,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropClusterReply {}

impl Prepare for DropCluster {
    type Request = AlterClusterRequest;

    fn prepare(request: AlterClusterRequest, context: &PrepareContext<'_>) -> Result<DropCluster, MetaError> {
        let request = ClusterRequest::about_existing(request, context.settings, |_| ClusterPb::default())?;
        Ok(DropCluster { request })
    }
}

impl Command for DropCluster {
    type Reply = DropClusterReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DropClusterReply, ApplyError> {
        let reader = context.reader();
        let (instance_id, wanted) = self.request.resolve(reader)?;
        check_id_given(wanted)?;
        let instance = instances::require(reader, &instance_id, Route::DropCluster)?;
        let existing = clusters::all(reader, instance.scope)?;
        let Some(cluster) = existing.iter().find(|cluster| cluster.info().cluster_id() == wanted.cluster_id()) else {
            let message = format!(
                "failed to find cluster to drop, instance_id={instance_id} cluster_id={} cluster_name={} help Msg={NOT_FOUND_HELP}",
                wanted.cluster_id(),
                wanted.cluster_name()
            );
            return Err(MetaError::not_found(message).into());
        };
        if cluster.cluster_type() == Some(Type::Sql) {
            self.check_age(context, instance.scope, cluster)?;
        }
        if let Some(owner) = virtual_clusters::owner_of(cluster.info().cluster_name(), &existing) {
            let owner = owner.info().cluster_name();
            let message = format!(
                "failed to drop cluster, this cluster owned by virtual cluster={owner} if you want drop this cluster, \
                 please drop virtual cluster={owner} firstly"
            );
            return Err(MetaError::exists(message).into());
        }
        clusters::remove(context, instance.scope, cluster)?;
        Ok(DropClusterReply {})
    }
}

impl DropCluster {
    /// A frontend that is dropped before it has started can leave a cluster with two masters (spec/doris-http.md 6).
    fn check_age(&self, context: &ApplyContext<'_, '_>, scope: ScopeId, cluster: &clusters::Cluster) -> Result<(), ApplyError> {
        let frontends = nodes::of_cluster(context.reader(), scope, cluster.added)?;
        let now_seconds = context.now().seconds();
        if !frontends.iter().any(|node| self.request.is_too_young(&node.info, now_seconds)) {
            return Ok(());
        }
        let text = text_bounds::debug_text(&cluster.with_nodes(frontends));
        Err(MetaError::not_found(format!("drop fe cluster not in safe time, try later, cluster={text}")).into())
    }
}

#[cfg(test)]
mod tests;
