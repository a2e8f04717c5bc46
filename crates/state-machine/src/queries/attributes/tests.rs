use super::*;
use crate::commands::{CollectVersions, DeleteAttribute, PutAttribute};
use crate::keys::{self, RecordTable};
use crate::limits;
use crate::queries::page_token::{PageToken, TOKEN_HEAD_BYTES};
use crate::record::InstanceRecord;
use crate::testing::{Bench, DROPPED, DROPPED_AT, FIRST_REVISION, INSTANCE, OTHER_INSTANCE};
use prost::Message;
use quorate_model::{ErrorCode, Revision, ScopeId};

fn put(bench: &mut Bench, name: &str, value: &str) -> u64 {
    let command = PutAttribute {
        instance_id: INSTANCE.into(),
        name: name.into(),
        value: value.to_owned().into(),
        if_revision: None,
    };
    bench.run(&command).expect("put").revision
}

fn get(bench: &Bench, instance: &str, name: &str, at_revision: u64) -> Result<Option<(String, u64)>, ErrorCode> {
    let request = GetAttributeRequest {
        instance_id: instance.into(),
        name: name.into(),
        consistency: 0,
        at_revision,
    };
    match get_attribute(&bench.store, &request) {
        Ok(reply) => Ok(reply
            .attribute
            .map(|found| (String::from_utf8_lossy(&found.value).into_owned(), found.revision))),
        Err(QueryError::Refused(error)) => Err(error.code),
        Err(QueryError::Store(error)) => panic!("{error}"),
    }
}

fn list(bench: &Bench, request: ListAttributesRequest) -> Result<ListAttributesReply, ErrorCode> {
    list_page(bench, request).map(|page| page.reply)
}

fn list_page(bench: &Bench, request: ListAttributesRequest) -> Result<ListPage<ListAttributesReply>, ErrorCode> {
    match list_attributes(
        &bench.store,
        &ListAttributesRequest {
            instance_id: INSTANCE.into(),
            ..request
        },
    ) {
        Ok(page) => Ok(page),
        Err(QueryError::Refused(error)) => Err(error.code),
        Err(QueryError::Store(error)) => panic!("{error}"),
    }
}

#[test]
fn reads_now_and_as_of_each_revision() {
    let mut bench = Bench::new();
    let first = put(&mut bench, "a", "x");
    let second = put(&mut bench, "a", "y");
    assert_eq!(get(&bench, INSTANCE, "a", 0), Ok(Some(("y".into(), second))));
    assert_eq!(get(&bench, INSTANCE, "a", first), Ok(Some(("x".into(), first))));
    assert_eq!(get(&bench, INSTANCE, "a", first - 1), Ok(None));
    assert_eq!(get(&bench, INSTANCE, "a", second + 1), Err(ErrorCode::InvalidArgument));
    assert_eq!(get(&bench, INSTANCE, "", 0), Err(ErrorCode::InvalidArgument));
    bench.now_ms += limits::HISTORY_WINDOW_MS;
    bench.run(&CollectVersions::default()).expect("collect");
    assert_eq!(get(&bench, INSTANCE, "a", first), Err(ErrorCode::RevisionCollected));
    assert_eq!(get(&bench, INSTANCE, "a", second), Ok(Some(("y".into(), second))));
}

#[test]
fn a_dropped_instance_is_seen_before_its_drop_only() {
    let bench = Bench::new();
    assert_eq!(get(&bench, DROPPED, "a", DROPPED_AT - 1), Ok(None));
    assert_eq!(get(&bench, DROPPED, "a", DROPPED_AT), Err(ErrorCode::NotFound));
    assert_eq!(get(&bench, DROPPED, "a", 0), Err(ErrorCode::NotFound));
    assert_eq!(get(&bench, "nobody", "a", 0), Err(ErrorCode::NotFound));
    assert_eq!(get(&bench, OTHER_INSTANCE, "a", FIRST_REVISION), Ok(None));
}

