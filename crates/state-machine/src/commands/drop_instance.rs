//! Marks an instance as dropped. Its rows stay until its data is gone ([`crate::collected`]); until then, dropping it again succeeds.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::{instances, text_bounds};
use quorate_model::MetaError;
use quorate_wire::doris::AlterInstanceRequest;

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropInstance {
    #[prost(string, tag = "1")]
    pub instance_id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct DropInstanceReply {}

impl Prepare for DropInstance {
    type Request = AlterInstanceRequest;

    fn prepare(request: AlterInstanceRequest, _: &PrepareContext<'_>) -> Result<DropInstance, MetaError> {
        text_bounds::check_texts(&[("instance_id", &request.instance_id)])?;
        match request.instance_id {
            Some(instance_id) if !instance_id.is_empty() => Ok(DropInstance { instance_id }),
            _ => Err(MetaError::invalid("instance id not set")),
        }
    }
}

impl Command for DropInstance {
    type Reply = DropInstanceReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<DropInstanceReply, ApplyError> {
        instances::drop(context, &self.instance_id)?;
        Ok(DropInstanceReply {})
    }
}
