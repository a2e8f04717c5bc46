//! From creation to removal: the steps that commands and the reconciler make of a snapshot's life.

use super::{Snapshot, clones, collections, erase, id, names, pins, save};
use crate::command::{ApplyContext, ApplyError};
use crate::jobs::publication::live_instance;
use crate::keys::{self, RecordTable};
use crate::limits;
use crate::record::{CondemnedCause, CondemnedRecord, SnapshotCountRecord, SnapshotRecord};
use crate::settings::{self, MAX_SNAPSHOTS_PER_COLLECTION, MAX_SNAPSHOTS_PER_INSTANCE, Setting};
use crate::store::{Reader, StoreError};
use crate::versioned::pins::{self as versioned_pins, PinKind};
use crate::{condemned, instances};
use quorate_model::{ErrorCode, MetaError, ScopeId, mutant, vault_paths};
use quorate_wire::quorate::v1::SnapshotState;

/// Times the files of a removed snapshot are looked for again: a writer that lost its job may still have been at it.
const SWEEPS: u32 = 3;

/// Collections of a snapshot whose files go together.
pub const COLLECTIONS_AT_ONCE: usize = 500;

/// Pins the revision of the command that is applied, and enters the snapshot. `record` has everything but its pin; the name must
/// have been found free. Costs the same however much the snapshot shows.
pub fn create(context: &mut ApplyContext<'_, '_>, scope: ScopeId, mut record: SnapshotRecord) -> Result<Snapshot, ApplyError> {
    let count = count(context.reader(), scope)?;
    check_room(context.reader(), scope, &record, count)?;
    let revision = context.revision();
    record.pin = versioned_pins::begin(context, PinKind::Snapshot, scope, revision, 0)?;
    let snapshot = Snapshot { scope, revision, record };
    save(context, &snapshot)?;
    put_count(context, scope, count + 1);
    Ok(snapshot)
}

/// Whether an instance with `count` snapshots may get this one.
fn check_room(reader: &dyn Reader, scope: ScopeId, record: &SnapshotRecord, count: u64) -> Result<(), ApplyError> {
    let settings = settings::load(reader)?;
    let most = settings.value(&MAX_SNAPSHOTS_PER_INSTANCE);
    if count >= most {
        let limit = MAX_SNAPSHOTS_PER_INSTANCE.limit_text(most);
        let text = format!("the instance has {count} snapshots, limit {limit}; drop some that are not needed");
        return Err(MetaError::new(ErrorCode::LimitReached, text).into());
    }
    let Setting { name, .. } = MAX_SNAPSHOTS_PER_COLLECTION;
    let most = settings.value(&MAX_SNAPSHOTS_PER_COLLECTION);
    // Those of the collection are among those of the instance: nearly always there is nothing to count.
    if record.collection_id != 0 && count >= most && names::are_at_least(reader, scope, record.collection_id, most)? {
        let collection = &record.collection;
        let text = format!(
            "collection {collection} has all the snapshots it may have, limit {most} (setting {name}); drop some that are not needed"
        );
        return Err(MetaError::new(ErrorCode::LimitReached, text).into());
    }
    Ok(())
}

/// Refuses to drop what somebody uses: who, stands in the text.
pub fn check_unused(reader: &dyn Reader, snapshot: &Snapshot, now_ms: u64) -> Result<(), ApplyError> {
    let name = &snapshot.record.name;
    let live = pins::live(reader, snapshot.scope, snapshot.revision, now_ms)?;
    if !live.is_empty() && !mutant!("drop-in-use") {
        let ids: Vec<_> = live.iter().take(10).map(|pin| pin.id.to_string()).collect();
        let text = format!(
            "{} active pins, unpin before dropping: snapshot pinned[snapshot={name}][pins={}]",
            live.len(),
            ids.join(", ")
        );
        return Err(MetaError::new(ErrorCode::PreconditionFailed, text).into());
    }
    let clones = clones(reader, snapshot.scope, snapshot.revision)?;
    if !clones.is_empty() {
        let text = format!(
            "snapshot {name} is read through by {} clones: {}; decouple or drop them first (a dropped one lets go when its history of 10 minutes has been collected and no clone of it reads through it or holds its files)",
            clones.len(),
            clone_names(reader, &clones)?.join(", ")
        );
        return Err(MetaError::new(ErrorCode::PreconditionFailed, text).into());
    }
    Ok(())
}

/// Ids of the instances that clones belong to, with a word about those that were dropped; at most as many as a text should name.
pub fn clone_names(reader: &dyn Reader, clones: &[ScopeId]) -> Result<Vec<String>, StoreError> {
    let name = |clone: &ScopeId| {
        let id = instances::id_of_scope(reader, *clone)?;
        Ok(match live_instance(reader, *clone)? {
            Some(_) => id,
            None => format!("{id} (dropped)"),
        })
    };
    clones.iter().take(20).map(name).collect()
}

