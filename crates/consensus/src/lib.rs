//! Agreement: the only crate that names openraft, and it lets none of its types out.
//!
//! A [`Node`] takes commands and questions from the server and answers them with the guarantees of design.md 5: an
//! acknowledged write is synced on a majority and applied here; a linearizable read sees every write acknowledged before
//! it began, at the leader and at a follower; a call that is repeated inside the cluster is executed once.
//!
//! Reading order: [`node`] (what a node offers), [`proposer`] and [`forward`] (a write's way), [`reads`] (a read's way),
//! `log_adapter`, `state_adapter` and `applier` (what openraft stands on), [`network`] and [`service`] (what peers say to
//! each other), [`bootstrap`] (how a cluster comes to be), [`maintenance`] (what runs beside), `succession` (who leads next).
//!
//! This crate refuses to know sockets (see [`transport`]) and, outside `env`, the wall clock and randomness.

mod access;
pub mod acknowledged;
mod append_latency;
mod append_stream;
pub mod applier;
pub mod bootstrap;
mod cluster_clock;
#[cfg(test)]
mod conformance;
pub mod content_scan;
mod convert;
pub mod disk;
pub mod env;
#[cfg(feature = "failpoints")]
pub mod failpoints;
#[cfg(test)]
mod fake_peer;
mod forward;
mod growth;
mod kept_tail;
mod lane_write;
mod lanes;
pub mod large_reads;
mod lease;
mod level;
mod log_adapter;
pub mod maintenance;
pub mod membership;
mod network;
pub mod node;
mod proposer;
mod reads;
pub mod rebuild;
mod receiving;
pub mod removal;
mod row_cache;
pub mod service;
pub mod settings;
mod state_adapter;
pub mod status;
pub mod steps;
mod succession;
mod transfer;
pub mod transport;
mod types;
mod unheard;
pub mod write_path;

pub use node::{Deadline, Node, NodeParts};
pub use settings::{Settings, Timing};
pub use types::PeerNode;
