//! What add_obj_info accepts, refuses and writes, and what the whole family refuses.

use super::*;
use crate::commands::{AddHdfsVault, AddS3Vault, AlterObjInfo, AlterS3Vault, DropHdfsVault, LegacyUpdateAkSk, Numbered};
use crate::limits;
use crate::resource_fixture::{Rotated, START_SECONDS, World};
use crate::storage_fixture::*;
use prost::Message;
use quorate_model::ErrorCode::{InvalidArgument, LimitReached};
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{AlterObjStoreInfoRequest, CredProviderTypePb, ObjectStoreInfoPb, StorageVaultPb};

#[test]
fn a_store_is_appended_with_the_next_id_and_its_secret_rests_sealed() {
    let mut world = world_with_store();
    world.now_seconds += 5;
    let command: AddObjInfo = world.prepare(about(store("second"))).expect("accepted");
    assert!(!holds_secret(&command.encode_to_vec()) && !format!("{command:?}").contains(SECRET));
    world.run::<AddObjInfo>(about(store("second"))).expect("added");
    let stores = shown(&world).obj_info;
    let added = &stores[1];
    assert_eq!((added.id(), added.bucket(), added.prefix()), ("2", "second", "a/b"));
    assert_eq!((added.ak(), added.sk(), added.external_endpoint()), ("ak", SECRET, "external"));
    assert_eq!((added.ctime(), added.mtime()), (START_SECONDS + 5, START_SECONDS + 5));
    assert_eq!(added.encryption_info.as_ref().map(|info| info.key_id()), Some(7));
    assert_eq!(added.sse_enabled, Some(false), "as its instance");
    assert_eq!(stores[0].ctime(), START_SECONDS, "the first one is as it was");
    assert_rows_are_sealed(&world);
}

#[test]
fn an_external_endpoint_is_optional_and_a_role_replaces_keys() {
    let mut world = world_with_store();
    let by_role = ObjectStoreInfoPb {
        ak: None,
        sk: None,
        external_endpoint: None,
        role_arn: text("role"),
        external_id: text("ext"),
        ..store("second")
    };
    world.run::<AddObjInfo>(about(by_role.clone())).expect("added");
    let added = shown(&world).obj_info.remove(1);
    assert_eq!((added.external_endpoint.as_deref(), added.ak.as_deref(), added.sk.as_deref()), (Some(""), None, None));
    assert_eq!((added.role_arn(), added.external_id()), ("role", "ext"));
    assert_eq!(added.cred_provider_type, Some(CredProviderTypePb::InstanceProfile as i32));
    let other_role = ObjectStoreInfoPb {
        role_arn: text("other"),
        ..by_role.clone()
    };
    world.run::<AddObjInfo>(about(other_role)).expect("another role is another store");
    let same = "original obj infos has a same conf, please check it";
    world.refuse::<AddObjInfo>(about(by_role), InvalidArgument, same);
}

#[test]
fn a_body_without_a_whole_store_is_quoted_without_its_secret() {
    let mut world = world_with_store();
    let no_store = || about_vault(StorageVaultPb::default());
    let quoted = r#"{"cloud_unique_id":"1:i:n","op":"ADD_OBJ_INFO","vault":{}}"#;
    world.refuse::<AddObjInfo>(no_store(), InvalidArgument, &format!("s3 obj info err {quoted}"));
    let no_ak = || ObjectStoreInfoPb {
        sk: text(SECRET),
        ..Default::default()
    };
    let quoted = r#"{"cloud_unique_id":"1:i:n","obj":{"sk":"(hidden)"},"op":"ADD_OBJ_INFO"}"#;
    world.refuse::<AddObjInfo>(about(no_ak()), InvalidArgument, &format!("s3 obj info err {quoted}"));
    let both = ObjectStoreInfoPb {
        role_arn: text("role"),
        ..store("second")
    };
    let text = "invaild argument, both set ak/sk and role_arn is not allowed";
    world.refuse::<AddObjInfo>(about(both), InvalidArgument, text);
}

#[test]
fn a_store_of_1024_bytes_passes_and_one_of_1025_does_not() {
    let sized = |bytes: usize| {
        let mut store = store("second");
        let rest = ObjectStoreInfoPb { prefix: text(""), ..store.clone() }.encoded_len() + 1;
        store.prefix = Some("p".repeat(bytes - rest));
        assert_eq!(store.encoded_len(), bytes);
        store
    };
    let mut world = world_with_store();
    let error = world.run::<AddObjInfo>(about(sized(1_025))).expect_err("too large");
    assert!(error.message.starts_with("s3 obj info greater than 1k {\"cloud_unique_id\""), "{error}");
    assert!(!error.message.contains(SECRET));
    world.run::<AddObjInfo>(about(sized(1_024))).expect("added");
}

