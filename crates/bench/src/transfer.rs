//! Hand leadership over under load: the longest time a client goes between two acknowledged writes, and the calls that fail meanwhile.

use crate::driver::System;
use crate::failover::{WRITERS, Writers};
use crate::report::median;
use crate::system::Cluster;
use serde::Serialize;

/// What clients saw of all transfers.
#[derive(Clone, Debug, Serialize)]
pub struct TransferResult {
    pub system: System,
    pub writers: usize,
    /// Per transfer: the longest gap of any client, sorted.
    pub gaps_ms: Vec<f64>,
    pub median_ms: f64,
    pub worst_ms: f64,
    /// Of all transfers together: writes that were refused or not answered within 250 ms, and transfers that were refused.
    pub failed_calls: u64,
}

/// Has the leader hand leadership over `transfers` times; the cluster is well before each.
pub async fn run(cluster: &mut Cluster, transfers: usize, seed: u64) -> anyhow::Result<TransferResult> {
    let writers = Writers::start(cluster.system, &cluster.endpoints(), WRITERS, seed)?;
    let mut gaps_ms = Vec::with_capacity(transfers);
    let mut failed_calls = 0;
    for transfer in 0..transfers {
        writers.wait_well().await?;
        writers.reset();
        let refused = cluster.hand_over().await?;
        writers.wait_well().await?;
        let failed = writers.failed() + refused;
        failed_calls += failed;
        gaps_ms.push(writers.longest().as_secs_f64() * 1e3);
        eprintln!(
            "  {} transfer {} of {transfers}: {:.0} ms, {failed} failed calls",
            cluster.system.name(),
            transfer + 1,
            gaps_ms[transfer]
        );
    }
    gaps_ms.sort_by(f64::total_cmp);
    Ok(TransferResult {
        system: cluster.system,
        writers: WRITERS,
        median_ms: median(&gaps_ms),
        worst_ms: gaps_ms.last().copied().unwrap_or(0.0),
        gaps_ms,
        failed_calls,
    })
}
