//! How a cluster comes to be, once, and how a peer finds the place it already has.
//!
//! Peers that start empty ask every address they were given. If any of them belongs to a cluster, this peer never
//! founds another: either that cluster's membership names its address *and* its data directory's incarnation (it is one of
//! the founders and has just been told), or it is a newcomer and must be given a new id. Only if all addresses answer and
//! all are empty does the lowest address found the cluster.

use crate::env;
use crate::node::Node;
use crate::settings::JOIN_ANSWER_TIMEOUT;
use crate::transfer::answer_within;
use crate::transport::{Channel, Transport};
use crate::types::PeerNode;
use quorate_model::{ClusterId, ErrorCode, Incarnation, MetaError, PeerId};
use quorate_state_machine::level::LEVEL;
use quorate_wire::quorate::peer as wire;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Pause between two rounds of asking.
const ASK_INTERVAL: Duration = Duration::from_millis(100);
/// Pause between two rounds of asking for a place.
const JOIN_RETRY: Duration = Duration::from_millis(500);
/// Longest one question is waited for.
const ASK_TIMEOUT: Duration = Duration::from_millis(500);

/// What an empty peer knows about itself.
#[derive(Clone, Debug)]
pub struct Newcomer {
    pub incarnation: Incarnation,
    pub peer_address: String,
    pub public_address: String,
    /// Peer addresses of all founders, this one included.
    pub peers: Vec<String>,
    /// Ask a running cluster for a place under a new id instead of refusing.
    pub replace: bool,
    /// Never found a cluster: wait for one at `peers` and ask it for a place.
    pub join: bool,
}

/// What an empty peer found out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// All founders are there and empty, and this is the one with the lowest address.
    Founder { cluster: ClusterId, peer: PeerId },
    /// A cluster has given this data directory an id.
    Member { cluster: ClusterId, peer: PeerId },
    /// A cluster exists and does not know this data directory.
    Stranger { cluster: String, at: String },
    /// One of the founders it was given is this peer under another address: they are fewer than it was told.
    Itself { at: String },
}

/// What a peer answers whose node does not run yet. One that has a place says nothing: it cannot say who else has one, and if it
/// said that it has none, an emptied peer that starts at the same time, after a power cut say, would take it for a founder
/// and found a second cluster.
pub fn hello_before_start(newcomer: &Newcomer, has_place: bool) -> Option<wire::HelloReply> {
    (!has_place).then(|| hello_while_empty(newcomer))
}

/// What an empty peer answers while it looks for its place.
pub fn hello_while_empty(newcomer: &Newcomer) -> wire::HelloReply {
    wire::HelloReply {
        in_cluster: false,
        incarnation: newcomer.incarnation.0,
        peer_address: newcomer.peer_address.clone(),
        public_address: newcomer.public_address.clone(),
        unix_ms: env::wall_clock().0,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        level: LEVEL,
        ..Default::default()
    }
}

fn hello_request(newcomer: &Newcomer) -> wire::HelloRequest {
    wire::HelloRequest {
        peer_address: newcomer.peer_address.clone(),
        public_address: newcomer.public_address.clone(),
        unix_ms: env::wall_clock().0,
        empty: true,
        incarnation: newcomer.incarnation.0,
        ..Default::default()
    }
}

async fn ask_all(newcomer: &Newcomer, transport: &Arc<dyn Transport>) -> BTreeMap<String, wire::HelloReply> {
    let others = newcomer.peers.iter().filter(|address| **address != newcomer.peer_address);
    let calls = others.map(|address| {
        let client = transport.client(address, 0, 0, Channel::Forward);
        let request = hello_request(newcomer);
        async move { (address.clone(), tokio::time::timeout(ASK_TIMEOUT, client.hello(request)).await) }
    });
    let replies = futures::future::join_all(calls).await;
    replies
        .into_iter()
        .filter_map(|(address, reply)| Some((address, reply.ok()?.ok()?)))
        .collect()
}

/// Order of founders: by host, then by port as a number, so that ids follow the ports people write.
pub fn address_order(address: &str) -> (&str, u16) {
    let (host, port) = address.rsplit_once(':').unwrap_or((address, "0"));
    (host, port.parse().unwrap_or(0))
}

