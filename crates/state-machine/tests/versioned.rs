//! Versioned tables against a plain map: whatever is pinned or in the window stays readable and right while everything
//! else is removed, and refused, in the end.

mod support;

use proptest::prelude::*;
use quorate_model::{ErrorCode, Revision, ScopeId};
use quorate_state_machine::command::ApplyError;
use quorate_state_machine::commands::append_attributes::AppendAttribute;
use quorate_state_machine::commands::{AppendAttributes, CollectVersions, CreatePin, DeleteAttribute, PutAttribute, ReleasePin};
use quorate_state_machine::keys::{VersionedTable, space};
use quorate_state_machine::versioned::{PageLimit, Scan, cleanup, get_at, pins::PinKind, readable, scan_at};
use quorate_state_machine::{limits, versioned};
use std::collections::{BTreeMap, BTreeSet};
use support::property::cases;
use support::testing::{Bench, FIRST_REVISION, INSTANCE, OTHER_INSTANCE};
use support::{attribute_name, pin_kind};

const TABLE: VersionedTable = VersionedTable::Attribute;

#[derive(Clone, Debug)]
enum Step {
    Put(u64, String, u8),
    Delete(u64, String),
    /// Several keys at one revision.
    Append(BTreeSet<Key>, u8),
    /// Scope, kind, how many revisions ago (0: now), life in ms.
    Pin(u64, PinKind, u64, u64),
    /// One of the pins that were made.
    Release(prop::sample::Index),
    Collect(u32),
    Wait(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wait = prop_oneof![Just(1u64), Just(1_000), Just(300_000), Just(599_999), Just(600_000)];
    let life = prop_oneof![Just(1u64), Just(60_000), Just(600_000)];
    let step = prop_oneof![
        8 => (1u64..3, attribute_name(), any::<u8>()).prop_map(|(scope, name, value)| Step::Put(scope, name, value)),
        4 => (1u64..3, attribute_name()).prop_map(|(scope, name)| Step::Delete(scope, name)),
        3 => (prop::collection::btree_set((1u64..3, attribute_name()), 1..5), any::<u8>()).prop_map(|(keys, value)| Step::Append(keys, value)),
        3 => (1u64..3, pin_kind(), 0u64..8, life).prop_map(|(scope, kind, ago, life)| Step::Pin(scope, kind, ago, life)),
        2 => any::<prop::sample::Index>().prop_map(Step::Release),
        3 => (0u32..4).prop_map(Step::Collect),
        4 => wait.prop_map(Step::Wait),
    ];
    prop::collection::vec(step, 1..60)
}

type Key = (u64, String);
/// A revision and what it set; `None` deleted.
type Write = (u64, Option<Vec<u8>>);

/// What happened, kept for ever.
#[derive(Default)]
struct Model {
    versions: BTreeMap<Key, Vec<Write>>,
    /// Stamped time of each revision.
    times: BTreeMap<u64, u64>,
    /// Pins that have not ended: release command and expiry.
    pins: Vec<(ReleasePin, u64)>,
}

impl Model {
    fn at(&self, key: &Key, revision: u64) -> Option<(u64, Vec<u8>)> {
        let versions = self.versions.get(key)?;
        let (written, value) = versions.iter().rev().find(|(written, _)| *written <= revision)?;
        Some((*written, value.clone()?))
    }

    fn is_pinned(&self, scope: u64, from: u64, before: u64) -> bool {
        self.pins
            .iter()
            .any(|(pin, _)| pin.scope == scope && from <= pin.revision && pin.revision < before)
    }

    /// Whether the rule keeps a version written at `written` and superseded at `superseded`.
    fn is_kept(&self, scope: u64, written: u64, superseded: u64, now_ms: u64) -> bool {
        now_ms - self.times[&superseded] < limits::HISTORY_WINDOW_MS || self.is_pinned(scope, written, superseded)
    }

    /// Whether the state at `revision` must be readable: it is pinned, or was current within the window.
    fn must_read(&self, scope: u64, revision: u64, now_ms: u64) -> bool {
        let next = self.times.range(revision + 1..).next();
        let in_window = next.is_none_or(|(_, time)| now_ms - time < limits::HISTORY_WINDOW_MS);
        in_window || self.is_pinned(scope, revision, revision + 1)
    }
}

struct Pair {
    bench: Bench,
    model: Model,
}

fn instance(scope: u64) -> String {
    if scope == 1 { INSTANCE } else { OTHER_INSTANCE }.to_owned()
}

impl Pair {
    fn append(&mut self, keys: &BTreeSet<Key>, value: u8) {
        let part = |(scope, name): &Key| AppendAttribute {
            instance_id: instance(*scope),
            name: name.clone(),
            suffix: vec![value].into(),
        };
        let reply = self
            .bench
            .run(&AppendAttributes {
                appends: keys.iter().map(part).collect(),
            })
            .expect("append");
        for (key, appended) in keys.iter().zip(reply.attributes) {
            let mut value_after = self.model.at(key, u64::MAX).map(|(_, value)| value).unwrap_or_default();
            value_after.push(value);
            assert_eq!(appended.value, value_after);
            self.model
                .versions
                .entry(key.clone())
                .or_default()
                .push((appended.revision, Some(value_after)));
        }
    }

