//! One client process: one operation at a time, one attempt each unless it is told to repeat, everything recorded.
//!
//! Each client has a session of its own and numbers its writes, so that a write can be repeated and its fate be looked up in
//! the peers' audit logs. After an operation without an answer the client goes on under a new process number.

use crate::contract::{self, Failed, Outcome, judge, timeout};
use crate::history::{Kind, Recorder, Reply};
use crate::seeded::Random;
use crate::workload::Stage;
use quorate_wire::quorate::v1::OpenSessionRequest;
use quorate_wire::quorate::v1::metadata_client::MetadataClient;
use serde_json::Value as Json;
use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Response, Status};

/// How long an attempt may take.
pub const TIMEOUT: Duration = Duration::from_secs(1);
/// In the last phase everything works, if slowly.
pub const FINAL_TIMEOUT: Duration = Duration::from_secs(10);
/// Told to the peer: it shall say what it knows before we stop listening.
const PEERS_SHARE: f64 = 0.9;
/// A node that did not answer is left alone for so long: its clients go elsewhere, as real ones do, and come back to see.
const LEFT_ALONE: Duration = Duration::from_millis(700);
/// A list of many instances or segments.
pub const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// What an operation may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Reads,
    Writes,
}

/// Where a client's calls go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// This node and no other.
    Only(usize),
    /// This node, another one while it is silent.
    Node(usize),
    /// Another node each time.
    Anywhere,
}

/// An answer with what its metadata say.
#[derive(Clone, Debug)]
pub struct Answered<T> {
    pub body: T,
    pub revision: Option<u64>,
    pub term: Option<u64>,
}

/// An operation that was begun and must be ended.
#[must_use]
#[derive(Clone, Debug)]
pub struct Open {
    f: &'static str,
    value: Json,
    effect: Effect,
    node: usize,
    /// Of a write, when a session was there for it.
    request: Option<(u64, u64)>,
}

impl Open {
    /// The node that was asked, the last one after repetitions.
    pub fn node(&self) -> usize {
        self.node
    }
}

/// A process of a workload.
pub struct Client {
    stage: Stage,
    recorder: Recorder,
    pub random: Random,
    process: u64,
    home: Home,
    /// Which group of clients it is in, from 0; those of one share keys.
    pub group: usize,
    /// By node; made when it is used, and anew after it broke: a connection that was cut waits long before it tries again.
    links: Vec<Option<Channel>>,
    /// By node: until when it is left alone.
    silent_until: Vec<Option<Instant>>,
    session: Option<u64>,
    number: u64,
    /// Further attempts for a write whose outcome is unknown, each at another node under the same request id.
    pub repeats: usize,
    pub timeout: Duration,
}

impl Client {
    pub fn new(stage: &Stage, home: Home) -> Client {
        let process = stage.recorder.new_process();
        Client {
            stage: stage.clone(),
            recorder: stage.recorder.clone(),
            random: stage.random(process),
            process,
            home,
            group: 0,
            links: vec![None; stage.field.size()],
            silent_until: vec![None; stage.field.size()],
            session: None,
            number: 0,
            repeats: 0,
            timeout: TIMEOUT,
        }
    }

    /// A client of the last phase, bound to a node.
    pub fn patient(stage: &Stage, node: usize) -> Client {
        let mut client = Client::new(stage, Home::Only(node));
        client.timeout = FINAL_TIMEOUT;
        client
    }

    pub fn process(&self) -> u64 {
        self.process
    }

    /// How many nodes it knows.
    pub fn nodes(&self) -> usize {
        self.links.len()
    }

    /// Waits for a turn on the schedule that all clients of the stage share. False when the run stops.
    pub async fn turn(&mut self) -> bool {
        let share = 0.5 + self.random.below(1_000) as f64 / 1_000.0;
        let due = self.stage.pace.turn(Instant::now(), share);
        while !self.stage.is_stopping() && Instant::now() < due {
            tokio::time::sleep_until(due.min(Instant::now() + Duration::from_millis(100))).await;
        }
        !self.stage.is_stopping()
    }

    /// Records that an operation begins.
    pub async fn begin(&mut self, f: &'static str, value: Json, effect: Effect) -> Open {
        let node = self.choose_node();
        self.begin_at(node, f, value, effect).await
    }

    /// As [`Client::begin`], at the node after `last`, wherever home is; a client of the last phase stays at its own.
    pub async fn begin_after(&mut self, last: usize, f: &'static str, value: Json, effect: Effect) -> Open {
        let next = (last + 1) % self.links.len();
        let node = match self.home {
            Home::Only(node) => node,
            _ => self.first_heard(next).unwrap_or(next),
        };
        self.begin_at(node, f, value, effect).await
    }

