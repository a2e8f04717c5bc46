//! A connection whose first bytes have been read, far enough to tell HTTP/2 from HTTP/1.1: whoever reads on reads them again.

use bytes::{Bytes, BytesMut};
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// What every HTTP/2 connection begins with.
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bytes that were read and are not read again yet, and the rest.
pub struct Begun<S> {
    first: Bytes,
    is_http2: bool,
    has_written: bool,
    stream: S,
}

impl<S: AsyncRead + Unpin> Begun<S> {
    /// Reads until there is the whole preface, a byte that is not its, or the end.
    pub async fn read(mut stream: S) -> io::Result<Begun<S>> {
        let mut first = BytesMut::with_capacity(HTTP2_PREFACE.len());
        while first.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&first) {
            if stream.read_buf(&mut first).await? == 0 {
                break;
            }
        }
        Ok(Begun {
            is_http2: first == HTTP2_PREFACE,
            first: first.freeze(),
            has_written: false,
            stream,
        })
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Begun<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let begun = self.get_mut();
        if begun.first.is_empty() {
            return Pin::new(&mut begun.stream).poll_read(cx, buffer);
        }
        let length = begun.first.len().min(buffer.remaining());
        buffer.put_slice(&begun.first.split_to(length));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Begun<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let begun = self.get_mut();
        begun.has_written = true;
        Pin::new(&mut begun.stream).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(self: Pin<&mut Self>, cx: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    /// h2 asks once before it writes anything and then at each write. Where the first answer is yes, each message of 256 bytes or more is a
    /// system call of its own, which is much of what a small read costs; where it is no, messages below 1,024 bytes are copied together.
    /// Larger ones are best written with their heads at once, so the later answers are the stream's.
    fn is_write_vectored(&self) -> bool {
        (!self.is_http2 || self.has_written) && self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt as _;

    #[tokio::test]
    async fn what_was_read_first_is_read_again() {
        let http2 = [HTTP2_PREFACE, b"and frames"].concat();
        let all: [&[u8]; 5] = [b"GET / HTTP/1.1\r\n", b"PRI * HTTP/1.1\r\n", b"PRI", b"", &http2];
        for sent in all {
            let (mut caller, stream) = tokio::io::duplex(4_096);
            caller.write_all(sent).await.expect("written");
            drop(caller);
            let mut begun = Begun::read(stream).await.expect("enough, or the end");
            let mut received = Vec::new();
            begun.read_to_end(&mut received).await.expect("read");
            assert_eq!(received, sent);
        }
    }

    #[tokio::test]
    async fn small_answers_over_http2_are_written_together() {
        let all: [(&[u8], bool); 2] = [(HTTP2_PREFACE, false), (b"GET / HTTP/1.1", true)];
        for (sent, at_first) in all {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
            let address = listener.local_addr().expect("its address");
            let mut caller = tokio::net::TcpStream::connect(address).await.expect("connected");
            caller.write_all(sent).await.expect("written");
            let (stream, _) = listener.accept().await.expect("accepted");
            assert!(stream.is_write_vectored());
            let mut begun = Begun::read(stream).await.expect("enough");
            assert_eq!(begun.is_write_vectored(), at_first);
            begun.write_all(b"settings").await.expect("written");
            assert!(begun.is_write_vectored(), "large answers are written with their heads");
        }
    }
}
