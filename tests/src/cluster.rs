//! Several peers in one temporary directory.

use crate::http::{self, Reply};
use crate::native;
use crate::peer::Peer;
use crate::ports::free_address;
use crate::waiting::{PATIENCE, until};
use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use tempfile::TempDir;

pub const TOKEN: &str = "suite-token";
/// Starts before a machine on which ports are always taken is assumed.
const STARTS: usize = 5;

/// A cluster whose peers run as children of the test.
pub struct Cluster {
    pub peers: Vec<Peer>,
    dir: TempDir,
}

impl Cluster {
    /// Starts `count` empty peers and waits until all serve.
    pub async fn start(count: usize) -> Cluster {
        Cluster::start_with(count, &[]).await
    }

    /// As [`Cluster::start`], each peer with further arguments.
    pub async fn start_with(count: usize, further: &[&str]) -> Cluster {
        for _ in 0..STARTS {
            let mut cluster = Cluster::prepare(count, further);
            cluster.peers.iter_mut().for_each(Peer::start);
            if cluster.became_ready().await {
                return cluster;
            }
            eprintln!("a port was taken by somebody else; starting again with others");
        }
        panic!("no free ports after {STARTS} starts");
    }

    /// Makes directory, secrets and arguments; starts nothing.
    pub fn prepare(count: usize, further: &[&str]) -> Cluster {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let write = |name: &str, text: &str| write_secret(&dir.path().join(name), text);
        write("token", TOKEN);
        write("cluster-secret", "suite-cluster-secret");
        write("root-keys", "1 BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=\n");
        let addresses: Vec<(String, String)> = (0..count).map(|_| (free_address(), free_address())).collect();
        let founders: Vec<&str> = addresses.iter().map(|(_, peer)| peer.as_str()).collect();
        let founders = founders.join(",");
        let peers = addresses.iter().enumerate().map(|(position, (public, peer))| {
            let data_dir = dir.path().join(format!("peer-{position}"));
            let mut arguments = arguments(dir.path(), &data_dir, public, peer, &founders);
            for flag in further.iter().filter(|argument| argument.starts_with("--")) {
                if let Some(position) = arguments.iter().position(|argument| argument == flag) {
                    arguments.drain(position..position + 2);
                }
            }
            arguments.extend(further.iter().map(|argument| (*argument).to_owned()));
            Peer::new(public, peer, data_dir, arguments)
        });
        Cluster {
            peers: peers.collect(),
            dir,
        }
    }

    /// A further peer of this cluster, empty and not started, that asks the peers there are for a place.
    pub fn newcomer(&self) -> Peer {
        self.newcomer_of(&self.peers.iter().map(|peer| peer.peer_address.as_str()).collect::<Vec<_>>())
    }

    /// As [`Cluster::newcomer`], one that knows these peer addresses only.
    pub fn newcomer_of(&self, known: &[&str]) -> Peer {
        let (public, peer) = (free_address(), free_address());
        let data_dir = self.dir.path().join(format!("peer-at-{}", peer.replace(':', "-")));
        let mut arguments = arguments(self.dir.path(), &data_dir, &public, &peer, &known.join(","));
        for argument in arguments.iter_mut().filter(|argument| *argument == "--peers") {
            "--join".clone_into(argument);
        }
        Peer::new(&public, &peer, data_dir, arguments)
    }

    /// Directory of everything this cluster has on disk.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// False if a peer found its port taken.
    async fn became_ready(&mut self) -> bool {
        until("all peers serve", async || {
            for peer in &mut self.peers {
                if let Some(status) = peer.exited() {
                    let log = peer.log();
                    assert!(log.contains("Address already in use"), "a peer ended with {status}:\n{log}");
                    return Some(false);
                }
            }
            all_ready(&self.peers).await.then_some(true)
        })
        .await
    }

    /// Waits until every peer answers a linearizable read.
    pub async fn wait_ready(&self) {
        until("all peers serve", async || all_ready(&self.peers).await.then_some(())).await;
    }

    pub fn addresses(&self) -> Vec<String> {
        self.peers.iter().map(|peer| peer.public.clone()).collect()
    }

