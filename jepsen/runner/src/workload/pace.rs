//! How fast clients go on: one schedule for all of them, counted by what was answered. Who waits for an answer keeps no other
//! client waiting, and what a fault has held up is made up for afterwards.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// While fewer calls were answered than should have been, clients go on so many times as fast, at most: a fault that takes two
/// thirds of the time can be made up for, and a cluster that has just recovered is not overrun.
const CATCH_UP: f64 = 3.0;

/// The schedule of all clients of a workload.
pub struct Pace {
    /// Answered operations a second, on average.
    rate: f64,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    began: Option<Instant>,
    /// When the next turn may be.
    next: Option<Instant>,
    answered: u64,
    /// Whether the call that ended last was answered. While calls fail at once, more of them prove nothing.
    is_served: bool,
}

impl Pace {
    pub fn new(rate: u64) -> Pace {
        Pace {
            rate: rate.max(1) as f64,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no panic while held")
    }

    /// When the caller's next operation is due; nobody else gets this turn. The one after it is later by `share` of the mean.
    pub fn turn(&self, now: Instant, share: f64) -> Instant {
        let mut state = self.state();
        let began = *state.began.get_or_insert(now);
        let expected = now.saturating_duration_since(began).as_secs_f64() * self.rate;
        let is_late = state.is_served && (state.answered as f64) < expected;
        let per_second = if is_late { CATCH_UP * self.rate } else { self.rate };
        // Turns that nobody was there for are over: all at once they would be a burst.
        let due = state.next.map_or(now, |next| next.max(now));
        state.next = Some(due + Duration::from_secs_f64(share / per_second));
        due
    }

    /// A call has ended.
    pub fn ended(&self, is_answered: bool) {
        let mut state = self.state();
        state.is_served = is_answered;
        // What was done beforehand is not part of the load.
        if state.began.is_some() {
            state.answered += u64::from(is_answered);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Turns of one client in so many seconds, whose calls end at once.
    fn turns(pace: &Pace, from: Instant, seconds: u64, are_answered: bool) -> u64 {
        let until = from + Duration::from_secs(seconds);
        let (mut now, mut count) = (from, 0);
        loop {
            now = pace.turn(now, 1.0);
            if now >= until {
                return count;
            }
            pace.ended(are_answered);
            count += 1;
        }
    }

    #[test]
    fn what_was_not_answered_is_made_up_for_at_a_bounded_pace() {
        let (pace, begin) = (Pace::new(100), Instant::now());
        let at = |seconds| begin + Duration::from_secs(seconds);
        let is_about = |turns: u64, expected: u64| assert!(turns.abs_diff(expected) <= 10, "{turns}, not {expected}");
        is_about(turns(&pace, at(0), 10, true), 1_000);
        is_about(turns(&pace, at(10), 5, false), 500);
        is_about(turns(&pace, at(15), 1, true), 300);
        is_about(turns(&pace, at(16), 9, true), 1_200);
        is_about(turns(&pace, at(25), 10, true), 1_000);
    }

    #[test]
    fn turns_that_nobody_took_are_no_burst_and_each_is_given_once() {
        let (pace, begin) = (Pace::new(100), Instant::now());
        assert_eq!(pace.turn(begin, 1.0), begin);
        let later = begin + Duration::from_secs(5);
        let given: Vec<Instant> = (0..3).map(|_| pace.turn(later, 1.0)).collect();
        let gap = Duration::from_millis(10);
        assert_eq!(given, [later, later + gap, later + 2 * gap]);
    }

    #[test]
    fn what_was_done_before_the_load_does_not_count() {
        let (pace, begin) = (Pace::new(100), Instant::now());
        (0..500).for_each(|_| pace.ended(true));
        assert_eq!(turns(&pace, begin, 2, true).abs_diff(200) / 10, 0);
    }
}
