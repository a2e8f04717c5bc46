//! Where a vault is.

use std::fmt;
use std::path::PathBuf;

/// A text that is never shown: its `Debug` prints nothing, and it has no `Display`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// For whoever opens the vault, here or in a process of its own.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}

/// A directory that every peer sees, on one machine or on a shared mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPlace {
    pub root: PathBuf,
    pub cluster_id: String,
    pub vault_id: String,
}

/// How the bucket is named in a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BucketStyle {
    /// `https://endpoint/bucket/key`
    Path,
    /// `https://bucket.endpoint/key`
    VirtualHost,
}

/// Whether a request may go out without TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Http {
    Refuse,
    Allow,
}

/// A bucket of an S3 store, or the part of it below a prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct S3Place {
    /// With scheme, such as `https://s3.eu-central-1.amazonaws.com`; empty for Amazon's own of the region.
    pub endpoint: String,
    pub region: String,
    pub bucket: String,
    /// Put before every path; may be empty.
    pub prefix: String,
    pub access_key: String,
    pub secret_key: Secret,
    pub bucket_style: BucketStyle,
    pub http: Http,
    /// Whose files are here; no other cluster may use the same place.
    pub cluster_id: String,
    /// Clusters that this one was recovered from: the marker of one of them is replaced.
    pub former_clusters: Vec<String>,
}

impl S3Place {
    /// Scheme and host without the bucket.
    pub(crate) fn endpoint_url(&self) -> String {
        match self.endpoint.trim_end_matches('/') {
            "" => format!("https://s3.{}.amazonaws.com", self.region),
            endpoint => endpoint.to_owned(),
        }
    }

    /// What stands before the key in this bucket's addresses, without the slash between.
    pub(crate) fn bucket_url(&self) -> String {
        let endpoint = self.endpoint_url();
        match (self.bucket_style, endpoint.split_once("://")) {
            (BucketStyle::VirtualHost, Some((scheme, host))) => format!("{scheme}://{}.{host}", self.bucket),
            _ => format!("{endpoint}/{}", self.bucket),
        }
    }

    /// Whether the store itself can copy from `other` to here: the same store under the same credentials.
    pub(crate) fn is_same_store(&self, other: &S3Place) -> bool {
        self.endpoint_url() == other.endpoint_url() && self.region == other.region && self.access_key == other.access_key
    }
}

/// Where a vault is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VaultPlace {
    Local(LocalPlace),
    S3(S3Place),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> S3Place {
        S3Place {
            endpoint: "https://store.example:9000/".to_owned(),
            region: "eu-central-1".to_owned(),
            bucket: "warehouse".to_owned(),
            prefix: String::new(),
            access_key: "AK".to_owned(),
            secret_key: Secret::new("do not show this"),
            bucket_style: BucketStyle::Path,
            http: Http::Refuse,
            cluster_id: "c".to_owned(),
            former_clusters: Vec::new(),
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let shown = format!("{:?} {:?}", VaultPlace::S3(place()), Secret::new("do not show this"));
        assert!(!shown.contains("do not show"), "{shown}");
    }

    #[test]
    fn addresses_name_the_bucket_in_the_style_asked_for() {
        let mut place = place();
        assert_eq!(place.bucket_url(), "https://store.example:9000/warehouse");
        place.bucket_style = BucketStyle::VirtualHost;
        assert_eq!(place.bucket_url(), "https://warehouse.store.example:9000");
        place.endpoint = String::new();
        assert_eq!(place.bucket_url(), "https://warehouse.s3.eu-central-1.amazonaws.com");
    }
}
