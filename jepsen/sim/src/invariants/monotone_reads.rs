//! Linearizable reads of a list never go back: whoever begins to read sees all that any answer has shown before.

use super::{Held, holds};

/// The longest state of the shared list that was shown to anybody.
#[derive(Default)]
pub struct MonotoneReads {
    shown: Vec<u8>,
}

impl MonotoneReads {
    pub fn write_acknowledged(&mut self, value: &[u8]) -> Held {
        self.show(value)
    }

    /// What a read that begins now must at least see.
    pub fn begins(&self) -> Vec<u8> {
        self.shown.clone()
    }

    pub fn answered(&mut self, client: usize, floor: &[u8], value: &[u8]) -> Held {
        holds!(
            value.starts_with(floor),
            "client {client} read {}, before that somebody was shown {}",
            end_of(value),
            end_of(floor)
        );
        self.show(value)
    }

    /// The list only grows at its end, so any two answers are one the beginning of the other.
    fn show(&mut self, value: &[u8]) -> Held {
        let common = value.len().min(self.shown.len());
        holds!(
            value[..common] == self.shown[..common],
            "two answers show different histories: {} and {}",
            end_of(value),
            end_of(&self.shown)
        );
        if value.len() > self.shown.len() {
            self.shown = value.to_vec();
        }
        Ok(())
    }
}

/// The length of a list and its last elements: all of it says less.
fn end_of(value: &[u8]) -> String {
    const SHOWN: usize = 60;
    let end = String::from_utf8_lossy(&value[value.len().saturating_sub(SHOWN)..]);
    format!("{} bytes ending in {end:?}", value.len())
}
