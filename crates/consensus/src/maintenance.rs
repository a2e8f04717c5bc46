//! What runs beside reads and writes: the exchange of health and digests; ending idle sessions; the loops of other modules.
//!
//! Loops here look, then trigger or propose. None of them writes state.

use crate::acknowledged;
use crate::cluster_clock;
use crate::env;
use crate::growth;
use crate::node::{Core, Node};
use crate::receiving;
use crate::settings::{HELLO_INTERVAL, LEADER_RETRY};
use crate::transport::Channel;
use crate::types::PeerNode;
use crate::unheard;
use quorate_model::StampedTime;
use quorate_state_machine::commands::{CollectVersions, ExpireSessions};
use quorate_state_machine::digest::Digests;
use quorate_state_machine::limits::HISTORY_WINDOW_MS;
use quorate_state_machine::versioned::cleanup;
use quorate_wire::quorate::peer as wire;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;

/// How long one attempt to catch up after a restart may take before its lack of success is logged.
const CATCH_UP_ATTEMPT: Duration = Duration::from_secs(5);
/// How often idle sessions are looked for.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);
/// How often superseded versions are looked for.
const COLLECT_INTERVAL: Duration = Duration::from_secs(5);
/// Superseded versions that one entry of the log looks at: all that are applied after it wait for it.
const COLLECT_KEYS: u32 = 250;
/// How long a peer that was never heard of is waited for before it counts as unreachable.
const FIRST_CONTACT: Duration = Duration::from_secs(2);
/// A clock further from the majority than this is reported, and its peer does not stand for election.
pub const MAX_CLOCK_OFFSET_MS: i64 = 2_000;

/// What this peer knows about itself and the others.
#[derive(Default)]
pub struct Health {
    diverged: AtomicBool,
    /// Whether the cluster has removed this peer; told once.
    removed: AtomicBool,
    removed_told: tokio::sync::Notify,
    /// What every peer said last.
    peers: Mutex<BTreeMap<u64, News>>,
    /// When every peer was asked for the first time.
    first_asked: Mutex<BTreeMap<u64, Instant>>,
    /// Peers that disagreed in the latest exchange, and the index about which.
    disagreements: Mutex<BTreeMap<u64, u64>>,
    /// Held while a checkpoint is being received.
    pub(crate) installing: receiving::Place,
}

/// A peer's last answer.
struct News {
    reply: wire::HelloReply,
    came: Instant,
    /// This peer's clock when it came: for comparing the two. A clock can be set, so it does not tell how long ago that was.
    clock: StampedTime,
    /// The latest question got no answer.
    silent: bool,
}

impl News {
    /// Of an answer that came just now.
    fn of(reply: wire::HelloReply) -> News {
        News {
            reply,
            came: Instant::now(),
            clock: env::wall_clock(),
            silent: false,
        }
    }
}

impl Health {
    pub fn is_diverged(&self) -> bool {
        self.diverged.load(Ordering::Acquire)
    }

    /// Ends when the cluster has removed this peer.
    pub async fn removed(&self) {
        self.removed_told.notified().await;
    }

    pub(crate) fn is_removed(&self) -> bool {
        self.removed.load(Ordering::Acquire)
    }

    /// For [`Core::tell_removed`], which also tells who waits for this peer.
    pub(crate) fn tell_removed(&self) {
        self.removed.store(true, Ordering::Release);
        self.removed_told.notify_one();
    }

    /// The last answer of `peer`, if it came within the last few exchanges.
    pub fn recent(&self, peer: u64) -> Option<wire::HelloReply> {
        let peers = self.peers.lock().expect("no panic while held");
        let news = peers.get(&peer)?;
        (news.came.elapsed() < 4 * HELLO_INTERVAL).then(|| news.reply.clone())
    }

    /// The last answer of `peer`, if it answered the latest question too.
    pub fn answering(&self, peer: u64) -> Option<wire::HelloReply> {
        let silent = self
            .peers
            .lock()
            .expect("no panic while held")
            .get(&peer)
            .is_none_or(|news| news.silent);
        if silent { None } else { self.recent(peer) }
    }

