//! What get_instance and get_cluster show, and whom they refuse.

use super::*;
use crate::command::{SealSecret, SealedSecret};
use crate::commands::{AddCluster, CreateInstance, DropInstance, create_instance::CreateInstanceCall};
use crate::object_stores::UnsealSecret;
use crate::resource_fixture::{Reversed, World, backend, cluster, on_instance, refusal};
use quorate_model::ErrorCode;
use quorate_model::ErrorCode::{InvalidArgument, KeyMissing, NotFound};
use quorate_wire::doris::RamUserPb;
use quorate_wire::doris::cluster_pb::Type;
use quorate_wire::doris::instance_info_pb::Status;
use quorate_wire::doris::{AlterInstanceRequest, CreateInstanceRequest};

fn text(value: &str) -> Option<String> {
    Some(value.to_owned())
}

fn world() -> World {
    let mut world = World::with_instance();
    let mut first = cluster(Type::Compute, "a", vec![backend("plain", "10.0.0.1")]);
    first.mysql_user_name = vec!["u".to_owned(), "v".to_owned()];
    world.run::<AddCluster>(on_instance(first)).expect("added");
    let mut second = cluster(Type::Compute, "b", Vec::new());
    second.mysql_user_name = vec!["v".to_owned()];
    world.run::<AddCluster>(on_instance(second)).expect("added");
    world
}

#[track_caller]
fn assert_refused<T>(result: Result<T, QueryError>, code: ErrorCode, text: &str) {
    let error = refusal(result.err().expect("refused"));
    assert_eq!((error.code, error.message.as_str()), (code, text));
}

#[test]
fn an_instance_is_found_by_id_by_registration_and_by_format() {
    let world = world();
    let get = |instance_id: Option<&str>, cloud_unique_id: Option<&str>| {
        let request = GetInstanceRequest {
            instance_id: instance_id.map(str::to_owned),
            cloud_unique_id: cloud_unique_id.map(str::to_owned),
            request_ip: None,
        };
        get_instance(&world.store, &request, Secrets::Sealed, &ConfiguredAccount::default())
    };
    for (instance_id, cloud_unique_id) in [
        (Some("i"), None),
        (Some("i"), Some("1:x:n")),
        (Some(""), Some("plain")),
        (None, Some("plain")),
        (None, Some("1:i:n")),
    ] {
        assert_eq!(get(instance_id, cloud_unique_id).expect("found").instance_id(), "i");
    }
    assert_refused(get(None, Some("")), InvalidArgument, "empty instance_id and cloud_unique_id");
    assert_refused(
        get(None, Some("odd")),
        InvalidArgument,
        "cannot find instance_id with cloud_unique_id=odd",
    );
    let missing = "failed to get instance, info=failed to get instance, instance_id=x err=KeyNotFound";
    assert_refused(get(Some("x"), None), KeyMissing, missing);
    assert_refused(get(None, Some("1:x:n")), KeyMissing, missing);
}

#[test]
fn secrets_and_the_configured_account_are_shown_only_unsealed() {
    let mut world = World::new();
    let ram_user = RamUserPb {
        user_id: text("r"),
        ak: text("ak"),
        sk: text("secret"),
        ..Default::default()
    };
    let request = CreateInstanceRequest {
        instance_id: text("i"),
        ram_user: Some(ram_user),
        ..Default::default()
    };
    world
        .run::<CreateInstance>(CreateInstanceCall {
            request,
            ..Default::default()
        })
        .expect("created");
    let account = ConfiguredAccount {
        user_id: "arn".to_owned(),
        ak: "ak".to_owned(),
        sk: "account secret".to_owned(),
    };
    let request = GetInstanceRequest {
        instance_id: text("i"),
        ..Default::default()
    };
    let secrets_in = |secrets| {
        let info = get_instance(&world.store, &request, secrets, &account).expect("found");
        let iam_user = info.iam_user.expect("always shown");
        assert_eq!((iam_user.user_id(), iam_user.ak(), iam_user.external_id()), ("arn", "ak", "i"));
        (info.ram_user.expect("stored").sk.expect("stored"), iam_user.sk.expect("shown"))
    };
    assert_eq!(
        secrets_in(Secrets::Unsealed(&Reversed)),
        ("secret".to_owned(), "account secret".to_owned())
    );
    assert_eq!(secrets_in(Secrets::Sealed), ("terces".to_owned(), String::new()));
}

#[test]
fn a_secret_that_cannot_be_unsealed_is_an_error_not_ciphertext() {
    struct WrongKey;
    impl UnsealSecret for WrongKey {
        fn unseal(&self, _: &SealedSecret) -> Result<String, MetaError> {
            Err(MetaError::internal("failed to decrypt"))
        }
    }
    assert_eq!(Reversed.seal("ab").expect("seals").ciphertext, "ba");
    let mut info = InstanceInfoPb {
        ram_user: Some(RamUserPb {
            sk: text("ba"),
            ..Default::default()
        }),
        ..Default::default()
    };
    object_stores::show_secrets(Secrets::Unsealed(&WrongKey), &mut info).expect("a secret without key id is not ours");
    let user = info.ram_user.as_mut().expect("given");
    user.encryption_info = Some(Default::default());
    assert!(object_stores::show_secrets(Secrets::Unsealed(&WrongKey), &mut info).is_err());
}

