//! Peers with their directories: founding, killing, restarting, writing and reading.

use super::links::{Endpoint, LinkTransport, Links};
use super::{soon, until, within};
use bytes::Bytes;
use quorate_consensus::bootstrap::{Newcomer, Place, find_place, found};
use quorate_consensus::disk::DiskSpace;
use quorate_consensus::transport::Transport;
use quorate_consensus::{Deadline, Node, NodeParts, Settings};
use quorate_model::{ClusterId, ErrorCode, Incarnation, MetaError, PeerId, RequestId};
use quorate_state_machine::commands::{CreateInstance, PutAttribute};
use quorate_state_machine::queries::attributes::get_attribute;
use quorate_storage::log::{FileLog, FileLogOptions, LogStore};
use quorate_storage::state::{RocksState, RocksStateOptions, StateEngine};
use quorate_wire::quorate::peer as wire;
use quorate_wire::quorate::v1::GetAttributeRequest;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;

pub const INSTANCE: &str = "warehouse";

pub struct Peer {
    pub newcomer: Newcomer,
    dir: PathBuf,
    place: Option<(ClusterId, PeerId)>,
    node: Option<Node>,
    /// What its disk says it has.
    disk: Arc<Mutex<DiskSpace>>,
    /// Kept so that the last handle is dropped here, and closing is over when a kill returns.
    stores: Option<(Arc<dyn LogStore>, Arc<dyn StateEngine>)>,
}

pub struct Cluster {
    pub links: Arc<Links>,
    pub peers: Vec<Peer>,
    /// Of peers that are started from now on.
    pub settings: Settings,
    _dir: TempDir,
}

impl Peer {
    /// Waits until its tasks have let go of log and state, and closes both.
    async fn close(&mut self) {
        let (log, state) = self.stores.take().expect("this peer runs");
        until("a dropped node lets go of its log and state", || {
            Arc::strong_count(&log) == 1 && Arc::strong_count(&state) == 1
        })
        .await;
    }
}

fn log_options() -> FileLogOptions {
    FileLogOptions {
        segment_bytes: 1 << 20,
        // Only votes, new segments and a clean end renew the file: the crashes of the tests come within its second.
        high_water_interval: Duration::from_secs(3_600),
        ..FileLogOptions::default()
    }
}

impl Cluster {
    /// Three peers that have found each other, with a leader and an instance to write to.
    pub async fn start(settings: Settings) -> Cluster {
        Cluster::start_of(3, settings).await
    }

    /// As many peers that have found each other.
    pub async fn start_of(peers: usize, settings: Settings) -> Cluster {
        let mut cluster = Cluster::of(peers, settings);
        cluster.bootstrap().await;
        let leader = cluster.leader().await;
        let create = CreateInstance {
            instance_id: INSTANCE.into(),
            user_id: "user".into(),
            name: INSTANCE.into(),
            ..Default::default()
        };
        cluster
            .node(leader)
            .execute(&create, None, soon())
            .await
            .expect("the first write is taken");
        cluster
    }

    /// Three peers that have not been started.
    pub fn empty(settings: Settings) -> Cluster {
        Cluster::of(3, settings)
    }

    fn of(peers: usize, settings: Settings) -> Cluster {
        let dir = tempfile::tempdir().expect("temporary directory");
        let addresses: Vec<String> = (1..=peers).map(|number| format!("peer{number}:5001")).collect();
        let peers = addresses.iter().enumerate().map(|(position, address)| Peer {
            newcomer: Newcomer {
                incarnation: Incarnation(100 + position as u64),
                peer_address: address.clone(),
                public_address: format!("peer{}:5000", position + 1),
                peers: addresses.clone(),
                replace: false,
                join: false,
            },
            dir: dir.path().join(format!("peer{}", position + 1)),
            place: None,
            node: None,
            disk: Arc::new(Mutex::new(DiskSpace::AMPLE)),
            stores: None,
        });
        Cluster {
            links: Arc::default(),
            peers: peers.collect(),
            settings,
            _dir: dir,
        }
    }

