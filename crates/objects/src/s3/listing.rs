//! Lists of objects, page by page.
//!
//! The pages are asked for here: `object_store`, left to itself, puts what a store gives to go on by into an address, however long it is.

use super::{S3Vault, check_token, errors};
use crate::error::{ObjectError, Result};
use crate::path::ObjectPath;
use crate::vault::ObjectInfo;
use errors::Named;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use object_store::ObjectMeta;
use object_store::aws::AmazonS3;
use object_store::list::{PaginatedListOptions, PaginatedListStore};
use object_store::path::Path as Key;
use quorate_model::file_names::MARKER_NAME;

impl S3Vault {
    /// The shortest list there is, which tells an endpoint, a bucket or a key that is wrong.
    pub(crate) async fn check_access(&self) -> Result<()> {
        self.listing(None)?.page(None, Some(1)).await.map(drop)
    }

    fn listing(&self, prefix: Option<&ObjectPath>) -> Result<Listing> {
        let below = match (prefix, self.place.prefix.trim_matches('/')) {
            (Some(prefix), _) => Some(self.key(prefix)),
            (None, "") => None,
            (None, whole) => Some(whole.to_owned()),
        };
        let named = Named::object(&self.place, below.clone().unwrap_or_default());
        let key = below.as_deref().map(Key::parse).transpose();
        let key = key.map_err(|error| ObjectError::invalid(format!("cannot list {named}: {error}")))?;
        Ok(Listing {
            store: self.store.clone(),
            below: key.map(|key| format!("{key}/")),
            named,
        })
    }

    pub(crate) fn list(&self, prefix: Option<&ObjectPath>) -> BoxStream<'static, Result<ObjectInfo>> {
        let listing = match self.listing(prefix) {
            Ok(listing) => listing,
            Err(error) => return futures::stream::once(async { Err(error) }).boxed(),
        };
        let own = self.place.prefix.trim_matches('/').to_owned();
        let is_object = |info: &ObjectInfo| std::future::ready(info.path.rsplit('/').next() != Some(MARKER_NAME));
        listing
            .objects()
            .map_ok(move |meta| ObjectInfo {
                path: meta
                    .location
                    .as_ref()
                    .strip_prefix(&own)
                    .unwrap_or(meta.location.as_ref())
                    .trim_start_matches('/')
                    .to_owned(),
                size: meta.size,
                checksum: None,
            })
            .try_filter(is_object)
            .boxed()
    }
}

/// A list that is being gone through.
struct Listing {
    store: AmazonS3,
    /// What all keys begin with, the slash included; none for the whole bucket.
    below: Option<String>,
    named: Named,
}

impl Listing {
    fn objects(self) -> BoxStream<'static, Result<ObjectMeta>> {
        // The first page has no token; behind the last one there is no page.
        let pages = futures::stream::try_unfold((self, Some(None)), |(listing, page)| async move {
            let Some(token) = page else { return Ok(None) };
            let (objects, next) = listing.page(token, None).await?;
            let objects = futures::stream::iter(objects.into_iter().map(Ok::<_, ObjectError>));
            Ok::<_, ObjectError>(Some((objects, (listing, next.map(Some)))))
        });
        pages.try_flatten().boxed()
    }

    /// The objects of one page, and the token of the next. Without `max_keys` as many objects as the store gives.
    async fn page(&self, token: Option<String>, max_keys: Option<usize>) -> Result<(Vec<ObjectMeta>, Option<String>)> {
        let options = PaginatedListOptions {
            page_token: token,
            max_keys,
            ..PaginatedListOptions::default()
        };
        let listed = self.store.list_paginated(self.below.as_deref(), options).await;
        let listed = listed.map_err(|error| errors::classify("list", &self.named, &error))?;
        // Behind the last page some stores give an empty one.
        let next = listed.page_token.filter(|token| !token.is_empty());
        if let Some(next) = &next {
            check_token("list", &self.named, next)?;
        }
        Ok((listed.result.objects, next))
    }
}
