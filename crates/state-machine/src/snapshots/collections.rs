//! The collections that a snapshot of a whole instance shows, with their sums: read as of its revision, which its pin keeps.
//!
//! Each has files of its own, at the same places as in a snapshot of it alone: manifests and a metadata file. The job that writes the
//! manifests notes the collections in rows, before it has the first task, so that whoever deletes or checks these files need not ask what
//! the snapshot shows:
//!
//! ```text
//! SnapshotCollection  scope u64 | revision u64 | collection u64 -> ()      until the snapshot's files are deleted
//! ```

use super::{Snapshot, find as find_snapshot, numbers_key, numbers_of};
use crate::catalog::{find, row_keys, stats};
use crate::command::ApplyContext;
use crate::keys::{RecordTable, VersionedTable};
use crate::limits;
use crate::record::{DatabaseRecord, NameRecord, SnapshotRecord, StatsRecord};
use crate::store::{Reader, StoreError, prefix_end};
use crate::versioned::{Lineage, LineageScan, PageLimit};
use bytes::Bytes;
use quorate_model::{Revision, ScopeId};
use quorate_wire::quorate::v1::SnapshotState;

/// Keys that are looked at to find out whether an instance has any collection.
const KEYS_LOOKED_AT: usize = 1_000;

#[derive(Clone, Debug, PartialEq)]
pub struct ShownCollection {
    pub database: String,
    pub name: String,
    pub id: u64,
    pub partitions: u64,
    pub stats: StatsRecord,
}

/// Some collections, by the names of their databases and their own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ShownCollections {
    pub collections: Vec<ShownCollection>,
    /// There are further ones, or there may be: what was dropped and is kept lies between them, and not too much of it is looked at.
    pub more: bool,
}

/// The first collections, at most `limit`.
pub fn first(reader: &dyn Reader, snapshot: &Snapshot, limit: usize) -> Result<ShownCollections, StoreError> {
    let lineage = Lineage::of(reader, snapshot.scope, snapshot.revision)?;
    let mut keys_left = limits::MAX_PAGE_KEYS;
    let databases = LineageScan {
        table: VersionedTable::Database,
        prefix: b"",
        after_key: None,
        limit: PageLimit::default(),
    };
    let databases = lineage.scan(reader, &databases)?;
    let mut shown = ShownCollections::default();
    for row in &databases.rows {
        let database: DatabaseRecord = find::decode(row)?;
        let database_name =
            String::from_utf8(row.key.clone()).map_err(|error| StoreError(format!("database name is not text: {error}")))?;
        let left = limit.saturating_sub(shown.collections.len());
        let prefix = row_keys::collection_name(database.database_id, "");
        let names = LineageScan {
            table: VersionedTable::CollectionName,
            prefix: &prefix,
            after_key: None,
            limit: PageLimit {
                rows: left + 1,
                keys: keys_left,
                ..PageLimit::default()
            },
        };
        let names = lineage.scan(reader, &names)?;
        keys_left = keys_left.saturating_sub(names.keys);
        shown.more = names.resume_after.is_some() || names.rows.len() > left;
        for row in names.rows.iter().take(left) {
            let name: NameRecord = find::decode(row)?;
            // Of an instance that was dropped meanwhile something may be gone.
            let Some(collection) = find::collection_by_id(reader, &lineage, name.id)? else {
                continue;
            };
            shown.collections.push(ShownCollection {
                database: database_name.clone(),
                name: collection.record.name,
                id: collection.id,
                partitions: collection.record.partitions,
                stats: stats::of_collection(reader, &lineage, collection.id)?,
            });
        }
        if shown.more {
            return Ok(shown);
        }
    }
    shown.more = databases.resume_after.is_some();
    Ok(shown)
}

/// Whether an instance has a collection now. Where many were dropped it may say so though there is none: the job then finds nothing.
pub fn any(reader: &dyn Reader, scope: ScopeId) -> Result<bool, StoreError> {
    let lineage = Lineage::of(reader, scope, Revision(u64::MAX))?;
    let scan = LineageScan {
        table: VersionedTable::Collection,
        prefix: b"",
        after_key: None,
        limit: PageLimit {
            rows: 1,
            keys: KEYS_LOOKED_AT,
            ..PageLimit::default()
        },
    };
    let page = lineage.scan(reader, &scan)?;
    Ok(!page.rows.is_empty() || page.resume_after.is_some())
}

