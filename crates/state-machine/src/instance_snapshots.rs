//! Snapshots of whole instances as Doris's frontends make them: `begin_snapshot`, an image uploaded by the frontend, then
//! `commit_snapshot`.
//!
//! ```text
//!  begin             commit                 drop, TTL, retention
//! ------> PREPARE ------------> NORMAL ------------------------> RECYCLED (deleted)
//!            | abort, time out                                      ^
//!            +---------------> ABORTED ----- drop, a day -----------+
//! ```
//! One is a [`SnapshotRecord`] of collection 0 with a `SnapshotPB`; its revision is pinned at begin, so that it shows what the frontend
//! saw when it began to write its image. PREPARE, NORMAL, ABORTED, RECYCLED are `PENDING`, `COMMITTED`, `ABORTED`, `DELETING`.
//!
//! Doris's own implementation of these calls is not public. Decided here, where the contract leaves it open (spec/doris-grpc.md d):
//! - begin is refused unless the instance's snapshot switch is ON, and unless it has an object store that is not HDFS: a frontend
//!   could not upload its image. Nor may it have a role and no keys: peers could never delete the image. Without `vault_name` that is
//!   the default vault, else the newest object store.
//! - An automatic snapshot needs no time to live: retention ends it. `max_reserved_snapshot` automatic ones are kept, counted when one
//!   is committed; 0 keeps all.
//! - The same commit again succeeds: a frontend repeats it when the answer was lost. With other values it is refused.
//! - A committed snapshot is not aborted; dropping one that a clone reads through, or a pin keeps, is refused and the clones are named.
//! - One whose image has not come in time is given up; one that was given up is shown for a day (`include_aborted`), then deleted.
//! - Labels need not be unique. Lists are in the order of creation.
//! - A snapshot of the whole instance that the native API made is listed and can be cloned as well.

use crate::catalog::storage::{self, StoredVault};
use crate::command::ApplyError;
use crate::instances::{self, Instance, Route};
use crate::record::SnapshotRecord;
use crate::snapshots::{self, Snapshot, id};
use crate::store::{Reader, StoreError};
use crate::{text_bounds, vaults};
use quorate_model::{ErrorCode, MetaError, Revision, vault_paths};
use quorate_wire::doris::{ObjectStoreInfoPb, SnapshotInfoPb, SnapshotPb, SnapshotStatus};
use quorate_wire::quorate::v1::SnapshotState;

/// Refuses an id of the caller that is wrong whatever the state is.
pub fn check_caller(cloud_unique_id: &str) -> Result<(), MetaError> {
    text_bounds::check_text("cloud_unique_id", cloud_unique_id)?;
    match cloud_unique_id {
        "" => Err(MetaError::invalid("cloud_unique_id not set")),
        _ => Ok(()),
    }
}

/// The instance that a frontend belongs to, if it may change it.
pub fn instance_of_caller(reader: &dyn Reader, cloud_unique_id: &str) -> Result<Instance, ApplyError> {
    let instance_id = instances::resolve(reader, cloud_unique_id)?;
    if instance_id.is_empty() {
        return Err(MetaError::invalid("empty instance_id").into());
    }
    instances::require(reader, &instance_id, Route::ChangeStorage)
}

/// The revision an id stands for.
pub fn parse_id(snapshot_id: &str) -> Result<Revision, MetaError> {
    id::parse(snapshot_id).ok_or_else(|| MetaError::invalid(format!("invalid snapshot_id format, snapshot_id={}", shortened(snapshot_id))))
}

/// As much of an id as a text should repeat.
fn shortened(snapshot_id: &str) -> String {
    snapshot_id.chars().take(40).collect()
}

/// A snapshot of the whole instance that is not being deleted.
pub fn find(reader: &dyn Reader, instance: &Instance, revision: Revision) -> Result<Option<Snapshot>, StoreError> {
    let found = snapshots::find(reader, instance.scope, revision)?;
    Ok(found.filter(|found| found.is_of_instance() && found.state() != SnapshotState::Deleting))
}

/// The snapshot that a frontend is making.
pub fn require_in_preparation(reader: &dyn Reader, instance: &Instance, snapshot_id: &str) -> Result<Snapshot, ApplyError> {
    let Some(snapshot) = find(reader, instance, parse_id(snapshot_id)?)?.filter(|found| found.record.doris.is_some()) else {
        return Err(MetaError::invalid("snapshot not found").into());
    };
    if snapshot.state() != SnapshotState::Pending {
        let status = status(&snapshot.record) as i32;
        return Err(MetaError::invalid(format!("snapshot is not in PREPARE state, current status={status}")).into());
    }
    Ok(snapshot)
}

/// What Doris calls the state.
pub fn status(record: &SnapshotRecord) -> SnapshotStatus {
    match record.state() {
        SnapshotState::Pending | SnapshotState::Unspecified => SnapshotStatus::SnapshotPrepare,
        SnapshotState::Committed => SnapshotStatus::SnapshotNormal,
        SnapshotState::Aborted => SnapshotStatus::SnapshotAborted,
        SnapshotState::Deleting => SnapshotStatus::SnapshotRecycled,
    }
}

