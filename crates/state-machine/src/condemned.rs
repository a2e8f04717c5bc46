//! Files that may be deleted. Condemned is final: what named them is gone, and their paths are never used again.
//!
//! ```text
//! Condemned  not before ms u64 | number u64 -> CondemnedRecord       key order is the order of deletion
//! ```
//!
//! What has been deleted once may have to be swept again, because somebody may still have been writing; it goes to where its time
//! is, so that what is due stands in front.

use crate::catalog::storage::SameStore;
use crate::command::{ApplyContext, ApplyError, decode_record};
use crate::keys::{self, RecordTable};
use crate::limits::{ABANDON_BYTES_LOOKED_AT, ABANDON_ROWS_LOOKED_AT, LOST_CLAIM_HEARD_MS, MAX_ABANDONED_PER_COMMAND, SWEEP_DELAYS_MS};
use crate::record::CondemnedRecord;
use crate::store::{Reader, StoreError, prefix_end};
use bytes::{BufMut, Bytes};
use quorate_model::{MetaError, ScopeId, StampedTime, mutant};
use std::collections::BTreeSet;

/// Which row: its time and its number.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub struct DeletionKey {
    #[prost(uint64, tag = "1")]
    pub not_before_ms: u64,
    #[prost(uint64, tag = "2")]
    pub number: u64,
}

impl DeletionKey {
    /// As lists and their callers pass it on.
    pub fn token(&self) -> String {
        format!("{}-{}", self.not_before_ms, self.number)
    }

    pub fn from_token(token: &str) -> Result<DeletionKey, MetaError> {
        let parts = token.split_once('-');
        let numbers = parts.and_then(|(not_before_ms, number)| Some((not_before_ms.parse().ok()?, number.parse().ok()?)));
        let (not_before_ms, number) =
            numbers.ok_or_else(|| MetaError::invalid("page token is malformed; pass it as the page before returned it, or list anew"))?;
        Ok(DeletionKey { not_before_ms, number })
    }
}

/// Queues files for the deleter, not before the record's time, which is now at the earliest.
pub fn add(context: &mut ApplyContext<'_, '_>, record: &CondemnedRecord) {
    let number = context.counters.last_condemned + 1;
    context.counters.last_condemned = number;
    let not_before_ms = record.not_before_ms.max(context.now().0);
    let record = CondemnedRecord {
        not_before_ms,
        // What is swept again was decided before.
        condemned_ms: if record.condemned_ms == 0 {
            context.now().0
        } else {
            record.condemned_ms
        },
        ..record.clone()
    };
    context.put_record(key(DeletionKey { not_before_ms, number }), &record);
}

/// Where a condemned row is.
pub fn key(DeletionKey { not_before_ms, number }: DeletionKey) -> Bytes {
    let mut key = keys::record_prefix(RecordTable::Condemned);
    key.put_u64(not_before_ms);
    key.put_u64(number);
    key.freeze()
}

/// What may be deleted now, in order, at most `limit` rows; only what comes after `after`, so that who goes on with a queue does
/// not pass over what it has just worked off.
pub fn due(
    reader: &dyn Reader,
    now: StampedTime,
    after: Option<DeletionKey>,
    limit: usize,
) -> Result<Vec<(DeletionKey, CondemnedRecord)>, StoreError> {
    let table = keys::record_prefix(RecordTable::Condemned);
    let start = after.map_or_else(|| table.to_vec(), |after| prefix_end(&key(after)));
    let mut cursor = reader.cursor(&start, &prefix_end(&table))?;
    let mut found = Vec::new();
    while let Some((row, value)) = cursor.row() {
        let place = read_key(row)?;
        let is_due = place.not_before_ms <= now.0 || mutant!("condemned-too-early");
        if !is_due || found.len() == limit {
            break;
        }
        found.push((place, decode_record(row, Bytes::copy_from_slice(value))?));
        cursor.next()?;
    }
    Ok(found)
}

/// What of a row says whose files it names; its list of them is passed over.
#[derive(Clone, Copy, PartialEq, prost::Message)]
struct OwnerRecord {
    #[prost(uint64, tag = "1")]
    scope: u64,
}

/// The scopes whose files rows name, due or not, in a page of at most `limit` rows; and the row after which the next page goes on.
pub fn scopes(
    reader: &dyn Reader,
    after: Option<DeletionKey>,
    limit: usize,
) -> Result<(BTreeSet<ScopeId>, Option<DeletionKey>), StoreError> {
    let table = keys::record_prefix(RecordTable::Condemned);
    let start = after.map_or_else(|| table.to_vec(), |after| prefix_end(&key(after)));
    let mut cursor = reader.sweep(&start, &prefix_end(&table))?;
    let (mut found, mut rows) = (BTreeSet::new(), 0);
    while let Some((row, value)) = cursor.row() {
        let place = read_key(row)?;
        let record: OwnerRecord = decode_record(row, value)?;
        found.insert(ScopeId(record.scope));
        rows += 1;
        if rows >= limit {
            return Ok((found, Some(place)));
        }
        cursor.next()?;
    }
    Ok((found, None))
}

