//! The interval rule: a version written at w and superseded at n is kept while a pin p of its scope has w <= p < n, or it
//! was superseded within the history window.
//!
//! Work is found in two places, both in an order that needs no search: the clean-up queue (by the revision that superseded,
//! so by time) and what is parked behind a pinned revision that was released. A version that the oldest blocking pin keeps
//! is parked there and costs nothing until that pin goes; then the next one may keep it.
//!
//! Both are worked off from the front, and a store needs time to forget removed rows: so where to go on is remembered (in
//! the counters, in the marker), or each run would search through all that the runs before it removed.
//!
//! A dropped object waits in the same queues as if it were a version ([`crate::dropped`]). With the version of a segment its files
//! are condemned, in the same command: what can be deleted and what can be seen never overlap, and nothing is forgotten.
//!
//! A released revision may have been pinned again, or have had two pins: then its marker is simply dropped, and the next
//! release leaves a new one. So markers and pins need no invariant between them.
//!
//! The content digest must know what a removed row held. Of an attribute's value whoever superseded it has passed on the hash of the row
//! ([`crate::attributes`]), so that nobody has to read it from a file ten minutes later. Such a row must still be there, or a hash is
//! subtracted that is in the digest no more. It is, because rows of attributes go in two ways:
//!
//! - here, each once: a version is superseded once, and it waits at one place until it is decided. (A tombstone that hides nothing goes
//!   while it is the newest: nothing has superseded it.)
//! - all of a scope at once, when its instance was dropped ([`dropped`]). Nothing is superseded in that scope any more, and the mark that
//!   the drop has left in the queue is behind all that was. So the queue comes to a version before its row can have gone. But one
//!   that is parked may come after it: when the pins of both have ended, the mark's marker may be worked off first, and the mark needs
//!   one step, what it stands for many. So the hash of a parked version counts only while the instance lives.
//!
//! Base layers ([`crate::clones`]) are dropped as a whole too, also while their clone lives, but nothing in them is ever superseded.

use super::lineage::hides_inherited;
use super::pins::Blockers;
use super::rows::{self, CleanupBatch, Superseded};
use crate::command::{ApplyContext, ApplyError, decode_record, read_record};
use crate::jobs::publication::live_instance;
use crate::keys::{COUNTERS_KEY, VersionedTable, space};
use crate::record::{CondemnedCause, CondemnedRecord, Counters, SegmentRecord};
use crate::store::{Cursor, Reader, StoreError, prefix_end};
use crate::view::View;
use crate::{condemned, dropped, inherited, limits};
use bytes::Bytes;
use quorate_model::{Revision, ScopeId, StampedTime, mutant};
use std::collections::{BTreeMap, BTreeSet};

/// What one run did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub removed: u64,
    pub parked: u64,
    pub tombstones_removed: u64,
    /// There was more to do than the bounds allowed.
    pub more: bool,
}

/// For how many milliseconds a run would have found something in the queue; 0 too when it would only find what is parked, `None` when it would
/// find nothing. That is what the leader's loop asks before it proposes one.
pub fn behind_ms(reader: &dyn Reader, now: StampedTime) -> Result<Option<u64>, StoreError> {
    let counters = read_record::<Counters>(reader, COUNTERS_KEY)?.unwrap_or_default();
    if let Some((row, value)) = queue(reader, &counters, 0)?.row() {
        let superseded_ms = CleanupBatch::read(row, value)?.superseded_ms;
        if out_of_window(superseded_ms, now) {
            return Ok(Some(now.0 - superseded_ms - limits::HISTORY_WINDOW_MS));
        }
    }
    let over = |space: u8| reader.cursor(&[space], &prefix_end(&[space]));
    if over(space::RELEASED)?.row().is_some() {
        return Ok(Some(0));
    }
    match over(space::PIN_EXPIRY)?.row() {
        None => Ok(None),
        Some((row, _)) => {
            let [expires_ms, ..] = rows::read_numbers::<4>(row)?;
            Ok((expires_ms <= now.0).then_some(0))
        }
    }
}

/// The clean-up queue from revision `from` on, and no earlier than where earlier runs left it. Rows only join at its end, so nothing is
/// before that.
pub(crate) fn queue<'a>(reader: &'a dyn Reader, counters: &Counters, from: u64) -> Result<Box<dyn Cursor + 'a>, StoreError> {
    reader.cursor(
        &rows::numbers(space::CLEANUP, &[counters.queue_worked_off.max(from)]),
        &prefix_end(&[space::CLEANUP]),
    )
}

