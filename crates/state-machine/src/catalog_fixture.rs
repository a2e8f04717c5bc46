//! Short ways to fill a catalog and to look at it, for tests.
//!
//! Shared by the crate's own tests and those in `tests/`, so it names the crate as an outsider does.

use super::testing::{Bench, INSTANCE, prepare};
use bytes::Bytes;
use prost::Message;
use quorate_model::{MetaError, Revision, ScopeId, StampedTime};
use quorate_state_machine::catalog::uploads;
use quorate_state_machine::command::Prepare;
use quorate_state_machine::commands::*;
use quorate_state_machine::condemned::{self, DeletionKey};
use quorate_state_machine::keys::{self, RecordTable, space};
use quorate_state_machine::queries::{QueryError, catalog_lists};
use quorate_state_machine::record::{CondemnedRecord, ParentRecord};
use quorate_state_machine::versioned::{cleanup, lineage, pins::PinKind};
use quorate_state_machine::{collected, dropped, limits};
use quorate_wire::quorate::v1::*;

/// Prepares a request and runs its command.
pub fn call<C: Prepare + Numbered>(bench: &mut Bench, request: C::Request) -> Result<C::Reply, MetaError> {
    let command: C = prepare(request)?;
    bench.run(&command)
}

pub fn create_collection(bench: &mut Bench, instance: &str, name: &str, partitions: &[&str]) -> Result<Collection, MetaError> {
    let request = CreateCollectionRequest {
        instance_id: instance.to_owned(),
        name: name.to_owned(),
        partitions: partitions.iter().map(|name| (*name).to_owned()).collect(),
        ..CreateCollectionRequest::default()
    };
    call::<CreateCollection>(bench, request)
}

pub fn drop_collection(bench: &mut Bench, instance: &str, name: &str) -> Result<DropReply, MetaError> {
    let request = DropCollectionRequest {
        instance_id: instance.to_owned(),
        name: name.to_owned(),
        ..DropCollectionRequest::default()
    };
    call::<DropCollection>(bench, request)
}

pub fn drop_partition(bench: &mut Bench, instance: &str, collection: &str, name: &str) -> Result<DropReply, MetaError> {
    let request = DropPartitionRequest {
        instance_id: instance.to_owned(),
        collection: collection.to_owned(),
        name: name.to_owned(),
        ..DropPartitionRequest::default()
    };
    call::<DropPartition>(bench, request)
}

pub fn prepare_segments(
    bench: &mut Bench,
    instance: &str,
    collection: &str,
    partition: &str,
    count: u32,
) -> Result<PrepareSegmentsReply, MetaError> {
    let request = PrepareSegmentsRequest {
        instance_id: instance.to_owned(),
        collection: collection.to_owned(),
        partition: partition.to_owned(),
        count,
        ..PrepareSegmentsRequest::default()
    };
    call::<PrepareSegments>(bench, request)
}

/// A segment of one file, `f`, of so many bytes as its id.
pub fn content(segment_id: u64) -> SegmentContent {
    let file = SegmentFile {
        name: "f".into(),
        size_bytes: segment_id,
        ..SegmentFile::default()
    };
    SegmentContent {
        segment_id,
        rows: 10,
        files: vec![file],
    }
}

pub fn commit(bench: &mut Bench, instance: &str, ids: &[u64]) -> Result<CommitSegmentsReply, MetaError> {
    let request = CommitSegmentsRequest {
        instance_id: instance.to_owned(),
        segments: ids.iter().map(|id| content(*id)).collect(),
    };
    call::<CommitSegments>(bench, request)
}

/// Prepares and commits segments; returns their ids.
pub fn add_segments(bench: &mut Bench, instance: &str, collection: &str, partition: &str, count: u32) -> Result<Vec<u64>, MetaError> {
    let prepared = prepare_segments(bench, instance, collection, partition, count)?;
    let ids: Vec<u64> = prepared.segments.iter().map(|segment| segment.segment_id).collect();
    commit(bench, instance, &ids)?;
    Ok(ids)
}

pub fn drop_segments(
    bench: &mut Bench,
    instance: &str,
    collection: &str,
    partition: &str,
    ids: &[u64],
) -> Result<DropSegmentsReply, MetaError> {
    let request = DropSegmentsRequest {
        instance_id: instance.to_owned(),
        collection: collection.to_owned(),
        partition: partition.to_owned(),
        segment_ids: ids.to_vec(),
        ..DropSegmentsRequest::default()
    };
    call::<DropSegments>(bench, request)
}

/// All segments of a collection at a revision (0: now), by pages of `page_size`.
pub fn list_segments(
    bench: &Bench,
    instance: &str,
    collection: &str,
    at_revision: u64,
    page_size: u32,
) -> Result<Vec<Segment>, QueryError> {
    let mut request = ListSegmentsRequest {
        instance_id: instance.to_owned(),
        collection: collection.to_owned(),
        at_revision,
        page_size,
        ..ListSegmentsRequest::default()
    };
    let mut found = Vec::new();
    loop {
        let page = catalog_lists::list_segments(&bench.store, &request)?;
        assert!(page_size == 0 || page.reply.segments.len() <= page_size as usize);
        found.extend(page.reply.segments);
        if page.reply.next_page_token.is_empty() {
            return Ok(found);
        }
        request.page_token = page.reply.next_page_token;
    }
}

