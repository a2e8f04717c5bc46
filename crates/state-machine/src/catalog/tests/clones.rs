use crate::catalog_fixture::*;
use crate::commands::*;
use crate::dropped;
use crate::inherited;
use crate::instances;
use crate::keys::{self, RecordTable, VersionedTable};
use crate::queries::attributes;
use crate::record::{ParentRecord, SegmentRecord};
use crate::storage_fixture::change;
use crate::testing::{Bench, INSTANCE, OTHER_INSTANCE};
use crate::versioned::pins::{PinKind, is_pinned};
use bytes::Bytes;
use prost::Message;
use quorate_model::{ErrorCode, Revision, ScopeId};
use quorate_wire::doris::ObjectStoreInfoPb;
use quorate_wire::quorate::v1::*;

const SOURCE: u64 = 1;
const CLONE: u64 = 2;

fn attribute(bench: &Bench, name: &str, at_revision: u64) -> Option<(Bytes, u64)> {
    let request = GetAttributeRequest {
        instance_id: OTHER_INSTANCE.into(),
        name: name.into(),
        at_revision,
        ..GetAttributeRequest::default()
    };
    let reply = attributes::get_attribute(&bench.store, &request).expect("reads");
    reply.attribute.map(|attribute| (attribute.value, attribute.revision))
}

fn put(bench: &mut Bench, instance: &str, name: &str, value: &'static str, if_revision: Option<u64>) -> Result<u64, ErrorCode> {
    let put = PutAttribute {
        instance_id: instance.into(),
        name: name.into(),
        value: value.into(),
        if_revision,
    };
    bench.run(&put).map(|reply| reply.revision).map_err(|error| error.code)
}

fn segments(bench: &Bench, instance: &str, at_revision: u64) -> Vec<(u64, u64)> {
    let listed = list_segments(bench, instance, "c", at_revision, 2).expect("lists");
    listed.iter().map(|segment| (segment.segment_id, segment.owner_scope)).collect()
}

/// A collection of four segments in the source, cloned.
fn cloned() -> (Bench, Vec<u64>, ParentRecord) {
    let mut bench = bench_with_collection();
    let given = add_segments(&mut bench, INSTANCE, "c", "p", 4).expect("adds");
    let parent = make_clone(&mut bench, CLONE, SOURCE);
    (bench, given, parent)
}

#[test]
fn a_clone_sees_what_it_inherits_and_changes_its_own_only() {
    let (mut bench, given, _) = cloned();
    let own = add_segments(&mut bench, OTHER_INSTANCE, "c", "p", 1).expect("adds to an inherited collection");
    drop_segments(&mut bench, OTHER_INSTANCE, "c", "p", &given[..1]).expect("drops an inherited segment");
    let late = add_segments(&mut bench, INSTANCE, "c", "p", 1).expect("adds to the source");
    let inherited = given.iter().map(|id| (*id, SOURCE));
    let expected: Vec<_> = inherited.clone().skip(1).chain([(own[0], CLONE)]).collect();
    assert_eq!(segments(&bench, OTHER_INSTANCE, 0), expected);
    assert_eq!(
        segments(&bench, INSTANCE, 0),
        inherited.chain([(late[0], SOURCE)]).collect::<Vec<_>>()
    );
    let describe = DescribeCollectionRequest {
        instance_id: OTHER_INSTANCE.into(),
        name: "c".into(),
        ..DescribeCollectionRequest::default()
    };
    let sums = crate::queries::catalog::describe_collection(&bench.store, &describe)
        .expect("is there")
        .stats;
    assert_eq!(sums.expect("sums").segments, 4);
    drop_collection(&mut bench, OTHER_INSTANCE, "c").expect("drops an inherited collection");
    assert!(collection_names(&bench, OTHER_INSTANCE, Revision(0)).is_empty());
    assert_eq!(collection_names(&bench, INSTANCE, Revision(0)), ["c"]);
    create_collection(&mut bench, OTHER_INSTANCE, "c", &[]).expect("the name is free");
    assert!(segments(&bench, OTHER_INSTANCE, 0).is_empty());
    collect_later(&mut bench);
    let own_file = format!("s2/c2/p3/g{}/f", own[0]);
    assert_eq!(condemned_paths(&bench), [own_file], "only what was the clone's own");
    assert_eq!(segments(&bench, INSTANCE, 0).len(), 5);
    bench.check_content();
}