#[test]
fn pages_of_a_list_are_of_the_first_pages_revision() {
    let mut bench = Bench::new();
    for name in ["p1", "p2", "p3", "q"] {
        put(&mut bench, name, "old");
    }
    let first = list(
        &bench,
        ListAttributesRequest {
            prefix: "p".into(),
            page_size: 2,
            ..Default::default()
        },
    )
    .expect("page");
    put(&mut bench, "p3", "new");
    bench
        .run(&DeleteAttribute {
            instance_id: INSTANCE.into(),
            name: "p2".into(),
            if_revision: None,
        })
        .expect("delete");
    let request = ListAttributesRequest {
        prefix: "p".into(),
        page_size: 2,
        page_token: first.next_page_token.clone(),
        ..Default::default()
    };
    let second = list(&bench, request.clone()).expect("page");
    let names: Vec<_> = first
        .attributes
        .iter()
        .chain(&second.attributes)
        .map(|found| (found.name.as_str(), found.value.as_ref()))
        .collect();
    assert_eq!(names, [("p1", &b"old"[..]), ("p2", b"old"), ("p3", b"old")]);
    assert_eq!((second.revision, second.next_page_token.as_str()), (first.revision, ""));
    let anew = list(
        &bench,
        ListAttributesRequest {
            prefix: "p".into(),
            ..Default::default()
        },
    )
    .expect("page");
    assert_eq!(anew.attributes.len(), 2);
    let contrary = ListAttributesRequest {
        at_revision: first.revision - 1,
        ..request
    };
    assert_eq!(list(&bench, contrary), Err(ErrorCode::InvalidArgument));
}

#[test]
fn tokens_of_another_instance_and_malformed_ones_are_refused() {
    let mut bench = Bench::new();
    put(&mut bench, "a", "x");
    put(&mut bench, "b", "x");
    let page = list(
        &bench,
        ListAttributesRequest {
            page_size: 1,
            ..Default::default()
        },
    )
    .expect("page");
    let token = page.next_page_token;
    let key = keys::record_by_name(RecordTable::Instance, INSTANCE.as_bytes());
    bench.store.rows.insert(
        key,
        InstanceRecord {
            scope: 9,
            ..Default::default()
        }
        .encode_to_vec()
        .into(),
    );
    let with = |page_token: &str| {
        list(
            &bench,
            ListAttributesRequest {
                page_token: page_token.into(),
                ..Default::default()
            },
        )
    };
    assert_eq!(with(&token), Err(ErrorCode::InvalidArgument));
    for cut in 1..token.len().min(2 * TOKEN_HEAD_BYTES) {
        assert_eq!(with(&token[..cut]), Err(ErrorCode::InvalidArgument), "cut at {cut}");
    }
    for bad in ["zz", "é", "00000000000000000000000000000001", &"0".repeat(2000)] {
        assert_eq!(with(bad), Err(ErrorCode::InvalidArgument), "{bad}");
    }
}

#[test]
fn a_list_pins_its_revision_once_the_history_window_would_let_it_go() {
    let mut bench = Bench::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        put(&mut bench, name, "old");
    }
    let mut request = ListAttributesRequest {
        page_size: 1,
        ..Default::default()
    };
    // Written right after the list began, so it leaves the window first.
    let mut seen = Vec::new();
    let mut pins = 0;
    loop {
        let page = list_page(&bench, request.clone()).expect("page");
        seen.extend(page.reply.attributes.iter().map(|found| (found.name.clone(), found.value.clone())));
        if seen.len() == 1 {
            assert_eq!(page.pin, None, "a list that just began writes nothing");
            put(&mut bench, "f", "new");
        }
        if let Some(pin) = &page.pin {
            bench.run(pin).expect("pins");
            pins += 1;
        }
        if page.reply.next_page_token.is_empty() {
            assert_eq!(page.pin, None, "nothing follows the last page");
            break;
        }
        request.page_token = page.reply.next_page_token;
        // The slowest a reader may be once a pin is all that keeps the revision, and less than the window before that.
        bench.now_ms += if pins > 0 {
            limits::LIST_PIN_MS - 1
        } else {
            limits::HISTORY_WINDOW_MS - limits::LIST_PIN_MS - 1
        };
        // Ends pins, then collects.
        for _ in 0..2 {
            bench.run(&CollectVersions::default()).expect("collect");
        }
    }
    assert_eq!(seen.len(), 6);
    assert!(seen.iter().all(|(_, value)| value.as_ref() == b"old"), "{seen:?}");
    assert!(pins >= 3, "{pins}");
}

#[test]
fn a_page_token_comes_back() {
    let token = PageToken {
        revision: Revision(0xabc),
        scope: ScopeId(7),
        began_ms: 1 << 40,
        after_key: b"\x00name\xff".to_vec(),
    };
    assert_eq!(PageToken::parse(&token.text()), Ok(token));
}
