//! Instances: their rows, how calls name them, and how each route words that one is missing or dropped.
//!
//! ```text
//! Instance  instance_id' -> InstanceRecord (scope, info)        Scope  scope -> instance_id
//! ```
//! A dropped instance keeps its rows until its data is gone, files and all, and until then its id is not free ([`crate::collected`]). Its
//! scope is never used again: an instance that gets the id has nothing of the old one.

use crate::command::{ApplyContext, ApplyError, decode_record, read_record};
use crate::keys::{self, RecordTable};
use crate::record::InstanceRecord;
use crate::store::{Reader, StoreError, prefix_end};
use crate::{clusters, collected, dropped, nodes, snapshots, text_bounds};
use bytes::Bytes;
use prost::Message;
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId};
use quorate_wire::doris::instance_info_pb::Status;
use quorate_wire::doris::{AlterInstanceRequest, InstanceInfoPb};

/// An instance as stored: `info` has no clusters, and its secrets are ciphertext.
#[derive(Clone, Debug)]
pub struct Instance {
    pub scope: ScopeId,
    /// Revision of the drop; 0 while it lives.
    pub dropped_at: u64,
    pub info: InstanceInfoPb,
}

impl Instance {
    pub fn is_dropped(&self) -> bool {
        self.dropped_at != 0
    }
}

/// Which kind of route asks for an instance: each has its own words and code for a missing one (spec/doris-http.md 7.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    GetInstance,
    AlterInstance,
    AddCluster,
    DropCluster,
    /// The other routes that change a cluster.
    ChangeCluster,
    /// Changes of object stores, vaults and accounts.
    ChangeStorage,
    /// New keys for an object store, or a role: of a dropped instance too, as long as somebody opens its stores.
    ChangeKeys,
    /// Reads of what belongs to an instance.
    Read,
}

/// Reads an instance; `None` when there is no row of that id.
pub fn find(reader: &dyn Reader, instance_id: &str) -> Result<Option<Instance>, StoreError> {
    let key = instance_key(instance_id);
    let Some(record) = read_record::<InstanceRecord>(reader, &key)? else {
        return Ok(None);
    };
    let info = decode_record(&key, record.info)?;
    Ok(Some(Instance {
        scope: ScopeId(record.scope),
        dropped_at: record.dropped_at,
        info,
    }))
}

/// The scope of an instance, dropped or not; spares decoding what belongs to it.
pub fn scope_of(reader: &dyn Reader, instance_id: &str) -> Result<Option<ScopeId>, StoreError> {
    let record = read_record::<InstanceRecord>(reader, &instance_key(instance_id))?;
    Ok(record.map(|record| ScopeId(record.scope)))
}

/// The start of the keys of all instances whose ids begin with `id_prefix`.
pub fn keys_by_prefix(id_prefix: &str) -> Bytes {
    let mut key = keys::record_prefix(RecordTable::Instance);
    keys::put_escaped_prefix(&mut key, id_prefix.as_bytes());
    key.freeze()
}

/// The first key behind an instance's.
pub fn key_after(instance_id: &str) -> Vec<u8> {
    prefix_end(&instance_key(instance_id))
}

/// Reads an instance out of its row.
pub fn from_row(key: &[u8], value: &[u8]) -> Result<Instance, StoreError> {
    let record: InstanceRecord = decode_record(key, Bytes::copy_from_slice(value))?;
    Ok(Instance {
        scope: ScopeId(record.scope),
        dropped_at: record.dropped_at,
        info: decode_record(key, record.info)?,
    })
}

/// The scope of an instance that may be written: one that lives and is no read-only clone.
pub fn writable_scope(reader: &dyn Reader, instance_id: &str) -> Result<ScopeId, ApplyError> {
    let Some(record) = read_record::<InstanceRecord>(reader, &instance_key(instance_id))? else {
        return Err(MetaError::not_found(format!("instance {instance_id:?} does not exist")).into());
    };
    if record.dropped_at != 0 {
        let message = format!("instance {instance_id:?} was dropped at revision {}", record.dropped_at);
        return Err(MetaError::not_found(message).into());
    }
    if record.read_only {
        let message = format!("instance {instance_id:?} is a read-only clone; make a writable one to change what it shows");
        return Err(MetaError::new(ErrorCode::PreconditionFailed, message).into());
    }
    Ok(ScopeId(record.scope))
}

/// Whether there is a row of that id, dropped or not.
pub fn exists(reader: &dyn Reader, instance_id: &str) -> Result<bool, StoreError> {
    Ok(reader.get(&instance_key(instance_id))?.is_some())
}

