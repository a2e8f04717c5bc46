//! A session and its lanes: the identity under which the cluster remembers the answer to a write.
//!
//! The cluster keeps one answer in each of 128 slots; write n uses slot n mod 128. A lane is a slot in use by one write at a
//! time, whose next number is its last plus 128. So no write can push out the answer that a slower one still needs, and a
//! late copy of an abandoned write finds its number overtaken and is refused.

use quorate_model::{RequestId, SessionId};
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Answers the cluster remembers per session, hence writes in flight per session.
pub(crate) const SLOTS_PER_SESSION: u64 = 128;

/// An open session.
#[derive(Debug)]
pub(crate) struct Session {
    id: SessionId,
    /// Next number of each lane that is not in use.
    free: Mutex<Vec<u64>>,
    lanes: Arc<Semaphore>,
}

/// A lane in use. Given back when dropped, also by a caller that stops waiting.
#[derive(Debug)]
pub(crate) struct Lane {
    session: Arc<Session>,
    number: u64,
    // Dropped after `drop` has put the number back: a permit always stands for a number.
    _permit: OwnedSemaphorePermit,
}

impl Session {
    pub(crate) fn new(id: SessionId) -> Arc<Session> {
        // Reversed, so that a quiet client uses 1 and then its successors: one slot instead of all.
        let free = Mutex::new((1..=SLOTS_PER_SESSION).rev().collect());
        Arc::new(Session {
            id,
            free,
            lanes: Arc::new(Semaphore::new(SLOTS_PER_SESSION as usize)),
        })
    }

    pub(crate) fn id(&self) -> SessionId {
        self.id
    }

    /// Waits for a free lane.
    pub(crate) async fn lane(self: &Arc<Session>) -> Lane {
        let permit = self.lanes.clone().acquire_owned().await.expect("the semaphore is never closed");
        let number = self
            .free
            .lock()
            .expect("nothing panics while the lock is held")
            .pop()
            .expect("one number per permit");
        Lane {
            session: self.clone(),
            number,
            _permit: permit,
        }
    }
}

impl Lane {
    pub(crate) fn request_id(&self) -> RequestId {
        RequestId {
            session: self.session.id,
            number: self.number,
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        // A poisoned lock only loses the lane; a second panic here would end the process.
        if let Ok(mut free) = self.session.free.lock() {
            free.push(self.number + SLOTS_PER_SESSION);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[tokio::test]
    async fn lanes_in_use_have_slots_of_their_own_and_the_next_write_waits() {
        let session = Session::new(SessionId(7));
        let mut lanes = Vec::new();
        for _ in 0..SLOTS_PER_SESSION {
            lanes.push(session.lane().await);
        }
        let slots: HashSet<u64> = lanes.iter().map(|lane| lane.request_id().number % SLOTS_PER_SESSION).collect();
        assert_eq!(slots.len() as u64, SLOTS_PER_SESSION);
        assert_eq!(session.lanes.available_permits(), 0, "a further write waits");

        let freed = lanes.pop().expect("128 were taken");
        let number = freed.request_id().number;
        drop(freed);
        assert_eq!(
            session.lane().await.request_id(),
            RequestId {
                session: SessionId(7),
                number: number + SLOTS_PER_SESSION
            }
        );
    }

    #[tokio::test]
    async fn a_quiet_client_stays_in_one_lane() {
        let session = Session::new(SessionId(7));
        for round in 0..5 {
            assert_eq!(session.lane().await.request_id().number, 1 + round * SLOTS_PER_SESSION);
        }
    }
}
