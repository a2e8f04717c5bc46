//! Who has something in a store: what must be gone before the store may be given up as lost ([`crate::commands::abandon_deletions`]).
//!
//! That is whatever names files there and is not condemned: segments that some revision still shows, uploads, snapshots' own files until
//! they are condemned, and jobs that write there.

use super::QueryError;
use super::files::walk;
use crate::catalog::storage::{self, SameStore};
use crate::catalog::{find, row_keys};
use crate::command::decode_record;
use crate::jobs;
use crate::keys::{self, RecordTable, VersionedTable, space};
use crate::limits;
use crate::record::{CollectionRecord, SnapshotRecord, UploadRecord};
use crate::snapshots;
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned::{self, Lineage};
use bytes::Bytes;
use quorate_model::{Revision, ScopeId};
use quorate_wire::quorate::v1::SnapshotState;
use std::collections::BTreeSet;

/// Users of a store that one page of rows names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UsesPage {
    /// In words.
    pub uses: BTreeSet<String>,
    /// Pass it to go on; empty when nothing is left.
    pub next: Vec<u8>,
}

/// What of a segment's record says where its files are; its list of them is passed over.
#[derive(Clone, PartialEq, prost::Message)]
struct PlaceRecord {
    #[prost(string, tag = "2")]
    vault: String,
    #[prost(uint64, tag = "6")]
    owner_scope: u64,
}

/// Who uses the store that an instance means by a vault, whichever instance it is of; only rows behind `after`.
pub fn store_uses(reader: &dyn Reader, instance_id: &str, vault: &str, after: &[u8]) -> Result<UsesPage, QueryError> {
    let mut search = Search {
        reader,
        same: SameStore::new(storage::known_store(reader, instance_id, vault)?),
        collections: BTreeSet::new(),
    };
    let mut page = UsesPage::default();
    let (mut looked_at, mut bytes) = (0, 0);
    let stopped_at = walk(reader, &ranges(), after, |row, value| {
        looked_at += 1;
        bytes += value.len();
        page.uses.extend(search.user(row, value)?);
        Ok(looked_at == limits::MAX_PAGE_KEYS || bytes > limits::MAX_PAGE_BYTES || page.uses.len() >= limits::MAX_NAMED_USERS)
    })?;
    page.next = stopped_at.unwrap_or_default();
    Ok(page)
}

/// The rows that name files which are not condemned, in key order.
fn ranges() -> [(Vec<u8>, Vec<u8>); 4] {
    let all = |start: Vec<u8>| {
        let end = prefix_end(&start);
        (start, end)
    };
    let record = |table| all(keys::record_prefix(table).to_vec());
    [
        record(RecordTable::Upload),
        record(RecordTable::Snapshot),
        record(RecordTable::ActiveJob),
        all(vec![space::VERSIONED, VersionedTable::Segment as u8]),
    ]
}

struct Search<'a> {
    reader: &'a dyn Reader,
    same: SameStore,
    /// Named already, by the scope of their rows and their ids: they have many segments.
    collections: BTreeSet<(u64, u64)>,
}

