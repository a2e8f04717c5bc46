//! A large state: how much memory it takes, how soon a killed peer answers again, how soon the whole cluster does, and how soon a peer that
//! has lost its data has all of it again.

use crate::driver::System;
use crate::failover::Writers;
use crate::load::fill;
use crate::machine::{Memory, memory};
use crate::system::Cluster;
use anyhow::Context;
use serde::Serialize;
use tokio::time::Instant;

/// Clients that write while a peer is down and comes back.
const WRITERS: usize = 16;

/// What a large state costs.
#[derive(Clone, Debug, Serialize)]
pub struct RecoveryResult {
    pub system: System,
    pub records: u64,
    pub fill_per_second: f64,
    /// The largest of the peers, after the fill.
    pub memory: Memory,
    /// One peer killed and started again under load, until it answers a linearizable read.
    pub one_peer_seconds: f64,
    /// All peers killed and started again, until the first one answers a linearizable read.
    pub all_peers_seconds: f64,
    pub memory_after_restart: Memory,
    /// A peer with nothing started in the place of one that was killed, under load, until it answers a linearizable read and votes. None
    /// if etcd did not get that far.
    pub fresh_follower_seconds: Option<f64>,
}

/// Fills the cluster and breaks it.
pub async fn run(cluster: &mut Cluster, records: u64, seed: u64) -> anyhow::Result<RecoveryResult> {
    let took = fill(cluster.system, &cluster.endpoints(), 0..records, seed).await?;
    let filled = largest_memory(cluster)?;
    let one_peer_seconds = restart_one(cluster, seed).await?;
    let all_peers_seconds = restart_all(cluster).await?;
    let memory_after_restart = largest_memory(cluster)?;
    let fresh = fresh_follower(cluster, seed).await;
    let fresh_follower_seconds = match fresh {
        // An hour's run is not given up for a member that etcd does not take in, or brings up too slowly for its load.
        Err(error) if cluster.system == System::Etcd => {
            eprintln!("no fresh follower of etcd: {error:#}");
            None
        }
        fresh => Some(fresh.context("a fresh follower")?),
    };
    Ok(RecoveryResult {
        system: cluster.system,
        records,
        fill_per_second: records as f64 / took.as_secs_f64(),
        memory: filled,
        one_peer_seconds,
        all_peers_seconds,
        memory_after_restart,
        fresh_follower_seconds,
    })
}

pub fn largest_memory(cluster: &Cluster) -> anyhow::Result<Memory> {
    let mut largest = Memory::default();
    for pid in cluster.pids() {
        let of_peer = memory(pid)?;
        largest.rss_bytes = largest.rss_bytes.max(of_peer.rss_bytes);
        largest.anonymous_bytes = largest.anonymous_bytes.max(of_peer.anonymous_bytes);
    }
    Ok(largest)
}

async fn restart_one(cluster: &mut Cluster, seed: u64) -> anyhow::Result<f64> {
    let writers = Writers::start(cluster.system, &cluster.endpoints(), WRITERS, seed)?;
    let follower = kill_follower(cluster, &writers).await?;
    let started = Instant::now();
    cluster.restart(follower)?;
    cluster.wait_serving(follower).await?;
    Ok(started.elapsed().as_secs_f64())
}

async fn fresh_follower(cluster: &mut Cluster, seed: u64) -> anyhow::Result<f64> {
    let writers = Writers::start(cluster.system, &cluster.endpoints(), WRITERS, seed)?;
    let follower = kill_follower(cluster, &writers).await?;
    cluster.lose_data(follower).await?;
    let started = Instant::now();
    cluster.restart(follower)?;
    cluster.wait_serving(follower).await?;
    cluster.wait_voting(follower).await?;
    Ok(started.elapsed().as_secs_f64())
}

/// A follower: the loss of a leader is what the failover workload measures.
async fn kill_follower(cluster: &mut Cluster, writers: &Writers) -> anyhow::Result<usize> {
    writers.wait_well().await?;
    let follower = (cluster.leader().await? + 1) % cluster.peers.len();
    cluster.kill(follower).await?;
    writers.wait_well().await?;
    Ok(follower)
}

/// Kills all peers and starts them again; seconds until the first one answers a linearizable read.
pub async fn restart_all(cluster: &mut Cluster) -> anyhow::Result<f64> {
    for index in 0..cluster.peers.len() {
        cluster.kill(index).await?;
    }
    let started = Instant::now();
    for index in 0..cluster.peers.len() {
        cluster.restart(index)?;
    }
    let leader = cluster.leader().await?;
    cluster.wait_serving(leader).await?;
    let took = started.elapsed().as_secs_f64();
    for index in 0..cluster.peers.len() {
        cluster.wait_serving(index).await?;
    }
    Ok(took)
}
