//! Marks nodes as being taken out of service: their cluster moves its work away before they are dropped.
//!
//! Nodes are found by the id they registered and their endpoint; the cluster that the request names does not matter. Upstream
//! removes and adds them again, in two transactions; here their rows are rewritten, in one.

use super::add_node::check_nodes_given;
use crate::cluster_request::{ClusterRequest, NameRule};
use crate::clusters;
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Route};
use crate::nodes::{self, StoredNode};
use quorate_model::{MetaError, ScopeId};
use quorate_wire::doris::{AlterClusterRequest, NodeInfoPb, NodeStatusPb};
use std::collections::{BTreeSet, HashSet};

#[derive(Clone, PartialEq, prost::Message)]
pub struct DecommissionNode {
    #[prost(message, required, tag = "1")]
    pub request: ClusterRequest,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DecommissionNodeReply {}

impl Prepare for DecommissionNode {
    type Request = AlterClusterRequest;

    fn prepare(request: AlterClusterRequest, context: &PrepareContext<'_>) -> Result<DecommissionNode, MetaError> {
        let request = ClusterRequest::new(request, context.settings)?;
        if let Some(cluster) = request.cluster_before_state()? {
            request.check_type_and_name(cluster, NameRule::Optional)?;
        }
        Ok(DecommissionNode { request })
    }
}

impl Command for DecommissionNode {
    type Reply = DecommissionNodeReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DecommissionNodeReply, ApplyError> {
        set_status(context, &self.request, NodeStatusPb::NodeStatusDecommissioning)?;
        Ok(DecommissionNodeReply {})
    }
}

/// Gives the nodes that a request names a status. No order of statuses is enforced (spec/doris-http.md 11.3).
pub(crate) fn set_status(context: &mut ApplyContext<'_, '_>, request: &ClusterRequest, status: NodeStatusPb) -> Result<(), ApplyError> {
    let reader = context.reader();
    let (instance_id, cluster) = request.resolve(reader)?;
    request.check_params(reader, cluster, NameRule::Optional)?;
    check_nodes_given(cluster)?;
    // The id of the first node stands for all: they register under one.
    let cloud_unique_id = cluster.nodes[0].cloud_unique_id();
    let not_found = || MetaError::invalid("cloud_unique_id not found");
    // Nodes that came without an id are found under the empty one, which is nobody's: it says nothing about other instances.
    if !cloud_unique_id.is_empty() && nodes::first_scope_of(reader, cloud_unique_id)?.is_none() {
        return Err(not_found().into());
    }
    let scope = instances::require(reader, &instance_id, Route::ChangeCluster)?.scope;
    let endpoints = Endpoints::of(&cluster.nodes);
    let mut found = nodes::registered_in(reader, cloud_unique_id, scope)?;
    if cloud_unique_id.is_empty() && found.is_empty() {
        return Err(not_found().into());
    }
    found.retain(|node| endpoints.contain(&node.info));
    if found.is_empty() {
        return Err(MetaError::invalid("to_add and to_del both empty or both not empty").into());
    }
    write(context, scope, &mut found, status)
}

/// What a request says of where its nodes are. Sets, because 2,000 nodes may share an id.
#[derive(Default)]
struct Endpoints<'a> {
    by_ip: HashSet<(&'a str, i32)>,
    by_host: HashSet<(&'a str, i32)>,
    /// Of nodes without an ip: only these are compared with a node that has one.
    by_host_alone: HashSet<(&'a str, i32)>,
}

impl<'a> Endpoints<'a> {
    fn of(requested: &'a [NodeInfoPb]) -> Endpoints<'a> {
        let mut endpoints = Endpoints::default();
        for node in requested {
            let port = node.heartbeat_port();
            if let Some(ip) = &node.ip {
                endpoints.by_ip.insert((ip, port));
            }
            if let Some(host) = &node.host {
                endpoints.by_host.insert((host, port));
                if node.ip.is_none() {
                    endpoints.by_host_alone.insert((host, port));
                }
            }
        }
        endpoints
    }

    /// Ips are compared where both sides have one, hosts otherwise.
    fn contain(&self, node: &NodeInfoPb) -> bool {
        let port = node.heartbeat_port();
        let host_among = |hosts: &HashSet<(&str, i32)>| node.host.as_deref().is_some_and(|host| hosts.contains(&(host, port)));
        match &node.ip {
            Some(ip) => self.by_ip.contains(&(ip, port)) || host_among(&self.by_host_alone),
            None => host_among(&self.by_host),
        }
    }
}

fn write(context: &mut ApplyContext<'_, '_>, scope: ScopeId, found: &mut [StoredNode], status: NodeStatusPb) -> Result<(), ApplyError> {
    let now_seconds = context.now().seconds();
    for node in found.iter_mut() {
        node.info.set_status(status);
        node.info.mtime = Some(now_seconds);
        nodes::update(context, node);
    }
    let touched: BTreeSet<u64> = found.iter().map(|node| node.place.cluster).collect();
    for mut cluster in clusters::all(context.reader(), scope)? {
        if touched.contains(&cluster.added) {
            cluster.record.info.mtime = Some(now_seconds);
            clusters::put(context, scope, &cluster);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
