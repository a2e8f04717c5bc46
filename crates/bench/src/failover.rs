//! Kill the leader under load: the longest time a client goes between two acknowledged writes.

use crate::driver::{Driver, System, connect_lazy};
use crate::random::Random;
use crate::system::{Cluster, PATIENCE, POLL};
use crate::workload::KEYS;
use serde::Serialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

/// Clients that write while leaders are killed.
pub const WRITERS: usize = 8;
/// A write not answered within this time is sent to the next peer. Far above the latency of a healthy cluster, far below
/// the time an election takes in either system.
const WRITE_TIMEOUT: Duration = Duration::from_millis(250);
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(5);
/// Writes each client must get through before the cluster counts as well again.
const ACKNOWLEDGED_TO_BE_WELL: u64 = 50;

/// Gaps of all kills.
#[derive(Clone, Debug, Serialize)]
pub struct FailoverResult {
    pub system: System,
    pub writers: usize,
    /// Per kill: the longest gap of any client, sorted.
    pub gaps_ms: Vec<f64>,
    pub median_ms: f64,
    pub worst_ms: f64,
}

/// What one writer has seen since its last reset.
#[derive(Clone, Copy, Debug)]
struct Gaps {
    last: Instant,
    longest: Duration,
    acknowledged: u64,
    /// Refused, or not answered in time.
    failed: u64,
}

impl Gaps {
    fn acknowledge(&mut self, now: Instant) {
        self.longest = self.longest.max(now.saturating_duration_since(self.last));
        self.last = now;
        self.acknowledged += 1;
    }
}

/// Writers that go on until dropped, whatever happens to the peers.
pub struct Writers {
    gaps: Arc<Vec<Mutex<Gaps>>>,
    // Aborts its tasks when dropped.
    _tasks: JoinSet<()>,
}

impl Writers {
    pub fn start(system: System, endpoints: &[String], count: usize, seed: u64) -> anyhow::Result<Writers> {
        let started = Gaps {
            last: Instant::now(),
            longest: Duration::ZERO,
            acknowledged: 0,
            failed: 0,
        };
        let gaps: Arc<Vec<Mutex<Gaps>>> = Arc::new((0..count).map(|_| Mutex::new(started)).collect());
        let mut tasks = JoinSet::new();
        for writer in 0..count {
            let mut drivers = Vec::new();
            for endpoint in endpoints {
                drivers.push(Driver::new(system, connect_lazy(endpoint)?));
            }
            tasks.spawn(write_on(
                drivers,
                writer,
                gaps.clone(),
                Random::new(seed.wrapping_add(writer as u64)),
            ));
        }
        Ok(Writers { gaps, _tasks: tasks })
    }

    fn each(&self, mut look: impl FnMut(&mut Gaps)) {
        for gaps in self.gaps.iter() {
            look(&mut gaps.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn reset_counts(&self) {
        self.each(|gaps| gaps.acknowledged = 0);
    }

    /// Forgets what was seen; a gap that is open counts from its beginning.
    pub fn reset(&self) {
        self.each(|gaps| (gaps.acknowledged, gaps.longest, gaps.failed) = (0, Duration::ZERO, 0));
    }

    /// The longest gap of any writer since the last reset.
    pub fn longest(&self) -> Duration {
        let mut longest = Duration::ZERO;
        self.each(|gaps| longest = longest.max(gaps.longest));
        longest
    }

    /// Writes since the last reset that were refused or not answered within 250 ms.
    pub fn failed(&self) -> u64 {
        let mut failed = 0;
        self.each(|gaps| failed += gaps.failed);
        failed
    }

    /// Waits until every writer has had a number of further writes acknowledged.
    pub async fn wait_well(&self) -> anyhow::Result<()> {
        self.reset_counts();
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut well = true;
            self.each(|gaps| well &= gaps.acknowledged >= ACKNOWLEDGED_TO_BE_WELL);
            if well {
                return Ok(());
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "a client had no writes acknowledged for {} s",
                PATIENCE.as_secs()
            );
            sleep(POLL).await;
        }
    }
}

async fn write_on(drivers: Vec<Driver>, writer: usize, gaps: Arc<Vec<Mutex<Gaps>>>, mut random: Random) {
    let mut current = writer % drivers.len();
    loop {
        let write = drivers[current].put(random.below(KEYS), random.value());
        if matches!(timeout(WRITE_TIMEOUT, write).await, Ok(Ok(()))) {
            gaps[writer]
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .acknowledge(Instant::now());
            continue;
        }
        gaps[writer].lock().unwrap_or_else(PoisonError::into_inner).failed += 1;
        current = (current + 1) % drivers.len();
        sleep(PAUSE_AFTER_ERROR).await;
    }
}

/// Kills the leader `kills` times; each time the killed peer is started again and the cluster is well before the next.
pub async fn run(cluster: &mut Cluster, kills: usize, seed: u64) -> anyhow::Result<FailoverResult> {
    let writers = Writers::start(cluster.system, &cluster.endpoints(), WRITERS, seed)?;
    let mut gaps_ms = Vec::with_capacity(kills);
    for kill in 0..kills {
        writers.wait_well().await?;
        let leader = cluster.leader().await?;
        writers.reset();
        cluster.kill(leader).await?;
        cluster.leader().await?;
        writers.wait_well().await?;
        gaps_ms.push(writers.longest().as_secs_f64() * 1e3);
        eprintln!("  {} kill {} of {kills}: {:.0} ms", cluster.system.name(), kill + 1, gaps_ms[kill]);
        cluster.restart(leader)?;
        cluster.wait_serving(leader).await?;
    }
    gaps_ms.sort_by(f64::total_cmp);
    let worst_ms = gaps_ms.last().copied().unwrap_or(0.0);
    Ok(FailoverResult {
        system: cluster.system,
        writers: WRITERS,
        median_ms: crate::report::median(&gaps_ms),
        worst_ms,
        gaps_ms,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_gap_is_between_two_acknowledged_writes() {
        let start = Instant::now();
        let mut gaps = Gaps {
            last: start,
            longest: Duration::ZERO,
            acknowledged: 0,
            failed: 0,
        };
        for at_ms in [10, 15, 515, 520] {
            gaps.acknowledge(start + Duration::from_millis(at_ms));
        }
        assert_eq!((gaps.longest, gaps.acknowledged), (Duration::from_millis(500), 4));
    }
}
