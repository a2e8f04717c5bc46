//! Pauses between tries: doubled each time up to a bound, and spread so that clients do not come back together.

use crate::options::ClientOptions;
use std::time::Duration;

/// Pauses of one call.
pub(crate) struct Backoff {
    next: Duration,
    max: Duration,
}

impl Backoff {
    pub(crate) fn new(options: &ClientOptions) -> Backoff {
        Backoff {
            next: options.backoff_min,
            max: options.backoff_max,
        }
    }

    /// The next pause: between half and all of the current step.
    pub(crate) fn pause(&mut self) -> Duration {
        let step = self.next.min(self.max);
        self.next = step.saturating_mul(2).min(self.max);
        step / 2 + step.mul_f64(random_fraction() / 2.0)
    }
}

/// A number in [0, 1). Without a random source there is no spread, which slows a crowd but breaks nothing.
fn random_fraction() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / (f64::from(u32::MAX) + 1.0)
}

/// A number below `bound`, to start at.
pub(crate) fn random_below(bound: usize) -> usize {
    ((random_fraction() * bound as f64) as usize).min(bound.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_bound_and_never_leave_their_half() {
        let options = ClientOptions {
            backoff_min: Duration::from_millis(8),
            backoff_max: Duration::from_millis(40),
            ..ClientOptions::default()
        };
        let mut backoff = Backoff::new(&options);
        for step_ms in [8, 16, 32, 40, 40] {
            let pause = backoff.pause();
            assert!(
                pause >= Duration::from_millis(step_ms) / 2 && pause <= Duration::from_millis(step_ms),
                "{step_ms}: {pause:?}"
            );
        }
    }

    #[test]
    fn a_start_is_always_inside_the_list() {
        for bound in 1..20 {
            assert!(random_below(bound) < bound);
        }
    }
}
