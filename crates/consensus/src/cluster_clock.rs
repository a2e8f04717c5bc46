//! The time by which a leader stamps entries: that of the majority's clocks.
//!
//! Stamped time never goes back. One entry from a clock that is hours ahead would end sessions, snapshots and history that have
//! hours left, and then hold still for as long. A clock can be set at any moment, and the other peers' words show it a second
//! later; so time is counted by the clock that cannot be set, from the last moment at which this machine's was compared with
//! theirs. Where most clocks are ahead of it, or most behind, theirs are right: such a peer stands for no election, and leads no
//! longer. Of clocks that all differ the one in the middle is right, so there is always a peer that may lead.

use crate::env;
use crate::maintenance::MAX_CLOCK_OFFSET_MS;
use crate::node::{Core, Node};
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

    /// This machine's clock was compared when it showed `ours`, and most others' are this far ahead of it.
    fn set(&self, ours: StampedTime, at: Instant, ahead_ms: i64) {
        let time = StampedTime(ours.0.saturating_add_signed(ahead_ms));
        *self.0.lock().expect("no panic while held") = Compared { time, at };
    }

    fn is_near(&self, theirs: StampedTime) -> bool {
        ahead_ms(theirs, self.now()).abs() <= MAX_CLOCK_OFFSET_MS
    }
}

impl Core {
    /// Whether the clock of `peer` shows the cluster's time, as far as is known. This machine's own need not.
    pub(crate) fn has_cluster_time(&self, peer: u64) -> bool {
        self.health.time_of(peer).is_none_or(|theirs| self.cluster_clock.is_near(theirs))
    }
}

/// How far `theirs` is ahead of `ours`.
pub(crate) fn ahead_ms(theirs: StampedTime, ours: StampedTime) -> i64 {
    let distance = i64::try_from(theirs.0.abs_diff(ours.0)).unwrap_or(i64::MAX);
    if theirs.0 < ours.0 { -distance } else { distance }
}

/// How far our clock is behind the majority's time, by the offsets of those of `others` voters that were heard: most clocks, ours among
/// all, are at least so far from it to one side. `None` where ours is as right as any. A single other is no majority, and neither are
/// some that are ahead together with some that are behind: every peer could take itself for wrong, and none would lead.
fn majority_offset_ms(others: usize, heard: &[i64]) -> Option<i64> {
    let voters = others + 1;
    let majority = voters / 2 + 1;
    for side in [1_i64, -1] {
        let mut far: Vec<i64> = heard
            .iter()
            .map(|offset| side * offset)
            .filter(|offset| *offset > MAX_CLOCK_OFFSET_MS)
            .collect();
        far.sort_unstable();
        if let Some(beyond) = far.len().checked_sub(majority) {
            return Some(side * far[beyond]);
        }
    }
    None
}

/// Compares this clock with the others', as of the latest exchange.
pub(crate) async fn compare(node: &Node) {
    let core = node.core();
    let metrics = core.metrics();
    let others: Vec<u64> = metrics.membership_config.voter_ids().filter(|peer| *peer != core.peer).collect();
    // Read once: whenever the clock is set, it is before this for all of them or after it.
    let (ours, at) = (env::wall_clock(), Instant::now());
    let heard = others.iter().filter(|peer| core.health.recent(**peer).is_some());
    let times = heard.filter_map(|peer| core.health.time_of(*peer));
    let offsets: Vec<i64> = times.map(|theirs| ahead_ms(theirs, ours)).collect();
    let off = majority_offset_ms(others.len(), &offsets);
    core.cluster_clock.set(ours, at, off.unwrap_or(0));
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
    // Who would have to hand over again at once is no better.
    let could_lead = |peer: u64| core.health.recent(peer).is_some_and(|reply| !reply.diverged) && core.has_cluster_time(peer);
    let somebody_could = others.iter().any(|peer| could_lead(*peer));
    if somebody_could
        && node.is_leader()
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
            (2, &[9_000, 9_100][..], Some(9_000)),
            (2, &[-9_000, -9_100], Some(-9_000)),
            (2, &[9_000, 0], None),
            (2, &[9_000, -9_000], None),
            (2, &[5_000, 10_000], Some(5_000)),
            (2, &[-10_000, -5_000], Some(-5_000)),
            (2, &[9_000], None),
            (2, &[2_000, -2_000], None),
            (1, &[9_000], None),
            (3, &[9_000, 9_000, 0], None),
            (3, &[9_000, 9_000, 9_000], Some(9_000)),
            (4, &[0, 5_000, 6_000, 7_000], Some(5_000)),
            (4, &[9_000, 5_000, 5_000, 5_000], Some(5_000)),
            (4, &[-9_000, 5_000, 5_000, 5_000], Some(5_000)),
            (4, &[-9_000, 5_000, 5_000], None),
            (4, &[5_000, 6_000], None),
            (0, &[], None),
        ] {
            assert_eq!(majority_offset_ms(others, heard), expected, "{heard:?} of {others}");
        }
    }

    #[test]
    fn among_clocks_of_any_kind_one_is_right() {
        let clocks = [0, 1_500, 3_000, 4_500, 9_000];
        for voters in 1..=5 {
            for chosen in 0..clocks.len().pow(voters) {
                let shown: Vec<i64> = (0..voters)
                    .map(|voter| clocks[chosen / clocks.len().pow(voter) % clocks.len()])
                    .collect();
                let is_right = |own: usize| {
                    let others = shown.iter().enumerate().filter(|(voter, _)| *voter != own);
                    let offsets: Vec<i64> = others.map(|(_, time)| time - shown[own]).collect();
                    majority_offset_ms(offsets.len(), &offsets).is_none()
                };
                assert!((0..shown.len()).any(is_right), "{shown:?}");
            }
        }
    }

    #[test]
    fn who_is_off_alike_does_not_have_the_clusters_time() {
        const HOUR_MS: u64 = 3_600_000;
        let (right, ours) = (StampedTime(10 * HOUR_MS), StampedTime(11 * HOUR_MS));
        let clock = ClusterClock::started();
        clock.set(ours, Instant::now(), ahead_ms(right, ours));
        assert!(clock.is_near(right));
        assert!(!clock.is_near(ours), "a second clock of this machine's kind");
        assert!(
            !clock.is_near(StampedTime(0)) && !clock.is_near(StampedTime(u64::MAX)),
            "no overflow"
        );
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
        clock.set(env::wall_clock(), Instant::now(), -89_000_000);
        assert_eq!(clock.now(), StampedTime(1_000_000));
        clock.set(env::wall_clock(), Instant::now(), 0);
        assert_eq!(clock.now(), StampedTime(90_000_000));
    }
}
