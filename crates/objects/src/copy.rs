//! Verified copies of files from one vault to another.
//!
//! What is verified: the source's size and checksum while it is read, the target's afterwards. A store's own checksum counts as reading back;
//! where there is none the target is read, unless [`ReadBack::Off`]. Bytes that the store copies itself are compared by its checksums.

use crate::checksum::{Crc64, Crc64Hasher};
use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::limits::{FILES, FILES_AT_ONCE, PROGRESS_INTERVAL};
use crate::local;
use crate::path::ObjectPath;
use crate::s3::S3Vault;
use crate::vault::{Existing, Inner, Vault};
use futures::{StreamExt, TryStreamExt};
use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::Semaphore;

pub use crate::s3::ServerCopy;

/// One file to copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileCopy {
    pub source_path: ObjectPath,
    /// Must not exist.
    pub target_path: ObjectPath,
    pub size: u64,
    /// What was recorded of the source; none when nothing was, and then what is read is taken for right.
    pub checksum: Option<Crc64>,
}

/// One file copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    pub target_path: ObjectPath,
    pub size: u64,
    pub checksum: Crc64,
}

/// How far a copy is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopiedBytes {
    pub files: u64,
    pub bytes: u64,
}

/// Whether what was written is read again and compared where the store has no checksum of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadBack {
    #[default]
    On,
    /// What a store has copied by itself is read all the same: nobody has seen its bytes.
    Off,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CopyOptions {
    pub read_back: ReadBack,
    pub server_copy: ServerCopy,
}

/// Who hears of progress, and when next.
pub(crate) struct Ticker<'a> {
    progress: &'a (dyn Fn(CopiedBytes) + Sync),
    interval: tokio::time::Interval,
}

impl<'a> Ticker<'a> {
    pub(crate) fn new(progress: &'a (dyn Fn(CopiedBytes) + Sync)) -> Ticker<'a> {
        Ticker {
            progress,
            interval: tokio::time::interval(PROGRESS_INTERVAL),
        }
    }

    pub(crate) async fn tick(&mut self) {
        self.interval.tick().await;
    }

    pub(crate) fn tell(&self, copied: CopiedBytes) {
        (self.progress)(copied);
    }
}

impl FileCopy {
    pub(crate) fn check_size(&self, found: u64, place: impl Display) -> Result<()> {
        if found == self.size {
            return Ok(());
        }
        Err(ObjectError::new(
            ObjectErrorKind::SizeMismatch,
            format!(
                "{place} has {found} bytes, {} were recorded; the file is damaged or not the one recorded",
                self.size
            ),
        ))
    }

    pub(crate) fn check_checksum(&self, found: Crc64, place: impl Display) -> Result<()> {
        match self.checksum {
            Some(recorded) if recorded != found => Err(ObjectError::new(
                ObjectErrorKind::ChecksumMismatch,
                format!("{place} has checksum {found}, {recorded} was recorded; the file is damaged or not the one recorded"),
            )),
            _ => Ok(()),
        }
    }

    fn check_recorded(&self, (size, checksum): (u64, Crc64), place: &str) -> Result<()> {
        self.check_size(size, place)?;
        self.check_checksum(checksum, place)
    }

    /// Compares what was written, whose source was as recorded, with what it reads back as.
    pub(crate) fn check_copy(&self, found: (u64, Crc64), place: &str) -> Result<()> {
        self.check_recorded(found, place).map_err(|_| {
            let (size, checksum) = found;
            let message = format!(
                "{place} reads back as {size} bytes with checksum {checksum}, which is not what was written; look at the disk or the store below it"
            );
            ObjectError::new(ObjectErrorKind::BadCopy, message)
        })
    }

