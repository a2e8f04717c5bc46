//! Object stores, verified copies and snapshot manifests: the only crate that moves the bytes of files.
//!
//! A [`Vault`] is one named place for objects: a directory that all peers see, or a bucket of an S3 store. It is opened from a [`VaultPlace`] and
//! puts, reads, lists and deletes; [`ObjectWriter`] takes an object in pieces. [`copy_files`] copies from any vault to any other, checks size and
//! CRC-64/NVME ([`Crc64`]) of source and target, and returns when the copies are durable. [`manifest`] and [`metadata`] are the two kinds of file
//! that make a snapshot readable without this cluster.
//!
//! Rules that hold everywhere:
//!
//! - A local vault is used only while its directory carries the marker of this cluster and vault.
//! - An object gets its name when it is whole. Copies are real bytes, never links.
//! - Memory does not grow with objects or lists; every bound is in [`limits`].
//! - Errors name the place and the object, never a credential. [`ObjectError::can_retry`] tells what can pass by itself.
//! - What may be deleted, and when, is not decided here: callers name paths that a committed entry has condemned.
//!
//! The crate knows nothing of Raft, of the state machine or of jobs; time and randomness are used only for pauses and for names of unfinished
//! files. Start reading at `vault.rs`, then `copy.rs`, then `local/copying.rs` and `s3.rs`.

mod checksum;
mod copy;
mod error;
pub mod limits;
mod local;
pub mod manifest;
pub mod metadata;
mod path;
mod place;
mod retry;
mod s3;
mod vault;
mod writer;

pub use checksum::{Crc64, Crc64Hasher};
pub use copy::{Copied, CopiedBytes, CopyOptions, FileCopy, ReadBack, ServerCopy, copy_files};
pub use error::{ObjectError, ObjectErrorKind, Result};
pub use path::ObjectPath;
pub use place::{BucketStyle, Http, LocalPlace, S3Place, Secret, VaultPlace};
pub use quorate_model::file_names::MARKER_NAME;
pub use retry::Patience;
pub use vault::{Existing, MayWrite, ObjectInfo, ObjectStream, Uploaded, Vault, Written};
pub use writer::ObjectWriter;
