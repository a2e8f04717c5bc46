//! Where clones put new files of what they inherit: base layers say it as what was read through before did.

use super::chains::{clone_now, compact_keeping, drop_instance, perform, settle};
use super::restoring::cloned;
use super::*;
use crate::catalog_fixture::{call, prepare_segments};
use crate::command::decode_record;
use crate::instance_snapshots::default_place;
use crate::keys::VersionedTable;
use crate::record::CollectionRecord;
use crate::versioned::{FoundRow, Lineage, LineageScan, PageLimit};
use quorate_model::ScopeId;
use quorate_wire::quorate::v1::CreateCollectionRequest;

/// `a`, `b` with a store of its own, which has also made collection `d` in the store of `a`, and `c`, which shares the stores of `b`.
/// With the places of `a` and of the others.
fn chain() -> (Bench, [String; 2]) {
    let mut bench = cloned();
    let first = default_place(&info(&bench, "a"));
    let create = CreateCollectionRequest {
        instance_id: "b".into(),
        name: "d".into(),
        vault: first.clone(),
        partitions: vec!["p".into()],
        ..CreateCollectionRequest::default()
    };
    call::<CreateCollection>(&mut bench, create).expect("created");
    let snapshot_id = snapshot_of(&mut bench, "b");
    let shared = CloneInstanceCall {
        request: request("b", &snapshot_id, "c", CloneType::Writable),
        ..CloneInstanceCall::default()
    };
    call::<CloneInstance>(&mut bench, shared).expect("cloned");
    let own = default_place(&info(&bench, "c"));
    assert_eq!(own, default_place(&info(&bench, "b")));
    assert_ne!(own, first);
    (bench, [first, own])
}

/// Where an instance writes to collection `c`, which `a` has made, and to `d`.
fn places(bench: &mut Bench, instance_id: &str) -> [String; 2] {
    ["c", "d"].map(|collection| prepare_segments(bench, instance_id, collection, "p", 1).expect("prepared").vault)
}

/// The collections that a scope has by itself.
fn collections(bench: &Bench, scope: u64) -> Vec<FoundRow> {
    let lineage = Lineage::of(&bench.store, ScopeId(scope), Revision(u64::MAX)).expect("reads");
    let all = LineageScan {
        table: VersionedTable::Collection,
        prefix: b"",
        after_key: None,
        limit: PageLimit::default(),
    };
    lineage.scan(&bench.store, &all).expect("reads").rows
}

/// The same of an instance's base layer.
fn base_of(bench: &Bench, instance_id: &str) -> Vec<FoundRow> {
    let record = parent(&bench.store, info(bench, instance_id).scope).expect("reads").expect("a clone");
    collections(bench, record.base_scope)
}

/// As builds did that left collections what the source named.
fn compact_as_before(bench: &mut Bench, instance_id: &str) {
    let command = CompactSnapshot {
        instance_id: instance_id.into(),
        keep_files: Some(false),
        native: true,
        rewrites_manifests: true,
        minds_source: true,
        ..CompactSnapshot::default()
    };
    let job = bench.run(&command).expect("started").job;
    perform(bench, job);
}

fn compact_now(bench: &mut Bench, instance_id: &str, keep_files: bool) {
    let job = compact_keeping(bench, instance_id, keep_files).expect("started");
    perform(bench, job);
}

#[test]
fn a_clone_that_shares_the_stores_of_one_with_its_own_writes_there_also_once_it_is_compacted() {
    for source_is_dropped in [false, true] {
        for keep_files in [false, true] {
            let (mut bench, [first, own]) = chain();
            let expected = [own, first];
            assert_eq!(places(&mut bench, "c"), expected, "it reads through");
            match source_is_dropped {
                true => drop_instance(&mut bench, "b"),
                false => {
                    compact_now(&mut bench, "b", keep_files);
                    assert_eq!(places(&mut bench, "b"), expected);
                    assert_eq!(places(&mut bench, "c"), expected, "it reads through to copies");
                }
            }
            compact_now(&mut bench, "c", keep_files);
            assert_eq!(places(&mut bench, "c"), expected, "it has a base layer");
            if !source_is_dropped {
                decouple(&mut bench, "b").expect("decoupled");
                assert_eq!(places(&mut bench, "c"), expected, "its source is decoupled");
                assert_eq!(places(&mut bench, "b"), expected);
            }
            decouple(&mut bench, "c").expect("decoupled");
            assert_eq!(places(&mut bench, "c"), expected, "it is decoupled");
            let b = info(&bench, "b").scope;
            if !source_is_dropped {
                drop_instance(&mut bench, "b");
            }
            settle(&mut bench);
            let is_collected = parent(&bench.store, b).expect("reads").is_none();
            assert!(is_collected || keep_files, "nothing of its source stays but what it holds");
            assert_eq!(places(&mut bench, "c"), expected, "its source was dropped: {source_is_dropped}, files are kept: {keep_files}");
            bench.check_content();
        }
    }
}

#[test]
fn a_base_layer_has_the_collections_of_the_source_and_the_clone_s_own_place() {
    for (kind, is_own) in [(CloneType::Writable, true), (CloneType::ReadOnly, false)] {
        let mut bench = cloned();
        clone_now(&mut bench, "a", "e", kind);
        compact_now(&mut bench, "e", true);
        let mut expected = collections(&bench, info(&bench, "a").scope.0);
        assert_eq!(expected.len(), 2);
        if is_own {
            let own = default_place(&info(&bench, "e"));
            for row in &mut expected {
                let mut record: CollectionRecord = decode_record(&row.key, row.value.clone()).expect("decodes");
                assert_ne!(record.vault, own);
                record.vault = own.clone();
                row.value = prost::Message::encode_to_vec(&record).into();
            }
        }
        let key_and_value = |row: FoundRow| (row.key, row.value);
        let staged: Vec<_> = base_of(&bench, "e").into_iter().map(key_and_value).collect();
        assert_eq!(staged, expected.into_iter().map(key_and_value).collect::<Vec<_>>());
    }
}

#[test]
fn a_base_layer_that_an_earlier_build_filled_counts_as_it_did() {
    let (mut bench, [first, own]) = chain();
    let inherited = collections(&bench, info(&bench, "a").scope.0);
    compact_as_before(&mut bench, "b");
    let base = base_of(&bench, "b");
    assert_eq!(base.len(), inherited.len());
    assert!(base.iter().zip(&inherited).all(|(row, source)| row.value == source.value), "as the source named it");
    let expected = [own, first.clone()];
    assert_eq!(places(&mut bench, "b"), expected, "its own store is seen before");
    assert_eq!(places(&mut bench, "c"), expected);
    compact_now(&mut bench, "c", false);
    assert_eq!(places(&mut bench, "c"), expected, "a base layer of now behind one of before");

    let (mut bench, _) = chain();
    compact_as_before(&mut bench, "b");
    compact_as_before(&mut bench, "c");
    assert_eq!(places(&mut bench, "c"), [first.clone(), first], "as it was");
}
