use crate::catalog_fixture::*;
use crate::commands::*;
use crate::keys::{RecordTable, space};
use crate::limits;
use crate::testing::{Bench, INSTANCE};

/// Rows that wait for anything.
fn waiting(bench: &Bench) -> usize {
    let waits = |key: &[u8]| matches!(key[0], space::CLEANUP | space::PARKED | space::RELEASED);
    bench.store.rows.keys().filter(|key| waits(key)).count() + records(bench, RecordTable::Dropped)
}

#[test]
fn dropping_a_collection_changes_a_few_rows_however_much_it_holds() {
    let mut bench = bench_with_collection();
    add_segments(&mut bench, INSTANCE, "c", "p", 900).expect("adds");
    let before = bench.store.rows.len();
    drop_collection(&mut bench, INSTANCE, "c").expect("drops");
    assert_eq!(bench.store.rows.len() - before, 3, "two tombstones and a row of the clean-up queue");
}

#[test]
fn a_dropped_collection_leaves_nothing_and_its_files_are_condemned_once() {
    let mut bench = bench_with_collection();
    let kept = add_segments(&mut bench, INSTANCE, "c", "p", 4).expect("adds");
    let dropped = add_segments(&mut bench, INSTANCE, "c", "q", 3).expect("adds");
    drop_segments(&mut bench, INSTANCE, "c", "q", &dropped[..2]).expect("drops");
    drop_collection(&mut bench, INSTANCE, "c").expect("drops");
    bench.now_ms += limits::HISTORY_WINDOW_MS - 1;
    collect_all(&mut bench);
    assert!(condemned_paths(&bench).is_empty(), "the window still shows it");
    bench.now_ms += 1;
    collect_all(&mut bench);
    let mut paths = condemned_paths(&bench);
    paths.sort();
    let expected = kept.iter().map(|id| format!("s1/c2/p3/g{id}/f"));
    let mut expected: Vec<String> = expected.chain(dropped.iter().map(|id| format!("s1/c2/p4/g{id}/f"))).collect();
    expected.sort();
    assert_eq!(paths, expected);
    assert_eq!((versions(&bench), waiting(&bench)), (1, 0), "the database `default` is left");
    bench.check_content();
}

#[test]
fn a_dropped_collection_stays_whole_while_a_pin_sees_it() {
    let mut bench = bench_with_collection();
    let given = add_segments(&mut bench, INSTANCE, "c", "p", 4).expect("adds");
    let snapshot = pin(&mut bench, 1);
    drop_segments(&mut bench, INSTANCE, "c", "p", &given[..1]).expect("drops");
    drop_collection(&mut bench, INSTANCE, "c").expect("drops");
    let after = pin(&mut bench, 1);
    collect_later(&mut bench);
    assert!(condemned_paths(&bench).is_empty());
    assert_eq!(list_segments(&bench, INSTANCE, "c", snapshot.revision, 3).expect("lists").len(), 4);
    bench.run(&snapshot).expect("releases");
    collect_all(&mut bench);
    assert_eq!(condemned_paths(&bench).len(), 4, "a pin after the drop keeps nothing");
    bench.run(&after).expect("releases");
    collect_all(&mut bench);
    assert_eq!((versions(&bench), waiting(&bench)), (1, 0));
    bench.check_content();
}

#[test]
fn a_pin_from_before_an_objects_creation_does_not_keep_it() {
    let mut bench = bench_with_collection();
    let older = pin(&mut bench, 1);
    create_collection(&mut bench, INSTANCE, "d", &[]).expect("creates");
    add_segments(&mut bench, INSTANCE, "d", "", 2).expect("adds");
    drop_collection(&mut bench, INSTANCE, "d").expect("drops");
    collect_later(&mut bench);
    assert_eq!(condemned_paths(&bench).len(), 2);
    bench.run(&older).expect("is still there");
}