/// Notes that files of collections are going to be written. Not for a snapshot whose files are being deleted, or are gone: `false`.
pub fn note(context: &mut ApplyContext<'_, '_>, scope: ScopeId, revision: Revision, collections: &[u64]) -> Result<bool, StoreError> {
    let found = find_snapshot(context.reader(), scope, revision)?;
    if found.is_none_or(|snapshot| snapshot.state() != SnapshotState::Committed) {
        return Ok(false);
    }
    for collection in collections {
        context.changes().put(key(scope, revision, *collection), Bytes::new());
    }
    Ok(true)
}

pub fn key(scope: ScopeId, revision: Revision, collection: u64) -> Bytes {
    numbers_key(RecordTable::SnapshotCollection, &[scope.0, revision.0, collection])
}

/// Some of the collections that were noted, in order of their ids, behind one or from the first.
pub fn noted(reader: &dyn Reader, snapshot: &Snapshot, after: Option<u64>, limit: usize) -> Result<Vec<u64>, StoreError> {
    let Snapshot { scope, revision, .. } = snapshot;
    let prefix = numbers_key(RecordTable::SnapshotCollection, &[scope.0, revision.0]);
    let start = after.map_or_else(|| prefix.to_vec(), |after| prefix_end(&key(*scope, *revision, after)));
    let mut cursor = reader.cursor(&start, &prefix_end(&prefix))?;
    let mut found = Vec::new();
    while let Some((row, _)) = cursor.row() {
        if found.len() == limit {
            break;
        }
        let [_, _, collection] = numbers_of::<3>(row)?;
        found.push(collection);
        cursor.next()?;
    }
    Ok(found)
}

