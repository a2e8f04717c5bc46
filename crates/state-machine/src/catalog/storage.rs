//! Which store a vault's name means. Collections and segments keep the store's id: it stays when a vault is renamed.

use crate::command::ApplyError;
use crate::instances::{self, Instance};
use crate::store::{Reader, StoreError};
use crate::vaults;
use crate::{limits, object_stores};
use quorate_model::{ErrorCode, MetaError, ScopeId};
use quorate_wire::doris::ObjectStoreInfoPb;
use quorate_wire::doris::object_store_info_pb::Provider;
use std::collections::BTreeMap;

/// A store as the state describes it.
#[derive(Clone, Debug, PartialEq)]
pub enum StoredVault {
    /// The directory all peers share; it holds the files of all scopes, each under its own.
    Local {
        scope: ScopeId,
    },
    /// Secrets as ciphertext.
    S3(Box<ObjectStoreInfoPb>),
    Hdfs,
}

impl StoredVault {
    /// What segments are stored with: the store's id, empty for the local directory.
    pub fn id(&self) -> &str {
        match self {
            StoredVault::S3(store) => store.id(),
            StoredVault::Local { .. } | StoredVault::Hdfs => "",
        }
    }
}

/// Finds a store by its id, or by the name of a vault; an empty one is the local directory. Rows keep ids, so an id goes first: a vault
/// that is given another one's id as its name must not take that one's files over.
pub fn resolve(reader: &dyn Reader, instance: &Instance, vault: &str) -> Result<StoredVault, ApplyError> {
    if vault.is_empty() {
        return Ok(StoredVault::Local { scope: instance.scope });
    }
    if let Some(store) = instance.info.obj_info.iter().find(|store| store.id() == vault) {
        return Ok(StoredVault::S3(Box::new(store.clone())));
    }
    let by_id = instance.info.resource_ids.iter().position(|id| id == vault);
    if let Some(position) = by_id.or_else(|| vaults::position(&instance.info, vault)) {
        let found = vaults::read(reader, instance, position)?;
        return Ok(match found.obj_info {
            Some(store) => StoredVault::S3(Box::new(store)),
            None => StoredVault::Hdfs,
        });
    }
    let message = format!("vault {vault:?} of instance {:?} does not exist", instance.info.instance_id());
    Err(MetaError::new(ErrorCode::VaultNotFound, message).into())
}

/// As [`resolve`], but refuses a store whose files cannot be copied or deleted.
pub fn resolve_usable(reader: &dyn Reader, instance: &Instance, vault: &str) -> Result<StoredVault, ApplyError> {
    match resolve(reader, instance, vault)? {
        StoredVault::Hdfs => Err(MetaError::invalid(format!(
            "vault {vault:?} is HDFS, where files can be neither copied nor deleted from here; use an object store"
        ))
        .into()),
        StoredVault::S3(store) => {
            require_keys(&store, vault)?;
            require_short_prefix(&store, vault)?;
            Ok(StoredVault::S3(store))
        }
        store @ StoredVault::Local { .. } => Ok(store),
    }
}

/// The store that an instance, dropped or not, means by a vault, usable or not: for who asks what is known of it.
pub fn known_store(reader: &dyn Reader, instance_id: &str, vault: &str) -> Result<StoredVault, ApplyError> {
    let missing = || MetaError::not_found(format!("instance {instance_id:?} does not exist"));
    let instance = instances::find(reader, instance_id)?.ok_or_else(missing)?;
    match resolve(reader, &instance, vault)? {
        StoredVault::Hdfs => {
            let text = format!("vault {vault:?} is HDFS, where no files of collections or snapshots are; name another vault");
            Err(MetaError::invalid(text).into())
        }
        store => Ok(store),
    }
}

/// Tells which scopes' rows mean one store by a vault: clones name their source's stores under vaults of their own, and several instances
/// may have a store in common. The local directory is one store for all.
pub struct SameStore {
    store: StoredVault,
    /// Scopes and vaults that were met, and whether they mean it.
    met: BTreeMap<(u64, String), bool>,
}

impl SameStore {
    /// `store` is not HDFS: nothing tells one of these from another.
    pub fn new(store: StoredVault) -> SameStore {
        SameStore {
            store,
            met: BTreeMap::new(),
        }
    }

