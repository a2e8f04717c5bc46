//! Lists of jobs: wherever they are looked up, they show the same ones in the same order.

use super::*;
use crate::commands::{CancelJob, RemoveJobs};
use crate::jobs::tests::fixture::{self, CLONE_SCOPE, SOURCE_SCOPE};
use crate::store::MapStore;
use crate::testing::{Bench, DROPPED, INSTANCE, OTHER_INSTANCE};
use prost::Message;

const DROPPED_SCOPE: u64 = 3;

/// Jobs that ended, put in by hand: more than may be active at a time.
fn put_ended(store: &mut MapStore, job: u64, record: JobRecord) {
    let record = JobRecord {
        state: JobState::JobCompleted as i32,
        ..record
    };
    let by_target = rows::by_target(record.target_scope, record.target_collection_id, job);
    store.rows.insert(by_target, Bytes::new());
    store.rows.insert(rows::job(job), record.encode_to_vec().into());
}

fn restore(scope: u64, collection: &str, collection_id: u64) -> JobRecord {
    JobRecord {
        kind: JobKind::Restore as i32,
        target_scope: scope,
        target_database: "default".to_owned(),
        target_collection: collection.to_owned(),
        target_collection_id: collection_id,
        ..JobRecord::default()
    }
}

fn manifests(scope: u64, collection: &str) -> JobRecord {
    JobRecord {
        kind: JobKind::Manifests as i32,
        ..restore(scope, collection, 0)
    }
}

fn compaction(clone: u64, base: u64) -> JobRecord {
    JobRecord {
        kind: JobKind::CompactClone as i32,
        target_scope: base,
        clone_scope: clone,
        ..JobRecord::default()
    }
}

fn request(instance_id: &str, collection: &str) -> ListJobsRequest {
    ListJobsRequest {
        instance_id: instance_id.to_owned(),
        collection: collection.to_owned(),
        ..ListJobsRequest::default()
    }
}

fn ids(page: &ListJobsReply) -> Vec<u64> {
    page.jobs.iter().map(|job| job.job_id).collect()
}

/// The jobs of all pages, and how many pages these were.
fn all_pages(reader: &dyn Reader, request: &ListJobsRequest) -> (Vec<u64>, usize) {
    let (mut found, mut pages, mut request) = (Vec::new(), 0, request.clone());
    loop {
        let page = list_jobs(reader, &request).expect("listed");
        found.extend(ids(&page));
        pages += 1;
        if page.next_page_token.is_empty() {
            return (found, pages);
        }
        request.page_token = page.next_page_token;
    }
}

#[test]
fn a_thousand_jobs_of_others_make_no_page_empty() {
    let mut store = fixture::bench().store;
    // Alone and older than everything of the others.
    put_ended(&mut store, 1_001, restore(SOURCE_SCOPE, "logs", 900));
    put_ended(&mut store, 1_002, manifests(SOURCE_SCOPE, "logs"));
    for job in 2_000..2_000 + limits::MAX_PAGE_KEYS as u64 + 10 {
        put_ended(&mut store, job, manifests(DROPPED_SCOPE, "logs"));
    }
    for request in [
        request(INSTANCE, ""),
        request(INSTANCE, "logs"),
        ListJobsRequest {
            database: "default".to_owned(),
            ..request(INSTANCE, "")
        },
    ] {
        let page = list_jobs(&store, &request).expect("listed");
        assert_eq!((ids(&page), page.next_page_token.as_str()), (vec![1_002, 1_001], ""), "{request:?}");
    }
    // Without an instance it is a walk through all of them, which says where it is.
    let everywhere = request("", "nowhere");
    assert_eq!(all_pages(&store, &everywhere), (Vec::new(), 2));
}

