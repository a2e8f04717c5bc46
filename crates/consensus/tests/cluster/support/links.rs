//! The network of the tests: one link per direction between two addresses.

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::BoxStream;
use prost::Message;
use quorate_consensus::Node;
use quorate_consensus::bootstrap::{Newcomer, hello_while_empty};
use quorate_consensus::transport::{Channel, PeerClient, Transport, TransportError};
use quorate_wire::quorate::peer as wire;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;
use tokio::time::Instant;

/// How long a call over a cut link takes to fail.
const REFUSED_AFTER: Duration = Duration::from_millis(20);
/// How often an answer that is held looks whether it may pass.
const HELD_LOOK: Duration = Duration::from_millis(1);
/// How long a caller whose reply is lost waits before its connection breaks.
const LOST_AFTER: Duration = Duration::from_secs(10);

/// Who answers at an address.
#[derive(Clone)]
pub enum Endpoint {
    Empty(Newcomer),
    Member(Node),
}

impl Endpoint {
    fn connection_closed(&self, caller: u64) {
        if let Endpoint::Member(node) = self {
            node.connection_closed(caller);
        }
    }
}

/// Which answers to appends wait on a link that is held.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    All,
    /// Only those that say that the entries were not taken.
    Refusals,
}

#[derive(Default)]
struct State {
    endpoints: BTreeMap<String, Endpoint>,
    cut: BTreeSet<(String, String)>,
    refused: BTreeSet<(String, String)>,
    /// Links that are as if cut, but that answers to appends wait on instead of breaking their streams.
    held: BTreeMap<(String, String), Held>,
    delays: BTreeMap<(String, String), Duration>,
    /// How far the others' clocks are ahead of a peer's, by its address, in milliseconds.
    clocks_ahead: BTreeMap<String, u64>,
    /// How far a peer's clock is ahead of the right time, by its address, in milliseconds, as far as peers tell each other.
    clocks: BTreeMap<String, u64>,
    /// Calls that arrived, by caller and kind.
    calls: BTreeMap<(String, &'static str), usize>,
    /// Files wanted by each announced checkpoint, by receiver.
    plans: Vec<(String, Vec<String>)>,
    /// Nobody is told what it has acknowledged, as if the others did not remember.
    withholds_memory: bool,
    /// Answers to hellos arrive over links that are cut.
    hellos_are_answered: bool,
    /// The next call of each of these kinds reaches a peer that hangs.
    hanging: BTreeSet<&'static str>,
    /// The next transfer of a checkpoint breaks after this many complete files.
    break_install_after: Option<usize>,
    /// Of each stream to a receiver, the appends under way.
    unanswered_appends: BTreeMap<String, Vec<Weak<AtomicUsize>>>,
    most_unanswered_appends: BTreeMap<String, usize>,
    most_unanswered_bytes: BTreeMap<String, usize>,
}

#[derive(Default)]
pub struct Links {
    state: Mutex<State>,
}

impl Links {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }

    pub fn listen(&self, address: &str, endpoint: Option<Endpoint>) {
        let mut state = self.state();
        let before = match endpoint {
            Some(endpoint) => state.endpoints.insert(address.to_owned(), endpoint),
            None => state.endpoints.remove(address),
        };
        // Whoever it called sees its connections close.
        if let Some(Endpoint::Member(gone)) = before {
            state
                .endpoints
                .values()
                .for_each(|called| called.connection_closed(gone.core().peer));
        }
    }

    /// Cuts one direction.
    pub fn cut(&self, from: &str, to: &str) {
        self.state().cut.insert((from.to_owned(), to.to_owned()));
    }

    /// From now on whoever is asked how it is can answer over a link that is cut, as if the others' words alone were lost.
    pub fn let_hellos_be_answered(&self) {
        self.state().hellos_are_answered = true;
    }

    /// Cuts every link of `address` to the others, both ways.
    pub fn isolate(&self, address: &str, others: &[String]) {
        for other in others.iter().filter(|other| *other != address) {
            self.cut(address, other);
            self.cut(other, address);
        }
    }

    pub fn heal(&self) {
        let mut state = self.state();
        state.cut.clear();
        state.held.clear();
    }

    /// Cuts one direction, but for answers to appends: these wait, each behind those before it, until they may pass.
    pub fn hold(&self, from: &str, to: &str) {
        self.state().held.insert((from.to_owned(), to.to_owned()), Held::All);
    }

    /// Lets the answers pass that a held link keeps, up to the first that refuses what was sent.
    pub fn release_successes(&self, from: &str, to: &str) {
        self.state().held.insert((from.to_owned(), to.to_owned()), Held::Refusals);
    }

