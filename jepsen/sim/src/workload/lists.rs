//! Clients: each appends numbers to a list of its own and to a shared one in a single command, and reads the shared one.
//!
//! A write is repeated under the same request id, at any peer, until it is answered.

use super::INSTANCE;
use crate::entropy::Dice;
use crate::network::{self, Kind};
use crate::peer::address;
use crate::world::World;
use bytes::Bytes;
use prost::Message;
use quorate_consensus::Node;
use quorate_model::{ErrorCode, MetaError, PeerId, RequestId, SessionId};
use quorate_state_machine::commands::append_attributes::{AppendAttribute, AppendAttributesReply};
use quorate_state_machine::commands::{AppendAttributes, CreateInstance, Numbered, OpenSession, open_session::OpenSessionReply};
use quorate_state_machine::queries::QueryError;
use quorate_state_machine::queries::attributes::get_attribute;
use quorate_wire::quorate::v1::GetAttributeRequest;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

pub const SHARED: &str = "shared";
/// What a peer gives one call.
const SERVER_DEADLINE: Duration = Duration::from_millis(1_500);
/// What a client waits for one answer.
const CLIENT_TIMEOUT: Duration = Duration::from_secs(2);

/// A client's question: command, request id, payload.
#[derive(Clone, PartialEq, prost::Message)]
struct Write {
    #[prost(uint32, tag = "1")]
    number: u32,
    #[prost(uint64, tag = "2")]
    session: u64,
    #[prost(uint64, tag = "3")]
    request: u64,
    #[prost(bytes = "bytes", tag = "4")]
    payload: Bytes,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct Outcome {
    /// Number of the error; 0 for success.
    #[prost(uint32, tag = "1")]
    pub error: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub body: Bytes,
}

fn outcome(result: Result<Bytes, MetaError>) -> Vec<u8> {
    let outcome = match result {
        Ok(body) => Outcome { error: 0, body },
        Err(error) => Outcome {
            error: error.code.row().number,
            body: error.message.into(),
        },
    };
    outcome.encode_to_vec()
}

/// The peer's side.
pub async fn answer(node: &Node, kind: Kind, question: Bytes) -> Vec<u8> {
    let deadline = Instant::now() + SERVER_DEADLINE;
    match kind {
        Kind::ClientWrite => {
            let Ok(write) = Write::decode(question) else { return Vec::new() };
            let request = RequestId {
                session: SessionId(write.session),
                number: write.request,
            };
            let request = (write.session != 0).then_some(request);
            let answer = node.write(write.number, write.payload, request, deadline).await;
            outcome(answer.and_then(|answer| answer.body))
        }
        Kind::ClientRead => {
            if let Err(error) = node.read_barrier(deadline).await {
                return outcome(Err(error));
            }
            let request = GetAttributeRequest {
                instance_id: INSTANCE.into(),
                name: SHARED.into(),
                ..Default::default()
            };
            let reply = node.read(|reader| get_attribute(reader, &request));
            let value = reply.map(|reply| reply.attribute.map(|attribute| attribute.value).unwrap_or_default());
            outcome(value.map_err(|error| match error {
                QueryError::Refused(error) => error,
                QueryError::Store(error) => MetaError::internal(error.to_string()),
            }))
        }
        Kind::ClientRemoveMember => {
            let Ok(peer) = question.as_ref().try_into().map(u64::from_le_bytes) else {
                return Vec::new();
            };
            let removed = node.remove_member(PeerId(peer), false, deadline).await;
            outcome(removed.map(|_| Bytes::new()))
        }
        _ => {
            let moved = node.transfer_leader(None, deadline).await;
            outcome(moved.map(|peer| peer.0.to_le_bytes().to_vec().into()))
        }
    }
}

struct Client {
    world: Arc<World>,
    number: usize,
    dice: Dice,
    session: u64,
    requests: u64,
}

impl Client {
    async fn ask(&mut self, kind: Kind, question: &[u8]) -> Option<Outcome> {
        let peer = self.dice.roll(self.world.plan.hosts() as u64) as usize;
        let answer = network::ask(&address(peer), kind, question, CLIENT_TIMEOUT).await;
        Outcome::decode(answer.ok()?).ok()
    }

