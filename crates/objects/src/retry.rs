//! Repeats what can pass, after growing pauses.

use crate::error::Result;
use std::time::Duration;

/// How often and how patiently a call is repeated. Only errors that pass by themselves within seconds are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Tries in all, the first included.
    pub attempts: u32,
    /// The pause after the first try; each further one is twice as long.
    pub first_pause: Duration,
    pub longest_pause: Duration,
}

impl Default for Patience {
    /// About half a minute in all: a store that restarts is waited for, one that is gone is reported to the job, which has its own pauses.
    fn default() -> Patience {
        Patience {
            attempts: 7,
            first_pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(10),
        }
    }
}

impl Patience {
    /// The pause after try number `attempt` (from 1), between half of and all of what doubling gives: many who failed together
    /// shall not come back together.
    fn pause(&self, attempt: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << attempt.saturating_sub(1).min(16));
        let whole = doubled.min(self.longest_pause);
        // Without randomness the pause is the whole one, which is only less spread.
        let random = getrandom::u32().unwrap_or(u32::MAX);
        whole.mul_f64(0.5 + 0.5 * f64::from(random) / f64::from(u32::MAX))
    }

    /// Calls `attempt` until it succeeds, fails for good, or patience ends; then the last error stands.
    pub(crate) async fn repeat<T, F>(&self, mut attempt: impl FnMut() -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        let mut number = 1;
        loop {
            match attempt().await {
                Err(error) if error.passes_soon() && number < self.attempts => {
                    let pause = self.pause(number);
                    tracing::debug!(%error, number, ?pause, "trying again");
                    tokio::time::sleep(pause).await;
                    number += 1;
                }
                outcome => return outcome,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{ObjectError, ObjectErrorKind};
    use std::cell::Cell;

    #[test]
    fn pauses_double_up_to_the_longest_and_are_spread() {
        let patience = Patience::default();
        for attempt in 1..20 {
            let whole = Duration::from_millis(200 * (1 << (attempt - 1).min(10))).min(patience.longest_pause);
            let pause = patience.pause(attempt);
            assert!(pause <= whole && pause >= whole / 2, "{attempt}: {pause:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_passes_is_repeated_and_only_so_often() {
        let calls_for = async |kind: ObjectErrorKind| {
            let calls = Cell::new(0);
            let outcome: Result<()> = Patience::default()
                .repeat(|| {
                    calls.set(calls.get() + 1);
                    async { Err(ObjectError::new(kind, "x")) }
                })
                .await;
            assert_eq!(outcome.expect_err("fails each time").kind, kind);
            calls.get()
        };
        assert_eq!(calls_for(ObjectErrorKind::StoreDown).await, 7);
        assert_eq!(calls_for(ObjectErrorKind::Busy).await, 7);
        assert_eq!(calls_for(ObjectErrorKind::DiskFull).await, 1);
        assert_eq!(calls_for(ObjectErrorKind::ChecksumMismatch).await, 1);
    }

    #[tokio::test(start_paused = true)]
    async fn success_after_a_failure_is_success() {
        let calls = Cell::new(0);
        let outcome = Patience::default()
            .repeat(|| {
                calls.set(calls.get() + 1);
                let number = calls.get();
                async move {
                    match number {
                        1 | 2 => Err(ObjectError::new(ObjectErrorKind::StoreDown, "x")),
                        number => Ok(number),
                    }
                }
            })
            .await;
        assert_eq!(outcome, Ok(3));
    }
}
