//! Gives a cluster another name, within an instance in which names are unique.
//!
//! With `replace_if_existing_empty_target_cluster` a cluster that has the name and nothing in it makes way. Virtual clusters
//! name their sub clusters, so the name changes there too: otherwise the sub cluster could be dropped under its group.

use crate::cluster_request::ClusterRequest;
use crate::clusters::{self, Cluster};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::store::Reader;
use crate::{nodes, text_bounds};
use quorate_model::{MetaError, ScopeId};
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::{AlterClusterRequest, ClusterPb};

#[derive(Clone, PartialEq, prost::Message)]
pub struct RenameCluster {
    #[prost(message, required, tag = "1")]
    pub request: ClusterRequest,
    #[prost(bool, tag = "2")]
    pub replace_empty_target: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct RenameClusterReply {}

impl Prepare for RenameCluster {
    type Request = AlterClusterRequest;

    fn prepare(request: AlterClusterRequest, context: &PrepareContext<'_>) -> Result<RenameCluster, MetaError> {
        let replace_empty_target = request.replace_if_existing_empty_target_cluster();
        let request = ClusterRequest::about_existing(request, context.settings, |_| ClusterPb::default())?;
        Ok(RenameCluster {
            request,
            replace_empty_target,
        })
    }
}

impl Command for RenameCluster {
    type Reply = RenameClusterReply;

    /// The name may be empty, and `mtime` stays, as upstream has it (spec/doris-http.md 12.12).
    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<RenameClusterReply, ApplyError> {
        let reader = context.reader();
        let (instance_id, wanted) = self.request.resolve(reader)?;
        let (instance, mut cluster) = clusters::find_to_update(reader, &instance_id, wanted)?;
        let existing = clusters::all(reader, instance.scope)?;
        let holder = existing.iter().find(|other| other.info().cluster_name() == wanted.cluster_name());
        if let Some(holder) = holder {
            let makes_way = self.replace_empty_target && holder.added != cluster.added && is_empty(holder);
            if !makes_way {
                return Err(name_taken(reader, instance.scope, &cluster)?.into());
            }
            clusters::remove(context, instance.scope, holder)?;
        }
        let old_name = cluster.record.info.cluster_name.replace(wanted.cluster_name().to_owned());
        clusters::put(context, instance.scope, &cluster);
        if cluster.cluster_type() == Some(Type::Compute) {
            rename_in_groups(context, instance.scope, existing, &old_name.unwrap_or_default(), wanted.cluster_name());
        }
        Ok(RenameClusterReply {})
    }
}

/// Without nodes, and without sub clusters: a virtual cluster never has nodes, and is not empty for that.
fn is_empty(cluster: &Cluster) -> bool {
    cluster.record.nodes == 0 && cluster.info().cluster_names.is_empty()
}

fn name_taken(reader: &dyn Reader, scope: ScopeId, cluster: &Cluster) -> Result<MetaError, ApplyError> {
    let shown = text_bounds::json_text(&cluster.with_nodes(nodes::of_cluster(reader, scope, cluster.added)?));
    Ok(MetaError::invalid(format!(
        "failed to rename cluster, a cluster with the same name already exists in this instance {shown}"
    )))
}

fn rename_in_groups(context: &mut ApplyContext<'_, '_>, scope: ScopeId, existing: Vec<Cluster>, old_name: &str, new_name: &str) {
    let groups = existing.into_iter().filter(|group| group.cluster_type() == Some(Type::Virtual));
    for mut group in groups {
        let info = &mut group.record.info;
        let policy = info.cluster_policy.as_mut();
        let of_policy = policy.map(|policy| policy.active_cluster_name.iter_mut().chain(&mut policy.standby_cluster_names));
        let mut is_named = false;
        for name in info.cluster_names.iter_mut().chain(of_policy.into_iter().flatten()) {
            if name == old_name {
                new_name.clone_into(name);
                is_named = true;
            }
        }
        if is_named {
            clusters::put(context, scope, &group);
        }
    }
}

#[cfg(test)]
mod tests;
