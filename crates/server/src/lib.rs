//! One peer as a process: listeners, front ends, forwarding, configuration.
//!
//! [`serve::start`] opens the data directory, finds the peer's place in the cluster and serves two ports: the public one
//! (Doris HTTP and gRPC, native gRPC, the same as HTTP+JSON, health, metrics) and the peer one (Raft and forwarding, always authenticated).
//!
//! Front ends translate: a request becomes a command or a query, an outcome becomes a reply in the caller's protocol. They
//! never write state except by proposing a command.
//!
//! Reading order: [`config`], [`app`] (what every front end has at hand), [`serve`], [`listener`], [`doris`],
//! [`doris_grpc`], [`native`], [`api`], [`peer`].

pub mod api;
pub mod app;
#[cfg(feature = "audit")]
mod audit;
pub mod cluster_settings;
pub mod config;
pub mod config_table;
pub mod doris;
pub mod doris_grpc;
mod ended_jobs;
#[cfg(feature = "failpoints")]
pub mod failpoints;
pub mod jobs;
pub mod limits;
pub mod listener;
pub mod metrics;
pub mod native;
mod nearest;
pub mod networks;
pub mod open_files;
pub mod ops;
pub mod peer;
pub mod rate_limiter;
pub mod recover;
pub mod root_keys;
pub mod rpc_table;
pub mod secrets;
pub mod serve;
pub mod slow;
pub mod tls;
