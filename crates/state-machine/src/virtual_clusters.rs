//! Virtual clusters (compute groups): two compute clusters behind one name, with a policy for fail-over.

use crate::clusters::Cluster;
use quorate_model::MetaError;
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::{ClusterPb, ClusterPolicy, cluster_policy::PolicyType};

/// Failures after which the standby takes over, when the caller does not say.
const DEFAULT_FAILOVER_FAILURE_THRESHOLD: i64 = 3;
/// Percentage of unhealthy nodes that counts as a failure, when the caller does not say.
const DEFAULT_UNHEALTHY_NODE_THRESHOLD_PERCENT: i64 = 100;

/// Whether a text is `^[a-zA-Z][a-zA-Z0-9_]*$`.
pub fn is_identifier(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic()) && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

/// The checks of a virtual cluster's own fields (spec/doris-http.md 12.9), in their order.
pub fn check(cluster: &ClusterPb) -> Result<(), MetaError> {
    let has_own_resources = !cluster.nodes.is_empty()
        || !cluster.mysql_user_name.is_empty()
        || cluster.public_endpoint.is_some()
        || cluster.private_endpoint.is_some()
        || cluster.cluster_status.is_some();
    if has_own_resources {
        return Err(MetaError::invalid("Inconsistent virtual cluster args"));
    }
    let names = &cluster.cluster_names;
    if names.is_empty() != cluster.cluster_policy.is_none() {
        return Err(MetaError::invalid(
            "subcgs and policy must be Incoming at the same time or do not transmit at the same time",
        ));
    }
    if !names.is_empty() && names.len() != 2 {
        return Err(MetaError::invalid("Currently, just support two sub clusters"));
    }
    if let Some(name) = names.iter().find(|name| !is_identifier(name)) {
        return Err(MetaError::invalid(format!(
            "cluster name {name} does not match regex ^[a-zA-Z][a-zA-Z0-9_]*$"
        )));
    }
    cluster.cluster_policy.as_ref().map_or(Ok(()), |policy| check_policy(policy, names))
}

fn check_policy(policy: &ClusterPolicy, names: &[String]) -> Result<(), MetaError> {
    match policy.r#type {
        None => return Err(MetaError::invalid("plz set cluster policy type, use virtual cluster policy")),
        Some(number) if number != PolicyType::ActiveStandby as i32 => {
            return Err(MetaError::invalid("cluster policy type must be ActiveStandby"));
        }
        Some(_) => {}
    }
    let active = policy.active_cluster_name();
    if active.is_empty() != policy.standby_cluster_names.is_empty() {
        return Err(MetaError::invalid(
            "Inconsistent cluster policy: active_cluster_name must be set if standby_cluster_names are present, and vice versa.",
        ));
    }
    if active.is_empty() || !names.iter().any(|name| name == active) {
        return Err(MetaError::invalid(
            "active_cluster_name must not be empty and must be in cluster_names",
        ));
    }
    for standby in &policy.standby_cluster_names {
        if !names.contains(standby) {
            return Err(MetaError::invalid(format!(
                "standby_cluster_name {standby} must be in cluster_names"
            )));
        }
        if standby == active {
            return Err(MetaError::invalid("active_cluster_name is same of standby_cluster_name"));
        }
    }
    if policy.failover_failure_threshold.unwrap_or(DEFAULT_FAILOVER_FAILURE_THRESHOLD) <= 0 {
        return Err(MetaError::invalid(
            "failover_failure_threshold must be greater than 0 and less than max(int64)",
        ));
    }
    let percent = policy
        .unhealthy_node_threshold_percent
        .unwrap_or(DEFAULT_UNHEALTHY_NODE_THRESHOLD_PERCENT);
    if !(1..=100).contains(&percent) {
        return Err(MetaError::invalid(
            "unhealthy_node_threshold_percent must be greater than 0 and less than or equal to 100",
        ));
    }
    Ok(())
}

/// Writes the defaults of a policy into it, so that readers need not know them.
pub fn fill_defaults(policy: &mut ClusterPolicy) {
    policy.failover_failure_threshold.get_or_insert(DEFAULT_FAILOVER_FAILURE_THRESHOLD);
    policy
        .unhealthy_node_threshold_percent
        .get_or_insert(DEFAULT_UNHEALTHY_NODE_THRESHOLD_PERCENT);
}

/// Refuses sub clusters that are missing, are no compute clusters, or belong to another virtual cluster.
pub fn check_sub_clusters(names: &[String], existing: &[Cluster]) -> Result<(), MetaError> {
    for name in names {
        let Some(cluster) = existing.iter().find(|cluster| cluster.info().cluster_name() == name) else {
            let message = format!("sub cluster {name} not been added in instance, plz add it before create virtual cluster");
            return Err(MetaError::invalid(message));
        };
        if cluster.cluster_type() != Some(Type::Compute) {
            return Err(MetaError::invalid(format!("sub cluster {name} 's type must be eq COMPUTE")));
        }
        if let Some(owner) = owner_of(name, existing) {
            return Err(MetaError::invalid(format!(
                "sub cluster {name} has been add by other vcg={}",
                owner.info().cluster_name()
            )));
        }
    }
    Ok(())
}

