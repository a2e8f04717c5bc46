//! Numbers that must not be mixed up, each its own type.

use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! number_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

number_id! {
    /// Cluster-wide version of the state: every applied command that writes gets the next one (design.md 2).
    Revision
}
number_id! {
    /// A peer's number, given by the cluster once and never reused.
    PeerId
}
number_id! {
    /// The owner of versioned rows (an instance); never reused.
    ScopeId
}
number_id! {
    /// A client session: its writes are numbered and answered once. 0 is "no session".
    SessionId
}
number_id! {
    /// Milliseconds since 1970 as stamped by a leader; never goes back along the log.
    StampedTime
}

impl StampedTime {
    /// Whole seconds, as Doris's `ctime` and `mtime` carry them.
    pub fn seconds(self) -> i64 {
        (self.0 / 1000) as i64
    }
}

impl SessionId {
    /// Set in the ids of sessions that peers open for calls without a request id: no caller's session has such an id.
    const OF_PEER: u64 = 1 << 63;

    /// The id of a peer's own session.
    pub fn of_peer(number: u64) -> SessionId {
        SessionId(number | SessionId::OF_PEER)
    }

    pub fn is_of_peer(self) -> bool {
        self.0 & SessionId::OF_PEER != 0
    }
}

/// Which write of which session: the identity under which an answer is remembered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RequestId {
    pub session: SessionId,
    /// Counts from 1 within the session; 0 with session 0 means "not remembered".
    pub number: u64,
}

/// Random identity of one cluster, written by every peer before its first vote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ClusterId(pub u128);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Random identity of one data directory: an emptied disk comes back with another one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}
