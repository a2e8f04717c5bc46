//! Keeps a snapshot from being dropped, for a time or until the pin is taken away.

use super::drop_snapshot::checked_instance;
use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::record::SnapshotPinRecord;
use crate::snapshots::{check_usable, names, pins};
use crate::{attributes, limits};
use quorate_model::MetaError;
use quorate_wire::quorate::v1::{PinSnapshotRequest, SnapshotRef};

#[derive(Clone, PartialEq, prost::Message)]
pub struct PinSnapshot {
    #[prost(string, tag = "1")]
    pub instance_id: String,
    #[prost(message, required, tag = "2")]
    pub snapshot: SnapshotRef,
    /// 0: until it is taken away.
    #[prost(uint64, tag = "3")]
    pub ttl_seconds: u64,
    /// Random; the next free one is used if it is taken.
    #[prost(int64, tag = "4")]
    pub pin_id: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct PinSnapshotReply {
    #[prost(int64, tag = "1")]
    pub pin_id: i64,
    /// Stamped time; 0 when it must be taken away.
    #[prost(uint64, tag = "2")]
    pub expires_ms: u64,
}

/// A request with what its receiver adds.
#[derive(Clone, Debug, Default)]
pub struct PinSnapshotCall {
    pub request: PinSnapshotRequest,
    /// Any 64 random bits.
    pub random: u64,
}

impl Prepare for PinSnapshot {
    type Request = PinSnapshotCall;

    fn prepare(call: PinSnapshotCall, _: &PrepareContext<'_>) -> Result<PinSnapshot, MetaError> {
        let snapshot = names::checked_reference(call.request.snapshot.unwrap_or_default())?;
        let ttl_seconds = call.request.ttl_seconds;
        if ttl_seconds > limits::MAX_SNAPSHOT_PIN_SECONDS {
            let limit = limits::MAX_SNAPSHOT_PIN_SECONDS;
            return Err(MetaError::invalid(format!("ttl_seconds exceeds maximum of {limit} (30 days)")));
        }
        Ok(PinSnapshot {
            instance_id: checked_instance(call.request.instance_id)?,
            snapshot,
            ttl_seconds,
            pin_id: (call.random >> 1).max(1) as i64,
        })
    }
}

impl Command for PinSnapshot {
    type Reply = PinSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<PinSnapshotReply, ApplyError> {
        let scope = attributes::live_scope(context.reader(), &self.instance_id)?;
        let snapshot = names::require(context.reader(), scope, &self.snapshot)?;
        check_usable(&snapshot)?;
        let expires_ms = match self.ttl_seconds {
            0 => 0,
            seconds => context.now().0.saturating_add(seconds.saturating_mul(1_000)),
        };
        let record = SnapshotPinRecord {
            scope: scope.0,
            revision: snapshot.revision.0,
            expires_ms,
            job: 0,
        };
        let pin_id = pins::add(context, self.pin_id, record)?;
        Ok(PinSnapshotReply { pin_id, expires_ms })
    }
}

#[cfg(test)]
mod tests;
