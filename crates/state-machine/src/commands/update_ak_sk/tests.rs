//! Rotation by account: which entries change, and that one fault changes none.

use super::*;
use crate::commands::{AddObjInfo, CreateInstance, create_instance::CreateInstanceCall};
use crate::resource_fixture::{Rotated, START_SECONDS, World};
use crate::storage_fixture::*;
use prost::Message;
use quorate_model::ErrorCode::{InvalidArgument, KeyMissing, NotFound};
use quorate_wire::doris::{CreateInstanceRequest, ObjectStoreInfoPb};

/// Instance `i` with stores of accounts `a`, `b` and `a`.
fn world_with_accounts() -> World {
    let mut world = World::new();
    let of = |user_id: &str, bucket: &str| ObjectStoreInfoPb {
        user_id: text(user_id),
        ..store(bucket)
    };
    let request = CreateInstanceRequest {
        instance_id: text("i"),
        obj_info: Some(of("a", "1")),
        ram_user: Some(RamUserPb {
            external_id: text("ext"),
            ..user("ram", "ram-ak", SECRET)
        }),
        ..Default::default()
    };
    let call = CreateInstanceCall {
        request,
        ..Default::default()
    };
    world.run::<CreateInstance>(call).expect("created");
    world.run::<AddObjInfo>(about(of("b", "2"))).expect("added");
    world.run::<AddObjInfo>(about(of("a", "3"))).expect("added");
    world.now_seconds += 3;
    world
}

fn rotate(users: &[RamUserPb], ram_user: Option<RamUserPb>) -> UpdateAkSkRequest {
    UpdateAkSkRequest {
        instance_id: text("i"),
        internal_bucket_user: users.to_vec(),
        ram_user,
        request_ip: None,
    }
}

fn keys_of(world: &World) -> Vec<(String, String)> {
    let stores = shown(world).obj_info.into_iter();
    stores.map(|store| (store.ak().to_owned(), store.sk().to_owned())).collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    let own = |(ak, sk): &(&str, &str)| ((*ak).to_owned(), (*sk).to_owned());
    expected.iter().map(own).collect()
}

#[test]
fn every_store_of_a_named_account_changes_and_no_other() {
    let mut world = world_with_accounts();
    let request = rotate(&[user("a", "a2", "s2")], None);
    let secret = rotate(&[user("a", "x", SECRET)], Some(user("ram", "x", SECRET)));
    let command: UpdateAkSk = world.prepare(secret).expect("accepted");
    assert!(!holds_secret(&command.encode_to_vec()));
    world.run::<UpdateAkSk>(request).expect("changed");
    assert_eq!(keys_of(&world), pairs(&[("a2", "s2"), ("ak", SECRET), ("a2", "s2")]));
    let times: Vec<i64> = shown(&world).obj_info.iter().map(|store| store.mtime() - START_SECONDS).collect();
    assert_eq!(times, [3, 0, 3]);
    let both = [user("a", "a3", "s3"), user("b", "b3", "s3")];
    world.run::<UpdateAkSk>(rotate(&both, None)).expect("changed");
    assert_eq!(keys_of(&world), pairs(&[("a3", "s3"), ("b3", "s3"), ("a3", "s3")]));
}

#[test]
fn the_instances_own_account_changes_and_keeps_what_was_not_sent() {
    let mut world = world_with_accounts();
    world.run::<UpdateAkSk>(rotate(&[], Some(user("ram", "ram-ak", "new")))).expect("changed");
    let stored = world.instance("i").ram_user.expect("has one");
    assert_eq!((stored.ak(), stored.sk(), stored.external_id()), ("ram-ak", "new", "ext"));
    assert_eq!(keys_of(&world)[0], ("ak".to_owned(), SECRET.to_owned()));
    assert_rows_are_sealed(&world);
}

