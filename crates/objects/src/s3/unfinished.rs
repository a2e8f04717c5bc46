//! Uploads that somebody began and died before finishing: they are no objects, and are paid for until they are aborted.
//!
//! To list them is a right of its own, which a key may lack, and some stores cannot: a deletion does not wait for that. A bucket's
//! lifecycle rule for unfinished uploads is the last resort.

use super::requests::Uploads;
use super::{S3Vault, check_token, errors};
use crate::error::{ObjectErrorKind, Result};
use errors::Named;
use object_store::multipart::MultipartStore;

impl S3Vault {
    /// Aborts all uploads below a key where the store lets us, which whoever still writes there notices; returns how many there were.
    pub(super) async fn abort_uploads_below(&self, below: &str) -> Result<u64> {
        use ObjectErrorKind::{Failed, NotFound, PermissionDenied, Unsupported};
        match self.try_abort_uploads_below(below).await {
            Err(error) if matches!(error.kind, Failed | NotFound | PermissionDenied | Unsupported) => {
                tracing::warn!(%error, "unfinished uploads may stay in the store");
                Ok(0)
            }
            outcome => outcome,
        }
    }

    async fn try_abort_uploads_below(&self, below: &str) -> Result<u64> {
        let mut aborted = 0;
        let mut page = Uploads::default();
        loop {
            page = self.requests.uploads_below(&self.place, below, page.next.as_ref()).await?;
            for (key, id) in &page.uploads {
                let named = Named::object(&self.place, key.clone());
                check_token("abort the upload of", &named, id)?;
                let key = self.raw_key(key)?;
                let abort = self.patience.repeat(|| async {
                    match self.store.abort_multipart(&key, id).await {
                        // It was finished or aborted meanwhile.
                        Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
                        Err(error) => Err(errors::classify("abort the upload of", &named, &error)),
                    }
                });
                abort.await?;
                aborted += 1;
            }
            if page.next.is_none() {
                return Ok(aborted);
            }
        }
    }
}