#[test]
fn a_dropped_instance_is_served() {
    let mut world = World::with_instance();
    world
        .run::<DropInstance>(AlterInstanceRequest {
            instance_id: text("i"),
            ..Default::default()
        })
        .expect("dropped");
    assert_eq!(world.instance("i").status(), Status::Deleted);
    let request = GetClusterRequest {
        cloud_unique_id: text("1:i:x"),
        ..Default::default()
    };
    assert_refused(
        get_cluster(&world.store, &request),
        NotFound,
        "fail to get cluster with cloud_unique_id: \"1:i:x\"",
    );
}

#[test]
fn clusters_are_selected_by_id_then_name_then_user() {
    let world = world();
    let get = |id: &str, name: &str, user: &str| {
        let (cluster_id, cluster_name, mysql_user_name) = (text(id), text(name), text(user));
        let request = GetClusterRequest {
            cloud_unique_id: text("plain"),
            cluster_id,
            cluster_name,
            mysql_user_name,
            ..Default::default()
        };
        let response = get_cluster(&world.store, &request).map_err(refusal)?;
        assert_eq!(response.enable_storage_vault, Some(true));
        Ok::<_, MetaError>(
            response
                .cluster
                .iter()
                .map(|cluster| cluster.cluster_id().to_owned())
                .collect::<Vec<_>>(),
        )
    };
    assert_eq!(get("b", "a_name", "u").expect("found"), ["b"]);
    assert_eq!(get("", "a_name", "u").expect("found"), ["a"]);
    assert_eq!(get("", "", "v").expect("found"), ["a"], "the first that has the user");
    assert_eq!(get("", "", "").expect("found"), ["a", "b"]);
    let text = "fail to get cluster with cloud_unique_id: \"plain\" cluster_id: \"\" cluster_name: \"x\" mysql_user_name: \"\"";
    assert_eq!(get("", "x", ""), Err(MetaError::not_found(text)));
}

#[test]
fn get_cluster_needs_a_cloud_unique_id_and_falls_back_to_the_instance_id() {
    let world = world();
    let get = |instance_id: Option<&str>, cloud_unique_id: &str| {
        let request = GetClusterRequest {
            instance_id: instance_id.map(str::to_owned),
            cloud_unique_id: text(cloud_unique_id),
            ..Default::default()
        };
        get_cluster(&world.store, &request)
    };
    assert_refused(get(Some("i"), ""), InvalidArgument, "cloud_unique_id must be given");
    assert_refused(get(None, "odd"), InvalidArgument, "empty instance_id");
    assert_refused(
        get(Some(""), "odd"),
        InvalidArgument,
        "failed to get instance_id with cloud_unique_id=odd",
    );
    assert_refused(
        get(Some("x"), "odd"),
        KeyMissing,
        "failed to get instance, instance_id=x err=KeyNotFound",
    );
    assert_refused(
        get(Some("i"), "1:x:n"),
        KeyMissing,
        "failed to get instance, instance_id=x err=KeyNotFound",
    );
    assert_eq!(get(Some("i"), "odd").expect("found").cluster.len(), 2);
    assert_eq!(get(Some("x"), "plain").expect("found").cluster[0].nodes.len(), 1);
}

#[test]
fn only_a_request_with_a_selector_is_for_one_cluster() {
    let request = GetClusterRequest {
        cluster_name: text(""),
        ..Default::default()
    };
    assert!(!selects_one_cluster(&request));
    assert!(selects_one_cluster(&GetClusterRequest {
        mysql_user_name: text("u"),
        ..request
    }));
}

#[test]
fn a_cluster_of_many_nodes_is_told_from_others_before_it_is_read() {
    let mut world = world();
    let nodes = (0..=limits::FEW_NODES).map(|node| backend(&format!("n{node}"), &format!("10.0.1.{node}")));
    let many = cluster(Type::Compute, "c", nodes.collect());
    world.run::<AddCluster>(on_instance(many)).expect("added");
    let get = |id: &str| {
        let request = GetClusterRequest {
            cloud_unique_id: text("plain"),
            cluster_id: text(id),
            ..Default::default()
        };
        let few = get_cluster_of_few_nodes(&world.store, &request).expect("found");
        (few, get_cluster(&world.store, &request).expect("found"))
    };
    let (few, all) = get("a");
    assert_eq!(few, Some(all));
    let (few, all) = get("c");
    assert_eq!((few, all.cluster[0].nodes.len() as u64), (None, limits::FEW_NODES + 1));
}
