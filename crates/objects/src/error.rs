//! What can go wrong with objects, and what may be done about it.
//!
//! Messages name the vault's place (directory, or bucket) and the object. They are built from the store's error *code* and *message*,
//! never from whole requests or replies, so that no credential can get into them.

use quorate_model::{ErrorCode, MetaError, RetryClass};

/// The kinds callers decide by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectErrorKind {
    /// The object, or the bucket it should be in, does not exist.
    NotFound,
    /// The target exists and was not to be replaced.
    AlreadyExists,
    /// The credentials, or the owner of the directory, do not allow it.
    PermissionDenied,
    /// The store cannot be reached or answers with its own failure.
    StoreDown,
    /// The store asks for a slower pace.
    Busy,
    /// No room left.
    DiskFull,
    /// The object has another length than was recorded.
    SizeMismatch,
    /// The object has other content than was recorded.
    ChecksumMismatch,
    /// A copy that was just written reads back as something else, or has arrived as something else at its store: writing it again may
    /// succeed, here or elsewhere.
    BadCopy,
    /// The call itself is wrong: a path, a bound, a setting.
    Invalid,
    /// The directory is not the vault it was taken for.
    WrongMarker,
    /// The object's bytes are not in the format they should be in.
    Malformed,
    /// The store has no such request, or not in this form. Some of them can be done in another way.
    Unsupported,
    /// Anything the file system or the store says that has no kind of its own.
    Failed,
}

/// An error of an object store, with the object's place in its message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ObjectError {
    pub kind: ObjectErrorKind,
    pub message: String,
}

pub type Result<T> = std::result::Result<T, ObjectError>;

impl ObjectError {
    pub fn new(kind: ObjectErrorKind, message: impl Into<String>) -> ObjectError {
        ObjectError {
            kind,
            message: message.into(),
        }
    }

    pub fn invalid(message: impl Into<String>) -> ObjectError {
        ObjectError::new(ObjectErrorKind::Invalid, message)
    }

    pub fn malformed(message: impl Into<String>) -> ObjectError {
        ObjectError::new(ObjectErrorKind::Malformed, message)
    }

    /// Whether the same call can succeed later without anybody correcting anything but the store: what its code says.
    pub fn can_retry(&self) -> bool {
        self.kind.code().row().retry != RetryClass::Never
    }

    /// Whether it says that the vault as a whole cannot be used now, whatever object was meant.
    pub fn concerns_the_vault(&self) -> bool {
        use ObjectErrorKind::{Busy, StoreDown, WrongMarker};
        matches!(self.kind, StoreDown | Busy | WrongMarker)
    }

    /// Whether waiting seconds is likely to be enough; a full disk needs somebody to make room.
    pub(crate) fn passes_soon(&self) -> bool {
        matches!(self.kind, ObjectErrorKind::StoreDown | ObjectErrorKind::Busy)
    }

    /// What the file system said about `object`, a path shown in the message.
    pub(crate) fn io(doing: &str, object: impl std::fmt::Display, error: &std::io::Error) -> ObjectError {
        use std::io::ErrorKind;
        let kind = match error.kind() {
            ErrorKind::NotFound => ObjectErrorKind::NotFound,
            ErrorKind::AlreadyExists => ObjectErrorKind::AlreadyExists,
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => ObjectErrorKind::PermissionDenied,
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => ObjectErrorKind::DiskFull,
            ErrorKind::NotADirectory | ErrorKind::IsADirectory | ErrorKind::InvalidFilename => ObjectErrorKind::Invalid,
            ErrorKind::TimedOut | ErrorKind::StaleNetworkFileHandle => ObjectErrorKind::StoreDown,
            _ => ObjectErrorKind::Failed,
        };
        let advice = match kind {
            ObjectErrorKind::DiskFull => "; free space on the vault's file system",
            ObjectErrorKind::PermissionDenied => "; give the peer's user access to the vault's directory",
            _ => "",
        };
        ObjectError::new(kind, format!("cannot {doing} {object}: {error}{advice}"))
    }
}

impl ObjectErrorKind {
    /// What callers of the cluster are told.
    fn code(self) -> ErrorCode {
        match self {
            ObjectErrorKind::NotFound => ErrorCode::NotFound,
            ObjectErrorKind::AlreadyExists => ErrorCode::AlreadyExists,
            ObjectErrorKind::Invalid => ErrorCode::InvalidArgument,
            ObjectErrorKind::DiskFull => ErrorCode::StorageFull,
            ObjectErrorKind::Busy | ObjectErrorKind::StoreDown => ErrorCode::TooManyRequests,
            ObjectErrorKind::PermissionDenied
            | ObjectErrorKind::SizeMismatch
            | ObjectErrorKind::ChecksumMismatch
            | ObjectErrorKind::WrongMarker
            | ObjectErrorKind::Malformed => ErrorCode::PreconditionFailed,
            ObjectErrorKind::Unsupported => ErrorCode::VaultUnusable,
            ObjectErrorKind::BadCopy | ObjectErrorKind::Failed => ErrorCode::Internal,
        }
    }
}

impl From<ObjectError> for MetaError {
    fn from(error: ObjectError) -> MetaError {
        MetaError::new(error.kind.code(), error.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_store_may_get_over_is_tried_again_and_nothing_else() {
        use ObjectErrorKind::*;
        let can_retry = |kind| ObjectError::new(kind, "x").can_retry();
        assert!([StoreDown, Busy, DiskFull].into_iter().all(can_retry));
        assert!(
            ![NotFound, AlreadyExists, PermissionDenied, SizeMismatch, Invalid, WrongMarker]
                .into_iter()
                .any(can_retry)
        );
    }

    #[test]
    fn a_full_disk_and_a_missing_right_say_what_to_do() {
        let full = ObjectError::io("write", "/v/a", &std::io::Error::from_raw_os_error(28));
        assert_eq!(full.kind, ObjectErrorKind::DiskFull);
        assert!(full.message.contains("/v/a") && full.message.contains("free space"), "{full}");
        let denied = ObjectError::io("write", "/v/a", &std::io::Error::from_raw_os_error(13));
        assert_eq!(denied.kind, ObjectErrorKind::PermissionDenied);
    }
}