/// Where this peer itself answers under another address than its own.
fn itself(newcomer: &Newcomer, replies: &BTreeMap<String, wire::HelloReply>) -> Option<String> {
    let same = |reply: &wire::HelloReply| reply.incarnation == newcomer.incarnation.0;
    replies.iter().find(|(_, reply)| same(reply)).map(|(at, _)| at.clone())
}

/// What to do about a founder that met itself.
pub fn greeted_itself(newcomer: &Newcomer, at: &str) -> String {
    format!(
        "the peer at {at} is this peer itself, whose address is {}, or has a copy of its data directory; name every peer in --peers once, \
         by its --peer-advertise, and start each in a data directory of its own",
        newcomer.peer_address
    )
}

fn parse_cluster(text: &str) -> Option<ClusterId> {
    u128::from_str_radix(text, 16).ok().map(ClusterId)
}

/// Asks until this peer's place is known.
pub async fn find_place(newcomer: &Newcomer, transport: &Arc<dyn Transport>) -> Place {
    let mut silent_rounds = 0u32;
    loop {
        let replies = ask_all(newcomer, transport).await;
        if let Some((at, reply)) = replies.iter().find(|(_, reply)| reply.in_cluster) {
            let named = replies.values().find(|reply| reply.in_cluster && reply.your_peer_id != 0);
            if let Some(reply) = named
                && let Some(cluster) = parse_cluster(&reply.cluster_id)
            {
                return Place::Member {
                    cluster,
                    peer: PeerId(reply.your_peer_id),
                };
            }
            return Place::Stranger {
                cluster: reply.cluster_id.clone(),
                at: at.clone(),
            };
        }
        if let Some(at) = itself(newcomer, &replies).filter(|_| !newcomer.join) {
            return Place::Itself { at };
        }
        let all_there = !newcomer.join && replies.len() + 1 >= newcomer.peers.len();
        let lowest = newcomer.peers.iter().min_by_key(|address| address_order(address)) == Some(&newcomer.peer_address);
        if all_there && lowest {
            return Place::Founder {
                cluster: ClusterId(env::random_u128()),
                peer: PeerId(1),
            };
        }
        silent_rounds += 1;
        if silent_rounds.is_multiple_of(50) {
            let missing: Vec<&String> = newcomer
                .peers
                .iter()
                .filter(|address| **address != newcomer.peer_address && !replies.contains_key(*address))
                .collect();
            match newcomer.join {
                true => tracing::warn!(asked = ?newcomer.peers, "waiting for a cluster to join at one of these addresses"),
                false => tracing::warn!(?missing, "waiting for the other founders before the cluster can start"),
            }
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    }
}

/// Asks the other peers for a place until the leader gives one; why there is none for this peer, if that will not change. Asking
/// again is safe: whoever has been given a place gets the same one. A peer that hangs is given up for the next.
pub async fn join(newcomer: &Newcomer, transport: &Arc<dyn Transport>) -> Result<(ClusterId, PeerId), String> {
    let refused_for_good = [ErrorCode::AlreadyExists, ErrorCode::PreconditionFailed].map(|code| code.row().number);
    loop {
        for address in newcomer.peers.iter().filter(|address| **address != newcomer.peer_address) {
            let request = wire::JoinRequest {
                peer_address: newcomer.peer_address.clone(),
                public_address: newcomer.public_address.clone(),
                incarnation: newcomer.incarnation.0,
                new_address: !newcomer.replace,
                forwarded: false,
                level: LEVEL,
            };
            let client = transport.client(address, 0, 0, Channel::Forward);
            let who = format!("the peer at {address}");
            match answer_within(JOIN_ANSWER_TIMEOUT, &who, "answered the question for a place", client.join(request)).await {
                Ok(reply) if reply.error.is_none() && reply.peer_id != 0 => {
                    let cluster = parse_cluster(&reply.cluster_id).ok_or("the leader sent no cluster id")?;
                    return Ok((cluster, PeerId(reply.peer_id)));
                }
                Ok(wire::JoinReply { error: Some(refusal), .. }) if refused_for_good.contains(&refusal.code) => return Err(refusal.message),
                Ok(reply) => tracing::info!(%address, error = ?reply.error.map(|error| error.message), "no place was given yet"),
                Err(error) => tracing::info!(%address, %error, "no place was given yet"),
            }
        }
        tokio::time::sleep(JOIN_RETRY).await;
    }
}

/// Founds the cluster: collects the founders' incarnations and writes the first membership. Repeating it after a crash is
/// safe: until it has succeeded nobody else has an id.
pub async fn found(node: &Node, newcomer: &Newcomer, transport: &Arc<dyn Transport>) -> Result<(), MetaError> {
    let initialized = node
        .core()
        .raft()
        .is_initialized()
        .await
        .map_err(|error| MetaError::internal(error.to_string()))?;
    if initialized {
        return Ok(());
    }
    let replies = loop {
        let replies = ask_all(newcomer, transport).await;
        if let Some(at) = itself(newcomer, &replies) {
            return Err(MetaError::invalid(greeted_itself(newcomer, &at)));
        }
        if replies.len() + 1 >= newcomer.peers.len() {
            break replies;
        }
        tokio::time::sleep(ASK_INTERVAL).await;
    };
    let mut addresses = newcomer.peers.clone();
    addresses.sort_by(|a, b| address_order(a).cmp(&address_order(b)));
    addresses.dedup();
    let mut members = BTreeMap::new();
    for (position, address) in addresses.iter().enumerate() {
        let member = match replies.get(address) {
            Some(reply) => PeerNode {
                peer_address: address.clone(),
                public_address: reply.public_address.clone(),
                incarnation: reply.incarnation,
            },
            None => PeerNode {
                peer_address: newcomer.peer_address.clone(),
                public_address: newcomer.public_address.clone(),
                incarnation: newcomer.incarnation.0,
            },
        };
        members.insert(position as u64 + 1, member);
    }
    node.core()
        .raft()
        .initialize(members)
        .await
        .map_err(|error| MetaError::internal(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake_peer::{FakePeer, FakeTransport};

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_hangs_keeps_no_newcomer_from_asking_the_next() {
        let gives = FakePeer {
            place: Some(wire::JoinReply {
                peer_id: 4,
                cluster_id: ClusterId(7).to_string(),
                error: None,
            }),
            ..FakePeer::default()
        };
        let peers = [("b:1", Arc::new(FakePeer::default())), ("c:1", Arc::new(gives))];
        let transport: Arc<dyn Transport> = Arc::new(FakeTransport(BTreeMap::from(peers)));
        let newcomer = Newcomer {
            incarnation: Incarnation(7),
            peer_address: "a:1".to_owned(),
            public_address: "a:2".to_owned(),
            peers: vec!["a:1".to_owned(), "b:1".to_owned(), "c:1".to_owned()],
            replace: false,
            join: true,
        };
        assert_eq!(join(&newcomer, &transport).await, Ok((ClusterId(7), PeerId(4))));
    }

    #[test]
    fn a_founder_notices_that_it_met_itself() {
        let newcomer = Newcomer {
            incarnation: Incarnation(7),
            peer_address: "a:1".to_owned(),
            public_address: "a:2".to_owned(),
            peers: vec!["a:1".to_owned(), "a.example:1".to_owned(), "b:1".to_owned()],
            replace: false,
            join: false,
        };
        let other = Newcomer {
            incarnation: Incarnation(8),
            ..newcomer.clone()
        };
        let mut replies = BTreeMap::from([("b:1".to_owned(), hello_while_empty(&other))]);
        assert_eq!(itself(&newcomer, &replies), None);
        replies.insert("a.example:1".to_owned(), hello_while_empty(&newcomer));
        assert_eq!(itself(&newcomer, &replies).as_deref(), Some("a.example:1"));
    }

    #[test]
    fn only_a_peer_without_a_place_says_that_it_has_none() {
        let newcomer = Newcomer {
            incarnation: Incarnation(7),
            peer_address: "a:1".to_owned(),
            public_address: "a:2".to_owned(),
            peers: Vec::new(),
            replace: false,
            join: false,
        };
        let said = hello_before_start(&newcomer, false).expect("it may found a cluster with others");
        assert!(!said.in_cluster && said.incarnation == 7);
        assert_eq!(
            hello_before_start(&newcomer, true),
            None,
            "an emptied peer must not take it for a founder"
        );
    }
}
