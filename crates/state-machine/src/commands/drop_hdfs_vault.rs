//! Removes an HDFS vault from its instance.
//!
//! Upstream removes whatever has the name. An S3 vault is refused by its own route, so this one does not find it either.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::storage_request::{self, StorageCall};
use crate::{text_bounds, vaults};
use quorate_model::{ErrorCode, MetaError};
use quorate_wire::doris::alter_obj_store_info_request::Operation;

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropHdfsVault {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropHdfsVaultReply {}

impl Prepare for DropHdfsVault {
    type Request = StorageCall;

    fn prepare(call: StorageCall, _: &PrepareContext<'_>) -> Result<DropHdfsVault, MetaError> {
        let request = call.request_for(Operation::DropHdfsInfo);
        let vault = storage_request::given_hdfs_vault(&request)?;
        text_bounds::check_texts(&[("vault name", &vault.name)])?;
        Ok(DropHdfsVault {
            cloud_unique_id: storage_request::caller(&request)?,
            name: vault.name.unwrap_or_default(),
        })
    }
}

impl Command for DropHdfsVault {
    type Reply = DropHdfsVaultReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DropHdfsVaultReply, ApplyError> {
        let instance = storage_request::instance_to_change(context.reader(), &self.cloud_unique_id)?;
        let not_found = || MetaError::new(ErrorCode::VaultNotFound, format!("vault_name={} not found", self.name));
        let position = vaults::position(&instance.info, &self.name).ok_or_else(not_found)?;
        if vaults::read(context.reader(), &instance, position)?.hdfs_info.is_none() {
            return Err(not_found().into());
        }
        vaults::remove(context, instance, position);
        Ok(DropHdfsVaultReply {})
    }
}

#[cfg(test)]
mod tests;
