//! Writes one object of a local vault in pieces. It has its name only when all of it is on disk.

use super::durable::{Durable, create_file, partial_name, publish, remove_quietly};
use super::{LocalVault, blocking};
use crate::checksum::Crc64Hasher;
use crate::error::{ObjectError, Result};
use crate::limits::BUFFER_BYTES;
use crate::path::ObjectPath;
use crate::vault::{Existing, Written};
use bytes::{Bytes, BytesMut};
use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) struct LocalWriter {
    vault: Arc<LocalVault>,
    target: PathBuf,
    existing: Existing,
    buffer: BytesMut,
    hasher: Crc64Hasher,
    size: u64,
    partial: Arc<Partial>,
}

/// The unfinished file; goes with its last holder unless it got its name. Holders are the writer and a write that is under way.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Drop for Partial {
    fn drop(&mut self) {
        remove_quietly(&self.path);
    }
}

impl LocalWriter {
    pub(crate) async fn begin(vault: Arc<LocalVault>, path: &ObjectPath, existing: Existing) -> Result<LocalWriter> {
        let target = vault.file(path);
        let (guarded, wanted) = (Arc::clone(&vault), target.clone());
        let partial = blocking(move || {
            guarded.guard()?;
            let path = partial_name(&wanted)?;
            let file = create_file(&path).map_err(|error| ObjectError::io("write", wanted.display(), &error))?;
            Ok(Partial { path, file })
        })
        .await?;
        Ok(LocalWriter {
            vault,
            target,
            existing,
            buffer: BytesMut::with_capacity(BUFFER_BYTES),
            hasher: Crc64Hasher::default(),
            size: 0,
            partial: Arc::new(partial),
        })
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<()> {
        for piece in bytes.chunks(BUFFER_BYTES) {
            if self.buffer.len() + piece.len() > BUFFER_BYTES {
                self.flush().await?;
            }
            self.buffer.extend_from_slice(piece);
        }
        self.size += bytes.len() as u64;
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let full = std::mem::replace(&mut self.buffer, BytesMut::with_capacity(BUFFER_BYTES)).freeze();
        self.hasher.update(&full);
        let (partial, target) = (Arc::clone(&self.partial), self.target.clone());
        blocking(move || write_all(&partial, &full, &target)).await
    }

    pub(crate) async fn finish(mut self) -> Result<Written> {
        self.flush().await?;
        let (partial, vault, target) = (Arc::clone(&self.partial), Arc::clone(&self.vault), self.target.clone());
        let mode = match self.existing {
            Existing::Refuse => Durable::CreateOnly,
            Existing::Replace => Durable::Replace,
        };
        blocking(move || {
            let wrong = |error: std::io::Error| ObjectError::io("write", target.display(), &error);
            partial.file.sync_data().map_err(wrong)?;
            publish(&vault.place.root, &partial.path, &target, mode)
        })
        .await?;
        Ok(Written {
            size: self.size,
            checksum: self.hasher.finish(),
            stored_checksum: None,
        })
    }
}

fn write_all(partial: &Partial, bytes: &Bytes, target: &std::path::Path) -> Result<()> {
    let mut file = &partial.file;
    file.write_all(bytes)
        .map_err(|error| ObjectError::io("write", target.display(), &error))
}