#[test]
fn a_dropped_partition_goes_alone_and_also_when_its_collection_follows() {
    let mut bench = bench_with_collection();
    let kept = add_segments(&mut bench, INSTANCE, "c", "p", 2).expect("adds");
    add_segments(&mut bench, INSTANCE, "c", "q", 5).expect("adds");
    drop_partition(&mut bench, INSTANCE, "c", "q").expect("drops");
    let listed = list_segments(&bench, INSTANCE, "c", 0, 1).expect("lists");
    assert_eq!(listed.iter().map(|segment| segment.segment_id).collect::<Vec<_>>(), kept);
    drop_collection(&mut bench, INSTANCE, "c").expect("drops");
    bench.now_ms += limits::HISTORY_WINDOW_MS;
    // Both are ready before either is collected, so one run meets rows of both.
    while bench.run(&CollectVersions::default()).expect("collects").more {}
    assert_eq!(records(&bench, RecordTable::Dropped), 2);
    let reply = bench.run(&CollectDropped::default()).expect("collects");
    assert_eq!((reply.finished, reply.more), (2, false));
    assert_eq!(condemned_paths(&bench).len(), 7, "each file once");
    collect_all(&mut bench);
    assert_eq!((versions(&bench), waiting(&bench)), (1, 0));
    bench.check_content();
}

#[test]
fn collecting_a_large_object_goes_on_where_it_stopped() {
    let mut bench = bench_with_collection();
    add_segments(&mut bench, INSTANCE, "c", "p", 20).expect("adds");
    drop_collection(&mut bench, INSTANCE, "c").expect("drops");
    bench.now_ms += limits::HISTORY_WINDOW_MS;
    while bench.run(&CollectVersions::default()).expect("collects").more {}
    let mut runs = 0;
    while bench.run(&CollectDropped { max_keys: 4 }).expect("collects").more {
        runs += 1;
        assert_eq!(records(&bench, RecordTable::Dropped), 1);
    }
    assert!(runs >= 4, "{runs} runs");
    assert_eq!((condemned_paths(&bench).len(), waiting(&bench)), (20, 0));
}

#[test]
fn a_dropped_instance_goes_with_all_its_rows_when_its_last_pin_does() {
    let mut bench = bench_with_collection();
    add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds");
    let put = PutAttribute {
        instance_id: INSTANCE.into(),
        name: "a".into(),
        ..PutAttribute::default()
    };
    bench.run(&put).expect("puts");
    let snapshot = pin(&mut bench, 1);
    let drop = DropInstance {
        instance_id: INSTANCE.into(),
    };
    bench.run(&drop).expect("drops");
    bench.run(&drop).expect("again");
    collect_later(&mut bench);
    assert_eq!(list_segments(&bench, INSTANCE, "c", snapshot.revision, 0).expect("lists").len(), 3);
    bench.run(&snapshot).expect("releases");
    collect_all(&mut bench);
    assert_eq!((versions(&bench), waiting(&bench)), (0, 0));
    assert_eq!(condemned_paths(&bench).len(), 3);
    assert_eq!(records(&bench, RecordTable::AttributeIndex), 0);
    bench.check_content();
}

#[test]
fn empty_objects_count_in_what_a_command_may_change() {
    let mut bench = Bench::new();
    let names: Vec<String> = (0..limits::CLEANUP_KEYS_PER_COMMAND + 1)
        .map(|number| format!("p{number}"))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (collection, partitions) in ["a", "b"].iter().zip(names.chunks(600)) {
        create_collection(&mut bench, INSTANCE, collection, partitions).expect("creates");
        for name in partitions {
            drop_partition(&mut bench, INSTANCE, collection, name).expect("drops");
        }
    }
    bench.now_ms += limits::HISTORY_WINDOW_MS;
    while bench.run(&CollectVersions::default()).expect("collects").more {}
    assert_eq!(records(&bench, RecordTable::Dropped), names.len());
    let first = bench.run(&CollectDropped::default()).expect("collects");
    assert_eq!((first.finished, first.more), (limits::CLEANUP_KEYS_PER_COMMAND as u64, true));
    let rest = bench.run(&CollectDropped::default()).expect("collects");
    assert_eq!((rest.finished, rest.more), (1, false));
    bench.check_content();
}
