//! The catalog against plain maps: whatever is pinned or in the window is read as it was, no file that anything can see is
//! ever condemned, and in the end nothing is left and every file has been condemned once.

#[path = "catalog/model.rs"]
mod model;
#[path = "catalog/steps.rs"]
mod steps;
mod support;

use model::{CollectionModel, Databases, Model, PartitionModel, UploadModel};
use proptest::prelude::*;
use quorate_state_machine::commands::*;
use quorate_state_machine::keys::{RecordTable, space};
use quorate_state_machine::limits;
use quorate_state_machine::queries::{QueryError, catalog_lists};
use quorate_state_machine::record::CondemnedRecord;
use quorate_wire::quorate::v1::*;
use std::collections::BTreeMap;
use steps::{Side, Step, collection_name, database_name, partition_name, steps};
use support::catalog_fixture::*;
use support::list_partitions;
use support::property::cases;
use support::testing::Bench;

struct Pair {
    bench: Bench,
    model: Model,
    /// Files that were condemned, in order; directories are left out.
    condemned: Vec<String>,
    seen_condemned: u64,
}

impl Pair {
    fn new() -> Pair {
        Pair {
            bench: Bench::new(),
            model: Model::default(),
            condemned: Vec::new(),
            seen_condemned: 0,
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::CreateDatabase(..) | Step::DropDatabase(..) | Step::RenameDatabase(..) => self.change_database(step),
            Step::CreateCollection(..) | Step::DropCollection(..) | Step::RenameCollection(..) => self.change_collection(step),
            Step::CreatePartition(..) | Step::RenamePartition(..) | Step::DropPartition(..) => self.change_partition(step),
            Step::Prepare(..) | Step::Add(..) | Step::Commit(..) | Step::Abort(..) | Step::DropSegments(..) => self.change_segments(step),
            Step::Pin(side) => {
                let release = pin(&mut self.bench, side.scope());
                self.model.pins.push((side, release));
            }
            Step::Release(which) if !self.model.pins.is_empty() => {
                let position = which.index(self.model.pins.len());
                let (_, release) = self.model.pins.remove(position);
                self.bench.run(&release).expect("releases");
            }
            Step::Release(_) => {}
            Step::Clone => self.clone_source(),
            Step::Collect(keys) => self.collect(keys),
            Step::Delete(count) => self.delete(count),
            Step::Wait(ms) => self.bench.now_ms += ms,
        }
        self.remember();
    }

    /// Notes the state under the revision that made it, and what was condemned meanwhile.
    fn remember(&mut self) {
        let revision = self.bench.machine.revision().0;
        self.model.history.insert(revision, self.model.now.clone());
        for (place, record) in all_condemned(&self.bench) {
            if place > self.seen_condemned {
                self.condemned
                    .extend(record.files.iter().map(|file| format!("{}/{file}", record.path)));
            }
        }
        self.seen_condemned = self.bench.counters().last_condemned;
    }

    fn change_database(&mut self, step: Step) {
        match step {
            Step::CreateDatabase(side, number) => {
                let name = database_name(number);
                let request = CreateDatabaseRequest {
                    instance_id: side.name(),
                    name: name.clone(),
                    ..CreateDatabaseRequest::default()
                };
                let done = call::<CreateDatabase>(&mut self.bench, request).is_ok();
                assert_eq!(done, !self.model.databases(side).contains_key(&name));
                self.model.databases(side).entry(name).or_default();
            }
            Step::DropDatabase(side, number) => {
                let name = database_name(number);
                let request = DropDatabaseRequest {
                    instance_id: side.name(),
                    name: name.clone(),
                };
                let reply = call::<DropDatabase>(&mut self.bench, request);
                let collections = self.model.databases(side).get(&name).map(BTreeMap::len);
                match reply {
                    Ok(reply) => assert_eq!(reply.existed, collections == Some(0)),
                    Err(_) => assert!(number == 0 || collections > Some(0)),
                }
                if number != 0 && collections == Some(0) {
                    self.model.databases(side).remove(&name);
                }
            }
            Step::RenameDatabase(side, from, to) => {
                let (from_name, to_name) = (database_name(from), database_name(to));
                let request = RenameDatabaseRequest {
                    instance_id: side.name(),
                    name: from_name.clone(),
                    new_name: to_name.clone(),
                };
                let done = call::<RenameDatabase>(&mut self.bench, request).is_ok();
                let databases = self.model.databases(side);
                let may = from != 0 && databases.contains_key(&from_name) && !databases.contains_key(&to_name);
                assert_eq!(done, may);
                if may && let Some(moved) = databases.remove(&from_name) {
                    databases.insert(to_name, moved);
                }
            }
            _ => unreachable!("not a step about databases"),
        }
    }

