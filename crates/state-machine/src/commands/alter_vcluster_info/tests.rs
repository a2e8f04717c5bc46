//! What a change keeps, what it replaces, and what the result must be.

use super::*;
use crate::commands::AddCluster;
use crate::resource_fixture::{START_SECONDS, World, backend, cluster, on_instance};
use quorate_model::ErrorCode::InvalidArgument;
use quorate_wire::doris::cluster_pb::Type;

fn texts(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn policy(active: Option<&str>, standby: &[&str]) -> ClusterPolicy {
    ClusterPolicy {
        active_cluster_name: active.map(str::to_owned),
        standby_cluster_names: texts(standby),
        ..Default::default()
    }
}

fn alter(names: &[&str], cluster_policy: Option<ClusterPolicy>) -> AlterClusterRequest {
    on_instance(ClusterPb {
        cluster_id: Some("v".to_owned()),
        cluster_names: texts(names),
        cluster_policy,
        ..Default::default()
    })
}

/// Compute clusters `a` to `d`, frontend-like `s`, group `v` of a and b, group `w` of c and d.
fn world() -> World {
    let mut world = World::with_instance();
    let named = |kind, id: &str| ClusterPb {
        cluster_name: Some(id.to_owned()),
        ..cluster(kind, id, Vec::new())
    };
    for id in ["a", "b", "c", "d", "e"] {
        let node = backend(&format!("1:i:{id}"), &format!("host-{id}"));
        let compute = ClusterPb {
            nodes: vec![node],
            ..named(Type::Compute, id)
        };
        world.run::<AddCluster>(on_instance(compute)).expect("added");
    }
    for (id, [active, standby]) in [("v", ["a", "b"]), ("w", ["c", "d"])] {
        let group = ClusterPb {
            cluster_names: texts(&[active, standby]),
            cluster_policy: Some(ClusterPolicy {
                r#type: Some(0),
                ..policy(Some(active), &[standby])
            }),
            ..named(Type::Virtual, id)
        };
        world.run::<AddCluster>(on_instance(group)).expect("added");
    }
    world.run::<AddCluster>(on_instance(named(Type::Virtual, "empty"))).expect("added");
    world
}

fn shown(world: &World, id: &str) -> ClusterPb {
    let clusters = world.instance("i").clusters;
    clusters.into_iter().find(|cluster| cluster.cluster_id() == id).expect("exists")
}

#[test]
fn what_is_left_out_stays_and_what_is_given_replaces() {
    let mut world = world();
    let before = shown(&world, "v");
    world.now_seconds += 3;
    let change = ClusterPolicy {
        failover_failure_threshold: Some(9),
        cache_warmup_jobids: texts(&["7", "8"]),
        ..Default::default()
    };
    assert_eq!(world.run::<AlterVclusterInfo>(alter(&[], Some(change))).expect("fits"), 1);
    let mut expected = before;
    let kept = expected.cluster_policy.as_mut().expect("has one");
    kept.failover_failure_threshold = Some(9);
    kept.cache_warmup_jobids = texts(&["7", "8"]);
    expected.mtime = Some(START_SECONDS + 3);
    assert_eq!(shown(&world, "v"), expected);

    // Roles change sides; of two standbys the first counts.
    world
        .run::<AlterVclusterInfo>(alter(&[], Some(policy(Some("b"), &["a", "b"]))))
        .expect("fits");
    let kept = expected.cluster_policy.as_mut().expect("has one");
    (kept.active_cluster_name, kept.standby_cluster_names) = (Some("b".to_owned()), texts(&["a"]));
    assert_eq!(shown(&world, "v"), expected);

    // Names in another order fit the same policy; its own sub clusters are not those of another.
    world.run::<AlterVclusterInfo>(alter(&["b", "a"], None)).expect("fits");
    assert_eq!(shown(&world, "v").cluster_names, ["b", "a"]);
    world
        .run::<AlterVclusterInfo>(alter(&["a", "e"], Some(policy(Some("e"), &["a"]))))
        .expect("e is free");
    assert_eq!(shown(&world, "v").cluster_names, ["a", "e"]);
}

#[test]
fn an_empty_group_is_filled_with_defaults() {
    let mut world = world();
    let mut fill = alter(
        &["b", "e"],
        Some(ClusterPolicy {
            r#type: Some(0),
            ..policy(Some("e"), &["b"])
        }),
    );
    fill.cluster.as_mut().expect("given").cluster_id = Some("empty".to_owned());
    world.refuse::<AlterVclusterInfo>(fill.clone(), InvalidArgument, "sub cluster b has been add by other vcg=v");
    world
        .run::<AlterVclusterInfo>(alter(&["a", "e"], Some(policy(None, &["e"]))))
        .expect("b becomes free");
    world.refuse::<AlterVclusterInfo>(fill.clone(), InvalidArgument, "sub cluster e has been add by other vcg=v");
    let cluster = fill.cluster.as_mut().expect("given");
    cluster.cluster_names = texts(&["b"]);
    world.refuse::<AlterVclusterInfo>(fill.clone(), InvalidArgument, "sub cluster e has been add by other vcg=v");
    let cluster = fill.cluster.as_mut().expect("given");
    cluster.cluster_policy = Some(policy(Some("b"), &[]));
    world.refuse::<AlterVclusterInfo>(fill, InvalidArgument, "Currently, just support two sub clusters");
}

#[test]
fn the_result_is_judged_as_a_whole() {
    let mut world = world();
    for (request, text) in [
        (alter(&[], Some(policy(Some("b"), &[]))), "active_cluster_name is same of standby_cluster_name"),
        (alter(&[], Some(policy(None, &["a"]))), "active_cluster_name is same of standby_cluster_name"),
        (alter(&[], Some(policy(None, &["e"]))), "standby_cluster_name e must be in cluster_names"),
        (
            alter(&["b", "e"], None),
            "active_cluster_name must not be empty and must be in cluster_names",
        ),
        (alter(&["a"], None), "Currently, just support two sub clusters"),
        (alter(&["a", "c"], None), "sub cluster c has been add by other vcg=w"),
        (
            alter(&["a", "z"], None),
            "sub cluster z not been added in instance, plz add it before create virtual cluster",
        ),
        (alter(&["a", "w"], None), "sub cluster w 's type must be eq COMPUTE"),
        (
            alter(&[], Some(policy(Some(""), &[]))),
            "sub cluster  not been added in instance, plz add it before create virtual cluster",
        ),
        (
            alter(
                &[],
                Some(ClusterPolicy {
                    unhealthy_node_threshold_percent: Some(0),
                    ..Default::default()
                }),
            ),
            "unhealthy_node_threshold_percent must be greater than 0 and less than or equal to 100",
        ),
    ] {
        world.refuse::<AlterVclusterInfo>(request, InvalidArgument, text);
    }
}

#[test]
fn faults_are_reported_in_order() {
    let mut world = world();
    let about = |id: &str| {
        let mut request = alter(&["a", "b"], None);
        request.cluster.as_mut().expect("given").cluster_id = Some(id.to_owned());
        request
    };
    world.refuse::<AlterVclusterInfo>(about(""), InvalidArgument, "missing cluster_id=");
    let elsewhere = AlterClusterRequest {
        instance_id: Some("x".to_owned()),
        ..about("v")
    };
    let text = "failed to get instance, instance_id=x err=KeyNotFound";
    world.refuse::<AlterVclusterInfo>(elsewhere, InvalidArgument, text);
    let text = "failed to find cluster to update, instance_id=i cluster_id=z cluster_name=";
    world.refuse::<AlterVclusterInfo>(about("z"), InvalidArgument, text);
    let mut compute = about("a");
    compute.cluster.as_mut().expect("given").cluster_names.clear();
    world.refuse::<AlterVclusterInfo>(compute, InvalidArgument, "Inconsistent virtual cluster args");
}
