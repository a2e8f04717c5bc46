//! Lists what is below a directory.

use super::LocalVault;
use crate::error::{ObjectError, Result};
use crate::path::ObjectPath;
use crate::vault::ObjectInfo;
use futures::StreamExt;
use futures::stream::BoxStream;
use quorate_model::file_names::{MARKER_NAME, PARTIAL_SUFFIX};
use std::fs::DirEntry;
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Entries the walk may be ahead of who reads the list.
const AHEAD: usize = 256;

/// All objects below `prefix`, in the order of their paths within each directory. A prefix without objects gives an empty list.
pub(super) fn list(vault: Arc<LocalVault>, prefix: Option<ObjectPath>) -> BoxStream<'static, Result<ObjectInfo>> {
    let (sender, receiver) = mpsc::channel(AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = walk(&vault, prefix.as_ref(), &sender) {
            // Who no longer listens needs no error either.
            drop(sender.blocking_send(Err(error)));
        }
    });
    futures::stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|item| (item, receiver))
    })
    .boxed()
}

fn walk(vault: &LocalVault, prefix: Option<&ObjectPath>, sender: &mpsc::Sender<Result<ObjectInfo>>) -> Result<()> {
    vault.guard()?;
    let root = &vault.place.root;
    let mut waiting = vec![prefix.map_or_else(|| root.clone(), |prefix| vault.file(prefix))];
    while let Some(directory) = waiting.pop() {
        let mut below = Vec::new();
        for entry in entries(&directory, usize::MAX)? {
            let path = entry.path();
            let wrong = |error: std::io::Error| ObjectError::io("list", path.display(), &error);
            let kind = entry.file_type().map_err(wrong)?;
            if kind.is_dir() {
                below.push(path);
                continue;
            }
            let Some(name) = object_name(root, &path) else { continue };
            let size = match entry.metadata() {
                Ok(metadata) if metadata.is_file() => metadata.len(),
                Ok(_) => continue,
                // Deleted since the directory was read.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(wrong(error)),
            };
            let info = ObjectInfo {
                path: name,
                size,
                checksum: None,
            };
            if sender.blocking_send(Ok(info)).is_err() {
                return Ok(());
            }
        }
        waiting.extend(below.into_iter().rev());
    }
    Ok(())
}

/// The path of an object; none for the marker and for unfinished files.
fn object_name(root: &Path, file: &Path) -> Option<String> {
    let name = file.strip_prefix(root).ok()?.to_str()?;
    (name != MARKER_NAME && !name.ends_with(PARTIAL_SUFFIX)).then(|| name.to_owned())
}

/// At most so many entries of a directory, by name; none when it does not exist.
pub(super) fn entries(directory: &Path, limit: usize) -> Result<Vec<DirEntry>> {
    let wrong = |error: std::io::Error| ObjectError::io("list", directory.display(), &error);
    let read = match std::fs::read_dir(directory) {
        Ok(read) => read,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(wrong(error)),
    };
    let mut entries = read.take(limit).collect::<std::io::Result<Vec<DirEntry>>>().map_err(wrong)?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}
