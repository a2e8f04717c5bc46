//! The few requests `object_store` has no call for: which checksum the store keeps, copies between buckets, copies by parts.

use super::errors::{Named, element, from_answer, from_transport};
use super::replies::BoundedConnector;
use crate::checksum::Crc64;
use crate::error::{ObjectError, ObjectErrorKind, Result};
use crate::place::S3Place;
use crate::retry::Patience;
use http::{HeaderMap, Method, Request, StatusCode};
use object_store::ClientOptions;
use object_store::aws::{AwsAuthorizer, AwsCredential};
use object_store::client::{HttpClient, HttpConnector, HttpRequestBody};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt;

/// What S3's signatures leave as it is in a path.
const KEY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');
const QUERY: &AsciiSet = &KEY.add(b'/');

pub(super) struct SignedRequests {
    client: HttpClient,
    credential: AwsCredential,
    region: String,
    patience: Patience,
}

impl fmt::Debug for SignedRequests {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SignedRequests")
            .field("region", &self.region)
            .finish_non_exhaustive()
    }
}

/// One request about an object.
struct Call<'a> {
    doing: &'static str,
    method: Method,
    place: &'a S3Place,
    key: &'a str,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
}

struct Answer {
    headers: HeaderMap,
    body: String,
}

impl SignedRequests {
    pub(super) fn new(place: &S3Place, options: &ClientOptions, patience: Patience) -> Result<SignedRequests> {
        let client = BoundedConnector.connect(options);
        Ok(SignedRequests {
            client: client.map_err(|error| super::errors::classify("open", &Named::bucket(place), &error))?,
            credential: AwsCredential {
                key_id: place.access_key.clone(),
                secret_key: place.secret_key.expose().to_owned(),
                token: None,
            },
            region: place.region.clone(),
            patience,
        })
    }

    /// Size, and the checksum if the store keeps one of our kind of the whole object.
    pub(super) async fn head(&self, place: &S3Place, key: &str) -> Result<(u64, Option<Crc64>)> {
        let call = Call {
            doing: "read",
            method: Method::HEAD,
            place,
            key,
            query: Vec::new(),
            headers: vec![("x-amz-checksum-mode", "ENABLED".to_owned())],
        };
        let answer = self.send(&call).await?;
        let text = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let size = text("content-length").and_then(|length| length.parse().ok());
        let size = size.ok_or_else(|| {
            let named = Named::object(place, key.to_owned());
            ObjectError::new(
                ObjectErrorKind::Failed,
                format!("cannot read {named}: the store does not say its length"),
            )
        })?;
        // "...-3" is a checksum of checksums of 3 parts, which says nothing we could compare.
        let checksum = text("x-amz-checksum-crc64nvme").filter(|value| !value.contains('-'));
        Ok((size, checksum.map(Crc64::from_base64).transpose()?))
    }

    /// The store copies a whole object, of at most 5 GiB, into `place`.
    pub(super) async fn copy(&self, source: (&str, &str), place: &S3Place, key: &str) -> Result<()> {
        let call = Call {
            doing: "copy to",
            method: Method::PUT,
            place,
            key,
            query: Vec::new(),
            headers: vec![
                ("x-amz-copy-source", copy_source(source)),
                ("x-amz-checksum-algorithm", "CRC64NVME".to_owned()),
            ],
        };
        self.send(&call).await.map(|_| ())
    }

    /// The store copies bytes `first..=last` of an object as part `number` (from 1) of an upload; returns the part's tag.
    pub(super) async fn copy_part(
        &self,
        source: (&str, &str),
        (first, last): (u64, u64),
        (place, key): (&S3Place, &str),
        (upload_id, number): (&str, u64),
    ) -> Result<String> {
        let call = Call {
            doing: "copy to",
            method: Method::PUT,
            place,
            key,
            query: vec![("partNumber", number.to_string()), ("uploadId", upload_id.to_owned())],
            headers: vec![
                ("x-amz-copy-source", copy_source(source)),
                ("x-amz-copy-source-range", format!("bytes={first}-{last}")),
            ],
        };
        let answer = self.send(&call).await?;
        let tag = element(&answer.body, "ETag").map(|tag| tag.replace("&quot;", "\"").replace("&#34;", "\""));
        tag.ok_or_else(|| from_answer("copy to", &Named::object(place, key.to_owned()), StatusCode::OK, &answer.body))
    }

    /// One page of the uploads below a key that are neither finished nor aborted; `after` is where the page before it ended.
    pub(super) async fn uploads_below(&self, place: &S3Place, below: &str, after: Option<&(String, String)>) -> Result<Uploads> {
        let mut query = vec![("uploads", String::new()), ("prefix", below.to_owned())];
        if let Some((key, upload_id)) = after {
            query.push(("key-marker", key.clone()));
            query.push(("upload-id-marker", upload_id.clone()));
        }
        // A signature is over the parameters in their order.
        query.sort();
        let call = Call {
            doing: "list the unfinished uploads below",
            method: Method::GET,
            place,
            key: "",
            query,
            headers: Vec::new(),
        };
        let named = || Named::object(place, below.to_owned());
        let body = self.send(&call).await?.body;
        Uploads::parse(&body).ok_or_else(|| from_answer(call.doing, &named(), StatusCode::OK, &body))
    }

