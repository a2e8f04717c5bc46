use super::*;
use crate::attributes::index_key;
use crate::commands::{CollectDropped, CollectInstance, CreatePin, DeleteAttribute, DropInstance, PutAttribute, ReleasePin};
use crate::keys::space;
use crate::testing::{Bench, INSTANCE, command_frame, entry};
use crate::versioned::pins::PinKind;
use crate::store::{Cursor, MapStore, Reader, StoreError};
use crate::versioned::{cleanup::behind_ms, readable};
use crate::view::View;
use bytes::Bytes;
use quorate_model::{ErrorCode, Revision, StampedTime};
use std::cell::Cell;

fn put(bench: &mut Bench, name: &str) -> u64 {
    let command = PutAttribute {
        instance_id: INSTANCE.into(),
        name: name.into(),
        value: "v".into(),
        if_revision: None,
    };
    bench.run(&command).expect("put").revision
}

fn delete(bench: &mut Bench, name: &str) -> u64 {
    bench
        .run(&DeleteAttribute {
            instance_id: INSTANCE.into(),
            name: name.into(),
            if_revision: None,
        })
        .expect("delete")
        .revision
}

fn pin(bench: &mut Bench, kind: PinKind, revision: u64, lifetime_ms: u64) -> ReleasePin {
    let create = CreatePin {
        scope: 1,
        kind: kind as i32,
        revision,
        lifetime_ms,
        holder: 7,
    };
    let reply = bench.run(&create).expect("pin");
    ReleasePin {
        scope: 1,
        kind: kind as i32,
        revision: reply.revision,
        pin: reply.pin,
    }
}

fn collect(bench: &mut Bench, max_keys: u32) -> CollectVersionsReply {
    let reply = bench.run(&CollectVersions { max_keys }).expect("collect");
    bench.check_content();
    reply
}

fn rows(bench: &Bench, space: u8) -> usize {
    bench.store.rows.keys().filter(|key| key[0] == space).count()
}

fn behind(bench: &Bench) -> Option<u64> {
    behind_ms(&bench.store, StampedTime(bench.now_ms)).expect("reads")
}

fn leave_window(bench: &mut Bench) {
    bench.now_ms += limits::HISTORY_WINDOW_MS;
}

#[test]
fn what_one_entry_superseded_shares_a_row_and_is_worked_off_in_steps_of_any_size() {
    for step in [1, 2, 5] {
        let mut bench = Bench::new();
        let put = |name: &str| PutAttribute {
            instance_id: INSTANCE.into(),
            name: name.into(),
            value: "v".into(),
            if_revision: None,
        };
        // Each name twice in one entry: the second supersedes the first.
        let names = ["a", "b", "c", "a", "b", "c"];
        let frames: Vec<_> = names.iter().map(|name| command_frame(0, 0, &put(name))).collect();
        bench.entry(&frames);
        assert_eq!((rows(&bench, space::VERSIONED), rows(&bench, space::CLEANUP)), (6, 1));
        leave_window(&mut bench);
        let mut left = 3u32;
        while left > 0 {
            let reply = collect(&mut bench, step);
            assert_eq!(reply.removed, u64::from(step.min(left)));
            left -= step.min(left);
            assert_eq!(reply.more, left > 0);
            assert_eq!(rows(&bench, space::VERSIONED), 3 + left as usize);
            assert_eq!(rows(&bench, space::CLEANUP), usize::from(left > 0), "the row stays until all of it is decided");
        }
        assert_eq!(collect(&mut bench, step).removed, 0);
    }
}

#[test]
fn a_superseded_version_goes_when_the_window_ends_and_not_a_millisecond_sooner() {
    let mut bench = Bench::new();
    let first = put(&mut bench, "a");
    let second = put(&mut bench, "a");
    bench.now_ms += limits::HISTORY_WINDOW_MS - 1;
    assert_eq!(behind(&bench), None);
    let before = bench.machine.revision();
    assert_eq!(collect(&mut bench, 0), CollectVersionsReply::default());
    assert_eq!(bench.machine.revision(), before, "finding nothing takes no revision");
    readable(&bench.store, bench.scope(), Revision(first)).expect("in the window");
    bench.now_ms += 1;
    assert_eq!(behind(&bench), Some(0));
    bench.now_ms += 7;
    assert_eq!(behind(&bench), Some(7));
    assert_eq!(collect(&mut bench, 0).removed, 1);
    assert_eq!((rows(&bench, space::VERSIONED), rows(&bench, space::CLEANUP)), (1, 0));
    assert!(readable(&bench.store, bench.scope(), Revision(first)).is_err());
    readable(&bench.store, bench.scope(), Revision(second)).expect("the newest");
    assert_eq!(behind(&bench), None);
}

