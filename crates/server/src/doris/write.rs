//! Routes that change the state: a body becomes a command, the command an answer.

use super::call::{Call, Success};
use super::query_string::QueryString;
use crate::cluster_settings::Sender;
use crate::native::call::dry_run;
use futures::future::BoxFuture;
use prost::{Message, Name};
use quorate_consensus::{Node, env};
use quorate_model::{MetaError, RequestId, Revision};
use quorate_state_machine::command::{Prepare, PrepareContext};
use quorate_state_machine::commands::create_instance::CreateInstanceCall;
use quorate_state_machine::commands::{AddObjInfo, AlterObjInfo, LegacyUpdateAkSk, Numbered};
use quorate_state_machine::storage_request::StorageCall;
use quorate_wire::doris::{
    AbortSnapshotRequest, AlterClusterRequest, AlterIamRequest, AlterInstanceRequest, AlterObjStoreInfoRequest, AlterRamUserRequest,
    BeginSnapshotRequest, CommitSnapshotRequest, CreateInstanceRequest, UpdateAkSkRequest, UpdateSnapshotRequest,
};
use sha2::{Digest as _, Sha256};

/// What a command is prepared from, as its route receives it.
pub trait DorisRequest: Sized {
    type Body: Message + Name + Default;
    /// `msg` of a success: upstream's is not empty for every family of routes (spec/doris-http.md 5.1).
    const SUCCESS_MESSAGE: &'static str;

    /// Adds what the receiving peer adds.
    fn receive(body: Self::Body, call: &Call) -> Self;

    /// Who calls what, for the limits of calls. Of one RPC's request and several commands `command` says which it is.
    fn sender<'a>(body: &'a Self::Body, command: &'static str) -> Sender<'a>;
}

/// What a command is prepared from, for routes whose parameters travel in the query string.
pub trait QueryRequest {
    const SUCCESS_MESSAGE: &'static str;

    fn receive(query: &QueryString) -> Self;

    /// Who calls what, for the limits of calls; none for a route that stands for no RPC, which upstream does not limit either.
    fn sender(&self) -> Option<Sender<'_>> {
        None
    }
}

impl DorisRequest for CreateInstanceCall {
    type Body = CreateInstanceRequest;
    const SUCCESS_MESSAGE: &'static str = "";

    fn receive(request: CreateInstanceRequest, call: &Call) -> CreateInstanceCall {
        CreateInstanceCall {
            request,
            hdfs_prefix_suffix: format!("{:032X}", unique_number(call)),
        }
    }

    fn sender<'a>(request: &'a CreateInstanceRequest, _: &'static str) -> Sender<'a> {
        Sender {
            rpc: "create_instance",
            instance_id: request.instance_id(),
            ..Sender::default()
        }
    }
}

impl DorisRequest for AlterInstanceRequest {
    type Body = AlterInstanceRequest;
    const SUCCESS_MESSAGE: &'static str = "OK";

    fn receive(request: AlterInstanceRequest, _: &Call) -> AlterInstanceRequest {
        request
    }

    fn sender<'a>(request: &'a AlterInstanceRequest, _: &'static str) -> Sender<'a> {
        Sender {
            rpc: "alter_instance",
            instance_id: request.instance_id(),
            ..Sender::default()
        }
    }
}

impl DorisRequest for AlterClusterRequest {
    type Body = AlterClusterRequest;
    const SUCCESS_MESSAGE: &'static str = "";

    fn receive(request: AlterClusterRequest, _: &Call) -> AlterClusterRequest {
        request
    }

    fn sender<'a>(request: &'a AlterClusterRequest, _: &'static str) -> Sender<'a> {
        Sender {
            rpc: "alter_cluster",
            instance_id: request.instance_id(),
            cloud_unique_id: request.cloud_unique_id(),
            ..Sender::default()
        }
    }
}

impl DorisRequest for StorageCall {
    type Body = AlterObjStoreInfoRequest;
    const SUCCESS_MESSAGE: &'static str = "";

    fn receive(request: AlterObjStoreInfoRequest, call: &Call) -> StorageCall {
        StorageCall {
            request,
            hdfs_prefix_suffix: format!("{:032X}", unique_number(call)),
        }
    }

    fn sender<'a>(request: &'a AlterObjStoreInfoRequest, command: &'static str) -> Sender<'a> {
        let is_of_vaults = ![AddObjInfo::NAME, LegacyUpdateAkSk::NAME, AlterObjInfo::NAME].contains(&command);
        Sender {
            rpc: if is_of_vaults {
                "alter_storage_vault"
            } else {
                "alter_obj_store_info"
            },
            cloud_unique_id: request.cloud_unique_id(),
            ..Sender::default()
        }
    }
}

impl DorisRequest for AlterIamRequest {
    type Body = AlterIamRequest;
    const SUCCESS_MESSAGE: &'static str = "";

    fn receive(request: AlterIamRequest, _: &Call) -> AlterIamRequest {
        request
    }

