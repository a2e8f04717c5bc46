//! Leaves an instance without a default vault: new tables have to name theirs. Without one already it is no error.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances;
use crate::storage_request::{self, StorageCall};
use quorate_model::MetaError;
use quorate_wire::doris::alter_obj_store_info_request::Operation;

#[derive(Clone, PartialEq, prost::Message)]
pub struct UnsetDefaultVault {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UnsetDefaultVaultReply {}

impl Prepare for UnsetDefaultVault {
    type Request = StorageCall;

    fn prepare(call: StorageCall, _: &PrepareContext<'_>) -> Result<UnsetDefaultVault, MetaError> {
        let cloud_unique_id = storage_request::caller(&call.request_for(Operation::UnsetDefaultVault))?;
        Ok(UnsetDefaultVault { cloud_unique_id })
    }
}

impl Command for UnsetDefaultVault {
    type Reply = UnsetDefaultVaultReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<UnsetDefaultVaultReply, ApplyError> {
        let mut instance = storage_request::instance_to_change(context.reader(), &self.cloud_unique_id)?;
        let info = &mut instance.info;
        (info.default_storage_vault_id, info.default_storage_vault_name) = (None, None);
        instances::put(context, &instance);
        Ok(UnsetDefaultVaultReply {})
    }
}
