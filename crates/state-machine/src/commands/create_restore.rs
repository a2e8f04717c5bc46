//! Starts a job that copies a collection, as a snapshot of it or of its whole instance shows it, into a new collection. The new one has its
//! id, its partitions and its name from here on, and is not visible: it appears when all is copied, or never.

use crate::catalog::{DEFAULT_DATABASE, FoundCollection, Target, create};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances;
use crate::jobs::{self, restore};
use crate::limits;
use crate::object_ids;
use crate::queries;
use crate::record::{CollectionRecord, JobRecord, PartitionMapping, SnapshotPinRecord, SnapshotRecord};
use crate::snapshots;
use crate::store::Reader;
use crate::versioned::Lineage;
use crate::{attributes, text_bounds};
use quorate_model::{MetaError, Revision, ScopeId};
use quorate_wire::quorate::v1::{Job, JobKind, JobState, RestoreSnapshotRequest, SnapshotRef};

/// Longest time a restore may be given, in seconds: 30 days.
const MAX_TIMEOUT_SECONDS: u64 = 2_592_000;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateRestore {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(message, optional, tag = "2")]
    pub snapshot: Option<SnapshotRef>,
    /// Empty: the source's.
    #[prost(string, tag = "3")]
    pub target_instance_id: String,
    #[prost(string, tag = "4")]
    pub target_database: String,
    #[prost(string, tag = "5")]
    pub target_collection: String,
    #[prost(string, tag = "6")]
    pub target_vault: String,
    #[prost(uint64, tag = "7")]
    pub timeout_ms: u64,
    /// Which collection of a snapshot of a whole instance, by name or by id as the snapshot shows it. Of a snapshot of one collection it
    /// may be left out.
    #[prost(string, tag = "8")]
    pub source_collection: String,
    #[prost(string, tag = "9")]
    pub source_database: String,
    #[prost(uint64, tag = "10")]
    pub source_collection_id: u64,
}

impl Prepare for CreateRestore {
    type Request = RestoreSnapshotRequest;

    fn prepare(request: RestoreSnapshotRequest, _context: &PrepareContext<'_>) -> Result<CreateRestore, MetaError> {
        text_bounds::check_text("instance_id", &request.instance_id)?;
        text_bounds::check_text("target_instance_id", &request.target_instance_id)?;
        text_bounds::check_text("target_vault", &request.target_vault)?;
        check_name("target_database", &request.target_database)?;
        if request.target_collection.is_empty() {
            return Err(MetaError::invalid("target_collection is not set; name the collection to be made"));
        }
        check_name("target_collection", &request.target_collection)?;
        check_source_collection(&request)?;
        let snapshot = snapshots::names::checked_reference(request.snapshot.unwrap_or_default())?;
        if request.timeout_seconds > MAX_TIMEOUT_SECONDS {
            let message = format!(
                "timeout is {} s, limit {MAX_TIMEOUT_SECONDS} s; give it less, 0 is a day",
                request.timeout_seconds
            );
            return Err(MetaError::invalid(message));
        }
        Ok(CreateRestore {
            instance_id: request.instance_id,
            snapshot: Some(snapshot),
            target_instance_id: request.target_instance_id,
            target_database: request.target_database,
            target_collection: request.target_collection,
            target_vault: request.target_vault,
            timeout_ms: request.timeout_seconds * 1_000,
            source_collection: request.source_collection,
            source_database: request.source_database,
            source_collection_id: request.source_collection_id,
        })
    }
}

/// Refuses a source collection that is named in two ways, or by half.
fn check_source_collection(request: &RestoreSnapshotRequest) -> Result<(), MetaError> {
    text_bounds::check_text("source_collection", &request.source_collection)?;
    text_bounds::check_text("source_database", &request.source_database)?;
    let is_named = !request.source_collection.is_empty();
    if is_named && request.source_collection_id != 0 {
        return Err(MetaError::invalid("the source collection is named by name and by id; leave one out"));
    }
    if !is_named && !request.source_database.is_empty() {
        return Err(MetaError::invalid("source_database is set and source_collection is not; name the collection too, or neither"));
    }
    Ok(())
}

/// Refuses what is no name of a database or collection; an empty one is left to the caller.
fn check_name(what: &str, name: &str) -> Result<(), MetaError> {
    let mut letters = name.chars();
    let begins_well = letters.next().is_none_or(|first| first == '_' || first.is_ascii_alphabetic());
    let goes_on_well = letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_' || letter == '$');
    if begins_well && goes_on_well && name.len() <= limits::MAX_NAME_BYTES {
        return Ok(());
    }
    let limit = limits::MAX_NAME_BYTES;
    Err(MetaError::invalid(format!(
        "{what} must have 1 to {limit} bytes: a letter or _ first, then letters, digits, _ and $"
    )))
}