    pub(crate) fn copied(&self, checksum: Crc64) -> Copied {
        Copied {
            target_path: self.target_path.clone(),
            size: self.size,
            checksum,
        }
    }
}

/// Copies `files` and returns, in the same order, what was written, whole, durable and verified. After an error the targets this call wrote are
/// removed as far as the store lets it; what existed before is left alone.
pub async fn copy_files(
    source: &Vault,
    target: &Vault,
    files: &[FileCopy],
    options: CopyOptions,
    progress: &(dyn Fn(CopiedBytes) + Sync),
) -> Result<Vec<Copied>> {
    let mut targets = HashSet::new();
    if let Some(twice) = files.iter().find(|file| !targets.insert(&file.target_path)) {
        return Err(ObjectError::invalid(format!(
            "{} is the target of two files; give each its own",
            twice.target_path
        )));
    }
    let mut ticker = Ticker::new(progress);
    let copied = match (&source.0, &target.0) {
        (Inner::Local(from), Inner::Local(to)) => local::copy_all(Arc::clone(from), Arc::clone(to), files, &options, &mut ticker).await?,
        _ => copy_one_by_one(source, target, files, options, &mut ticker).await?,
    };
    progress(CopiedBytes {
        files: copied.len() as u64,
        bytes: copied.iter().map(|file| file.size).sum(),
    });
    Ok(copied)
}

/// Each file on its own, several at once.
async fn copy_one_by_one(
    source: &Vault,
    target: &Vault,
    files: &[FileCopy],
    options: CopyOptions,
    ticker: &mut Ticker<'_>,
) -> Result<Vec<Copied>> {
    let bytes = AtomicU64::new(0);
    // One file may go on whatever other tasks do: theirs may be large, or hang.
    let own = Semaphore::new(1);
    let finished = std::sync::Mutex::new(Vec::new());
    let mut copies = futures::stream::iter(0..files.len())
        .map(|index| {
            let file = &files[index];
            let (bytes, finished, own) = (&bytes, &finished, &own);
            async move {
                let permit = tokio::select! {
                    biased;
                    permit = own.acquire() => permit,
                    permit = FILES.acquire() => permit,
                };
                let copied = copy_with_patience(source, target, file, options, bytes).await?;
                drop(permit);
                finished
                    .lock()
                    .map(|mut finished| finished.push(file.target_path.clone()))
                    .map_err(|_| stopped())?;
                Ok::<_, ObjectError>((index, copied))
            }
        })
        .buffer_unordered(FILES_AT_ONCE);
    let mut done = Vec::new();
    let outcome = loop {
        tokio::select! {
            next = copies.next() => match next {
                None => break Ok(()),
                Some(Ok(copied)) => done.push(copied),
                Some(Err(error)) => break Err(error),
            },
            () = ticker.tick() => ticker.tell(CopiedBytes { files: done.len() as u64, bytes: bytes.load(Ordering::Relaxed) }),
        }
    };
    drop(copies);
    if let Err(error) = outcome {
        let written = finished.into_inner().map_err(|_| stopped())?;
        if let Err(left) = target.delete_many(&written).await {
            tracing::warn!(error = %left, "copies of a failed task stay until its prefix is swept");
        }
        return Err(error);
    }
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, copied)| copied).collect())
}

fn stopped() -> ObjectError {
    ObjectError::new(ObjectErrorKind::Failed, "another copy of this task ended in a panic")
}

/// A stream that breaks is begun anew; requests that fail before it have been repeated already.
async fn copy_with_patience(source: &Vault, target: &Vault, file: &FileCopy, options: CopyOptions, bytes: &AtomicU64) -> Result<Copied> {
    let patience = match (&source.0, &target.0) {
        (Inner::S3(vault), _) | (_, Inner::S3(vault)) => vault.patience,
        _ => crate::retry::Patience::default(),
    };
    let streams = crate::retry::Patience {
        attempts: patience.attempts.min(3),
        ..patience
    };
    let (written, tries) = (AtomicBool::new(false), AtomicU64::new(0));
    let copied = streams
        .repeat(|| async {
            tries.fetch_add(1, Ordering::Relaxed);
            // What an earlier try has put there is ours to remove.
            if written.swap(false, Ordering::Relaxed) {
                target.delete(&file.target_path).await?;
            }
            let counted = AtomicU64::new(0);
            let attempt = Attempt {
                file,
                options,
                written: &written,
                count: &|count| {
                    counted.fetch_add(count, Ordering::Relaxed);
                    bytes.fetch_add(count, Ordering::Relaxed);
                },
            };
            let copied = attempt.run(source, target).await;
            if copied.is_err() {
                bytes.fetch_sub(counted.load(Ordering::Relaxed), Ordering::Relaxed);
            }
            copied
        })
        .await?;
    // What ended an earlier try may have outlasted the abort of its upload, and nobody sweeps a directory whose copies are good.
    if tries.into_inner() > 1
        && let Inner::S3(to) = &target.0
        && let Err(error) = to.abort_uploads_of(&file.target_path).await
    {
        tracing::warn!(%error, "unfinished uploads may stay in the store");
    }
    Ok(copied)
}

