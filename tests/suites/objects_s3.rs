//! Vaults in a real S3 server: what is written is there, copies are verified, errors say where and nothing secret.

use bytes::Bytes;
use quorate_objects::{
    BucketStyle, CopyOptions, Crc64, Existing, FileCopy, Http, LocalPlace, MayWrite, ObjectError, ObjectErrorKind, ObjectPath, Patience,
    ReadBack, S3Place, Secret, ServerCopy, Vault, VaultPlace, copy_files, limits,
};
use quorate_tests::ports::free_address;
use quorate_tests::s3_server::{REGION, S3Server};
use quorate_tests::waiting::until;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tempfile::TempDir;

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).expect("a path")
}

fn place(server: &S3Server, bucket: &str, prefix: &str) -> S3Place {
    S3Place {
        endpoint: server.endpoint(),
        region: REGION.to_owned(),
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        access_key: server.access_key.clone(),
        secret_key: Secret::new(server.secret_key.clone()),
        bucket_style: BucketStyle::Path,
        http: Http::Allow,
        cluster_id: "c".to_owned(),
        former_clusters: Vec::new(),
    }
}

async fn open(place: S3Place) -> Vault {
    let patience = Patience {
        attempts: 2,
        first_pause: Duration::from_millis(10),
        longest_pause: Duration::from_millis(10),
    };
    Vault::open(&VaultPlace::S3(place), patience).await.expect("vault")
}

async fn local(dir: &TempDir) -> Vault {
    let place = LocalPlace {
        root: dir.path().join("vault"),
        cluster_id: "c".to_owned(),
        vault_id: "v".to_owned(),
    };
    Vault::create_marker(&place).await.expect("marker");
    Vault::open(&VaultPlace::Local(place), Patience::default()).await.expect("vault")
}

fn content(seed: u64, size: usize) -> Bytes {
    let mut state = seed | 1;
    let step = |_| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 56) as u8
    };
    (0..size).map(step).collect::<Vec<u8>>().into()
}

fn file(source: &str, target: &str, bytes: &[u8]) -> FileCopy {
    FileCopy {
        source_path: path(source),
        target_path: path(target),
        size: bytes.len() as u64,
        checksum: Some(Crc64::of(bytes)),
    }
}

async fn names(vault: &Vault, prefix: Option<&str>) -> Vec<String> {
    let list = vault.list_all(prefix.map(path).as_ref()).await.expect("list");
    let mut names: Vec<String> = list.into_iter().map(|info| info.path).collect();
    names.sort();
    names
}

