//! Uploads that somebody began and died before finishing: they are no objects, and are paid for until they are aborted.

use super::requests::Uploads;
use super::{S3Vault, errors};
use crate::error::Result;
use errors::Named;
use object_store::multipart::MultipartStore;
use object_store::path::Path as Key;

impl S3Vault {
    /// Aborts all uploads below a key, which whoever still writes there notices; returns how many there were.
    pub(super) async fn abort_uploads_below(&self, below: &str) -> Result<u64> {
        let mut aborted = 0;
        let mut page = Uploads::default();
        loop {
            page = self.requests.uploads_below(&self.place, below, page.next.as_ref()).await?;
            for (key, id) in &page.uploads {
                let named = Named::object(&self.place, key.clone());
                let key = Key::from(key.as_str());
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
