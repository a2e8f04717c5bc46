//! The object that says whose bucket, or part of a bucket, this is. Two clusters count the ids in their paths from one: on the same
//! place each would take the other's files for its own and delete them.

use super::{S3Vault, errors};
use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::limits::{MARKER_BYTES, MARKER_TRUSTED};
use bytes::Bytes;
use errors::Named;
use object_store::path::Path as Key;
use object_store::{ObjectMeta, ObjectStore, ObjectStoreExt, PutMode, PutOptions, UpdateVersion};
use quorate_model::file_names::MARKER_NAME;
use std::collections::BTreeMap;
use std::sync::{LazyLock, Mutex, MutexGuard};
use tokio::time::Instant;

/// Places whose marker was right, and when that was seen: address, prefix and cluster.
type Seen = BTreeMap<(String, String, String), Instant>;

/// How often a marker that others write too is looked at again.
const TRIES: usize = 4;

/// What a marker says, and which version of it.
struct Marker {
    cluster: String,
    version: UpdateVersion,
}

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
        let mut takes_conditions = true;
        // Read again after each write: who was first is what the store says, also one that does not look at conditions.
        for _ in 0..TRIES {
            let mode = |condition: PutMode| if takes_conditions { condition } else { PutMode::Overwrite };
            let written = match self.read_marker(&key).await? {
                Some(marker) if marker.cluster == self.place.cluster_id => {
                    seen().insert(place, Instant::now());
                    return Ok(());
                }
                Some(marker) if self.place.former_clusters.contains(&marker.cluster) => {
                    self.write_marker(&key, mode(PutMode::Update(marker.version))).await
                }
                Some(marker) => return Err(self.of_another(&marker.cluster)),
                None => self.write_marker(&key, mode(PutMode::Create)).await,
            };
            match written {
                // Who may only read writes nothing that another cluster could lose.
                Err(error) if error.kind == ObjectErrorKind::PermissionDenied => return Ok(()),
                // It is looked at once more, and written over if nobody else's is there.
                Err(error) if error.kind == ObjectErrorKind::Unsupported && takes_conditions => takes_conditions = false,
                written => written?,
            }
        }
        let message = format!(
            "the marker of {} changes all the time; look who else uses it",
            Named::bucket(&self.place)
        );
        Err(ObjectError::new(ObjectErrorKind::WrongMarker, message))
    }

    /// What the marker says; `None` without one.
    async fn read_marker(&self, key: &Key) -> Result<Option<Marker>> {
        let named = Named::object(&self.place, key.to_string());
        let read = self.patience.repeat(|| async {
            let got = match self.store.get(key).await {
                Ok(got) if got.meta.size > MARKER_BYTES => return Ok(Some((got.meta, Bytes::from_static(b"something too long")))),
                Ok(got) => {
                    let meta = got.meta.clone();
                    got.bytes().await.map(|bytes| (meta, bytes))
                }
                Err(error) => Err(error),
            };
            match got {
                Ok(found) => Ok(Some(found)),
                // A bucket that is missing is somebody's mistake, not a vault that is new.
                Err(error @ object_store::Error::NotFound { .. }) if !error.to_string().contains("NoSuchBucket") => Ok(None),
                Err(error) => Err(errors::classify("read", &named, &error)),
            }
        });
        let marker = |(meta, bytes): (ObjectMeta, Bytes)| {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            Marker {
                cluster: text.strip_prefix("cluster = ").unwrap_or(&text).trim_end().to_owned(),
                version: UpdateVersion {
                    e_tag: meta.e_tag,
                    version: meta.version,
                },
            }
        };
        Ok(read.await?.map(marker))
    }

    /// Writes ours, unless somebody else was faster.
    async fn write_marker(&self, key: &Key, mode: PutMode) -> Result<()> {
        let named = Named::object(&self.place, key.to_string());
        let text = Bytes::from(format!("cluster = {}\n", self.place.cluster_id));
        let written = self.patience.repeat(|| async {
            let options = PutOptions::from(mode.clone());
            match self.store.put_opts(key, text.clone().into(), options).await {
                Ok(_) | Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => Ok(()),
                Err(error) => Err(errors::classify("write", &named, &error)),
            }
        });
        written.await
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
