//! Resource commands together: random sequences in groups of any size, whose rows must stay one consistent whole, and the
//! life of a warehouse as a story.

use crate::clusters;
use crate::commands::{
    AddCluster, AddNode, DecommissionNode, DropCluster, DropInstance, DropNode, Numbered, RenameCluster, SetClusterStatus,
    SetInstanceStatus,
};
use crate::frame::{self, Frame};
use crate::keys::RecordTable;
use crate::machine::{EntryInput, EntryKind, Machine, Position};
use crate::nodes;
use crate::resource_fixture::{START_SECONDS, World, backend, cluster, frontend, on_instance};
use crate::store::MapStore;
use crate::{command::Prepare, instances};
use bytes::Bytes;
use proptest::prelude::*;
use quorate_model::{ErrorCode, RequestId, SessionId, StampedTime};
use quorate_wire::doris::alter_instance_request::Operation;
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::node_info_pb::NodeType;
use quorate_wire::doris::{AlterClusterRequest, AlterInstanceRequest, ClusterPb, ClusterStatus, NodeInfoPb};
use std::collections::BTreeMap;

/// A request that its receiver has prepared, as a frame.
fn prepared<C: Prepare + Numbered>(world: &World, request: C::Request) -> Option<Frame> {
    let command: C = world.prepare(request).ok()?;
    let request = RequestId {
        session: SessionId(0),
        number: 0,
    };
    Some(Frame {
        number: C::NUMBER,
        request,
        fingerprints: Vec::new(),
        payload: command.encode_to_vec().into(),
    })
}

/// Mostly one of a few nodes, so that requests meet each other's; sometimes an odd one.
fn node() -> impl Strategy<Value = NodeInfoPb> {
    let usual = (0..6).prop_map(|n: i32| NodeInfoPb {
        edit_log_port: Some(9010),
        node_type: Some(if n < 3 { NodeType::FeMaster } else { NodeType::FeFollower } as i32),
        ..backend(&format!("u{}", n % 4), &format!("10.0.0.{n}"))
    });
    let unique_id = prop_oneof![Just(None), "u[0-3]".prop_map(Some), "1:[ij]:u".prop_map(Some)];
    let address = ("10\\.0\\.0\\.[0-5]", prop::option::of("h[1-3]"));
    let ports = (prop::option::of(1..3), prop::option::of(1..3));
    let odd = (unique_id, address, ports, prop::option::of(1..4)).prop_map(|(cloud_unique_id, (ip, host), ports, node_type)| NodeInfoPb {
        cloud_unique_id,
        ip: Some(ip),
        host,
        heartbeat_port: ports.0,
        edit_log_port: ports.1,
        node_type,
        ..Default::default()
    });
    prop_oneof![5 => usual, 1 => odd]
}

fn cluster_request() -> impl Strategy<Value = AlterClusterRequest> {
    let instance = prop_oneof![4 => "[ij]".prop_map(|id| (Some(id), None)), 1 => "(u1|1:i:u)".prop_map(|id| (None, Some(id)))];
    let names = prop_oneof![6 => "[abc]".prop_map(|id| (id.clone(), id)), 1 => ("[abc]", "[abc]")];
    (instance, names, 0..2, prop::collection::vec(node(), 0..3)).prop_map(|((instance_id, unique_id), (id, name), kind, nodes)| {
        let cluster_status = Some(kind + 1);
        let cluster = ClusterPb {
            cluster_id: Some(id),
            cluster_name: Some(name),
            r#type: Some(kind),
            nodes,
            cluster_status,
            ..Default::default()
        };
        AlterClusterRequest {
            instance_id,
            cloud_unique_id: unique_id,
            cluster: Some(cluster),
            ..Default::default()
        }
    })
}

