//! Long work of a peer: the leader's reconcilers, and the worker that moves bytes.
//!
//! A reconciler looks at the state and proposes what should come next; it keeps nothing but clocks, so a new leader goes on where
//! the old one stopped. A worker claims tasks, does them, and reports; what it does under a claim that it has lost changes nothing.
//! Everything either of them decides is decided again where the command is applied.
//!
//! ```text
//!           Query, Propose                        WorkSource                     Vaults
//! state <------------------- reconcile   worker ------------> claims, reports      |
//!   ^                                      |  |                                    v
//!   +--------------------------------------+  +--------------------------> files, copied and verified
//! ```
//!
//! Reading order: [`reconcile`] (the loop and its steps), [`work_source`] (what a worker asks for), [`worker`], [`vaults`].
//! This crate refuses to know consensus, listeners and configuration files: who runs it says where state and vaults are.

pub mod complaints;
pub mod counters;
pub mod reconcile;
pub mod settings;
pub mod vault_health;
pub mod vaults;
pub mod work_source;
pub mod worker;

pub use counters::Counters;
pub use reconcile::Reconciler;
pub use settings::Settings;
pub use vault_health::VaultHealth;
pub use vaults::Vaults;
pub use work_source::{LocalWork, Wanted, WorkSource};
pub use worker::Worker;
