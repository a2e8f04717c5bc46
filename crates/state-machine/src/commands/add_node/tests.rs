//! What add_node accepts, and its refusals in the order of the contract.

use super::*;
use crate::commands::{AddCluster, DropCluster, DropInstance};
use crate::resource_fixture::{START_SECONDS, World, backend, cluster, frontend, on_instance};
use quorate_model::ErrorCode::{InvalidArgument, NotFound};
use quorate_wire::doris::AlterInstanceRequest;
use quorate_wire::doris::node_info_pb::NodeType;

fn to(id: &str, nodes: Vec<NodeInfoPb>) -> AlterClusterRequest {
    on_instance(cluster(Type::Compute, id, nodes))
}

fn world() -> World {
    let mut world = World::with_instance();
    world.run::<AddCluster>(to("c", vec![backend("1:i:a", "10.0.0.1")])).expect("added");
    world
}

#[test]
fn a_node_is_appended_as_running_and_no_other_row_is_rewritten() {
    let mut world = world();
    world.now_seconds += 60;
    let node = NodeInfoPb {
        ctime: Some(77),
        status: Some(3),
        ..backend("1:i:b", "10.0.0.2")
    };
    let rows = world
        .run::<AddNode>(to("c", vec![node, backend("1:i:c", "10.0.0.3")]))
        .expect("added");
    assert_eq!(rows, 7, "three rows a node and the cluster's");
    let shown = world.instance("i").clusters.remove(0);
    assert_eq!(
        shown.nodes.iter().map(NodeInfoPb::ip).collect::<Vec<_>>(),
        ["10.0.0.1", "10.0.0.2", "10.0.0.3"]
    );
    assert_eq!((shown.nodes[1].ctime(), shown.nodes[1].mtime()), (77, START_SECONDS + 60));
    assert_eq!(shown.nodes[2].ctime(), START_SECONDS + 60);
    assert!(shown.nodes[1..].iter().all(|node| node.status() == NodeStatusPb::NodeStatusRunning));
    assert_eq!((shown.ctime(), shown.mtime()), (START_SECONDS, START_SECONDS + 60));
}

#[test]
fn the_cluster_is_found_by_name_or_id() {
    let mut world = world();
    world.run::<AddCluster>(to("d", Vec::new())).expect("added");
    let mut request = to("c", vec![backend("1:i:b", "10.0.0.2")]);
    request.cluster.as_mut().expect("given").cluster_name = Some("d_name".to_owned());
    world.run::<AddNode>(request).expect("added to both");
    assert_eq!(
        world
            .instance("i")
            .clusters
            .iter()
            .map(|cluster| cluster.nodes.len())
            .collect::<Vec<_>>(),
        [2, 1]
    );
    let text = "cluster not found, instance_id=i cluster_id=x cluster_name=x_name; get_cluster lists those that exist";
    world.refuse::<AddNode>(to("x", vec![backend("1:i:z", "10.0.0.9")]), NotFound, text);
}

#[test]
fn a_process_that_is_there_already_is_added_once() {
    let mut world = world();
    let repeated = vec![backend("1:i:b", "10.0.0.2"), backend("1:i:c", "10.0.0.2")];
    world.run::<AddNode>(to("c", repeated)).expect("the second is left out");
    // By its host the endpoint is free, by its ip it is the same process.
    let hosted = NodeInfoPb {
        host: Some("be2".to_owned()),
        ..backend("1:i:b", "10.0.0.2")
    };
    let rows = world.run::<AddNode>(to("c", vec![hosted])).expect("left out too");
    assert_eq!(rows, 0);
    assert_eq!(world.instance("i").clusters[0].nodes.len(), 2);
}

#[test]
fn faults_of_the_request_come_first() {
    let mut world = world();
    let elsewhere = |cluster| AlterClusterRequest {
        instance_id: Some("x".to_owned()),
        ..on_instance(cluster)
    };
    world.refuse::<AddNode>(elsewhere(ClusterPb::default()), InvalidArgument, "cluster must have type arg");
    let unnamed = ClusterPb {
        r#type: Some(Type::Sql as i32),
        ..Default::default()
    };
    let text = "to_add and to_del both empty or both not empty";
    world.refuse::<AddNode>(elsewhere(unnamed), InvalidArgument, text);
    let stray = vec![backend("1:x:a", "10.0.0.2")];
    let text = "node=cloud_unique_id: \"1:x:a\"\nip: \"10.0.0.2\"\nheartbeat_port: 9050\n cloud_unique_id use degrade format, \
                but check instance failed";
    world.refuse::<AddNode>(elsewhere(cluster(Type::Compute, "c", stray)), InvalidArgument, text);
    let group = vec![backend("1:i:a", "10.0.0.2")];
    world.refuse::<AddNode>(
        elsewhere(cluster(Type::Virtual, "c", group)),
        InvalidArgument,
        "Inconsistent virtual cluster args",
    );
    let fine = vec![backend("1:i:a", "10.0.0.2")];
    let text = "failed to get instance, instance_id=x err=KeyNotFound";
    world.refuse::<AddNode>(elsewhere(cluster(Type::Compute, "c", fine)), InvalidArgument, text);
}