#[test]
fn attributes_are_inherited_overridden_and_deleted_in_a_clone() {
    let mut bench = Bench::new();
    let first = put(&mut bench, INSTANCE, "a", "source", None).expect("puts");
    put(&mut bench, INSTANCE, "b", "source", None).expect("puts");
    make_clone(&mut bench, CLONE, SOURCE);
    put(&mut bench, INSTANCE, "a", "later", None).expect("puts");
    assert_eq!(attribute(&bench, "a", 0), Some(("source".into(), first)));
    assert_eq!(
        put(&mut bench, OTHER_INSTANCE, "a", "x", Some(0)),
        Err(ErrorCode::PreconditionFailed)
    );
    let before = bench.machine.revision().0;
    let own = put(&mut bench, OTHER_INSTANCE, "a", "own", Some(first)).expect("replaces what it inherits");
    assert_eq!(attribute(&bench, "a", 0), Some(("own".into(), own)));
    assert_eq!(attribute(&bench, "a", before), Some(("source".into(), first)));
    let delete = DeleteAttribute {
        instance_id: OTHER_INSTANCE.into(),
        name: "b".into(),
        if_revision: None,
    };
    assert!(bench.run(&delete).expect("deletes what it inherits").existed);
    assert!(!bench.run(&delete).expect("again").existed);
    assert_eq!(attribute(&bench, "b", 0), None);
    assert!(attribute(&bench, "b", before).is_some());
    let list = ListAttributesRequest {
        instance_id: OTHER_INSTANCE.into(),
        ..ListAttributesRequest::default()
    };
    let listed = attributes::list_attributes(&bench.store, &list).expect("lists").reply.attributes;
    assert_eq!(listed.iter().map(|attribute| &attribute.value[..]).collect::<Vec<_>>(), [b"own"]);
}

#[test]
fn what_a_clone_inherits_outlives_its_collection_in_the_source() {
    let (mut bench, given, _) = cloned();
    drop_collection(&mut bench, INSTANCE, "c").expect("drops");
    collect_later(&mut bench);
    assert!(condemned_paths(&bench).is_empty());
    assert_eq!(segments(&bench, OTHER_INSTANCE, 0).len(), given.len());
    let drop = DropInstance {
        instance_id: OTHER_INSTANCE.into(),
    };
    bench.run(&drop).expect("drops the clone");
    collect_later(&mut bench);
    assert_eq!(condemned_paths(&bench).len(), 4);
    assert_eq!(
        (versions(&bench), bench.counters().pins),
        (1, 0),
        "nothing but the source's database"
    );
    assert_eq!(records(&bench, RecordTable::Parent), 0);
    bench.check_content();
}

/// Fills the base layer of the clone with a row for each of the source's segments: copied ones, or ones that name its files.
fn compact(bench: &mut Bench, parent: ParentRecord, base: u64, copied: bool) {
    let view_rows: Vec<_> = bench.store.rows.clone().into_iter().collect();
    for (key, value) in view_rows {
        for table in VersionedTable::ALL {
            let prefix = keys::versioned_scope(table, ScopeId(SOURCE));
            let Some(rest) = key.strip_prefix(&prefix[..]) else { continue };
            let mut row = keys::versioned_scope(table, ScopeId(base)).to_vec();
            row.extend_from_slice(rest);
            let mut value = value.to_vec();
            if table == VersionedTable::Segment {
                let mut segment = SegmentRecord::decode(&value[1..]).expect("decodes");
                if copied {
                    segment.path = segment.path.replace("s1/", "s2/j9/");
                } else {
                    segment.owner_scope = SOURCE;
                }
                value = [vec![1], segment.encode_to_vec()].concat();
            }
            bench.store.rows.insert(row.into(), value.into());
        }
    }
    let scope_row = keys::record_in_scope(RecordTable::Scope, ScopeId(base)).freeze();
    bench.store.rows.insert(scope_row, Bytes::from_static(OTHER_INSTANCE.as_bytes()));
    if !copied {
        let hold = CreatePin {
            scope: SOURCE,
            kind: PinKind::Hold as i32,
            revision: parent.source_revision,
            holder: CLONE,
            ..CreatePin::default()
        };
        bench.run(&hold).expect("holds");
    }
    let release = ReleasePin {
        scope: SOURCE,
        kind: PinKind::Clone as i32,
        revision: parent.source_revision,
        pin: parent.source_pin,
    };
    bench.run(&release).expect("releases");
    let complete = ParentRecord {
        base_scope: base,
        base_complete: true,
        source_pin: 0,
        holds_files: !copied,
        ..parent
    };
    put_parent(bench, CLONE, complete);
    change(bench, |context| inherited::copies_are_made(context, ScopeId(CLONE)).expect("reads"));
}

