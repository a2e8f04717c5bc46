//! What every cluster command gets: its request, the bounds of it, and the checks that all of them share.
//!
//! The contract fixes the order in which a request's faults are reported, and some early checks read the state. So `apply`
//! makes all checks; `prepare` makes only those that nothing comes before, which saves a log entry and changes no answer.

use crate::command::{ApplyError, PrepareSettings};
use crate::store::{Reader, StoreError};
use crate::{instances, limits, text_bounds, virtual_clusters};
use quorate_model::MetaError;
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::node_info_pb::NodeType;
use quorate_wire::doris::{AlterClusterRequest, ClusterPb, ClusterStatus, NodeInfoPb, NodeStatusPb, cluster_policy};

/// What upstream appends when a cluster or node is not where the caller expects it.
pub const NOT_FOUND_HELP: &str = "Ms nodes memory cache may be inconsistent, pls check registry key may be contain 127.0.0.1, \
     and call get_instance api get instance info from fdb";

/// What every cluster command carries: whom its caller named, and the settings of the peer that received the call.
#[derive(Clone, PartialEq, prost::Message)]
pub struct ClusterRequest {
    /// As sent; empty when absent.
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub cloud_unique_id: String,
    #[prost(message, optional, tag = "3")]
    pub cluster: Option<ClusterPb>,
    #[prost(bool, tag = "4")]
    pub check_cluster_name: bool,
    #[prost(bool, tag = "5")]
    pub check_instance_id: bool,
    /// FE nodes of at most this age are not dropped; 0 lifts the protection.
    #[prost(uint64, tag = "6")]
    pub frontend_drop_safe_seconds: u64,
}

/// Whether a command needs the cluster's name, or takes the id instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameRule {
    Required,
    Optional,
}

impl ClusterRequest {
    /// Takes a request over and checks its bounds.
    pub fn new(request: AlterClusterRequest, settings: &PrepareSettings) -> Result<ClusterRequest, MetaError> {
        text_bounds::check_texts(&[("instance_id", &request.instance_id), ("cloud_unique_id", &request.cloud_unique_id)])?;
        let cluster = request.cluster.map(without_unknown_enums);
        if let Some(cluster) = &cluster {
            check_bounds(cluster)?;
        }
        let request = ClusterRequest {
            instance_id: request.instance_id.unwrap_or_default(),
            cloud_unique_id: request.cloud_unique_id.unwrap_or_default(),
            cluster,
            check_cluster_name: settings.check_cluster_name,
            check_instance_id: settings.check_instance_id,
            frontend_drop_safe_seconds: settings.frontend_drop_safe_seconds,
        };
        text_bounds::check_command_size("cluster", &request)?;
        Ok(request)
    }

    /// Takes over a request about a cluster that exists: it must name the cluster's id, and of all else only the name and what
    /// `keep` takes enter the command.
    pub fn about_existing(
        request: AlterClusterRequest,
        settings: &PrepareSettings,
        keep: impl FnOnce(ClusterPb) -> ClusterPb,
    ) -> Result<ClusterRequest, MetaError> {
        let mut request = ClusterRequest::new(request, settings)?;
        if let Some(cluster) = request.cluster_before_state()? {
            check_id_given(cluster)?;
        }
        request.cluster = request.cluster.map(|mut cluster| ClusterPb {
            cluster_id: cluster.cluster_id.take(),
            cluster_name: cluster.cluster_name.take(),
            ..keep(cluster)
        });
        Ok(request)
    }

    /// The cluster of a request in which nothing that depends on the state is checked before it; `None` when something is,
    /// so that `prepare` must leave even what is wrong in itself to `apply`.
    pub fn cluster_before_state(&self) -> Result<Option<&ClusterPb>, MetaError> {
        match (self.instance_id.is_empty(), self.cloud_unique_id.is_empty()) {
            (true, false) => Ok(None),
            (true, true) => Err(not_given()),
            (false, _) => self.cluster.as_ref().map(Some).ok_or_else(not_given),
        }
    }