#[tokio::test]
async fn objects_are_put_listed_read_and_deleted_below_the_vaults_prefix() {
    let server = S3Server::start(&["one"]).await;
    let vault = open(place(&server, "one", "a/b")).await;
    let all = open(place(&server, "one", "")).await;
    all.put(&path("a/bystander"), content(1, 3), Existing::Refuse).await.expect("put");
    for (name, size) in [("x/1", 0), ("x/2 +ä%", 10), ("x/y/3", 100_000), ("xy/4", 5)] {
        let bytes = content(2, size);
        let written = vault.put(&path(name), bytes.clone(), Existing::Refuse).await.expect("put");
        assert_eq!((written.size, written.checksum), (size as u64, Crc64::of(&bytes)), "{name}");
        assert_eq!(vault.get(&path(name), size).await.expect("get"), bytes, "{name}");
        assert_eq!(vault.head(&path(name)).await.expect("head").size, size as u64);
    }
    assert_eq!(names(&vault, None).await, ["x/1", "x/2 +ä%", "x/y/3", "xy/4"]);
    assert_eq!(names(&vault, Some("x")).await, ["x/1", "x/2 +ä%", "x/y/3"]);
    assert_eq!(names(&all, Some("a/b/x/y")).await, ["a/b/x/y/3"]);

    let refused = vault.put(&path("x/1"), content(3, 7), Existing::Refuse).await.expect_err("exists");
    assert_eq!(refused.kind, ObjectErrorKind::AlreadyExists);
    assert!(vault.get(&path("x/1"), 9).await.expect("get").is_empty(), "unchanged");
    vault.put(&path("x/1"), content(3, 7), Existing::Replace).await.expect("replaced");
    assert_eq!(vault.get(&path("x/1"), 9).await.expect("get"), content(3, 7));
    let together = vec![(path("x/1"), content(4, 6)), (path("xy/4"), content(7, 6))];
    let written = AtomicUsize::new(0);
    let count = || {
        written.fetch_add(1, Ordering::Relaxed);
    };
    let anybody: MayWrite = Arc::new(|| Ok(()));
    vault.replace_all(together, &count, &anybody).await.expect("replaced");
    assert_eq!(written.load(Ordering::Relaxed), 2, "each is told of");
    assert_eq!(vault.get(&path("x/1"), 9).await.expect("get"), content(4, 6));
    assert_eq!(vault.get(&path("xy/4"), 9).await.expect("get"), content(7, 6));

    vault.delete(&path("xy/4")).await.expect("delete");
    vault
        .delete_many(&[path("xy/4"), path("none")])
        .await
        .expect("what is gone may be deleted");
    assert_eq!(vault.delete_prefix(&path("x")).await.expect("delete"), 3);
    assert_eq!(names(&all, None).await, ["a/bystander"]);
    let missing = vault.get(&path("x/1"), 9).await.expect_err("gone");
    assert_eq!(missing.kind, ObjectErrorKind::NotFound);
    assert!(
        missing.message.contains("a/b/x/1") && missing.message.contains("\"one\""),
        "{missing}"
    );
}

#[tokio::test]
async fn large_objects_go_up_in_parts_and_the_stores_checksum_is_compared() {
    let server = S3Server::start(&["one"]).await;
    let vault = open(place(&server, "one", "")).await;
    let dir = TempDir::new().expect("directory");
    let bytes = content(5, limits::MULTIPART_THRESHOLD_BYTES + (5 << 20) + 3);
    let name = dir.path().join("file");
    std::fs::write(&name, &bytes).expect("write");
    let uploaded = vault.upload(&name, &path("large"), Existing::Refuse).await.expect("upload");
    let written = uploaded.written;
    assert_eq!((written.size, written.checksum), (bytes.len() as u64, Crc64::of(&bytes)));
    assert_eq!(
        written.stored_checksum,
        Some(Crc64::of(&bytes)),
        "the store keeps one of an object that came in parts"
    );
    assert_eq!(vault.head(&path("large")).await.expect("head").checksum, Some(Crc64::of(&bytes)));
    assert_eq!(vault.get(&path("large"), bytes.len()).await.expect("get"), bytes);
    let refused = vault.upload(&name, &path("large"), Existing::Refuse).await.expect_err("exists");
    assert_eq!(refused.kind, ObjectErrorKind::AlreadyExists);
    assert_eq!(server.open_uploads("one"), 0);

    let mut writer = vault.writer(&path("dropped"), Existing::Refuse, None).await.expect("writer");
    writer.write(&bytes).await.expect("write");
    assert_eq!(server.open_uploads("one"), 1);
    drop(writer);
    until("the dropped upload is aborted", async || {
        (server.open_uploads("one") == 0).then_some(())
    })
    .await;
    assert_eq!(names(&vault, None).await, ["large"]);
}

