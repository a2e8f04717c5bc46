//! HTTP/1.1 as a script would speak it: one connection per call, bytes compared as they came.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A peer without a leader answers after 10 s.
const TIMEOUT: Duration = Duration::from_secs(20);

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    pub status: u16,
    headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    /// A header's value; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        found.map_or("", |(_, value)| value)
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.body))
    }
}

/// Sends one request and reads the whole reply.
pub async fn send(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> io::Result<Reply> {
    let mut request = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: {}\r\n",
        body.len()
    );
    for (name, value) in headers {
        request += &format!("{name}: {value}\r\n");
    }
    request += "\r\n";
    request += body;
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request.as_bytes()).await?;
        let mut reply = Vec::new();
        stream.read_to_end(&mut reply).await?;
        parse(&reply)
    };
    tokio::time::timeout(TIMEOUT, exchange)
        .await
        .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
}

pub async fn get(address: &str, path: &str) -> io::Result<Reply> {
    send(address, "GET", path, &[], "").await
}

fn parse(bytes: &[u8]) -> io::Result<Reply> {
    let malformed = |what: &str| io::Error::new(io::ErrorKind::InvalidData, format!("{what}: {}", String::from_utf8_lossy(bytes)));
    let text = std::str::from_utf8(bytes).map_err(|_| malformed("not UTF-8"))?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| malformed("no end of headers"))?;
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok());
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    let reply = Reply {
        status: status.ok_or_else(|| malformed("no status"))?,
        headers: headers.collect(),
        body: body.to_owned(),
    };
    match reply.header("content-length").parse::<usize>() {
        Ok(length) if length == reply.body.len() => Ok(reply),
        _ => Err(malformed("the body is not as long as its header says")),
    }
}
