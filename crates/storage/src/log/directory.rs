//! The log's directory: who may use it, which files are in it, and making its entries durable.

use super::OpenError;
use super::segment;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const LOCK: &str = "lock";
/// Files still being written carry this ending; whatever carries it at open is nobody's.
const UNFINISHED: &str = "unfinished";

pub(crate) struct Listing {
    pub segments: BTreeMap<u64, PathBuf>,
    pub unfinished: Vec<PathBuf>,
}

/// Creates the directory if need be and takes it for this process. The lock is free when the file is dropped.
pub(crate) fn take(dir: &Path) -> Result<File, OpenError> {
    std::fs::create_dir_all(dir).map_err(OpenError::io(dir))?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync(parent).map_err(OpenError::io(parent))?;
    }
    let path = dir.join(LOCK);
    let lock = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(OpenError::io(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(OpenError::Locked { dir: dir.to_path_buf() }),
        Err(TryLockError::Error(source)) => Err(OpenError::Io { path, source }),
    }
}

pub(crate) fn list(dir: &Path) -> io::Result<Listing> {
    let mut listing = Listing {
        segments: BTreeMap::new(),
        unfinished: Vec::new(),
    };
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_some_and(|ending| ending == UNFINISHED) {
            listing.unfinished.push(path);
        } else if let Some(number) = path.file_name().and_then(|name| segment::number_of(name.to_str()?)) {
            listing.segments.insert(number, path);
        }
    }
    Ok(listing)
}

/// Makes created, renamed and removed names durable.
pub(crate) fn sync(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(crate) fn unfinished_path(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.{UNFINISHED}"))
}

/// Gives a finished, synced file its name, durably.
pub(crate) fn publish(dir: &Path, unfinished: &Path, path: &Path) -> io::Result<()> {
    std::fs::rename(unfinished, path)?;
    sync(dir)
}