/// Reads an instance that the route may work with, or refuses in the route's words.
pub fn require(reader: &dyn Reader, instance_id: &str, route: Route) -> Result<Instance, ApplyError> {
    let Some(instance) = find(reader, instance_id)? else {
        return Err(missing(instance_id, route).into());
    };
    let dropped = "instance status has been set delete, plz check it";
    match route {
        Route::AddCluster | Route::DropCluster | Route::ChangeStorage if instance.is_dropped() => Err(MetaError::not_found(dropped).into()),
        Route::ChangeKeys if instance.is_dropped() && !collected::opens_stores(reader, &instance)? => {
            Err(MetaError::not_found(dropped).into())
        }
        Route::ChangeCluster if instance.is_dropped() => Err(MetaError::invalid(dropped).into()),
        _ => Ok(instance),
    }
}

fn missing(instance_id: &str, route: Route) -> MetaError {
    let text = format!("failed to get instance, instance_id={instance_id} err=KeyNotFound");
    match route {
        Route::GetInstance => MetaError::new(ErrorCode::KeyMissing, format!("failed to get instance, info={text}")),
        Route::AlterInstance => MetaError::not_found(format!("instance not existed, instance_id={instance_id}, err=KeyNotFound")),
        Route::AddCluster => MetaError::new(ErrorCode::KeyMissing, format!("failed to get instance, info {text}")),
        Route::DropCluster => MetaError::not_found(text),
        Route::ChangeCluster => MetaError::invalid(text),
        Route::ChangeStorage | Route::ChangeKeys | Route::Read => MetaError::new(ErrorCode::KeyMissing, text),
    }
}

/// Writes an instance's row.
pub fn put(context: &mut ApplyContext<'_, '_>, instance: &Instance) {
    debug_assert!(instance.info.clusters.is_empty(), "clusters are rows of their own");
    let record = InstanceRecord {
        scope: instance.scope.0,
        dropped_at: instance.dropped_at,
        info: instance.info.encode_to_vec().into(),
        read_only: instance.info.ready_only(),
    };
    context.put_record(instance_key(instance.info.instance_id()), &record);
}

/// Writes a new instance under a scope that was never used.
pub fn add(context: &mut ApplyContext<'_, '_>, info: InstanceInfoPb) -> ScopeId {
    let scope = ScopeId(context.counters.next_scope.max(1));
    context.counters.next_scope = scope.0 + 1;
    let name = Bytes::copy_from_slice(info.instance_id().as_bytes());
    context.changes().put(scope_key(scope), name);
    put(
        context,
        &Instance {
            scope,
            dropped_at: 0,
            info,
        },
    );
    scope
}

/// Removes an instance's row: its id is free.
pub(crate) fn remove(context: &mut ApplyContext<'_, '_>, instance_id: &str) {
    context.changes().remove(instance_key(instance_id));
}

/// Removes what says whose a scope is.
pub(crate) fn remove_scope(context: &mut ApplyContext<'_, '_>, scope: ScopeId) {
    context.changes().remove(scope_key(scope));
}

/// Marks an instance as dropped; dropping it again succeeds, because upstream's callers repeat the call.
pub fn drop(context: &mut ApplyContext<'_, '_>, instance_id: &str) -> Result<(), ApplyError> {
    let mut instance = require(context.reader(), instance_id, Route::AlterInstance)?;
    if clusters::any(context.reader(), instance.scope)? {
        return Err(MetaError::invalid("failed to drop instance, instance has clusters").into());
    }
    let successor = instance.info.successor_instance_id();
    // One that is gone was dropped before, and whoever has its id now is another instance.
    let continues_it = |other: Instance| !other.is_dropped() && other.info.predecessor_instance_id() == instance_id;
    if !successor.is_empty() && find(context.reader(), successor)?.is_some_and(continues_it) {
        let message = format!(
            "failed to drop instance, instance has a successor; please drop the chain tail instead, successor_instance_id={successor}"
        );
        return Err(MetaError::invalid(message).into());
    }
    instance.info.set_status(Status::Deleted);
    instance.info.mtime = Some(context.now().seconds());
    if instance.dropped_at == 0 {
        instance.dropped_at = context.revision().0;
        dropped::mark(context, instance.scope, 0, 0, Revision(0));
        snapshots::expiry::queue_dropped_instance(context, instance.scope)?;
    }
    put(context, &instance);
    Ok(())
}