#[test]
fn a_deleted_key_leaves_no_row_once_nothing_needs_it() {
    let mut bench = Bench::new();
    put(&mut bench, "a");
    put(&mut bench, "a");
    delete(&mut bench, "a");
    leave_window(&mut bench);
    let reply = collect(&mut bench, 0);
    assert_eq!((reply.removed, reply.tombstones_removed), (2, 1));
    assert_eq!(rows(&bench, space::VERSIONED), 0);
}

#[test]
fn a_tombstone_stays_while_it_hides_a_pinned_version() {
    let mut bench = Bench::new();
    let first = put(&mut bench, "a");
    let release = pin(&mut bench, PinKind::Snapshot, first, 0);
    put(&mut bench, "a");
    delete(&mut bench, "a");
    leave_window(&mut bench);
    let reply = collect(&mut bench, 0);
    assert_eq!((reply.removed, reply.parked, reply.tombstones_removed), (1, 1, 0));
    assert_eq!(rows(&bench, space::VERSIONED), 2);
    bench.run(&release).expect("release");
    let reply = collect(&mut bench, 0);
    assert_eq!((reply.removed, reply.tombstones_removed), (1, 1));
    assert_eq!(
        (
            rows(&bench, space::VERSIONED),
            rows(&bench, space::PARKED),
            rows(&bench, space::RELEASED)
        ),
        (0, 0, 0)
    );
}

#[test]
fn a_released_version_is_parked_behind_the_next_pin_that_blocks_it() {
    let mut bench = Bench::new();
    let first = put(&mut bench, "a");
    put(&mut bench, "b");
    let oldest = pin(&mut bench, PinKind::Snapshot, first, 0);
    let next = pin(&mut bench, PinKind::Hold, first + 1, 0);
    put(&mut bench, "a");
    leave_window(&mut bench);
    assert_eq!(collect(&mut bench, 0).parked, 1);
    bench.run(&oldest).expect("release");
    assert_eq!(collect(&mut bench, 0).parked, 1);
    bench.run(&next).expect("release");
    assert_eq!(collect(&mut bench, 0).removed, 1);
}

#[test]
fn of_two_pins_at_one_revision_the_last_one_counts() {
    let mut bench = Bench::new();
    let first = put(&mut bench, "a");
    let one = pin(&mut bench, PinKind::Snapshot, first, 0);
    let two = pin(&mut bench, PinKind::Job, first, 0);
    put(&mut bench, "a");
    leave_window(&mut bench);
    assert_eq!(collect(&mut bench, 0).parked, 1);
    bench.run(&one).expect("release");
    assert_eq!(collect(&mut bench, 0), CollectVersionsReply::default());
    assert_eq!((rows(&bench, space::PARKED), rows(&bench, space::RELEASED)), (1, 0));
    bench.run(&two).expect("release");
    assert_eq!(collect(&mut bench, 0).removed, 1);
}

#[test]
fn read_pins_end_by_themselves_even_several_at_one_revision() {
    let mut bench = Bench::new();
    let first = put(&mut bench, "a");
    pin(&mut bench, PinKind::Read, first, limits::HISTORY_WINDOW_MS);
    pin(&mut bench, PinKind::Read, first, limits::HISTORY_WINDOW_MS);
    put(&mut bench, "a");
    bench.now_ms += limits::HISTORY_WINDOW_MS - 1;
    assert_eq!(collect(&mut bench, 0), CollectVersionsReply::default());
    bench.now_ms += 1;
    assert_eq!(
        collect(&mut bench, 0),
        CollectVersionsReply {
            pins_ended: 2,
            more: true,
            ..Default::default()
        }
    );
    assert_eq!(rows(&bench, space::PIN) + rows(&bench, space::PIN_EXPIRY), 0);
    assert_eq!(collect(&mut bench, 0).removed, 1);
    assert_eq!(bench.counters().pins, 0);
}

#[test]
fn a_pin_that_blocks_many_is_worked_off_in_bounded_steps() {
    let mut bench = Bench::new();
    for name in 0..10 {
        put(&mut bench, &name.to_string());
    }
    let release = pin(&mut bench, PinKind::Snapshot, 0, 0);
    for name in 0..10 {
        put(&mut bench, &name.to_string());
    }
    leave_window(&mut bench);
    let mut parked = 0;
    loop {
        let reply = collect(&mut bench, 3);
        assert!(reply.parked <= 3);
        parked += reply.parked;
        if !reply.more {
            break;
        }
    }
    assert_eq!(parked, 10);
    bench.run(&release).expect("release");
    let mut removed = Vec::new();
    loop {
        let reply = collect(&mut bench, 4);
        removed.push(reply.removed);
        if !reply.more {
            break;
        }
    }
    assert_eq!(removed, [4, 4, 2]);
    assert_eq!(rows(&bench, space::RELEASED), 0);
}

