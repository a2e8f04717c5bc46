//! Calls whose body is not wanted, over a real socket: who sends all of it before it looks for an answer gets one.

use crate::doris::test_peers::{Peer, TOKEN};
use crate::limits::{MAX_BODY_BYTES, MAX_DISCARDED_BYTES, MAX_IN_FLIGHT};
use crate::listener;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::timeout;

/// More than any call takes, and far less than is thrown away: it is read in a moment on a machine that is busy, too. Whatever is unread when
/// a connection is closed takes the answer back, so it need not fill the sockets.
const BODY_BYTES: usize = 2 * MAX_BODY_BYTES;
const _: () = assert!(BODY_BYTES < MAX_DISCARDED_BYTES);
const PATIENCE: Duration = Duration::from_secs(20);

/// The first line of the answer to a call that is sent as a whole before anything is read.
async fn answer_to(address: SocketAddr, target: &str, is_chunked: bool) -> String {
    let (framing, begin, end) = match is_chunked {
        true => (
            "transfer-encoding: chunked".to_owned(),
            format!("{BODY_BYTES:x}\r\n"),
            "\r\n0\r\n\r\n",
        ),
        false => (format!("content-length: {BODY_BYTES}"), String::new(), ""),
    };
    let head = format!("PUT {target} HTTP/1.1\r\nhost: peer\r\nconnection: close\r\n{framing}\r\n\r\n{begin}");
    let mut call = head.into_bytes();
    call.resize(call.len() + BODY_BYTES, b' ');
    call.extend_from_slice(end.as_bytes());
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("it listens");
        stream.write_all(&call).await.expect("the whole body is taken");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.expect("an answer, and no reset");
        String::from_utf8(answer)
            .expect("UTF-8")
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    timeout(PATIENCE, exchange).await.expect("answered in time")
}

#[tokio::test]
async fn a_call_is_answered_whatever_becomes_of_its_body() {
    let peer = Peer::alone().await;
    let port = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = port.local_addr().expect("bound");
    let (_running, stop) = watch::channel(false);
    tokio::spawn(listener::serve(peer.app.clone(), port, None, stop));

    let route = |route: &str| format!("/MetaService/http/{route}?token={TOKEN}");
    for (target, expected) in [
        ("/MetaService/http/create_instance?token=wrong".to_owned(), "403 Forbidden"),
        (route("no_such_route"), "404 Not Found"),
        (route("create_instance"), "413 Payload Too Large"),
        (route("injection_point"), "501 Not Implemented"),
        // Needs no body, and is answered all the same.
        (route("show_config"), "200 OK"),
        ("/api/v1/no_such_route".to_owned(), "404 Not Found"),
    ] {
        for is_chunked in [false, true] {
            let answer = answer_to(address, &target, is_chunked).await;
            assert_eq!(answer, format!("HTTP/1.1 {expected}"), "{target}, chunked: {is_chunked}");
        }
    }

    let _all_places: Vec<_> = (0..MAX_IN_FLIGHT).map(|_| peer.app.admit().expect("within the limit")).collect();
    let answer = answer_to(address, &route("create_instance"), false).await;
    assert_eq!(answer, "HTTP/1.1 429 Too Many Requests");
}
