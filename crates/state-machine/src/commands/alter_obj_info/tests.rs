//! Rotation of an object store's keys, by both routes.

use super::*;
use crate::commands::{AddObjInfo, CreateInstance, LegacyUpdateAkSk, create_instance::CreateInstanceCall};
use crate::object_store_keys::StoreKeysReply;
use crate::resource_fixture::{Rotated, START_SECONDS, World};
use crate::storage_fixture::*;
use quorate_model::ErrorCode::InvalidArgument;
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{CreateInstanceRequest, CredProviderTypePb, ObjectStoreInfoPb};

fn keys(id: &str, ak: &str, sk: &str) -> StorageCall {
    about(ObjectStoreInfoPb {
        id: text(id),
        ak: text(ak),
        sk: text(sk),
        ..Default::default()
    })
}

fn role(id: &str) -> StorageCall {
    about(ObjectStoreInfoPb {
        id: text(id),
        role_arn: text("role"),
        external_id: text("ext"),
        ..Default::default()
    })
}

#[test]
fn new_keys_replace_the_old_ones_by_either_route() {
    let mut world = world_with_store();
    world.now_seconds += 9;
    world.run::<LegacyUpdateAkSk>(keys("1", "new-ak", "new-sk")).expect("changed");
    let stored = shown(&world).obj_info.remove(0);
    assert_eq!((stored.ak(), stored.sk(), stored.bucket()), ("new-ak", "new-sk", "first"));
    assert_eq!((stored.ctime(), stored.mtime()), (START_SECONDS, START_SECONDS + 9));
    world.run::<AlterObjInfo>(keys("1", "newer-ak", SECRET)).expect("changed");
    let stored = shown(&world).obj_info.remove(0);
    assert_eq!((stored.ak(), stored.sk()), ("newer-ak", SECRET));
    assert_rows_are_sealed(&world);
}

#[test]
fn unchanged_keys_are_a_success_that_writes_nothing_also_after_a_rotation_of_the_root_key() {
    let mut world = world_with_store();
    for rotated in [false, true] {
        if rotated {
            world.secrets = &Rotated;
        }
        assert_eq!(world.run::<LegacyUpdateAkSk>(keys("1", "ak", SECRET)), Ok(0));
        assert_eq!(world.run::<AlterObjInfo>(keys("1", "ak", SECRET)), Ok(0));
    }
    let note = |unchanged| AlterObjInfo::note(&StoreKeysReply { unchanged });
    assert_eq!((note(true), note(false)), ("ak/sk not changed", ""));
    assert_eq!(LegacyUpdateAkSk::note(&StoreKeysReply { unchanged: true }), "ak/sk not changed");
    assert!(world.run::<AlterObjInfo>(keys("1", "ak2", SECRET)).is_ok_and(|rows| rows == 1));
    let stored = shown(&world).obj_info.remove(0);
    assert_eq!(stored.encryption_info.map(|info| info.key_id()), Some(8), "what changes is sealed under the newest key");
}

#[test]
fn a_role_replaces_keys_and_keys_a_role() {
    let mut world = world_with_store();
    world.run::<AlterObjInfo>(role("1")).expect("changed");
    let stored = shown(&world).obj_info.remove(0);
    assert_eq!((stored.ak, stored.sk, stored.encryption_info), (None, None, None));
    assert_eq!((stored.role_arn.as_deref(), stored.external_id.as_deref()), (Some("role"), Some("ext")));
    assert_eq!(stored.cred_provider_type, Some(CredProviderTypePb::InstanceProfile as i32));
    world.run::<AlterObjInfo>(keys("1", "ak", SECRET)).expect("changed");
    let stored = shown(&world).obj_info.remove(0);
    assert_eq!((stored.ak(), stored.sk()), ("ak", SECRET));
    assert_eq!((stored.role_arn, stored.external_id, stored.cred_provider_type), (None, None, None));

    let cos = ObjectStoreInfoPb {
        provider: Some(Provider::Cos as i32),
        ..store("second")
    };
    world.run::<AddObjInfo>(about(cos)).expect("added");
    let text = "role_arn is only supported for S3 and OSS providers";
    world.refuse::<AlterObjInfo>(role("2"), InvalidArgument, text);
    world.refuse::<LegacyUpdateAkSk>(role("2"), InvalidArgument, text);
}

#[test]
fn ids_that_name_no_store_are_refused() {
    let mut world = world_with_store();
    for id in ["", "0", "2", "-1", "x", "1x", "99999999999999999999"] {
        world.refuse::<AlterObjInfo>(keys(id, "a", "s"), InvalidArgument, "id invalid, please check it");
    }
    let mut unnamed = keys("", "a", "s");
    unnamed.request.obj.as_mut().expect("given").id = None;
    world.refuse::<LegacyUpdateAkSk>(unnamed, InvalidArgument, "id invalid, please check it");
}

#[test]
fn empty_keys_are_not_keys_and_no_secret_is_quoted() {
    let mut world = world_with_store();
    let quoted = r#"{"cloud_unique_id":"1:i:n","obj":{"id":"1","ak":"","sk":"(hidden)"},"op":"LEGACY_UPDATE_AK_SK"}"#;
    let text = format!("s3 obj info err {quoted}");
    world.refuse::<LegacyUpdateAkSk>(keys("1", "", SECRET), InvalidArgument, &text);
}

#[test]
fn a_store_that_was_added_beside_a_vault_can_be_altered() {
    let mut world = World::new();
    let request = CreateInstanceRequest {
        instance_id: text("i"),
        obj_info: Some(store("first")),
        vault: Some(s3_vault("ignored")),
        ..Default::default()
    };
    world
        .run::<CreateInstance>(CreateInstanceCall {
            request,
            ..Default::default()
        })
        .expect("created");
    world.run::<AddObjInfo>(about(store("second"))).expect("added");
    world.run::<AlterObjInfo>(keys("3", "new", SECRET)).expect("ids count vaults too");
    assert_eq!(shown(&world).obj_info[1].ak(), "new");
    world.refuse::<AlterObjInfo>(keys("2", "new", SECRET), InvalidArgument, "id invalid, please check it");
}
