//! The little HTTP a load needs: POSTs over one connection, one at a time.

use anyhow::Context;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;

/// One connection to one peer.
#[derive(Debug)]
pub struct Connection {
    address: String,
    token: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    pub async fn open(address: &str, token: &str) -> anyhow::Result<Connection> {
        let stream = tokio::net::TcpStream::connect(address)
            .await
            .with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        Ok(Connection {
            address: address.to_owned(),
            token: token.to_owned(),
            sender,
        })
    }

    /// Calls a route of the Doris service; `route` may bring a query of its own.
    pub async fn call(&mut self, route: &str, body: impl Into<Bytes>) -> anyhow::Result<(StatusCode, Bytes)> {
        let separator = if route.contains('?') { '&' } else { '?' };
        let request = http::Request::post(format!("/MetaService/http/{route}{separator}token={}", self.token))
            .header(http::header::HOST, &self.address)
            .header(http::header::CONTENT_TYPE, "application/json")
            .body(Full::new(body.into()))?;
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        Ok((status, response.into_body().collect().await?.to_bytes()))
    }

    /// A call that must succeed.
    pub async fn ok(&mut self, route: &str, body: impl Into<Bytes>) -> anyhow::Result<Bytes> {
        let (status, text) = self.call(route, body).await?;
        anyhow::ensure!(status.is_success(), "{route} answered {status}: {}", String::from_utf8_lossy(&text));
        Ok(text)
    }
}
