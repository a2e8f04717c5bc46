//! Adds a vault in an object store.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::object_stores::{self, PrefixRule};
use crate::sealed::SealedStore;
use crate::storage_request::{self, StorageCall};
use crate::vaults::{self, VaultReply};
use crate::text_bounds;
use quorate_model::MetaError;
use quorate_wire::doris::StorageVaultPb;
use quorate_wire::doris::alter_obj_store_info_request::Operation;
use quorate_wire::doris::storage_vault_pb::PathFormat;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AddS3Vault {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
    #[prost(message, required, tag = "3")]
    pub added: SealedStore,
    #[prost(message, optional, tag = "4")]
    pub path_format: Option<PathFormat>,
    #[prost(bool, tag = "5")]
    pub becomes_default: bool,
}

impl Prepare for AddS3Vault {
    type Request = StorageCall;

    fn prepare(call: StorageCall, context: &PrepareContext<'_>) -> Result<AddS3Vault, MetaError> {
        let request = call.request_for(Operation::AddS3Vault);
        let store = storage_request::given_store(&request)?;
        let cloud_unique_id = storage_request::caller(&request)?;
        let vault = request.vault.unwrap_or_default();
        if vault.name().is_empty() {
            return Err(MetaError::invalid("storage vault name not set"));
        }
        vaults::check_bounds(&vault)?;
        let command = AddS3Vault {
            cloud_unique_id,
            name: vault.name.unwrap_or_default(),
            added: SealedStore::seal(context.secrets, object_stores::normalized(store)?)?,
            path_format: vault.path_format,
            becomes_default: request.set_as_default_storage_vault.unwrap_or_default(),
        };
        text_bounds::check_command_size("add_s3_vault", &command)?;
        Ok(command)
    }
}

impl Command for AddS3Vault {
    type Reply = VaultReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<VaultReply, ApplyError> {
        let instance = storage_request::instance_to_change(context.reader(), &self.cloud_unique_id)?;
        if !instance.info.enable_storage_vault() {
            return Err(MetaError::invalid("Storage vault doesn't support storage vault").into());
        }
        object_stores::check_addition(&instance.info, &self.added, PrefixRule::Optional)?;
        if self.added.store.role_arn.is_some() && !object_stores::can_assume_roles(&self.added.store) {
            return Err(MetaError::invalid("object storage conf info err with role_arn, please check it").into());
        }
        let vault = StorageVaultPb {
            name: Some(self.name.clone()),
            obj_info: Some(self.added.store.clone()),
            path_format: self.path_format,
            ..Default::default()
        };
        vaults::add(context, instance, &vault, self.becomes_default)
    }
}

#[cfg(test)]
mod tests;
