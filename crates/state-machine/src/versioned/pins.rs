//! Pins and holds: what keeps old versions, and with that what may be read.
//!
//! There is no index of them in memory: who needs to know seeks in the pins' own rows, so nothing can drift.
//!
//! A read at r is exact if no removed version was visible at r. `collected_before` is the greatest revision at which a
//! removed version was superseded, in the whole cluster, so every r at or above it is exact in every scope. Below it r is
//! exact in a scope that has had a pin at r since before anything visible at r could be removed; a pin is only made at a
//! revision that is readable, so "there is a pin at r" says just that.

use super::rows;
use crate::command::{ApplyContext, ApplyError, decode_record, read_record};
use crate::instances;
use crate::keys::{COUNTERS_KEY, space};
use crate::limits;
use crate::record::{Counters, HoldRecord, PinRecord};
use crate::recoveries;
use crate::store::{Cursor, Reader, StoreError, prefix_end};
use bytes::Bytes;
use quorate_model::{ErrorCode, MetaError, Revision, ScopeId};
use std::collections::HashMap;

/// Holders of one revision that a text names.
const HOLDERS_NAMED: usize = 5;

/// Who needs a revision. Numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum PinKind {
    Unspecified = 0,
    Snapshot = 1,
    Clone = 2,
    /// Another scope names this one's files; its row is a `HoldRecord` and its id is the holder's scope.
    Hold = 3,
    Job = 4,
    Backup = 5,
    /// A list that is being paged through; always expires.
    Read = 6,
}

/// Whether a read of the scope at `revision` is exact; refuses it if not. For queries; a command must pass its own
/// counters to [`readable_with`], because the row is behind within an entry.
pub fn readable(reader: &dyn Reader, scope: ScopeId, revision: Revision) -> Result<(), ApplyError> {
    let counters = read_record::<Counters>(reader, COUNTERS_KEY)?.unwrap_or_default();
    readable_with(reader, &counters, scope, revision)
}

pub fn readable_with(reader: &dyn Reader, counters: &Counters, scope: ScopeId, revision: Revision) -> Result<(), ApplyError> {
    if revision.0 > counters.revision {
        let message = format!(
            "revision {revision} has not been written, the newest is {}; read at that one",
            counters.revision
        );
        return Err(MetaError::invalid(message).into());
    }
    recoveries::check_known(reader, counters, revision)?;
    if revision.0 >= counters.collected_before || is_pinned(reader, scope, revision)? {
        return Ok(());
    }
    let message = format!(
        "revision {revision} has been collected, the oldest readable one is {} (older ones only where pinned); pin it with a snapshot to keep it",
        counters.collected_before
    );
    Err(MetaError::new(ErrorCode::RevisionCollected, message).into())
}

/// Whether a pin or hold of the scope stands at exactly this revision.
pub fn is_pinned(reader: &dyn Reader, scope: ScopeId, revision: Revision) -> Result<bool, StoreError> {
    let mut blockers = Blockers::open(reader)?;
    Ok(blockers.oldest(scope, revision, Revision(revision.0.saturating_add(1)))?.is_some())
}

/// Looks pins and holds up, with one cursor each however many lookups there are.
pub struct Blockers<'a> {
    pins: Pinned<'a>,
    holds: Pinned<'a>,
}

/// Pinned revisions of one kind, and what was found last in each scope: most scopes have few pins, or none, and clean-up asks for every
/// version.
struct Pinned<'a> {
    space: u8,
    cursor: Box<dyn Cursor + 'a>,
    found: HashMap<ScopeId, Found>,
}

/// The first pinned revision at or after `from`; `None` if there is none.
struct Found {
    from: Revision,
    first: Option<Revision>,
}

