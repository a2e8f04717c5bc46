//! What one connection of the public port is at: its calls, which of their answers wait for the caller to take them, and how long there
//! has been none.
//!
//! HTTP minds neither a caller that reads nothing nor one that asks for nothing. The first may leave large answers in the peer's memory,
//! each with a place among the calls in work; the second, as long as it answers the pings of HTTP/2, keeps a connection from others.
//! Whoever serves the connection asks here whether it is to end.
//!
//! ```text
//! calls --the last one ends--> idle --too long, or its place is wanted--> told to go --no call came--> gone
//!   ^                                                                                |
//!   +--------------------------------- a call that was on its way -------------------+
//! ```

use super::sending::Sending;
use crate::app::{LetIn, Place};
use crate::limits::{FAREWELL_TIME, IDLE_TIMEOUT, KNOWN_IDLE_TIMEOUT, KNOWN_SPARED_IDLE, MAX_CONNECTIONS, SPARED_IDLE, UNREAD_TIMEOUT};
use axum::body::Body;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(15);

/// Why a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// There is no call: the caller is told to go, and calls that are on their way are answered.
    Idle,
    /// It was told, and nothing came.
    Gone,
    /// An answer was left where it is.
    Unread,
}

/// One connection.
#[derive(Debug)]
pub struct Visit {
    state: Mutex<State>,
    /// Somebody wants this connection's place.
    wanted: Notify,
}

#[derive(Debug)]
struct State {
    /// Calls under way. Of one whose caller has to take the next piece of its answer: since when.
    calls: HashMap<u64, Option<Instant>>,
    next_call: u64,
    /// When the last call ended, or the connection began.
    idle_since: Instant,
    /// Whether one of its calls was let in: its caller has the token, or comes from where none is needed.
    is_known: bool,
    is_wanted: bool,
    /// When the caller was told to go.
    told_at: Option<Instant>,
}

impl State {
    fn over(&mut self, now: Instant) -> Option<End> {
        let lasts = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if self.calls.values().flatten().any(|since| lasts(*since, UNREAD_TIMEOUT)) {
            return Some(End::Unread);
        }
        if !self.calls.is_empty() {
            return None;
        }
        if let Some(told_at) = self.told_at {
            return (lasts(told_at, FAREWELL_TIME) && lasts(self.idle_since, FAREWELL_TIME)).then_some(End::Gone);
        }
        let limit = if self.is_known { KNOWN_IDLE_TIMEOUT } else { IDLE_TIMEOUT };
        if !self.is_wanted && !lasts(self.idle_since, limit) {
            return None;
        }
        self.told_at = Some(now);
        Some(End::Idle)
    }

    /// Since when its place could be another's.
    fn idle_since(&self) -> Option<Instant> {
        let is_idle = self.calls.is_empty() && !self.is_wanted && self.told_at.is_none();
        is_idle.then_some(self.idle_since)
    }
}

impl Visit {
    /// A connection that begins.
    pub fn new() -> Arc<Visit> {
        Arc::new(Visit {
            state: Mutex::new(State {
                calls: HashMap::new(),
                next_call: 0,
                idle_since: Instant::now(),
                is_known: false,
                is_wanted: false,
                told_at: None,
            }),
            wanted: Notify::new(),
        })
    }

