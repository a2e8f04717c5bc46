//! Changes which clusters a virtual cluster stands for, and when it fails over.
//!
//! What the request leaves out stays, and the result is judged as a whole. So a change of names alone, or of the policy
//! alone, can be refused because it does not fit what stays (spec/doris-http.md 12.9).

use crate::cluster_request::ClusterRequest;
use crate::clusters::{self, Cluster};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::virtual_clusters;
use quorate_model::MetaError;
use quorate_wire::doris::{AlterClusterRequest, ClusterPb, ClusterPolicy};

#[derive(Clone, PartialEq, prost::Message)]
pub struct AlterVclusterInfo {
    #[prost(message, required, tag = "1")]
    pub request: ClusterRequest,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AlterVclusterInfoReply {}

impl Prepare for AlterVclusterInfo {
    type Request = AlterClusterRequest;

    fn prepare(request: AlterClusterRequest, context: &PrepareContext<'_>) -> Result<AlterVclusterInfo, MetaError> {
        let request = ClusterRequest::about_existing(request, context.settings, |cluster| ClusterPb {
            cluster_names: cluster.cluster_names,
            cluster_policy: cluster.cluster_policy,
            ..ClusterPb::default()
        })?;
        Ok(AlterVclusterInfo { request })
    }
}

impl Command for AlterVclusterInfo {
    type Reply = AlterVclusterInfoReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AlterVclusterInfoReply, ApplyError> {
        let reader = context.reader();
        let (instance_id, wanted) = self.request.resolve(reader)?;
        let (instance, mut cluster) = clusters::find_to_update(reader, &instance_id, wanted)?;
        // A virtual cluster may keep its own sub clusters.
        let mut others = clusters::all(reader, instance.scope)?;
        others.retain(|other| other.added != cluster.added);
        let info = &mut cluster.record.info;
        if !wanted.cluster_names.is_empty() {
            virtual_clusters::check_sub_clusters(&wanted.cluster_names, &others)?;
            info.cluster_names.clone_from(&wanted.cluster_names);
        }
        if let Some(policy) = &wanted.cluster_policy {
            change_policy(info.cluster_policy.get_or_insert_default(), policy, &others)?;
        }
        virtual_clusters::check(info)?;
        if let Some(policy) = &mut info.cluster_policy {
            virtual_clusters::fill_defaults(policy);
        }
        info.mtime = Some(context.now().seconds());
        clusters::put(context, instance.scope, &cluster);
        Ok(AlterVclusterInfoReply {})
    }
}

fn change_policy(policy: &mut ClusterPolicy, wanted: &ClusterPolicy, others: &[Cluster]) -> Result<(), MetaError> {
    if let Some(active) = &wanted.active_cluster_name {
        virtual_clusters::check_sub_clusters(std::slice::from_ref(active), others)?;
        policy.active_cluster_name = Some(active.clone());
    }
    // One standby is all that upstream keeps of a list.
    if let Some(standby) = wanted.standby_cluster_names.first() {
        virtual_clusters::check_sub_clusters(std::slice::from_ref(standby), others)?;
        policy.standby_cluster_names = vec![standby.clone()];
    }
    policy.r#type = wanted.r#type.or(policy.r#type);
    policy.failover_failure_threshold = wanted.failover_failure_threshold.or(policy.failover_failure_threshold);
    policy.unhealthy_node_threshold_percent = wanted
        .unhealthy_node_threshold_percent
        .or(policy.unhealthy_node_threshold_percent);
    if !wanted.cache_warmup_jobids.is_empty() {
        policy.cache_warmup_jobids.clone_from(&wanted.cache_warmup_jobids);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
