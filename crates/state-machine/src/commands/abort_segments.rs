//! Gives prepared segments up: what was written of their files is deleted, and they can never be committed.

use crate::catalog::{Target, bounds, uploads};
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{AbortSegmentsReply, AbortSegmentsRequest};

#[derive(Clone, PartialEq, prost::Message)]
pub struct AbortSegments {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(uint64, repeated, tag = "2")]
    pub segment_ids: Vec<u64>,
}

impl Prepare for AbortSegments {
    type Request = AbortSegmentsRequest;

    fn prepare(request: AbortSegmentsRequest, _: &PrepareContext<'_>) -> Result<AbortSegments, MetaError> {
        let AbortSegmentsRequest { instance_id, segment_ids } = request;
        bounds::check_instance(&instance_id)?;
        bounds::check_segment_ids(&segment_ids)?;
        Ok(AbortSegments { instance_id, segment_ids })
    }
}

impl Command for AbortSegments {
    type Reply = AbortSegmentsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<AbortSegmentsReply, ApplyError> {
        let target = Target::of(context.reader(), &self.instance_id)?;
        let mut aborted = 0;
        for segment_id in &self.segment_ids {
            // One that is committed, or was given up, is no upload any more: repeating an abort is no error.
            if let Some(upload) = uploads::find(context.reader(), target.scope, *segment_id)? {
                uploads::give_up(context, target.scope, *segment_id, upload);
                aborted += 1;
            }
        }
        Ok(AbortSegmentsReply { aborted })
    }
}
