//! What an S3 vault refuses before it asks its store, and what it makes of a store that misbehaves.

use super::fake_store::FakeStore;
use super::*;
use crate::limits::REPLY_BYTES;
use crate::place::Secret;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

fn place(endpoint: &str, bucket_style: BucketStyle) -> S3Place {
    S3Place {
        endpoint: endpoint.to_owned(),
        region: "r".to_owned(),
        bucket: "b".to_owned(),
        prefix: String::new(),
        access_key: "a".to_owned(),
        secret_key: Secret::new("s"),
        bucket_style,
        http: Http::Allow,
        cluster_id: "c".to_owned(),
        former_clusters: Vec::new(),
    }
}

#[test]
fn what_is_no_address_is_refused_before_anything_is_sent_there() {
    let refused = |place: &S3Place| validate(place).err().map(|error| error.to_string());
    assert_eq!(refused(&place("http://10.0.0.5:9000", BucketStyle::Path)), None);
    assert_eq!(refused(&place("https://s3.example.org", BucketStyle::VirtualHost)), None);
    let by_name = refused(&place("http://10.0.0.5:9000", BucketStyle::VirtualHost)).expect("http://b.10.0.0.5:9000 is no address");
    assert!(by_name.contains("use path style"), "{by_name}");
    for damage in ["a\nb", "a b", "\u{e9}"] {
        let mut place = place("https://s3.example.org", BucketStyle::Path);
        place.access_key = damage.to_owned();
        assert!(refused(&place).is_some(), "{damage:?} is signed with");
    }
}

#[test]
fn what_makes_a_url_and_no_uri_is_no_address_either() {
    let good = "https://s3.example.org";
    for style in [BucketStyle::Path, BucketStyle::VirtualHost] {
        for (endpoint, bucket) in [
            ("https://s3.example.org ", "b"),
            (" https://s3.example.org", "b"),
            ("https://s3.example.org\t/", "b"),
            ("https://s3.example .org", "b"),
            ("https://bücher.example", "b"),
            ("https://s3.example.org?a=b", "b"),
            ("https://s3.example.org#a", "b"),
            ("https://s3.example.org:port", "b"),
            (good, "my bucket"),
            (good, "b "),
            (good, "b\n"),
            (good, "bücher"),
            (good, "b<c"),
            (good, "b`c"),
            (good, "b?c"),
        ] {
            let place = S3Place {
                bucket: bucket.to_owned(),
                ..place(endpoint, style)
            };
            let error = S3Vault::open(place, Patience::default()).expect_err(endpoint);
            assert_eq!(error.kind, ObjectErrorKind::Invalid, "{endpoint:?} {bucket:?}: {error}");
            assert!(!error.message.contains(char::is_control), "{error:?}");
        }
        for (endpoint, bucket) in [
            ("https://s3.example.org/", "b"),
            ("http://s3.example.org:9000/below/here/", "b"),
            ("", "b"),
            (good, "B_1.c-d"),
        ] {
            let place = S3Place {
                bucket: bucket.to_owned(),
                ..place(endpoint, style)
            };
            assert_eq!(validate(&place), Ok(()), "{endpoint:?} {bucket:?}");
        }
    }
}

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).expect("a path")
}

#[tokio::test]
async fn what_a_store_says_of_keys_that_nobody_named_ends_no_deletion() {
    let alien = "<DeleteResult><Error><Key>another</Key><Code>InternalError</Code><Message>no</Message></Error></DeleteResult>";
    let store = FakeStore::start(move |request: &str| match request {
        "DELETE /b/d/2" => (404, "<Error><Code>NoSuchKey</Code></Error>".to_owned()),
        "DELETE /b/d/locked" => (403, "<Error><Code>AccessDenied</Code></Error>".to_owned()),
        "DELETE /b/nowhere" => (404, "<Error><Code>NoSuchBucket</Code></Error>".to_owned()),
        request if request.starts_with("DELETE ") => (204, String::new()),
        _ => (200, alien.to_owned()),
    })
    .await;
    let vault = store.open();
    let deleted = vault.delete_many(&[path("d/1"), path("d/2"), path("d/3")]).await;
    deleted.expect("what is missing is as good as deleted");
    assert_eq!(store.asked(), ["DELETE /b/d/1", "DELETE /b/d/2", "DELETE /b/d/3"]);
    let stays = vault.delete_many(&[path("d/1"), path("d/locked"), path("d/3")]).await;
    let stays = stays.expect_err("one is locked");
    assert_eq!(stays.kind, ObjectErrorKind::PermissionDenied);
    assert!(stays.message.contains("\"d/locked\""), "{stays}");
    let nowhere = vault.delete_many(&[path("nowhere")]).await;
    let nowhere = nowhere.expect_err("no such bucket");
    assert_eq!(nowhere.kind, ObjectErrorKind::NotFound);
}

