//! What one peer keeps on disk, and nothing about what it means.
//!
//! The Raft log is a promise: an entry or a vote that was reported durable is there after any crash, or the peer refuses
//! to start and says so. A store that opens with less than it promised can elect a leader without committed data, so
//! every format here is built to tell *damage of acknowledged data* from *a write that never finished*.
//!
//! - [`codec`]: Raft's own records (vote, log id, membership, entry) and their bytes.
//! - [`log`]: the contract [`log::LogStore`], the segment files behind it ([`log::FileLog`]) and an in-memory twin with a
//!   model of fsync for simulations ([`log::MemoryLog`]). `LOG.md` beside this crate shows the format and what each kind
//!   of damage leads to.
//!
//! - [`state`]: the sorted map the commands change, in RocksDB, with checkpoints; and its in-memory twin. `STATE.md` shows its
//!   files and what each kind of damage leads to.
//! - [`identity`]: whose directory this is.
//!
//! This crate refuses to know openraft, tokio, the network and what an instance is: commands are opaque bytes. A failed
//! write or sync is never retried; the caller's `on_fatal` stops the process.
//!
//! Start reading at [`log::LogStore`], then `log/writer.rs` (how bytes get there) and `log/recovery.rs` (how they come
//! back).

pub mod ballast;
mod checked_text;
pub mod codec;
pub mod identity;
pub mod log;
pub mod recovery;
pub mod state;
