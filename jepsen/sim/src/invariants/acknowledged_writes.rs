//! No acknowledged write is lost.

use super::{Held, elements, holds};
use std::collections::BTreeMap;

/// The last value each client knows to be written; it writes them one after the other.
#[derive(Default)]
pub struct AcknowledgedWrites {
    last: BTreeMap<usize, u64>,
}

impl AcknowledgedWrites {
    /// `list` is what the answer showed of the client's own list.
    pub fn acknowledge(&mut self, client: usize, value: u64, list: &[u8]) -> Held {
        let shown = elements(list)?;
        let expected: Vec<String> = (1..=value).map(|value| value.to_string()).collect();
        holds!(
            shown == expected,
            "client {client}: the answer to {value} shows another history: {shown:?}"
        );
        self.last.insert(client, value);
        Ok(())
    }

    pub fn last(&self, client: usize) -> u64 {
        self.last.get(&client).copied().unwrap_or(0)
    }

    /// `list` is what a peer holds in the end.
    pub fn check(&self, client: usize, list: &[u8]) -> Held {
        let held = elements(list)?;
        for value in 1..=self.last(client) {
            let is_held = held.contains(&value.to_string().as_str());
            holds!(is_held, "client {client}: {value} was acknowledged and is lost: {held:?}");
        }
        Ok(())
    }
}
