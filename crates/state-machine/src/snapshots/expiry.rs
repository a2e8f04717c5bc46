//! What ends by itself: pins, snapshots past their time to live, uploads of images that never came, and the snapshots of dropped
//! instances. One queue, ordered by stamped time; a run looks at a bounded number of its rows.
//!
//! A snapshot that is due while somebody uses it keeps its place in the queue, but later: its record says when (`due_ms`).

use super::{Snapshot, expiry_key, expiry_kind, find, lifecycle, pins, save};
use crate::command::{ApplyContext, ApplyError};
use crate::keys::{self, RecordTable};
use crate::limits;
use crate::store::{Cursor, Reader, StoreError};
use bytes::Bytes;
use quorate_model::{Revision, ScopeId, StampedTime};
use quorate_wire::doris::SnapshotStatus;
use quorate_wire::quorate::v1::SnapshotState;

/// Why a snapshot whose image did not come in time is given up.
pub const UPLOAD_TIMED_OUT: &str = "timed out during image upload";

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub snapshots_dropped: u32,
    pub snapshots_aborted: u32,
    pub pins_ended: u32,
    /// Due, and in use.
    pub put_off: u32,
    /// There was more to do than the bounds allowed.
    pub more: bool,
}

/// A row of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Due {
    ms: u64,
    kind: u8,
    scope: ScopeId,
    revision: Revision,
    pin: i64,
}

impl Due {
    fn read(key: &[u8]) -> Result<Due, StoreError> {
        let malformed = || StoreError(format!("key {key:02x?} is no expiry row"));
        let (ms, rest) = key.get(2..).and_then(|rest| rest.split_first_chunk::<8>()).ok_or_else(malformed)?;
        let (kind, rest) = rest.split_first().ok_or_else(malformed)?;
        let (scope, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
        let (revision, rest) = rest.split_first_chunk::<8>().ok_or_else(malformed)?;
        let pin: [u8; 8] = rest.try_into().map_err(|_| malformed())?;
        Ok(Due {
            ms: u64::from_be_bytes(*ms),
            kind: *kind,
            scope: ScopeId(u64::from_be_bytes(*scope)),
            revision: Revision(u64::from_be_bytes(*revision)),
            pin: i64::from_be_bytes(pin),
        })
    }

    fn key(&self) -> Bytes {
        expiry_key(self.ms, self.kind, self.scope, self.revision, self.pin)
    }
}

/// Whether a run would find anything: what the leader's loop asks before it proposes one.
pub fn is_due(reader: &dyn Reader, now: StampedTime) -> Result<bool, StoreError> {
    Ok(queue(reader, now)?.row().is_some())
}

/// What is due, in order. Nothing behind it is looked at: rows of snapshots and pins that ended before their time are gone, but a store
/// needs time to forget them.
fn queue(reader: &dyn Reader, now: StampedTime) -> Result<Box<dyn Cursor + '_>, StoreError> {
    let first_not_due = expiry_key(now.0, expiry_kind::SNAPSHOT, ScopeId(0), Revision(0), 0);
    reader.cursor(&keys::record_prefix(RecordTable::SnapshotExpiry), &first_not_due)
}

/// Works off what is due, at most `limit` rows.
pub fn run(context: &mut ApplyContext<'_, '_>, limit: usize) -> Result<Outcome, ApplyError> {
    let reader = context.reader();
    let mut queue = queue(reader, context.now())?;
    let mut outcome = Outcome::default();
    let mut left = limit;
    while let Some((key, _)) = queue.row() {
        let due = Due::read(key)?;
        if left == 0 || context.changes().len() >= limits::MAX_ROWS_PER_COMMAND / 2 {
            outcome.more = true;
            return Ok(outcome);
        }
        left -= 1;
        match due.kind {
            expiry_kind::PIN => {
                // One that went with its snapshot in this run is removed twice, which is the same as once.
                pins::remove(context, due.pin)?;
                outcome.pins_ended += 1;
            }
            expiry_kind::SNAPSHOT => match find(reader, due.scope, due.revision)? {
                Some(snapshot) => end(context, snapshot, &mut outcome)?,
                None => {
                    return Err(StoreError(format!(
                        "snapshot {} of scope {} expires but does not exist",
                        due.revision, due.scope
                    ))
                    .into());
                }
            },
            expiry_kind::INSTANCE => {
                // Looks at all snapshots of a scope, and may meet one that is due by itself: so it has the run for itself.
                if left + 1 < limit {
                    outcome.more = true;
                    return Ok(outcome);
                }
                end_those_of_instance(context, due, limit, &mut outcome)?;
                return Ok(outcome);
            }
            kind => return Err(StoreError(format!("expiry row of unknown kind {kind}")).into()),
        }
        queue.next()?;
    }
    Ok(outcome)
}