/// One try to copy one file.
struct Attempt<'a> {
    file: &'a FileCopy,
    options: CopyOptions,
    /// Set before the target can come into being.
    written: &'a AtomicBool,
    /// Told of bytes as they are copied.
    count: &'a (dyn Fn(u64) + Sync),
}

impl Attempt<'_> {
    async fn run(&self, source: &Vault, target: &Vault) -> Result<Copied> {
        match (&source.0, &target.0) {
            (Inner::S3(from), Inner::S3(to)) if to.place.is_same_store(&from.place) => {
                match self.copy_in_store((source, from), (target, to)).await {
                    // Not every store copies by itself.
                    Err(error) if error.kind == ObjectErrorKind::Unsupported => self.copy_stream(source, target).await,
                    Err(error) => Err(error),
                    Ok(checksum) => {
                        (self.count)(self.file.size);
                        Ok(self.file.copied(checksum))
                    }
                }
            }
            _ => self.copy_stream(source, target).await,
        }
    }

    async fn copy_stream(&self, source: &Vault, target: &Vault) -> Result<Copied> {
        let file = self.file;
        let (found, mut stream) = source.read_sized(&file.source_path).await?;
        // Before the writer begins: how much memory it takes goes by the size.
        file.check_size(found, source.show(&file.source_path))?;
        let mut writer = target.writer(&file.target_path, Existing::Refuse, Some(file.size)).await?;
        let mut hasher = Crc64Hasher::default();
        let mut size = 0;
        while let Some(piece) = stream.try_next().await? {
            hasher.update(&piece);
            size += piece.len() as u64;
            if size > file.size {
                break;
            }
            writer.write(&piece).await?;
            (self.count)(piece.len() as u64);
        }
        // Checked before the object gets its name: a wrong source leaves no target.
        file.check_size(size, source.show(&file.source_path))?;
        file.check_checksum(hasher.finish(), source.show(&file.source_path))?;
        self.written.store(true, Ordering::Relaxed);
        let written = writer.finish().await?;
        if written.stored_checksum.is_none() && self.options.read_back == ReadBack::On {
            verify_or_remove(target, file, written.checksum).await?;
        }
        Ok(file.copied(written.checksum))
    }

    /// Lets the store copy; verifies by its checksums, or by reading where it keeps none.
    async fn copy_in_store(&self, (source, from): (&Vault, &S3Vault), (target, to): (&Vault, &Arc<S3Vault>)) -> Result<Crc64> {
        let file = self.file;
        let found = from.head(&file.source_path).await?;
        file.check_size(found.size, source.show(&file.source_path))?;
        if let Some(stored) = found.checksum {
            file.check_checksum(stored, source.show(&file.source_path))?;
        }
        target.refuse_existing(&file.target_path).await?;
        self.written.store(true, Ordering::Relaxed);
        let sizes = self.options.server_copy;
        to.copy_within_store(from, &file.source_path, &file.target_path, file.size, sizes)
            .await?;
        // A copy has to be what was recorded; failing that, what the store says of the source; failing that, what the source reads as.
        let wanted = match file.checksum.or(found.checksum) {
            Some(checksum) => checksum,
            None => source.checksum(&file.source_path).await?.1,
        };
        let copy = to.head(&file.target_path).await?;
        let read_as = match copy.checksum {
            Some(stored) => Ok((copy.size, stored)),
            // Whatever was asked for: these bytes were not checked on their way.
            None => target.checksum(&file.target_path).await,
        };
        let compared = match read_as {
            Ok(copy) => {
                let made = StoreCopy {
                    source_checksum: found.checksum,
                    wanted,
                    copy,
                };
                made.check(source, file, &target.show(&file.target_path)).await
            }
            Err(error) => Err(error),
        };
        keep_or_remove(target, file, compared).await.map(|()| wanted)
    }
}

/// What came of a copy that a store made by itself of a source whose size is right.
struct StoreCopy {
    /// As the store says it; then it has been compared with what was recorded.
    source_checksum: Option<Crc64>,
    wanted: Crc64,
    copy: (u64, Crc64),
}

impl StoreCopy {
    /// A wrong copy is one that can be made again, unless its source, which only the store has read so far, is what is wrong.
    async fn check(&self, source: &Vault, file: &FileCopy, place: &str) -> Result<()> {
        let expected = FileCopy {
            checksum: Some(self.wanted),
            ..file.clone()
        };
        let compared = expected.check_copy(self.copy, place);
        let source_is_known = self.source_checksum.is_some() || file.checksum.is_none();
        if compared.is_ok() || source_is_known || self.copy.0 != file.size {
            return compared;
        }
        let read = source.checksum(&file.source_path).await?;
        file.check_recorded(read, &source.show(&file.source_path))?;
        compared
    }
}

