//! Requests about object stores, vaults and accounts for the tests of their commands.

use crate::command::ApplyContext;
use crate::commands::CreateInstance;
use crate::commands::create_instance::CreateInstanceCall;
use crate::object_stores::Secrets;
use crate::queries::object_stores;
use crate::resource_fixture::{Reversed, World};
use crate::storage_request::StorageCall;
use crate::testing::Bench;
use crate::view::View;
use quorate_model::StampedTime;
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{
    AlterObjStoreInfoRequest, CreateInstanceRequest, GetObjStoreInfoRequest, GetObjStoreInfoResponse, ObjectStoreInfoPb, RamUserPb,
    StorageVaultPb,
};

/// Writes rows behind the machine's back, as a command of its own would.
pub fn change(bench: &mut Bench, change: impl FnOnce(&mut ApplyContext<'_, '_>)) {
    let view = View::new(&bench.store);
    let mut context = ApplyContext::new(&view, bench.counters(), StampedTime(1));
    change(&mut context);
    let (changes, _) = std::mem::take(context.changes()).into_parts();
    let writes: Vec<_> = changes.into_iter().map(|change| (change.key, change.value)).collect();
    bench.store.write(&writes);
    bench.adopt_rows();
}

/// How a test spoils an object store.
pub type Change = fn(&mut ObjectStoreInfoPb);

/// Must never be found in a command, a row or an error.
pub const SECRET: &str = "plain-secret-0123456789";

pub fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

/// An object store that lacks nothing.
pub fn store(bucket: &str) -> ObjectStoreInfoPb {
    ObjectStoreInfoPb {
        ak: text("ak"),
        sk: text(SECRET),
        bucket: text(bucket),
        prefix: text("/a/b/ "),
        endpoint: text("endpoint"),
        region: text("region"),
        external_endpoint: text("external"),
        provider: Some(Provider::S3 as i32),
        ..Default::default()
    }
}

pub fn user(user_id: &str, ak: &str, sk: &str) -> RamUserPb {
    RamUserPb {
        user_id: text(user_id),
        ak: text(ak),
        sk: text(sk),
        ..Default::default()
    }
}

/// A request of instance `i` about an object store.
pub fn about(obj: ObjectStoreInfoPb) -> StorageCall {
    call(AlterObjStoreInfoRequest {
        obj: Some(obj),
        ..Default::default()
    })
}

/// A request of instance `i` about a vault.
pub fn about_vault(vault: StorageVaultPb) -> StorageCall {
    call(AlterObjStoreInfoRequest {
        vault: Some(vault),
        ..Default::default()
    })
}

pub fn s3_vault(name: &str) -> StorageVaultPb {
    StorageVaultPb {
        name: text(name),
        obj_info: Some(store(name)),
        ..Default::default()
    }
}

fn call(request: AlterObjStoreInfoRequest) -> StorageCall {
    StorageCall {
        request: AlterObjStoreInfoRequest {
            cloud_unique_id: text("1:i:n"),
            ..request
        },
        hdfs_prefix_suffix: "0123".to_owned(),
    }
}

/// A world in which instance `i` has object store 1 and an account.
pub fn world_with_store() -> World {
    let mut world = World::new();
    let request = CreateInstanceRequest {
        instance_id: text("i"),
        obj_info: Some(store("first")),
        ram_user: Some(user("ram", "ram-ak", SECRET)),
        ..Default::default()
    };
    world
        .run::<CreateInstance>(CreateInstanceCall {
            request,
            ..Default::default()
        })
        .expect("created");
    world
}

/// What get_obj_store_info shows of instance `i`.
pub fn shown(world: &World) -> GetObjStoreInfoResponse {
    shown_with(world, Secrets::Unsealed(&Reversed))
}

pub fn shown_with(world: &World, secrets: Secrets<'_>) -> GetObjStoreInfoResponse {
    let request = GetObjStoreInfoRequest {
        cloud_unique_id: text("1:i:n"),
        ..Default::default()
    };
    object_stores::get_obj_store_info(&world.store, &request, secrets).expect("it exists")
}

/// Whether bytes hold the secret in clear.
pub fn holds_secret(bytes: &[u8]) -> bool {
    bytes.windows(SECRET.len()).any(|window| window == SECRET.as_bytes())
}

/// Asserts that no row holds the secret in clear.
#[track_caller]
pub fn assert_rows_are_sealed(world: &World) {
    assert!(
        world.store.rows.values().all(|row| !holds_secret(row)),
        "a row holds a plain secret"
    );
}

/// The three ways in which the caller's instance can be wrong, as every command of this family words them.
pub fn wrong_callers() -> [(&'static str, quorate_model::ErrorCode, &'static str); 4] {
    use quorate_model::ErrorCode::{InvalidArgument, KeyMissing, NotFound};
    [
        ("", InvalidArgument, "cloud unique id not set"),
        ("nobody", InvalidArgument, "empty instance_id"),
        ("1:x:n", KeyMissing, "failed to get instance, instance_id=x err=KeyNotFound"),
        ("1:gone:n", NotFound, "instance status has been set delete, plz check it"),
    ]
}

/// Adds instance `gone`, which was dropped.
pub fn add_dropped_instance(world: &mut World) {
    use crate::commands::DropInstance;
    use quorate_wire::doris::AlterInstanceRequest;
    world.create("gone");
    let request = AlterInstanceRequest {
        instance_id: text("gone"),
        ..Default::default()
    };
    world.run::<DropInstance>(request).expect("dropped");
}
