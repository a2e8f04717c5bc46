//! Makes a new cluster of what one survivor holds, after the majority was lost: raises what is handed out beyond
//! everything the lost peers may have handed out, and records where the new cluster comes from.
//!
//! It is the first entry behind the survivor's log, put there while no peer runs (`quorate recover`), so nobody proposes it.

use crate::command::{ApplyContext, ApplyError, Command, decode_record};
use crate::keys::{RecordTable, record_prefix};
use crate::store::{Reader, StoreError, prefix_end};
use bytes::{BufMut, Bytes};
use quorate_model::{ClusterId, MetaError};

/// How far revisions and ids are raised. The lost peers would have to have acknowledged this many writes that the survivor
/// knows nothing of before one of them could come up twice.
pub const RAISED_BY: u64 = 1 << 32;

#[derive(Clone, PartialEq, prost::Message)]
pub struct RecoverCluster {
    /// The new cluster, 16 bytes, big-endian.
    #[prost(bytes = "vec", tag = "1")]
    pub cluster: Vec<u8>,
    /// The cluster that lost its majority.
    #[prost(bytes = "vec", tag = "2")]
    pub parent: Vec<u8>,
    /// Highest peer id in the parent's membership: founders' ids were not given out by the log.
    #[prost(uint64, tag = "3")]
    pub highest_member: u64,
}

/// What the state remembers of a recovery; also the reply.
#[derive(Clone, PartialEq, prost::Message)]
pub struct Lineage {
    #[prost(bytes = "vec", tag = "1")]
    pub cluster: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    pub parent: Vec<u8>,
    /// The last revision of the parent that is in the new cluster.
    #[prost(uint64, tag = "3")]
    pub parent_revision: u64,
    #[prost(uint64, tag = "4")]
    pub recovered_ms: u64,
}

/// The clusters that this one was recovered from, the last one first or not.
pub fn former_clusters(reader: &dyn Reader) -> Result<Vec<ClusterId>, StoreError> {
    let prefix = record_prefix(RecordTable::Lineage);
    let mut rows = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((key, value)) = rows.row() {
        let lineage: Lineage = decode_record(key, Bytes::copy_from_slice(value))?;
        found.extend(<[u8; 16]>::try_from(lineage.parent).map(|id| ClusterId(u128::from_be_bytes(id))));
        rows.next()?;
    }
    Ok(found)
}

impl Command for RecoverCluster {
    type Reply = Lineage;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<Lineage, ApplyError> {
        let mut key = record_prefix(RecordTable::Lineage);
        key.put_slice(&self.cluster);
        let key = key.freeze();
        if let Some(lineage) = context.record::<Lineage>(&key)? {
            return Ok(lineage);
        }
        let lineage = Lineage {
            cluster: self.cluster.clone(),
            parent: self.parent.clone(),
            parent_revision: context.counters.revision,
            recovered_ms: context.now().0,
        };
        let full = || MetaError::internal("a counter cannot be raised any further");
        let counters = &mut context.counters;
        for counter in [
            &mut counters.revision,
            &mut counters.next_scope,
            &mut counters.next_session,
            &mut counters.next_pin,
            &mut counters.last_object,
            &mut counters.last_condemned,
        ] {
            *counter = counter.checked_add(RAISED_BY).ok_or_else(full)?;
        }
        // Ids of peers are few and typed by people: they go on after the highest that is known, under a new cluster id.
        counters.last_peer = counters.last_peer.max(self.highest_member);
        context.put_record(key, &lineage);
        Ok(lineage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{AllocatePeer, OpenSession};
    use crate::testing::Bench;

    fn recover() -> RecoverCluster {
        RecoverCluster {
            cluster: vec![2; 16],
            parent: vec![1; 16],
            highest_member: 3,
        }
    }

    #[test]
    fn everything_handed_out_afterwards_is_beyond_what_may_have_been_before() {
        let mut bench = Bench::new();
        let before = bench.counters();
        let lineage = bench.run(&recover()).expect("recovered");
        assert_eq!((lineage.parent_revision, lineage.recovered_ms), (before.revision, bench.now_ms));
        let after = bench.counters();
        assert_eq!(after.revision, before.revision + RAISED_BY + 1, "its own row is the next change");
        assert_eq!(after.next_scope, before.next_scope + RAISED_BY);
        assert_eq!(after.next_pin, before.next_pin + RAISED_BY);
        let session = bench.run(&OpenSession::default()).expect("opened").session;
        assert!(session >= RAISED_BY, "{session}");
        let peer = bench.run(&AllocatePeer {
            highest_member: 1,
            incarnation: 7,
        });
        assert_eq!(peer.expect("given").peer, 4, "the parent had three");
        bench.check_content();
    }

    #[test]
    fn a_second_one_for_the_same_cluster_changes_nothing_and_one_for_the_next_does() {
        let mut bench = Bench::new();
        let first = bench.run(&recover()).expect("recovered");
        let counters = bench.counters();
        assert_eq!(bench.run(&recover()).expect("answered"), first);
        assert_eq!(bench.counters().revision, counters.revision);
        let next = RecoverCluster {
            cluster: vec![3; 16],
            parent: vec![2; 16],
            highest_member: 4,
        };
        bench.run(&next).expect("recovered");
        assert_eq!(bench.counters().revision, counters.revision + RAISED_BY + 1);
    }

    #[test]
    fn a_counter_at_its_end_is_refused_and_nothing_is_raised() {
        let mut bench = Bench::new();
        bench.set_counters(|counters| counters.next_pin = u64::MAX);
        let before = bench.counters();
        bench.refusal(&recover());
        assert_eq!(bench.counters().revision, before.revision);
    }
}
