//! Every pair of statuses, and what stands in the way of an allowed move.

use super::*;
use crate::keys;
use crate::resource_fixture::World;
use quorate_model::ErrorCode::{InvalidArgument, NotFound};

fn to(name: &str) -> SetMultiVersionStatusCall {
    SetMultiVersionStatusCall {
        instance_id: "i".to_owned(),
        multi_version_status: name.to_owned(),
    }
}

fn shown(world: &World) -> (MultiVersionStatus, SnapshotSwitchStatus) {
    let info = world.instance("i");
    (info.multi_version_status(), info.snapshot_switch_status())
}

#[test]
fn an_instance_becomes_ready_for_snapshots_step_by_step_and_back() {
    use MultiVersionStatus::{MultiVersionDisabled, MultiVersionReadWrite, MultiVersionWriteOnly};
    use SnapshotSwitchStatus::{SnapshotSwitchDisabled, SnapshotSwitchOff};
    let mut world = World::with_instance();
    for (name, expected) in [
        ("multi_version_write_only", (MultiVersionWriteOnly, SnapshotSwitchOff)),
        ("MULTI_VERSION_READ_WRITE", (MultiVersionReadWrite, SnapshotSwitchOff)),
        ("MULTI_VERSION_READ_WRITE", (MultiVersionReadWrite, SnapshotSwitchOff)),
        ("MULTI_VERSION_WRITE_ONLY", (MultiVersionWriteOnly, SnapshotSwitchOff)),
        ("MULTI_VERSION_DISABLED", (MultiVersionDisabled, SnapshotSwitchDisabled)),
    ] {
        world.run::<SetMultiVersionStatus>(to(name)).expect(name);
        assert_eq!(shown(&world), expected, "{name}");
    }
}

#[test]
fn exactly_these_moves_are_allowed() {
    use MultiVersionStatus::{MultiVersionDisabled, MultiVersionEnabled, MultiVersionReadWrite, MultiVersionWriteOnly};
    let all = [MultiVersionDisabled, MultiVersionWriteOnly, MultiVersionReadWrite, MultiVersionEnabled];
    let mut refused = Vec::new();
    for from in all {
        for to in all {
            let info = InstanceInfoPb {
                multi_version_status: Some(from as i32),
                ..Default::default()
            };
            if let Err(error) = check_move(&info, to) {
                let text = format!("directly convert from {} to {} is not allowed", from.as_str_name(), to.as_str_name());
                assert_eq!(error.message, text);
                refused.push((from, to));
            }
        }
    }
    let mut expected = vec![(MultiVersionDisabled, MultiVersionReadWrite), (MultiVersionDisabled, MultiVersionEnabled)];
    expected.extend([(MultiVersionWriteOnly, MultiVersionEnabled), (MultiVersionReadWrite, MultiVersionEnabled)]);
    expected.extend(all.map(|to| (MultiVersionEnabled, to)));
    assert_eq!(refused, expected);
}

#[test]
fn faults_are_reported_in_order() {
    let mut world = World::with_instance();
    let nobody = SetMultiVersionStatusCall::default();
    world.refuse::<SetMultiVersionStatus>(nobody, InvalidArgument, "empty instance id");
    world.refuse::<SetMultiVersionStatus>(to(""), InvalidArgument, "multi_version_status is required");
    let text = "invalid multi_version_status value. Supported values: MULTI_VERSION_DISABLED, MULTI_VERSION_WRITE_ONLY, \
                MULTI_VERSION_READ_WRITE, MULTI_VERSION_ENABLED";
    world.refuse::<SetMultiVersionStatus>(to("READ_WRITE"), InvalidArgument, text);
    let missing = SetMultiVersionStatusCall {
        instance_id: "j".to_owned(),
        ..to("MULTI_VERSION_DISABLED")
    };
    world.refuse::<SetMultiVersionStatus>(missing, NotFound, "instance not found");
    let text = "directly convert from MULTI_VERSION_DISABLED to MULTI_VERSION_READ_WRITE is not allowed";
    world.refuse::<SetMultiVersionStatus>(to("MULTI_VERSION_READ_WRITE"), InvalidArgument, text);
}

#[test]
fn clones_snapshots_and_an_open_switch_stand_in_the_way() {
    let mut world = World::with_instance();
    let set = |world: &mut World, source: &str, switch: SnapshotSwitchStatus| {
        world.change_instance("i", |info| {
            info.set_multi_version_status(MultiVersionStatus::MultiVersionReadWrite);
            info.set_snapshot_switch_status(switch);
            info.source_instance_id = Some(source.to_owned());
        });
    };
    set(&mut world, "other", SnapshotSwitchStatus::SnapshotSwitchOff);
    for name in ["MULTI_VERSION_WRITE_ONLY", "MULTI_VERSION_DISABLED"] {
        let text = format!("cannot set multi_version_status to {name} for cloned instances");
        world.refuse::<SetMultiVersionStatus>(to(name), InvalidArgument, &text);
    }
    set(&mut world, "", SnapshotSwitchStatus::SnapshotSwitchOn);
    let text = "cannot set multi_version_status to MULTI_VERSION_DISABLED while snapshots are enabled; set_snapshot_property \
                with status DISABLED first";
    world.refuse::<SetMultiVersionStatus>(to("MULTI_VERSION_DISABLED"), InvalidArgument, text);
    world.run::<SetMultiVersionStatus>(to("MULTI_VERSION_READ_WRITE")).expect("no move");
    assert_eq!(shown(&world).1, SnapshotSwitchStatus::SnapshotSwitchOn);

    set(&mut world, "", SnapshotSwitchStatus::SnapshotSwitchOff);
    let scope = instances::find(&world.store, "i").expect("reads").expect("exists").scope;
    let mut pin_key = vec![keys::space::PIN];
    pin_key.extend_from_slice(&scope.0.to_be_bytes());
    pin_key.extend_from_slice(&[0; 16]);
    for (kind, is_refused) in [(PinKind::Read, false), (PinKind::Snapshot, true)] {
        let pin = PinRecord {
            kind: kind as i32,
            ..Default::default()
        };
        world.store.rows.insert(pin_key.clone().into(), prost::Message::encode_to_vec(&pin).into());
        // Rewriting the instance takes the digests over from the rows.
        set(&mut world, "", SnapshotSwitchStatus::SnapshotSwitchOff);
        let outcome = world.run::<SetMultiVersionStatus>(to("MULTI_VERSION_DISABLED"));
        assert_eq!(outcome.is_err(), is_refused, "{kind:?}");
    }
}