#[test]
fn pages_of_one_show_every_job_that_fits_once_and_newest_first() {
    let mut store = fixture::bench().store;
    // By target they stand in another order: manifests first, then by the collection that a restore fills.
    put_ended(&mut store, 1_010, restore(SOURCE_SCOPE, "a", 905));
    put_ended(&mut store, 1_020, manifests(SOURCE_SCOPE, "b"));
    put_ended(&mut store, 1_030, restore(SOURCE_SCOPE, "b", 901));
    put_ended(&mut store, 1_040, restore(DROPPED_SCOPE, "a", 900));
    put_ended(&mut store, 1_050, manifests(SOURCE_SCOPE, "a"));
    put_ended(&mut store, 1_060, restore(SOURCE_SCOPE, "a", 903));
    let lists: [(&str, &str, &[u64]); 6] = [
        (INSTANCE, "", &[1_060, 1_050, 1_030, 1_020, 1_010]),
        (INSTANCE, "a", &[1_060, 1_050, 1_010]),
        (INSTANCE, "b", &[1_030, 1_020]),
        (INSTANCE, "none", &[]),
        (DROPPED, "", &[1_040]),
        ("", "a", &[1_060, 1_050, 1_040, 1_010]),
    ];
    for (instance, collection, expected) in lists {
        for page_size in [0, 1, 2] {
            let request = ListJobsRequest {
                page_size,
                ..request(instance, collection)
            };
            assert_eq!(all_pages(&store, &request).0, expected, "{request:?}");
        }
    }
}

#[test]
fn jobs_of_a_collection_are_found_by_its_id_whatever_they_are_called() {
    let mut store = fixture::bench().store;
    let manifests_of = |source: u64, target: u64| JobRecord {
        source_collection_id: source,
        target_collection_id: target,
        ..manifests(SOURCE_SCOPE, "b")
    };
    put_ended(&mut store, 1_010, restore(SOURCE_SCOPE, "a", 900));
    put_ended(&mut store, 1_020, manifests_of(900, 900));
    // An earlier build started these.
    put_ended(&mut store, 1_030, manifests_of(900, 0));
    put_ended(&mut store, 1_040, manifests_of(901, 0));
    // Of another with the name, of a clone's, and of the whole instance.
    put_ended(&mut store, 1_050, restore(SOURCE_SCOPE, "a", 902));
    put_ended(&mut store, 1_060, restore(CLONE_SCOPE, "a", 900));
    put_ended(&mut store, 1_070, manifests_of(0, 0));
    // A walk through these would take a second page.
    let others = 2_000..2_000 + limits::MAX_PAGE_KEYS as u64 + 10;
    for job in others.clone() {
        put_ended(&mut store, job, manifests_of(905, 905));
    }
    let by_id = |collection_id, page_size| ListJobsRequest {
        collection_id,
        page_size,
        ..request(INSTANCE, "")
    };
    for (page_size, pages) in [(0, 1), (1, 3), (2, 2)] {
        assert_eq!(
            all_pages(&store, &by_id(900, page_size)),
            (vec![1_030, 1_020, 1_010], pages),
            "{page_size}"
        );
    }
    assert_eq!(all_pages(&store, &by_id(899, 0)), (Vec::new(), 1));
    let more_than_are_put_in_order = all_pages(&store, &by_id(905, 0)).0;
    assert_eq!(more_than_are_put_in_order, others.rev().collect::<Vec<u64>>());
    let named_too = ListJobsRequest {
        collection: "a".to_owned(),
        ..by_id(900, 0)
    };
    assert_eq!(all_pages(&store, &named_too).0, [1_010]);
    let nobody_s = ListJobsRequest {
        instance_id: String::new(),
        ..by_id(900, 0)
    };
    let error = list_jobs(&store, &nobody_s).expect_err("clones have it too");
    assert!(error.to_string().contains("name the instance"), "{error}");
}