    /// Time since the last answer of `peer`, in milliseconds; `None` if it never gave one.
    pub fn last_contact_ms(&self, peer: u64) -> Option<u64> {
        let peers = self.peers.lock().expect("no panic while held");
        peers.get(&peer).map(|news| news.came.elapsed().as_millis() as u64)
    }

    /// Whether `peer` was never heard of and is too new to this process to be called unreachable: for two seconds after it was
    /// asked for the first time.
    pub fn is_awaited(&self, peer: u64) -> bool {
        let asked = self.first_asked.lock().expect("no panic while held").get(&peer).copied();
        self.last_contact_ms(peer).is_none() && asked.is_none_or(|asked| asked.elapsed() < FIRST_CONTACT)
    }

    /// How far the clock of `peer` is from ours, as of its last answer.
    pub fn clock_offset_ms(&self, peer: u64) -> Option<i64> {
        let peers = self.peers.lock().expect("no panic while held");
        peers
            .get(&peer)
            .map(|news| cluster_clock::ahead_ms(StampedTime(news.reply.unix_ms), news.clock))
    }

    /// What the clock of `peer` shows by now: its last answer says so, and how long ago that came.
    pub(crate) fn time_of(&self, peer: u64) -> Option<StampedTime> {
        let peers = self.peers.lock().expect("no panic while held");
        let told = |news: &News| news.reply.unix_ms.saturating_add(news.came.elapsed().as_millis() as u64);
        peers.get(&peer).map(|news| StampedTime(told(news)))
    }

    /// Peers that disagreed about the state in the latest exchange, each with the index of the entry after which.
    pub fn disagreements(&self) -> BTreeMap<u64, u64> {
        self.disagreements.lock().expect("no panic while held").clone()
    }

    fn remember_disagreements(&self, disagreements: BTreeMap<u64, u64>) {
        *self.disagreements.lock().expect("no panic while held") = disagreements;
    }

    fn remember(&self, peer: u64, news: News) {
        self.peers.lock().expect("no panic while held").insert(peer, news);
    }

    fn remember_asking(&self, peer: u64) {
        let mut first_asked = self.first_asked.lock().expect("no panic while held");
        first_asked.entry(peer).or_insert_with(Instant::now);
    }

    fn remember_silence(&self, peer: u64) {
        if let Some(news) = self.peers.lock().expect("no panic while held").get_mut(&peer) {
            news.silent = true;
        }
    }
}

pub(crate) fn spawn(node: &Node) {
    node.core().spawn(catch_up(node.clone()));
    node.core().spawn(stand_aside_after_a_loss(node.core().clone()));
    node.core().spawn(growth::watch(node.clone()));
    node.core().spawn(growth::watch_held_writes(node.clone()));
    node.core().spawn(exchange_health(node.clone()));
    node.core().spawn(crate::unheard::watch(node.core().clone()));
    node.core().spawn(crate::succession::watch(node.core().clone()));
    node.core().spawn(crate::lease::watch(node.clone()));
    node.core().spawn(crate::content_scan::run(node.clone()));
    node.core().spawn(expire_sessions(node.clone()));
    node.core().spawn(collect_versions(node.clone()));
    node.core().spawn(crate::membership::promote_learners(node.core().clone()));
}

/// After a restart the state is as it was at its last flush, and the committed index on disk is a lower bound. What this
/// peer may have answered with is surely applied once it has everything the cluster had when it came back.
async fn catch_up(node: Node) {
    let core = node.core();
    while !core.is_caught_up() && !core.is_stopping() {
        match core.read_barrier(Instant::now() + CATCH_UP_ATTEMPT).await {
            Ok(()) => core.set_caught_up(),
            Err(error) => {
                tracing::info!(%error, "this peer does not serve yet");
                tokio::time::sleep(LEADER_RETRY).await;
            }
        }
    }
}

