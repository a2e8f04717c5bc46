//! The first bytes of every peer connection: both sides prove that they know the cluster secret and say who they are.
//!
//! ```text
//! caller -> server   "QRM1" | caller identity 32 | expected peer 8 | expected incarnation 8 | nonce 16
//! server -> caller   status 1 | server identity 32 | nonce 16 | mac 32         status 0: go on
//!                    status 1 | length u16 | text                              status 1: refused, and why
//! caller -> server   mac 32
//! server -> caller   status 1 ...                                              as above, without identity
//! ```
//! identity = cluster 16 | peer 8 | incarnation 8, big-endian. A mac is HMAC-SHA-256 under the secret over the side's name and
//! both messages, so neither side's proof can be replayed or reflected. What is refused here never reaches Raft.

use super::Identity;
use crate::limits::HANDSHAKE_TIMEOUT;
use hmac::{Hmac, Mac};
use quorate_model::{ClusterId, Incarnation, mutant};
use sha2::Sha256;
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const MAGIC: &[u8; 4] = b"QRM1";
/// First bytes of TLS records, of a caller and of a server that refuses; neither begins a message of ours.
const TLS_HANDSHAKE: u8 = 0x16;
const TLS_ALERT: u8 = 0x15;
const IDENTITY_BYTES: usize = 32;
const CALL_BYTES: usize = 4 + IDENTITY_BYTES + 16 + 16;
const ANSWER_BYTES: usize = IDENTITY_BYTES + 16;
const MAC_BYTES: usize = 32;

/// A connection that does not come about.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("peer connection: {0}")]
    Io(#[from] std::io::Error),
    #[error("peer handshake refused: {0}")]
    Refused(String),
    #[error("peer handshake took longer than {} s", HANDSHAKE_TIMEOUT.as_secs())]
    TimedOut,
}

/// Whom a caller expects at the other end; 0 for whoever is there.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected {
    pub peer: u64,
    pub incarnation: u64,
}

/// Proves ourselves to the peer at the other end and learns who it is.
pub async fn call<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    secret: &[u8],
    own: Identity,
    expected: Expected,
) -> Result<Identity, HandshakeError> {
    tokio::time::timeout(HANDSHAKE_TIMEOUT, call_inner(stream, secret, own, expected))
        .await
        .map_err(|_| HandshakeError::TimedOut)?
}

async fn call_inner<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    secret: &[u8],
    own: Identity,
    expected: Expected,
) -> Result<Identity, HandshakeError> {
    let mut hello = Vec::with_capacity(CALL_BYTES);
    hello.extend_from_slice(MAGIC);
    put_identity(&mut hello, own);
    hello.extend_from_slice(&expected.peer.to_be_bytes());
    hello.extend_from_slice(&expected.incarnation.to_be_bytes());
    hello.extend_from_slice(&nonce());
    stream.write_all(&hello).await?;
    read_status(stream).await?;
    let mut answer = [0; ANSWER_BYTES];
    stream.read_exact(&mut answer).await?;
    let mut proof = [0; MAC_BYTES];
    stream.read_exact(&mut proof).await?;
    if !bool::from(proof.ct_eq(&mac(secret, b"server", &hello, &answer))) {
        return Err(HandshakeError::Refused(
            "the cluster secrets differ: the other side does not know ours; start both with the same --cluster-secret-file".to_owned(),
        ));
    }
    stream.write_all(&mac(secret, b"caller", &hello, &answer)).await?;
    read_status(stream).await?;
    Ok(take_identity(&answer))
}

/// Checks a caller. `admit` decides by identity; the caller is told what it says.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    secret: &[u8],
    own: Identity,
    admit: impl Fn(Identity) -> Result<(), String>,
) -> Result<Identity, HandshakeError> {
    tokio::time::timeout(HANDSHAKE_TIMEOUT, serve_inner(stream, secret, own, admit))
        .await
        .map_err(|_| HandshakeError::TimedOut)?
}

