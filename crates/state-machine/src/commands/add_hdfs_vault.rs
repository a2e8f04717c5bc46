//! Adds a vault in HDFS. As upstream, a request without `hdfs_info` adds one in an object store.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::storage_request::{self, StorageCall};
use crate::text_bounds;
use crate::vaults::{self, VaultReply};
use quorate_model::MetaError;
use quorate_wire::doris::StorageVaultPb;
use quorate_wire::doris::alter_obj_store_info_request::Operation;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AddHdfsVault {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    /// Without id and times; `sk` is ciphertext.
    #[prost(message, required, tag = "2")]
    pub vault: StorageVaultPb,
    #[prost(bool, tag = "3")]
    pub becomes_default: bool,
    /// What is wrong with the vault itself, reported only when its name is free.
    #[prost(string, optional, tag = "4")]
    pub fault: Option<String>,
}

impl Prepare for AddHdfsVault {
    type Request = StorageCall;

    fn prepare(call: StorageCall, context: &PrepareContext<'_>) -> Result<AddHdfsVault, MetaError> {
        let request = call.request_for(Operation::AddHdfsInfo);
        let mut vault = storage_request::given_hdfs_vault(&request)?;
        let cloud_unique_id = storage_request::caller(&request)?;
        vaults::check_bounds(&vault)?;
        let fault = vaults::check_and_normalize(&mut vault, &call.hdfs_prefix_suffix).err();
        vaults::seal(context.secrets, &mut vault)?;
        let command = AddHdfsVault {
            cloud_unique_id,
            vault: StorageVaultPb { id: None, ..vault },
            becomes_default: request.set_as_default_storage_vault.unwrap_or_default(),
            fault: fault.map(|fault| fault.message),
        };
        text_bounds::check_command_size("add_hdfs_vault", &command)?;
        Ok(command)
    }
}

impl Command for AddHdfsVault {
    type Reply = VaultReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<VaultReply, ApplyError> {
        let instance = storage_request::instance_to_change(context.reader(), &self.cloud_unique_id)?;
        vaults::check_name_free(&instance.info, self.vault.name())?;
        if let Some(fault) = &self.fault {
            return Err(MetaError::invalid(fault.clone()).into());
        }
        vaults::add(context, instance, &self.vault, self.becomes_default)
    }
}

#[cfg(test)]
mod tests;
