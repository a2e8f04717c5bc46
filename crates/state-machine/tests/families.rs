//! Families of instances against plain maps: clones of clones with snapshots, compactions, restores and drops in any order. Whatever
//! lives, or a snapshot keeps, reads as it was; no file that it reads is condemned; in the end everything goes.

#[path = "families/checks.rs"]
mod checks;
#[path = "families/content.rs"]
mod content;
#[path = "families/members.rs"]
mod members;
#[path = "families/model.rs"]
mod model;
#[path = "families/steps.rs"]
mod steps;
mod support;
#[path = "families/work.rs"]
mod work;

use model::{Family, Member, Moment, Sizes};
use proptest::prelude::*;
use quorate_model::{ScopeId, StampedTime};
use quorate_state_machine::commands::*;
use quorate_state_machine::condemned;
use quorate_state_machine::limits;
use std::collections::{BTreeMap, BTreeSet};
use steps::{CloneOf, Finish, Pick, Place, Step, steps};
use support::catalog_fixture::{collect_records, due_deletions};
use support::property::cases;
use support::testing::{Bench, INSTANCE};
use work::Claim;

pub struct World {
    bench: Bench,
    family: Family,
    moments: BTreeMap<u64, Moment>,
    /// Files that somebody has written, by full path.
    written: BTreeSet<String>,
    /// Full paths of files, and of directories with a slash at the end, that were ever condemned.
    condemned: BTreeSet<String>,
    seen_condemned: u64,
    claims: Vec<Claim>,
    /// By job: into which instance, under which name, and what.
    restores: BTreeMap<u64, (String, String, Sizes)>,
    names_given: usize,
    seen: Seen,
}

/// What a case came across.
#[derive(Default, Debug)]
struct Seen {
    compacted: usize,
    restored: usize,
    decoupled: usize,
    read_back: usize,
    /// With nothing left that keeps what is not seen.
    settled: usize,
}

impl World {
    fn new() -> World {
        let root = Member {
            scope: 1,
            is_writable: true,
            ..Member::default()
        };
        World {
            bench: Bench::new(),
            family: [(INSTANCE.to_owned(), root)].into(),
            moments: BTreeMap::new(),
            written: BTreeSet::new(),
            condemned: BTreeSet::new(),
            seen_condemned: 0,
            claims: Vec::new(),
            restores: BTreeMap::new(),
            names_given: 0,
            seen: Seen::default(),
        }
    }

    fn take(&mut self, step: Step) {
        let began_ms = self.bench.now_ms;
        match step {
            Step::CreateCollection(..) | Step::DropCollection(..) | Step::CreatePartition(..) | Step::DropPartition(..) => {
                self.change_objects(&step);
            }
            Step::Add(place, count) => self.add(place, count),
            Step::DropSegments(place, bits) => self.drop_segments(place, bits),
            Step::SnapshotInstance(at) => drop(self.snapshot(at, None)),
            Step::SnapshotCollection(place) => drop(self.snapshot(place.instance, Some(place.collection))),
            Step::DropSnapshot(at) => self.drop_snapshot(at),
            Step::Clone(at, kind) => self.clone_of_any(at, kind),
            Step::CloneNow(at, kind) => self.clone_now(at, kind),
            Step::Compact(at, keep) => drop(self.compact(at, keep)),
            Step::CompactWholly(at, keep, finish) => self.compact_wholly(at, keep, finish),
            Step::Decouple(at) => self.decouple(at),
            Step::DropInstance(at) => self.drop_instance(at),
            Step::Restore(snapshot, target) => self.restore(snapshot, target),
            Step::Work(job, steps) => self.work(job, steps),
            Step::Expire(claim) => self.expire(claim),
            Step::Fail(claim, can_retry) => self.fail(claim, can_retry),
            Step::Cancel(job) => self.cancel(job),
            Step::Collect(keys) => self.collect(keys),
            Step::Delete(count) => self.delete(count),
            Step::ReadBack(at) => self.read_back(at),
            Step::Wait(ms) => self.bench.now_ms += ms,
            Step::Settle => self.settle(),
        }
        self.remember(began_ms);
    }

