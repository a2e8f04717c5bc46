//! Why a log does not open. Each text names the file and the next step.

use std::io;
use std::path::{Path, PathBuf};

/// The way back for a peer that may have forgotten what it promised.
pub(crate) const REJOIN: &str = "to rejoin under a new id, move its data directory away and start it with --replace";

/// Opening with less than was acknowledged could undo committed writes, so every doubt ends here.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("{} cannot be accessed: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("log in {} is open in another process; stop that process first", dir.display())]
    Locked { dir: PathBuf },
    #[error(
        "acknowledged data is damaged: {} at offset {offset}: {reason}; this peer may have forgotten what it promised: {REJOIN}",
        file.display()
    )]
    Damaged { file: PathBuf, offset: u64, reason: String },
    #[error(
        "segment file {} is missing; if it cannot be put back, {REJOIN}",
        file.display()
    )]
    SegmentMissing { file: PathBuf },
    #[error(
        "{}: the log is missing; if it cannot be put back, {REJOIN}",
        dir.display()
    )]
    Missing { dir: PathBuf },
    #[error(
        "high-water file {} {problem}, so a lost end of the log could not be noticed; if it cannot be put back, {REJOIN}",
        file.display()
    )]
    HighWater { file: PathBuf, problem: String },
    #[error(
        "end of the log is lost: {} ends at offset {offset}, but the log was durable {expected}; {REJOIN}",
        file.display()
    )]
    LostTail { file: PathBuf, offset: u64, expected: String },
}

impl OpenError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> OpenError {
        move |source| OpenError::Io {
            path: path.to_path_buf(),
            source,
        }
    }
}
