//! Three peers in one process over links that can be cut, slowed and counted.

pub mod cluster;
pub mod links;

pub use cluster::Cluster;

use quorate_consensus::{Settings, Timing};
use std::time::Duration;
use tokio::time::Instant;

/// Longest any condition is waited for: far above what a loaded machine needs, so that only a bug reaches it.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn soon() -> Instant {
    Instant::now() + PATIENCE
}

pub fn within(limit_ms: u64) -> Instant {
    Instant::now() + Duration::from_millis(limit_ms)
}

/// Peers that elect nobody because the machine is busy: a heartbeat may be a second late, and a leader that was cut off leads for two.
pub fn calm() -> Settings {
    Settings {
        timing: Timing::WAN,
        ..Settings::default()
    }
}

/// Waits for a condition; names it when it does not come.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let deadline = soon();
        while !condition() {
            assert!(Instant::now() < deadline, "{caller}: waited {PATIENCE:?} in vain until {what}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
