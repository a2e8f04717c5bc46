//! A vault: one named place for objects, local or S3, behind one set of calls.

use crate::checksum::Crc64;
use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::limits::{BUFFER_BYTES, SMALL_OBJECTS_AT_ONCE};
use crate::local::{self, LocalVault, blocking};
use crate::path::ObjectPath;
use crate::place::{LocalPlace, VaultPlace};
use crate::retry::Patience;
use crate::s3::S3Vault;
use crate::writer::ObjectWriter;
use bytes::{Bytes, BytesMut};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use std::fs::Metadata;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

/// An object's bytes, in pieces.
pub type ObjectStream = BoxStream<'static, Result<Bytes>>;

/// Whether its owner may still write, asked on whatever thread is about to; the error says why not.
pub type MayWrite = Arc<dyn Fn() -> Result<()> + Send + Sync>;

/// What a store says of an object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectInfo {
    /// As text, since a store may hold objects we would not name so.
    pub path: String,
    pub size: u64,
    /// The store's own checksum, where it keeps one of the kind we use.
    pub checksum: Option<Crc64>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    pub size: u64,
    /// Of the bytes as they were given to the store.
    pub checksum: Crc64,
    /// Of the bytes as the store has them; it has been compared. None: only reading back can tell.
    pub stored_checksum: Option<Crc64>,
}

/// A file of this machine that was written to a vault.
#[derive(Clone, Debug)]
pub struct Uploaded {
    pub written: Written,
    /// What the open file was after its last byte had been read: who knows what it was before can tell whether it changed meanwhile.
    pub source: Metadata,
}

/// Whether a write may take the place of an object that exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    Refuse,
    Replace,
}

/// An open vault. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Vault(pub(crate) Inner);

#[derive(Clone, Debug)]
pub(crate) enum Inner {
    Local(Arc<LocalVault>),
    S3(Arc<S3Vault>),
}

impl Vault {
    /// Makes a directory a vault, durably. Doing so again is fine; the directory of another vault is refused.
    pub async fn create_marker(place: &LocalPlace) -> Result<()> {
        LocalVault::create_marker(place.clone()).await
    }

    /// Opens a vault, which must carry the marker of its cluster. An S3 store is asked for it once a minute, and gets it if it has none.
    pub async fn open(place: &VaultPlace, patience: Patience) -> Result<Vault> {
        Ok(Vault(match place {
            VaultPlace::Local(place) => Inner::Local(Arc::new(LocalVault::open(place.clone()).await?)),
            VaultPlace::S3(place) => {
                let vault = S3Vault::open(place.clone(), patience)?;
                vault.check_marker().await?;
                Inner::S3(Arc::new(vault))
            }
        }))
    }

    /// Makes a directory ours whose marker is that of a cluster this one was recovered from; leaves any other as it is.
    pub async fn take_over_marker(place: &LocalPlace, former_clusters: Vec<String>) -> Result<()> {
        LocalVault::take_over_marker(place.clone(), former_clusters).await
    }

    /// Asks an S3 store once whether it is there and lets this key look into the bucket; a local vault has shown it by its marker.
    pub async fn check_access(&self) -> Result<()> {
        match &self.0 {
            Inner::Local(_) => Ok(()),
            Inner::S3(vault) => vault.check_access().await,
        }
    }

    /// Writes a small object. When this returns, the object is whole and durable.
    pub async fn put(&self, path: &ObjectPath, bytes: Bytes, existing: Existing) -> Result<Written> {
        let mut writer = self.writer(path, existing, Some(bytes.len() as u64)).await?;
        writer.write(&bytes).await?;
        writer.finish().await
    }

    /// Writes small objects, a few at a time, in the place of any that exist. When this returns, all are whole and durable; after an error
    /// some may be there, each of them whole. That costs a local vault less than to put each. `written` is called for each that has been
    /// written: in a local vault it may not have its name yet. `may_write` is asked immediately before each object is written, in a local
    /// vault immediately before the first of them gets its name.
    pub async fn replace_all(&self, objects: Vec<(ObjectPath, Bytes)>, written: &(dyn Fn() + Sync), may_write: &MayWrite) -> Result<()> {
        if let Inner::Local(vault) = &self.0 {
            return local::replace_all(vault.clone(), objects, written, may_write.clone()).await;
        }
        let put = |(path, bytes): (ObjectPath, Bytes)| {
            let vault = self.clone();
            async move {
                may_write()?;
                vault.put(&path, bytes, Existing::Replace).await.map(|_| written())
            }
        };
        let puts = futures::stream::iter(objects).map(put);
        puts.buffer_unordered(SMALL_OBJECTS_AT_ONCE).try_collect().await
    }

    /// Starts an object whose bytes come in pieces. It exists only after `finish`; dropping the writer leaves nothing behind where that can be helped.
    pub async fn writer(&self, path: &ObjectPath, existing: Existing, expected_bytes: Option<u64>) -> Result<ObjectWriter> {
        ObjectWriter::begin(self, path, existing, expected_bytes).await
    }