#[tokio::test]
async fn the_store_copies_by_itself_whole_and_by_parts_and_copies_are_compared() {
    let server = S3Server::start(&["one", "two"]).await;
    let source = open(place(&server, "one", "s")).await;
    let target = open(place(&server, "two", "t")).await;
    let (small, large) = (content(7, 1000), content(8, (20 << 20) + 1));
    source.put(&path("small"), small.clone(), Existing::Refuse).await.expect("put");
    source.put(&path("large +1"), large.clone(), Existing::Refuse).await.expect("put");
    // By its checksum where the store keeps one (the large one came in parts), by reading where it does not.
    assert!(source.head(&path("large +1")).await.expect("head").checksum.is_some());
    let by_parts = ServerCopy {
        in_one_bytes: 8 << 20,
        part_bytes: 8 << 20,
    };
    for (round, server_copy) in [("whole", ServerCopy::default()), ("parts", by_parts)] {
        let files = [
            file("small", &format!("{round}/small"), &small),
            file("large +1", &format!("{round}/large +1"), &large),
        ];
        let options = CopyOptions {
            server_copy,
            ..CopyOptions::default()
        };
        let copied = copy_files(&source, &target, &files, options, &|_| {}).await.expect("copy");
        for (file, copied) in files.iter().zip(&copied) {
            assert_eq!((&copied.target_path, Some(copied.checksum)), (&file.target_path, file.checksum));
        }
        assert_eq!(target.get(&files[0].target_path, small.len()).await.expect("get"), small);
        assert_eq!(target.get(&files[1].target_path, large.len()).await.expect("get"), large);
        let again = copy_files(&source, &target, &files, options, &|_| {}).await.expect_err("exist");
        assert_eq!(again.kind, ObjectErrorKind::AlreadyExists);
    }
    // Bytes that only the store has seen are compared also by who reads nothing back.
    for (name, read_back) in [("small", ReadBack::On), ("small", ReadBack::Off), ("large +1", ReadBack::On)] {
        let options = CopyOptions {
            read_back,
            ..CopyOptions::default()
        };
        let wrong = FileCopy {
            checksum: Some(Crc64(1)),
            size: source.head(&path(name)).await.expect("head").size,
            source_path: path(name),
            target_path: path("bad/wrong"),
        };
        let good = file("small", &format!("bad/{name}-{read_back:?}"), &small);
        let error = copy_files(&source, &target, &[good, wrong], options, &|_| {}).await;
        assert_eq!(error.expect_err(name).kind, ObjectErrorKind::ChecksumMismatch);
        let missing = FileCopy {
            source_path: path("none"),
            ..file("small", "missing", &small)
        };
        let error = copy_files(&source, &target, &[missing], options, &|_| {}).await;
        assert_eq!(error.expect_err("missing").kind, ObjectErrorKind::NotFound);
    }
    // The right one may have been copied before the wrong one was found out; whoever asked sweeps the directory.
    target.delete_prefix(&path("bad")).await.expect("swept");
    assert_eq!(
        names(&target, None).await,
        ["parts/large +1", "parts/small", "whole/large +1", "whole/small"]
    );
    assert_eq!(server.open_uploads("two"), 0);
}

#[tokio::test]
async fn files_stream_between_a_directory_and_the_store() {
    let server = S3Server::start(&["one"]).await;
    let store = open(place(&server, "one", "")).await;
    let dir = TempDir::new().expect("directory");
    let local = local(&dir).await;
    let mut up = Vec::new();
    let mut down = Vec::new();
    for number in 0..20u64 {
        // The last one is large enough for parts.
        let bytes = content(number, if number == 19 { 18 << 20 } else { number as usize * 5_000 });
        local
            .put(&path(&format!("from/{number}")), bytes.clone(), Existing::Refuse)
            .await
            .expect("put");
        up.push(file(&format!("from/{number}"), &format!("up/{number}"), &bytes));
        down.push(file(&format!("up/{number}"), &format!("down/{number}"), &bytes));
    }
    copy_files(&local, &store, &up, CopyOptions::default(), &|_| {}).await.expect("up");
    let told = std::sync::Mutex::new(0);
    copy_files(&store, &local, &down, CopyOptions::default(), &|copied| {
        *told.lock().expect("lock") = copied.bytes
    })
    .await
    .expect("down");
    assert_eq!(told.into_inner().expect("lock"), down.iter().map(|file| file.size).sum::<u64>());
    for (up, down) in up.iter().zip(&down) {
        assert_eq!(
            local.checksum(&down.target_path).await.expect("checksum"),
            (up.size, up.checksum.expect("recorded"))
        );
    }
    let mut wrong = vec![
        file("from/3", "bad/3", &content(3, 15_000)),
        file("from/4", "bad/4", &content(4, 20_000)),
    ];
    wrong[1].checksum = Some(Crc64(1));
    let error = copy_files(&local, &store, &wrong, CopyOptions::default(), &|_| {})
        .await
        .expect_err("wrong");
    assert_eq!(error.kind, ObjectErrorKind::ChecksumMismatch);
    // The right one may have been copied before the wrong one was found out; whoever asked sweeps the directory.
    let left = names(&store, Some("bad")).await;
    assert!(!left.contains(&"bad/4".to_owned()), "{left:?}");
}