async fn serve_inner<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    secret: &[u8],
    own: Identity,
    admit: impl Fn(Identity) -> Result<(), String>,
) -> Result<Identity, HandshakeError> {
    let mut hello = [0; CALL_BYTES];
    stream.read_exact(&mut hello).await?;
    if hello[0] == TLS_HANDSHAKE {
        let text = "the caller speaks TLS and this peer does not: set peer_tls on every peer or on none";
        return Err(HandshakeError::Refused(text.to_owned()));
    }
    if &hello[..4] != MAGIC {
        return Err(HandshakeError::Refused("the caller does not speak the peer protocol".to_owned()));
    }
    let caller = take_identity(&hello[4..]);
    let number = |at: usize| u64::from_be_bytes(hello[at..at + 8].try_into().expect("eight bytes of a fixed array"));
    let expected = Expected {
        peer: number(4 + IDENTITY_BYTES),
        incarnation: number(4 + IDENTITY_BYTES + 8),
    };
    if let Err(why) = check(own, caller, expected) {
        refuse(stream, &why).await?;
        return Err(HandshakeError::Refused(why));
    }
    let mut answer = Vec::with_capacity(ANSWER_BYTES);
    put_identity(&mut answer, own);
    answer.extend_from_slice(&nonce());
    let mut message = vec![0];
    message.extend_from_slice(&answer);
    message.extend_from_slice(&mac(secret, b"server", &hello, &answer));
    stream.write_all(&message).await?;
    let mut proof = [0; MAC_BYTES];
    stream.read_exact(&mut proof).await?;
    let verdict = if bool::from(proof.ct_eq(&mac(secret, b"caller", &hello, &answer))) {
        admit(caller)
    } else {
        Err("the cluster secrets differ: the caller does not know ours; start both with the same --cluster-secret-file".to_owned())
    };
    match verdict {
        Ok(()) => {
            stream.write_all(&[0]).await?;
            Ok(caller)
        }
        Err(why) => {
            refuse(stream, &why).await?;
            Err(HandshakeError::Refused(why))
        }
    }
}

/// Whether caller and server belong together, as far as both know.
fn check(own: Identity, caller: Identity, expected: Expected) -> Result<(), String> {
    if own.cluster.0 != 0 && caller.cluster.0 != 0 && own.cluster != caller.cluster {
        return Err(format!(
            "this peer belongs to cluster {}, the caller to {}",
            own.cluster, caller.cluster
        ));
    }
    if expected.peer != 0 && own.peer != 0 && expected.peer != own.peer {
        return Err(format!("this is peer {}, the caller expects peer {}", own.peer, expected.peer));
    }
    if expected.incarnation != 0 && expected.incarnation != own.incarnation.0 && !mutant!("emptied-disk-under-old-id") {
        return Err(format!(
            "this data directory is incarnation {}, the caller expects {:016x}: its disk was emptied or replaced, it needs a new peer id",
            own.incarnation, expected.incarnation
        ));
    }
    Ok(())
}

async fn refuse<S: AsyncWrite + Unpin>(stream: &mut S, why: &str) -> std::io::Result<()> {
    let text = &why.as_bytes()[..why.len().min(1_000)];
    let mut message = vec![1];
    message.extend_from_slice(&(text.len() as u16).to_be_bytes());
    message.extend_from_slice(text);
    stream.write_all(&message).await?;
    stream.shutdown().await
}

async fn read_status<S: AsyncRead + Unpin>(stream: &mut S) -> Result<(), HandshakeError> {
    match stream.read_u8().await? {
        0 => return Ok(()),
        TLS_ALERT => {
            let text = "the other side speaks TLS and this peer does not: set peer_tls on every peer or on none";
            return Err(HandshakeError::Refused(text.to_owned()));
        }
        _ => {}
    }
    let length = stream.read_u16().await?.min(1_000);
    let mut text = vec![0; usize::from(length)];
    stream.read_exact(&mut text).await?;
    Err(HandshakeError::Refused(String::from_utf8_lossy(&text).into_owned()))
}

fn put_identity(out: &mut Vec<u8>, identity: Identity) {
    out.extend_from_slice(&identity.cluster.0.to_be_bytes());
    out.extend_from_slice(&identity.peer.to_be_bytes());
    out.extend_from_slice(&identity.incarnation.0.to_be_bytes());
}