    fn change_collection(&mut self, step: Step) {
        match step {
            Step::CreateCollection(side, database, name) => {
                let request = CreateCollectionRequest {
                    instance_id: side.name(),
                    database: database_name(database),
                    name: collection_name(name),
                    ..CreateCollectionRequest::default()
                };
                let reply = call::<CreateCollection>(&mut self.bench, request);
                let has_database = database == 0 || self.model.databases(side).contains_key(&database_name(database));
                let may = has_database && self.model.collection(side, database, name).is_none();
                assert_eq!(reply.is_ok(), may);
                if let Ok(reply) = reply {
                    // The partition gets the id behind the collection's.
                    let partition = PartitionModel {
                        id: reply.collection_id + 1,
                        ..PartitionModel::default()
                    };
                    let collection = CollectionModel {
                        id: reply.collection_id,
                        partitions: [(partition_name(0), partition)].into(),
                    };
                    let collections = self.model.databases(side).entry(database_name(database)).or_default();
                    collections.insert(collection_name(name), collection);
                }
            }
            Step::DropCollection(side, database, name) => {
                let request = DropCollectionRequest {
                    instance_id: side.name(),
                    database: database_name(database),
                    name: collection_name(name),
                };
                let reply = call::<DropCollection>(&mut self.bench, request).expect("is no error");
                let collections = self.model.databases(side).get_mut(&database_name(database));
                let existed = collections.is_some_and(|collections| collections.remove(&collection_name(name)).is_some());
                assert_eq!(reply.existed, existed);
            }
            Step::RenameCollection(side, from, to) => {
                let request = RenameCollectionRequest {
                    instance_id: side.name(),
                    database: database_name(from.0),
                    name: collection_name(from.1),
                    new_database: database_name(to.0),
                    new_name: collection_name(to.1),
                };
                let done = call::<RenameCollection>(&mut self.bench, request).is_ok();
                let has_database = to.0 == 0 || self.model.databases(side).contains_key(&database_name(to.0));
                let is_free = self.model.collection(side, to.0, to.1).is_none();
                let exists = self.model.collection(side, from.0, from.1).is_some();
                assert_eq!(done, has_database && is_free && exists);
                if done {
                    let databases = self.model.databases(side);
                    let moved = databases.entry(database_name(from.0)).or_default().remove(&collection_name(from.1));
                    let moved = moved.expect("it exists");
                    databases
                        .entry(database_name(to.0))
                        .or_default()
                        .insert(collection_name(to.1), moved);
                }
            }
            _ => unreachable!("not a step about collections"),
        }
    }

