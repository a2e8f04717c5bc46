//! A running member of the Raft group, as the rest of the product sees it: writes, reads, status, leadership.

use crate::acknowledged::{Acknowledged, OwnLog};
use crate::append_latency::AppendLatency;
use crate::applier::{AppliedState, Applier, ApplyHandle, Audit};
use crate::cluster_clock::ClusterClock;
use crate::content_scan::ContentScan;
use crate::disk::{DiskSpace, DiskWatch};
use crate::kept_tail::KeptTail;
use crate::lane_write::LaneWrite;
use crate::lanes::Lanes;
use crate::large_reads::LargeReads;
use crate::log_adapter::LogAdapter;
use crate::network::NetworkFactory;
use crate::proposer::{Proposal, ProposeFailure, ProposeResult};
use crate::settings::{FAILURE_LOOK, LEADER_RETRY, MAX_WAITING_COMMANDS, Settings};
use crate::state_adapter::StateAdapter;
use crate::steps::StepObserver;
use crate::succession::Succession;
use crate::transport::{Channel, PeerClient, Transport};
use crate::types::{PeerNode, TypeConfig};
use crate::write_path::WritePath;
use crate::{env, forward, maintenance, proposer, reads};
use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::{Raft, RaftMetrics, ServerState};
use prost::Message;
use quorate_model::{ClusterId, ErrorCode, Incarnation, MetaError, PeerId, RequestId, Revision, SessionId, StampedTime, mutant};
use quorate_state_machine::command::ApplyError;
use quorate_state_machine::commands::{Numbered, OpenSession, open_session::OpenSessionReply};
use quorate_state_machine::frame::{self, Frame};
use quorate_state_machine::preview::preview;
use quorate_state_machine::{Answer, Reader, limits};
use quorate_storage::log::LogStore;
use quorate_storage::state::{StateEngine, read_with};
use quorate_wire::quorate::peer::PeerFinding;
use std::future::Future;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, Weak};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Everything a node is started with.
pub struct NodeParts {
    pub cluster: ClusterId,
    pub peer: PeerId,
    pub incarnation: Incarnation,
    pub peer_address: String,
    pub public_address: String,
    /// Where this peer looked for its cluster, itself included.
    pub seeds: Vec<String>,
    pub settings: Settings,
    pub log: Arc<dyn LogStore>,
    pub state: Arc<dyn StateEngine>,
    pub transport: Arc<dyn Transport>,
    /// Appends applied entries to a file that is never purged (feature `audit`).
    pub audit: Option<Audit>,
    /// Space of the data disk, asked when peers exchange health.
    pub disk_space: Arc<dyn Fn() -> DiskSpace + Send + Sync>,
    /// Told how long each step of writing took.
    pub step_observer: StepObserver,
}

impl NodeParts {
    /// The state, and who applies entries to it.
    fn open_state(&mut self) -> io::Result<(Arc<Applier>, ApplyHandle)> {
        let applier = Arc::new(Applier::open(self.state.clone(), self.settings.level, self.audit.take())?);
        let apply = if self.settings.inline_apply {
            ApplyHandle::Inline(applier.clone())
        } else {
            ApplyHandle::spawn(applier.clone())?
        };
        Ok((applier, apply))
    }

    /// The way to the other peers; `core` is filled once there is one.
    fn network(&self, acknowledged: Arc<Acknowledged>, own_log: Arc<OwnLog>, core: Arc<OnceLock<Weak<Core>>>) -> NetworkFactory {
        NetworkFactory {
            transport: self.transport.clone(),
            acknowledged,
            own_log,
            core,
            checkpoint_bytes_per_second: self.settings.checkpoint_bytes_per_second,
            transfer: self.settings.transfer,
            inline_disk: self.settings.inline_apply,
        }
    }
}