    async fn bootstrap(&mut self) {
        for peer in &self.peers {
            self.links
                .listen(&peer.newcomer.peer_address, Some(Endpoint::Empty(peer.newcomer.clone())));
        }
        // The last one asks first: it must wait for the one with the lowest address.
        for position in (0..self.peers.len()).rev() {
            let newcomer = self.peers[position].newcomer.clone();
            let transport = self.transport(position);
            if position > 0 {
                let early = tokio::time::timeout(Duration::from_millis(50), find_place(&newcomer, &transport)).await;
                assert!(early.is_err(), "only the lowest address founds a cluster");
            } else {
                let place = find_place(&newcomer, &transport).await;
                let Place::Founder { cluster, peer } = place else {
                    panic!("{place:?}")
                };
                self.peers[position].place = Some((cluster, peer));
                self.start_peer(position).await;
                found(self.node(position), &newcomer, &transport).await.expect("founded");
            }
        }
        for position in 1..self.peers.len() {
            let place = find_place(&self.peers[position].newcomer, &self.transport(position)).await;
            let Place::Member { cluster, peer } = place else {
                panic!("{place:?}")
            };
            assert_eq!(peer, PeerId(position as u64 + 1));
            self.peers[position].place = Some((cluster, peer));
            self.start_peer(position).await;
        }
    }

    pub fn transport(&self, position: usize) -> Arc<dyn Transport> {
        Arc::new(LinkTransport {
            links: self.links.clone(),
            from: self.address(position).to_owned(),
        })
    }

    pub fn address(&self, position: usize) -> &str {
        &self.peers[position].newcomer.peer_address
    }

    pub fn addresses(&self) -> Vec<String> {
        self.peers[0].newcomer.peers.clone()
    }

    pub fn isolate(&self, position: usize) {
        self.links.isolate(self.address(position), &self.addresses());
    }

    /// From now on a peer's disk of 100 GiB has this much left.
    pub fn set_free(&self, position: usize, free_bytes: u64) {
        *self.peers[position].disk.lock().expect("no panic while held") = DiskSpace {
            free_bytes,
            total_bytes: 100 << 30,
        };
    }

    pub fn node(&self, position: usize) -> &Node {
        self.peers[position].node.as_ref().expect("this peer runs")
    }

    /// Gives a peer a place without asking anybody, to look at it while it is alone.
    pub fn assign(&mut self, position: usize) {
        self.peers[position].place = Some((ClusterId(7), PeerId(position as u64 + 1)));
    }

    /// Starts a peer on what its directory holds.
    pub async fn start_peer(&mut self, position: usize) {
        self.try_start_peer(position).await.expect("the node starts");
    }

    /// Starts a peer that may be refused; its directory is closed then.
    pub async fn try_start_peer(&mut self, position: usize) -> io::Result<()> {
        let transport = self.transport(position);
        let peer = &mut self.peers[position];
        let (cluster, id) = peer.place.expect("this peer has found its place");
        let log: Arc<dyn LogStore> = Arc::new(FileLog::open(peer.dir.join("log"), log_options()).expect("the log opens"));
        let state: Arc<dyn StateEngine> =
            Arc::new(RocksState::open(&peer.dir.join("state"), RocksStateOptions::default()).expect("the state opens"));
        let disk = peer.disk.clone();
        peer.stores = Some((log.clone(), state.clone()));
        let parts = NodeParts {
            cluster,
            peer: id,
            incarnation: peer.newcomer.incarnation,
            peer_address: peer.newcomer.peer_address.clone(),
            public_address: peer.newcomer.public_address.clone(),
            seeds: peer.newcomer.peers.clone(),
            settings: self.settings.clone(),
            log,
            state,
            transport,
            audit: None,
            disk_space: Arc::new(move || *disk.lock().expect("no panic while held")),
            step_observer: quorate_consensus::steps::unobserved(),
        };
        match Node::start(parts).await {
            Ok(node) => {
                self.links.listen(&peer.newcomer.peer_address, Some(Endpoint::Member(node.clone())));
                peer.node = Some(node);
                Ok(())
            }
            Err(error) => {
                peer.close().await;
                Err(error)
            }
        }
    }

