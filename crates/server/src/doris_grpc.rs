//! The Doris meta-service over gRPC: `doris.cloud.MetaService`, on the public port.
//!
//! The same commands and queries as the HTTP routes, and other manners (spec/doris-grpc.md c.1, e.1). A call ends with gRPC
//! status OK and says in `response.status` how it went, except where the frontends of Doris must try again elsewhere: those
//! repeat a call on UNAVAILABLE and give up on nearly everything else.
//!
//! Doris sends no token here. Who may call is decided by the address the connection comes from (`doris_grpc_allow`), and whether
//! there is a place for the call, before anything of it is read.
//!
//! Adding a call: its `rpc` in `proto/doris/cloud.proto`, its response in `responses!`, a method below.

use crate::app::App;
use crate::config::{ServerConfig, is_loopback};
use crate::doris::call::{Call, CallInfo};
use crate::doris::{operations, read, snapshots, storage_operations, write};
use crate::limits::DEFAULT_DEADLINE;
use crate::native::{Timely, reply};
use crate::networks::Network;
use axum::BoxError;
use bytes::Bytes;
use hyper::body::Body as HttpBody;
use quorate_model::{ErrorCode, MetaError, RetryClass, Revision};
use quorate_state_machine::command::Prepare;
use quorate_state_machine::commands::{
    AbortInstanceSnapshot, CommitInstanceSnapshot, CompactSnapshot, CreateInstance, DropInstanceSnapshot, UpdateAkSk,
    UpdateInstanceSnapshot,
};
use quorate_wire::doris::meta_service_server::{MetaService, MetaServiceServer};
use quorate_wire::doris::{
    AbortSnapshotRequest, AbortSnapshotResponse, AlterClusterRequest, AlterClusterResponse, AlterInstanceRequest, AlterInstanceResponse,
    AlterObjStoreInfoRequest, AlterObjStoreInfoResponse, BeginSnapshotRequest, BeginSnapshotResponse, CloneInstanceRequest,
    CloneInstanceResponse, CommitSnapshotRequest, CommitSnapshotResponse, CompactSnapshotRequest, CompactSnapshotResponse,
    CreateInstanceRequest, CreateInstanceResponse, DropSnapshotRequest, DropSnapshotResponse, GetClusterRequest, GetClusterResponse,
    GetClusterStatusRequest, GetClusterStatusResponse, GetInstanceRequest, GetInstanceResponse, GetObjStoreInfoRequest,
    GetObjStoreInfoResponse, ListSnapshotRequest, ListSnapshotResponse, MetaServiceCode, MetaServiceResponseStatus, UpdateAkSkRequest,
    UpdateAkSkResponse, UpdateSnapshotRequest, UpdateSnapshotResponse,
};
use quorate_wire::quorate::v1::Finding;
use std::convert::{Infallible, identity};
use std::net::IpAddr;
use std::sync::Arc;
use tokio::time::Instant;
use tonic::body::Body;
use tonic::metadata::MetadataValue;
use tonic::{Code, Request, Response, Status};
use tower::Service as _;

/// Label in the metrics of calls that are refused before they reach the service, which counts them itself from there on.
const REFUSED_CALL: &str = "doris_grpc";

/// Begin of the path of every call.
pub const PATH_PREFIX: &str = "/doris.cloud.MetaService/";

/// Serves the calls of one peer.
pub struct DorisService {
    pub app: Arc<App>,
}

/// A response: whatever it holds, its first field tells how the call ended.
trait Outcome: Default {
    fn set_status(&mut self, status: MetaServiceResponseStatus);
}

macro_rules! responses {
    ($($response:ty),* $(,)?) => {
        $(impl Outcome for $response {
            fn set_status(&mut self, status: MetaServiceResponseStatus) {
                self.status = Some(status);
            }
        })*
    };
}

responses! {
    CreateInstanceResponse,
    AlterInstanceResponse,
    GetInstanceResponse,
    AlterClusterResponse,
    GetClusterResponse,
    GetClusterStatusResponse,
    GetObjStoreInfoResponse,
    AlterObjStoreInfoResponse,
    UpdateAkSkResponse,
    BeginSnapshotResponse,
    UpdateSnapshotResponse,
    CommitSnapshotResponse,
    AbortSnapshotResponse,
    DropSnapshotResponse,
    ListSnapshotResponse,
    CloneInstanceResponse,
    CompactSnapshotResponse,
}

