//! What the log's answer means to a call whose earlier attempt may have been executed.

use super::*;

#[test]
fn a_refusal_by_who_has_not_looked_says_nothing_about_an_earlier_attempt() {
    let refused = |code| Answer {
        revision: Revision(1),
        body: Err(MetaError::new(code, "no")),
    };
    let doubt = || Some("the leader changed".to_owned());
    for code in [ErrorCode::SessionExpired, ErrorCode::StorageFull, ErrorCode::UnknownCommand] {
        let settled = settle(refused(code), doubt());
        assert_eq!(settled.expect_err("in doubt").code, ErrorCode::OutcomeUnknown);
        assert!(settle(refused(code), None).is_ok(), "there was no earlier attempt");
    }
    assert!(settle(refused(ErrorCode::NotFound), doubt()).is_ok(), "the log's own word");
}
