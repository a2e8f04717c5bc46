//! Starts the job that makes a clone's inherited rows its own, so that it can be decoupled: Doris's `compact_snapshot`.
//!
//! UNKNOWN becomes DOING here, DONE when the job is published; a job that fails puts it back to UNKNOWN, and the next one fills
//! another base layer. Files are copied into the clone's store if it has one of its own; a clone that shares its source's stores
//! goes on to name the source's files, and holds them, unless the caller wants copies.
//!
//! A source that is a clone itself is compacted first, unless it was dropped: then it is read through.

use crate::catalog::storage;
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Instance};
use crate::record::{JobRecord, ParentRecord};
use crate::store::{Reader, StoreError};
use crate::versioned::lineage::{parent, parent_key};
use crate::{clones, instance_snapshots, jobs, limits, text_bounds};
use quorate_model::{MetaError, ScopeId};
use quorate_wire::doris::{CompactSnapshotRequest, SnapshotCompactStatus};
use quorate_wire::quorate::v1::{CompactCloneRequest, JobKind};

/// What a caller is told whose clone gets no copies.
pub const HOLDS_FILES: &str = "no files are copied: the clone goes on using those of its source, which are kept until the clone is dropped";

#[derive(Clone, PartialEq, prost::Message)]
pub struct CompactSnapshot {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    /// Says whose instance it is when the id does not.
    #[prost(string, tag = "2")]
    pub cloud_unique_id: String,
    /// Unset: as the clone's stores suggest.
    #[prost(bool, optional, tag = "3")]
    pub keep_files: Option<bool>,
    /// Asked for through the native API.
    #[prost(bool, tag = "4")]
    pub native: bool,
    /// The job ends when manifests are written anew that name files it replaced. Builds before this field left them.
    #[prost(bool, tag = "5")]
    pub rewrites_manifests: bool,
    /// Manifests that the compaction of its source has to write anew, or has left when that was dropped, are minded. Builds before this
    /// field minded its own copies only.
    #[prost(bool, tag = "6")]
    pub minds_source: bool,
    /// Collections in the base layer name the clone's own place, if it has one. Builds before this field left them what the source named.
    #[prost(bool, tag = "7")]
    pub names_own_places: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CompactSnapshotReply {
    /// The job that is at it, or was.
    #[prost(uint64, tag = "1")]
    pub job: u64,
    /// It copies no files: the clone goes on using those of its source.
    #[prost(bool, tag = "2")]
    pub holds_files: bool,
}

/// The parameters of each front.
#[derive(Clone, Debug, PartialEq)]
pub enum CompactSnapshotCall {
    Http { instance_id: String },
    Grpc(CompactSnapshotRequest),
    Native(CompactCloneRequest),
}

impl Prepare for CompactSnapshot {
    type Request = CompactSnapshotCall;

    fn prepare(call: CompactSnapshotCall, _: &PrepareContext<'_>) -> Result<CompactSnapshot, MetaError> {
        let mut command = match call {
            CompactSnapshotCall::Http { instance_id } => CompactSnapshot {
                instance_id,
                ..CompactSnapshot::default()
            },
            CompactSnapshotCall::Grpc(request) => CompactSnapshot {
                instance_id: request.instance_id.unwrap_or_default(),
                cloud_unique_id: request.cloud_unique_id.unwrap_or_default(),
                ..CompactSnapshot::default()
            },
            CompactSnapshotCall::Native(request) => CompactSnapshot {
                instance_id: request.instance_id,
                keep_files: request.keep_files,
                native: true,
                ..CompactSnapshot::default()
            },
        };
        (command.rewrites_manifests, command.minds_source, command.names_own_places) = (true, true, true);
        text_bounds::check_text("instance_id", &command.instance_id)?;
        text_bounds::check_text("cloud_unique_id", &command.cloud_unique_id)?;
        if command.instance_id.is_empty() && command.cloud_unique_id.is_empty() {
            return Err(MetaError::invalid("instance_id is empty"));
        }
        Ok(command)
    }

    fn note(reply: &CompactSnapshotReply) -> &'static str {
        match reply.holds_files {
            true => HOLDS_FILES,
            false => "",
        }
    }
}