#[test]
fn active_jobs_are_found_behind_any_number_that_have_ended() {
    let mut bench = fixture::bench();
    let mut start = |kind, number| fixture::start(&mut bench, fixture::definition(kind, number)).expect("started");
    let (restore, manifests, compaction) = (
        start(JobKind::Restore, 1),
        start(JobKind::Manifests, 0),
        start(JobKind::CompactClone, 1),
    );
    let mut store = bench.store;
    for job in 2_000..2_000 + limits::MAX_PAGE_KEYS as u64 + 10 {
        put_ended(&mut store, job, manifests_of_source());
    }
    let active = |instance: &str, page_size| {
        let request = ListJobsRequest {
            only_active: true,
            page_size,
            ..request(instance, "")
        };
        all_pages(&store, &request)
    };
    assert_eq!(active("", 0), (vec![compaction, manifests, restore], 1));
    assert_eq!(active("", 1), (vec![compaction, manifests, restore], 3));
    assert_eq!(active(INSTANCE, 0), (vec![manifests, restore], 1));
    assert_eq!(active(OTHER_INSTANCE, 0), (vec![compaction], 1));
    assert_eq!(active(DROPPED, 0), (Vec::new(), 1));
}

fn manifests_of_source() -> JobRecord {
    manifests(SOURCE_SCOPE, "logs")
}

#[test]
fn compactions_are_the_clone_s_also_when_their_base_layer_is_forgotten() {
    let mut store = fixture::bench().store;
    put_ended(&mut store, 1_001, compaction(CLONE_SCOPE, 77));
    put_ended(&mut store, 1_002, restore(CLONE_SCOPE, "c", 900));
    put_ended(&mut store, 1_003, compaction(DROPPED_SCOPE, 78));
    put_ended(&mut store, 1_004, manifests(77, "of another scope"));
    assert_eq!(all_pages(&store, &request(OTHER_INSTANCE, "")).0, [1_002, 1_001]);
    assert_eq!(all_pages(&store, &request(OTHER_INSTANCE, "c")).0, [1_002]);
    assert_eq!(all_pages(&store, &request(DROPPED, "")).0, [1_003]);
}

#[test]
fn an_instance_with_more_jobs_than_are_put_in_order_is_listed_whole() {
    let mut store = fixture::bench().store;
    let jobs = limits::MAX_PAGE_KEYS as u64 + 10;
    for job in 0..jobs {
        put_ended(&mut store, 2_000 + job, manifests_of_source());
    }
    let (found, _) = all_pages(&store, &request(INSTANCE, ""));
    assert_eq!(found, (2_000..2_000 + jobs).rev().collect::<Vec<u64>>());
    put_ended(&mut store, 1_001, restore(SOURCE_SCOPE, "rare", 900));
    assert_eq!(all_pages(&store, &request(INSTANCE, "rare")), (vec![1_001], 2));
}

#[test]
fn a_page_ends_when_it_has_read_enough_of_large_records() {
    let mut store = fixture::bench().store;
    let large = "x".repeat(RECORD_BYTES_PER_PAGE / 2);
    for job in [1_001, 1_002, 1_003, 1_004] {
        let record = JobRecord {
            reason: large.clone(),
            ..manifests_of_source()
        };
        put_ended(&mut store, job, record);
    }
    assert_eq!(all_pages(&store, &request(INSTANCE, "other")), (Vec::new(), 2));
    assert_eq!(all_pages(&store, &request("", "other")), (Vec::new(), 2));
}

#[test]
fn removed_jobs_are_gone_from_lists_and_others_stay() {
    let mut bench = fixture::bench();
    let start = |bench: &mut Bench, number| fixture::start(bench, fixture::definition(JobKind::Restore, number)).expect("started");
    let (first, second, third) = (start(&mut bench, 1), start(&mut bench, 2), start(&mut bench, 3));
    let cancel = CancelJob {
        job: second,
        reason: "r".to_owned(),
    };
    bench.run(&cancel).expect("cancelled");
    bench.now_ms += limits::JOB_RETENTION_MS;
    assert_eq!(all_pages(&bench.store, &request(INSTANCE, "")).0, [third, second, first]);
    assert_eq!(bench.run(&RemoveJobs {}).expect("removed").removed, 1);
    assert_eq!(all_pages(&bench.store, &request(INSTANCE, "")).0, [third, first]);
    // The token of a job that is gone by then still says where to go on.
    let after = ListJobsRequest {
        page_token: second.to_string(),
        ..request(INSTANCE, "")
    };
    assert_eq!(all_pages(&bench.store, &after).0, [first]);
}
