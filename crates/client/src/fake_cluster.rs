//! Peers for tests: real gRPC servers on loopback over one shared state in memory, each with a script of what to do to the
//! calls it gets. Without a script a peer behaves: the leader executes, a follower redirects who asks for it and forwards
//! for the rest, and a repeated request id gets the first answer.

use crate::session::SLOTS_PER_SESSION;
use quorate_model::ErrorCode;
use quorate_wire::quorate::v1 as wire;
use quorate_wire::quorate::v1::admin_server::{Admin, AdminServer};
use quorate_wire::quorate::v1::metadata_server::{Metadata, MetadataServer};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};

/// What a peer does to one call instead of behaving.
pub(crate) enum Step {
    /// Answers with this error and does nothing.
    Refuse(ErrorCode),
    /// Executes, and answers as if it did not know.
    LoseTheAnswer,
    /// Executes nothing and never answers.
    Hang,
}

/// Revision of a write and whether the attribute was there, or the refusal.
type Answer = Result<(u64, bool), ErrorCode>;

/// What the peers share, and what tests look at.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) leader: usize,
    pub(crate) revision: u64,
    pub(crate) attributes: BTreeMap<String, wire::Attribute>,
    pub(crate) sessions: HashSet<u64>,
    pub(crate) sessions_opened: u64,
    /// Writes executed, repetitions not counted.
    pub(crate) executed: u64,
    pub(crate) forwarded: u64,
    /// Calls each peer got.
    pub(crate) calls: Vec<u64>,
    /// Metadata of the last read.
    pub(crate) last_read: Option<(wire::GetAttributeRequest, MetadataMap)>,
    pub(crate) most_in_flight: usize,
    pub(crate) slot_collisions: u64,
    in_flight: HashSet<(u64, u64)>,
    /// Of each slot: the highest number seen, and its answer.
    answers: HashMap<(u64, u64), (u64, Answer)>,
    scripts: Vec<VecDeque<Step>>,
    addresses: Vec<String>,
}

/// A running fake; its servers end with the test's runtime.
#[derive(Clone)]
pub(crate) struct FakeCluster {
    state: Arc<Mutex<State>>,
    /// While false, writes wait before they execute.
    gate: Arc<watch::Sender<bool>>,
}

#[derive(Clone)]
struct FakePeer {
    number: usize,
    cluster: FakeCluster,
}

impl FakeCluster {
    /// Starts this many peers; the first one leads.
    pub(crate) async fn start(count: usize) -> FakeCluster {
        let cluster = FakeCluster {
            state: Arc::default(),
            gate: Arc::new(watch::Sender::new(true)),
        };
        for number in 0..count {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
            let mut state = cluster.state();
            state
                .addresses
                .push(listener.local_addr().expect("the socket is bound").to_string());
            state.scripts.push(VecDeque::new());
            state.calls.push(0);
            drop(state);
            let peer = FakePeer {
                number,
                cluster: cluster.clone(),
            };
            let server = tonic::transport::Server::builder()
                .add_service(MetadataServer::new(peer.clone()))
                .add_service(AdminServer::new(peer))
                .serve_with_incoming(tokio_stream::wrappers::TcpListenerStream::new(listener));
            tokio::spawn(server);
        }
        cluster
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the state")
    }

    pub(crate) fn address(&self, peer: usize) -> String {
        self.state().addresses[peer].clone()
    }

    pub(crate) fn addresses(&self) -> Vec<String> {
        self.state().addresses.clone()
    }

    /// Puts a step at the end of a peer's script.
    pub(crate) fn script(&self, peer: usize, steps: impl IntoIterator<Item = Step>) {
        self.state().scripts[peer].extend(steps);
    }

    /// Makes redirects name an address at which nobody listens. Keep the socket: it keeps the port from being reused.
    pub(crate) fn hide_leader(&self) -> TcpSocket {
        let socket = unused_port();
        self.name_leader_at(socket.local_addr().expect("the socket is bound").to_string());
        socket
    }

    /// Makes redirects name this address.
    pub(crate) fn name_leader_at(&self, address: String) {
        let mut state = self.state();
        let leader = state.leader;
        state.addresses[leader] = address;
    }

    /// Makes writes wait until `open_gate`.
    pub(crate) fn close_gate(&self) {
        self.gate.send_replace(false);
    }

    pub(crate) fn open_gate(&self) {
        self.gate.send_replace(true);
    }
}

