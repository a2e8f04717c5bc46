//! The peers a client knows, and which of them it asks: the remembered leader, else its current choice.

use crate::backoff::random_below;
use crate::error::ClientError;
use crate::options::ClientOptions;
use crate::tls::{HTTPS, chain};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

/// Addresses a client may be given.
const MAX_CONFIGURED_PEERS: usize = 64;
/// Leaders learned from redirects beside the configured ones. A cluster has far fewer peers; the oldest makes room.
const MAX_LEARNED_PEERS: usize = 16;
/// For how long a leader that could not be reached is avoided: its address may lead nowhere from here, and then each try of it
/// costs a write all of `connect_timeout`.
const AVOID_LEADER: Duration = Duration::from_secs(10);
/// A silent connection is broken after two of these: one to a machine that lost its power would be used until TCP gives it up.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

/// A peer and the connection to it, which opens on first use and reopens by itself.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) address: String,
    pub(crate) channel: Channel,
}

/// Whom a call prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Prefer {
    /// Writes: the leader saves a hop.
    Leader,
    /// Reads: any peer answers them itself.
    Current,
}

#[derive(Debug)]
struct Known {
    configured: Vec<Peer>,
    learned: Vec<Peer>,
    /// Whom reads ask, and writes while no leader is known: when it fails, the one after it.
    current: Peer,
    leader: Option<String>,
    /// A leader that could not be reached, and until when it is avoided.
    avoided: Option<(String, Instant)>,
}

/// All peers, shared by the clones of a client.
#[derive(Debug)]
pub(crate) struct Peers {
    known: Mutex<Known>,
    options: ClientOptions,
    /// Set if the configured peers are reached over TLS; the learned ones then are too.
    tls: Option<ClientTlsConfig>,
}

