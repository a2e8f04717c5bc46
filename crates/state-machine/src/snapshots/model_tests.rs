//! Random lives of snapshots against a plain model: what somebody uses never goes, and every index row is what the records say.

use super::{Snapshot, find, pins as snapshot_pins};
use crate::commands::clone_instance::CloneInstanceCall;
use crate::commands::compact_snapshot::CompactSnapshotCall;
use crate::commands::*;
use crate::keys::{self, RecordTable};
use crate::limits;
use crate::property::cases;
use crate::record::ParentRecord;
use crate::snapshot_fixture::{add_collection, all_snapshots, by_id, check_indexes, commit, create, create_request, drop_by, pin, rows};
use crate::testing::{Bench, INSTANCE, prepare};
use crate::versioned::pins;
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;
use quorate_model::{ErrorCode, Revision, ScopeId};
use quorate_wire::doris::CloneInstanceRequest;
use quorate_wire::doris::clone_instance_request::CloneType;
use quorate_wire::quorate::v1::SnapshotState;
use std::collections::{BTreeMap, BTreeSet};

const SCOPE: ScopeId = ScopeId(1);

#[derive(Clone, Debug)]
enum Step {
    /// Collection (0: the instance), name, time to live in seconds.
    Create(u64, usize, u64),
    Commit(prop::sample::Index),
    Fail(prop::sample::Index),
    Drop(prop::sample::Index),
    Remove(prop::sample::Index),
    /// Time to live in seconds, random bits: few, so that ids meet.
    Pin(prop::sample::Index, u64, u64),
    Unpin(prop::sample::Index),
    Clone(prop::sample::Index),
    /// Makes and commits one that may be cloned, and clones it.
    CloneNew(usize, u64),
    /// Compacts and decouples a clone.
    Decouple(prop::sample::Index),
    Expire(u32),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let index = any::<prop::sample::Index>;
    let seconds = || prop::sample::select(vec![0u64, 1, 60]);
    let wait = prop::sample::select(vec![1u64, 1_001, 60_001, limits::EXPIRY_RETRY_MS]);
    let step = prop_oneof![
        6 => (0u64..3, 0usize..3, seconds()).prop_map(|(collection, name, ttl)| Step::Create(collection, name, ttl)),
        6 => index().prop_map(Step::Commit),
        1 => index().prop_map(Step::Fail),
        4 => index().prop_map(Step::Drop),
        4 => index().prop_map(Step::Remove),
        4 => (index(), seconds(), 0u64..8).prop_map(|(at, ttl, random)| Step::Pin(at, ttl, random)),
        2 => index().prop_map(Step::Unpin),
        2 => index().prop_map(Step::Clone),
        4 => (0usize..3, seconds()).prop_map(|(name, ttl)| Step::CloneNew(name, ttl)),
        1 => index().prop_map(Step::Decouple),
        4 => (0u32..4).prop_map(Step::Expire),
        3 => wait.prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..80)
}

/// What a snapshot should be.
#[derive(Clone, Debug)]
struct Expected {
    collection: u64,
    name: usize,
    state: SnapshotState,
    expires_ms: u64,
    /// Expiry by id; 0 for none.
    pins: BTreeMap<i64, u64>,
    clones: BTreeSet<String>,
}

impl Expected {
    fn is_used(&self, now_ms: u64) -> bool {
        !self.clones.is_empty() || self.pins.values().any(|expires_ms| *expires_ms == 0 || *expires_ms >= now_ms)
    }
}

struct Pair {
    bench: Bench,
    /// By revision; those that are gone are left out.
    snapshots: BTreeMap<u64, Expected>,
    clones_made: usize,
}

impl Pair {
    fn new() -> Pair {
        let mut bench = Bench::new();
        for number in [1, 2] {
            add_collection(&mut bench, SCOPE, number);
        }
        let scope = keys::record_in_scope(RecordTable::Scope, SCOPE).freeze();
        bench.store.rows.insert(scope, Bytes::from_static(INSTANCE.as_bytes()));
        bench.adopt_rows();
        Pair {
            bench,
            snapshots: BTreeMap::new(),
            clones_made: 0,
        }
    }

    fn pick(&self, at: prop::sample::Index) -> Option<u64> {
        let revisions: Vec<_> = self.snapshots.keys().copied().collect();
        (!revisions.is_empty()).then(|| *at.get(&revisions))
    }