/// A bound socket that does not listen: connections to it are refused.
pub(crate) fn unused_port() -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("a socket can be made");
    socket.bind(([127, 0, 0, 1], 0).into()).expect("loopback has free ports");
    socket
}

fn number(metadata: &MetadataMap, key: &str) -> Option<u64> {
    metadata.get(key)?.to_str().ok()?.parse().ok()
}

fn error(code: ErrorCode) -> Status {
    let row = code.row();
    let mut status = Status::new(tonic::Code::from(row.grpc_status), row.advice);
    status
        .metadata_mut()
        .insert("quorate-error", tonic::metadata::MetadataValue::from_static(row.name));
    status
}

impl FakePeer {
    /// Applies the script and the redirect rule; true if the answer is to be lost after execution.
    async fn enter(&self, metadata: &MetadataMap, writes: bool) -> Result<bool, Status> {
        let (step, redirect) = {
            let mut state = self.cluster.state();
            state.calls[self.number] += 1;
            let follower = writes && state.leader != self.number;
            let asked = metadata.get("quorate-redirect").is_some();
            let redirect = (follower && asked).then(|| state.addresses[state.leader].clone());
            state.forwarded += u64::from(follower && !asked);
            (state.scripts[self.number].pop_front(), redirect)
        };
        match step {
            Some(Step::Refuse(code)) => return Err(error(code)),
            Some(Step::LoseTheAnswer) => return Ok(true),
            Some(Step::Hang) => std::future::pending().await,
            None => {}
        }
        let Some(leader) = redirect else { return Ok(false) };
        let mut status = error(ErrorCode::NotLeader);
        status
            .metadata_mut()
            .insert("quorate-leader", leader.parse().expect("an address is valid metadata"));
        Err(status)
    }

    /// Runs a write under its request id.
    async fn write(
        &self,
        metadata: &MetadataMap,
        apply: impl FnOnce(&mut State) -> Result<bool, ErrorCode>,
    ) -> Result<(u64, bool), Status> {
        let lose_the_answer = self.enter(metadata, true).await?;
        let session = number(metadata, "quorate-session").ok_or_else(|| error(ErrorCode::InvalidArgument))?;
        let request = number(metadata, "quorate-request").ok_or_else(|| error(ErrorCode::InvalidArgument))?;
        let slot = (session, request % SLOTS_PER_SESSION);
        {
            let mut state = self.cluster.state();
            if !state.in_flight.insert(slot) {
                state.slot_collisions += 1;
            }
            state.most_in_flight = state.most_in_flight.max(state.in_flight.len());
        }
        let mut gate = self.cluster.gate.subscribe();
        let _ = gate.wait_for(|open| *open).await;
        let mut state = self.cluster.state();
        state.in_flight.remove(&slot);
        if !state.sessions.contains(&session) {
            return Err(error(ErrorCode::SessionExpired));
        }
        let answer = match state.answers.get(&slot) {
            Some((newer, _)) if *newer > request => return Err(error(ErrorCode::SessionExpired)),
            Some((same, first)) if *same == request => *first,
            _ => {
                state.executed += 1;
                state.revision += 1;
                let revision = state.revision;
                let answer = apply(&mut state).map(|existed| (revision, existed));
                state.answers.insert(slot, (request, answer));
                answer
            }
        };
        if lose_the_answer {
            return Err(error(ErrorCode::OutcomeUnknown));
        }
        answer.map_err(error)
    }

    fn reply<T>(&self, body: T) -> Response<T> {
        let mut response = Response::new(body);
        response
            .metadata_mut()
            .insert("quorate-revision", self.cluster.state().revision.into());
        response
    }
}

#[tonic::async_trait]
impl Metadata for FakePeer {
    async fn open_session(&self, request: Request<wire::OpenSessionRequest>) -> Result<Response<wire::OpenSessionReply>, Status> {
        self.enter(request.metadata(), true).await?;
        let session_id = {
            let mut state = self.cluster.state();
            state.sessions_opened += 1;
            let session = state.sessions_opened;
            state.sessions.insert(session);
            session
        };
        Ok(self.reply(wire::OpenSessionReply { session_id }))
    }

    async fn close_session(&self, request: Request<wire::CloseSessionRequest>) -> Result<Response<wire::CloseSessionReply>, Status> {
        self.enter(request.metadata(), true).await?;
        self.cluster.state().sessions.remove(&request.get_ref().session_id);
        Ok(self.reply(wire::CloseSessionReply {}))
    }

