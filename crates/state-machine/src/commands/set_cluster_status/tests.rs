//! Every pair of states, and what the route refuses before it looks at states.

use super::*;
use crate::commands::{AddCluster, DropCluster, DropInstance};
use crate::resource_fixture::{START_SECONDS, World, cluster, frontend, on_instance};
use quorate_model::ErrorCode::InvalidArgument;
use quorate_wire::doris::AlterInstanceRequest;
use quorate_wire::doris::node_info_pb::NodeType;

fn to(status: Option<ClusterStatus>) -> AlterClusterRequest {
    let cluster_status = status.map(|status| status as i32);
    on_instance(ClusterPb {
        cluster_id: Some("c".to_owned()),
        cluster_status,
        ..Default::default()
    })
}

fn world() -> World {
    let mut world = World::with_instance();
    world
        .run::<AddCluster>(on_instance(cluster(Type::Compute, "c", Vec::new())))
        .expect("added");
    world
}

#[test]
fn all_moves_but_seven_are_refused() {
    use ClusterStatus::{ManualShutdown, Normal, Suspended, ToResume, Unknown};
    let all = [Unknown, Normal, Suspended, ToResume, ManualShutdown];
    let mut allowed = Vec::new();
    for from in all {
        for to in all {
            match check_move(from, to) {
                Ok(()) => allowed.push((from, to)),
                Err(error) if from == to => assert_eq!(
                    error.message,
                    format!(
                        "failed to set cluster status, status eq original status, original cluster is {}",
                        from.as_str_name()
                    )
                ),
                Err(error) => assert_eq!(
                    error.message,
                    format!(
                        "failed to set cluster status, original cluster is {} and want set {}",
                        from.as_str_name(),
                        to.as_str_name()
                    )
                ),
            }
        }
    }
    let expected = [
        (Unknown, Normal),
        (Normal, Suspended),
        (Normal, ManualShutdown),
        (Suspended, Normal),
        (Suspended, ToResume),
        (ToResume, Normal),
        (ManualShutdown, Normal),
    ];
    assert_eq!(allowed, expected);
}

#[test]
fn a_move_is_stored_with_its_time_and_nothing_else_is_rewritten() {
    let mut world = world();
    world.now_seconds += 60;
    let rows = world.run::<SetClusterStatus>(to(Some(ClusterStatus::Suspended))).expect("allowed");
    assert_eq!(rows, 1);
    let shown = world.instance("i").clusters.remove(0);
    assert_eq!(shown.cluster_status(), ClusterStatus::Suspended);
    assert_eq!((shown.ctime(), shown.mtime()), (START_SECONDS, START_SECONDS + 60));
    let text = "failed to set cluster status, status eq original status, original cluster is SUSPENDED";
    world.refuse::<SetClusterStatus>(to(Some(ClusterStatus::Suspended)), InvalidArgument, text);
    // STOPPED is not a name of the protocol, so it arrives as no status at all; a number beyond ours counts the same.
    let text = "failed to set cluster status, original cluster is SUSPENDED and want set UNKNOWN";
    world.refuse::<SetClusterStatus>(to(None), InvalidArgument, text);
    let mut unknown = to(None);
    unknown.cluster.as_mut().expect("given").cluster_status = Some(77);
    world.refuse::<SetClusterStatus>(unknown, InvalidArgument, text);
}

#[test]
fn faults_are_reported_in_order() {
    let mut world = world();
    let text = "invalid request instance_id or cluster not given";
    world.refuse::<SetClusterStatus>(AlterClusterRequest::default(), InvalidArgument, text);
    world.refuse::<SetClusterStatus>(AlterClusterRequest { cluster: None, ..to(None) }, InvalidArgument, text);
    let no_id = AlterClusterRequest {
        instance_id: Some("x".to_owned()),
        ..on_instance(ClusterPb::default())
    };
    world.refuse::<SetClusterStatus>(no_id, InvalidArgument, "missing cluster_id=");
    let missing = AlterClusterRequest {
        instance_id: Some("x".to_owned()),
        ..to(None)
    };
    world.refuse::<SetClusterStatus>(missing, InvalidArgument, "failed to get instance, instance_id=x err=KeyNotFound");
    let other = on_instance(cluster(Type::Compute, "other", Vec::new()));
    let text = "failed to find cluster to update, instance_id=i cluster_id=other cluster_name=other_name";
    world.refuse::<SetClusterStatus>(other, InvalidArgument, text);

    let masters = vec![frontend("1:i:fe", "10.0.0.1", NodeType::FeMaster)];
    world
        .run::<AddCluster>(on_instance(cluster(Type::Sql, "fe", masters)))
        .expect("added");
    let frontends = on_instance(ClusterPb {
        cluster_id: Some("fe".to_owned()),
        ..Default::default()
    });
    world.refuse::<SetClusterStatus>(frontends, InvalidArgument, "just support set COMPUTE cluster status");
}

#[test]
fn a_dropped_instance_is_refused() {
    let mut world = world();
    world
        .run::<DropCluster>(on_instance(cluster(Type::Compute, "c", Vec::new())))
        .expect("dropped");
    let drop = AlterInstanceRequest {
        instance_id: Some("i".to_owned()),
        ..Default::default()
    };
    world.run::<DropInstance>(drop).expect("dropped");
    world.refuse::<SetClusterStatus>(to(None), InvalidArgument, "instance status has been set delete, plz check it");
}