/// The virtual cluster that has a cluster of this name.
pub fn owner_of<'a>(name: &str, existing: &'a [Cluster]) -> Option<&'a Cluster> {
    let owns = |cluster: &&Cluster| {
        cluster.cluster_type() == Some(Type::Virtual) && cluster.info().cluster_names.iter().any(|owned| owned == name)
    };
    existing.iter().find(owns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identifiers_begin_with_a_letter() {
        for (text, expected) in [
            ("a", true),
            ("A_9", true),
            ("", false),
            ("9a", false),
            ("_a", false),
            ("a-b", false),
            ("é", false),
        ] {
            assert_eq!(is_identifier(text), expected, "{text}");
        }
    }

    fn named(names: &[&str], active: Option<&str>, standby: &[&str]) -> ClusterPb {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let policy = ClusterPolicy {
            r#type: Some(PolicyType::ActiveStandby as i32),
            active_cluster_name: active.map(str::to_owned),
            standby_cluster_names: owned(standby),
            ..Default::default()
        };
        ClusterPb {
            cluster_names: owned(names),
            cluster_policy: Some(policy),
            ..Default::default()
        }
    }

    #[track_caller]
    fn assert_refused(change: impl FnOnce(&mut ClusterPb), expected: &str) {
        let mut cluster = named(&["a", "b"], Some("a"), &["b"]);
        change(&mut cluster);
        assert_eq!(check(&cluster), Err(MetaError::invalid(expected)));
    }

    #[test]
    fn a_virtual_cluster_is_empty_or_has_two_clusters_and_a_policy() {
        assert_eq!(check(&ClusterPb::default()), Ok(()));
        assert_eq!(check(&named(&["a", "b"], Some("a"), &["b"])), Ok(()));
        let unset = "subcgs and policy must be Incoming at the same time or do not transmit at the same time";
        assert_refused(|cluster| cluster.cluster_policy = None, unset);
        assert_refused(|cluster| cluster.cluster_names.clear(), unset);
        assert_refused(
            |cluster| cluster.cluster_names.push("c".to_owned()),
            "Currently, just support two sub clusters",
        );
        assert_refused(
            |cluster| cluster.cluster_names[1] = "b-".to_owned(),
            "cluster name b- does not match regex ^[a-zA-Z][a-zA-Z0-9_]*$",
        );
        assert_refused(
            |cluster| cluster.public_endpoint = Some(String::new()),
            "Inconsistent virtual cluster args",
        );
        assert_refused(|cluster| cluster.cluster_status = Some(0), "Inconsistent virtual cluster args");
        assert_refused(
            |cluster| cluster.mysql_user_name.push("u".to_owned()),
            "Inconsistent virtual cluster args",
        );
        assert_refused(
            |cluster| cluster.nodes.push(Default::default()),
            "Inconsistent virtual cluster args",
        );
    }

    #[test]
    fn every_fault_of_a_policy_has_its_text() {
        let refused = |change: fn(&mut ClusterPolicy), expected| {
            assert_refused(|cluster| change(cluster.cluster_policy.as_mut().expect("has one")), expected);
        };
        refused(
            |policy| policy.r#type = None,
            "plz set cluster policy type, use virtual cluster policy",
        );
        refused(|policy| policy.r#type = Some(7), "cluster policy type must be ActiveStandby");
        let one_of_two =
            "Inconsistent cluster policy: active_cluster_name must be set if standby_cluster_names are present, and vice versa.";
        refused(|policy| policy.active_cluster_name = None, one_of_two);
        refused(|policy| policy.standby_cluster_names.clear(), one_of_two);
        let inactive = "active_cluster_name must not be empty and must be in cluster_names";
        refused(|policy| policy.active_cluster_name = Some("c".to_owned()), inactive);
        refused(
            |policy| (policy.active_cluster_name, policy.standby_cluster_names) = (None, Vec::new()),
            inactive,
        );
        refused(
            |policy| policy.standby_cluster_names = vec!["c".to_owned()],
            "standby_cluster_name c must be in cluster_names",
        );
        refused(
            |policy| policy.standby_cluster_names = vec!["a".to_owned()],
            "active_cluster_name is same of standby_cluster_name",
        );
        let threshold = "failover_failure_threshold must be greater than 0 and less than max(int64)";
        refused(|policy| policy.failover_failure_threshold = Some(0), threshold);
        let percent = "unhealthy_node_threshold_percent must be greater than 0 and less than or equal to 100";
        refused(|policy| policy.unhealthy_node_threshold_percent = Some(0), percent);
        refused(|policy| policy.unhealthy_node_threshold_percent = Some(101), percent);
    }
}