/// Looks at no more than `keys` superseded versions. Reads the pins as they are before the command: who ends pins in the
/// same command must not call it, or versions would be parked behind a pin that is gone.
pub fn run(context: &mut ApplyContext<'_, '_>, keys: usize) -> Result<Outcome, ApplyError> {
    let view = context.reader();
    let blockers = Blockers::open(view)?;
    let mut sweep = Sweep {
        view,
        blockers,
        removed: BTreeMap::new(),
        ended: BTreeSet::new(),
        keys_left: keys,
        outcome: Outcome::default(),
    };
    sweep.work_off_released(context)?;
    sweep.work_off_queue(context)?;
    sweep.remove_bare_tombstones(context)?;
    Ok(sweep.outcome)
}

fn out_of_window(superseded_ms: u64, now: StampedTime) -> bool {
    now.0.saturating_sub(superseded_ms) >= limits::HISTORY_WINDOW_MS
}

/// Condemns the files of a segment's version that goes, with what it goes for. Those of another scope are not its own: the version held
/// them only.
pub(crate) fn condemn_segment(
    context: &mut ApplyContext<'_, '_>,
    scope: ScopeId,
    segment: SegmentRecord,
    (cause, cause_id): (CondemnedCause, u64),
) {
    if segment.owner_scope != 0 {
        return;
    }
    let files = CondemnedRecord {
        scope: scope.0,
        vault: segment.vault,
        path: segment.path,
        files: segment.files.into_iter().map(|file| file.name).collect(),
        cause: cause as i32,
        cause_id,
        ..CondemnedRecord::default()
    };
    condemned::add(context, &files);
}

/// One run's reads and bookkeeping.
struct Sweep<'a, 'base> {
    view: &'a View<'base>,
    blockers: Blockers<'a>,
    /// Version rows this run removes, by name.
    removed: BTreeMap<Bytes, BTreeSet<Bytes>>,
    /// Names whose newest version may be a tombstone that hides nothing any more.
    ended: BTreeSet<Bytes>,
    keys_left: usize,
    outcome: Outcome,
}

impl Sweep<'_, '_> {
    /// Takes one key from the budget; notes that there is more when it is used up.
    fn may_go_on(&mut self, context: &mut ApplyContext<'_, '_>) -> bool {
        if self.keys_left == 0 || context.changes().bytes() >= limits::CLEANUP_BYTES_PER_COMMAND {
            self.outcome.more = true;
            return false;
        }
        self.keys_left -= 1;
        true
    }

    fn work_off_released(&mut self, context: &mut ApplyContext<'_, '_>) -> Result<(), StoreError> {
        let view = self.view;
        let mut markers = view.cursor(&[space::RELEASED], &prefix_end(&[space::RELEASED]))?;
        while let Some((marker, resume_at)) = markers.row() {
            let [scope, pinned] = rows::read_numbers::<2>(marker)?;
            let (scope, pinned) = (ScopeId(scope), Revision(pinned));
            let still_pinned = self.blockers.oldest(scope, pinned, Revision(pinned.0.saturating_add(1)))?.is_some();
            if !still_pinned && let Some(resume_at) = self.work_off_parked(context, scope, pinned, resume_at)? {
                context.changes().put(Bytes::copy_from_slice(marker), resume_at);
                return Ok(());
            }
            // Paid for last: were it first, a budget of one would never get beyond the marker.
            if !self.may_go_on(context) {
                return Ok(());
            }
            context.changes().remove(Bytes::copy_from_slice(marker));
            markers.next()?;
        }
        Ok(())
    }

    /// Decides anew what was parked behind one revision, from `resume_at` on; returns the row where it had to stop.
    fn work_off_parked(
        &mut self,
        context: &mut ApplyContext<'_, '_>,
        scope: ScopeId,
        pinned: Revision,
        resume_at: &[u8],
    ) -> Result<Option<Bytes>, StoreError> {
        let may_have_gone = live_instance(self.view, scope)?.is_none() && !mutant!("gone-row-subtracted-twice");
        let prefix = rows::parked_prefix(scope, pinned);
        let mut parked = self.view.cursor(resume_at.max(&prefix), &prefix_end(&prefix))?;
        while let Some((row, value)) = parked.row() {
            if !self.may_go_on(context) {
                return Ok(Some(Bytes::copy_from_slice(row)));
            }
            let mut superseded = Superseded::from_parked(row, value)?;
            if may_have_gone {
                superseded.row_hash = None;
            }
            context.changes().remove(Bytes::copy_from_slice(row));
            self.decide(context, superseded)?;
            parked.next()?;
        }
        Ok(None)
    }