#[test]
fn faults_are_reported_in_the_order_of_the_contract() {
    let mut world = world_with_store();
    let refuse = |world: &mut World, change: fn(&mut ObjectStoreInfoPb), code, text: &str| {
        let mut faulty = store("first");
        change(&mut faulty);
        world.refuse::<AddObjInfo>(about(faulty), code, text);
    };
    let nothing: fn(&mut ObjectStoreInfoPb) = |store| {
        *store = ObjectStoreInfoPb {
            ak: text(""),
            sk: text(""),
            ..Default::default()
        };
    };
    refuse(&mut world, nothing, InvalidArgument, "s3 conf lease provider info");
    refuse(&mut world, |store| store.provider = Some(77), InvalidArgument, "s3 conf lease provider info");
    let clear: [fn(&mut ObjectStoreInfoPb); 6] = [
        |store| store.ak = text(""),
        |store| store.sk = text(""),
        |store| store.bucket = None,
        |store| store.endpoint = None,
        |store| store.region = text(""),
        |store| store.prefix = text(" // "),
    ];
    for change in clear {
        refuse(&mut world, change, InvalidArgument, "s3 conf info err, please check it");
    }
    refuse(&mut world, |_| {}, InvalidArgument, "original obj infos has a same conf, please check it");

    for number in 2..=limits::MAX_OBJECT_STORES {
        world.run::<AddObjInfo>(about(store(&number.to_string()))).expect("there is room");
    }
    let full = "this instance history has greater than 10 objs, please new another instance";
    refuse(&mut world, |store| store.bucket = None, LimitReached, full);
    refuse(&mut world, nothing, InvalidArgument, "s3 conf lease provider info");
    world.change_instance("i", |info| info.enable_storage_vault = Some(true));
    refuse(&mut world, nothing, InvalidArgument, "Storage vault doesn't support add obj info");
}

#[test]
fn a_store_whose_address_is_none_is_refused_by_field() {
    let mut world = world_with_store();
    let blank = ObjectStoreInfoPb {
        endpoint: text("s3.example.org "),
        ..store("second")
    };
    let words = "obj_info endpoint has a blank, a control character or a letter that is not ASCII; give a host or a URL";
    world.refuse::<AddObjInfo>(about(blank), InvalidArgument, words);
    let words = "obj_info bucket has a blank or a control character; give the bucket's name";
    world.refuse::<AddObjInfo>(about(store("my bucket")), InvalidArgument, words);
    // What is not stored does not matter.
    let keys = ObjectStoreInfoPb {
        id: text("1"),
        ak: text("other"),
        ..store("my bucket")
    };
    world.run::<AlterObjInfo>(about(keys)).expect("new keys for the first store");
}

#[test]
fn the_same_store_is_recognised_after_the_root_key_was_rotated() {
    let mut world = world_with_store();
    world.secrets = &Rotated;
    let same = "original obj infos has a same conf, please check it";
    world.refuse::<AddObjInfo>(about(store("first")), InvalidArgument, same);
    let differ: [fn(&mut ObjectStoreInfoPb); 8] = [
        |store| store.ak = text("other"),
        |store| store.sk = text("other"),
        |store| store.bucket = text("other"),
        |store| store.prefix = text("other"),
        |store| store.endpoint = text("other"),
        |store| store.region = text("other"),
        |store| store.external_endpoint = None,
        |store| store.provider = Some(Provider::Oss as i32),
    ];
    for change in differ {
        let mut other = store("first");
        change(&mut other);
        world.run::<AddObjInfo>(about(other)).expect("another store");
    }
    let shown = shown(&world).obj_info;
    assert_eq!((shown[0].sk(), shown[1].sk()), (SECRET, SECRET), "both keys' ciphertexts are read");
}

/// A body that each command accepts, so that only its caller is wrong.
fn refuse_callers<C: Prepare<Request = StorageCall> + Numbered>(body: StorageCall) {
    let mut world = world_with_store();
    add_dropped_instance(&mut world);
    for (cloud_unique_id, code, text) in wrong_callers() {
        let request = AlterObjStoreInfoRequest {
            cloud_unique_id: Some(cloud_unique_id.to_owned()),
            ..body.request.clone()
        };
        let call = StorageCall { request, ..body.clone() };
        world.refuse::<C>(call, code, text);
    }
    let request = AlterObjStoreInfoRequest {
        cloud_unique_id: Some("x".repeat(1_025)),
        ..body.request.clone()
    };
    let text = "cloud_unique_id is 1025 bytes, limit 1024 bytes; shorten it";
    world.refuse::<C>(StorageCall { request, ..body }, InvalidArgument, text);
}

#[test]
fn a_wrong_caller_is_refused_alike_by_the_whole_family() {
    refuse_callers::<AddObjInfo>(about(store("second")));
    refuse_callers::<LegacyUpdateAkSk>(about(store("first")));
    refuse_callers::<AlterObjInfo>(about(store("first")));
    refuse_callers::<AddS3Vault>(about_vault(s3_vault("v")));
    let altered = StorageVaultPb {
        name: text("v"),
        obj_info: Some(Default::default()),
        ..Default::default()
    };
    refuse_callers::<AlterS3Vault>(about_vault(altered));
    refuse_callers::<AddHdfsVault>(about_vault(s3_vault("v")));
    refuse_callers::<DropHdfsVault>(about_vault(s3_vault("v")));
}