/// Copies that are condemned, sorted.
fn condemned_copies(bench: &Bench) -> Vec<String> {
    let mut paths = condemned_paths(bench);
    paths.retain(|path| path.starts_with("s2/j9/"));
    paths.sort();
    paths
}

#[test]
fn a_clone_with_copies_reads_them_when_the_source_is_gone_and_leaves_nothing() {
    let (mut bench, given, parent) = cloned();
    compact(&mut bench, parent, 50, true);
    let drop = |bench: &mut Bench, instance: &str| {
        let drop = DropInstance {
            instance_id: instance.into(),
        };
        bench.run(&drop).expect("drops");
        collect_later(bench);
    };
    drop(&mut bench, INSTANCE);
    assert_eq!(condemned_paths(&bench).len(), 4, "the source's own files");
    assert_eq!(
        segments(&bench, OTHER_INSTANCE, 0),
        given.iter().map(|id| (*id, 50)).collect::<Vec<_>>()
    );
    drop(&mut bench, OTHER_INSTANCE);
    let copies = condemned_paths(&bench)
        .into_iter()
        .filter(|path| path.starts_with("s2/j9/"))
        .count();
    assert_eq!((copies, versions(&bench)), (4, 0));
    bench.check_content();
}

#[test]
fn held_files_outlive_the_source_until_their_holder_goes() {
    let (mut bench, given, parent) = cloned();
    compact(&mut bench, parent, 50, false);
    let dropped_by = |bench: &mut Bench, instance: &str| {
        let drop = DropInstance {
            instance_id: instance.into(),
        };
        bench.run(&drop).expect("drops");
        collect_later(bench);
    };
    dropped_by(&mut bench, INSTANCE);
    assert!(condemned_paths(&bench).is_empty());
    assert_eq!(
        segments(&bench, OTHER_INSTANCE, 0),
        given.iter().map(|id| (*id, SOURCE)).collect::<Vec<_>>()
    );
    assert!(is_pinned(&bench.store, ScopeId(SOURCE), Revision(parent.source_revision)).expect("reads"));
    dropped_by(&mut bench, OTHER_INSTANCE);
    assert_eq!((condemned_paths(&bench).len(), versions(&bench), bench.counters().pins), (4, 0, 0));
    bench.check_content();
}

#[test]
fn an_inherited_collection_that_a_compacted_clone_drops_takes_its_copies_with_it() {
    let (mut bench, given, parent) = cloned();
    compact(&mut bench, parent, 50, true);
    let snapshot = pin(&mut bench, CLONE);
    drop_collection(&mut bench, OTHER_INSTANCE, "c").expect("drops");
    collect_later(&mut bench);
    assert!(condemned_paths(&bench).is_empty(), "a snapshot of the clone sees them");
    let listed = list_segments(&bench, OTHER_INSTANCE, "c", snapshot.revision, 3).expect("lists");
    assert_eq!(listed.len(), given.len());
    bench.run(&snapshot).expect("releases");
    collect_later(&mut bench);
    let paths = condemned_paths(&bench);
    assert!(
        paths.len() == given.len() && paths.iter().all(|path| path.starts_with("s2/j9/")),
        "{paths:?}"
    );
    assert_eq!(segments(&bench, INSTANCE, 0).len(), given.len(), "the source keeps its own");
    bench.check_content();
}