    async fn begin_at(&mut self, node: usize, f: &'static str, value: Json, effect: Effect) -> Open {
        if effect == Effect::Writes && self.session.is_none() {
            self.session = self.open_session(node).await;
        }
        let request = match (effect, self.session) {
            (Effect::Writes, Some(session)) => {
                self.number += 1;
                Some((session, self.number))
            }
            _ => None,
        };
        self.recorder.invoke(self.process, f, value.clone());
        Open {
            f,
            value,
            effect,
            node,
            request,
        }
    }

    /// Home, or any node; one that was silent just now only if all were.
    fn choose_node(&mut self) -> usize {
        let drawn = self.random.below(self.links.len() as u64) as usize;
        let wanted = match self.home {
            Home::Only(node) => return node,
            Home::Node(node) => node,
            Home::Anywhere => drawn,
        };
        match self.is_heard(wanted) {
            true => wanted,
            false => self.first_heard(drawn).unwrap_or(wanted),
        }
    }

    /// Whether a node was not silent just now.
    fn is_heard(&self, node: usize) -> bool {
        self.silent_until[node].is_none_or(|until| until < Instant::now())
    }

    /// From `first` on, in a circle.
    fn first_heard(&self, first: usize) -> Option<usize> {
        let nodes = self.links.len();
        (0..nodes).map(|step| (first + step) % nodes).find(|node| self.is_heard(*node))
    }

    /// Makes the attempt, or attempts, of an operation.
    pub async fn call<Q, R, F>(
        &mut self,
        open: &mut Open,
        message: Q,
        send: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<Answered<R>, Failed>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        self.call_judged(open, message, &[], send, |_| None).await
    }