/// What a vault whose store does not let one in says of the calls about one object.
async fn refusals(vault: &Vault) -> Vec<ObjectError> {
    let key = path("some/key");
    vec![
        vault.put(&key, content(1, 100), Existing::Refuse).await.expect_err("put"),
        vault.get(&key, 100).await.expect_err("get"),
        vault.head(&key).await.expect_err("head"),
        vault.list_all(Some(&key)).await.expect_err("list"),
        vault.delete(&key).await.expect_err("delete"),
    ]
}

#[tokio::test]
async fn errors_name_bucket_and_key_and_no_secret() {
    let mut server = S3Server::start(&["one"]).await;
    let secret = "a secret that must not be seen";
    let wrong_secret = S3Place {
        secret_key: Secret::new(secret),
        ..place(&server, "one", "")
    };
    let unknown_key = S3Place {
        access_key: "AKIANOBODY".to_owned(),
        ..wrong_secret.clone()
    };
    let no_bucket = place(&server, "nowhere", "");
    let nobody = S3Place {
        endpoint: format!("http://{}", free_address()),
        ..place(&server, "one", "")
    };
    let once = Patience {
        attempts: 1,
        ..Patience::default()
    };
    for (place, kind, bucket) in [
        (wrong_secret.clone(), ObjectErrorKind::PermissionDenied, "one"),
        (no_bucket, ObjectErrorKind::NotFound, "nowhere"),
        (nobody, ObjectErrorKind::StoreDown, "one"),
    ] {
        let error = Vault::open(&VaultPlace::S3(place), once).await.expect_err("it does not let one in");
        assert_eq!(error.kind, kind, "{error}");
        assert!(
            error.message.contains(&format!("{bucket:?}")) && !error.message.contains(secret),
            "{error}"
        );
    }
    // Whose place it is, is known from here on for a minute: what follows is about the calls themselves.
    let vault = open(place(&server, "one", "")).await;
    let kind = ObjectErrorKind::PermissionDenied;
    for place in [wrong_secret, unknown_key] {
        let vault = open(place).await;
        for error in refusals(&vault).await {
            assert_eq!(error.kind, kind, "{error}");
            assert!(!error.can_retry(), "{error}");
            assert!(error.message.contains("\"one\"") && error.message.contains("some/key"), "{error}");
            assert!(!error.message.contains(secret) && !error.message.contains("Signature="), "{error}");
        }
        assert!(!format!("{vault:?}").contains(secret), "not in Debug either");
    }
    server.kill();
    let copy = [file("some/key", "some/copy", &content(1, 100))];
    let mut errors = refusals(&vault).await;
    let copied = copy_files(&vault, &vault, &copy, CopyOptions::default(), &|_| {}).await;
    errors.push(copied.expect_err("copy"));
    for error in errors {
        assert_eq!(error.kind, ObjectErrorKind::StoreDown, "{error}");
        assert!(error.can_retry(), "{error}");
        assert!(error.message.contains("\"one\"") && error.message.contains("some/key"), "{error}");
        assert!(!error.message.contains(&server.secret_key), "{error}");
    }
}

