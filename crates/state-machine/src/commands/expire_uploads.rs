//! Gives up segments that were prepared and not committed in time. Proposed by the leader's background loop while
//! [`uploads::is_due`]; which ones is decided here, by stamped time, so every peer gives up the same.

use crate::catalog::uploads;
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::limits;
use crate::store::StoreError;
use quorate_model::MetaError;

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExpireUploads {
    /// Gives up no more than this; 0, or too many: the limit.
    #[prost(uint32, tag = "1")]
    pub max_uploads: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct ExpireUploadsReply {
    #[prost(uint32, tag = "1")]
    pub expired: u32,
    /// There was more to do than the bound allowed: propose another.
    #[prost(bool, tag = "2")]
    pub more: bool,
}

impl Prepare for ExpireUploads {
    /// Made by the leader's background loop, not by a call of the public API.
    type Request = ExpireUploads;

    fn prepare(request: ExpireUploads, _: &PrepareContext<'_>) -> Result<ExpireUploads, MetaError> {
        Ok(request)
    }
}

impl Command for ExpireUploads {
    type Reply = ExpireUploadsReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<ExpireUploadsReply, ApplyError> {
        let limit = match self.max_uploads as usize {
            0 => limits::UPLOADS_PER_EXPIRY,
            uploads => uploads.min(limits::UPLOADS_PER_EXPIRY),
        };
        let mut found = uploads::expired(context.reader(), context.now(), limit + 1)?;
        let more = found.len() > limit;
        found.truncate(limit);
        for (scope, segment_id) in &found {
            let upload = uploads::find(context.reader(), *scope, *segment_id)?;
            let upload = upload.ok_or_else(|| StoreError(format!("segment {segment_id} of scope {scope} expires but is not prepared")))?;
            uploads::give_up(context, *scope, *segment_id, upload);
        }
        Ok(ExpireUploadsReply {
            expired: found.len() as u32,
            more,
        })
    }
}