/// What the tasks of a node share.
pub struct Core {
    pub cluster: ClusterId,
    pub peer: u64,
    pub incarnation: Incarnation,
    pub peer_address: String,
    pub public_address: String,
    pub seeds: Vec<String>,
    pub settings: Settings,
    pub log: Arc<dyn LogStore>,
    /// What the server found, for this peer's status and those of others.
    pub own_findings: Mutex<Vec<PeerFinding>>,
    pub applier: Arc<Applier>,
    pub state_adapter: StateAdapter,
    pub transport: Arc<dyn Transport>,
    pub disk_space: Arc<dyn Fn() -> DiskSpace + Send + Sync>,
    pub disk: DiskWatch,
    pub content_scan: ContentScan,
    pub append_latency: Arc<AppendLatency>,
    /// Where recent entries spent their time here.
    pub write_path: Arc<WritePath>,
    /// Entries that stay until an install has made them superfluous.
    pub kept_tail: Arc<KeptTail>,
    /// What every peer has acknowledged to this one while it led.
    pub acknowledged: Arc<Acknowledged>,
    /// Whether this peer itself has lost what it had acknowledged.
    pub own_log: Arc<OwnLog>,
    pub health: maintenance::Health,
    pub(crate) cluster_clock: Arc<ClusterClock>,
    pub(crate) succession: Succession,
    raft: Raft<TypeConfig, StateAdapter>,
    /// Commands that wait here for the proposer.
    local: mpsc::Sender<Proposal>,
    /// The queue to the leader this peer forwards to.
    forwards: Mutex<Option<ForwardQueue>>,
    read_barrier: mpsc::Sender<oneshot::Sender<reads::ReadIndexResult>>,
    pub(crate) lanes: Lanes,
    pub large_reads: LargeReads,
    /// Held while a session is being opened: all who wait for a lane wait for the same one.
    opening_session: tokio::sync::Mutex<()>,
    /// Whether everything this peer may have answered with before its restart is applied again.
    caught_up: AtomicBool,
    stopping: AtomicBool,
    /// Told when what [`Node::check_serving`] answers may have changed.
    standing: watch::Sender<()>,
    /// Whatever runs beside callers; ends with the node.
    tasks: Mutex<JoinSet<()>>,
}

/// Commands on their way to one leader, at the address it has.
struct ForwardQueue {
    leader: u64,
    node: PeerNode,
    sender: mpsc::Sender<Proposal>,
}

/// A running member. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    pub(crate) core: Arc<Core>,
}

/// How far a write or a read may wait.
pub type Deadline = Instant;

impl Node {
    /// Starts the member: recovers log and state, then takes part in elections.
    pub async fn start(mut parts: NodeParts) -> io::Result<Node> {
        let config = parts.settings.raft_config(parts.cluster.to_string()).map_err(io::Error::other)?;
        let (applier, apply) = parts.open_state()?;
        let write_path = Arc::new(WritePath::new(parts.step_observer.clone()));
        let state_adapter = StateAdapter::new(apply, write_path.clone());
        let is_new = parts.log.state().last.is_none();
        let append_latency = Arc::new(AppendLatency::default());
        let kept_tail = Arc::<KeptTail>::default();
        let core_cell = Arc::<OnceLock<Weak<Core>>>::default();
        let (acknowledged, own_log) = (Arc::<Acknowledged>::default(), Arc::<OwnLog>::default());
        let network = parts.network(acknowledged.clone(), own_log.clone(), core_cell.clone());
        let raft = Raft::build(
            parts.peer.0,
            Arc::new(config),
            network,
            LogAdapter::new(parts.log.clone(), append_latency.clone(), write_path.clone(), kept_tail.clone()),
            state_adapter.clone(),
        )
        .await
        .map_err(|fatal| applier.explain(fatal))?;
        let (local, proposals) = mpsc::channel(MAX_WAITING_COMMANDS);
        let (read_barrier, readers) = mpsc::channel(MAX_WAITING_COMMANDS);
        let cluster_clock = Arc::new(ClusterClock::started());
        let core = Arc::new(Core {
            cluster: parts.cluster,
            peer: parts.peer.0,
            incarnation: parts.incarnation,
            peer_address: parts.peer_address,
            public_address: parts.public_address,
            seeds: parts.seeds,
            settings: parts.settings,
            log: parts.log,
            own_findings: Mutex::default(),
            applier,
            state_adapter,
            transport: parts.transport,
            disk_space: parts.disk_space,
            disk: DiskWatch::default(),
            content_scan: ContentScan::default(),
            append_latency: append_latency.clone(),
            write_path: write_path.clone(),
            kept_tail,
            acknowledged,
            own_log,
            health: maintenance::Health::default(),
            cluster_clock: cluster_clock.clone(),
            succession: Succession::default(),
            raft: raft.clone(),
            local,
            forwards: Mutex::default(),
            read_barrier,
            lanes: Lanes::default(),
            large_reads: LargeReads::default(),
            opening_session: tokio::sync::Mutex::default(),
            caught_up: AtomicBool::new(is_new || mutant!("serves-before-caught-up")),
            stopping: AtomicBool::new(false),
            standing: watch::Sender::default(),
            tasks: Mutex::default(),
        });
        let _ = core_cell.set(Arc::downgrade(&core));
        core.spawn(proposer::run(raft.clone(), write_path, cluster_clock, proposals));
        core.spawn(reads::run(core.clone(), readers));
        raft.run();
        let node = Node { core };
        maintenance::spawn(&node);
        Ok(node)
    }

    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Executes one command. With no request id it gets one of this peer's own, so that a retry inside the cluster is
    /// executed once.
    pub async fn write(&self, number: u32, payload: Bytes, request: Option<RequestId>, deadline: Deadline) -> Result<Answer, MetaError> {
        self.write_asked(number, payload, request, Vec::new(), deadline).await
    }

