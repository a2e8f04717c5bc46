//! A vault that is a bucket of an S3 store, or the part of it below a prefix.
//!
//! `object_store` does what every S3 client does. It cannot say which checksum the store keeps, copy between buckets or copy by parts:
//! these few requests are our own (`requests.rs`), signed by its signer and sent by its HTTP client.

mod errors;
#[cfg(test)]
pub(crate) mod fake_store;
mod listing;
mod marker;
mod part_writer;
mod replies;
mod requests;
mod server_copy;
mod unfinished;

pub(crate) use part_writer::S3Writer;
pub use server_copy::ServerCopy;

use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::limits::{DELETES_AT_ONCE, KEY_BYTES, LISTED_AT_ONCE, OBJECT_BYTES, PREFIX_BYTES, TOKEN_BYTES};
use crate::path::ObjectPath;
use crate::place::{BucketStyle, Http, S3Place};
use crate::retry::Patience;
use crate::vault::{ObjectInfo, ObjectStream};
use errors::Named;
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder, Checksum, S3ConditionalPut};
use object_store::path::Path as Key;
use object_store::{ClientOptions, ObjectStoreExt, RetryConfig};
use replies::BoundedConnector;
use requests::SignedRequests;
use std::time::Duration;

/// A store that does not take a connection for so long is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A store that sends nothing for so long is down; a large server-side copy may keep quiet for a while.
const READ_TIMEOUT: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub(crate) struct S3Vault {
    pub(crate) place: S3Place,
    pub(crate) patience: Patience,
    store: AmazonS3,
    requests: SignedRequests,
}

impl S3Vault {
    pub(crate) fn open(place: S3Place, patience: Patience) -> Result<S3Vault> {
        validate(&place)?;
        // TLS by ring, as everywhere in this product. A provider that somebody has installed already is as good.
        if rustls::crypto::CryptoProvider::get_default().is_none() && rustls::crypto::ring::default_provider().install_default().is_err() {
            tracing::debug!("another TLS provider was installed meanwhile");
        }
        let options = ClientOptions::new()
            .with_allow_http(place.http == Http::Allow)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_read_timeout(READ_TIMEOUT)
            .with_timeout_disabled();
        let requests = SignedRequests::new(&place, &options, patience)?;
        // Repeating is ours, so that all calls are equally patient.
        let no_retry = RetryConfig {
            max_retries: 0,
            ..RetryConfig::default()
        };
        let store = AmazonS3Builder::new()
            .with_endpoint(match place.bucket_style {
                BucketStyle::Path => place.endpoint_url(),
                BucketStyle::VirtualHost => place.bucket_url(),
            })
            .with_virtual_hosted_style_request(place.bucket_style == BucketStyle::VirtualHost)
            .with_region(&place.region)
            .with_bucket_name(&place.bucket)
            .with_access_key_id(&place.access_key)
            .with_secret_access_key(place.secret_key.expose())
            .with_allow_http(place.http == Http::Allow)
            .with_checksum_algorithm(Checksum::CRC64NVME)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            // A request that deletes many is answered with the keys that stay; the client panics at one it did not name.
            .with_disable_bulk_delete(true)
            .with_client_options(options)
            .with_http_connector(BoundedConnector)
            .with_retry(no_retry)
            .build()
            .map_err(|error| errors::classify("open", &Named::bucket(&place), &error))?;
        Ok(S3Vault {
            place,
            patience,
            store,
            requests,
        })
    }

    /// The object's whole key in the bucket.
    pub(crate) fn key(&self, path: &ObjectPath) -> String {
        match self.place.prefix.trim_matches('/') {
            "" => path.as_str().to_owned(),
            prefix => format!("{prefix}/{path}"),
        }
    }

    fn store_key(&self, path: &ObjectPath) -> Result<Key> {
        let key = self.key(path);
        Key::parse(&key).map_err(|error| ObjectError::invalid(format!("object key {key:?}: {error}; choose another path")))
    }

    pub(crate) fn show(&self, path: &ObjectPath) -> String {
        self.named(path).to_string()
    }

