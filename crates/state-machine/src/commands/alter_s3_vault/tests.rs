//! What alter_s3_vault changes, and that a change is whole or none.

use super::*;
use crate::commands::{AddHdfsVault, AddS3Vault};
use crate::object_stores::Secrets;
use crate::resource_fixture::{START_SECONDS, World};
use crate::storage_fixture::*;
use quorate_model::ErrorCode::{AlreadyExists, InvalidArgument};
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{CredProviderTypePb, HdfsBuildConf, HdfsVaultInfo, StorageVaultPb};

/// Instance `i` with S3 vaults `v` (the default) and `w`, and HDFS vault `h`.
fn world_with_vaults() -> World {
    let mut world = World::with_instance();
    let mut call = about_vault(s3_vault("v"));
    call.request.set_as_default_storage_vault = Some(true);
    world.run::<AddS3Vault>(call).expect("added");
    world.run::<AddS3Vault>(about_vault(s3_vault("w"))).expect("added");
    let hdfs = HdfsVaultInfo {
        build_conf: Some(HdfsBuildConf {
            fs_name: text("hdfs://a:8020"),
            ..Default::default()
        }),
        prefix: text("p"),
    };
    let vault = StorageVaultPb {
        name: text("h"),
        hdfs_info: Some(hdfs),
        ..Default::default()
    };
    world.run::<AddHdfsVault>(about_vault(vault)).expect("added");
    world.now_seconds += 4;
    world
}

fn alter(name: &str, alter_name: Option<&str>, change: fn(&mut ObjectStoreInfoPb)) -> StorageCall {
    let mut obj_info = ObjectStoreInfoPb::default();
    change(&mut obj_info);
    about_vault(StorageVaultPb {
        name: text(name),
        alter_name: alter_name.map(str::to_owned),
        obj_info: Some(obj_info),
        ..Default::default()
    })
}

fn keys(store: &mut ObjectStoreInfoPb) {
    (store.ak, store.sk) = (text("new-ak"), text("new-secret"));
}

fn stored(world: &World, position: usize) -> (StorageVaultPb, ObjectStoreInfoPb) {
    let vault = shown(world).storage_vault.remove(position);
    let store = vault.obj_info.clone().expect("S3");
    (vault, store)
}

#[test]
fn keys_and_addressing_change_and_the_place_stays() {
    let mut world = world_with_vaults();
    assert_eq!(world.run::<AlterS3Vault>(alter("v", None, keys)), Ok(1), "only the vault's row");
    let (_, store) = stored(&world, 0);
    assert_eq!((store.ak(), store.sk(), store.bucket(), store.use_path_style), ("new-ak", "new-secret", "v", None));
    assert_eq!((store.ctime(), store.mtime()), (START_SECONDS, START_SECONDS + 4));
    world
        .run::<AlterS3Vault>(alter("v", None, |store| store.use_path_style = Some(true)))
        .expect("changed");
    let (_, store) = stored(&world, 0);
    assert_eq!((store.sk(), store.use_path_style), ("new-secret", Some(true)));
    assert_eq!(stored(&world, 1).1.sk(), SECRET, "the other vault is as it was");
    let sealed = shown_with(&world, Secrets::Sealed).storage_vault.remove(0);
    assert_ne!(sealed.obj_info.expect("S3").sk(), "new-secret");
}

#[test]
fn a_role_replaces_keys_and_keys_a_role() {
    let mut world = world_with_vaults();
    world
        .run::<AlterS3Vault>(alter("w", None, |store| {
            (store.role_arn, store.external_id) = (text("role"), text("ext"));
        }))
        .expect("changed");
    let (_, store) = stored(&world, 1);
    assert_eq!((store.ak, store.sk, store.encryption_info), (None, None, None));
    assert_eq!((store.role_arn.as_deref(), store.external_id.as_deref()), (Some("role"), Some("ext")));
    assert_eq!(store.cred_provider_type, Some(CredProviderTypePb::InstanceProfile as i32));
    world.run::<AlterS3Vault>(alter("w", None, keys)).expect("changed");
    let (_, store) = stored(&world, 1);
    assert_eq!((store.sk.as_deref(), store.role_arn, store.cred_provider_type), (Some("new-secret"), None, None));
}

#[test]
fn a_new_name_is_known_everywhere_and_the_old_one_nowhere() {
    let mut world = world_with_vaults();
    world.run::<AlterS3Vault>(alter("v", Some("renamed"), |_| {})).expect("renamed");
    assert_eq!(stored(&world, 0).0.name(), "renamed");
    let response = shown(&world);
    assert_eq!((response.default_storage_vault_id(), response.default_storage_vault_name()), ("1", "renamed"));
    assert_eq!(world.instance("i").storage_vault_names, ["renamed", "w", "h"]);
    world.refuse::<AlterS3Vault>(
        alter("v", None, |_| {}),
        InvalidArgument,
        "invalid storage vault name, not found, name =v",
    );
    world.run::<AlterS3Vault>(alter("w", Some("v"), |_| {})).expect("the name is free now");
    assert_eq!(shown(&world).default_storage_vault_name(), "renamed", "of another vault");
}

#[test]
fn each_fault_has_its_words_and_changes_nothing_of_a_half_done_change() {
    let mut world = world_with_vaults();
    let no_store = about_vault(StorageVaultPb {
        name: text("v"),
        ..Default::default()
    });
    world.refuse::<AlterS3Vault>(no_store, InvalidArgument, "There is no s3 vault provided");
    let place: [fn(&mut ObjectStoreInfoPb); 4] = [
        |store| store.bucket = text("b"),
        |store| store.endpoint = text("e"),
        |store| store.prefix = text(""),
        |store| store.provider = Some(Provider::S3 as i32),
    ];
    for change in place {
        let words = "Bucket, endpoint, prefix and provider can not be altered";
        world.refuse::<AlterS3Vault>(alter("nobody", None, change), InvalidArgument, words);
    }
    let words = "invalid storage vault name, not found, name =x";
    world.refuse::<AlterS3Vault>(alter("x", Some("1"), |_| {}), InvalidArgument, words);
    world.refuse::<AlterS3Vault>(alter("h", Some("1"), |_| {}), InvalidArgument, "h is not s3 storage vault");
    let words = "invalid storage vault name =1a the name must satisfy ^[a-zA-Z][0-9a-zA-Z_]*$";
    world.refuse::<AlterS3Vault>(alter("v", Some("1a"), keys), InvalidArgument, words);
    for taken in ["w", "v"] {
        let words = format!("vault_name={taken} already existed");
        world.refuse::<AlterS3Vault>(alter("v", Some(taken), keys), AlreadyExists, &words);
    }
    // A rename that comes with bad keys must not be done.
    let faults: [(Change, &str); 5] = [
        (|store| store.ak = text("a"), "Accesskey and secretkey must be alter together"),
        (|store| store.sk = text("s"), "Accesskey and secretkey must be alter together"),
        (|store| (store.ak, store.sk) = (text(""), text("")), "Accesskey and secretkey must be alter together"),
        (
            |store| (store.ak, store.role_arn) = (text("a"), text("r")),
            "invaild argument, both set ak/sk and role_arn is not allowed",
        ),
        (|store| store.role_arn = text(""), "object storage conf info err with role_arn, please check it"),
    ];
    for (change, words) in faults {
        world.refuse::<AlterS3Vault>(alter("v", Some("renamed"), change), InvalidArgument, words);
    }
    assert_eq!(world.instance("i").storage_vault_names, ["v", "w", "h"]);
}
