//! Restores out of a clone with a store of its own: access is asked for where the files are, whatever its collections' rows name.

use super::chains::{clone_now, compact_keeping, drop_instance, perform};
use super::*;
use crate::catalog_fixture::{add_segments, call, drop_collection};
use crate::instance_snapshots::default_place;
use crate::queries::deletions::list_deletions;
use crate::queries::restores;
use crate::snapshot_fixture::{self, by_id};
use quorate_model::ScopeId;
use quorate_wire::quorate::v1::{CreateCollectionRequest, CreateSnapshotRequest, ListDeletionsRequest, RestoreSnapshotRequest};

/// Collections `c`, of two segments, and `empty` in the store of `a`, and `b`, a clone of it with a store of its own.
pub(super) fn cloned() -> Bench {
    let mut bench = bench();
    let vault = default_place(&info(&bench, "a"));
    for name in ["c", "empty"] {
        let create = CreateCollectionRequest {
            instance_id: "a".into(),
            name: name.into(),
            vault: vault.clone(),
            partitions: vec!["p".into()],
            ..CreateCollectionRequest::default()
        };
        call::<CreateCollection>(&mut bench, create).expect("created");
    }
    add_segments(&mut bench, "a", "c", "p", 2).expect("added");
    clone_now(&mut bench, "a", "b", CloneType::Writable);
    bench
}

/// A committed snapshot of a collection of `b`, or of all of it.
fn snapshot(bench: &mut Bench, name: &str, collection: &str) -> u64 {
    let create = CreateSnapshotRequest {
        instance_id: "b".into(),
        collection: collection.into(),
        name: name.into(),
        ..CreateSnapshotRequest::default()
    };
    let revision = snapshot_fixture::create(bench, create).expect("made").revision;
    let scope = info(bench, "b").scope;
    snapshot_fixture::commit(bench, scope, revision);
    revision
}

/// The vaults that a restore within `b` asks for.
fn asked(bench: &Bench, snapshot: u64, collection: &str) -> Vec<(ScopeId, String)> {
    let request = RestoreSnapshotRequest {
        instance_id: "b".into(),
        snapshot: Some(by_id(snapshot)),
        source_collection: collection.into(),
        target_collection: "again".into(),
        ..RestoreSnapshotRequest::default()
    };
    let command = prepare::<CreateRestore>(request).expect("well-formed");
    restores::vaults(&bench.store, &command).expect("is shown")
}

#[test]
fn a_restore_asks_for_the_stores_that_have_the_files() {
    for keep_files in [false, true] {
        let mut bench = cloned();
        let [a, b] = ["a", "b"].map(|id| info(&bench, id));
        let inherited = (a.scope, default_place(&a));
        let own = (b.scope, default_place(&b));
        assert_ne!(inherited.1, own.1);
        let early = snapshot(&mut bench, "early", "c");
        add_segments(&mut bench, "b", "c", "p", 1).expect("added to what it inherits");
        let whole = snapshot(&mut bench, "whole", "");
        let snapshots = [(early, ""), (whole, "c")];
        for (snapshot, collection) in snapshots {
            assert_eq!(asked(&bench, snapshot, collection), [inherited.clone(), own.clone()], "it reads through");
        }
        assert_eq!(asked(&bench, whole, "empty"), std::slice::from_ref(&own), "nothing is to be read");

        let job = compact_keeping(&mut bench, "b", keep_files).expect("started");
        perform(&mut bench, job);
        assert_eq!(decouple(&mut bench, "b").expect("decoupled"), keep_files);
        drop_instance(&mut bench, "a");
        let base = parent(&bench.store, b.scope).expect("reads").expect("a clone").base_scope;
        let expected = match keep_files {
            true => [inherited, own.clone()],
            false => [own.clone(), (ScopeId(base), own.1.clone())],
        };
        let late = snapshot(&mut bench, "late", "c");
        for (snapshot, collection) in snapshots.into_iter().chain([(late, "")]) {
            assert_eq!(asked(&bench, snapshot, collection), expected, "files are kept: {keep_files}");
        }
        assert_eq!(asked(&bench, whole, "empty"), [own]);
    }
}

#[test]
fn what_a_clone_drops_of_an_inherited_collection_is_said_to_be_in_its_own_store() {
    let mut bench = cloned();
    add_segments(&mut bench, "b", "c", "p", 1).expect("added to what it inherits");
    drop_collection(&mut bench, "b", "c").expect("dropped");
    let mut request = ListDeletionsRequest {
        include_waiting: true,
        ..ListDeletionsRequest::default()
    };
    let mut vaults = Vec::new();
    loop {
        let page = list_deletions(&bench.store, &request).expect("lists");
        let dropped = page.deletions.into_iter().filter(|deletion| deletion.reason.contains("\"c\" was dropped"));
        vaults.extend(dropped.map(|deletion| deletion.vault));
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(vaults, [default_place(&info(&bench, "b"))]);
}
