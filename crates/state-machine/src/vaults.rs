//! Vaults: named places for table data, each a row of its own; the instance's row has their ids and names in step.
//!
//! ```text
//! Instance   info.resource_ids[n], info.storage_vault_names[n]        Vault   scope | id' -> StorageVaultPB
//! ```

use crate::command::{ApplyContext, ApplyError, SealSecret, read_record};
use crate::instances::{self, Instance};
use crate::keys::{self, RecordTable};
use crate::object_stores::{self, trimmed_prefix};
use crate::record::Counters;
use crate::store::{Reader, StoreError};
use crate::{limits, text_bounds, virtual_clusters};
use bytes::Bytes;
use prost::Message;
use quorate_model::{ErrorCode, MetaError, ScopeId};
use quorate_wire::doris::{HdfsVaultInfo, InstanceInfoPb, StorageVaultPb};

/// The name of the vault that is created with its instance.
pub const BUILT_IN_NAME: &str = "built_in_storage_vault";

/// Where a vault's row is.
pub fn key(scope: ScopeId, id: &str) -> Bytes {
    let mut key = keys::record_in_scope(RecordTable::Vault, scope);
    keys::put_escaped(&mut key, id.as_bytes());
    key.freeze()
}

/// Which of an instance's vaults has the name.
pub fn position(info: &InstanceInfoPb, name: &str) -> Option<usize> {
    info.storage_vault_names.iter().position(|other| other == name)
}

/// Reads the vault at a position.
pub fn read(reader: &dyn Reader, instance: &Instance, position: usize) -> Result<StorageVaultPb, StoreError> {
    let instance_id = instance.info.instance_id();
    let id = instance.info.resource_ids.get(position);
    let id = id.ok_or_else(|| StoreError(format!("instance {instance_id} has more names than ids of vaults")))?;
    let vault = read_record(reader, &key(instance.scope, id))?;
    vault.ok_or_else(|| StoreError(format!("vault {id} of instance {instance_id} has no row")))
}

/// All vaults of an instance, in order of addition.
pub fn all(reader: &dyn Reader, instance: &Instance) -> Result<Vec<StorageVaultPb>, StoreError> {
    (0..instance.info.resource_ids.len())
        .map(|position| read(reader, instance, position))
        .collect()
}

/// Gives a vault the next id and enters it into its instance.
pub fn register(
    counters: &Counters,
    info: &mut InstanceInfoPb,
    vault: &StorageVaultPb,
    now_seconds: i64,
    sse_enabled: bool,
) -> StorageVaultPb {
    let id = object_stores::next_id(counters, info);
    let obj_info = vault.obj_info.as_ref();
    let obj_info = obj_info.map(|store| object_stores::registered(store, id, now_seconds, sse_enabled));
    info.resource_ids.push(id.to_string());
    info.storage_vault_names.push(vault.name().to_owned());
    StorageVaultPb {
        id: Some(id.to_string()),
        obj_info,
        ..vault.clone()
    }
}

/// Refuses a name that a vault of the instance has.
pub fn check_name_free(info: &InstanceInfoPb, name: &str) -> Result<(), MetaError> {
    match position(info, name) {
        Some(_) => Err(MetaError::exists(format!("vault_name={name} already created"))),
        None => Ok(()),
    }
}

/// Makes a vault its instance's default. Whether another one was it before.
pub fn make_default(info: &mut InstanceInfoPb, vault: &StorageVaultPb) -> bool {
    let replaced = info.default_storage_vault_id.is_some() && info.default_storage_vault_id != vault.id;
    info.default_storage_vault_id = vault.id.clone();
    info.default_storage_vault_name = vault.name.clone();
    replaced
}

/// Finds the vault that a request wants to alter.
pub fn find_to_alter(info: &InstanceInfoPb, name: &str) -> Result<usize, MetaError> {
    position(info, name).ok_or_else(|| MetaError::invalid(format!("invalid storage vault name, not found, name ={name}")))
}

/// Gives the vault at a position a name that is free, in its instance too. The caller writes both rows.
pub fn rename(info: &mut InstanceInfoPb, position: usize, vault: &mut StorageVaultPb, new_name: &str) -> Result<(), MetaError> {
    if !virtual_clusters::is_identifier(new_name) {
        let message = format!("invalid storage vault name ={new_name} the name must satisfy ^[a-zA-Z][0-9a-zA-Z_]*$");
        return Err(MetaError::invalid(message));
    }
    if self::position(info, new_name).is_some() {
        return Err(MetaError::exists(format!("vault_name={new_name} already existed")));
    }
    new_name.clone_into(&mut info.storage_vault_names[position]);
    if info.default_storage_vault_id.is_some() && info.default_storage_vault_id == vault.id {
        info.default_storage_vault_name = Some(new_name.to_owned());
    }
    vault.name = Some(new_name.to_owned());
    Ok(())
}

