//! A vault that is a directory.
//!
//! ```text
//! root/.quorate-vault                 whose directory this is (marker.rs)
//! root/a/b/segment.data               objects, by their paths
//! root/a/b/<checksum of the name x>-<random>.quorate-partial     being written: not listed, never read, swept with its prefix
//! ```
//!
//! The file system is used directly and not through `object_store`: its local store makes hard links where copies are asked for, and syncs nothing.
//! Each call checks the marker first, so that an unmounted share is an error and not an empty vault.

mod copying;
mod durable;
mod file_writer;
mod listing;
mod marker;
mod reading_back;
mod removing;
mod replacing;

pub(crate) use copying::copy_all;
pub(crate) use file_writer::LocalWriter;
pub(crate) use replacing::replace_all;

use crate::checksum::Crc64;
use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::limits::{BUFFER_BYTES, LOCAL_MARKERS};
use crate::path::ObjectPath;
use crate::place::LocalPlace;
use crate::vault::{ObjectInfo, ObjectStream};
use bytes::Bytes;
use futures::StreamExt;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// A directory whose marker has been read.
#[derive(Debug)]
pub(crate) struct LocalVault {
    pub(crate) place: LocalPlace,
}

/// Runs what the file system may make wait, where waiting does not hold up others.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(ObjectError::new(ObjectErrorKind::Failed, format!("file work ended early: {error}"))),
    }
}

/// As [`blocking`], for what reads or writes a marker: of these threads there are only a few, however many callers have given up.
async fn at_marker<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let permit = LOCAL_MARKERS.acquire().await.expect("nobody closes the semaphore");
    blocking(move || {
        // Held by the thread itself: it goes on when nobody waits for it any more.
        let _permit = permit;
        work()
    })
    .await
}

impl LocalVault {
    /// Makes the directory this vault's, for good. Doing so again is fine; a directory of another vault is refused.
    pub(crate) async fn create_marker(place: LocalPlace) -> Result<()> {
        at_marker(move || marker::create(&place)).await
    }

    /// Makes a directory ours that was a cluster's which this one was recovered from.
    pub(crate) async fn take_over_marker(place: LocalPlace, former_clusters: Vec<String>) -> Result<()> {
        at_marker(move || marker::take_over(&place, &former_clusters)).await
    }

    pub(crate) async fn open(place: LocalPlace) -> Result<LocalVault> {
        let vault = Arc::new(LocalVault { place });
        let checked = Arc::clone(&vault);
        at_marker(move || checked.guard()).await?;
        // Nobody else has it: the closure above is gone.
        Ok(LocalVault {
            place: vault.place.clone(),
        })
    }

    /// Refuses unless the directory carries this vault's marker. Called by everything that reads, writes or deletes.
    pub(crate) fn guard(&self) -> Result<()> {
        marker::check(&self.place)
    }

    pub(crate) fn file(&self, path: &ObjectPath) -> PathBuf {
        self.place.root.join(path.as_str())
    }

    pub(crate) async fn head(self: &Arc<Self>, path: &ObjectPath) -> Result<ObjectInfo> {
        let (vault, path) = (Arc::clone(self), path.clone());
        blocking(move || {
            vault.guard()?;
            let file = vault.file(&path);
            let metadata = std::fs::symlink_metadata(&file).map_err(|error| ObjectError::io("read", file.display(), &error))?;
            if !metadata.is_file() {
                return Err(not_a_file(&file));
            }
            Ok(ObjectInfo {
                size: metadata.len(),
                path: path.as_str().to_owned(),
                checksum: None,
            })
        })
        .await
    }

    /// The object's size, and its bytes in pieces of one buffer, read when asked for.
    pub(crate) async fn read(self: &Arc<Self>, path: &ObjectPath) -> Result<(u64, ObjectStream)> {
        let (vault, path) = (Arc::clone(self), path.clone());
        let (file, name, size) = blocking(move || {
            vault.guard()?;
            let name = vault.file(&path);
            let file = open_object(&name)?;
            let metadata = file.metadata().map_err(|error| ObjectError::io("read", name.display(), &error))?;
            Ok((file, name, metadata.len()))
        })
        .await?;
        let stream = futures::stream::try_unfold((file, name), |(mut file, name)| {
            blocking(move || {
                let mut buffer = vec![0; BUFFER_BYTES];
                let count = file
                    .read(&mut buffer)
                    .map_err(|error| ObjectError::io("read", name.display(), &error))?;
                buffer.truncate(count);
                Ok((count > 0).then(|| (Bytes::from(buffer), (file, name))))
            })
        });
        Ok((size, stream.boxed()))
    }

