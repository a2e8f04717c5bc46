use super::*;
use crate::catalog_fixture::*;
use crate::commands::*;
use crate::testing::{Bench, INSTANCE};
use quorate_wire::quorate::v1::{AbortSegmentsRequest, DropPartitionRequest};

fn list(bench: &Bench, page_size: u32) -> Vec<Deletion> {
    let mut request = ListDeletionsRequest {
        page_size,
        include_waiting: true,
        ..ListDeletionsRequest::default()
    };
    let mut found = Vec::new();
    loop {
        let page = list_deletions(&bench.store, &request).expect("lists");
        found.extend(page.deletions);
        if page.next_page_token.is_empty() {
            return found;
        }
        request.page_token = page.next_page_token;
    }
}

/// State, time and reason of each.
fn told(bench: &Bench) -> Vec<(DeletionState, u64, String)> {
    let tell = |deletion: Deletion| (deletion.state(), deletion.not_before_ms, deletion.reason);
    list(bench, 0).into_iter().map(tell).collect()
}

#[test]
fn what_is_dropped_is_told_with_its_time_and_afterwards_with_its_cause() {
    let mut bench = bench_with_collection();
    let given = add_segments(&mut bench, INSTANCE, "c", "p", 2).expect("adds");
    add_segments(&mut bench, INSTANCE, "c", "q", 3).expect("adds");
    assert_eq!(list(&bench, 0), []);
    drop_segments(&mut bench, INSTANCE, "c", "p", &given[..1]).expect("drops");
    bench.now_ms += 1_000;
    let request = DropPartitionRequest {
        instance_id: INSTANCE.to_owned(),
        collection: "c".to_owned(),
        name: "q".to_owned(),
        ..DropPartitionRequest::default()
    };
    call::<DropPartition>(&mut bench, request).expect("drops");
    bench.now_ms += 1_000;
    drop_collection(&mut bench, INSTANCE, "c").expect("drops");
    let over = bench.now_ms + limits::HISTORY_WINDOW_MS;
    let segment = format!("segment {} was dropped", given[0]);
    let partition = "partition 4 \"q\" of collection 2 \"c\" was dropped".to_owned();
    let collection = "collection 2 \"c\" was dropped".to_owned();
    use DeletionState::*;
    assert_eq!(
        told(&bench),
        [
            (InHistory, over - 2_000, segment),
            (InHistory, over - 1_000, partition),
            (InHistory, over, collection)
        ]
    );
    let shown = list(&bench, 0);
    assert_eq!(
        (shown[0].path.as_str(), shown[0].files.as_slice()),
        (&*format!("s1/c2/p3/g{}", given[0]), &["f".to_owned()][..])
    );
    assert_eq!((shown[1].file_count, shown[2].file_count), (3, 1));
    assert_eq!((shown[2].dropped_ms, shown[2].instance_id.as_str()), (bench.now_ms, INSTANCE));
    assert_eq!(list(&bench, 1), shown, "in pages of one");
    bench.now_ms += limits::HISTORY_WINDOW_MS;
    collect_all(&mut bench);
    let condemned = list(&bench, 0);
    assert!(
        condemned
            .iter()
            .all(|deletion| (deletion.state(), deletion.condemned_ms) == (Condemned, bench.now_ms))
    );
    let mut reasons: Vec<&str> = condemned.iter().map(|deletion| deletion.reason.as_str()).collect();
    reasons.sort();
    let of = |what: &str| format!("{what} was dropped, and nothing sees it any more");
    let [collection, partition, segment] = [of("collection 2"), of("partition 4"), of(&format!("segment {}", given[0]))];
    assert_eq!(reasons, [&collection, &partition, &partition, &partition, &segment]);
}

#[test]
fn what_a_pin_keeps_names_the_pin() {
    let mut bench = bench_with_collection();
    add_segments(&mut bench, INSTANCE, "c", "p", 1).expect("adds");
    let snapshot = pin(&mut bench, 1);
    drop_collection(&mut bench, INSTANCE, "c").expect("drops");
    let holders = vec![format!("snapshot at revision {}", snapshot.revision)];
    let pinned = |bench: &Bench| {
        let shown = list(bench, 0);
        assert_eq!(shown.len(), 1, "{shown:?}");
        (shown[0].state(), shown[0].pinned_by.clone())
    };
    assert_eq!(pinned(&bench), (DeletionState::Pinned, holders.clone()), "within the window");
    collect_later(&mut bench);
    assert_eq!(pinned(&bench), (DeletionState::Pinned, holders), "parked");
    bench.run(&snapshot).expect("releases");
    assert_eq!(pinned(&bench), (DeletionState::InHistory, Vec::new()), "about to be decided anew");
}

#[test]
fn an_upload_that_was_given_up_says_so() {
    let mut bench = bench_with_collection();
    let prepared = prepare_segments(&mut bench, INSTANCE, "c", "p", 1)
        .expect("prepares")
        .segments
        .remove(0);
    let request = AbortSegmentsRequest {
        instance_id: INSTANCE.to_owned(),
        segment_ids: vec![prepared.segment_id],
    };
    call::<AbortSegments>(&mut bench, request).expect("gives up");
    let reason = format!("segment {} was prepared and given up", prepared.segment_id);
    assert_eq!(told(&bench), [(DeletionState::Condemned, bench.now_ms, reason)]);
}

#[test]
fn a_cause_reads_as_a_fact_of_the_record() {
    let of = |cause: CondemnedCause, cause_id| {
        reason(&CondemnedRecord {
            cause: cause as i32,
            cause_id,
            ..CondemnedRecord::default()
        })
    };
    assert_eq!(of(CondemnedCause::Job, 7), "job 7 ended without being published");
    assert_eq!(of(CondemnedCause::Claim, 7), "a task of job 7 was done again under a later claim");
    assert_eq!(
        of(CondemnedCause::Snapshot, 7),
        "snapshot 00000000000000070000 was dropped or given up"
    );
    assert!(of(CondemnedCause::Unspecified, 0).contains("did not record"));
}

#[test]
fn tokens_come_back_and_others_are_refused() {
    use waiting::At;
    for at in [
        At::START,
        At::Collecting(vec![1, 255]),
        At::Queue { revision: 7, position: 8 },
        At::Parked(vec![0]),
    ] {
        assert_eq!(At::parse(&at.token()), Some(at));
    }
    for wrong in ["", "7-8", "queue:7", "parked:0", "parked:zz", "other:00"] {
        assert_eq!(At::parse(wrong), None, "{wrong}");
    }
}
