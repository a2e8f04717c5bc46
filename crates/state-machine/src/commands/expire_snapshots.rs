//! Ends what is due: pins on snapshots, snapshots past their time to live, images that never came, and the snapshots of dropped
//! instances. What somebody uses is put off.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::limits;
use crate::snapshots::expiry;
use quorate_model::MetaError;

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExpireSnapshots {
    /// Looks at no more rows than this; 0, or too many: the limit.
    #[prost(uint32, tag = "1")]
    pub max_rows: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExpireSnapshotsReply {
    #[prost(uint32, tag = "1")]
    pub snapshots_dropped: u32,
    #[prost(uint32, tag = "2")]
    pub snapshots_aborted: u32,
    #[prost(uint32, tag = "3")]
    pub pins_ended: u32,
    #[prost(uint32, tag = "4")]
    pub put_off: u32,
    /// There was more to do than the bounds allowed: propose another.
    #[prost(bool, tag = "5")]
    pub more: bool,
}

impl Prepare for ExpireSnapshots {
    /// Made by the leader's background loop, not by a call of the public API.
    type Request = ExpireSnapshots;

    fn prepare(request: ExpireSnapshots, _: &PrepareContext<'_>) -> Result<ExpireSnapshots, MetaError> {
        Ok(request)
    }
}

impl Command for ExpireSnapshots {
    type Reply = ExpireSnapshotsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<ExpireSnapshotsReply, ApplyError> {
        let rows = match self.max_rows as usize {
            0 => limits::EXPIRIES_PER_COMMAND,
            rows => rows.min(limits::EXPIRIES_PER_COMMAND),
        };
        let expiry::Outcome {
            snapshots_dropped,
            snapshots_aborted,
            pins_ended,
            put_off,
            more,
        } = expiry::run(context, rows)?;
        Ok(ExpireSnapshotsReply {
            snapshots_dropped,
            snapshots_aborted,
            pins_ended,
            put_off,
            more,
        })
    }
}