    /// Ends a peer as a crash does: nothing is handed over, and what the state has not flushed is lost.
    pub async fn kill(&mut self, position: usize) {
        let peer = &mut self.peers[position];
        self.links.listen(&peer.newcomer.peer_address, None);
        let node = peer.node.take().expect("this peer runs");
        node.halt().await;
        // Closing flushes the state and renews the log's high water; a crash would not. Both go back to what they were.
        let crashed = ["state", "log"].map(|name| (peer.dir.join(name), peer.dir.join(format!("crashed-{name}"))));
        crashed.iter().for_each(|(live, copy)| copy_tree(live, copy));
        drop(node);
        peer.close().await;
        for (live, copy) in crashed {
            std::fs::remove_dir_all(&live).expect("removed");
            std::fs::rename(&copy, &live).expect("renamed");
        }
    }

    /// Empties the disk of a stopped peer; `leader` gives it a place under a new id.
    pub async fn replace(&mut self, position: usize, leader: usize) -> PeerId {
        let peer = &mut self.peers[position];
        std::fs::remove_dir_all(&peer.dir).expect("removed");
        peer.newcomer.incarnation = Incarnation(peer.newcomer.incarnation.0 + 1_000);
        let request = wire::JoinRequest {
            peer_address: peer.newcomer.peer_address.clone(),
            public_address: peer.newcomer.public_address.clone(),
            incarnation: peer.newcomer.incarnation.0,
            new_address: false,
            forwarded: false,
            level: self.settings.level,
        };
        let reply = self.node(leader).handle_join(request).await;
        assert_eq!(reply.error, None);
        let (cluster, _) = self.peers[position].place.expect("it had a place");
        self.peers[position].place = Some((cluster, PeerId(reply.peer_id)));
        PeerId(reply.peer_id)
    }

    /// Damages the last group of a stopped peer's log, as a disk that forgets its last write does.
    pub fn lose_last_group(&self, position: usize) {
        let log = self.peers[position].dir.join("log");
        let mut segments: Vec<PathBuf> = tree(&log)
            .into_iter()
            .filter(|file| file.extension().is_some_and(|end| end == "segment"))
            .collect();
        segments.sort();
        let newest = log.join(segments.pop().expect("a log has a segment"));
        let mut bytes = std::fs::read(&newest).expect("readable");
        let used = bytes.iter().rposition(|byte| *byte != 0).expect("a segment has a header");
        bytes[used] ^= 1;
        std::fs::write(&newest, bytes).expect("written");
    }

    /// Takes the state of a stopped peer away, as a start does that puts a damaged one aside.
    pub fn lose_state(&self, position: usize) {
        std::fs::remove_dir_all(self.peers[position].dir.join("state")).expect("removed");
    }

    /// The stores of a stopped peer, as its next start would find them.
    pub fn open_stores(&self, position: usize) -> (FileLog, RocksState) {
        let dir = &self.peers[position].dir;
        let log = FileLog::open(dir.join("log"), log_options()).expect("the log opens");
        let state = RocksState::open(&dir.join("state"), RocksStateOptions::default()).expect("the state opens");
        (log, state)
    }

    /// The log of a peer that runs.
    pub fn log(&self, position: usize) -> &dyn LogStore {
        self.peers[position].stores.as_ref().expect("this peer runs").0.as_ref()
    }

    /// Stops a peer in good order.
    pub async fn stop(&mut self, position: usize) {
        let peer = &mut self.peers[position];
        self.links.listen(&peer.newcomer.peer_address, None);
        let node = peer.node.take().expect("this peer runs");
        node.shutdown().await;
        drop(node);
        peer.close().await;
    }

    /// Stops a peer in good order, changes its state behind its back and starts it again.
    pub async fn tamper(&mut self, position: usize, change: impl FnOnce(&dyn StateEngine)) {
        self.converge().await;
        self.stop(position).await;
        let peer = &self.peers[position];
        let state = RocksState::open(&peer.dir.join("state"), RocksStateOptions::default()).expect("the state opens");
        change(&state);
        state.flush().expect("flushed");
        drop(state);
        self.start_peer(position).await;
    }

    /// The position of the peer that leads and is known to all that run and can be reached.
    pub async fn leader(&self) -> usize {
        let all: Vec<usize> = (0..self.peers.len()).collect();
        self.leader_among(&all).await
    }

