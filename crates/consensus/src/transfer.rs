//! Waits for another peer, but not for ever.
//!
//! A connection whose other end is gone breaks by its keep-alive, also when the process over there stands still: nobody
//! answers its pings. A peer whose disk hangs goes on answering them. So whoever waits for another peer's disk has a bound of
//! its own: for an answer one that grows with the bytes behind it, and for a checkpoint on its way, which may be of any size,
//! one for each piece. What is given up is tried again by whoever asked for it, and every step may be repeated.

use crate::transport::TransportError;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// What `who` answers; an error that names it and what it has not `done` if it does not answer in time.
pub(crate) async fn answer_within<T>(
    patience: Duration,
    who: &str,
    done: &str,
    call: impl Future<Output = Result<T, TransportError>>,
) -> Result<T, TransportError> {
    match tokio::time::timeout(patience, call).await {
        Ok(answer) => answer,
        Err(_) => Err(TransportError(format!("{who} has not {done} within {patience:?}"))),
    }
}

/// How long each sign of whoever takes a stream's pieces is waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// From one piece that it took to the next.
    pub piece: Duration,
    /// From the last piece on.
    pub end: Duration,
}

/// Where a stream stood still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stalled {
    BetweenPieces,
    /// All pieces were taken, or whoever took them wants no more.
    BehindTheLast,
}

/// A stream under watch; `pieces` are gone when it has ended.
struct Way<P> {
    pieces: Option<BoxStream<'static, P>>,
    latest_sign: Instant,
}

/// The sender's side of a stream under watch. When it is dropped nothing more is sent, and what the pieces hold is released,
/// whatever the transport still keeps.
pub(crate) struct Watch<P>(Arc<Mutex<Way<P>>>);

struct Watched<P>(Arc<Mutex<Way<P>>>);

/// The same pieces, and a watch over whether they are taken.
pub(crate) fn watched<P: 'static>(pieces: BoxStream<'static, P>) -> (Watch<P>, BoxStream<'static, P>) {
    let way = Arc::new(Mutex::new(Way {
        pieces: Some(pieces),
        latest_sign: Instant::now(),
    }));
    (Watch(way.clone()), Watched(way).boxed())
}

fn lock<P>(way: &Mutex<Way<P>>) -> MutexGuard<'_, Way<P>> {
    way.lock().expect("no panic while held")
}

impl<P> Watch<P> {
    /// Ends when no sign came in time, and says which was waited for.
    pub(crate) async fn stalled(&self, bounds: Bounds) -> Stalled {
        loop {
            let (due, awaited) = self.awaited(bounds);
            if due <= Instant::now() {
                return awaited;
            }
            tokio::time::sleep_until(due).await;
        }
    }

    fn awaited(&self, bounds: Bounds) -> (Instant, Stalled) {
        let way = lock(&self.0);
        match way.pieces {
            Some(_) => (way.latest_sign + bounds.piece, Stalled::BetweenPieces),
            None => (way.latest_sign + bounds.end, Stalled::BehindTheLast),
        }
    }
}

impl<P> Drop for Watch<P> {
    fn drop(&mut self) {
        lock(&self.0).pieces = None;
    }
}

impl<P> Stream for Watched<P> {
    type Item = P;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<P>> {
        let mut way = lock(&self.0);
        let Some(pieces) = &mut way.pieces else {
            return Poll::Ready(None);
        };
        let next = pieces.poll_next_unpin(context);
        if next.is_ready() {
            way.latest_sign = Instant::now();
        }
        if matches!(next, Poll::Ready(None)) {
            way.pieces = None;
        }
        next
    }
}

impl<P> Drop for Watched<P> {
    fn drop(&mut self) {
        let mut way = lock(&self.0);
        if way.pieces.take().is_some() {
            way.latest_sign = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds {
        piece: Duration::from_secs(30),
        end: Duration::from_secs(90),
    };

    #[tokio::test(start_paused = true)]
    async fn each_piece_that_is_taken_is_a_sign_and_so_is_the_end() {
        let begun = Instant::now();
        let (watch, mut pieces) = watched(futures::stream::iter([1, 2, 3]).boxed());
        let taken = tokio::spawn(async move {
            while pieces.next().await.is_some() {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
            // It ends here, and is kept.
            std::future::pending::<()>().await;
            drop(pieces);
        });
        assert_eq!(watch.stalled(BOUNDS).await, Stalled::BehindTheLast);
        assert_eq!(begun.elapsed().as_secs(), 60 + 90);
        taken.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn pieces_that_nobody_takes_are_released_with_the_watch() {
        let held = Arc::new(());
        let piece = held.clone();
        let pieces = futures::stream::repeat_with(move || piece.clone()).boxed();
        let (watch, mut kept) = watched(pieces);
        let _first = kept.next().await.expect("there is a first");
        let begun = Instant::now();
        assert_eq!(watch.stalled(BOUNDS).await, Stalled::BetweenPieces);
        assert_eq!(begun.elapsed().as_secs(), BOUNDS.piece.as_secs());
        drop(watch);
        assert_eq!(Arc::strong_count(&held), 2, "ours, and the piece that was taken");
        assert!(kept.next().await.is_none());
    }
}
