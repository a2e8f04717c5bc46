//! What happens to a family of instances in one case.
//!
//! A [`Pick`] chooses among whatever there is by then: its remainder counts.

use proptest::prelude::*;
use quorate_state_machine::limits;

pub type Pick = u16;

/// Which instance of those that live, and which of its two collections and partitions.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub instance: Pick,
    pub collection: u8,
    pub partition: u8,
}

#[derive(Clone, Debug)]
pub enum Step {
    CreateCollection(Place),
    DropCollection(Place),
    CreatePartition(Place),
    DropPartition(Place),
    Add(Place, u32),
    /// Those that a bit is set for.
    DropSegments(Place, u8),
    /// Of the instance, or of one collection; committed at once.
    SnapshotInstance(Pick),
    SnapshotCollection(Place),
    DropSnapshot(Pick),
    /// Of one of all snapshots.
    Clone(Pick, CloneOf),
    /// Of a new snapshot.
    CloneNow(Pick, CloneOf),
    /// Unset: as the clone's stores suggest.
    Compact(Pick, Option<bool>),
    /// The same, all of its job.
    CompactWholly(Pick, Option<bool>, Finish),
    Decouple(Pick),
    DropInstance(Pick),
    /// A collection out of one of all snapshots, into one of all instances.
    Restore(Pick, Pick),
    /// The next step of one of the jobs, so often.
    Work(Pick, u8),
    /// A claim is lost; its worker does not know.
    Expire(Pick),
    Fail(Pick, bool),
    Cancel(Pick),
    /// Whatever is due, in steps of so many keys.
    Collect(u32),
    Delete(usize),
    /// Reads all instances as they were at some revision.
    ReadBack(Pick),
    Wait(u64),
    /// Everything that can be dropped of snapshots and jobs is, and clean-up comes to its end.
    Settle,
}

/// How a compaction goes on.
#[derive(Clone, Copy, Debug)]
pub struct Finish {
    /// The first claim is lost.
    pub loses_a_claim: bool,
    pub then_decouple: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloneOf {
    ReadOnly,
    /// With the stores of its source.
    Writable,
    OwnStore,
}

impl Place {
    fn of_the_root(partition: u8) -> Place {
        Place {
            instance: 0,
            collection: 0,
            partition,
        }
    }
}

pub fn steps() -> impl Strategy<Value = Vec<Step>> {
    let begin = [
        Step::CreateCollection(Place::of_the_root(0)),
        Step::CreatePartition(Place::of_the_root(1)),
        Step::Add(Place::of_the_root(0), 3),
        Step::Add(Place::of_the_root(1), 2),
    ];
    prop::collection::vec(step(), 1..70).prop_map(move |steps| begin.iter().cloned().chain(steps).collect())
}

fn place() -> impl Strategy<Value = Place> {
    let small = || prop_oneof![3 => Just(0u8), 1 => Just(1u8)];
    (any::<Pick>(), small(), small()).prop_map(|(instance, collection, partition)| Place {
        instance,
        collection,
        partition,
    })
}

fn step() -> impl Strategy<Value = Step> {
    let index = any::<Pick>;
    let kind = || prop::sample::select(vec![CloneOf::ReadOnly, CloneOf::Writable, CloneOf::Writable, CloneOf::OwnStore]);
    let keep = || prop::sample::select(vec![None, Some(false), Some(true)]);
    let wait = prop_oneof![
        3 => Just(1_000u64),
        4 => Just(limits::HISTORY_WINDOW_MS),
        1 => Just(limits::UPLOAD_LIFETIME_MS),
    ];
    let content = prop_oneof![
        2 => place().prop_map(Step::CreateCollection),
        2 => place().prop_map(Step::DropCollection),
        2 => place().prop_map(Step::CreatePartition),
        2 => place().prop_map(Step::DropPartition),
        4 => (place(), 1u32..4).prop_map(|(place, count)| Step::Add(place, count)),
        4 => (place(), any::<u8>()).prop_map(|(place, bits)| Step::DropSegments(place, bits)),
    ];
    let finish = (any::<bool>(), prop::bool::weighted(0.7)).prop_map(|(loses_a_claim, then_decouple)| Finish {
        loses_a_claim,
        then_decouple,
    });
    let family = prop_oneof![
        1 => index().prop_map(Step::SnapshotInstance),
        1 => place().prop_map(Step::SnapshotCollection),
        3 => index().prop_map(Step::DropSnapshot),
        1 => (index(), kind()).prop_map(|(at, kind)| Step::Clone(at, kind)),
        4 => (index(), kind()).prop_map(|(at, kind)| Step::CloneNow(at, kind)),
        2 => (index(), keep()).prop_map(|(at, keep)| Step::Compact(at, keep)),
        4 => (index(), keep(), finish).prop_map(|(at, keep, finish)| Step::CompactWholly(at, keep, finish)),
        1 => index().prop_map(Step::Decouple),
        2 => index().prop_map(Step::DropInstance),
        1 => (index(), index()).prop_map(|(snapshot, target)| Step::Restore(snapshot, target)),
    ];
    let jobs = prop_oneof![
        8 => (index(), 1u8..6).prop_map(|(job, steps)| Step::Work(job, steps)),
        1 => index().prop_map(Step::Expire),
        1 => (index(), prop::bool::weighted(0.7)).prop_map(|(claim, retry)| Step::Fail(claim, retry)),
        1 => index().prop_map(Step::Cancel),
    ];
    let others = prop_oneof![
        4 => (1u32..16).prop_map(Step::Collect),
        1 => (1usize..5).prop_map(Step::Delete),
        1 => index().prop_map(Step::ReadBack),
        3 => wait.prop_map(Step::Wait),
        1 => Just(Step::Settle),
    ];
    prop_oneof![4 => content, 4 => family, 3 => jobs, 4 => others]
}

pub fn collection_name(number: u8) -> String {
    format!("c{number}")
}

pub fn partition_name(number: u8) -> String {
    ["_default", "p1"][usize::from(number)].to_owned()
}
