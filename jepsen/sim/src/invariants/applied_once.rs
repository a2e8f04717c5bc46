//! No write is applied twice, however often it was sent, and all of a command is applied or nothing of it.

use super::{Held, elements, holds};
use std::collections::BTreeSet;

/// What the clients' own lists hold, to be compared with the shared one.
#[derive(Default)]
pub struct AppliedOnce {
    own: BTreeSet<String>,
}

impl AppliedOnce {
    pub fn check_own(&mut self, client: usize, list: &[u8]) -> Held {
        // A client writes the next value only after the last one was answered, so any other order is a repetition.
        for (position, element) in elements(list)?.into_iter().enumerate() {
            let expected = (position + 1).to_string();
            holds!(element == expected, "client {client}: element {position} of its list is {element}");
            self.own.insert(format!("{client}:{element}"));
        }
        Ok(())
    }

    pub fn check_shared(&self, list: &[u8]) -> Held {
        let shared = elements(list)?;
        let distinct: BTreeSet<String> = shared.iter().map(|element| (*element).to_owned()).collect();
        holds!(
            distinct.len() == shared.len(),
            "an element of the shared list is there twice: {shared:?}"
        );
        holds!(distinct == self.own, "a command was applied to one of its two lists");
        Ok(())
    }
}
