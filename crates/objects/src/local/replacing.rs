//! Writes small files that belong together. Each is synced by itself, and the directories that name them once for all: of a file of some
//! hundred bytes these syncs are most of the cost.

use super::durable::{Durable, create_file, give_name, partial_name, remove_quietly, sync_directories_of};
use super::{LocalVault, blocking};
use crate::error::{ObjectError, Result};
use crate::limits::SMALL_OBJECTS_AT_ONCE;
use crate::path::ObjectPath;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

/// A file that is written and synced and has not got its name; it goes with its holder unless it got it.
struct Unnamed {
    partial: PathBuf,
    target: PathBuf,
}

impl Drop for Unnamed {
    fn drop(&mut self) {
        remove_quietly(&self.partial);
    }
}

/// Writes files in the place of any that exist. None has its name before all are on disk.
pub(crate) async fn replace_all(vault: Arc<LocalVault>, objects: Vec<(ObjectPath, Bytes)>) -> Result<()> {
    let files: Vec<(PathBuf, Bytes)> = objects.into_iter().map(|(path, bytes)| (vault.file(&path), bytes)).collect();
    let guarded = Arc::clone(&vault);
    blocking(move || guarded.guard()).await?;
    let written: Vec<Unnamed> = futures::stream::iter(files)
        .map(|(target, bytes)| blocking(move || write(target, &bytes)))
        .buffer_unordered(SMALL_OBJECTS_AT_ONCE)
        .try_collect()
        .await?;
    blocking(move || {
        // What was written while the vault was not mounted must not pass for written.
        vault.guard()?;
        for file in &written {
            give_name(&file.partial, &file.target, Durable::Replace)?;
        }
        sync_directories_of(&vault.place.root, written.iter().map(|file| file.target.as_path()))
    })
    .await
}

fn write(target: PathBuf, bytes: &[u8]) -> Result<Unnamed> {
    let partial = partial_name(&target)?;
    let mut file = create_file(&partial).map_err(|error| ObjectError::io("write", target.display(), &error))?;
    let unnamed = Unnamed { partial, target };
    file.write_all(bytes)
        .and_then(|()| file.sync_data())
        .map_err(|error| ObjectError::io("write", unnamed.target.display(), &error))?;
    Ok(unnamed)
}
