//! Counts calls against limits per second.
//!
//! One bucket for each RPC and instance: it holds a second's worth of calls, loses one with each call and is refilled evenly.
//! A bucket that was not used for a second is full, so forgetting it changes nothing. Instances are known by a hash: an id is
//! whatever a caller has sent, of any length, and is counted before anything else looks at it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Mutex;
use tokio::time::Instant;

/// Locks that calls spread over: two busy instances must not wait for each other.
const SHARDS: usize = 16;
/// Buckets of one RPC in one shard. Beyond it full ones are forgotten; if all were used within a second, all are.
const BUCKETS_PER_SHARD: usize = 4_096;

#[derive(Clone, Copy, Debug)]
struct Bucket {
    /// Calls it still holds.
    calls: f64,
    refilled: Instant,
}

/// By RPC, then by the hash of the instance's id.
type Shard = HashMap<&'static str, HashMap<u64, Bucket>>;

/// The buckets of one peer.
pub struct RateLimiter {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
}

impl Default for RateLimiter {
    fn default() -> RateLimiter {
        RateLimiter {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
        }
    }
}

impl RateLimiter {
    /// Counts one call; false if there have been too many. `limit` is in calls per second and may change at any time.
    pub fn admit(&self, rpc: &'static str, instance_id: &str, limit: i64, now: Instant) -> bool {
        if limit <= 0 {
            return false;
        }
        let limit = limit as f64;
        let instance = self.hasher.hash_one(instance_id);
        let position = instance as usize % SHARDS;
        // A panic elsewhere cannot have left a bucket half written.
        let mut shard = self.shards[position].lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let buckets = shard.entry(rpc).or_default();
        let Some(bucket) = buckets.get_mut(&instance) else {
            if buckets.len() >= BUCKETS_PER_SHARD {
                buckets.retain(|_, bucket| now.saturating_duration_since(bucket.refilled).as_secs_f64() < 1.0);
                if buckets.len() >= BUCKETS_PER_SHARD {
                    buckets.clear();
                }
            }
            let bucket = Bucket {
                calls: limit - 1.0,
                refilled: now,
            };
            buckets.insert(instance, bucket);
            return true;
        };
        let seconds = now.saturating_duration_since(bucket.refilled).as_secs_f64();
        bucket.calls = (bucket.calls + seconds * limit).min(limit);
        bucket.refilled = now;
        if bucket.calls < 1.0 {
            return false;
        }
        bucket.calls -= 1.0;
        true
    }

    #[cfg(test)]
    fn buckets(&self) -> usize {
        let of_shard = |shard: &Mutex<Shard>| shard.lock().expect("not poisoned").values().map(HashMap::len).sum::<usize>();
        self.shards.iter().map(of_shard).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_second_admits_its_limit_and_a_pause_as_many_as_it_is_long() {
        let limiter = RateLimiter::default();
        let start = Instant::now();
        let admitted = |at_ms: u64, tries: usize| {
            let now = start + Duration::from_millis(at_ms);
            (0..tries).filter(|_| limiter.admit("get_cluster", "i", 10, now)).count()
        };
        assert_eq!(admitted(0, 25), 10);
        assert_eq!(admitted(50, 5), 0);
        assert_eq!(admitted(500, 25), 5, "half a second, half the limit; refused calls cost nothing");
        assert_eq!(admitted(100_000, 25), 10, "what was not used is not saved up");
    }

    #[test]
    fn rpcs_and_instances_do_not_use_each_others_limits() {
        let limiter = RateLimiter::default();
        let now = Instant::now();
        assert!(limiter.admit("get_cluster", "i", 1, now));
        assert!(!limiter.admit("get_cluster", "i", 1, now));
        assert!(limiter.admit("get_instance", "i", 1, now));
        assert!(limiter.admit("get_cluster", "j", 1, now));
        assert!(!limiter.admit("get_cluster", "k", 0, now), "nothing is allowed");
    }

    #[test]
    fn a_changed_limit_holds_at_once() {
        let limiter = RateLimiter::default();
        let now = Instant::now();
        assert!(limiter.admit("get_cluster", "i", 1_000, now));
        let admitted = (0..10).filter(|_| limiter.admit("get_cluster", "i", 2, now)).count();
        assert_eq!(admitted, 2, "999 calls were left under the old limit");
        let later = now + Duration::from_millis(100);
        let admitted = (0..200).filter(|_| limiter.admit("get_cluster", "i", 1_000, later)).count();
        assert_eq!(admitted, 100);
    }

    #[test]
    fn instances_that_went_away_are_forgotten() {
        let limiter = RateLimiter::default();
        let start = Instant::now();
        for number in 0..3 * SHARDS * BUCKETS_PER_SHARD {
            let now = start + Duration::from_micros(100 * number as u64);
            assert!(limiter.admit("get_cluster", &number.to_string(), 5, now));
        }
        assert!(limiter.buckets() <= SHARDS * BUCKETS_PER_SHARD, "{}", limiter.buckets());
    }
}
