//! Connections to a peer's public port: one kind for gRPC and for HTTP, with TLS or without.

use clap::Args;
use quorate_client::TlsOptions;
use quorate_client::tls::{self, HTTPS};
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::{Channel, Endpoint};

/// Longest wait for a connection to one peer.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

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

/// Connects to `host:port`, or to `https://host:port` over TLS.
pub async fn connect(address: &str, options: &TlsOptions) -> anyhow::Result<Channel> {
    let secured = address.starts_with(HTTPS);
    let uri = if secured { address.to_owned() } else { format!("http://{address}") };
    let mut endpoint = Endpoint::from_shared(uri)?.connect_timeout(CONNECT_TIMEOUT);
    if secured {
        endpoint = endpoint.tls_config(options.read()?)?;
    }
    endpoint.connect().await.map_err(|error| match tls::advice(&error) {
        Some(advice) => anyhow::anyhow!("{advice}"),
        None => anyhow::Error::new(error).context("cannot connect"),
    })
}
