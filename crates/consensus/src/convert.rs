//! openraft's types to and from what stands on disk (`storage::codec`) and on the wire (`quorate.peer`).

use crate::types::{Entry, EntryData, LeaderIdOf, LogId, Membership, PeerNode, StoredMembership, Vote};
use openraft::EntryPayload;
use quorate_storage::codec;
use quorate_wire::quorate::peer as wire;
use std::collections::{BTreeMap, BTreeSet};

/// A record of the disk or of another peer that does not make sense.
#[derive(Debug, thiserror::Error)]
#[error("malformed record: {0}")]
pub struct Malformed(pub String);

pub fn leader_to_disk(leader: &LeaderIdOf) -> codec::LeaderId {
    codec::LeaderId {
        term: leader.term,
        peer: leader.node_id,
    }
}

pub fn leader_from_disk(leader: codec::LeaderId) -> LeaderIdOf {
    LeaderIdOf {
        term: leader.term,
        node_id: leader.peer,
    }
}

pub fn log_id_to_disk(id: &LogId) -> codec::LogId {
    codec::LogId {
        leader: leader_to_disk(id.committed_leader_id()),
        index: id.index,
    }
}

pub fn log_id_from_disk(id: codec::LogId) -> LogId {
    LogId::new(leader_from_disk(id.leader), id.index)
}

pub fn vote_to_disk(vote: &Vote) -> codec::Vote {
    codec::Vote {
        leader: leader_to_disk(&vote.leader_id),
        committed: vote.committed,
    }
}

pub fn vote_from_disk(vote: codec::Vote) -> Vote {
    Vote {
        leader_id: leader_from_disk(vote.leader),
        committed: vote.committed,
    }
}

pub fn membership_to_disk(membership: &Membership) -> codec::Membership {
    codec::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|config| config.iter().copied().collect())
            .collect(),
        members: membership
            .nodes()
            .map(|(peer, node)| codec::Member {
                peer: *peer,
                peer_address: node.peer_address.clone(),
                public_address: node.public_address.clone(),
                incarnation: node.incarnation,
            })
            .collect(),
    }
}

/// An empty record is the membership of a peer that has not heard of any yet.
pub fn membership_from_disk(membership: &codec::Membership) -> Result<Membership, Malformed> {
    if membership.configs.iter().all(Vec::is_empty) {
        return Ok(Membership::default());
    }
    let configs: Vec<BTreeSet<u64>> = membership.configs.iter().map(|config| config.iter().copied().collect()).collect();
    let nodes: BTreeMap<u64, PeerNode> = membership
        .members
        .iter()
        .map(|member| {
            let node = PeerNode {
                peer_address: member.peer_address.clone(),
                public_address: member.public_address.clone(),
                incarnation: member.incarnation,
            };
            (member.peer, node)
        })
        .collect();
    Membership::new(configs, nodes).map_err(|error| Malformed(format!("membership: {error}")))
}

pub fn stored_membership_from_disk(stored: &codec::StoredMembership) -> Result<StoredMembership, Malformed> {
    Ok(StoredMembership::new(
        stored.log_id.map(log_id_from_disk),
        membership_from_disk(&stored.membership)?,
    ))
}

pub fn entry_to_disk(entry: Entry) -> codec::LogEntry {
    let payload = match entry.payload {
        EntryPayload::Blank => codec::Payload::Blank,
        EntryPayload::Normal(data) => codec::Payload::Commands(data.0),
        EntryPayload::Membership(membership) => codec::Payload::Membership(membership_to_disk(&membership)),
    };
    codec::LogEntry {
        log_id: log_id_to_disk(&entry.log_id),
        payload,
    }
}

pub fn entry_from_disk(entry: codec::LogEntry) -> Result<Entry, Malformed> {
    let payload = match entry.payload {
        codec::Payload::Blank => EntryPayload::Blank,
        codec::Payload::Commands(bytes) => EntryPayload::Normal(EntryData(bytes)),
        codec::Payload::Membership(membership) => EntryPayload::Membership(membership_from_disk(&membership)?),
    };
    Ok(Entry {
        log_id: log_id_from_disk(entry.log_id),
        payload,
    })
}

pub fn log_id_to_wire(id: &LogId) -> wire::LogId {
    let leader = id.committed_leader_id();
    wire::LogId {
        leader: Some(wire::LeaderId {
            term: leader.term,
            peer: leader.node_id,
        }),
        index: id.index,
    }
}

