//! Raft's own records as they stand on disk: vote, log id, entry. Declared here once; golden bytes hold their form.
//!
//! The consensus crate converts them from and to openraft's types; nothing here knows openraft.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// No record of Raft's own is larger: a membership of 9 peers takes under 2 KiB. Decoding never reserves more than this.
pub const RAFT_RECORD_BYTES_MAX: usize = 1 << 20;

/// Chosen once: changing it changes every file. The limit only bounds decoding.
const FORM: Configuration<LittleEndian, Varint, Limit<RAFT_RECORD_BYTES_MAX>> =
    bincode::config::standard().with_limit::<RAFT_RECORD_BYTES_MAX>();

/// Bytes that are not what they should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    #[error("{what} of {bytes} bytes cannot be decoded: {reason}")]
    Malformed { what: &'static str, bytes: usize, reason: String },
    #[error("{what} is followed by {extra} unexpected bytes")]
    TrailingBytes { what: &'static str, extra: usize },
}

/// A leader's identity: openraft's default kind, ordered by term, then peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LeaderId {
    pub term: u64,
    pub peer: u64,
}

/// Position and origin of one log entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct LogId {
    pub leader: LeaderId,
    pub index: u64,
}

/// A peer's vote. `committed` is true once a quorum granted it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Vote {
    pub leader: LeaderId,
    pub committed: bool,
}

/// A peer as the membership names it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub peer: u64,
    /// `host:port` of the peer protocol.
    pub peer_address: String,
    /// `host:port` clients use.
    pub public_address: String,
    /// Incarnation of its data directory.
    pub incarnation: u64,
}

/// A (possibly joint) membership: `configs` holds one or two sets of voters; `members` names voters and learners.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Membership {
    pub configs: Vec<Vec<u64>>,
    pub members: Vec<Member>,
}

/// A membership with the entry that carried it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMembership {
    pub log_id: Option<LogId>,
    pub membership: Membership,
}

/// What one log entry carries.
#[derive(Clone, PartialEq, Eq)]
pub enum Payload {
    /// A new leader's first entry.
    Blank,
    /// Packed commands; opaque here, the same bytes everywhere.
    Commands(Bytes),
    Membership(Membership),
}

impl std::fmt::Debug for Payload {
    // Lengths only: commands may carry what must not reach a log file.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Payload::Blank => f.write_str("blank"),
            Payload::Commands(bytes) => write!(f, "commands({} bytes)", bytes.len()),
            Payload::Membership(membership) => write!(f, "{membership:?}"),
        }
    }
}

/// One entry of the Raft log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogEntry {
    pub log_id: LogId,
    pub payload: Payload,
}

impl LogEntry {
    /// Bytes this entry counts for in batches and budgets.
    pub fn weight(&self) -> usize {
        64 + match &self.payload {
            Payload::Blank => 0,
            Payload::Commands(bytes) => bytes.len(),
            Payload::Membership(membership) => membership.members.len() * 128,
        }
    }
}

/// What stands before an entry's payload.
#[derive(Serialize, Deserialize)]
struct EntryHeader {
    log_id: LogId,
    kind: PayloadKind,
}

/// The order is the form on disk: variants are only ever added at the end.
#[derive(Serialize, Deserialize)]
enum PayloadKind {
    Blank,
    Commands,
    Membership,
}

pub fn encode_vote(vote: &Vote) -> Vec<u8> {
    encode(vote)
}

pub fn decode_vote(bytes: &[u8]) -> Result<Vote, CodecError> {
    decode("vote", bytes)
}

pub fn encode_log_id(log_id: &LogId) -> Vec<u8> {
    encode(log_id)
}

pub fn decode_log_id(bytes: &[u8]) -> Result<LogId, CodecError> {
    decode("log id", bytes)
}

/// For positions that may name nothing, like the end of an empty log.
pub fn encode_optional_log_id(log_id: &Option<LogId>) -> Vec<u8> {
    encode(log_id)
}

pub fn decode_optional_log_id(bytes: &[u8]) -> Result<Option<LogId>, CodecError> {
    decode("optional log id", bytes)
}

pub fn encode_membership(membership: &Membership) -> Vec<u8> {
    encode(membership)
}

pub fn decode_membership(bytes: &[u8]) -> Result<Membership, CodecError> {
    decode("membership", bytes)
}

pub fn encode_stored_membership(membership: &StoredMembership) -> Vec<u8> {
    encode(membership)
}

pub fn decode_stored_membership(bytes: &[u8]) -> Result<StoredMembership, CodecError> {
    decode("stored membership", bytes)
}

/// Appends header and payload to `buffer`. Commands are copied as they are, never encoded again.
pub fn encode_entry(entry: &LogEntry, buffer: &mut Vec<u8>) {
    let kind = match &entry.payload {
        Payload::Blank => PayloadKind::Blank,
        Payload::Commands(_) => PayloadKind::Commands,
        Payload::Membership(_) => PayloadKind::Membership,
    };
    buffer.extend_from_slice(&encode(&EntryHeader {
        log_id: entry.log_id,
        kind,
    }));
    match &entry.payload {
        Payload::Blank => {}
        Payload::Commands(bytes) => buffer.extend_from_slice(bytes),
        Payload::Membership(membership) => buffer.extend_from_slice(&encode(membership)),
    }
}

/// The commands of the returned entry share `bytes`.
pub fn decode_entry(bytes: &Bytes) -> Result<LogEntry, CodecError> {
    let (header, used) = decode_prefix::<EntryHeader>("entry header", bytes)?;
    let rest = bytes.slice(used..);
    let payload = match header.kind {
        PayloadKind::Commands => Payload::Commands(rest),
        PayloadKind::Membership => Payload::Membership(decode_membership(&rest)?),
        PayloadKind::Blank if rest.is_empty() => Payload::Blank,
        PayloadKind::Blank => {
            return Err(CodecError::TrailingBytes {
                what: "blank entry",
                extra: rest.len(),
            });
        }
    };
    Ok(LogEntry {
        log_id: header.log_id,
        payload,
    })
}

/// The log id alone, without touching the payload.
pub fn decode_entry_log_id(bytes: &[u8]) -> Result<LogId, CodecError> {
    decode_prefix::<EntryHeader>("entry header", bytes).map(|(header, _)| header.log_id)
}

pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Only sequences of unknown length and failing writers can fail; our records have neither.
    bincode::serde::encode_to_vec(value, bincode::config::standard()).expect("a derived record always encodes into memory")
}

pub(crate) fn decode<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T, CodecError> {
    let (value, used) = decode_prefix(what, bytes)?;
    match bytes.len() - used {
        0 => Ok(value),
        extra => Err(CodecError::TrailingBytes { what, extra }),
    }
}

fn decode_prefix<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<(T, usize), CodecError> {
    bincode::serde::decode_from_slice(bytes, FORM).map_err(|error| CodecError::Malformed {
        what,
        bytes: bytes.len(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests;
