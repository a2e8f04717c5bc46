//! What add_s3_vault accepts, refuses and writes.

use super::*;
use crate::keys::RecordTable;
use crate::limits;
use crate::object_stores::Secrets;
use crate::resource_fixture::{START_SECONDS, World};
use crate::storage_fixture::*;
use prost::Message;
use quorate_model::ErrorCode::{AlreadyExists, InvalidArgument, LimitReached, TooLarge};
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{AlterObjStoreInfoRequest, ObjectStoreInfoPb};

fn as_default(name: &str) -> StorageCall {
    let mut call = about_vault(s3_vault(name));
    call.request.set_as_default_storage_vault = Some(true);
    call
}

#[test]
fn a_vault_gets_a_row_an_id_and_a_name_and_its_secret_rests_sealed() {
    let mut world = World::with_instance();
    let vault = StorageVaultPb {
        path_format: Some(PathFormat {
            path_version: Some(1),
            shard_num: Some(2),
        }),
        id: text("77"),
        ..s3_vault("v")
    };
    let command: AddS3Vault = world.prepare(about_vault(vault.clone())).expect("accepted");
    assert!(!holds_secret(&command.encode_to_vec()));
    assert_eq!(world.run::<AddS3Vault>(about_vault(vault)), Ok(2), "the vault's row and the instance's");
    let response = shown(&world);
    let stored = &response.storage_vault[0];
    assert_eq!((stored.id(), stored.name(), stored.alter_name.as_deref()), ("1", "v", None));
    assert_eq!(stored.path_format.as_ref().map(|format| (format.path_version(), format.shard_num())), Some((1, 2)));
    let place = stored.obj_info.as_ref().expect("S3");
    assert_eq!((place.id(), place.sk(), place.prefix(), place.ctime()), ("1", SECRET, "a/b", START_SECONDS));
    assert_eq!((response.default_storage_vault_id, response.enable_storage_vault), (None, Some(true)));
    assert!(response.obj_info.is_empty());
    assert_rows_are_sealed(&world);
    let sealed = shown_with(&world, Secrets::Sealed).storage_vault.remove(0);
    assert_ne!(sealed.obj_info.expect("S3").sk(), SECRET);
}

#[test]
fn a_store_beside_the_vault_is_as_good_as_one_within_and_needs_no_prefix() {
    let mut world = World::with_instance();
    let mut call = about(ObjectStoreInfoPb {
        prefix: None,
        ..store("b")
    });
    call.request.vault = Some(StorageVaultPb {
        name: text("v"),
        ..Default::default()
    });
    world.run::<AddS3Vault>(call).expect("added");
    let stored = shown(&world).storage_vault.remove(0).obj_info.expect("S3");
    assert_eq!((stored.bucket(), stored.prefix.as_deref()), ("b", Some("")));
}

#[test]
fn the_default_is_set_when_asked_for_and_replaced_when_there_was_one() {
    let mut world = World::with_instance();
    let reply = |world: &mut World, call: StorageCall| world.reply::<AddS3Vault>(call).expect("added");
    assert!(!reply(&mut world, about_vault(s3_vault("a"))).default_replaced);
    let second = reply(&mut world, as_default("b"));
    assert_eq!((second.vault_id.as_str(), second.default_replaced), ("2", false));
    let third = reply(&mut world, as_default("c"));
    assert_eq!((third.vault_id.as_str(), third.default_replaced), ("3", true));
    let response = shown(&world);
    assert_eq!((response.default_storage_vault_id(), response.default_storage_vault_name()), ("3", "c"));
    let names: Vec<&str> = response.storage_vault.iter().map(StorageVaultPb::name).collect();
    assert_eq!(names, ["a", "b", "c"]);
}

