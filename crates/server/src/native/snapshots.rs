//! `quorate.v1.Snapshots`: snapshots, restores and clones.

use super::call::{Calls, before_read, decide, dry_run, query};
use super::reply::{CallInfo, request_id};
use super::vaults::check_access;
use crate::app::App;
use crate::doris::write::number_of_request;
use crate::jobs::PeerVaults;
use crate::limits::{AWAITED_MANIFESTS, SNAPSHOT_RESERVE, WORK_LOOK};
use prost::Message as _;
use quorate_consensus::Node;
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId};
use quorate_state_machine::command::Prepare;
use quorate_state_machine::commands::clone_instance::CloneInstanceCall;
use quorate_state_machine::commands::compact_snapshot::{CompactSnapshotCall, CompactSnapshotReply};
use quorate_state_machine::commands::decouple_instance::DecoupleInstanceCall;
use quorate_state_machine::commands::pin_snapshot::PinSnapshotCall;
use quorate_state_machine::commands::{
    CloneInstance, CompactSnapshot, CreateRestore, CreateSnapshot, DecoupleInstance, DropSnapshot, Numbered, PinSnapshot, UnpinSnapshot,
};
use quorate_state_machine::queries::{jobs, restores, snapshots};
use quorate_state_machine::{Reader, StoreError, session};
use quorate_wire::doris::clone_instance_request::CloneType;
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{CloneInstanceRequest, ObjectStoreInfoPb};
use quorate_wire::quorate::v1 as wire;
use std::sync::Arc;
use tokio::time::Instant;
use tonic::{Request, Response, Status};

/// Serves the calls of one peer.
pub struct SnapshotsService {
    calls: Calls,
}

impl SnapshotsService {
    pub fn new(app: &Arc<App>) -> SnapshotsService {
        SnapshotsService { calls: Calls::new(app) }
    }
}

/// Whether the request has its answer already, which whoever repeats it gets whatever has become of vaults since.
fn is_answered(reader: &dyn Reader, info: &CallInfo) -> Result<bool, StoreError> {
    info.request.map_or(Ok(false), |request| session::is_answered(reader, request))
}

/// Refuses the call when one of these vaults cannot be used now.
async fn check_vaults(app: &Arc<App>, node: &Node, vaults: Vec<(ScopeId, String)>, info: &CallInfo) -> Result<(), MetaError> {
    let opened = PeerVaults::new(app, node);
    for (scope, vault) in vaults {
        check_access(node, &opened, scope, &vault, info.deadline).await?;
    }
    Ok(())
}

/// Waits until the snapshot is committed, and for a moderate one until its manifests are written. When the time is over the answer
/// is how far it is: the snapshot is made whatever becomes of the call.
async fn settled(app: &App, node: &Node, made: wire::Snapshot, instance_id: String, info: &CallInfo) -> (Revision, wire::Snapshot) {
    let until = info.deadline.checked_sub(SNAPSHOT_RESERVE).unwrap_or(info.deadline);
    let request = wire::DescribeSnapshotRequest {
        instance_id,
        snapshot: Some(wire::SnapshotRef {
            snapshot_id: made.snapshot_id.clone(),
            ..wire::SnapshotRef::default()
        }),
        ..wire::DescribeSnapshotRequest::default()
    };
    let (mut seen, mut shown) = (Revision(made.revision), made);
    // The command was answered by the leader: this peer may not have applied it yet.
    let mut awaited = seen;
    loop {
        let is_over = || app.is_closing() || Instant::now() >= until;
        if let Err(error) = node.wait_revision(awaited, until.min(Instant::now() + WORK_LOOK)).await {
            if error.code == ErrorCode::DeadlineExceeded && !is_over() {
                continue;
            }
            return (seen, shown);
        }
        seen = node.applied().revision;
        match query(node, |reader| snapshots::describe_snapshot(reader, &request)) {
            Ok(found) => shown = found,
            // It was dropped meanwhile, or given up: what is known of it is the best answer.
            Err(_) => return (seen, shown),
        }
        if is_settled(&shown) || is_over() {
            return (seen, shown);
        }
        awaited = Revision(seen.0 + 1);
    }
}

