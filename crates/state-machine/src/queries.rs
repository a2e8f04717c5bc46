//! Reads. A query is a function of one consistent reader, so what it checks and what it reads are of the same state.

pub mod attributes;
pub mod catalog;
pub mod catalog_lists;
pub mod cluster_status;
pub mod deletions;
pub mod files;
pub mod instance_list;
pub mod instance_snapshots;
pub mod instances;
pub mod jobs;
pub mod manifests;
pub mod object_stores;
pub mod page_token;
pub mod restores;
pub mod root_keys;
pub mod settings;
pub mod snapshots;
pub mod store_uses;
pub mod stored_records;

/// Why a query has no answer: refused, or the store could not be read.
pub use crate::command::ApplyError as QueryError;
