//! What alter_hdfs_vault changes and refuses.

use super::*;
use crate::commands::{AddHdfsVault, AddS3Vault};
use crate::resource_fixture::World;
use crate::storage_fixture::*;
use quorate_model::ErrorCode::{AlreadyExists, InvalidArgument, TooLarge};
use quorate_wire::doris::hdfs_build_conf::HdfsConfKvPair;
use quorate_wire::doris::{HdfsVaultInfo, StorageVaultPb};

fn pair(key: &str, value: &str) -> HdfsConfKvPair {
    HdfsConfKvPair {
        key: key.to_owned(),
        value: value.to_owned(),
    }
}

fn vault(name: &str, prefix: Option<&str>, build_conf: HdfsBuildConf) -> StorageVaultPb {
    StorageVaultPb {
        name: text(name),
        hdfs_info: Some(HdfsVaultInfo {
            build_conf: Some(build_conf),
            prefix: prefix.map(str::to_owned),
        }),
        ..Default::default()
    }
}

/// Instance `i` with HDFS vault `h` and S3 vault `s`.
fn world_with_vaults() -> World {
    let mut world = World::with_instance();
    let conf = HdfsBuildConf {
        fs_name: text("hdfs://a"),
        user: text("old"),
        hdfs_confs: vec![pair("k", "old")],
        ..Default::default()
    };
    world.run::<AddHdfsVault>(about_vault(vault("h", Some("p"), conf))).expect("added");
    world.run::<AddS3Vault>(about_vault(s3_vault("s"))).expect("added");
    world
}

fn stored(world: &World) -> (StorageVaultPb, HdfsBuildConf) {
    let vault = shown(world).storage_vault.remove(0);
    let conf = vault.hdfs_info.clone().and_then(|hdfs| hdfs.build_conf).expect("HDFS");
    (vault, conf)
}

#[test]
fn access_changes_the_rest_and_the_place_stay() {
    let mut world = world_with_vaults();
    let change = HdfsBuildConf {
        hdfs_kerberos_principal: text("principal"),
        hdfs_confs: vec![pair("k", "new"), pair("l", "1")],
        ..Default::default()
    };
    assert_eq!(world.run::<AlterHdfsVault>(about_vault(vault("h", None, change))), Ok(1));
    let (_, conf) = stored(&world);
    assert_eq!((conf.fs_name(), conf.user(), conf.hdfs_kerberos_principal()), ("hdfs://a", "old", "principal"));
    assert_eq!(conf.hdfs_confs, [pair("k", "new"), pair("l", "1")]);
    let renamed = StorageVaultPb {
        alter_name: text("renamed"),
        ..vault("h", None, HdfsBuildConf::default())
    };
    world.run::<AlterHdfsVault>(about_vault(renamed)).expect("renamed");
    assert_eq!(stored(&world).0.name(), "renamed");
    assert_eq!(world.instance("i").storage_vault_names, ["renamed", "s"]);
}

#[test]
fn each_fault_has_its_words() {
    let mut world = world_with_vaults();
    let conf = HdfsBuildConf::default;
    let mut refuse = |vault: StorageVaultPb, code, words: &str| world.refuse::<AlterHdfsVault>(about_vault(vault), code, words);
    refuse(s3_vault("s"), InvalidArgument, "There is no hdfs vault provided");
    let place = "You can not alter prefix or fs name because it might lose previoud written data";
    refuse(vault("h", Some(""), conf()), InvalidArgument, place);
    let fs_name = HdfsBuildConf {
        fs_name: text("hdfs://b"),
        ..conf()
    };
    refuse(vault("h", None, fs_name), InvalidArgument, place);
    refuse(vault("x", None, conf()), InvalidArgument, "invalid storage vault name, not found, name =x");
    refuse(vault("s", None, conf()), InvalidArgument, "s is not hdfs storage vault");
    let taken = StorageVaultPb {
        alter_name: text("s"),
        ..vault("h", None, conf())
    };
    refuse(taken, AlreadyExists, "vault_name=s already existed");
}

#[test]
fn settings_do_not_grow_without_bound() {
    let mut world = world_with_vaults();
    let many = |first: usize| HdfsBuildConf {
        hdfs_confs: (first..first + 60).map(|key| pair(&format!("{key:040}"), &"v".repeat(120))).collect(),
        ..Default::default()
    };
    world.run::<AlterHdfsVault>(about_vault(vault("h", None, many(0)))).expect("there is room");
    let error = world.run::<AlterHdfsVault>(about_vault(vault("h", None, many(60)))).expect_err("too many");
    assert_eq!(error.code, TooLarge);
    assert!(error.message.starts_with("vault h would be ") && error.message.contains("limit 16384 bytes"), "{error}");
    world.run::<AlterHdfsVault>(about_vault(vault("h", None, many(0)))).expect("the same again needs no room");
}
