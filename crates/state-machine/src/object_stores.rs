//! Object stores and vaults that belong to an instance, and how their secrets rest.
//!
//! Only `sk` is a secret. It is sealed before a command is made and unsealed after a row is read; in between, in log, state
//! and checkpoints, `sk` is ciphertext and `encryption_info` names the key.

use crate::command::{SealSecret, SealedSecret};
use crate::keys::{self, RecordTable};
use crate::text_bounds;
use bytes::Bytes;
use quorate_model::{MetaError, ScopeId};
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{
    CredProviderTypePb, EncryptionInfoPb, HdfsVaultInfo, InstanceInfoPb, ObjectStoreInfoPb, RamUserPb, StorageVaultPb,
};

/// Shown beside every secret: what we really use, which is not upstream's method.
pub const ENCRYPTION_METHOD: &str = "AES_256_GCM_SIV";
/// The name of the vault that is created with its instance.
pub const BUILT_IN_VAULT_NAME: &str = "built_in_storage_vault";

/// Decrypts secrets for the few replies that show them.
pub trait UnsealSecret {
    fn unseal(&self, secret: &SealedSecret) -> Result<String, MetaError>;
}

/// How a reply shows secrets.
#[derive(Clone, Copy)]
pub enum Secrets<'a> {
    /// As stored: ciphertext.
    Sealed,
    /// In clear.
    Unsealed(&'a dyn UnsealSecret),
}

/// Replaces a secret by its ciphertext. What the caller says about encryption is dropped: it is not ours.
fn seal(secrets: &dyn SealSecret, sk: &mut Option<String>, info: &mut Option<EncryptionInfoPb>) -> Result<(), MetaError> {
    *info = None;
    let Some(plain) = sk.as_ref().filter(|plain| !plain.is_empty()) else {
        return Ok(());
    };
    let sealed = secrets.seal(plain)?;
    *sk = Some(sealed.ciphertext);
    *info = Some(EncryptionInfoPb {
        encryption_method: Some(ENCRYPTION_METHOD.to_owned()),
        key_id: Some(sealed.key_id),
    });
    Ok(())
}

fn unseal(secrets: &dyn UnsealSecret, sk: &mut Option<String>, info: &Option<EncryptionInfoPb>) -> Result<(), MetaError> {
    if let (Some(ciphertext), Some(info)) = (sk.as_mut(), info) {
        let sealed = SealedSecret {
            ciphertext: std::mem::take(ciphertext),
            key_id: info.key_id(),
        };
        *ciphertext = secrets.unseal(&sealed)?;
    }
    Ok(())
}

/// Seals the secret of a cloud account.
pub fn seal_user(secrets: &dyn SealSecret, user: &mut RamUserPb) -> Result<(), MetaError> {
    seal(secrets, &mut user.sk, &mut user.encryption_info)
}

/// Seals the secret of an object store.
pub fn seal_store(secrets: &dyn SealSecret, store: &mut ObjectStoreInfoPb) -> Result<(), MetaError> {
    seal(secrets, &mut store.sk, &mut store.encryption_info)
}

/// Shows an instance's secrets as the reply wants them.
pub fn show_secrets(secrets: Secrets<'_>, info: &mut InstanceInfoPb) -> Result<(), MetaError> {
    let Secrets::Unsealed(secrets) = secrets else {
        return Ok(());
    };
    let staged = info.stages.iter_mut().filter_map(|stage| stage.obj_info.as_mut());
    for store in info.obj_info.iter_mut().chain(staged) {
        unseal(secrets, &mut store.sk, &store.encryption_info)?;
    }
    if let Some(user) = &mut info.ram_user {
        unseal(secrets, &mut user.sk, &user.encryption_info)?;
    }
    Ok(())
}

/// Checks an object store that comes with a new instance, and brings it into stored form but for its secret, id and times
/// (spec/doris-http.md 12.1).
pub fn check_and_normalize(store: &mut ObjectStoreInfoPb) -> Result<(), MetaError> {
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    let provider = store.provider.and_then(|number| Provider::try_from(number).ok());
    let has_place = given(&store.bucket) && given(&store.endpoint) && given(&store.region);
    let by_profile = store.cred_provider_type == Some(CredProviderTypePb::InstanceProfile as i32);
    if let Some(role) = &store.role_arn {
        let can_assume_roles = matches!(provider, Some(Provider::S3 | Provider::Oss));
        if role.is_empty() || !by_profile || !can_assume_roles || !has_place {
            return Err(MetaError::invalid("object storage conf info err with role_arn, please check it"));
        }
    } else {
        let has_keys = given(&store.ak) && given(&store.sk);
        let profile_only = by_profile && !given(&store.ak) && !given(&store.sk);
        let reachable = given(&store.external_endpoint) || provider == Some(Provider::Oss) || profile_only;
        if !(has_keys || profile_only) || !has_place || provider.is_none() || !reachable {
            return Err(MetaError::invalid("s3 conf info err, please check it"));
        }
    }
    store.provider = provider.map(|provider| provider as i32);
    store.prefix = Some(trimmed_prefix(store.prefix()).to_owned());
    store.external_endpoint.get_or_insert_default();
    Ok(())
}

/// Checks an HDFS vault and brings it into stored form (spec/doris-http.md 13.1). The random `suffix` keeps two vaults with
/// the same prefix apart.
pub fn check_and_normalize_hdfs(hdfs: &mut HdfsVaultInfo, suffix: &str) -> Result<(), MetaError> {
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

fn trimmed_prefix(prefix: &str) -> &str {
    prefix.trim_matches(['/', ' ', '\t'])
}

/// Refuses texts of an object store that are too long.
pub fn check_bounds(store: &ObjectStoreInfoPb) -> Result<(), MetaError> {
    text_bounds::check_texts(&[
        ("obj_info id", &store.id),
        ("obj_info ak", &store.ak),
        ("obj_info sk", &store.sk),
        ("obj_info bucket", &store.bucket),
        ("obj_info prefix", &store.prefix),
        ("obj_info endpoint", &store.endpoint),
        ("obj_info region", &store.region),
        ("obj_info external_endpoint", &store.external_endpoint),
        ("obj_info user_id", &store.user_id),
        ("obj_info role_arn", &store.role_arn),
        ("obj_info external_id", &store.external_id),
    ])
}

/// The id the next object store or vault of an instance gets: one more than the greatest.
pub fn next_id(info: &InstanceInfoPb) -> u64 {
    let ids = info
        .obj_info
        .iter()
        .map(ObjectStoreInfoPb::id)
        .chain(info.resource_ids.iter().map(String::as_str));
    ids.filter_map(|id| id.parse::<u64>().ok()).max().unwrap_or(0) + 1
}

/// Where a vault's row is.
pub fn vault_key(scope: ScopeId, vault: &StorageVaultPb) -> Bytes {
    let mut key = keys::record_in_scope(RecordTable::Vault, scope);
    keys::put_escaped(&mut key, vault.id().as_bytes());
    key.freeze()
}
