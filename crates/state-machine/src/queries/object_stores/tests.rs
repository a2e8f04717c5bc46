//! Replies and refusals of the routes that read object stores and stages.

use super::*;
use crate::commands::{AddS3Vault, DropInstance};
use crate::resource_fixture::{World, refusal};
use crate::storage_fixture::*;
use quorate_model::ErrorCode::{InvalidArgument, KeyMissing, LimitReached, NotFound, StageNotFound};
use quorate_wire::doris::{AlterInstanceRequest, AlterObjStoreInfoRequest, StorageVaultPb};

#[track_caller]
fn assert_refused<T>(result: Result<T, QueryError>, code: ErrorCode, text: &str) {
    let error = refusal(result.err().expect("refused"));
    assert_eq!((error.code, error.message.as_str()), (code, text));
}

fn get(world: &World, cloud_unique_id: &str) -> Result<GetObjStoreInfoResponse, QueryError> {
    let request = GetObjStoreInfoRequest {
        cloud_unique_id: text(cloud_unique_id),
        request_ip: None,
    };
    get_obj_store_info(&world.store, &request, Secrets::Sealed)
}

#[test]
fn reads_are_served_of_a_dropped_instance_and_refused_of_a_missing_one() {
    let mut world = world_with_store();
    let drop = AlterInstanceRequest {
        instance_id: text("i"),
        ..Default::default()
    };
    world.run::<DropInstance>(drop).expect("dropped");
    let response = get(&world, "1:i:n").expect("served");
    assert_eq!((response.obj_info.len(), response.enable_storage_vault), (1, Some(false)));
    assert_refused(get(&world, ""), InvalidArgument, "cloud unique id not set");
    assert_refused(get(&world, "nobody"), InvalidArgument, "empty instance_id");
    let missing = "failed to get instance, instance_id=x err=KeyNotFound";
    assert_refused(get(&world, "1:x:n"), KeyMissing, missing);
}

#[test]
fn an_s3_vault_is_never_dropped_and_other_faults_are_told_first() {
    let mut world = World::with_instance();
    add_dropped_instance(&mut world);
    world.run::<AddS3Vault>(about_vault(s3_vault("v"))).expect("added");
    let whole = || about_vault(s3_vault("v"));
    assert_refused(drop_s3_vault(&world.store, &whole()), InvalidArgument, "invalid request op, op=104");
    for (cloud_unique_id, code, text) in wrong_callers() {
        let mut call = whole();
        call.request.cloud_unique_id = Some(cloud_unique_id.to_owned());
        assert_refused(drop_s3_vault(&world.store, &call), code, text);
    }
    let no_store = StorageCall {
        request: AlterObjStoreInfoRequest {
            vault: Some(StorageVaultPb::default()),
            ..Default::default()
        },
        ..Default::default()
    };
    let text = r#"s3 obj info err {"op":"DROP_S3_VAULT","vault":{}}"#;
    assert_refused(drop_s3_vault(&world.store, &no_store), InvalidArgument, text);
}

#[test]
fn stages_are_refused_in_the_words_of_the_contract() {
    let mut world = world_with_store();
    world.create("bare");
    let ask = |cloud_unique_id: &str, stage_type: Option<StageType>, change: fn(&mut GetStageRequest)| {
        let mut request = GetStageRequest {
            cloud_unique_id: text(cloud_unique_id),
            r#type: stage_type.map(|stage_type| stage_type as i32),
            mysql_user_name: text("root"),
            mysql_user_id: text("1"),
            ..Default::default()
        };
        change(&mut request);
        get_stage(&world.store, &request)
    };
    let internal = Some(StageType::Internal);
    let external = Some(StageType::External);
    assert_refused(ask("", None, |_| {}), InvalidArgument, "cloud unique id not set");
    assert_refused(ask("nobody", None, |_| {}), InvalidArgument, "empty instance_id");
    assert_refused(ask("1:x:n", None, |_| {}), InvalidArgument, "stage type not set");
    assert_refused(
        ask("1:i:n", None, |request| request.r#type = Some(9)),
        InvalidArgument,
        "stage type not set",
    );
    let no_name: fn(&mut GetStageRequest) = |request| (request.mysql_user_name, request.mysql_user_id) = (None, None);
    assert_refused(ask("1:i:n", internal, no_name), InvalidArgument, "mysql user name not set");
    assert_refused(
        ask("1:i:n", internal, |request| request.mysql_user_id = None),
        InvalidArgument,
        "mysql user id not set",
    );
    let missing = "failed to get instance, instance_id=x err=KeyNotFound";
    assert_refused(ask("1:x:n", internal, |_| {}), KeyMissing, missing);
    assert_refused(ask("1:i:n", internal, |_| {}), StageNotFound, "stage not found, create a new one");
    let impossible = "impossible, instance must have at least one obj_info.";
    assert_refused(ask("1:bare:n", internal, |_| {}), LimitReached, impossible);
    let quoted = r#"stage not found with {"cloud_unique_id":"1:i:n","stage_name":"s","mysql_user_name":"root","type":"EXTERNAL","mysql_user_id":"1"}"#;
    assert_refused(
        ask("1:i:n", external, |request| request.stage_name = Some("s".to_owned())),
        StageNotFound,
        quoted,
    );
    assert_eq!(ask("1:i:n", external, |_| {}).expect("none").stage, []);
    assert_eq!(NotFound.row().doris_number, 3001);
}
