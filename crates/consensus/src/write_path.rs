//! Where the entries of the last seconds spent their time at this peer, for the line that a slow request logs.
//!
//! ```text
//!  packed ----> appended ----> synced ----> committed ----> applied
//!       append          sync        replicate        apply
//! ```
//!
//! One mark per step and entry, none per command. Entries are under way one at a time, so a call that waits long waits for
//! one of those that were slow meanwhile; which entry was its own need not be known to say what to look at.

use crate::steps::{Step, StepObserver, unobserved};
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;
use tokio::time::Instant;

/// Entries on their way that are followed; of more, the oldest are forgotten.
const MAX_OPEN: usize = 256;
/// Slow entries that are remembered.
const MAX_SLOW: usize = 64;
/// An entry that took less explains no slow request.
const REMEMBERED_FROM: Duration = Duration::from_millis(20);

/// Entries that were appended together, and when they reached each step.
#[derive(Clone, Copy, Debug)]
struct Marks {
    first: u64,
    last: u64,
    /// Only at the leader.
    packed: Option<Instant>,
    appended: Instant,
    synced: Option<Instant>,
    committed: Option<Instant>,
    applied: Option<Instant>,
}

impl Marks {
    fn began(&self) -> Instant {
        self.packed.unwrap_or(self.appended)
    }
}

/// How long one entry took, step by step. A step that is under way counts up to now; one not reached is zero.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EntryTimes {
    /// Index of the entry, the last if several were appended together.
    pub index: u64,
    /// From the begin of the call until the entry was packed.
    pub queue: Duration,
    /// From the packing to the log.
    pub append: Duration,
    /// From the log until the entry was durable here.
    pub sync: Duration,
    /// From then until a majority had it; zero when the others were faster.
    pub replicate: Duration,
    /// From then until its answers were there.
    pub apply: Duration,
}

#[derive(Debug, Default)]
struct Followed {
    /// When the entry was packed that is appended next.
    packed: Option<Instant>,
    open: VecDeque<Marks>,
    slow: VecDeque<Marks>,
}

/// Marks of the entries on their way, and of the slow ones among those before.
pub struct WritePath {
    followed: Mutex<Followed>,
    observer: StepObserver,
}

impl Default for WritePath {
    fn default() -> WritePath {
        WritePath::new(unobserved())
    }
}

impl WritePath {
    pub fn new(observer: StepObserver) -> WritePath {
        WritePath {
            followed: Mutex::default(),
            observer,
        }
    }

    fn followed(&self) -> MutexGuard<'_, Followed> {
        self.followed.lock().expect("no panic while held")
    }

    /// A step that is not one of an entry's marks has ended.
    pub fn took(&self, step: Step, time: Duration) {
        (self.observer)(step, time);
    }

    /// The proposer has packed an entry.
    pub fn packed(&self) {
        self.followed().packed = Some(Instant::now());
    }

    /// What was packed last got no place in the log, or no answer: what is appended next is something else.
    pub fn given_up(&self) {
        self.followed().packed = None;
    }

    /// Entries `first..=last` go to the log. What was followed from `first` on has been truncated.
    pub fn appended(&self, first: u64, last: u64, at: Instant) {
        let mut followed = self.followed();
        while followed.open.back().is_some_and(|marks| marks.last >= first) || followed.open.len() >= MAX_OPEN {
            match followed.open.back().is_some_and(|marks| marks.last >= first) {
                true => followed.open.pop_back(),
                false => followed.open.pop_front(),
            };
        }
        let packed = followed.packed.take();
        followed.open.push_back(Marks {
            first,
            last,
            packed,
            appended: at,
            synced: None,
            committed: None,
            applied: None,
        });
    }

    /// The append that began at `appended` and ended with entry `last` is durable here.
    pub fn synced(&self, last: u64, appended: Instant) {
        let now = Instant::now();
        self.took(Step::Sync, now.saturating_duration_since(appended));
        let mut followed = self.followed();
        let Followed { open, slow, .. } = &mut *followed;
        // A majority of others can be faster than this disk: then the entry is applied already.
        let found = open.iter_mut().chain(slow.iter_mut()).find(|marks| marks.last == last);
        if let Some(marks) = found {
            marks.synced.get_or_insert(now);
        }
    }

    /// Entries up to `index` are committed and go to the state.
    pub fn committed(&self, index: u64) {
        let now = Instant::now();
        for marks in self.followed().open.iter_mut().take_while(|marks| marks.first <= index) {
            marks.committed.get_or_insert(now);
        }
    }

    /// Entries up to `index` are applied.
    pub fn applied(&self, index: u64) {
        let now = Instant::now();
        let mut followed = self.followed();
        while followed.open.front().is_some_and(|marks| marks.last <= index)
            && let Some(mut marks) = followed.open.pop_front()
        {
            marks.applied = Some(now);
            self.observe(&marks);
            if now - marks.began() < REMEMBERED_FROM {
                continue;
            }
            if followed.slow.len() == MAX_SLOW {
                followed.slow.pop_front();
            }
            followed.slow.push_back(marks);
        }
    }

    fn observe(&self, marks: &Marks) {
        let (Some(committed), Some(applied)) = (marks.committed, marks.applied) else {
            return;
        };
        self.took(Step::Apply, applied.saturating_duration_since(committed));
        if let Some(packed) = marks.packed {
            self.took(Step::Append, marks.appended.saturating_duration_since(packed));
            let synced = marks.synced.unwrap_or(committed);
            self.took(Step::Replicate, committed.saturating_duration_since(synced));
        }
    }

    /// The entry that was under way longest between two moments; `None` if none was for long.
    pub fn slowest(&self, from: Instant, to: Instant) -> Option<EntryTimes> {
        let followed = self.followed();
        let shared = |marks: &Marks| {
            let end = marks.applied.unwrap_or(to).min(to);
            end.saturating_duration_since(marks.began().max(from))
        };
        let slowest = followed.slow.iter().chain(&followed.open).max_by_key(|marks| shared(marks))?;
        (shared(slowest) >= REMEMBERED_FROM).then(|| times(slowest, from, to))
    }
}

