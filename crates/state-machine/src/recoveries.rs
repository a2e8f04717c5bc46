//! What a cluster knows of its recoveries (`commands/recover_cluster.rs`): nothing that a lost cluster has given out comes up again, though
//! the survivor may never have heard of it.
//!
//! | given out by the lost cluster | afterwards |
//! |---|---|
//! | ids of databases, collections, partitions, segments and jobs, scopes, and so the paths of files | go on [`RAISED_BY`] above |
//! | revisions, and so ids of snapshots and the paths of their files | go on [`RAISED_BY`] above; those that were passed over are refused ([`check_known`]) |
//! | sessions, pins of versions, numbers of condemned rows | go on [`RAISED_BY`] above |
//! | fences of claims, and so the paths of their files | go on above [`fences_above`] |
//! | ids of an instance's object stores and vaults | go on above [`vault_ids_above`] |
//! | pins of snapshots, suffixes of HDFS vaults | are random |
//! | ids of peers | go on after the highest that is known; the new cluster id keeps the lost peers out |
//!
//! A fence has the number of recoveries in its upper half. It belongs to one task, and tasks of jobs that the survivor knows, or plans
//! anew, have the numbers they had: so the next claim takes the step, not the recovery, which does not know of how many tasks.

use crate::command::{ApplyError, decode_record};
use crate::keys::{RecordTable, record_prefix};
use crate::record::Counters;
use crate::store::{Reader, StoreError, prefix_end};
use bytes::Bytes;
use quorate_model::{ClusterId, ErrorCode, MetaError, Revision};

/// How far revisions and ids are raised. The lost peers would have to have acknowledged this many writes that the survivor
/// knows nothing of before one of them could come up twice.
pub const RAISED_BY: u64 = 1 << 32;

/// How far ids of object stores and vaults are raised, which are counted in each instance and stay small.
const VAULT_IDS_RAISED_BY: u64 = 1 << 16;

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
    /// Revisions behind that one which nobody here wrote, and the parent may have. 0 of recoveries that were not counted.
    #[prost(uint64, tag = "5")]
    pub passed_over: u64,
}

fn all(reader: &dyn Reader) -> Result<Vec<Lineage>, StoreError> {
    let prefix = record_prefix(RecordTable::Lineage);
    let mut rows = reader.cursor(&prefix, &prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((key, value)) = rows.row() {
        found.push(decode_record(key, Bytes::copy_from_slice(value))?);
        rows.next()?;
    }
    Ok(found)
}

/// The clusters that this one was recovered from, the last one first or not.
pub fn former_clusters(reader: &dyn Reader) -> Result<Vec<ClusterId>, StoreError> {
    let parents = all(reader)?.into_iter().map(|lineage| <[u8; 16]>::try_from(lineage.parent));
    Ok(parents.flatten().map(|id| ClusterId(u128::from_be_bytes(id))).collect())
}

/// Refuses a revision that only a lost cluster can have given out: what it showed is not known, and a list that began there does not go
/// on here. A command must pass its own counters.
pub fn check_known(reader: &dyn Reader, counters: &Counters, revision: Revision) -> Result<(), ApplyError> {
    if counters.recoveries == 0 {
        return Ok(());
    }
    for lineage in all(reader)? {
        let last = lineage.parent_revision.saturating_add(lineage.passed_over);
        if lineage.parent_revision < revision.0 && revision.0 <= last {
            let message = format!(
                "revision {revision} is of the cluster that this one was recovered from, of which {} is the last that is known; \
                 read at one after {last}, and begin lists anew",
                lineage.parent_revision
            );
            return Err(MetaError::new(ErrorCode::RevisionCollected, message).into());
        }
    }
    Ok(())
}

/// No fence up to this one is given out any more, and no report under one counts.
pub fn fences_above(counters: &Counters) -> u64 {
    counters.recoveries.saturating_mul(RAISED_BY)
}

/// The first fence that the cluster which gave this one out can have given: none behind it is of an earlier cluster.
pub fn first_fence(fence: u64) -> u64 {
    fence.saturating_sub(1) / RAISED_BY * RAISED_BY + 1
}

/// No object store or vault gets an id up to this one any more.
pub fn vault_ids_above(counters: &Counters) -> u64 {
    counters.recoveries.saturating_mul(VAULT_IDS_RAISED_BY)
}
