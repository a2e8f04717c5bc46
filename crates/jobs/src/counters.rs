//! What this process has done, for its metrics.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
    pub bytes_copied: AtomicU64,
    pub files_copied: AtomicU64,
    pub files_deleted: AtomicU64,
    pub delete_errors: AtomicU64,
}

impl Counters {
    pub fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}