    pub fn delay(&self, from: &str, to: &str, delay: Duration) {
        self.state().delays.insert((from.to_owned(), to.to_owned()), delay);
    }

    /// From now on the clocks of all others are this far ahead of the one at `address`, as far as it is told.
    pub fn set_clocks_ahead_of(&self, address: &str, ms: u64) {
        self.state().clocks_ahead.insert(address.to_owned(), ms);
    }

    /// From now on the clock at `address` is this far ahead of the right time, as far as peers tell each other.
    pub fn set_clock_ahead(&self, address: &str, ms: u64) {
        self.state().clocks.insert(address.to_owned(), ms);
    }

    /// From now on nobody is told what it has acknowledged.
    pub fn withhold_memory(&self) {
        self.state().withholds_memory = true;
    }

    pub fn break_next_install_after(&self, files: usize) {
        self.state().break_install_after = Some(files);
    }

    /// The next call of this kind reaches a peer that hangs: it is never answered, and its connection does not break.
    pub fn hang_next(&self, kind: &'static str) {
        self.state().hanging.insert(kind);
    }

    /// Whether a call of this kind is still to hang.
    pub fn is_to_hang(&self, kind: &'static str) -> bool {
        self.state().hanging.contains(kind)
    }

    pub fn calls(&self, from: &str, kind: &'static str) -> usize {
        self.state().calls.get(&(from.to_owned(), kind)).copied().unwrap_or(0)
    }

    pub fn plans_of(&self, receiver: &str) -> Vec<Vec<String>> {
        self.state()
            .plans
            .iter()
            .filter(|(to, _)| to == receiver)
            .map(|(_, wanted)| wanted.clone())
            .collect()
    }

    pub fn most_unanswered_appends(&self, receiver: &str) -> usize {
        self.state().most_unanswered_appends.get(receiver).copied().unwrap_or(0)
    }

    /// Bytes of appends that were under way to a receiver at the same time, at most.
    pub fn most_unanswered_bytes(&self, receiver: &str) -> usize {
        self.state().most_unanswered_bytes.get(receiver).copied().unwrap_or(0)
    }

    /// From now on connections of one to the other are refused, though it lives.
    pub fn refuse(&self, from: &str, to: &str) {
        self.state().refused.insert((from.to_owned(), to.to_owned()));
    }

    /// One connection by which `caller` calls whoever is at this address closes.
    pub fn close(&self, caller: u64, address: &str) {
        if let Some(called) = self.state().endpoints.get(address) {
            called.connection_closed(caller);
        }
    }

    /// The most appends that are under way to a receiver in one stream.
    pub fn unanswered_appends(&self, receiver: &str) -> usize {
        let state = self.state();
        let streams = state.unanswered_appends.get(receiver).into_iter().flatten();
        let counts = streams.filter_map(Weak::upgrade).map(|count| count.load(Ordering::Relaxed));
        counts.max().unwrap_or(0)
    }

    fn refuses(&self, from: &str, to: &str) -> bool {
        let state = self.state();
        !state.endpoints.contains_key(to) || state.refused.contains(&(from.to_owned(), to.to_owned()))
    }

    fn is_cut(&self, from: &str, to: &str) -> bool {
        self.state().cut.contains(&(from.to_owned(), to.to_owned()))
    }

    fn is_cut_or_held(&self, from: &str, to: &str) -> bool {
        self.is_cut(from, to) || self.state().held.contains_key(&(from.to_owned(), to.to_owned()))
    }

    fn holds(&self, from: &str, to: &str, answer: &wire::AppendReply) -> bool {
        use wire::append_reply::Kind;
        match self.state().held.get(&(from.to_owned(), to.to_owned())) {
            None => false,
            Some(Held::All) => true,
            Some(Held::Refusals) => !matches!(answer.kind(), Kind::Success | Kind::Partial),
        }
    }

    async fn wait_while_held(&self, from: &str, to: &str, answer: &wire::AppendReply) {
        while self.holds(from, to, answer) {
            tokio::time::sleep(HELD_LOOK).await;
        }
    }

    /// What the time that the peer at `to` tells is by the clock of who asks.
    fn time_told(&self, unix_ms: u64, from: &str, to: &str) -> u64 {
        let state = self.state();
        let ms = |clocks: &BTreeMap<String, u64>, address: &str| clocks.get(address).copied().unwrap_or(0);
        unix_ms + ms(&state.clocks_ahead, from) + ms(&state.clocks, to) - ms(&state.clocks, from)
    }

    fn delay_of(&self, from: &str, to: &str) -> Duration {
        self.state()
            .delays
            .get(&(from.to_owned(), to.to_owned()))
            .copied()
            .unwrap_or_default()
    }
}

