//! What must hold at every moment of every run, one rule per file.

mod acknowledged_writes;
mod applied_once;
mod equal_digests;
mod monotone_reads;
mod one_history;

pub use acknowledged_writes::AcknowledgedWrites;
pub use applied_once::AppliedOnce;
pub use equal_digests::EqualDigests;
pub use monotone_reads::MonotoneReads;
pub use one_history::OneHistory;

/// The elements of a list as clients write it.
fn elements(list: &[u8]) -> Vec<&str> {
    std::str::from_utf8(list)
        .expect("clients write text")
        .split_terminator(',')
        .collect()
}