    async fn put_attribute(&self, request: Request<wire::PutAttributeRequest>) -> Result<Response<wire::PutAttributeReply>, Status> {
        let (metadata, _, put) = request.into_parts();
        let apply = |state: &mut State| {
            let current = state.attributes.get(&put.name).map_or(0, |attribute| attribute.revision);
            if put.if_revision.is_some_and(|wanted| wanted != current) {
                return Err(ErrorCode::PreconditionFailed);
            }
            let attribute = wire::Attribute {
                name: put.name.clone(),
                value: put.value,
                revision: state.revision,
            };
            Ok(state.attributes.insert(put.name, attribute).is_some())
        };
        let (revision, _) = self.write(&metadata, apply).await?;
        Ok(self.reply(wire::PutAttributeReply { revision }))
    }

    async fn delete_attribute(
        &self,
        request: Request<wire::DeleteAttributeRequest>,
    ) -> Result<Response<wire::DeleteAttributeReply>, Status> {
        let (metadata, _, delete) = request.into_parts();
        let (revision, existed) = self
            .write(&metadata, |state| Ok(state.attributes.remove(&delete.name).is_some()))
            .await?;
        Ok(self.reply(wire::DeleteAttributeReply { revision, existed }))
    }

    async fn append_attributes(&self, _: Request<wire::AppendAttributesRequest>) -> Result<Response<wire::AppendAttributesReply>, Status> {
        Err(Status::unimplemented("nothing here appends"))
    }

    async fn get_attribute(&self, request: Request<wire::GetAttributeRequest>) -> Result<Response<wire::GetAttributeReply>, Status> {
        self.enter(request.metadata(), false).await?;
        let reply = {
            let mut state = self.cluster.state();
            let attribute = state.attributes.get(&request.get_ref().name).cloned();
            state.last_read = Some((request.get_ref().clone(), request.metadata().clone()));
            wire::GetAttributeReply {
                attribute,
                revision: state.revision,
            }
        };
        Ok(self.reply(reply))
    }

    async fn list_attributes(&self, request: Request<wire::ListAttributesRequest>) -> Result<Response<wire::ListAttributesReply>, Status> {
        self.enter(request.metadata(), false).await?;
        let list = request.into_inner();
        let reply = {
            let state = self.cluster.state();
            let rest = state
                .attributes
                .range(list.page_token..)
                .filter(|(name, _)| name.starts_with(&list.prefix));
            let mut attributes: Vec<wire::Attribute> = rest.map(|(_, attribute)| attribute.clone()).collect();
            let more = attributes.split_off((list.page_size as usize).min(attributes.len()));
            let next_page_token = more.first().map(|attribute| attribute.name.clone()).unwrap_or_default();
            wire::ListAttributesReply {
                attributes,
                next_page_token,
                revision: state.revision,
            }
        };
        Ok(self.reply(reply))
    }

    async fn list_instances(&self, _: Request<wire::ListInstancesRequest>) -> Result<Response<wire::ListInstancesReply>, Status> {
        Err(error(ErrorCode::UnknownCommand))
    }
}

#[tonic::async_trait]
impl Admin for FakePeer {
    async fn status(&self, request: Request<wire::StatusRequest>) -> Result<Response<wire::StatusReply>, Status> {
        self.enter(request.metadata(), false).await?;
        Ok(self.reply(wire::StatusReply {
            peer_id: self.number as u64 + 1,
            ..Default::default()
        }))
    }

    async fn transfer_leader(&self, _: Request<wire::TransferLeaderRequest>) -> Result<Response<wire::TransferLeaderReply>, Status> {
        Err(error(ErrorCode::UnknownCommand))
    }
    async fn add_member(&self, _: Request<wire::AddMemberRequest>) -> Result<Response<wire::AddMemberReply>, Status> {
        Err(error(ErrorCode::UnknownCommand))
    }

    async fn promote_member(&self, _: Request<wire::PromoteMemberRequest>) -> Result<Response<wire::PromoteMemberReply>, Status> {
        Err(error(ErrorCode::UnknownCommand))
    }

    async fn remove_member(&self, _: Request<wire::RemoveMemberRequest>) -> Result<Response<wire::RemoveMemberReply>, Status> {
        Err(error(ErrorCode::UnknownCommand))
    }
}
