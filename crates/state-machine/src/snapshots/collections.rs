//! The collections that a snapshot of a whole instance shows, with their sums: read as of its revision, which its pin keeps.

use super::Snapshot;
use crate::catalog::{find, row_keys, stats};
use crate::keys::VersionedTable;
use crate::limits;
use crate::record::{DatabaseRecord, NameRecord, StatsRecord};
use crate::store::{Reader, StoreError};
use crate::versioned::{Lineage, LineageScan, PageLimit};

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog_fixture::{add_segments, bench_with_collection, create_collection, drop_collection};
    use crate::snapshot_fixture;
    use crate::testing::{Bench, INSTANCE};
    use quorate_model::Revision;
    use quorate_wire::quorate::v1::CreateSnapshotRequest;

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
}
