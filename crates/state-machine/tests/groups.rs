//! Applying in groups of any size equals applying one by one, and two peers that apply the same log agree in every digest:
//! what replication stands on.

mod support;

use proptest::prelude::*;
use quorate_state_machine::digest::Digests;
use quorate_state_machine::frame::Frame;
use quorate_state_machine::{Answer, EntryInput, EntryKind, Machine, Position};
use support::property::cases;
use support::testing::{Bench, entry};
use support::{any_frame, clock_step};

/// An entry to be: how far the clock moves, and frames; no frames and no time is a leader's first entry.
fn entries() -> impl Strategy<Value = Vec<EntryInput>> {
    let frames = prop::collection::vec(any_frame(), 0..8);
    prop::collection::vec((clock_step(), frames, prop::bool::weighted(0.1)), 1..25).prop_map(|entries| {
        let mut now_ms = 1_000_000;
        let build = |(position, (step, frames, other)): (usize, (u64, Vec<Frame>, bool))| {
            now_ms += step;
            let index = position as u64 + 1;
            if other {
                return EntryInput {
                    position: Position { term: 2, peer: 3, index },
                    kind: EntryKind::Other,
                };
            }
            // A deposed leader's clock may be behind: stamped time must not follow it.
            let time = if step % 5 == 0 { now_ms.saturating_sub(5_000) } else { now_ms };
            entry(index, time, &frames)
        };
        entries.into_iter().enumerate().map(build).collect()
    })
}

struct Run {
    bench: Bench,
    answers: Vec<Vec<Answer>>,
    digests: Vec<Digests>,
}

/// Applies in groups that end where `cuts` says; `reopen` reads the machine from its rows after each group.
fn run(entries: &[EntryInput], cuts: &[bool], reopen: bool) -> Run {
    let mut run = Run {
        bench: Bench::new(),
        answers: Vec::new(),
        digests: Vec::new(),
    };
    let mut start = 0;
    for end in 1..=entries.len() {
        if end < entries.len() && !cuts[end % cuts.len()] {
            continue;
        }
        let applied = run.bench.apply(&entries[start..end]).expect("applies");
        run.answers.extend(applied.answers);
        run.digests.extend(applied.digests);
        run.bench.check_content();
        if reopen {
            run.bench.machine = Machine::open(&run.bench.store).expect("opens");
        }
        start = end;
    }
    run
}

proptest! {
    #![proptest_config(cases(256))]

    #[test]
    fn groups_of_any_size_equal_one_by_one(entries in entries(), cuts in prop::collection::vec(any::<bool>(), 1..8)) {
        let one_by_one = run(&entries, &[true], false);
        for (cuts, reopen) in [(cuts.as_slice(), false), (cuts.as_slice(), true), (&[false][..], false)] {
            let grouped = run(&entries, cuts, reopen);
            prop_assert_eq!(&grouped.answers, &one_by_one.answers);
            prop_assert_eq!(&grouped.digests, &one_by_one.digests);
            prop_assert_eq!(&grouped.bench.store.rows, &one_by_one.bench.store.rows);
        }
    }

    #[test]
    fn two_peers_with_the_same_log_agree_and_another_log_differs(entries in entries(), victim in any::<prop::sample::Index>()) {
        let (one, two) = (run(&entries, &[true, false], false), run(&entries, &[false, true, true], false));
        prop_assert_eq!(one.bench.machine.digests(), two.bench.machine.digests());
        let mut other = entries.clone();
        other[victim.index(entries.len())].position.term += 1;
        let other = run(&other, &[true], false);
        prop_assert_ne!(one.bench.machine.digests().history, other.bench.machine.digests().history);
    }
}

#[test]
fn entries_out_of_order_or_with_a_gap_are_refused() {
    for next in [1, 2, 4] {
        let mut bench = Bench::new();
        bench.apply(&[entry(1, 5, &[]), entry(2, 5, &[])]).expect("in order");
        assert!(bench.apply(&[entry(next, 5, &[])]).is_err(), "entry {next} after entry 2");
    }
}

#[test]
fn an_unknown_command_and_a_malformed_entry_stop_the_peer() {
    let mut bench = Bench::new();
    let mut frame = support::testing::command_frame(0, 0, &quorate_state_machine::commands::OpenSession::default());
    frame.number = 60_000;
    let unknown = bench.apply(&[entry(1, 5, &[frame])]).expect_err("nobody knows this command");
    assert!(unknown.wants_newer_build(), "{unknown}");
    let mut bench = Bench::new();
    let malformed = EntryInput {
        position: Position {
            term: 1,
            peer: 1,
            index: 1,
        },
        kind: EntryKind::Commands(bytes::Bytes::from_static(&[9])),
    };
    assert!(bench.apply(&[malformed]).is_err());
}