#[test]
fn a_dropped_instance_is_refused() {
    let mut world = world();
    world.run::<DropCluster>(to("c", Vec::new())).expect("dropped");
    world
        .run::<DropInstance>(AlterInstanceRequest {
            instance_id: Some("i".to_owned()),
            ..Default::default()
        })
        .expect("dropped");
    let text = "instance status has been set delete, plz check it";
    world.refuse::<AddNode>(to("c", vec![backend("1:i:a", "10.0.0.1")]), InvalidArgument, text);
}

#[test]
fn taken_endpoints_and_ids_are_invalid_arguments_here() {
    let mut world = world();
    world.create("other");
    let text = "compute node endpoint has been added, registered be node=10.0.0.1:9050";
    world.refuse::<AddNode>(to("c", vec![backend("1:i:a", "10.0.0.1")]), InvalidArgument, text);
    let no_address = NodeInfoPb {
        ip: None,
        ..backend("1:i:b", "")
    };
    let text = r#"add node input args node invalid, cluster={"cloud_unique_id":"1:i:b","heartbeat_port":9050}"#;
    world.refuse::<AddNode>(to("c", vec![no_address]), InvalidArgument, text);

    let elsewhere = AlterClusterRequest {
        instance_id: Some("other".to_owned()),
        ..to("c", vec![backend("1:i:a", "10.0.0.1")])
    };
    let occupied =
        "cloud_unique_id is already occupied by an instance, instance_id=i cluster_name=c_name cluster_id=c cloud_unique_id=1:i:a";
    world.refuse::<AddNode>(elsewhere, InvalidArgument, occupied);
    // As upstream: an instance that is only named by a cloud_unique_id does not count as the id's owner.
    let resolved = |unique_id: &str, ip: &str| AlterClusterRequest {
        instance_id: None,
        cloud_unique_id: Some("1:i:a".to_owned()),
        ..to("c", vec![backend(unique_id, ip)])
    };
    world.refuse::<AddNode>(resolved("1:i:a", "10.0.0.5"), InvalidArgument, occupied);
    world.run::<AddNode>(resolved("1:i:new", "10.0.0.5")).expect("a fresh id is fine");
    world
        .run::<AddNode>(to("c", vec![backend("1:i:a", "10.0.0.6")]))
        .expect("within the instance an id may repeat");
}

#[test]
fn the_first_frontend_cluster_keeps_one_master() {
    let mut world = world();
    let node = |ip: &str, node_type| frontend("1:i:fe", ip, node_type);
    let frontends = |nodes| on_instance(cluster(Type::Sql, "fe", nodes));
    world
        .run::<AddCluster>(frontends(vec![node("10.0.0.1", NodeType::FeMaster)]))
        .expect("added");
    let text = "instance invalid, cant modify, plz check";
    world.refuse::<AddNode>(frontends(vec![node("10.0.0.2", NodeType::FeMaster)]), InvalidArgument, text);
    world
        .run::<AddNode>(frontends(vec![node("10.0.0.2", NodeType::FeObserver)]))
        .expect("observers do not count");
    world
        .run::<AddNode>(frontends(vec![node("10.0.0.3", NodeType::FeFollower)]))
        .expect("one master with followers is fine");
    let text = "sql node endpoint has been added, registered fe node=10.0.0.3:9010";
    world.refuse::<AddNode>(frontends(vec![node("10.0.0.3", NodeType::FeFollower)]), InvalidArgument, text);
}

#[test]
fn a_cluster_has_at_most_three_thousand_nodes() {
    let mut world = World::with_instance();
    let batch = |from: usize| {
        (from..from + 1_000)
            .map(|n| backend("u", &format!("10.1.{}.{}", n / 250, n % 250)))
            .collect()
    };
    world.run::<AddCluster>(to("c", batch(0))).expect("added");
    for from in [1_000, 2_000] {
        world.run::<AddNode>(to("c", batch(from))).expect("added");
    }
    let text = "cluster c_name would have 3001 nodes, limit 3000; add a cluster";
    world.refuse::<AddNode>(to("c", vec![backend("u", "10.2.0.1")]), ErrorCode::TooLarge, text);
    world
        .run::<DropCluster>(to("c", Vec::new()))
        .expect("the whole cluster still fits into one command");
    assert!(world.instance("i").clusters.is_empty());
}
