//! Why a task did not succeed, and whether another try can.

use super::passes;
use quorate_model::{ErrorCode, MetaError};
use quorate_objects::{ObjectError, ObjectErrorKind};

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub reason: String,
    pub can_retry: bool,
    /// Another machine may be able to do it, because it is about what this one reaches: this worker leaves the job to others for a while.
    pub is_of_this_machine: bool,
    /// A vault as a whole cannot be used now: no attempt of the task, which waits until that has passed or its job's time is over.
    pub is_of_the_vault: bool,
}

impl Failure {
    /// What no repetition changes.
    pub fn for_good(reason: String) -> Failure {
        Failure {
            reason,
            can_retry: false,
            is_of_this_machine: false,
            is_of_the_vault: false,
        }
    }

    /// A file is not where it was, and the state says by now that it is elsewhere: the next claim is told where.
    pub fn moved(error: ObjectError) -> Failure {
        Failure {
            reason: format!("{}; its segment was moved meanwhile", error.message),
            can_retry: true,
            is_of_this_machine: false,
            is_of_the_vault: false,
        }
    }

    /// A vault that cannot be opened may come back: a share that is not mounted, a store that is down.
    pub fn of_vault(error: ObjectError) -> Failure {
        Failure {
            is_of_the_vault: error.concerns_the_vault(),
            reason: error.message,
            can_retry: true,
            is_of_this_machine: true,
        }
    }
}

impl From<ObjectError> for Failure {
    fn from(error: ObjectError) -> Failure {
        let can_retry = match error.kind {
            // The source is gone from where the state says it is, or is not what was recorded, or the call is wrong, or the store has none
            // of its kind: it stays so.
            ObjectErrorKind::NotFound
            | ObjectErrorKind::SizeMismatch
            | ObjectErrorKind::ChecksumMismatch
            | ObjectErrorKind::Malformed
            | ObjectErrorKind::Invalid
            | ObjectErrorKind::Unsupported => false,
            // Somebody gives the right, mounts the share, or frees space meanwhile. What exists lies in this claim's own directory.
            ObjectErrorKind::PermissionDenied
            | ObjectErrorKind::WrongMarker
            | ObjectErrorKind::StoreDown
            | ObjectErrorKind::Busy
            | ObjectErrorKind::DiskFull
            | ObjectErrorKind::AlreadyExists
            | ObjectErrorKind::BadCopy
            | ObjectErrorKind::Failed => true,
        };
        Failure {
            reason: error.message,
            can_retry,
            is_of_this_machine: true,
            is_of_the_vault: false,
        }
    }
}

impl From<MetaError> for Failure {
    fn from(error: MetaError) -> Failure {
        Failure {
            // An internal error is that of one peer; the next attempt may be answered by another.
            can_retry: passes(&error) || error.code == ErrorCode::Internal,
            reason: error.message,
            is_of_this_machine: false,
            is_of_the_vault: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_copy_is_made_again_and_a_wrong_source_is_not() {
        let can_retry = |kind| Failure::from(ObjectError::new(kind, "x")).can_retry;
        assert!(can_retry(ObjectErrorKind::BadCopy));
        assert!(!can_retry(ObjectErrorKind::ChecksumMismatch) && !can_retry(ObjectErrorKind::SizeMismatch));
        assert!(!can_retry(ObjectErrorKind::Unsupported), "the store stays the same");
    }

    #[test]
    fn a_full_disk_is_tried_again_and_counts_as_an_attempt() {
        let full = Failure::from(ObjectError::new(ObjectErrorKind::DiskFull, "x"));
        // A job that waited for room would keep what it has copied from those who need it.
        assert!(full.can_retry && !full.is_of_the_vault);
        assert!(!Failure::of_vault(ObjectError::new(ObjectErrorKind::DiskFull, "x")).is_of_the_vault);
    }

    #[test]
    fn what_one_peer_could_not_do_is_tried_again_and_what_all_refuse_is_not() {
        let can_retry = |code| Failure::from(MetaError::new(code, "x")).can_retry;
        for code in [
            ErrorCode::Internal,
            ErrorCode::OutcomeUnknown,
            ErrorCode::NoLeader,
            ErrorCode::NotReady,
        ] {
            assert!(can_retry(code), "{code:?}");
        }
        for code in [ErrorCode::InvalidArgument, ErrorCode::TooLarge, ErrorCode::NotFound] {
            assert!(!can_retry(code), "{code:?}");
        }
    }
}
