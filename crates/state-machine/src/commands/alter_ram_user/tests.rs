//! What alter_ram_user stores and refuses.

use super::*;
use crate::resource_fixture::World;
use crate::storage_fixture::*;
use prost::Message;
use quorate_model::ErrorCode::{InvalidArgument, KeyMissing, NotFound};

fn of(instance_id: &str, ram_user: Option<RamUserPb>) -> AlterRamUserRequest {
    AlterRamUserRequest {
        instance_id: text(instance_id),
        ram_user,
        request_ip: None,
    }
}

#[test]
fn an_account_is_set_replaced_and_set_again_and_rests_sealed() {
    let mut world = World::with_instance();
    let command: AlterRamUser = world.prepare(of("i", Some(user("u", "a", SECRET)))).expect("accepted");
    assert!(!holds_secret(&command.encode_to_vec()));
    for (user_id, sk) in [("u", SECRET), ("w", "other"), ("w", "other")] {
        world.run::<AlterRamUser>(of("i", Some(user(user_id, "a", sk)))).expect("equal is no error");
        let stored = world.instance("i").ram_user.expect("set");
        assert_eq!((stored.user_id(), stored.sk()), (user_id, sk));
        assert_rows_are_sealed(&world);
    }
}

#[test]
fn requests_without_a_whole_account_are_refused_without_quoting_the_secret() {
    let mut world = World::with_instance();
    world.refuse::<AlterRamUser>(of("", None), InvalidArgument, "empty instance_id");
    world.refuse::<AlterRamUser>(of("i", None), InvalidArgument, r#"ram user info err {"instance_id":"i"}"#);
    let quoted = r#"ram user info err {"instance_id":"i","ram_user":{"user_id":"","ak":"a","sk":"(hidden)"}}"#;
    world.refuse::<AlterRamUser>(of("i", Some(user("", "a", SECRET))), InvalidArgument, quoted);
    let long = user("u", "a", &"s".repeat(1_025));
    world.refuse::<AlterRamUser>(of("i", Some(long)), InvalidArgument, "sk is 1025 bytes, limit 1024 bytes; shorten it");
}

#[test]
fn a_missing_and_a_dropped_instance_are_refused() {
    let mut world = World::new();
    add_dropped_instance(&mut world);
    let request = |instance_id| of(instance_id, Some(user("u", "a", "s")));
    let missing = "failed to get instance, instance_id=x err=KeyNotFound";
    world.refuse::<AlterRamUser>(request("x"), KeyMissing, missing);
    world.refuse::<AlterRamUser>(request("gone"), NotFound, "instance status has been set delete, plz check it");
}
