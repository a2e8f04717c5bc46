//! Every move of an instance's status, by set_instance_status and drop_instance.

use super::*;
use crate::commands::{AddCluster, CreateInstance, DropCluster, DropInstance, create_instance::CreateInstanceCall};
use crate::resource_fixture::{START_SECONDS, World, cluster, on_instance};
use quorate_model::ErrorCode::{AlreadyExists, InvalidArgument, NotFound};
use quorate_wire::doris::CreateInstanceRequest;
use quorate_wire::doris::cluster_pb::Type;

fn request(op: Operation) -> AlterInstanceRequest {
    AlterInstanceRequest {
        instance_id: Some("i".to_owned()),
        op: Some(op as i32),
        ..Default::default()
    }
}

#[test]
fn normal_and_overdue_alternate_and_set_mtime() {
    let mut world = World::with_instance();
    world.now_seconds += 5;
    let text = "the instance is already normal, instance_id = i";
    world.refuse::<SetInstanceStatus>(request(Operation::SetNormal), InvalidArgument, text);
    world.run::<SetInstanceStatus>(request(Operation::SetOverdue)).expect("allowed");
    assert_eq!(
        (world.instance("i").status(), world.instance("i").mtime),
        (Status::Overdue, Some(START_SECONDS + 5))
    );
    let text = "the instance has already set  instance to overdue, instance_id = i";
    world.refuse::<SetInstanceStatus>(request(Operation::SetOverdue), InvalidArgument, text);
    world.run::<SetInstanceStatus>(request(Operation::SetNormal)).expect("allowed");
    assert_eq!(world.instance("i").status(), Status::Normal);
}

#[test]
fn a_dropped_instance_stays_dropped_and_keeps_its_id() {
    let mut world = World::with_instance();
    world.now_seconds += 5;
    world
        .run::<SetInstanceStatus>(request(Operation::Drop))
        .expect("the route obeys DROP");
    let dropped_at = instances::find(&world.store, "i").expect("reads").expect("exists").dropped_at;
    assert_ne!(dropped_at, 0);
    assert_eq!(
        (world.instance("i").status(), world.instance("i").mtime),
        (Status::Deleted, Some(START_SECONDS + 5))
    );
    let text = "can't set deleted instance to normal, instance_id = i";
    world.refuse::<SetInstanceStatus>(request(Operation::SetNormal), InvalidArgument, text);
    let text = "can't set deleted instance to overdue, instance_id = i";
    world.refuse::<SetInstanceStatus>(request(Operation::SetOverdue), InvalidArgument, text);
    world.now_seconds += 5;
    world
        .run::<DropInstance>(AlterInstanceRequest {
            op: None,
            ..request(Operation::Drop)
        })
        .expect("repeating it succeeds");
    let again = instances::find(&world.store, "i").expect("reads").expect("exists");
    assert_eq!((again.dropped_at, again.info.mtime), (dropped_at, Some(START_SECONDS + 10)));
    let create = CreateInstanceRequest {
        instance_id: Some("i".to_owned()),
        ..Default::default()
    };
    let create = CreateInstanceCall {
        request: create,
        ..Default::default()
    };
    world.refuse::<CreateInstance>(create, AlreadyExists, "instance already existed, instance_id=i, err=Ok");
}

#[test]
fn an_instance_with_clusters_or_a_successor_is_not_dropped() {
    let mut world = World::with_instance();
    let drop = || AlterInstanceRequest {
        op: None,
        ..request(Operation::Drop)
    };
    world
        .run::<AddCluster>(on_instance(cluster(Type::Compute, "c", Vec::new())))
        .expect("added");
    world.refuse::<DropInstance>(drop(), InvalidArgument, "failed to drop instance, instance has clusters");
    world.refuse::<SetInstanceStatus>(
        request(Operation::Drop),
        InvalidArgument,
        "failed to drop instance, instance has clusters",
    );
    world
        .run::<DropCluster>(on_instance(cluster(Type::Compute, "c", Vec::new())))
        .expect("dropped");
    world.create("next");
    world.change_instance("next", |info| info.predecessor_instance_id = Some("i".to_owned()));
    world.change_instance("i", |info| info.successor_instance_id = Some("next".to_owned()));
    let text = "failed to drop instance, instance has a successor; please drop the chain tail instead, successor_instance_id=next";
    world.refuse::<DropInstance>(drop(), InvalidArgument, text);
    // Somebody else has the successor's id: it was dropped, and all of it is gone.
    world.change_instance("next", |info| info.predecessor_instance_id = None);
    world.run::<DropInstance>(drop()).expect("nothing keeps it now");
}

#[test]
fn faults_are_reported_in_order() {
    let mut world = World::with_instance();
    for op in [None, Some(99)] {
        let unknown = AlterInstanceRequest { op, ..Default::default() };
        world.refuse::<SetInstanceStatus>(unknown, InvalidArgument, "invalid request op, op=0");
    }
    let unserved = AlterInstanceRequest {
        instance_id: None,
        ..request(Operation::Rename)
    };
    world.refuse::<SetInstanceStatus>(unserved, InvalidArgument, "invalid request op, op=3");
    let nameless = || AlterInstanceRequest {
        instance_id: Some(String::new()),
        ..request(Operation::SetNormal)
    };
    world.refuse::<SetInstanceStatus>(nameless(), InvalidArgument, "instance id not set");
    world.refuse::<DropInstance>(nameless(), InvalidArgument, "instance id not set");
    let missing = |op| AlterInstanceRequest {
        instance_id: Some("x".to_owned()),
        ..request(op)
    };
    let text = "instance not existed, instance_id=x, err=KeyNotFound";
    world.refuse::<SetInstanceStatus>(missing(Operation::SetNormal), NotFound, text);
    world.refuse::<SetInstanceStatus>(missing(Operation::SetOverdue), NotFound, text);
    world.refuse::<DropInstance>(missing(Operation::Drop), NotFound, text);
}
