//! The object that says whose bucket, or part of a bucket, this is. Two clusters count the ids in their paths from one: on the same
//! place each would take the other's files for its own and delete them.

use super::{S3Vault, errors};
use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::limits::{MARKER_BYTES, MARKER_TRUSTED};
use crate::path::MARKER_NAME;
use bytes::Bytes;
use errors::Named;
use object_store::path::Path as Key;
use object_store::{ObjectStore, ObjectStoreExt, PutMode, PutOptions};
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard};
use tokio::time::Instant;

/// Places whose marker was right, and when that was seen: address, prefix and cluster.
type Seen = BTreeMap<(String, String, String), Instant>;

static SEEN: LazyLock<Mutex<Seen>> = LazyLock::new(Mutex::default);

fn seen() -> MutexGuard<'static, Seen> {
    SEEN.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

impl S3Vault {
    /// Refuses a place that is another cluster's. One that has no marker gets it, and one of a cluster that this one was recovered from
    /// gets ours, so that what is left of that cluster finds itself shut out.
    pub(crate) async fn check_marker(&self) -> Result<()> {
        let place = (
            self.place.bucket_url(),
            self.place.prefix.trim_matches('/').to_owned(),
            self.place.cluster_id.clone(),
        );
        if seen().get(&place).is_some_and(|at| at.elapsed() < MARKER_TRUSTED) {
            return Ok(());
        }
        let key = match place.1.as_str() {
            "" => MARKER_NAME.to_owned(),
            prefix => format!("{prefix}/{MARKER_NAME}"),
        };
        let key = Key::parse(&key).map_err(|error| ObjectError::invalid(format!("object key {key:?}: {error}; choose another prefix")))?;
        let found = self.read_marker(&key).await?;
        let found = match found {
            None if !self.write_marker(&key, PutMode::Create).await? => self.read_marker(&key).await?,
            found => found,
        };
        match found {
            None => {}
            Some(cluster) if cluster == self.place.cluster_id => {}
            Some(cluster) if self.place.former_clusters.contains(&cluster) => {
                self.write_marker(&key, PutMode::Overwrite).await?;
            }
            Some(cluster) => return Err(self.of_another(&cluster)),
        }
        seen().insert(place, Instant::now());
        Ok(())
    }

    /// The cluster that the marker names; `None` without a marker.
    async fn read_marker(&self, key: &Key) -> Result<Option<String>> {
        let named = Named::object(&self.place, key.to_string());
        let read = self.patience.repeat(|| async {
            let got = match self.store.get(key).await {
                Ok(got) if got.meta.size > MARKER_BYTES => return Ok(Some(Bytes::from_static(b"something too long"))),
                Ok(got) => got.bytes().await,
                Err(error) => Err(error),
            };
            match got {
                Ok(bytes) => Ok(Some(bytes)),
                // A bucket that is missing is somebody's mistake, not a vault that is new.
                Err(error @ object_store::Error::NotFound { .. }) if !error.to_string().contains("NoSuchBucket") => Ok(None),
                Err(error) => Err(errors::classify("read", &named, &error)),
            }
        });
        let name = |bytes: Bytes| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            text.strip_prefix("cluster = ").unwrap_or(&text).trim_end().to_owned()
        };
        Ok(read.await?.map(name))
    }

    /// Whether the marker is ours now; false if somebody else has made one meanwhile.
    async fn write_marker(&self, key: &Key, mode: PutMode) -> Result<bool> {
        let named = Named::object(&self.place, key.to_string());
        let text = Bytes::from(format!("cluster = {}\n", self.place.cluster_id));
        let written = self.patience.repeat(|| async {
            let options = PutOptions::from(mode.clone());
            match self.store.put_opts(key, text.clone().into(), options).await {
                Ok(_) => Ok(true),
                Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(false),
                Err(error) => Err(errors::classify("write", &named, &error)),
            }
        });
        match written.await {
            // Who may only read writes nothing that another cluster could lose.
            Err(error) if error.kind == ObjectErrorKind::PermissionDenied && mode == PutMode::Create => Ok(true),
            written => written,
        }
    }

    fn of_another(&self, cluster: &str) -> ObjectError {
        let (named, prefix) = (Named::bucket(&self.place), &self.place.prefix);
        ObjectError::new(
            ObjectErrorKind::WrongMarker,
            format!(
                "{named}, prefix {prefix:?}, belongs to another cluster ({}), not to cluster {}; give each cluster a bucket or a prefix of \
                 its own",
                cluster.chars().take(100).collect::<String>(),
                self.place.cluster_id
            ),
        )
    }
}
