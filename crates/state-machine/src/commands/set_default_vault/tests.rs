//! The default of an instance: set, replaced, unset.

use super::*;
use crate::commands::{AddS3Vault, UnsetDefaultVault};
use crate::resource_fixture::World;
use crate::storage_fixture::*;
use quorate_model::ErrorCode::InvalidArgument;
use quorate_wire::doris::{AlterObjStoreInfoRequest, StorageVaultPb};

fn named(name: &str) -> StorageCall {
    about_vault(StorageVaultPb {
        name: text(name),
        ..Default::default()
    })
}

fn default_of(world: &World) -> (Option<String>, Option<String>) {
    let response = shown(world);
    (response.default_storage_vault_id, response.default_storage_vault_name)
}

#[test]
fn a_default_is_set_replaced_and_unset() {
    let mut world = World::with_instance();
    for name in ["a", "b"] {
        world.run::<AddS3Vault>(about_vault(s3_vault(name))).expect("added");
    }
    for (name, id, replaced) in [("a", "1", false), ("b", "2", true), ("b", "2", false)] {
        let reply = world.reply::<SetDefaultVault>(named(name)).expect("set");
        assert_eq!((reply.vault_id.as_str(), reply.default_replaced), (id, replaced), "{name}");
        assert_eq!(default_of(&world), (text(id), text(name)));
    }
    for _ in 0..2 {
        world.run::<UnsetDefaultVault>(named("")).expect("also when there is none");
        assert_eq!(default_of(&world), (None, None));
    }
}

#[test]
fn an_unknown_vault_and_a_wrong_caller_are_refused() {
    let mut world = World::with_instance();
    add_dropped_instance(&mut world);
    world.refuse::<SetDefaultVault>(named("x"), InvalidArgument, "invalid storage vault name, name =x");
    for (cloud_unique_id, code, text) in wrong_callers() {
        let call = || StorageCall {
            request: AlterObjStoreInfoRequest {
                cloud_unique_id: Some(cloud_unique_id.to_owned()),
                ..named("a").request
            },
            ..Default::default()
        };
        world.refuse::<SetDefaultVault>(call(), code, text);
        world.refuse::<UnsetDefaultVault>(call(), code, text);
    }
}