impl Search<'_> {
    /// Who is behind a row, if it names files in the store and its collection was not named before.
    fn user(&mut self, row: &[u8], value: Bytes) -> Result<Option<String>, QueryError> {
        match row {
            [space::RECORD, table, rest @ ..] if *table == RecordTable::Upload as u8 => {
                let record: UploadRecord = decode_record(row, value)?;
                let [scope, segment] = row_keys::read_numbers::<2>(rest)?;
                if !self.is_meant(scope, &record.vault)? {
                    return Ok(None);
                }
                Ok(Some(format!("the upload of segment {segment} of {}", self.instance(scope)?)))
            }
            [space::RECORD, table, ..] if *table == RecordTable::Snapshot as u8 => {
                let record: SnapshotRecord = decode_record(row, value)?;
                let [scope, _] = snapshots::numbers_of::<2>(row)?;
                if !self.is_meant(scope, &record.vault)? {
                    return Ok(None);
                }
                let being = match record.state() {
                    SnapshotState::Deleting => " (being deleted)",
                    _ => "",
                };
                Ok(Some(format!("snapshot {}{being} of {}", record.name, self.instance(scope)?)))
            }
            [space::RECORD, ..] => {
                let job = jobs::rows::job_of_active(row)?;
                match jobs::find(self.reader, job)?.filter(|record| record.copies_files) {
                    Some(record) if self.is_meant(record.target_scope, &record.target_vault)? => Ok(Some(format!("job {job}"))),
                    _ => Ok(None),
                }
            }
            [_, _, key @ ..] => self.collection(row, key, &value),
            _ => Ok(None),
        }
    }

    fn is_meant(&mut self, scope: u64, vault: &str) -> Result<bool, QueryError> {
        self.same.is_meant(self.reader, scope, vault)
    }

    /// The collection of a version of a segment, as the newest state calls it.
    fn collection(&mut self, row: &[u8], key: &[u8], value: &Bytes) -> Result<Option<String>, QueryError> {
        let wrong = || StoreError(format!("row {row:02x?} is not of a segment"));
        let (scope, rest) = key.split_first_chunk::<8>().ok_or_else(wrong)?;
        let (user_key, _) = keys::take_escaped(rest).ok_or_else(wrong)?;
        let (scope, [id, _, _]) = (u64::from_be_bytes(*scope), row_keys::read_numbers::<3>(&user_key)?);
        if self.collections.contains(&(scope, id)) {
            return Ok(None);
        }
        let Some(value) = versioned::decode_value(row, value)? else {
            return Ok(None);
        };
        let record: PlaceRecord = decode_record(row, value)?;
        let owner = if record.owner_scope == 0 { scope } else { record.owner_scope };
        if !self.is_meant(owner, &record.vault)? {
            return Ok(None);
        }
        self.collections.insert((scope, id));
        let lineage = Lineage::of(self.reader, ScopeId(scope), Revision(u64::MAX))?;
        let found = find::get::<CollectionRecord>(self.reader, &lineage, VersionedTable::Collection, &row_keys::collection(id))?;
        let named = match found {
            Some((collection, _)) => format!("collection {}", collection.name),
            None => format!("collection {id} (not visible now; its files are kept)"),
        };
        Ok(Some(format!("{named} of {}", self.instance(scope)?)))
    }

    fn instance(&self, scope: u64) -> Result<String, StoreError> {
        Ok(match storage::find_owner(self.reader, ScopeId(scope))? {
            Some(instance) if instance.is_dropped() => format!("dropped instance {}", instance.info.instance_id()),
            Some(instance) => format!("instance {}", instance.info.instance_id()),
            None => format!("scope {scope}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog_fixture::*;
    use crate::commands::{AbortSegments, CancelJob, CommitSnapshot, CreateRestore, CreateSnapshot, DropInstance, DropSnapshot};
    use crate::testing::{Bench, INSTANCE, OTHER_INSTANCE};
    use quorate_wire::quorate::v1::{
        AbortSegmentsRequest, CreateSnapshotRequest, DropSnapshotRequest, RestoreSnapshotRequest, SnapshotRef,
    };

    /// Of the local directory.
    fn uses(bench: &Bench) -> Vec<String> {
        let (mut found, mut after) = (BTreeSet::new(), Vec::new());
        loop {
            let page = store_uses(&bench.store, OTHER_INSTANCE, "", &after).expect("reads");
            found.extend(page.uses);
            after = page.next;
            if after.is_empty() {
                return found.into_iter().collect();
            }
        }
    }

    #[test]
    fn a_collection_uses_its_store_until_nothing_shows_its_segments() {
        let mut bench = bench_with_collection();
        assert_eq!(uses(&bench), [""; 0], "there is nothing in it");
        add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds");
        assert_eq!(uses(&bench), ["collection c of instance warehouse"]);
        drop_collection(&mut bench, INSTANCE, "c").expect("drops");
        assert_eq!(
            uses(&bench),
            ["collection 2 (not visible now; its files are kept) of instance warehouse"]
        );
        collect_later(&mut bench);
        assert_eq!(uses(&bench), [""; 0]);
        assert_ne!(records(&bench, RecordTable::Condemned), 0);
    }

    #[test]
    fn an_upload_uses_its_store_until_it_is_given_up() {
        let mut bench = bench_with_collection();
        let prepared = prepare_segments(&mut bench, INSTANCE, "c", "p", 1).expect("prepares");
        let id = prepared.segments[0].segment_id;
        assert_eq!(uses(&bench), [format!("the upload of segment {id} of instance warehouse")]);
        let drop = DropInstance {
            instance_id: INSTANCE.to_owned(),
        };
        bench.run(&drop).expect("drops");
        assert_eq!(uses(&bench), [format!("the upload of segment {id} of dropped instance warehouse")]);
        collect_later(&mut bench);
        assert_eq!(uses(&bench), [""; 0]);
    }

    #[test]
    fn an_upload_that_its_owner_gives_up_uses_nothing() {
        let mut bench = bench_with_collection();
        let prepared = prepare_segments(&mut bench, INSTANCE, "c", "p", 1).expect("prepares");
        let abort = AbortSegmentsRequest {
            instance_id: INSTANCE.to_owned(),
            segment_ids: vec![prepared.segments[0].segment_id],
        };
        call::<AbortSegments>(&mut bench, abort).expect("aborts");
        assert_eq!(uses(&bench), [""; 0]);
    }

    #[test]
    fn snapshots_and_jobs_use_a_store_until_their_files_are_condemned() {
        let mut bench = bench_with_collection();
        let of_c = || {
            Some(SnapshotRef {
                collection: "c".into(),
                name: "s".into(),
                ..SnapshotRef::default()
            })
        };
        let create = CreateSnapshotRequest {
            instance_id: INSTANCE.into(),
            collection: "c".into(),
            name: "s".into(),
            ..CreateSnapshotRequest::default()
        };
        let made = call::<CreateSnapshot>(&mut bench, create).expect("creates");
        let commit = CommitSnapshot {
            scope: 1,
            revision: made.snapshot.expect("is shown").revision,
            location: "l".into(),
            manifests_listed: true,
        };
        bench.run(&commit).expect("commits");
        let restore = RestoreSnapshotRequest {
            instance_id: INSTANCE.into(),
            snapshot: of_c(),
            target_collection: "copy".into(),
            ..RestoreSnapshotRequest::default()
        };
        let job = call::<CreateRestore>(&mut bench, restore).expect("starts").job_id;
        assert_eq!(uses(&bench), [format!("job {job}"), "snapshot s of instance warehouse".to_owned()]);
        let cancel = CancelJob {
            job,
            reason: String::new(),
        };
        bench.run(&cancel).expect("cancels");
        let drop = DropSnapshotRequest {
            instance_id: INSTANCE.into(),
            snapshot: of_c(),
        };
        call::<DropSnapshot>(&mut bench, drop).expect("drops");
        assert_eq!(uses(&bench), ["snapshot s (being deleted) of instance warehouse"]);
    }

    #[test]
    fn a_page_names_no_more_users_than_a_refusal() {
        let mut bench = bench_with_collection();
        prepare_segments(&mut bench, INSTANCE, "c", "p", 2 * limits::MAX_NAMED_USERS as u32).expect("prepares");
        let page = store_uses(&bench.store, INSTANCE, "", &[]).expect("reads");
        assert_eq!(page.uses.len(), limits::MAX_NAMED_USERS);
        assert_eq!(uses(&bench).len(), 2 * limits::MAX_NAMED_USERS);
    }
}