/// Reads the target and compares.
async fn verify_or_remove(target: &Vault, file: &FileCopy, wanted: Crc64) -> Result<()> {
    let expected = FileCopy {
        checksum: Some(wanted),
        ..file.clone()
    };
    let place = target.show(&file.target_path);
    let compared = match target.checksum_as_stored(&file.target_path, file.size).await {
        Ok(found) => expected.check_copy(found, &place),
        Err(error) => Err(error),
    };
    keep_or_remove(target, file, compared).await
}

async fn keep_or_remove(target: &Vault, file: &FileCopy, compared: Result<()>) -> Result<()> {
    if compared.is_err()
        && let Err(left) = target.delete(&file.target_path).await
    {
        tracing::warn!(error = %left, "a wrong copy stays until its prefix is swept");
    }
    compared
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{LocalPlace, VaultPlace};
    use crate::retry::Patience;
    use crate::s3::fake_store::FakeStore;

    async fn vault(root: std::path::PathBuf, id: &str) -> Vault {
        let place = LocalPlace {
            root,
            cluster_id: "c".to_owned(),
            vault_id: id.to_owned(),
        };
        Vault::create_marker(&place).await.expect("marker");
        Vault::open(&VaultPlace::Local(place), Patience::default()).await.expect("vault")
    }

    #[tokio::test]
    async fn a_task_goes_on_while_others_copy_all_the_files_there_may_be_at_once() {
        let root = tempfile::TempDir::new().expect("directory");
        let source = vault(root.path().join("source"), "s").await;
        let target = vault(root.path().join("target"), "t").await;
        let path = |name: String| ObjectPath::new(name).expect("a path");
        let mut files = Vec::new();
        for number in 0..3 {
            let source_path = path(format!("f{number}"));
            let written = source.put(&source_path, vec![7; 100].into(), Existing::Refuse).await.expect("put");
            files.push(FileCopy {
                source_path,
                target_path: path(format!("copied/{number}")),
                size: written.size,
                checksum: Some(written.checksum),
            });
        }
        let _others = FILES.acquire_many(FILES_AT_ONCE as u32).await.expect("open");
        let copied = copy_files(&source, &target, &files, CopyOptions::default(), &|_| {})
            .await
            .expect("copied");
        assert_eq!(copied.len(), 3);
        for file in &mut files {
            file.target_path = path(format!("{}-again", file.target_path));
        }
        let silent = |_: CopiedBytes| {};
        let mut ticker = Ticker::new(&silent);
        let copied = copy_one_by_one(&source, &target, &files, CopyOptions::default(), &mut ticker)
            .await
            .expect("copied");
        assert_eq!(copied.len(), 3);
    }

    #[tokio::test]
    async fn a_source_of_another_size_is_found_out_before_anything_is_sent() {
        let root = tempfile::TempDir::new().expect("directory");
        let source = vault(root.path().join("source"), "s").await;
        let store = FakeStore::start(|_: &str| (500, String::new())).await;
        let target = Vault(Inner::S3(store.open()));
        let path = |name: &str| ObjectPath::new(name).expect("a path");
        let bytes = vec![7; crate::limits::MULTIPART_THRESHOLD_BYTES + 1];
        let written = source.put(&path("f"), bytes.into(), Existing::Refuse).await.expect("put");
        for size in [1, written.size + 1, i64::MAX as u64] {
            let file = FileCopy {
                source_path: path("f"),
                target_path: path("copy"),
                size,
                checksum: None,
            };
            let copied = copy_files(&source, &target, &[file], CopyOptions::default(), &|_| {}).await;
            assert_eq!(copied.expect_err("another size").kind, ObjectErrorKind::SizeMismatch, "{size}");
        }
        assert_eq!(store.asked(), Vec::<String>::new());
    }

    #[tokio::test]
    async fn what_a_try_left_of_an_upload_goes_when_a_later_one_has_copied() {
        let root = tempfile::TempDir::new().expect("directory");
        let source = vault(root.path().join("source"), "s").await;
        let path = |name: &str| ObjectPath::new(name).expect("a path");
        let written = source.put(&path("f"), vec![7; 100].into(), Existing::Refuse).await.expect("put");
        let upload = |key: &str, id: u64| format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId></Upload>");
        let (left, of_another) = (upload("copy", 1), upload("copy.idx", 2));
        for failures in [0, 2] {
            let puts = AtomicU64::new(0);
            let uploads = format!("<ListMultipartUploadsResult>{left}{of_another}</ListMultipartUploadsResult>");
            let store = FakeStore::start(move |request: &str| match request {
                "PUT /b/copy" if puts.fetch_add(1, Ordering::Relaxed) < failures => (500, String::new()),
                request if request.starts_with("DELETE ") => (204, String::new()),
                request if request.contains("uploads=") => (200, uploads.clone()),
                _ => (200, "\u{7}".repeat(100)),
            })
            .await;
            let target = Vault(Inner::S3(store.open_for(2)));
            let file = FileCopy {
                source_path: path("f"),
                target_path: path("copy"),
                size: 100,
                checksum: Some(written.checksum),
            };
            let copied = copy_files(&source, &target, &[file], CopyOptions::default(), &|_| {}).await;
            copied.expect("copied");
            let mut about_uploads = store.asked();
            about_uploads.retain(|request| request.contains("upload"));
            match failures {
                0 => assert_eq!(about_uploads, Vec::<String>::new()),
                _ => assert_eq!(about_uploads, ["DELETE /b/copy?uploadId=1", "GET /b/?prefix=copy&uploads="]),
            }
        }
    }

    #[tokio::test]
    async fn what_a_store_does_not_copy_by_itself_goes_through_here() {
        let puts = AtomicU64::new(0);
        let store = FakeStore::start(move |request: &str| match request {
            "PUT /b/copy" if puts.fetch_add(1, Ordering::Relaxed) == 0 => (501, String::new()),
            "HEAD /b/copy" if puts.load(Ordering::Relaxed) < 2 => (404, String::new()),
            _ => (200, "bytes".to_owned()),
        })
        .await;
        let vault = Vault(Inner::S3(store.open()));
        let path = |name: &str| ObjectPath::new(name).expect("a path");
        let file = FileCopy {
            source_path: path("f"),
            target_path: path("copy"),
            size: 5,
            checksum: Some(Crc64::of(b"bytes")),
        };
        let copied = copy_files(&vault, &vault, std::slice::from_ref(&file), CopyOptions::default(), &|_| {})
            .await
            .expect("copied");
        assert_eq!(copied, [file.copied(Crc64::of(b"bytes"))]);
        let mut asked = store.asked();
        asked.dedup();
        assert_eq!(asked, ["GET /b/copy", "GET /b/f", "HEAD /b/copy", "HEAD /b/f", "PUT /b/copy"]);
    }

    #[tokio::test]
    async fn a_wrong_copy_of_the_store_is_made_again_unless_its_source_is_wrong() {
        let root = tempfile::TempDir::new().expect("directory");
        let source = vault(root.path().join("source"), "s").await;
        let path = |name: &str| ObjectPath::new(name).expect("a path");
        let written = source.put(&path("f"), vec![7; 100].into(), Existing::Refuse).await.expect("put");
        let (right, wrong) = (written.checksum, Crc64(1));
        let check = async |recorded: Option<Crc64>, source_checksum: Option<Crc64>, size: u64| {
            let file = FileCopy {
                source_path: path("f"),
                target_path: path("copy"),
                size: 100,
                checksum: recorded,
            };
            let made = StoreCopy {
                source_checksum,
                wanted: recorded.unwrap_or(right),
                copy: (size, Crc64(2)),
            };
            made.check(&source, &file, "copy").await.expect_err("wrong").kind
        };
        for (recorded, source_checksum, size, kind) in [
            // The store has said, or nobody else has, that the source is right.
            (Some(right), Some(right), 100, ObjectErrorKind::BadCopy),
            (None, Some(right), 100, ObjectErrorKind::BadCopy),
            (None, None, 100, ObjectErrorKind::BadCopy),
            // It has to be read.
            (Some(right), None, 100, ObjectErrorKind::BadCopy),
            (Some(wrong), None, 100, ObjectErrorKind::ChecksumMismatch),
            // Its size is known.
            (Some(right), None, 99, ObjectErrorKind::BadCopy),
            (Some(right), Some(right), 99, ObjectErrorKind::BadCopy),
        ] {
            let found = check(recorded, source_checksum, size).await;
            assert_eq!(found, kind, "{recorded:?} {source_checksum:?} {size}");
        }
    }
}
