//! A write that is sent again gets its first answer, whoever is asked.

use super::{Held, holds};

/// Compares what a client got first and when it asked again.
pub fn check_repeated(client: usize, first: &[u8], again: &[u8]) -> Held {
    holds!(
        first == again,
        "client {client} repeated a write and got another answer: {:?}, before {:?}",
        String::from_utf8_lossy(again),
        String::from_utf8_lossy(first)
    );
    Ok(())
}
