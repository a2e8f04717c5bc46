//! Logs the same trouble once a minute, with how often it came up meanwhile.

use crate::settings::COMPLAINT_INTERVAL;
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Mutex;
use tokio::time::Instant;

/// One per loop; kinds are few and fixed.
#[derive(Default)]
pub struct Complaints {
    kinds: Mutex<BTreeMap<&'static str, Kind>>,
}

struct Kind {
    logged: Instant,
    unsaid: u64,
}

impl Complaints {
    /// Logs an error of this kind, unless one was logged within the last minute.
    pub fn log(&self, kind: &'static str, error: &dyn Display) {
        if let Some(unsaid) = self.is_due(kind) {
            tracing::warn!(kind, %error, unsaid, "work of a job or on files did not succeed; it is tried again");
        }
    }

    /// How many were left out since the last one that was logged, if this one is to be logged.
    fn is_due(&self, kind: &'static str) -> Option<u64> {
        let mut kinds = self.kinds.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        let now = Instant::now();
        match kinds.get_mut(kind) {
            Some(known) if now.duration_since(known.logged) < COMPLAINT_INTERVAL => {
                known.unsaid += 1;
                None
            }
            known => {
                let unsaid = known.map_or(0, |known| known.unsaid);
                kinds.insert(kind, Kind { logged: now, unsaid: 0 });
                Some(unsaid)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn the_same_trouble_is_logged_once_a_minute_and_others_are_not_held_up() {
        let complaints = Complaints::default();
        assert_eq!(complaints.is_due("a"), Some(0));
        assert_eq!((complaints.is_due("a"), complaints.is_due("a")), (None, None));
        assert_eq!(complaints.is_due("b"), Some(0));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!((complaints.is_due("a"), complaints.is_due("a")), (Some(2), None));
    }
}