    async fn write_asked(
        &self,
        number: u32,
        payload: Bytes,
        request: Option<RequestId>,
        fingerprints: Vec<u64>,
        deadline: Deadline,
    ) -> Result<Answer, MetaError> {
        if payload.len() > limits::MAX_COMMAND_BYTES {
            let message = format!(
                "command is {} bytes, limit {}; split the request",
                payload.len(),
                limits::MAX_COMMAND_BYTES
            );
            return Err(MetaError::new(ErrorCode::TooLarge, message));
        }
        self.check_serving()?;
        // Session 0 remembers nothing: such a call would be executed again by a retry.
        match request.filter(|request| request.session.0 != 0) {
            Some(request) => {
                let frame = Frame {
                    number,
                    request,
                    fingerprints,
                    payload,
                };
                self.write_framed(frame, deadline).await
            }
            // Only this peer repeats it, and the same bytes.
            None => self.write_in_lane(number, payload, deadline).await,
        }
    }

    /// Executes a typed command.
    pub async fn execute<C: Numbered>(
        &self,
        command: &C,
        request: Option<RequestId>,
        deadline: Deadline,
    ) -> Result<(Revision, C::Reply), MetaError> {
        self.execute_asked(command, request, Vec::new(), deadline).await
    }

    /// Executes a typed command that may come out differently when another peer prepares it from the same request;
    /// `fingerprints` say what was asked ([`Frame::fingerprints`]).
    pub async fn execute_asked<C: Numbered>(
        &self,
        command: &C,
        request: Option<RequestId>,
        fingerprints: Vec<u64>,
        deadline: Deadline,
    ) -> Result<(Revision, C::Reply), MetaError> {
        if mutant!("refuses-from-stale-state")
            && let Err(ApplyError::Refused(refusal)) = self.read(|reader| preview(reader, command, env::wall_clock()))
        {
            return Err(refusal);
        }
        let payload = command.encode_to_vec().into();
        let answer = self.write_asked(C::NUMBER, payload, request, fingerprints, deadline).await?;
        let reply = C::Reply::decode(answer.body?).map_err(|error| MetaError::internal(format!("answer does not decode: {error}")))?;
        Ok((answer.revision, reply))
    }

    async fn write_in_lane(&self, number: u32, payload: Bytes, deadline: Deadline) -> Result<Answer, MetaError> {
        loop {
            let lane = match self.core.lanes.take() {
                Some(lane) => lane,
                None => {
                    self.open_own_session(deadline).await?;
                    continue;
                }
            };
            let frame = Frame {
                number,
                request: lane,
                fingerprints: Vec::new(),
                payload: payload.clone(),
            };
            let node = self.clone();
            let write = async move { node.write_framed(frame, deadline).await };
            match LaneWrite::new(&self.core, lane, write).outcome().await {
                // Again in a lane of another session.
                Ok(Answer { body: Err(error), .. }) if error.code == ErrorCode::SessionExpired => {}
                outcome => return outcome,
            }
        }
    }