impl Command for CompactSnapshot {
    type Reply = CompactSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CompactSnapshotReply, ApplyError> {
        use SnapshotCompactStatus::{SnapshotCompactDoing, SnapshotCompactUnknown};
        let reader = context.reader();
        let instance_id = match self.instance_id.as_str() {
            "" => instances::resolve(reader, &self.cloud_unique_id)?,
            instance_id => instance_id.to_owned(),
        };
        if instance_id.is_empty() {
            return Err(MetaError::invalid("empty instance_id").into());
        }
        let found = instances::find(reader, &instance_id)?.filter(|instance| !instance.is_dropped());
        let Some(mut instance) = found else {
            return Err(clones::no_such_instance(&instance_id, self.is_native()).into());
        };
        let Some(record) = parent(reader, instance.scope)? else {
            return Err(clones::no_clone(&instance_id, "compact", self.is_native()).into());
        };
        if instance.info.snapshot_compact_status() != SnapshotCompactUnknown {
            return started(reader, &record);
        }
        if let Some(source) = clones::to_compact_first(reader, &record)? {
            let source = source.info.instance_id();
            let next = match self.is_native() {
                true => format!("compact that first (`quorate instance compact {source} --wait`)"),
                false => "compact it first".to_owned(),
            };
            let text = format!("source instance {source} is a clone that has not been compacted; {next}");
            return Err(MetaError::invalid(text).into());
        }
        if self.minds_source
            && let Some(source) = clones::to_wait_for(reader, &record)?
        {
            return Err(self.not_yet(reader, &source)?.into());
        }
        let reply = self.start(context, &instance, &record)?;
        instance.info.set_snapshot_compact_status(SnapshotCompactDoing);
        instances::put(context, &instance);
        Ok(reply)
    }
}

/// What a caller is told of a compaction that was started before.
fn started(reader: &dyn Reader, record: &ParentRecord) -> Result<CompactSnapshotReply, ApplyError> {
    let holds_files = match record.base_complete {
        true => record.holds_files,
        false => jobs::find(reader, record.job)?.is_some_and(|job| !job.copies_files),
    };
    Ok(CompactSnapshotReply {
        job: record.job,
        holds_files,
    })
}

impl CompactSnapshot {
    /// Whether the native API asked. Commands from before `native` was there tell by what only its callers can say.
    fn is_native(&self) -> bool {
        self.native || self.keep_files.is_some()
    }

    /// Refusal while the compaction of what the clone reads through has not ended.
    fn not_yet(&self, reader: &dyn Reader, source: &Instance) -> Result<MetaError, StoreError> {
        let (id, job) = (source.info.instance_id(), parent(reader, source.scope)?.map_or(0, |record| record.job));
        let next = match self.is_native() {
            true => format!("compact this clone when that has completed (`quorate job watch {job}`)"),
            false => "compact this clone when that has completed".to_owned(),
        };
        let text = format!("source instance {id} is still being compacted by job {job}, which has manifests to write anew; {next}");
        Ok(MetaError::invalid(text))
    }

    fn start(
        &self,
        context: &mut ApplyContext<'_, '_>,
        instance: &Instance,
        record: &ParentRecord,
    ) -> Result<CompactSnapshotReply, ApplyError> {
        let holds_files = self.keep_files.unwrap_or(record.shares_stores);
        let left_manifests = holds_files && self.minds_source && clones::reads_copies_of_dropped(context.reader(), record)?;
        let place = instance_snapshots::default_place(instance);
        if !holds_files {
            storage::resolve_usable(context.reader(), instance, &place)?;
        }
        // What an earlier job staged is being deleted: nothing of it may be taken for this one's.
        let base_scope = if record.job == 0 { record.base_scope } else { clones::base_scope(context, instance.scope, instance.info.instance_id()) };
        let source = ScopeId(record.source_scope);
        let order = JobRecord {
            kind: JobKind::CompactClone as i32,
            source_scope: record.source_scope,
            source_revision: record.source_revision,
            target_scope: base_scope,
            target_vault: place,
            copies_files: !holds_files,
            rewrites_manifests: self.rewrites_manifests && (!holds_files || left_manifests),
            names_own_places: self.names_own_places,
            snapshot_revision: record.source_revision,
            source_instance_id: instances::id_of_scope(context.reader(), source)?,
            target_instance_id: instance.info.instance_id().to_owned(),
            clone_scope: instance.scope.0,
            deadline_ms: context.now().0.saturating_add(limits::COMPACTION_TIMEOUT_MS),
            ..JobRecord::default()
        };
        let job = jobs::start(context, order)?;
        let record = ParentRecord {
            base_scope,
            job,
            ..*record
        };
        context.put_record(parent_key(instance.scope), &record);
        Ok(CompactSnapshotReply { job, holds_files })
    }
}
