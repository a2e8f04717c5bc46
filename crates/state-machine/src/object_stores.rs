//! Object stores and vaults that belong to an instance, and how their secrets rest.
//!
//! Only `sk` is a secret. It is sealed before a command is made and unsealed after a row is read; in between, in log, state
//! and checkpoints, `sk` is ciphertext and `encryption_info` names the key.

use crate::command::{SealSecret, SealedSecret};
use crate::record::Counters;
use crate::recoveries;
use crate::sealed::SealedStore;
use crate::{limits, text_bounds};
use quorate_model::{ErrorCode, MetaError};
use quorate_wire::doris::object_store_info_pb::Provider;
use quorate_wire::doris::{CredProviderTypePb, EncryptionInfoPb, InstanceInfoPb, ObjectStoreInfoPb, RamUserPb};

/// Shown beside every secret: what we really use, which is not upstream's method.
pub const ENCRYPTION_METHOD: &str = "AES_256_GCM_SIV";
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
        unseal_store(secrets, store)?;
    }
    info.ram_user.as_mut().map_or(Ok(()), |user| unseal_user(secrets, user))
}

/// Replaces an object store's ciphertext by its secret.
pub fn unseal_store(secrets: &dyn UnsealSecret, store: &mut ObjectStoreInfoPb) -> Result<(), MetaError> {
    unseal(secrets, &mut store.sk, &store.encryption_info)
}

/// Replaces an account's ciphertext by its secret.
pub fn unseal_user(secrets: &dyn UnsealSecret, user: &mut RamUserPb) -> Result<(), MetaError> {
    unseal(secrets, &mut user.sk, &user.encryption_info)
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
    check_address(store)?;
    store.provider = provider.map(|provider| provider as i32);
    store.prefix = Some(trimmed_prefix(store.prefix()).to_owned());
    store.external_endpoint.get_or_insert_default();
    Ok(())
}

/// Refuses what is no address for any peer. Upstream keeps such a store and fails later, when a file is to be written there.
fn check_address(store: &ObjectStoreInfoPb) -> Result<(), MetaError> {
    let wrong = if !store.endpoint().bytes().all(|byte| byte.is_ascii_graphic()) {
        "endpoint has a blank, a control character or a letter that is not ASCII; give a host or a URL"
    } else if store.bucket().chars().any(|letter| letter.is_whitespace() || letter.is_control()) {
        "bucket has a blank or a control character; give the bucket's name"
    } else {
        return Ok(());
    };
    Err(MetaError::invalid(format!("obj_info {wrong}")))
}

/// A prefix as it is stored.
pub fn trimmed_prefix(prefix: &str) -> &str {
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

/// The id the next object store or vault of an instance gets: one more than the greatest, and none that a cluster which this one was
/// recovered from can have given to another, under which backends may still look for its files.
pub fn next_id(counters: &Counters, info: &InstanceInfoPb) -> u64 {
    let ids = info
        .obj_info
        .iter()
        .map(ObjectStoreInfoPb::id)
        .chain(info.resource_ids.iter().map(String::as_str));
    let greatest = ids.filter_map(|id| id.parse::<u64>().ok()).max().unwrap_or(0);
    greatest.max(recoveries::vault_ids_above(counters)) + 1
}

/// Names this build does not know count as unset, however the request was encoded: upstream's parser drops them.
pub fn without_unknown_enums(mut store: ObjectStoreInfoPb) -> ObjectStoreInfoPb {
    store.provider = store.provider.filter(|number| Provider::is_valid(*number));
    store.cred_provider_type = store.cred_provider_type.filter(|number| CredProviderTypePb::is_valid(*number));
    store
}

/// Whether an object store can assume a role: only where the provider has them.
pub fn can_assume_roles(store: &ObjectStoreInfoPb) -> bool {
    let provider = store.provider.and_then(|number| Provider::try_from(number).ok());
    matches!(provider, Some(Provider::S3 | Provider::Oss))
}

/// Whether a role, or the profile of a machine, is all there is to open an object store with.
pub fn needs_role(store: &ObjectStoreInfoPb) -> bool {
    let by_profile = store.cred_provider_type == Some(CredProviderTypePb::InstanceProfile as i32);
    let has_keys = !store.ak().is_empty() && !store.sk().is_empty();
    (store.role_arn.is_some() || by_profile) && !has_keys
}

/// Takes a role instead of keys.
pub fn take_role(store: &mut ObjectStoreInfoPb, role_arn: &str, external_id: Option<&str>) {
    (store.ak, store.sk, store.encryption_info) = (None, None, None);
    store.role_arn = Some(role_arn.to_owned());
    store.external_id = external_id.map(str::to_owned);
    store.cred_provider_type = Some(CredProviderTypePb::InstanceProfile as i32);
}

/// Forgets a role that keys replace.
pub fn clear_role(store: &mut ObjectStoreInfoPb) {
    (store.role_arn, store.external_id, store.cred_provider_type) = (None, None, None);
}

/// Whether an added object store needs a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrefixRule {
    Required,
    Optional,
}