#[test]
fn a_collected_revision_cannot_be_pinned_in_the_entry_that_collects_it() {
    let mut bench = Bench::new();
    let first = put(&mut bench, "a");
    put(&mut bench, "a");
    leave_window(&mut bench);
    let late = CreatePin {
        scope: 1,
        kind: PinKind::Snapshot as i32,
        revision: first,
        ..CreatePin::default()
    };
    let frames = [
        crate::testing::command_frame(0, 0, &CollectVersions::default()),
        crate::testing::command_frame(0, 0, &late),
    ];
    let answers = bench.entry(&frames);
    assert!(answers[0].body.is_ok());
    assert_eq!(
        answers[1].body.as_ref().expect_err("collected just before").code,
        ErrorCode::RevisionCollected
    );
}

#[test]
fn long_keys_stop_a_command_by_bytes_before_it_would_be_refused() {
    let mut bench = Bench::new();
    // NUL bytes are escaped to two: the longest keys there are.
    let name = |number: usize| format!("{number:04}{}", "\0".repeat(508));
    for round in 0..2 {
        for number in 0..limits::CLEANUP_KEYS_PER_COMMAND {
            assert!(put(&mut bench, &name(number)) > round);
        }
    }
    leave_window(&mut bench);
    let (mut removed, mut runs) = (0, 0);
    loop {
        let reply = bench.run(&CollectVersions::default()).expect("never too large");
        (removed, runs) = (removed + reply.removed, runs + 1);
        if !reply.more {
            break;
        }
    }
    assert_eq!(removed as usize, limits::CLEANUP_KEYS_PER_COMMAND);
    assert!(runs <= 3, "{runs}");
}

/// A store that counts how often a place in it is looked for by a cursor, and versions are read by their keys.
struct Counting<'a> {
    store: &'a MapStore,
    seeks: Cell<usize>,
    /// What the content digest needs.
    looks: Cell<usize>,
    /// What debug builds compare known hashes with.
    gets: Cell<usize>,
}

impl Counting<'_> {
    fn over(store: &MapStore) -> Counting<'_> {
        Counting {
            store,
            seeks: Cell::new(0),
            looks: Cell::new(0),
            gets: Cell::new(0),
        }
    }
}

fn count_version(counter: &Cell<usize>, key: &[u8]) {
    counter.set(counter.get() + usize::from(key[0] == space::VERSIONED));
}

struct CountingCursor<'a> {
    cursor: Box<dyn Cursor + 'a>,
    seeks: &'a Cell<usize>,
}

impl Reader for Counting<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        count_version(&self.gets, key);
        self.store.get(key)
    }

    fn look_at(&self, key: &[u8], look: &mut dyn FnMut(Option<&[u8]>)) -> Result<(), StoreError> {
        count_version(&self.looks, key);
        self.store.look_at(key, look)
    }

    fn cursor<'a>(&'a self, start: &[u8], end: &[u8]) -> Result<Box<dyn Cursor + 'a>, StoreError> {
        self.seeks.set(self.seeks.get() + 1);
        Ok(Box::new(CountingCursor {
            cursor: self.store.cursor(start, end)?,
            seeks: &self.seeks,
        }))
    }
}

impl Cursor for CountingCursor<'_> {
    fn seek(&mut self, key: &[u8]) -> Result<(), StoreError> {
        self.seeks.set(self.seeks.get() + 1);
        self.cursor.seek(key)
    }

    fn next(&mut self) -> Result<(), StoreError> {
        self.cursor.next()
    }

    fn row(&self) -> Option<(&[u8], &[u8])> {
        self.cursor.row()
    }
}

/// A seek walks through every memtable and level of the store: ten minutes into a load of writes there is a version to collect for each of them.
#[test]
fn versions_that_values_superseded_are_collected_without_a_seek_for_each() {
    let mut bench = Bench::new();
    for round in 0..3 {
        for name in 0..50 {
            assert!(put(&mut bench, &name.to_string()) > round);
        }
    }
    leave_window(&mut bench);
    let counting = Counting::over(&bench.store);
    let view = View::new(&counting);
    let mut context = ApplyContext::new(&view, bench.counters(), StampedTime(bench.now_ms));
    let outcome = cleanup::run(&mut context, limits::CLEANUP_KEYS_PER_COMMAND).expect("collects");
    assert_eq!((outcome.removed, outcome.more), (100, false));
    // One for each kind of rows, and one more for the pins and the holds of each scope whenever an older version is met.
    assert!(counting.seeks.get() < 20, "{} seeks for 100 versions", counting.seeks.get());
}