/// What its state makes of a snapshot whose time has come.
fn end(context: &mut ApplyContext<'_, '_>, mut snapshot: Snapshot, outcome: &mut Outcome) -> Result<(), ApplyError> {
    if snapshot.state() == SnapshotState::Pending && snapshot.record.doris.is_some() {
        outcome.snapshots_aborted += 1;
        return abort(context, snapshot, UPLOAD_TIMED_OUT);
    }
    if is_used(context.reader(), &snapshot, context.now().0)? {
        outcome.put_off += 1;
        snapshot.record.due_ms = context.now().0.saturating_add(limits::EXPIRY_RETRY_MS);
        return Ok(save(context, &snapshot)?);
    }
    outcome.snapshots_dropped += 1;
    lifecycle::begin_deletion(context, snapshot)
}

/// Whether a live pin or a clone keeps the snapshot.
pub fn is_used(reader: &dyn Reader, snapshot: &Snapshot, now_ms: u64) -> Result<bool, StoreError> {
    Ok(!pins::live(reader, snapshot.scope, snapshot.revision, now_ms)?.is_empty()
        || !super::clones(reader, snapshot.scope, snapshot.revision)?.is_empty())
}

/// Gives up a snapshot of Doris that was not committed. What it showed may go at once; its record and files go after a day.
pub fn abort(context: &mut ApplyContext<'_, '_>, mut snapshot: Snapshot, reason: &str) -> Result<(), ApplyError> {
    lifecycle::end_pin(context, &snapshot)?;
    let record = &mut snapshot.record;
    record.pin = 0;
    record.state = SnapshotState::Aborted as i32;
    record.due_ms = context.now().0.saturating_add(limits::ABORTED_SNAPSHOT_KEPT_MS);
    let doris = record.doris.get_or_insert_default();
    doris.set_status(SnapshotStatus::SnapshotAborted);
    doris.reason = Some(reason.to_owned());
    Ok(save(context, &snapshot)?)
}

/// Queues all snapshots of an instance that is being dropped: they end as soon as nobody uses them.
pub fn queue_dropped_instance(context: &mut ApplyContext<'_, '_>, scope: ScopeId) -> Result<(), StoreError> {
    if lifecycle::count(context.reader(), scope)? > 0 {
        let due = Due {
            ms: context.now().0,
            kind: expiry_kind::INSTANCE,
            scope,
            revision: Revision(0),
            pin: 0,
        };
        context.changes().put(due.key(), Bytes::new());
    }
    Ok(())
}

/// Drops what nobody uses of an instance's snapshots, at most `limit`; while some are left, looks again later.
fn end_those_of_instance(context: &mut ApplyContext<'_, '_>, due: Due, limit: usize, outcome: &mut Outcome) -> Result<(), ApplyError> {
    let now_ms = context.now().0;
    let mut left = 0;
    for snapshot in super::all(context.reader(), due.scope)? {
        if snapshot.state() == SnapshotState::Deleting {
            continue;
        }
        if outcome.snapshots_dropped as usize == limit || context.changes().len() >= limits::MAX_ROWS_PER_COMMAND / 2 {
            outcome.more = true;
            return Ok(());
        }
        if is_used(context.reader(), &snapshot, now_ms)? {
            left += 1;
            continue;
        }
        lifecycle::begin_deletion(context, snapshot)?;
        outcome.snapshots_dropped += 1;
    }
    outcome.put_off += left;
    context.changes().remove(due.key());
    if left > 0 {
        let later = Due {
            ms: now_ms.saturating_add(limits::EXPIRY_RETRY_MS),
            ..due
        };
        context.changes().put(later.key(), Bytes::new());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Counters;
    use crate::store::MapStore;
    use crate::store::noting::Noting;
    use crate::view::View;

    #[test]
    fn what_has_time_left_is_not_gone_through() {
        let row = |due_ms| expiry_key(due_ms, expiry_kind::PIN, ScopeId(1), Revision(5), 7);
        let mut store = MapStore::default();
        for due_ms in [100, 101] {
            store.write(&[(row(due_ms), Some(Bytes::new()))]);
        }
        let noting = Noting::over(&store);
        let is_due_at = |now| is_due(&noting, StampedTime(now)).expect("reads");
        let ended_at = |now| {
            let view = View::new(&noting);
            let mut context = ApplyContext::new(&view, Counters::default(), StampedTime(now));
            run(&mut context, 10).expect("runs").pins_ended
        };
        assert_eq!((is_due_at(100), ended_at(100)), (false, 0));
        assert_eq!((is_due_at(101), ended_at(101)), (true, 1));
        assert!(noting.ended_before(&row(101)));
        assert_eq!(ended_at(102), 2);
    }
}