fn take_identity(bytes: &[u8]) -> Identity {
    let mut cluster = [0; 16];
    let (mut peer, mut incarnation) = ([0; 8], [0; 8]);
    cluster.copy_from_slice(&bytes[..16]);
    peer.copy_from_slice(&bytes[16..24]);
    incarnation.copy_from_slice(&bytes[24..32]);
    Identity {
        cluster: ClusterId(u128::from_be_bytes(cluster)),
        peer: u64::from_be_bytes(peer),
        incarnation: Incarnation(u64::from_be_bytes(incarnation)),
    }
}

fn nonce() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness; without it no handshake is safe");
    bytes
}

fn mac(secret: &[u8], side: &[u8], hello: &[u8], answer: &[u8]) -> [u8; MAC_BYTES] {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret).expect("HMAC takes keys of any length");
    for part in [side, hello, answer] {
        mac.update(&(part.len() as u64).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(cluster: u128, peer: u64, incarnation: u64) -> Identity {
        Identity {
            cluster: ClusterId(cluster),
            peer,
            incarnation: Incarnation(incarnation),
        }
    }

    async fn shake(
        secrets: (&str, &str),
        caller: Identity,
        server: Identity,
        expected: Expected,
    ) -> (Result<Identity, HandshakeError>, Result<Identity, HandshakeError>) {
        let (mut left, mut right) = tokio::io::duplex(4_096);
        let calling = call(&mut left, secrets.0.as_bytes(), caller, expected);
        let serving = serve(&mut right, secrets.1.as_bytes(), server, |_| Ok(()));
        tokio::join!(calling, serving)
    }

    #[tokio::test]
    async fn both_sides_learn_who_the_other_is() {
        let (caller, server) = (identity(1, 1, 11), identity(1, 2, 22));
        let (called, served) = shake(("s", "s"), caller, server, Expected { peer: 2, incarnation: 22 }).await;
        assert_eq!(called.expect("accepted"), server);
        assert_eq!(served.expect("accepted"), caller);
    }

    #[tokio::test]
    async fn every_mismatch_is_refused_and_named() {
        let cases = [
            (("s", "t"), identity(1, 2, 22), Expected::default(), "cluster secret"),
            (("s", "s"), identity(9, 2, 22), Expected::default(), "belongs to cluster"),
            (
                ("s", "s"),
                identity(1, 3, 22),
                Expected { peer: 2, incarnation: 0 },
                "expects peer 2",
            ),
            (("s", "s"), identity(1, 2, 23), Expected { peer: 2, incarnation: 22 }, "incarnation"),
        ];
        for (secrets, server, expected, text) in cases {
            let (called, served) = shake(secrets, identity(1, 1, 11), server, expected).await;
            let called = called.expect_err("refused").to_string();
            assert!(called.contains(text), "{called} lacks {text}");
            assert!(served.is_err());
        }
    }

    #[tokio::test]
    async fn tls_on_one_side_only_is_named() {
        let (mut left, mut right) = tokio::io::duplex(4_096);
        left.write_all(&[TLS_HANDSHAKE; CALL_BYTES]).await.expect("written");
        let served = serve(&mut right, b"s", identity(1, 1, 1), |_| Ok(())).await;
        assert!(served.expect_err("refused").to_string().contains("the caller speaks TLS"));
        right.write_all(&[TLS_ALERT, 3, 3, 0, 2, 2, 10]).await.expect("written");
        let called = call(&mut left, b"s", identity(1, 1, 1), Expected::default()).await;
        assert!(called.expect_err("refused").to_string().contains("the other side speaks TLS"));
    }

    #[tokio::test]
    async fn noise_is_refused() {
        let (mut left, mut right) = tokio::io::duplex(4_096);
        left.write_all(&[b'x'; CALL_BYTES]).await.expect("written");
        assert!(serve(&mut right, b"s", identity(1, 1, 1), |_| Ok(())).await.is_err());
    }
}
