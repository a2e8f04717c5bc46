//! Removes nodes from the clusters that have the request's name or id, all of them or none.
//!
//! A node is looked for twice, as upstream does: first anywhere under its `cloud_unique_id`, then in each cluster. The two
//! have different texts, and the first does not see what the request has removed so far.

use super::add_node;
use crate::cluster_request::{ClusterRequest, NOT_FOUND_HELP, NameRule};
use crate::clusters::{self, Cluster};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Route};
use crate::nodes::{self, StoredNode};
use crate::store::Reader;
use crate::text_bounds;
use quorate_model::{MetaError, ScopeId};
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::{AlterClusterRequest, ClusterPb, NodeInfoPb};
use std::collections::HashMap;

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropNode {
    #[prost(message, required, tag = "1")]
    pub request: ClusterRequest,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropNodeReply {}

impl Prepare for DropNode {
    type Request = AlterClusterRequest;

    fn prepare(request: AlterClusterRequest, context: &PrepareContext<'_>) -> Result<DropNode, MetaError> {
        let request = ClusterRequest::new(request, context.settings)?;
        if let Some(cluster) = request.cluster_before_state()? {
            request.check_type_and_name(cluster, NameRule::Optional)?;
        }
        Ok(DropNode { request })
    }
}

impl Command for DropNode {
    type Reply = DropNodeReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DropNodeReply, ApplyError> {
        let reader = context.reader();
        let (instance_id, request) = self.request.resolve(reader)?;
        self.request.check_params(reader, request, NameRule::Optional)?;
        add_node::check_nodes_given(request)?;
        let scope = instances::require(reader, &instance_id, Route::ChangeCluster)?.scope;
        let mut existing = clusters::all(reader, scope)?;
        let mut targets = Vec::new();
        for (index, cluster) in existing.iter().enumerate().filter(|(_, cluster)| cluster.is_named_by(request)) {
            targets.push(Target {
                index,
                nodes: nodes::of_cluster(reader, scope, cluster.added)?,
                removed: Vec::new(),
            });
        }
        let mut registered = Registered {
            reader,
            scope,
            by_id: HashMap::new(),
        };
        for node in &request.nodes {
            self.check_registered(&mut registered, request, node)?;
            for target in &mut targets {
                self.take(context, &instance_id, &mut existing, target, node)?;
            }
        }
        add_node::check_cluster_named(&existing, &instance_id, request)?;
        clusters::check_first_frontends(&existing)?;
        for target in targets {
            write(context, scope, &mut existing[target.index], &target.removed);
        }
        Ok(DropNodeReply {})
    }
}

/// A cluster that loses nodes: those it still has, and those that go.
struct Target {
    index: usize,
    nodes: Vec<StoredNode>,
    removed: Vec<StoredNode>,
}

/// Nodes by id, each id read once: 2,000 nodes of a request may share one.
struct Registered<'a> {
    reader: &'a dyn Reader,
    scope: ScopeId,
    by_id: HashMap<String, Vec<NodeInfoPb>>,
}

impl DropNode {
    fn check_registered(&self, registered: &mut Registered<'_>, request: &ClusterPb, node: &NodeInfoPb) -> Result<(), ApplyError> {
        let id = node.cloud_unique_id();
        if !registered.by_id.contains_key(id) {
            let found = nodes::registered(registered.reader, id, registered.scope)?;
            registered.by_id.insert(id.to_owned(), found);
        }
        let found = &registered.by_id[id];
        if found.iter().any(|other| nodes::same_process(other, node)) {
            return Ok(());
        }
        let caller = format!(
            "instance_id={} cluster_name={} cluster_id={}",
            self.request.instance_id,
            request.cluster_name(),
            request.cluster_id()
        );
        let message = if found.is_empty() {
            format!("not found ,can not find to drop nodes by cloud_unique_id={id} {caller} help Msg={NOT_FOUND_HELP}")
        } else {
            let node = text_bounds::debug_text(node);
            format!("not found ,cloud_unique_id can not find to drop node, {caller} node_info={node} help Msg={NOT_FOUND_HELP}")
        };
        Err(MetaError::not_found(message).into())
    }

    /// Moves a node from those a cluster has to those that go.
    fn take(
        &self,
        context: &ApplyContext<'_, '_>,
        instance_id: &str,
        existing: &mut [Cluster],
        target: &mut Target,
        node: &NodeInfoPb,
    ) -> Result<(), ApplyError> {
        let cluster = &mut existing[target.index];
        let is_wanted =
            |stored: &StoredNode| stored.info.cloud_unique_id() == node.cloud_unique_id() && nodes::same_process(&stored.info, node);
        let Some(position) = target.nodes.iter().position(is_wanted) else {
            let text = text_bounds::json_text(&cluster.with_nodes(target.nodes.iter().cloned()));
            let message = format!(
                "not found ,failed to find node to drop, instance_id={instance_id} cluster_id={} cluster_name={} cluster={text} \
                 help Msg ={NOT_FOUND_HELP}",
                cluster.info().cluster_id(),
                cluster.info().cluster_name()
            );
            return Err(MetaError::not_found(message).into());
        };
        let found = &target.nodes[position].info;
        if cluster.cluster_type() == Some(Type::Sql) && self.request.is_too_young(found, context.now().seconds()) {
            let text = text_bounds::debug_text(found);
            return Err(MetaError::invalid(format!("drop fe node not in safe time, try later, node={text}")).into());
        }
        cluster.count_removed(found);
        target.removed.push(target.nodes.remove(position));
        Ok(())
    }
}

fn write(context: &mut ApplyContext<'_, '_>, scope: ScopeId, cluster: &mut Cluster, removed: &[StoredNode]) {
    for node in removed {
        nodes::remove(context, node, cluster.cluster_type());
    }
    cluster.record.info.mtime = Some(context.now().seconds());
    clusters::put(context, scope, cluster);
}

#[cfg(test)]
mod tests;