/// A peer that has lost entries does not campaign; whoever runs it stops it.
async fn stand_aside_after_a_loss(core: Arc<Core>) {
    core.own_log.lost().await;
    core.tell_standing();
    core.set_stands(false);
}

/// Asks every peer for its health once a second and compares digests.
async fn exchange_health(node: Node) {
    let core = node.core().clone();
    let started = Instant::now();
    while !core.is_stopping() {
        let digests = core.applier.applied().digests;
        let others = other_members(&core);
        let voters: Vec<u64> = core.metrics().membership_config.voter_ids().collect();
        let mut disagreeing = 0;
        let mut agreeing = 1;
        let mut disagreements = BTreeMap::new();
        let mut leaders = BTreeSet::new();
        let mut leader_answered = false;
        for (peer, news) in ask_health(&core, digests, &others, HELLO_INTERVAL).await {
            let Some(news) = news else {
                core.health.remember_silence(peer);
                continue;
            };
            let reply = &news.reply;
            // Only the leader's word counts: another peer may not have heard of us yet.
            let leads = reply.in_cluster && reply.leader == peer && reply.peer_id == peer && reply.term >= core.metrics().current_term;
            if leads && reply.your_peer_id == 0 {
                core.tell_removed();
            }
            leader_answered |= leads;
            leaders.insert(reply.leader_peer_address.clone());
            if let Some(mark) = acknowledged::mark_from_wire(reply.acknowledged_vote, reply.acknowledged)
                && core.own_log.compare(core.log.as_ref(), &mark).is_err()
            {
                continue;
            }
            match compare(&core, digests, reply) {
                // A learner has no say: only voters are a majority.
                _ if !voters.contains(&peer) => {}
                Some(true) => agreeing += 1,
                Some(false) => {
                    tracing::error!(peer, index = digests.index, "this peer and another disagree about the state");
                    disagreements.insert(peer, digests.index);
                    disagreeing += 1;
                }
                None => {}
            }
            core.health.remember(peer, news);
        }
        if !leader_answered && core.leader() != Some(core.peer) {
            ask_leaders(&core, &leaders).await;
        }
        core.health.remember_disagreements(disagreements);
        // Again each time: leadership may not have gone at once, and may come back by a transfer.
        if (disagreeing > voters.len() / 2 && disagreeing > agreeing - 1) || core.content_scan.is_damaged() {
            stop_serving(&node).await;
        }
        crate::disk::watch(&node).await;
        crate::level::raise(&node).await;
        cluster_clock::compare(&node).await;
        // The first rounds follow each other quickly, so that a fresh cluster's status is soon right.
        let missing = others.iter().any(|(peer, _)| core.health.recent(*peer).is_none()) || others.is_empty();
        let young = started.elapsed() < 10 * HELLO_INTERVAL;
        tokio::time::sleep(if missing && young { HELLO_INTERVAL / 10 } else { HELLO_INTERVAL }).await;
    }
}

/// A peer that was away while members came and went may not know the one that leads now: the others name it.
async fn ask_leaders(core: &Core, addresses: &BTreeSet<String>) {
    let others = addresses
        .iter()
        .filter(|address| !address.is_empty() && **address != core.peer_address);
    let term = core.metrics().current_term;
    let replies = unheard::ask(core, others).await;
    let leads = |reply: &wire::HelloReply| reply.leader != 0 && reply.leader == reply.peer_id && reply.term >= term;
    if replies.iter().any(|reply| leads(reply) && reply.your_peer_id == 0) {
        core.tell_removed();
    }
}

/// What a member says of itself when it asks.
pub(crate) fn hello_request(core: &Core, digests: Digests) -> wire::HelloRequest {
    wire::HelloRequest {
        peer_address: core.peer_address.clone(),
        public_address: core.public_address.clone(),
        unix_ms: env::wall_clock().0,
        digest_index: digests.index,
        digest: digests.to_bytes().to_vec().into(),
        empty: false,
        incarnation: core.incarnation.0,
    }
}

fn other_members(core: &Core) -> Vec<(u64, PeerNode)> {
    core.members().into_iter().filter(|(peer, _)| *peer != core.peer).collect()
}

