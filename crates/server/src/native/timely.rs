//! A message that must have come by a deadline: its call has a place among those in work from its headers on.

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::time::{Instant, Sleep, sleep_until};
use tonic::Status;
use tonic::body::Body;

/// A body, and when reading it ends with an error. What comes after the last of it is read has no limit here.
pub struct Timely {
    body: Body,
    until: Pin<Box<Sleep>>,
    /// What is said then.
    late: Option<Status>,
}

impl Timely {
    pub fn new(body: Body, deadline: Instant, late: Status) -> Timely {
        Timely {
            body,
            until: Box::pin(sleep_until(deadline)),
            late: Some(late),
        }
    }
}

impl HttpBody for Timely {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let timely = self.get_mut();
        if let Poll::Ready(frame) = Pin::new(&mut timely.body).poll_frame(cx) {
            return Poll::Ready(frame);
        }
        match timely.until.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(timely.late.take().map(Err)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
