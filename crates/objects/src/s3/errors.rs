//! From what an S3 store says to our kinds of errors.
//!
//! Only the store's error code and message are shown: whole replies repeat parts of the signed request.

use crate::error::{ObjectError, ObjectErrorKind};
use crate::place::S3Place;
use http::StatusCode;
use object_store::client::{HttpError, HttpErrorKind};
use std::error::Error;
use std::fmt;

/// Characters of a store's own words that we repeat.
const WORDS_CHARS: usize = 300;

/// An object of a bucket as it is shown in messages.
#[derive(Clone, Debug)]
pub(super) struct Named {
    bucket: String,
    endpoint: String,
    key: Option<String>,
}

impl Named {
    pub(super) fn object(place: &S3Place, key: String) -> Named {
        Named {
            key: Some(key),
            ..Named::bucket(place)
        }
    }

    pub(super) fn bucket(place: &S3Place) -> Named {
        Named {
            bucket: place.bucket.clone(),
            endpoint: place.endpoint_url(),
            key: None,
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.key {
            Some(key) => write!(f, "key {key:?} of bucket {:?} at {}", self.bucket, self.endpoint),
            None => write!(f, "bucket {:?} at {}", self.bucket, self.endpoint),
        }
    }
}

fn advice(kind: ObjectErrorKind) -> &'static str {
    match kind {
        ObjectErrorKind::PermissionDenied => "; check the vault's access key, its secret and its rights on the bucket",
        ObjectErrorKind::StoreDown => "; check that the endpoint is reachable from this peer",
        ObjectErrorKind::AlreadyExists => "; paths are never used twice",
        ObjectErrorKind::BadCopy => "; look at what is between this peer and the store if it lasts",
        ObjectErrorKind::Unsupported => "; keep the vault in a store that has this request of S3",
        _ => "",
    }
}

fn said(doing: &str, named: &Named, kind: ObjectErrorKind, words: &str) -> ObjectError {
    ObjectError::new(kind, format!("cannot {doing} {named}: {words}{}", advice(kind)))
}

/// An answer with an error status (or a 200 whose body is an error, as copies give them).
pub(super) fn from_answer(doing: &str, named: &Named, status: StatusCode, body: &str) -> ObjectError {
    let code = element(body, "Code").unwrap_or_default();
    let kind = match (code, status.as_u16()) {
        ("NoSuchBucket" | "NoSuchKey" | "NoSuchUpload" | "NotFound", _) => ObjectErrorKind::NotFound,
        ("SlowDown" | "ServiceUnavailable" | "TooManyRequests" | "RequestLimitExceeded", _) => ObjectErrorKind::Busy,
        ("InternalError" | "RequestTimeout" | "OperationAborted", _) => ObjectErrorKind::StoreDown,
        // Of the source this says nothing: what was sent is not what arrived.
        ("BadDigest" | "XAmzContentChecksumMismatch" | "InvalidDigest", _) => ObjectErrorKind::BadCopy,
        ("InvalidAccessKeyId" | "SignatureDoesNotMatch" | "AccessDenied" | "RequestTimeTooSkewed", _) => ObjectErrorKind::PermissionDenied,
        ("QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage", _) | (_, 507) => ObjectErrorKind::DiskFull,
        ("PreconditionFailed", _) | (_, 412) => ObjectErrorKind::AlreadyExists,
        // What a store has not learnt it does not learn by being asked again.
        ("NotImplemented", _) | (_, 501) => ObjectErrorKind::Unsupported,
        (_, 404) => ObjectErrorKind::NotFound,
        (_, 401 | 403) => ObjectErrorKind::PermissionDenied,
        (_, 429 | 503) => ObjectErrorKind::Busy,
        (_, 408 | 409) => ObjectErrorKind::StoreDown,
        (_, status) if status >= 500 => ObjectErrorKind::StoreDown,
        _ => ObjectErrorKind::Failed,
    };
    let words = match (code, element(body, "Message")) {
        ("", _) => format!("the store answered {}", status.as_u16()),
        (code, Some(message)) => format!("the store answered {code}: {}", short(message)),
        (code, None) => format!("the store answered {code}"),
    };
    said(doing, named, kind, &words)
}

/// A request that got no answer, or one that cannot be read.
pub(super) fn from_transport(doing: &str, named: &Named, error: &HttpError) -> ObjectError {
    let (kind, what) = match error.kind() {
        HttpErrorKind::Decode => (ObjectErrorKind::Failed, "the answer cannot be read"),
        _ => (ObjectErrorKind::StoreDown, "no answer"),
    };
    // The innermost error says what happened ("connection refused"), the outer ones that something did.
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    said(doing, named, kind, &format!("{what}: {}", short(&innermost.to_string())))
}