    /// The instance's id and the cluster, or why the request does not tell.
    pub fn resolve(&self, reader: &dyn Reader) -> Result<(String, &ClusterPb), ApplyError> {
        let mut instance_id = self.instance_id.clone();
        if instance_id.is_empty() && !self.cloud_unique_id.is_empty() {
            instance_id = self.resolve_cloud_unique_id(reader)?;
        }
        match &self.cluster {
            Some(cluster) if !instance_id.is_empty() => Ok((instance_id, cluster)),
            _ => Err(not_given().into()),
        }
    }

    fn resolve_cloud_unique_id(&self, reader: &dyn Reader) -> Result<String, ApplyError> {
        let id = &self.cloud_unique_id;
        if self.names_missing_instance(reader, id)? {
            let message = format!("use degrade cloud_unique_id, but instance_id invalid, cloud_unique_id={id}");
            return Err(MetaError::invalid(message).into());
        }
        let instance_id = instances::resolve(reader, id)?;
        if instance_id.is_empty() {
            return Err(MetaError::invalid("empty instance_id").into());
        }
        Ok(instance_id)
    }

    fn names_missing_instance(&self, reader: &dyn Reader, cloud_unique_id: &str) -> Result<bool, StoreError> {
        match instances::id_within(cloud_unique_id) {
            Some(instance_id) if self.check_instance_id => Ok(!instances::exists(reader, instance_id)?),
            _ => Ok(false),
        }
    }

    /// The checks of a cluster's own fields that come before any that reads the state.
    pub fn check_type_and_name(&self, cluster: &ClusterPb, name_rule: NameRule) -> Result<(), MetaError> {
        if cluster.r#type.is_none() {
            return Err(MetaError::invalid("cluster must have type arg"));
        }
        if name_rule == NameRule::Required && cluster.cluster_name().is_empty() {
            return Err(MetaError::invalid("not have cluster name"));
        }
        if self.check_cluster_name && cluster.cluster_name.is_some() && !virtual_clusters::is_identifier(cluster.cluster_name()) {
            return Err(MetaError::invalid(
                "cluster name not regex with ^[a-zA-Z][a-zA-Z0-9_]*$, please check it",
            ));
        }
        Ok(())
    }

    /// The shared "params valid" checks (spec/doris-http.md 12.7), all of them, in their order.
    pub fn check_params(&self, reader: &dyn Reader, cluster: &ClusterPb, name_rule: NameRule) -> Result<(), ApplyError> {
        self.check_type_and_name(cluster, name_rule)?;
        for node in &cluster.nodes {
            if self.names_missing_instance(reader, node.cloud_unique_id())? {
                let node = text_bounds::debug_text(node);
                let message = format!("node={node} cloud_unique_id use degrade format, but check instance failed");
                return Err(MetaError::invalid(message).into());
            }
        }
        // A new frontend cluster must come with its masters; one that exists is judged as a whole, after the change.
        if name_rule == NameRule::Required && cluster.r#type == Some(Type::Sql as i32) {
            check_frontends(&cluster.nodes)?;
        }
        if cluster.r#type == Some(Type::Virtual as i32) {
            virtual_clusters::check(cluster)?;
        }
        Ok(())
    }

    /// Whether a frontend was added so lately that it must not go yet.
    pub fn is_too_young(&self, frontend: &NodeInfoPb, now_seconds: i64) -> bool {
        let safe_seconds = i64::try_from(self.frontend_drop_safe_seconds).unwrap_or(i64::MAX);
        safe_seconds > 0 && now_seconds <= frontend.ctime().saturating_add(safe_seconds)
    }
}

fn not_given() -> MetaError {
    MetaError::invalid("invalid request instance_id or cluster not given")
}