    /// As [`Client::call`], with further metadata, and with a look into the body for a refusal.
    pub async fn call_judged<Q, R, F>(
        &mut self,
        open: &mut Open,
        message: Q,
        metadata: &[(&'static str, u64)],
        send: impl Fn(Channel, Request<Q>) -> F,
        refusal: impl Fn(&R) -> Option<Failed>,
    ) -> Result<Answered<R>, Failed>
    where
        Q: Clone,
        F: Future<Output = Result<Response<R>, Status>>,
    {
        if open.effect == Effect::Writes && open.request.is_none() {
            return Err(Failed {
                outcome: Outcome::NotApplied,
                error: "no session could be opened: nothing was sent".to_owned(),
                is_broken: false,
            });
        }
        let attempts = if open.effect == Effect::Writes { 1 + self.repeats } else { 1 };
        let mut doubt = None;
        for attempt in 1.. {
            let request = self.dress(message.clone(), open.request, metadata);
            let failed = match self.attempt(open.node, request, &send).await {
                Ok(answered) => match refusal(&answered.body) {
                    None => return Ok(answered),
                    Some(failed) => failed,
                },
                Err(failed) => failed,
            };
            self.forget_session_if_gone(&failed);
            match failed.outcome {
                // What the state decided is the answer to every attempt; what else a peer says is about its own.
                Outcome::Refused => return Err(failed),
                Outcome::NotApplied if doubt.is_none() => return Err(failed),
                _ => {}
            }
            let doubt = doubt.get_or_insert(failed);
            if attempt >= attempts || self.stage.is_stopping() {
                return Err(doubt.clone());
            }
            open.node = (open.node + 1) % self.links.len();
        }
        unreachable!("the last attempt returns")
    }

    /// Records a good end.
    pub fn ok<T>(&mut self, open: Open, value: Json, answered: &Answered<T>) {
        self.ok_at(open, value, answered.revision, answered.term);
    }

    /// As [`Client::ok`], at a revision that the body tells.
    pub fn ok_at(&mut self, open: Open, value: Json, revision: Option<u64>, term: Option<u64>) {
        self.stage.pace.ended(true);
        let reply = self.reply(&open, revision, term, None);
        self.recorder.complete(self.process, Kind::Ok, open.f, value, reply);
    }

    /// Records a bad end, as the error contract has it.
    pub fn failed(&mut self, open: Open, failed: Failed) {
        self.stage.pace.ended(failed.outcome == Outcome::Refused);
        let kind = match (open.effect, failed.outcome) {
            (Effect::Writes, Outcome::Unknown) => Kind::Info,
            _ => Kind::Fail,
        };
        let reply = self.reply(&open, None, None, Some(failed.error));
        self.recorder.complete(self.process, kind, open.f, open.value, reply);
        if kind == Kind::Info {
            self.process = self.recorder.new_process();
        }
    }

    /// Records an answer that no rule of the product allows; checkers make the run fail for it.
    pub fn unexpected(&mut self, open: Open, what: &str) {
        let failed = Failed {
            outcome: Outcome::Unknown,
            error: format!("{UNEXPECTED}{what}"),
            is_broken: false,
        };
        self.failed(open, failed);
    }

    fn reply(&self, open: &Open, revision: Option<u64>, term: Option<u64>, error: Option<String>) -> Reply {
        Reply {
            revision,
            term,
            node: Some(self.stage.field.name(open.node)),
            request: open.request.map(|(session, number)| format!("{session}-{number}")),
            error,
        }
    }

    fn dress<Q>(&self, message: Q, id: Option<(u64, u64)>, metadata: &[(&'static str, u64)]) -> Request<Q> {
        let mut request = Request::new(message);
        let map = request.metadata_mut();
        // Not gRPC's own: with that the client library would end the call itself, before the peer has said what it knows.
        map.insert("quorate-deadline-ms", (self.timeout.mul_f64(PEERS_SHARE).as_millis() as u64).into());
        // Another node may serve while this one starts, and the load does not wait.
        map.insert("quorate-no-wait", 1u64.into());
        if let Some((session, number)) = id {
            map.insert("quorate-session", session.into());
            map.insert("quorate-request", number.into());
        }
        for (name, value) in metadata {
            map.insert(*name, (*value).into());
        }
        if let Ok(token) = self.stage.field.token().parse() {
            map.insert("quorate-token", token);
        }
        request
    }

    async fn attempt<Q, R, F>(
        &mut self,
        node: usize,
        request: Request<Q>,
        send: impl Fn(Channel, Request<Q>) -> F,
    ) -> Result<Answered<R>, Failed>
    where
        F: Future<Output = Result<Response<R>, Status>>,
    {
        let link = self.link(node);
        let failed = match tokio::time::timeout(self.timeout, send(link, request)).await {
            Ok(Ok(response)) => {
                // Behind the term stands a dot and its leader's peer.
                let number = |name: &str| {
                    let shown = response.metadata().get(name)?.to_str().ok()?;
                    shown.split('.').next()?.parse().ok()
                };
                let (revision, term) = (number("quorate-revision"), number("quorate-term"));
                let body = response.into_inner();
                return Ok(Answered { body, revision, term });
            }
            Ok(Err(status)) => judge(&status),
            Err(_) => timeout(),
        };
        if failed.is_broken {
            self.links[node] = None;
            self.silent_until[node] = Some(Instant::now() + LEFT_ALONE);
        }
        Err(failed)
    }

    fn link(&mut self, node: usize) -> Channel {
        let address = self.stage.field.public(node);
        let connect = || {
            let endpoint = Endpoint::from_shared(format!("http://{address}")).expect("an address of a node is a valid URI");
            endpoint.connect_timeout(TIMEOUT).tcp_nodelay(true).connect_lazy()
        };
        self.links[node].get_or_insert_with(connect).clone()
    }

    /// Not part of the history: which sessions there are makes no difference to what is read.
    async fn open_session(&mut self, node: usize) -> Option<u64> {
        self.number = 0;
        for step in 0..self.links.len() {
            let node = (node + step) % self.links.len();
            let request = self.dress(OpenSessionRequest {}, None, &[]);
            let opened = self
                .attempt(node, request, |link, request| async move {
                    MetadataClient::new(link).open_session(request).await
                })
                .await;
            if let Ok(opened) = opened {
                return Some(opened.body.session_id);
            }
        }
        None
    }

    fn forget_session_if_gone(&mut self, failed: &Failed) {
        if failed.error.starts_with("session_expired") {
            self.session = None;
        }
    }
}

/// Prefix of the error of an operation whose answer is none that the product may give.
pub const UNEXPECTED: &str = "unexpected: ";

/// Gives a Doris response's own status to the contract.
pub fn refusal_in(status: Option<&quorate_wire::doris::MetaServiceResponseStatus>) -> Option<Failed> {
    let Some(status) = status else {
        return contract::judge_doris(i32::MIN, "a response without a status");
    };
    contract::judge_doris(status.code.unwrap_or_default(), status.msg())
}

/// Calls with a gRPC client as [`Client::call`] wants them: `send!(MetadataClient, get_attribute)`.
#[macro_export]
macro_rules! send {
    ($client:ident, $method:ident) => {
        |link, request| async move {
            $client::new(link)
                .max_decoding_message_size($crate::client::MAX_MESSAGE_BYTES)
                .$method(request)
                .await
        }
    };
}
