//! Who may have which name, and what makes way for it.

use super::*;
use crate::commands::{AddCluster, DropCluster};
use crate::keys::RecordTable;
use crate::resource_fixture::{START_SECONDS, World, backend, cluster, frontend, on_instance};
use quorate_model::ErrorCode::{AlreadyExists, InvalidArgument};
use quorate_wire::doris::ClusterPolicy;
use quorate_wire::doris::node_info_pb::NodeType;

fn rename(id: &str, name: &str) -> AlterClusterRequest {
    on_instance(ClusterPb {
        cluster_id: Some(id.to_owned()),
        cluster_name: Some(name.to_owned()),
        ..Default::default()
    })
}

fn replacing(id: &str, name: &str) -> AlterClusterRequest {
    AlterClusterRequest {
        replace_if_existing_empty_target_cluster: Some(true),
        ..rename(id, name)
    }
}

/// Compute clusters `a` with a node and `b` without.
fn world() -> World {
    let mut world = World::with_instance();
    for (id, nodes) in [("a", vec![backend("1:i:a", "10.0.0.1")]), ("b", Vec::new())] {
        world.run::<AddCluster>(on_instance(cluster(Type::Compute, id, nodes))).expect("added");
    }
    world
}

fn names(world: &World) -> Vec<(String, String)> {
    let clusters = world.instance("i").clusters;
    clusters
        .iter()
        .map(|cluster| (cluster.cluster_id().to_owned(), cluster.cluster_name().to_owned()))
        .collect()
}

fn pair(id: &str, name: &str) -> (String, String) {
    (id.to_owned(), name.to_owned())
}

#[test]
fn the_name_alone_changes() {
    let mut world = world();
    let before = world.instance("i");
    world.now_seconds += 60;
    assert_eq!(world.run::<RenameCluster>(rename("a", "9-any text")).expect("free"), 1);
    let mut expected = before;
    expected.clusters[0].cluster_name = Some("9-any text".to_owned());
    assert_eq!(world.instance("i"), expected, "also mtime is as it was");
    world.run::<RenameCluster>(rename("a", "")).expect("an empty name is taken");
    assert_eq!(names(&world), [pair("a", ""), pair("b", "b_name")]);
}

#[test]
fn faults_are_reported_in_order() {
    let mut world = world();
    world.refuse::<RenameCluster>(rename("", "x"), InvalidArgument, "missing cluster_id=");
    let elsewhere = AlterClusterRequest {
        instance_id: Some("x".to_owned()),
        ..rename("a", "x")
    };
    world.refuse::<RenameCluster>(elsewhere, InvalidArgument, "failed to get instance, instance_id=x err=KeyNotFound");
    let text = "failed to find cluster to update, instance_id=i cluster_id=z cluster_name=a_name";
    world.refuse::<RenameCluster>(rename("z", "a_name"), InvalidArgument, text);
    world.refuse::<RenameCluster>(replacing("z", "b_name"), InvalidArgument, &text.replace("a_name", "b_name"));
}

#[test]
fn a_taken_name_is_refused_also_when_it_is_the_clusters_own() {
    let mut world = world();
    let shown = format!(
        "{{\"cluster_id\":\"b\",\"cluster_name\":\"b_name\",\"type\":\"COMPUTE\",\"cluster_status\":\"NORMAL\",\
         \"ctime\":\"{START_SECONDS}\",\"mtime\":\"{START_SECONDS}\"}}"
    );
    let text = format!("failed to rename cluster, a cluster with the same name already exists in this instance {shown}");
    world.refuse::<RenameCluster>(rename("b", "a_name"), InvalidArgument, &text);
    world.refuse::<RenameCluster>(rename("b", "b_name"), InvalidArgument, &text);
    // A cluster does not make way for itself, though it is empty.
    world.refuse::<RenameCluster>(replacing("b", "b_name"), InvalidArgument, &text);
    // One with nodes makes way for nobody.
    world.refuse::<RenameCluster>(replacing("b", "a_name"), InvalidArgument, &text);
}

#[test]
fn an_empty_cluster_makes_way_when_the_caller_says_so() {
    let mut world = world();
    world.run::<RenameCluster>(replacing("a", "b_name")).expect("b is empty");
    assert_eq!(names(&world), [pair("a", "b_name")]);
    assert_eq!(world.rows_of(RecordTable::Cluster), 1);
    world.run::<RenameCluster>(replacing("a", "free")).expect("nobody has to make way");
}

#[test]
fn a_group_follows_its_sub_cluster_and_makes_no_way() {
    let mut world = world();
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
    assert_eq!(world.run::<RenameCluster>(rename("a", "alpha")).expect("free"), 2);
    world.run::<RenameCluster>(rename("b", "beta")).expect("free");
    let group = world.instance("i").clusters.remove(2);
    let policy = group.cluster_policy.as_ref().expect("has one");
    assert_eq!(group.cluster_names, ["alpha", "beta"]);
    assert_eq!((policy.active_cluster_name(), &policy.standby_cluster_names), ("alpha", &vec!["beta".to_owned()]));
    let owned = "failed to drop cluster, this cluster owned by virtual cluster=v_name if you want drop this cluster, please drop \
                 virtual cluster=v_name firstly";
    world.refuse::<DropCluster>(rename("b", ""), AlreadyExists, owned);

    assert!(world.run::<RenameCluster>(replacing("a", "v_name")).is_err(), "the group has sub clusters");
    world.run::<RenameCluster>(rename("v", "group")).expect("a group can be renamed");
    assert_eq!(world.instance("i").clusters[2].cluster_name(), "group");
}

#[test]
fn frontends_are_renamed_like_others() {
    let mut world = world();
    let master = vec![frontend("1:i:fe", "10.0.1.1", NodeType::FeMaster)];
    world.run::<AddCluster>(on_instance(cluster(Type::Sql, "fe", master))).expect("added");
    world.run::<RenameCluster>(rename("fe", "front")).expect("free");
    assert_eq!(names(&world)[2], pair("fe", "front"));
}