    /// Uploads a file of this machine, in parts when it is large.
    pub async fn upload(&self, file: &Path, path: &ObjectPath, existing: Existing) -> Result<Uploaded> {
        let name = file.to_owned();
        let (mut opened, size) = blocking(move || {
            let opened = crate::local::open_object(&name)?;
            let metadata = opened.metadata().map_err(|error| ObjectError::io("read", name.display(), &error))?;
            Ok((opened, metadata.len()))
        })
        .await?;
        let mut writer = self.writer(path, existing, Some(size)).await?;
        loop {
            let name = file.to_owned();
            let (piece, ended, back) = blocking(move || {
                let wrong = |error: std::io::Error| ObjectError::io("read", name.display(), &error);
                let mut buffer = vec![0; BUFFER_BYTES];
                let read = opened.read(&mut buffer);
                buffer.truncate(read.map_err(wrong)?);
                let ended = match buffer.is_empty() {
                    true => Some(opened.metadata().map_err(wrong)?),
                    false => None,
                };
                Ok((buffer, ended, opened))
            })
            .await?;
            opened = back;
            if let Some(source) = ended {
                let written = writer.finish().await?;
                return Ok(Uploaded { written, source });
            }
            writer.write(&piece).await?;
        }
    }

    /// The object's bytes in pieces.
    pub async fn read(&self, path: &ObjectPath) -> Result<ObjectStream> {
        Ok(self.read_sized(path).await?.1)
    }

    /// As [`Vault::read`], and how long the object is.
    pub(crate) async fn read_sized(&self, path: &ObjectPath) -> Result<(u64, ObjectStream)> {
        match &self.0 {
            Inner::Local(vault) => vault.read(path).await,
            Inner::S3(vault) => vault.read(path).await,
        }
    }

    /// All bytes of an object of at most `limit_bytes`.
    pub async fn get(&self, path: &ObjectPath, limit_bytes: usize) -> Result<Bytes> {
        let mut stream = self.read(path).await?;
        let mut all = BytesMut::new();
        while let Some(piece) = stream.try_next().await? {
            if all.len() + piece.len() > limit_bytes {
                return Err(ObjectError::invalid(format!(
                    "{} has more than {limit_bytes} bytes; read it in pieces",
                    self.show(path)
                )));
            }
            all.extend_from_slice(&piece);
        }
        Ok(all.freeze())
    }

    /// Reads an object to its end; returns its size and checksum.
    pub async fn checksum(&self, path: &ObjectPath) -> Result<(u64, Crc64)> {
        let mut stream = self.read(path).await?;
        let mut hasher = crate::checksum::Crc64Hasher::default();
        let mut size = 0;
        while let Some(piece) = stream.try_next().await? {
            hasher.update(&piece);
            size += piece.len() as u64;
        }
        Ok((size, hasher.finish()))
    }

    /// The same of what was just written, as the store holds it: a local file is read past the memory that still has it. `size` is what
    /// it should have.
    pub(crate) async fn checksum_as_stored(&self, path: &ObjectPath, size: u64) -> Result<(u64, Crc64)> {
        match &self.0 {
            Inner::Local(vault) => vault.checksum_on_disk(path, size).await,
            Inner::S3(_) => self.checksum(path).await,
        }
    }

    pub async fn head(&self, path: &ObjectPath) -> Result<ObjectInfo> {
        match &self.0 {
            Inner::Local(vault) => vault.head(path).await,
            Inner::S3(vault) => vault.head(path).await,
        }
    }

    /// All objects below the directory `prefix`, or in the whole vault.
    pub fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectInfo>> {
        match &self.0 {
            Inner::Local(vault) => vault.list(prefix.cloned()),
            Inner::S3(vault) => vault.list(prefix),
        }
    }

    /// Deletes an object; one that does not exist is fine.
    pub async fn delete(&self, path: &ObjectPath) -> Result<()> {
        self.delete_many(std::slice::from_ref(path)).await
    }

    /// Deletes objects; those that do not exist are fine. After an error some may be gone: repeat the call.
    pub async fn delete_many(&self, paths: &[ObjectPath]) -> Result<()> {
        match &self.0 {
            Inner::Local(vault) => vault.delete_many(paths.to_vec()).await,
            Inner::S3(vault) => vault.delete_many(paths).await,
        }
    }

    /// Deletes everything below the directory `prefix`, unfinished files included; returns how many there were.
    pub async fn delete_prefix(&self, prefix: &ObjectPath) -> Result<u64> {
        match &self.0 {
            Inner::Local(vault) => vault.delete_prefix(prefix).await,
            Inner::S3(vault) => vault.delete_prefix(prefix).await,
        }
    }

    /// Returns when these objects survive a crash. An S3 store answers a write only when they do, so there is nothing to wait for.
    pub async fn sync(&self, paths: &[ObjectPath]) -> Result<()> {
        match &self.0 {
            Inner::Local(vault) => vault.sync(paths.to_vec()).await,
            Inner::S3(_) => Ok(()),
        }
    }

    /// Where an object is, for messages.
    pub fn show(&self, path: &ObjectPath) -> String {
        match &self.0 {
            Inner::Local(vault) => vault.file(path).display().to_string(),
            Inner::S3(vault) => vault.show(path),
        }
    }

    /// Refuses when something has this path already.
    pub(crate) async fn refuse_existing(&self, path: &ObjectPath) -> Result<()> {
        match self.head(path).await {
            Err(error) if error.kind == ObjectErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(_) => Err(ObjectError::new(
                ObjectErrorKind::AlreadyExists,
                format!("{} exists; paths are never used twice", self.show(path)),
            )),
        }
    }

    /// Collects a list whose length the caller knows to be small.
    pub async fn list_all(&self, prefix: Option<&ObjectPath>) -> Result<Vec<ObjectInfo>> {
        self.list(prefix).boxed().try_collect().await
    }
}