    fn note_time(&mut self) {
        let revision = self.bench.machine.revision().0;
        self.model.times.entry(revision).or_insert(self.bench.machine.stamped_time().0);
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Put(scope, name, value) => {
                let put = PutAttribute {
                    instance_id: instance(scope),
                    name: name.clone(),
                    value: vec![value].into(),
                    if_revision: None,
                };
                let revision = self.bench.run(&put).expect("put").revision;
                self.model
                    .versions
                    .entry((scope, name))
                    .or_default()
                    .push((revision, Some(vec![value])));
            }
            Step::Delete(scope, name) => {
                let delete = DeleteAttribute {
                    instance_id: instance(scope),
                    name: name.clone(),
                    if_revision: None,
                };
                let existed = self.model.at(&(scope, name.clone()), u64::MAX).is_some();
                let reply = self.bench.run(&delete).expect("delete");
                assert_eq!(reply.existed, existed);
                if existed {
                    self.model.versions.entry((scope, name)).or_default().push((reply.revision, None));
                }
            }
            Step::Append(keys, value) => self.append(&keys, value),
            Step::Pin(scope, kind, ago, life) => self.pin(scope, kind, ago, life),
            Step::Release(which) if !self.model.pins.is_empty() => {
                let (release, _) = self.model.pins.remove(which.index(self.model.pins.len()));
                assert!(self.bench.run(&release).expect("release").existed);
            }
            Step::Release(_) => {}
            Step::Collect(max_keys) => {
                self.bench.run(&CollectVersions { max_keys }).expect("collect");
                // A bounded run may not have reached every expired pin: ask the rows which are left.
                let rows = &self.bench.store.rows;
                let now = self.bench.now_ms;
                self.model.pins.retain(|(pin, expires)| {
                    let gone =
                        *expires != 0 && !rows.contains_key(&versioned::rows::pin(ScopeId(pin.scope), Revision(pin.revision), pin.pin));
                    assert!(!gone || *expires <= now, "a pin ended before its time");
                    !gone
                });
            }
            Step::Wait(ms) => self.bench.now_ms += ms,
        }
        self.note_time();
    }

    fn pin(&mut self, scope: u64, kind: PinKind, ago: u64, life: u64) {
        let current = self.bench.machine.revision().0;
        let revision = if ago == 0 { 0 } else { (current + 1).saturating_sub(ago).max(1) };
        let lifetime_ms = if kind == PinKind::Read { life } else { 0 };
        let create = CreatePin {
            scope,
            kind: kind as i32,
            revision,
            lifetime_ms,
            holder: 5,
        };
        let may = revision == 0 || readable(&self.bench.store, ScopeId(scope), Revision(revision)).is_ok();
        match self.bench.run(&create) {
            Ok(reply) => {
                assert!(may, "a pin at a revision that cannot be read");
                let release = ReleasePin {
                    scope,
                    kind: create.kind,
                    revision: reply.revision,
                    pin: reply.pin,
                };
                if !self.model.pins.iter().any(|(pin, _)| *pin == release) {
                    self.model.pins.push((release, reply.expires_ms));
                }
            }
            Err(error) => assert!(!may && error.code == ErrorCode::RevisionCollected, "{error:?}"),
        }
    }

    /// Reads at every revision: refused, or equal to the model; never refused where the rule forbids it.
    fn check_reads(&self) {
        for scope in 1..3 {
            for revision in FIRST_REVISION..=self.bench.machine.revision().0 {
                match readable(&self.bench.store, ScopeId(scope), Revision(revision)) {
                    Ok(()) => self.check_read(scope, revision),
                    Err(ApplyError::Refused(error)) => {
                        assert_eq!(error.code, ErrorCode::RevisionCollected);
                        let must = self.model.must_read(scope, revision, self.bench.machine.stamped_time().0);
                        assert!(!must, "revision {revision} of scope {scope} must be readable");
                    }
                    Err(ApplyError::Store(error)) => panic!("{error}"),
                }
            }
        }
    }