    pub fn is_meant(&mut self, reader: &dyn Reader, scope: u64, vault: &str) -> Result<bool, ApplyError> {
        let is_local = matches!(self.store, StoredVault::Local { .. });
        if is_local || vault.is_empty() {
            return Ok(is_local && vault.is_empty());
        }
        let met = (scope, vault.to_owned());
        if let Some(known) = self.met.get(&met) {
            return Ok(*known);
        }
        let owner = require_owner(reader, ScopeId(scope));
        let is_same = match owner.and_then(|owner| resolve(reader, &owner, vault)) {
            Ok(store) => place(&store) == place(&self.store),
            // A vault that has been removed, with its instance or alone, has no files that could be asked for.
            Err(ApplyError::Refused(_)) => false,
            Err(error) => return Err(error),
        };
        self.met.insert(met, is_same);
        Ok(is_same)
    }
}

/// What tells one store from another.
fn place(store: &StoredVault) -> Option<[&str; 3]> {
    match store {
        StoredVault::S3(store) => Some([store.endpoint(), store.bucket(), store.prefix()]),
        StoredVault::Local { .. } | StoredVault::Hdfs => None,
    }
}

/// Refuses an object store that Doris uses by a role: peers and workers go by its keys. `vault` is what the caller calls it.
pub fn require_keys(store: &ObjectStoreInfoPb, vault: &str) -> Result<(), MetaError> {
    if object_stores::needs_role(store) {
        return Err(MetaError::invalid(format!(
            "vault {vault:?} has a role and no keys, and peers and workers cannot assume roles; set its ak and sk, or use another vault"
        )));
    }
    Ok(())
}

/// Refuses an object store that does not speak S3, where it is to be opened. Commands take one: they did before there was this rule.
pub fn require_s3(store: &ObjectStoreInfoPb, vault: &str) -> Result<(), MetaError> {
    if store.provider() == Provider::Azure {
        return Err(MetaError::invalid(format!(
            "vault {vault:?} is in AZURE, where files can be neither copied nor deleted from here; use a vault in a store that speaks S3"
        )));
    }
    Ok(())
}

/// Refuses an object store whose keys would leave no room for the paths of files; Doris's own data may be there.
fn require_short_prefix(store: &ObjectStoreInfoPb, vault: &str) -> Result<(), MetaError> {
    let (prefix, limit) = (store.prefix(), limits::MAX_PREFIX_BYTES);
    if prefix.len() > limit || prefix.contains("//") {
        return Err(MetaError::invalid(format!(
            "vault {vault:?} has a prefix of {} bytes; collections need one of at most {limit} bytes, without an empty part; use another vault",
            prefix.len()
        )));
    }
    Ok(())
}

/// What people call a store: the name of a vault, the id of an object store.
pub fn display_name(instance: &Instance, id: &str) -> String {
    let position = instance.info.resource_ids.iter().position(|other| other == id);
    let name = position.and_then(|position| instance.info.storage_vault_names.get(position));
    name.map_or_else(|| id.to_owned(), Clone::clone)
}

/// The instance whose files a scope's are: its own, or that of the clone whose base layer it is. For a scope whose record cannot be gone.
pub fn owner(reader: &dyn Reader, scope: ScopeId) -> Result<Instance, StoreError> {
    let found = find_owner(reader, scope)?;
    found.ok_or_else(|| StoreError(format!("scope {scope} has no instance, but rows of others name it")))
}

/// The same; `None` once the record is gone.
pub fn find_owner(reader: &dyn Reader, scope: ScopeId) -> Result<Option<Instance>, StoreError> {
    match instances::find_id_of_scope(reader, scope)? {
        Some(instance_id) => instances::find(reader, &instance_id),
        None => Ok(None),
    }
}

/// The same, for who asks for a scope that somebody has named some time ago.
pub fn require_owner(reader: &dyn Reader, scope: ScopeId) -> Result<Instance, ApplyError> {
    let gone = || MetaError::not_found(format!("the instance of scope {scope} was dropped, and all of it is gone"));
    Ok(find_owner(reader, scope)?.ok_or_else(gone)?)
}