fn is_settled(shown: &wire::Snapshot) -> bool {
    match shown.state() {
        // Nobody waits for those of a whole instance: it is restored, cloned and dropped without them.
        wire::SnapshotState::Committed if shown.collection_id == 0 => true,
        wire::SnapshotState::Committed => shown.segments > AWAITED_MANIFESTS || shown.manifests >= shown.segments,
        wire::SnapshotState::Pending => false,
        _ => true,
    }
}

/// The job of a compaction that was decided at this revision. Whatever keeps this peer from showing the job is no failure of the call: the
/// answer then says that it is planned, as every job is first, and who asks for it hears how far it is.
pub(super) async fn started_compaction(node: &Node, revision: Revision, reply: &CompactSnapshotReply, info: &CallInfo) -> wire::Job {
    // The command was answered by the leader: this peer may not have applied it yet.
    let until = info.deadline.checked_sub(SNAPSHOT_RESERVE).unwrap_or(info.deadline);
    if node.wait_revision(revision, until).await.is_err() {
        return compaction(reply, wire::JobState::JobPlanning);
    }
    let request = wire::DescribeJobRequest {
        job_id: reply.job,
        ..wire::DescribeJobRequest::default()
    };
    match query(node, |reader| jobs::describe_job(reader, &request)) {
        Ok(job) => job,
        // A job is forgotten some days after its end, and its clone is compacted all the same.
        Err(error) if error.code == ErrorCode::NotFound => compaction(reply, wire::JobState::JobCompleted),
        Err(_) => compaction(reply, wire::JobState::JobPlanning),
    }
}

/// What the decision alone tells of a compaction's job.
fn compaction(reply: &CompactSnapshotReply, state: wire::JobState) -> wire::Job {
    wire::Job {
        job_id: reply.job,
        kind: wire::JobKind::CompactClone as i32,
        state: state as i32,
        holds_files: reply.holds_files,
        ..wire::Job::default()
    }
}

/// The kinds have the same numbers in both APIs; one that is none is refused by the command.
fn clone_type(kind: wire::CloneKind) -> Option<i32> {
    match kind {
        wire::CloneKind::Unspecified => None,
        wire::CloneKind::ReadOnly => Some(CloneType::ReadOnly as i32),
        wire::CloneKind::Writable => Some(CloneType::Writable as i32),
        wire::CloneKind::Rollback => Some(CloneType::Rollback as i32),
    }
}

/// A call of this API as the command takes it.
fn clone_call(request: wire::CloneInstanceRequest) -> Result<CloneInstanceCall, MetaError> {
    let kind = request.kind();
    if request.obj_info.is_some() && kind != wire::CloneKind::Writable {
        return Err(MetaError::invalid("obj_info is of a WRITABLE clone only; leave it out"));
    }
    Ok(CloneInstanceCall {
        request: CloneInstanceRequest {
            clone_type: clone_type(kind),
            from_instance_id: Some(request.instance_id),
            from_snapshot_id: Some(request.snapshot_id),
            new_instance_id: Some(request.new_instance_id),
            snapshot_name: Some(request.name),
            obj_info: request.obj_info.map(given_store).transpose()?,
            ..CloneInstanceRequest::default()
        },
        ..CloneInstanceCall::default()
    })
}

fn given_store(store: wire::ObjectStore) -> Result<ObjectStoreInfoPb, MetaError> {
    let provider = match store.provider.as_str() {
        "" => None,
        name => {
            let known = Provider::from_str_name(name).filter(|provider| *provider != Provider::Unkonwn);
            let refused = || MetaError::invalid("obj_info.provider is none of S3, OSS, COS, OBS, BOS, GCP, AZURE and TOS");
            Some(known.ok_or_else(refused)? as i32)
        }
    };
    let given = |text: String| (!text.is_empty()).then_some(text);
    Ok(ObjectStoreInfoPb {
        ak: given(store.ak),
        sk: given(store.sk),
        bucket: given(store.bucket),
        prefix: given(store.prefix),
        endpoint: given(store.endpoint),
        external_endpoint: given(store.external_endpoint),
        region: given(store.region),
        provider,
        use_path_style: store.use_path_style,
        ..ObjectStoreInfoPb::default()
    })
}

