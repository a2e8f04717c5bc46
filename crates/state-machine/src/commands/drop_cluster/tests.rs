//! What drop_cluster removes and what keeps a cluster.

use super::*;
use crate::commands::{AddCluster, DropInstance};
use crate::keys::RecordTable;
use crate::resource_fixture::{START_SECONDS, World, backend, cluster, frontend, on_instance};
use quorate_model::ErrorCode::{AlreadyExists, InvalidArgument, NotFound};
use quorate_wire::doris::node_info_pb::NodeType;
use quorate_wire::doris::{AlterInstanceRequest, ClusterPolicy};

fn drop(id: &str) -> AlterClusterRequest {
    on_instance(ClusterPb {
        cluster_id: Some(id.to_owned()),
        cluster_name: Some("wrong".to_owned()),
        ..Default::default()
    })
}

#[test]
fn a_cluster_goes_with_every_row_of_its_nodes() {
    let mut world = World::with_instance();
    let nodes = vec![
        backend("1:i:a", "10.0.0.1"),
        backend("plain", "10.0.0.2"),
        backend("plain", "10.0.0.3"),
    ];
    world
        .run::<AddCluster>(on_instance(cluster(Type::Compute, "c", nodes)))
        .expect("added");
    world
        .run::<AddCluster>(on_instance(cluster(Type::Compute, "kept", vec![backend("k", "10.0.0.4")])))
        .expect("added");
    world.run::<DropCluster>(drop("c")).expect("dropped");
    assert_eq!(
        world.instance("i").clusters.iter().map(ClusterPb::cluster_id).collect::<Vec<_>>(),
        ["kept"]
    );
    for table in [
        RecordTable::Cluster,
        RecordTable::Node,
        RecordTable::NodeIndex,
        RecordTable::Endpoint,
    ] {
        assert_eq!(world.rows_of(table), 1, "{table:?}");
    }
    let again = vec![backend("1:i:a", "10.0.0.1")];
    world
        .run::<AddCluster>(on_instance(cluster(Type::Compute, "c", again)))
        .expect("id, name, endpoint are free again");
}

#[test]
fn faults_are_reported_in_order() {
    let mut world = World::with_instance();
    world.refuse::<DropCluster>(on_instance(ClusterPb::default()), InvalidArgument, "missing cluster_id=");
    let missing = AlterClusterRequest {
        instance_id: Some("x".to_owned()),
        ..drop("c")
    };
    world.refuse::<DropCluster>(missing, NotFound, "failed to get instance, instance_id=x err=KeyNotFound");
    let text = "failed to find cluster to drop, instance_id=i cluster_id=c cluster_name=wrong help Msg=Ms nodes memory cache may be \
                inconsistent, pls check registry key may be contain 127.0.0.1, and call get_instance api get instance info from fdb";
    world.refuse::<DropCluster>(drop("c"), NotFound, text);
    world
        .run::<DropInstance>(AlterInstanceRequest {
            instance_id: Some("i".to_owned()),
            ..Default::default()
        })
        .expect("dropped");
    world.refuse::<DropCluster>(drop("c"), NotFound, "instance status has been set delete, plz check it");
}

#[test]
fn a_young_frontend_protects_its_cluster_for_five_minutes() {
    let mut world = World::with_instance();
    let master = vec![frontend("1:i:fe", "10.0.0.1", NodeType::FeMaster)];
    world
        .run::<AddCluster>(on_instance(cluster(Type::Sql, "fe", master.clone())))
        .expect("added");
    world.now_seconds += 300;
    let text = format!(
        "drop fe cluster not in safe time, try later, cluster=cluster_id: \"fe\"\ncluster_name: \"fe_name\"\ntype: SQL\nnodes {{\n  \
         cloud_unique_id: \"1:i:fe\"\n  ip: \"10.0.0.1\"\n  ctime: {START_SECONDS}\n  mtime: {START_SECONDS}\n  edit_log_port: 9010\n  \
         node_type: FE_MASTER\n}}\nctime: {START_SECONDS}\nmtime: {START_SECONDS}\n"
    );
    world.refuse::<DropCluster>(drop("fe"), NotFound, &text);
    world.now_seconds += 1;
    world.run::<DropCluster>(drop("fe")).expect("old enough");
    world
        .run::<AddCluster>(on_instance(cluster(Type::Sql, "fe", master)))
        .expect("added");
    world.settings.frontend_drop_safe_seconds = 0;
    world.run::<DropCluster>(drop("fe")).expect("the protection is off");
}

#[test]
fn a_sub_cluster_goes_only_after_its_virtual_cluster() {
    let mut world = World::with_instance();
    for id in ["a", "b"] {
        world
            .run::<AddCluster>(on_instance(cluster(Type::Compute, id, Vec::new())))
            .expect("added");
    }
    let policy = ClusterPolicy {
        r#type: Some(0),
        active_cluster_name: Some("a_name".to_owned()),
        standby_cluster_names: vec!["b_name".to_owned()],
        ..Default::default()
    };
    let group = ClusterPb {
        cluster_names: vec!["a_name".to_owned(), "b_name".to_owned()],
        cluster_policy: Some(policy),
        ..cluster(Type::Virtual, "v", Vec::new())
    };
    world.run::<AddCluster>(on_instance(group)).expect("added");
    let text = "failed to drop cluster, this cluster owned by virtual cluster=v_name if you want drop this cluster, please drop \
                virtual cluster=v_name firstly";
    world.refuse::<DropCluster>(drop("b"), AlreadyExists, text);
    world.run::<DropCluster>(drop("v")).expect("dropped");
    world.run::<DropCluster>(drop("b")).expect("free now");
}
