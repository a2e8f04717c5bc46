//! TLS on both ports: certificates out of PEM files, read again when the files change, and errors that say what to do.
//!
//! The public port shows a certificate and, with a client CA, asks for one. On the peer port both sides show one and both
//! must be of the same CA; the handshake over the cluster secret follows inside ([`crate::peer::handshake`]).

use crate::config::{ConfigError, PeerTlsFiles, PublicTlsFiles};
use crate::limits::{HANDSHAKE_TIMEOUT, TLS_DISMISSAL, TLS_FILES_LOOK};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::{CryptoProvider, ring};
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, CertificateError, ClientConfig, RootCertStore, ServerConfig};
use tokio_rustls::server::TlsStream;

/// What this process accepts connections with.
pub type Acceptor = Reloading<ServerConfig>;
/// What this process makes connections with.
pub type Connector = Reloading<ClientConfig>;

/// What is read of a caller that was refused: a request's head, or the first bytes of HTTP/2.
const DISMISSED_BYTES: u64 = 64 << 10;
/// Bits of the mode by which everybody gets at a file.
const EVERYBODY: u32 = 0o007;

/// TLS of the public port.
pub struct PublicTls {
    pub acceptor: Acceptor,
    /// Whether callers without TLS are served as well.
    pub allow_plain: bool,
}

/// TLS of the peer port, for connections of both directions.
pub struct PeerTls {
    pub acceptor: Acceptor,
    pub connector: Connector,
}

/// Reads what the settings name; `None` if they name nothing.
pub fn open_public(files: &PublicTlsFiles) -> Result<Option<PublicTls>, ConfigError> {
    let (cert, key) = match (&files.cert, &files.key) {
        (Some(cert), Some(key)) => (cert.clone(), key.clone()),
        (None, None) if files.client_ca.is_none() && !files.allow_plain => return Ok(None),
        _ => return Err(incomplete("tls", "`cert` and `key` (--tls-cert, --tls-key)")),
    };
    if files.client_ca.is_some() && files.allow_plain {
        let text = "tls: `client_ca` asks callers for a certificate and `allow_plain` serves them without; keep one";
        return Err(ConfigError(text.to_owned()));
    }
    let client_ca = files.client_ca.clone();
    let watched = [Some(cert.clone()), Some(key.clone()), client_ca.clone()];
    let acceptor = Reloading::open(watched.into_iter().flatten().collect(), move || {
        accepting("tls", &cert, &key, client_ca.as_deref())
    })?;
    Ok(Some(PublicTls {
        acceptor,
        allow_plain: files.allow_plain,
    }))
}

/// Reads what the settings name; `None` if they name nothing.
pub fn open_peer(files: &PeerTlsFiles) -> Result<Option<PeerTls>, ConfigError> {
    let (cert, key, ca) = match (&files.cert, &files.key, &files.ca) {
        (Some(cert), Some(key), Some(ca)) => (cert.clone(), key.clone(), ca.clone()),
        (None, None, None) => return Ok(None),
        _ => {
            let all = "`cert`, `key` and `ca` (--peer-tls-cert, --peer-tls-key, --peer-tls-ca)";
            return Err(incomplete("peer_tls", all));
        }
    };
    let watched = vec![cert.clone(), key.clone(), ca.clone()];
    let of_acceptor = (cert.clone(), key.clone(), ca.clone());
    let acceptor = Reloading::open(watched.clone(), move || {
        let (cert, key, ca) = &of_acceptor;
        accepting("peer_tls", cert, key, Some(ca))
    })?;
    let connector = Reloading::open(watched, move || connecting("peer_tls", &cert, &key, &ca))?;
    Ok(Some(PeerTls { acceptor, connector }))
}

fn incomplete(section: &str, all: &str) -> ConfigError {
    ConfigError(format!("{section} is incomplete: it needs {all}; set all of them, or none"))
}

/// A configuration made from files, made again when one of them has changed.
pub struct Reloading<T> {
    files: Vec<PathBuf>,
    load: Box<dyn Fn() -> Result<T, ConfigError> + Send + Sync>,
    latest: Mutex<Latest<T>>,
}

struct Latest<T> {
    config: Arc<T>,
    /// The files as they were when they were last read, with success or without.
    seen: Vec<FileFacts>,
    looked_at: Instant,
}

/// Inode, length, modification time in seconds and nanoseconds; `None` for a file that is not there.
type FileFacts = Option<(u64, u64, i64, i64)>;

impl<T> Reloading<T> {
    fn open(files: Vec<PathBuf>, load: impl Fn() -> Result<T, ConfigError> + Send + Sync + 'static) -> Result<Reloading<T>, ConfigError> {
        // Before reading: a change meanwhile is seen at the next look.
        let seen = facts(&files);
        let latest = Latest {
            config: Arc::new(load()?),
            seen,
            looked_at: Instant::now(),
        };
        Ok(Reloading {
            files,
            load: Box::new(load),
            latest: Mutex::new(latest),
        })
    }

    /// What the files say, at most a second old. Files that cannot be used, perhaps because only one of two is there yet,
    /// change nothing.
    pub fn current(&self) -> Arc<T> {
        let mut latest = self.latest.lock().expect("no panic while held");
        if latest.looked_at.elapsed() >= TLS_FILES_LOOK {
            latest.looked_at = Instant::now();
            let found = facts(&self.files);
            if found != latest.seen {
                latest.seen = found;
                match (self.load)() {
                    Ok(config) => {
                        latest.config = Arc::new(config);
                        tracing::info!(files = ?self.files, "certificates were read again");
                    }
                    Err(error) => tracing::warn!(%error, "changed certificates cannot be used; the former stay in use"),
                }
            }
        }
        latest.config.clone()
    }
}