#[tokio::test]
async fn a_deletion_goes_on_behind_what_is_gone() {
    let (before, busy) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let store = FakeStore::start(move |request: &str| match request {
        "DELETE /b/0" if before.fetch_add(1, Ordering::Relaxed) > 0 => (500, String::new()),
        "DELETE /b/1" if busy.fetch_add(1, Ordering::Relaxed) == 0 => (503, "<Error><Code>SlowDown</Code></Error>".to_owned()),
        _ => (204, String::new()),
    })
    .await;
    let deleted = store.open_for(2).delete_many(&[path("0"), path("1"), path("2")]).await;
    deleted.expect("the first is not asked for twice");
}

/// `d/1` and so on.
fn numbered(keys: usize) -> Vec<ObjectPath> {
    (1..=keys).map(|number| path(&format!("d/{number}"))).collect()
}

#[tokio::test]
async fn a_key_that_may_not_be_deleted_keeps_no_other() {
    let store = FakeStore::start(|request: &str| match request {
        "DELETE /b/d/1" => (403, "<Error><Code>AccessDenied</Code></Error>".to_owned()),
        _ => (204, String::new()),
    })
    .await;
    let paths = numbered(50);
    let stays = store.open().delete_many(&paths).await.expect_err("one is locked");
    assert_eq!(stays.kind, ObjectErrorKind::PermissionDenied);
    assert!(stays.message.contains("\"d/1\""), "{stays}");
    let mut all: Vec<String> = paths.iter().map(|path| format!("DELETE /b/{path}")).collect();
    all.sort();
    assert_eq!(store.asked(), all);
}

#[tokio::test]
async fn a_listed_key_that_may_not_be_deleted_keeps_no_later_page() {
    let paths = numbered(LISTED_AT_ONCE + 1);
    let keys: Vec<&str> = paths.iter().map(ObjectPath::as_str).collect();
    let page = listed(&keys, "");
    let store = FakeStore::start(move |request: &str| match request {
        "DELETE /b/d/1" => (403, "<Error><Code>AccessDenied</Code></Error>".to_owned()),
        request if request.starts_with("DELETE ") => (204, String::new()),
        request if request.contains("uploads=") => (200, "<ListMultipartUploadsResult></ListMultipartUploadsResult>".to_owned()),
        _ => (200, page.clone()),
    })
    .await;
    let stays = store.open().delete_prefix(&path("d")).await.expect_err("one is locked");
    assert_eq!(stays.kind, ObjectErrorKind::PermissionDenied);
    assert!(stays.message.contains("\"d/1\""), "{stays}");
    let asked = store.asked();
    let asked_to = |method: &str| asked.iter().filter(|request| request.starts_with(method)).count();
    assert_eq!(asked_to("DELETE "), paths.len());
    assert_eq!(asked_to("GET /b/?"), 1, "uploads are looked for also then");
}

#[tokio::test]
async fn a_store_that_is_busy_for_each_key_once_loses_them_all() {
    let met = Mutex::new(BTreeSet::new());
    let store = FakeStore::start(move |request: &str| {
        let is_new = met.lock().expect("not poisoned").insert(request.to_owned());
        match is_new {
            true => (503, "<Error><Code>SlowDown</Code></Error>".to_owned()),
            false => (204, String::new()),
        }
    })
    .await;
    let deleted = store.open_for(2).delete_many(&numbered(50)).await;
    deleted.expect("each has two tries");
    assert_eq!(store.asked().len(), 100);
}

