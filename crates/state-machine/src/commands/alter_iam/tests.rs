//! What alter_iam stores, and how it shows with every instance.

use super::*;
use crate::object_stores::Secrets;
use crate::resource_fixture::{Reversed, Rotated, World};
use crate::service_account::ConfiguredAccount;
use crate::storage_fixture::*;
use prost::Message;
use quorate_model::ErrorCode::InvalidArgument;

fn account(account_id: &str, ak: &str, sk: &str) -> AlterIamRequest {
    AlterIamRequest {
        account_id: text(account_id),
        ak: text(ak),
        sk: text(sk),
        request_ip: None,
    }
}

#[test]
fn the_stored_account_replaces_the_configured_one_for_every_instance() {
    let mut world = World::with_instance();
    world.create("j");
    let configured = ConfiguredAccount {
        user_id: "configured".to_owned(),
        ..Default::default()
    };
    let seen = |world: &World, secrets| service_account::shown(&world.store, "i", &configured, secrets).expect("shown");
    assert_eq!((seen(&world, Secrets::Sealed).user_id(), seen(&world, Secrets::Sealed).external_id()), ("configured", "i"));
    let command: AlterIam = world.prepare(account("arn", "a", SECRET)).expect("accepted");
    assert!(!holds_secret(&command.encode_to_vec()));
    world.run::<AlterIam>(account("arn", "a", SECRET)).expect("stored");
    let shown = seen(&world, Secrets::Unsealed(&Reversed));
    assert_eq!((shown.user_id(), shown.ak(), shown.sk()), ("arn", "a", SECRET));
    assert_eq!((shown.external_id, shown.encryption_info), (None, None));
    assert_ne!(seen(&world, Secrets::Sealed).sk(), SECRET);
    for instance_id in ["i", "j"] {
        assert_eq!(world.instance(instance_id).iam_user.expect("always shown").sk(), SECRET);
    }
    assert_rows_are_sealed(&world);
}

#[test]
fn the_same_account_is_refused_also_after_a_rotation_of_the_root_key() {
    let mut world = World::new();
    world.run::<AlterIam>(account("arn", "a", SECRET)).expect("stored");
    world.refuse::<AlterIam>(account("arn", "a", SECRET), InvalidArgument, "already has the same arn info");
    world.secrets = &Rotated;
    world.refuse::<AlterIam>(account("arn", "a", SECRET), InvalidArgument, "already has the same arn info");
    for (account_id, ak, sk) in [("other", "a", SECRET), ("other", "b", SECRET), ("other", "b", "other")] {
        world.run::<AlterIam>(account(account_id, ak, sk)).expect("changed");
    }
}

#[test]
fn every_field_is_needed() {
    let mut world = World::new();
    for (account_id, ak, sk) in [("", "a", "s"), ("arn", "", "s"), ("arn", "a", "")] {
        world.refuse::<AlterIam>(account(account_id, ak, sk), InvalidArgument, "invalid argument");
    }
    world.refuse::<AlterIam>(AlterIamRequest::default(), InvalidArgument, "invalid argument");
}