fn times(marks: &Marks, from: Instant, to: Instant) -> EntryTimes {
    let synced = marks.synced.unwrap_or(to);
    let committed = marks.committed.unwrap_or(to);
    EntryTimes {
        index: marks.last,
        queue: marks.began().saturating_duration_since(from),
        append: marks.appended - marks.began(),
        sync: synced.saturating_duration_since(marks.appended),
        replicate: committed.saturating_duration_since(synced),
        apply: marks.applied.unwrap_or(to).saturating_duration_since(committed),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    const SHORT: Duration = Duration::from_millis(1);
    const LONG: Duration = Duration::from_millis(900);

    /// One entry whose steps take as long as said.
    async fn entry(path: &WritePath, index: u64, [append, sync, replicate, apply]: [Duration; 4]) {
        path.packed();
        tokio::time::advance(append).await;
        path.appended(index, index, Instant::now());
        tokio::time::advance(sync).await;
        path.synced(index, Instant::now() - sync);
        tokio::time::advance(replicate).await;
        path.committed(index);
        tokio::time::advance(apply).await;
        path.applied(index);
    }

    #[tokio::test(start_paused = true)]
    async fn the_slow_step_of_the_slowest_entry_is_named() {
        for slow in 0..4 {
            let path = WritePath::default();
            let from = Instant::now();
            entry(&path, 1, [SHORT; 4]).await;
            let mut steps = [SHORT; 4];
            steps[slow] = LONG;
            entry(&path, 2, steps).await;
            entry(&path, 3, [SHORT; 4]).await;
            let times = path.slowest(from, Instant::now()).expect("a slow entry");
            assert_eq!((times.index, times.queue), (2, 4 * SHORT));
            assert_eq!([times.append, times.sync, times.replicate, times.apply], steps);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_step_is_observed_and_what_only_the_leader_knows_only_there() {
        let seen = Arc::<Mutex<Vec<(Step, Duration)>>>::default();
        let noted = seen.clone();
        let path = WritePath::new(Arc::new(move |step, time| {
            noted.lock().expect("no panic while held").push((step, time))
        }));
        let steps = [1, 2, 3, 4].map(Duration::from_millis);
        entry(&path, 1, steps).await;
        let taken = std::mem::take(&mut *seen.lock().expect("no panic while held"));
        let [append, sync, replicate, apply] = steps;
        let expected = [
            (Step::Sync, sync),
            (Step::Apply, apply),
            (Step::Append, append),
            (Step::Replicate, replicate),
        ];
        assert_eq!(taken, expected);

        // A follower hears of the commit with a later append, and a disk slower than a majority's is seen although the entry is applied.
        let appended = Instant::now();
        path.appended(2, 2, appended);
        path.committed(2);
        path.applied(2);
        tokio::time::advance(LONG).await;
        path.synced(2, appended);
        assert_eq!(
            *seen.lock().expect("no panic while held"),
            [(Step::Apply, Duration::ZERO), (Step::Sync, LONG)]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn fast_entries_and_those_of_another_time_explain_nothing() {
        let path = WritePath::default();
        entry(&path, 1, [LONG; 4]).await;
        let from = Instant::now();
        for index in 2..1_000 {
            entry(&path, index, [SHORT; 4]).await;
        }
        assert_eq!(path.slowest(from, Instant::now()), None);
        assert!(path.followed().open.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn an_entry_that_is_still_under_way_counts_up_to_now() {
        let path = WritePath::default();
        let from = Instant::now();
        path.packed();
        path.appended(1, 1, from);
        tokio::time::advance(SHORT).await;
        path.synced(1, from);
        tokio::time::advance(LONG).await;
        let times = path.slowest(from, Instant::now()).expect("no majority has it");
        assert_eq!((times.sync, times.replicate, times.apply), (SHORT, LONG, Duration::ZERO));
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_former_leader_packed_is_not_counted_to_a_later_entry() {
        let path = WritePath::default();
        path.packed();
        path.given_up();
        tokio::time::advance(LONG).await;
        let from = Instant::now();
        path.appended(1, 1, from);
        tokio::time::advance(LONG).await;
        path.synced(1, from);
        let times = path.slowest(from, Instant::now()).expect("a slow entry");
        assert_eq!((times.append, times.sync), (Duration::ZERO, LONG));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_truncated_or_never_ends_is_forgotten() {
        let path = WritePath::default();
        let from = Instant::now();
        path.appended(1, 5, from);
        tokio::time::advance(LONG).await;
        path.appended(3, 3, Instant::now());
        assert_eq!(path.followed().open.len(), 1);
        for index in 4..2_000 {
            path.appended(index, index, Instant::now());
        }
        assert_eq!(path.followed().open.len(), MAX_OPEN);
    }
}
