//! What must hold at every moment of every run, one rule per file. A rule says what broke it; [`crate::world`] ends the run.

mod acknowledged_writes;
mod applied_once;
mod durable_majority;
mod equal_digests;
mod found_instance;
mod kept_promises;
mod linearizable_registers;
mod log_matching;
mod monotone_peers;
mod monotone_reads;
mod monotone_revisions;
mod one_history;
mod repeated_answers;

pub use acknowledged_writes::AcknowledgedWrites;
pub use applied_once::AppliedOnce;
pub use durable_majority::DurableMajority;
pub use equal_digests::EqualDigests;
pub use found_instance::check_found;
pub use kept_promises::{check_append, check_vote};
pub use linearizable_registers::{Floor as RegisterFloor, Registers, Seen as RegisterSeen};
pub use log_matching::LogMatching;
pub use monotone_peers::MonotonePeers;
pub use monotone_reads::MonotoneReads;
pub use monotone_revisions::MonotoneRevisions;
pub use one_history::OneHistory;
pub use repeated_answers::check_repeated;

/// Whether a rule holds; if not, what broke it.
pub type Held = Result<(), String>;

/// Fails with a text unless a condition holds.
macro_rules! holds {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err(format!($($text)+));
        }
    };
}
use holds;

/// The elements of a list as clients write it.
fn elements(list: &[u8]) -> Result<Vec<&str>, String> {
    let text = std::str::from_utf8(list).map_err(|_| format!("a list holds {list:02x?}, clients write text"))?;
    Ok(text.split_terminator(',').collect())
}
