//! What was dropped and is not condemned yet: objects that are being collected, then what waits for the history window in the order of
//! its drop, then what waits behind pins.
//!
//! Only what files hang on is shown: marks of dropped objects, and versions of segments ([`crate::dropped`], [`crate::versioned::cleanup`]).

use crate::catalog::find;
use crate::command::{decode_record, read_record};
use crate::dropped;
use crate::inherited;
use crate::instances;
use crate::keys::{COUNTERS_KEY, RecordTable, VersionedTable, record_prefix, space};
use crate::limits::{HISTORY_WINDOW_MS, MAX_PAGE_KEYS};
use crate::record::{CollectionRecord, Counters, DroppedRecord, PartitionRecord, SegmentRecord, StatsRecord};
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned::cleanup;
use crate::versioned::pins::{self, Blockers};
use crate::versioned::rows::{CleanupBatch, Superseded};
use crate::versioned::{self, Lineage};
use quorate_model::{Revision, ScopeId};
use quorate_wire::quorate::v1::{Deletion, DeletionState};

/// Where a page goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum At {
    /// Behind this row of dropped objects.
    Collecting(Vec<u8>),
    /// At this place of the clean-up queue.
    Queue { revision: u64, position: usize },
    /// Behind this row of what is parked.
    Parked(Vec<u8>),
}

impl At {
    pub(super) const START: At = At::Collecting(Vec::new());

    pub(super) fn token(&self) -> String {
        let hex = |key: &[u8]| key.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        match self {
            At::Collecting(key) => format!("collecting:{}", hex(key)),
            At::Queue { revision, position } => format!("queue:{revision}:{position}"),
            At::Parked(key) => format!("parked:{}", hex(key)),
        }
    }

    /// Reads a token of this kind; `None` for what is none.
    pub(super) fn parse(token: &str) -> Option<At> {
        let (kind, rest) = token.split_once(':')?;
        match kind {
            "collecting" => Some(At::Collecting(from_hex(rest)?)),
            "parked" => Some(At::Parked(from_hex(rest)?)),
            "queue" => {
                let (revision, position) = rest.split_once(':')?;
                Some(At::Queue {
                    revision: revision.parse().ok()?,
                    position: position.parse().ok()?,
                })
            }
            _ => None,
        }
    }
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
        return None;
    };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

/// One page of at most `rows`, and where the next goes on.
pub(super) fn page(reader: &dyn Reader, at: At, rows: usize) -> Result<(Vec<Deletion>, Option<At>), StoreError> {
    let mut page = Page {
        reader,
        blockers: Blockers::open(reader)?,
        found: Vec::new(),
        rows,
        keys_left: MAX_PAGE_KEYS,
    };
    let next = match at {
        At::Collecting(after) => page.collecting(after)?,
        At::Queue { revision, position } => page.queue(revision, position)?,
        At::Parked(after) => page.parked(after)?,
    };
    Ok((page.found, next))
}

struct Page<'a> {
    reader: &'a dyn Reader,
    blockers: Blockers<'a>,
    found: Vec<Deletion>,
    rows: usize,
    keys_left: usize,
}

