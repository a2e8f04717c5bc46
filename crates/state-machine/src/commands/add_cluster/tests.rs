//! What add_cluster accepts, and its refusals in the order of the contract.

use super::*;
use crate::commands::DropInstance;
use crate::keys::RecordTable;
use crate::resource_fixture::{START_SECONDS, World, backend, cluster, frontend, on_instance};
use quorate_model::ErrorCode::{AlreadyExists, InvalidArgument, KeyMissing, NotFound};
use quorate_wire::doris::node_info_pb::NodeType;
use quorate_wire::doris::{AlterInstanceRequest, ClusterPolicy};

fn compute(id: &str, nodes: Vec<NodeInfoPb>) -> AlterClusterRequest {
    on_instance(cluster(Type::Compute, id, nodes))
}

fn frontends(nodes: Vec<NodeInfoPb>) -> AlterClusterRequest {
    on_instance(cluster(Type::Sql, "fe", nodes))
}

#[test]
fn clusters_and_nodes_are_shown_in_the_order_of_their_addition() {
    let mut world = World::with_instance();
    let mut first = cluster(Type::Compute, "z", vec![backend("1:i:b", "10.0.0.2"), backend("1:i:a", "10.0.0.1")]);
    first.cluster_status = Some(ClusterStatus::Suspended as i32);
    first.nodes[0].ctime = Some(1);
    world.run::<AddCluster>(on_instance(first.clone())).expect("added");
    world.now_seconds += 5;
    world.run::<AddCluster>(compute("a", Vec::new())).expect("added");

    first.set_cluster_status(ClusterStatus::Normal);
    (first.ctime, first.mtime) = (Some(START_SECONDS), Some(START_SECONDS));
    for node in &mut first.nodes {
        (node.ctime, node.mtime) = (Some(START_SECONDS), Some(START_SECONDS));
    }
    let shown = world.instance("i").clusters;
    assert_eq!(shown[0], first);
    assert_eq!((shown[1].cluster_id(), shown[1].ctime()), ("a", START_SECONDS + 5));
}

#[test]
fn a_frontend_cluster_needs_one_master_or_followers() {
    let mut world = World::with_instance();
    let node = |ip: &str, node_type| frontend("1:i:fe", ip, node_type);
    let refused = |count| format!("cluster is SQL type, must have only one master node, now master count: {count}");
    world.refuse::<AddCluster>(frontends(Vec::new()), InvalidArgument, &refused(0));
    let two = vec![node("10.0.0.1", NodeType::FeMaster), node("10.0.0.2", NodeType::FeMaster)];
    world.refuse::<AddCluster>(frontends(two), InvalidArgument, &refused(2));
    let mixed = vec![node("10.0.0.1", NodeType::FeMaster), node("10.0.0.2", NodeType::FeFollower)];
    let text = "cluster is SQL type, and use multi follower mode, cant set master node, master count: 1 follower count: 1";
    world.refuse::<AddCluster>(frontends(mixed), InvalidArgument, text);
    let no_port = vec![NodeInfoPb {
        edit_log_port: None,
        ..node("10.0.0.1", NodeType::FeMaster)
    }];
    world.refuse::<AddCluster>(frontends(no_port), InvalidArgument, &refused(0));
    let followers = vec![node("10.0.0.1", NodeType::FeFollower), node("10.0.0.2", NodeType::FeObserver)];
    world.run::<AddCluster>(frontends(followers)).expect("followers need no master");
    assert_eq!(
        world.instance("i").clusters[0].cluster_status,
        None,
        "only compute clusters get a status"
    );
}