    fn named(&self, path: &ObjectPath) -> Named {
        Named::object(&self.place, self.key(path))
    }

    /// Refuses a size that no object has, before memory or requests go by it.
    fn check_size(&self, path: &ObjectPath, bytes: u64) -> Result<()> {
        if bytes <= OBJECT_BYTES {
            return Ok(());
        }
        Err(ObjectError::invalid(format!(
            "{} was to have {bytes} bytes, S3 takes objects of up to {OBJECT_BYTES}; correct its size or split it",
            self.named(path)
        )))
    }

    pub(crate) async fn head(&self, path: &ObjectPath) -> Result<ObjectInfo> {
        let (size, checksum) = self.requests.head(&self.place, &self.key(path)).await?;
        Ok(ObjectInfo {
            path: path.as_str().to_owned(),
            size,
            checksum,
        })
    }

    /// The object's size, as the store says it, and its bytes.
    pub(crate) async fn read(&self, path: &ObjectPath) -> Result<(u64, ObjectStream)> {
        let (key, named) = (self.store_key(path)?, self.named(path));
        let got = self
            .patience
            .repeat(|| async {
                let got = self.store.get(&key).await;
                got.map_err(|error| errors::classify("read", &named, &error))
            })
            .await?;
        let (size, named) = (got.meta.size, self.named(path));
        let stream = got.into_stream().map_err(move |error| errors::classify("read", &named, &error));
        Ok((size, stream.boxed()))
    }

    pub(crate) async fn delete_many(&self, paths: &[ObjectPath]) -> Result<()> {
        let keys = paths.iter().map(|path| self.store_key(path)).collect::<Result<Vec<Key>>>()?;
        match self.delete_keys(keys).await? {
            None => Ok(()),
            Some(stays) => Err(stays),
        }
    }

    /// Asks for each key, whatever becomes of the others: one that is locked would shield all behind it, at every pass anew. Returns why
    /// the first of those stays that the store will not delete; fails, at once, with what every other key would meet too.
    async fn delete_keys(&self, keys: Vec<Key>) -> Result<Option<ObjectError>> {
        let mut deletions = futures::stream::iter(keys)
            .map(|key| self.delete_key(key))
            .buffer_unordered(DELETES_AT_ONCE);
        let mut stays = None;
        while let Some(deleted) = deletions.next().await {
            match deleted {
                Ok(()) => {}
                // What is not found here is the bucket.
                Err(error) if error.concerns_the_vault() || error.kind == ObjectErrorKind::NotFound => return Err(error),
                Err(error) => stays = stays.or(Some(error)),
            }
        }
        Ok(stays)
    }

    /// With patience of its own: a store that is busy for one request of a hundred would use up what a thousand share.
    async fn delete_key(&self, key: Key) -> Result<()> {
        let named = Named::object(&self.place, key.to_string());
        let deleted = self.patience.repeat(|| async {
            match self.store.delete(&key).await {
                Ok(()) => Ok(()),
                // A key that is missing is as good as deleted; a bucket that is missing is somebody's mistake.
                Err(error @ object_store::Error::NotFound { .. }) if !error.to_string().contains("NoSuchBucket") => Ok(()),
                Err(error) => Err(errors::classify("delete", &named, &error)),
            }
        });
        deleted.await
    }