pub struct LinkTransport {
    pub links: Arc<Links>,
    pub from: String,
}

#[async_trait]
impl Transport for LinkTransport {
    fn client(&self, address: &str, peer: u64, _incarnation: u64, _channel: Channel) -> Arc<dyn PeerClient> {
        Arc::new(LinkClient {
            links: self.links.clone(),
            from: self.from.clone(),
            to: address.to_owned(),
            peer,
        })
    }

    async fn has_died(&self, address: &str) -> bool {
        self.links.refuses(&self.from, address)
    }
}

struct LinkClient {
    links: Arc<Links>,
    from: String,
    to: String,
    /// Who is meant; 0 for whoever is there.
    peer: u64,
}

fn broken(what: &str) -> TransportError {
    TransportError(what.to_owned())
}

impl LinkClient {
    /// Carries one call there and its answer back.
    async fn call<R>(
        &self,
        kind: &'static str,
        handle: impl AsyncFnOnce(Endpoint) -> Result<R, TransportError>,
    ) -> Result<R, TransportError> {
        let endpoint = self.links.state().endpoints.get(&self.to).cloned();
        let sent = (!self.links.is_cut_or_held(&self.from, &self.to)).then_some(endpoint).flatten();
        *self.links.state().calls.entry((self.from.clone(), kind)).or_default() += 1;
        let Some(endpoint) = sent else {
            tokio::time::sleep(REFUSED_AFTER).await;
            return Err(broken("connection refused"));
        };
        if let Endpoint::Member(node) = &endpoint
            && self.peer != 0
            && self.peer != node.core().peer
        {
            return Err(broken("another peer has this address"));
        }
        let hangs = self.links.state().hanging.remove(kind);
        if hangs {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep(self.links.delay_of(&self.from, &self.to)).await;
        let reply = handle(endpoint).await?;
        tokio::time::sleep(self.links.delay_of(&self.to, &self.from)).await;
        let is_let_pass = kind == "hello" && self.links.state().hellos_are_answered;
        if self.links.is_cut_or_held(&self.to, &self.from) && !is_let_pass {
            tokio::time::sleep(LOST_AFTER).await;
            return Err(broken("the reply was lost"));
        }
        Ok(reply)
    }

    fn delayed<T: Send + 'static>(&self, from: &str, to: &str, mut messages: BoxStream<'static, T>) -> BoxStream<'static, T> {
        let delay = self.links.delay_of(from, to);
        if delay.is_zero() {
            return messages;
        }
        // Messages are under way at the same time: each is due a fixed time after it was sent.
        let (sender, receiver) = tokio::sync::mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(message) = messages.next().await {
                if sender.send((Instant::now() + delay, message)).is_err() {
                    return;
                }
            }
        });
        let due = |(due, message)| async move {
            tokio::time::sleep_until(due).await;
            message
        };
        tokio_stream::wrappers::UnboundedReceiverStream::new(receiver).then(due).boxed()
    }
}

fn member(endpoint: Endpoint) -> Result<Node, TransportError> {
    match endpoint {
        Endpoint::Member(node) => Ok(node),
        Endpoint::Empty(_) => Err(broken("this peer has no place in a cluster yet")),
    }
}