#[test]
fn an_inherited_segment_that_a_compacted_clone_drops_takes_its_copy_with_it() {
    let (mut bench, given, parent) = cloned();
    compact(&mut bench, parent, 50, true);
    collect_later(&mut bench);
    let before = versions(&bench);
    let snapshot = pin(&mut bench, CLONE);
    drop_segments(&mut bench, OTHER_INSTANCE, "c", "p", &given[..2]).expect("drops");
    collect_later(&mut bench);
    assert!(condemned_copies(&bench).is_empty(), "a snapshot of the clone sees them");
    let listed = list_segments(&bench, OTHER_INSTANCE, "c", snapshot.revision, 3).expect("lists");
    assert_eq!(listed.len(), given.len());
    let later = pin(&mut bench, CLONE);
    bench.run(&snapshot).expect("releases");
    collect_later(&mut bench);
    assert_eq!(condemned_copies(&bench).len(), 2);
    assert_eq!(segments(&bench, OTHER_INSTANCE, 0), [(given[2], 50), (given[3], 50)]);
    assert_eq!(
        segments(&bench, OTHER_INSTANCE, later.revision).len(),
        2,
        "a later snapshot shows as little"
    );
    bench.run(&later).expect("releases");
    collect_later(&mut bench);
    let (copies_gone, own_sums) = (2, 2);
    assert_eq!(versions(&bench), before - copies_gone + own_sums, "and no tombstone is left");
    drop_collection(&mut bench, OTHER_INSTANCE, "c").expect("drops");
    collect_later(&mut bench);
    assert_eq!(condemned_copies(&bench).len(), 4, "each once");
    assert_eq!(segments(&bench, INSTANCE, 0).len(), given.len(), "the source keeps its own");
    bench.check_content();
}

#[test]
fn what_a_clone_drops_before_it_is_compacted_goes_once_there_are_copies() {
    for drops in ["segments", "partition", "collection"] {
        for copied in [true, false] {
            let (mut bench, given, parent) = cloned();
            match drops {
                "segments" => {
                    drop_segments(&mut bench, OTHER_INSTANCE, "c", "p", &given).expect("drops");
                }
                "partition" => {
                    drop_partition(&mut bench, OTHER_INSTANCE, "c", "p").expect("drops");
                }
                _ => {
                    drop_collection(&mut bench, OTHER_INSTANCE, "c").expect("drops");
                }
            }
            collect_later(&mut bench);
            assert!(condemned_paths(&bench).is_empty());
            assert_ne!(records(&bench, RecordTable::InheritedDrop), 0, "{drops} wait");
            compact(&mut bench, parent, 50, copied);
            collect_later(&mut bench);
            let expected = if copied { given.len() } else { 0 };
            assert_eq!(condemned_copies(&bench).len(), expected, "{drops}");
            assert_eq!(condemned_paths(&bench).len(), expected, "{drops}: nothing of the source");
            assert_eq!(records(&bench, RecordTable::InheritedDrop), 0);
            assert_eq!(segments(&bench, INSTANCE, 0).len(), given.len(), "the source keeps its own");
            bench.check_content();
        }
    }
}

#[test]
fn copies_that_are_dropped_alone_and_with_what_they_were_in_are_condemned_once() {
    for max_keys in 3..=20 {
        let mut bench = bench_with_collection();
        let given = add_segments(&mut bench, INSTANCE, "c", "p", 12).expect("adds");
        let parent = make_clone(&mut bench, CLONE, SOURCE);
        drop_segments(&mut bench, OTHER_INSTANCE, "c", "p", &given).expect("drops");
        collect_later(&mut bench);
        drop_partition(&mut bench, OTHER_INSTANCE, "c", "p").expect("drops");
        collect_later(&mut bench);
        drop_collection(&mut bench, OTHER_INSTANCE, "c").expect("drops");
        collect_later(&mut bench);
        assert_eq!(records(&bench, RecordTable::InheritedDrop), given.len() + 2);
        compact(&mut bench, parent, 50, true);
        while dropped::is_due(&bench.store).expect("reads") {
            bench.run(&CollectDropped { max_keys }).expect("collects");
        }
        let copies = condemned_copies(&bench);
        assert_eq!(copies.len(), given.len(), "{max_keys} keys a command: {copies:?}");
        assert_eq!(records(&bench, RecordTable::InheritedDrop), 0);
        bench.check_content();
    }
}

#[test]
fn what_waits_for_copies_goes_with_its_clone() {
    let (mut bench, given, _) = cloned();
    drop_segments(&mut bench, OTHER_INSTANCE, "c", "p", &given).expect("drops");
    collect_later(&mut bench);
    assert_eq!(records(&bench, RecordTable::InheritedDrop), given.len());
    let drop = DropInstance {
        instance_id: OTHER_INSTANCE.into(),
    };
    bench.run(&drop).expect("drops");
    collect_later(&mut bench);
    assert_eq!(records(&bench, RecordTable::InheritedDrop), 0);
    bench.check_content();
}

