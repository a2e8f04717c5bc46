//! Jobs this worker leaves to others for a while, because a task of theirs failed here just now.
//!
//! A machine that lacks a vault fails each task within milliseconds and would be the first to ask for it again, though other workers
//! could do it.

use crate::settings::{AVOID_FIRST, AVOID_LONGEST};
use quorate_state_machine::limits::MAX_AVOIDED_JOBS;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

struct Pause {
    until: Instant,
    length: Duration,
}

/// Each pause of a job is twice as long as the one before it; a task that succeeds ends them. A claim that waits looks here again, so
/// that it does not take what has failed meanwhile.
#[derive(Clone, Default)]
pub(crate) struct Avoided(Arc<Mutex<BTreeMap<u64, Pause>>>);

impl Avoided {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Pause>> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    pub(super) fn failed(&self, job: u64, now: Instant) {
        let mut jobs = self.lock();
        let length = match jobs.get(&job) {
            // Tasks that were under way together fail together.
            Some(pause) if pause.until > now => return,
            Some(pause) => (2 * pause.length).min(AVOID_LONGEST),
            None => AVOID_FIRST,
        };
        jobs.insert(
            job,
            Pause {
                until: now + length,
                length,
            },
        );
    }

    pub(super) fn succeeded(&self, job: u64) {
        self.lock().remove(&job);
    }

    /// Those to avoid now, and when the first of their pauses ends.
    pub(crate) fn at(&self, now: Instant) -> (Vec<u64>, Option<Instant>) {
        let mut jobs = self.lock();
        jobs.retain(|_, pause| now < pause.until + AVOID_LONGEST);
        let paused = || jobs.iter().filter(|(_, pause)| pause.until > now).take(MAX_AVOIDED_JOBS);
        (
            paused().map(|(job, _)| *job).collect(),
            paused().map(|(_, pause)| pause.until).min(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::super::Held;
    use super::*;
    use crate::work_source::Wanted;
    use quorate_wire::quorate::v1::TaskAssignment;
    use std::collections::BTreeSet;

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_until_a_task_succeeds() {
        let (avoided, mut now) = (Avoided::default(), Instant::now());
        for expected in [10, 20, 40, 60, 60] {
            avoided.failed(7, now);
            avoided.failed(7, now + Duration::from_secs(1));
            let (jobs, end) = avoided.at(now);
            assert_eq!((jobs, end), (vec![7], Some(now + Duration::from_secs(expected))));
            now += Duration::from_secs(expected);
            assert_eq!(avoided.at(now), (vec![], None));
        }
        avoided.succeeded(7);
        avoided.failed(7, now);
        assert_eq!(avoided.at(now).1, Some(now + AVOID_FIRST));
        now += AVOID_FIRST + AVOID_LONGEST;
        avoided.at(now);
        assert!(avoided.lock().is_empty(), "what nobody asks for any more is forgotten");
    }

    #[tokio::test]
    async fn what_failed_is_named_before_what_is_worked_on() {
        let (avoided, held, now) = (Avoided::default(), Held::default(), Instant::now());
        (100..150).for_each(|job| avoided.failed(job, now));
        for job in (0..40).chain([100]) {
            let abort = tokio::spawn(std::future::pending::<()>()).abort_handle();
            held.add((job, 1, 1), &TaskAssignment::default(), Arc::default(), abort);
        }
        let wanted = Wanted {
            worker: "w".to_owned(),
            tasks: 1,
            avoided,
            beside: None,
        };
        let named: BTreeSet<u64> = wanted.beside(&held).avoid_jobs().into_iter().collect();
        let expected: BTreeSet<u64> = (0..14).chain(100..150).collect();
        assert_eq!(
            (named.len(), &named),
            (MAX_AVOIDED_JOBS, &expected),
            "the first of those that are held fill it up"
        );
    }

    #[test]
    fn no_more_are_named_than_a_claim_may_name() {
        let (avoided, now) = (Avoided::default(), Instant::now());
        (0..100).for_each(|job| avoided.failed(job, now));
        assert_eq!(avoided.at(now).0.len(), MAX_AVOIDED_JOBS);
    }
}