impl Command for CreateRestore {
    type Reply = Job;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<Job, ApplyError> {
        jobs::check_room(context)?;
        let source = self.source(context.reader())?;
        let target = self.target(context, &source)?;
        let collection_id = object_ids::next(context);
        let partitions = restore::stage_partitions(context, &source.lineage, source.collection.id, target.scope, collection_id)?;
        let deadline_ms = match self.timeout_ms {
            0 => 0,
            timeout_ms => context.now().0.saturating_add(timeout_ms),
        };
        // The job's id, and that of its pin on the snapshot, are the next number.
        let job = context.counters.last_object + 1;
        let pin = SnapshotPinRecord {
            scope: source.scope.0,
            revision: source.revision.0,
            expires_ms: 0,
            job,
        };
        let record = JobRecord {
            target_collection_id: collection_id,
            snapshot_pin: snapshots::pins::add(context, job as i64, pin)?,
            deadline_ms,
            ..self.order(source, target, partitions)
        };
        let started = jobs::start(context, record.clone())?;
        debug_assert_eq!(started, job, "a job takes the next id");
        restore::reserve_name(context, &record, job);
        let shown = JobRecord {
            state: JobState::JobPlanning as i32,
            created_ms: context.now().0,
            deadline_ms: jobs::deadline_of(context, deadline_ms),
            ..record
        };
        Ok(queries::jobs::just_started(job, &shown))
    }
}

/// What is restored.
struct Source {
    scope: ScopeId,
    revision: Revision,
    snapshot: SnapshotRecord,
    lineage: Lineage,
    collection: FoundCollection,
}

/// Where it goes; the name is free there.
struct Destination {
    instance_id: String,
    scope: ScopeId,
    database: String,
    database_id: u64,
    /// Id of the vault.
    vault: String,
}

impl CreateRestore {
    /// Which collection of the snapshot is meant.
    pub fn wanted(&self) -> restore::Wanted<'_> {
        restore::Wanted {
            database: &self.source_database,
            collection: &self.source_collection,
            collection_id: self.source_collection_id,
        }
    }

    fn source(&self, reader: &dyn Reader) -> Result<Source, ApplyError> {
        let scope = attributes::live_scope(reader, &self.instance_id)?;
        let found = snapshots::names::require(reader, scope, &self.snapshot.clone().unwrap_or_default())?;
        snapshots::check_usable(&found)?;
        let (revision, snapshot) = (found.revision, found.record);
        let lineage = Lineage::of(reader, scope, revision)?;
        let collection = restore::source_collection(reader, &lineage, &snapshot, self.wanted())?;
        Ok(Source {
            scope,
            revision,
            snapshot,
            lineage,
            collection,
        })
    }

    fn target(&self, context: &mut ApplyContext<'_, '_>, source: &Source) -> Result<Destination, ApplyError> {
        let reader = context.reader();
        let instance_id = match self.target_instance_id.as_str() {
            "" => &self.instance_id,
            target_id => target_id,
        };
        attributes::live_scope(reader, instance_id)?;
        let instance = instances::find(reader, instance_id)?;
        let instance = instance.ok_or_else(|| MetaError::not_found(format!("instance {instance_id:?} does not exist")))?;
        let database = if self.target_database.is_empty() { DEFAULT_DATABASE } else { &self.target_database };
        let same_instance = (instance.scope == source.scope).then_some(&source.collection.record);
        let vault = restore::vault_of(reader, &instance, &self.target_vault, same_instance)?;
        snapshots::names::check_database(reader, instance.scope, database)?;
        let place = Target::of(reader, instance_id)?;
        let database_id = create::database_to_use(context, &place, database)?;
        create::check_collection_name_free(reader, &place, database, database_id, &self.target_collection)?;
        Ok(Destination {
            instance_id: instance_id.to_owned(),
            scope: instance.scope,
            database: database.to_owned(),
            database_id,
            vault,
        })
    }

    /// The job, but for what is given out when it starts.
    fn order(&self, source: Source, target: Destination, partitions: Vec<PartitionMapping>) -> JobRecord {
        let FoundCollection { id, record: shown, .. } = source.collection;
        let name = match source.snapshot.collection_id {
            0 => shown.name.clone(),
            _ => source.snapshot.collection,
        };
        JobRecord {
            kind: JobKind::Restore as i32,
            source_scope: source.scope.0,
            source_revision: source.revision.0,
            source_collection_id: id,
            target_scope: target.scope.0,
            target_vault: target.vault.clone(),
            copies_files: true,
            snapshot_revision: source.revision.0,
            snapshot_name: source.snapshot.name,
            source_instance_id: self.instance_id.clone(),
            source_collection: name,
            target_instance_id: target.instance_id,
            target_database: target.database,
            target_collection: self.target_collection.clone(),
            collection_row: Some(CollectionRecord {
                database_id: target.database_id,
                name: self.target_collection.clone(),
                vault: target.vault,
                partitions: partitions.len() as u64,
                ..shown
            }),
            partitions,
            ..JobRecord::default()
        }
    }
}

#[cfg(test)]
mod tests;