    fn change_partition(&mut self, step: Step) {
        match step {
            Step::CreatePartition(side, database, collection, name) => {
                let request = CreatePartitionRequest {
                    instance_id: side.name(),
                    database: database_name(database),
                    collection: collection_name(collection),
                    name: partition_name(name),
                };
                let reply = call::<CreatePartition>(&mut self.bench, request);
                let found = self.model.collection(side, database, collection);
                let free = found.filter(|found| !found.partitions.contains_key(&partition_name(name)));
                assert_eq!(reply.is_ok(), free.is_some());
                if let (Ok(reply), Some(collection)) = (reply, free) {
                    let partition = PartitionModel {
                        id: reply.partition_id,
                        ..PartitionModel::default()
                    };
                    collection.partitions.insert(partition_name(name), partition);
                }
            }
            Step::RenamePartition(side, database, collection, (from, to)) => {
                let request = RenamePartitionRequest {
                    instance_id: side.name(),
                    database: database_name(database),
                    collection: collection_name(collection),
                    name: partition_name(from),
                    new_name: partition_name(to),
                };
                let done = call::<RenamePartition>(&mut self.bench, request).is_ok();
                let (from, to) = (partition_name(from), partition_name(to));
                let found = self.model.collection(side, database, collection);
                let found = found.filter(|found| found.partitions.contains_key(&from) && !found.partitions.contains_key(&to));
                assert_eq!(done, found.is_some());
                if let Some(collection) = found
                    && let Some(moved) = collection.partitions.remove(&from)
                {
                    collection.partitions.insert(to, moved);
                }
            }
            Step::DropPartition(side, database, collection, name) => {
                let request = DropPartitionRequest {
                    instance_id: side.name(),
                    database: database_name(database),
                    collection: collection_name(collection),
                    name: partition_name(name),
                };
                let reply = call::<DropPartition>(&mut self.bench, request);
                let found = self.model.collection(side, database, collection);
                assert_eq!(reply.is_ok(), found.is_some());
                if let (Ok(reply), Some(collection)) = (reply, found) {
                    assert_eq!(reply.existed, collection.partitions.remove(&partition_name(name)).is_some());
                }
            }
            _ => unreachable!("not a step about partitions"),
        }
    }

    fn change_segments(&mut self, step: Step) {
        match step {
            Step::Prepare(side, database, collection, partition, count) => {
                self.prepare(side, database, collection, partition, count);
            }
            Step::Add(side, database, collection, partition, count) => {
                let ids = self.prepare(side, database, collection, partition, count);
                self.commit(side, &ids);
            }
            Step::Commit(side, first, count) => {
                let ids: Vec<u64> = self.model.uploads.entry(side).or_default().keys().copied().collect();
                if !ids.is_empty() {
                    let chosen: Vec<u64> = ids.iter().copied().skip(first.index(ids.len())).take(count).collect();
                    self.commit(side, &chosen);
                }
            }
            Step::Abort(side, which) => {
                let uploads = self.model.uploads.entry(side).or_default();
                let ids: Vec<u64> = uploads.keys().copied().collect();
                if ids.is_empty() {
                    return;
                }
                let id = *which.get(&ids);
                let upload = uploads.remove(&id).expect("is there");
                let request = AbortSegmentsRequest {
                    instance_id: side.name(),
                    segment_ids: vec![id],
                };
                let aborted = call::<AbortSegments>(&mut self.bench, request).expect("is no error").aborted;
                assert!(
                    aborted == 1 || upload.expires_ms <= self.bench.now_ms,
                    "collected when its time had passed"
                );
            }
            Step::DropSegments(side, database, collection, partition, which) => {
                self.drop_some(side, database, collection, partition, which);
            }
            _ => unreachable!("not a step about segments"),
        }
    }

    /// Returns the ids that were given out.
    fn prepare(&mut self, side: Side, database: u8, collection: u8, partition: u8, count: u32) -> Vec<u64> {
        let request = PrepareSegmentsRequest {
            instance_id: side.name(),
            database: database_name(database),
            collection: collection_name(collection),
            partition: partition_name(partition),
            count,
        };
        let reply = call::<PrepareSegments>(&mut self.bench, request);
        let found = self.model.collection(side, database, collection);
        let found = found.and_then(|found| Some((found.id, found.partitions.get(&partition_name(partition))?.id)));
        assert_eq!(reply.is_ok(), found.is_some());
        let (Ok(reply), Some((collection_id, partition_id))) = (reply, found) else {
            return Vec::new();
        };
        let uploads = self.model.uploads.entry(side).or_default();
        for segment in &reply.segments {
            let upload = UploadModel {
                collection_id,
                partition_id,
                path: format!("{}/f", segment.path),
                expires_ms: reply.expires_ms,
            };
            uploads.insert(segment.segment_id, upload);
        }
        reply.segments.iter().map(|segment| segment.segment_id).collect()
    }

