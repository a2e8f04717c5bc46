//! What the cluster knows: commands, queries, key layout, versioned tables. Pure and synchronous.
//!
//! The consensus layer agrees on an order of entries; this crate says what each entry does to a sorted map of bytes.
//! Given the same map and the same entries, every peer computes the same writes, the same answers and the same digests.
//! So nothing here may ask for the time, a random number, the configuration, or anything else that can differ between
//! peers: the leader stamps time into the entry, the peer that received a call puts random values into the command.
//!
//! Reading order: [`store`] (what is read), [`keys`] (where things are), [`view`] (reads through a group's writes),
//! [`versioned`] (state as of a revision), [`command`] (what a command is), [`commands`] (the table), [`machine`] (a group
//! of entries becomes one batch), [`queries`] (reads).

pub mod access;
pub mod attributes;
pub mod catalog;
#[cfg(test)]
mod catalog_fixture;
pub mod changes;
pub mod clones;
pub mod cluster_request;
pub mod clusters;
pub mod collected;
pub mod command;
pub mod commands;
pub mod condemned;
pub mod digest;
pub mod dropped;
pub mod frame;
pub mod front_settings;
pub mod inherited;
pub mod instance_snapshots;
pub mod instances;
pub mod jobs;
pub mod keys;
pub mod level;
pub mod limits;
pub mod machine;
pub mod nodes;
pub mod object_ids;
pub mod object_store_keys;
pub mod object_stores;
pub mod preview;
pub mod queries;
pub mod rate_limits;
pub mod record;
pub mod recoveries;
#[cfg(test)]
mod resource_fixture;
#[cfg(test)]
mod resource_scenarios;
pub mod sealed;
pub mod service_account;
pub mod session;
pub mod settings;
#[cfg(test)]
mod snapshot_fixture;
pub mod snapshots;
#[cfg(test)]
mod storage_fixture;
pub mod storage_request;
#[cfg(test)]
mod storage_scenarios;
pub mod store;
pub mod text_bounds;
pub mod vaults;
pub mod versioned;
pub mod view;
pub mod virtual_clusters;

#[cfg(test)]
extern crate self as quorate_state_machine;
#[cfg(test)]
mod property;
#[cfg(test)]
mod testing;

pub use command::{Answer, ApplyContext, Command};
pub use machine::{Applied, EntryInput, EntryKind, Machine, MachineError, Position};
pub use store::{Cursor, Reader, StoreError};
