//! The body of an answer while it is sent: its call is under way, and keeps its place among those in work, until the last of it is taken.
//!
//! HTTP buffers what it is given whole, however large, and asks for more only when the caller has taken that. So it is given pieces.

use super::visit::UnderWay;
use crate::app::Place;
use crate::limits::ANSWER_PIECE_BYTES;
use axum::body::Body;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use std::pin::Pin;
use std::task::{Context, Poll};

/// A body on its way to the caller.
pub struct Sending {
    body: Body,
    /// What came of it and has not been asked for yet.
    rest: Bytes,
    call: UnderWay,
    _place: Option<Place>,
}

impl Sending {
    pub fn new(body: Body, call: UnderWay, place: Option<Place>) -> Sending {
        Sending {
            body,
            rest: Bytes::new(),
            call,
            _place: place,
        }
    }
}

impl HttpBody for Sending {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let sending = self.get_mut();
        if sending.rest.is_empty() {
            match Pin::new(&mut sending.body).poll_frame(cx) {
                Poll::Pending => {
                    sending.call.is_at_work();
                    return Poll::Pending;
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(data) => sending.rest = data,
                    Err(trailers) => return Poll::Ready(Some(Ok(trailers))),
                },
                Poll::Ready(ended) => return Poll::Ready(ended),
            }
        }
        let length = sending.rest.len().min(ANSWER_PIECE_BYTES);
        let piece = sending.rest.split_to(length);
        sending.call.waits_for_caller();
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64) + self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::visit::Visit;
    use futures::{FutureExt as _, StreamExt as _, stream};
    use http_body_util::{BodyExt as _, StreamBody};
    use std::convert::Infallible;

    /// An answer with this body.
    fn sending(body: Body) -> Sending {
        Visit::new().begin().answered(http::Response::new(body)).into_body()
    }

    #[tokio::test]
    async fn a_large_body_is_given_away_in_pieces_and_says_how_much_is_left() {
        let whole: Vec<u8> = (0..2 * ANSWER_PIECE_BYTES + 1).map(|position| position as u8).collect();
        let mut sending = sending(Body::from(whole.clone()));
        let mut given = Vec::new();
        for length in [ANSWER_PIECE_BYTES, ANSWER_PIECE_BYTES, 1] {
            assert_eq!(sending.size_hint().exact(), Some((whole.len() - given.len()) as u64));
            assert!(!sending.is_end_stream());
            let piece = sending.frame().await.expect("more").expect("whole").into_data().expect("data");
            assert_eq!(piece.len(), length);
            given.extend_from_slice(&piece);
        }
        assert!(sending.is_end_stream() && sending.frame().await.is_none());
        assert_eq!(given, whole);
    }

    #[tokio::test]
    async fn trailers_come_behind_the_last_piece() {
        let trailers = http::HeaderMap::from_iter([(http::header::AGE, http::HeaderValue::from_static("1"))]);
        let frames = [Frame::data(Bytes::from_static(&[7; 3])), Frame::trailers(trailers.clone())];
        let frames = stream::iter(frames.map(Ok::<_, Infallible>)).chain(stream::pending());
        let mut sending = sending(Body::new(StreamBody::new(frames)));
        let first = sending.frame().await.expect("more").expect("whole");
        assert_eq!(first.into_data().expect("data"), [7; 3].as_slice());
        let second = sending.frame().await.expect("more").expect("whole");
        assert_eq!(second.into_trailers().expect("trailers"), trailers);
        assert!(sending.frame().now_or_never().is_none(), "the body is not at its end");
    }
}
