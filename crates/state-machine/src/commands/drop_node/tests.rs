//! What drop_node removes, and its refusals in the order of the contract.

use super::*;
use crate::commands::{AddCluster, AddNode, DropCluster, DropInstance};
use crate::keys::RecordTable;
use crate::resource_fixture::{START_SECONDS, World, backend, cluster, frontend, on_instance};
use quorate_model::ErrorCode::{InvalidArgument, NotFound};
use quorate_wire::doris::AlterInstanceRequest;
use quorate_wire::doris::node_info_pb::NodeType;

const HELP: &str = "Ms nodes memory cache may be inconsistent, pls check registry key may be contain 127.0.0.1, and call get_instance \
                    api get instance info from fdb";

fn of(id: &str, nodes: Vec<NodeInfoPb>) -> AlterClusterRequest {
    on_instance(cluster(Type::Compute, id, nodes))
}

fn world() -> World {
    let mut world = World::with_instance();
    let nodes = vec![
        backend("1:i:a", "10.0.0.1"),
        backend("1:i:b", "10.0.0.2"),
        backend("1:i:c", "10.0.0.3"),
    ];
    world.run::<AddCluster>(of("c", nodes)).expect("added");
    world
}

fn ips(world: &World) -> Vec<String> {
    world.instance("i").clusters[0]
        .nodes
        .iter()
        .map(|node| node.ip().to_owned())
        .collect()
}

#[test]
fn nodes_go_with_all_their_rows_and_the_rest_is_not_rewritten() {
    let mut world = world();
    world.now_seconds += 60;
    let rows = world.run::<DropNode>(of("c", vec![backend("1:i:b", "10.0.0.2")])).expect("dropped");
    assert_eq!(rows, 4, "three rows of the node and the cluster's");
    assert_eq!(ips(&world), ["10.0.0.1", "10.0.0.3"]);
    assert_eq!(world.instance("i").clusters[0].mtime(), START_SECONDS + 60);
    for table in [RecordTable::Node, RecordTable::NodeIndex, RecordTable::Endpoint] {
        assert_eq!(world.rows_of(table), 2, "{table:?}");
    }
    world
        .run::<AddNode>(of("c", vec![backend("1:i:b", "10.0.0.2")]))
        .expect("id and endpoint are free again");
    assert_eq!(ips(&world), ["10.0.0.1", "10.0.0.3", "10.0.0.2"]);
}

#[test]
fn a_node_without_id_can_be_dropped_too() {
    let mut world = world();
    world.create("other");
    let anonymous = || NodeInfoPb {
        cloud_unique_id: None,
        ..backend("", "10.0.0.4")
    };
    world.run::<AddNode>(of("c", vec![anonymous()])).expect("added");
    world.run::<DropNode>(of("c", vec![anonymous()])).expect("dropped");
    assert_eq!(ips(&world).len(), 3);
}

#[test]
fn a_node_that_is_not_registered_is_not_found() {
    let mut world = world();
    let text = format!(
        "not found ,can not find to drop nodes by cloud_unique_id=1:i:z instance_id=i cluster_name=c_name cluster_id=c help Msg={HELP}"
    );
    world.refuse::<DropNode>(
        of("c", vec![backend("1:i:a", "10.0.0.1"), backend("1:i:z", "10.0.0.1")]),
        NotFound,
        &text,
    );
    let text = format!(
        "not found ,cloud_unique_id can not find to drop node, instance_id=i cluster_name=c_name cluster_id=c \
         node_info=cloud_unique_id: \"1:i:a\"\nip: \"10.0.0.2\"\nheartbeat_port: 9050\n help Msg={HELP}"
    );
    world.refuse::<DropNode>(of("c", vec![backend("1:i:a", "10.0.0.2")]), NotFound, &text);
    assert_eq!(ips(&world).len(), 3);
}

