//! Routes that read the state.

use super::call::{Call, Shown, Success};
use crate::cluster_settings::Sender;
use crate::native::call as native;
use futures::future::BoxFuture;
use prost::{Message, Name};
use quorate_model::{MetaError, Revision, proto_json};
use quorate_state_machine::Reader;
use quorate_state_machine::object_stores::Secrets;
use quorate_state_machine::queries::{QueryError, cluster_status, instances, object_stores};
use quorate_state_machine::storage_request::StorageCall;
use quorate_state_machine::text_bounds;
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
        let (revision, shown) = instance(&call, request, |instance| rendered(json(&instance))).await?;
        Ok(success(revision, shown))
    })
}

/// As [`get_instance`], for every front; `show` makes of an instance what the front shows.
pub async fn instance<S: Send + 'static>(
    call: &Call,
    request: GetInstanceRequest,
    show: impl FnOnce(InstanceInfoPb) -> S + Send + 'static,
) -> Result<(Revision, S), MetaError> {
    let sender = Sender {
        rpc: "get_instance",
        instance_id: request.instance_id(),
        cloud_unique_id: request.cloud_unique_id(),
        ..Sender::default()
    };
    call.app.cluster_settings.admit(&call.node, sender)?;
    wait_until_fresh(call).await?;
    let app = call.app.clone();
    let query = move |reader: &dyn Reader| instances::get_instance(reader, &request, Secrets::Unsealed(&app.secrets), &app.iam_user);
    at_one_revision_large(call, query, show).await
}

/// One cluster or all of an instance; the form of the result follows the request, not what was found.
pub fn get_cluster(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let request: GetClusterRequest = call.parse_body()?;
        let is_of_one = instances::selects_one_cluster(&request);
        let show = move |mut response: GetClusterResponse| {
            if is_of_one {
                return rendered(response.cluster.first().map(json).unwrap_or_default());
            }
            response.status = ok_status();
            rendered(json(&response))
        };
        let (revision, shown) = clusters(&call, request, show).await?;
        Ok(success(revision, shown))
    })
}

/// As [`get_cluster`], for every front; `show` makes of clusters what the front shows. One cluster of few nodes, as backends ask
/// for it, is a small read.
pub async fn clusters<S: Send + 'static>(
    call: &Call,
    request: GetClusterRequest,
    show: impl FnOnce(GetClusterResponse) -> S + Send + 'static,
) -> Result<(Revision, S), MetaError> {
    let sender = Sender {
        rpc: "get_cluster",
        // Only an id that stands for nobody makes the request's `instance_id` count.
        cloud_unique_id: request.cloud_unique_id(),
        ..Sender::default()
    };
    call.app.cluster_settings.admit(&call.node, sender)?;
    wait_until_fresh(call).await?;
    if instances::selects_one_cluster(&request)
        && let (revision, Some(small)) = at_one_revision(call, |reader| instances::get_cluster_of_few_nodes(reader, &request))?
    {
        return Ok((revision, show(small)));
    }
    at_one_revision_large(call, move |reader| instances::get_cluster(reader, &request), show).await
}

/// The statuses of compute clusters over several instances; the result is the whole response.
pub fn get_cluster_status(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let show = |mut response: GetClusterStatusResponse| {
            response.status = ok_status();
            rendered(json(&response))
        };
        let (revision, shown) = cluster_statuses(&call, call.parse_body()?, show).await?;
        Ok(success(revision, shown))
    })
}

