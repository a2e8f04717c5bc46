//! Routes that read the state.

use super::call::{Call, Success};
use crate::cluster_settings::Sender;
use futures::future::BoxFuture;
use prost::{Message, Name};
use quorate_model::{MetaError, Revision, proto_json};
use quorate_state_machine::Reader;
use quorate_state_machine::command::read_record;
use quorate_state_machine::keys::COUNTERS_KEY;
use quorate_state_machine::object_stores::Secrets;
use quorate_state_machine::queries::{QueryError, cluster_status, instances, object_stores};
use quorate_state_machine::record::Counters;
use quorate_state_machine::storage_request::StorageCall;
use quorate_wire::doris::{
    AlterObjStoreInfoRequest, GetClusterRequest, GetClusterResponse, GetClusterStatusRequest, GetClusterStatusResponse, GetInstanceRequest,
    GetObjStoreInfoRequest, GetObjStoreInfoResponse, GetStageRequest, InstanceInfoPb, MetaServiceCode, MetaServiceResponseStatus,
};
use serde_json::Value as Json;

/// An instance with its clusters, nodes and object stores; secrets in clear, as clients rely on.
pub fn get_instance(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let request = GetInstanceRequest {
            instance_id: Some(call.query.text("instance_id")),
            cloud_unique_id: Some(call.query.text("cloud_unique_id")),
            request_ip: None,
        };
        let (revision, instance) = instance(&call, &request).await?;
        Ok(success(revision, json(&instance)))
    })
}

/// As [`get_instance`], for every front.
pub async fn instance(call: &Call, request: &GetInstanceRequest) -> Result<(Revision, InstanceInfoPb), MetaError> {
    let sender = Sender {
        rpc: "get_instance",
        instance_id: request.instance_id(),
        cloud_unique_id: request.cloud_unique_id(),
    };
    call.app.cluster_settings.admit(&call.node, sender)?;
    wait_until_fresh(call).await?;
    let secrets = Secrets::Unsealed(&call.app.secrets);
    let account = &call.app.iam_user;
    at_one_revision(call, |reader| instances::get_instance(reader, request, secrets, account))
}

/// One cluster or all of an instance; the form of the result follows the request, not what was found.
pub fn get_cluster(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let request: GetClusterRequest = call.parse_body()?;
        let (revision, mut response) = clusters(&call, &request).await?;
        if instances::selects_one_cluster(&request) {
            return Ok(success(revision, response.cluster.first().map(json).unwrap_or_default()));
        }
        response.status = ok_status();
        Ok(success(revision, json(&response)))
    })
}

/// As [`get_cluster`], for every front.
pub async fn clusters(call: &Call, request: &GetClusterRequest) -> Result<(Revision, GetClusterResponse), MetaError> {
    let sender = Sender {
        rpc: "get_cluster",
        // Only an id that stands for nobody makes `instance_id` count.
        instance_id: "",
        cloud_unique_id: request.cloud_unique_id(),
    };
    call.app.cluster_settings.admit(&call.node, sender)?;
    wait_until_fresh(call).await?;
    at_one_revision(call, |reader| instances::get_cluster(reader, request))
}

/// The statuses of compute clusters over several instances; the result is the whole response.
pub fn get_cluster_status(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let (revision, mut response) = cluster_statuses(&call, &call.parse_body()?).await?;
        response.status = ok_status();
        Ok(success(revision, json(&response)))
    })
}

/// As [`get_cluster_status`], for every front.
pub async fn cluster_statuses(call: &Call, request: &GetClusterStatusRequest) -> Result<(Revision, GetClusterStatusResponse), MetaError> {
    wait_until_fresh(call).await?;
    at_one_revision(call, |reader| cluster_status::get_cluster_status(reader, request))
}

/// The object stores and vaults of an instance; secrets in clear, as clients rely on.
pub fn get_obj_store_info(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let (revision, mut response) = object_stores_of(&call, &call.parse_body()?).await?;
        response.status = ok_status();
        Ok(success(revision, json(&response)))
    })
}

/// As [`get_obj_store_info`], for every front.
pub async fn object_stores_of(call: &Call, request: &GetObjStoreInfoRequest) -> Result<(Revision, GetObjStoreInfoResponse), MetaError> {
    let sender = Sender {
        rpc: "get_obj_store_info",
        instance_id: "",
        cloud_unique_id: request.cloud_unique_id(),
    };
    call.app.cluster_settings.admit(&call.node, sender)?;
    wait_until_fresh(call).await?;
    let secrets = Secrets::Unsealed(&call.app.secrets);
    at_one_revision(call, |reader| object_stores::get_obj_store_info(reader, request, secrets))
}

/// Stages of an instance.
pub fn get_stage(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let request: GetStageRequest = call.parse_body()?;
        wait_until_fresh(&call).await?;
        let (revision, mut response) = at_one_revision(&call, |reader| object_stores::get_stage(reader, &request))?;
        response.status = ok_status();
        Ok(success(revision, json(&response)))
    })
}

/// A write that is always refused: why, may depend on the state, so it is answered like a read.
pub fn drop_s3_vault(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let (revision, ()) = refuse_to_drop_s3_vault(&call, call.parse_body()?).await?;
        Ok(Success {
            revision,
            message: "",
            result: None,
        })
    })
}

/// As [`drop_s3_vault`], for every front.
pub async fn refuse_to_drop_s3_vault(call: &Call, request: AlterObjStoreInfoRequest) -> Result<(Revision, ()), MetaError> {
    let request = StorageCall {
        request,
        ..StorageCall::default()
    };
    wait_until_fresh(call).await?;
    at_one_revision(call, |reader| object_stores::drop_s3_vault(reader, &request))
}

/// The status inside a response that is shown whole.
pub(super) fn ok_status() -> Option<MetaServiceResponseStatus> {
    Some(MetaServiceResponseStatus {
        code: Some(MetaServiceCode::Ok as i32),
        msg: Some(String::new()),
    })
}

/// Waits until the state here has every write acknowledged before the call, or the revision the caller wants.
pub(super) async fn wait_until_fresh(call: &Call) -> Result<(), MetaError> {
    match call.info.min_revision {
        Some(revision) => call.node.wait_revision(revision, call.info.deadline).await,
        None => call.node.read_barrier(call.info.deadline).await,
    }
}

/// Runs a query, and tells the revision of the state it saw.
pub(super) fn at_one_revision<T>(call: &Call, query: impl Fn(&dyn Reader) -> Result<T, QueryError>) -> Result<(Revision, T), MetaError> {
    let answer = call.node.read(|reader| -> Result<(Revision, T), QueryError> {
        let counters = read_record::<Counters>(reader, COUNTERS_KEY)?.unwrap_or_default();
        Ok((Revision(counters.revision), query(reader)?))
    });
    answer.map_err(|error| match error {
        QueryError::Refused(error) => error,
        QueryError::Store(error) => crate::app::unreadable(&call.node, &error),
    })
}

fn success(revision: Revision, result: Json) -> Success {
    Success {
        revision,
        message: "",
        result: Some(result),
    }
}

pub(super) fn json<M: Message + Name>(message: &M) -> Json {
    proto_json::render_message(&M::full_name(), message)
}
