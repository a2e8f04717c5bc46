//! One peer: from its disk to its place in the cluster to serving, as the product's own process does it.

use crate::disk::Disk;
use crate::entropy::Dice;
use crate::front;
use crate::network::{self, PORT, PeerPort, SimulatedTransport};
use crate::world::World;
use quorate_consensus::applier::AuditEvent;
use quorate_consensus::bootstrap::{Newcomer, Place, find_place, found, join};
use quorate_consensus::transport::Transport;
use quorate_consensus::{Node, NodeParts, acknowledged, rebuild};
use quorate_model::{ClusterId, PeerId};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;
use turmoil::net::TcpListener;

/// Pause between two questions for a place.
const START_AGAIN_AFTER: Duration = Duration::from_millis(300);

pub fn name(position: usize) -> String {
    format!("peer{}", position + 1)
}

pub fn address(position: usize) -> String {
    format!("{}:{PORT}", name(position))
}

fn newcomer(world: &World, position: usize, disk: &Disk) -> Newcomer {
    Newcomer {
        incarnation: disk.incarnation,
        peer_address: address(position),
        public_address: format!("{}:{}", name(position), front::PUBLIC_PORT),
        peers: (0..world.plan.founders).map(address).collect(),
        replace: disk.replaces,
        join: position >= world.plan.founders,
    }
}

/// Runs one peer on what its disk holds, until it is crashed.
pub async fn run(world: Arc<World>, position: usize) -> turmoil::Result {
    while !world.is_called(position) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let disk = world.disk(position);
    let newcomer = Arc::new(newcomer(&world, position, &disk));
    let app = front::app(&disk)?;
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let port = PeerPort {
        world: world.clone(),
        disk: disk.clone(),
        newcomer: newcomer.clone(),
        app: app.clone(),
    };
    // Whatever runs beside the node ends with this function, as all would with the process.
    let mut beside = JoinSet::new();
    beside.spawn(disk.clone().sync_now_and_then(Dice::new()));
    beside.spawn(network::accept(TcpListener::bind((any, PORT)).await?, port));
    beside.spawn(front::serve(TcpListener::bind((any, front::PUBLIC_PORT)).await?, app.clone()));
    let transport: Arc<dyn Transport> = Arc::new(SimulatedTransport {
        world: world.clone(),
        position,
        disk: disk.clone(),
    });
    let (cluster, peer, founder) = settle(&disk, &newcomer, &transport).await;
    check_promises(&world, &disk, &newcomer, &transport).await;
    let parts = parts(&world, position, &disk, &newcomer, transport.clone(), (cluster, peer));
    let node = match Node::start(parts).await {
        Ok(node) => node,
        Err(error) if disk.log.is_failing() => {
            world.note(format!("{} ends: {error}", name(position)));
            world.ended(position, false);
            return std::future::pending().await;
        }
        Err(error) => return Err(error.into()),
    };
    app.set_node(node.clone());
    world.started(position, node.clone());
    if founder {
        found(&node, &newcomer, &transport).await?;
    }
    let mut removed = false;
    let why = tokio::select! {
        () = node.core().health.removed() => {
            removed = true;
            "it was removed".to_owned()
        }
        failure = node.failed() => {
            if !disk.log.is_failing() {
                world.broken("no peer fails while its disk works", format!("{}: {failure}", name(position)));
            }
            failure
        }
        loss = node.core().own_log.lost() => {
            world.broken("no acknowledged entry is missed", format!("{}: {loss}", name(position)));
            loss
        }
    };
    world.note(format!("{} ends: {why}", name(position)));
    world.ended(position, removed);
    node.halt().await;
    drop((node, beside));
    std::future::pending().await
}

/// Who this peer is: by its disk, or by asking the others until its place is known.
async fn settle(disk: &Disk, newcomer: &Newcomer, transport: &Arc<dyn Transport>) -> (ClusterId, PeerId, bool) {
    if let Some((cluster, peer)) = disk.member() {
        // The founder may have died before the first membership was written.
        let founder = peer == PeerId(1) && newcomer.peers.first() == Some(&newcomer.peer_address);
        return (cluster, peer, founder);
    }
    let (cluster, peer, founder) = match find_place(newcomer, transport).await {
        Place::Founder { cluster, peer } => (cluster, peer, true),
        Place::Member { cluster, peer } => (cluster, peer, false),
        Place::Stranger { .. } => {
            let (cluster, peer) = join_in_the_end(newcomer, transport).await;
            (cluster, peer, false)
        }
        Place::Itself { at } => unreachable!("every peer has one address, so nobody meets itself at {at}"),
    };
    disk.become_member(cluster, peer);
    (cluster, peer, founder)
}

/// Asks the others for a place; who is refused for good is started again by whoever runs it, and asks again.
async fn join_in_the_end(newcomer: &Newcomer, transport: &Arc<dyn Transport>) -> (ClusterId, PeerId) {
    loop {
        match join(newcomer, transport).await {
            Ok(place) => return place,
            Err(_) => tokio::time::sleep(START_AGAIN_AFTER).await,
        }
    }
}

/// These disks do what they are told: whatever is found missing at a start was lost by the product.
async fn check_promises(world: &World, disk: &Disk, newcomer: &Newcomer, transport: &Arc<dyn Transport>) {
    let others = newcomer.peers.iter().filter(|other| **other != newcomer.peer_address);
    let (log, state) = (disk.log.as_ref(), disk.state.as_ref());
    match acknowledged::lost_entries(log, state, transport, disk.incarnation.0, others).await {
        Ok(None) => {}
        found => world.broken("no acknowledged entry is missed", format!("{}: {found:?}", newcomer.peer_address)),
    }
    match rebuild::missing(log, state) {
        Ok(None) => {}
        found => world.broken("the log leads on from the state", format!("{}: {found:?}", newcomer.peer_address)),
    }
}

fn parts(
    world: &Arc<World>,
    position: usize,
    disk: &Disk,
    newcomer: &Newcomer,
    transport: Arc<dyn Transport>,
    (cluster, peer): (ClusterId, PeerId),
) -> NodeParts {
    let watched = world.clone();
    NodeParts {
        cluster,
        peer,
        incarnation: newcomer.incarnation,
        peer_address: newcomer.peer_address.clone(),
        public_address: newcomer.public_address.clone(),
        seeds: newcomer.peers.clone(),
        settings: world.plan.settings.clone(),
        log: disk.log.clone(),
        state: disk.state.clone(),
        transport,
        audit: Some(Box::new(move |event| {
            if let AuditEvent::Applied { entries, .. } = event {
                watched.entries_applied(position, entries);
            }
        })),
        disk_space: Arc::new(|| quorate_consensus::disk::DiskSpace::AMPLE),
        step_observer: quorate_consensus::steps::unobserved(),
    }
}