/// What the other members say that are asked now, and `None` of those that cannot be reached; nothing of one that has not answered within
/// `patience`.
pub(crate) async fn ask_members(core: &Core, patience: Duration) -> BTreeMap<u64, Option<wire::HelloReply>> {
    let asked = Instant::now();
    let digests = core.applier.applied().digests;
    let mut silent = other_members(core);
    let mut heard = BTreeMap::new();
    // Who is silent at once may have come back: its old connection is found broken, and the next question makes another.
    for _ in 0..2 {
        let left = patience.saturating_sub(asked.elapsed());
        if left.is_zero() {
            break;
        }
        let replies = ask_health(core, digests, &silent, left).await;
        let is_late = asked.elapsed() >= patience;
        for (peer, news) in replies {
            if let Some(news) = news {
                heard.insert(peer, Some(news.reply.clone()));
                core.health.remember(peer, news);
            } else if is_late {
                heard.remove(&peer);
            } else {
                heard.insert(peer, None);
            }
        }
        silent.retain(|(peer, _)| !matches!(heard.get(peer), Some(Some(_))));
    }
    heard
}

/// The answers of other peers; none of one that is silent or has not taken its place yet. Each with the moment at which it came: the last of
/// them may take all of `patience`.
async fn ask_health(core: &Core, digests: Digests, others: &[(u64, PeerNode)], patience: Duration) -> Vec<(u64, Option<News>)> {
    let calls = others.iter().map(|(peer, member)| {
        core.health.remember_asking(*peer);
        let client = core
            .transport
            .client(&member.peer_address, *peer, member.incarnation, Channel::Forward);
        let request = hello_request(core, digests);
        async move {
            let reply = tokio::time::timeout(patience, client.hello(request)).await;
            let reply = reply.ok().and_then(Result::ok).filter(|reply| reply.in_cluster);
            (*peer, reply.map(News::of))
        }
    });
    futures::future::join_all(calls).await
}

/// Whether a peer agrees at an index both remember; `None` when there is no such index.
fn compare(core: &Core, ours: Digests, reply: &wire::HelloReply) -> Option<bool> {
    // A peer that has applied nothing shows the same index as one that has applied the first entry.
    let nothing = Digests::default();
    if ours == nothing || reply.digest.as_ref() == nothing.to_bytes() {
        return None;
    }
    if !reply.digest_at_asked.is_empty() {
        return Some(reply.digest_at_asked.as_ref() == ours.to_bytes());
    }
    let theirs = core.applier.digests_at(reply.digest_index)?;
    Some(theirs.to_bytes() == reply.digest.as_ref())
}

/// A peer that disagrees with a majority, or whose state is damaged, answers nothing, does not lead and does not campaign; it keeps its vote.
pub(crate) async fn stop_serving(node: &Node) {
    let core = node.core();
    if !core.health.diverged.swap(true, Ordering::AcqRel) {
        tracing::error!(
            peer = core.peer,
            "this peer's state is wrong: it stops serving; `quorate status` says what to do"
        );
    }
    core.tell_standing();
    core.set_stands(false);
    if node.is_leader()
        && let Err(error) = node.transfer_leader(None, Instant::now() + HELLO_INTERVAL).await
    {
        tracing::error!(%error, "leadership could not be given up");
    }
}

/// The leader ends sessions nobody used for an hour.
async fn expire_sessions(node: Node) {
    let core = node.core().clone();
    let mut after = 0;
    while !core.is_stopping() {
        tokio::time::sleep(EXPIRY_INTERVAL).await;
        while node.is_leader() {
            let deadline = Instant::now() + EXPIRY_INTERVAL;
            match node.execute(&ExpireSessions { after }, None, deadline).await {
                Ok((_, reply)) => after = reply.resume_after,
                Err(error) => {
                    tracing::info!(%error, "idle sessions were not looked at");
                    break;
                }
            }
            if after == 0 {
                break;
            }
        }
    }
}

