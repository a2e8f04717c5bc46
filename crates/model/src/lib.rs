//! Domain types that every other crate shares: ids, stamped time, the one error type, rules that both sides of a call keep.
//!
//! Knows no clock, no randomness, no I/O and no async. Start reading at [`MetaError`] and its table in [`error`].

pub mod error;
pub mod file_names;
pub mod ids;
pub mod job_states;
pub mod mutants;
pub mod proto_json;
pub mod vault_paths;

pub use error::{ErrorCode, MetaError, Outcome, RetryClass};
pub use ids::{ClusterId, Incarnation, PeerId, RequestId, Revision, ScopeId, SessionId, StampedTime};
