//! What drop_hdfs_vault removes and refuses.

use super::*;
use crate::commands::AddHdfsVault;
use crate::keys::RecordTable;
use crate::resource_fixture::World;
use crate::storage_fixture::*;
use quorate_model::ErrorCode::{InvalidArgument, VaultNotFound};
use quorate_wire::doris::{HdfsBuildConf, HdfsVaultInfo, StorageVaultPb};

fn named(name: &str) -> StorageCall {
    about_vault(StorageVaultPb {
        name: text(name),
        ..Default::default()
    })
}

fn add(world: &mut World, name: &str) {
    let mut call = about_vault(StorageVaultPb {
        name: text(name),
        hdfs_info: Some(HdfsVaultInfo {
            build_conf: Some(HdfsBuildConf {
                fs_name: text("hdfs://a"),
                ..Default::default()
            }),
            prefix: None,
        }),
        ..Default::default()
    });
    call.request.set_as_default_storage_vault = Some(name == "default");
    world.run::<AddHdfsVault>(call).expect("added");
}

#[test]
fn row_name_and_default_go_and_the_others_stay() {
    let mut world = World::with_instance();
    for name in ["a", "default", "b"] {
        add(&mut world, name);
    }
    world.run::<DropHdfsVault>(named("a")).expect("dropped");
    assert_eq!(shown(&world).default_storage_vault_name(), "default");
    world.run::<DropHdfsVault>(named("default")).expect("dropped");
    let response = shown(&world);
    assert_eq!((response.default_storage_vault_id, response.default_storage_vault_name), (None, None));
    let left: Vec<_> = response.storage_vault.iter().map(|vault| (vault.id(), vault.name())).collect();
    assert_eq!(left, [("3", "b")]);
    assert_eq!(world.rows_of(RecordTable::Vault), 1);
}

#[test]
fn names_that_are_no_hdfs_vault_are_not_found() {
    let mut world = World::with_instance();
    world.run::<AddHdfsVault>(about_vault(s3_vault("s3"))).expect("added");
    for name in ["nobody", "s3"] {
        world.refuse::<DropHdfsVault>(named(name), VaultNotFound, &format!("vault_name={name} not found"));
    }
    let quoted = r#"hdfs info is not found {"cloud_unique_id":"1:i:n","op":"DROP_HDFS_INFO","vault":{"name":""}}"#;
    world.refuse::<DropHdfsVault>(named(""), InvalidArgument, quoted);
}
