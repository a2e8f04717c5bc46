//! Starts the job that writes a snapshot's manifests, unless it has one, or has them all. Proposed by the leader's reconciler for every
//! snapshot that is committed; again when a job has failed, or when a compaction has replaced files that the manifests name (`jobs/rewriting.rs`).

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::jobs;
use crate::record::JobRecord;
use crate::{instances, snapshots};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::{JobKind, SnapshotState};

#[derive(Clone, PartialEq, prost::Message)]
pub struct StartManifests {
    #[prost(uint64, tag = "1")]
    pub scope: u64,
    #[prost(uint64, tag = "2")]
    pub revision: u64,
    /// Manifests that a job wrote which was started before this revision are written anew. Unset by builds that did not note the start.
    #[prost(uint64, optional, tag = "3")]
    pub since: Option<u64>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct StartManifestsReply {
    /// 0: none was needed, or there is no room for it now.
    #[prost(uint64, tag = "1")]
    pub job: u64,
}

impl Prepare for StartManifests {
    /// Made by the leader's background loop, not by a call of the public API.
    type Request = StartManifests;

    fn prepare(request: StartManifests, _context: &PrepareContext<'_>) -> Result<StartManifests, MetaError> {
        Ok(request)
    }
}

impl Command for StartManifests {
    type Reply = StartManifestsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<StartManifestsReply, ApplyError> {
        let (scope, revision) = (ScopeId(self.scope), Revision(self.revision));
        let found = snapshots::find(context.reader(), scope, revision)?;
        let Some(snapshot) = found.filter(|snapshot| snapshot.state() == SnapshotState::Committed && snapshot.record.doris.is_none()) else {
            return Ok(StartManifestsReply::default());
        };
        let record = snapshot.record.clone();
        let are_old = record.manifest_job != 0 && self.since.is_some_and(|since| record.manifests_since < since);
        if (record.manifests_complete && !are_old) || jobs::active_progress(context.reader(), record.manifest_job)?.is_some() {
            return Ok(StartManifestsReply::default());
        }
        let most = jobs::most_active(context.reader())?;
        let has_room = match self.since {
            Some(since) if since > 0 => jobs::has_room_for_rewriting(&context.counters, most),
            _ => jobs::has_room_for_manifests(&context.counters, most),
        };
        if !has_room {
            return Ok(StartManifestsReply::default());
        }
        let instance_id = instances::id_of_scope(context.reader(), scope)?;
        let definition = JobRecord {
            kind: JobKind::Manifests as i32,
            source_scope: scope.0,
            source_revision: revision.0,
            source_collection_id: record.collection_id,
            target_scope: scope.0,
            target_vault: record.vault,
            snapshot_revision: revision.0,
            snapshot_name: record.name,
            source_instance_id: instance_id.clone(),
            source_collection: record.collection.clone(),
            target_instance_id: instance_id,
            target_database: record.database,
            target_collection: record.collection,
            // Fills nothing, but is found by it.
            target_collection_id: record.collection_id,
            ..JobRecord::default()
        };
        let job = jobs::start_in_room(context, definition)?;
        match self.since {
            Some(_) => snapshots::set_manifest_job_since(context, snapshot, job)?,
            None => snapshots::set_manifest_job(context, scope, revision, job)?,
        }
        Ok(StartManifestsReply { job })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::CancelJob;
    use crate::jobs::tests::fixture::{self, COLLECTION_ID, REVISION, SOURCE_SCOPE};
    use crate::jobs::tests::invariants;
    use crate::limits;

    #[test]
    fn a_committed_snapshot_gets_one_job_at_a_time() {
        let mut bench = fixture::bench();
        let start = |revision| StartManifests {
            scope: SOURCE_SCOPE,
            revision,
            since: Some(0),
        };
        assert_eq!(bench.run(&start(REVISION + 5)).expect("looked at").job, 0, "no such snapshot");
        let job = bench.run(&start(REVISION)).expect("started").job;
        assert!(job > 0);
        let by_target = jobs::rows::by_target(SOURCE_SCOPE, COLLECTION_ID, job);
        assert!(bench.store.rows.contains_key(&by_target), "its collection finds it");
        assert_eq!(bench.run(&start(REVISION)).expect("looked at").job, 0, "it has one");
        let cancel = CancelJob {
            job,
            reason: String::new(),
        };
        bench.run(&cancel).expect("cancelled");
        assert!(bench.run(&start(REVISION)).expect("started again").job > job);
        invariants::check(&bench);
    }

    #[test]
    fn manifests_leave_half_of_the_room_to_other_jobs_and_wait_without_being_refused() {
        let mut bench = fixture::bench();
        let start = StartManifests {
            scope: SOURCE_SCOPE,
            revision: REVISION,
            since: None,
        };
        let full = limits::MAX_ACTIVE_JOBS / limits::PLACES_PER_MANIFESTS;
        bench.set_counters(|counters| (counters.active_jobs, counters.active_manifests) = (full, full));
        assert_eq!(bench.run(&start).expect("looked at").job, 0, "no room for manifests");
        fixture::start(&mut bench, fixture::definition(JobKind::Restore, 1)).expect("others have room");
        bench.set_counters(|counters| (counters.active_jobs, counters.active_manifests) = (limits::MAX_ACTIVE_JOBS, 0));
        assert_eq!(bench.run(&start).expect("looked at").job, 0, "no room at all");
        bench.set_counters(|counters| (counters.active_jobs, counters.active_manifests) = (full, full - 1));
        assert!(bench.run(&start).expect("started").job > 0);
        assert_eq!(bench.counters().active_manifests, full);
    }
}
