//! Writes one S3 object in pieces: small ones in one request, large ones in parts that travel while the next is filled.

use super::server_copy::OpenUpload;
use super::{S3Vault, errors};
use crate::checksum::Crc64Hasher;
use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::limits::{LARGE_PARTS, MULTIPART_THRESHOLD_BYTES, PART_BYTES, PARTS, PARTS_AT_ONCE_PER_FILE, PARTS_PER_OBJECT};
use crate::path::ObjectPath;
use crate::vault::{Existing, Inner, Vault, Written};
use bytes::{Bytes, BytesMut};
use object_store::multipart::{MultipartStore, PartId};
use object_store::{ObjectStore, PutMode, PutOptions, PutPayload};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::SemaphorePermit;
use tokio::task::JoinSet;

pub(crate) struct S3Writer {
    vault: Arc<S3Vault>,
    path: ObjectPath,
    existing: Existing,
    part_bytes: usize,
    buffer: BytesMut,
    /// For what the buffer holds of a large part.
    room: Option<SemaphorePermit<'static>>,
    hasher: Crc64Hasher,
    size: u64,
    /// None until there is more than one request's worth of bytes.
    upload: Option<Upload>,
}

struct Upload {
    /// Declared before `open`, so that parts under way end before the upload is aborted.
    flying: JoinSet<Result<(usize, PartId)>>,
    parts: Vec<Option<PartId>>,
    open: OpenUpload,
}

/// Parts large enough that `expected_bytes` fit into what S3 takes; whole MiB.
fn part_bytes_for(expected_bytes: Option<u64>) -> usize {
    let needed = expected_bytes.unwrap_or(0).div_ceil(PARTS_PER_OBJECT).next_multiple_of(1 << 20);
    usize::try_from(needed).unwrap_or(usize::MAX).max(PART_BYTES)
}

impl S3Writer {
    pub(crate) fn begin(vault: Arc<S3Vault>, path: &ObjectPath, existing: Existing, expected_bytes: Option<u64>) -> Result<S3Writer> {
        vault.check_size(path, expected_bytes.unwrap_or(0))?;
        Ok(S3Writer {
            vault,
            path: path.clone(),
            existing,
            part_bytes: part_bytes_for(expected_bytes),
            buffer: BytesMut::new(),
            room: None,
            hasher: Crc64Hasher::default(),
            size: 0,
            upload: None,
        })
    }