    fn step(&mut self, step: Step) {
        let now_ms = self.bench.now_ms;
        match step {
            Step::Create(collection, name, ttl) => self.create(collection, name, ttl),
            Step::Wait(ms) => self.bench.now_ms += ms,
            Step::Expire(rows) => self.expire(rows),
            Step::Unpin(at) => {
                let ids: Vec<_> = self.snapshots.values().flat_map(|one| one.pins.keys().copied()).collect();
                if !ids.is_empty() {
                    let pin_id = *at.get(&ids);
                    let unpin = UnpinSnapshot {
                        pin_id,
                        ..UnpinSnapshot::default()
                    };
                    self.bench.run(&unpin).expect("unpinned");
                    for one in self.snapshots.values_mut() {
                        one.pins.remove(&pin_id);
                    }
                }
            }
            Step::Commit(at) => self.with(at, |bench, revision, one| {
                commit(bench, SCOPE, revision);
                if one.state == SnapshotState::Pending {
                    one.state = SnapshotState::Committed;
                }
            }),
            Step::Fail(at) => self.with(at, |bench, revision, one| {
                let failed = bench.run(&FailSnapshot { scope: SCOPE.0, revision }).expect("runs").failed;
                assert_eq!(failed, one.state == SnapshotState::Pending);
                if failed {
                    one.state = SnapshotState::Deleting;
                }
            }),
            Step::Drop(at) => self.with(at, |bench, revision, one| match drop_by(bench, by_id(revision)) {
                Ok(existed) => {
                    assert_eq!(existed, one.state != SnapshotState::Deleting);
                    assert!(!one.is_used(now_ms), "a snapshot that is used was dropped");
                    one.state = SnapshotState::Deleting;
                    one.pins.clear();
                }
                Err(error) => {
                    assert_eq!(error.code, ErrorCode::PreconditionFailed);
                    assert!(one.is_used(now_ms), "{error}");
                }
            }),
            Step::Remove(at) => {
                let Some(revision) = self.pick(at) else { return };
                let removed = self.bench.run(&RemoveSnapshot { scope: SCOPE.0, revision }).expect("runs").removed;
                assert_eq!(removed, self.snapshots[&revision].state == SnapshotState::Deleting);
                if removed {
                    self.snapshots.remove(&revision);
                }
            }
            Step::Pin(at, ttl, random) => self.with(at, |bench, revision, one| {
                let pinned = pin(bench, by_id(revision), ttl, random);
                assert_eq!(pinned.is_ok(), one.state == SnapshotState::Committed);
                if let Ok(pinned) = pinned {
                    assert!(one.pins.insert(pinned.pin_id, pinned.expires_ms).is_none(), "an id was given twice");
                }
            }),
            Step::Clone(at) => {
                if let Some(revision) = self.pick(at) {
                    self.clone_one(revision);
                }
            }
            Step::CloneNew(name, ttl) => self.clone_new(name, ttl),
            Step::Decouple(at) => self.decouple(at),
        }
    }

    fn with(&mut self, at: prop::sample::Index, work: impl FnOnce(&mut Bench, u64, &mut Expected)) {
        if let Some(revision) = self.pick(at) {
            work(
                &mut self.bench,
                revision,
                self.snapshots.get_mut(&revision).expect("picked from it"),
            );
        }
    }

    fn create(&mut self, collection: u64, name: usize, ttl: u64) {
        let mut request = create_request(collection, ["a", "ab", "b"][name], ttl);
        if collection == 0 {
            request.collection.clear();
        }
        let is_same = |one: &Expected| one.collection == collection && one.name == name && one.state != SnapshotState::Deleting;
        let is_taken = self.snapshots.values().any(is_same);
        let created = create(&mut self.bench, request);
        assert_eq!(created.is_ok(), !is_taken);
        if let Ok(created) = created {
            let expected = Expected {
                collection,
                name,
                state: SnapshotState::Pending,
                expires_ms: created.expires_ms,
                pins: BTreeMap::new(),
                clones: BTreeSet::new(),
            };
            assert!(
                self.snapshots.insert(created.revision, expected).is_none(),
                "a revision has one snapshot"
            );
        }
    }

    fn clone_new(&mut self, name: usize, ttl: u64) {
        let known = self.snapshots.len();
        self.create(0, name, ttl);
        if self.snapshots.len() > known
            && let Some((&revision, _)) = self.snapshots.last_key_value()
        {
            commit(&mut self.bench, SCOPE, revision);
            self.snapshots
                .entry(revision)
                .and_modify(|one| one.state = SnapshotState::Committed);
            self.clone_one(revision);
        }
    }