    fn commit(&mut self, side: Side, ids: &[u64]) {
        if ids.is_empty() {
            return;
        }
        let uploads = self.model.uploads.entry(side).or_default();
        let chosen: Vec<(u64, UploadModel)> = ids.iter().map(|id| (*id, uploads[id].clone())).collect();
        let done = commit(&mut self.bench, &side.name(), ids).is_ok();
        let now_ms = self.bench.machine.stamped_time().0;
        let databases = self.model.databases(side);
        let partition_of = |upload: &UploadModel| {
            let mut collections = databases.values().flat_map(BTreeMap::values);
            let collection = collections.find(|collection| collection.id == upload.collection_id)?;
            let has_partition = collection.partitions.values().any(|partition| partition.id == upload.partition_id);
            has_partition.then_some(())
        };
        let may = chosen
            .iter()
            .all(|(_, upload)| now_ms < upload.expires_ms && partition_of(upload).is_some());
        assert_eq!(done, may, "commit of {ids:?}");
        if !may {
            return;
        }
        for (id, upload) in chosen {
            self.model.uploads.entry(side).or_default().remove(&id);
            self.model.committed.insert(upload.path.clone());
            for collection in self.model.databases(side).values_mut().flat_map(BTreeMap::values_mut) {
                for partition in collection.partitions.values_mut() {
                    if (collection.id, partition.id) == (upload.collection_id, upload.partition_id) {
                        partition.segments.insert(id, upload.path.clone());
                    }
                }
            }
        }
    }

    /// Drops those of a partition's segments that a bit is set for.
    fn drop_some(&mut self, side: Side, database: u8, collection: u8, partition: u8, which: u8) {
        let found = self.model.collection(side, database, collection);
        let Some(partition_model) = found.and_then(|found| found.partitions.get_mut(&partition_name(partition))) else {
            return;
        };
        let ids: Vec<u64> = partition_model.segments.keys().copied().collect();
        let ids: Vec<u64> = ids.into_iter().filter(|id| which & (1 << (id % 8)) != 0).collect();
        if ids.is_empty() {
            return;
        }
        partition_model.segments.retain(|id, _| !ids.contains(id));
        let request = DropSegmentsRequest {
            instance_id: side.name(),
            database: database_name(database),
            collection: collection_name(collection),
            partition: partition_name(partition),
            segment_ids: ids.clone(),
        };
        let reply = call::<DropSegments>(&mut self.bench, request).expect("drops");
        assert_eq!(reply.dropped as usize, ids.len());
    }

    /// The other instance becomes a clone as long as it has never held anything.
    fn clone_source(&mut self) {
        let untouched = self.model.clone.is_none() && self.model.history.values().all(|state| !state.contains_key(&Side::Other));
        let pinned = self.model.pins.iter().any(|(side, _)| *side == Side::Other);
        if untouched && !pinned {
            self.model.clone = Some(make_clone(&mut self.bench, Side::Other.scope(), Side::Source.scope()));
            let inherited = self.model.databases(Side::Source).clone();
            self.model.now.insert(Side::Other, inherited);
        }
    }

    fn collect(&mut self, keys: u32) {
        self.bench.run(&ExpireUploads { max_uploads: keys }).expect("expires");
        self.bench.run(&CollectVersions { max_keys: keys }).expect("collects");
        self.bench.run(&CollectDropped { max_keys: keys }).expect("collects");
        let now_ms = self.bench.now_ms;
        for uploads in self.model.uploads.values_mut() {
            uploads.retain(|_, upload| upload.expires_ms > now_ms);
        }
    }

    fn delete(&mut self, count: usize) {
        let deletions = due_deletions(&self.bench).into_iter().map(|(place, _)| place).take(count).collect();
        self.bench.run(&FinishDeletion { deletions }).expect("finishes");
    }