#[test]
fn held_files_stay_when_the_clone_drops_what_names_them() {
    let (mut bench, given, parent) = cloned();
    compact(&mut bench, parent, 50, false);
    drop_collection(&mut bench, OTHER_INSTANCE, "c").expect("drops");
    collect_later(&mut bench);
    assert!(condemned_paths(&bench).is_empty());
    assert_eq!(segments(&bench, INSTANCE, 0).len(), given.len());
}

#[test]
fn what_a_clone_makes_and_drops_itself_leaves_nothing() {
    let (mut bench, ..) = cloned();
    collect_later(&mut bench);
    let before = versions(&bench);
    create_collection(&mut bench, OTHER_INSTANCE, "own", &[]).expect("creates");
    add_segments(&mut bench, OTHER_INSTANCE, "own", "", 2).expect("adds");
    drop_collection(&mut bench, OTHER_INSTANCE, "own").expect("drops");
    put(&mut bench, OTHER_INSTANCE, "x", "1", None).expect("puts");
    let delete = DeleteAttribute {
        instance_id: OTHER_INSTANCE.into(),
        name: "x".into(),
        ..DeleteAttribute::default()
    };
    bench.run(&delete).expect("deletes");
    collect_later(&mut bench);
    assert_eq!(versions(&bench), before);
    // A tombstone over what is inherited stays.
    drop_collection(&mut bench, OTHER_INSTANCE, "c").expect("drops");
    collect_later(&mut bench);
    assert!(list_segments(&bench, OTHER_INSTANCE, "c", 0, 1).is_err());
    assert_eq!(versions(&bench), before + 2, "the name's and the collection's");
    bench.check_content();
}

/// Gives an instance object stores of these ids.
fn give_stores(bench: &mut Bench, instance_id: &str, ids: &[&str]) {
    let mut instance = instances::find(&bench.store, instance_id).expect("reads").expect("is there");
    let store = |id: &&str| ObjectStoreInfoPb {
        id: Some((*id).to_owned()),
        ..ObjectStoreInfoPb::default()
    };
    instance.info.obj_info = ids.iter().map(store).collect();
    change(bench, |context| instances::put(context, &instance));
}

#[test]
fn a_clone_with_a_store_of_its_own_writes_there_and_one_that_shares_writes_to_the_sources() {
    for (shares_stores, expected) in [(false, "2"), (true, "1")] {
        let mut bench = Bench::new();
        give_stores(&mut bench, INSTANCE, &["1"]);
        give_stores(&mut bench, OTHER_INSTANCE, &["1", "2"]);
        let create = CreateCollectionRequest {
            instance_id: INSTANCE.into(),
            name: "c".into(),
            vault: "1".into(),
            partitions: vec!["p".into()],
            ..CreateCollectionRequest::default()
        };
        call::<CreateCollection>(&mut bench, create).expect("creates");
        let given = add_segments(&mut bench, INSTANCE, "c", "p", 1).expect("adds");
        let parent = make_clone(&mut bench, CLONE, SOURCE);
        let parent = ParentRecord { shares_stores, ..parent };
        put_parent(&mut bench, CLONE, parent);
        let vaults = |bench: &mut Bench| {
            let prepared = prepare_segments(bench, OTHER_INSTANCE, "c", "p", 1).expect("prepares").vault;
            let listed = list_segments(bench, OTHER_INSTANCE, "c", 0, 9).expect("lists");
            let inherited = listed.iter().find(|segment| segment.segment_id == given[0]);
            (prepared, inherited.expect("is there").vault.clone())
        };
        assert_eq!(vaults(&mut bench), (expected.to_owned(), "1".to_owned()));
        let snapshot = CreateSnapshotRequest {
            instance_id: OTHER_INSTANCE.into(),
            collection: "c".into(),
            name: "s".into(),
            ..CreateSnapshotRequest::default()
        };
        let made = call::<CreateSnapshot>(&mut bench, snapshot).expect("made").snapshot.expect("shown");
        let found = crate::snapshots::find(&bench.store, ScopeId(CLONE), Revision(made.revision)).expect("reads");
        assert_eq!(found.expect("is there").record.vault, expected, "its metadata is a new file too");
        compact(&mut bench, parent, 50, true);
        assert_eq!(vaults(&mut bench).0, expected, "also when it reads its own copies");
    }
}
