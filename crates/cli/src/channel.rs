//! Connections to a peer's public port: one kind for gRPC and for HTTP, with TLS or without.

use clap::Args;
use quorate_client::TlsOptions;
use quorate_client::tls::{self, HTTPS};
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Longest wait for a connection to one peer, and for the TLS handshake on it after that.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// A silent connection is broken after two of these.
const KEEP_ALIVE: Duration = Duration::from_secs(2);

#[derive(Clone, Args)]
pub struct TlsArguments {
    /// PEM file with the CA that the peers' certificates are signed by; needed for https:// endpoints.
    #[arg(long, env = "QUORATE_CA_FILE", global = true)]
    ca_file: Option<PathBuf>,
    /// PEM file with our own certificate, for peers that ask for one.
    #[arg(long, env = "QUORATE_CERT_FILE", global = true)]
    cert_file: Option<PathBuf>,
    /// PEM file with the private key of --cert-file.
    #[arg(long, env = "QUORATE_KEY_FILE", global = true)]
    key_file: Option<PathBuf>,
}

impl TlsArguments {
    pub fn options(&self) -> TlsOptions {
        TlsOptions {
            ca_file: self.ca_file.clone(),
            cert_file: self.cert_file.clone(),
            key_file: self.key_file.clone(),
        }
    }
}

/// An address as it is given on the command line: `HOST:PORT` or `https://HOST:PORT`, also with `http://` or a slash at its end.
pub fn endpoint(text: &str) -> Result<String, String> {
    let given = text.trim().trim_end_matches('/');
    let (scheme, address) = match given.strip_prefix(HTTPS) {
        Some(address) => (HTTPS, address),
        None => ("", given.strip_prefix("http://").unwrap_or(given)),
    };
    let parsed = address.parse::<http::uri::Authority>();
    let has_host_and_port = |parsed: &http::uri::Authority| parsed.port_u16().is_some() && !parsed.host().is_empty();
    match parsed {
        Ok(parsed) if has_host_and_port(&parsed) => Ok(format!("{scheme}{address}")),
        _ => Err("an address is HOST:PORT, or https://HOST:PORT; several are separated by commas".to_owned()),
    }
}

/// Connects to `host:port`, or to `https://host:port` over TLS.
pub async fn connect(address: &str, options: &TlsOptions) -> anyhow::Result<Channel> {
    let secured = address.starts_with(HTTPS);
    let uri = if secured { address.to_owned() } else { format!("http://{address}") };
    let mut endpoint = Endpoint::from_shared(uri)?
        .connect_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE)
        .keep_alive_while_idle(true);
    if secured {
        // The limit above is TCP's: a peer that is paused would be waited for in the handshake without end.
        endpoint = endpoint.tls_config(options.read()?.timeout(CONNECT_TIMEOUT))?;
    }
    endpoint.connect().await.map_err(|error| match tls::advice(&error) {
        Some(advice) => anyhow::anyhow!("{advice}"),
        None => anyhow::Error::new(error).context("cannot connect"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    #[test]
    fn an_address_has_a_host_and_a_port() {
        for (given, taken) in [
            ("127.0.0.1:5000", Some("127.0.0.1:5000")),
            (" a:1 ", Some("a:1")),
            ("http://a:1/", Some("a:1")),
            ("https://a:1", Some("https://a:1")),
            ("[::1]:5000", Some("[::1]:5000")),
            ("", None),
            ("a", None),
            (":1", None),
            ("a:b:9", None),
            ("127.0.0.1:99999", None),
            ("a:1/path", None),
            ("ftp://a:1", None),
        ] {
            assert_eq!(endpoint(given).ok().as_deref(), taken, "{given:?}");
        }
    }

    #[tokio::test]
    async fn a_handshake_that_does_not_end_is_given_up() {
        // The system accepts connections for it; nobody answers.
        let silent = TcpListener::bind("127.0.0.1:0").await.expect("loopback has free ports");
        let address = format!("{HTTPS}{}", silent.local_addr().expect("the socket is bound"));
        // No certificate comes to be looked at.
        let options = TlsOptions {
            ca_file: Some("/dev/null".into()),
            ..TlsOptions::default()
        };
        let connecting = tokio::time::timeout(30 * CONNECT_TIMEOUT, connect(&address, &options));
        let error = connecting.await.expect("it ends by itself").expect_err("nobody answers");
        assert!(format!("{error:#}").contains("TLS handshake timeout"), "{error:#}");
    }
}