    pub(crate) fn list(self: &Arc<Self>, prefix: Option<ObjectPath>) -> futures::stream::BoxStream<'static, Result<ObjectInfo>> {
        listing::list(Arc::clone(self), prefix)
    }

    /// Removes files, what unfinished writers of them left, and directories that are left empty; those that do not exist are fine. Done
    /// when a crash cannot bring them back. A file that cannot be removed keeps none of the others: why the first one stays is said at
    /// the end.
    pub(crate) async fn delete_many(self: &Arc<Self>, paths: Vec<ObjectPath>) -> Result<()> {
        let vault = Arc::clone(self);
        blocking(move || {
            vault.guard()?;
            let (mut directories, mut stays) = (BTreeSet::new(), Ok(()));
            let files: Vec<PathBuf> = paths.iter().map(|path| vault.file(path)).collect();
            for file in &files {
                match std::fs::remove_file(file) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        let error = ObjectError::io("delete", file.display(), &error);
                        // Each further file would meet that, too, and perhaps wait for it.
                        if error.concerns_the_vault() {
                            return Err(error);
                        }
                        stays = stays.and(Err(error));
                    }
                    // Of one that is gone already the directory may have stayed, if who deleted it died in between.
                    _ => directories.extend(file.parent().map(PathBuf::from)),
                }
            }
            let swept = durable::remove_partial_files_of(&files);
            let emptied = durable::remove_empty(&vault.place.root, directories);
            stays.and(swept).and(emptied)
        })
        .await
    }

    /// Removes everything below `prefix`, unfinished files included, and directories that are left empty; returns how many files there
    /// were.
    pub(crate) async fn delete_prefix(self: &Arc<Self>, prefix: &ObjectPath) -> Result<u64> {
        let (vault, prefix) = (Arc::clone(self), prefix.clone());
        blocking(move || {
            vault.guard()?;
            let directory = vault.file(&prefix);
            let count = removing::remove_below(&directory)?;
            durable::remove_empty(&vault.place.root, directory.parent().map(PathBuf::from).into_iter().collect())?;
            Ok(count)
        })
        .await
    }

    /// Size and checksum of a file as it is on disk. `size` is what it should have.
    pub(crate) async fn checksum_on_disk(self: &Arc<Self>, path: &ObjectPath, size: u64) -> Result<(u64, Crc64)> {
        let (vault, path) = (Arc::clone(self), path.clone());
        blocking(move || {
            vault.guard()?;
            let mut buffer = reading_back::AlignedBuffer::default();
            reading_back::checksum_on_disk(&vault.file(&path), size, &mut buffer, &AtomicBool::new(false))
        })
        .await
    }

    /// Returns when these files survive a crash.
    pub(crate) async fn sync(self: &Arc<Self>, paths: Vec<ObjectPath>) -> Result<()> {
        let vault = Arc::clone(self);
        blocking(move || {
            vault.guard()?;
            let system = durable::FileSystem::open(&vault.place.root)?;
            let files: Vec<PathBuf> = paths.iter().map(|path| vault.file(path)).collect();
            system.sync(&vault.place.root, &files, durable::Already::Nothing)
        })
        .await
    }
}

/// Opens a file for reading and nothing else: a directory in its place is an error here and not at the first read.
pub(crate) fn open_object(name: &std::path::Path) -> Result<File> {
    let wrong = |error: std::io::Error| ObjectError::io("read", name.display(), &error);
    let file = File::open(name).map_err(wrong)?;
    match file.metadata().map_err(wrong)?.is_file() {
        true => Ok(file),
        false => Err(not_a_file(name)),
    }
}

fn not_a_file(name: &std::path::Path) -> ObjectError {
    ObjectError::invalid(format!("{} is not a file; remove what is in the object's place", name.display()))
}