/// As [`get_cluster_status`], for every front; `show` makes of the statuses what the front shows.
pub async fn cluster_statuses<S: Send + 'static>(
    call: &Call,
    request: GetClusterStatusRequest,
    show: impl FnOnce(GetClusterStatusResponse) -> S + Send + 'static,
) -> Result<(Revision, S), MetaError> {
    text_bounds::check_list("instance_ids", &request.instance_ids)?;
    text_bounds::check_list("cloud_unique_ids", &request.cloud_unique_ids)?;
    let named: Vec<(&str, &str)> = match request.instance_ids.is_empty() {
        false => request.instance_ids.iter().map(|instance_id| (instance_id.as_str(), "")).collect(),
        true => request.cloud_unique_ids.iter().map(|node| ("", node.as_str())).collect(),
    };
    let senders = named.into_iter().map(|(instance_id, cloud_unique_id)| Sender {
        rpc: "get_cluster_status",
        instance_id,
        cloud_unique_id,
        ..Sender::default()
    });
    call.app.cluster_settings.admit_for_each(&call.node, senders)?;
    wait_until_fresh(call).await?;
    at_one_revision_large(call, move |reader| cluster_status::get_cluster_status(reader, &request), show).await
}

/// The object stores and vaults of an instance; secrets in clear, as clients rely on.
pub fn get_obj_store_info(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let show = |mut response: GetObjStoreInfoResponse| {
            response.status = ok_status();
            rendered(json(&response))
        };
        let (revision, shown) = object_stores_of(&call, call.parse_body()?, show).await?;
        Ok(success(revision, shown))
    })
}

/// As [`get_obj_store_info`], for every front; `show` makes of the stores what the front shows. Each secret is decrypted.
pub async fn object_stores_of<S: Send + 'static>(
    call: &Call,
    request: GetObjStoreInfoRequest,
    show: impl FnOnce(GetObjStoreInfoResponse) -> S + Send + 'static,
) -> Result<(Revision, S), MetaError> {
    let sender = Sender {
        rpc: "get_obj_store_info",
        cloud_unique_id: request.cloud_unique_id(),
        ..Sender::default()
    };
    call.app.cluster_settings.admit(&call.node, sender)?;
    wait_until_fresh(call).await?;
    let app = call.app.clone();
    let query = move |reader: &dyn Reader| object_stores::get_obj_store_info(reader, &request, Secrets::Unsealed(&app.secrets));
    at_one_revision_large(call, query, show).await
}

/// Stages of an instance.
pub fn get_stage(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let request: GetStageRequest = call.parse_body()?;
        let sender = Sender {
            rpc: "get_stage",
            cloud_unique_id: request.cloud_unique_id(),
            ..Sender::default()
        };
        call.app.cluster_settings.admit(&call.node, sender)?;
        wait_until_fresh(&call).await?;
        let (revision, mut response) = at_one_revision(&call, |reader| object_stores::get_stage(reader, &request))?;
        response.status = ok_status();
        Ok(success(revision, json(&response).into()))
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
    let sender = Sender {
        rpc: "alter_storage_vault",
        cloud_unique_id: request.cloud_unique_id(),
        ..Sender::default()
    };
    call.app.cluster_settings.admit(&call.node, sender)?;
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

/// Runs a query of a few rows, and tells the revision of the state it saw.
pub(super) fn at_one_revision<T>(call: &Call, query: impl Fn(&dyn Reader) -> Result<T, QueryError>) -> Result<(Revision, T), MetaError> {
    native::at_one_revision(&call.node, query)
}

/// As [`at_one_revision`], for a query that may go through many rows: away from the threads that serve calls, and `show` with it.
pub(super) async fn at_one_revision_large<T, S: Send + 'static>(
    call: &Call,
    query: impl Fn(&dyn Reader) -> Result<T, QueryError> + Send + 'static,
    show: impl FnOnce(T) -> S + Send + 'static,
) -> Result<(Revision, S), MetaError> {
    native::at_one_revision_large(&call.node, call.info.deadline, query, show).await
}

pub(super) fn success(revision: Revision, shown: Shown) -> Success {
    Success {
        revision,
        message: "",
        result: Some(shown),
    }
}

pub(super) fn json<M: Message + Name>(message: &M) -> Json {
    proto_json::render_message(&M::full_name(), message)
}

/// The whole body of a reply that has an envelope and no message: to be called where a large result was read.
pub(super) fn rendered(result: Json) -> Shown {
    Shown::Body(proto_json::envelope("OK", "", Some(result)))
}
