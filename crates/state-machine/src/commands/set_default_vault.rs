//! Makes a vault the one that new tables use when they name none.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::storage_request::{self, StorageCall};
use crate::vaults::{self, VaultReply};
use crate::{instances, text_bounds};
use quorate_model::MetaError;
use quorate_wire::doris::alter_obj_store_info_request::Operation;

#[derive(Clone, PartialEq, prost::Message)]
pub struct SetDefaultVault {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    #[prost(string, tag = "2")]
    pub name: String,
}

impl Prepare for SetDefaultVault {
    type Request = StorageCall;

    fn prepare(call: StorageCall, _: &PrepareContext<'_>) -> Result<SetDefaultVault, MetaError> {
        let request = call.request_for(Operation::SetDefaultVault);
        let cloud_unique_id = storage_request::caller(&request)?;
        let name = request.vault.unwrap_or_default().name;
        text_bounds::check_texts(&[("vault name", &name)])?;
        Ok(SetDefaultVault {
            cloud_unique_id,
            name: name.unwrap_or_default(),
        })
    }
}

impl Command for SetDefaultVault {
    type Reply = VaultReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<VaultReply, ApplyError> {
        let mut instance = storage_request::instance_to_change(context.reader(), &self.cloud_unique_id)?;
        let info = &mut instance.info;
        let Some(position) = vaults::position(info, &self.name) else {
            return Err(MetaError::invalid(format!("invalid storage vault name, name ={}", self.name)).into());
        };
        let vault = vaults::read(context.reader(), &instance, position)?;
        let default_replaced = vaults::make_default(&mut instance.info, &vault);
        instances::put(context, &instance);
        Ok(VaultReply {
            vault_id: vault.id.unwrap_or_default(),
            default_replaced,
        })
    }
}

#[cfg(test)]
mod tests;
