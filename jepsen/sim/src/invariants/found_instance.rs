//! What was created is found: nobody is told that the instance does not exist who asks after its creation was acknowledged.

use super::{Held, holds};
use quorate_model::ErrorCode;

/// `was_there` says whether it was acknowledged before the call began; `refusal` is what the call was answered.
pub fn check_found(was_there: bool, refusal: ErrorCode, who: &str) -> Held {
    holds!(
        !was_there || refusal != ErrorCode::NotFound,
        "{who} was told that the instance does not exist, which had been created before"
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_may_be_absent_only_before_it_is_there() {
        assert!(check_found(true, ErrorCode::NotFound, "a read").is_err());
        assert!(check_found(false, ErrorCode::NotFound, "a read").is_ok());
        assert!(check_found(true, ErrorCode::NoLeader, "a read").is_ok());
    }
}
