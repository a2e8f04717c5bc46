use super::*;
use crate::catalog_fixture::{add_segments, bench_with_collection, call, create_collection, list_segments};
use crate::commands::*;
use crate::testing::{Bench, INSTANCE, OTHER_INSTANCE};
use quorate_model::ErrorCode;
use quorate_wire::quorate::v1::{CreateCollectionRequest, CreateDatabaseRequest};

fn refused<R: std::fmt::Debug>(result: Result<ListPage<R>, QueryError>) -> ErrorCode {
    match result {
        Err(QueryError::Refused(error)) => error.code,
        other => panic!("{other:?} must be refused"),
    }
}

fn collections(bench: &Bench, page_size: u32) -> Vec<String> {
    let mut request = ListCollectionsRequest {
        instance_id: INSTANCE.into(),
        page_size,
        ..ListCollectionsRequest::default()
    };
    let mut names = Vec::new();
    loop {
        let page = list_collections(&bench.store, &request).expect("lists");
        names.extend(page.reply.collections.into_iter().map(|collection| collection.name));
        if page.reply.next_page_token.is_empty() {
            return names;
        }
        request.page_token = page.reply.next_page_token;
    }
}

#[test]
fn pages_of_any_size_make_the_same_list() {
    let mut bench = Bench::new();
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        create_collection(&mut bench, INSTANCE, name, &["x", "y", "z"]).expect("creates");
    }
    for database in ["d1", "d2"] {
        let request = CreateDatabaseRequest {
            instance_id: INSTANCE.into(),
            name: database.into(),
            ..CreateDatabaseRequest::default()
        };
        call::<CreateDatabase>(&mut bench, request).expect("creates");
    }
    for page_size in 1..7 {
        assert_eq!(collections(&bench, page_size), names);
    }
    let mut databases = ListDatabasesRequest {
        instance_id: INSTANCE.into(),
        page_size: 2,
        ..ListDatabasesRequest::default()
    };
    let page = list_databases(&bench.store, &databases).expect("lists").reply;
    assert_eq!(
        page.databases.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(),
        ["d1", "d2"]
    );
    databases.page_token = page.next_page_token;
    let page = list_databases(&bench.store, &databases).expect("lists").reply;
    assert_eq!((page.databases[0].name.as_str(), page.next_page_token.as_str()), ("default", ""));
    let partitions = ListPartitionsRequest {
        instance_id: INSTANCE.into(),
        collection: "c".into(),
        ..ListPartitionsRequest::default()
    };
    let page = list_partitions(&bench.store, &partitions).expect("lists").reply;
    assert_eq!(
        page.partitions.iter().map(|found| found.name.as_str()).collect::<Vec<_>>(),
        ["x", "y", "z"]
    );
}

#[test]
fn segments_of_one_partition_or_of_all_are_listed_by_pages() {
    let mut bench = bench_with_collection();
    let p = add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds");
    let q = add_segments(&mut bench, INSTANCE, "c", "q", 2).expect("adds");
    let more = add_segments(&mut bench, INSTANCE, "c", "p", 1).expect("adds");
    for page_size in 1..8 {
        let found = list_segments(&bench, INSTANCE, "c", 0, page_size).expect("lists");
        let found: Vec<u64> = found.iter().map(|segment| segment.segment_id).collect();
        assert_eq!(found, [&p[..], &more, &q].concat(), "pages of {page_size}");
    }
    let mut request = ListSegmentsRequest {
        instance_id: INSTANCE.into(),
        collection: "c".into(),
        partition: "q".into(),
        without_files: true,
        ..ListSegmentsRequest::default()
    };
    let found = super::list_segments(&bench.store, &request).expect("lists").reply.segments;
    assert_eq!(found.iter().map(|segment| segment.segment_id).collect::<Vec<_>>(), q);
    assert!(found.iter().all(|segment| segment.files.is_empty()));
    request.partition = "nowhere".into();
    assert_eq!(refused(super::list_segments(&bench.store, &request)), ErrorCode::NotFound);
}

#[test]
fn a_list_is_of_one_revision_though_it_takes_long() {
    let mut bench = bench_with_collection();
    let given = add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds");
    let mut request = ListSegmentsRequest {
        instance_id: INSTANCE.into(),
        collection: "c".into(),
        page_size: 2,
        ..ListSegmentsRequest::default()
    };
    let first = super::list_segments(&bench.store, &request).expect("lists");
    assert_eq!(first.pin, None, "the window keeps it for now");
    crate::catalog_fixture::drop_collection(&mut bench, INSTANCE, "c").expect("drops");
    bench.now_ms += limits::HISTORY_WINDOW_MS - limits::LIST_PIN_MS;
    bench.run(&OpenSession::default()).expect("time passes");
    request.page_token = first.reply.next_page_token;
    request.page_size = 0;
    let rest = super::list_segments(&bench.store, &request).expect("goes on");
    assert_eq!(
        (rest.reply.segments[0].segment_id, rest.reply.revision),
        (given[2], first.reply.revision)
    );
    assert_eq!(rest.reply.segments.len(), 1);
    request.page_size = 1;
    request.page_token.clear();
    request.at_revision = first.reply.revision;
    let late = super::list_segments(&bench.store, &request).expect("begins late");
    assert_eq!(late.pin, None, "its time counts from its first page");
}

#[test]
fn a_token_of_another_list_instance_or_revision_is_refused() {
    let mut bench = bench_with_collection();
    create_collection(&mut bench, INSTANCE, "d", &["p"]).expect("creates");
    create_collection(&mut bench, OTHER_INSTANCE, "c", &["p"]).expect("creates");
    add_segments(&mut bench, INSTANCE, "c", "p", 3).expect("adds");
    let mut request = ListSegmentsRequest {
        instance_id: INSTANCE.into(),
        collection: "c".into(),
        page_size: 1,
        ..ListSegmentsRequest::default()
    };
    request.page_token = super::list_segments(&bench.store, &request).expect("lists").reply.next_page_token;
    for (instance, collection, at_revision) in [(INSTANCE, "d", 0), (OTHER_INSTANCE, "c", 0), (INSTANCE, "c", 12)] {
        let other = ListSegmentsRequest {
            instance_id: instance.into(),
            collection: collection.into(),
            at_revision,
            ..request.clone()
        };
        assert_eq!(refused(super::list_segments(&bench.store, &other)), ErrorCode::InvalidArgument);
    }
    for token in ["x", "00", &request.page_token[1..]] {
        let other = ListSegmentsRequest {
            page_token: token.into(),
            ..request.clone()
        };
        assert_eq!(refused(super::list_segments(&bench.store, &other)), ErrorCode::InvalidArgument);
    }
}

#[test]
fn a_page_of_collections_is_bounded_by_what_their_properties_take() {
    let mut bench = Bench::new();
    for number in 0..140 {
        let request = CreateCollectionRequest {
            instance_id: INSTANCE.into(),
            name: format!("c{number:03}"),
            properties: [("k".to_owned(), "v".repeat(16_000))].into(),
            ..CreateCollectionRequest::default()
        };
        call::<CreateCollection>(&mut bench, request).expect("creates");
    }
    let request = ListCollectionsRequest {
        instance_id: INSTANCE.into(),
        ..ListCollectionsRequest::default()
    };
    let page = list_collections(&bench.store, &request).expect("lists").reply;
    assert!(page.collections.len() < 140 && page.encoded_len() <= limits::MAX_PAGE_BYTES + 10_000);
    assert_eq!(collections(&bench, 0).len(), 140);
}