#[tokio::test]
async fn what_every_key_would_meet_ends_a_deletion_at_once() {
    for (status, code, kind) in [
        (503, "SlowDown", ObjectErrorKind::Busy),
        (500, "InternalError", ObjectErrorKind::StoreDown),
        (404, "NoSuchBucket", ObjectErrorKind::NotFound),
    ] {
        let store = FakeStore::start(move |_: &str| (status, format!("<Error><Code>{code}</Code></Error>"))).await;
        let error = store.open().delete_many(&numbered(200)).await.expect_err(code);
        assert_eq!(error.kind, kind, "{error}");
        assert!(store.asked().len() <= DELETES_AT_ONCE, "{code}");
    }
}

#[tokio::test]
async fn a_key_that_is_too_long_for_an_address_is_refused() {
    let key = format!("d/{}", "%".repeat(30_000));
    let store = FakeStore::start(move |_: &str| (200, listed(&[key.as_str()], ""))).await;
    let deleted = store.open().delete_prefix(&path("d")).await;
    let error = deleted.expect_err("no such key can be asked for");
    assert_eq!(error.kind, ObjectErrorKind::Invalid);
    assert!(error.message.contains("30002 bytes"), "{error}");
}

#[tokio::test]
async fn only_an_objects_content_may_be_long() {
    let long = "x".repeat(REPLY_BYTES + 1);
    let store = FakeStore::start(move |request: &str| match request {
        "DELETE /b/locked" => (403, long.clone()),
        _ => (200, long.clone()),
    })
    .await;
    let vault = store.open();
    let (size, mut content) = vault.read(&path("large")).await.expect("an object");
    let mut read = 0;
    while let Some(piece) = content.try_next().await.expect("content") {
        read += piece.len();
    }
    assert_eq!((size, read), (REPLY_BYTES as u64 + 1, REPLY_BYTES + 1));
    let uploads = vault.requests.uploads_below(&vault.place, "d", None).await;
    let listed = vault.check_access().await;
    let deleted = vault.delete_many(&[path("locked")]).await;
    for error in [
        uploads.expect_err("a list of uploads"),
        listed.expect_err("a list of objects"),
        deleted.expect_err("a refusal"),
    ] {
        assert_eq!(error.kind, ObjectErrorKind::Failed, "{error}");
        assert!(error.message.contains(&format!("more than {REPLY_BYTES} bytes")), "{error}");
    }
}

#[tokio::test]
async fn an_upload_that_is_given_up_is_aborted_once_its_store_is_back() {
    let aborts = AtomicUsize::new(0);
    let store = FakeStore::start(move |request: &str| match request {
        "DELETE /b/large?uploadId=u" if aborts.fetch_add(1, Ordering::Relaxed) == 0 => (500, String::new()),
        "DELETE /b/large?uploadId=u" => (204, String::new()),
        _ => {
            let begun = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>";
            (200, begun.to_owned())
        }
    })
    .await;
    let begun = server_copy::OpenUpload::begin(store.open_for(2), &path("large")).await;
    drop(begun.expect("an upload"));
    let aborts = || store.asked().iter().filter(|request| request.starts_with("DELETE ")).count();
    let asked_again = async {
        while aborts() < 2 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), asked_again)
        .await
        .expect("one answer that fails is not the last word");
}

#[tokio::test]
async fn a_store_without_conditions_gets_its_marker_all_the_same() {
    for before in [None, Some("cluster = old\n")] {
        let puts = AtomicUsize::new(0);
        let store = FakeStore::start(move |request: &str| match before {
            _ if request.starts_with("PUT ") => match puts.fetch_add(1, Ordering::Relaxed) {
                0 => (501, "<Error><Code>NotImplemented</Code></Error>".to_owned()),
                _ => (200, String::new()),
            },
            _ if puts.load(Ordering::Relaxed) > 1 => (200, "cluster = c\n".to_owned()),
            Some(text) => (200, text.to_owned()),
            None => (404, "<Error><Code>NoSuchKey</Code></Error>".to_owned()),
        })
        .await;
        let mut vault = store.open();
        Arc::get_mut(&mut vault).expect("nobody else has it").place.former_clusters = vec!["old".to_owned()];
        vault.check_marker().await.expect("ours");
        let (get, put) = ("GET /b/.quorate-vault", "PUT /b/.quorate-vault");
        assert_eq!(store.asked(), [get, get, get, put, put]);
    }
}

