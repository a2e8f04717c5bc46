//! Object stores and vaults as frontends of Doris change them.

use super::*;
use crate::doris::test_peers::Peer;
use quorate_wire::doris::alter_obj_store_info_request::Operation;
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{HdfsBuildConf, HdfsVaultInfo, ObjectStoreInfoPb, RamUserPb, StorageVaultPb};

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn store(bucket: &str) -> ObjectStoreInfoPb {
    ObjectStoreInfoPb {
        ak: text("ak"),
        sk: text("very-secret"),
        bucket: text(bucket),
        prefix: text("p"),
        endpoint: text("e"),
        region: text("r"),
        external_endpoint: text("x"),
        provider: Some(Provider::S3 as i32),
        ..Default::default()
    }
}

fn about(op: Operation, obj: Option<ObjectStoreInfoPb>, vault: Option<StorageVaultPb>) -> AlterObjStoreInfoRequest {
    AlterObjStoreInfoRequest {
        cloud_unique_id: text("1:i:n"),
        op: Some(op as i32),
        obj,
        vault,
        ..Default::default()
    }
}

fn named(name: &str) -> StorageVaultPb {
    StorageVaultPb {
        name: text(name),
        ..Default::default()
    }
}

/// A service with instance `i`; with an object store, or with vaults.
async fn service(obj_info: Option<ObjectStoreInfoPb>) -> (Peer, DorisService) {
    let peer = Peer::alone().await;
    let service = DorisService { app: peer.app.clone() };
    let request = CreateInstanceRequest {
        instance_id: text("i"),
        obj_info,
        ..Default::default()
    };
    let response = service.create_instance(Request::new(request)).await.expect("gRPC OK").into_inner();
    assert_eq!(outcome(&response.status), ok(""));
    (peer, service)
}

fn outcome(status: &Option<MetaServiceResponseStatus>) -> (MetaServiceCode, String) {
    let status = status.as_ref().expect("every response has a status");
    (status.code(), status.msg().to_owned())
}

fn ok(message: &str) -> (MetaServiceCode, String) {
    (MetaServiceCode::Ok, message.to_owned())
}

fn invalid(message: &str) -> (MetaServiceCode, String) {
    (MetaServiceCode::InvalidArgument, message.to_owned())
}

async fn alter_store(service: &DorisService, request: AlterObjStoreInfoRequest) -> (MetaServiceCode, String) {
    let response = service.alter_obj_store_info(Request::new(request)).await.expect("gRPC OK");
    outcome(&response.into_inner().status)
}

async fn alter_vault(service: &DorisService, request: AlterObjStoreInfoRequest) -> AlterObjStoreInfoResponse {
    service
        .alter_storage_vault(Request::new(request))
        .await
        .expect("gRPC OK")
        .into_inner()
}

async fn shown(service: &DorisService) -> GetObjStoreInfoResponse {
    let request = GetObjStoreInfoRequest {
        cloud_unique_id: text("1:i:n"),
        ..Default::default()
    };
    let response = service
        .get_obj_store_info(Request::new(request))
        .await
        .expect("gRPC OK")
        .into_inner();
    assert_eq!(outcome(&response.status), ok(""));
    response
}

#[tokio::test]
async fn every_operation_on_an_object_store_does_its_own_thing() {
    let (_peer, service) = service(Some(store("first"))).await;
    assert_eq!(
        alter_store(&service, about(Operation::AddObjInfo, Some(store("second")), None)).await,
        ok("")
    );
    let keys = |ak: &str| ObjectStoreInfoPb {
        id: text("2"),
        ak: text(ak),
        sk: text("new-secret"),
        ..Default::default()
    };
    for (op, ak, message) in [
        (Operation::LegacyUpdateAkSk, "new", ""),
        (Operation::LegacyUpdateAkSk, "new", "ak/sk not changed"),
        (Operation::AlterObjInfo, "newer", ""),
        (Operation::AlterObjInfo, "newer", "ak/sk not changed"),
    ] {
        assert_eq!(alter_store(&service, about(op, Some(keys(ak)), None)).await, ok(message), "{op:?}");
    }
    let user = RamUserPb {
        user_id: text("u"),
        ak: text("all"),
        sk: text("shared-secret"),
        ..Default::default()
    };
    let rotate = UpdateAkSkRequest {
        instance_id: text("i"),
        internal_bucket_user: vec![user],
        ..Default::default()
    };
    for expected in [ok(""), invalid("ak sk eq original, please check it")] {
        let response = service
            .update_ak_sk(Request::new(rotate.clone()))
            .await
            .expect("gRPC OK")
            .into_inner();
        assert_eq!(outcome(&response.status), expected);
    }
    let stores = shown(&service).await.obj_info;
    let seen: Vec<_> = stores.iter().map(|store| (store.id(), store.ak(), store.sk())).collect();
    assert_eq!(seen, [("1", "all", "shared-secret"), ("2", "all", "shared-secret")]);
}

