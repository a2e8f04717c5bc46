use crate::catalog_fixture::*;
use crate::commands::*;
use crate::keys::RecordTable;
use crate::limits;
use crate::queries::catalog;
use crate::testing::{Bench, INSTANCE, OTHER_INSTANCE};
use quorate_model::ErrorCode;
use quorate_wire::quorate::v1::*;

fn ids(segments: &[Segment]) -> Vec<u64> {
    segments.iter().map(|segment| segment.segment_id).collect()
}

fn listed(bench: &Bench, at_revision: u64) -> Vec<u64> {
    ids(&list_segments(bench, INSTANCE, "c", at_revision, 0).expect("lists"))
}

fn stats(bench: &Bench) -> (u64, u64, u64, u64) {
    let request = DescribeCollectionRequest {
        instance_id: INSTANCE.into(),
        name: "c".into(),
        ..DescribeCollectionRequest::default()
    };
    let stats = catalog::describe_collection(&bench.store, &request)
        .expect("is there")
        .stats
        .expect("sums");
    (stats.segments, stats.rows, stats.files, stats.bytes)
}

#[test]
fn prepared_segments_are_visible_when_they_are_committed() {
    let mut bench = bench_with_collection();
    let prepared = prepare_segments(&mut bench, INSTANCE, "c", "p", 3).expect("prepares");
    let given: Vec<u64> = prepared.segments.iter().map(|segment| segment.segment_id).collect();
    assert_eq!(prepared.expires_ms, bench.now_ms + limits::UPLOAD_LIFETIME_MS);
    assert_eq!(prepared.segments[0].path, format!("s1/c2/p3/g{}", given[0]));
    assert_eq!((listed(&bench, 0), bench.counters().uploads), (vec![], 3));
    let before = bench.machine.revision().0;
    let reply = commit(&mut bench, INSTANCE, &given[..2]).expect("commits");
    assert_eq!(listed(&bench, 0), given[..2]);
    assert!(listed(&bench, before).is_empty());
    assert_eq!(stats(&bench), (2, 20, 2, given[0] + given[1]));
    let segment = &list_segments(&bench, INSTANCE, "c", 0, 0).expect("lists")[0];
    assert_eq!(
        (segment.owner_scope, segment.revision, segment.path.as_str()),
        (1, reply.revision, "s1/c2/p3/g5")
    );
    let request = DescribeSegmentRequest {
        instance_id: INSTANCE.into(),
        collection: "c".into(),
        partition: "p".into(),
        segment_id: given[0],
        ..DescribeSegmentRequest::default()
    };
    assert_eq!(catalog::describe_segment(&bench.store, &request).expect("is there"), *segment);
    assert_eq!((bench.counters().uploads, records(&bench, RecordTable::UploadExpiry)), (1, 1));
    bench.check_content();
}

#[test]
fn a_commit_takes_all_its_segments_or_none() {
    let mut bench = bench_with_collection();
    let prepared = prepare_segments(&mut bench, INSTANCE, "c", "p", 2).expect("prepares");
    let given: Vec<u64> = prepared.segments.iter().map(|segment| segment.segment_id).collect();
    let refused = commit(&mut bench, INSTANCE, &[given[0], 999]).expect_err("999 was not prepared");
    assert_eq!(refused.code, ErrorCode::PreconditionFailed);
    assert!(refused.message.contains("segment 999"), "{refused}");
    assert!(listed(&bench, 0).is_empty());
    create_collection(&mut bench, OTHER_INSTANCE, "c", &[]).expect("creates");
    assert!(commit(&mut bench, OTHER_INSTANCE, &given).is_err(), "prepared for another instance");
    commit(&mut bench, INSTANCE, &given).expect("commits");
    assert_eq!(
        commit(&mut bench, INSTANCE, &given[..1]).expect_err("only once").code,
        ErrorCode::PreconditionFailed
    );
}

#[test]
fn no_more_segments_are_prepared_than_allowed() {
    let mut bench = bench_with_collection();
    bench.set_counters(|counters| counters.uploads = limits::MAX_UPLOADS - 1);
    let refused = prepare_segments(&mut bench, INSTANCE, "c", "p", 2).expect_err("one too many");
    // A refusal is remembered: its code must not promise that the same call is answered otherwise later.
    assert_eq!(refused.code, ErrorCode::LimitReached, "{refused}");
    prepare_segments(&mut bench, INSTANCE, "c", "p", 1).expect("there is room");
}

#[test]
fn what_was_dropped_meanwhile_takes_no_segments() {
    let mut bench = bench_with_collection();
    let of_p = prepare_segments(&mut bench, INSTANCE, "c", "p", 1).expect("prepares").segments[0].segment_id;
    let of_q = prepare_segments(&mut bench, INSTANCE, "c", "q", 1).expect("prepares").segments[0].segment_id;
    let drop = DropPartitionRequest {
        instance_id: INSTANCE.into(),
        collection: "c".into(),
        name: "p".into(),
        ..DropPartitionRequest::default()
    };
    call::<DropPartition>(&mut bench, drop).expect("drops");
    let refused = commit(&mut bench, INSTANCE, &[of_q, of_p]).expect_err("its partition is gone");
    assert_eq!(refused.code, ErrorCode::PreconditionFailed);
    assert!(refused.message.contains("has been dropped"), "{refused}");
    drop_collection(&mut bench, INSTANCE, "c").expect("drops");
    create_collection(&mut bench, INSTANCE, "c", &["q"]).expect("creates");
    assert!(commit(&mut bench, INSTANCE, &[of_q]).is_err(), "another collection of that name");
    assert_eq!(
        prepare_segments(&mut bench, INSTANCE, "c", "p", 1).expect_err("no partition").code,
        ErrorCode::NotFound
    );
    assert_eq!(
        prepare_segments(&mut bench, INSTANCE, "x", "", 1).expect_err("no collection").code,
        ErrorCode::NotFound
    );
}