    /// Writes until it is answered; `None` when the run ends first.
    async fn write<C: Numbered>(&mut self, command: &C) -> Option<Result<Bytes, ErrorCode>> {
        self.requests += 1;
        let write = Write {
            number: C::NUMBER,
            session: self.session,
            request: self.requests,
            payload: command.encode_to_vec().into(),
        }
        .encode_to_vec();
        let answer = self.until_answered(&write).await?;
        // Without a session nothing is remembered, and it would be executed again.
        if let Ok(first) = &answer
            && self.session != 0
            && self.dice.chance(10)
        {
            let again = self.until_answered(&write).await?.map_err(|code| format!("{code:?}"));
            let again = again.unwrap_or_else(|code| code.into());
            self.world.repeated(self.number, first, &again);
        }
        Some(answer)
    }

    async fn until_answered(&mut self, write: &[u8]) -> Option<Result<Bytes, ErrorCode>> {
        while !self.world.is_over() {
            match self.ask(Kind::ClientWrite, write).await {
                Some(Outcome { error: 0, body }) => return Some(Ok(body)),
                Some(Outcome { error, .. }) => match ErrorCode::from_number(error) {
                    ErrorCode::NoLeader
                    | ErrorCode::NotLeader
                    | ErrorCode::OutcomeUnknown
                    | ErrorCode::NotReady
                    | ErrorCode::ShuttingDown
                    | ErrorCode::TooManyRequests => {}
                    refused => return Some(Err(refused)),
                },
                None => {}
            }
            tokio::time::sleep(Duration::from_millis(20 + self.dice.roll(60))).await;
        }
        None
    }

    async fn open_session(&mut self) -> Option<()> {
        match self.write(&OpenSession::default()).await? {
            Ok(reply) => self.session = OpenSessionReply::decode(reply).ok()?.session,
            Err(code) => self.world.broken("a session is always given", format!("{code:?}")),
        }
        self.requests = 0;
        Some(())
    }

    async fn append(&mut self, value: u64) -> Option<()> {
        let list = own_list(self.number);
        let appends = [(list.as_str(), format!("{value},")), (SHARED, format!("{}:{value},", self.number))];
        let appends = appends.map(|(name, suffix)| AppendAttribute {
            instance_id: INSTANCE.into(),
            name: name.into(),
            suffix: suffix.into(),
        });
        let command = AppendAttributes { appends: appends.to_vec() };
        let reply = self.write(&command).await?.map_err(|code| format!("{code:?}"));
        let reply = reply.and_then(|body| AppendAttributesReply::decode(body).map_err(|error| error.to_string()));
        match reply {
            Ok(reply) => {
                let (own, shared) = (&reply.attributes[0].value, &reply.attributes[1].value);
                self.world.append_acknowledged(self.number, value, own, shared);
            }
            Err(refusal) => {
                let what = format!("client {} was refused: {refusal}", self.number);
                self.world.broken("a write is executed in the end", what);
            }
        }
        Some(())
    }

    async fn read(&mut self) {
        let (floor, was_there) = (self.world.read_begins(), self.world.is_instance_there());
        match self.ask(Kind::ClientRead, &[]).await {
            Some(Outcome { error: 0, body }) => self.world.read_answered(self.number, &floor, &body),
            Some(Outcome { error, .. }) => {
                let who = format!("list client {}", self.number);
                self.world.call_refused(was_there, ErrorCode::from_number(error), &who);
            }
            None => {}
        }
    }
}

pub fn own_list(number: usize) -> String {
    format!("list{number}")
}

/// Appends and reads until the run is over.
pub async fn run(world: Arc<World>, number: usize) -> turmoil::Result {
    let mut client = Client {
        world,
        number,
        dice: Dice::new(),
        session: 0,
        requests: 0,
    };
    let create = CreateInstance {
        instance_id: INSTANCE.into(),
        user_id: "user".into(),
        name: INSTANCE.into(),
        ..Default::default()
    };
    match client.write(&create).await {
        None => return Ok(()),
        Some(Ok(_) | Err(ErrorCode::AlreadyExists)) => client.world.instance_acknowledged(),
        Some(Err(code)) => client.world.broken("an instance can be created", format!("{code:?}")),
    }
    if client.open_session().await.is_none() {
        return Ok(());
    }
    let mut value = 0;
    while !client.world.is_over() {
        value += 1;
        if client.append(value).await.is_none() {
            return Ok(());
        }
        for _ in 0..client.dice.roll(3) {
            client.read().await;
        }
        tokio::time::sleep(Duration::from_millis(client.dice.roll(40))).await;
    }
    Ok(())
}