impl Peers {
    /// Connects to nobody yet. The first peer to ask is random, so that clients spread over the cluster.
    pub(crate) fn new(addresses: Vec<String>, options: &ClientOptions) -> Result<Peers, ClientError> {
        if addresses.is_empty() || addresses.len() > MAX_CONFIGURED_PEERS {
            let text = format!(
                "{} endpoints given; name 1 to {MAX_CONFIGURED_PEERS} peers as host:port",
                addresses.len()
            );
            return Err(ClientError::unusable(text));
        }
        let secured = addresses.iter().filter(|address| address.starts_with(HTTPS)).count();
        let tls = match secured {
            0 => None,
            all if all == addresses.len() => Some(options.tls.read()?),
            _ => {
                let text = "some endpoints begin with https:// and some do not; reach all of them the same way";
                return Err(ClientError::unusable(text.to_owned()));
            }
        };
        let configured = addresses
            .iter()
            .map(|address| connect(address, options, tls.as_ref()))
            .collect::<Result<Vec<Peer>, _>>()?;
        let current = configured[random_below(configured.len())].clone();
        Ok(Peers {
            known: Mutex::new(Known {
                configured,
                learned: Vec::new(),
                current,
                leader: None,
                avoided: None,
            }),
            options: options.clone(),
            tls,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().expect("nothing panics while the lock is held")
    }

    /// Whom to ask next.
    pub(crate) fn choose(&self, prefer: Prefer) -> Peer {
        let known = self.lock();
        let leader = known.leader.as_deref().filter(|_| prefer == Prefer::Leader);
        leader.and_then(|address| known.find(address)).unwrap_or(&known.current).clone()
    }

    /// How many peers there are to ask.
    pub(crate) fn count(&self) -> u32 {
        self.lock().candidates().count() as u32
    }

    /// Whether this is a leader that could not be reached just now.
    pub(crate) fn avoids(&self, leader: &str) -> bool {
        let known = self.lock();
        let avoided = known.avoided.as_ref();
        avoided.is_some_and(|(address, until)| address == leader && Instant::now() < *until)
    }

    /// Remembers the leader; false if its address cannot be used, or is the one that sent us there.
    pub(crate) fn follow(&self, leader: &str, asked: &str) -> bool {
        if leader == asked {
            return false;
        }
        let mut known = self.lock();
        if known.find(leader).is_none() {
            let Ok(peer) = connect(leader, &self.options, self.tls.as_ref()) else {
                return false;
            };
            if known.learned.len() == MAX_LEARNED_PEERS {
                known.learned.remove(0);
            }
            known.learned.push(peer);
        }
        known.leader = Some(leader.to_owned());
        true
    }

    /// A peer did a write although we asked for a redirect: it leads.
    pub(crate) fn wrote(&self, address: &str) {
        let mut known = self.lock();
        if known.leader.as_deref() != Some(address) {
            known.leader = Some(address.to_owned());
        }
    }

    /// A peer did not answer a write at all: if it leads, writes go through others for a while.
    pub(crate) fn unreachable(&self, address: &str) {
        let mut known = self.lock();
        if known.leader.as_deref() == Some(address) {
            known.avoided = Some((address.to_owned(), Instant::now() + AVOID_LEADER));
        }
    }

    /// A peer could not help: ask the next one.
    pub(crate) fn failed(&self, address: &str) {
        let mut known = self.lock();
        if known.leader.as_deref() == Some(address) {
            known.leader = None;
        }
        if known.current.address == address
            && let Some(next) = known.after(address)
        {
            known.current = next;
        }
    }
}

impl Known {
    /// Whom reads and writes may ask: the configured peers, and after them those that redirects named, who may be all that is left
    /// of the cluster once the configured ones have been replaced.
    fn candidates(&self) -> impl Iterator<Item = &Peer> {
        self.configured.iter().chain(&self.learned)
    }

    fn find(&self, address: &str) -> Option<&Peer> {
        self.candidates().find(|peer| peer.address == address)
    }

    /// The candidate after this one; after the last, or one that was forgotten, the first.
    fn after(&self, address: &str) -> Option<Peer> {
        let position = self.candidates().position(|peer| peer.address == address);
        let next = position.and_then(|position| self.candidates().nth(position + 1));
        next.or(self.configured.first()).cloned()
    }
}

fn connect(address: &str, options: &ClientOptions, tls: Option<&ClientTlsConfig>) -> Result<Peer, ClientError> {
    let bare = address
        .strip_prefix("http://")
        .or_else(|| address.strip_prefix(HTTPS))
        .unwrap_or(address);
    let bare = bare.trim_end_matches('/');
    if bare.contains("://") || !bare.contains(':') {
        return Err(ClientError::unusable(format!(
            "endpoint {address:?} is not host:port or https://host:port"
        )));
    }
    let scheme = if tls.is_some() { "https" } else { "http" };
    let unusable =
        |error: tonic::transport::Error| ClientError::unusable(format!("endpoint {address:?} cannot be used: {}", chain(&error)));
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{bare}")).map_err(unusable)?;
    if let Some(tls) = tls {
        // The limit below is TCP's: a peer that is paused would be waited for in the handshake without end.
        let tls = tls.clone().timeout(options.connect_timeout);
        endpoint = endpoint.tls_config(tls).map_err(unusable)?;
    }
    let endpoint = endpoint
        .connect_timeout(options.connect_timeout)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    let channel = match &options.connector {
        None => endpoint.connect_lazy(),
        Some(connector) => endpoint.connect_with_connector_lazy(connector.clone()),
    };
    Ok(Peer {
        address: bare.to_owned(),
        channel,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peers(addresses: &[&str]) -> Result<Peers, ClientError> {
        Peers::new(
            addresses.iter().map(|address| (*address).to_owned()).collect(),
            &ClientOptions::default(),
        )
    }

    #[tokio::test]
    async fn a_learned_leader_is_asked_by_writes_until_it_fails() {
        let peers = peers(&["a:1", "b:2"]).expect("both are host:port");
        let first = peers.choose(Prefer::Leader).address;
        assert!(peers.follow("c:3", &first));
        assert_eq!(peers.choose(Prefer::Leader).address, "c:3");
        assert_eq!(peers.choose(Prefer::Current).address, first, "reads stay where they are");
        peers.failed("c:3");
        assert_eq!(peers.choose(Prefer::Leader).address, first);
        peers.failed(&first);
        assert_ne!(peers.choose(Prefer::Leader).address, first);
    }

    #[tokio::test]
    async fn learned_peers_are_asked_after_the_configured_ones_and_a_leader_that_failed_is_one_of_them() {
        let peers = peers(&["a:1"]).expect("host:port");
        assert!(peers.follow("b:2", "a:1"));
        assert!(peers.follow("c:3", "b:2"));
        peers.failed("c:3");
        for next in ["a:1", "b:2", "c:3", "a:1"] {
            assert_eq!(peers.choose(Prefer::Current).address, next);
            assert_eq!(peers.choose(Prefer::Leader).address, next);
            peers.failed(next);
        }
    }

    #[tokio::test]
    async fn a_leader_that_cannot_be_reached_is_avoided_for_a_while() {
        let peers = peers(&["a:1"]).expect("host:port");
        assert!(peers.follow("b:2", "a:1") && !peers.avoids("b:2"));
        for lost in ["a:1", "b:2"] {
            peers.unreachable(lost);
            peers.failed(lost);
        }
        assert!(peers.avoids("b:2") && !peers.avoids("a:1"), "only who leads is sent for by others");
        peers.lock().avoided = Some(("b:2".to_owned(), Instant::now()));
        assert!(!peers.avoids("b:2"), "its time is over");
    }

    #[tokio::test]
    async fn a_peer_that_names_itself_as_the_leader_is_not_followed() {
        let peers = peers(&["a:1"]).expect("host:port");
        assert!(!peers.follow("a:1", "a:1"));
        assert!(!peers.follow("not an address", "a:1"));
    }

    #[tokio::test]
    async fn learned_leaders_are_bounded() {
        let peers = peers(&["a:1"]).expect("host:port");
        for port in 1..100 {
            assert!(peers.follow(&format!("x:{port}"), "a:1"));
        }
        assert_eq!(peers.lock().learned.len(), MAX_LEARNED_PEERS);
        assert_eq!(peers.choose(Prefer::Leader).address, "x:99");
    }

    #[tokio::test]
    async fn endpoints_that_cannot_be_used_are_refused_at_once() {
        for bad in [
            &[][..],
            &["https://a:1"],
            &["https://a:1", "b:2"],
            &["ftp://a:1"],
            &["no-port"],
            &["a b:1"],
        ] {
            let error = peers(bad).expect_err("cannot be used");
            assert_eq!(error.outcome(), quorate_model::Outcome::NotApplied, "{bad:?}");
        }
        assert_eq!(
            peers(&["http://a:1/"]).expect("a scheme is allowed").choose(Prefer::Leader).address,
            "a:1"
        );
    }
}