    /// Opening a session twice is harmless: the one nobody uses ends after an hour.
    async fn open_own_session(&self, deadline: Deadline) -> Result<(), MetaError> {
        let late = || {
            MetaError::new(
                ErrorCode::NoLeader,
                "no leader opened a session before the deadline; the write was not applied",
            )
        };
        let _one_at_a_time = tokio::time::timeout_at(deadline, self.core.opening_session.lock())
            .await
            .map_err(|_| late())?;
        if self.core.lanes.has_free() {
            return Ok(());
        }
        let frame = Frame {
            number: OpenSession::NUMBER,
            request: RequestId::default(),
            fingerprints: Vec::new(),
            payload: OpenSession::of_peer().encode_to_vec().into(),
        };
        // The write itself has not been sent: whatever became of the session, it was not applied.
        let answer = self.write_framed(frame, deadline).await.map_err(|error| match error.code {
            ErrorCode::OutcomeUnknown => late(),
            _ => error,
        })?;
        let reply = OpenSessionReply::decode(answer.body?).map_err(|error| MetaError::internal(error.to_string()))?;
        self.core.lanes.add_session(SessionId(reply.session));
        Ok(())
    }

    /// Sends a framed command to whoever leads, again under the same request id until it is answered or time is up.
    async fn write_framed(&self, frame: Frame, deadline: Deadline) -> Result<Answer, MetaError> {
        let encoded = frame::encode_frame(&frame);
        let mut doubt: Option<String> = None;
        loop {
            let failure = match tokio::time::timeout_at(deadline, self.core.submit(encoded.clone())).await {
                Ok(Ok(answer)) => return settle(answer, doubt),
                Ok(Err(failure)) => failure,
                Err(_) => ProposeFailure::Unknown("the deadline passed while the write was under way".to_owned()),
            };
            match failure {
                ProposeFailure::Refused(error) if doubt.is_none() => return Err(error),
                // An earlier attempt may have been executed, so this refusal is not the answer.
                ProposeFailure::Refused(_) => {}
                ProposeFailure::Unknown(why) => doubt = Some(why),
                ProposeFailure::NotLeader { .. } => {}
            }
            if Instant::now() + LEADER_RETRY >= deadline || self.core.is_stopping() {
                return Err(match doubt.filter(|_| !mutant!("unknown-reported-as-refused")) {
                    Some(why) => MetaError::new(ErrorCode::OutcomeUnknown, format!("the write may have been applied: {why}")),
                    None => MetaError::new(
                        ErrorCode::NoLeader,
                        "no leader took the write before its deadline; it was not applied",
                    ),
                });
            }
            tokio::time::sleep(LEADER_RETRY).await;
        }
    }

    /// Waits until this peer may answer a linearizable read from its own state.
    pub async fn read_barrier(&self, deadline: Deadline) -> Result<(), MetaError> {
        self.check_serving()?;
        self.core.read_barrier(deadline).await
    }

    /// Waits until this peer has applied `revision`.
    pub async fn wait_revision(&self, revision: Revision, deadline: Deadline) -> Result<(), MetaError> {
        self.check_serving()?;
        let mut applied = self.core.applier.watch();
        let reached = tokio::time::timeout_at(deadline, applied.wait_for(|state| state.revision >= revision)).await;
        match reached {
            Ok(Ok(_)) => Ok(()),
            _ => {
                let at = self.core.applier.applied().revision;
                Err(MetaError::new(
                    ErrorCode::DeadlineExceeded,
                    format!("this peer is at revision {at}, asked for {revision}"),
                ))
            }
        }
    }

    /// Reads the local state, on this thread: a few rows, others go through [`Node::run_large`]. Call [`Node::read_barrier`] first
    /// for a linearizable answer.
    pub fn read<R>(&self, read: impl FnMut(&dyn Reader) -> R) -> R {
        read_with(self.core.applier.engine().as_ref(), read)
    }

    /// A peer that has not applied what it had before its restart would answer with the past; one that disagrees with
    /// the majority would answer wrongly.
    pub fn check_serving(&self) -> Result<(), MetaError> {
        self.check_sound()?;
        if self.core.is_caught_up() {
            return Ok(());
        }
        let (peer, applied) = (self.core.peer, self.core.applier.applied().index);
        let message = format!("peer {peer} is still applying what it had before its restart; it is at entry {applied}");
        Err(MetaError::new(ErrorCode::NotReady, message))
    }

    /// Waits while this peer applies what it had before its restart, and answers as [`Node::check_serving`] does then, or at `deadline`.
    ///
    /// No other state ends by waiting, so all others are answered at once: a peer that stops, has failed, has lost entries or a sound
    /// state, disagrees with the majority, or was removed. One that fails ends its process.
    pub async fn wait_serving(&self, deadline: Deadline) -> Result<(), MetaError> {
        let mut standing = self.core.standing.subscribe();
        loop {
            let answer = self.check_serving();
            let catches_up = matches!(&answer, Err(error) if error.code == ErrorCode::NotReady);
            if !catches_up || self.core.health.is_removed() {
                return answer;
            }
            let Ok(Ok(())) = tokio::time::timeout_at(deadline, standing.changed()).await else {
                return answer;
            };
        }
    }

