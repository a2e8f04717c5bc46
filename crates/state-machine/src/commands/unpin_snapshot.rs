//! Takes a caller's pin on a snapshot away. One that is not there, or has expired, is as good as taken away: that succeeds.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::snapshots::pins;
use crate::{instances, text_bounds};
use quorate_model::{MetaError, ScopeId};
use quorate_wire::quorate::v1::UnpinSnapshotRequest;

#[derive(Clone, PartialEq, prost::Message)]
pub struct UnpinSnapshot {
    /// Empty: any.
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(int64, tag = "2")]
    pub pin_id: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct UnpinSnapshotReply {
    #[prost(bool, tag = "1")]
    pub existed: bool,
}

impl Prepare for UnpinSnapshot {
    type Request = UnpinSnapshotRequest;

    fn prepare(request: UnpinSnapshotRequest, _: &PrepareContext<'_>) -> Result<UnpinSnapshot, MetaError> {
        let UnpinSnapshotRequest { instance_id, pin_id } = request;
        text_bounds::check_text("instance_id", &instance_id)?;
        if pin_id <= 0 {
            return Err(MetaError::invalid("pin_id is not positive; pass the one that pin_snapshot answered"));
        }
        Ok(UnpinSnapshot { instance_id, pin_id })
    }
}

impl Command for UnpinSnapshot {
    type Reply = UnpinSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<UnpinSnapshotReply, ApplyError> {
        let id = self.pin_id;
        let Some(pin) = pins::find(context.reader(), id)? else {
            return Ok(UnpinSnapshotReply { existed: false });
        };
        if pin.record.job != 0 {
            let text = format!("pin {id} belongs to job {}; cancel the job, or wait until it has ended", pin.record.job);
            return Err(MetaError::invalid(text).into());
        }
        let named = instances::scope_of(context.reader(), &self.instance_id)?;
        if !self.instance_id.is_empty() && named != Some(ScopeId(pin.record.scope)) {
            let text = format!("pin {id} is not of instance {:?}; leave the instance out, or name the right one", self.instance_id);
            return Err(MetaError::invalid(text).into());
        }
        let was_live = pin.is_live(context.now().0);
        pins::remove(context, id)?;
        Ok(UnpinSnapshotReply { existed: was_live })
    }
}