fn frame() -> impl Strategy<Value = Option<Frame>> {
    (0..30, cluster_request()).prop_map(|(kind, request)| {
        let mut world = World::new();
        world.settings.frontend_drop_safe_seconds = 3;
        match kind {
            0..=5 => prepared::<AddCluster>(&world, request),
            6..=12 => prepared::<AddNode>(&world, request),
            13..=20 => prepared::<DropNode>(&world, request),
            21..=22 => prepared::<DropCluster>(&world, request),
            23..=24 => prepared::<SetClusterStatus>(&world, request),
            25..=26 => prepared::<DecommissionNode>(&world, request),
            27..=28 => prepared::<RenameCluster>(
                &world,
                AlterClusterRequest {
                    replace_if_existing_empty_target_cluster: Some(kind == 28),
                    ..request
                },
            ),
            _ => prepared::<DropInstance>(
                &world,
                AlterInstanceRequest {
                    instance_id: request.instance_id,
                    ..Default::default()
                },
            ),
        }
    })
}

/// Every row of a node has its others, and every count is right.
fn check_rows(store: &MapStore) {
    let (mut index_rows, mut node_rows, mut endpoint_rows) = (0, 0, 0);
    for instance_id in ["i", "j"] {
        let Some(instance) = instances::find(store, instance_id).expect("reads") else {
            continue;
        };
        for cluster in clusters::all(store, instance.scope).expect("reads") {
            let nodes = nodes::of_cluster(store, instance.scope, cluster.added).expect("reads");
            let of_type = |wanted: NodeType| nodes.iter().filter(|node| node.info.node_type() == wanted).count() as u64;
            let counts = (nodes.len() as u64, of_type(NodeType::FeMaster), of_type(NodeType::FeFollower));
            assert_eq!((cluster.record.nodes, cluster.record.masters, cluster.record.followers), counts);
            for node in &nodes {
                let id = node.info.cloud_unique_id();
                assert!(nodes::registered(store, id, instance.scope).expect("reads").contains(&node.info));
                assert!(
                    id.is_empty() || nodes::first_scope_of(store, id).expect("reads") == Some(instance.scope),
                    "{id} is in two instances"
                );
                let cluster_type = cluster.cluster_type().expect("all have one");
                let endpoint = nodes::endpoint(cluster_type, &node.info);
                assert!(nodes::endpoint_taken(store, instance.scope, cluster_type, &endpoint).expect("reads"));
            }
            (index_rows, node_rows, endpoint_rows) = (index_rows + nodes.len(), node_rows + nodes.len(), endpoint_rows + nodes.len());
        }
    }
    let rows = |table| {
        let prefix = crate::keys::record_prefix(table);
        store.rows.keys().filter(|key| key.starts_with(&prefix)).count()
    };
    let found = (rows(RecordTable::NodeIndex), rows(RecordTable::Node), rows(RecordTable::Endpoint));
    assert_eq!(found, (index_rows, node_rows, endpoint_rows), "rows without their node");
}

/// Applies each inner list as one group of entries, one frame an entry.
fn apply(store: &MapStore, groups: &[Vec<Frame>]) -> (BTreeMap<Bytes, Bytes>, Vec<crate::Answer>) {
    let (mut store, mut answers, mut index) = (store.clone(), Vec::new(), 100);
    let mut machine = Machine::open(&store).expect("opens");
    for group in groups {
        let mut entries = Vec::new();
        for frame in group {
            index += 1;
            let time = StampedTime((START_SECONDS as u64 + index) * 1_000);
            let kind = EntryKind::Commands(frame::pack(time, &[frame::encode_frame(frame)]));
            entries.push(EntryInput {
                position: Position { term: 1, peer: 1, index },
                kind,
            });
        }
        if index > 100 && entries.is_empty() {
            continue;
        }
        let applied = machine.apply_group(&store, &entries).expect("applies");
        store.write(&applied.writes);
        answers.extend(applied.answers.into_iter().flatten());
        check_rows(&store);
    }
    (store.rows, answers)
}

proptest! {
    #[test]
    fn rows_stay_consistent_and_groups_of_any_size_are_equal(frames in prop::collection::vec(frame(), 1..40), cut in 0usize..40) {
        let mut world = World::with_instance();
        world.create("j");
        // Entries of the world so far have lower numbers; the machine is opened anew on its rows.
        let store = world.continuing_at(100);
        let frames: Vec<Frame> = frames.into_iter().flatten().collect();
        let cut = cut.min(frames.len());
        let one_by_one: Vec<Vec<Frame>> = frames.iter().map(|frame| vec![frame.clone()]).collect();
        let two_groups = [frames[..cut].to_vec(), frames[cut..].to_vec()];
        prop_assert_eq!(apply(&store, &one_by_one), apply(&store, &two_groups));
    }
}

