//! Reads of instances and clusters, as the Doris routes get_instance and get_cluster answer them.
//!
//! A query is a function of the state: which state (linearizable, stale) is the caller's choice of reader.

use super::QueryError;
use crate::clusters::{self, Cluster, ClusterNames};
use crate::instances::{self, Instance, Route};
use crate::object_stores::{self, Secrets};
use crate::service_account::{self, ConfiguredAccount};
use crate::store::{Reader, StoreError};
use crate::{limits, nodes, text_bounds};
use quorate_model::{MetaError, ScopeId};
use quorate_wire::doris::{ClusterPb, GetClusterRequest, GetClusterResponse, GetInstanceRequest, InstanceInfoPb};

/// An instance with its clusters and nodes, and the account that peers work under.
pub fn get_instance(
    reader: &dyn Reader,
    request: &GetInstanceRequest,
    secrets: Secrets<'_>,
    account: &ConfiguredAccount,
) -> Result<InstanceInfoPb, QueryError> {
    let instance_id = requested_instance(reader, request)?;
    let Instance { scope, mut info, .. } = instances::require(reader, &instance_id, Route::GetInstance)?;
    for cluster in clusters::all(reader, scope)? {
        info.clusters.push(with_nodes(reader, scope, &cluster)?);
    }
    object_stores::show_secrets(secrets, &mut info)?;
    info.iam_user = Some(service_account::shown(reader, &instance_id, account, secrets)?);
    Ok(info)
}

pub(super) fn requested_instance(reader: &dyn Reader, request: &GetInstanceRequest) -> Result<String, QueryError> {
    if !request.instance_id().is_empty() {
        return Ok(request.instance_id().to_owned());
    }
    let cloud_unique_id = request.cloud_unique_id();
    if cloud_unique_id.is_empty() {
        return Err(MetaError::invalid("empty instance_id and cloud_unique_id").into());
    }
    let instance_id = instances::resolve(reader, cloud_unique_id)?;
    if instance_id.is_empty() {
        return Err(MetaError::invalid(format!("cannot find instance_id with cloud_unique_id={cloud_unique_id}")).into());
    }
    Ok(instance_id)
}

/// Whether a get_cluster request is for one cluster: its HTTP reply then shows that cluster, not the whole response.
pub fn selects_one_cluster(request: &GetClusterRequest) -> bool {
    !(request.cluster_id().is_empty() && request.cluster_name().is_empty() && request.mysql_user_name().is_empty())
}

/// The clusters that a request selects: by id, else by name, else by user, else all. `status` is left to the caller.
pub fn get_cluster(reader: &dyn Reader, request: &GetClusterRequest) -> Result<GetClusterResponse, QueryError> {
    let (instance, selected) = selected(reader, request)?;
    Ok(response(reader, &instance, &selected)?)
}

/// As [`get_cluster`]; `None` if the selected clusters have more than [`limits::FEW_NODES`] nodes. That is seen before any of
/// them is read: a cluster's row counts them.
pub fn get_cluster_of_few_nodes(reader: &dyn Reader, request: &GetClusterRequest) -> Result<Option<GetClusterResponse>, QueryError> {
    let (instance, selected) = selected(reader, request)?;
    let nodes: u64 = selected.iter().map(|cluster| cluster.record.nodes).sum();
    match nodes > limits::FEW_NODES {
        true => Ok(None),
        false => Ok(Some(response(reader, &instance, &selected)?)),
    }
}

fn selected(reader: &dyn Reader, request: &GetClusterRequest) -> Result<(Instance, Vec<Cluster>), QueryError> {
    let instance_id = caller_instance(reader, request)?;
    let instance = instances::require(reader, &instance_id, Route::Read)?;
    let selected = match selects_one_cluster(request) {
        true => Vec::from_iter(clusters::first(reader, instance.scope, |names| is_selected(request, names))?),
        false => clusters::all(reader, instance.scope)?,
    };
    if selected.is_empty() {
        let text = text_bounds::short_debug_text(request);
        return Err(MetaError::not_found(format!("fail to get cluster with {text}")).into());
    }
    Ok((instance, selected))
}

fn response(reader: &dyn Reader, instance: &Instance, selected: &[Cluster]) -> Result<GetClusterResponse, StoreError> {
    let shown = selected.iter().map(|cluster| with_nodes(reader, instance.scope, cluster));
    Ok(GetClusterResponse {
        status: None,
        cluster: shown.collect::<Result<_, _>>()?,
        enable_storage_vault: Some(instance.info.enable_storage_vault()),
    })
}

fn caller_instance(reader: &dyn Reader, request: &GetClusterRequest) -> Result<String, QueryError> {
    let cloud_unique_id = request.cloud_unique_id();
    if cloud_unique_id.is_empty() {
        return Err(MetaError::invalid("cloud_unique_id must be given").into());
    }
    let registered = instances::resolve(reader, cloud_unique_id)?;
    if !registered.is_empty() {
        return Ok(registered);
    }
    match request.instance_id.as_deref() {
        None => Err(MetaError::invalid("empty instance_id").into()),
        Some("") => Err(MetaError::invalid(format!("failed to get instance_id with cloud_unique_id={cloud_unique_id}")).into()),
        Some(instance_id) => Ok(instance_id.to_owned()),
    }
}

/// Whether a cluster is the one that a request for one is about.
fn is_selected(request: &GetClusterRequest, cluster: &ClusterNames) -> bool {
    if !request.cluster_id().is_empty() {
        return cluster.cluster_id.as_deref() == request.cluster_id.as_deref();
    }
    if !request.cluster_name().is_empty() {
        return cluster.cluster_name.as_deref() == request.cluster_name.as_deref();
    }
    let user = request.mysql_user_name();
    cluster.mysql_user_name.iter().any(|name| name == user)
}

fn with_nodes(reader: &dyn Reader, scope: ScopeId, cluster: &Cluster) -> Result<ClusterPb, StoreError> {
    Ok(cluster.with_nodes(nodes::of_cluster(reader, scope, cluster.added)?))
}

#[cfg(test)]
mod tests;