    fn check(&self) {
        let visible = self.model.visible_files();
        for file in &self.condemned {
            assert!(!visible.contains(file), "{file} is condemned and can be seen");
        }
        let now = self.bench.machine.revision().0;
        for side in [Side::Source, Side::Other] {
            self.check_reads(side, now);
        }
        for (side, pin) in &self.model.pins {
            self.check_reads(*side, pin.revision);
        }
    }

    fn check_reads(&self, side: Side, revision: u64) {
        let expected = self.model.at(side, revision);
        let request = ListDatabasesRequest {
            instance_id: side.name(),
            at_revision: revision,
            ..ListDatabasesRequest::default()
        };
        let found = catalog_lists::list_databases(&self.bench.store, &request)
            .expect("lists")
            .reply
            .databases;
        let names: Vec<&String> = found.iter().map(|database| &database.name).collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>(), "databases at {revision}");
        for (database, collections) in &expected {
            let request = ListCollectionsRequest {
                instance_id: side.name(),
                database: database.clone(),
                at_revision: revision,
                ..ListCollectionsRequest::default()
            };
            let found = catalog_lists::list_collections(&self.bench.store, &request)
                .expect("lists")
                .reply
                .collections;
            let found: Vec<_> = found.iter().map(|found| (&found.name, found.collection_id)).collect();
            let want: Vec<_> = collections.iter().map(|(name, collection)| (name, collection.id)).collect();
            assert_eq!(found, want, "collections of {database} at {revision}");
            for (name, collection) in collections {
                self.check_collection(side, revision, database, name, collection);
            }
        }
    }

    fn check_collection(&self, side: Side, revision: u64, database: &str, name: &str, expected: &CollectionModel) {
        let store = &self.bench.store;
        let found = list_partitions(&self.bench, &side.name(), database, name, revision);
        let found: Vec<_> = found.iter().map(|found| (&found.name, found.partition_id)).collect();
        let want: Vec<_> = expected.partitions.iter().map(|(name, partition)| (name, partition.id)).collect();
        assert_eq!(found, want, "partitions of {name} at {revision}");
        let segments = self.segments(side, revision, database, name).expect("lists");
        let mut want: Vec<_> = expected
            .partitions
            .values()
            .flat_map(|partition| partition.segments.clone())
            .collect();
        let mut found: Vec<_> = segments
            .iter()
            .map(|found| (found.segment_id, format!("{}/f", found.path)))
            .collect();
        want.sort();
        found.sort();
        assert_eq!(found, want, "segments of {name} at {revision}");
        let describe = DescribeCollectionRequest {
            instance_id: side.name(),
            database: database.to_owned(),
            name: name.to_owned(),
            at_revision: revision,
            ..DescribeCollectionRequest::default()
        };
        let sums = quorate_state_machine::queries::catalog::describe_collection(store, &describe)
            .expect("describes")
            .stats;
        let sums = sums.expect("sums");
        let bytes: u64 = want.iter().map(|(id, _)| id).sum();
        let want = (want.len() as u64, 10 * want.len() as u64, bytes);
        assert_eq!((sums.segments, sums.rows, sums.bytes), want, "sums of {name} at {revision}");
    }

    fn segments(&self, side: Side, revision: u64, database: &str, name: &str) -> Result<Vec<Segment>, QueryError> {
        let mut request = ListSegmentsRequest {
            instance_id: side.name(),
            database: database.to_owned(),
            collection: name.to_owned(),
            at_revision: revision,
            page_size: 2,
            ..ListSegmentsRequest::default()
        };
        let mut found = Vec::new();
        loop {
            let page = catalog_lists::list_segments(&self.bench.store, &request)?.reply;
            found.extend(page.segments);
            if page.next_page_token.is_empty() {
                return Ok(found);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Everything is dropped and released: in the end nothing is left, and each file has been condemned once.
    fn end(mut self) {
        for (_, release) in std::mem::take(&mut self.model.pins) {
            self.bench.run(&release).expect("releases");
        }
        for side in [Side::Other, Side::Source] {
            let databases = self.model.databases(side).clone();
            for (database, collections) in databases {
                for name in collections.into_keys() {
                    let request = DropCollectionRequest {
                        instance_id: side.name(),
                        database: database.clone(),
                        name,
                    };
                    assert!(call::<DropCollection>(&mut self.bench, request).expect("drops").existed);
                }
                let request = DropDatabaseRequest {
                    instance_id: side.name(),
                    name: database,
                };
                let _default_stays = call::<DropDatabase>(&mut self.bench, request);
            }
            self.model.now.insert(side, Databases::new());
        }
        self.bench.now_ms += limits::UPLOAD_LIFETIME_MS;
        collect_all(&mut self.bench);
        self.remember();
        let left = versions(&self.bench);
        for side in [Side::Other, Side::Source] {
            let drop = DropInstance { instance_id: side.name() };
            self.bench.run(&drop).expect("drops");
            self.bench.now_ms += limits::HISTORY_WINDOW_MS;
            collect_all(&mut self.bench);
            self.remember();
        }
        // A clone keeps tombstones over what it inherits, and what its pin keeps of its source; any other instance its `default`.
        assert!(self.model.clone.is_some() || left <= 2, "{left} rows are left");
        assert_eq!(versions(&self.bench), 0);
        let waiting = [space::CLEANUP, space::PARKED, space::RELEASED, space::PIN, space::HOLD];
        assert_eq!(self.bench.store.rows.keys().filter(|key| waiting.contains(&key[0])).count(), 0);
        for table in [
            RecordTable::Dropped,
            RecordTable::Upload,
            RecordTable::UploadExpiry,
            RecordTable::Parent,
        ] {
            assert_eq!(records(&self.bench, table), 0, "{table:?}");
        }
        assert_eq!((self.bench.counters().uploads, self.bench.counters().pins), (0, 0));
        self.condemned.sort();
        assert_eq!(self.condemned, self.model.committed.iter().cloned().collect::<Vec<_>>());
        for _ in 0..4 {
            self.bench.now_ms += limits::UPLOAD_LIFETIME_MS;
            self.delete(usize::MAX);
        }
        assert_eq!(records(&self.bench, RecordTable::Condemned), 0);
        // Of the records, that of the instance which the bench itself calls dropped is left.
        assert_eq!(collect_records(&mut self.bench), 2);
        for table in [RecordTable::Instance, RecordTable::Scope] {
            assert_eq!(records(&self.bench, table), 1, "{table:?}");
        }
        assert_eq!(records(&self.bench, RecordTable::CollectedScope), 0);
        self.bench.check_content();
    }
}

/// By number.
fn all_condemned(bench: &Bench) -> BTreeMap<u64, CondemnedRecord> {
    let far = quorate_model::StampedTime(u64::MAX);
    let all = quorate_state_machine::condemned::due(&bench.store, far, None, usize::MAX).expect("reads");
    all.into_iter().map(|(place, record)| (place.number, record)).collect()
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn the_catalog_equals_plain_maps_and_no_file_that_can_be_seen_is_condemned(steps in steps()) {
        let mut pair = Pair::new();
        for step in steps {
            pair.take(step);
            pair.check();
        }
        pair.bench.check_content();
        pair.end();
    }
}

/// Chooses the clone's revision by hand, so that the model above is known to see one.
#[test]
fn a_clone_is_among_the_cases() {
    let mut pair = Pair::new();
    for step in [
        Step::CreateCollection(Side::Source, 0, 0),
        Step::Add(Side::Source, 0, 0, 0, 3),
        Step::Clone,
        Step::DropSegments(Side::Other, 0, 0, 0, 0x55),
        Step::DropCollection(Side::Source, 0, 0),
        Step::Wait(limits::HISTORY_WINDOW_MS),
        Step::Collect(5),
        Step::Add(Side::Other, 0, 0, 0, 1),
    ] {
        pair.take(step);
        pair.check();
    }
    assert!(pair.model.clone.is_some() && pair.condemned.is_empty());
    pair.end();
}
