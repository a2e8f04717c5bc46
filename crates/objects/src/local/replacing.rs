//! Writes small files that belong together. Each is synced by itself, and the directories that name them once for all: of a file of some
//! hundred bytes these syncs are most of the cost.

use super::durable::{Durable, create_file, give_name, partial_name, remove_quietly, sync_directories_of};
use super::{LocalVault, blocking};
use crate::error::{ObjectError, Result};
use crate::limits::SMALL_OBJECTS_AT_ONCE;
use crate::path::ObjectPath;
use crate::vault::MayWrite;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A file that was begun, and where it is to be.
struct Begun {
    partial: PathBuf,
    target: PathBuf,
}

/// Files that have not got their names; they go with their last holder unless they got them. Holders are the call and each of its threads:
/// where a mount hangs while somebody gives the call up, a thread that hangs there already removes them, and not the caller's.
#[derive(Default)]
struct Unnamed(Mutex<Vec<Begun>>);

impl Drop for Unnamed {
    fn drop(&mut self) {
        self.files().iter().for_each(|file| remove_quietly(&file.partial));
    }
}

impl Unnamed {
    fn files(&self) -> MutexGuard<'_, Vec<Begun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, target: PathBuf, bytes: &[u8]) -> Result<()> {
        let partial = partial_name(&target)?;
        let wrong = |error: std::io::Error| ObjectError::io("write", target.display(), &error);
        let mut file = create_file(&partial).map_err(wrong)?;
        let written = file.write_all(bytes).and_then(|()| file.sync_data()).map_err(wrong);
        // One that is not whole has to go as well.
        self.files().push(Begun { partial, target });
        written
    }

    fn name_all(&self, root: &Path) -> Result<()> {
        let mut files = self.files();
        for file in files.iter() {
            give_name(&file.partial, &file.target, Durable::Replace)?;
        }
        // All have their names: nothing is left that would have to go.
        let named = std::mem::take(&mut *files);
        sync_directories_of(root, named.iter().map(|file| file.target.as_path()))
    }
}

/// Writes files in the place of any that exist. None has its name before all are on disk; `written` is called for each that is, `may_write`
/// before the first gets its name.
pub(crate) async fn replace_all(
    vault: Arc<LocalVault>,
    objects: Vec<(ObjectPath, Bytes)>,
    written: &(dyn Fn() + Sync),
    may_write: MayWrite,
) -> Result<()> {
    let unnamed = Arc::<Unnamed>::default();
    let mut writes = Vec::with_capacity(objects.len());
    for (path, bytes) in objects {
        let (unnamed, target) = (Arc::clone(&unnamed), vault.file(&path));
        let write = blocking(move || unnamed.write(target, &bytes));
        writes.push(async move { write.await.map(|()| written()) });
    }
    let guarded = Arc::clone(&vault);
    blocking(move || guarded.guard()).await?;
    let outcome: Result<()> = futures::stream::iter(writes)
        .buffer_unordered(SMALL_OBJECTS_AT_ONCE)
        .try_collect()
        .await;
    blocking(move || {
        // Looked at here, so that what has to be removed after an error is removed here as well.
        outcome?;
        // What was written while the vault was not mounted must not pass for written.
        vault.guard()?;
        may_write()?;
        unnamed.name_all(&vault.place.root)
    })
    .await
}