#[tokio::test]
async fn settings_that_cannot_work_are_refused_at_once() {
    let good = S3Place {
        endpoint: "https://store.example".to_owned(),
        region: REGION.to_owned(),
        bucket: "one".to_owned(),
        prefix: String::new(),
        access_key: "AK".to_owned(),
        secret_key: Secret::new("s"),
        bucket_style: BucketStyle::Path,
        http: Http::Refuse,
        cluster_id: "c".to_owned(),
        former_clusters: Vec::new(),
    };
    let once = Patience {
        attempts: 1,
        ..Patience::default()
    };
    let nobody_there = Vault::open(&VaultPlace::S3(good.clone()), once).await.expect_err("no such host");
    assert_eq!(
        nobody_there.kind,
        ObjectErrorKind::StoreDown,
        "its settings are right: {nobody_there}"
    );
    let rows = [
        (
            S3Place {
                endpoint: "http://store.example".to_owned(),
                ..good.clone()
            },
            "unencrypted",
        ),
        (
            S3Place {
                endpoint: "store.example".to_owned(),
                ..good.clone()
            },
            "https://",
        ),
        (
            S3Place {
                bucket: "a/b".to_owned(),
                ..good.clone()
            },
            "bucket",
        ),
        (
            S3Place {
                region: String::new(),
                ..good.clone()
            },
            "region",
        ),
        (
            S3Place {
                access_key: String::new(),
                ..good.clone()
            },
            "access key",
        ),
        (
            S3Place {
                prefix: "x".repeat(101),
                ..good
            },
            "prefix",
        ),
    ];
    for (place, word) in rows {
        let error = Vault::open(&VaultPlace::S3(place), Patience::default()).await.expect_err(word);
        assert_eq!(error.kind, ObjectErrorKind::Invalid);
        assert!(error.message.contains(word), "{error}");
    }
}

#[tokio::test]
async fn a_place_is_one_clusters_and_its_successors() {
    let server = S3Server::start(&["one"]).await;
    let of = |cluster: &str, former: &[&str], prefix: &str| S3Place {
        cluster_id: cluster.to_owned(),
        former_clusters: former.iter().map(|id| (*id).to_owned()).collect(),
        ..place(&server, "one", prefix)
    };
    let opened = async |place: S3Place| Vault::open(&VaultPlace::S3(place), Patience::default()).await;
    opened(of("first", &[], "p")).await.expect("it has no marker yet");
    opened(of("first", &[], "p")).await.expect("its own");
    let refused = opened(of("second", &["another"], "p")).await.expect_err("the first one's");
    assert_eq!(refused.kind, ObjectErrorKind::WrongMarker);
    for part in ["\"one\"", "\"p\"", "first", "second", "of its own"] {
        assert!(refused.message.contains(part), "{part}: {refused}");
    }
    opened(of("second", &[], "q")).await.expect("another prefix is another place");
    opened(of("third", &["second", "first"], "p"))
        .await
        .expect("it was recovered from the first");
    let fourth = opened(of("fourth", &[], "p")).await.expect_err("the third one's by now");
    assert!(fourth.message.contains("third"), "{fourth}");
    let vault = opened(of("third", &[], "p")).await.expect("its own");
    assert_eq!(names(&vault, None).await, Vec::<String>::new(), "the marker is no object");
    let nowhere = S3Place {
        bucket: "nowhere".to_owned(),
        ..of("first", &[], "p")
    };
    assert_eq!(opened(nowhere).await.expect_err("no such bucket").kind, ObjectErrorKind::NotFound);
}

#[tokio::test]
async fn uploads_of_a_writer_that_was_killed_go_with_their_directory() {
    let server = S3Server::start(&["one"]).await;
    let vault = open(place(&server, "one", "data")).await;
    let part = content(1, 17 << 20);
    for name in ["j1/a <&> b", "j1/deep/er", "j2/other"] {
        let mut writer = vault.writer(&path(name), Existing::Refuse, None).await.expect("writer");
        writer.write(&part).await.expect("write");
        // Nothing of it runs any more, as after kill -9.
        std::mem::forget(writer);
    }
    assert_eq!(server.open_uploads("one"), 3);
    assert_eq!(vault.delete_prefix(&path("j1")).await.expect("deletes"), 2);
    assert_eq!(server.open_uploads("one"), 1, "the other directory's is somebody else's");
}
