use super::*;
use crate::commands::{DropInstance, UnpinSnapshot};
use crate::snapshot_fixture::{add_collection, by_name, committed, create, create_request, drop_by, pin};
use crate::testing::{Bench, DROPPED, INSTANCE};

fn bench() -> Bench {
    let mut bench = Bench::new();
    for number in [3, 4] {
        add_collection(&mut bench, ScopeId(1), number);
    }
    bench
}

fn list(bench: &Bench, collection: &str, page_size: u32) -> Vec<Vec<String>> {
    let mut request = ListSnapshotsRequest {
        instance_id: INSTANCE.to_owned(),
        collection: collection.to_owned(),
        page_size,
        ..ListSnapshotsRequest::default()
    };
    let mut pages = Vec::new();
    loop {
        let reply = list_snapshots(&bench.store, &request).expect("lists");
        pages.push(reply.snapshots.iter().map(|one| one.name.clone()).collect());
        if reply.next_page_token.is_empty() {
            return pages;
        }
        request.page_token = reply.next_page_token;
    }
}

#[test]
fn lists_are_sorted_by_name_and_paged() {
    let mut bench = bench();
    assert_eq!(list(&bench, "c3", 0), [Vec::<String>::new()]);
    for name in ["b", "a", "aa", "_"] {
        create(&mut bench, create_request(3, name, 0)).expect("created");
    }
    create(&mut bench, create_request(4, "A", 0)).expect("created");
    assert_eq!(list(&bench, "c3", 0), [["_", "a", "aa", "b"]]);
    assert_eq!(list(&bench, "c3", 3), [vec!["_", "a", "aa"], vec!["b"]]);
    assert_eq!(list(&bench, "c3", 2), [["_", "a"], ["aa", "b"]]);
    assert_eq!(list(&bench, "", 4), [vec!["_", "a", "aa", "b"], vec!["A"]]);
    drop_by(&mut bench, by_name("c3", "a")).expect("dropped");
    assert_eq!(list(&bench, "c3", 0), [["_", "aa", "b"]], "one that is being deleted is not listed");
}

#[test]
fn a_list_of_what_does_not_exist_is_refused() {
    let bench = bench();
    let refused = |change: fn(&mut ListSnapshotsRequest)| {
        let mut request = ListSnapshotsRequest {
            instance_id: INSTANCE.to_owned(),
            ..ListSnapshotsRequest::default()
        };
        change(&mut request);
        list_snapshots(&bench.store, &request).expect_err("refused").to_string()
    };
    assert_eq!(refused(|request| request.instance_id = "x".into()), "instance \"x\" does not exist");
    let dropped = refused(|request| request.instance_id = DROPPED.into());
    assert_eq!(dropped, "instance \"gone\" was dropped at revision 5", "nothing is left of it");
    let missing = "collection not found[database=default][collection=c9]";
    assert_eq!(refused(|request| request.collection = "c9".into()), missing);
    for token in ["zz", "é", "1", "10120000000000000002"] {
        let text = {
            let request = ListSnapshotsRequest {
                instance_id: INSTANCE.to_owned(),
                page_token: token.to_owned(),
                ..ListSnapshotsRequest::default()
            };
            list_snapshots(&bench.store, &request).expect_err("refused").to_string()
        };
        assert!(text.starts_with("page token is "), "{text}");
    }
}

#[test]
fn a_description_counts_live_pins_and_knows_partitions_as_of_its_revision() {
    let mut bench = bench();
    let revision = committed(&mut bench, 3, "s", 0);
    pin(&mut bench, by_name("c3", "s"), 60, 2).expect("pinned");
    pin(&mut bench, by_name("c3", "s"), 0, 4).expect("pinned");
    let describe = |bench: &Bench| {
        let request = DescribeSnapshotRequest {
            instance_id: INSTANCE.to_owned(),
            snapshot: Some(by_name("c3", "s")),
            ..DescribeSnapshotRequest::default()
        };
        describe_snapshot(&bench.store, &request).expect("described")
    };
    let shown = describe(&bench);
    assert_eq!(
        (shown.pins, shown.state, shown.location.as_str()),
        (2, SnapshotState::Committed as i32, "l")
    );
    bench.now_ms += 60_001;
    create(&mut bench, create_request(4, "t", 0)).expect("created");
    assert_eq!(describe(&bench).pins, 1);
    let snapshot = snapshots::find(&bench.store, ScopeId(1), Revision(revision))
        .expect("reads")
        .expect("there");
    assert_eq!(partition_names(&bench.store, &snapshot).expect("reads"), ["p"]);
}

#[test]
fn the_pins_that_keep_a_dropped_instance_are_found_and_can_be_taken_away() {
    let mut bench = bench();
    let revision = committed(&mut bench, 3, "s", 0);
    let forever = pin(&mut bench, by_name("c3", "s"), 0, 8).expect("pinned").pin_id;
    let until = pin(&mut bench, by_name("c3", "s"), 60, 20).expect("pinned");
    let drop = DropInstance {
        instance_id: INSTANCE.to_owned(),
    };
    bench.run(&drop).expect("dropped");
    let request = ListSnapshotsRequest {
        instance_id: INSTANCE.to_owned(),
        ..ListSnapshotsRequest::default()
    };
    let listed = list_snapshots(&bench.store, &request).expect("lists").snapshots;
    assert_eq!((listed.len(), listed[0].revision), (1, revision));
    let request = DescribeSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        snapshot: Some(by_name("c3", "s")),
        ..DescribeSnapshotRequest::default()
    };
    let shown = describe_snapshot(&bench.store, &request).expect("described").pinned_by;
    assert_eq!(shown, listed[0].pinned_by);
    let pins: Vec<_> = shown.iter().map(|pin| (pin.pin_id, pin.expires_ms, pin.job_id)).collect();
    assert_eq!(pins, [(forever, 0, 0), (until.pin_id, until.expires_ms, 0)]);
    for pin_id in [forever, until.pin_id] {
        let unpin = UnpinSnapshot {
            instance_id: INSTANCE.to_owned(),
            pin_id,
        };
        assert!(bench.run(&unpin).expect("unpinned").existed);
    }
    assert!(describe_snapshot(&bench.store, &request).expect("described").pinned_by.is_empty());
}

#[test]
fn of_many_pins_a_bounded_number_is_shown() {
    let mut bench = bench();
    committed(&mut bench, 3, "s", 0);
    for random in 0..=limits::MAX_SHOWN_PINS as u64 {
        pin(&mut bench, by_name("c3", "s"), 0, 2 * random).expect("pinned");
    }
    let request = DescribeSnapshotRequest {
        instance_id: INSTANCE.to_owned(),
        snapshot: Some(by_name("c3", "s")),
        ..DescribeSnapshotRequest::default()
    };
    let shown = describe_snapshot(&bench.store, &request).expect("described");
    assert_eq!(
        (shown.pins as usize, shown.pinned_by.len()),
        (limits::MAX_SHOWN_PINS + 1, limits::MAX_SHOWN_PINS)
    );
}
