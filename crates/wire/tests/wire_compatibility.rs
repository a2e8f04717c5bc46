//! Holds what deployed Doris clients rely on: gRPC paths, and the bytes of messages written out by hand.

use prost::{Message, Name};
use prost_reflect::DescriptorPool;
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::meta_service_server::SERVICE_NAME;
use quorate_wire::doris::{ClusterPb, ClusterStatus, InstanceInfoPb, KeySetType, NodeInfoPb, ObjectStoreInfoPb, RamUserPb};

#[test]
fn service_and_methods_keep_their_names() {
    let pool = DescriptorPool::decode(quorate_wire::FILE_DESCRIPTOR_SET).expect("written by the compiler");
    let service = pool
        .get_service_by_name(SERVICE_NAME)
        .expect("the service is in the descriptor set");
    let methods: Vec<_> = service.methods().map(|method| method.name().to_owned()).collect();
    assert_eq!(service.full_name(), "doris.cloud.MetaService");
    assert_eq!(
        methods,
        [
            "create_instance",
            "alter_instance",
            "get_instance",
            "alter_cluster",
            "get_cluster",
            "get_cluster_status",
            "get_obj_store_info",
            "alter_obj_store_info",
            "alter_storage_vault",
            "update_ak_sk",
            "begin_snapshot",
            "update_snapshot",
            "commit_snapshot",
            "abort_snapshot",
            "drop_snapshot",
            "list_snapshot",
            "clone_instance",
            "compact_snapshot"
        ]
    );
}

#[test]
fn generated_types_know_their_full_names() {
    assert_eq!(InstanceInfoPb::full_name(), "doris.cloud.InstanceInfoPB");
}

#[test]
fn cluster_with_node_keeps_its_bytes() {
    let node = NodeInfoPb {
        ip: Some("n".into()),
        heartbeat_port: Some(9050),
        host: Some("h".into()),
        ..NodeInfoPb::default()
    };
    let cluster = ClusterPb {
        cluster_id: Some("c".into()),
        r#type: Some(Type::Compute as i32),
        nodes: vec![node],
        cluster_status: Some(ClusterStatus::Suspended as i32),
        properties: [("k".to_owned(), "v".to_owned())].into(),
        ..ClusterPb::default()
    };
    let expected = b"\x0a\x01c\x18\x01\x2a\x09\x1a\x01n\x40\xda\x46\x6a\x01h\x48\x02\x72\x06\x0a\x01k\x12\x01v";
    assert_eq!(cluster.encode_to_vec(), expected);
}

#[test]
fn lists_of_numbers_are_written_unpacked_and_read_either_way() {
    let instance = InstanceInfoPb {
        migrated_key_sets: vec![
            KeySetType::SingleVersionPartitionVersion as i32,
            KeySetType::MultiVersionMetaRowset as i32,
        ],
        ..InstanceInfoPb::default()
    };
    // Field 119 twice as a varint, then both values in one length-delimited field.
    assert_eq!(instance.encode_to_vec(), b"\xb8\x07\x01\xb8\x07\x15");
    assert_eq!(InstanceInfoPb::decode(&b"\xba\x07\x02\x01\x15"[..]), Ok(instance));
}

#[test]
fn numbers_left_out_by_the_protocol_stay_left_out() {
    // ObjectStoreInfoPB has no field 12, RamUserPB no field 5.
    let store = ObjectStoreInfoPb {
        user_id: Some("u".into()),
        ..ObjectStoreInfoPb::default()
    };
    assert_eq!(store.encode_to_vec(), b"\x6a\x01u");
    let user = RamUserPb {
        encryption_info: Some(Default::default()),
        ..RamUserPb::default()
    };
    assert_eq!(user.encode_to_vec(), b"\x32\x00");
}