/// Gives the name back and hands the files to the reconciler. The caller has found that nobody uses it.
pub fn begin_deletion(context: &mut ApplyContext<'_, '_>, mut snapshot: Snapshot) -> Result<(), ApplyError> {
    if snapshot.state() == SnapshotState::Deleting {
        return Ok(());
    }
    pins::remove_all(context, snapshot.scope, snapshot.revision)?;
    snapshot.record.state = SnapshotState::Deleting as i32;
    snapshot.record.due_ms = 0;
    save(context, &snapshot)?;
    Ok(())
}

/// Ends a snapshot whose files are gone. They are condemned as well: whoever was still writing them when they were deleted is
/// cleaned up after. Of a whole instance some collections at a time: `false` while there are more.
pub fn remove(context: &mut ApplyContext<'_, '_>, snapshot: &Snapshot) -> Result<bool, ApplyError> {
    let next = collections::noted(context.reader(), snapshot, None, COLLECTIONS_AT_ONCE)?;
    for collection in &next {
        for (path, files) in places(&collections::alone(snapshot, *collection)) {
            condemn(context, snapshot, path, files);
        }
        let row = collections::key(snapshot.scope, snapshot.revision, *collection);
        context.changes().remove(row);
    }
    if next.len() == COLLECTIONS_AT_ONCE {
        return Ok(false);
    }
    end_pin(context, snapshot)?;
    erase(context, snapshot);
    for (path, files) in places(snapshot) {
        condemn(context, snapshot, path, files);
    }
    let count = count(context.reader(), snapshot.scope)?;
    put_count(context, snapshot.scope, count.saturating_sub(1));
    Ok(true)
}

/// Releases the revision of a snapshot that shows nothing any more.
pub fn end_pin(context: &mut ApplyContext<'_, '_>, snapshot: &Snapshot) -> Result<(), StoreError> {
    let Snapshot { scope, revision, record } = snapshot;
    if record.pin != 0 {
        versioned_pins::end(context, PinKind::Snapshot, *scope, *revision, record.pin)?;
    }
    Ok(())
}

/// Directories with files of a snapshot, from its vault's root, and which of the files there; none: all. Those of collections that a
/// snapshot of a whole instance shows: [`collections::noted`], each [`collections::alone`].
pub fn places(snapshot: &Snapshot) -> Vec<(String, Vec<String>)> {
    if snapshot.record.doris.is_some() {
        return vec![(image_directory(snapshot), Vec::new())];
    }
    let (collection, revision) = (snapshot.record.collection_id, snapshot.revision);
    vec![
        (vault_paths::metadata_directory(collection), vec![format!("{revision}.json")]),
        (manifests_directory(snapshot), Vec::new()),
    ]
}

/// The directory of all manifests of a snapshot of one collection, from its vault's root.
pub fn manifests_directory(snapshot: &Snapshot) -> String {
    vault_paths::manifests_directory(snapshot.record.collection_id, snapshot.revision)
}

/// What the manifest of a segment is called there.
pub fn manifest_name(segment: u64) -> String {
    format!("{segment}.avro")
}

/// Where Doris's frontends put the image of a snapshot.
pub fn image_directory(snapshot: &Snapshot) -> String {
    vault_paths::image_directory(&id::text(snapshot.revision))
}

fn condemn(context: &mut ApplyContext<'_, '_>, snapshot: &Snapshot, path: String, files: Vec<String>) {
    let record = CondemnedRecord {
        scope: snapshot.scope.0,
        vault: snapshot.record.vault.clone(),
        path,
        files,
        not_before_ms: context.now().0.saturating_add(limits::LOST_CLAIM_HEARD_MS),
        sweeps_left: SWEEPS,
        cause: CondemnedCause::Snapshot as i32,
        cause_id: snapshot.revision.0,
        condemned_ms: 0,
    };
    condemned::add(context, &record);
}

fn count_key(scope: ScopeId) -> bytes::Bytes {
    keys::record_in_scope(RecordTable::SnapshotCount, scope).freeze()
}

/// Snapshots of a scope, those being deleted included.
pub fn count(reader: &dyn Reader, scope: ScopeId) -> Result<u64, StoreError> {
    let record: Option<SnapshotCountRecord> = crate::command::read_record(reader, &count_key(scope))?;
    Ok(record.unwrap_or_default().snapshots)
}

fn put_count(context: &mut ApplyContext<'_, '_>, scope: ScopeId, snapshots: u64) {
    match snapshots {
        0 => context.changes().remove(count_key(scope)),
        _ => context.put_record(count_key(scope), &SnapshotCountRecord { snapshots }),
    }
}
