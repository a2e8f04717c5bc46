//! Makes an instance out of a snapshot of another one, without copying anything: Doris's `clone_instance`.
//!
//! | kind | the new instance |
//! |---|---|
//! | READ_ONLY | has the stores of the source and takes no writes |
//! | WRITABLE | has the stores of the source, and over Doris's calls one of its own for new data |
//! | ROLLBACK | continues the source, as its whole record says; the source gets it as its successor |
//!
//! Repeating a READ_ONLY or WRITABLE clone succeeds. A rollback may go to a snapshot of an instance that was rolled back before: the
//! snapshot is looked for in `from_instance_id`, then in its predecessors.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, Instance};
use crate::snapshots::{self, Snapshot, id};
use crate::{clones, instance_snapshots, limits, object_stores, text_bounds, vaults};
use quorate_model::{ErrorCode, MetaError};
use quorate_wire::doris::clone_instance_request::CloneType;
use quorate_wire::doris::instance_info_pb::Status;
use quorate_wire::doris::{
    CloneInstanceRequest, InstanceInfoPb, MultiVersionStatus, ObjectStoreInfoPb, SnapshotStatus, SnapshotSwitchStatus, StorageVaultPb,
};
use quorate_wire::quorate::v1::SnapshotState;
use std::collections::BTreeSet;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CloneInstance {
    #[prost(string, tag = "1")]
    pub from_instance_id: String,
    #[prost(string, tag = "2")]
    pub from_snapshot_id: String,
    #[prost(string, tag = "3")]
    pub new_instance_id: String,
    /// Empty: made of kind and id.
    #[prost(string, tag = "4")]
    pub name: String,
    #[prost(enumeration = "CloneType", tag = "5")]
    pub kind: i32,
    /// A store for new data, secret as ciphertext; so is that of the next.
    #[prost(message, optional, tag = "6")]
    pub store: Option<ObjectStoreInfoPb>,
    #[prost(message, optional, tag = "7")]
    pub vault: Option<StorageVaultPb>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CloneInstanceReply {
    /// Where the source's image is, secret as ciphertext.
    #[prost(message, optional, tag = "1")]
    pub obj_info: Option<ObjectStoreInfoPb>,
    #[prost(string, tag = "2")]
    pub image_url: String,
}

/// A request with what its receiver adds.
#[derive(Clone, Default)]
pub struct CloneInstanceCall {
    pub request: CloneInstanceRequest,
    /// Doris wants a store of its own for a writable clone.
    pub needs_store: bool,
    /// Random; appended to the prefix of an HDFS vault, so that two vaults never share a directory.
    pub hdfs_prefix_suffix: String,
}

impl Prepare for CloneInstance {
    type Request = CloneInstanceCall;

    fn prepare(call: CloneInstanceCall, context: &PrepareContext<'_>) -> Result<CloneInstance, MetaError> {
        let mut request = call.request;
        let kind = checked_kind(&request)?;
        let (mut store, mut vault) = (None, None);
        if kind == CloneType::Writable {
            store = request.obj_info.take().map(object_stores::without_unknown_enums);
            vault = request.storage_vault.take().filter(|_| store.is_none());
            if call.needs_store && store.is_none() && vault.is_none() {
                return Err(MetaError::invalid("WRITABLE clone requires obj_info"));
            }
        }
        if let Some(store) = &mut store {
            check_store(store)?;
            *store = object_stores::normalized(std::mem::take(store))?;
            object_stores::seal_store(context.secrets, store)?;
        }
        if let Some(vault) = &mut vault {
            vaults::check_bounds(vault)?;
            vaults::check_and_normalize(vault, &call.hdfs_prefix_suffix)?;
            vaults::seal(context.secrets, vault)?;
        }
        let command = CloneInstance {
            from_instance_id: request.from_instance_id.unwrap_or_default(),
            from_snapshot_id: request.from_snapshot_id.unwrap_or_default(),
            new_instance_id: request.new_instance_id.unwrap_or_default(),
            name: request.snapshot_name.unwrap_or_default(),
            kind: kind as i32,
            store,
            vault,
        };
        text_bounds::check_command_size("clone_instance", &command)?;
        Ok(command)
    }
}

fn checked_kind(request: &CloneInstanceRequest) -> Result<CloneType, MetaError> {
    text_bounds::check_texts(&[
        ("from_instance_id", &request.from_instance_id),
        ("from_snapshot_id", &request.from_snapshot_id),
        ("new_instance_id", &request.new_instance_id),
        ("snapshot_name", &request.snapshot_name),
    ])?;
    let Some(number) = request.clone_type else {
        return Err(MetaError::invalid("clone_type not specified"));
    };
    let kind = CloneType::try_from(number).ok().filter(|kind| *kind != CloneType::Unknown);
    let kind = kind.ok_or_else(|| MetaError::invalid("invalid clone_type"))?;
    for (name, text) in [
        ("from_instance_id", request.from_instance_id()),
        ("from_snapshot_id", request.from_snapshot_id()),
        ("new_instance_id", request.new_instance_id()),
    ] {
        if text.is_empty() {
            return Err(MetaError::invalid(format!("{name} not specified")));
        }
    }
    if request.from_instance_id() == request.new_instance_id() {
        return Err(MetaError::invalid("from_instance_id and new_instance_id must be different"));
    }
    Ok(kind)
}

fn check_store(store: &ObjectStoreInfoPb) -> Result<(), MetaError> {
    object_stores::check_bounds(store)?;
    for (name, text) in [
        ("ak", store.ak()),
        ("sk", store.sk()),
        ("bucket", store.bucket()),
        ("endpoint", store.endpoint()),
    ] {
        if text.is_empty() {
            return Err(MetaError::invalid(format!("obj_info.{name} is required")));
        }
    }
    Ok(())
}

impl Command for CloneInstance {
    type Reply = CloneInstanceReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CloneInstanceReply, ApplyError> {
        let reader = context.reader();
        let kind = CloneType::try_from(self.kind).unwrap_or_default();
        let Some(mut from) = instances::find(reader, &self.from_instance_id)? else {
            return Err(MetaError::not_found(format!("source instance not found: {}", self.from_instance_id)).into());
        };
        if from.info.status() != Status::Normal {
            let status = from.info.status().as_str_name();
            return Err(MetaError::not_found(format!("source instance status is not NORMAL: {status}")).into());
        }
        let (source, snapshot) = self.snapshot(context, &from, kind)?;
        let reply = CloneInstanceReply {
            obj_info: instance_snapshots::store_of_image(reader, &source, &snapshot)?,
            image_url: instance_snapshots::image_url(&snapshot),
        };
        if let Some(existing) = instances::find(reader, &self.new_instance_id)? {
            if self.is_repeated(&existing, &source, &snapshot, kind) {
                return Ok(reply);
            }
            return Err(MetaError::exists(format!("instance with id '{}' already exists", self.new_instance_id)).into());
        }
        if kind == CloneType::Rollback && !from.info.successor_instance_id().is_empty() {
            let text = format!(
                "source instance already has a successor instance: {}, ROLLBACK only one successor is allowed",
                from.info.successor_instance_id()
            );
            return Err(MetaError::invalid(text).into());
        }
        let info = self.new_info(context, &from, &source, &snapshot, kind);
        let shares_stores = self.store.is_none() && self.vault.is_none();
        self.add(context, &from, info, &snapshot, shares_stores)?;
        if kind == CloneType::Rollback {
            from.info.successor_instance_id = Some(self.new_instance_id.clone());
            instances::put(context, &from);
        }
        Ok(reply)
    }
}

impl CloneInstance {
    /// The snapshot that is meant, and the instance it belongs to.
    fn snapshot(&self, context: &ApplyContext<'_, '_>, from: &Instance, kind: CloneType) -> Result<(Instance, Snapshot), ApplyError> {
        let reader = context.reader();
        let revision = id::parse(&self.from_snapshot_id).ok_or_else(|| MetaError::invalid("failed to parse snapshot_id to versionstamp"))?;
        let (mut at, mut seen) = (from.clone(), BTreeSet::new());
        let snapshot = loop {
            if let Some(found) = snapshots::find(reader, at.scope, revision)? {
                break found;
            }
            let older = at.info.predecessor_instance_id().to_owned();
            let is_new = seen.len() < limits::MAX_ROLLBACK_CHAIN && seen.insert(older.clone());
            // Another instance may have the id of one that is gone.
            let leads_here = |older: &Instance| older.info.successor_instance_id() == at.info.instance_id();
            match instances::find(reader, &older)?.filter(|older| kind == CloneType::Rollback && is_new && leads_here(older)) {
                Some(older) => at = older,
                None => {
                    let (instance_id, snapshot_id) = (&self.from_instance_id, &self.from_snapshot_id);
                    let text = format!("snapshot not found: instance_id={instance_id} snapshot_id={snapshot_id}");
                    return Err(MetaError::invalid(text).into());
                }
            }
        };
        if !snapshot.is_of_instance() {
            let text = format!("snapshot {} is of one collection; restore it instead", self.from_snapshot_id);
            return Err(MetaError::invalid(text).into());
        }
        let status = instance_snapshots::status(&snapshot.record);
        if snapshot.state() != SnapshotState::Committed || status != SnapshotStatus::SnapshotNormal {
            let text = format!("snapshot status is not NORMAL, current status: {}", status.as_str_name());
            return Err(MetaError::invalid(text).into());
        }
        Ok((at, snapshot))
    }

    fn is_repeated(&self, existing: &Instance, source: &Instance, snapshot: &Snapshot, kind: CloneType) -> bool {
        let info = &existing.info;
        !existing.is_dropped()
            && kind != CloneType::Rollback
            && info.original_instance_id().is_empty()
            && info.ready_only() == (kind == CloneType::ReadOnly)
            && info.source_instance_id() == source.info.instance_id()
            && info.source_snapshot_id() == id::text(snapshot.revision)
    }

    fn new_info(
        &self,
        context: &ApplyContext<'_, '_>,
        from: &Instance,
        source: &Instance,
        snapshot: &Snapshot,
        kind: CloneType,
    ) -> InstanceInfoPb {
        let now_seconds = context.now().seconds();
        let mut info = match kind {
            CloneType::Rollback => self.continued(from),
            _ => self.derived(from, kind),
        };
        info.instance_id = Some(self.new_instance_id.clone());
        info.source_instance_id = source.info.instance_id.clone();
        info.source_snapshot_id = Some(id::text(snapshot.revision));
        (info.ctime, info.mtime) = (Some(now_seconds), Some(now_seconds));
        info
    }

    /// The whole record of the instance that is rolled back, but for what has happened to it since.
    fn continued(&self, from: &Instance) -> InstanceInfoPb {
        let original = match from.info.original_instance_id() {
            "" => self.from_instance_id.clone(),
            original => original.to_owned(),
        };
        let mut info = from.info.clone();
        if !self.name.is_empty() {
            info.name = Some(self.name.clone());
        }
        info.original_instance_id = Some(original);
        info.predecessor_instance_id = Some(self.from_instance_id.clone());
        info.successor_instance_id = None;
        info.snapshot_compact_status = None;
        info.compacted_key_sets.clear();
        info
    }

    fn derived(&self, from: &Instance, kind: CloneType) -> InstanceInfoPb {
        let is_read_only = kind == CloneType::ReadOnly;
        let word = if is_read_only { "read_only" } else { "writable" };
        let name = match self.name.as_str() {
            "" => format!("clone_{word}_{}", self.new_instance_id),
            name => name.to_owned(),
        };
        let from = &from.info;
        InstanceInfoPb {
            user_id: from.user_id.clone(),
            name: Some(name),
            status: Some(Status::Normal as i32),
            obj_info: from.obj_info.clone(),
            resource_ids: from.resource_ids.clone(),
            storage_vault_names: from.storage_vault_names.clone(),
            default_storage_vault_id: from.default_storage_vault_id.clone(),
            default_storage_vault_name: from.default_storage_vault_name.clone(),
            enable_storage_vault: from.enable_storage_vault,
            ram_user: from.ram_user.clone(),
            iam_user: from.iam_user.clone(),
            sse_enabled: from.sse_enabled,
            ready_only: Some(is_read_only),
            multi_version_status: Some(MultiVersionStatus::MultiVersionReadWrite as i32),
            snapshot_switch_status: Some(SnapshotSwitchStatus::SnapshotSwitchOff as i32),
            ..InstanceInfoPb::default()
        }
    }

    /// Writes the new instance with its vaults, and ties it to the snapshot.
    fn add(
        &self,
        context: &mut ApplyContext<'_, '_>,
        from: &Instance,
        mut info: InstanceInfoPb,
        snapshot: &Snapshot,
        shares_stores: bool,
    ) -> Result<(), ApplyError> {
        let mut rows = vaults::all(context.reader(), from)?;
        let now_seconds = context.now().seconds();
        let sse_enabled = info.sse_enabled();
        let mut vault = self.vault.clone();
        if let Some(store) = &self.store {
            if info.enable_storage_vault() {
                vault = Some(StorageVaultPb {
                    obj_info: Some(store.clone()),
                    ..StorageVaultPb::default()
                });
            } else {
                check_room("object stores", info.obj_info.len(), limits::MAX_OBJECT_STORES)?;
                let id = object_stores::next_id(&context.counters, &info);
                info.obj_info.push(object_stores::registered(store, id, now_seconds, sse_enabled));
            }
        }
        if let Some(mut vault) = vault {
            check_room("vaults", info.resource_ids.len(), limits::MAX_VAULTS)?;
            vault.name = Some(format!("clone_vault_{}", self.new_instance_id));
            vaults::check_name_free(&info, vault.name())?;
            let vault = vaults::register(&context.counters, &mut info, &vault, now_seconds, sse_enabled);
            vaults::make_default(&mut info, &vault);
            info.enable_storage_vault = Some(true);
            rows.push(vault);
        }
        let scope = instances::add(context, info);
        for vault in rows {
            context.put_record(vaults::key(scope, vault.id()), &vault);
        }
        clones::begin(context, scope, &self.new_instance_id, snapshot, shares_stores)
    }
}

fn check_room(what: &str, count: usize, limit: usize) -> Result<(), MetaError> {
    if count < limit {
        return Ok(());
    }
    let text = format!("the source has {count} {what}, limit {limit}: there is no room for the clone's own");
    Err(MetaError::new(ErrorCode::LimitReached, text))
}

#[cfg(test)]
mod tests;
