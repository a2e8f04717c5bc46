//! What a command would come to if it were applied now: validation, rules and all, and nothing kept of it.
//!
//! For callers who want to know before they ask. It decides on one state as it is, so it promises nothing: what is written between
//! the question and the deed may change the answer.

use crate::command::{ApplyContext, ApplyError, Command, read_record};
use crate::keys::COUNTERS_KEY;
use crate::machine::check_extent;
use crate::record::Counters;
use crate::store::Reader;
use crate::view::View;
use quorate_model::StampedTime;

/// Applies a command to a state and throws its changes away. Refuses as [`crate::Machine`] would; ids and revisions in the reply are
/// those that the next command gets.
pub fn preview<C: Command>(reader: &dyn Reader, command: &C, now: StampedTime) -> Result<C::Reply, ApplyError> {
    let counters = read_record::<Counters>(reader, COUNTERS_KEY)?.unwrap_or_default();
    let now = now.max(StampedTime(counters.stamped_ms));
    let view = View::new(reader);
    let mut context = ApplyContext::new(&view, counters, now);
    let reply = command.apply(&mut context)?;
    check_extent(&context.changes)?;
    Ok(reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::{CreateDatabase, DropDatabase};
    use crate::testing::{Bench, INSTANCE, prepare};
    use quorate_model::ErrorCode;
    use quorate_wire::quorate::v1::{CreateDatabaseRequest, DropDatabaseRequest};

    fn create(name: &str) -> CreateDatabase {
        let request = CreateDatabaseRequest {
            instance_id: INSTANCE.to_owned(),
            name: name.to_owned(),
            ..CreateDatabaseRequest::default()
        };
        prepare::<CreateDatabase>(request).expect("well-formed")
    }

    #[test]
    fn a_preview_says_what_the_command_will_and_changes_nothing() {
        let mut bench = Bench::new();
        let before = bench.store.rows.clone();
        let now = StampedTime(bench.now_ms);
        let said = preview(&bench.store, &create("d"), now).expect("it may be created");
        assert_eq!(bench.store.rows, before);
        let made = bench.run(&create("d")).expect("created");
        assert_eq!((said.database_id, said.name), (made.database_id, made.name));
        let again = preview(&bench.store, &create("d"), now);
        assert!(
            matches!(&again, Err(ApplyError::Refused(error)) if error.code == ErrorCode::AlreadyExists),
            "{again:?}"
        );
        let drop = DropDatabaseRequest {
            instance_id: INSTANCE.to_owned(),
            name: "d".to_owned(),
        };
        let drop = prepare::<DropDatabase>(drop).expect("well-formed");
        for _ in 0..2 {
            assert!(preview(&bench.store, &drop, now).expect("it may be dropped").existed);
        }
    }
}
