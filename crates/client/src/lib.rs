//! Rust client of a Quorate cluster over its public gRPC API.
//!
//! [`Client::open`] takes the public addresses of any peers; one that answers is enough. The client
//! - finds the leader by following redirects and remembers it, and lets any peer forward when the leader cannot be reached;
//! - numbers its writes within a session, so that a write repeated after a lost answer is executed once;
//! - retries what the error table of `quorate-model` allows, with growing pauses, until the deadline of the call;
//! - says of every failed write whether it can have happened ([`ClientError::outcome`]).
//!
//! Reads choose what they may miss ([`Read`]): nothing acknowledged, whatever the peer has not applied yet, or everything
//! after a revision. A client reads its own writes at any peer with `Read::at_least(client.last_revision())`.
//!
//! ```no_run
//! # async fn tour() -> Result<(), quorate_client::ClientError> {
//! use quorate_client::{Client, Read};
//! let client = Client::open(["127.0.0.1:5000", "127.0.0.1:5010"])?;
//! let put = client.put("warehouse", "owner", "alice").await?;
//! let got = client.get("warehouse", "owner", Read::linearizable()).await?;
//! assert_eq!(got.value.map(|attribute| attribute.revision), Some(put.revision));
//! client.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! Refuses to know: private endpoints, Raft, what an attribute means. Start reading at `client.rs` (the calls), then
//! `attempts.rs` (one call, several tries) and `verdict.rs` (what one failed try means).

mod attempts;
mod backoff;
mod client;
mod connector;
mod error;
mod options;
mod peers;
mod session;
pub mod tls;
mod verdict;

#[cfg(test)]
mod fake_cluster;
#[cfg(test)]
mod tests;

pub use client::Client;
pub use connector::{Connection, Connector};
pub use error::{ClientError, Failure};
pub use options::{Answer, ClientOptions, ListPage, Read};
pub use quorate_model::{ErrorCode, Outcome};
pub use quorate_wire::quorate::v1::{Attribute, Finding, PeerStatus, StatusReply};
pub use tls::TlsOptions;
pub use verdict::is_decided_by_the_state;
