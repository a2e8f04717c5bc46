use super::*;
use crate::catalog_fixture::{add_segments, bench_with_collection, create_collection};
use crate::snapshot_fixture::{self, by_id, drop_by};
use crate::storage_fixture::change;
use crate::testing::{Bench, INSTANCE};
use quorate_wire::quorate::v1::CreateSnapshotRequest;
use std::collections::BTreeMap;

fn request(page_token: &str) -> ScanManifestsRequest {
    ScanManifestsRequest {
        instance_id: INSTANCE.to_owned(),
        page_token: page_token.to_owned(),
        ..ScanManifestsRequest::default()
    }
}

/// Every page.
fn pages(bench: &Bench) -> Vec<Vec<SnapshotManifests>> {
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = scan_manifests(&bench.store, &request(&token)).expect("scans");
        found.push(page.manifests);
        token = page.next_page_token;
        if token.is_empty() {
            return found;
        }
    }
}

/// A committed snapshot of a collection, or of the whole instance.
fn snapshot(bench: &mut Bench, collection: &str, name: &str) -> u64 {
    let request = CreateSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        collection: collection.to_owned(),
        name: name.to_owned(),
        ..CreateSnapshotRequest::default()
    };
    let revision = snapshot_fixture::create(bench, request).expect("made").revision;
    let scope = bench.scope();
    snapshot_fixture::commit(bench, scope, revision);
    revision
}

/// Says that a snapshot's manifests are there, and those of these collections if it is of a whole instance.
fn list_manifests(bench: &mut Bench, revision: u64, of_collections: &[u64]) {
    let scope = bench.scope();
    let found = snapshots::find(&bench.store, scope, Revision(revision)).expect("reads");
    let mut snapshot = found.expect("is there");
    (snapshot.record.manifests_complete, snapshot.record.manifests_listed) = (true, true);
    change(bench, |context| {
        collections::note(context, scope, Revision(revision), of_collections).expect("noted");
        snapshots::save(context, &snapshot).expect("saved");
    });
}

fn names(segments: &[u64]) -> Vec<String> {
    segments.iter().map(|segment| format!("{segment}.avro")).collect()
}

#[test]
fn each_segment_that_a_snapshot_shows_has_its_manifest_from_when_these_are_listed_until_it_is_dropped() {
    let mut bench = bench_with_collection();
    let in_p = add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds");
    let in_q = add_segments(&mut bench, INSTANCE, "c", "q", 2).expect("adds");
    let revision = snapshot(&mut bench, "c", "s");
    add_segments(&mut bench, INSTANCE, "c", "p", 1).expect("adds what it does not show");
    assert_eq!(pages(&bench), [Vec::<SnapshotManifests>::new()], "nothing must be there yet");
    list_manifests(&mut bench, revision, &[]);
    let found = snapshots::find(&bench.store, bench.scope(), Revision(revision))
        .expect("reads")
        .expect("is there");
    let expected = SnapshotManifests {
        instance_id: INSTANCE.to_owned(),
        snapshot_id: format!("{revision:016x}0000"),
        snapshot_name: "s".to_owned(),
        path: format!("snapshots/{}/manifests/{revision}", found.record.collection_id),
        files: names(&[in_p, in_q].concat()),
    };
    assert_eq!(pages(&bench), [vec![expected]]);
    drop_by(&mut bench, by_id(revision)).expect("dropped");
    assert_eq!(pages(&bench), [Vec::<SnapshotManifests>::new()], "they are being deleted");
}

#[test]
fn pages_name_the_manifests_of_all_snapshots_once_also_those_of_an_instance_s_collections() {
    let mut bench = bench_with_collection();
    let first = add_segments(&mut bench, INSTANCE, "c", "p", 900).expect("adds");
    let second = add_segments(&mut bench, INSTANCE, "c", "q", 900).expect("adds");
    let of_c = [first, second].concat();
    let alone = snapshot(&mut bench, "c", "alone");
    let d = create_collection(&mut bench, INSTANCE, "d", &["p"]).expect("creates").collection_id;
    let of_d = add_segments(&mut bench, INSTANCE, "d", "p", 7).expect("adds");
    let whole = snapshot(&mut bench, "", "whole");
    let found = snapshots::find(&bench.store, bench.scope(), Revision(alone))
        .expect("reads")
        .expect("is there");
    let c = found.record.collection_id;
    list_manifests(&mut bench, alone, &[]);
    list_manifests(&mut bench, whole, &[c, d]);
    let pages = pages(&bench);
    assert!(pages.len() >= 4, "{} pages", pages.len());
    let mut found = BTreeMap::<_, Vec<String>>::new();
    for page in pages {
        assert!(page.iter().map(|manifests| manifests.files.len()).sum::<usize>() <= limits::MAX_PAGE_ROWS);
        for manifests in page {
            found
                .entry((manifests.snapshot_name, manifests.path))
                .or_default()
                .extend(manifests.files);
        }
    }
    let expected = [("alone", c, alone, &of_c), ("whole", c, whole, &of_c), ("whole", d, whole, &of_d)];
    let expected = expected.map(|(name, collection, revision, segments)| {
        let place = format!("snapshots/{collection}/manifests/{revision}");
        ((name.to_owned(), place), names(segments))
    });
    assert_eq!(found, BTreeMap::from(expected));
}

#[test]
fn tokens_of_nobody_are_refused_and_change_nothing() {
    let mut bench = bench_with_collection();
    add_segments(&mut bench, INSTANCE, "c", "p", 2).expect("adds");
    let revision = snapshot(&mut bench, "c", "s");
    list_manifests(&mut bench, revision, &[]);
    let row: String = snapshots::record_key(bench.scope(), Revision(revision))
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    for token in ["x", "-x", "00-1", &format!("{row}-"), &format!("{row}-ffffffffffffffffff")] {
        let error = scan_manifests(&bench.store, &request(token)).expect_err(token);
        assert!(error.to_string().contains("page token is malformed"), "{token}: {error}");
    }
    for token in ["20", &row] {
        let page = scan_manifests(&bench.store, &request(token)).expect("behind all of them");
        assert_eq!(page, ScanManifestsReply::default());
    }
    let nobody = ScanManifestsRequest {
        instance_id: "nobody".to_owned(),
        ..request("")
    };
    assert!(scan_manifests(&bench.store, &nobody).is_err());
}
