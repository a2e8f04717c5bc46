//! Has an instance's object stores no longer encrypt on their side. The tests are those of `enable_instance_sse`.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::{self, ServerSideEncryption};
use quorate_model::MetaError;
use quorate_wire::doris::AlterInstanceRequest;

#[derive(Clone, PartialEq, prost::Message)]
pub struct DisableInstanceSse {
    #[prost(string, tag = "1")]
    pub instance_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DisableInstanceSseReply {}

impl Prepare for DisableInstanceSse {
    type Request = AlterInstanceRequest;

    fn prepare(request: AlterInstanceRequest, _: &PrepareContext<'_>) -> Result<DisableInstanceSse, MetaError> {
        let instance_id = instances::given_id(&request)?;
        Ok(DisableInstanceSse { instance_id })
    }
}

impl Command for DisableInstanceSse {
    type Reply = DisableInstanceSseReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DisableInstanceSseReply, ApplyError> {
        instances::switch_encryption(context, &self.instance_id, ServerSideEncryption::Off)?;
        Ok(DisableInstanceSseReply {})
    }
}
