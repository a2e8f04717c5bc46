//! openraft's type parameters as Quorate uses them.

use bytes::Bytes;
use quorate_state_machine::Answer;
use std::fmt;

/// A peer as the membership carries it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerNode {
    /// `host:port` of the peer protocol; a name is resolved anew at each connection.
    pub peer_address: String,
    /// `host:port` for clients.
    pub public_address: String,
    /// Data directory the id was given to: another one may not use it.
    pub incarnation: u64,
}

impl fmt::Display for PeerNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.peer_address)
    }
}

/// Packed commands of one entry ([`quorate_state_machine::frame`]).
#[derive(Clone, PartialEq, Eq)]
pub struct EntryData(pub Bytes);

impl fmt::Display for EntryData {
    // Lengths only: commands may carry what must not reach a log file.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commands({} bytes)", self.0.len())
    }
}

impl fmt::Debug for EntryData {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Answers to the commands of one entry, in their order.
#[derive(Clone, Debug, Default)]
pub struct EntryAnswers(pub Vec<Answer>);

openraft::declare_raft_types!(
    /// Type parameters of the Raft group.
    pub TypeConfig:
        D = EntryData,
        R = EntryAnswers,
        NodeId = u64,
        Node = PeerNode,
);

pub(crate) type LeaderIdOf = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub(crate) type LogId = openraft::alias::LogIdOf<TypeConfig>;
pub(crate) type Vote = openraft::alias::VoteOf<TypeConfig>;
pub(crate) type Entry = openraft::alias::EntryOf<TypeConfig>;
pub(crate) type Membership = openraft::Membership<u64, PeerNode>;
pub(crate) type StoredMembership = openraft::alias::StoredMembershipOf<TypeConfig>;
pub(crate) type SnapshotMeta = openraft::alias::SnapshotMetaOf<TypeConfig>;
