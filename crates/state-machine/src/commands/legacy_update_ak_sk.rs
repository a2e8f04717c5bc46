//! Gives one of an instance's object stores new keys, as older clients ask for it.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::object_store_keys::{StoreKeys, StoreKeysReply};
use crate::storage_request::StorageCall;
use quorate_model::MetaError;
use quorate_wire::doris::alter_obj_store_info_request::Operation;

#[derive(Clone, PartialEq, prost::Message)]
pub struct LegacyUpdateAkSk {
    #[prost(message, required, tag = "1")]
    pub keys: StoreKeys,
}

impl Prepare for LegacyUpdateAkSk {
    type Request = StorageCall;

    fn prepare(call: StorageCall, context: &PrepareContext<'_>) -> Result<LegacyUpdateAkSk, MetaError> {
        let keys = StoreKeys::prepare(&call, Operation::LegacyUpdateAkSk, context)?;
        Ok(LegacyUpdateAkSk { keys })
    }

    fn note(reply: &StoreKeysReply) -> &'static str {
        reply.note()
    }
}

impl Command for LegacyUpdateAkSk {
    type Reply = StoreKeysReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<StoreKeysReply, ApplyError> {
        self.keys.apply(context)
    }
}
