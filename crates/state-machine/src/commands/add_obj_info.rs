//! Appends an object store to an instance that keeps its data outside of vaults.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::object_stores::{self, PrefixRule};
use crate::sealed::SealedStore;
use crate::storage_request::{self, StorageCall};
use crate::{instances, text_bounds};
use quorate_model::MetaError;
use quorate_wire::doris::alter_obj_store_info_request::Operation;

#[derive(Clone, PartialEq, prost::Message)]
pub struct AddObjInfo {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    #[prost(message, required, tag = "2")]
    pub added: SealedStore,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct AddObjInfoReply {}

impl Prepare for AddObjInfo {
    type Request = StorageCall;

    fn prepare(call: StorageCall, context: &PrepareContext<'_>) -> Result<AddObjInfo, MetaError> {
        let request = call.request_for(Operation::AddObjInfo);
        let store = storage_request::given_store(&request)?;
        let command = AddObjInfo {
            cloud_unique_id: storage_request::caller(&request)?,
            added: SealedStore::seal(context.secrets, object_stores::normalized(store)?)?,
        };
        text_bounds::check_command_size("add_obj_info", &command)?;
        Ok(command)
    }
}

impl Command for AddObjInfo {
    type Reply = AddObjInfoReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AddObjInfoReply, ApplyError> {
        let mut instance = storage_request::instance_to_change(context.reader(), &self.cloud_unique_id)?;
        let info = &mut instance.info;
        if info.enable_storage_vault() {
            return Err(MetaError::invalid("Storage vault doesn't support add obj info").into());
        }
        object_stores::check_addition(info, &self.added, PrefixRule::Required)?;
        let (id, sse_enabled) = (object_stores::next_id(&context.counters, info), info.sse_enabled());
        info.obj_info.push(object_stores::registered(
            &self.added.store,
            id,
            context.now().seconds(),
            sse_enabled,
        ));
        instances::put(context, &instance);
        Ok(AddObjInfoReply {})
    }
}

#[cfg(test)]
mod tests;