    pub(crate) async fn write(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.hasher.update(bytes);
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            // Until the threshold is passed everything is kept for a single request.
            let limit = match self.upload {
                None => MULTIPART_THRESHOLD_BYTES.max(self.part_bytes),
                Some(_) => self.part_bytes,
            };
            if self.buffer.len() >= limit {
                self.begin_parts().await?;
                continue;
            }
            self.wait_for_room().await;
            let (now, later) = bytes.split_at(bytes.len().min(limit - self.buffer.len()));
            self.buffer.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    /// A large part has its place in memory from its first byte until the store has it. Its writer waits with none of its own unsent, so
    /// that those on their way make room.
    async fn wait_for_room(&mut self) {
        if self.part_bytes <= MULTIPART_THRESHOLD_BYTES || self.room.is_some() {
            return;
        }
        let mebibytes = u32::try_from(self.part_bytes >> 20).unwrap_or(u32::MAX);
        self.room = LARGE_PARTS.acquire_many(mebibytes).await.ok();
        self.buffer.reserve(self.part_bytes);
    }

    /// Sends all full parts of the buffer.
    async fn begin_parts(&mut self) -> Result<()> {
        if self.upload.is_none() {
            if self.existing == Existing::Refuse {
                let vault = Vault(Inner::S3(Arc::clone(&self.vault)));
                vault.refuse_existing(&self.path).await?;
            }
            self.upload = Some(Upload {
                flying: JoinSet::new(),
                parts: Vec::new(),
                open: OpenUpload::begin(Arc::clone(&self.vault), &self.path).await?,
            });
        }
        while self.buffer.len() >= self.part_bytes {
            let part = self.buffer.split_to(self.part_bytes).freeze();
            self.send_part(part).await?;
        }
        Ok(())
    }

    async fn send_part(&mut self, bytes: Bytes) -> Result<()> {
        let Some(upload) = &mut self.upload else { return Ok(()) };
        if upload.parts.len() as u64 >= PARTS_PER_OBJECT + 900 {
            return Err(ObjectError::invalid(format!(
                "{} is larger than {} parts of {} bytes; announce its size when starting it",
                self.vault.show(&self.path),
                upload.parts.len(),
                self.part_bytes
            )));
        }
        while upload.flying.len() >= PARTS_AT_ONCE_PER_FILE {
            upload.land().await?;
        }
        let permit = match self.room.take() {
            Some(room) => Some(room),
            None => PARTS.acquire().await.ok(),
        };
        let index = upload.parts.len();
        upload.parts.push(None);
        let (vault, key, id) = (Arc::clone(&self.vault), upload.open.key.clone(), upload.open.id.clone());
        let named = self.vault.named(&self.path);
        upload.flying.spawn(async move {
            let sent = vault
                .patience
                .repeat(|| async {
                    let part = vault.store.put_part(&key, &id, index, PutPayload::from_bytes(bytes.clone())).await;
                    part.map_err(|error| errors::classify("write", &named, &error))
                })
                .await;
            drop(permit);
            Ok((index, sent?))
        });
        Ok(())
    }

    pub(crate) async fn finish(mut self) -> Result<Written> {
        let rest = std::mem::take(&mut self.buffer).freeze();
        match self.upload {
            None => self.put_whole(rest).await?,
            Some(_) => {
                if !rest.is_empty() {
                    self.send_part(rest).await?;
                }
                let Some(upload) = self.upload.take() else {
                    return Err(ObjectError::new(ObjectErrorKind::Failed, "the upload has no parts"));
                };
                upload.complete(&self.path).await?;
            }
        }
        self.compare_with_store().await
    }

    async fn put_whole(&self, bytes: Bytes) -> Result<()> {
        let mode = match self.existing {
            Existing::Refuse => PutMode::Create,
            Existing::Replace => PutMode::Overwrite,
        };
        let vault = Vault(Inner::S3(Arc::clone(&self.vault)));
        let attempts = AtomicU32::new(0);
        let outcome = match self.put_in_mode(&bytes, mode, &attempts).await {
            // A store that takes no conditions: what is in the way is looked for, as for an object in parts.
            Err(error) if error.kind == ObjectErrorKind::Unsupported && self.existing == Existing::Refuse => {
                match vault.refuse_existing(&self.path).await {
                    Ok(()) => self.put_in_mode(&bytes, PutMode::Overwrite, &attempts).await,
                    refused => refused,
                }
            }
            outcome => outcome,
        };
        match outcome {
            // What is in the way may be our own earlier try, whose answer was lost.
            Err(error) if error.kind == ObjectErrorKind::AlreadyExists && attempts.into_inner() > 1 => {
                let found = vault.checksum(&self.path).await?;
                if found == (self.size, self.hasher.finish()) {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            outcome => outcome,
        }
    }

    /// Counts its tries in `attempts`.
    async fn put_in_mode(&self, bytes: &Bytes, mode: PutMode, attempts: &AtomicU32) -> Result<()> {
        let (key, named) = (self.vault.store_key(&self.path)?, self.vault.named(&self.path));
        let put = self.vault.patience.repeat(|| async {
            attempts.fetch_add(1, Ordering::Relaxed);
            let payload = PutPayload::from_bytes(bytes.clone());
            let put = self.vault.store.put_opts(&key, payload, PutOptions::from(mode.clone())).await;
            put.map(|_| ()).map_err(|error| errors::classify("write", &named, &error))
        });
        put.await
    }

    /// The store was told the checksum of every request; what it keeps of the whole is compared as well, if it keeps it.
    async fn compare_with_store(&self) -> Result<Written> {
        let stored = self.vault.head(&self.path).await?;
        let checksum = self.hasher.finish();
        let differs = match stored.checksum {
            _ if stored.size != self.size => Some((format!("{} bytes", stored.size), format!("{}", self.size))),
            Some(found) if found != checksum => Some((format!("checksum {found}"), checksum.to_string())),
            _ => None,
        };
        match differs {
            Some((found, wanted)) => Err(ObjectError::new(
                ObjectErrorKind::BadCopy,
                format!(
                    "the store has {} with {found}, {wanted} was written; write it again under another path",
                    self.vault.show(&self.path)
                ),
            )),
            None => Ok(Written {
                size: self.size,
                checksum,
                stored_checksum: stored.checksum,
            }),
        }
    }
}

impl Upload {
    /// Waits for one part that is under way.
    async fn land(&mut self) -> Result<()> {
        match self.flying.join_next().await {
            None => Ok(()),
            Some(Ok(sent)) => {
                let (index, part) = sent?;
                self.parts[index] = Some(part);
                Ok(())
            }
            Some(Err(error)) => Err(ObjectError::new(
                ObjectErrorKind::Failed,
                format!("sending a part ended early: {error}"),
            )),
        }
    }

    async fn complete(mut self, path: &ObjectPath) -> Result<()> {
        while !self.flying.is_empty() {
            self.land().await?;
        }
        let parts: Option<Vec<PartId>> = self.parts.into_iter().collect();
        let missing = || ObjectError::new(ObjectErrorKind::Failed, format!("a part of {path} was not sent"));
        self.open.complete(path, parts.ok_or_else(missing)?).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::{LARGE_PARTS_MIB, OBJECT_BYTES};
    use crate::s3::ServerCopy;
    use crate::s3::fake_store::FakeStore;
    use futures::FutureExt;

    #[test]
    fn parts_grow_with_the_object_and_stay_within_what_the_store_takes() {
        assert_eq!(part_bytes_for(None), PART_BYTES);
        assert_eq!(part_bytes_for(Some(20 << 20)), PART_BYTES);
        for size in [100u64 << 30, 1 << 40, OBJECT_BYTES] {
            let part = part_bytes_for(Some(size)) as u64;
            assert!(size.div_ceil(part) <= PARTS_PER_OBJECT, "{size}: parts of {part}");
            assert_eq!(part % (1 << 20), 0);
        }
        let largest = part_bytes_for(Some(OBJECT_BYTES));
        assert!(2 * (largest >> 20) <= LARGE_PARTS_MIB, "{largest}: one is filled while one is sent");
    }

    #[tokio::test]
    async fn what_no_store_takes_is_refused_for_good() {
        let store = FakeStore::start(|_: &str| (200, String::new())).await;
        let path = ObjectPath::new("huge").expect("a path");
        for size in [OBJECT_BYTES + 1, i64::MAX as u64, u64::MAX] {
            let begun = S3Writer::begin(store.open(), &path, Existing::Refuse, Some(size));
            let error = begun.err().expect("too large");
            assert_eq!(
                (error.kind, error.can_retry()),
                (ObjectErrorKind::Invalid, false),
                "{size}: {error}"
            );
        }
        let vault = store.open();
        let copied = vault
            .copy_within_store(&vault, &path, &path, OBJECT_BYTES + 1, ServerCopy::default())
            .await;
        assert_eq!(copied.expect_err("too large").kind, ObjectErrorKind::Invalid);
        assert!(store.asked().is_empty());
    }

    #[tokio::test]
    async fn a_store_without_conditions_is_looked_at_before_it_is_written_to() {
        let path = ObjectPath::new("small").expect("a path");
        for (exists, status) in [(false, 501), (false, 400), (true, 501)] {
            let puts = AtomicU32::new(0);
            let store = FakeStore::start(move |request: &str| match request {
                "PUT /b/small" if puts.fetch_add(1, Ordering::Relaxed) == 0 => {
                    (status, "<Error><Code>NotImplemented</Code></Error>".to_owned())
                }
                "HEAD /b/small" if !exists && puts.load(Ordering::Relaxed) == 1 => (404, String::new()),
                // What it has is as long as this.
                _ => (200, "bytes".to_owned()),
            })
            .await;
            let vault = Vault(Inner::S3(store.open()));
            let put = vault.put(&path, "bytes".into(), Existing::Refuse).await;
            let (head, put_request) = ("HEAD /b/small", "PUT /b/small");
            if exists {
                assert_eq!(put.expect_err("it exists").kind, ObjectErrorKind::AlreadyExists);
                assert_eq!(store.asked(), [head, put_request]);
            } else {
                put.expect("written");
                assert_eq!(store.asked(), [head, head, put_request, put_request]);
            }
        }
    }

    #[tokio::test]
    async fn a_large_part_waits_for_its_place_in_memory_before_its_first_byte() {
        let store = FakeStore::start(|_: &str| (200, String::new())).await;
        let path = ObjectPath::new("large").expect("a path");
        let size = 200u64 << 30;
        let begin = |size| S3Writer::begin(store.open(), &path, Existing::Refuse, Some(size)).expect("begun");
        let (mut large, mut small) = (begin(size), begin(100));
        let all = LARGE_PARTS.acquire_many(LARGE_PARTS_MIB as u32).await.expect("open");
        assert!(large.write(b"x").now_or_never().is_none(), "others have it all");
        assert!(small.write(b"x").now_or_never().is_some(), "small ones do not wait for large ones");
        drop(all);
        large.write(b"x").await.expect("written");
        large.write(b"x").await.expect("written");
        let taken = LARGE_PARTS_MIB - LARGE_PARTS.available_permits();
        assert_eq!(taken, part_bytes_for(Some(size)) >> 20, "one part's");
        drop(large);
        assert_eq!(LARGE_PARTS.available_permits(), LARGE_PARTS_MIB);
    }
}
