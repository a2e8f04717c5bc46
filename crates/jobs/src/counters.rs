//! What this process has done and met, for its metrics and for `status`.

use crate::vault_health::VaultHealth;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Times that are kept until somebody takes them: in a process where nobody does they must not become more and more.
const TIMES_KEPT: usize = 10_000;

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    /// Tasks whose result counted.
    pub tasks_completed: AtomicU64,
    /// Failures that were reported and counted, of tasks that can be tried again and of those that cannot.
    pub failures_retryable: AtomicU64,
    pub failures_fatal: AtomicU64,
    pub task_times: TaskTimes,
    /// Claims that were taken from workers that were not heard of.
    pub claims_expired: AtomicU64,
    pub bytes_copied: AtomicU64,
    pub files_copied: AtomicU64,
    pub files_deleted: AtomicU64,
    pub delete_errors: AtomicU64,
    pub vaults: VaultHealth,
}

impl Counters {
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }

    /// Counts the failure of a task.
    pub fn add_failure(&self, can_retry: bool) {
        let failures = if can_retry {
            &self.failures_retryable
        } else {
            &self.failures_fatal
        };
        Counters::add(failures, 1);
    }
}

/// How long tasks took that counted, from their claim to the answer to their result.
#[derive(Debug, Default)]
pub struct TaskTimes(Mutex<Vec<Duration>>);

impl TaskTimes {
    pub fn add(&self, took: Duration) {
        let mut times = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if times.len() < TIMES_KEPT {
            times.push(took);
        }
    }

    /// Those since it was last called.
    pub fn take(&self) -> Vec<Duration> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_taken_once_and_are_bounded_where_nobody_takes_them() {
        let times = TaskTimes::default();
        times.add(Duration::from_secs(2));
        assert_eq!(times.take(), [Duration::from_secs(2)]);
        assert!(times.take().is_empty());
        for _ in 0..=TIMES_KEPT {
            times.add(Duration::from_secs(1));
        }
        assert_eq!(times.take().len(), TIMES_KEPT);
    }

    #[test]
    fn failures_are_counted_by_whether_another_try_may_succeed() {
        let counters = Counters::default();
        counters.add_failure(true);
        counters.add_failure(true);
        counters.add_failure(false);
        let counted = [&counters.failures_retryable, &counters.failures_fatal].map(Counters::get);
        assert_eq!(counted, [2, 1]);
    }
}