    pub(crate) async fn delete_prefix(&self, prefix: &ObjectPath) -> Result<u64> {
        let mut chunks = self.list(Some(prefix)).try_chunks(LISTED_AT_ONCE);
        let (mut deleted, mut stays) = (0, None);
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|error| error.1)?;
            let keys = chunk.iter().map(|info| self.listed_key(&info.path)).collect::<Result<Vec<Key>>>()?;
            deleted += keys.len() as u64;
            let stays_here = self.delete_keys(keys).await?;
            stays = stays.or(stays_here);
        }
        deleted += self.abort_uploads(&format!("{}/", self.key(prefix))).await?;
        match stays {
            None => Ok(deleted),
            Some(stays) => Err(stays),
        }
    }

    fn listed_key(&self, path: &str) -> Result<Key> {
        let key = match self.place.prefix.trim_matches('/') {
            "" => path.to_owned(),
            prefix => format!("{prefix}/{path}"),
        };
        self.raw_key(&key)
    }

    /// A key as the store lists it. One that is too long for an address would end the process.
    fn raw_key(&self, key: &str) -> Result<Key> {
        if key.len() > KEY_BYTES {
            return Err(ObjectError::invalid(format!(
                "{} lists a key of {} bytes, S3 has keys of up to {KEY_BYTES}; delete it by hand",
                Named::bucket(&self.place),
                key.len()
            )));
        }
        Key::parse(key).map_err(|error| ObjectError::invalid(format!("object key {key:?}: {error}; delete it by hand")))
    }
}

/// What a store gives to go on by comes back to it in an address, and `object_store` panics at one that is too long.
fn check_token(doing: &str, named: &Named, token: &str) -> Result<()> {
    if token.len() <= TOKEN_BYTES {
        return Ok(());
    }
    let message = format!(
        "cannot {doing} {named}: the store gives a token of {} bytes, limit {TOKEN_BYTES}; look what answers at its endpoint",
        token.len()
    );
    Err(ObjectError::new(ObjectErrorKind::Failed, message))
}

fn validate(place: &S3Place) -> Result<()> {
    let endpoint = place.endpoint_url();
    let wrong = match endpoint.split_once("://") {
        _ if place.bucket.is_empty() || place.bucket.contains('/') => "bucket must be a name without slashes",
        _ if place.region.is_empty() => "region must not be empty; stores without regions take us-east-1",
        _ if place.access_key.is_empty() => "access key must not be empty",
        _ if place.cluster_id.is_empty() => "the id of the cluster is not known; upgrade the peers",
        _ if place.prefix.len() > PREFIX_BYTES => "prefix must have at most 100 bytes",
        _ if !is_visible_ascii(&place.access_key) || !is_visible_ascii(&place.region) => {
            "access key and region must be visible ASCII: they travel in a header"
        }
        _ if !is_visible_ascii(&place.bucket) || !is_visible_ascii(&endpoint) => {
            "bucket and endpoint must be visible ASCII, without blanks: they are the address"
        }
        Some(("https", host)) if !host.is_empty() => return validate_address(place),
        Some(("http", host)) if !host.is_empty() && place.http == Http::Allow => return validate_address(place),
        Some(("http", _)) => "endpoint is http://, which sends data unencrypted; use https:// or allow http",
        _ => "endpoint must begin with https:// or http://",
    };
    Err(ObjectError::new(
        ObjectErrorKind::Invalid,
        format!("S3 vault of bucket {:?} at {endpoint:?}: {wrong}", place.bucket),
    ))
}

fn is_visible_ascii(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// `object_store` takes an address that is none, and panics when it signs the first request to it.
fn validate_address(place: &S3Place) -> Result<()> {
    let address = place.bucket_url();
    let Some(reason) = why_no_address(&address) else { return Ok(()) };
    let help = "use path style if the endpoint is an IP address";
    Err(ObjectError::new(
        ObjectErrorKind::Invalid,
        format!("S3 vault of bucket {:?}: {address} is no address: {reason}; {help}", place.bucket),
    ))
}

/// Does what `object_store` does with an address: it makes a URI of it and its key, and a URL of that. Each refuses what the other takes: a
/// `<` makes no URI, a bucket named before an endpoint that is an IP address no URL.
fn why_no_address(address: &str) -> Option<String> {
    let uri = match format!("{address}/x").parse::<http::Uri>() {
        Ok(uri) => uri,
        Err(error) => return Some(error.to_string()),
    };
    if uri.query().is_some() || !uri.path().ends_with("/x") {
        return Some("a query or a fragment has no keys below it".to_owned());
    }
    reqwest::Url::parse(&uri.to_string()).err().map(|error| error.to_string())
}

#[cfg(test)]
mod tests;