pub fn disk_log_id_to_wire(id: &codec::LogId) -> wire::LogId {
    log_id_to_wire(&log_id_from_disk(*id))
}

pub fn log_id_from_wire(id: wire::LogId) -> Result<LogId, Malformed> {
    let leader = id.leader.ok_or_else(|| Malformed("log id without leader".to_owned()))?;
    Ok(LogId::new(
        LeaderIdOf {
            term: leader.term,
            node_id: leader.peer,
        },
        id.index,
    ))
}

pub fn optional_log_id(id: Option<wire::LogId>) -> Result<Option<LogId>, Malformed> {
    id.map(log_id_from_wire).transpose()
}

pub fn vote_to_wire(vote: &Vote) -> wire::Vote {
    let leader = wire::LeaderId {
        term: vote.leader_id.term,
        peer: vote.leader_id.node_id,
    };
    wire::Vote {
        leader: Some(leader),
        committed: vote.committed,
    }
}

pub fn vote_from_wire(vote: Option<wire::Vote>) -> Result<Vote, Malformed> {
    let vote = vote.ok_or_else(|| Malformed("no vote".to_owned()))?;
    let leader = vote.leader.ok_or_else(|| Malformed("vote without leader".to_owned()))?;
    Ok(Vote {
        leader_id: LeaderIdOf {
            term: leader.term,
            node_id: leader.peer,
        },
        committed: vote.committed,
    })
}

pub fn entry_to_wire(entry: Entry) -> wire::Entry {
    let log_id = Some(log_id_to_wire(&entry.log_id));
    let payload = match entry.payload {
        EntryPayload::Blank => wire::entry::Payload::Blank(true),
        EntryPayload::Normal(data) => wire::entry::Payload::Commands(data.0),
        EntryPayload::Membership(membership) => {
            wire::entry::Payload::Membership(codec::encode_membership(&membership_to_disk(&membership)).into())
        }
    };
    wire::Entry {
        log_id,
        payload: Some(payload),
    }
}

pub fn entry_from_wire(entry: wire::Entry) -> Result<Entry, Malformed> {
    let log_id = log_id_from_wire(entry.log_id.ok_or_else(|| Malformed("entry without log id".to_owned()))?)?;
    let payload = match entry.payload.ok_or_else(|| Malformed("entry without payload".to_owned()))? {
        wire::entry::Payload::Blank(_) => EntryPayload::Blank,
        wire::entry::Payload::Commands(bytes) => EntryPayload::Normal(EntryData(bytes)),
        wire::entry::Payload::Membership(bytes) => {
            let membership = codec::decode_membership(&bytes).map_err(|error| Malformed(error.to_string()))?;
            EntryPayload::Membership(membership_from_disk(&membership)?)
        }
    };
    Ok(Entry { log_id, payload })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn membership() -> Membership {
        let nodes: BTreeMap<u64, PeerNode> = (1..=4)
            .map(|id| {
                (
                    id,
                    PeerNode {
                        peer_address: format!("host{id}:5001"),
                        public_address: format!("host{id}:5000"),
                        incarnation: id * 7,
                    },
                )
            })
            .collect();
        Membership::new(vec![BTreeSet::from([1, 2, 3]), BTreeSet::from([1, 2])], nodes).expect("valid")
    }

    #[test]
    fn entries_survive_disk_and_wire() {
        let log_id = LogId::new(LeaderIdOf { term: 3, node_id: 2 }, 17);
        let payloads = [
            EntryPayload::Blank,
            EntryPayload::Normal(EntryData(bytes::Bytes::from_static(b"abc"))),
            EntryPayload::Membership(membership()),
        ];
        for payload in payloads {
            let entry = Entry { log_id, payload };
            assert_eq!(entry_from_disk(entry_to_disk(entry.clone())).expect("well-formed"), entry);
            assert_eq!(entry_from_wire(entry_to_wire(entry.clone())).expect("well-formed"), entry);
        }
    }

    #[test]
    fn a_message_with_holes_is_refused() {
        assert!(vote_from_wire(None).is_err());
        assert!(entry_from_wire(wire::Entry::default()).is_err());
        assert!(log_id_from_wire(wire::LogId::default()).is_err());
    }
}
