//! Local vaults: what is written is there, and what can go wrong leaves nothing behind.

use bytes::Bytes;
use quorate_objects::limits::DELETE_BATCH_ENTRIES;
use quorate_objects::{
    CopiedBytes, CopyOptions, Crc64, Existing, FileCopy, LocalPlace, MayWrite, ObjectError, ObjectErrorKind, ObjectPath, Patience,
    ReadBack, Vault, VaultPlace, copy_files,
};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn path(text: &str) -> ObjectPath {
    ObjectPath::new(text).expect("a path")
}

fn place(root: &Path, vault_id: &str) -> LocalPlace {
    LocalPlace {
        root: root.to_owned(),
        cluster_id: "c1".to_owned(),
        vault_id: vault_id.to_owned(),
    }
}

async fn open(root: &Path, vault_id: &str) -> Result<Vault, ObjectError> {
    Vault::open(&VaultPlace::Local(place(root, vault_id)), Patience::default()).await
}

async fn create(root: &Path, vault_id: &str) -> Vault {
    Vault::create_marker(&place(root, vault_id)).await.expect("marker");
    open(root, vault_id).await.expect("vault")
}

/// Two vaults beside each other, and where they are.
async fn two_vaults() -> (TempDir, Vault, Vault) {
    let dir = TempDir::new().expect("directory");
    let source = create(&dir.path().join("source"), "v1").await;
    let target = create(&dir.path().join("target"), "v2").await;
    (dir, source, target)
}

fn content(number: usize, size: usize) -> Bytes {
    (0..size)
        .map(|position| (position * 7 + number * 13) as u8)
        .collect::<Vec<u8>>()
        .into()
}

async fn put(vault: &Vault, name: &str, bytes: Bytes) -> FileCopy {
    let written = vault.put(&path(name), bytes, Existing::Refuse).await.expect("put");
    FileCopy {
        source_path: path(name),
        target_path: path(&format!("copied/{name}")),
        size: written.size,
        checksum: Some(written.checksum),
    }
}

async fn copy(source: &Vault, target: &Vault, files: &[FileCopy]) -> Result<Vec<quorate_objects::Copied>, ObjectError> {
    copy_files(source, target, files, CopyOptions::default(), &|_| {}).await
}

async fn names(vault: &Vault) -> Vec<String> {
    let list = vault.list_all(None).await.expect("list");
    list.into_iter().map(|info| info.path).collect()
}

/// All files below a directory, unfinished ones included.
fn files_below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut waiting = vec![root.to_owned()];
    while let Some(directory) = waiting.pop() {
        for entry in std::fs::read_dir(directory).expect("directory") {
            let entry = entry.expect("entry").path();
            if entry.is_dir() { waiting.push(entry) } else { found.push(entry) }
        }
    }
    found
}

#[tokio::test]
async fn what_is_put_is_listed_read_and_deleted() {
    let (dir, vault, _) = two_vaults().await;
    for (name, size) in [("a/1", 0), ("a/2", 10), ("a/b/3", 3 << 20), ("ab/4", 5)] {
        let bytes = content(1, size);
        let written = vault.put(&path(name), bytes.clone(), Existing::Refuse).await.expect("put");
        assert_eq!((written.size, written.checksum), (size as u64, Crc64::of(&bytes)));
        assert_eq!(vault.get(&path(name), size).await.expect("get"), bytes);
        assert_eq!(vault.head(&path(name)).await.expect("head").size, size as u64);
    }
    std::fs::write(dir.path().join("source/a/0123.quorate-partial"), "x").expect("write");
    assert_eq!(names(&vault).await, ["a/1", "a/2", "a/b/3", "ab/4"]);
    let below: Vec<String> = vault
        .list_all(Some(&path("a")))
        .await
        .expect("list")
        .into_iter()
        .map(|info| info.path)
        .collect();
    assert_eq!(below, ["a/1", "a/2", "a/b/3"]);
    assert!(vault.list_all(Some(&path("none"))).await.expect("list").is_empty());
    assert_eq!(
        vault.get(&path("a/2"), 9).await.expect_err("too large").kind,
        ObjectErrorKind::Invalid
    );

    vault.delete(&path("ab/4")).await.expect("delete");
    vault.delete(&path("ab/4")).await.expect("what is gone may be deleted");
    assert_eq!(
        vault.delete_prefix(&path("a")).await.expect("delete"),
        4,
        "the unfinished file goes too"
    );
    assert_eq!(vault.delete_prefix(&path("a")).await.expect("delete"), 0);
    assert!(names(&vault).await.is_empty());
    assert!(!dir.path().join("source/a").exists());
}