/// A store as replies show it: without its secret.
fn shown_store(store: ObjectStoreInfoPb) -> wire::ObjectStore {
    let provider = store.provider.and_then(|number| Provider::try_from(number).ok());
    wire::ObjectStore {
        provider: provider.map_or_else(String::new, |provider| provider.as_str_name().to_owned()),
        ak: store.ak.unwrap_or_default(),
        sk: String::new(),
        bucket: store.bucket.unwrap_or_default(),
        prefix: store.prefix.unwrap_or_default(),
        endpoint: store.endpoint.unwrap_or_default(),
        external_endpoint: store.external_endpoint.unwrap_or_default(),
        region: store.region.unwrap_or_default(),
        use_path_style: store.use_path_style,
    }
}

#[tonic::async_trait]
impl wire::snapshots_server::Snapshots for SnapshotsService {
    async fn create_snapshot(&self, request: Request<wire::CreateSnapshotRequest>) -> Result<Response<wire::Snapshot>, Status> {
        let app = self.calls.app.clone();
        let work = |node: Node, request: wire::CreateSnapshotRequest, info: CallInfo| async move {
            let instance_id = request.instance_id.clone();
            let command = CreateSnapshot::prepare(request, &app.prepare_context())?;
            before_read(&node, wire::Consistency::Linearizable, &info).await?;
            // One whose files could not be written would stay pending, and be given up when nobody waits for it any more.
            let vaults = query(&node, |reader| match is_answered(reader, &info)? {
                true => Ok(Vec::new()),
                false => Ok(vec![command.vault(reader)?]),
            })?;
            check_vaults(&app, &node, vaults, &info).await?;
            let (revision, reply) = decide(&node, &command, &info).await?;
            let made = reply
                .snapshot
                .ok_or_else(|| MetaError::internal("the snapshot is made and was not shown"))?;
            if info.dry_run {
                return Ok((revision, made));
            }
            Ok(settled(&app, &node, made, instance_id, &info).await)
        };
        self.calls.waiting().around(CreateSnapshot::NAME, request, work).await
    }

    async fn describe_snapshot(&self, request: Request<wire::DescribeSnapshotRequest>) -> Result<Response<wire::Snapshot>, Status> {
        let consistency = wire::DescribeSnapshotRequest::consistency;
        self.calls
            .read_large("describe_snapshot", request, consistency, snapshots::describe_snapshot)
            .await
    }

    async fn list_snapshots(&self, request: Request<wire::ListSnapshotsRequest>) -> Result<Response<wire::ListSnapshotsReply>, Status> {
        let consistency = wire::ListSnapshotsRequest::consistency;
        self.calls
            .read_large("list_snapshots", request, consistency, snapshots::list_snapshots)
            .await
    }

    async fn drop_snapshot(&self, request: Request<wire::DropSnapshotRequest>) -> Result<Response<wire::DropSnapshotReply>, Status> {
        let answer = |reply: <DropSnapshot as quorate_state_machine::Command>::Reply| wire::DropSnapshotReply { existed: reply.existed };
        self.calls.write_as::<DropSnapshot, _, _>(request, |request| request, answer).await
    }

    async fn pin_snapshot(&self, request: Request<wire::PinSnapshotRequest>) -> Result<Response<wire::PinSnapshotReply>, Status> {
        let (app, id) = (self.calls.app.clone(), request_id(request.metadata()).ok().flatten());
        // A number of the receiver's own would make a repetition another request.
        let ask = move |request| PinSnapshotCall {
            request,
            random: app.node().map_or(0, |node| number_of_request(node, id) as u64),
        };
        let answer = |reply: <PinSnapshot as quorate_state_machine::Command>::Reply| wire::PinSnapshotReply {
            pin_id: reply.pin_id,
            expires_ms: reply.expires_ms,
        };
        self.calls.write_as::<PinSnapshot, _, _>(request, ask, answer).await
    }

