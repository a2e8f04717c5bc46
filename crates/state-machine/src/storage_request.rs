//! What every command about an object store or a vault gets, and the checks that all of them share.
//!
//! The order is the contract's: first what is wrong with the body, then whom the call is for, then the operation. The first
//! and half of the second are the same whatever the state is, so `prepare` decides them and no log entry is written.

use crate::command::ApplyError;
use crate::instances::{self, Instance, Route};
use crate::limits;
use crate::store::Reader;
use crate::{object_stores, text_bounds};
use prost::Message;
use quorate_model::MetaError;
use quorate_wire::doris::alter_obj_store_info_request::Operation;
use quorate_wire::doris::{AlterObjStoreInfoRequest, ObjectStoreInfoPb, RamUserPb, StorageVaultPb};

/// What stands for a secret in an error text.
pub const HIDDEN: &str = "(hidden)";

/// A request with what its receiver adds.
#[derive(Clone, Default)]
pub struct StorageCall {
    pub request: AlterObjStoreInfoRequest,
    /// Random; appended to the prefix of an HDFS vault, so that two vaults never share a directory.
    pub hdfs_prefix_suffix: String,
}

impl StorageCall {
    /// The request under its route's own operation: what the body says about it is not looked at.
    pub fn request_for(&self, operation: Operation) -> AlterObjStoreInfoRequest {
        AlterObjStoreInfoRequest {
            op: Some(operation as i32),
            ..self.request.clone()
        }
    }
}

/// The request as error texts quote it, but for its secrets: unlike upstream, no text that may be kept or logged has them.
pub fn quoted(request: &AlterObjStoreInfoRequest) -> String {
    let mut request = request.clone();
    let vault_store = request.vault.as_mut().and_then(|vault| vault.obj_info.as_mut());
    for store in request.obj.iter_mut().chain(vault_store) {
        hide(&mut store.sk);
    }
    let hdfs = request.vault.as_mut().and_then(|vault| vault.hdfs_info.as_mut());
    if let Some(client) = hdfs.and_then(|hdfs| hdfs.build_conf.as_mut()) {
        hide(&mut client.hdfs_kerberos_keytab);
        // Settings go by names that are free, passwords among them.
        for setting in &mut client.hdfs_confs {
            HIDDEN.clone_into(&mut setting.value);
        }
    }
    text_bounds::json_text(&request)
}

/// Puts a placeholder where a secret is.
pub fn hide(secret: &mut Option<String>) {
    if let Some(secret) = secret {
        HIDDEN.clone_into(secret);
    }
}

/// A cloud account whose secret may be quoted.
pub fn hidden_user(user: &RamUserPb) -> RamUserPb {
    let mut user = RamUserPb {
        encryption_info: None,
        ..user.clone()
    };
    hide(&mut user.sk);
    user
}

/// The object store a request is about, wherever it stands, with either keys or a role.
pub fn given_store(request: &AlterObjStoreInfoRequest) -> Result<ObjectStoreInfoPb, MetaError> {
    let in_vault = request.vault.as_ref().and_then(|vault| vault.obj_info.as_ref());
    let refused = |problem: &str| MetaError::invalid(format!("{problem} {}", quoted(request)));
    let Some(store) = request.obj.as_ref().or(in_vault) else {
        return Err(refused("s3 obj info err"));
    };
    if store.encoded_len() > limits::MAX_OBJECT_STORE_BYTES {
        return Err(refused("s3 obj info greater than 1k"));
    }
    match (&store.role_arn, &store.ak, &store.sk) {
        (None, Some(_), Some(_)) | (Some(_), None, None) => Ok(object_stores::without_unknown_enums(store.clone())),
        (None, _, _) => Err(refused("s3 obj info err")),
        (Some(_), _, _) => Err(keys_and_role()),
    }
}

/// Refuses keys and a role for one object store.
pub fn keys_and_role() -> MetaError {
    MetaError::invalid("invaild argument, both set ak/sk and role_arn is not allowed")
}

/// The vault a request is about, which must have a name.
pub fn given_hdfs_vault(request: &AlterObjStoreInfoRequest) -> Result<StorageVaultPb, MetaError> {
    match &request.vault {
        Some(vault) if !vault.name().is_empty() => Ok(vault.clone()),
        _ => Err(MetaError::invalid(format!("hdfs info is not found {}", quoted(request)))),
    }
}

/// Who is asking: given, and not too long.
pub fn caller(request: &AlterObjStoreInfoRequest) -> Result<String, MetaError> {
    check_caller(request.cloud_unique_id())?;
    Ok(request.cloud_unique_id().to_owned())
}

/// As [`caller`], for other requests.
pub fn check_caller(cloud_unique_id: &str) -> Result<(), MetaError> {
    if cloud_unique_id.is_empty() {
        return Err(MetaError::invalid("cloud unique id not set"));
    }
    text_bounds::check_text("cloud_unique_id", cloud_unique_id)
}

/// The id of the caller's instance.
pub fn instance_id(reader: &dyn Reader, cloud_unique_id: &str) -> Result<String, ApplyError> {
    let instance_id = instances::resolve(reader, cloud_unique_id)?;
    if instance_id.is_empty() {
        return Err(MetaError::invalid("empty instance_id").into());
    }
    Ok(instance_id)
}

/// The caller's instance, which must live.
pub fn instance_to_change(reader: &dyn Reader, cloud_unique_id: &str) -> Result<Instance, ApplyError> {
    instances::require(reader, &instance_id(reader, cloud_unique_id)?, Route::ChangeStorage)
}

/// The caller's instance, of which only the keys of stores change: one that was dropped does while its stores are opened.
pub fn instance_to_rekey(reader: &dyn Reader, cloud_unique_id: &str) -> Result<Instance, ApplyError> {
    instances::require(reader, &instance_id(reader, cloud_unique_id)?, Route::ChangeKeys)
}