    fn check_read(&self, scope: u64, revision: u64) {
        let (store, scope_id, at) = (&self.bench.store, ScopeId(scope), Revision(revision));
        let mut expected = Vec::new();
        for (key, _) in self.model.versions.iter().filter(|(key, _)| key.0 == scope) {
            let want = self.model.at(key, revision);
            let got = get_at(store, TABLE, scope_id, key.1.as_bytes(), at).expect("reads");
            assert_eq!(
                got.map(|(written, value)| (written.0, value.to_vec())),
                want,
                "{key:?} at {revision}"
            );
            expected.extend(want.map(|(written, value)| (key.1.clone().into_bytes(), written, value)));
        }
        for prefix in ["", "a", "a\0"] {
            for limit in [
                PageLimit {
                    rows: 2,
                    ..PageLimit::default()
                },
                PageLimit {
                    keys: 1,
                    ..PageLimit::default()
                },
            ] {
                let want: Vec<_> = expected
                    .iter()
                    .filter(|(key, ..)| key.starts_with(prefix.as_bytes()))
                    .cloned()
                    .collect();
                assert_eq!(self.scan(scope_id, prefix, at, limit), want, "{prefix:?} at {revision}");
            }
        }
    }

    fn scan(&self, scope: ScopeId, prefix: &str, revision: Revision, limit: PageLimit) -> Vec<(Vec<u8>, u64, Vec<u8>)> {
        let (mut found, mut after) = (Vec::new(), None);
        loop {
            let scan = Scan {
                table: TABLE,
                scope,
                prefix: prefix.as_bytes(),
                after_key: after.as_deref(),
                revision,
                limit,
            };
            let page = scan_at(&self.bench.store, &scan).expect("scans");
            assert!(page.rows.len() <= limit.rows);
            found.extend(page.rows.into_iter().map(|row| (row.key, row.revision.0, row.value.to_vec())));
            after = page.resume_after;
            if after.is_none() {
                return found;
            }
        }
    }

    /// Collects until there is nothing to do, by steps of two keys.
    fn collect_all(&mut self) {
        for _ in 0..10_000 {
            let reply = self.bench.run(&CollectVersions { max_keys: 2 }).expect("collect");
            self.note_time();
            if !reply.more {
                let now = self.bench.machine.stamped_time();
                self.model.pins.retain(|(_, expires)| *expires == 0 || *expires > now.0);
                assert!(
                    cleanup::behind_ms(&self.bench.store, now).expect("reads").is_none(),
                    "done, but still due"
                );
                return;
            }
        }
        panic!("clean-up does not come to an end");
    }

    /// The stored versions are exactly those the rule keeps, and what was removed is refused.
    fn check_nothing_else_is_left(&self) {
        let now = self.bench.machine.stamped_time().0;
        let mut stored = 0;
        let mut collected_before = 0;
        for ((scope, name), versions) in &self.model.versions {
            let mut older_kept = false;
            for (position, (written, value)) in versions.iter().enumerate() {
                let kept = match versions.get(position + 1) {
                    Some((superseded, _)) => self.model.is_kept(*scope, *written, *superseded, now),
                    None => value.is_some() || older_kept,
                };
                older_kept |= kept;
                let key = quorate_state_machine::keys::versioned(TABLE, ScopeId(*scope), name.as_bytes(), Revision(*written));
                let present = self.bench.store.rows.contains_key(&key);
                stored += usize::from(present);
                // A tombstone that hid nothing any more may have gone before it was superseded.
                assert!(
                    present == kept || (kept && value.is_none()),
                    "{name:?} of scope {scope} written at {written}: kept {kept}"
                );
                if let (false, Some(_), Some((superseded, _))) = (present, value, versions.get(position + 1)) {
                    collected_before = collected_before.max(*superseded);
                }
            }
        }
        assert_eq!(
            self.bench.store.rows.keys().filter(|key| key[0] == space::VERSIONED).count(),
            stored
        );
        for scope in 1..3 {
            for revision in FIRST_REVISION..collected_before {
                let read = readable(&self.bench.store, ScopeId(scope), Revision(revision));
                assert_eq!(
                    read.is_ok(),
                    self.model.is_pinned(scope, revision, revision + 1),
                    "revision {revision} of scope {scope}"
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn tables_with_pins_and_collections_equal_a_plain_map(steps in steps()) {
        let mut pair = Pair { bench: Bench::new(), model: Model::default() };
        for step in steps {
            pair.take(step);
            pair.check_reads();
        }
        pair.bench.check_content();
        pair.collect_all();
        pair.check_reads();
        pair.check_nothing_else_is_left();
        pair.bench.now_ms += limits::HISTORY_WINDOW_MS;
        pair.collect_all();
        pair.check_reads();
        pair.check_nothing_else_is_left();
        for (release, _) in std::mem::take(&mut pair.model.pins) {
            pair.bench.run(&release).expect("release");
        }
        pair.collect_all();
        pair.check_nothing_else_is_left();
        let waiting = [space::CLEANUP, space::PARKED, space::RELEASED, space::PIN, space::HOLD, space::PIN_EXPIRY];
        prop_assert_eq!(pair.bench.store.rows.keys().filter(|key| waiting.contains(&key[0])).count(), 0);
        prop_assert_eq!(pair.bench.counters().pins, 0);
        pair.bench.check_content();
    }
}