    /// Counts a call in.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        let call = state.next_call;
        state.next_call += 1;
        state.calls.insert(call, None);
        state.is_wanted = false;
        UnderWay { visit: self.clone(), call }
    }

    /// Waits until the connection is to end, or to end otherwise than was told before.
    pub async fn over(&self) -> End {
        loop {
            let (end, was_told) = {
                let mut state = self.state();
                (state.over(Instant::now()), state.told_at.is_some())
            };
            if let Some(end) = end {
                return end;
            }
            let pause = if was_told { FAREWELL_TIME } else { LOOK };
            tokio::select! {
                () = sleep(pause) => {}
                () = self.wanted.notified() => {}
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot have left a call half counted.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every connection.
#[derive(Debug, Default)]
pub struct Visits(Mutex<Vec<Weak<Visit>>>);

impl Visits {
    /// A connection that begins.
    pub fn open(&self) -> Arc<Visit> {
        let visit = Visit::new();
        let mut all = self.all();
        // Half of them at least have ended then.
        if all.len() >= 2 * MAX_CONNECTIONS {
            all.retain(|visit| visit.strong_count() > 0);
        }
        all.push(Arc::downgrade(&visit));
        visit
    }

    /// Has the connection end that has been idle for longest, and was not just now; one whose caller is known only when there is no other.
    pub fn end_one(&self) {
        let now = Instant::now();
        let open: Vec<Arc<Visit>> = {
            let mut all = self.all();
            all.retain(|visit| visit.strong_count() > 0);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        let idle = open.iter().filter_map(|visit| {
            let state = visit.state();
            let since = state.idle_since()?;
            let spared = if state.is_known { KNOWN_SPARED_IDLE } else { SPARED_IDLE };
            let is_spared = now.saturating_duration_since(since) < spared;
            (!is_spared).then_some(((state.is_known, since), visit))
        });
        if let Some((_, visit)) = idle.min_by_key(|(order, _)| *order) {
            visit.state().is_wanted = true;
            visit.wanted.notify_one();
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Weak<Visit>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way, from its head until its answer has been sent, or nobody wants it any more.
#[derive(Debug)]
pub struct UnderWay {
    visit: Arc<Visit>,
    call: u64,
}

impl UnderWay {
    /// The answer, to be sent: with it the call goes on, and keeps its place. Whoever got one is known, and who was let in without one.
    pub fn answered(self, mut answer: http::Response<Body>) -> http::Response<Sending> {
        let place = answer.extensions_mut().remove::<Place>();
        let was_let_in = answer.extensions_mut().remove::<LetIn>().is_some();
        if place.is_some() || was_let_in {
            self.visit.state().is_known = true;
        }
        self.waits_for_caller();
        answer.map(|body| Sending::new(body, self, place))
    }

    /// The next step is the caller's.
    pub fn waits_for_caller(&self) {
        self.waits_since(Some(Instant::now()));
    }

    /// The next step is this peer's.
    pub fn is_at_work(&self) {
        self.waits_since(None);
    }

    fn waits_since(&self, since: Option<Instant>) {
        self.visit.state().calls.insert(self.call, since);
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.visit.state();
        state.calls.remove(&self.call);
        state.idle_since = Instant::now();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::FutureExt as _;
    use tokio::time::advance;

    /// How the connection ends at this moment.
    fn over(visit: &Visit) -> Option<End> {
        visit.over().now_or_never()
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_keeps_its_connection_and_one_that_comes_late_is_answered() {
        let visit = Visit::new();
        let call = visit.begin();
        advance(2 * KNOWN_IDLE_TIMEOUT).await;
        assert_eq!(over(&visit), None, "it is at work");
        drop(call);
        advance(IDLE_TIMEOUT - Duration::from_millis(1)).await;
        assert_eq!(over(&visit), None);
        advance(Duration::from_millis(1)).await;
        assert_eq!((over(&visit), over(&visit)), (Some(End::Idle), None));
        let late = visit.begin();
        advance(2 * FAREWELL_TIME).await;
        assert_eq!(over(&visit), None);
        drop(late);
        assert_eq!(over(&visit), None, "its answer may still be on its way");
        advance(FAREWELL_TIME).await;
        assert_eq!(over(&visit), Some(End::Gone));
    }

    #[tokio::test(start_paused = true)]
    async fn the_one_that_is_idle_for_longest_goes_first_and_strangers_before_others() {
        let visits = Visits::default();
        let known = visits.open();
        known.state().is_known = true;
        advance(Duration::from_millis(1)).await;
        let busy = visits.open();
        let _call = busy.begin();
        let gone = visits.open();
        drop(gone);
        let first = visits.open();
        advance(Duration::from_millis(1)).await;
        let second = visits.open();
        visits.end_one();
        let over_now = || [&known, &busy, &first, &second].map(|visit| over(visit));
        assert_eq!(over_now(), [None; 4], "none is idle for long enough");

        advance(SPARED_IDLE).await;
        let newcomer = visits.open();
        visits.end_one();
        assert_eq!(over_now(), [None, None, Some(End::Idle), None]);
        visits.end_one();
        assert_eq!(over_now(), [None, None, None, Some(End::Idle)]);
        visits.end_one();
        assert_eq!(
            (over_now(), over(&newcomer)),
            ([None; 4], None),
            "whoever was let in is spared for longer"
        );

        advance(KNOWN_SPARED_IDLE).await;
        visits.end_one();
        assert_eq!([over(&known), over(&newcomer)], [None, Some(End::Idle)]);
        visits.end_one();
        assert_eq!([over(&known), over(&newcomer)], [Some(End::Idle), None]);
        visits.end_one();
        assert_eq!(over(&busy), None, "nobody else is idle");
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_in_time_keeps_a_connection_whose_place_is_wanted() {
        let visits = Visits::default();
        let visit = visits.open();
        advance(SPARED_IDLE).await;
        visits.end_one();
        drop(visit.begin());
        assert_eq!(over(&visit), None);
    }

    #[test]
    fn connections_that_ended_are_forgotten() {
        let visits = Visits::default();
        let open = visits.open();
        for _ in 0..3 * MAX_CONNECTIONS {
            visits.open();
        }
        assert!(visits.all().len() <= 2 * MAX_CONNECTIONS);
        assert!(visits.all().iter().any(|visit| visit.ptr_eq(&Arc::downgrade(&open))));
    }
}
