//! Bodies of requests, bounded in size and in the time they may take.

use crate::limits::{DISCARD_TIME, MAX_BODY_BYTES, MAX_DISCARDED_BYTES};
use axum::body::Body;
use axum::extract::Request;
use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use quorate_consensus::Deadline;
use quorate_model::{ErrorCode, MetaError};

/// The whole body. What is left of one that is refused is for [`discard`].
pub async fn read(request: &mut Request, deadline: Deadline) -> Result<Bytes, MetaError> {
    read_up_to(MAX_BODY_BYTES, request, deadline).await
}

/// The whole body if it is no longer than this. One that says it is is refused before it is read.
pub async fn read_up_to(max_bytes: usize, request: &mut Request, deadline: Deadline) -> Result<Bytes, MetaError> {
    let announced = request
        .headers()
        .get(CONTENT_LENGTH)
        .and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|bytes| bytes > max_bytes as u64) {
        return Err(too_long(max_bytes));
    }
    let collected = Limited::new(request.body_mut(), max_bytes).collect();
    let read = match tokio::time::timeout_at(deadline, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => return Err(too_long(max_bytes)),
        Ok(Err(_)) => Err(MetaError::invalid("the request body broke off")),
        Err(_) => Err(MetaError::new(
            ErrorCode::DeadlineExceeded,
            "the request body did not arrive before the deadline",
        )),
    };
    // It has ended, or has had its time.
    *request.body_mut() = Body::empty();
    read
}

/// Reads what is left of a body, for a moment: an HTTP/1.1 connection that is closed with bytes unread may take the answer back.
pub async fn discard(request: Request) {
    let mut body = request.into_body();
    let all = async {
        let mut bytes = 0;
        while let Some(Ok(frame)) = body.frame().await {
            bytes += frame.data_ref().map_or(0, Bytes::len);
            if bytes > MAX_DISCARDED_BYTES {
                break;
            }
        }
    };
    let _cut_short = tokio::time::timeout(DISCARD_TIME, all).await;
}

fn too_long(max_bytes: usize) -> MetaError {
    MetaError::new(
        ErrorCode::TooLarge,
        format!("the request body exceeds the limit of {max_bytes} bytes"),
    )
}
