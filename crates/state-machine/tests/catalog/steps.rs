//! What happens to the catalog in one case, and the names that meet in it.

use super::support::testing::{INSTANCE, OTHER_INSTANCE};
use proptest::prelude::*;
use quorate_state_machine::limits;

#[derive(Clone, Debug)]
pub enum Step {
    CreateDatabase(Side, u8),
    DropDatabase(Side, u8),
    RenameDatabase(Side, u8, u8),
    CreateCollection(Side, u8, u8),
    DropCollection(Side, u8, u8),
    RenameCollection(Side, (u8, u8), (u8, u8)),
    CreatePartition(Side, u8, u8, u8),
    RenamePartition(Side, u8, u8, (u8, u8)),
    DropPartition(Side, u8, u8, u8),
    Prepare(Side, u8, u8, u8, u32),
    /// Prepares and commits at once.
    Add(Side, u8, u8, u8, u32),
    /// Some of what is prepared.
    Commit(Side, prop::sample::Index, usize),
    Abort(Side, prop::sample::Index),
    DropSegments(Side, u8, u8, u8, u8),
    Pin(Side),
    Release(prop::sample::Index),
    /// Makes the other instance a clone, unless it is one.
    Clone,
    Collect(u32),
    Delete(usize),
    Wait(u64),
}

/// Which instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    Source,
    Other,
}

impl Side {
    pub fn scope(self) -> u64 {
        self as u64 + 1
    }

    pub fn name(self) -> String {
        [INSTANCE, OTHER_INSTANCE][self as usize].to_owned()
    }
}

/// First the source alone, then perhaps a clone of it, then both.
pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let alone = prop::collection::vec(step(Just(Side::Source).boxed()), 0..40);
    let both = prop::collection::vec(
        step(
            any::<bool>()
                .prop_map(|other| if other { Side::Other } else { Side::Source })
                .boxed(),
        ),
        1..60,
    );
    (alone, prop::bool::weighted(0.7), both).prop_map(|(alone, is_cloned, both)| {
        let first = [Step::CreateCollection(Side::Source, 0, 0), Step::Add(Side::Source, 0, 0, 0, 3)];
        let clone = is_cloned.then_some(Step::Clone);
        first.into_iter().chain(alone).chain(clone).chain(both).collect()
    })
}

fn step(side: BoxedStrategy<Side>) -> impl Strategy<Value = Step> {
    let side = || side.clone();
    let database = || prop_oneof![6 => Just(0u8), 1 => Just(1u8), 1 => Just(2u8)];
    let name = || prop_oneof![3 => Just(0u8), 1 => Just(1u8)];
    let index = || any::<prop::sample::Index>();
    let wait =
        prop_oneof![2 => Just(1u64), 2 => Just(300_000), 4 => Just(limits::HISTORY_WINDOW_MS), 1 => Just(limits::UPLOAD_LIFETIME_MS)];
    let objects = prop_oneof![
        1 => (side(), 0u8..3).prop_map(|(side, database)| Step::CreateDatabase(side, database)),
        1 => (side(), 0u8..3).prop_map(|(side, database)| Step::DropDatabase(side, database)),
        1 => (side(), 0u8..3, 0u8..3).prop_map(|(side, from, to)| Step::RenameDatabase(side, from, to)),
        6 => (side(), database(), name()).prop_map(|(side, database, name)| Step::CreateCollection(side, database, name)),
        3 => (side(), database(), name()).prop_map(|(side, database, name)| Step::DropCollection(side, database, name)),
        2 => (side(), (database(), name()), (database(), name())).prop_map(|(side, from, to)| Step::RenameCollection(side, from, to)),
        3 => (side(), database(), name(), name()).prop_map(|(side, d, c, p)| Step::CreatePartition(side, d, c, p)),
        1 => (side(), database(), name(), (name(), name())).prop_map(|(side, d, c, p)| Step::RenamePartition(side, d, c, p)),
        2 => (side(), database(), name(), name()).prop_map(|(side, d, c, p)| Step::DropPartition(side, d, c, p)),
    ];
    let segments = prop_oneof![
        2 => (side(), database(), name(), name(), 1u32..4).prop_map(|(side, d, c, p, count)| Step::Prepare(side, d, c, p, count)),
        2 => (side(), index(), 1usize..4).prop_map(|(side, first, count)| Step::Commit(side, first, count)),
        8 => (side(), database(), name(), name(), 1u32..4).prop_map(|(side, d, c, p, count)| Step::Add(side, d, c, p, count)),
        1 => (side(), index()).prop_map(|(side, first)| Step::Abort(side, first)),
        5 => (side(), database(), name(), name(), any::<u8>()).prop_map(|(side, d, c, p, which)| Step::DropSegments(side, d, c, p, which)),
    ];
    let others = prop_oneof![
        3 => side().prop_map(Step::Pin),
        3 => index().prop_map(Step::Release),
        5 => (1u32..12).prop_map(Step::Collect),
        1 => (1usize..5).prop_map(Step::Delete),
        4 => wait.prop_map(Step::Wait),
    ];
    prop_oneof![3 => objects, 4 => segments, 3 => others]
}

pub fn database_name(number: u8) -> String {
    ["default", "d1", "d2"][number as usize].to_owned()
}

pub fn collection_name(number: u8) -> String {
    format!("c{number}")
}

pub fn partition_name(number: u8) -> String {
    ["_default", "p1"][number as usize].to_owned()
}