/// Where a snapshot's image is to go: `vault_name`'s store, or the instance's own choice. Keys are as stored.
pub fn store_for_image(reader: &dyn Reader, instance: &Instance, vault_name: &str) -> Result<ObjectStoreInfoPb, ApplyError> {
    let info = &instance.info;
    let place = match vault_name {
        "" => default_place(instance),
        name if vaults::position(info, name).is_some() => name.to_owned(),
        name => return Err(MetaError::new(ErrorCode::VaultNotFound, format!("vault_name={name} not found")).into()),
    };
    match storage::resolve(reader, instance, &place)? {
        StoredVault::S3(store) => {
            storage::require_keys(&store, &storage::display_name(instance, &place))?;
            Ok(*store)
        }
        StoredVault::Hdfs => {
            let name = storage::display_name(instance, &place);
            Err(MetaError::invalid(format!(
                "vault_name={name} is an HDFS vault, a snapshot's image needs an object store"
            ))
            .into())
        }
        StoredVault::Local { .. } => {
            let instance_id = info.instance_id();
            let text = format!("instance has no object store for the snapshot's image; add one, instance_id={instance_id}");
            Err(MetaError::invalid(text).into())
        }
    }
}

/// The store that a snapshot's image is in, keys as stored; none when it is the local directory, or is gone.
pub fn store_of_image(reader: &dyn Reader, instance: &Instance, snapshot: &Snapshot) -> Result<Option<ObjectStoreInfoPb>, StoreError> {
    match storage::resolve(reader, instance, &snapshot.record.vault) {
        Ok(StoredVault::S3(store)) => Ok(Some(*store)),
        Ok(_) | Err(ApplyError::Refused(_)) => Ok(None),
        Err(ApplyError::Store(error)) => Err(error),
    }
}

/// Where files that belong to no collection go: the id of the default vault, else of the newest object store, else the peers' local
/// directory.
pub fn default_place(instance: &Instance) -> String {
    let info = &instance.info;
    match info.default_storage_vault_id() {
        "" => info.obj_info.last().map(|store| store.id().to_owned()).unwrap_or_default(),
        id => id.to_owned(),
    }
}

/// Where in its store a snapshot's image is to go, as begin says.
pub fn given_image_url(revision: Revision) -> String {
    format!("/{}/", vault_paths::image_directory(&id::text(revision)))
}

/// Where in its store a snapshot's image is.
pub fn image_url(snapshot: &Snapshot) -> String {
    match &snapshot.record.doris {
        Some(doris) => doris.image_url().to_owned(),
        None => snapshot.record.location.clone(),
    }
}

/// A snapshot as lists show it.
pub fn show(reader: &dyn Reader, instance_id: &str, snapshot: &Snapshot) -> Result<SnapshotInfoPb, StoreError> {
    let record = &snapshot.record;
    let doris = record.doris.clone().unwrap_or_else(|| of_native(instance_id, record));
    let derived = snapshots::clones(reader, snapshot.scope, snapshot.revision)?;
    let derived = derived.into_iter().map(|clone| instances::id_of_scope(reader, clone));
    Ok(SnapshotInfoPb {
        snapshot_id: Some(id::text(snapshot.revision)),
        ancestor_id: doris.snapshot_ancestor,
        create_at: doris.create_at,
        finish_at: doris.finish_at,
        image_url: doris.image_url,
        journal_id: doris.last_journal_id,
        status: Some(status(record) as i32),
        r#type: doris.r#type,
        instance_id: doris.instance_id,
        auto_snapshot: doris.auto,
        ttl_seconds: doris.ttl_seconds,
        timeout_seconds: doris.timeout_seconds,
        snapshot_label: doris.label,
        reason: doris.reason,
        derived_instance_ids: derived.collect::<Result<_, _>>()?,
        snapshot_meta_image_size: doris.snapshot_meta_image_size,
        snapshot_logical_data_size: doris.snapshot_logical_data_size,
        snapshot_retained_data_size: doris.snapshot_retained_data_size,
        snapshot_billable_data_size: doris.snapshot_billable_data_size,
        resource_id: doris.resource_id,
    })
}

/// What Doris's frontends may know of a snapshot that they did not make.
fn of_native(instance_id: &str, record: &SnapshotRecord) -> SnapshotPb {
    let seconds = |ms: u64| (ms / 1_000) as i64;
    SnapshotPb {
        image_url: Some(record.location.clone()),
        create_at: Some(seconds(record.created_ms)),
        instance_id: Some(instance_id.to_owned()),
        auto: Some(false),
        ttl_seconds: (record.expires_ms != 0).then(|| seconds(record.expires_ms - record.created_ms)),
        label: Some(record.name.clone()),
        r#type: Some(quorate_wire::doris::SnapshotType::SnapshotReference as i32),
        ..SnapshotPb::default()
    }
}