    /// Position of the peer that leads, as itself and a second peer say.
    pub async fn leader(&self) -> usize {
        until("a peer leads", async || {
            let mut leader = None;
            let mut votes = 0;
            let mut says = Vec::new();
            for (position, peer) in self.peers.iter().enumerate() {
                let Ok(status) = native::status(&peer.public).await else { continue };
                says.push((status.leader_id, status.term));
                if status.leader_id != 0 && status.leader_id == status.peer_id {
                    leader = Some((position, (status.leader_id, status.term)));
                }
            }
            if let Some((_, said)) = leader {
                votes = says.iter().filter(|other| **other == said).count();
            }
            leader.filter(|_| votes > self.peers.len() / 2).map(|(position, _)| position)
        })
        .await
    }

    /// Position of a peer that does not lead.
    pub async fn follower(&self) -> usize {
        self.leader_and_follower().await.1
    }

    /// Positions of the peer that leads and of one that does not, both as of one moment.
    pub async fn leader_and_follower(&self) -> (usize, usize) {
        let leader = self.leader().await;
        (leader, (leader + 1) % self.peers.len())
    }

    /// One call of a Doris route with the right token.
    pub async fn doris(&self, peer: usize, route: &str, body: &str) -> Reply {
        let separator = if route.contains('?') { '&' } else { '?' };
        let path = format!("/MetaService/http/{route}{separator}token={TOKEN}");
        http::send(&self.peers[peer].public, "POST", &path, &[], body)
            .await
            .expect("the peer answers")
    }

    /// Creates an instance through the first peer.
    pub async fn create_instance(&self, instance_id: &str) {
        let reply = self
            .doris(0, "create_instance", &format!("{{\"instance_id\":\"{instance_id}\"}}"))
            .await;
        assert_eq!(reply.status, 200, "{}", reply.body);
    }

    /// The body of `get_instance`, read through one peer.
    pub async fn instance(&self, peer: usize, instance_id: &str) -> String {
        let reply = self.doris(peer, &format!("get_instance?instance_id={instance_id}"), "").await;
        assert_eq!(reply.status, 200, "{}", reply.body);
        reply.body
    }

    /// Ids of voters and of all members, as one peer sees them.
    pub async fn members(&self, peer: usize) -> (Vec<u64>, Vec<u64>) {
        let status = native::status(&self.peers[peer].public).await.expect("the peer answers");
        let voters = status.peers.iter().filter(|member| member.voter).map(|member| member.peer_id);
        (voters.collect(), status.peers.iter().map(|member| member.peer_id).collect())
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (position, peer) in self.peers.iter().enumerate() {
                eprintln!("== end of the log of peer {position} at {}\n{}", peer.public, peer.log_tail());
            }
        }
    }
}

async fn all_ready(peers: &[Peer]) -> bool {
    for peer in peers {
        let ready = tokio::time::timeout(PATIENCE, http::get(&peer.public, "/readyz")).await;
        if !matches!(ready, Ok(Ok(reply)) if reply.status == 200) {
            return false;
        }
    }
    true
}

/// Writes a file that only its owner may read, as peers demand of secrets.
pub fn write_secret(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
        .expect("a secret file opens");
    file.write_all(text.as_bytes()).expect("a secret file is written");
}

fn arguments(dir: &Path, data_dir: &Path, public: &str, peer: &str, founders: &str) -> Vec<String> {
    let path = |name: &str| dir.join(name).display().to_string();
    let arguments = [
        ("--data-dir", data_dir.display().to_string()),
        ("--listen", public.to_owned()),
        ("--peer-listen", peer.to_owned()),
        ("--peers", founders.to_owned()),
        ("--token-file", path("token")),
        ("--cluster-secret-file", path("cluster-secret")),
        ("--root-keys-file", path("root-keys")),
        ("--worker-threads", "1".to_owned()),
        // The disk of the machine that tests is not what is tested.
        ("--ballast-bytes", "0".to_owned()),
        ("--disk-low-bytes", "0".to_owned()),
        ("--disk-low-percent", "0".to_owned()),
    ];
    arguments.into_iter().flat_map(|(flag, value)| [flag.to_owned(), value]).collect()
}