/// What `object_store` reports.
pub(super) fn classify(doing: &str, named: &Named, error: &object_store::Error) -> ObjectError {
    use object_store::Error as Store;
    let text = error.to_string();
    let status = match error {
        Store::NotFound { .. } => Some(404),
        Store::AlreadyExists { .. } => return said(doing, named, ObjectErrorKind::AlreadyExists, "it exists"),
        Store::Precondition { .. } => Some(412),
        Store::PermissionDenied { .. } => Some(403),
        Store::Unauthenticated { .. } => Some(401),
        Store::Generic { .. } => status_in(&text),
        _ => None,
    };
    if let Some(status) = status.and_then(|status| StatusCode::from_u16(status).ok()) {
        return from_answer(doing, named, status, &text);
    }
    let mut source: Option<&(dyn Error + 'static)> = Some(error);
    while let Some(cause) = source {
        if let Some(transport) = cause.downcast_ref::<HttpError>() {
            return from_transport(doing, named, transport);
        }
        source = cause.source();
    }
    match (error, element(&text, "Code")) {
        // A 200 whose body is an error.
        (_, Some(_)) => from_answer(doing, named, StatusCode::OK, &text),
        (Store::InvalidPath { .. }, None) => said(doing, named, ObjectErrorKind::Invalid, "the store takes no such key"),
        (_, None) => said(doing, named, ObjectErrorKind::Failed, &short(&innermost_text(error))),
    }
}

fn innermost_text(error: &dyn Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}

/// The HTTP status in the text of an error of `object_store`, whose type is not public.
fn status_in(text: &str) -> Option<u16> {
    let rest = text.split_once("status code: ")?.1;
    rest.get(..3)?.parse().ok()
}

/// The text of the first element `name` of a small XML document.
pub(super) fn element<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let rest = xml.split_once(&format!("<{name}>"))?.1;
    Some(rest.split_once(&format!("</{name}>"))?.0)
}

fn short(words: &str) -> String {
    words.chars().filter(|letter| !letter.is_control()).take(WORDS_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::{BucketStyle, Http, Secret};

    fn named() -> Named {
        let place = S3Place {
            endpoint: "http://127.0.0.1:9".to_owned(),
            region: "r".to_owned(),
            bucket: "b".to_owned(),
            prefix: String::new(),
            access_key: "AK".to_owned(),
            secret_key: Secret::new("s"),
            bucket_style: BucketStyle::Path,
            http: Http::Allow,
            cluster_id: "c".to_owned(),
            former_clusters: Vec::new(),
        };
        Named::object(&place, "k/1".to_owned())
    }

    #[test]
    fn answers_get_the_kind_callers_decide_by() {
        let rows = [
            (404, "<Error><Code>NoSuchKey</Code></Error>", ObjectErrorKind::NotFound),
            (404, "", ObjectErrorKind::NotFound),
            (412, "", ObjectErrorKind::AlreadyExists),
            (403, "<Code>SignatureDoesNotMatch</Code>", ObjectErrorKind::PermissionDenied),
            (400, "<Code>BadDigest</Code>", ObjectErrorKind::BadCopy),
            (400, "<Code>XAmzContentChecksumMismatch</Code>", ObjectErrorKind::BadCopy),
            (503, "<Code>SlowDown</Code>", ObjectErrorKind::Busy),
            (500, "", ObjectErrorKind::StoreDown),
            (200, "<Code>InternalError</Code>", ObjectErrorKind::StoreDown),
            (507, "", ObjectErrorKind::DiskFull),
            (501, "", ObjectErrorKind::Unsupported),
            (501, "<Code>NotImplemented</Code>", ObjectErrorKind::Unsupported),
            (400, "<Code>NotImplemented</Code>", ObjectErrorKind::Unsupported),
            (400, "<Code>InvalidArgument</Code>", ObjectErrorKind::Failed),
        ];
        for (status, body, kind) in rows {
            let error = from_answer("read", &named(), StatusCode::from_u16(status).expect("status"), body);
            assert_eq!(error.kind, kind, "{status} {body}");
            assert!(error.message.contains("bucket \"b\"") && error.message.contains("k/1"), "{error}");
        }
    }

    #[test]
    fn of_a_reply_only_code_and_message_are_repeated() {
        let body =
            "<Error><Code>SignatureDoesNotMatch</Code><Message>differs</Message><StringToSign>AWS4 signed text</StringToSign></Error>";
        let error = from_answer("read", &named(), StatusCode::FORBIDDEN, body);
        assert!(error.message.contains("SignatureDoesNotMatch: differs"), "{error}");
        assert!(!error.message.contains("signed text"), "{error}");
    }
}
