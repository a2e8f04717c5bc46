//! How long synced appends take: one bucket per power of two of microseconds, so that recording costs an atomic add.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const BUCKETS: usize = 32;
/// After this many appends the old ones count half, so that the figure follows the disk.
const HALVE_AFTER: u64 = 100_000;

/// Latency of appends, from the call to their sync.
#[derive(Debug, Default)]
pub struct AppendLatency {
    counts: [AtomicU64; BUCKETS],
    recorded: AtomicU64,
}

impl AppendLatency {
    pub fn record(&self, took: Duration) {
        let bucket = (64 - (took.as_micros() as u64).leading_zeros() as usize).min(BUCKETS - 1);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        if self.recorded.fetch_add(1, Ordering::Relaxed) % HALVE_AFTER == HALVE_AFTER - 1 {
            for count in &self.counts {
                count.store(count.load(Ordering::Relaxed) / 2, Ordering::Relaxed);
            }
        }
    }

    /// Upper bound of the 99.9th percentile in microseconds; 0 before a thousand appends.
    pub fn p999_us(&self) -> u64 {
        let counts: Vec<u64> = self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect();
        let total: u64 = counts.iter().sum();
        if total < 1_000 {
            return 0;
        }
        let mut slower = 0;
        for (bucket, count) in counts.iter().enumerate().rev() {
            slower += count;
            if slower * 1_000 > total {
                return 1 << bucket;
            }
        }
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_append_in_a_hundred_shows_and_one_in_ten_thousand_does_not() {
        let latency = AppendLatency::default();
        assert_eq!(latency.p999_us(), 0);
        for _ in 0..10_000 {
            latency.record(Duration::from_micros(100));
        }
        latency.record(Duration::from_millis(50));
        assert_eq!(latency.p999_us(), 128);
        for _ in 0..100 {
            latency.record(Duration::from_millis(50));
        }
        assert_eq!(latency.p999_us(), 65_536);
    }
}
