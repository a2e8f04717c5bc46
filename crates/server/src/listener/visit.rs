//! What one connection of the public port is at: its calls, and which of their answers wait for the caller to take them.
//!
//! HTTP does not mind a caller that reads nothing: it may ask for large answers, answer pings and leave the answers where they are, in
//! the peer's memory, each with a place among the calls in work. Whoever serves the connection asks here whether it is to end.

use super::sending::Sending;
use crate::app::Place;
use crate::limits::UNREAD_TIMEOUT;
use axum::body::Body;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// How often a connection is looked at.
const LOOK: Duration = Duration::from_secs(15);

/// One connection.
#[derive(Debug, Default)]
pub struct Visit {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Calls under way. Of one whose caller has to take the next piece of its answer: since when.
    calls: HashMap<u64, Option<Instant>>,
    next_call: u64,
}

impl State {
    fn has_unread(&self, now: Instant) -> bool {
        let mut waiting = self.calls.values().flatten();
        waiting.any(|since| now.saturating_duration_since(*since) >= UNREAD_TIMEOUT)
    }
}

impl Visit {
    /// Counts a call in.
    pub fn begin(self: &Arc<Self>) -> UnderWay {
        let mut state = self.state();
        let call = state.next_call;
        state.next_call += 1;
        state.calls.insert(call, None);
        UnderWay { visit: self.clone(), call }
    }

    /// Ends when the caller has left an answer where it is for too long.
    pub async fn unread(&self) {
        loop {
            let unread = self.state().has_unread(Instant::now());
            if unread {
                return;
            }
            sleep(LOOK).await;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere cannot have left a call half counted.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call under way, from its head until its answer has been sent, or nobody wants it any more.
#[derive(Debug)]
pub struct UnderWay {
    visit: Arc<Visit>,
    call: u64,
}

impl UnderWay {
    /// The answer, to be sent: with it the call goes on, and keeps its place.
    pub fn answered(self, mut answer: http::Response<Body>) -> http::Response<Sending> {
        let place = answer.extensions_mut().remove::<Place>();
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
        self.visit.state().calls.remove(&self.call);
    }
}