#[test]
fn a_store_without_an_account_is_adopted_by_the_only_one() {
    let mut world = world_with_store();
    let two = rotate(&[user("a", "x", "y"), user("b", "x", SECRET)], None);
    let quoted = r#"{"instance_id":"i","internal_bucket_user":[{"user_id":"a","ak":"x","sk":"(hidden)"},{"user_id":"b","ak":"x","sk":"(hidden)"}]}"#;
    let text = format!("fail to update old instance's obj_info, s3 obj info err {quoted}");
    world.refuse::<UpdateAkSk>(two, InvalidArgument, &text);
    world.run::<UpdateAkSk>(rotate(&[user("a", "x", "y")], None)).expect("changed");
    let stored = shown(&world).obj_info.remove(0);
    assert_eq!((stored.user_id(), stored.ak(), stored.sk()), ("a", "x", "y"));
}

#[test]
fn unchanged_keys_are_refused_also_after_a_rotation_of_the_root_key() {
    let mut world = world_with_accounts();
    for rotated in [false, true] {
        if rotated {
            world.secrets = &Rotated;
        }
        let same = "ak sk eq original, please check it";
        world.refuse::<UpdateAkSk>(rotate(&[user("a", "ak", SECRET)], None), InvalidArgument, same);
        world.refuse::<UpdateAkSk>(rotate(&[], Some(user("ram", "ram-ak", SECRET))), InvalidArgument, same);
    }
}

#[test]
fn one_fault_changes_nothing_at_all() {
    let mut world = world_with_accounts();
    let before = (keys_of(&world), world.instance("i").ram_user);
    let good_user = || Some(user("ram", "new", "new"));
    let faults = [
        (rotate(&[user("a", "n", "n"), user("b", "ak", SECRET)], good_user()), "ak sk eq original, please check it"),
        (rotate(&[user("c", "n", "n")], good_user()), "fail to find the alter obj info"),
        (rotate(&[user("a", "n", "n")], Some(user("other", "n", "n"))), "ram user_id err"),
    ];
    for (request, text) in faults {
        world.refuse::<UpdateAkSk>(request, InvalidArgument, text);
        assert_eq!((keys_of(&world), world.instance("i").ram_user), before);
    }
}

#[test]
fn requests_without_whole_accounts_are_refused_without_quoting_secrets() {
    let mut world = world_with_accounts();
    let no_instance = UpdateAkSkRequest::default();
    world.refuse::<UpdateAkSk>(no_instance, InvalidArgument, "instance id not set");
    world.refuse::<UpdateAkSk>(rotate(&[], None), InvalidArgument, "nothing to update");
    let quoted = r#"ram user info err {"instance_id":"i","ram_user":{"user_id":"ram","ak":"","sk":"(hidden)"}}"#;
    world.refuse::<UpdateAkSk>(rotate(&[], Some(user("ram", "", SECRET))), InvalidArgument, quoted);
    let no_sk = RamUserPb {
        sk: None,
        ..user("a", "x", "")
    };
    let quoted = r#"s3 bucket info err {"instance_id":"i","internal_bucket_user":[{"user_id":"a","ak":"x"}]}"#;
    world.refuse::<UpdateAkSk>(rotate(&[no_sk], None), InvalidArgument, quoted);
    let many = vec![user("a", "x", "y"); 101];
    let text = "internal_bucket_user has 101 entries, limit 100; split the request";
    world.refuse::<UpdateAkSk>(rotate(&many, None), InvalidArgument, text);

    world.change_instance("i", |info| info.ram_user = None);
    let request = rotate(&[], Some(user("ram", "x", "y")));
    world.refuse::<UpdateAkSk>(request, InvalidArgument, "instance doesn't have ram user info");
}

#[test]
fn a_missing_and_a_dropped_instance_are_told_before_what_is_wrong_with_accounts() {
    let mut world = World::new();
    add_dropped_instance(&mut world);
    let of = |instance_id: &str| UpdateAkSkRequest {
        instance_id: text(instance_id),
        ..rotate(&[], Some(RamUserPb::default()))
    };
    let missing = "failed to get instance, instance_id=x err=KeyNotFound";
    world.refuse::<UpdateAkSk>(of("x"), KeyMissing, missing);
    world.refuse::<UpdateAkSk>(of("gone"), NotFound, "instance status has been set delete, plz check it");
}