    /// Whether what this peer has applied is the cluster's, as far as is known here, however long ago that was.
    pub(crate) fn check_sound(&self) -> Result<(), MetaError> {
        let core = &self.core;
        if core.is_stopping() {
            return Err(MetaError::new(ErrorCode::ShuttingDown, format!("peer {} is stopping", core.peer)));
        }
        if let Err(loss) = core.takes_part() {
            return Err(MetaError::new(ErrorCode::Diverged, format!("peer {}: {loss}", core.peer)));
        }
        if core.health.is_diverged() {
            return Err(MetaError::new(
                ErrorCode::Diverged,
                format!("peer {} does not agree with the majority about the state", core.peer),
            ));
        }
        match self.failure() {
            Some(failure) => Err(MetaError::new(
                ErrorCode::ShuttingDown,
                format!("peer {} has failed: {failure}", core.peer),
            )),
            None => Ok(()),
        }
    }

    /// Why this peer no longer takes part, if its build is too old, or its log, its state or openraft failed: the process must end
    /// and start anew.
    pub fn failure(&self) -> Option<String> {
        if let Some(why) = self.core.applier.outdated() {
            return Some(why.to_owned());
        }
        if let Some(what) = self.core.applier.engine().damage() {
            return Some(format!("its state is damaged ({what}) and is built anew at the next start"));
        }
        let metrics = self.core.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.running_state.as_ref().err().map(ToString::to_string)
    }

    /// Ends with the reason once this peer takes part no more: whoever runs it must end the process.
    pub async fn failed(&self) -> String {
        let mut metrics = self.core.raft.metrics();
        loop {
            if let Some(failure) = self.failure() {
                return failure;
            }
            // Damage changes nothing in the metrics of a leader that is idle.
            if let Ok(Err(_)) = tokio::time::timeout(FAILURE_LOOK, metrics.changed()).await {
                return "the consensus task has ended".to_owned();
            }
        }
    }

    pub fn applied(&self) -> AppliedState {
        self.core.applier.applied()
    }

    pub fn peer(&self) -> PeerId {
        PeerId(self.core.peer)
    }

    /// Who leads, as far as this peer knows, and its addresses.
    pub fn leader(&self) -> Option<(PeerId, PeerNode)> {
        let leader = self.core.leader()?;
        self.core.node_of(leader).map(|node| (PeerId(leader), node))
    }

    pub fn is_leader(&self) -> bool {
        self.core.leader() == Some(self.core.peer)
    }

    /// Hands leadership over, ends the tasks and flushes. Calls that are under way fail then: let them end first.
    pub async fn shutdown(&self) {
        self.hand_over().await;
        self.halt().await;
        if let Err(error) = self.core.applier.engine().flush() {
            tracing::warn!(%error, "the state was not flushed; the log has it");
        }
    }

    /// Ends the tasks and nothing else, as a crash would. Log and state are released when the last [`Node`] is dropped.
    pub async fn halt(&self) {
        self.core.stopping.store(true, Ordering::Release);
        self.core.tell_standing();
        self.core.state_adapter.abandon_checkpoint();
        let mut tasks = std::mem::take(&mut *self.core.tasks.lock().expect("no panic while held"));
        tasks.shutdown().await;
        if let Err(error) = self.core.raft.shutdown().await {
            tracing::warn!(%error, "the Raft task did not end cleanly");
        }
    }
}

/// The log's answer to a write that may have been sent before.
fn settle(answer: Answer, doubt: Option<String>) -> Result<Answer, MetaError> {
    use ErrorCode::{SessionExpired, StorageFull, UnknownCommand};
    match (&answer.body, doubt) {
        // The session ended between two attempts: this one was not executed, the one before may have been.
        // Or the leader refused it unread, for want of disk space, or because it is of an older build.
        (Err(error), Some(why)) if matches!(error.code, SessionExpired | StorageFull | UnknownCommand) => Err(MetaError::new(
            ErrorCode::OutcomeUnknown,
            format!("the write may have been applied: {why}; {error}"),
        )),
        _ => Ok(answer),
    }
}