/// Why a connection's calls are not served; `None` for one from an allowed network.
pub fn refusal(config: &ServerConfig, remote: IpAddr) -> Option<Status> {
    if config.doris_grpc_allow.iter().any(|network| network.contains(remote)) {
        return None;
    }
    let text = format!("{remote} is in none of the networks that may call without a token; add its network to `doris_grpc_allow`");
    Some(Status::new(Code::PermissionDenied, text))
}

/// Serves one call, which has a place among those in work before its message is read. That must come within [`DEFAULT_DEADLINE`].
pub fn call<B>(
    service: &MetaServiceServer<DorisService>,
    app: &Arc<App>,
    request: http::Request<B>,
) -> impl Future<Output = Result<http::Response<Body>, Infallible>> + Send + use<B>
where
    B: HttpBody<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<BoxError>,
{
    let started = Instant::now();
    let admitted = match app.admit() {
        Ok(place) => {
            let timely = |body| Body::new(Timely::new(body, started + DEFAULT_DEADLINE, app.clone()));
            Ok((service.clone().call(request.map(timely)), place))
        }
        Err(error) => {
            app.served(REFUSED_CALL, error.code.row().name, None, started);
            Err(unavailable(app, error).into_http())
        }
    };
    let app = app.clone();
    async move {
        match admitted {
            Ok((answering, place)) => {
                let mut answer = reply::with_own_refusals(&app, answering.await?);
                place.go_with(&mut answer);
                Ok(answer)
            }
            Err(refused) => Ok(refused),
        }
    }
}

/// What makes the frontends of Doris try again elsewhere.
fn unavailable(app: &App, error: MetaError) -> Status {
    let status = reply::status(app, error);
    Status::with_metadata(Code::Unavailable, status.message(), status.metadata().clone())
}

/// What `status` says when callers from beyond this machine are let in without a token: a warning if not all of them are in
/// private networks, else advice.
pub fn finding(config: &ServerConfig) -> Option<Finding> {
    let named = |wanted: &dyn Fn(&Network) -> bool| -> Vec<String> {
        let networks = config.doris_grpc_allow.iter().filter(|network| wanted(network));
        networks.map(ToString::to_string).collect()
    };
    let wide = named(&|network| !network.is_private());
    let (severity, open) = match wide.is_empty() {
        false => ("warning", wide),
        true if is_loopback(&config.listen) => return None,
        true => ("advice", named(&|network| !network.is_loopback())),
    };
    if open.is_empty() {
        return None;
    }
    Some(Finding {
        severity: severity.to_owned(),
        object: format!("listener {}", config.listen),
        text: format!("the Doris gRPC service, which has no token, is open to {}", open.join(", ")),
        advice: "set `doris_grpc_allow` to the networks of the Doris frontends".to_owned(),
    })
}