/// What adding a vault did.
#[derive(Clone, PartialEq, prost::Message)]
pub struct VaultReply {
    #[prost(string, tag = "1")]
    pub vault_id: String,
    /// Another vault was the default before.
    #[prost(bool, tag = "2")]
    pub default_replaced: bool,
}

/// Adds a vault whose name must be free.
pub fn add(
    context: &mut ApplyContext<'_, '_>,
    mut instance: Instance,
    vault: &StorageVaultPb,
    becomes_default: bool,
) -> Result<VaultReply, ApplyError> {
    let info = &mut instance.info;
    check_name_free(info, vault.name())?;
    if info.resource_ids.len() >= limits::MAX_VAULTS {
        let (instance_id, limit) = (info.instance_id(), limits::MAX_VAULTS);
        let message = format!("instance {instance_id} has {limit} vaults, limit {limit}; drop unused ones");
        return Err(MetaError::new(ErrorCode::TooLarge, message).into());
    }
    let sse_enabled = info.sse_enabled();
    let vault = register(&context.counters, info, vault, context.now().seconds(), sse_enabled);
    let default_replaced = becomes_default && make_default(info, &vault);
    context.put_record(key(instance.scope, vault.id()), &vault);
    instances::put(context, &instance);
    Ok(VaultReply {
        vault_id: vault.id.unwrap_or_default(),
        default_replaced,
    })
}

/// Removes the vault at a position. A default that is gone is no default: no table may be created in it any more.
pub fn remove(context: &mut ApplyContext<'_, '_>, mut instance: Instance, position: usize) {
    let info = &mut instance.info;
    let id = info.resource_ids.remove(position);
    info.storage_vault_names.remove(position);
    if info.default_storage_vault_id() == id {
        (info.default_storage_vault_id, info.default_storage_vault_name) = (None, None);
    }
    context.changes().remove(key(instance.scope, &id));
    instances::put(context, &instance);
}

/// Checks a vault that is HDFS or, without `hdfs_info`, an object store as a new instance's is, and brings it into stored
/// form but for secret, id and times.
pub fn check_and_normalize(vault: &mut StorageVaultPb, hdfs_prefix_suffix: &str) -> Result<(), MetaError> {
    vault.alter_name = None;
    match &mut vault.hdfs_info {
        Some(hdfs) => {
            // A vault is one thing or the other; an object store that nobody checked must not be kept beside it.
            vault.obj_info = None;
            check_and_normalize_hdfs(hdfs, hdfs_prefix_suffix)
        }
        None => object_stores::check_and_normalize(vault.obj_info.get_or_insert_default()),
    }
}

/// Seals the secret of a vault's object store.
pub fn seal(secrets: &dyn SealSecret, vault: &mut StorageVaultPb) -> Result<(), MetaError> {
    let store = vault.obj_info.as_mut();
    store.map_or(Ok(()), |store| object_stores::seal_store(secrets, store))
}

/// Refuses a name, an object store or HDFS settings that are too long.
pub fn check_bounds(vault: &StorageVaultPb) -> Result<(), MetaError> {
    text_bounds::check_texts(&[("vault name", &vault.name), ("vault alter_name", &vault.alter_name)])?;
    vault.obj_info.iter().try_for_each(object_stores::check_bounds)?;
    let bytes = vault.encoded_len();
    if bytes > limits::MAX_VAULT_BYTES {
        let message = format!(
            "vault {} is {bytes} bytes, limit {} bytes; leave out settings",
            vault.name(),
            limits::MAX_VAULT_BYTES
        );
        return Err(MetaError::invalid(message));
    }
    Ok(())
}

/// Checks an HDFS vault and brings it into stored form. The random `suffix` keeps two vaults with
/// the same prefix apart.
fn check_and_normalize_hdfs(hdfs: &mut HdfsVaultInfo, suffix: &str) -> Result<(), MetaError> {
    let prefix = hdfs.prefix();
    if prefix.contains("://") {
        return Err(MetaError::invalid(format!("invalid prefix: {prefix}")));
    }
    let build_conf = hdfs.build_conf.get_or_insert_default();
    let fs_name = build_conf.fs_name().trim_end_matches(['/', ' ', '\t']).to_owned();
    if fs_name.is_empty() {
        return Err(MetaError::invalid(format!("invalid fs_name: {}", build_conf.fs_name())));
    }
    build_conf.fs_name = Some(fs_name);
    let prefix = trimmed_prefix(hdfs.prefix());
    hdfs.prefix = Some(if suffix.is_empty() {
        prefix.to_owned()
    } else {
        format!("{prefix}_{suffix}")
    });
    Ok(())
}