/// The leader has superseded versions looked at, in bounded steps; apply decides which of them go.
async fn collect_versions(node: Node) {
    let core = node.core().clone();
    while !core.is_stopping() {
        tokio::time::sleep(COLLECT_INTERVAL).await;
        while node.is_leader() {
            let now = core.now();
            let behind_ms = match node.read(|reader| cleanup::behind_ms(reader, now)) {
                Ok(Some(behind_ms)) => behind_ms,
                Ok(None) => break,
                Err(error) => {
                    tracing::warn!(%error, "superseded versions were not looked for");
                    break;
                }
            };
            let started = Instant::now();
            let collect = CollectVersions { max_keys: COLLECT_KEYS };
            match node.execute(&collect, None, started + EXPIRY_INTERVAL).await {
                Ok((_, reply)) if reply.more => tokio::time::sleep(pause_after(started.elapsed(), behind_ms)).await,
                Ok(_) => break,
                Err(error) => {
                    tracing::info!(%error, "superseded versions were not collected");
                    break;
                }
            }
        }
    }
}

/// The busier the cluster, the longer an entry of the collection takes, and the longer it is left to whoever writes after it: unless the
/// collection does not keep up with the writes, for then the state would grow for as long as they go on.
fn pause_after(took: Duration, behind_ms: u64) -> Duration {
    match behind_ms / HISTORY_WINDOW_MS {
        0 => 2 * took,
        1 => took,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU64;

    static CLOCK_MS: AtomicU64 = AtomicU64::new(0);

    #[test]
    fn a_collection_that_falls_behind_pauses_less() {
        const TOOK: Duration = Duration::from_millis(30);
        let pauses = [0, HISTORY_WINDOW_MS - 1, HISTORY_WINDOW_MS, 2 * HISTORY_WINDOW_MS, u64::MAX].map(|behind| pause_after(TOOK, behind));
        assert_eq!(pauses, [2 * TOOK, 2 * TOOK, TOOK, Duration::ZERO, Duration::ZERO]);
    }

    #[test]
    fn setting_the_clock_makes_no_peer_silent_and_none_heard() {
        // A thread of its own: the clock stays replaced on it.
        let watch = std::thread::spawn(|| {
            const HOUR_MS: u64 = 3_600_000;
            env::replace_on_this_thread(env::Sources {
                wall_clock: || StampedTime(CLOCK_MS.load(Ordering::Relaxed)),
                random_u64: || 4,
            });
            CLOCK_MS.store(10 * HOUR_MS, Ordering::Relaxed);
            let health = Health::default();
            let reply = wire::HelloReply {
                unix_ms: 10 * HOUR_MS + 700,
                ..Default::default()
            };
            health.remember(2, News::of(reply));
            assert_eq!(health.clock_offset_ms(2), Some(700));

            CLOCK_MS.store(11 * HOUR_MS, Ordering::Relaxed);
            assert!(health.recent(2).is_some(), "it answered just now");
            assert!(health.last_contact_ms(2).is_some_and(|ms| ms < HOUR_MS));
            let time_of = |peer| health.time_of(peer).map_or(0, |time| time.0);
            let told = 10 * HOUR_MS + 700;
            assert!(
                (told..told + HOUR_MS / 2).contains(&time_of(2)),
                "it goes on, whatever this clock says"
            );

            CLOCK_MS.store(9 * HOUR_MS, Ordering::Relaxed);
            let long_ago = 5 * HELLO_INTERVAL;
            health.peers.lock().expect("no panic while held").get_mut(&2).expect("known").came -= long_ago;
            assert!(health.recent(2).is_none(), "it has been silent for five exchanges");
            assert!(health.last_contact_ms(2).is_some_and(|ms| ms >= long_ago.as_millis() as u64));
            assert_eq!(health.clock_offset_ms(2), Some(700), "as of its last answer");
            assert!(time_of(2) >= told + long_ago.as_millis() as u64, "its clock has gone on");
        });
        watch.join().expect("all of it held");
    }
}