fn facts(files: &[PathBuf]) -> Vec<FileFacts> {
    let facts = |file: &PathBuf| {
        let found = std::fs::metadata(file).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    files.iter().map(facts).collect()
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn accepting(section: &str, cert: &Path, key: &Path, client_ca: Option<&Path>) -> Result<ServerConfig, ConfigError> {
    let unusable = |error: rustls::Error| unusable_pair(section, cert, key, &error);
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(ca) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(read_roots(section, ca)?), provider()).build();
            let unusable = |error| ConfigError(format!("{section}: the CA in {} cannot be used: {error}", ca.display()));
            builder.with_client_cert_verifier(verifier.map_err(unusable)?)
        }
    };
    let mut config = builder
        .with_single_cert(read_chain(section, cert)?, read_key(section, key)?)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

fn connecting(section: &str, cert: &Path, key: &Path, ca: &Path) -> Result<ClientConfig, ConfigError> {
    let unusable = |error: rustls::Error| unusable_pair(section, cert, key, &error);
    let mut config = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_root_certificates(read_roots(section, ca)?)
        .with_client_auth_cert(read_chain(section, cert)?, read_key(section, key)?)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn unusable_pair(section: &str, cert: &Path, key: &Path, error: &rustls::Error) -> ConfigError {
    ConfigError(format!(
        "{section}: {} and {} cannot be used together ({error}); is the key the certificate's?",
        cert.display(),
        key.display()
    ))
}

fn read_chain(section: &str, path: &Path) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let unreadable = |error: &dyn std::fmt::Display| {
        ConfigError(format!(
            "{section}: no certificate in {}: {error}; it must be PEM, `-----BEGIN CERTIFICATE-----`",
            path.display()
        ))
    };
    let certificates = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(&error))?;
    let chain = certificates.collect::<Result<Vec<_>, _>>().map_err(|error| unreadable(&error))?;
    match chain.is_empty() {
        true => Err(unreadable(&"it holds none")),
        false => Ok(chain),
    }
}

fn read_key(section: &str, path: &Path) -> Result<PrivateKeyDer<'static>, ConfigError> {
    let mode = std::fs::metadata(path).map(|found| found.permissions().mode() & 0o777).unwrap_or(0);
    if mode & EVERYBODY != 0 {
        let text = format!(
            "{section}: everybody may read or write the key {} (mode {mode:o}); chmod 600 it",
            path.display()
        );
        return Err(ConfigError(text));
    }
    // The error says what is wrong with the form of the file, never what is in it.
    PrivateKeyDer::from_pem_file(path).map_err(|error| {
        ConfigError(format!(
            "{section}: no private key in {}: {error}; it must be PEM, `-----BEGIN PRIVATE KEY-----`",
            path.display()
        ))
    })
}

fn read_roots(section: &str, path: &Path) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_chain(section, path)? {
        let unusable = |error| ConfigError(format!("{section}: the CA in {} cannot be used: {error}", path.display()));
        roots.add(certificate).map_err(unusable)?;
    }
    Ok(roots)
}

/// Accepts one connection, or says why not, to the log and by an alert to the caller.
pub async fn accept(acceptor: &Acceptor, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    // Without its port, which is another one each time: what is said again and again is to be told once.
    let from = stream.peer_addr();
    let from = from.map_or_else(|_| "the caller".to_owned(), |from| format!("the caller from {}", from.ip()));
    let accepting = TlsAcceptor::from(acceptor.current()).accept(stream).into_fallible();
    match tokio::time::timeout(HANDSHAKE_TIMEOUT, accepting).await {
        Ok(Ok(stream)) => Ok(stream),
        Ok(Err((error, stream))) => {
            dismiss(stream).await;
            Err(io::Error::other(explain(&error, &from)))
        }
        Err(_) => Err(io::Error::other(format!("{from} did not finish its TLS handshake"))),
    }
}

/// Closes a connection so that the last thing said arrives: a socket closed with unread bytes in it takes it back.
pub async fn dismiss(mut stream: TcpStream) {
    let closing = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(DISMISSED_BYTES), &mut tokio::io::sink()).await
    };
    // Whoever does not hang up now has had its answer.
    let _ = tokio::time::timeout(TLS_DISMISSAL, closing).await;
}

/// The name that the certificate of the peer at `address` must be for: its host.
pub fn name_of(address: &str) -> io::Result<ServerName<'static>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    ServerName::try_from(host.clone()).map_err(|_| io::Error::other(format!("{host} is no name a certificate could be for")))
}

/// What went wrong and what to do about it; `other` is whom we spoke to.
pub fn explain(error: &io::Error, other: &str) -> String {
    let Some(cause) = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) else {
        return format!("{error}; does {other} speak TLS?");
    };
    match cause {
        rustls::Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            format!("the certificate of {other} has expired; renew it and replace its file, which is read again at once")
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. }) => {
            format!("the certificate of {other} is not valid yet; compare both clocks")
        }
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            format!("the certificate of {other} is not signed by our CA; give both sides certificates of one CA")
        }
        rustls::Error::InvalidCertificate(CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }) => {
            format!("the certificate of {other} is not for that name ({cause}); add the name to the certificate")
        }
        rustls::Error::NoCertificatesPresented => format!("{other} showed no certificate; give it one of our CA"),
        rustls::Error::AlertReceived(alert) => {
            format!(
                "{other} refused us ({alert:?}); it says why in its own log, most often that our certificate has expired or is of another CA"
            )
        }
        rustls::Error::InvalidMessage(_) => format!("{other} does not speak TLS; switch it on there, or off here"),
        _ => format!("{cause}, with {other}"),
    }
}