impl DorisService {
    /// Metadata and metrics around one call, and its outcome as Doris reads it.
    async fn around<Q, R, F>(&self, name: &'static str, request: Request<Q>, work: impl FnOnce(Call, Q) -> F) -> Result<Response<R>, Status>
    where
        R: Outcome,
        F: Future<Output = Result<(Revision, &'static str, R), MetaError>>,
    {
        let started = Instant::now();
        let app = &self.app;
        let id = reply::request_id(request.metadata()).ok().flatten();
        let answered: Result<_, MetaError> = async {
            let info = reply::call_info(app, request.metadata())?;
            let call = Call::decoded(app, CallInfo::from(info)).await?;
            if let Err(redirect) = reply::check_redirect(app, &info) {
                return Ok(Err(redirect));
            }
            app.wait_ready(&call.node, info.ready_by).await;
            let (revision, message, response) = work(call, request.into_inner()).await?;
            let mut done = self.answer(revision, MetaServiceCode::Ok as i32, message, response);
            if info.dry_run {
                done.metadata_mut().insert(reply::DRY_RUN, MetadataValue::from_static("1"));
            }
            Ok(Ok(done))
        }
        .await;
        let (outcome, reply) = match answered {
            Ok(Ok(done)) => ("ok", Ok(done)),
            Ok(Err(redirect)) => ("not_leader", Err(redirect)),
            Err(error) => (error.code.row().name, self.refuse(error)),
        };
        app.served(name, outcome, id, started);
        reply
    }

    fn answer<R: Outcome>(&self, revision: Revision, code: i32, message: &str, mut response: R) -> Response<R> {
        response.set_status(MetaServiceResponseStatus {
            code: Some(code),
            msg: Some(message.to_owned()),
        });
        reply::response(&self.app, response, revision)
    }

    fn refuse<R: Outcome>(&self, error: MetaError) -> Result<Response<R>, Status> {
        let row = error.code.row();
        let is_for_another_try = matches!(row.retry, RetryClass::OtherPeer | RetryClass::SameRequestId);
        match error.code {
            ErrorCode::DeadlineExceeded => Err(reply::status(&self.app, error)),
            _ if is_for_another_try || error.code == ErrorCode::TooManyRequests => Err(unavailable(&self.app, error)),
            _ => {
                let revision = self.app.node().map(|node| node.applied().revision).unwrap_or_default();
                Ok(self.answer(revision, row.doris_number, &error.message, R::default()))
            }
        }
    }
}

#[tonic::async_trait]
impl MetaService for DorisService {
    async fn create_instance(&self, request: Request<CreateInstanceRequest>) -> Result<Response<CreateInstanceResponse>, Status> {
        self.around("MetaService.create_instance", request, |call, request| async move {
            let (revision, _) = write::propose::<CreateInstance>(request, &call).await?;
            Ok((revision, "", CreateInstanceResponse::default()))
        })
        .await
    }

    async fn alter_instance(&self, request: Request<AlterInstanceRequest>) -> Result<Response<AlterInstanceResponse>, Status> {
        self.around("MetaService.alter_instance", request, |call, request| async move {
            let revision = operations::alter_instance(request, &call).await?;
            Ok((revision, operations::INSTANCE_ALTERED, AlterInstanceResponse::default()))
        })
        .await
    }

    /// Unlike the HTTP route it takes no `instance_id`: frontends ask for their own.
    async fn get_instance(&self, request: Request<GetInstanceRequest>) -> Result<Response<GetInstanceResponse>, Status> {
        self.around("MetaService.get_instance", request, |call, mut request| async move {
            if request.cloud_unique_id().is_empty() {
                return Err(MetaError::invalid("cloud_unique_id must be given"));
            }
            request.instance_id = None;
            let (revision, instance) = read::instance(&call, request, identity).await?;
            let response = GetInstanceResponse {
                instance: Some(instance),
                ..GetInstanceResponse::default()
            };
            Ok((revision, "", response))
        })
        .await
    }

    async fn alter_cluster(&self, request: Request<AlterClusterRequest>) -> Result<Response<AlterClusterResponse>, Status> {
        self.around("MetaService.alter_cluster", request, |call, request| async move {
            let revision = operations::alter_cluster(request, &call).await?;
            Ok((revision, "", AlterClusterResponse::default()))
        })
        .await
    }

    async fn get_cluster(&self, request: Request<GetClusterRequest>) -> Result<Response<GetClusterResponse>, Status> {
        self.around("MetaService.get_cluster", request, |call, request| async move {
            let (revision, response) = read::clusters(&call, request, identity).await?;
            Ok((revision, "", response))
        })
        .await
    }

    async fn get_cluster_status(&self, request: Request<GetClusterStatusRequest>) -> Result<Response<GetClusterStatusResponse>, Status> {
        self.around("MetaService.get_cluster_status", request, |call, request| async move {
            let (revision, response) = read::cluster_statuses(&call, request, identity).await?;
            Ok((revision, "", response))
        })
        .await
    }

    async fn get_obj_store_info(&self, request: Request<GetObjStoreInfoRequest>) -> Result<Response<GetObjStoreInfoResponse>, Status> {
        self.around("MetaService.get_obj_store_info", request, |call, request| async move {
            let (revision, response) = read::object_stores_of(&call, request, identity).await?;
            Ok((revision, "", response))
        })
        .await
    }

    async fn alter_obj_store_info(
        &self,
        request: Request<AlterObjStoreInfoRequest>,
    ) -> Result<Response<AlterObjStoreInfoResponse>, Status> {
        self.around("MetaService.alter_obj_store_info", request, |call, request| async move {
            storage_operations::alter_obj_store_info(request, &call).await
        })
        .await
    }

    async fn alter_storage_vault(&self, request: Request<AlterObjStoreInfoRequest>) -> Result<Response<AlterObjStoreInfoResponse>, Status> {
        self.around("MetaService.alter_storage_vault", request, |call, request| async move {
            storage_operations::alter_storage_vault(request, &call).await
        })
        .await
    }

    async fn update_ak_sk(&self, request: Request<UpdateAkSkRequest>) -> Result<Response<UpdateAkSkResponse>, Status> {
        self.around("MetaService.update_ak_sk", request, |call, request| async move {
            let (revision, _) = write::propose::<UpdateAkSk>(request, &call).await?;
            Ok((revision, "", UpdateAkSkResponse::default()))
        })
        .await
    }

    async fn begin_snapshot(&self, request: Request<BeginSnapshotRequest>) -> Result<Response<BeginSnapshotResponse>, Status> {
        self.around("MetaService.begin_snapshot", request, |call, request| async move {
            let (revision, response) = snapshots::begin(request, &call).await?;
            Ok((revision, "", response))
        })
        .await
    }

    async fn update_snapshot(&self, request: Request<UpdateSnapshotRequest>) -> Result<Response<UpdateSnapshotResponse>, Status> {
        self.around("MetaService.update_snapshot", request, |call, request| async move {
            let (revision, _) = write::propose::<UpdateInstanceSnapshot>(request, &call).await?;
            Ok((revision, "", UpdateSnapshotResponse::default()))
        })
        .await
    }

    async fn commit_snapshot(&self, request: Request<CommitSnapshotRequest>) -> Result<Response<CommitSnapshotResponse>, Status> {
        self.around("MetaService.commit_snapshot", request, |call, request| async move {
            let (revision, _) = write::propose::<CommitInstanceSnapshot>(request, &call).await?;
            Ok((revision, "", CommitSnapshotResponse::default()))
        })
        .await
    }

    async fn abort_snapshot(&self, request: Request<AbortSnapshotRequest>) -> Result<Response<AbortSnapshotResponse>, Status> {
        self.around("MetaService.abort_snapshot", request, |call, request| async move {
            let (revision, _) = write::propose::<AbortInstanceSnapshot>(request, &call).await?;
            Ok((revision, "", AbortSnapshotResponse::default()))
        })
        .await
    }

    async fn drop_snapshot(&self, request: Request<DropSnapshotRequest>) -> Result<Response<DropSnapshotResponse>, Status> {
        self.around("MetaService.drop_snapshot", request, |call, request| async move {
            let (revision, _) = write::propose::<DropInstanceSnapshot>(request, &call).await?;
            Ok((revision, "", DropSnapshotResponse::default()))
        })
        .await
    }

    async fn list_snapshot(&self, request: Request<ListSnapshotRequest>) -> Result<Response<ListSnapshotResponse>, Status> {
        self.around("MetaService.list_snapshot", request, |call, request| async move {
            let (revision, response) = snapshots::list(&call, request, identity).await?;
            Ok((revision, "", response))
        })
        .await
    }

    async fn clone_instance(&self, request: Request<CloneInstanceRequest>) -> Result<Response<CloneInstanceResponse>, Status> {
        self.around("MetaService.clone_instance", request, |call, request| async move {
            let (revision, response) = snapshots::clone_instance(request, &call).await?;
            Ok((revision, "", response))
        })
        .await
    }

    async fn compact_snapshot(&self, request: Request<CompactSnapshotRequest>) -> Result<Response<CompactSnapshotResponse>, Status> {
        self.around("MetaService.compact_snapshot", request, |call, request| async move {
            let (revision, reply) = write::propose::<CompactSnapshot>(request, &call).await?;
            Ok((revision, CompactSnapshot::note(&reply), CompactSnapshotResponse::default()))
        })
        .await
    }
}

impl Call {
    /// A call whose message comes decoded: there is no path, no query string and no body to parse.
    async fn decoded(app: &Arc<App>, info: CallInfo) -> Result<Call, MetaError> {
        Ok(Call {
            app: app.clone(),
            node: app.started_node(info.ready_by).await?.clone(),
            path: String::new(),
            query: crate::doris::query_string::QueryString::parse(""),
            body: Bytes::new(),
            info,
        })
    }
}

impl From<reply::CallInfo> for CallInfo {
    fn from(info: reply::CallInfo) -> CallInfo {
        let reply::CallInfo {
            request,
            deadline,
            ready_by,
            redirect,
            min_revision,
            dry_run,
        } = info;
        CallInfo {
            request,
            deadline,
            ready_by,
            redirect,
            min_revision,
            dry_run,
        }
    }
}

#[cfg(test)]
mod snapshot_tests;
#[cfg(test)]
mod storage_tests;
#[cfg(test)]
mod tests;
