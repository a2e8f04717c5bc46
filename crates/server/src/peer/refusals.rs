//! Which refusals are worth a line in the log: a peer that is refused tries again twenty times a second.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The same refusal at the same address is told again after this long.
const AGAIN_AFTER: Duration = Duration::from_secs(60);
/// Addresses that are remembered; whoever scans ports from more of them makes the oldest be told anew.
const MAX_ADDRESSES: usize = 1_024;

/// What was told about each address.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<String, Told>>);

#[derive(Debug)]
struct Told {
    at: Instant,
    text: String,
    /// Since then.
    untold: u64,
}

impl Refusals {
    /// Takes note of a refusal. `Some` when it is to be told, with the number of equal ones that were not.
    pub fn note(&self, address: &str, text: &str) -> Option<u64> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if let Some(told) = all.get_mut(address) {
            if told.text == text && now < told.at + AGAIN_AFTER {
                told.untold += 1;
                return None;
            }
        } else if all.len() >= MAX_ADDRESSES {
            let oldest = all.iter().min_by_key(|(_, told)| told.at).map(|(address, _)| address.clone());
            oldest.and_then(|address| all.remove(&address));
        }
        let told = Told {
            at: now,
            text: text.to_owned(),
            untold: 0,
        };
        Some(all.insert(address.to_owned(), told).map_or(0, |before| before.untold))
    }

    /// The address is all right now: the next refusal is news.
    pub fn forget(&self, address: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(address);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_told_once_a_minute_for_each_address_and_text() {
        let refusals = Refusals::default();
        assert_eq!(refusals.note("a:1", "wrong secret"), Some(0));
        for _ in 0..20 {
            assert_eq!(refusals.note("a:1", "wrong secret"), None);
        }
        assert_eq!(refusals.note("b:1", "wrong secret"), Some(0), "another address");
        assert_eq!(refusals.note("a:1", "wrong cluster"), Some(20), "another reason");
        tokio::time::advance(AGAIN_AFTER).await;
        assert_eq!(refusals.note("a:1", "wrong cluster"), Some(0), "a minute later");
        refusals.forget("a:1");
        assert_eq!(refusals.note("a:1", "wrong cluster"), Some(0), "after it was all right");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_remembered_is_bounded() {
        let refusals = Refusals::default();
        for number in 0..3 * MAX_ADDRESSES {
            assert_eq!(refusals.note(&number.to_string(), "noise"), Some(0));
            tokio::time::advance(Duration::from_millis(1)).await;
        }
        assert_eq!(refusals.0.lock().expect("not poisoned").len(), MAX_ADDRESSES);
        assert_eq!(
            refusals.note(&(3 * MAX_ADDRESSES - 1).to_string(), "noise"),
            None,
            "the newest is remembered"
        );
    }
}