#[tokio::test]
async fn operations_of_another_call_and_none_are_refused_without_quoting_secrets() {
    let (_peer, service) = service(Some(store("first"))).await;
    let refused = async |op: Operation| alter_store(&service, about(op, Some(store("b")), None)).await;
    assert_eq!(refused(Operation::UpdateAkSk).await, invalid("invalid request op, op=1"));
    for (op, start) in [
        (Operation::Unknown, "Unknown alter info {\"cloud_unique_id\":\"1:i:n\","),
        (
            Operation::AddS3Vault,
            "Unknown alter obj store info, request info {\"cloud_unique_id\":\"1:i:n\",",
        ),
    ] {
        let (code, message) = refused(op).await;
        assert_eq!(code, MetaServiceCode::InvalidArgument);
        assert!(message.starts_with(start) && !message.contains("very-secret"), "{message}");
    }
    for (op, number) in [
        (Operation::AddObjInfo, 2),
        (Operation::AddBuiltInVault, 102),
        (Operation::Unknown, 0),
    ] {
        let response = alter_vault(&service, about(op, Some(store("b")), None)).await;
        assert_eq!(outcome(&response.status), invalid(&format!("invalid request op, op={number}")));
    }
}

#[tokio::test]
async fn every_operation_on_a_vault_does_its_own_thing() {
    let (_peer, service) = service(None).await;
    let s3 = |name: &str| StorageVaultPb {
        obj_info: Some(store(name)),
        ..named(name)
    };
    let mut add = about(Operation::AddS3Vault, None, Some(s3("a")));
    add.set_as_default_storage_vault = Some(true);
    let response = alter_vault(&service, add).await;
    assert_eq!(
        (response.storage_vault_id(), response.default_storage_vault_replaced()),
        ("1", false)
    );
    let hdfs = StorageVaultPb {
        hdfs_info: Some(HdfsVaultInfo {
            build_conf: Some(HdfsBuildConf {
                fs_name: text("hdfs://h"),
                ..Default::default()
            }),
            prefix: None,
        }),
        ..named("h")
    };
    let response = alter_vault(&service, about(Operation::AddHdfsInfo, None, Some(hdfs))).await;
    assert_eq!((outcome(&response.status), response.storage_vault_id()), (ok(""), "2"));
    let response = alter_vault(&service, about(Operation::SetDefaultVault, None, Some(named("h")))).await;
    assert_eq!(
        (response.storage_vault_id(), response.default_storage_vault_replaced()),
        ("2", true)
    );
    assert_eq!(shown(&service).await.default_storage_vault_name(), "h");
    let response = alter_vault(&service, about(Operation::UnsetDefaultVault, None, None)).await;
    assert_eq!(outcome(&response.status), ok(""));
    assert_eq!(shown(&service).await.default_storage_vault_id, None);

    let altered = StorageVaultPb {
        alter_name: text("renamed"),
        obj_info: Some(ObjectStoreInfoPb::default()),
        ..named("a")
    };
    let response = alter_vault(&service, about(Operation::AlterS3Vault, None, Some(altered))).await;
    assert_eq!((outcome(&response.status), response.storage_vault_id()), (ok(""), "1"));
    let user = HdfsBuildConf {
        user: text("hadoop"),
        ..Default::default()
    };
    let altered = StorageVaultPb {
        hdfs_info: Some(HdfsVaultInfo {
            build_conf: Some(user),
            prefix: None,
        }),
        ..named("h")
    };
    let response = alter_vault(&service, about(Operation::AlterHdfsVault, None, Some(altered))).await;
    assert_eq!((outcome(&response.status), response.storage_vault_id()), (ok(""), "2"));
    let response = alter_vault(&service, about(Operation::DropS3Vault, None, Some(s3("renamed")))).await;
    assert_eq!(outcome(&response.status), invalid("invalid request op, op=104"));
    let drop = || about(Operation::DropHdfsInfo, None, Some(named("h")));
    assert_eq!(outcome(&alter_vault(&service, drop()).await.status), ok(""));
    let gone = (MetaServiceCode::StorageVaultNotFound, "vault_name=h not found".to_owned());
    assert_eq!(outcome(&alter_vault(&service, drop()).await.status), gone);
    let left = shown(&service).await.storage_vault;
    assert_eq!(
        left.iter().map(|vault| (vault.id(), vault.name())).collect::<Vec<_>>(),
        [("1", "renamed")]
    );
}