    fn sender<'a>(_: &'a AlterIamRequest, _: &'static str) -> Sender<'a> {
        Sender {
            rpc: "alter_iam",
            is_of_cluster: true,
            ..Sender::default()
        }
    }
}

/// Requests whose receiver adds nothing, and whose success says nothing: with the RPC, and the field that says whose call it is.
macro_rules! plain_requests {
    ($($request:ident $rpc:literal $whose:ident;)*) => {
        $(impl DorisRequest for $request {
            type Body = $request;
            const SUCCESS_MESSAGE: &'static str = "";

            fn receive(request: $request, _: &Call) -> $request {
                request
            }

            fn sender<'a>(request: &'a $request, _: &'static str) -> Sender<'a> {
                Sender {
                    rpc: $rpc,
                    $whose: request.$whose(),
                    ..Sender::default()
                }
            }
        })*
    };
}

plain_requests! {
    UpdateAkSkRequest "update_ak_sk" instance_id;
    AlterRamUserRequest "alter_ram_user" instance_id;
    BeginSnapshotRequest "begin_snapshot" cloud_unique_id;
    UpdateSnapshotRequest "update_snapshot" cloud_unique_id;
    CommitSnapshotRequest "commit_snapshot" cloud_unique_id;
    AbortSnapshotRequest "abort_snapshot" cloud_unique_id;
}

/// A number no other call gets. A call that is repeated under its request id gets the same one again, at every peer:
/// otherwise it would be another request, and the repetition would be refused.
pub(super) fn unique_number(call: &Call) -> u128 {
    number_of_request(&call.node, call.info.request)
}

/// As [`unique_number`], for calls of the other front.
pub(crate) fn number_of_request(node: &Node, request: Option<RequestId>) -> u128 {
    let Some(request) = request else {
        return env::random_u128();
    };
    let mut hash = Sha256::new();
    hash.update(node.core().cluster.0.to_be_bytes());
    hash.update(request.session.0.to_be_bytes());
    hash.update(request.number.to_be_bytes());
    let digest = hash.finalize();
    digest.iter().take(16).fold(0, |number, byte| number << 8 | u128::from(*byte))
}

/// Prepares a command here and has the log decide it.
pub async fn propose<C>(body: <C::Request as DorisRequest>::Body, call: &Call) -> Result<(Revision, C::Reply), MetaError>
where
    C: Numbered + Prepare + Send + Sync + 'static,
    C::Request: DorisRequest,
{
    let sender = C::Request::sender(&body, C::NAME);
    call.app.cluster_settings.admit(&call.node, sender)?;
    // Before anything of this peer enters: its root keys and settings may not be those of the peer a repetition comes to.
    let asked = match call.info.request {
        Some(_) => call.app.secrets.fingerprints(&body.encode_to_vec()),
        None => Vec::new(),
    };
    let command = prepare::<C>(C::Request::receive(body, call), call)?;
    if call.info.dry_run {
        return dry_run(&call.node, &command, call.info.deadline).await;
    }
    call.node
        .execute_asked(&command, call.info.request, asked, call.info.deadline)
        .await
}

/// Prepares with the settings of this moment.
fn prepare<C: Prepare>(request: C::Request, call: &Call) -> Result<C, MetaError> {
    let current = call.app.cluster_settings.current(&call.node)?;
    let context = PrepareContext {
        secrets: &call.app.secrets,
        settings: &current.prepare,
    };
    C::prepare(request, &context)
}

/// Serves the route of a command whose parameters are in the query string.
pub fn execute_query<C>(call: Call) -> BoxFuture<'static, Result<Success, MetaError>>
where
    C: Numbered + Prepare + Send + Sync + 'static,
    C::Request: QueryRequest,
{
    Box::pin(async move { command_of::<C>(&call).await })
}

/// Proposes the command that a query string asks for.
pub async fn command_of<C>(call: &Call) -> Result<Success, MetaError>
where
    C: Numbered + Prepare + Send + Sync + 'static,
    C::Request: QueryRequest,
{
    let command = {
        let request = C::Request::receive(&call.query);
        if let Some(sender) = request.sender() {
            call.app.cluster_settings.admit(&call.node, sender)?;
        }
        prepare::<C>(request, call)?
    };
    let (revision, reply) = match call.info.dry_run {
        true => dry_run(&call.node, &command, call.info.deadline).await?,
        false => call.node.execute(&command, call.info.request, call.info.deadline).await?,
    };
    Ok(Success {
        revision,
        message: match C::note(&reply) {
            "" => C::Request::SUCCESS_MESSAGE,
            note => note,
        },
        result: None,
    })
}

/// Serves the route of a command.
pub fn execute<C>(call: Call) -> BoxFuture<'static, Result<Success, MetaError>>
where
    C: Numbered + Prepare + Send + Sync + 'static,
    C::Request: DorisRequest,
{
    Box::pin(async move {
        let (revision, reply) = propose::<C>(call.parse_body()?, &call).await?;
        Ok(Success {
            revision,
            message: match C::note(&reply) {
                "" => <C::Request as DorisRequest>::SUCCESS_MESSAGE,
                note => note,
            },
            result: None,
        })
    })
}