#[async_trait]
impl PeerClient for LinkClient {
    async fn append(
        &self,
        requests: BoxStream<'static, wire::AppendRequest>,
    ) -> Result<BoxStream<'static, Result<wire::AppendReply, TransportError>>, TransportError> {
        let node = self.call("append", async |endpoint| member(endpoint)).await?;
        let unanswered = Arc::new(AtomicUsize::new(0));
        let mut state = self.links.state();
        let streams = state.unanswered_appends.entry(self.to.clone()).or_default();
        streams.retain(|stream| stream.strong_count() > 0);
        streams.push(Arc::downgrade(&unanswered));
        drop(state);
        let sizes: Arc<Mutex<VecDeque<usize>>> = Arc::default();
        let (links, from, to, count, sent) = (
            self.links.clone(),
            self.from.clone(),
            self.to.clone(),
            unanswered.clone(),
            sizes.clone(),
        );
        let requests = requests.take_while(move |request| {
            let open = !links.is_cut(&from, &to);
            let now = count.fetch_add(1, Ordering::Relaxed) + 1;
            let mut sent = sent.lock().expect("no panic while held");
            sent.push_back(request.encoded_len());
            let mut state = links.state();
            let most = state.most_unanswered_bytes.entry(to.clone()).or_default();
            *most = sent.iter().sum::<usize>().max(*most);
            let most = state.most_unanswered_appends.entry(to.clone()).or_default();
            *most = now.max(*most);
            futures::future::ready(open)
        });
        let links = self.links.clone();
        let requests = requests.map(move |mut request| {
            request.acknowledged = request.acknowledged.filter(|_| !links.state().withholds_memory);
            request
        });
        let requests = self.delayed(&self.from, &self.to, requests.boxed());
        let replies = self.delayed(&self.to, &self.from, node.handle_append(requests));
        let (links, from, to) = (self.links.clone(), self.from.clone(), self.to.clone());
        let replies = replies.then(move |reply| {
            let (links, from, to) = (links.clone(), from.clone(), to.clone());
            let (unanswered, sizes) = (unanswered.clone(), sizes.clone());
            async move {
                links.wait_while_held(&to, &from, &reply).await;
                unanswered.fetch_sub(1, Ordering::Relaxed);
                sizes.lock().expect("no panic while held").pop_front();
                if links.is_cut(&to, &from) {
                    Err(broken("the reply was lost"))
                } else {
                    Ok(reply)
                }
            }
        });
        Ok(replies.boxed())
    }

    async fn vote(&self, request: wire::VoteRequest) -> Result<wire::VoteReply, TransportError> {
        self.call("vote", async |endpoint| Ok(member(endpoint)?.handle_vote(request).await))
            .await
    }

    async fn pre_vote(&self, request: wire::VoteRequest) -> Result<wire::VoteReply, TransportError> {
        self.call("pre_vote", async |endpoint| Ok(member(endpoint)?.handle_pre_vote(request).await))
            .await
    }

    async fn transfer_leader(&self, request: wire::TransferRequest) -> Result<wire::TransferReply, TransportError> {
        self.call("transfer_leader", async |endpoint| {
            Ok(member(endpoint)?.handle_transfer(request).await)
        })
        .await
    }

    async fn prepare_install(&self, manifest: wire::InstallManifest) -> Result<wire::InstallPlan, TransportError> {
        let plan = self
            .call("prepare_install", async |endpoint| {
                Ok(member(endpoint)?.handle_prepare_install(manifest).await)
            })
            .await?;
        if plan.error.is_empty() {
            self.links.state().plans.push((self.to.clone(), plan.wanted.clone()));
        }
        Ok(plan)
    }

    async fn install(&self, chunks: BoxStream<'static, wire::InstallChunk>) -> Result<wire::InstallReply, TransportError> {
        let limit = self.links.state().break_install_after.take();
        let mut complete = 0;
        let chunks = chunks.take_while(move |chunk| {
            let open = limit.is_none_or(|limit| complete < limit);
            complete += usize::from(chunk.end_of_file);
            futures::future::ready(open)
        });
        self.call("install", async |endpoint| {
            Ok(member(endpoint)?.handle_install(chunks.boxed()).await)
        })
        .await
    }

    async fn propose(&self, request: wire::ProposeRequest) -> Result<wire::ProposeReply, TransportError> {
        self.call("propose", async |endpoint| Ok(member(endpoint)?.handle_propose(request).await))
            .await
    }

    async fn read_index(&self, _request: wire::ReadIndexRequest) -> Result<wire::ReadIndexReply, TransportError> {
        self.call("read_index", async |endpoint| Ok(member(endpoint)?.handle_read_index().await))
            .await
    }

    async fn hello(&self, request: wire::HelloRequest) -> Result<wire::HelloReply, TransportError> {
        self.call("hello", async |endpoint| {
            Ok(match endpoint {
                Endpoint::Member(node) => {
                    let mut reply = node.handle_hello(&request);
                    reply.acknowledged = reply.acknowledged.filter(|_| !self.links.state().withholds_memory);
                    reply.unix_ms = self.links.time_told(reply.unix_ms, &self.from, &self.to);
                    reply
                }
                Endpoint::Empty(newcomer) => hello_while_empty(&newcomer),
            })
        })
        .await
    }

    async fn fetch_checkpoint(
        &self,
        request: wire::FetchCheckpointRequest,
    ) -> Result<BoxStream<'static, Result<wire::InstallChunk, TransportError>>, TransportError> {
        let node = self.call("fetch_checkpoint", async |endpoint| member(endpoint)).await?;
        let chunks = node
            .handle_fetch_checkpoint(request, &self.from)
            .await
            .map_err(|error| broken(&error.message))?;
        Ok(chunks.map(Ok).boxed())
    }

    async fn join(&self, request: wire::JoinRequest) -> Result<wire::JoinReply, TransportError> {
        self.call("join", async |endpoint| Ok(member(endpoint)?.handle_join(request).await))
            .await
    }
}
