//! Gives out the next peer id. Ids are never reused: a peer whose disk was emptied comes back as somebody else.

use crate::command::{ApplyContext, ApplyError, Command};
use crate::keys::{RecordTable, record_prefix};
use bytes::BufMut;
use quorate_model::mutant;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AllocatePeer {
    /// Highest id in the membership when the command was made: the founders' ids were not given out here.
    #[prost(uint64, tag = "1")]
    pub highest_member: u64,
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AllocatePeerReply {
    #[prost(uint64, tag = "1")]
    pub peer: u64,
}

impl Command for AllocatePeer {
    type Reply = AllocatePeerReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AllocatePeerReply, ApplyError> {
        // A data directory that asks again, because the first answer was lost, gets the same id.
        let mut key = record_prefix(RecordTable::Peer);
        key.put_u64(self.incarnation);
        let key = key.freeze();
        if let Some(reply) = context.record::<AllocatePeerReply>(&key)? {
            return Ok(reply);
        }
        let highest = if mutant!("peer-id-reused") { 0 } else { context.counters.last_peer };
        let peer = highest.max(self.highest_member) + 1;
        context.counters.last_peer = peer;
        let reply = AllocatePeerReply { peer };
        context.put_record(key, &reply);
        Ok(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Bench;

    #[test]
    fn an_id_is_given_once_whoever_has_left_and_again_only_to_its_owner() {
        let mut bench = Bench::new();
        let mut give = |incarnation, highest_member| {
            let command = AllocatePeer {
                highest_member,
                incarnation,
            };
            bench.run(&command).expect("given").peer
        };
        assert_eq!(give(71, 3), 4);
        assert_eq!(give(71, 3), 4, "the answer was lost");
        // Peer 4 has left: the highest member is 3 again.
        assert_eq!(give(72, 3), 5);
        assert_eq!(give(73, 9), 10);
    }
}
