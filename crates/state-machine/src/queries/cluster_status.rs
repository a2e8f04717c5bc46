//! The statuses of compute clusters over several instances (spec/doris-http.md 12.18).

use super::QueryError;
use crate::clusters;
use crate::instances;
use crate::nodes;
use crate::store::{Reader, StoreError};
use crate::text_bounds;
use quorate_model::MetaError;
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::get_cluster_status_response::GetClusterStatusResponseDetail as Detail;
use quorate_wire::doris::{ClusterPb, ClusterStatus, GetClusterStatusRequest, GetClusterStatusResponse};

/// Status by cluster and instance. An instance that is missing, or has no cluster of the wanted status, is left out; a dropped
/// one is not. `status` of the response is left to the caller.
pub fn get_cluster_status(reader: &dyn Reader, request: &GetClusterStatusRequest) -> Result<GetClusterStatusResponse, QueryError> {
    text_bounds::check_list("instance_ids", &request.instance_ids)?;
    text_bounds::check_list("cloud_unique_ids", &request.cloud_unique_ids)?;
    let mut response = GetClusterStatusResponse::default();
    let instance_ids = if request.instance_ids.is_empty() {
        response.requester_cluster_id = requester(reader, request)?;
        resolved(reader, &request.cloud_unique_ids)?
    } else {
        request.instance_ids.clone()
    };
    // A status this build does not know is no filter, as a name it does not know is none.
    let wanted = request.status.and_then(|number| ClusterStatus::try_from(number).ok());
    for instance_id in instance_ids {
        let clusters = of_instance(reader, &instance_id, wanted)?;
        if !clusters.is_empty() {
            let instance_id = Some(instance_id);
            response.details.push(Detail { instance_id, clusters });
        }
    }
    Ok(response)
}

fn resolved(reader: &dyn Reader, cloud_unique_ids: &[String]) -> Result<Vec<String>, QueryError> {
    if cloud_unique_ids.is_empty() {
        let text = "cloud_unique_ids or instance_ids must be given, instance_ids.size: 0 cloud_unique_ids.size: 0";
        return Err(MetaError::invalid(text).into());
    }
    let instance_ids = cloud_unique_ids.iter().map(|id| instances::resolve(reader, id));
    Ok(instance_ids.collect::<Result<_, _>>()?)
}

/// The cluster of the node that asks: by convention its id is the first.
fn requester(reader: &dyn Reader, request: &GetClusterStatusRequest) -> Result<Option<String>, StoreError> {
    let Some(first) = request.cloud_unique_ids.first() else {
        return Ok(None);
    };
    match nodes::first_place_of(reader, first)? {
        Some(place) => Ok(clusters::of_place(reader, place)?.cluster_id),
        None => Ok(None),
    }
}

