//! TLS of a client: files in, tonic's configuration out, and what to do when a handshake fails.

use crate::error::ClientError;
use std::error::Error;
use std::path::{Path, PathBuf};
use tonic::transport::{Certificate, ClientTlsConfig, Identity};

/// What an endpoint reached over TLS begins with.
pub const HTTPS: &str = "https://";

/// PEM files for connections over TLS; read when a client is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificates that the peers' must be signed by. Needed for every `https://` endpoint.
    pub ca_file: Option<PathBuf>,
    /// This client's certificate chain, for peers that ask for one.
    pub cert_file: Option<PathBuf>,
    /// Private key of `cert_file`.
    pub key_file: Option<PathBuf>,
}

impl TlsOptions {
    /// The files' contents, as tonic takes them. Errors name the file and the setting. A handshake has no limit of time unless whoever
    /// connects sets one: tonic's limit for connecting ends with TCP.
    pub fn read(&self) -> Result<ClientTlsConfig, ClientError> {
        let Some(ca) = &self.ca_file else {
            let text = "an https:// endpoint needs the CA its certificate is signed by; set `ca_file` (--ca-file)";
            return Err(ClientError::unusable(text.to_owned()));
        };
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca)?));
        tls = match (&self.cert_file, &self.key_file) {
            (Some(cert), Some(key)) => tls.identity(Identity::from_pem(read(cert)?, read(key)?)),
            (None, None) => tls,
            _ => {
                let text = "a certificate of our own is a file and its key; set both `cert_file` and `key_file` (--cert-file, --key-file)";
                return Err(ClientError::unusable(text.to_owned()));
            }
        };
        Ok(tls)
    }
}

fn read(path: &Path) -> Result<Vec<u8>, ClientError> {
    std::fs::read(path).map_err(|error| ClientError::unusable(format!("{} cannot be read: {error}", path.display())))
}

/// An error with everything that caused it.
pub(crate) fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    text
}

/// What to do about a connection that TLS did not let through; `None` if TLS was not the reason.
///
/// tonic hands the cause through as text only, so it is told by the words rustls uses.
pub fn advice(error: &(dyn Error + 'static)) -> Option<&'static str> {
    const ADVICE: [(&str, &str); 7] = [
        (
            "UnknownIssuer",
            "its certificate is not signed by the given CA; give the CA's file of this cluster (--ca-file)",
        ),
        ("certificate expired", "its certificate has expired; renew it at that peer"),
        ("certificate not valid yet", "its certificate is not valid yet; compare both clocks"),
        (
            "not valid for",
            "its certificate is not for the name in the endpoint; use the name it is for",
        ),
        (
            "received fatal alert",
            "it refused our certificate, or wants one; give one of its CA (--cert-file, --key-file)",
        ),
        (
            "InvalidContentType",
            "it does not speak TLS there; use an endpoint without https://",
        ),
        (
            "invalid compression method",
            "it does not speak TLS there; use an endpoint without https://",
        ),
    ];
    let text = chain(error);
    ADVICE.iter().find(|(words, _)| text.contains(words)).map(|(_, advice)| *advice)
}
