//! Keys of a dropped instance's stores: whoever still reads them, and the deleter, opens them with what its record says.

use super::*;
use crate::catalog_fixture::{add_segments, call, collect_all, collect_later, collect_records, create_collection, pin, records};
use crate::keys::RecordTable;
use crate::storage_fixture::user;
use crate::storage_request::StorageCall;
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{AlterObjStoreInfoRequest, AlterRamUserRequest, RamUserPb, UpdateAkSkRequest};

fn dropped() -> MetaError {
    MetaError::not_found("instance status has been set delete, plz check it")
}

fn drop_instance(bench: &mut Bench, instance_id: &str) {
    let drop = DropInstance {
        instance_id: instance_id.into(),
    };
    bench.run(&drop).expect("dropped");
}

fn about(instance_id: &str, obj: Option<ObjectStoreInfoPb>, vault: Option<StorageVaultPb>) -> StorageCall {
    StorageCall {
        request: AlterObjStoreInfoRequest {
            cloud_unique_id: Some(format!("1:{instance_id}:n")),
            obj,
            vault,
            ..AlterObjStoreInfoRequest::default()
        },
        ..StorageCall::default()
    }
}

fn keys(ak: &str) -> ObjectStoreInfoPb {
    ObjectStoreInfoPb {
        id: Some("1".into()),
        ak: Some(ak.into()),
        sk: Some("new".into()),
        ..ObjectStoreInfoPb::default()
    }
}

fn role() -> ObjectStoreInfoPb {
    ObjectStoreInfoPb {
        id: Some("1".into()),
        role_arn: Some("role".into()),
        ..ObjectStoreInfoPb::default()
    }
}

/// New keys for vault `v` of `d`, and what else is to change of it.
fn altered(change: impl FnOnce(&mut StorageVaultPb)) -> StorageCall {
    let mut vault = StorageVaultPb {
        name: Some("v".into()),
        obj_info: Some(keys("new")),
        ..StorageVaultPb::default()
    };
    change(&mut vault);
    about("d", None, Some(vault))
}

#[test]
fn keys_of_a_dropped_source_change_while_its_clone_reads_its_store_and_nothing_else_of_it_does() {
    let mut bench = bench();
    create_collection(&mut bench, "a", "c", &["p"]).expect("created");
    add_segments(&mut bench, "a", "c", "p", 1).expect("added");
    let snapshot_id = snapshot_of(&mut bench, "a");
    clone(&mut bench, request("a", &snapshot_id, "b", CloneType::ReadOnly)).expect("cloned");
    drop_instance(&mut bench, "a");

    let stored = |bench: &Bench| info(bench, "a").info.obj_info.remove(0);
    call::<AlterObjInfo>(&mut bench, about("a", Some(keys("second")), None)).expect("changed");
    assert_eq!((stored(&bench).ak(), stored(&bench).sk()), ("second", "new"));
    collect_later(&mut bench);
    call::<LegacyUpdateAkSk>(&mut bench, about("a", Some(keys("third")), None)).expect("changed days later");
    assert_eq!(stored(&bench).ak(), "third");
    let of_account = |ram_user: Option<RamUserPb>| UpdateAkSkRequest {
        instance_id: Some("a".into()),
        internal_bucket_user: vec![user("u", "fourth", "s")],
        ram_user,
        ..UpdateAkSkRequest::default()
    };
    call::<UpdateAkSk>(&mut bench, of_account(None)).expect("changed");
    assert_eq!(stored(&bench).ak(), "fourth");
    let mut given_role = role();
    given_role.external_id = Some("ext".into());
    call::<AlterObjInfo>(&mut bench, about("a", Some(given_role), None)).expect("changed");
    assert_eq!((stored(&bench).ak, stored(&bench).role_arn()), (None, "role"));
    assert!(info(&bench, "a").is_dropped());

    let account = AlterRamUserRequest {
        instance_id: Some("a".into()),
        ram_user: Some(user("u", "fifth", "s")),
        ..AlterRamUserRequest::default()
    };
    let refusals = [
        call::<AddObjInfo>(&mut bench, about("a", Some(store("more")), None)).expect_err("another store"),
        call::<UpdateAkSk>(&mut bench, of_account(Some(user("u", "fifth", "s")))).expect_err("the instance's own account"),
        call::<AlterRamUser>(&mut bench, account).expect_err("the instance's own account"),
    ];
    assert_eq!(refusals, [dropped(), dropped(), dropped()]);
    assert_eq!(stored(&bench).role_arn(), "role");
}

#[test]
fn keys_of_a_dropped_instance_change_while_a_pin_keeps_it_and_while_its_files_are_deleted() {
    let mut bench = Bench::new();
    let request = CreateInstanceRequest {
        instance_id: Some("d".into()),
        ..CreateInstanceRequest::default()
    };
    let created = CreateInstanceCall {
        request,
        ..CreateInstanceCall::default()
    };
    call::<CreateInstance>(&mut bench, created).expect("created");
    let vault = StorageVaultPb {
        name: Some("v".into()),
        obj_info: Some(store("bucket")),
        ..StorageVaultPb::default()
    };
    call::<AddS3Vault>(&mut bench, about("d", None, Some(vault))).expect("added");
    let scope = info(&bench, "d").scope;
    let pinned = pin(&mut bench, scope.0);
    drop_instance(&mut bench, "d");

    let stored = |bench: &Bench| {
        let vault = vaults::read(&bench.store, &info(bench, "d"), 0).expect("reads");
        vault.obj_info.expect("an object store")
    };
    let rotate = |bench: &mut Bench| call::<AlterS3Vault>(bench, altered(|_| {}));
    rotate(&mut bench).expect("it is read");
    assert_eq!((stored(&bench).ak(), stored(&bench).provider()), ("new", Provider::S3));
    call::<AlterS3Vault>(&mut bench, altered(|vault| vault.obj_info = Some(role()))).expect("a role opens it too");
    assert_eq!(stored(&bench).role_arn(), "role");
    let more: [fn(&mut StorageVaultPb); 3] = [
        |vault| vault.alter_name = Some("w".into()),
        |vault| vault.obj_info.get_or_insert_default().use_path_style = Some(true),
        |vault| vault.obj_info = Some(ObjectStoreInfoPb::default()),
    ];
    for change in more {
        let refused = call::<AlterS3Vault>(&mut bench, altered(change));
        assert_eq!(refused.expect_err("more, or less, than keys"), dropped());
    }

    bench.run(&pinned).expect("released");
    assert_eq!(rotate(&mut bench).expect_err("nobody opens it"), dropped());
    bench.now_ms += limits::HISTORY_WINDOW_MS;
    bench.run(&CollectVersions { max_keys: 0 }).expect("collects");
    assert_eq!(records(&bench, RecordTable::Dropped), 1);
    rotate(&mut bench).expect("what it had is being collected");
    collect_all(&mut bench);
    assert_eq!(records(&bench, RecordTable::Dropped), 0);
    rotate(&mut bench).expect("its files are being deleted");
    assert_eq!(collect_records(&mut bench), 1);
    let gone = MetaError::new(ErrorCode::KeyMissing, "failed to get instance, instance_id=d err=KeyNotFound");
    assert_eq!(rotate(&mut bench).expect_err("gone"), gone);
}