/// Collects; returns how many versions went, and how many of them were looked up in the store for that.
fn collect_and_count(bench: &mut Bench) -> (usize, usize) {
    let counting = Counting::over(&bench.store);
    let frame = command_frame(0, 0, &CollectVersions::default());
    let entry = entry(bench.index + 1, bench.now_ms, &[frame]);
    let applied = bench.machine.clone().apply_group(&counting, &[entry]).expect("applies");
    let is_removed_version = |(key, value): &&(Bytes, Option<Bytes>)| key[0] == space::VERSIONED && value.is_none();
    let removed = applied.writes.iter().filter(is_removed_version).count();
    let looks = counting.looks.get();
    let compared = if cfg!(debug_assertions) { removed - looks } else { 0 };
    assert_eq!(counting.gets.get(), compared, "versions are read in no other way");
    let reply = collect(bench, 0);
    assert_eq!((reply.removed + reply.tombstones_removed) as usize, removed);
    (removed, looks)
}

/// Ten minutes into a load of writes, what was written ten minutes ago lies in files.
#[test]
fn values_that_were_superseded_are_removed_without_being_read() {
    let mut bench = Bench::new();
    for _ in 0..3 {
        for name in 0..50 {
            put(&mut bench, &name.to_string());
        }
    }
    leave_window(&mut bench);
    assert_eq!(collect_and_count(&mut bench), (100, 0));
    for name in 0..50 {
        delete(&mut bench, &name.to_string());
    }
    leave_window(&mut bench);
    assert_eq!(collect_and_count(&mut bench), (100, 50), "of tombstones nobody keeps the hash");
    assert_eq!(rows(&bench, space::VERSIONED), 0);
}

#[test]
fn a_tombstone_that_a_value_superseded_is_read_and_the_values_around_it_are_not() {
    let mut bench = Bench::new();
    for _ in 0..2 {
        put(&mut bench, "a");
        delete(&mut bench, "a");
    }
    put(&mut bench, "a");
    leave_window(&mut bench);
    assert_eq!(collect_and_count(&mut bench), (4, 2));
    assert_eq!(rows(&bench, space::VERSIONED), 1);
}

#[test]
fn a_version_keeps_its_hash_while_it_is_parked() {
    let mut bench = Bench::new();
    let first = put(&mut bench, "a");
    put(&mut bench, "b");
    let oldest = pin(&mut bench, PinKind::Snapshot, first, 0);
    let next = pin(&mut bench, PinKind::Hold, first + 1, 0);
    put(&mut bench, "a");
    put(&mut bench, "b");
    leave_window(&mut bench);
    assert_eq!(collect(&mut bench, 0).parked, 2);
    bench.run(&oldest).expect("release");
    assert_eq!(collect(&mut bench, 0).parked, 1);
    bench.run(&next).expect("release");
    assert_eq!(collect_and_count(&mut bench), (2, 0));
}

#[test]
fn a_version_under_an_index_row_of_an_earlier_build_is_read_when_it_goes() {
    let mut bench = Bench::new();
    let first = put(&mut bench, "a");
    put(&mut bench, "b");
    let index = index_key("a", bench.scope());
    bench.store.rows.insert(index.clone(), Bytes::copy_from_slice(&first.to_be_bytes()));
    bench.adopt_rows();
    for name in ["a", "b"] {
        put(&mut bench, name);
    }
    assert_eq!(bench.store.rows[&index].len(), 24, "its next write brings the hash");
    leave_window(&mut bench);
    assert_eq!(collect_and_count(&mut bench), (2, 1));
    put(&mut bench, "a");
    leave_window(&mut bench);
    assert_eq!(collect_and_count(&mut bench), (1, 0));
}

/// The pins of an instance's mark and of a version in it end together. The mark comes first, is one step, and all rows go before the
/// version's turn: it must not be taken out of the digest again.
#[test]
fn a_parked_version_that_has_gone_with_its_instance_goes_once() {
    for record_goes_too in [false, true] {
        let mut bench = Bench::new();
        let before = put(&mut bench, "b");
        let first = put(&mut bench, "a");
        let pins = [before, first].map(|revision| pin(&mut bench, PinKind::Snapshot, revision, 0));
        put(&mut bench, "a");
        let instance_id = INSTANCE.to_owned();
        bench.run(&DropInstance { instance_id }).expect("drops");
        leave_window(&mut bench);
        assert_eq!(collect(&mut bench, 0).parked, 2);
        for pin in &pins {
            bench.run(pin).expect("release");
        }
        assert_eq!(collect(&mut bench, 1).removed, 1, "the mark");
        assert_eq!(bench.run(&CollectDropped::default()).expect("collects").removed, 3);
        if record_goes_too {
            let remove = CollectInstance { scope: bench.scope().0 };
            assert!(bench.run(&remove).expect("collects").removed);
        }
        assert_eq!((rows(&bench, space::VERSIONED), rows(&bench, space::PARKED)), (0, 1));
        assert_eq!(collect(&mut bench, 0).removed, 1);
        assert_eq!(rows(&bench, space::PARKED) + rows(&bench, space::RELEASED), 0);
    }
}