impl<'a> Blockers<'a> {
    pub fn open(reader: &'a dyn Reader) -> Result<Blockers<'a>, StoreError> {
        Ok(Blockers {
            pins: Pinned::open(reader, space::PIN)?,
            holds: Pinned::open(reader, space::HOLD)?,
        })
    }

    /// The oldest pinned revision p of the scope with `written <= p < superseded`.
    pub fn oldest(&mut self, scope: ScopeId, written: Revision, superseded: Revision) -> Result<Option<Revision>, StoreError> {
        let pin = self.pins.first(scope, written)?;
        let hold = self.holds.first(scope, written)?;
        Ok(pin.into_iter().chain(hold).min().filter(|pinned| *pinned < superseded))
    }
}

impl<'a> Pinned<'a> {
    fn open(reader: &'a dyn Reader, space: u8) -> Result<Pinned<'a>, StoreError> {
        Ok(Pinned {
            space,
            cursor: reader.cursor(&[space], &prefix_end(&[space]))?,
            found: HashMap::new(),
        })
    }

    /// The first pinned revision of the scope at or after `from`.
    fn first(&mut self, scope: ScopeId, from: Revision) -> Result<Option<Revision>, StoreError> {
        if let Some(found) = self.found.get(&scope)
            && found.from <= from
            && found.first.is_none_or(|first| from <= first)
        {
            return Ok(found.first);
        }
        let first = self.seek(scope, from)?;
        self.found.insert(scope, Found { from, first });
        Ok(first)
    }

    fn seek(&mut self, scope: ScopeId, from: Revision) -> Result<Option<Revision>, StoreError> {
        self.cursor.seek(&rows::numbers(self.space, &[scope.0, from.0]))?;
        let Some((row, _)) = self.cursor.row() else {
            return Ok(None);
        };
        let [found, revision, _] = rows::read_numbers::<3>(row)?;
        Ok((found == scope.0).then_some(Revision(revision)))
    }
}

/// Who keeps a revision, in words; a few where there are many.
pub fn holders(reader: &dyn Reader, scope: ScopeId, revision: Revision) -> Result<Vec<String>, StoreError> {
    let mut found = Vec::new();
    for space in [space::PIN, space::HOLD] {
        let prefix = rows::numbers(space, &[scope.0, revision.0]);
        let mut cursor = reader.cursor(&prefix, &prefix_end(&prefix))?;
        while let Some((row, value)) = cursor.row().filter(|_| found.len() < HOLDERS_NAMED) {
            let [.., id] = rows::read_numbers::<3>(row)?;
            found.push(match space {
                space::HOLD => format!(
                    "files held by {} at revision {revision}",
                    instances::find_id_of_scope(reader, ScopeId(id))?.unwrap_or_else(|| format!("scope {id}"))
                ),
                _ => {
                    let record: PinRecord = decode_record(row, Bytes::copy_from_slice(value))?;
                    format!(
                        "{} at revision {revision}",
                        PinKind::try_from(record.kind).unwrap_or(PinKind::Unspecified).word()
                    )
                }
            });
            cursor.next()?;
        }
    }
    Ok(found)
}

impl PinKind {
    fn word(self) -> &'static str {
        match self {
            PinKind::Snapshot => "snapshot",
            PinKind::Clone => "clone",
            PinKind::Hold => "hold",
            PinKind::Job => "job",
            PinKind::Backup => "backup",
            PinKind::Read => "list that is being read",
            PinKind::Unspecified => "pin",
        }
    }
}

/// Pins a revision of a scope that is readable; returns the pin's id. `expires_ms` is a stamped time, 0: it must be ended.
pub fn begin(
    context: &mut ApplyContext<'_, '_>,
    kind: PinKind,
    scope: ScopeId,
    revision: Revision,
    expires_ms: u64,
) -> Result<u64, ApplyError> {
    count_one(context)?;
    let pin = context.counters.next_pin.max(1);
    context.counters.next_pin = pin + 1;
    let record = PinRecord {
        kind: kind as i32,
        created_ms: context.now().0,
        expires_ms,
    };
    context.put_record(rows::pin(scope, revision, pin), &record);
    if expires_ms != 0 {
        context
            .changes()
            .put(rows::pin_expiry(expires_ms, scope, revision, pin), Bytes::new());
    }
    Ok(pin)
}

/// Lets `holder` name the owner's files as of a revision. Holding what is held changes nothing.
pub fn begin_hold(context: &mut ApplyContext<'_, '_>, owner: ScopeId, revision: Revision, holder: u64) -> Result<(), ApplyError> {
    let hold = rows::hold(owner, revision, holder);
    if context.reader().get(&hold)?.is_some() {
        return Ok(());
    }
    count_one(context)?;
    let created_ms = context.now().0;
    context.put_record(hold, &HoldRecord { created_ms });
    Ok(())
}

/// Counts one more pin or hold, or refuses it.
fn count_one(context: &mut ApplyContext<'_, '_>) -> Result<(), MetaError> {
    if context.counters.pins >= limits::MAX_PINS {
        let message = format!(
            "{} pins exist, limit {}; delete snapshots that are not needed",
            context.counters.pins,
            limits::MAX_PINS
        );
        return Err(MetaError::new(ErrorCode::LimitReached, message));
    }
    context.counters.pins += 1;
    Ok(())
}

/// Removes one pin or hold; says whether it existed. What was parked behind it is looked at again by clean-up, which
/// takes a row of its own to remember: a pin may have blocked millions of versions.
pub fn end(context: &mut ApplyContext<'_, '_>, kind: PinKind, scope: ScopeId, revision: Revision, id: u64) -> Result<bool, StoreError> {
    let reader = context.reader();
    let key = if kind == PinKind::Hold {
        rows::hold(scope, revision, id)
    } else {
        rows::pin(scope, revision, id)
    };
    if kind == PinKind::Hold {
        if reader.get(&key)?.is_none() {
            return Ok(false);
        }
    } else {
        let Some(record) = context.record::<PinRecord>(&key)? else {
            return Ok(false);
        };
        if record.expires_ms != 0 {
            context.changes().remove(rows::pin_expiry(record.expires_ms, scope, revision, id));
        }
    }
    context.changes().remove(key);
    context.counters.pins = context.counters.pins.saturating_sub(1);
    let parked = rows::parked_prefix(scope, revision);
    if reader.cursor(&parked, &prefix_end(&parked))?.row().is_some() {
        context.changes().put(rows::released(scope, revision), Bytes::new());
    }
    Ok(true)
}

/// Ends pins whose time has passed, at most `limit`; returns how many.
pub fn end_expired(context: &mut ApplyContext<'_, '_>, limit: usize) -> Result<usize, StoreError> {
    let mut cursor = context.reader().cursor(&[space::PIN_EXPIRY], &prefix_end(&[space::PIN_EXPIRY]))?;
    let mut ended = 0;
    while let Some((row, _)) = cursor.row() {
        let [expires_ms, scope, revision, id] = rows::read_numbers::<4>(row)?;
        if expires_ms > context.now().0 || ended == limit {
            break;
        }
        if !end(context, PinKind::Read, ScopeId(scope), Revision(revision), id)? {
            return Err(StoreError(format!(
                "pin {id} of scope {scope} at revision {revision} expires but does not exist"
            )));
        }
        ended += 1;
        cursor.next()?;
    }
    Ok(ended)
}