impl Core {
    pub(crate) fn raft(&self) -> &Raft<TypeConfig, StateAdapter> {
        &self.raft
    }

    /// The cluster's time as this peer knows it: that of the newest entry, or later.
    pub fn now(&self) -> StampedTime {
        self.cluster_clock.now().max(self.applier.stamped_time())
    }

    /// A copy: the reference would block openraft's own task.
    pub(crate) fn metrics(&self) -> RaftMetrics<TypeConfig> {
        self.raft.metrics().borrow_watched().clone()
    }

    /// An error when this peer has lost what it had acknowledged: it neither votes nor acknowledges any more.
    pub(crate) fn takes_part(&self) -> Result<(), String> {
        self.own_log.loss().map_or(Ok(()), |loss| Err(loss.to_owned()))
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// Runs `task` until it ends or the node does.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut tasks = self.tasks.lock().expect("no panic while held");
        if self.is_stopping() {
            return;
        }
        // A set keeps what has ended until somebody asks.
        while tasks.try_join_next().is_some() {}
        tasks.spawn(task);
    }

    /// openraft names whoever got the last vote; this peer counts only while it acts as leader.
    pub fn leader(&self) -> Option<u64> {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .current_leader
            .filter(|leader| *leader != self.peer || metrics.state == ServerState::Leader)
    }

    /// Ends when `leader` does not lead any more, as far as this peer knows.
    pub(crate) async fn leader_lost(&self, leader: u64) {
        let mut metrics = self.raft.server_metrics();
        while self.leader() == Some(leader) {
            if metrics.changed().await.is_err() {
                return;
            }
        }
    }

