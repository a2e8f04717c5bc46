//! Snapshots of instances and clones, for both of Doris's fronts: what each sends becomes the command of its kind, and the keys of a
//! store that a reply shows are usable, as those of `get_obj_store_info` are.

use super::call::{Call, Success};
use super::query_string::QueryString;
use super::read::{at_one_revision_large, json, ok_status, rendered, success, wait_until_fresh};
use super::write::{self, DorisRequest, QueryRequest, unique_number};
use crate::cluster_settings::Sender;
use futures::future::BoxFuture;
use quorate_model::{MetaError, Revision};
use quorate_state_machine::commands::clone_instance::CloneInstanceCall;
use quorate_state_machine::commands::compact_snapshot::CompactSnapshotCall;
use quorate_state_machine::commands::decouple_instance::DecoupleInstanceCall;
use quorate_state_machine::commands::drop_instance_snapshot::DropInstanceSnapshotCall;
use quorate_state_machine::commands::{BeginInstanceSnapshot, CloneInstance};
use quorate_state_machine::object_stores;
use quorate_state_machine::queries::instance_snapshots;
use quorate_wire::doris::{
    BeginSnapshotRequest, BeginSnapshotResponse, CloneInstanceRequest, CloneInstanceResponse, CompactSnapshotRequest, DropSnapshotRequest,
    ListSnapshotRequest, ListSnapshotResponse, ObjectStoreInfoPb,
};

impl QueryRequest for DropInstanceSnapshotCall {
    const SUCCESS_MESSAGE: &'static str = "";

    fn receive(query: &QueryString) -> DropInstanceSnapshotCall {
        DropInstanceSnapshotCall::Http {
            instance_id: query.text("instance_id"),
            snapshot_id: query.text("snapshot_id"),
        }
    }

    fn sender(&self) -> Option<Sender<'_>> {
        match self {
            DropInstanceSnapshotCall::Http { instance_id, .. } => Some(Sender {
                rpc: "drop_snapshot",
                instance_id,
                ..Sender::default()
            }),
            DropInstanceSnapshotCall::Grpc(_) => None,
        }
    }
}

impl QueryRequest for CompactSnapshotCall {
    const SUCCESS_MESSAGE: &'static str = "";

    fn receive(query: &QueryString) -> CompactSnapshotCall {
        CompactSnapshotCall::Http {
            instance_id: query.text("instance_id"),
        }
    }

    fn sender(&self) -> Option<Sender<'_>> {
        match self {
            CompactSnapshotCall::Http { instance_id } => Some(Sender {
                rpc: "compact_snapshot",
                instance_id,
                ..Sender::default()
            }),
            _ => None,
        }
    }
}

impl QueryRequest for DecoupleInstanceCall {
    const SUCCESS_MESSAGE: &'static str = "";

    fn receive(query: &QueryString) -> DecoupleInstanceCall {
        DecoupleInstanceCall::Http {
            instance_id: query.text("instance_id"),
        }
    }
}

impl DorisRequest for DropInstanceSnapshotCall {
    type Body = DropSnapshotRequest;
    const SUCCESS_MESSAGE: &'static str = "";

    fn receive(request: DropSnapshotRequest, _: &Call) -> DropInstanceSnapshotCall {
        DropInstanceSnapshotCall::Grpc(request)
    }

    fn sender<'a>(request: &'a DropSnapshotRequest, _: &'static str) -> Sender<'a> {
        Sender {
            rpc: "drop_snapshot",
            cloud_unique_id: request.cloud_unique_id(),
            ..Sender::default()
        }
    }
}

impl DorisRequest for CompactSnapshotCall {
    type Body = CompactSnapshotRequest;
    const SUCCESS_MESSAGE: &'static str = "";

    fn receive(request: CompactSnapshotRequest, _: &Call) -> CompactSnapshotCall {
        CompactSnapshotCall::Grpc(request)
    }

    fn sender<'a>(request: &'a CompactSnapshotRequest, _: &'static str) -> Sender<'a> {
        Sender {
            rpc: "compact_snapshot",
            instance_id: request.instance_id(),
            cloud_unique_id: request.cloud_unique_id(),
            ..Sender::default()
        }
    }
}

impl DorisRequest for CloneInstanceCall {
    type Body = CloneInstanceRequest;
    const SUCCESS_MESSAGE: &'static str = "";

    fn receive(request: CloneInstanceRequest, call: &Call) -> CloneInstanceCall {
        CloneInstanceCall {
            request,
            needs_store: true,
            hdfs_prefix_suffix: format!("{:032X}", unique_number(call)),
        }
    }

    fn sender<'a>(request: &'a CloneInstanceRequest, _: &'static str) -> Sender<'a> {
        Sender {
            rpc: "clone_instance",
            instance_id: request.from_instance_id(),
            ..Sender::default()
        }
    }
}

/// Begins a snapshot and says where its image is to go.
pub async fn begin(request: BeginSnapshotRequest, call: &Call) -> Result<(Revision, BeginSnapshotResponse), MetaError> {
    let (revision, reply) = write::propose::<BeginInstanceSnapshot>(request, call).await?;
    let response = BeginSnapshotResponse {
        status: None,
        snapshot_id: Some(reply.snapshot_id),
        image_url: Some(reply.image_url),
        obj_info: usable(call, reply.obj_info)?,
    };
    Ok((revision, response))
}

/// Makes a clone and says where its source's image is.
pub async fn clone_instance(request: CloneInstanceRequest, call: &Call) -> Result<(Revision, CloneInstanceResponse), MetaError> {
    let (revision, reply) = write::propose::<CloneInstance>(request, call).await?;
    let response = CloneInstanceResponse {
        status: None,
        obj_info: usable(call, reply.obj_info)?,
        image_url: Some(reply.image_url),
    };
    Ok((revision, response))
}

/// A store with its secret in clear.
fn usable(call: &Call, mut store: Option<ObjectStoreInfoPb>) -> Result<Option<ObjectStoreInfoPb>, MetaError> {
    if let Some(store) = &mut store {
        object_stores::unseal_store(&call.app.secrets, store)?;
    }
    Ok(store)
}

/// The snapshots of an instance; a body is read only when the query string names no instance.
pub fn list_snapshot(call: Call) -> BoxFuture<'static, Result<Success, MetaError>> {
    Box::pin(async move {
        let request = match call.query.text("instance_id") {
            instance_id if instance_id.is_empty() => call.parse_body()?,
            instance_id => ListSnapshotRequest {
                instance_id: Some(instance_id),
                ..ListSnapshotRequest::default()
            },
        };
        let show = |mut response: ListSnapshotResponse| {
            response.status = ok_status();
            rendered(json(&response))
        };
        let (revision, shown) = list(&call, request, show).await?;
        Ok(success(revision, shown))
    })
}

/// As [`list_snapshot`], for every front.
pub async fn list<S: Send + 'static>(
    call: &Call,
    request: ListSnapshotRequest,
    show: impl FnOnce(ListSnapshotResponse) -> S + Send + 'static,
) -> Result<(Revision, S), MetaError> {
    let sender = Sender {
        rpc: "list_snapshot",
        instance_id: request.instance_id(),
        cloud_unique_id: request.cloud_unique_id(),
        ..Sender::default()
    };
    call.app.cluster_settings.admit(&call.node, sender)?;
    wait_until_fresh(call).await?;
    at_one_revision_large(call, move |reader| instance_snapshots::list_snapshot(reader, &request), show).await
}
