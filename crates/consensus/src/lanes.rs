//! Request ids for calls that come without one, so that forwarding and retries inside the cluster are exactly-once.
//!
//! A peer opens sessions for itself, under ids that no caller may name. A session has 128 lanes, one per answer slot; a
//! call holds a lane for as long as it runs, and a lane's next number is its last plus 128. So two calls of a session never
//! share a slot, however they overtake each other.

use quorate_model::{RequestId, SessionId};
use quorate_state_machine::limits::SLOTS_PER_SESSION;
use std::sync::Mutex;

#[derive(Debug, Default)]
struct Free {
    lanes: Vec<RequestId>,
    /// Sessions open calls may still return lanes of; lanes of others are dropped.
    live: Vec<SessionId>,
}

/// Lanes that are not in use.
#[derive(Debug, Default)]
pub struct Lanes {
    free: Mutex<Free>,
}

impl Lanes {
    /// Adds the lanes of a session that was just opened.
    pub fn add_session(&self, session: SessionId) {
        let mut free = self.free.lock().expect("no panic while held");
        free.live.push(session);
        free.lanes
            .extend((1..=SLOTS_PER_SESSION).map(|number| RequestId { session, number }));
    }

    /// Takes a lane; `None` when all are in use and a further session is needed.
    pub fn take(&self) -> Option<RequestId> {
        self.free.lock().expect("no panic while held").lanes.pop()
    }

    pub fn has_free(&self) -> bool {
        !self.free.lock().expect("no panic while held").lanes.is_empty()
    }

    /// Gives a lane back after its call's outcome is known.
    pub fn give_back(&self, used: RequestId) {
        let mut free = self.free.lock().expect("no panic while held");
        if free.live.contains(&used.session) {
            free.lanes.push(RequestId {
                session: used.session,
                number: used.number + SLOTS_PER_SESSION,
            });
        }
    }

    /// Forgets a session that the cluster has ended.
    pub fn drop_session(&self, session: SessionId) {
        let mut free = self.free.lock().expect("no panic while held");
        free.live.retain(|live| *live != session);
        free.lanes.retain(|lane| lane.session != session);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_in_use_is_not_given_twice_and_comes_back_with_a_higher_number() {
        let lanes = Lanes::default();
        assert_eq!(lanes.take(), None);
        lanes.add_session(SessionId(9));
        let mut taken: Vec<RequestId> = std::iter::from_fn(|| lanes.take()).collect();
        assert_eq!(taken.len(), 128);
        taken.sort_by_key(|lane| lane.number % SLOTS_PER_SESSION);
        taken.dedup_by_key(|lane| lane.number % SLOTS_PER_SESSION);
        assert_eq!(taken.len(), 128, "every lane has a slot of its own");
        lanes.give_back(RequestId {
            session: SessionId(9),
            number: 5,
        });
        assert_eq!(
            lanes.take(),
            Some(RequestId {
                session: SessionId(9),
                number: 133
            })
        );
        lanes.drop_session(SessionId(9));
        lanes.give_back(RequestId {
            session: SessionId(9),
            number: 133,
        });
        assert_eq!(lanes.take(), None);
    }
}
