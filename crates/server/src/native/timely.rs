//! A message that must have come by a deadline: its call has a place among those in work from its headers on.

use super::reply::status;
use crate::app::App;
use axum::BoxError;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use quorate_model::{ErrorCode, MetaError};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tokio::time::{Instant, Sleep, sleep_until};

/// A body, and when reading it ends with an error. What comes after the last of it is read has no limit here.
pub struct Timely<B> {
    body: B,
    deadline: Instant,
    /// Most messages are there when they are asked for: only one that is not needs a clock.
    until: Option<Pin<Box<Sleep>>>,
    app: Arc<App>,
}

impl<B> Timely<B> {
    pub fn new(body: B, deadline: Instant, app: Arc<App>) -> Timely<B> {
        Timely {
            body,
            deadline,
            until: None,
            app,
        }
    }
}

impl<B> HttpBody for Timely<B>
where
    B: HttpBody<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let timely = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut timely.body).poll_frame(cx) {
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        let until = timely.until.get_or_insert_with(|| Box::pin(sleep_until(timely.deadline)));
        ready!(until.as_mut().poll(cx));
        let late = MetaError::new(ErrorCode::DeadlineExceeded, "the message did not arrive in time");
        Poll::Ready(Some(Err(status(&timely.app, late).into())))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