#[test]
fn a_warehouse_lives_grows_and_is_dropped() {
    // A warehouse with one frontend and one compute cluster.
    let mut world = World::with_instance();
    let master = || frontend("1:i:fe1", "10.0.0.1", NodeType::FeMaster);
    world
        .run::<AddCluster>(on_instance(cluster(Type::Sql, "fe", vec![master()])))
        .expect("added");
    let compute = |nodes| on_instance(cluster(Type::Compute, "be", nodes));
    world.run::<AddCluster>(compute(vec![backend("be1", "10.0.1.1")])).expect("added");

    // It grows, is suspended and resumed, and its owner does not pay for a while.
    world
        .run::<AddNode>(compute(vec![backend("be2", "10.0.1.2"), backend("be3", "10.0.1.3")]))
        .expect("added");
    for status in [ClusterStatus::Suspended, ClusterStatus::ToResume, ClusterStatus::Normal] {
        let mut request = compute(Vec::new());
        request.cluster.as_mut().expect("given").set_cluster_status(status);
        world.run::<SetClusterStatus>(request).expect("an allowed move");
    }
    let alter = |op: Operation| AlterInstanceRequest {
        instance_id: Some("i".to_owned()),
        op: Some(op as i32),
        ..Default::default()
    };
    world.run::<SetInstanceStatus>(alter(Operation::SetOverdue)).expect("allowed");
    world
        .run::<DropNode>(compute(vec![backend("be1", "10.0.1.1")]))
        .expect("OVERDUE blocks nothing");
    let shown = world.instance("i");
    let backends: Vec<&str> = shown.clusters[1].nodes.iter().map(NodeInfoPb::cloud_unique_id).collect();
    assert_eq!(
        (backends.as_slice(), shown.clusters[1].cluster_status()),
        (&["be2", "be3"][..], ClusterStatus::Normal)
    );

    // It goes, in the only order that is allowed, and not too fast.
    world.refuse::<DropInstance>(
        alter(Operation::Drop),
        ErrorCode::InvalidArgument,
        "failed to drop instance, instance has clusters",
    );
    world.run::<DropCluster>(compute(Vec::new())).expect("dropped");
    let frontends = || on_instance(cluster(Type::Sql, "fe", Vec::new()));
    assert!(world.run::<DropCluster>(frontends()).is_err(), "the frontend is a moment old");
    world.now_seconds += 301;
    world.run::<DropCluster>(frontends()).expect("dropped");
    world.run::<DropInstance>(alter(Operation::Drop)).expect("dropped");
    for table in [
        RecordTable::Cluster,
        RecordTable::Node,
        RecordTable::NodeIndex,
        RecordTable::Endpoint,
    ] {
        assert_eq!(world.rows_of(table), 0, "{table:?}");
    }
}

#[test]
fn adding_one_node_to_two_thousand_writes_four_rows() {
    let mut world = World::with_instance();
    let nodes = |range: std::ops::Range<usize>| {
        range
            .map(|n| backend(&format!("be{n}"), &format!("10.{}.{}.{}", n / 62_500, n / 250, n % 250)))
            .collect::<Vec<_>>()
    };
    let compute = |nodes| on_instance(cluster(Type::Compute, "be", nodes));
    world.run::<AddCluster>(compute(nodes(0..2_000))).expect("added");
    let rows = world.run::<AddNode>(compute(nodes(2_000..2_001))).expect("added");
    assert_eq!(rows, 4);
    let shown = world.instance("i").clusters.remove(0).nodes;
    let expected: Vec<String> = (0..2_001).map(|n| format!("be{n}")).collect();
    assert_eq!(shown.iter().map(NodeInfoPb::cloud_unique_id).collect::<Vec<_>>(), expected);
    let rows = world.run::<DropNode>(compute(nodes(0..2_000))).expect("dropped");
    assert_eq!(rows, 6_001);
}
