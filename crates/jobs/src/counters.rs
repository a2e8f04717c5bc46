//! What this process has done and met, for its metrics and for `status`.

use crate::vault_health::VaultHealth;
use std::sync::atomic::{AtomicU64, Ordering};

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Counters {
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
}