fn of_instance(reader: &dyn Reader, instance_id: &str, wanted: Option<ClusterStatus>) -> Result<Vec<ClusterPb>, StoreError> {
    let Some(scope) = instances::scope_of(reader, instance_id)? else {
        return Ok(Vec::new());
    };
    let mut shown = Vec::new();
    for cluster in clusters::all(reader, scope)? {
        let is_compute = cluster.cluster_type() == Some(Type::Compute);
        let info = cluster.record.info;
        if !is_compute || wanted.is_some_and(|wanted| info.cluster_status() != wanted) {
            continue;
        }
        shown.push(ClusterPb {
            cluster_status: info.cluster_status.or(Some(ClusterStatus::Normal as i32)),
            cluster_id: info.cluster_id,
            cluster_name: info.cluster_name,
            mtime: info.mtime,
            ..ClusterPb::default()
        });
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{AddCluster, SetClusterStatus};
    use crate::resource_fixture::{START_SECONDS, World, backend, cluster, frontend, on_instance, refusal};
    use quorate_wire::doris::AlterClusterRequest;
    use quorate_wire::doris::node_info_pb::NodeType;

    /// `i` has a frontend, `c` (suspended) and `d`; `j` has `e`; `k` has nothing.
    fn world() -> World {
        let mut world = World::with_instance();
        world.create("j");
        world.create("k");
        let in_instance = |instance_id: &str, cluster: ClusterPb| AlterClusterRequest {
            instance_id: Some(instance_id.to_owned()),
            ..on_instance(cluster)
        };
        let master = vec![frontend("1:i:fe", "10.0.0.1", NodeType::FeMaster)];
        for (instance_id, cluster) in [
            ("i", cluster(Type::Sql, "fe", master)),
            ("i", cluster(Type::Compute, "c", vec![backend("node-of-c", "10.0.0.2")])),
            ("i", cluster(Type::Compute, "d", Vec::new())),
            ("j", cluster(Type::Compute, "e", vec![backend("node-of-e", "10.0.0.3")])),
        ] {
            world.run::<AddCluster>(in_instance(instance_id, cluster)).expect("added");
        }
        let mut suspended = cluster(Type::Compute, "c", Vec::new());
        suspended.set_cluster_status(ClusterStatus::Suspended);
        world.now_seconds += 4;
        world.run::<SetClusterStatus>(on_instance(suspended)).expect("allowed");
        world
    }

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn about(instance_ids: &[&str], cloud_unique_ids: &[&str], status: Option<i32>) -> GetClusterStatusRequest {
        GetClusterStatusRequest {
            instance_ids: texts(instance_ids),
            cloud_unique_ids: texts(cloud_unique_ids),
            status,
            request_ip: None,
        }
    }

    /// The clusters of an answer, as `instance/cluster`.
    fn shown(world: &World, request: &GetClusterStatusRequest) -> Vec<String> {
        let response = get_cluster_status(&world.store, request).expect("answered");
        let of_detail = |detail: &Detail| -> Vec<String> {
            let ids = detail.clusters.iter().map(ClusterPb::cluster_id);
            ids.map(|id| format!("{}/{id}", detail.instance_id())).collect()
        };
        response.details.iter().flat_map(of_detail).collect()
    }

    #[test]
    fn compute_clusters_are_shown_without_their_nodes() {
        let world = world();
        let response = get_cluster_status(&world.store, &about(&["i"], &[], None)).expect("answered");
        let entry = |id: &str, status: ClusterStatus, mtime| ClusterPb {
            cluster_id: Some(id.to_owned()),
            cluster_name: Some(format!("{id}_name")),
            cluster_status: Some(status as i32),
            mtime: Some(mtime),
            ..Default::default()
        };
        let clusters = vec![
            entry("c", ClusterStatus::Suspended, START_SECONDS + 4),
            entry("d", ClusterStatus::Normal, START_SECONDS),
        ];
        assert_eq!(response.details[0].clusters, clusters);
        assert_eq!((response.details.len(), response.requester_cluster_id), (1, None));
    }

    #[test]
    fn instances_are_chosen_by_id_or_by_their_nodes_and_clusters_by_status() {
        let world = world();
        let suspended = Some(ClusterStatus::Suspended as i32);
        for (request, expected) in [
            (about(&["j", "i"], &[], None), &["j/e", "i/c", "i/d"][..]),
            (about(&["i", "k", "missing", ""], &[], None), &["i/c", "i/d"]),
            (about(&["i", "j"], &[], suspended), &["i/c"]),
            (about(&["i"], &[], Some(ClusterStatus::Unknown as i32)), &[]),
            (about(&["i"], &[], Some(99)), &["i/c", "i/d"]),
            (about(&["j"], &["node-of-c"], None), &["j/e"]),
            (about(&[], &["node-of-e", "1:i:any", "nobody"], None), &["j/e", "i/c", "i/d"]),
        ] {
            assert_eq!(shown(&world, &request), expected, "{request:?}");
        }
    }

    #[test]
    fn the_cluster_of_the_node_that_asks_is_named() {
        let world = world();
        let requester = |ids: &[&str]| {
            let response = get_cluster_status(&world.store, &about(&[], ids, None)).expect("answered");
            response.requester_cluster_id
        };
        assert_eq!(requester(&["node-of-e", "node-of-c"]).as_deref(), Some("e"));
        assert_eq!(requester(&["1:i:not-registered", "node-of-c"]), None);
    }

    #[test]
    fn an_unset_status_is_unknown_to_the_filter_and_normal_in_the_answer() {
        let mut world = World::with_instance();
        world
            .run::<AddCluster>(on_instance(cluster(Type::Compute, "c", Vec::new())))
            .expect("added");
        let (key, value) = {
            let prefix = crate::keys::record_prefix(crate::keys::RecordTable::Cluster);
            let row = world.store.rows.iter().find(|(key, _)| key.starts_with(&prefix)).expect("one");
            (row.0.clone(), row.1.clone())
        };
        let mut record: crate::record::ClusterRecord = crate::command::decode_record(&key, value).expect("decodes");
        record.info.cluster_status = None;
        world.store.rows.insert(key, prost::Message::encode_to_vec(&record).into());
        let response = get_cluster_status(&world.store, &about(&["i"], &[], Some(0))).expect("answered");
        assert_eq!(response.details[0].clusters[0].cluster_status(), ClusterStatus::Normal);
        assert!(shown(&world, &about(&["i"], &[], Some(ClusterStatus::Normal as i32))).is_empty());
    }

    #[test]
    fn a_request_about_nobody_or_about_too_many_is_refused() {
        let world = world();
        let refused = |request| refusal(get_cluster_status(&world.store, &request).expect_err("refused"));
        let text = "cloud_unique_ids or instance_ids must be given, instance_ids.size: 0 cloud_unique_ids.size: 0";
        assert_eq!(refused(about(&[], &[], None)), MetaError::invalid(text));
        let text = "instance_ids has 1001 entries, limit 1000; send fewer";
        assert_eq!(refused(about(&["i"; 1_001], &[], None)), MetaError::invalid(text));
    }
}
