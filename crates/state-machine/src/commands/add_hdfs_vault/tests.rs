//! What add_hdfs_vault accepts, refuses and writes.

use super::*;
use crate::commands::DropHdfsVault;
use crate::resource_fixture::World;
use crate::storage_fixture::*;
use quorate_model::ErrorCode::{AlreadyExists, InvalidArgument};
use quorate_wire::doris::hdfs_build_conf::HdfsConfKvPair;
use quorate_wire::doris::{HdfsBuildConf, HdfsVaultInfo};

fn hdfs(name: &str, fs_name: &str, prefix: &str) -> StorageVaultPb {
    StorageVaultPb {
        name: text(name),
        hdfs_info: Some(HdfsVaultInfo {
            build_conf: Some(HdfsBuildConf {
                fs_name: text(fs_name),
                user: text("hadoop"),
                ..Default::default()
            }),
            prefix: text(prefix),
        }),
        ..Default::default()
    }
}

#[test]
fn a_vault_gets_a_directory_of_its_own_and_may_become_the_default() {
    let mut world = World::with_instance();
    let mut call = about_vault(hdfs("h", "hdfs://a:8020/ ", "/p/"));
    call.request.set_as_default_storage_vault = Some(true);
    let reply = world.reply::<AddHdfsVault>(call).expect("added");
    assert_eq!((reply.vault_id.as_str(), reply.default_replaced), ("1", false));
    let response = shown(&world);
    let stored = response.storage_vault[0].hdfs_info.as_ref().expect("HDFS");
    let conf = stored.build_conf.as_ref().expect("kept");
    assert_eq!((conf.fs_name(), conf.user(), stored.prefix()), ("hdfs://a:8020", "hadoop", "p_0123"));
    assert_eq!((response.default_storage_vault_id(), response.default_storage_vault_name()), ("1", "h"));
}

#[test]
fn without_hdfs_settings_it_is_a_vault_in_an_object_store_and_its_secret_rests_sealed() {
    let mut world = World::with_instance();
    world.run::<AddHdfsVault>(about_vault(s3_vault("v"))).expect("added");
    let stored = shown(&world).storage_vault.remove(0).obj_info.expect("S3");
    assert_eq!((stored.id(), stored.sk()), ("1", SECRET));
    assert_rows_are_sealed(&world);
}

#[test]
fn a_refusal_quotes_neither_a_keytab_nor_the_value_of_a_setting() {
    let mut world = World::with_instance();
    let mut nameless = hdfs("", "hdfs://a", "p");
    let conf = nameless.hdfs_info.as_mut().and_then(|hdfs| hdfs.build_conf.as_mut()).expect("built above");
    conf.hdfs_kerberos_keytab = text("the-keytab");
    conf.hdfs_confs.push(HdfsConfKvPair {
        key: "a.password".to_owned(),
        value: "the-value".to_owned(),
    });
    nameless.name = None;
    let error = world.run::<AddHdfsVault>(about_vault(nameless)).expect_err("it has no name");
    assert!(error.message.starts_with("hdfs info is not found") && error.message.contains("a.password"), "{error}");
    assert!(!error.message.contains("the-keytab") && !error.message.contains("the-value"), "{error}");
}

#[test]
fn a_taken_name_is_told_before_what_is_wrong_with_the_vault() {
    let mut world = World::with_instance();
    world.run::<AddHdfsVault>(about_vault(hdfs("h", "hdfs://a", "p"))).expect("added");
    let bad_prefix = |name| about_vault(hdfs(name, "", "s3://p"));
    world.refuse::<AddHdfsVault>(bad_prefix("h"), AlreadyExists, "vault_name=h already created");
    world.refuse::<AddHdfsVault>(bad_prefix("g"), InvalidArgument, "invalid prefix: s3://p");
    world.refuse::<AddHdfsVault>(about_vault(hdfs("g", "/", "p")), InvalidArgument, "invalid fs_name: /");
    let nothing = StorageVaultPb {
        name: text("g"),
        ..Default::default()
    };
    world.refuse::<AddHdfsVault>(about_vault(nothing), InvalidArgument, "s3 conf info err, please check it");
    let quoted = r#"hdfs info is not found {"cloud_unique_id":"1:i:n","op":"ADD_HDFS_INFO","vault":{}}"#;
    world.refuse::<AddHdfsVault>(about_vault(StorageVaultPb::default()), InvalidArgument, quoted);
}

#[test]
fn settings_are_bounded() {
    let mut world = World::with_instance();
    let mut vault = hdfs("h", "hdfs://a", "p");
    let conf = vault.hdfs_info.as_mut().and_then(|info| info.build_conf.as_mut()).expect("given");
    conf.hdfs_confs = vec![
        HdfsConfKvPair {
            key: "k".repeat(40),
            value: "v".repeat(120),
        };
        100
    ];
    let text = "vault h is 16732 bytes, limit 16384 bytes; leave out settings";
    world.refuse::<AddHdfsVault>(about_vault(vault.clone()), InvalidArgument, text);
    vault.hdfs_info.as_mut().and_then(|info| info.build_conf.as_mut()).expect("given").hdfs_confs.truncate(90);
    world.run::<AddHdfsVault>(about_vault(vault)).expect("added");
}

#[test]
fn ids_follow_the_greatest_and_gaps_stay() {
    let mut world = World::with_instance();
    let add = |world: &mut World, name: &str| world.reply::<AddHdfsVault>(about_vault(hdfs(name, "hdfs://a", "p"))).expect("added").vault_id;
    let ids = ["a", "b", "c"].map(|name| add(&mut world, name));
    assert_eq!(ids, ["1", "2", "3"]);
    world.run::<DropHdfsVault>(about_vault(hdfs("b", "", ""))).expect("dropped");
    assert_eq!(add(&mut world, "d"), "4");
}
