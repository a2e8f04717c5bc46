//! Settings of a client, and the shapes its calls take and give.

use crate::connector::Connector;
use crate::tls::TlsOptions;
use quorate_wire::quorate::v1::{Attribute, Consistency};
use std::fmt;
use std::time::Duration;

/// Settings of a client. Start from `ClientOptions::default()`.
#[derive(Clone)]
pub struct ClientOptions {
    /// Token of the cluster; peers that listen beyond loopback ask for it. Default none.
    pub token: Option<String>,
    /// For endpoints that begin with `https://`.
    pub tls: TlsOptions,
    /// Opens the connections instead of TCP sockets of this process. Default none.
    pub connector: Option<Connector>,
    /// How long a call may take, all its tries together. Default 10 s; more than a year is a year.
    pub deadline: Duration,
    /// How long one try may take before another peer is asked. Default 2 s: several elections.
    pub attempt_timeout: Duration,
    /// How long a TCP connection may take to open, and the TLS handshake on it after that. Default 1 s.
    pub connect_timeout: Duration,
    /// First pause between tries; doubled each time. Default 10 ms.
    pub backoff_min: Duration,
    /// Longest pause between tries. Default 500 ms.
    pub backoff_max: Duration,
}

impl fmt::Debug for ClientOptions {
    // Without the token: options are printed, tokens never.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientOptions")
            .field("tls", &self.tls)
            .field("connector", &self.connector)
            .field("deadline", &self.deadline)
            .field("attempt_timeout", &self.attempt_timeout)
            .field("connect_timeout", &self.connect_timeout)
            .field("backoff_min", &self.backoff_min)
            .field("backoff_max", &self.backoff_max)
            .finish_non_exhaustive()
    }
}

impl Default for ClientOptions {
    fn default() -> Self {
        ClientOptions {
            token: None,
            tls: TlsOptions::default(),
            connector: None,
            deadline: Duration::from_secs(10),
            attempt_timeout: Duration::from_secs(2),
            connect_timeout: Duration::from_secs(1),
            backoff_min: Duration::from_millis(10),
            backoff_max: Duration::from_millis(500),
        }
    }
}

/// Which state a read may answer from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Read {
    pub(crate) consistency: Consistency,
    pub(crate) at_revision: u64,
    pub(crate) min_revision: Option<u64>,
}

impl Read {
    /// Sees every write that was acknowledged before the call.
    pub fn linearizable() -> Read {
        Read {
            consistency: Consistency::Linearizable,
            at_revision: 0,
            min_revision: None,
        }
    }

    /// Sees what the peer that answers has applied: fast, and possibly old.
    pub fn stale() -> Read {
        Read {
            consistency: Consistency::Stale,
            at_revision: 0,
            min_revision: None,
        }
    }

    /// Sees at least every write up to `revision`, whichever peer answers. A peer that is behind waits until it is not.
    pub fn at_least(revision: u64) -> Read {
        Read {
            consistency: Consistency::Stale,
            at_revision: 0,
            min_revision: Some(revision),
        }
    }

    /// Sees the state as of `revision`, exactly. Refused with `revision_collected` once nothing keeps that revision.
    pub fn at_revision(revision: u64) -> Read {
        // A peer that is behind must not answer from a state in which the revision has not happened yet.
        Read {
            consistency: Consistency::Stale,
            at_revision: revision,
            min_revision: Some(revision),
        }
    }
}

/// What a call answered, and the revision of the answer: of the write itself, or of the state a read saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer<T> {
    pub value: T,
    pub revision: u64,
}

/// Part of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct ListPage {
    pub attributes: Vec<Attribute>,
    /// Pass it on to get what follows; `None` on the last page.
    pub next: Option<String>,
}
