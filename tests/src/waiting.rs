//! Waiting on conditions, with a deadline.

use std::time::Duration;
use tokio::time::{Instant, sleep};

/// Longest anything may take that must happen; generous, because machines that run tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Pause between two looks.
pub const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Looks until there is something to see; fails the test after [`PATIENCE`].
pub async fn until<T>(what: &str, look: impl AsyncFnMut() -> Option<T>) -> T {
    until_within(PATIENCE, what, look).await
}

/// As [`until`], for what takes several steps each of which has [`PATIENCE`].
pub async fn until_within<T>(patience: Duration, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(seen) = look().await {
            return seen;
        }
        assert!(Instant::now() < deadline, "not within {} s: {what}", patience.as_secs());
        sleep(LOOK_AGAIN).await;
    }
}

/// Opens a phase of a test's story in its output.
pub fn phase(why: &str) {
    eprintln!("-- {why}");
}