    pub fn node_of(&self, peer: u64) -> Option<PeerNode> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics
            .membership_config
            .nodes()
            .find(|(id, _)| **id == peer)
            .map(|(_, node)| node.clone())
    }

    /// Everybody in the membership, learners included.
    pub fn members(&self) -> Vec<(u64, PeerNode)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.nodes();
        members.map(|(peer, node)| (*peer, node.clone())).collect()
    }

    pub fn is_voter(&self, peer: u64) -> bool {
        self.raft
            .metrics()
            .borrow_watched()
            .membership_config
            .voter_ids()
            .any(|id| id == peer)
    }

    /// Whether no quorum can commit without this voter: the others that answer and have what the log begins with are too few.
    pub(crate) fn quorum_needs(&self, peer: u64) -> bool {
        let metrics = self.metrics();
        let voters: Vec<u64> = metrics.membership_config.voter_ids().collect();
        let log_begins = metrics.purged.map_or(0, |id| id.index);
        // What it said of itself is up to a second old; what a leader knows of its log is not.
        let matched = |voter: &u64| metrics.replication.as_ref()?.get(voter).copied().flatten();
        let has_enough = |voter: &u64| {
            let last = self.health.answering(*voter)?.last_log_index;
            Some(last.max(matched(voter).map_or(0, |id| id.index)) >= log_begins)
        };
        let others = voters.iter().filter(|voter| **voter != peer);
        let able = others.filter(|voter| **voter == self.peer || has_enough(voter) == Some(true));
        voters.contains(&peer) && able.count() <= voters.len() / 2
    }

    /// A client for calls that are not part of Raft itself.
    pub fn client_of(&self, peer: u64) -> Option<Arc<dyn PeerClient>> {
        let node = self.node_of(peer)?;
        Some(self.transport.client(&node.peer_address, peer, node.incarnation, Channel::Forward))
    }

    /// Gives one framed command to the leader, here or over there.
    async fn submit(self: &Arc<Self>, frame: Bytes) -> ProposeResult {
        let Some(leader) = self.leader() else {
            return Err(ProposeFailure::NotLeader { leader: None });
        };
        if leader == self.peer {
            return self.propose_here(frame).await;
        }
        let Some(queue) = self.forward_queue(leader) else {
            return Err(ProposeFailure::NotLeader { leader: None });
        };
        enqueue(&queue, frame).await
    }

    /// Gives one framed command of this peer's own callers to its proposer.
    async fn propose_here(&self, frame: Bytes) -> ProposeResult {
        if let Some(answer) = self.admit_growth(&frame).await? {
            return Ok(answer);
        }
        enqueue(&self.local, frame).await
    }

    /// Gives one command of another peer to this peer's proposer. It waits for its place: peers bound what they have
    /// under way, and a refusal here could not be told from one by the state.
    pub(crate) async fn propose_forwarded(&self, frame: Bytes) -> ProposeResult {
        if let Some(answer) = self.admit_growth(&frame).await? {
            return Ok(answer);
        }
        let (reply, receiver) = oneshot::channel();
        if self.local.send(Proposal { frame, reply }).await.is_err() {
            return Err(ProposeFailure::NotLeader { leader: None });
        }
        receiver
            .await
            .unwrap_or_else(|_| Err(ProposeFailure::Unknown("the proposer stopped".to_owned())))
    }

    fn forward_queue(self: &Arc<Self>, leader: u64) -> Option<mpsc::Sender<Proposal>> {
        let node = self.node_of(leader)?;
        let mut current = self.forwards.lock().expect("no panic while held");
        if let Some(queue) = current.as_ref().filter(|queue| queue.leader == leader && queue.node == node) {
            return Some(queue.sender.clone());
        }
        let client = self
            .transport
            .client(&node.peer_address, leader, node.incarnation, Channel::Forward);
        let (sender, receiver) = mpsc::channel(MAX_WAITING_COMMANDS);
        self.spawn(forward::run(self.clone(), leader, client, receiver));
        // The queue of a former leader ends when its last sender is dropped here.
        *current = Some(ForwardQueue {
            leader,
            node,
            sender: sender.clone(),
        });
        Some(sender)
    }

    /// Where the index comes that a reader must have applied who begins now.
    pub(crate) fn read_index(&self) -> Result<oneshot::Receiver<reads::ReadIndexResult>, MetaError> {
        let (sender, receiver) = oneshot::channel();
        let full = || {
            MetaError::new(
                ErrorCode::TooManyRequests,
                format!("{MAX_WAITING_COMMANDS} reads are waiting at this peer"),
            )
        };
        self.read_barrier.try_send(sender).map_err(|_| full())?;
        Ok(receiver)
    }

    /// Waits until the local state holds everything that was committed when the call began.
    pub(crate) async fn read_barrier(&self, deadline: Deadline) -> Result<(), MetaError> {
        let receiver = self.read_index()?;
        let late = || MetaError::new(ErrorCode::NoLeader, "no leader confirmed the read before its deadline");
        let index = tokio::time::timeout_at(deadline, receiver)
            .await
            .map_err(|_| late())?
            .map_err(|_| MetaError::new(ErrorCode::ShuttingDown, "this peer is stopping"))??;
        self.wait_applied(index, deadline).await
    }

    pub(crate) fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    /// From here on the state is at least as new as anything this peer answered with before its restart.
    pub(crate) fn set_caught_up(&self) {
        self.caught_up.store(true, Ordering::Release);
        self.tell_standing();
    }

    /// Has callers that wait for this peer look again whether it serves.
    pub(crate) fn tell_standing(&self) {
        self.standing.send_replace(());
    }

    /// The cluster has removed this peer.
    pub(crate) fn tell_removed(&self) {
        self.health.tell_removed();
        self.tell_standing();
    }

    pub(crate) async fn wait_applied(&self, index: u64, deadline: Deadline) -> Result<(), MetaError> {
        if self.applier.applied().index >= index {
            return Ok(());
        }
        let mut applied = self.applier.watch();
        match tokio::time::timeout_at(deadline, applied.wait_for(|state| state.index >= index)).await {
            Ok(Ok(_)) => Ok(()),
            _ => {
                let at = self.applier.applied().index;
                Err(MetaError::new(
                    ErrorCode::DeadlineExceeded,
                    format!("this peer has applied entry {at}, the read needs {index}"),
                ))
            }
        }
    }
}

async fn enqueue(queue: &mpsc::Sender<Proposal>, frame: Bytes) -> ProposeResult {
    let (reply, receiver) = oneshot::channel();
    match queue.try_send(Proposal { frame, reply }) {
        Ok(()) => {}
        Err(mpsc::error::TrySendError::Full(_)) => {
            let message = format!("{MAX_WAITING_COMMANDS} writes are waiting at this peer");
            return Err(ProposeFailure::Refused(MetaError::new(ErrorCode::TooManyRequests, message)));
        }
        Err(mpsc::error::TrySendError::Closed(_)) => return Err(ProposeFailure::NotLeader { leader: None }),
    }
    receiver
        .await
        .unwrap_or_else(|_| Err(ProposeFailure::Unknown("the proposer stopped".to_owned())))
}

#[cfg(test)]
mod tests;
