//! Object stores, verified copies and snapshot manifests: the only crate that moves the bytes of files.

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
pub use retry::Patience;
pub use vault::{Existing, ObjectInfo, ObjectStream, Vault, Written};
pub use writer::ObjectWriter;
