//! No acknowledged write is lost.

use super::elements;
use std::collections::BTreeMap;

/// The last value each client knows to be written; it writes them one after the other.
#[derive(Default)]
pub struct AcknowledgedWrites {
    last: BTreeMap<usize, u64>,
}

impl AcknowledgedWrites {
    /// `list` is what the answer showed of the client's own list.
    pub fn acknowledge(&mut self, client: usize, value: u64, list: &[u8]) {
        let shown: Vec<u64> = elements(list).iter().map(|element| element.parse().expect("a number")).collect();
        assert_eq!(
            shown,
            (1..=value).collect::<Vec<_>>(),
            "client {client}: the answer to {value} shows another history"
        );
        self.last.insert(client, value);
    }

    pub fn last(&self, client: usize) -> u64 {
        self.last.get(&client).copied().unwrap_or(0)
    }

    /// `list` is what a peer holds in the end.
    pub fn check(&self, client: usize, list: &[u8]) {
        let held = elements(list);
        for value in 1..=self.last(client) {
            assert!(
                held.contains(&value.to_string().as_str()),
                "client {client}: {value} was acknowledged and is lost: {held:?}"
            );
        }
    }
}