#[test]
fn faults_of_the_body_are_told_before_those_of_the_instance() {
    let mut world = World::with_instance();
    let of = |change: fn(&mut ObjectStoreInfoPb)| {
        let mut vault = s3_vault("v");
        change(vault.obj_info.get_or_insert_default());
        about_vault(vault)
    };
    let empty = || StorageCall {
        request: AlterObjStoreInfoRequest::default(),
        ..Default::default()
    };
    world.refuse::<AddS3Vault>(empty(), InvalidArgument, r#"s3 obj info err {"op":"ADD_S3_VAULT"}"#);
    let error = world.run::<AddS3Vault>(of(|store| store.sk = None)).expect_err("refused");
    assert!(error.message.starts_with("s3 obj info err {"), "{error}");
    let text = "invaild argument, both set ak/sk and role_arn is not allowed";
    world.refuse::<AddS3Vault>(of(|store| store.role_arn = Some("r".to_owned())), InvalidArgument, text);
    let mut unnamed = about_vault(s3_vault(""));
    world.refuse::<AddS3Vault>(unnamed.clone(), InvalidArgument, "storage vault name not set");
    unnamed.request.vault.as_mut().expect("given").name = Some("n".repeat(1_025));
    unnamed.request.vault.as_mut().expect("given").obj_info = Some(store("b"));
    world.refuse::<AddS3Vault>(unnamed, InvalidArgument, "vault name is 1025 bytes, limit 1024 bytes; shorten it");

    let faults: [(Change, &str); 6] = [
        (
            |store| store.endpoint = Some("s3.example.org\n".to_owned()),
            "obj_info endpoint has a blank, a control character or a letter that is not ASCII; give a host or a URL",
        ),
        (
            |store| store.bucket = Some("my bucket".to_owned()),
            "obj_info bucket has a blank or a control character; give the bucket's name",
        ),
        (|store| store.provider = None, "s3 conf lease provider info"),
        (|store| store.bucket = None, "s3 conf info err, please check it"),
        (|store| store.sk = Some(String::new()), "s3 conf info err, please check it"),
        (
            |store| {
                (store.ak, store.sk) = (None, None);
                store.role_arn = Some("role".to_owned());
                store.provider = Some(Provider::Cos as i32);
            },
            "object storage conf info err with role_arn, please check it",
        ),
    ];
    for (change, text) in faults {
        world.refuse::<AddS3Vault>(of(change), InvalidArgument, text);
    }
    let mut without_vaults = world_with_store();
    let text = "Storage vault doesn't support storage vault";
    without_vaults.refuse::<AddS3Vault>(of(|store| store.provider = None), InvalidArgument, text);
}

#[test]
fn names_are_taken_once_and_vaults_are_bounded() {
    let mut world = World::with_instance();
    world.run::<AddS3Vault>(about_vault(s3_vault("v"))).expect("added");
    world.refuse::<AddS3Vault>(about_vault(s3_vault("v")), AlreadyExists, "vault_name=v already created");
    world.run::<AddS3Vault>(about_vault(s3_vault("V"))).expect("another name");
    for number in 2..limits::MAX_VAULTS {
        world.run::<AddS3Vault>(about_vault(s3_vault(&number.to_string()))).expect("there is room");
    }
    let text = "instance i has 256 vaults, limit 256; drop unused ones";
    world.refuse::<AddS3Vault>(about_vault(s3_vault("more")), TooLarge, text);
    assert_eq!((world.rows_of(RecordTable::Vault), shown(&world).storage_vault.len()), (256, 256));
}

#[test]
fn object_stores_outside_of_vaults_stand_in_the_way_of_another_one() {
    let mut world = world_with_store();
    world.change_instance("i", |info| info.enable_storage_vault = Some(true));
    let same = "original obj infos has a same conf, please check it";
    world.refuse::<AddS3Vault>(about_vault(s3_vault("first")), InvalidArgument, same);
    world.change_instance("i", |info| info.obj_info = vec![info.obj_info[0].clone(); limits::MAX_OBJECT_STORES]);
    let full = "this instance history has greater than 10 objs, please new another instance";
    world.refuse::<AddS3Vault>(about_vault(s3_vault("more")), LimitReached, full);
}
