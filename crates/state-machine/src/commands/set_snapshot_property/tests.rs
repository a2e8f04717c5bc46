//! Both spellings, every refusal, and that nothing is half done.

use super::*;
use crate::resource_fixture::World;
use quorate_model::ErrorCode::{InvalidArgument, NotFound};

fn set(properties: &[(&str, &str)]) -> AlterInstanceRequest {
    let pairs = properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    AlterInstanceRequest {
        instance_id: Some("i".to_owned()),
        properties: pairs.collect(),
        ..Default::default()
    }
}

fn ready(status: MultiVersionStatus) -> World {
    let mut world = World::with_instance();
    world.change_instance("i", |info| {
        info.set_multi_version_status(status);
        info.set_snapshot_switch_status(SnapshotSwitchStatus::SnapshotSwitchOff);
    });
    world
}

fn shown(world: &World) -> (SnapshotSwitchStatus, Option<i64>, Option<i64>) {
    let info = world.instance("i");
    (info.snapshot_switch_status(), info.max_reserved_snapshot, info.snapshot_interval_seconds)
}

#[test]
fn snapshots_are_switched_on_with_defaults_and_off_without_losing_them() {
    use SnapshotSwitchStatus::{SnapshotSwitchOff, SnapshotSwitchOn};
    let mut world = ready(MultiVersionStatus::MultiVersionReadWrite);
    world.run::<SetSnapshotProperty>(set(&[("status", "ENABLED")])).expect("ready");
    assert_eq!(shown(&world), (SnapshotSwitchOn, Some(0), Some(3_600)));
    let text = "Snapshot is already set to SNAPSHOT_SWITCH_ON, instance_id: i";
    world.refuse::<SetSnapshotProperty>(set(&[("ENABLE_SNAPSHOT", "true")]), InvalidArgument, text);
    let both = set(&[("max_reserved_snapshots", "35"), ("SNAPSHOT_INTERVAL_SECONDS", " 7200s")]);
    world.run::<SetSnapshotProperty>(both).expect("within bounds");
    world.run::<SetSnapshotProperty>(set(&[("status", "DISABLED")])).expect("it is on");
    assert_eq!(shown(&world), (SnapshotSwitchOff, Some(35), Some(7_200)));
    world.run::<SetSnapshotProperty>(set(&[("ENABLE_SNAPSHOT", "true")])).expect("it is off");
    assert_eq!(shown(&world), (SnapshotSwitchOn, Some(35), Some(7_200)));
}

#[test]
fn faults_have_their_words() {
    let mut world = ready(MultiVersionStatus::MultiVersionWriteOnly);
    for (properties, text) in [
        (&[][..], "snapshot properties is empty, instance_id = i"),
        (&[("colour", "red")], "unknown snapshot property: colour"),
        (&[("UNKNOWN_PROPERTY", "1")], "unknown snapshot property: UNKNOWN_PROPERTY"),
        (
            &[("status", "enabled")],
            "Invalid value for status property: enabled, expected 'ENABLED' or 'DISABLED' (case insensitive)",
        ),
        (
            &[("ENABLE_SNAPSHOT", "TRUE")],
            "Invalid value for ENABLE_SNAPSHOT property: TRUE, expected 'true' or 'false', instance_id: i",
        ),
        (&[("status", "DISABLED")], "Snapshot is already set to SNAPSHOT_SWITCH_OFF, instance_id: i"),
        (
            &[("status", "ENABLED")],
            "Cannot enable snapshot when multi_version_status is not MULTI_VERSION_READ_WRITE. Current status is \
             MULTI_VERSION_WRITE_ONLY, instance_id: i",
        ),
        (&[("max_reserved_snapshots", "-1")], "MAX_RESERVED_SNAPSHOTS must be non-negative, got: -1"),
        (&[("max_reserved_snapshots", "36")], "MAX_RESERVED_SNAPSHOTS too large, maximum is 35, got: 36"),
        (&[("max_reserved_snapshots", "many")], "Invalid numeric value for max_reserved_snapshots: many"),
        (
            &[("snapshot_interval_seconds", "3599")],
            "SNAPSHOT_INTERVAL_SECONDS too small, minimum is 3600 seconds, got: 3599",
        ),
        (
            &[("snapshot_interval_seconds", "99999999999999999999")],
            "Invalid numeric value for SNAPSHOT_INTERVAL_SECONDS: 99999999999999999999",
        ),
        (
            &[("max_reserved_snapshots", "1"), ("snapshot_interval_seconds", "1")],
            "SNAPSHOT_INTERVAL_SECONDS too small, minimum is 3600 seconds, got: 1",
        ),
    ] {
        world.refuse::<SetSnapshotProperty>(set(properties), InvalidArgument, text);
    }
}

#[test]
fn a_wrong_status_comes_before_the_instance_and_the_instance_before_the_rest() {
    let mut world = World::with_instance();
    let of = |instance_id: &str, request: AlterInstanceRequest| AlterInstanceRequest {
        instance_id: Some(instance_id.to_owned()),
        ..request
    };
    let text = "Invalid value for status property: on, expected 'ENABLED' or 'DISABLED' (case insensitive)";
    world.refuse::<SetSnapshotProperty>(of("", set(&[("status", "on")])), InvalidArgument, text);
    world.refuse::<SetSnapshotProperty>(of("", set(&[])), InvalidArgument, "instance id not set");
    let text = "instance not existed, instance_id=j, err=KeyNotFound";
    world.refuse::<SetSnapshotProperty>(of("j", set(&[])), NotFound, text);
    // An instance that was never made ready, with the switch unset.
    let text = "Snapshot is not ready, instance_id: i";
    world.refuse::<SetSnapshotProperty>(set(&[("status", "ENABLED")]), InvalidArgument, text);
    world.settings.snapshot_max_reserved = 2;
    let text = "MAX_RESERVED_SNAPSHOTS too large, maximum is 2, got: 3";
    world.refuse::<SetSnapshotProperty>(set(&[("max_reserved_snapshots", "3")]), InvalidArgument, text);
}
