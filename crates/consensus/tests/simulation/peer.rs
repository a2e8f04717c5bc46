//! One peer: what survives a crash, and what runs between crashes.

use crate::entropy::Dice;
use crate::network::{self, PORT, SimulatedTransport};
use crate::run::World;
use quorate_consensus::applier::AuditEvent;
use quorate_consensus::bootstrap::{Newcomer, found};
use quorate_consensus::transport::Transport;
use quorate_consensus::{Node, NodeParts, Settings};
use quorate_model::{ClusterId, Incarnation, PeerId};
use quorate_storage::log::{Completion, MemoryLog};
use quorate_storage::state::MemoryState;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use turmoil::net::TcpListener;

pub const PEERS: usize = 3;

/// The disk of one peer.
pub struct Disk {
    pub log: Arc<MemoryLog>,
    pub state: Arc<MemoryState>,
    /// Checkpoints are real files.
    _dir: tempfile::TempDir,
}

impl Disk {
    pub fn new() -> Disk {
        let dir = tempfile::tempdir().expect("temporary directory");
        Disk {
            log: Arc::new(MemoryLog::new(Completion::Manual)),
            state: Arc::new(MemoryState::new(dir.path())),
            _dir: dir,
        }
    }
}

pub fn name(position: usize) -> String {
    format!("peer{}", position + 1)
}

fn settings() -> Settings {
    Settings {
        // Small enough that a peer that was away needs a checkpoint.
        checkpoint_log_entries: 30,
        max_log_bytes: 1,
        flush_entries: 20,
        inline_apply: true,
        ..Settings::default()
    }
}

/// Runs one peer on what its disk holds, until it is crashed.
pub async fn run(world: Arc<World>, position: usize) -> turmoil::Result {
    let disk = &world.disks[position];
    let addresses: Vec<String> = (0..PEERS).map(|other| format!("{}:{PORT}", name(other))).collect();
    let newcomer = Newcomer {
        incarnation: Incarnation(100 + position as u64),
        peer_address: addresses[position].clone(),
        public_address: addresses[position].clone(),
        peers: addresses,
        replace: false,
        join: false,
    };
    let transport: Arc<dyn Transport> = Arc::new(SimulatedTransport);
    let watched = world.clone();
    let parts = NodeParts {
        cluster: ClusterId(7),
        peer: PeerId(position as u64 + 1),
        incarnation: newcomer.incarnation,
        peer_address: newcomer.peer_address.clone(),
        public_address: newcomer.public_address.clone(),
        settings: settings(),
        log: disk.log.clone(),
        state: disk.state.clone(),
        transport: transport.clone(),
        audit: Some(Box::new(move |event| {
            if let AuditEvent::Applied { entries, .. } = event {
                watched.entries_applied(position, entries);
            }
        })),
        disk_space: Arc::new(|| quorate_consensus::disk::DiskSpace::AMPLE),
    };
    tokio::spawn(sync_now_and_then(disk.log.clone(), Dice::new()));
    let listener = TcpListener::bind((IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT)).await?;
    let node = Node::start(parts).await?;
    world.started(position, node.clone());
    tokio::spawn(accept(listener, node.clone()));
    if position == 0 {
        found(&node, &newcomer, &transport).await?;
    }
    std::future::pending().await
}

/// The disk: what waits becomes durable a little later, in groups of any size.
async fn sync_now_and_then(log: Arc<MemoryLog>, mut dice: Dice) {
    loop {
        tokio::time::sleep(Duration::from_millis(1 + dice.roll(8))).await;
        let waiting = log.pending();
        if waiting > 0 {
            log.sync(1 + dice.roll(waiting as u64) as usize);
        }
    }
}

async fn accept(listener: TcpListener, node: Node) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let node = node.clone();
        tokio::spawn(async move {
            // A broken connection is the network's doing; the caller finds out by itself.
            if let Ok(kind) = network::read_kind(&mut stream).await {
                let _ = network::serve(&node, kind, stream).await;
            }
        });
    }
}
