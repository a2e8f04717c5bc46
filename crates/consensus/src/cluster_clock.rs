//! The time by which a leader stamps entries: that of the majority's clocks.
//!
//! Stamped time never goes back. One entry from a clock that is hours ahead would end sessions, snapshots and history that have
//! hours left, and then hold still for as long. A clock can be set at any moment, and the other peers' words show it a second
//! later; so time is counted by the clock that cannot be set, from the last moment at which this machine's was compared with
//! theirs. Where most of theirs differ from it, theirs are right: such a peer stands for no election, and leads no longer.

use crate::env;
use crate::maintenance::MAX_CLOCK_OFFSET_MS;
use crate::node::Node;
use crate::settings::HELLO_INTERVAL;
use quorate_model::StampedTime;
use std::sync::Mutex;
use tokio::time::Instant;

/// What time it was, and when.
struct Compared {
    time: StampedTime,
    at: Instant,
}

/// Counts on from the last comparison.
pub(crate) struct ClusterClock(Mutex<Compared>);

impl ClusterClock {
    /// By this machine's clock, until others' are known.
    pub fn started() -> ClusterClock {
        ClusterClock(Mutex::new(Compared {
            time: env::wall_clock(),
            at: Instant::now(),
        }))
    }

    pub fn now(&self) -> StampedTime {
        let compared = self.0.lock().expect("no panic while held");
        StampedTime(compared.time.0 + compared.at.elapsed().as_millis() as u64)
    }

    /// This machine's clock was compared, and most others' are this far ahead of it.
    fn set(&self, ahead_ms: i64) {
        let time = StampedTime(env::wall_clock().0.saturating_add_signed(ahead_ms));
        let at = Instant::now();
        *self.0.lock().expect("no panic while held") = Compared { time, at };
    }
}

/// How far most clocks of `others` voters are ahead of ours, by the offsets of those that were heard; `None` where ours is as right as
/// any. A single other is no majority.
fn majority_offset_ms(others: usize, heard: &[i64]) -> Option<i64> {
    let mut far: Vec<i64> = heard.iter().copied().filter(|offset| offset.abs() > MAX_CLOCK_OFFSET_MS).collect();
    far.sort_unstable();
    (others > 1 && far.len() > others / 2).then(|| far[far.len() / 2])
}

/// Compares this clock with the others', as of the latest exchange.
pub(crate) async fn compare(node: &Node) {
    let core = node.core();
    let metrics = core.metrics();
    let others: Vec<u64> = metrics.membership_config.voter_ids().filter(|peer| *peer != core.peer).collect();
    let heard = others.iter().filter(|peer| core.health.recent(**peer).is_some());
    let offsets: Vec<i64> = heard.filter_map(|peer| core.health.clock_offset_ms(*peer)).collect();
    let off = majority_offset_ms(others.len(), &offsets);
    core.cluster_clock.set(off.unwrap_or(0));
    if core.health.is_diverged() || core.takes_part().is_err() {
        return;
    }
    core.set_stands(off.is_none());
    let Some(offset_ms) = off else { return };
    tracing::warn!(
        peer = core.peer,
        offset_ms,
        "this clock is far from the majority's: this peer does not stand for election"
    );
    if node.is_leader()
        && let Err(error) = node.transfer_leader(None, Instant::now() + HELLO_INTERVAL).await
    {
        tracing::warn!(%error, "leadership could not be given up; it is tried again");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_clocks_is_right() {
        for (others, heard, expected) in [
            (2, &[9_000, 9_100][..], Some(9_100)),
            (2, &[-9_000, -9_100], Some(-9_000)),
            (2, &[9_000, 0], None),
            (2, &[9_000], None),
            (2, &[2_000, -2_000], None),
            (1, &[9_000], None),
            (4, &[0, 5_000, 6_000, 7_000], Some(6_000)),
            (4, &[5_000, 6_000], None),
            (0, &[], None),
        ] {
            assert_eq!(majority_offset_ms(others, heard), expected, "{heard:?} of {others}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_set_changes_nothing_until_it_is_compared() {
        let sources = |wall_clock| env::Sources {
            wall_clock,
            random_u64: || 0,
        };
        env::replace_on_this_thread(sources(|| StampedTime(1_000_000)));
        let clock = ClusterClock::started();
        env::replace_on_this_thread(sources(|| StampedTime(90_000_000)));
        tokio::time::advance(std::time::Duration::from_millis(700)).await;
        assert_eq!(clock.now(), StampedTime(1_000_700));
        clock.set(-89_000_000);
        assert_eq!(clock.now(), StampedTime(1_000_000));
        clock.set(0);
        assert_eq!(clock.now(), StampedTime(90_000_000));
    }
}
