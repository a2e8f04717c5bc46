//! Raises the cluster's level ([`crate::level`]) by one. Proposed by the leader when every member's build knows the next.

use crate::command::{ApplyContext, ApplyError, Command};
use crate::level;
use crate::record::LevelRecord;
use quorate_model::{ErrorCode, MetaError};

#[derive(Clone, PartialEq, prost::Message)]
pub struct RaiseLevel {
    #[prost(uint32, tag = "1")]
    pub level: u32,
}

/// The level that holds now.
pub type RaiseLevelReply = LevelRecord;

impl Command for RaiseLevel {
    type Reply = RaiseLevelReply;

    fn apply(&self, context: &mut ApplyContext<'_, '_>) -> Result<RaiseLevelReply, ApplyError> {
        let current = context.level()?;
        let record = LevelRecord { level: self.level };
        match self.level.checked_sub(current) {
            // A leader before this one has proposed it, too.
            Some(0) => {}
            Some(1) => context.put_record(level::key(), &record),
            _ => {
                let text = format!(
                    "the cluster is at level {current} and can only be raised by one, not set to {}",
                    self.level
                );
                return Err(MetaError::new(ErrorCode::PreconditionFailed, text).into());
            }
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use crate::level::{FIRST, LEVEL};
    use crate::machine::Machine;
    use crate::testing::{Bench, command_frame, entry};

    /// A bench of a build that knows two levels more than this one.
    fn newer() -> Bench {
        let mut bench = Bench::new();
        bench.machine = Machine::open_knowing(&bench.store, LEVEL + 2).expect("opens");
        bench
    }

    fn to(level: u32) -> RaiseLevel {
        RaiseLevel { level }
    }

    #[test]
    fn a_level_is_raised_by_one_and_never_lowered() {
        let mut bench = newer();
        assert_eq!(bench.machine.level(), FIRST, "there is no row yet");
        for level in [0, FIRST + 2, u32::MAX] {
            assert_eq!(bench.refusal(&to(level)), ErrorCode::PreconditionFailed, "{level}");
        }
        let before = bench.machine.revision();
        assert_eq!(bench.run(&to(FIRST)).expect("it is there already").level, FIRST);
        assert_eq!(bench.machine.revision(), before, "nothing was written");
        assert_eq!(bench.run(&to(FIRST + 1)).expect("raised").level, FIRST + 1);
        let raised = bench.machine.revision();
        assert_eq!((raised.0, bench.machine.level()), (before.0 + 1, FIRST + 1));
        assert_eq!(bench.run(&to(FIRST + 1)).expect("another leader's").level, FIRST + 1);
        assert_eq!(bench.refusal(&to(FIRST)), ErrorCode::PreconditionFailed);
        assert_eq!((bench.machine.revision(), bench.machine.level()), (raised, FIRST + 1));
        bench.check_content();
    }

    #[test]
    fn commands_behind_it_in_the_same_entry_see_the_level_raised() {
        let mut bench = newer();
        let frames = [command_frame(0, 0, &to(FIRST + 1)), command_frame(0, 0, &to(FIRST + 2))];
        assert!(bench.entry(&frames).iter().all(|answer| answer.body.is_ok()));
        assert_eq!(bench.machine.level(), FIRST + 2);
        let opened = Machine::open_knowing(&bench.store, FIRST + 2).expect("it knows that level");
        assert_eq!(opened.level(), FIRST + 2, "the row says it");
        let golden_key = Bytes::from_static(&[0x10, 91]);
        assert_eq!(bench.store.rows.get(&golden_key), Some(&Bytes::from(vec![0x08, (FIRST + 2) as u8])));
    }

    #[test]
    fn a_build_that_does_not_know_the_level_applies_nothing_and_opens_no_such_state() {
        let mut older = Bench::new();
        older.machine = Machine::open_knowing(&older.store, FIRST).expect("opens");
        let mut newer = newer();
        let before = older.store.rows.clone();
        let ends = format!("the cluster is at level {}, this build knows up to {FIRST}; install a newer build", FIRST + 1);
        // What stands before it in the group is not written either: it is applied again by a build that can go on.
        let group = [
            entry(1, 5, &[command_frame(0, 0, &crate::commands::OpenSession::default())]),
            entry(2, 5, &[command_frame(0, 0, &to(FIRST + 1))]),
        ];
        newer.apply(&group).expect("it knows that level");
        let error = older.apply(&group).expect_err("it does not");
        assert!(error.wants_newer_build());
        assert_eq!(error.to_string(), ends);
        assert_eq!(older.store.rows, before);
        let error = Machine::open_knowing(&newer.store, FIRST).expect_err("a state of that level");
        assert_eq!(error.to_string(), ends);
    }
}
