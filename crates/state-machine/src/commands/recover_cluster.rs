//! Makes a new cluster of what one survivor holds, after the majority was lost: raises what is handed out beyond
//! everything the lost peers may have handed out ([`crate::recoveries`]), gives back what workers have claimed, and records where the new
//! cluster comes from.
//!
//! Workers in processes of their own outlive the lost peers, and the survivor may not know what became of their claims: one that was given
//! to somebody else would hold here again, though its files were given up; and one that the survivor never saw would come up again. So
//! every claim ends, as one that is not renewed does, and the next one has a fence that the lost cluster cannot have given out.
//!
//! It is the first entry behind the survivor's log, put there while no peer runs (`quorate recover`), so nobody proposes it.

use crate::command::{ApplyContext, ApplyError, Command};
use crate::jobs::{self, rows, tasks};
use crate::keys::{RecordTable, record_prefix};
use crate::limits;
use crate::record::TaskRecord;
use crate::recoveries::{Lineage, RAISED_BY};
use crate::store::StoreError;
use bytes::BufMut;
use quorate_model::MetaError;
use quorate_wire::quorate::v1::TaskState;

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
    /// Fences and ids of vaults are raised too, and revisions that are passed over are refused. Earlier builds wrote entries without it.
    #[prost(bool, tag = "4")]
    pub is_counted: bool,
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
            passed_over: if self.is_counted { RAISED_BY } else { 0 },
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
        counters.recoveries += u64::from(self.is_counted);
        // Ids of peers are few and typed by people: they go on after the highest that is known, under a new cluster id.
        counters.last_peer = counters.last_peer.max(self.highest_member);
        give_claims_back(context)?;
        context.put_record(key, &lineage);
        Ok(lineage)
    }
}

/// Opens the tasks that are claimed, the first [`limits::CLAIMS_PER_RECOVERY`] of them; the others wait for the end of their leases, which
/// nobody can renew. This is no attempt and no expiry: neither the task nor its worker has done anything wrong.
fn give_claims_back(context: &mut ApplyContext<'_, '_>) -> Result<(), StoreError> {
    let (reader, now_ms) = (context.reader(), context.now().0);
    let mut left = limits::CLAIMS_PER_RECOVERY;
    for (job, mut progress) in jobs::all_active(reader)? {
        if progress.tasks_claimed == 0 || left == 0 {
            continue;
        }
        for (number, before) in tasks::claimed(reader, job)?.into_iter().take(left) {
            left -= 1;
            let after = TaskRecord {
                state: TaskState::TaskOpen as i32,
                reason: format!("the cluster was recovered while worker {} had it", before.worker),
                not_before_ms: now_ms,
                files_done: 0,
                bytes_done: 0,
                ..before.clone()
            };
            tasks::change(context, job, number, &mut progress, &before, &after)?;
        }
        context.put_record(rows::active(job), &progress);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