#[test]
fn segments_given_up_are_condemned_with_all_that_was_written_and_never_committed() {
    let mut bench = bench_with_collection();
    let prepared = prepare_segments(&mut bench, INSTANCE, "c", "p", 3).expect("prepares");
    let given: Vec<u64> = prepared.segments.iter().map(|segment| segment.segment_id).collect();
    let abort = AbortSegmentsRequest {
        instance_id: INSTANCE.into(),
        segment_ids: vec![given[0], 999],
    };
    assert_eq!(call::<AbortSegments>(&mut bench, abort.clone()).expect("aborts").aborted, 1);
    assert_eq!(call::<AbortSegments>(&mut bench, abort).expect("again").aborted, 0);
    assert_eq!(condemned_paths(&bench), [format!("{}/", prepared.segments[0].path)]);
    bench.now_ms += limits::UPLOAD_LIFETIME_MS - 1;
    commit(&mut bench, INSTANCE, &given[1..2]).expect("in time");
    assert!(commit(&mut bench, INSTANCE, &given[..1]).is_err(), "was aborted");
    bench.now_ms += 1;
    assert!(
        commit(&mut bench, INSTANCE, &given[2..]).is_err(),
        "too late, though nobody has looked yet"
    );
    let reply = bench.run(&ExpireUploads { max_uploads: 0 }).expect("expires");
    assert_eq!((reply.expired, reply.more), (1, false));
    assert!(commit(&mut bench, INSTANCE, &given[2..]).is_err());
    assert_eq!(condemned_paths(&bench).len(), 2);
    assert_eq!(
        (
            bench.counters().uploads,
            records(&bench, RecordTable::Upload),
            records(&bench, RecordTable::UploadExpiry)
        ),
        (0, 0, 0)
    );
    bench.check_content();
}

#[test]
fn uploads_are_given_up_in_bounded_steps_and_not_before_their_time() {
    let mut bench = bench_with_collection();
    prepare_segments(&mut bench, INSTANCE, "c", "p", 5).expect("prepares");
    bench.now_ms += limits::UPLOAD_LIFETIME_MS - 1;
    let expire = |bench: &mut Bench| {
        let reply = bench.run(&ExpireUploads { max_uploads: 2 }).expect("expires");
        (reply.expired, reply.more)
    };
    assert_eq!(expire(&mut bench), (0, false));
    bench.now_ms += 1;
    assert_eq!(
        [expire(&mut bench), expire(&mut bench), expire(&mut bench)],
        [(2, true), (2, true), (1, false)]
    );
}

#[test]
fn dropped_segments_are_gone_now_and_seen_before() {
    let mut bench = bench_with_collection();
    let given = add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds");
    let others = add_segments(&mut bench, INSTANCE, "c", "q", 1).expect("adds");
    let before = bench.machine.revision().0;
    let wrong_partition = drop_segments(&mut bench, INSTANCE, "c", "q", &given[..1]).expect("none there");
    assert_eq!((wrong_partition.dropped, bench.machine.revision().0), (0, before));
    let reply = drop_segments(&mut bench, INSTANCE, "c", "p", &[given[0], given[2], 999]).expect("drops");
    assert_eq!(reply.dropped, 2);
    assert_eq!(listed(&bench, 0), [given[1], others[0]]);
    assert_eq!(listed(&bench, before), [&given[..], &others].concat());
    assert_eq!(stats(&bench), (2, 20, 2, given[1] + others[0]));
    assert_eq!(
        drop_segments(&mut bench, INSTANCE, "c", "p", &given[..1]).expect("again").dropped,
        0
    );
    assert!(condemned_paths(&bench).is_empty(), "the window still shows them");
    bench.check_content();
}

#[test]
fn what_is_deleted_is_swept_again_later_and_later() {
    let mut bench = bench_with_collection();
    prepare_segments(&mut bench, INSTANCE, "c", "p", 1).expect("prepares");
    bench.now_ms += limits::UPLOAD_LIFETIME_MS;
    bench.run(&ExpireUploads::default()).expect("expires");
    let finish = |bench: &mut Bench| {
        let deletions: Vec<_> = due_deletions(bench).into_iter().map(|(place, _)| place).collect();
        let finish = FinishDeletion { deletions };
        let first = bench.run(&finish).expect("finishes").finished;
        assert_eq!(bench.run(&finish).expect("again").finished, 0, "a row is finished once");
        first
    };
    assert_eq!([finish(&mut bench), finish(&mut bench)], [1, 0]);
    bench.now_ms += 3_600_000 - 1;
    assert_eq!(finish(&mut bench), 0);
    bench.now_ms += 1;
    assert_eq!(finish(&mut bench), 1);
    bench.now_ms += 86_400_000;
    assert_eq!(finish(&mut bench), 1);
    assert_eq!(records(&bench, RecordTable::Condemned), 0);
    bench.check_content();
}

#[test]
fn a_thousand_segments_are_prepared_committed_and_dropped_in_one_command_each() {
    let mut bench = bench_with_collection();
    let given = add_segments(&mut bench, INSTANCE, "c", "p", 1_000).expect("adds");
    assert_eq!(listed(&bench, 0).len(), 1_000);
    assert_eq!(drop_segments(&mut bench, INSTANCE, "c", "p", &given).expect("drops").dropped, 1_000);
    assert_eq!(stats(&bench), (0, 0, 0, 0));
    assert!(prepare_segments(&mut bench, INSTANCE, "c", "p", 1_001).is_err());
    assert!(prepare_segments(&mut bench, INSTANCE, "c", "p", 0).is_err());
}