/// One collection as if the snapshot were of it alone: so its metadata file is written, and its files are found.
pub fn alone(snapshot: &Snapshot, collection: u64) -> Snapshot {
    Snapshot {
        record: SnapshotRecord {
            collection_id: collection,
            ..snapshot.record.clone()
        },
        ..*snapshot
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog_fixture::{add_segments, bench_with_collection, condemned_paths, create_collection, drop_collection, records};
    use crate::commands::{ClaimTasks, CompleteTask, CreateSnapshot, PublishJob, RemoveSnapshot, StartManifests};
    use crate::jobs::{self, plan};
    use crate::queries::files::{KnownKind, scan_vault};
    use crate::snapshot_fixture::{self, by_id, commit, drop_by};
    use crate::snapshots::lifecycle::COLLECTIONS_AT_ONCE;
    use crate::testing::{Bench, INSTANCE, prepare};
    use quorate_wire::quorate::v1::{CreateSnapshotRequest, TaskAssignment};

    fn names(bench: &Bench, snapshot: &Snapshot, limit: usize) -> (Vec<String>, bool) {
        let shown = first(&bench.store, snapshot, limit).expect("reads");
        (shown.collections.into_iter().map(|one| one.name).collect(), shown.more)
    }

    #[test]
    fn the_first_collections_are_shown_as_they_were() {
        let mut bench = bench_with_collection();
        add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds");
        create_collection(&mut bench, INSTANCE, "a", &[]).expect("creates");
        create_collection(&mut bench, INSTANCE, "b", &[]).expect("creates");
        drop_collection(&mut bench, INSTANCE, "b").expect("drops");
        let request = CreateSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            name: "whole".to_owned(),
            ..CreateSnapshotRequest::default()
        };
        let revision = snapshot_fixture::create(&mut bench, request).expect("made").revision;
        let scope = bench.scope();
        let found = super::super::find(&bench.store, scope, Revision(revision)).expect("reads");
        let snapshot = found.expect("is there");
        let shown = first(&bench.store, &snapshot, 10).expect("reads");
        add_segments(&mut bench, INSTANCE, "c", "p", 1).expect("adds");
        drop_collection(&mut bench, INSTANCE, "a").expect("drops");
        create_collection(&mut bench, INSTANCE, "later", &[]).expect("creates");
        assert_eq!(first(&bench.store, &snapshot, 10).expect("reads"), shown);

        assert_eq!(names(&bench, &snapshot, 10), (vec!["a".to_owned(), "c".to_owned()], false));
        assert_eq!(names(&bench, &snapshot, 2), (vec!["a".to_owned(), "c".to_owned()], false));
        assert_eq!(names(&bench, &snapshot, 1), (vec!["a".to_owned()], true));
        let c = &shown.collections[1];
        assert_eq!((c.database.as_str(), c.stats.segments, c.stats.rows), ("default", 3, 30));
        assert!(c.partitions >= 2 && c.id > 0, "{c:?}");
    }

    fn whole() -> CreateSnapshotRequest {
        CreateSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            name: "whole".to_owned(),
            ..CreateSnapshotRequest::default()
        }
    }

    /// A bench whose scope has its row, with a snapshot of all that is there.
    fn committed(bench: &mut Bench) -> u64 {
        let scope = bench.scope();
        let row = crate::keys::record_in_scope(RecordTable::Scope, scope).freeze();
        bench.store.rows.insert(row, Bytes::from_static(INSTANCE.as_bytes()));
        bench.adopt_rows();
        let revision = snapshot_fixture::create(bench, whole()).expect("made").revision;
        commit(bench, scope, revision);
        revision
    }

    fn snapshot_of(bench: &Bench, revision: u64) -> Snapshot {
        let found = find_snapshot(&bench.store, bench.scope(), Revision(revision)).expect("reads");
        found.expect("is there")
    }

    fn next_plan(bench: &Bench, job: u64) -> crate::commands::PlanTasks {
        let active = jobs::find_active(&bench.store, job).expect("reads").expect("active");
        plan::next(&bench.store, &active).expect("plans")
    }

    fn start(bench: &mut Bench, revision: u64) -> u64 {
        let scope = bench.scope().0;
        let start = StartManifests {
            scope,
            revision,
            since: Some(0),
        };
        bench.run(&start).expect("runs").job
    }

    fn claim_all(bench: &mut Bench) -> Vec<TaskAssignment> {
        let claim = ClaimTasks {
            worker: "w".to_owned(),
            max: 16,
            avoid_jobs: Vec::new(),
            min_age_ms: 0,
        };
        bench.run(&claim).expect("claims").tasks
    }

    /// Kinds of what is known of the metadata files and manifests of collections.
    fn known_of_collections(bench: &Bench) -> Vec<KnownKind> {
        let page = scan_vault(&bench.store, INSTANCE, "", "").expect("scans");
        let of_collections = |path: &str| path.starts_with("snapshots/") && !path.starts_with("snapshots/0/");
        let known = page.known.into_iter().filter(|known| of_collections(&known.path));
        known.map(|known| known.kind).collect()
    }

    #[test]
    fn manifests_of_an_instance_are_planned_by_collection_and_go_with_the_snapshot() {
        let mut bench = bench_with_collection();
        let c = add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds").len();
        create_collection(&mut bench, INSTANCE, "empty", &[]).expect("creates");
        create_collection(&mut bench, INSTANCE, "d", &["p"]).expect("creates");
        add_segments(&mut bench, INSTANCE, "d", "p", 2).expect("adds");
        let revision = committed(&mut bench);
        assert!(!snapshot_of(&bench, revision).record.manifests_complete);
        let job = start(&mut bench, revision);
        assert!(job > 0);
        let planned = next_plan(&bench, job);
        assert_eq!((planned.collections.len(), planned.tasks.len(), planned.done), (3, 2, true));
        assert!(bench.run(&planned).expect("planned").accepted);
        let noted = noted(&bench.store, &snapshot_of(&bench, revision), None, 10).expect("reads");
        assert_eq!(noted, planned.collections);
        assert_eq!(known_of_collections(&bench), [KnownKind::Upload; 6], "nothing must be there yet");

        let tasks = claim_all(&mut bench);
        let segments: Vec<u64> = tasks.iter().map(|task| task.rows).collect();
        assert_eq!(segments, [c as u64, 2], "no task is of two collections");
        for task in &tasks {
            let is_noted = noted
                .iter()
                .any(|id| task.target_path == format!("snapshots/{id}/manifests/{revision}"));
            assert!(is_noted, "{}", task.target_path);
            let complete = CompleteTask {
                job,
                task: task.task,
                fence: task.fence,
                rows: Vec::new(),
                files: task.files,
                bytes: task.bytes,
            };
            assert!(bench.run(&complete).expect("runs").accepted);
        }
        assert_ne!(tasks[0].target_path, tasks[1].target_path);
        bench.run(&PublishJob { job }).expect("publishes");
        let record = snapshot_of(&bench, revision).record;
        assert!(record.manifests_complete && !record.manifests_listed);
        assert_eq!(record.stats.map(|stats| stats.segments), Some(5));

        drop_by(&mut bench, by_id(revision)).expect("drops");
        assert_eq!(known_of_collections(&bench), [KnownKind::Condemned; 6]);
        let remove = RemoveSnapshot {
            scope: bench.scope().0,
            revision,
        };
        assert!(bench.run(&remove).expect("runs").removed);
        let condemned = condemned_paths(&bench);
        for id in [&[0][..], &noted[..]].concat() {
            for path in [
                format!("snapshots/{id}/metadata/{revision}.json"),
                format!("snapshots/{id}/manifests/{revision}/"),
            ] {
                assert!(condemned.contains(&path), "{path}: {condemned:?}");
            }
        }
        assert_eq!(records(&bench, RecordTable::SnapshotCollection), 0);
    }

    #[test]
    fn a_snapshot_that_is_dropped_is_planned_no_further() {
        let mut bench = bench_with_collection();
        add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds");
        let revision = committed(&mut bench);
        let job = start(&mut bench, revision);
        let planned = next_plan(&bench, job);
        drop_by(&mut bench, by_id(revision)).expect("drops");
        assert!(!bench.run(&planned).expect("runs").accepted);
        let remove = RemoveSnapshot {
            scope: bench.scope().0,
            revision,
        };
        assert!(bench.run(&remove).expect("runs").removed);
        assert!(!bench.run(&planned).expect("runs").accepted);
        assert_eq!(records(&bench, RecordTable::SnapshotCollection), 0, "rows of nobody");
    }

    #[test]
    fn a_snapshot_of_very_many_collections_goes_in_steps() {
        let mut bench = bench_with_collection();
        let revision = committed(&mut bench);
        for id in 0..COLLECTIONS_AT_ONCE as u64 + 1 {
            let row = key(bench.scope(), Revision(revision), 1_000 + id);
            bench.store.rows.insert(row, Bytes::new());
        }
        bench.adopt_rows();
        drop_by(&mut bench, by_id(revision)).expect("drops");
        let remove = RemoveSnapshot {
            scope: bench.scope().0,
            revision,
        };
        assert!(!bench.run(&remove).expect("runs").removed);
        assert_eq!(records(&bench, RecordTable::SnapshotCollection), 1);
        assert_eq!(
            snapshot_of(&bench, revision).state(),
            SnapshotState::Deleting,
            "it is there until the last"
        );
        assert!(bench.run(&remove).expect("runs").removed);
        assert_eq!(records(&bench, RecordTable::SnapshotCollection), 0);
        assert_eq!(condemned_paths(&bench).len(), 2 * (COLLECTIONS_AT_ONCE + 2));
    }

    #[test]
    fn no_manifests_are_awaited_where_there_is_no_collection_and_of_snapshots_made_before_there_were_any() {
        let mut bench = Bench::new();
        let revision = snapshot_fixture::create(&mut bench, whole()).expect("made").revision;
        let record = snapshot_of(&bench, revision).record;
        assert!(record.manifests_complete && record.manifests_listed, "no collection");

        let mut bench = bench_with_collection();
        let earlier = CreateSnapshot {
            describes_collections: false,
            ..prepare::<CreateSnapshot>(whole()).expect("well-formed")
        };
        let revision = bench.run(&earlier).expect("made").snapshot.expect("shown").revision;
        let scope = bench.scope();
        commit(&mut bench, scope, revision);
        assert!(!snapshot_of(&bench, revision).record.needs_work(), "an entry means what it meant");
        assert_eq!(start(&mut bench, revision), 0);
    }
}
