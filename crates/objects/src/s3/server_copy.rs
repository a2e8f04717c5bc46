//! Copies the store makes itself: no byte passes through this process.

use super::{S3Vault, check_token, errors};
use crate::error::{ObjectErrorKind, Result};
use crate::limits::{COPY_IN_ONE_BYTES, COPY_PART_BYTES};
use crate::path::ObjectPath;
use object_store::MultipartId;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Sizes of server-side copies; tests use small ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerCopy {
    /// The largest object copied in one request.
    pub in_one_bytes: u64,
    /// One part of a larger one.
    pub part_bytes: u64,
}

impl Default for ServerCopy {
    fn default() -> ServerCopy {
        ServerCopy {
            in_one_bytes: COPY_IN_ONE_BYTES,
            part_bytes: COPY_PART_BYTES,
        }
    }
}

/// An upload that is aborted when nobody finishes it, so that the store does not keep (and bill) its parts.
pub(super) struct OpenUpload {
    vault: Arc<S3Vault>,
    pub(super) key: Key,
    pub(super) id: MultipartId,
    finished: bool,
}

impl OpenUpload {
    pub(super) async fn begin(vault: Arc<S3Vault>, path: &ObjectPath) -> Result<OpenUpload> {
        let (key, named) = (vault.store_key(path)?, vault.named(path));
        let id = vault
            .patience
            .repeat(|| async {
                let created = vault.store.create_multipart(&key).await;
                created.map_err(|error| errors::classify("write", &named, &error))
            })
            .await?;
        check_token("write", &named, &id)?;
        Ok(OpenUpload {
            vault,
            key,
            id,
            finished: false,
        })
    }

    pub(super) async fn complete(mut self, path: &ObjectPath, parts: Vec<PartId>) -> Result<()> {
        let named = self.vault.named(path);
        let attempts = AtomicU32::new(0);
        let outcome = self
            .vault
            .patience
            .repeat(|| async {
                attempts.fetch_add(1, Ordering::Relaxed);
                let completed = self.vault.store.complete_multipart(&self.key, &self.id, parts.clone()).await;
                completed.map_err(|error| errors::classify("write", &named, &error))
            })
            .await;
        match outcome {
            // An upload that is gone at the second try was completed by the first, whose answer was lost. The caller compares what is there.
            Err(error) if error.kind == ObjectErrorKind::NotFound && attempts.into_inner() > 1 => {}
            outcome => {
                outcome?;
            }
        }
        self.finished = true;
        Ok(())
    }
}

impl Drop for OpenUpload {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        let (vault, key, id) = (Arc::clone(&self.vault), self.key.clone(), self.id.clone());
        // Without a runtime the process is ending; the bucket's lifecycle rule for unfinished uploads is the last resort. A runtime that
        // ends waits for none of its tasks.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = vault.abort_upload(&key, &id).await {
                    tracing::warn!(%error, "an unfinished upload may stay in the store");
                }
            });
        }
    }
}

impl S3Vault {
    /// Copies an object of `source`, a vault in the same store, to `path` here.
    pub(crate) async fn copy_within_store(
        self: &Arc<Self>,
        source: &S3Vault,
        from: &ObjectPath,
        path: &ObjectPath,
        size: u64,
        sizes: ServerCopy,
    ) -> Result<()> {
        self.check_size(path, size)?;
        let (from_key, key) = (source.key(from), self.key(path));
        let from = (source.place.bucket.as_str(), from_key.as_str());
        if size <= sizes.in_one_bytes {
            return self.requests.copy(from, &self.place, &key).await;
        }
        let upload = OpenUpload::begin(Arc::clone(self), path).await?;
        let mut parts = Vec::new();
        let mut first = 0;
        while first < size {
            let last = (first + sizes.part_bytes).min(size) - 1;
            let number = parts.len() as u64 + 1;
            let part = self
                .requests
                .copy_part(from, (first, last), (&self.place, &key), (&upload.id, number));
            parts.push(PartId { content_id: part.await? });
            first = last + 1;
        }
        upload.complete(path, parts).await
    }
}
