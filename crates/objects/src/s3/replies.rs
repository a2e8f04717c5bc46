//! How much is read of a store's replies. An object's content is passed on in pieces; all else (lists, errors, what came of an upload) is
//! collected in memory, here and by `object_store`, and must not be longer than such a reply can be.

use crate::limits::REPLY_BYTES;
use async_trait::async_trait;
use http::Method;
use http_body_util::{BodyExt, Limited};
use object_store::ClientOptions;
use object_store::client::{
    HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpResponseBody, HttpService, ReqwestConnector,
};
use std::error::Error;

/// Connects as `object_store` does by itself.
#[derive(Debug)]
pub(super) struct BoundedConnector;

impl HttpConnector for BoundedConnector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let client = ReqwestConnector::default().connect(options)?;
        Ok(HttpClient::new(BoundedReplies(client)))
    }
}

#[derive(Debug)]
struct BoundedReplies(HttpClient);

#[async_trait]
impl HttpService for BoundedReplies {
    async fn call(&self, request: HttpRequest) -> Result<HttpResponse, HttpError> {
        // Whatever else is asked for by GET has a query.
        let asks_for_content = request.method() == Method::GET && request.uri().query().is_none();
        let response = self.0.execute(request).await?;
        if asks_for_content && response.status().is_success() {
            return Ok(response);
        }
        Ok(response.map(|body| HttpResponseBody::new(Limited::new(body, REPLY_BYTES).map_err(unread))))
    }
}

/// Why a reply was not read to its end.
fn unread(error: Box<dyn Error + Send + Sync>) -> HttpError {
    match error.downcast::<HttpError>() {
        Ok(broken) => *broken,
        Err(_) => {
            let too_long = format!("it has more than {REPLY_BYTES} bytes, which no reply of S3 has but an object");
            HttpError::new(HttpErrorKind::Decode, std::io::Error::other(too_long))
        }
    }
}