/// The id in a request that changes an instance.
pub fn given_id(request: &AlterInstanceRequest) -> Result<String, MetaError> {
    text_bounds::check_texts(&[("instance_id", &request.instance_id)])?;
    match request.instance_id() {
        "" => Err(MetaError::invalid("instance id not set")),
        instance_id => Ok(instance_id.to_owned()),
    }
}

/// Whether object stores encrypt on their side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerSideEncryption {
    On,
    Off,
}

/// Switches encryption by the object stores, for the instance and each of its stores. Vaults have a switch of their own.
pub fn switch_encryption(context: &mut ApplyContext<'_, '_>, instance_id: &str, wanted: ServerSideEncryption) -> Result<(), ApplyError> {
    let mut instance = require(context.reader(), instance_id, Route::AlterInstance)?;
    let is_on = instance.info.sse_enabled();
    match wanted {
        ServerSideEncryption::On if is_on => return Err(MetaError::invalid("failed to enable sse, instance has enabled sse").into()),
        ServerSideEncryption::Off if !is_on => return Err(MetaError::invalid("failed to disable sse, instance has disabled sse").into()),
        _ => {}
    }
    let now_seconds = context.now().seconds();
    instance.info.sse_enabled = Some(!is_on);
    instance.info.mtime = Some(now_seconds);
    for store in &mut instance.info.obj_info {
        store.sse_enabled = Some(!is_on);
        store.mtime = Some(now_seconds);
    }
    put(context, &instance);
    Ok(())
}

/// The id of the instance that owns a scope; `None` once its record is gone ([`crate::collected`]).
pub fn find_id_of_scope(reader: &dyn Reader, scope: ScopeId) -> Result<Option<String>, StoreError> {
    let Some(name) = reader.get(&scope_key(scope))? else {
        return Ok(None);
    };
    let name = String::from_utf8(name.to_vec()).map_err(|error| StoreError(format!("row of scope {scope} is not a name: {error}")))?;
    Ok(Some(name))
}

/// The same of a scope whose record cannot be gone: what the caller has read of it keeps it.
pub fn id_of_scope(reader: &dyn Reader, scope: ScopeId) -> Result<String, StoreError> {
    let id = find_id_of_scope(reader, scope)?;
    id.ok_or_else(|| StoreError(format!("scope {scope} has no row, but rows of others name it")))
}

/// The instance that a node's `cloud_unique_id` stands for: where it is registered, else what the id itself says; empty
/// when neither tells. Does not look whether the instance exists (spec/doris-http.md 7.2).
pub fn resolve(reader: &dyn Reader, cloud_unique_id: &str) -> Result<String, StoreError> {
    match nodes::first_scope_of(reader, cloud_unique_id)? {
        Some(scope) => id_of_scope(reader, scope),
        None => Ok(id_within(cloud_unique_id).unwrap_or_default().to_owned()),
    }
}

/// The middle of `1:<instance_id>:<anything>`, the format that needs no registration.
pub fn id_within(cloud_unique_id: &str) -> Option<&str> {
    let mut pieces = cloud_unique_id.split(':').filter(|piece| !piece.is_empty());
    let (version, instance_id, _) = (pieces.next()?, pieces.next()?, pieces.next()?);
    (pieces.next().is_none() && leading_number_is_one(version)).then_some(instance_id)
}

/// C's `atoi(text) == 1`, which clients have come to rely on: `01` and `1x` are 1 too.
fn leading_number_is_one(text: &str) -> bool {
    let text = text.trim_start_matches([' ', '\t', '\n', '\x0b', '\x0c', '\r']);
    let text = text.strip_prefix('+').unwrap_or(text);
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .map_or(text, |end| &text[..end]);
    digits.trim_start_matches('0') == "1"
}

fn instance_key(instance_id: &str) -> Bytes {
    keys::record_by_name(RecordTable::Instance, instance_id.as_bytes())
}

fn scope_key(scope: ScopeId) -> Bytes {
    keys::record_in_scope(RecordTable::Scope, scope).freeze()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_without_registration_are_read_as_upstream_reads_them() {
        for (id, expected) in [
            ("1:a:b", Some("a")),
            ("01:a:b", Some("a")),
            ("1x:a:b", Some("a")),
            (" +1:a:b", Some("a")),
            (":1::a::b:", Some("a")),
            ("2:a:b", None),
            ("11:a:b", None),
            ("-1:a:b", None),
            ("x:a:b", None),
            ("1:a", None),
            ("1:a:b:c", None),
            ("1::b", None),
            ("", None),
        ] {
            assert_eq!(id_within(id), expected, "{id}");
        }
    }
}
