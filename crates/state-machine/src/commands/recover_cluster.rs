//! Makes a new cluster of what one survivor holds, after the majority was lost: raises what is handed out beyond
//! everything the lost peers may have handed out, gives back what workers have claimed, and records where the new cluster comes from.
//!
//! Workers in processes of their own outlive the lost peers, and the survivor may not know what became of their claims: one that was given
//! to somebody else would hold here again, though its files were given up. So every claim ends, as one that is not renewed does.
//!
//! It is the first entry behind the survivor's log, put there while no peer runs (`quorate recover`), so nobody proposes it.

use crate::command::{ApplyContext, ApplyError, Command, decode_record};
use crate::jobs::{self, rows, tasks};
use crate::keys::{RecordTable, record_prefix};
use crate::limits;
use crate::record::TaskRecord;
use crate::store::{Reader, StoreError, prefix_end};
use bytes::{BufMut, Bytes};
use quorate_model::{ClusterId, MetaError};
use quorate_wire::quorate::v1::TaskState;

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
        give_claims_back(context)?;
        context.put_record(key, &lineage);
        Ok(lineage)
    }
}

/// Opens the tasks that are claimed, the first [`limits::CLAIMS_PER_RECOVERY`] of them; the others wait for the end of their leases. This is
/// no attempt and no expiry: neither the task nor its worker has done anything wrong.
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
mod tests {
    use super::*;
    use crate::commands::{AllocatePeer, ClaimTasks, CompleteTask, OpenSession, RenewClaims};
    use crate::jobs::tests::{fixture, invariants};
    use crate::record::StatsRecord;
    use crate::testing::Bench;
    use prost::Message;
    use quorate_wire::quorate::v1::{ClaimProgress, JobKind, TaskAssignment};

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

    fn claim(bench: &mut Bench, worker: &str, max: u32) -> Vec<TaskAssignment> {
        let claim = ClaimTasks {
            worker: worker.to_owned(),
            max,
            ..ClaimTasks::default()
        };
        bench.run(&claim).expect("claimed").tasks
    }

    /// A restore whose tasks are planned.
    fn planned_restore() -> (Bench, u64) {
        let mut bench = fixture::bench();
        let job = fixture::start(&mut bench, fixture::definition(JobKind::Restore, 1)).expect("started");
        fixture::plan_all(&mut bench, job);
        (bench, job)
    }

    #[test]
    fn a_worker_of_the_lost_cluster_reports_in_vain() {
        let (mut bench, job) = planned_restore();
        let held = claim(&mut bench, "old", 2);
        assert_eq!(held.len(), 2);
        bench.run(&recover()).expect("recovered");
        invariants::check(&bench);
        for task in &held {
            let record = tasks::find(&bench.store, job, task.task).expect("reads").expect("planned");
            assert_eq!((record.state(), record.fence), (TaskState::TaskOpen, task.fence));
            assert_eq!((record.attempts, record.expirations), (0, 0), "nobody has done anything wrong");
            assert_eq!(record.reason, "the cluster was recovered while worker old had it");
            let done = CompleteTask {
                job,
                task: task.task,
                fence: task.fence,
                files: task.files,
                bytes: task.bytes,
                ..CompleteTask::default()
            };
            assert!(!bench.run(&done).expect("answered").accepted);
        }
        let claims: Vec<ClaimProgress> = held
            .iter()
            .map(|task| ClaimProgress {
                job_id: job,
                task: task.task,
                fence: task.fence,
                ..ClaimProgress::default()
            })
            .collect();
        let renewal = RenewClaims {
            worker: "old".to_owned(),
            claims: claims.clone(),
        };
        assert_eq!(bench.run(&renewal).expect("answered").lost, claims);

        let again = claim(&mut bench, "new", 16);
        assert_eq!(again.len() as u64, fixture::SEGMENTS, "each segment is a task of its own");
        for task in &held {
            let newer = again.iter().find(|newer| newer.task == task.task).expect("it is open");
            assert_eq!(newer.fence, task.fence + 1);
            assert_ne!(newer.target_path, task.target_path);
        }
        let counters = bench.counters();
        bench.run(&recover()).expect("answered");
        assert_eq!(
            bench.counters().revision,
            counters.revision,
            "a repetition takes nothing from the new workers"
        );
        invariants::check(&bench);
    }

    #[test]
    fn more_claims_than_one_command_can_give_back_do_not_hold_up_a_recovery() {
        let (mut bench, job) = planned_restore();
        let key: Bytes = vec![b'k'; limits::MAX_LISTED_KEY_BYTES].into();
        let task = TaskRecord {
            state: TaskState::TaskClaimed as i32,
            first_key: key.clone(),
            last_key: key,
            expected: Some(StatsRecord::default()),
            worker: "w".repeat(limits::MAX_NAME_BYTES),
            fence: 1,
            ..TaskRecord::default()
        };
        let further = 3;
        let claims = limits::CLAIMS_PER_RECOVERY as u32 + further;
        let mut progress = jobs::active_progress(&bench.store, job).expect("reads").expect("active");
        for number in progress.tasks_planned + 1..=progress.tasks_planned + claims {
            let record = task.encode_to_vec();
            bench.store.rows.insert(rows::task(job, number), record.into());
            bench.store.rows.insert(rows::claimed(job, number), Bytes::new());
        }
        progress.tasks_planned += claims;
        progress.tasks_claimed = claims;
        bench.store.rows.insert(rows::active(job), progress.encode_to_vec().into());
        bench.adopt_rows();
        invariants::check(&bench);

        bench.run(&recover()).expect("recovered");
        invariants::check(&bench);
        assert_eq!(tasks::claimed(&bench.store, job).expect("reads").len() as u32, further);
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
