//! Uploads that somebody began and died before finishing: they are no objects, and are paid for until they are aborted.
//!
//! To list them is a right of its own, which a key may lack, and some stores cannot: a deletion does not wait for that. A bucket's
//! lifecycle rule for unfinished uploads is the last resort.

use super::requests::Uploads;
use super::{S3Vault, check_token, errors};
use crate::error::{ObjectErrorKind, Result};
use crate::path::ObjectPath;
use errors::Named;
use object_store::MultipartId;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;

impl S3Vault {
    /// Aborts all uploads of one object, which nobody may be writing any more; otherwise as [`S3Vault::abort_uploads`].
    pub(crate) async fn abort_uploads_of(&self, path: &ObjectPath) -> Result<u64> {
        self.abort_uploads(&self.key(path)).await
    }

    /// Aborts all uploads of a key, or below one that ends with a slash, where the store lets us, which whoever still writes there notices;
    /// returns how many there were.
    pub(super) async fn abort_uploads(&self, at: &str) -> Result<u64> {
        use ObjectErrorKind::{Failed, NotFound, PermissionDenied, Unsupported};
        match self.try_abort_uploads(at).await {
            Err(error) if matches!(error.kind, Failed | NotFound | PermissionDenied | Unsupported) => {
                tracing::warn!(%error, "unfinished uploads may stay in the store");
                Ok(0)
            }
            outcome => outcome,
        }
    }

    async fn try_abort_uploads(&self, at: &str) -> Result<u64> {
        let mut aborted = 0;
        let mut page = Uploads::default();
        loop {
            page = self.requests.uploads_below(&self.place, at, page.next.as_ref()).await?;
            for (key, id) in &page.uploads {
                // Other keys may begin as a whole one does.
                if key != at && !at.ends_with('/') {
                    continue;
                }
                let named = Named::object(&self.place, key.clone());
                check_token("abort the upload of", &named, id)?;
                self.abort_upload(&self.raw_key(key)?, id).await?;
                aborted += 1;
            }
            if page.next.is_none() {
                return Ok(aborted);
            }
        }
    }

    pub(super) async fn abort_upload(&self, key: &Key, id: &MultipartId) -> Result<()> {
        let named = Named::object(&self.place, key.to_string());
        let aborted = self.patience.repeat(|| async {
            match self.store.abort_multipart(key, id).await {
                // It was finished or aborted meanwhile.
                Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                Err(error) => Err(errors::classify("abort the upload of", &named, &error)),
            }
        });
        aborted.await
    }
}