/// What one step of [`abandon`] has forgotten.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Abandoned {
    /// Rows: directories of which all or some files were to be deleted.
    pub directories: u64,
    /// Those of them of which all was.
    pub whole_directories: u64,
    /// Files that the others name.
    pub files: u64,
    /// The row behind which the next step goes on; `None` when all were looked at.
    pub next: Option<DeletionKey>,
}

/// Forgets what is to be deleted from one store, due or not, in the rows behind `after`: for a store that is gone for ever, where nothing of
/// it can ever be deleted. No row shows these files, so that is all that is lost.
pub fn abandon(context: &mut ApplyContext<'_, '_>, same: &mut SameStore, after: Option<DeletionKey>) -> Result<Abandoned, ApplyError> {
    let reader = context.reader();
    let table = keys::record_prefix(RecordTable::Condemned);
    let start = after.map_or_else(|| table.to_vec(), |after| prefix_end(&key(after)));
    let mut cursor = reader.cursor(&start, &prefix_end(&table))?;
    let (mut abandoned, mut looked_at, mut bytes) = (Abandoned::default(), 0, 0);
    while let Some((row, value)) = cursor.row() {
        let is_full = abandoned.directories as usize >= MAX_ABANDONED_PER_COMMAND;
        if is_full || looked_at >= ABANDON_ROWS_LOOKED_AT || bytes >= ABANDON_BYTES_LOOKED_AT {
            return Ok(abandoned);
        }
        let place = read_key(row)?;
        looked_at += 1;
        bytes += value.len();
        let record: CondemnedRecord = decode_record(row, value)?;
        if same.is_meant(reader, record.scope, &record.vault)? {
            abandoned.directories += 1;
            abandoned.whole_directories += u64::from(record.files.is_empty());
            abandoned.files += record.files.len() as u64;
            context.changes().remove(key(place));
        }
        abandoned.next = Some(place);
        cursor.next()?;
    }
    Ok(Abandoned { next: None, ..abandoned })
}

/// Reads a row's key back.
pub fn read_key(row: &[u8]) -> Result<DeletionKey, StoreError> {
    let head = keys::record_prefix(RecordTable::Condemned).len();
    match row.get(head..).map(|numbers| numbers.as_chunks::<8>()) {
        Some(([not_before, number], [])) => Ok(DeletionKey {
            not_before_ms: u64::from_be_bytes(*not_before),
            number: u64::from_be_bytes(*number),
        }),
        _ => Err(StoreError(format!("key {row:02x?} is not of a condemned row"))),
    }
}

/// Notes that the files of a row are gone: the row goes, or waits for its next sweep. Says whether there was one.
pub fn finish(context: &mut ApplyContext<'_, '_>, place: DeletionKey) -> Result<bool, StoreError> {
    let key = key(place);
    let Some(record) = context.record::<CondemnedRecord>(&key)? else {
        return Ok(false);
    };
    context.changes().remove(key);
    if let Some(left) = record.sweeps_left.checked_sub(1) {
        let delay_ms = SWEEP_DELAYS_MS.get(left as usize).copied().unwrap_or(LOST_CLAIM_HEARD_MS);
        let again = CondemnedRecord {
            not_before_ms: context.now().0.saturating_add(delay_ms),
            sweeps_left: left,
            ..record
        };
        add(context, &again);
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MapStore;
    use prost::Message as _;

    #[test]
    fn files_are_due_in_order_and_not_before_their_time() {
        let mut store = MapStore::default();
        for (not_before_ms, number) in [(5_000, 1), (3_000, 2)] {
            let record = CondemnedRecord {
                not_before_ms,
                ..CondemnedRecord::default()
            };
            let place = DeletionKey { not_before_ms, number };
            store.write(&[(key(place), Some(record.encode_to_vec().into()))]);
        }
        let due_at = |now| -> Vec<u64> {
            let rows = due(&store, StampedTime(now), None, 10).expect("readable");
            rows.into_iter().map(|(place, _)| place.number).collect()
        };
        assert_eq!(due_at(2_999), [0; 0]);
        assert_eq!(due_at(4_999), [2]);
        assert_eq!(due_at(5_000), [2, 1]);
    }

    #[test]
    fn pages_of_any_size_name_all_scopes() {
        let mut store = MapStore::default();
        for (number, scope) in [(1, 7), (2, 8), (3, 7)] {
            let record = CondemnedRecord {
                scope,
                path: "p".to_owned(),
                files: vec!["f".to_owned()],
                ..CondemnedRecord::default()
            };
            let place = DeletionKey {
                not_before_ms: 10 * number,
                number,
            };
            store.write(&[(key(place), Some(record.encode_to_vec().into()))]);
        }
        for limit in 1..5 {
            let (mut found, mut after) = (BTreeSet::new(), None);
            loop {
                let (scopes, next) = scopes(&store, after, limit).expect("readable");
                assert!(scopes.len() <= limit);
                found.extend(scopes);
                after = next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(found, BTreeSet::from([ScopeId(7), ScopeId(8)]), "{limit}");
        }
    }
}
