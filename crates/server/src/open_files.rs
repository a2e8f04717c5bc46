//! How many files a peer may have open, and how many connections that leaves to callers.
//!
//! A connection is an open file to the system. A log that cannot open its next file ends the peer, so no number of callers may use all of
//! them up.

use crate::limits::{MAX_CONNECTIONS, MIN_OPEN_FILES};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Raises this process's limit to what the system allows it; refuses one that is too small to run with.
pub fn raise() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            ..limit
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, ?limit, "the limit of open files stays as it is");
        }
    }
    match getrlimit(Resource::Nofile).current {
        Some(files) if files < MIN_OPEN_FILES => Err(io::Error::other(format!(
            "this process may have {files} files open, and needs {MIN_OPEN_FILES}; raise the limit (`ulimit -n`, LimitNOFILE= of the service)"
        ))),
        _ => Ok(()),
    }
}

/// Connections that the public port takes at once.
pub fn connections() -> usize {
    connections_of(getrlimit(Resource::Nofile).current)
}

/// Half of the files are kept for log, state, the other peers and workers.
fn connections_of(files: Option<u64>) -> usize {
    let half = files.map_or(MAX_CONNECTIONS, |files| usize::try_from(files / 2).unwrap_or(MAX_CONNECTIONS));
    half.min(MAX_CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_get_at_most_half_of_the_files() {
        let of = |files| connections_of(Some(files));
        assert_eq!((of(1_024), of(20_000), of(u64::MAX)), (512, 10_000, MAX_CONNECTIONS));
        assert_eq!(connections_of(None), MAX_CONNECTIONS);
    }

    #[test]
    fn the_limit_is_as_high_as_it_may_be() {
        raise().expect("tests may open enough");
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
    }
}
