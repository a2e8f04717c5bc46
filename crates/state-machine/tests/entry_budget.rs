//! What one entry may change is bounded, whatever the sum of its commands is.

mod support;

use bytes::Bytes;
use quorate_state_machine::commands::{AppendAttributes, OpenSession, PutAttribute, append_attributes::AppendAttribute};
use quorate_state_machine::frame::Frame;
use quorate_state_machine::keys::space;
use quorate_state_machine::limits::{MAX_ATTRIBUTE_VALUE_BYTES, MAX_BYTES_PER_ENTRY, MAX_ROWS_PER_ENTRY};
use support::testing::{Bench, INSTANCE, command_frame, entry};

const APPENDS: u64 = 100;

/// A bench with one large attribute and an open session.
fn bench_with_large_attribute() -> Bench {
    let mut bench = Bench::new();
    bench.run(&OpenSession::default()).expect("opened");
    let put = PutAttribute {
        instance_id: INSTANCE.into(),
        name: "large".into(),
        value: vec![b'x'; MAX_ATTRIBUTE_VALUE_BYTES - 2 * APPENDS as usize].into(),
        if_revision: None,
    };
    bench.run(&put).expect("written");
    bench
}

/// Few bytes each, and each rewrites the whole value.
fn appends() -> Vec<Frame> {
    let append = |number| {
        let one = AppendAttribute {
            instance_id: INSTANCE.into(),
            name: "large".into(),
            suffix: Bytes::from(vec![b'0' + (number % 10) as u8]),
        };
        command_frame(1, number, &AppendAttributes { appends: vec![one] })
    };
    (1..=APPENDS).map(append).collect()
}

#[test]
fn an_entry_is_cut_short_before_it_changes_too_much_and_the_rest_has_not_happened() {
    let (mut cut, mut one_by_one) = (bench_with_large_attribute(), bench_with_large_attribute());
    let mut waiting = appends();
    let expected: Vec<_> = waiting.iter().map(|frame| one_by_one.send(frame.clone())).collect();
    let mut answers = Vec::new();
    let mut entries = 0;
    while !waiting.is_empty() {
        cut.index += 1;
        entries += 1;
        let before = cut.machine.revision();
        let applied = cut.apply(&[entry(cut.index, cut.now_ms, &waiting)]).expect("applies");
        let bytes: usize = applied
            .writes
            .iter()
            .map(|(key, value)| key.len() + value.as_ref().map_or(0, Bytes::len))
            .sum();
        // Counters and digests come on top.
        assert!(
            bytes <= MAX_BYTES_PER_ENTRY + 1_024 && applied.writes.len() <= MAX_ROWS_PER_ENTRY,
            "{bytes} bytes"
        );
        let executed = applied.answers[0].len();
        assert!(executed > 0, "every entry brings something about");
        assert_eq!(
            cut.machine.revision().0 - before.0,
            executed as u64,
            "what has no answer has no revision"
        );
        answers.extend(applied.answers[0].clone());
        waiting.drain(..executed);
    }
    assert!(entries > 3, "a hundred values of 128 KiB do not fit into {entries} entries");
    assert_eq!(answers, expected, "the same answers at the same revisions as one by one");
    cut.check_content();
    // What an entry superseded shares a row of the clean-up queue; all else is the same, entry for entry or command by command.
    let rows = |bench: &Bench| -> Vec<(Bytes, Bytes)> {
        let kept = |key: &Bytes| ![space::CLEANUP, space::DIGESTS].contains(&key[0]);
        let rows = bench.store.rows.iter().filter(|(key, _)| kept(key));
        rows.map(|(key, value)| (key.clone(), value.clone())).collect()
    };
    assert_eq!(rows(&cut), rows(&one_by_one));
}

#[test]
fn a_repeat_behind_the_cut_is_executed_once() {
    let mut bench = bench_with_large_attribute();
    let frames = appends();
    let first = bench.entry(&frames);
    let second = bench.entry(&frames);
    assert!(first.len() < frames.len() && second.len() > first.len());
    assert_eq!(second[..first.len()], first[..], "what was executed is answered from memory");
    assert!(second[first.len()].revision > first[first.len() - 1].revision);
}