#[tokio::test]
async fn what_is_another_clusters_is_not_written_over_without_conditions() {
    let puts = AtomicUsize::new(0);
    let store = FakeStore::start(move |request: &str| match request {
        "PUT /b/.quorate-vault" => {
            puts.fetch_add(1, Ordering::Relaxed);
            (501, String::new())
        }
        // It comes while our first try is refused.
        _ if puts.load(Ordering::Relaxed) > 0 => (200, "cluster = another\n".to_owned()),
        _ => (404, "<Error><Code>NoSuchKey</Code></Error>".to_owned()),
    })
    .await;
    let refused = store.open().check_marker().await.expect_err("another cluster's");
    assert_eq!(refused.kind, ObjectErrorKind::WrongMarker, "{refused}");
    let (get, put) = ("GET /b/.quorate-vault", "PUT /b/.quorate-vault");
    assert_eq!(store.asked(), [get, get, put]);
}

fn listed(keys: &[&str], next: &str) -> String {
    let rest = "<Size>1</Size><LastModified>2026-01-01T00:00:00.000Z</LastModified>";
    let object = |key: &&str| format!("<Contents><Key>{key}</Key>{rest}</Contents>");
    let objects: String = keys.iter().map(object).collect();
    format!("<ListBucketResult>{objects}{next}</ListBucketResult>")
}

#[tokio::test]
async fn a_list_goes_on_with_the_token_of_its_page() {
    let store = FakeStore::start(|request: &str| {
        let next = "<NextContinuationToken>a&amp;b</NextContinuationToken>";
        let page = match request {
            "GET /b?list-type=2&prefix=d%2F" => listed(&["d/1", "d/.quorate-vault"], next),
            "GET /b?continuation-token=a%26b&list-type=2&prefix=d%2F" => {
                listed(&["d/2"], "<NextContinuationToken></NextContinuationToken>")
            }
            other => panic!("{other}"),
        };
        (200, page)
    })
    .await;
    let infos: Result<Vec<ObjectInfo>> = store.open().list(Some(&path("d"))).try_collect().await;
    let names: Vec<String> = infos.expect("listed").into_iter().map(|info| info.path).collect();
    assert_eq!(names, ["d/1", "d/2"]);
}

#[tokio::test]
async fn tokens_that_are_too_long_for_an_address_are_refused() {
    let token = "x".repeat(70_000);
    let store = FakeStore::start(move |request: &str| {
        let body = match request {
            "GET /b?list-type=2&max-keys=1" => listed(&[], &format!("<NextContinuationToken>{token}</NextContinuationToken>")),
            "GET /b/?prefix=d%2F&uploads=" => format!(
                "<ListMultipartUploadsResult><Upload><Key>d/1</Key><UploadId>{token}</UploadId></Upload></ListMultipartUploadsResult>"
            ),
            _ => format!("<InitiateMultipartUploadResult><UploadId>{token}</UploadId></InitiateMultipartUploadResult>"),
        };
        (200, body)
    })
    .await;
    let vault = store.open();
    let listed = vault.check_access().await;
    let begun = server_copy::OpenUpload::begin(Arc::clone(&vault), &path("large")).await;
    for error in [listed.expect_err("a list"), begun.err().expect("an upload")] {
        assert_eq!(error.kind, ObjectErrorKind::Failed);
        assert!(error.message.contains("70000 bytes"), "{error}");
    }
    let aborted = vault.abort_uploads("d/").await;
    assert_eq!(aborted, Ok(0), "it may stay in the store");
}
