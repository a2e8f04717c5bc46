//! Adds nodes to the clusters that have the request's name or id, all of them or none.
//!
//! Every refusal of this route is an invalid argument, also those that are "already exists" when a cluster is added.

use super::add_cluster;
use crate::cluster_request::{ClusterRequest, NameRule};
use crate::clusters::{self, Cluster};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Instance, Route};
use crate::limits;
use crate::nodes::{self, Place};
use crate::store::{Reader, StoreError};
use quorate_model::{ErrorCode, MetaError, ScopeId};
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::{AlterClusterRequest, ClusterPb, NodeInfoPb, NodeStatusPb};
use std::collections::HashSet;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AddNode {
    #[prost(message, required, tag = "1")]
    pub request: ClusterRequest,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AddNodeReply {}

impl Prepare for AddNode {
    type Request = AlterClusterRequest;

    fn prepare(request: AlterClusterRequest, context: &PrepareContext<'_>) -> Result<AddNode, MetaError> {
        let request = ClusterRequest::new(request, context.settings)?;
        if let Some(cluster) = request.cluster_before_state()? {
            request.check_type_and_name(cluster, NameRule::Optional)?;
        }
        Ok(AddNode { request })
    }
}

impl Command for AddNode {
    type Reply = AddNodeReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AddNodeReply, ApplyError> {
        let reader = context.reader();
        let (instance_id, request) = self.request.resolve(reader)?;
        self.request.check_params(reader, request, NameRule::Optional)?;
        check_nodes_given(request)?;
        let instance = instances::require(reader, &instance_id, Route::ChangeCluster)?;
        self.check_nodes(reader, &instance, request)?;
        let mut existing = clusters::all(reader, instance.scope)?;
        check_cluster_named(&existing, &instance_id, request)?;
        let mut admitted = Vec::new();
        for (index, cluster) in existing.iter_mut().enumerate().filter(|(_, cluster)| cluster.is_named_by(request)) {
            admitted.push((index, admit(context, instance.scope, cluster, &request.nodes)?));
        }
        clusters::check_first_frontends(&existing)?;
        for (index, nodes) in admitted.into_iter().filter(|(_, nodes)| !nodes.is_empty()) {
            write(context, instance.scope, &mut existing[index], &nodes);
        }
        Ok(AddNodeReply {})
    }
}

impl AddNode {
    fn check_nodes(&self, reader: &dyn Reader, instance: &Instance, request: &ClusterPb) -> Result<(), ApplyError> {
        let cluster_type = if request.r#type() == Type::Sql { Type::Sql } else { Type::Compute };
        for node in &request.nodes {
            add_cluster::check_endpoint(reader, instance.scope, cluster_type, node).map_err(as_invalid)?;
        }
        // Upstream compares with the instance the caller wrote, not with the one its cloud_unique_id stands for.
        let own = (!self.request.instance_id.is_empty()).then_some(instance.scope);
        for node in &request.nodes {
            if let Some(text) = add_cluster::occupied(reader, node, own)? {
                return Err(MetaError::invalid(text).into());
            }
        }
        Ok(())
    }
}

fn as_invalid(error: ApplyError) -> ApplyError {
    match error {
        ApplyError::Refused(error) => MetaError::invalid(error.message).into(),
        store => store,
    }
}

/// Refuses a request without nodes, in the words of both node routes.
pub(crate) fn check_nodes_given(request: &ClusterPb) -> Result<(), MetaError> {
    if request.nodes.is_empty() {
        Err(MetaError::invalid("to_add and to_del both empty or both not empty"))
    } else {
        Ok(())
    }
}

/// Refuses a request for a cluster that the instance does not have. Upstream answers that it has succeeded.
pub(crate) fn check_cluster_named(existing: &[Cluster], instance_id: &str, request: &ClusterPb) -> Result<(), MetaError> {
    if existing.iter().any(|cluster| cluster.is_named_by(request)) {
        return Ok(());
    }
    Err(MetaError::not_found(format!(
        "cluster not found, instance_id={instance_id} cluster_id={} cluster_name={}; get_cluster lists those that exist",
        request.cluster_id(),
        request.cluster_name()
    )))
}

/// The nodes that join one cluster: a process that is in it already, or twice in the request, is left out silently.
fn admit(
    context: &ApplyContext<'_, '_>,
    scope: ScopeId,
    cluster: &mut Cluster,
    requested: &[NodeInfoPb],
) -> Result<Vec<NodeInfoPb>, ApplyError> {
    let now_seconds = context.now().seconds();
    let mut present = Processes::of_cluster(context.reader(), scope, cluster)?;
    let mut admitted = Vec::new();
    for node in requested {
        if present.contains(node) {
            continue;
        }
        present.insert(node);
        let mut node = node.clone();
        node.set_status(NodeStatusPb::NodeStatusRunning);
        node.ctime.get_or_insert(now_seconds);
        node.mtime = Some(now_seconds);
        cluster.count_added(&node);
        admitted.push(node);
    }
    if cluster.record.nodes > limits::MAX_NODES_PER_CLUSTER {
        let message = format!(
            "cluster {} would have {} nodes, limit {}; add a cluster",
            cluster.info().cluster_name(),
            cluster.record.nodes,
            limits::MAX_NODES_PER_CLUSTER
        );
        return Err(MetaError::new(ErrorCode::TooLarge, message).into());
    }
    Ok(admitted)
}

/// A cluster's processes by address and port. Sets, because 2,000 nodes may join 2,000.
#[derive(Default)]
struct Processes {
    heartbeat: HashSet<(String, i32)>,
    edit_log: HashSet<(String, i32)>,
}

impl Processes {
    fn of_cluster(reader: &dyn Reader, scope: ScopeId, cluster: &Cluster) -> Result<Processes, StoreError> {
        let mut processes = Processes::default();
        for node in nodes::of_cluster(reader, scope, cluster.added)? {
            processes.insert(&node.info);
        }
        Ok(processes)
    }

    fn insert(&mut self, node: &NodeInfoPb) {
        for address in addresses(node) {
            self.heartbeat.insert((address.clone(), node.heartbeat_port()));
            self.edit_log.insert((address, node.edit_log_port()));
        }
    }

    /// Compares the port that the node names: heartbeat_port if it is set, else edit_log_port.
    fn contains(&self, node: &NodeInfoPb) -> bool {
        let mut addresses = addresses(node);
        match node.heartbeat_port {
            Some(port) => addresses.any(|address| self.heartbeat.contains(&(address, port))),
            None => addresses.any(|address| self.edit_log.contains(&(address, node.edit_log_port()))),
        }
    }
}

/// The node's ip and host, told apart: an ip equals only an ip.
fn addresses(node: &NodeInfoPb) -> impl Iterator<Item = String> {
    let ip = node.ip.as_ref().map(|ip| format!("ip {ip}"));
    let host = node.host.as_ref().map(|host| format!("host {host}"));
    ip.into_iter().chain(host)
}

fn write(context: &mut ApplyContext<'_, '_>, scope: ScopeId, cluster: &mut Cluster, admitted: &[NodeInfoPb]) {
    let added = context.revision().0;
    for (position, node) in (0..).zip(admitted) {
        nodes::put(
            context,
            Place {
                scope,
                cluster: cluster.added,
                added,
                position,
            },
            cluster.cluster_type(),
            node,
        );
    }
    cluster.record.info.mtime = Some(context.now().seconds());
    clusters::put(context, scope, cluster);
}

#[cfg(test)]
mod tests;