    fn work_off_queue(&mut self, context: &mut ApplyContext<'_, '_>) -> Result<(), StoreError> {
        let mut queue = queue(self.view, &context.counters, 0)?;
        while let Some((row, value)) = queue.row() {
            let batch = CleanupBatch::read(row, value)?;
            // Stamped time never goes back along revisions: what follows is younger still.
            if !out_of_window(batch.superseded_ms, context.now()) {
                break;
            }
            let begun = context.counters.queue_worked_off == batch.revision.0;
            let done = if begun { context.counters.queue_versions_done as usize } else { 0 };
            context.counters.queue_worked_off = batch.revision.0;
            for (position, superseded) in batch.versions.into_iter().enumerate().skip(done) {
                if !self.may_go_on(context) {
                    context.counters.queue_versions_done = position as u64;
                    return Ok(());
                }
                self.decide(context, superseded)?;
            }
            context.counters.queue_versions_done = 0;
            context.changes().remove(Bytes::copy_from_slice(row));
            queue.next()?;
        }
        Ok(())
    }

    /// Removes a version that nothing sees, parks one that a pin keeps.
    fn decide(&mut self, context: &mut ApplyContext<'_, '_>, superseded: Superseded) -> Result<(), StoreError> {
        if let Some(pinned) = self
            .blockers
            .oldest(superseded.scope, superseded.written_at, superseded.superseded_at)?
        {
            context.put_record(rows::parked(pinned, &superseded), &superseded.record());
            self.outcome.parked += 1;
            return Ok(());
        }
        context.counters.collected_before = context.counters.collected_before.max(superseded.superseded_at.0);
        if dropped::is_mark(&superseded) {
            dropped::make_ready(context, &superseded)?;
            self.outcome.removed += 1;
            return Ok(());
        }
        let version = superseded.version_key();
        if superseded.name.get(1) == Some(&(VersionedTable::Segment as u8)) {
            // A version that went with a dropped object has had its files condemned.
            let Some(stored) = self.view.get(&version)? else {
                return inherited::segment_is_unseen(context, &superseded);
            };
            if let Some(value) = super::decode_value(&version, &stored)? {
                let segment = superseded.user_key()?.last_chunk::<8>().map_or(0, |id| u64::from_be_bytes(*id));
                let cause = (CondemnedCause::Segment, segment);
                condemn_segment(context, superseded.scope, decode_record(&version, value)?, cause);
            }
        }
        match superseded.row_hash {
            Some(hash) => context.changes().remove_known(version.clone(), hash),
            None => context.changes().remove(version.clone()),
        }
        if !superseded.replaced {
            self.ended.insert(superseded.name.clone());
        }
        self.removed.entry(superseded.name).or_default().insert(version);
        self.outcome.removed += 1;
        Ok(())
    }

    /// A tombstone hides older versions; one that is the newest and hides nothing, also nothing inherited, reads like no row. It was written when
    /// the last of them was superseded, so it has left the window with it. And so only the going of that one needs a look: one that a value
    /// superseded goes before it, unless it was parked.
    fn remove_bare_tombstones(&mut self, context: &mut ApplyContext<'_, '_>) -> Result<(), StoreError> {
        for name in &self.ended {
            let removed = self.removed.get(name);
            let mut versions = self.view.cursor(name, &prefix_end(name))?;
            let Some((row, value)) = versions.row() else {
                continue;
            };
            if super::decode_value(row, &Bytes::copy_from_slice(value))?.is_some() {
                continue;
            }
            let tombstone = Bytes::copy_from_slice(row);
            versions.next()?;
            while versions
                .row()
                .is_some_and(|(row, _)| removed.is_some_and(|removed| removed.contains(row)))
            {
                versions.next()?;
            }
            if versions.row().is_none() && !hides_inherited(self.view, name)? {
                context.changes().remove(tombstone);
                self.outcome.tombstones_removed += 1;
            }
        }
        Ok(())
    }
}