#[test]
fn faults_of_the_request_come_first() {
    let mut world = World::with_instance();
    let no_instance = || AlterClusterRequest {
        instance_id: Some("x".to_owned()),
        ..compute("c", Vec::new())
    };
    let change = |change: fn(&mut ClusterPb)| {
        let mut request = no_instance();
        change(request.cluster.as_mut().expect("given"));
        request
    };
    let text = "invalid request instance_id or cluster not given";
    world.refuse::<AddCluster>(
        AlterClusterRequest {
            cluster: None,
            ..no_instance()
        },
        InvalidArgument,
        text,
    );
    let untyped = change(|cluster| (cluster.r#type, cluster.cluster_name) = (None, None));
    world.refuse::<AddCluster>(untyped, InvalidArgument, "cluster must have type arg");
    world.refuse::<AddCluster>(
        change(|cluster| cluster.r#type = Some(77)),
        InvalidArgument,
        "cluster must have type arg",
    );
    world.refuse::<AddCluster>(
        change(|cluster| cluster.cluster_name = Some(String::new())),
        InvalidArgument,
        "not have cluster name",
    );
    world.refuse::<AddCluster>(
        change(|cluster| cluster.cluster_names.push("a".to_owned())),
        KeyMissing,
        &missing("x"),
    );
    let virtual_cluster = change(|cluster| {
        cluster.set_type(Type::Virtual);
        cluster.cluster_names.push("a".to_owned());
    });
    let text = "subcgs and policy must be Incoming at the same time or do not transmit at the same time";
    world.refuse::<AddCluster>(virtual_cluster, InvalidArgument, text);
    world.settings.check_cluster_name = true;
    let text = "cluster name not regex with ^[a-zA-Z][a-zA-Z0-9_]*$, please check it";
    world.refuse::<AddCluster>(
        change(|cluster| cluster.cluster_name = Some("a-b".to_owned())),
        InvalidArgument,
        text,
    );
}

fn missing(instance_id: &str) -> String {
    format!("failed to get instance, info failed to get instance, instance_id={instance_id} err=KeyNotFound")
}

#[test]
fn a_missing_and_a_dropped_instance_have_their_own_codes() {
    let mut world = World::with_instance();
    let elsewhere = AlterClusterRequest {
        instance_id: Some("x".to_owned()),
        ..compute("c", Vec::new())
    };
    world.refuse::<AddCluster>(elsewhere, KeyMissing, &missing("x"));
    world
        .run::<DropInstance>(AlterInstanceRequest {
            instance_id: Some("i".to_owned()),
            ..Default::default()
        })
        .expect("dropped");
    world.refuse::<AddCluster>(
        compute("c", Vec::new()),
        NotFound,
        "instance status has been set delete, plz check it",
    );
}

#[test]
fn the_instance_may_be_named_by_a_cloud_unique_id() {
    let mut world = World::with_instance();
    let by_id = |id: &str, cluster: &str| AlterClusterRequest {
        instance_id: None,
        cloud_unique_id: Some(id.to_owned()),
        ..compute(cluster, vec![backend("plain", &format!("ip_{cluster}"))])
    };
    let text = "use degrade cloud_unique_id, but instance_id invalid, cloud_unique_id=1:x:n";
    world.refuse::<AddCluster>(by_id("1:x:n", "a"), InvalidArgument, text);
    world.refuse::<AddCluster>(by_id("plain", "a"), InvalidArgument, "empty instance_id");
    // What the id stands for is looked up before the cluster is looked at, so even its own faults wait for `apply`.
    let untyped = AlterClusterRequest {
        cluster: Some(ClusterPb::default()),
        ..by_id("plain", "a")
    };
    world.refuse::<AddCluster>(untyped, InvalidArgument, "empty instance_id");
    world.run::<AddCluster>(by_id("1:i:n", "a")).expect("the id names the instance");
    world.run::<AddCluster>(by_id("plain", "b")).expect("the id is registered by now");
    let both = AlterClusterRequest {
        instance_id: Some("i".to_owned()),
        ..by_id("1:x:n", "c")
    };
    world.run::<AddCluster>(both).expect("instance_id wins, the other is not looked at");
    world.settings.check_instance_id = false;
    let text = "cloud_unique_id is already occupied by an instance, instance_id=i cluster_name=a_name cluster_id=a cloud_unique_id=plain";
    world.refuse::<AddCluster>(by_id("1:x:n", "d"), AlreadyExists, text);
    let mut free = by_id("1:x:n", "d");
    free.cluster.as_mut().expect("given").nodes.clear();
    world.refuse::<AddCluster>(free, KeyMissing, &missing("x"));
}

#[test]
fn a_node_must_not_name_a_missing_instance() {
    let mut world = World::with_instance();
    let request = || compute("c", vec![backend("1:i:a", "10.0.0.1"), backend("1:x:a", "10.0.0.2")]);
    let text = "node=cloud_unique_id: \"1:x:a\"\nip: \"10.0.0.2\"\nheartbeat_port: 9050\n cloud_unique_id use degrade format, \
                but check instance failed";
    world.refuse::<AddCluster>(request(), InvalidArgument, text);
    world.settings.check_instance_id = false;
    world.run::<AddCluster>(request()).expect("the check is off");
}

#[test]
fn ids_names_and_endpoints_are_unique() {
    let mut world = World::with_instance();
    world.create("other");
    world
        .run::<AddCluster>(compute("c", vec![backend("1:i:a", "10.0.0.1")]))
        .expect("added");
    let twice = "try to add a existing cluster id, existing_cluster_id=c";
    world.refuse::<AddCluster>(compute("c", vec![backend("1:i:a", "10.0.0.1")]), AlreadyExists, twice);
    let mut same_name = compute("d", vec![backend("1:i:a", "10.0.0.1")]);
    same_name.cluster.as_mut().expect("given").cluster_name = Some("c_name".to_owned());
    world.refuse::<AddCluster>(
        same_name,
        AlreadyExists,
        "try to add a existing cluster name, existing_cluster_name=c_name",
    );
    let text = "compute node endpoint has been added, registered be node=10.0.0.1:9050";
    world.refuse::<AddCluster>(compute("d", vec![backend("1:i:b", "10.0.0.1")]), AlreadyExists, text);
    let master = |ip: &str| vec![frontend("1:i:fe", ip, NodeType::FeMaster)];
    world
        .run::<AddCluster>(frontends(master("10.0.0.1")))
        .expect("frontends and backends do not share endpoints");
    let mut second = frontends(master("10.0.0.1"));
    second
        .cluster
        .as_mut()
        .expect("given")
        .clone_from(&cluster(Type::Sql, "fe2", master("10.0.0.1")));
    world.refuse::<AddCluster>(
        second,
        AlreadyExists,
        "sql node endpoint has been added, registered fe node=10.0.0.1:9010",
    );
    let no_address = NodeInfoPb {
        ip: None,
        ..backend("1:i:<b>", "")
    };
    let text = r#"add node input args node invalid, cluster={"cloud_unique_id":"1:i:\u003cb\u003e","heartbeat_port":9050}"#;
    world.refuse::<AddCluster>(compute("d", vec![no_address]), InvalidArgument, text);

    let elsewhere = |unique_id: &str| AlterClusterRequest {
        instance_id: Some("other".to_owned()),
        ..compute("c", vec![backend("1:other:a", "10.0.0.9"), backend(unique_id, "10.0.0.1")])
    };
    let text = "cloud_unique_id is already occupied by an instance, instance_id=i cluster_name=c_name cluster_id=c cloud_unique_id=1:i:a";
    world.refuse::<AddCluster>(elsewhere("1:i:a"), AlreadyExists, text);
    world
        .run::<AddCluster>(elsewhere("1:other:a"))
        .expect("another instance has endpoints of its own, and ids may repeat");
}

#[test]
fn nodes_of_one_request_are_not_compared_and_absent_ids_say_nothing() {
    let mut world = World::with_instance();
    world.create("other");
    let anonymous = || NodeInfoPb {
        cloud_unique_id: None,
        ..backend("", "10.0.0.1")
    };
    world
        .run::<AddCluster>(compute("c", vec![anonymous(), anonymous()]))
        .expect("added twice");
    assert_eq!(world.rows_of(RecordTable::Node), 2);
    let elsewhere = AlterClusterRequest {
        instance_id: Some("other".to_owned()),
        ..compute("c", vec![anonymous()])
    };
    world.run::<AddCluster>(elsewhere).expect("two instances may have nodes without id");
}

#[test]
fn a_virtual_cluster_joins_two_compute_clusters_of_its_own() {
    let mut world = World::with_instance();
    let joined = |id: &str, active: &str, standby: &str| {
        let policy = ClusterPolicy {
            r#type: Some(0),
            active_cluster_name: Some(active.to_owned()),
            standby_cluster_names: vec![standby.to_owned()],
            ..Default::default()
        };
        let names = vec![active.to_owned(), standby.to_owned()];
        on_instance(ClusterPb {
            cluster_names: names,
            cluster_policy: Some(policy),
            ..cluster(Type::Virtual, id, Vec::new())
        })
    };
    let text = "sub cluster a_name not been added in instance, plz add it before create virtual cluster";
    world.refuse::<AddCluster>(joined("v", "a_name", "b_name"), InvalidArgument, text);
    for id in ["a", "b", "c"] {
        world.run::<AddCluster>(compute(id, Vec::new())).expect("added");
    }
    world.run::<AddCluster>(joined("v", "a_name", "b_name")).expect("added");
    let shown = world
        .instance("i")
        .clusters
        .pop()
        .and_then(|cluster| cluster.cluster_policy)
        .expect("shown");
    assert_eq!(
        (shown.failover_failure_threshold, shown.unhealthy_node_threshold_percent),
        (Some(3), Some(100))
    );
    let text = "sub cluster b_name has been add by other vcg=v_name";
    world.refuse::<AddCluster>(joined("w", "c_name", "b_name"), InvalidArgument, text);
    let text = "sub cluster v_name 's type must be eq COMPUTE";
    world.refuse::<AddCluster>(joined("w", "v_name", "c_name"), InvalidArgument, text);
    world
        .run::<AddCluster>(on_instance(cluster(Type::Virtual, "empty", Vec::new())))
        .expect("one without sub clusters");
}

#[test]
fn bounds_name_the_object_and_the_limit() {
    let mut world = World::with_instance();
    let many = compute("c", vec![NodeInfoPb::default(); 2_001]);
    world.refuse::<AddCluster>(many, InvalidArgument, "request has 2001 nodes, limit 2000; split the request");
    let long = compute(&"c".repeat(1_025), Vec::new());
    world.refuse::<AddCluster>(long, InvalidArgument, "cluster_id is 1025 bytes, limit 1024 bytes; shorten it");
    let long = compute("c", vec![backend(&"u".repeat(1_025), "10.0.0.1")]);
    world.refuse::<AddCluster>(
        long,
        InvalidArgument,
        "node cloud_unique_id is 1025 bytes, limit 1024 bytes; shorten it",
    );
    let big = compute("c", vec![backend(&"u".repeat(1_000), "10.0.0.1"); 400]);
    let error = world.run::<AddCluster>(big).expect_err("refused");
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert!(
        error.message.ends_with("limit 262144 bytes; split the request"),
        "{}",
        error.message
    );
}