    /// Notes the state under the revision that made it, and what was condemned meanwhile. What was the state before has been so until
    /// `began_ms` at least.
    fn remember(&mut self, began_ms: u64) {
        let contents = self
            .family
            .iter()
            .map(|(id, member)| (id.clone(), member.content.clone()))
            .collect();
        let moment = Moment { began_ms, contents };
        self.moments.entry(self.bench.machine.revision().0).or_insert(moment);
        let all = condemned::due(&self.bench.store, StampedTime(u64::MAX), None, usize::MAX).expect("reads");
        for (place, record) in all {
            if place.number > self.seen_condemned {
                match record.files.as_slice() {
                    [] => drop(self.condemned.insert(format!("{}/", record.path))),
                    files => self.condemned.extend(files.iter().map(|file| format!("{}/{file}", record.path))),
                }
            }
        }
        self.seen_condemned = self.bench.counters().last_condemned;
    }

    /// One round of all that clean-up does, with so many keys a step.
    fn collect(&mut self, keys: u32) {
        self.bench.run(&ExpireUploads { max_uploads: keys }).expect("expires");
        self.bench.run(&ExpireSnapshots { max_rows: keys }).expect("expires");
        self.bench.run(&CollectVersions { max_keys: keys }).expect("collects");
        self.bench.run(&CollectDropped { max_keys: keys }).expect("collects");
        self.remove_snapshots();
        self.bench.run(&RemoveJobs {}).expect("removes");
        collect_records(&mut self.bench);
    }

    fn delete(&mut self, count: usize) {
        let deletions = due_deletions(&self.bench).into_iter().map(|(place, _)| place).take(count).collect();
        self.bench.run(&FinishDeletion { deletions }).expect("finishes");
    }

    /// The id of one of the instances that live.
    fn pick(&self, at: Pick) -> Option<String> {
        nth(self.family.keys(), at).cloned()
    }

    fn scopes(&self) -> impl Iterator<Item = ScopeId> {
        (1..self.bench.counters().next_scope).map(ScopeId)
    }
}

/// One of some, by remainder.
fn nth<T>(some: impl ExactSizeIterator<Item = T>, at: Pick) -> Option<T> {
    let mut some = some;
    let count = some.len();
    (count > 0).then(|| some.nth(usize::from(at) % count)).flatten()
}

proptest! {
    #![proptest_config(cases(1_000))]

    #[test]
    fn whoever_is_cloned_compacted_restored_or_dropped_all_others_read_on_and_in_the_end_all_goes(
        steps in steps(),
        last in any::<Pick>(),
    ) {
        let mut world = World::new();
        for step in steps {
            world.take(step);
            world.check();
        }
        world.end(last);
    }
}

/// Goes the long way by hand, so that the cases above are known to be able to.
#[test]
fn all_kinds_of_things_happen() {
    let root = |partition| Place {
        instance: 0,
        collection: 0,
        partition,
    };
    let finish = Finish {
        loses_a_claim: true,
        then_decouple: true,
    };
    let mut world = World::new();
    let all = [
        Step::CreateCollection(root(0)),
        Step::Add(root(0), 4),
        Step::SnapshotCollection(root(0)),
        Step::CloneNow(0, CloneOf::Writable),
        Step::Restore(0, 0),
        Step::Work(0, 10),
        Step::CompactWholly(0, Some(false), finish),
        Step::Add(root(0), 1),
        Step::Wait(limits::HISTORY_WINDOW_MS / 2),
        Step::ReadBack(3),
        Step::DropSegments(root(0), 0xff),
        Step::Wait(limits::HISTORY_WINDOW_MS),
        Step::Collect(100),
        Step::Settle,
    ];
    for step in all {
        world.take(step);
        world.check();
    }
    let seen = &world.seen;
    let happened = [seen.compacted, seen.restored, seen.decoupled, seen.read_back, seen.settled];
    assert!(happened.iter().all(|count| *count > 0), "{seen:?}");
    assert!(!world.condemned.is_empty());
    world.end(0);
}