    fn clone_one(&mut self, revision: u64) {
        self.clones_made += 1;
        let name = format!("clone{}", self.clones_made);
        let request = CloneInstanceRequest {
            from_instance_id: Some(INSTANCE.into()),
            from_snapshot_id: Some(by_id(revision).snapshot_id),
            new_instance_id: Some(name.clone()),
            clone_type: Some(CloneType::ReadOnly as i32),
            ..CloneInstanceRequest::default()
        };
        let call = CloneInstanceCall {
            request,
            ..CloneInstanceCall::default()
        };
        let cloned = self.bench.run(&prepare::<CloneInstance>(call).expect("well-formed"));
        let one = self.snapshots.get_mut(&revision).expect("picked from it");
        assert_eq!(cloned.is_ok(), one.state == SnapshotState::Committed && one.collection == 0);
        if cloned.is_ok() {
            one.clones.insert(name);
        }
    }

    fn decouple(&mut self, at: prop::sample::Index) {
        let clones: Vec<_> = self.snapshots.values().flat_map(|one| one.clones.iter().cloned()).collect();
        if clones.is_empty() {
            return;
        }
        let name = at.get(&clones).clone();
        let call = CompactSnapshotCall::Http { instance_id: name.clone() };
        let job = self
            .bench
            .run(&prepare::<CompactSnapshot>(call).expect("well-formed"))
            .expect("started")
            .job;
        let plan = PlanTasks {
            job,
            done: true,
            ..PlanTasks::default()
        };
        self.bench.run(&plan).expect("planned");
        self.bench.run(&PublishJob { job }).expect("published");
        let decouple = DecoupleInstance {
            instance_id: name.clone(),
            native: true,
        };
        self.bench.run(&decouple).expect("decoupled");
        for one in self.snapshots.values_mut() {
            one.clones.remove(&name);
        }
    }

    /// How far one run gets is its own matter: only that it takes nothing that is used, or not due.
    fn expire(&mut self, max_rows: u32) {
        let now_ms = self.bench.now_ms;
        self.bench.run(&ExpireSnapshots { max_rows }).expect("runs");
        for (revision, one) in &mut self.snapshots {
            let found = find(&self.bench.store, SCOPE, Revision(*revision))
                .expect("reads")
                .expect("a run removes no record");
            if found.state() != one.state {
                assert_eq!(found.state(), SnapshotState::Deleting);
                assert!(one.expires_ms != 0 && one.expires_ms < now_ms, "it is not due");
                assert!(!one.is_used(now_ms), "it is used");
                one.state = SnapshotState::Deleting;
                one.pins.clear();
            }
            one.pins.retain(|id, expires_ms| {
                let is_there = snapshot_pins::find(&self.bench.store, *id).expect("reads").is_some();
                assert!(
                    is_there || (*expires_ms != 0 && *expires_ms < now_ms),
                    "pin {id} ended before its time"
                );
                is_there
            });
        }
    }

    fn check(&self) {
        check_indexes(&self.bench);
        self.bench.check_content();
        let found: BTreeMap<u64, Snapshot> = all_snapshots(&self.bench).into_iter().map(|one| (one.revision.0, one)).collect();
        assert_eq!(found.keys().collect::<Vec<_>>(), self.snapshots.keys().collect::<Vec<_>>());
        for (revision, one) in &self.snapshots {
            assert_eq!(found[revision].state(), one.state, "snapshot {revision}");
            assert!(
                pins::is_pinned(&self.bench.store, SCOPE, Revision(*revision)).expect("reads"),
                "snapshot {revision} is not pinned"
            );
            let is_used = one.is_used(self.bench.now_ms);
            assert!(
                !is_used || one.state == SnapshotState::Committed,
                "snapshot {revision} is used and {:?}",
                one.state
            );
        }
        self.check_clones();
    }

    /// A SnapshotClone row stands exactly as long as its clone's pin does.
    fn check_clones(&self) {
        let mut expected = BTreeSet::new();
        for (key, value) in rows(&self.bench, RecordTable::Parent) {
            let record = ParentRecord::decode(value).expect("decodes");
            let [clone] = super::numbers_of::<1>(&key).expect("a scope");
            let (source, revision) = (ScopeId(record.source_scope), Revision(record.source_revision));
            if record.source_pin != 0 {
                expected.insert(super::clone_key(source, revision, ScopeId(clone)));
                let row = crate::versioned::rows::pin(source, revision, record.source_pin);
                assert!(self.bench.store.rows.contains_key(&row), "clone {clone} has no pin");
            }
        }
        let actual: BTreeSet<_> = rows(&self.bench, RecordTable::SnapshotClone).into_keys().collect();
        assert_eq!(actual, expected);
    }
}

proptest! {
    #![proptest_config(cases(3_000))]

    #[test]
    fn what_is_used_never_goes_and_indexes_are_what_records_say(steps in steps()) {
        let mut pair = Pair::new();
        for step in steps {
            pair.step(step);
            pair.check();
        }
    }
}