impl Page<'_> {
    /// Takes one key from the budget.
    fn is_full(&mut self) -> bool {
        if self.found.len() >= self.rows || self.keys_left == 0 {
            return true;
        }
        self.keys_left -= 1;
        false
    }

    fn collecting(&mut self, after: Vec<u8>) -> Result<Option<At>, StoreError> {
        let table = record_prefix(RecordTable::Dropped);
        let mut cursor = self.reader.cursor(&start(&table, &after), &prefix_end(&table))?;
        let mut last = after;
        while let Some((row, value)) = cursor.row() {
            if self.is_full() {
                return Ok(Some(At::Collecting(last)));
            }
            let [scope, dropped_at, ..] = dropped::numbers_of(row)?;
            let record: DroppedRecord = decode_record(row, bytes::Bytes::copy_from_slice(value))?;
            // Rows that a job staged: its directory is condemned by itself.
            if record.inherited_drops {
                self.found.push(Deletion {
                    reason: "dropped by the clone before it was compacted".to_owned(),
                    state: DeletionState::Collecting as i32,
                    ..self.of_scope(ScopeId(scope))?
                });
            } else if !record.files_condemned {
                let object = [record.collection_id, record.partition_id];
                let mut deletion = self.object(ScopeId(scope), object, Revision(dropped_at))?;
                deletion.state = DeletionState::Collecting as i32;
                self.found.push(deletion);
            }
            last = row.to_vec();
            cursor.next()?;
        }
        Ok(Some(At::Queue { revision: 0, position: 0 }))
    }

    fn queue(&mut self, revision: u64, position: usize) -> Result<Option<At>, StoreError> {
        let counters = read_record::<Counters>(self.reader, COUNTERS_KEY)?.unwrap_or_default();
        let mut queue = cleanup::queue(self.reader, &counters, revision)?;
        while let Some((row, value)) = queue.row() {
            let batch = CleanupBatch::read(row, value)?;
            queue.next()?;
            let decided = match batch.revision.0 == counters.queue_worked_off {
                true => counters.queue_versions_done as usize,
                false => 0,
            };
            let from = match batch.revision.0 == revision {
                true => position.max(decided),
                false => decided,
            };
            for (position, superseded) in batch.versions.iter().enumerate().skip(from) {
                if self.is_full() {
                    let revision = batch.revision.0;
                    return Ok(Some(At::Queue { revision, position }));
                }
                let blocked = self
                    .blockers
                    .oldest(superseded.scope, superseded.written_at, superseded.superseded_at)?;
                self.waiting(superseded, blocked)?;
            }
        }
        Ok(Some(At::Parked(Vec::new())))
    }

    fn parked(&mut self, after: Vec<u8>) -> Result<Option<At>, StoreError> {
        let mut cursor = self
            .reader
            .cursor(&start(&[space::PARKED], &after), &prefix_end(&[space::PARKED]))?;
        let mut last = after;
        while let Some((row, value)) = cursor.row() {
            if self.is_full() {
                return Ok(Some(At::Parked(last)));
            }
            let superseded = Superseded::from_parked(row, value)?;
            // Released, it is decided anew within moments: another pin may keep it, or nothing.
            let blocked = self
                .blockers
                .oldest(superseded.scope, superseded.written_at, superseded.superseded_at)?;
            self.waiting(&superseded, blocked)?;
            last = row.to_vec();
            cursor.next()?;
        }
        Ok(None)
    }

    /// Adds what a superseded version or a mark stands for, if files hang on it.
    fn waiting(&mut self, superseded: &Superseded, blocked: Option<Revision>) -> Result<(), StoreError> {
        let mut deletion = if dropped::is_mark(superseded) {
            let object = crate::catalog::row_keys::read_numbers::<2>(&superseded.user_key()?)?;
            self.object(superseded.scope, object, superseded.superseded_at)?
        } else if superseded.name.get(1) == Some(&(VersionedTable::Segment as u8)) {
            match self.segment(superseded)? {
                Some(deletion) => deletion,
                None => return Ok(()),
            }
        } else {
            return Ok(());
        };
        deletion.dropped_ms = superseded.superseded_ms;
        deletion.not_before_ms = superseded.superseded_ms.saturating_add(HISTORY_WINDOW_MS);
        deletion.state = match blocked {
            Some(_) => DeletionState::Pinned,
            None => DeletionState::InHistory,
        } as i32;
        if let Some(pinned) = blocked {
            deletion.pinned_by = pins::holders(self.reader, superseded.scope, pinned)?;
        }
        self.found.push(deletion);
        Ok(())
    }

    /// The version of a segment; `None` if it went with a dropped object, or holds another scope's files.
    fn segment(&self, superseded: &Superseded) -> Result<Option<Deletion>, StoreError> {
        let version = superseded.version_key();
        let segment = match self.reader.get(&version)? {
            Some(stored) => match versioned::decode_value(&version, &stored)? {
                Some(value) => Some(decode_record::<SegmentRecord>(&version, value)?),
                None => None,
            },
            None => inherited::copy_of(self.reader, superseded)?,
        };
        let Some(segment) = segment.filter(|segment| segment.owner_scope == 0) else {
            return Ok(None);
        };
        let id = superseded.user_key()?.last_chunk::<8>().map_or(0, |id| u64::from_be_bytes(*id));
        Ok(Some(Deletion {
            reason: format!("segment {id} was dropped"),
            vault: segment.vault,
            path: segment.path,
            files: segment.files.into_iter().map(|file| file.name).collect(),
            ..self.of_scope(superseded.scope)?
        }))
    }

    /// A dropped collection or partition, or all of a scope, as the revision before its drop shows it.
    fn object(&self, scope: ScopeId, [collection, partition]: [u64; 2], dropped_at: Revision) -> Result<Deletion, StoreError> {
        let before = Lineage::of(self.reader, scope, Revision(dropped_at.0.saturating_sub(1)))?;
        let common = self.of_scope(scope)?;
        let collection_key = collection.to_be_bytes();
        let (reason, stats, vault) = match (collection, partition) {
            (0, _) => (
                "its instance was dropped, or what it inherited was cut".to_owned(),
                None,
                String::new(),
            ),
            (collection, 0) => {
                let record = self.collection(&before, collection)?;
                let stats: StatsRecord = self.record(&before, VersionedTable::CollectionStats, &collection_key)?;
                (
                    format!("collection {collection} {:?} was dropped", record.name),
                    Some(stats),
                    record.vault,
                )
            }
            (collection, partition) => {
                let key = crate::catalog::row_keys::partition(collection, partition);
                let record: PartitionRecord = self.record(&before, VersionedTable::Partition, &key)?;
                let of = self.collection(&before, collection)?;
                let text = format!(
                    "partition {partition} {:?} of collection {collection} {:?} was dropped",
                    record.name, of.name
                );
                (text, record.stats, of.vault)
            }
        };
        Ok(Deletion {
            reason,
            vault,
            file_count: stats.unwrap_or_default().files,
            ..common
        })
    }

    fn of_scope(&self, scope: ScopeId) -> Result<Deletion, StoreError> {
        Ok(Deletion {
            scope: scope.0,
            // Of what is dropped and has nothing left, marks may be worked off after its instance's record is gone.
            instance_id: instances::find_id_of_scope(self.reader, scope)?.unwrap_or_default(),
            ..Deletion::default()
        })
    }

    /// With the vault that files of the scope's own are in.
    fn collection(&self, lineage: &Lineage, id: u64) -> Result<CollectionRecord, StoreError> {
        let found = find::collection_by_id(self.reader, lineage, id)?;
        // Collected in part already.
        Ok(found.map(|found| found.record).unwrap_or_default())
    }

    fn record<M: prost::Message + Default>(&self, lineage: &Lineage, table: VersionedTable, key: &[u8]) -> Result<M, StoreError> {
        match lineage.get(self.reader, table, key)? {
            Some(row) => decode_record(&row.key, row.value),
            // Collected in part already.
            None => Ok(M::default()),
        }
    }
}

/// Behind a row, or at the beginning of a range.
fn start(prefix: &[u8], after: &[u8]) -> Vec<u8> {
    match after {
        [] => prefix.to_vec(),
        after => [after, &[0]].concat(),
    }
}
