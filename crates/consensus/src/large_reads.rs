//! Reads that may go through many rows, and what writes their replies: on threads of their own, a few at a time.
//!
//! The threads that serve calls also carry votes and heartbeats, and there may be one of them only. A read that keeps it for
//! longer than an election costs the leader its place, and everybody else waits meanwhile. A read of a few rows stays where it
//! is: the way to another thread and back costs more than the read.

use crate::node::{Deadline, Node};
use crate::settings::LARGE_READS_AT_ONCE;
use quorate_model::{ErrorCode, MetaError};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The places that large reads run in.
pub struct LargeReads(Arc<Semaphore>);

impl Default for LargeReads {
    fn default() -> LargeReads {
        LargeReads(Arc::new(Semaphore::new(LARGE_READS_AT_ONCE)))
    }
}

impl LargeReads {
    /// How many run now, from 0 to [`LARGE_READS_AT_ONCE`].
    pub fn under_way(&self) -> usize {
        LARGE_READS_AT_ONCE - self.0.available_permits()
    }

    async fn run<R: Send + 'static>(&self, deadline: Deadline, work: impl FnOnce() -> R + Send + 'static) -> Result<R, MetaError> {
        let place = tokio::time::timeout_at(deadline, self.0.clone().acquire_owned()).await;
        let place = place.map_err(|_| {
            let text =
                format!("{LARGE_READS_AT_ONCE} large reads run at this peer, which is its limit, and none ended before the deadline");
            MetaError::new(ErrorCode::TooManyRequests, text)
        })?;
        let place = place.expect("nobody closes the semaphore");
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work itself: it goes on when the caller hangs up.
            let _place = place;
            work()
        });
        done.await.map_err(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => MetaError::new(ErrorCode::ShuttingDown, "this peer is stopping"),
        })
    }
}

impl Node {
    /// Runs a read that may go through many rows, or what writes a large reply, away from the threads that serve calls:
    /// [`LARGE_READS_AT_ONCE`] at a time. What finds no place until `deadline` is refused with `too_many_requests`; what has
    /// begun goes on to its end, however long that takes and whoever still waits for it. In a simulation it runs at once.
    pub async fn run_large<R: Send + 'static>(
        &self,
        deadline: Deadline,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, MetaError> {
        let core = self.core();
        if core.settings.inline_apply {
            return Ok(work());
        }
        core.large_reads.run(deadline, work).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;
    use tokio::task::JoinHandle;
    use tokio::time::Instant;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(20)
    }

    /// Work that has begun and goes on until its sender is dropped.
    async fn begin(reads: &Arc<LargeReads>) -> (mpsc::Sender<()>, JoinHandle<Result<(), MetaError>>) {
        let (release, released) = mpsc::channel();
        let (begins, begun) = tokio::sync::oneshot::channel();
        let reads = reads.clone();
        let waits = tokio::spawn(async move {
            let work = move || {
                let _ = begins.send(());
                let _ = released.recv();
            };
            reads.run(soon(), work).await
        });
        begun.await.expect("it begins");
        (release, waits)
    }

    #[tokio::test]
    async fn a_large_read_runs_elsewhere_or_is_refused_when_it_finds_no_place() {
        let reads = Arc::<LargeReads>::default();
        let elsewhere = reads.run(soon(), || std::thread::current().id()).await.expect("run");
        assert_ne!(elsewhere, std::thread::current().id());

        let mut held = Vec::new();
        for _ in 0..LARGE_READS_AT_ONCE {
            held.push(begin(&reads).await);
        }
        assert_eq!(reads.under_way(), LARGE_READS_AT_ONCE);
        let refused = reads.run(Instant::now() + Duration::from_millis(10), || ()).await;
        assert_eq!(refused.expect_err("no place").code, ErrorCode::TooManyRequests);
        drop(held);
        assert_eq!(reads.run(soon(), || 7).await, Ok(7), "a place is found when one ends");
    }

    #[tokio::test]
    async fn what_has_begun_keeps_its_place_when_its_caller_hangs_up() {
        let reads = Arc::<LargeReads>::default();
        let (release, waits) = begin(&reads).await;
        waits.abort();
        assert!(waits.await.expect_err("aborted").is_cancelled());
        assert_eq!(reads.under_way(), 1);
        drop(release);
        let all = tokio::time::timeout_at(soon(), reads.0.acquire_many(LARGE_READS_AT_ONCE as u32)).await;
        let _all = all
            .expect("its place is free when it has ended")
            .expect("nobody closes the semaphore");
    }
}
