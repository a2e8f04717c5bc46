use super::*;
use quorate_model::ErrorCode;
use crate::testing::{Bench, prepare};

fn pin(kind: PinKind, revision: u64) -> CreatePin {
    CreatePin {
        scope: 1,
        kind: kind as i32,
        revision,
        ..CreatePin::default()
    }
}

#[test]
fn pins_now_at_its_own_revision_and_earlier_ones_by_number() {
    let mut bench = Bench::new();
    let now = bench.run(&pin(PinKind::Snapshot, 0)).expect("now");
    assert_eq!(now.revision, bench.machine.revision().0);
    let again = bench.run(&pin(PinKind::Job, now.revision)).expect("same revision");
    assert_eq!((again.revision, again.pin), (now.revision, now.pin + 1));
    let future = bench.machine.revision().0 + 1;
    assert_eq!(bench.refusal(&pin(PinKind::Job, future)), ErrorCode::InvalidArgument);
}

#[test]
fn hold_is_made_once_per_holder() {
    let mut bench = Bench::new();
    let hold = CreatePin {
        holder: 9,
        ..pin(PinKind::Hold, 0)
    };
    let first = bench.run(&hold).expect("hold");
    let again = CreatePin {
        revision: first.revision,
        ..hold
    };
    let before = bench.machine.revision();
    assert_eq!(bench.run(&again).expect("again"), first);
    assert_eq!(bench.machine.revision(), before);
}

#[test]
fn a_full_set_of_pins_refuses_more() {
    let mut bench = Bench::new();
    bench.set_counters(|counters| counters.pins = limits::MAX_PINS);
    assert_eq!(bench.refusal(&pin(PinKind::Snapshot, 0)), ErrorCode::LimitReached);
}

#[test]
fn a_collected_revision_is_refused_and_names_the_oldest_readable() {
    let mut bench = Bench::new();
    bench.set_counters(|counters| (counters.revision, counters.collected_before) = (90, 77));
    let error = bench.run(&pin(PinKind::Snapshot, 76)).expect_err("collected");
    assert_eq!(error.code, ErrorCode::RevisionCollected);
    assert!(error.message.contains("77"), "{}", error.message);
    bench.run(&pin(PinKind::Snapshot, 77)).expect("the oldest readable");
}

#[test]
fn prepare_refuses_kinds_lifetimes_and_scopes_that_make_no_sense() {
    let sound = pin(PinKind::Snapshot, 0);
    assert!(prepare::<CreatePin>(sound.clone()).is_ok());
    let bad = [
        CreatePin { scope: 0, ..sound.clone() },
        CreatePin { kind: 99, ..sound.clone() },
        CreatePin { kind: 0, ..sound },
        pin(PinKind::Hold, 0),
        CreatePin {
            holder: 1,
            lifetime_ms: 1,
            ..pin(PinKind::Hold, 0)
        },
        pin(PinKind::Read, 0),
        CreatePin {
            lifetime_ms: limits::MAX_READ_PIN_MS + 1,
            ..pin(PinKind::Read, 0)
        },
    ];
    for request in bad {
        assert_eq!(
            prepare::<CreatePin>(request.clone()).map_err(|error| error.code),
            Err(ErrorCode::InvalidArgument),
            "{request:?}"
        );
    }
}