fn check_frontends(nodes: &[NodeInfoPb]) -> Result<(), MetaError> {
    let counted = nodes.iter().filter(|node| node.edit_log_port() != 0);
    let (mut masters, mut followers) = (0, 0);
    for node in counted {
        masters += u64::from(node.node_type() == NodeType::FeMaster);
        followers += u64::from(node.node_type() == NodeType::FeFollower);
    }
    if masters > 0 && followers > 0 {
        return Err(MetaError::invalid(format!(
            "cluster is SQL type, and use multi follower mode, cant set master node, master count: {masters} follower count: {followers}"
        )));
    }
    if followers == 0 && masters != 1 {
        return Err(MetaError::invalid(format!(
            "cluster is SQL type, must have only one master node, now master count: {masters}"
        )));
    }
    Ok(())
}

/// Refuses a cluster without id.
pub fn check_id_given(cluster: &ClusterPb) -> Result<(), MetaError> {
    if cluster.cluster_id().is_empty() {
        Err(MetaError::invalid("missing cluster_id="))
    } else {
        Ok(())
    }
}

/// Names this build does not know count as unset, however the request was encoded: upstream's parser drops them.
fn without_unknown_enums(mut cluster: ClusterPb) -> ClusterPb {
    let known = |number: Option<i32>, is_known: fn(i32) -> bool| number.filter(|number| is_known(*number));
    cluster.r#type = known(cluster.r#type, Type::is_valid);
    cluster.cluster_status = known(cluster.cluster_status, ClusterStatus::is_valid);
    for node in &mut cluster.nodes {
        node.status = known(node.status, NodeStatusPb::is_valid);
        node.node_type = known(node.node_type, NodeType::is_valid);
    }
    if let Some(policy) = &mut cluster.cluster_policy {
        policy.r#type = known(policy.r#type, cluster_policy::PolicyType::is_valid);
    }
    cluster
}

fn check_bounds(cluster: &ClusterPb) -> Result<(), MetaError> {
    text_bounds::check_texts(&[
        ("cluster_id", &cluster.cluster_id),
        ("cluster_name", &cluster.cluster_name),
        ("cluster desc", &cluster.desc),
        ("public_endpoint", &cluster.public_endpoint),
        ("private_endpoint", &cluster.private_endpoint),
    ])?;
    text_bounds::check_list("mysql_user_name", &cluster.mysql_user_name)?;
    text_bounds::check_list("cluster_names", &cluster.cluster_names)?;
    if let Some(policy) = &cluster.cluster_policy {
        text_bounds::check_texts(&[("active_cluster_name", &policy.active_cluster_name)])?;
        text_bounds::check_list("standby_cluster_names", &policy.standby_cluster_names)?;
        text_bounds::check_list("cache_warmup_jobids", &policy.cache_warmup_jobids)?;
    }
    if cluster.properties.len() > limits::MAX_LIST_ENTRIES {
        let message = format!(
            "properties has {} entries, limit {}; send fewer",
            cluster.properties.len(),
            limits::MAX_LIST_ENTRIES
        );
        return Err(MetaError::invalid(message));
    }
    for (name, value) in &cluster.properties {
        text_bounds::check_text("property name", name)?;
        text_bounds::check_text("property value", value)?;
    }
    if cluster.nodes.len() > limits::MAX_NODES_PER_REQUEST {
        let message = format!(
            "request has {} nodes, limit {}; split the request",
            cluster.nodes.len(),
            limits::MAX_NODES_PER_REQUEST
        );
        return Err(MetaError::invalid(message));
    }
    cluster.nodes.iter().try_for_each(check_node_bounds)
}

fn check_node_bounds(node: &NodeInfoPb) -> Result<(), MetaError> {
    text_bounds::check_texts(&[
        ("node cloud_unique_id", &node.cloud_unique_id),
        ("node name", &node.name),
        ("node ip", &node.ip),
        ("node vpc_name", &node.vpc_name),
        ("node desc", &node.desc),
        ("node host", &node.host),
        ("node public_endpoint", &node.public_endpoint),
        ("node private_endpoint", &node.private_endpoint),
    ])
}