    async fn unpin_snapshot(&self, request: Request<wire::UnpinSnapshotRequest>) -> Result<Response<wire::UnpinSnapshotReply>, Status> {
        let answer = |reply: <UnpinSnapshot as quorate_state_machine::Command>::Reply| wire::UnpinSnapshotReply { existed: reply.existed };
        self.calls.write_as::<UnpinSnapshot, _, _>(request, |request| request, answer).await
    }

    async fn restore_snapshot(&self, request: Request<wire::RestoreSnapshotRequest>) -> Result<Response<wire::Job>, Status> {
        let app = self.calls.app.clone();
        let work = |node: Node, request: wire::RestoreSnapshotRequest, info: CallInfo| async move {
            let command = CreateRestore::prepare(request, &app.prepare_context())?;
            before_read(&node, wire::Consistency::Linearizable, &info).await?;
            // A restore that could not read or write a single file is better refused than failed; one that is asked for again gets
            // its first answer, even if its snapshot is gone by now.
            let vaults = query(&node, |reader| match is_answered(reader, &info)? {
                true => Ok(Vec::new()),
                false => restores::vaults(reader, &command),
            })?;
            check_vaults(&app, &node, vaults, &info).await?;
            decide(&node, &command, &info).await
        };
        self.calls.around(CreateRestore::NAME, request, work).await
    }

    async fn clone_instance(&self, request: Request<wire::CloneInstanceRequest>) -> Result<Response<wire::CloneInstanceReply>, Status> {
        let app = self.calls.app.clone();
        let work = |node: Node, request: wire::CloneInstanceRequest, info: CallInfo| async move {
            // A secret is sealed under this peer's keys, which may not be those of the peer that a repetition comes to.
            let asked = match (&request.obj_info, info.request) {
                (Some(_), Some(_)) => app.secrets.fingerprints(&request.encode_to_vec()),
                _ => Vec::new(),
            };
            let instance_id = request.new_instance_id.clone();
            let command = CloneInstance::prepare(clone_call(request)?, &app.prepare_context())?;
            let (revision, reply) = match info.dry_run {
                true => dry_run(&node, &command, info.deadline).await?,
                false => node.execute_asked(&command, info.request, asked, info.deadline).await?,
            };
            let made = wire::CloneInstanceReply {
                instance_id,
                image_url: reply.image_url,
                obj_info: reply.obj_info.map(shown_store),
            };
            Ok((revision, made))
        };
        self.calls.around(CloneInstance::NAME, request, work).await
    }

    async fn compact_clone(&self, request: Request<wire::CompactCloneRequest>) -> Result<Response<wire::Job>, Status> {
        let app = self.calls.app.clone();
        let work = |node: Node, request, info: CallInfo| async move {
            let command = CompactSnapshot::prepare(CompactSnapshotCall::Native(request), &app.prepare_context())?;
            let (revision, reply) = decide(&node, &command, &info).await?;
            if info.dry_run {
                let planned = wire::Job {
                    job_id: 0,
                    ..compaction(&reply, wire::JobState::JobPlanning)
                };
                return Ok((revision, planned));
            }
            let job = started_compaction(&node, revision, &reply, &info).await;
            Ok((revision, job))
        };
        self.calls.around(CompactSnapshot::NAME, request, work).await
    }

    async fn decouple_clone(&self, request: Request<wire::DecoupleCloneRequest>) -> Result<Response<wire::DecoupleCloneReply>, Status> {
        let answer = |reply: <DecoupleInstance as quorate_state_machine::Command>::Reply| wire::DecoupleCloneReply {
            holds_files: reply.holds_files,
        };
        self.calls
            .write_as::<DecoupleInstance, _, _>(request, DecoupleInstanceCall::Native, answer)
            .await
    }
}
