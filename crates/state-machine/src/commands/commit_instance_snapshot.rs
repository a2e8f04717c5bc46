//! Makes a snapshot of an instance usable: the frontend of Doris has uploaded its image. An automatic one ends the oldest that are
//! more than the instance wants to keep. The same commit again succeeds and changes nothing: a frontend that has not got the answer
//! repeats it, without a request id.

use crate::command::{ApplyContext, ApplyError, Command, Prepare, PrepareContext};
use crate::instances::Instance;
use crate::snapshots::{self, Snapshot, expiry, lifecycle};
use crate::store::Reader;
use crate::{instance_snapshots, limits, text_bounds};
use quorate_model::MetaError;
use quorate_wire::doris::{CommitSnapshotRequest, SnapshotStatus};
use quorate_wire::quorate::v1::SnapshotState;

#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitInstanceSnapshot {
    #[prost(string, tag = "1")]
    pub cloud_unique_id: String,
    #[prost(string, tag = "2")]
    pub snapshot_id: String,
    /// Empty: where begin said.
    #[prost(string, tag = "3")]
    pub image_url: String,
    #[prost(int64, tag = "4")]
    pub last_journal_id: i64,
    #[prost(int64, tag = "5")]
    pub meta_image_bytes: i64,
    #[prost(int64, tag = "6")]
    pub logical_data_bytes: i64,
    /// The same commit again succeeds. Builds before this field refused it.
    #[prost(bool, tag = "7")]
    pub succeeds_again: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CommitInstanceSnapshotReply {
    /// Automatic snapshots that had to go.
    #[prost(uint32, tag = "1")]
    pub dropped: u32,
}

impl Prepare for CommitInstanceSnapshot {
    type Request = CommitSnapshotRequest;

    fn prepare(request: CommitSnapshotRequest, _: &PrepareContext<'_>) -> Result<CommitInstanceSnapshot, MetaError> {
        instance_snapshots::check_caller(request.cloud_unique_id())?;
        text_bounds::check_texts(&[("image_url", &request.image_url)])?;
        instance_snapshots::parse_id(request.snapshot_id())?;
        Ok(CommitInstanceSnapshot {
            last_journal_id: request.last_journal_id(),
            meta_image_bytes: request.snapshot_meta_image_size(),
            logical_data_bytes: request.snapshot_logical_data_size(),
            cloud_unique_id: request.cloud_unique_id.unwrap_or_default(),
            snapshot_id: request.snapshot_id.unwrap_or_default(),
            image_url: request.image_url.unwrap_or_default(),
            succeeds_again: true,
        })
    }
}

impl Command for CommitInstanceSnapshot {
    type Reply = CommitInstanceSnapshotReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<CommitInstanceSnapshotReply, ApplyError> {
        let instance = instance_snapshots::instance_of_caller(context.reader(), &self.cloud_unique_id)?;
        if self.succeeds_again && self.was_made(context.reader(), &instance)? {
            return Ok(CommitInstanceSnapshotReply::default());
        }
        let mut snapshot = instance_snapshots::require_in_preparation(context.reader(), &instance, &self.snapshot_id)?;
        let now = context.now();
        let record = &mut snapshot.record;
        let doris = record.doris.get_or_insert_default();
        if doris.create_at() + doris.timeout_seconds() < now.seconds() {
            return Err(MetaError::invalid("snapshot has timed out").into());
        }
        doris.set_status(SnapshotStatus::SnapshotNormal);
        doris.finish_at = Some(now.seconds());
        doris.last_journal_id = Some(self.last_journal_id);
        doris.snapshot_meta_image_size = Some(self.meta_image_bytes);
        doris.snapshot_logical_data_size = Some(self.logical_data_bytes);
        if !self.image_url.is_empty() {
            doris.image_url = Some(self.image_url.clone());
            record.location.clone_from(&self.image_url);
        }
        // The time to live counts from the beginning, as the snapshot shows what was there then. Retention ends automatic ones.
        let is_automatic = doris.auto();
        if !is_automatic {
            record.expires_ms = record.created_ms.saturating_add(1_000 * doris.ttl_seconds() as u64);
        }
        record.due_ms = record.expires_ms;
        record.state = SnapshotState::Committed as i32;
        snapshots::save(context, &snapshot)?;
        let dropped = if is_automatic { retain(context, &instance, &snapshot)? } else { 0 };
        Ok(CommitInstanceSnapshotReply { dropped })
    }
}

impl CommitInstanceSnapshot {
    /// Whether the snapshot was committed with just these values.
    fn was_made(&self, reader: &dyn Reader, instance: &Instance) -> Result<bool, ApplyError> {
        let revision = instance_snapshots::parse_id(&self.snapshot_id)?;
        let found = instance_snapshots::find(reader, instance, revision)?;
        let committed = found.filter(|found| found.state() == SnapshotState::Committed);
        let Some(doris) = committed.and_then(|found| found.record.doris) else {
            return Ok(false);
        };
        let image_url = match self.image_url.as_str() {
            "" => instance_snapshots::given_image_url(revision),
            image_url => image_url.to_owned(),
        };
        Ok(doris.image_url() == image_url
            && doris.last_journal_id() == self.last_journal_id
            && doris.snapshot_meta_image_size() == self.meta_image_bytes
            && doris.snapshot_logical_data_size() == self.logical_data_bytes)
    }
}

/// Drops the oldest automatic snapshots that are more than the instance keeps, but none that is used; returns how many.
fn retain(context: &mut ApplyContext<'_, '_>, instance: &Instance, committed: &Snapshot) -> Result<u32, ApplyError> {
    let kept = instance.info.max_reserved_snapshot();
    if kept <= 0 {
        return Ok(0);
    }
    let is_automatic = |snapshot: &Snapshot| snapshot.record.doris.as_ref().is_some_and(|doris| doris.auto());
    let mut others = snapshots::all(context.reader(), instance.scope)?;
    others.retain(|other| other.state() == SnapshotState::Committed && other.revision != committed.revision && is_automatic(other));
    let excess = (others.len() + 1).saturating_sub(kept as usize);
    let mut dropped = 0;
    for snapshot in others.into_iter().take(excess.min(limits::EXPIRIES_PER_COMMAND)) {
        if !expiry::is_used(context.reader(), &snapshot, context.now().0)? {
            lifecycle::begin_deletion(context, snapshot)?;
            dropped += 1;
        }
    }
    Ok(dropped)
}
