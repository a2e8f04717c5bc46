//! Both routes that give nodes a status: which nodes they find, and what they refuse.

use super::*;
use crate::commands::{AddCluster, AddNode, DropNode, NotifyDecommissioned, Numbered};
use crate::resource_fixture::{START_SECONDS, World, backend, cluster, on_instance};
use quorate_model::ErrorCode::InvalidArgument;
use quorate_wire::doris::ClusterPb;
use quorate_wire::doris::cluster_pb::Type;

fn nodes(nodes: Vec<NodeInfoPb>) -> AlterClusterRequest {
    on_instance(ClusterPb {
        r#type: Some(Type::Compute as i32),
        nodes,
        ..Default::default()
    })
}

/// Two clusters; `shared` has a node in each.
fn world() -> World {
    let mut world = World::with_instance();
    let first = vec![backend("shared", "10.0.0.1"), backend("shared", "10.0.0.2"), backend("own", "10.0.0.3")];
    let second = vec![backend("shared", "10.0.0.4")];
    for (id, members) in [("a", first), ("b", second)] {
        world
            .run::<AddCluster>(on_instance(cluster(Type::Compute, id, members)))
            .expect("added");
    }
    world
}

fn statuses(world: &World) -> Vec<(String, NodeStatusPb)> {
    let clusters = world.instance("i").clusters;
    let all = clusters.iter().flat_map(|cluster| &cluster.nodes);
    all.map(|node| (node.ip().to_owned(), node.status())).collect()
}

#[test]
fn a_node_leaves_step_by_step() {
    use NodeStatusPb::{NodeStatusDecommissioned, NodeStatusDecommissioning, NodeStatusUnknown};
    let mut world = world();
    world.now_seconds += 9;
    let request = || nodes(vec![backend("shared", "10.0.0.2"), backend("shared", "10.0.0.4")]);
    assert_eq!(world.run::<DecommissionNode>(request()).expect("found"), 4, "two nodes, two clusters");
    let all = |status: NodeStatusPb| {
        let rows = [("10.0.0.1", NodeStatusUnknown), ("10.0.0.2", status), ("10.0.0.3", NodeStatusUnknown), ("10.0.0.4", status)];
        rows.map(|(ip, status)| (ip.to_owned(), status)).to_vec()
    };
    assert_eq!(statuses(&world), all(NodeStatusDecommissioning));
    let node = world.instance("i").clusters[0].nodes[1].clone();
    assert_eq!((node.ctime(), node.mtime()), (START_SECONDS, START_SECONDS + 9));
    world.run::<NotifyDecommissioned>(request()).expect("found");
    assert_eq!(statuses(&world), all(NodeStatusDecommissioned));
    world.run::<DecommissionNode>(request()).expect("no order is enforced");
    // It is the same node as before: it can be dropped, and its endpoint is free then.
    let in_a = |members| on_instance(cluster(Type::Compute, "a", members));
    world.run::<DropNode>(in_a(vec![backend("shared", "10.0.0.2")])).expect("dropped");
    world.run::<AddNode>(in_a(vec![backend("shared", "10.0.0.2")])).expect("added again");
}

#[test]
fn nodes_that_came_without_an_id_are_found_in_their_instance_only() {
    let mut world = world();
    world.create("j");
    let nameless = || NodeInfoPb {
        cloud_unique_id: None,
        ..backend("", "10.0.0.9")
    };
    let in_a = on_instance(cluster(Type::Compute, "a", vec![nameless()]));
    world.run::<AddNode>(in_a).expect("added");
    let elsewhere = AlterClusterRequest {
        instance_id: Some("j".to_owned()),
        ..nodes(vec![nameless()])
    };
    refuse::<DecommissionNode>(&mut world, elsewhere, "cloud_unique_id not found");
    world.run::<DecommissionNode>(nodes(vec![nameless()])).expect("found");
    let told = statuses(&world).into_iter().find(|(ip, _)| ip == "10.0.0.9");
    assert_eq!(told.map(|(_, status)| status), Some(NodeStatusPb::NodeStatusDecommissioning));
}

#[test]
fn ips_are_compared_where_both_have_one_and_hosts_otherwise() {
    let node = |ip: Option<&str>, host: Option<&str>| NodeInfoPb {
        ip: ip.map(str::to_owned),
        host: host.map(str::to_owned),
        heartbeat_port: Some(9050),
        ..Default::default()
    };
    for (stored, requested, expected) in [
        (node(Some("a"), None), node(Some("a"), None), true),
        (node(Some("a"), None), node(Some("b"), None), false),
        (node(Some("a"), Some("h")), node(Some("b"), Some("h")), false),
        (node(Some("a"), Some("h")), node(None, Some("h")), true),
        (node(None, Some("h")), node(Some("b"), Some("h")), true),
        (node(None, Some("h")), node(Some("h"), None), false),
        (node(None, None), node(None, None), false),
        (
            NodeInfoPb {
                heartbeat_port: None,
                ..node(Some("a"), None)
            },
            node(Some("a"), None),
            false,
        ),
    ] {
        assert_eq!(Endpoints::of(std::slice::from_ref(&requested)).contain(&stored), expected, "{stored:?} {requested:?}");
    }
}

#[track_caller]
fn refuse<C>(world: &mut World, request: AlterClusterRequest, text: &str)
where
    C: Prepare<Request = AlterClusterRequest> + Numbered,
{
    world.refuse::<C>(request, InvalidArgument, text);
}

fn faults_of<C>()
where
    C: Prepare<Request = AlterClusterRequest> + Numbered,
{
    let mut world = world();
    world.create("j");
    refuse::<C>(&mut world, on_instance(ClusterPb::default()), "cluster must have type arg");
    let degraded = nodes(vec![backend("1:nobody:x", "10.0.0.1")]);
    let error = world.run::<C>(degraded).expect_err("the instance of the id is missing");
    assert!(error.message.ends_with("cloud_unique_id use degrade format, but check instance failed"), "{error}");
    let nothing = "to_add and to_del both empty or both not empty";
    refuse::<C>(&mut world, nodes(Vec::new()), nothing);
    refuse::<C>(&mut world, nodes(vec![backend("stranger", "10.0.0.1")]), "cloud_unique_id not found");
    let nameless = NodeInfoPb {
        cloud_unique_id: None,
        ..backend("", "10.0.0.1")
    };
    refuse::<C>(&mut world, nodes(vec![nameless]), "cloud_unique_id not found");
    let elsewhere = |instance_id: &str| AlterClusterRequest {
        instance_id: Some(instance_id.to_owned()),
        ..nodes(vec![backend("shared", "10.0.0.1")])
    };
    refuse::<C>(&mut world, elsewhere("x"), "failed to get instance, instance_id=x err=KeyNotFound");
    refuse::<C>(&mut world, elsewhere("j"), nothing);
    refuse::<C>(&mut world, nodes(vec![backend("shared", "10.0.0.9")]), nothing);
    // Only the first node's id is looked up.
    refuse::<C>(&mut world, nodes(vec![backend("own", "10.0.0.9"), backend("shared", "10.0.0.1")]), nothing);
}

#[test]
fn faults_are_reported_in_order() {
    faults_of::<DecommissionNode>();
    faults_of::<NotifyDecommissioned>();
}