#[tokio::test]
async fn a_prefix_with_more_files_than_a_batch_and_many_directories_goes_whole() {
    let (dir, vault, _) = two_vaults().await;
    put(&vault, "kept/1", content(1, 10)).await;
    let root = dir.path().join("source");
    let below = |directory: String, files: usize| {
        std::fs::create_dir_all(root.join(&directory)).expect("made");
        for number in 0..files {
            std::fs::write(root.join(&directory).join(number.to_string()), b"").expect("written");
        }
    };
    below("a/many".to_owned(), DELETE_BATCH_ENTRIES + 1);
    for number in 0..DELETE_BATCH_ENTRIES / 10 {
        below(format!("a/b{}/c{number}", number % 7), 3);
    }
    let files = DELETE_BATCH_ENTRIES + 1 + DELETE_BATCH_ENTRIES / 10 * 3;
    assert_eq!(vault.delete_prefix(&path("a")).await.expect("delete"), files as u64);
    assert_eq!(directories_below(&root), ["kept"]);
    assert_eq!(names(&vault).await, ["kept/1"]);
}

/// Directories below the root of a vault.
fn directories_below(root: &Path) -> Vec<String> {
    let mut found = vec![root.to_owned()];
    let mut at = 0;
    while let Some(directory) = found.get(at) {
        let entries = std::fs::read_dir(directory)
            .expect("directory")
            .map(|entry| entry.expect("entry").path());
        let below: Vec<PathBuf> = entries.filter(|entry| entry.is_dir()).collect();
        found.extend(below);
        at += 1;
    }
    let mut names: Vec<String> = found[1..]
        .iter()
        .map(|name| name.strip_prefix(root).expect("below").display().to_string())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn directories_that_are_left_empty_go_and_all_others_stay() {
    let (dir, vault, _) = two_vaults().await;
    let root = dir.path().join("source");
    for name in ["s1/c2/p3/g4/a", "s1/c2/p3/g4/b", "s1/c2/p3/g5/a", "s1/c6/p7/g8/a"] {
        put(&vault, name, content(1, 10)).await;
    }
    vault.delete(&path("s1/c2/p3/g4/a")).await.expect("delete");
    assert!(root.join("s1/c2/p3/g4/b").exists(), "a directory with a file stays");
    vault.delete_many(&[path("s1/c2/p3/g4/b")]).await.expect("delete");
    assert_eq!(
        directories_below(&root),
        ["s1", "s1/c2", "s1/c2/p3", "s1/c2/p3/g5", "s1/c6", "s1/c6/p7", "s1/c6/p7/g8"]
    );
    vault.delete_prefix(&path("s1/c6/p7")).await.expect("delete");
    assert_eq!(directories_below(&root), ["s1", "s1/c2", "s1/c2/p3", "s1/c2/p3/g5"]);
    // Who deleted before died before it had removed the directory.
    std::fs::remove_file(root.join("s1/c2/p3/g5/a")).expect("removed");
    vault.delete(&path("s1/c2/p3/g5/a")).await.expect("delete");
    assert_eq!(directories_below(&root), Vec::<String>::new());
    assert_eq!(files_below(&root), [root.join(".quorate-vault")], "the root stays, with its marker");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_directory_that_is_removed_while_somebody_writes_there_fails_no_write() {
    let (_dir, source, target) = two_vaults().await;
    let original = put(&source, "original", content(1, 10)).await;
    let rounds = |number: usize| {
        let (source, target, original) = (source.clone(), target.clone(), original.clone());
        tokio::spawn(async move {
            for round in 0..200 {
                let written = path(&format!("s1/c2/p3/put{number}-{round}"));
                let copied = path(&format!("s1/c2/p3/copy{number}-{round}"));
                target.put(&written, content(round, 10), Existing::Refuse).await.expect("put");
                let file = FileCopy {
                    target_path: copied.clone(),
                    ..original.clone()
                };
                copy(&source, &target, &[file]).await.expect("copied");
                target.delete_many(&[written, copied]).await.expect("deleted");
            }
        })
    };
    for ended in futures::future::join_all((0..4).map(rounds)).await {
        ended.expect("no call failed");
    }
}

#[tokio::test]
async fn a_conditional_put_never_replaces_and_concurrent_ones_have_one_winner() {
    let (_dir, vault, _) = two_vaults().await;
    let name = path("m/metadata.json");
    let puts = (0..16).map(|number| {
        let (vault, name) = (vault.clone(), name.clone());
        tokio::spawn(async move { vault.put(&name, content(number, 100), Existing::Refuse).await.map(|_| number) })
    });
    let outcomes = futures::future::join_all(puts).await;
    let mut winners = Vec::new();
    for outcome in outcomes {
        match outcome.expect("no panic") {
            Ok(number) => winners.push(number),
            Err(error) => assert_eq!(error.kind, ObjectErrorKind::AlreadyExists, "{error}"),
        }
    }
    assert_eq!(winners.len(), 1);
    assert_eq!(vault.get(&name, 100).await.expect("get"), content(winners[0], 100));
    vault.put(&name, content(99, 7), Existing::Replace).await.expect("replace");
    assert_eq!(vault.get(&name, 100).await.expect("get"), content(99, 7));
}

/// Names and contents of small objects in three directories.
fn small_objects(number_of_first: usize) -> Vec<(ObjectPath, Bytes)> {
    let one = |number: usize| (path(&format!("d{}/{number}", number % 3)), content(number_of_first + number, 50));
    (0..100).map(one).collect()
}

/// Nobody is kept from writing.
fn anybody() -> MayWrite {
    Arc::new(|| Ok(()))
}

async fn assert_has(vault: &Vault, objects: Vec<(ObjectPath, Bytes)>) {
    for (name, bytes) in objects {
        assert_eq!(vault.get(&name, 50).await.expect("get"), bytes, "{name}");
    }
}

#[tokio::test]
async fn small_objects_are_replaced_together_and_none_when_one_cannot_be_written() {
    let (dir, vault, _) = two_vaults().await;
    let written = AtomicUsize::new(0);
    let count = || {
        written.fetch_add(1, Ordering::Relaxed);
    };
    vault.replace_all(Vec::new(), &count, &anybody()).await.expect("nothing to do");
    vault.put(&path("d0/0"), content(1, 7), Existing::Refuse).await.expect("put");
    for number_of_first in [0, 1] {
        vault
            .replace_all(small_objects(number_of_first), &count, &anybody())
            .await
            .expect("written");
        assert_has(&vault, small_objects(number_of_first)).await;
    }
    assert_eq!(written.load(Ordering::Relaxed), 200, "each is told of");
    let mut objects = small_objects(2);
    objects.push((path("d0/0/in-a-file"), content(1, 5)));
    vault
        .replace_all(objects, &count, &anybody())
        .await
        .expect_err("a file is in the way");
    assert_has(&vault, small_objects(1)).await;
    let nobody: MayWrite = Arc::new(|| Err(ObjectError::new(ObjectErrorKind::Failed, "not any more")));
    vault
        .replace_all(small_objects(3), &count, &nobody)
        .await
        .expect_err("it may not be");
    assert_has(&vault, small_objects(1)).await;
    // Files that were being written when the call ended go when their threads have ended.
    let (root, until) = (dir.path().join("source"), Instant::now() + Duration::from_secs(20));
    while files_below(&root).len() > 101 {
        assert!(Instant::now() < until, "unfinished files stay");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn small_objects_that_are_given_up_are_removed_by_their_threads_and_not_by_the_callers() {
    // One thread, so that what it does is known.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(1)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let (dir, vault, _) = two_vaults().await;
        let (root, until) = (dir.path().join("source"), Instant::now() + Duration::from_secs(20));
        let may_write = anybody();
        let mut replacing = Box::pin(vault.replace_all(small_objects(0), &|| {}, &may_write));
        while files_below(&root).len() == 1 {
            assert!(Instant::now() < until, "nothing is written");
            assert!(futures::poll!(&mut replacing).is_pending());
            tokio::task::yield_now().await;
        }
        // From here on the thread hangs behind what it has been given, and gets some more.
        let (release, released) = std::sync::mpsc::channel::<()>();
        let (hangs, hung) = tokio::sync::oneshot::channel();
        drop(tokio::task::spawn_blocking(move || {
            let _ = hangs.send(());
            let _ = released.recv();
        }));
        hung.await.expect("it hangs");
        assert!(futures::poll!(&mut replacing).is_pending());
        let written = files_below(&root).len();
        drop(replacing);
        assert_eq!(files_below(&root).len(), written, "whoever removed one could have hung");
        drop(release);
        while files_below(&root).len() > 1 {
            assert!(Instant::now() < until, "unfinished files stay");
            tokio::task::yield_now().await;
        }
    });
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_nothing() {
    let (dir, vault, _) = two_vaults().await;
    let mut writer = vault.writer(&path("x"), Existing::Refuse, None).await.expect("writer");
    writer.write(&content(1, 3 << 20)).await.expect("write");
    drop(writer);
    assert_eq!(files_below(&dir.path().join("source")), [dir.path().join("source/.quorate-vault")]);
}

#[tokio::test]
async fn files_are_uploaded_in_pieces() {
    use std::os::unix::fs::MetadataExt;
    let (dir, vault, _) = two_vaults().await;
    let bytes = content(3, (2 << 20) + 17);
    let file = dir.path().join("file");
    std::fs::write(&file, &bytes).expect("write");
    let uploaded = vault.upload(&file, &path("u/1"), Existing::Refuse).await.expect("upload");
    let now = std::fs::metadata(&file).expect("metadata");
    assert_eq!((uploaded.source.ino(), uploaded.source.len()), (now.ino(), now.len()));
    let written = uploaded.written;
    assert_eq!((written.size, written.checksum), (bytes.len() as u64, Crc64::of(&bytes)));
    assert_eq!(
        vault.checksum(&path("u/1")).await.expect("checksum"),
        (written.size, written.checksum)
    );
    vault.sync(&[path("u/1")]).await.expect("sync");
    let missing = vault.upload(&dir.path().join("none"), &path("u/2"), Existing::Refuse).await;
    assert_eq!(missing.expect_err("no file").kind, ObjectErrorKind::NotFound);
}

#[tokio::test]
async fn copies_are_whole_in_order_and_no_links() {
    use std::os::unix::fs::MetadataExt;
    let (dir, source, target) = two_vaults().await;
    let mut files = Vec::new();
    for number in 0..200 {
        files.push(put(&source, &format!("d{}/{number}", number % 7), content(number, number * 1000)).await);
    }
    files[5].checksum = None;
    for (some, read_back) in [(&files[..200], ReadBack::On), (&files[..3], ReadBack::Off)] {
        let told = Mutex::new(Vec::new());
        let options = CopyOptions {
            read_back,
            ..CopyOptions::default()
        };
        let tell = |copied: CopiedBytes| told.lock().expect("lock").push(copied);
        let copied = copy_files(&source, &target, some, options, &tell).await.expect("copy");
        assert_eq!(copied.len(), some.len());
        for (number, (file, copied)) in some.iter().zip(&copied).enumerate() {
            let bytes = content(number, number * 1000);
            assert_eq!(
                (&copied.target_path, copied.size, copied.checksum),
                (&file.target_path, file.size, Crc64::of(&bytes))
            );
            assert_eq!(target.get(&file.target_path, 1 << 20).await.expect("get"), bytes);
            let linked = std::fs::metadata(dir.path().join("target").join(file.target_path.as_str())).expect("metadata");
            assert_eq!(linked.nlink(), 1, "real bytes");
        }
        let told = told.into_inner().expect("lock");
        let last = told.last().expect("told at the end");
        assert_eq!(
            (last.files, last.bytes),
            (some.len() as u64, some.iter().map(|file| file.size).sum())
        );
        target.delete_prefix(&path("copied")).await.expect("delete");
    }
    assert!(copy(&source, &target, &[]).await.expect("nothing to do").is_empty());
}

/// What is done to the files before they are copied, and how it has to end.
struct Failure {
    name: &'static str,
    harm: fn(&Path, &mut FileCopy),
    kind: ObjectErrorKind,
}

const FAILURES: &[Failure] = &[
    Failure {
        name: "the source is missing",
        harm: |root, file| std::fs::remove_file(root.join("source").join(file.source_path.as_str())).expect("remove"),
        kind: ObjectErrorKind::NotFound,
    },
    Failure {
        name: "the recorded checksum is another",
        harm: |_, file| file.checksum = Some(Crc64(1)),
        kind: ObjectErrorKind::ChecksumMismatch,
    },
    Failure {
        name: "one byte of the source has changed",
        harm: |root, file| {
            let name = root.join("source").join(file.source_path.as_str());
            let mut bytes = std::fs::read(&name).expect("read");
            bytes[12_345] ^= 1;
            std::fs::write(&name, bytes).expect("write");
        },
        kind: ObjectErrorKind::ChecksumMismatch,
    },
    Failure {
        name: "the source was cut",
        harm: |root, file| {
            let name = root.join("source").join(file.source_path.as_str());
            let opened = std::fs::File::options().write(true).open(name).expect("open");
            opened.set_len(file.size - 1).expect("cut");
        },
        kind: ObjectErrorKind::SizeMismatch,
    },
    Failure {
        name: "the source has grown",
        harm: |_, file| file.size -= 1,
        kind: ObjectErrorKind::SizeMismatch,
    },
    Failure {
        name: "a directory is in the source's place",
        harm: |root, file| {
            let name = root.join("source").join(file.source_path.as_str());
            std::fs::remove_file(&name).expect("remove");
            std::fs::create_dir(&name).expect("directory");
        },
        kind: ObjectErrorKind::Invalid,
    },
    Failure {
        name: "the target exists",
        harm: |root, file| {
            let name = root.join("target").join(file.target_path.as_str());
            std::fs::create_dir_all(name.parent().expect("parent")).expect("directory");
            std::fs::write(name, "in the way").expect("write");
        },
        kind: ObjectErrorKind::AlreadyExists,
    },
    Failure {
        name: "a file is in the place of the target's directory",
        harm: |root, _| std::fs::write(root.join("target/copied"), "in the way").expect("write"),
        kind: ObjectErrorKind::Invalid,
    },
    Failure {
        name: "nobody may write below the target's directory",
        harm: |root, _| {
            // Immutable directories hold for root too.
            let directory = root.join("target/copied");
            std::fs::create_dir(&directory).expect("directory");
            let status = std::process::Command::new("chattr").arg("+i").arg(&directory).status();
            assert!(status.expect("chattr runs").success());
        },
        kind: ObjectErrorKind::PermissionDenied,
    },
    Failure {
        name: "the source's marker is missing",
        harm: |root, _| std::fs::remove_file(root.join("source/.quorate-vault")).expect("remove"),
        kind: ObjectErrorKind::WrongMarker,
    },
    Failure {
        name: "the target's marker is missing",
        harm: |root, _| std::fs::remove_file(root.join("target/.quorate-vault")).expect("remove"),
        kind: ObjectErrorKind::WrongMarker,
    },
    Failure {
        name: "the target's marker is another vault's",
        harm: |root, _| std::fs::write(root.join("target/.quorate-vault"), "cluster = c1\nvault = other\n").expect("write"),
        kind: ObjectErrorKind::WrongMarker,
    },
];

#[tokio::test]
async fn every_failure_has_its_kind_and_leaves_no_copy() {
    for failure in FAILURES {
        let (dir, source, target) = two_vaults().await;
        let mut files = Vec::new();
        for number in 0..20 {
            files.push(put(&source, &format!("d/{number}"), content(number, 50_000)).await);
        }
        (failure.harm)(dir.path(), &mut files[11]);
        let before = files_below(&dir.path().join("target"));
        let error = copy(&source, &target, &files).await.expect_err(failure.name);
        let after = files_below(&dir.path().join("target"));
        // Immutable directories cannot be removed with the rest.
        let immutable = dir.path().join("target/copied");
        if failure.kind == ObjectErrorKind::PermissionDenied {
            let status = std::process::Command::new("chattr").arg("-i").arg(immutable).status();
            assert!(status.expect("chattr runs").success());
        }
        assert_eq!(error.kind, failure.kind, "{}: {error}", failure.name);
        assert!(!error.can_retry(), "{}", failure.name);
        assert_eq!(after, before, "{}: copies stay behind", failure.name);
    }
}

#[tokio::test]
async fn two_files_with_one_target_are_refused() {
    let (_dir, source, target) = two_vaults().await;
    let file = put(&source, "a", content(1, 10)).await;
    let error = copy(&source, &target, &[file.clone(), file]).await.expect_err("refused");
    assert_eq!(error.kind, ObjectErrorKind::Invalid);
}

/// Begins to copy 1.6 GB, and drops the copy when it tells of its progress.
async fn drop_a_copy(source: &Vault, target: &Vault) {
    let mut files = Vec::new();
    for number in 0..8 {
        files.push(put(source, &format!("d/{number}"), content(number, 4 << 20)).await);
    }
    let many: Vec<FileCopy> = (0..400)
        .map(|number| FileCopy {
            target_path: path(&format!("copied/{number}")),
            ..files[number % 8].clone()
        })
        .collect();
    let begun = std::sync::Arc::new(tokio::sync::Notify::new());
    let (tell, from, to) = (std::sync::Arc::clone(&begun), source.clone(), target.clone());
    let task = tokio::spawn(async move { copy_files(&from, &to, &many, CopyOptions::default(), &|_| tell.notify_one()).await });
    begun.notified().await;
    task.abort();
    assert!(
        task.await.is_err_and(|error| error.is_cancelled()),
        "1.6 GB take longer than the first report"
    );
}

#[test]
fn a_copy_that_is_dropped_stops() {
    let runtime = || tokio::runtime::Runtime::new().expect("a runtime");
    let copying = runtime();
    let (dir, source, target) = copying.block_on(two_vaults());
    copying.block_on(drop_a_copy(&source, &target));
    // It waits for the threads of the copy, which stop within a buffer.
    drop(copying);
    assert!(files_below(&dir.path().join("target")).len() < 401, "all was copied");
    // What is there is whole: a file that was being written is gone.
    for info in runtime().block_on(target.list_all(None)).expect("list") {
        assert_eq!(info.size, 4 << 20, "{}", info.path);
    }
}

#[tokio::test]
async fn a_marker_is_written_once_and_another_vaults_refused() {
    let dir = TempDir::new().expect("directory");
    let root = dir.path().join("new/vault");
    let error = open(&root, "v1").await.expect_err("no marker yet");
    assert_eq!(error.kind, ObjectErrorKind::WrongMarker);
    assert!(error.message.contains("create the vault"), "{error}");
    let mine = place(&root, "v1");
    let creations = (0..8).map(|_| Vault::create_marker(&mine));
    for created in futures::future::join_all(creations).await {
        created.expect("the same marker again");
    }
    let vault = open(&root, "v1").await.expect("open");
    let error = Vault::create_marker(&place(&root, "v2")).await.expect_err("another vault's");
    assert_eq!(error.kind, ObjectErrorKind::WrongMarker);
    assert!(error.message.contains("vault = v1") && error.message.contains("v2"), "{error}");
    assert_eq!(open(&root, "v2").await.expect_err("another's").kind, ObjectErrorKind::WrongMarker);
    let foreign = LocalPlace {
        cluster_id: "c2".to_owned(),
        ..place(&root, "v1")
    };
    let opened = Vault::open(&VaultPlace::Local(foreign), Patience::default()).await;
    assert_eq!(opened.expect_err("another cluster's").kind, ObjectErrorKind::WrongMarker);

    vault.put(&path("a"), content(1, 5), Existing::Refuse).await.expect("put");
    std::fs::remove_file(root.join(".quorate-vault")).expect("remove");
    // An unmounted directory must not look like one that has lost its objects.
    let outcomes = [
        vault.get(&path("a"), 5).await.map(|_| ()),
        vault.head(&path("none")).await.map(|_| ()),
        vault.list_all(None).await.map(|_| ()),
        vault.put(&path("b"), content(1, 5), Existing::Refuse).await.map(|_| ()),
        vault.replace_all(vec![(path("b"), content(1, 5))], &|| {}, &anybody()).await,
        vault.delete(&path("a")).await,
        vault.delete_prefix(&path("a")).await.map(|_| ()),
        vault.sync(&[path("a")]).await,
    ];
    for outcome in outcomes {
        assert_eq!(outcome.expect_err("refused").kind, ObjectErrorKind::WrongMarker);
    }
    assert!(root.join("a").exists() && !root.join("b").exists());
}

/// A file system of 8 MiB, unmounted when dropped.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: &Path) -> SmallDisk {
        std::fs::create_dir_all(at).expect("directory");
        let mounted = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"])
            .arg(at)
            .status();
        assert!(mounted.expect("mount runs").success(), "mounting needs root");
        SmallDisk(at.to_owned())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = std::process::Command::new("umount").arg(&self.0).status() {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

#[tokio::test]
async fn a_full_disk_is_named_and_what_was_copied_is_given_back() {
    let dir = TempDir::new().expect("directory");
    let source = create(&dir.path().join("source"), "v1").await;
    let disk = SmallDisk::mount(&dir.path().join("small"));
    let target = create(&disk.0, "v2").await;
    let mut files = Vec::new();
    for number in 0..12 {
        files.push(put(&source, &format!("d/{number}"), content(number, 1 << 20)).await);
    }
    let error = copy(&source, &target, &files).await.expect_err("12 MiB on a disk of 8");
    assert_eq!(error.kind, ObjectErrorKind::DiskFull, "{error}");
    assert!(error.can_retry() && error.message.contains("free space"), "{error}");
    assert!(names(&target).await.is_empty(), "what was copied is given back");
    let error = target
        .put(&path("big"), content(1, 9 << 20), Existing::Refuse)
        .await
        .expect_err("does not fit");
    assert_eq!(error.kind, ObjectErrorKind::DiskFull);
    assert_eq!(files_below(&disk.0), [disk.0.join(".quorate-vault")]);
    copy(&source, &target, &files[..6]).await.expect("what fits is copied");
}

#[tokio::test]
async fn unfinished_files_of_a_writer_that_was_killed_go_with_their_object() {
    let dir = tempfile::tempdir().expect("a directory");
    let vault = create(dir.path(), "v").await;
    for name in ["m/7.json", "m/8.json"] {
        let mut writer = vault.writer(&path(name), Existing::Refuse, None).await.expect("writer");
        writer.write(&[7; 3_000_000]).await.expect("write");
        std::mem::forget(writer);
    }
    let unfinished = || std::fs::read_dir(dir.path().join("m")).map_or(0, |entries| entries.count());
    assert_eq!(unfinished(), 2);
    vault.delete(&path("m/7.json")).await.expect("deletes");
    assert_eq!(unfinished(), 1, "the other one is somebody else's");
}

#[tokio::test]
async fn a_file_that_cannot_be_deleted_keeps_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let vault = create(dir.path(), "v").await;
    let mut writer = vault.writer(&path("d/3"), Existing::Refuse, None).await.expect("writer");
    writer.write(&[7; 3_000_000]).await.expect("write");
    std::mem::forget(writer);
    for name in ["d/1", "d/3", "e/4"] {
        put(&vault, name, content(1, 10)).await;
    }
    // What is no file cannot be removed as one.
    for name in ["d/0", "d/2"] {
        std::fs::create_dir(dir.path().join(name)).expect("created");
    }
    let paths = ["d/0", "d/1", "d/2", "d/3", "e/4"].map(path);
    let stays = vault.delete_many(&paths).await.expect_err("two stay");
    assert_eq!(stays.kind, ObjectErrorKind::Invalid, "{stays}");
    assert!(stays.message.contains("d/0"), "the first is named: {stays}");
    assert!(files_below(&dir.path().join("d")).is_empty(), "unfinished ones go as well");
    assert!(dir.path().join("d/2").exists() && !dir.path().join("e").exists());
}

#[tokio::test]
async fn a_directory_of_a_cluster_this_one_was_recovered_from_is_taken_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let of = |cluster_id: &str| LocalPlace {
        cluster_id: cluster_id.to_owned(),
        ..place(dir.path(), "v")
    };
    let opens = async |cluster_id: &str| Vault::open(&VaultPlace::Local(of(cluster_id)), Patience::default()).await.is_ok();
    Vault::take_over_marker(&of("new"), vec!["old".to_owned()])
        .await
        .expect("no marker yet: nothing to do");
    assert!(!opens("new").await && !opens("old").await);
    Vault::create_marker(&of("old")).await.expect("marked");
    Vault::take_over_marker(&of("stranger"), vec!["another".to_owned()])
        .await
        .expect("not its own: left alone");
    assert!(opens("old").await);
    Vault::take_over_marker(&of("new"), vec!["another".to_owned(), "old".to_owned()])
        .await
        .expect("taken");
    assert!(
        opens("new").await && !opens("old").await,
        "what is left of the old cluster is shut out"
    );
}
