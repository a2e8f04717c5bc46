//! Adds a frontend, compute or virtual cluster with its first nodes to an instance.

use crate::cluster_request::{ClusterRequest, NameRule};
use crate::clusters::{self, Cluster};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Instance, Route};
use crate::nodes::{self, Place};
use crate::record::ClusterRecord;
use crate::store::{Reader, StoreError};
use crate::{limits, text_bounds, virtual_clusters};
use quorate_model::{ErrorCode, MetaError, ScopeId};
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::{AlterClusterRequest, ClusterPb, ClusterStatus, NodeInfoPb};

#[derive(Clone, PartialEq, prost::Message)]
pub struct AddCluster {
    #[prost(message, required, tag = "1")]
    pub request: ClusterRequest,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AddClusterReply {}

impl Prepare for AddCluster {
    type Request = AlterClusterRequest;

    fn prepare(request: AlterClusterRequest, context: &PrepareContext<'_>) -> Result<AddCluster, MetaError> {
        let request = ClusterRequest::new(request, context.settings)?;
        if let Some(cluster) = request.cluster_before_state()? {
            request.check_type_and_name(cluster, NameRule::Required)?;
        }
        Ok(AddCluster { request })
    }
}

impl Command for AddCluster {
    type Reply = AddClusterReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AddClusterReply, ApplyError> {
        let reader = context.reader();
        let (instance_id, cluster) = self.request.resolve(reader)?;
        self.request.check_params(reader, cluster, NameRule::Required)?;
        let scope = instances::find(reader, &instance_id)?.map(|instance| instance.scope);
        for node in &cluster.nodes {
            if let Some(text) = occupied(reader, node, scope)? {
                return Err(MetaError::exists(text).into());
            }
        }
        let instance = instances::require(reader, &instance_id, Route::AddCluster)?;
        check_against_existing(reader, &instance, cluster)?;
        write(context, instance.scope, cluster.clone());
        Ok(AddClusterReply {})
    }
}

/// Why a node's id cannot be used: a node outside of `own` has registered it.
pub(crate) fn occupied(reader: &dyn Reader, node: &NodeInfoPb, own: Option<ScopeId>) -> Result<Option<String>, StoreError> {
    let Some(place) = nodes::occupied_elsewhere(reader, node.cloud_unique_id(), own)? else {
        return Ok(None);
    };
    let owner = clusters::of_place(reader, place)?;
    Ok(Some(format!(
        "cloud_unique_id is already occupied by an instance, instance_id={} cluster_name={} cluster_id={} cloud_unique_id={}",
        instances::id_of_scope(reader, place.scope)?,
        owner.cluster_name(),
        owner.cluster_id(),
        node.cloud_unique_id()
    )))
}

/// Why a node's endpoint cannot be used by a cluster of this type. Nodes of the same request are not compared.
pub(crate) fn check_endpoint(reader: &dyn Reader, scope: ScopeId, cluster_type: Type, node: &NodeInfoPb) -> Result<(), ApplyError> {
    if nodes::address(node).is_empty() || cluster_type == Type::Virtual {
        let message = format!("add node input args node invalid, cluster={}", text_bounds::json_text(node));
        return Err(MetaError::invalid(message).into());
    }
    let endpoint = nodes::endpoint(cluster_type, node);
    if !nodes::endpoint_taken(reader, scope, cluster_type, &endpoint)? {
        return Ok(());
    }
    let (kind, process) = if cluster_type == Type::Sql {
        ("sql", "fe")
    } else {
        ("compute", "be")
    };
    Err(MetaError::exists(format!("{kind} node endpoint has been added, registered {process} node={endpoint}")).into())
}

fn check_against_existing(reader: &dyn Reader, instance: &Instance, cluster: &ClusterPb) -> Result<(), ApplyError> {
    let existing = clusters::all(reader, instance.scope)?;
    for other in existing.iter().map(Cluster::info) {
        if other.cluster_id() == cluster.cluster_id() {
            let message = format!("try to add a existing cluster id, existing_cluster_id={}", other.cluster_id());
            return Err(MetaError::exists(message).into());
        }
        if other.cluster_name() == cluster.cluster_name() {
            let message = format!("try to add a existing cluster name, existing_cluster_name={}", other.cluster_name());
            return Err(MetaError::exists(message).into());
        }
    }
    for node in &cluster.nodes {
        check_endpoint(reader, instance.scope, cluster.r#type(), node)?;
    }
    if cluster.r#type() == Type::Virtual {
        virtual_clusters::check_sub_clusters(&cluster.cluster_names, &existing)?;
    }
    if existing.len() >= limits::MAX_CLUSTERS_PER_INSTANCE {
        let message = format!(
            "instance {} has {} clusters, limit {}; drop unused ones",
            instance.info.instance_id(),
            existing.len(),
            limits::MAX_CLUSTERS_PER_INSTANCE
        );
        return Err(MetaError::new(ErrorCode::TooLarge, message).into());
    }
    Ok(())
}

fn write(context: &mut ApplyContext<'_, '_>, scope: ScopeId, mut info: ClusterPb) {
    let now_seconds = context.now().seconds();
    let added = context.revision().0;
    let new_nodes = std::mem::take(&mut info.nodes);
    if info.r#type() == Type::Compute {
        info.set_cluster_status(ClusterStatus::Normal);
    }
    if let (Type::Virtual, Some(policy)) = (info.r#type(), &mut info.cluster_policy) {
        virtual_clusters::fill_defaults(policy);
    }
    info.ctime = Some(now_seconds);
    info.mtime = Some(now_seconds);
    let mut cluster = Cluster {
        added,
        record: ClusterRecord {
            info,
            ..ClusterRecord::default()
        },
    };
    for (position, mut node) in (0..).zip(new_nodes) {
        node.ctime = Some(now_seconds);
        node.mtime = Some(now_seconds);
        cluster.count_added(&node);
        nodes::put(
            context,
            Place {
                scope,
                cluster: added,
                added,
                position,
            },
            cluster.cluster_type(),
            &node,
        );
    }
    clusters::put(context, scope, &cluster);
}

#[cfg(test)]
mod tests;
