//! Registers an instance, with its first object store or vault if the caller gives one.
//!
//! What can be wrong with the request is wrong whatever the state is, so all of it is checked before a secret is sealed;
//! only whether the id is free is decided in `apply`.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext, SealSecret};
use crate::{instances, object_stores, text_bounds, vaults};
use quorate_model::MetaError;
use quorate_wire::doris::instance_info_pb::Status;
use quorate_wire::doris::{
    CreateInstanceRequest, InstanceInfoPb, MultiVersionStatus, ObjectStoreInfoPb, RamUserPb, SnapshotSwitchStatus, StorageVaultPb,
};

/// Of an instance whose snapshots are switched on from the start (spec/doris-http.md 11.1).
const SNAPSHOT_INTERVAL_SECONDS: i64 = 3_600;
const RESERVED_SNAPSHOTS: i64 = 1;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateInstance {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(string, tag = "2")]
    pub user_id: String,
    #[prost(string, tag = "3")]
    pub name: String,
    #[prost(bool, tag = "4")]
    pub sse_enabled: bool,
    /// Without id and times; `sk` is ciphertext. So is that of the next two.
    #[prost(message, optional, tag = "5")]
    pub obj_info: Option<ObjectStoreInfoPb>,
    #[prost(message, optional, tag = "6")]
    pub ram_user: Option<RamUserPb>,
    #[prost(message, optional, tag = "7")]
    pub vault: Option<StorageVaultPb>,
    /// The receiving peer's settings: whether snapshots can be switched on, and whether they are.
    #[prost(bool, tag = "8")]
    pub multi_version: bool,
    #[prost(bool, tag = "9")]
    pub snapshots: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CreateInstanceReply {}

/// A request with what its receiver adds.
#[derive(Clone, Default)]
pub struct CreateInstanceCall {
    pub request: CreateInstanceRequest,
    /// Random; appended to the prefix of an HDFS vault, so that two vaults never share a directory.
    pub hdfs_prefix_suffix: String,
}

impl Prepare for CreateInstance {
    type Request = CreateInstanceCall;

    fn prepare(call: CreateInstanceCall, context: &PrepareContext<'_>) -> Result<CreateInstance, MetaError> {
        let mut request = call.request;
        check_bounds(&request)?;
        if let Some(user) = &request.ram_user
            && (user.user_id().is_empty() || user.ak().is_empty() || user.sk().is_empty())
        {
            return Err(MetaError::invalid("ram user info err, please check it"));
        }
        if let Some(store) = &mut request.obj_info {
            object_stores::check_and_normalize(store)?;
        }
        if request.instance_id().is_empty() {
            return Err(MetaError::invalid("instance id not set"));
        }
        if let Some(vault) = &mut request.vault {
            vault.name = Some(vaults::BUILT_IN_NAME.to_owned());
            vaults::check_and_normalize(vault, &call.hdfs_prefix_suffix)?;
        }
        seal_secrets(&mut request, context.secrets)?;
        let command = CreateInstance {
            instance_id: request.instance_id.unwrap_or_default(),
            user_id: request.user_id.unwrap_or_default(),
            name: request.name.unwrap_or_default(),
            sse_enabled: request.sse_enabled.unwrap_or_default(),
            obj_info: request.obj_info,
            ram_user: request.ram_user,
            vault: request.vault,
            multi_version: context.settings.multi_version_instances,
            snapshots: context.settings.snapshot_instances,
        };
        text_bounds::check_command_size("create_instance", &command)?;
        Ok(command)
    }
}

fn check_bounds(request: &CreateInstanceRequest) -> Result<(), MetaError> {
    text_bounds::check_texts(&[
        ("instance_id", &request.instance_id),
        ("user_id", &request.user_id),
        ("name", &request.name),
    ])?;
    if let Some(user) = &request.ram_user {
        text_bounds::check_texts(&[
            ("ram_user user_id", &user.user_id),
            ("ram_user ak", &user.ak),
            ("ram_user sk", &user.sk),
            ("ram_user external_id", &user.external_id),
        ])?;
    }
    let vault_store = request.vault.as_ref().and_then(|vault| vault.obj_info.as_ref());
    request.obj_info.iter().chain(vault_store).try_for_each(object_stores::check_bounds)
}

fn seal_secrets(request: &mut CreateInstanceRequest, secrets: &dyn SealSecret) -> Result<(), MetaError> {
    let vault_store = request.vault.as_mut().and_then(|vault| vault.obj_info.as_mut());
    for store in request.obj_info.iter_mut().chain(vault_store) {
        object_stores::seal_store(secrets, store)?;
    }
    request
        .ram_user
        .as_mut()
        .map_or(Ok(()), |user| object_stores::seal_user(secrets, user))
}

impl Command for CreateInstance {
    type Reply = CreateInstanceReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CreateInstanceReply, ApplyError> {
        let instance_id = &self.instance_id;
        if instances::exists(context.reader(), instance_id)? {
            return Err(MetaError::exists(format!("instance already existed, instance_id={instance_id}, err=Ok")).into());
        }
        let mut info = InstanceInfoPb {
            instance_id: Some(instance_id.clone()),
            user_id: Some(self.user_id.clone()),
            name: Some(self.name.clone()),
            status: Some(Status::Normal as i32),
            sse_enabled: Some(self.sse_enabled),
            enable_storage_vault: Some(self.obj_info.is_none()),
            ram_user: self.ram_user.clone(),
            ..InstanceInfoPb::default()
        };
        if self.multi_version {
            make_ready_for_snapshots(&mut info, self.snapshots);
        }
        let now_seconds = context.now().seconds();
        if let Some(store) = &self.obj_info {
            let id = object_stores::next_id(&context.counters, &info);
            info.obj_info
                .push(object_stores::registered(store, id, now_seconds, self.sse_enabled));
        }
        // A built-in vault always encrypts on the server's side, whatever the instance says (as upstream).
        let vault = self.vault.as_ref();
        let vault = vault.map(|vault| vaults::register(&context.counters, &mut info, vault, now_seconds, true));
        let scope = instances::add(context, info);
        if let Some(vault) = vault {
            context.put_record(vaults::key(scope, vault.id()), &vault);
        }
        Ok(CreateInstanceReply {})
    }
}

fn make_ready_for_snapshots(info: &mut InstanceInfoPb, are_on: bool) {
    info.set_multi_version_status(MultiVersionStatus::MultiVersionReadWrite);
    info.set_snapshot_switch_status(SnapshotSwitchStatus::SnapshotSwitchOff);
    if are_on {
        info.set_snapshot_switch_status(SnapshotSwitchStatus::SnapshotSwitchOn);
        info.snapshot_interval_seconds = Some(SNAPSHOT_INTERVAL_SECONDS);
        info.max_reserved_snapshot = Some(RESERVED_SNAPSHOTS);
    }
}

#[cfg(test)]
mod tests;