    pub async fn leader_among(&self, positions: &[usize]) -> usize {
        let running: Vec<&Peer> = positions
            .iter()
            .map(|position| &self.peers[*position])
            .filter(|peer| peer.node.is_some())
            .collect();
        let mut leader = None;
        until("all running peers agree on a leader", || {
            let mut known = running
                .iter()
                .map(|peer| peer.node.as_ref().and_then(Node::leader).map(|(id, _)| id));
            leader = known.next().flatten();
            leader.is_some()
                && known.all(|other| other == leader)
                && running.iter().any(|peer| peer.node.as_ref().is_some_and(Node::is_leader))
        })
        .await;
        let leader = leader.expect("just seen");
        self.peers
            .iter()
            .position(|peer| peer.place.is_some_and(|(_, id)| id == leader))
            .expect("a peer of this cluster")
    }

    pub async fn follower(&self) -> usize {
        (self.leader().await + 1) % 3
    }

    /// Has a peer lead. One try may not be enough: a candidate that is slow to save its vote is overtaken by another one.
    pub async fn lead(&self, position: usize) {
        let target = PeerId(position as u64 + 1);
        let deadline = soon();
        loop {
            let leader = self.leader().await;
            if leader == position {
                return;
            }
            assert!(tokio::time::Instant::now() < deadline, "peer {} is never elected", position + 1);
            // A refusal says that another one leads by now.
            let _ = self.node(leader).transfer_leader(Some(target), within(2_000)).await;
        }
    }

    pub async fn put(
        &self,
        position: usize,
        name: &str,
        value: &str,
        request: Option<RequestId>,
        deadline: Deadline,
    ) -> Result<u64, MetaError> {
        put(self.node(position), name, value, request, deadline).await
    }

    /// A linearizable read.
    pub async fn get(&self, position: usize, name: &str, deadline: Deadline) -> Result<Option<String>, MetaError> {
        get(self.node(position), name, deadline).await
    }

    /// Waits until every running peer has applied the same and agrees about the state.
    pub async fn converge(&self) {
        let nodes: Vec<&Node> = self.peers.iter().filter_map(|peer| peer.node.as_ref()).collect();
        until("all running peers have the same digests", || {
            let first = nodes[0].applied();
            nodes
                .iter()
                .all(|node| node.applied().digests == first.digests && node.check_serving().is_ok())
        })
        .await;
    }
}

pub async fn put(node: &Node, name: &str, value: &str, request: Option<RequestId>, deadline: Deadline) -> Result<u64, MetaError> {
    let value = Bytes::copy_from_slice(value.as_bytes());
    let command = PutAttribute {
        instance_id: INSTANCE.into(),
        name: name.into(),
        value,
        if_revision: None,
    };
    node.execute(&command, request, deadline).await.map(|(revision, _)| revision.0)
}

pub async fn get(node: &Node, name: &str, deadline: Deadline) -> Result<Option<String>, MetaError> {
    node.read_barrier(deadline).await?;
    let request = GetAttributeRequest {
        instance_id: INSTANCE.into(),
        name: name.into(),
        ..Default::default()
    };
    let reply = node
        .read(|reader| get_attribute(reader, &request))
        .map_err(|error| MetaError::new(ErrorCode::Internal, error.to_string()))?;
    Ok(reply
        .attribute
        .map(|attribute| String::from_utf8(attribute.value.to_vec()).expect("tests write text")))
}

/// Copies a directory that is in use as it is at one moment: a copy during which files came or went is made again.
fn copy_tree(from: &Path, to: &Path) {
    for _ in 0..1_000 {
        let before = tree(from);
        let copied = before.iter().try_for_each(|file| {
            let target = to.join(file);
            std::fs::create_dir_all(target.parent().expect("a file has a directory"))?;
            std::fs::copy(from.join(file), target).map(|_| ())
        });
        if copied.is_ok() && tree(from) == before {
            return;
        }
        let _ = std::fs::remove_dir_all(to);
    }
    panic!("{} never stood still", from.display());
}

/// All files below a directory, by relative path.
fn tree(root: &Path) -> std::collections::BTreeSet<std::path::PathBuf> {
    let mut files = std::collections::BTreeSet::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => waiting.push(entry.path()),
                _ => {
                    files.extend(entry.path().strip_prefix(root).ok().map(Path::to_owned));
                }
            }
        }
    }
    files
}