    async fn send(&self, call: &Call<'_>) -> Result<Answer> {
        self.patience.repeat(|| self.send_once(call)).await
    }

    async fn send_once(&self, call: &Call<'_>) -> Result<Answer> {
        let named = Named::object(call.place, call.key.to_owned());
        let mut uri = format!("{}/{}", call.place.bucket_url(), utf8_percent_encode(call.key, KEY));
        for (number, (name, value)) in call.query.iter().enumerate() {
            let joint = if number == 0 { '?' } else { '&' };
            uri.push_str(&format!("{joint}{name}={}", utf8_percent_encode(value, QUERY)));
        }
        let mut request = Request::builder().method(&call.method).uri(uri);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let invalid = |error: &dyn fmt::Display| ObjectError::invalid(format!("cannot {} {named}: {error}", call.doing));
        let mut request = request.body(HttpRequestBody::empty()).map_err(|error| invalid(&error))?;
        AwsAuthorizer::new(&self.credential, "s3", &self.region)
            .try_authorize(&mut request, None)
            .map_err(|error| invalid(&error))?;
        let response = self.client.execute(request).await;
        let response = response.map_err(|error| from_transport(call.doing, &named, &error))?;
        let (parts, body) = response.into_parts();
        let body = body.bytes().await.map_err(|error| from_transport(call.doing, &named, &error))?;
        let body = String::from_utf8_lossy(&body).into_owned();
        // A copy that fails half-way answers 200 and an error: the head was sent before the work.
        if !parts.status.is_success() || body.contains("<Error>") {
            return Err(from_answer(call.doing, &named, parts.status, &body));
        }
        Ok(Answer {
            headers: parts.headers,
            body,
        })
    }
}

/// Keys and ids of unfinished uploads.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Uploads {
    pub uploads: Vec<(String, String)>,
    /// Behind which upload the next page begins; `None` behind the last.
    pub next: Option<(String, String)>,
}

impl Uploads {
    /// `None` for what is no such list.
    fn parse(body: &str) -> Option<Uploads> {
        let text = |xml: &str, name: &str| element(xml, name).map(unescaped);
        let list = element(body, "ListMultipartUploadsResult").or_else(|| {
            // The element has a namespace.
            let (_, rest) = body.split_once("<ListMultipartUploadsResult ")?;
            Some(rest.split_once('>')?.1)
        })?;
        let uploads = list.split("<Upload>").skip(1);
        let uploads = uploads.map(|upload| Some((text(upload, "Key")?, text(upload, "UploadId")?)));
        let more = element(list, "IsTruncated") == Some("true");
        let next = match more {
            true => Some((text(list, "NextKeyMarker")?, text(list, "NextUploadIdMarker")?)),
            false => None,
        };
        Some(Uploads {
            uploads: uploads.collect::<Option<_>>()?,
            next,
        })
    }
}

/// Text of an XML element. Numbers of characters are left as they are: our paths have none that need them.
fn unescaped(text: &str) -> String {
    let named = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    named
        .iter()
        .fold(text.to_owned(), |text, (name, letter)| text.replace(name, letter))
}

/// The header that names what to copy: bucket and key.
fn copy_source((bucket, key): (&str, &str)) -> String {
    format!("/{bucket}/{}", utf8_percent_encode(key, KEY))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_of_uploads_is_read_with_where_it_goes_on() {
        let upload =
            |key: &str, id: &str| format!("<Upload><Key>{key}</Key><UploadId>{id}</UploadId><Initiator><ID>x</ID></Initiator></Upload>");
        let page = format!(
            "<?xml version=\"1.0\"?><ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Bucket>b</Bucket>\
             <NextKeyMarker>s1/&lt;b&gt;</NextKeyMarker><NextUploadIdMarker>2</NextUploadIdMarker><IsTruncated>true</IsTruncated>{}{}\
             </ListMultipartUploadsResult>",
            upload("s1/a&amp;lt;", "1"),
            upload("s1/&lt;b&gt;", "2")
        );
        let pair = |key: &str, id: &str| (key.to_owned(), id.to_owned());
        let read = Uploads::parse(&page).expect("a list");
        assert_eq!(read.uploads, [pair("s1/a&lt;", "1"), pair("s1/<b>", "2")]);
        assert_eq!(read.next, Some(pair("s1/<b>", "2")));
        let last = page.replace("<IsTruncated>true", "<IsTruncated>false");
        assert_eq!(Uploads::parse(&last).expect("a list").next, None);
        let cut = page.replace("<UploadId>2</UploadId>", "");
        assert_eq!((Uploads::parse(&cut), Uploads::parse("<html>hello</html>")), (None, None));
    }
}