/// Checks what is added to an instance that exists, against the object stores it has outside of vaults.
pub fn check_addition(info: &InstanceInfoPb, added: &SealedStore, prefix_rule: PrefixRule) -> Result<(), MetaError> {
    let store = &added.store;
    if store.provider.is_none() {
        return Err(MetaError::invalid("s3 conf lease provider info"));
    }
    if info.obj_info.len() >= limits::MAX_OBJECT_STORES {
        let message = "this instance history has greater than 10 objs, please new another instance";
        return Err(MetaError::new(ErrorCode::LimitReached, message));
    }
    if store.role_arn.is_none() && (store.ak().is_empty() || store.sk().is_empty()) || !has_place(store, prefix_rule) {
        return Err(MetaError::invalid("s3 conf info err, please check it"));
    }
    if info.obj_info.iter().any(|other| is_same_conf(added, other)) {
        return Err(MetaError::invalid("original obj infos has a same conf, please check it"));
    }
    Ok(())
}

fn has_place(store: &ObjectStoreInfoPb, prefix_rule: PrefixRule) -> bool {
    let has_prefix = !store.prefix().is_empty() || prefix_rule == PrefixRule::Optional;
    let has_role = store.role_arn.as_deref() != Some("");
    has_prefix && has_role && ![store.bucket(), store.endpoint(), store.region()].contains(&"")
}

fn is_same_conf(added: &SealedStore, other: &ObjectStoreInfoPb) -> bool {
    let store = &added.store;
    let texts = |store: &ObjectStoreInfoPb| {
        [
            store.bucket(),
            store.prefix(),
            store.endpoint(),
            store.region(),
            store.external_endpoint(),
            // Two stores without keys are the same only if their roles are.
            store.role_arn(),
        ]
        .map(str::to_owned)
    };
    texts(store) == texts(other) && store.provider == other.provider && added.has_keys_of(other)
}

/// An added object store in stored form, but for its secret; one whose address is none is refused, before what applying would find wrong.
pub fn normalized(mut store: ObjectStoreInfoPb) -> Result<ObjectStoreInfoPb, MetaError> {
    check_address(&store)?;
    store.prefix = Some(trimmed_prefix(store.prefix()).to_owned());
    store.external_endpoint.get_or_insert_default();
    if store.role_arn.is_some() {
        store.cred_provider_type.get_or_insert(CredProviderTypePb::InstanceProfile as i32);
    }
    Ok(store)
}

/// An object store with what its instance adds.
pub fn registered(store: &ObjectStoreInfoPb, id: u64, now_seconds: i64, sse_enabled: bool) -> ObjectStoreInfoPb {
    ObjectStoreInfoPb {
        id: Some(id.to_string()),
        ctime: Some(now_seconds),
        mtime: Some(now_seconds),
        sse_enabled: Some(sse_enabled),
        ..store.clone()
    }
}