#[test]
fn a_node_of_another_cluster_is_not_found_in_this_one() {
    let mut world = world();
    world.run::<AddCluster>(of("d", vec![backend("1:i:d", "10.0.0.4")])).expect("added");
    let text = format!(
        "not found ,failed to find node to drop, instance_id=i cluster_id=d cluster_name=d_name cluster={{\"cluster_id\":\"d\",\
         \"cluster_name\":\"d_name\",\"type\":\"COMPUTE\",\"nodes\":[{{\"cloud_unique_id\":\"1:i:d\",\"ip\":\"10.0.0.4\",\
         \"ctime\":\"{START_SECONDS}\",\"mtime\":\"{START_SECONDS}\",\"heartbeat_port\":9050}}],\"cluster_status\":\"NORMAL\",\
         \"ctime\":\"{START_SECONDS}\",\"mtime\":\"{START_SECONDS}\"}} help Msg ={HELP}"
    );
    world.refuse::<DropNode>(of("d", vec![backend("1:i:a", "10.0.0.1")]), NotFound, &text);
    // The second time a node is named, it is still registered but no longer in the cluster.
    let twice = of("d", vec![backend("1:i:d", "10.0.0.4"), backend("1:i:d", "10.0.0.4")]);
    let error = world.run::<DropNode>(twice).expect_err("refused");
    assert!(
        error
            .message
            .starts_with("not found ,failed to find node to drop, instance_id=i cluster_id=d"),
        "{}",
        error.message
    );
    let text = "cluster not found, instance_id=i cluster_id=x cluster_name=x_name; get_cluster lists those that exist";
    world.refuse::<DropNode>(of("x", vec![backend("1:i:a", "10.0.0.1")]), NotFound, text);
}

#[test]
fn faults_of_the_request_come_first() {
    let mut world = world();
    let elsewhere = |cluster| AlterClusterRequest {
        instance_id: Some("x".to_owned()),
        ..on_instance(cluster)
    };
    world.refuse::<DropNode>(elsewhere(ClusterPb::default()), InvalidArgument, "cluster must have type arg");
    let text = "to_add and to_del both empty or both not empty";
    world.refuse::<DropNode>(elsewhere(cluster(Type::Compute, "c", Vec::new())), InvalidArgument, text);
    let text = "failed to get instance, instance_id=x err=KeyNotFound";
    let nodes = vec![backend("1:i:a", "10.0.0.1")];
    world.refuse::<DropNode>(elsewhere(cluster(Type::Compute, "c", nodes.clone())), InvalidArgument, text);
    world.run::<DropCluster>(of("c", Vec::new())).expect("dropped");
    world
        .run::<DropInstance>(AlterInstanceRequest {
            instance_id: Some("i".to_owned()),
            ..Default::default()
        })
        .expect("dropped");
    world.refuse::<DropNode>(of("c", nodes), InvalidArgument, "instance status has been set delete, plz check it");
}

#[test]
fn frontends_are_protected_while_young_and_one_must_stay() {
    let mut world = World::with_instance();
    let node = |ip: &str, node_type| frontend("1:i:fe", ip, node_type);
    let frontends = |nodes| on_instance(cluster(Type::Sql, "fe", nodes));
    let both = vec![node("10.0.0.1", NodeType::FeMaster), node("10.0.0.2", NodeType::FeObserver)];
    world.run::<AddCluster>(frontends(both)).expect("added");
    let observer = || frontends(vec![node("10.0.0.2", NodeType::FeObserver)]);
    world.now_seconds += 300;
    let text = format!(
        "drop fe node not in safe time, try later, node=cloud_unique_id: \"1:i:fe\"\nip: \"10.0.0.2\"\nctime: {START_SECONDS}\n\
         mtime: {START_SECONDS}\nedit_log_port: 9010\nnode_type: FE_OBSERVER\n"
    );
    world.refuse::<DropNode>(observer(), InvalidArgument, &text);
    world.now_seconds += 1;
    world.run::<DropNode>(observer()).expect("old enough");
    let master = frontends(vec![node("10.0.0.1", NodeType::FeMaster)]);
    world.refuse::<DropNode>(master, InvalidArgument, "instance invalid, cant modify, plz check");
}