/// Pins the state as it is; returns what releases it.
pub fn pin(bench: &mut Bench, scope: u64) -> ReleasePin {
    let create = CreatePin {
        scope,
        kind: PinKind::Snapshot as i32,
        ..CreatePin::default()
    };
    let reply = bench.run(&create).expect("pins");
    ReleasePin {
        scope,
        kind: create.kind,
        revision: reply.revision,
        pin: reply.pin,
    }
}

/// Makes `scope` a clone of another as of a pinned revision, as a command of its own would.
pub fn make_clone(bench: &mut Bench, scope: u64, source_scope: u64) -> ParentRecord {
    let create = CreatePin {
        scope: source_scope,
        kind: PinKind::Clone as i32,
        ..CreatePin::default()
    };
    let pin = bench.run(&create).expect("pins");
    let record = ParentRecord {
        source_scope,
        source_revision: pin.revision,
        source_pin: pin.pin,
        created_at: pin.revision,
        depth: 1,
        ..ParentRecord::default()
    };
    put_parent(bench, scope, record);
    record
}

pub fn put_parent(bench: &mut Bench, scope: u64, record: ParentRecord) {
    let row = Bytes::from(record.encode_to_vec());
    bench.store.rows.insert(lineage::parent_key(ScopeId(scope)), row);
    bench.adopt_rows();
}

/// Runs clean-up in small steps until nothing is due.
pub fn collect_all(bench: &mut Bench) {
    for _ in 0..100_000 {
        let now = StampedTime(bench.now_ms);
        if uploads::is_due(&bench.store, now).expect("reads") {
            bench.run(&ExpireUploads { max_uploads: 2 }).expect("expires");
        } else if cleanup::behind_ms(&bench.store, now).expect("reads").is_some() {
            bench.run(&CollectVersions { max_keys: 3 }).expect("collects");
        } else if dropped::is_due(&bench.store).expect("reads") {
            bench.run(&CollectDropped { max_keys: 3 }).expect("collects");
        } else {
            return;
        }
    }
    panic!("clean-up does not come to an end");
}

/// Lets the history window and the life of uploads pass, and collects.
pub fn collect_later(bench: &mut Bench) {
    bench.now_ms += limits::UPLOAD_LIFETIME_MS;
    collect_all(bench);
}

/// Removes the records of what was dropped and that nothing needs any more, as the leader's reconciler does; how many.
pub fn collect_records(bench: &mut Bench) -> usize {
    let (named, _) = condemned::scopes(&bench.store, None, usize::MAX).expect("reads");
    let mut removed = 0;
    for scope in collected::waiting(&bench.store, ScopeId(0), usize::MAX).expect("reads") {
        if !named.contains(&scope) {
            let reply = bench.run(&CollectInstance { scope: scope.0 }).expect("runs");
            removed += usize::from(reply.removed);
        }
    }
    removed
}

/// Deletes all condemned files, later sweeps included.
pub fn delete_files(bench: &mut Bench) {
    while records(bench, RecordTable::Condemned) > 0 {
        bench.now_ms += limits::UPLOAD_LIFETIME_MS;
        let deletions = due_deletions(bench).into_iter().map(|(place, _)| place).collect();
        bench.run(&FinishDeletion { deletions }).expect("finishes");
    }
}

/// The same, and lets the records go that wait for that.
pub fn delete_all(bench: &mut Bench) {
    delete_files(bench);
    while collect_records(bench) > 0 {}
}

/// What may be deleted now, in order.
pub fn due_deletions(bench: &Bench) -> Vec<(DeletionKey, CondemnedRecord)> {
    condemned::due(&bench.store, StampedTime(bench.now_ms), None, usize::MAX).expect("reads")
}

/// Full paths of all condemned files and directories, due or not.
pub fn condemned_paths(bench: &Bench) -> Vec<String> {
    let all = condemned::due(&bench.store, StampedTime(u64::MAX), None, usize::MAX).expect("reads");
    let paths = all.into_iter().flat_map(|(_, record)| match record.files.as_slice() {
        [] => vec![format!("{}/", record.path)],
        files => files.iter().map(|file| format!("{}/{file}", record.path)).collect(),
    });
    paths.collect()
}

/// How many rows of versions there are.
pub fn versions(bench: &Bench) -> usize {
    bench.store.rows.keys().filter(|key| key[0] == space::VERSIONED).count()
}

/// How many rows a plain table has.
pub fn records(bench: &Bench, table: RecordTable) -> usize {
    let prefix = keys::record_prefix(table);
    bench.store.rows.keys().filter(|key| key.starts_with(&prefix)).count()
}

/// What an instance's collections are called now.
pub fn collection_names(bench: &Bench, instance: &str, at: Revision) -> Vec<String> {
    let request = ListCollectionsRequest {
        instance_id: instance.to_owned(),
        at_revision: at.0,
        ..ListCollectionsRequest::default()
    };
    let page = catalog_lists::list_collections(&bench.store, &request);
    let page = page.expect("lists");
    page.reply.collections.into_iter().map(|collection| collection.name).collect()
}

/// A bench with collection `c` of partitions `p` and `q` in [`INSTANCE`].
pub fn bench_with_collection() -> Bench {
    let mut bench = Bench::new();
    create_collection(&mut bench, INSTANCE, "c", &["p", "q"]).expect("creates");
    bench
}
